"""The sets and fields of the snapshots of a training, for the player of the page."""

import numpy as np

from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.point_sets import lengths
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.run.snapshots import Snapshot
from tiny_diffusion_jax.sets import strategy_of
from tiny_diffusion_jax.sets.autoregressive import blocks_between
from tiny_diffusion_jax.web.packing import pack

MOST_NUMBERS = 400_000  # coordinates of all snapshots: 1.1 MB of text


def training_data(data: ReportData) -> dict | None:
    """{"steps": steps of the run, "snapshots": a dictionary of each snapshot}; None without any."""
    if not data.snapshots:
        return None
    most = MOST_NUMBERS // len(data.snapshots)
    return {"steps": data.experiment.config.train.steps,
            "snapshots": [pack_snapshot(data, snapshot, most) for snapshot in data.snapshots]}


def pack_snapshot(data: ReportData, snapshot: Snapshot, most: int) -> dict:
    """Pack the trajectories of a snapshot, at most `most` numbers, and its field."""
    arrays, schedule = snapshot.arrays, data.experiment.process.schedule
    positions = units.to_centred(data.dataset.origin, arrays["trajectory"][..., :2])
    num_frames, num_sets, num_points, _ = positions.shape
    kept = min(num_points, max(1, most // (2 * num_frames * num_sets)))
    positions = np.where(np.isfinite(positions), positions, np.nan)[:, :, :kept]
    columns = positions.transpose(1, 2, 0, 3).reshape(num_sets, kept, 2 * num_frames)
    blocks = None
    if strategy_of(data.model).grows:
        blocks = [blocks_between(data.options, 0, kept)] * num_sets
    packed = {
        "step": snapshot.step, "t": arrays["levels"].tolist(), "positions": pack(columns),
        "sizes": lengths(positions[-1]).tolist(), "blocks": blocks,
    }  # fmt: skip
    if "field" in arrays:
        packed["field"] = pack_field(
            arrays["field"], schedule, arrays["field_levels"], arrays["field_view"], data.dataset)
    return packed


def pack_field(field, schedule, levels, view, dataset) -> dict:
    """Pack -eps_hat f[L, G, G, 2], with the squares `view` f[L, 3] of `score_field.square`.

    Level l covers the square with this centre and half side, in centred units of x_t.
    """
    alpha = np.asarray(schedule.alpha, float)[levels]
    shift, scale = (np.broadcast_to(np.asarray(a, float), 2) for a in (dataset.shift, dataset.scale))
    centre = shift + alpha[:, None] * np.asarray(view)[:, :2] * scale
    half = alpha[:, None] * np.asarray(view)[:, 2:] * scale
    return {"values": pack(np.nan_to_num(field)), "t": np.asarray(levels).tolist(),
            "centre": centre.tolist(), "half": half.tolist()}  # fmt: skip
