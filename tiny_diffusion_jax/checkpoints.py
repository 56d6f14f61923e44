"""Saving and restoring a training state: a few functions around orbax."""

from pathlib import Path

import jax

from tiny_diffusion_jax.errors import UserError


def open_checkpoints(directory: Path, keep: int | None = None):
    """An orbax checkpointer on `directory`, keeping the last `keep` (None: all); use `with`.

    A checkpoint appears under its final name only when complete, so a crash while saving leaves
    the earlier ones as they were.
    """
    from orbax.checkpoint import v1 as ocp

    return ocp.training.Checkpointer(
        Path(directory).resolve(),
        preservation_policy=ocp.training.preservation_policies.LatestN(keep),
        cleanup_tmp_directories=True,
    )


def save(checkpointer, state) -> None:
    """Writes `state` under its step, unless that step is already there."""
    step = int(state.step)
    if step not in {c.step for c in checkpointer.checkpoints}:
        checkpointer.save_pytree(step, state)


def restore_latest(checkpointer, like):
    """The newest state, in the shapes of `like`; None where there is no checkpoint.

    Raises UserError where the checkpoint is damaged or was made by another model.
    """
    newest = checkpointer.latest
    if newest is None:
        return None
    try:
        state = checkpointer.load_pytree(newest.step, like)
    except Exception as error:  # orbax has many ways to say it
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"checkpoint {checkpointer.directory / str(newest.step)}: cannot be read into this "
            f"model; delete it to go back to the one before, or use another --workdir ({reason})"
        ) from error
    same = jax.tree.map(lambda a, b: a.shape == b.shape, state, like)
    if not all(jax.tree.leaves(same)):
        raise UserError(
            f"checkpoint {checkpointer.directory / str(newest.step)}: its arrays have other "
            "shapes: it was made by another model; use another --workdir"
        )
    return state
