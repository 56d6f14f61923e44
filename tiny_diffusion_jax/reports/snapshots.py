"""The sets and fields of the snapshots of a training, for the player of the page."""

import numpy as np

from tiny_diffusion_jax.data import units
from tiny_diffusion_jax.point_sets import lengths
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.squares import squares_on_page
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
    positions = units.to_centred(data.dataset.origin, arrays["trajectory"])[..., :2]
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
        packed["field"] = {"values": pack(np.nan_to_num(arrays["field"]))} | squares_on_page(
            arrays["field_levels"], arrays["field_view"], schedule, data.dataset)
    return packed
