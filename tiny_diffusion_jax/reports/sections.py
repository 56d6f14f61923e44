"""The sections of a report: one row for each kind of data and model.

A row says when its section applies, and has the functions of its metrics, figures and panels and
the words for its metrics. metrics.json, the figures, the log and report.html follow from these
rows. To add a metric or a figure, write a function of `ReportData` and name it in a row.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tiny_diffusion_jax.reports import density, player, save_samples, sets, training
from tiny_diffusion_jax.reports.data import ReportData
from tiny_diffusion_jax.reports.words import (
    Text,
    frequencies,
    label_accuracy,
    log_likelihood,
    near_zero,
    set_log_likelihood,
)


class Section(NamedTuple):
    """One row of the report. A figure or panel without content returns False or None."""

    name: str
    applies: Callable[[ReportData], bool]
    metrics: Callable[[ReportData], dict] = lambda data: {}  # entries of metrics.json
    # {name of a file: function that writes it}
    figures: Mapping[str, Callable[[ReportData, Path], bool | None]] = {}
    # {name of a template in web/templates/parts: function that returns its data}
    panels: Mapping[str, Callable[[ReportData], dict | None]] = {}
    words: Mapping[str, tuple[str, Text]] = {}  # {metric: (name, description)}


def is_density(data: ReportData) -> bool:
    """Return whether samples of one density are compared with its data."""
    return data.is_comparable and not data.shows_sets


def is_sets(data: ReportData) -> bool:
    """Return whether sets of members or of many sources are compared with real sets."""
    return data.is_comparable and data.shows_sets


def is_collection(data: ReportData) -> bool:
    """Return whether the data are images or observed sets, each of which is one set."""
    return data.is_comparable and data.dataset.num_sources > 0


def has_set_likelihood(data: ReportData) -> bool:
    """Return whether to measure the likelihood of sets, which the model must define.

    If the history comes from another batch, it is not part of the set, so there is no likelihood.
    """
    return (is_sets(data) and data.config.likelihood_sets > 0 and data.has_likelihood
            and data.model.traits.history_source != "previous_batch")  # fmt: skip


def has_films(data: ReportData) -> bool:
    return data.config.frames > 0 and data.config.gifs


RATIO = "{ratio:.2f} x the floor{interval}"
COVERAGE = ("{value:%} of real sets are the nearest to some generated one; real sets reach "
            "{floor:%}{interval}")  # fmt: skip
NEIGHBOURS = ("accuracy of telling real from generated sets by the nearest neighbour: 0.5 is "
              "chance, 1 is always right; real sets score {floor}{interval}")  # fmt: skip

SECTIONS = (
    Section("training", lambda data: data.is_comparable,
        figures={"loss.png": training.loss_figure}),
    Section("samples", lambda data: not data.shows_sets,
        metrics=density.cloud_metrics,
        figures={"samples.png": density.samples_figure},
        words={
            "sliced_wasserstein2": ("Sliced W2", RATIO),
            "wasserstein2": ("W2, exact", RATIO),
            "energy_distance": ("Energy distance", near_zero),
            "mmd_rbf": ("MMD", near_zero),
        }),
    Section("likelihood",
        lambda data: is_density(data) and data.has_point_density,
        metrics=density.likelihood,
        words={"log_likelihood": ("Log-likelihood", log_likelihood)}),
    Section("density", lambda data: data.has_density,
        metrics=density.total_variation,
        panels={"field": density.field_panel},
        words={"total_variation": ("Total variation", "{value:%} of the mass lies elsewhere than "
                                   "in the data; the floor is {floor:%}")}),
    Section("transport", lambda data: is_density(data) and data.dataset.start is not None,
        metrics=density.transport,
        words={"path_energy": ("Path energy", "{value:} x the squared W2 between start and samples"
                               "; 1 = straight paths, each to the nearest possible point")}),
    Section("trajectory", is_density,
        figures={"trajectory.npy": density.trajectory_array}),
    Section("films", lambda data: is_density(data) and has_films(data),
        figures={"reverse.gif": density.reverse_film, "forward.gif": density.forward_film}),
    Section("completion", lambda data: data.given is not None,
        figures={"completed.png": sets.sets_figure}),
    Section("sets", lambda data: data.given is None and data.shows_sets,
        figures={"sets.png": sets.sets_figure}),
    Section("members", lambda data: is_sets(data) and bool(data.dataset.members),
        metrics=sets.member_metrics,
        words={
            "separation": ("Separate sets", "{value:%} of the sets are one member and nothing "
                           "else; of real sets {floor:%} pass the test"),
            "stray": ("Stray points", "{value:%} of the points are far from their set's member; "
                      "of real points {floor:%}"),
            "frequency_error": ("Frequency error", frequencies),
            "within_sliced_wasserstein2": ("Sliced W2 within a member", RATIO),
        }),
    Section("collection", is_collection,
        metrics=sets.collection_metrics,
        words={
            "mmd_cd": ("MMD, chamfer", RATIO),
            "mmd_emd": ("MMD, earth mover", RATIO),
            "cov_cd": ("Coverage, chamfer", COVERAGE),
            "cov_emd": ("Coverage, earth mover", COVERAGE),
            "nna_cd": ("1-NNA, chamfer", NEIGHBOURS),
            "nna_emd": ("1-NNA, earth mover", NEIGHBOURS),
            "copies": ("Copies", "{value:%} of the sets are suspiciously close to a training set; "
                       "of new real ones {floor:%}"),
            "sizes": ("Sizes of sets", "sets have {mean:.1f} ± {sd:.1f} points, real ones "
                      "{true_mean:.1f} ± {true_sd:.1f}"),
            "outside": ("Outside of the data", "{value:%} of the points are outside of the box of "
                        "all real points; of a new real set {floor:%}"),
            "neighbours": ("Nearest neighbours", "the distance to the nearest point of the set is "
                           "{mean} ± {sd}, in real sets {true_mean} ± {true_sd}"),
        }),
    Section("labels", lambda data: is_collection(data) and data.model.num_labels > 0,
        metrics=sets.label_accuracy,
        figures={"labels.png": sets.label_figure},
        words={"label_accuracy": ("Label accuracy", label_accuracy)}),
    Section("set_likelihood", has_set_likelihood,
        metrics=sets.likelihood,
        words={"set_log_likelihood": ("Log-likelihood of sets", set_log_likelihood)}),
    Section("attention", is_sets,
        figures={"attention.png": sets.attention_figure}),
    Section("set_film", lambda data: is_sets(data) and has_films(data),
        figures={"birth.gif": sets.set_film}),
    Section("page", lambda data: True,
        panels={"player": player.player_panel, "loss": training.loss_panel_of,
                "samples": save_samples.table_panel}),
)  # fmt: skip


def sections_of(data: ReportData) -> list[Section]:
    """Sections that suit this data and this model."""
    return [section for section in SECTIONS if section.applies(data)]
