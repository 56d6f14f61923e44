"""Write TensorBoard event files with the package tensorboardX."""

from pathlib import Path

from tiny_diffusion_jax.errors import UserError


def require_package():
    """Return the package tensorboardX; raise UserError if it is missing."""
    try:
        import tensorboardX
    except ImportError as error:
        raise UserError("config.log.tensorboard", True, "False without the package tensorboardX",
                        "To install it: pip install tensorboardX") from error
    return tensorboardX


def open_writer(folder: Path):
    """Open a writer to `folder`/tensorboard."""
    return require_package().SummaryWriter(str(folder / "tensorboard"))


def write(writer, row: dict) -> None:
    """Write the plain numbers of a row of metrics.jsonl."""
    for name in ("loss", "heldout_loss", "grad_norm", "steps_per_second"):
        if row.get(name) is not None:
            writer.add_scalar(name, row[name], row["step"])
    writer.flush()
