"""Several processes that train one model, on one machine or on many; the first writes all files.

    python main.py --config=configs/moons.py --distributed=HOST:PORT,2,0
    python main.py --config=configs/moons.py --distributed=HOST:PORT,2,1
    python main.py --config=configs/moons.py --distributed=auto

The second and third word are how many there are and which this one is; `auto` asks Cloud TPU,
Slurm, Open MPI or Kubernetes. Each needs the data; the folder of the run is the first one's alone.
After training the first draws and measures on its own devices, and the others wait for it.
"""

import contextlib

import jax
import numpy as np
from jax.experimental import multihost_utils

from tiny_diffusion_jax import devices
from tiny_diffusion_jax.errors import UserError
from tiny_diffusion_jax.experiment import init, train
from tiny_diffusion_jax.run.signals import Interrupted, Signals

GO_ON, FAILED = 0, 255  # what a process says after a block, or the number of a signal


class Left(RuntimeError):
    """Another process has failed, and says why."""

    exit_code = 1


def join(how: str) -> None:
    """Meets the others, before any device is touched. Raises UserError where that cannot be."""
    if not how:
        return
    words = {}
    if how != "auto":
        try:
            words["coordinator_address"], num, index = how.split(",")
            words |= {"num_processes": int(num), "process_id": int(index)}
            if not 0 <= int(index) < int(num):
                raise ValueError
        except ValueError as error:
            raise UserError(f"--distributed = {how!r}: must be auto, or HOST:PORT, how many "
                            "processes there are, and which this one is from 0 on: "
                            "localhost:1234,2,0") from error  # fmt: skip
    try:
        jax.distributed.initialize(**words)
    except Exception as error:  # of many kinds: no cluster, nobody there, too late
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"--distributed = {how!r}: the processes do not meet ({reason})") from error


def is_first() -> bool:
    return jax.process_index() == 0


def agree(said: int) -> int:
    """The largest of what all say, so that all stop together; each of them has to ask.

    Raises Left where one of them has failed.
    """
    said = _largest(said)
    if said == FAILED:
        raise Left("another process has ended, and says why")
    return said


def _largest(said: int) -> int:
    if not devices.are_several():
        return said
    return int(multihost_utils.process_allgather(np.int32(said)).max())


def from_first(state):
    """What the first process holds, of the same structure in all. Raises Left where it failed."""
    agree(GO_ON)
    return multihost_utils.broadcast_one_to_all(state) if devices.are_several() else state


@contextlib.contextmanager
def together():
    """All leave this block at the same time; where something goes wrong in one, all are told."""
    try:
        yield
    except Left:
        raise
    except BaseException:
        _largest(FAILED)
        raise
    else:
        agree(GO_ON)
    finally:
        if devices.are_several():
            jax.distributed.shutdown()


def follow(experiment) -> None:
    """What the others do while the first has files to mind: they train along.

    Raises Interrupted where one of them heard a signal.
    """
    state, said = from_first(init(experiment)), GO_ON

    def on_block(*_) -> bool:
        nonlocal said
        said = agree(signals.received)
        return bool(said)

    with Signals() as signals:
        train(experiment, state, on_block, progress=False)
    if said:
        raise Interrupted("interrupted: the first process says what is saved", said)
