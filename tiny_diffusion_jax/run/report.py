"""The numbers and pictures at the end of a run."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax import experiment
from tiny_diffusion_jax.data.base import draw_points
from tiny_diffusion_jax.diffusion import samplers
from tiny_diffusion_jax.diffusion.process import add_noise
from tiny_diffusion_jax.evaluate import clouds as metrics
from tiny_diffusion_jax.experiment import Experiment
from tiny_diffusion_jax.figures import clouds as plotting
from tiny_diffusion_jax.figures import film as animation
from tiny_diffusion_jax.run import set_report, workdir

PICTURE_POINTS = 4_000  # in the scatter plots and animations


def draw_real(setup: Experiment, seed: int, num_sets: int, num_points: int) -> np.ndarray:
    """Real point sets in own units, f32[num_sets, num_points, 2]."""
    return np.asarray(draw_points(setup.dataset, jax.random.key(seed), num_sets, num_points))


def evaluate(setup: Experiment, params, samples: np.ndarray) -> dict:
    """Every metric of `samples` beside its noise floor, as plain numbers.

    Held-out log-likelihood is that of real points never seen in training, in nats per point; its
    floor, where the true density is known, is what that density itself gives the same points.
    Of data with many members, the numbers of `set_report.evaluate`.
    """
    if setup.dataset.num_labels:
        return set_report.evaluate(setup, params, samples)
    config = setup.config.evaluate
    # More sets make a ratio to the floor less noisy: its standard error is about 0.07 at 32.
    sets, points = min(len(samples), 64), min(samples.shape[1], 4_000)
    real = draw_real(setup, config.seed, 2 * sets, points)
    result = metrics.compare(
        samples[:sets, :points], real[:sets], real[sets:],
        num_projections=config.num_projections, exact_points=config.exact_points,
    )
    if setup.model.traits.generation == "alone":
        heldout = draw_real(setup, config.seed + 1, 1, config.heldout_points)[0]
        log_p = experiment.log_prob(setup, params, heldout, config.likelihood_steps)
        true = setup.dataset.log_prob
        floor = None if true is None else float(np.mean(true(jnp.asarray(heldout))))
        result["log_likelihood"] = {
            "value": float(log_p.mean()),
            "value_se": float(log_p.std() / np.sqrt(len(log_p))),
            "floor": floor,
            "unit": "nats per point, density per unit area of the data",
            "num_points": config.heldout_points,
        }
    return result


def lines(result: dict) -> list[str]:
    """One line a metric, for the log."""
    return [
        f"{name}: {m['value']:.4g}"
        + ("" if m["floor"] is None else f", floor {m['floor']:.4g}")
        + (f", ratio {m['ratio']:.3f}" if m.get("ratio") is not None else "")
        for name, m in result.items()
    ]


def pictures(setup: Experiment, folder: Path, params, samples: np.ndarray) -> None:
    """samples.png, reverse.gif with trajectory.npy, forward.gif and loss.png.

    Of data with many members, loss.png and the pictures of `set_report.pictures`.
    """
    rows = workdir.read_rows(folder / "metrics.jsonl")
    if rows:
        with workdir.atomic(folder / "loss.png") as path:
            plotting.save_loss(path, rows)
    if setup.dataset.num_labels:
        return set_report.pictures(setup, folder, params, samples)
    config = setup.config.evaluate
    title, notice = setup.dataset.title, setup.dataset.notice
    count = min(PICTURE_POINTS, samples.shape[1])
    real = draw_real(setup, config.seed, 1, count)[0]
    density, extent = None, None
    if config.density_size and setup.model.traits.generation == "alone":
        extent = plotting.square_limits(real)
        density = log_density(setup, params, extent, config.density_size)
    with workdir.atomic(folder / "samples.png") as path:
        plotting.save_samples(path, real, samples[0, :count], title, notice, density, extent)
    way, grid = trajectory(setup, params, count, max(config.frames, 2))
    workdir.write_array(folder / "trajectory.npy", way)
    if not config.frames:
        return
    log_snr = np.asarray(setup.process.schedule.log_snr)
    frames = animation.select_frames(log_snr[grid], config.frames)
    _animate(folder / "reverse.gif", way[frames], grid[frames], log_snr, f"{title}: from noise")
    levels = animation.select_frames(log_snr, config.frames)
    _animate(folder / "forward.gif", noised(setup, real, levels), levels, log_snr,
             f"{title}: to noise", ramp=plotting.COOL)


def trajectory(setup: Experiment, params, num_points: int, frames: int):
    """A set's way from noise f32[steps + 1, num_points, 2] in own units, and its levels.

    In as many steps as `config.sample` says, or as there are frames, whichever is more.
    """
    config = setup.config.sample.copy_and_resolve_references()
    levels = setup.process.schedule.num_levels
    config.num_steps = min(max(config.num_steps, frames - 1), levels)
    config.num_sets, config.num_points = 1, num_points
    way = experiment.sample(setup, params, config, keep_trajectory=True)[:, 0]
    return way, samplers.time_grid(setup.process.schedule, config.num_steps, config.spacing)


def noised(setup: Experiment, points: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """x_t of `points` f32[n, 2] at each level, own units, f32[F, n, 2]: one eps a point."""
    eps = jax.random.normal(jax.random.key(setup.config.evaluate.seed), points.shape)
    x_0, level = setup.dataset.normalize(jnp.asarray(points)), setup.process.level(levels)
    return np.asarray(setup.dataset.denormalize(add_noise(level.expand(), x_0, eps)))


def log_density(setup: Experiment, params, extent, size: int) -> np.ndarray:
    """The model's log p per unit area on a grid f32[size, size], lowest y first."""
    left, right, bottom, top = extent
    x, y = ((np.arange(size) + 0.5) / size * (b - a) + a for a, b in ((left, right), (bottom, top)))
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    steps = setup.config.evaluate.density_steps
    return experiment.log_prob(setup, params, grid, steps).reshape(size, size)


def _animate(path: Path, way, levels, log_snr, title: str, **style) -> None:
    labels = ["data" if t == 0 else f"log SNR {log_snr[t]:+.1f}" for t in levels]
    with workdir.atomic(path) as temporary:
        animation.save_animation(temporary, way, labels, title, **style)


def import_tensorboard():
    """The package tensorboardX; UserError when it is missing."""
    from tiny_diffusion_jax.errors import UserError

    try:
        import tensorboardX
    except ImportError as error:
        raise UserError(
            "config.log.tensorboard = True: needs the package tensorboardX (pip install "
            "tensorboardX)"
        ) from error
    return tensorboardX


def tensorboard_writer(folder: Path):
    """A TensorBoard writer into `folder`/tensorboard."""
    return import_tensorboard().SummaryWriter(str(folder / "tensorboard"))


def write_tensorboard(writer, row: dict) -> None:
    """Writes the plain numbers of a row of metrics.jsonl."""
    for name in ("loss", "grad_norm", "steps_per_second"):
        writer.add_scalar(name, row[name], row["step"])
    writer.flush()
