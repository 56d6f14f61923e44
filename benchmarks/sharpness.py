"""Measure the log-likelihood that a density misses, in nats per point and by noise level.

    python benchmarks/sharpness.py                                    # MNIST 3 and 8: 8 minutes
    python benchmarks/sharpness.py --table=DatasaurusDozen.tsv        # and five of its shapes

Trains three models per density: the default (`averaged`), whose targets are means over a batch;
one whose target is x_0 (`fading`, for its features of coordinates, which fade with the noise); and
one with features of constant amplitude and frequencies up to 12 in addition. By the variational
bound in continuous time (arXiv 2107.00630) the missing log-likelihood of a point is

    integral over log sigma of E |x_0_hat - E[x_0 | x_t]|^2 / sigma^2.

E[x_0 | x_t] is known for pixels and for table rows with jitter, so the integrand shows the missing
nats at each noise level. `nats_to_truth` comes from the ODE, as in all runs, and may differ from
the integral. Words after `--` are options of main.py: `-- --config.train.steps=100000`.
Prints a table and writes benchmarks/results/sharpness.json and .png.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, command, machine, markdown, write
from jax.scipy.special import log_ndtr
from jax.scipy.stats import norm
from nats import KEY, missing_nats

import tiny_diffusion_jax as td
from tiny_diffusion_jax.cli.flags import parse
from tiny_diffusion_jax.data.columns import read_points
from tiny_diffusion_jax.diffusion import make_denoise
from tiny_diffusion_jax.diffusion.ode_likelihood import level_at
from tiny_diffusion_jax.figures.style import save_figure
from tiny_diffusion_jax.recipes import NO_FADE

SHAPES = "star,bullseye,h_lines,away,x_shape"
JITTER = 0.15  # noise added to a row of the table, on a canvas of 100
TARGET_X_0 = "--config.train.references=0"
VARIANTS = {
    "averaged": [],
    "fading": [TARGET_X_0],
    "of one strength": [f"--config.{field}={value}" for field, value in NO_FADE.items()]
    + [TARGET_X_0],
}
LEVELS = 40  # noise levels of the error


def of_pixels(log_weights, corners, side: float):
    """Return (z f32[n, 2], sigma) -> E[x_0 | x_0 + sigma eps = z], x_0 uniform in K pixels.

    corners: lower left corners f32[K, 2] of the pixels; side: their side.
    """
    def axis(z, low, sigma):
        """log P(pixel | z) up to a constant, and the mean of a normal density cut off at it."""
        a, b = (low - z) / sigma, (low + side - z) / sigma
        flip = a > 0  # both ends are in the upper tail, where log_ndtr would be 0
        a, b = jnp.where(flip, -b, a), jnp.where(flip, -a, b)
        log_mass = log_ndtr(b) + jnp.log1p(-jnp.exp(jnp.minimum(log_ndtr(a) - log_ndtr(b), -1e-7)))
        moved = jnp.exp(norm.logpdf(a) - log_mass) - jnp.exp(norm.logpdf(b) - log_mass)
        return log_mass, jnp.clip(z + sigma * jnp.where(flip, -moved, moved), low, low + side)

    def mean(z, sigma):
        log_mass, means = axis(z, corners, sigma)
        return jax.nn.softmax(log_weights + log_mass.sum(-1)) @ means

    return lambda z, sigma: jax.lax.map(lambda a: mean(a, sigma), z, batch_size=250)


def of_rows(rows, std: float):
    """Return the same function as `of_pixels`, for x_0 = one of rows f32[K, 2] + std eps."""
    def mean(z, sigma):
        variance = std**2 + sigma**2
        near = jax.nn.softmax(-((z - rows) ** 2).sum(-1) / (2 * variance))
        return (std**2 * z + sigma**2 * near @ rows) / variance

    return jax.vmap(mean, (0, None))


def exact_denoiser(dataset, config):
    """Return the function E[x_0 | x_t] of a digit or a table with jitter, in normalised units."""
    shift, scale = np.asarray(dataset.shift), float(dataset.scale)
    if config.name == "points":
        rows = (read_points(config.path, where=config.where).points - shift) / scale
        return of_rows(jnp.asarray(rows, jnp.float32), config.jitter_std / scale)
    # 8x8 digits use the same corner of this canvas, and all other pixels are empty.
    pixel = np.stack(np.meshgrid(np.arange(28.0), np.arange(28.0)), -1).reshape(-1, 2)
    log_p = np.asarray(dataset.log_prob(jnp.asarray(pixel + 0.5, jnp.float32)))
    dark = np.isfinite(log_p)
    corners = jnp.asarray((pixel[dark] - shift) / scale, jnp.float32)
    return of_pixels(jnp.asarray(log_p[dark]), corners, 1 / scale)


def measure(flags: list[str], num_points: int) -> dict:
    """Train a model; return the missing nats per point, in total and by noise level."""
    config = parse(["main.py", *flags]).config
    experiment = td.build(config)
    dataset, process = experiment.dataset, experiment.process
    began = time.perf_counter()
    params = td.train(experiment).sampled
    seconds = time.perf_counter() - began
    points, missing = missing_nats(experiment, params, num_points)

    exact = exact_denoiser(dataset, config.data)
    denoise = make_denoise(process, experiment.model.apply, params)
    z = dataset.normalize(points)

    @jax.jit
    def squared_error(log_nu, key):
        level = level_at(process, log_nu)
        noisy = z + jnp.exp(log_nu) * jax.random.normal(key, z.shape)
        answer = denoise(level.alpha * noisy[None], level)[0]
        return jnp.mean(jnp.sum((answer - exact(noisy, jnp.exp(log_nu))) ** 2, -1))

    log_nu = -0.5 * np.asarray(process.schedule.log_snr)
    edges = np.linspace(log_nu[1], log_nu[-1], LEVELS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    # KEY is used for the points. fold_in(key, 1) equals split(key)[1], so the same key would repeat
    # the jitter of the points.
    errors = np.array([squared_error(at, jax.random.fold_in(jax.random.key(KEY + 1), i))
                       for i, at in enumerate(middle)])  # fmt: skip
    by_log_sigma = errors / np.exp(2 * middle)
    return {
        "nats_to_truth": missing.mean(), "nats_se": missing.std() / len(missing) ** 0.5,
        "train_seconds": seconds, "sigma": np.exp(middle).tolist(),
        "nats_by_log_sigma": by_log_sigma.tolist(),
        "nats_of_bound": float(by_log_sigma.sum() * (edges[1] - edges[0])),
        "command": " ".join(["python main.py", *flags]),
    }  # fmt: skip


def figure(results: dict):
    """Plot the missing nats by noise level; the area under a curve is their total."""
    from matplotlib.figure import Figure

    names = list(results)
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    page = Figure(figsize=(3.4 * columns, 2.7 * rows + 0.3), layout="constrained")
    axes = page.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for ax in axes[len(names):]:
        ax.set_visible(False)
    for ax, name in zip(axes, names, strict=False):
        for (variant, row), color in zip(results[name].items(), ("C0", "C1", "0.6"), strict=False):
            label = f"{variant}: {row['nats_to_truth']:.3f}"
            ax.plot(row["sigma"], row["nats_by_log_sigma"], color=color, label=label)
            ax.fill_between(row["sigma"], row["nats_by_log_sigma"], color=color, alpha=0.2, lw=0)
        ax.set(xscale="log", title=name, ylim=0)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(title="nats a point missing", frameon=False, fontsize=8, title_fontsize=8)
    page.supxlabel("noise sigma, in standard deviations of the data")
    page.supylabel("nats per unit of log sigma")
    return page


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--digits", default="3,8", help="separated by commas; '' for none")
    parser.add_argument("--table", default="", help="table of shapes: DatasaurusDozen.tsv")
    parser.add_argument("--shapes", default=SHAPES, help="values of the column `dataset`")
    parser.add_argument("--variants", default=",".join(VARIANTS), help=", ".join(VARIANTS))
    parser.add_argument("--points", type=int, default=4_000, help="number of scored points")
    parser.add_argument("--output", type=Path, default=RESULTS / "sharpness.json")
    parser.add_argument("options", nargs="*", help="options of main.py, after --")
    args = parser.parse_args(argv)
    densities = {f"MNIST {digit}": [f"--config=configs/mnist_digit.py:{digit}"]
                 for digit in args.digits.split(",") if digit}  # fmt: skip
    for shape in args.shapes.split(",") if args.table else ():
        densities[shape] = [f"--config=configs/points.py:{args.table}",
                            f"--config.data.where=dataset={shape}",
                            f"--config.data.jitter_std={JITTER}"]  # fmt: skip
    results = {
        name: {variant: measure([*flags, *VARIANTS[variant], *args.options], args.points)
               for variant in args.variants.split(",")}
        for name, flags in densities.items()
    }  # fmt: skip
    write(args.output, {"command": command(__file__, argv), "machine": machine(),
                        "results": results})  # fmt: skip
    save_figure(figure(results), args.output.with_suffix(".png"))
    columns = "density", "features", "nats to the truth", "of the bound", "training"
    print(markdown(columns, [
        (name, variant, f"{row['nats_to_truth']:.3f} ± {row['nats_se']:.3f}",
         f"{row['nats_of_bound']:.3f}", f"{row['train_seconds']:.0f} s")
        for name, rows in results.items() for variant, row in rows.items()
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
