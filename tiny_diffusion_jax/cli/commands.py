"""The modes of `main.py`: train, sample, complete, distill and all others."""

import logging
import sys
import time
from pathlib import Path

import jax

from tiny_diffusion_jax import __version__, data, devices, reports
from tiny_diffusion_jax.api import Experiment, build, init, quick_notice
from tiny_diffusion_jax.call_checks import check_sample
from tiny_diffusion_jax.checks import (
    check,
    check_augmentation,
    check_measured,
    check_sizes_vary,
)
from tiny_diffusion_jax.cli.flags import runs_of
from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.data.cells import encode
from tiny_diffusion_jax.data.columns import Points, has_role, read_points
from tiny_diffusion_jax.diffusion.schedules import TERMINAL_SNR_WARNING
from tiny_diffusion_jax.errors import UserError, reason_of, rename_fields, require
from tiny_diffusion_jax.program import program_name
from tiny_diffusion_jax.reports.comparison import write_comparison
from tiny_diffusion_jax.reports.progress_page import ProgressPage
from tiny_diffusion_jax.run import debug_step, processes, released, run_folder
from tiny_diffusion_jax.run.checkpoints import open_checkpoints, restore_latest
from tiny_diffusion_jax.run.distill import with_trajectories
from tiny_diffusion_jax.run.load import about_run, describe_weights, load, start_from
from tiny_diffusion_jax.run.train import train_in_folder
from tiny_diffusion_jax.run.train_log import require_tensorboard
from tiny_diffusion_jax.web.live import live_model, live_page
from tiny_diffusion_jax.web.render import render, write_page
from tiny_diffusion_jax.web.tour import MODEL as TOUR_MODEL
from tiny_diffusion_jax.web.tour import tour_page
from tiny_diffusion_jax.web.training import training_data

log = logging.getLogger("tiny_diffusion_jax")
DATA_OPTION = "config.data."  # advice to set such an option does not apply to --points


# ---------------------------------------------------------------- the modes


def train_run(config, path: str, distributed: str = "", command: str = "") -> None:
    """Train a run or resume it, then draw samples and evaluate them.

    distributed: how to join the other processes of the training, see processes.py; command: the
    command line, which report.html shows.
    """
    began = time.perf_counter()
    check_measured(config)
    check_augmentation(config)
    require(not distributed or not config.train.trajectories, "--distributed", distributed,
            "left out for a distilled model")  # fmt: skip
    with processes.together(distributed) as watch:
        set_up(config)
        experiment = build(config)
        check_sizes_vary(config, experiment.dataset, experiment.model)
        if not processes.is_first():
            return processes.follow(experiment, watch)
        first, source = None, ""
        if config.train.init_from:
            first, source = start_from(config.train.init_from, experiment)
        with run_folder.open_to_train(path, config, experiment.dataset, source) as folder:
            checkpoints = open_checkpoints(folder / "checkpoints", config.train.keep)
            state = restore_latest(checkpoints, jax.eval_shape(lambda: init(experiment)))
            announce(experiment)
            if source:
                log.info("starting from the weights of %s (%s)", config.train.init_from, source)
            if state is None:
                state = first or init(experiment)
            state = processes.from_first(state)
            to_train = experiment
            if config.train.trajectories and first and int(state.step) < config.train.steps:
                to_train = with_trajectories(experiment, first.params, sys.stderr.isatty())
            start_seconds = time.perf_counter() - began
            page = ProgressPage(experiment, folder, command)
            try:
                state = train_in_folder(to_train, state, checkpoints, folder, page)
                if state.best is not None:
                    log.info("%s", describe_weights(state, experiment.dataset))
                params = jax.device_get(state.sampled)
                reports.evaluate_run(experiment, folder, params, start_seconds, command)
            finally:
                page.stop()


def distill_run(config, path: str, command: str = "") -> None:
    """Distil the run in `path` into the run in config.train.init_from + "_few", see `train_run`."""
    train_run(config, path, command=command)


def sample_run(config, path: str, pretrained: str = "", command: str = "") -> None:
    """Draw from the newest checkpoint, or from a released model, and write samples and report."""
    about = None if pretrained else about_run(path)
    check(config, about)
    check_sample(config, config.sample, about=about)
    reports.sample_run(*_open(config, path, pretrained), command)


def evaluate_run(config, path: str, pretrained: str = "", command: str = "") -> None:
    """Draw from the newest checkpoint and evaluate the samples, like the end of `train_run`."""
    began = time.perf_counter()
    check_measured(config, None if pretrained else about_run(path))
    opened = _open(config, path, pretrained, with_data=True)
    reports.evaluate_run(*opened, time.perf_counter() - began, command)


def complete_run(
    config, path: str, points: str, pretrained: str = "", command: str = ""
) -> None:
    """Complete sets from the points of the table `points`, in the data's own units."""
    about = (None if pretrained else about_run(path)) or data.about(config.data)
    check(config, about)
    names = {"given": "--points", "given.shape": "--points: shape", "config.data.path": "--points"}
    with rename_fields(names, without=DATA_OPTION):
        table = read_points(points, dim=about.dim, usual=about.columns)
        check_sample(config, config.sample, given=table.points, about=about)
    opened = _open(config, path, pretrained)
    _check_one_set(table, config.data.set_column)
    log.info("points: %s: %s", Path(points).name, table.describe())
    if notes := [note for note in table.notes if not note.startswith(DATA_OPTION)]:
        log.warning("notice: %s", "; ".join(notes))
    reports.sample_run(*opened, command, table.points)


def _check_one_set(table: Points, set_column: str) -> None:
    """Raise UserError if a column of `table` says that its points are several sets.

    A column with another value in each of several rows names points.
    """
    for name, column in table.others.items():
        if name == set_column or has_role(name, "set"):
            num = len(encode(column)[1])
            require(num in (1, len(table.points)), f"--points: sets in column {name}", num, "1",
                    "All given points start every drawn set: keep one set")  # fmt: skip


def live_run(config, path: str, pretrained: str = "") -> None:
    """Write live.html, which samples the newest checkpoint or a released model in the browser.

    Without a config, the page holds all released models, models with labels first, and trains a
    new model. Then tour.html, the guided page, is written beside it.
    """
    if config is None:
        set_up(default_config())
        run_folder.make_writable(path, holds_run=False)
        models = [live_model(*released.load_released(name), name) for name in released.names()]
        models.sort(key=lambda model: -len(model["labels"]))
        training = training_data()
    else:
        check(config, None if pretrained else about_run(path))
        experiment, _, params = _open(config, path, pretrained)
        models, training = [live_model(experiment, params)], None
    file = Path(path).expanduser() / "live.html"
    write_page(file, live_page(models, training))
    log.info("wrote %s; open it in a browser", file)
    if config is None:
        tour = file.with_name("tour.html")
        write_page(tour, tour_page(next(model for model in models if model["name"] == TOUR_MODEL)))
        log.info("wrote %s; open it for a guided tour", tour)


def compare_run(config, path: str, runs: str) -> None:
    """Write compare.html: two or more runs side by side, drawn with the seed of the first run."""
    folder = run_folder.make_writable(path)
    set_up(config)
    file = write_comparison(folder, runs_of(runs), config.sample)
    log.info("wrote %s; open it in a browser", file)


def draw_run(config, path: str) -> None:
    """Write draw.html, a page to draw shapes, which a model can then learn."""
    file = run_folder.make_writable(path) / "draw.html"
    html = render("draw.html", title="Draw what is to be learned", version=__version__,
                  program=program_name(), training=training_data(with_shapes=False))  # fmt: skip
    write_page(file, html)
    log.info("wrote %s; open it in a browser", file)


def replay_run(config, path: str) -> None:
    """Repeat the step of diverged.npz that was not finite, and print which values are not finite.

    No file is changed.
    """
    set_up(config)
    experiment = build(config)
    folder = run_folder.open_to_read(path, config)
    run_folder.require_same_data(path, config, experiment.dataset)
    print(*debug_step.describe(experiment, debug_step.read(folder, experiment)), sep="\n")


# ---------------------------------------------------------------- setup


def set_up(config) -> None:
    """Prepare the process before the first array, without touching a file of the run.

    So a bad config leaves no trace. Raises UserError without a device or a required package.
    """
    if config.compilation_cache:
        folder = Path(config.compilation_cache).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # By default JAX does not cache programs that compile in under 1 s. A run has many of these.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if config.log.tensorboard:
        require_tensorboard()
    try:
        jax.devices()
    except RuntimeError as error:
        raise UserError(f"JAX finds no device to run on ({reason_of(error)})") from error


def _open(
    config, path: str, pretrained: str = "", with_data: bool = False
) -> tuple[Experiment, Path, dict]:
    """Experiment in `path`, its folder, and the EMA weights of its newest checkpoint.

    With `pretrained`, the experiment and the weights are a released model, and `path` holds its
    samples.
    """
    if pretrained:
        run_folder.make_writable(path, holds_run=False)
        set_up(config)
        experiment, params = released.load_released(pretrained, config, with_data)
    else:
        run_folder.make_writable(path, holds_run=True)
        set_up(config)
        experiment, params = load(path, config, with_data)
    announce(experiment)
    return experiment, Path(path).expanduser(), params


def announce(experiment: Experiment) -> None:
    """Log the data, the device and the schedule."""
    dataset, device = experiment.dataset, jax.devices()[0]
    log.info("data: %s", describe_data(dataset))
    if experiment.config.quick:
        log.warning("notice: %s", quick_notice(experiment.config))
    log.info("device: %d x %s", jax.device_count(), device.device_kind)
    if unused := devices.unused_accelerator():
        log.warning("warning: %s", unused)
    snr = experiment.process.schedule.terminal_snr
    log.info("schedule: %s, terminal SNR %.2g", experiment.config.schedule.name, snr)
    if snr > TERMINAL_SNR_WARNING:
        log.warning(
            "warning: terminal SNR above %g: the last noise level still shows the data, and "
            "samples will be fuzzy; use more levels or more noise", TERMINAL_SNR_WARNING,
        )


def describe_data(dataset) -> str:
    """Describe the data in words: for a table the file and its columns, else title and source."""
    if dataset.details and dataset.columns and not dataset.members:
        return dataset.details
    source = "" if dataset.source in ("analytic", "") else f", from {dataset.source}"
    return f"{dataset.title}{source}{f'; {dataset.details}' if dataset.details else ''}"
