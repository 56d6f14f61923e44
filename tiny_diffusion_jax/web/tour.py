"""Write the guided page: eight chapters about exact densities and one released model."""

import jax
import numpy as np

from tiny_diffusion_jax.data.shapes import SHAPES
from tiny_diffusion_jax.web.live import WORKER
from tiny_diffusion_jax.web.packing import pack
from tiny_diffusion_jax.web.render import render

MODEL = "dino+moons"  # the released model of the page
MEMBERS = ("dino", "moons")
COUNT = 600  # components of each density
STD = 0.03  # of each component, in standard deviations of the density
CHAPTERS = {
    "noising": "Noising", "score": "The score", "path": "The path of one point",
    "steps": "Why steps matter", "guidance": "Guidance", "superposition": "Superposition",
    "completion": "Sets and completion", "likelihood": "Likelihood",
}  # fmt: skip
# Scripts of the page. Each script uses the scripts before it. EXACT needs no page.
EXACT = ("random.js", "train/schedule.js", "live/samplers.js", "tour/law.js")
SCRIPTS = (
    *EXACT, "arrays.js", "colours.js", "marks.js", "keys.js", "trajectories.js", "chart.js",
    "live/grid.js", "live/board.js", "train/plane.js", "tour/picture.js", "tour/chapter.js",
    "tour/points.js", "tour/sets.js", "tour/likelihood.js", "tour/tour.js",
)  # fmt: skip


def tour_page(model: dict) -> str:
    """Return the HTML of the tour. model: a result of `live_model` for the released model MODEL."""
    tour = {
        "densities": {"std": STD, "shapes": [pack(density(name)) for name in MEMBERS]},
        "chapters": list(CHAPTERS.items()), "count": COUNT,
    }  # fmt: skip
    return render(
        "tour.html",
        title="Diffusion, from noise to sets",
        tour=tour,
        model=model,
        worker=WORKER,
        scripts=SCRIPTS,
    )


def density(name: str) -> np.ndarray:
    """Means f64[COUNT, 2] of a mixture of Gaussians of standard deviation STD: points of a shape.

    The mixture has mean 0 and mean variance 1, the units of the network.
    """
    points = np.asarray(SHAPES[name].sample(jax.random.key(0), COUNT), np.float64)
    points = points - points.mean(0)
    return points * np.sqrt((1 - STD**2) / points.var(0).mean())
