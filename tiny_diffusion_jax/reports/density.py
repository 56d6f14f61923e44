"""Metrics, figures and the panel of one density, such as moons or one digit."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tiny_diffusion_jax.call_checks import is_flow
from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.diffusion.process import add_noise
from tiny_diffusion_jax.figures import film, samples
from tiny_diffusion_jax.figures.frames import select_frames
from tiny_diffusion_jax.figures.sets import sets_figure
from tiny_diffusion_jax.figures.style import COOL, save_figure
from tiny_diffusion_jax.files import write_array
from tiny_diffusion_jax.metrics import likelihood_metrics, points, score_field
from tiny_diffusion_jax.metrics.transport import straightness
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.squares import squares_on_page
from tiny_diffusion_jax.web.packing import pack

FIGURE_POINTS = 4_000  # points in a scatter plot or an animation.


def cloud_metrics(data: ReportData) -> dict:
    config = data.config
    return points.compare(
        *data.clouds, num_projections=config.num_projections, exact_points=config.exact_points
    )


def likelihood(data: ReportData) -> dict:
    log_prob = lambda points: data.log_prob(points, data.config.likelihood_steps)
    key = jax.random.key(data.config.seed + 1)
    metric = likelihood_metrics.compare(data.dataset, log_prob, key, data.config.heldout_points)
    return {"log_likelihood": metric | data.weights_chosen_on}


def transport(data: ReportData) -> dict:
    """Path energy of the trajectories of a flow over the squared W2 of start and samples."""
    trajectory, levels = data.trajectory
    time = levels / data.experiment.process.schedule.num_levels
    return {"path_energy": straightness(trajectory, time, data.config.exact_points)}


def total_variation(data: ReportData) -> dict:
    """Share of the mass that the model puts in other places than the data; tables have none."""
    if data.dataset.rows is not None:
        return {}
    log_density, extent = data.density
    if not (np.isfinite(log_density).any() and data.counts.share.any()):
        return {}
    share = score_field.coarser(data.counts.share, len(log_density))
    log_prob = data.dataset.log_prob
    if log_prob is not None:
        centres = likelihood_metrics.centres(extent, len(log_density))
        log_prob = np.asarray(log_prob(jnp.asarray(centres)))
    num_points = score_field.DRAWS * score_field.TIMES
    return {
        "total_variation": score_field.total_variation(log_density, share, num_points, log_prob)
    }


def samples_figure(data: ReportData, file: Path) -> None:
    """Draw real points beside samples and the density; draw only samples if there are no data."""
    dataset = data.dataset
    if not dataset.has_points:
        figure = sets_figure(data.samples, data.title, dataset.notice, axes=dataset.coordinates)
    else:
        generated, real, _ = data.clouds
        density, extent = data.density if data.has_density else (None, None)
        names = dataset.coordinates if dataset.columns or dataset.dim > 2 else ()
        figure = samples.samples_figure(
            real[0, :FIGURE_POINTS], generated[0, :FIGURE_POINTS], data.title, dataset.notice,
            density, extent, dataset.origin, names,
        )  # fmt: skip
    save_figure(figure, file)


def trajectory_array(data: ReportData, file: Path) -> None:
    """Write the trajectory of one set as an array."""
    write_array(file, units.to_own(data.dataset.origin, data.trajectory[0]))


def reverse_film(data: ReportData, file: Path) -> None:
    """Animate one set from noise to data."""
    trajectory, levels = data.trajectory
    index = _frames(data, levels)
    _film(data, file, trajectory[index], levels[index], f"{data.title}: from {data.start_title}")


def forward_film(data: ReportData, file: Path) -> None:
    """Animate real points from data to noise, with one eps per point."""
    dataset, process = data.dataset, data.experiment.process
    x_0 = dataset.normalize(jnp.asarray(data.clouds[1][0, :FIGURE_POINTS]))
    levels = np.arange(process.schedule.num_levels + 1)
    levels = levels[_frames(data, levels)]
    x_t = add_noise(process.level(levels).expand(), x_0, data.noise(x_0))
    x_t = np.asarray(dataset.denormalize(x_t))
    _film(data, file, x_t, levels, f"{data.title}: to {data.start_title}", ramp=COOL)


def _frames(data: ReportData, levels: np.ndarray) -> np.ndarray:
    """Indices of the frames of an animation; a flow moves evenly in t, so its frames are even."""
    if data.dataset.start is not None:
        frames = np.linspace(0, len(levels) - 1, min(data.config.frames, len(levels)))
        return np.unique(np.round(frames).astype(int))
    log_snr = np.asarray(data.experiment.process.schedule.log_snr)
    return select_frames(log_snr[levels], data.config.frames)


def _film(data: ReportData, file: Path, trajectory, levels, title: str, **style) -> None:
    schedule, start = data.experiment.process.schedule, data.dataset.start
    log_snr = np.asarray(schedule.log_snr)
    named = {0: "data"} if start is None else {0: data.title, schedule.num_levels: start.title}
    label = lambda t: f"log SNR {log_snr[t]:+.1f}" if start is None else (
        f"t = {t / schedule.num_levels:.2f}")  # fmt: skip
    film.save_film(file, trajectory, [named.get(int(t)) or label(t) for t in levels], title,
                   **style)  # fmt: skip


def field_panel(data: ReportData) -> dict | None:
    """Score field and density of the model and of the data, for the page."""
    if is_flow(data.experiment.config):
        return None  # without Gaussian noise, the denoiser gives no score
    log_density, counts, rows = data.density[0], data.counts, data.dataset.rows
    if not counts.share.any():
        return None
    process = data.experiment.process
    field = score_field.compare(process, data.model, data.params, counts)
    real = score_field.coarser(counts.share, len(log_density))
    density = np.nan_to_num(np.exp(log_density.astype(float)))
    level, extent = process.level(field.levels), data.density[1]
    squares = [score_field.square(counts, nu) for nu in score_field.noise(process, field.levels)]
    about = f"about {float(f'{score_field.DRAWS * score_field.TIMES:.2g}'):,.0f}"
    return {
        "nu": (np.asarray(level.sigma) / np.asarray(level.alpha)).tolist(),
        "sigma": np.asarray(level.sigma).tolist(), "error": field.error.tolist(),
        "model": pack(field.model), "data": pack(field.data), "p": pack(field.density[..., None]),
        "density": pack(np.stack([density / density.sum(), real / real.sum()], -1)),
        **squares_on_page(field.levels, squares, process.schedule, data.dataset),
        "extent": list(map(float, extent)),
        "rows": rows is not None, "points": about if rows is None else f"{len(rows):,}",
    }  # fmt: skip
