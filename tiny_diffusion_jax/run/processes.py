"""Several processes that train one model, on one machine or on many; the first writes all files.

    python main.py --config=configs/moons.py --distributed=HOST:PORT,2,0
    python main.py --config=configs/moons.py --distributed=auto

The numbers are the number of processes and the index of this process. `auto` gets all three words
from Cloud TPU, Slurm, Open MPI or Kubernetes. Each process needs the data. Only the first process
needs the folder of the run. After training the first process draws and measures on its own devices,
and the others wait. An error in one process ends all processes.
"""

import contextlib
import logging
import os
import threading

import jax
import numpy as np

# The key-value store has no public name: jax.distributed (0.7.2 to 0.10.2) exports `initialize`,
# `is_initialized` and `shutdown`. A collective cannot report an error, because it needs all
# processes.
from jax._src import distributed
from jax.experimental import multihost_utils

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.api import init, train_blocks
from tiny_diffusion_jax.errors import UserError, reason_of
from tiny_diffusion_jax.run.signals import Interrupted, held_signals
from tiny_diffusion_jax.training.loop import TrainingDiverged

log = logging.getLogger("tiny_diffusion_jax")
END = "tiny_diffusion_jax/end"  # key: DONE, written by the first process, or an error of any
DONE = ""
POLL_SECONDS = 0.5


def join(address: str) -> None:
    """Join the other processes, before JAX uses a device. Raises UserError if this fails."""
    options = {}
    if address != "auto":
        try:
            host, num, index = address.split(",")
            if not 0 <= int(index) < int(num):
                raise ValueError
        except ValueError as error:
            allowed = ("auto, or HOST:PORT, how many processes there are, and which this one is "
                       "from 0 on: localhost:1234,2,0")  # fmt: skip
            raise UserError("--distributed", address, allowed) from error
        options = {"coordinator_address": host, "num_processes": int(num), "process_id": int(index)}
    try:
        jax.distributed.initialize(**options)
    except Exception as error:  # of many types: no cluster, no other process, a timeout
        allowed = f"an address where the processes meet ({reason_of(error)})"
        raise UserError("--distributed", address, allowed) from error


def is_first() -> bool:
    return jax.process_index() == 0


def agree(signals: list[int]) -> bool:
    """Return whether any process has received a signal, and append it to `signals` of all.

    Each process must call this function.
    """
    if not devices.is_multiprocess():
        return bool(signals)
    number = int(multihost_utils.process_allgather(np.int32(max(signals, default=0))).max())
    signals += [number] if number else []
    return number > 0


def from_first(state):
    """Return the state of the first process; each process must call this function."""
    return multihost_utils.broadcast_one_to_all(state) if devices.is_multiprocess() else state


@contextlib.contextmanager
def together(address: str):
    """Join the other processes (see `join`), and end together with them.

    An error in the block is written to END. Yield the thread that waits until END is written, or
    None if `address` is "", without other processes.
    """
    if not address:
        yield None
        return
    join(address)
    client, stopped, message = distributed.global_state.client, threading.Event(), DONE
    watch = threading.Thread(target=_wait_for_end, args=(client, stopped), daemon=True)
    watch.start()
    try:
        yield watch
    except Interrupted:  # all processes have agreed to stop
        raise
    except BaseException as error:
        message = "interrupted" if isinstance(error, KeyboardInterrupt) else reason_of(error)
        raise
    finally:
        if is_first() or message != DONE:
            stopped.set()
            watch.join()
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # another process wrote END
                client.key_value_set(END, message)
        jax.distributed.shutdown()  # waits until all processes call this function


def _wait_for_end(client, stopped: threading.Event) -> None:
    """Wait until END is written, and end this process if END is the error of another process.

    The main thread may be in a collective which the failed process never joins. Python cannot
    interrupt a collective, so this thread ends the process.
    """
    while not stopped.wait(POLL_SECONDS):
        try:
            message = client.key_value_try_get(END)
        except jax.errors.JaxRuntimeError:  # not written yet
            continue
        if message == DONE:
            return
        log.error("error: another process has ended: %s", message)
        jax.distributed.shutdown()
        os._exit(1)


def follow(experiment, watch: threading.Thread) -> None:
    """Train along with the first process, and wait until the first process is done.

    Raises Interrupted when a process has received a signal.
    """
    signals, is_stopped = [], False
    # All processes diverge at the same step. The first process redoes the step, writes a file,
    # and then writes its error as END.
    with held_signals(signals), contextlib.suppress(TrainingDiverged):
        for _ in train_blocks(experiment, from_first(init(experiment))):
            if is_stopped := agree(signals):
                break
    watch.join()
    if is_stopped:
        raise Interrupted("interrupted: the first process says what is saved", max(signals))
