"""All options of a run: name, default, meaning, allowed values, and what the option applies to.

Configs, checks of single options, the help of the command line and docs/options.md follow from this
table. checks.py holds the rules of options that depend on each other.
"""

import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tiny_diffusion_jax.recipes import RECIPES


class Rule(NamedTuple):
    """A rule of values: `holds(value)`, and `words`, which follow "must be" in a message."""

    holds: Callable[[Any], bool]
    words: str


def one_of(choices: str) -> Rule:
    names = choices.split()
    return Rule(lambda value: value in names, "one of " + ", ".join(names))


def at_least(least: float) -> Rule:
    return Rule(lambda value: value >= least, f"at least {least}")


def above(limit: float) -> Rule:
    return Rule(lambda value: value > limit, f"above {limit}")


def interval(text: str) -> Rule:
    """Rule of an interval: "[0, 1)" holds for 0 <= value < 1."""
    low, high = map(float, text[1:-1].split(","))
    left = operator.ge if text[0] == "[" else operator.gt
    right = operator.le if text[-1] == "]" else operator.lt
    return Rule(lambda value: left(value, low) and right(value, high), f"in {text}")


ANY = Rule(lambda value: True, "")
FINITE = interval("(-3e38, 3e38)")._replace(words="a finite number")  # about the range of float32
SEED = interval("[0, 4294967295]")


def _is_order(text: str) -> bool:
    kind, _, value = text.partition(":")
    if kind in ("rows", "columns"):
        number = re.fullmatch(r"(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", value)
        return number is not None and 0 < float(value) < 3e38
    return text == "random" or kind == "coordinate" and value.removesuffix(":desc") != ""


SHARE = interval("[0, 1]")
SWITCH = one_of("auto yes no")
PRECISION = one_of("default float32")
ORDER = Rule(
    _is_order, "random, rows:HEIGHT, columns:WIDTH, coordinate:NAME or coordinate:NAME:desc"
)
DIGITS = Rule(lambda text: set(text) <= set("0123456789"), "digits such as '017', or '' for all")


class Option(NamedTuple):
    """One option. The type of `default` is the type of the option."""

    name: str  # with its part of the config, as in "train.steps"
    default: Any
    help: str
    rule: Rule = ANY
    applies: str = ""  # data, models, samplers or schedules that use the option; "": all

    @property
    def allowed(self) -> str:
        """The allowed values in words: the rule, or else the type."""
        return self.rule.words or TYPES[type(self.default)]

    @property
    def type_and_rule(self) -> str:
        """The type and the rule in words, for a value of another type."""
        return ", ".join(filter(None, (TYPES[type(self.default)], self.rule.words)))


TYPES = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
DATA = one_of(
    "moons circle line eight_gaussians two_spirals pinwheel checkerboard rings swiss_roll dino "
    "tree image points mnist mixture function mnist_sets sets"
)

# Data and models that use an option.
TABLES, MNIST, MANY = "points, sets", "mnist, mnist_sets", "sets, mnist_sets"
IMAGES, PIXELS = "image, pictures in sets", "mnist_sets, pictures in sets"
JITTERED = "image, mnist, points"
ATTENTION = "history, attention"
HISTORY, BLOCKS = f"{ATTENTION}, set_latent", f"{ATTENTION}, causal"

# Rows (name, default, help, rule, applies) of each part of a config, as in `Option`.
ROWS = {}
ROWS[""] = (
    ("name", "run", "name of the default run folder, runs/NAME"),
    ("seed", 0, "random seed of the weights and the training", SEED),
    ("quick", False, "mark every output as of a run that is too short to judge; --quick sets this "
     "and fewer steps and samples"),
    ("compilation_cache", "~/.cache/tiny_diffusion_jax/xla", "folder of compiled programs, which "
     "make a second start faster; '' = none"),
)  # fmt: skip
ROWS["data"] = (
    ("name", "moons", "a shape, or a kind of data", DATA),
    ("start", "", "density that a flow starts from in place of Gaussian noise: a shape, "
     "mnist:DIGIT[:INDEX], a picture or a table; '' = noise", ANY, "fourier_mlp, schedule flow"),
    ("normalize", True, "mean 0 and variance 1 for the network; samples keep their units"),
    ("jitter", "none", "noise added to a drawn point; uniform = within its pixel",
     one_of("uniform gaussian none")),
    ("jitter_std", 0.0, "std of gaussian jitter: pixels, or units of the table", at_least(0),
     JITTERED),
    ("path", "", "the file, or the folder of pictures", ANY, "image, points, sets"),
    ("invert", "auto", "yes = dark is dense, no = light is, auto = by the border", SWITCH, IMAGES),
    ("threshold", 0.0, "intensity below which a pixel is empty", SHARE,
     "image, mnist, mnist_sets, pictures in sets"),
    ("max_side", 256, "larger pictures are reduced to this many pixels per side", at_least(1),
     IMAGES),
    ("columns", "", "coordinates: names x,y or numbers 0,1, two or more; '' = x, y (and z), else "
     "longitude and latitude, else the first two columns of numbers", ANY, TABLES),
    ("header", "auto", "whether the table starts with names", SWITCH, TABLES),
    ("where", "", "keep only these rows, column=value", ANY, TABLES),
    ("array", "", "array of .npz or sheet of .xlsx; '' = points, or the first", ANY, TABLES),
    ("skip_incomplete", False, "leave out rows with missing values", ANY, TABLES),
    ("skip_small", False, "leave out sets with fewer than 2 points", ANY, "sets"),
    ("per_axis", False, "each coordinate has its own scale; False = one for all", ANY, TABLES),
    ("clip_outliers", False, "leave out rows far from all others; False = a notice", ANY, TABLES),
    ("heldout", 0.1, "share of rows (points without jitter) or of sets held out to measure the "
     "model", interval("[0, 0.5]"), TABLES),
    ("set_column", "", "column with the set of a row; '' = set, set_id, id or group", ANY, "sets"),
    ("label_column", "", "column of labels; '' = the column label; none = no labels", ANY, "sets"),
    ("split_column", "", "column of train or test; '' = split; none = no split", ANY, "sets"),
    ("skip_unreadable", False, "leave out unreadable and blank pictures", ANY, "pictures in sets"),
    ("augment_shift", 0.0, "std of a random shift of each set, in normalised units", at_least(0),
     MANY),
    ("augment_rotate", False, "rotate each set by a random angle about the mean of all data", ANY,
     MANY),
    ("augment_scale", 0.0, "std of the log of a random factor of each set", SHARE, MANY),
    ("augment_reflect", False, "reflect half of the sets in the first coordinate", ANY, MANY),
    ("digit", 0, "class of the digit", interval("[0, 9]"), "mnist"),
    ("index", 0, "number of the image in its class, in the training split", ANY, "mnist"),
    ("source", "auto", "digits = 8x8, bundled; auto = the first that works",
     one_of("auto tfds openml digits"), MNIST),
    ("data_dir", "", "folder of tensorflow_datasets; '' = $TFDS_DATA_DIR or its default", ANY,
     MNIST),
    ("cache_dir", "", "folder of downloads; '' = ~/.cache/tiny_diffusion_jax", ANY, MNIST),
    ("members", "", "members joined by +: a shape, mnist:DIGIT[:INDEX], a file, the folder of a "
     "run with samples; table.csv?column=value selects rows, table.csv?column makes a member of "
     "each value", ANY, "mixture"),
    ("weights", "", "0.3+0.7, a probability for each member; '' = equal", ANY, "mixture"),
    ("order", "shuffled", "sequential = one member after the other", one_of("shuffled sequential"),
     "mixture"),
    ("align", True, "give each member mean 0 and mean variance 1; False = own units", ANY,
     "mixture"),
    ("digits", "", "017 = only these digits; '' = all", DIGITS, "mnist_sets"),
    ("max_images", 0, "number of images to train on, from the first; 0 = all", at_least(0),
     "mnist_sets"),
    ("replace", True, "draw pixels with replacement; False = different pixels", ANY, PIXELS),
)  # fmt: skip
ROWS["schedule"] = (
    ("name", "karras", "family of noise schedules",
     one_of("linear quadratic student_cosine cosine karras flow")),
    ("num_levels", 1000, "T, the number of noise levels", interval("[1, 1000000]")),
    ("beta_min", 1e-4, "smallest beta", interval("(0, 1)"),
     "linear, quadratic, student_cosine"),
    ("beta_max", 0.02, "largest beta, at least beta_min", interval("(0, 1)"),
     "linear, quadratic, student_cosine"),
    ("sigma_min", 0.002, "sigma of the first level, in units of the normalised data", above(0),
     "karras"),
    ("sigma_max", 12.0, "sigma of the last level, above sigma_min", interval("(0, 1000000]"),
     "karras"),
    ("rho", 7.0, "a larger rho puts more levels near the data", interval("[0.1, 1000]"), "karras"),
)  # fmt: skip
ROWS["diffusion"] = (
    ("prediction", "edm", "output of the network; edm = preconditioned", one_of("eps x0 v edm")),
    ("weighting", "simple", "weights of the noise levels in the loss",
     one_of("simple min_snr likelihood")),
    ("levels", "uniform", "law of the noise levels in training: uniform in t; log_normal = log of "
     "sigma / alpha normal with mean -1.2 and std 1.2 (EDM); distances = sigma / alpha as the "
     "distance of two real points", one_of("uniform log_normal distances")),
)  # fmt: skip
ROWS["model"] = (
    ("name", "fourier_mlp", "the denoiser; custom = the module that td.build or td.load is given",
     one_of(" ".join([*RECIPES, "custom"]))),
    ("labels", False, "condition on the label of each set: the member or the digit"),
    ("sizes", False, "condition on the number of points of each set, which must vary"),
    ("hidden_dim", 128, "width of the network", at_least(1)),
    ("num_blocks", 3, "residual blocks", at_least(0)),
    ("num_heads", 4, "attention heads, a divisor of the width", ANY,
     "history, causal, set_transformer"),
    ("num_inducing", 32, "learned queries that read the set; 0 = full attention", at_least(0),
     "set_transformer"),
    ("context_dim", 96, "width of the transformer (head: hidden_dim)", at_least(1), "causal"),
    ("context_blocks", 3, "blocks of the transformer (head: num_blocks); 0 = the head attends to "
     "the earlier points as they are", at_least(0),
     "causal"),
    ("order", "random", "order in which the points of a set are drawn: row by row from the top, "
     "each row from left to right; column by column from the left; or by one coordinate. Lengths "
     "are in the units of the data", ORDER, "causal"),
    ("given_share", 0.0, "share of the training sets of which random points are given before the "
     "sorted points, which lets a model with an order complete sets", SHARE, "causal"),
    ("relative", False, "the denoiser sees earlier points relative to the noisy point (rotary "
     "positions): for points that attract, repel or follow each other", ANY, "causal"),
    ("latent_dim", 16, "numbers in the latent of a set", at_least(2), "set_latent"),
    ("latent_noise", 0.1, "std of the noise on latents in training of the decoder", at_least(0),
     "set_latent"),
    ("teacher_forcing", 0.5, "share of sets whose decoder reads correct outputs", SHARE, "seq2seq"),
    ("state_dim", 64, "cells of each LSTM", at_least(1), "seq2seq_aligned"),
    ("encoder", "both", "directions of the encoder", one_of("forward both"), "seq2seq_aligned"),
    ("embedding", "sinusoidal", "features of coordinates",
     one_of("sinusoidal gaussian learned identity")),
    ("num_frequencies", 32, "frequencies per coordinate, or in total (gaussian, learned)",
     at_least(1)),
    ("scale", 100.0, "highest frequency (sinusoidal), or std of the frequencies (gaussian, "
     "learned: use about 12)", above(0)),
    ("max_period", 1000.0, "ratio of the highest to the lowest frequency", at_least(1),
     "embedding sinusoidal"),
    ("fade", True, "features of noisy coordinates fade with t, each by a learned gate"),
    ("time_frequencies", 16, "frequencies of t", at_least(1)),
    ("time_scale", 50.0, "t / T is multiplied by this; T gives the classic features", above(0)),
)  # fmt: skip
ROWS["train"] = (
    ("steps", 12_000, "training steps", interval("[1, 2147483647]")),
    ("init_from", "", "run folder: start from its EMA weights; '' = random weights"),
    ("trajectories", 0, "sets that the model of init_from generates, to distil it: the network "
     "learns the end of each trajectory (--mode=distill); 0 = learn the data", at_least(0)),
    ("num_sets", 64, "B: sets in a batch, each at its own noise level", at_least(1)),
    ("num_points", 8, "N: points of each set", at_least(1)),
    ("min_points", 0, "sizes are log-uniform from this to num_points; 0 = num_points", at_least(0)),
    ("max_points", 0, "also train on 4, 16, ... x num_points, at most this; 0 = none", at_least(0)),
    ("pairs", "independent", "pairs of data and noise (or data.start) in a batch; optimal = by "
     "optimal transport", one_of("independent optimal"), "fourier_mlp, schedule flow"),
    ("references", 1024, "points of a batch whose mean given x_t is the target of a point, which "
     "lowers the variance (arXiv 2302.00670); 0 = its own x_0", at_least(0),
     "fourier_mlp of one density without labels, but not of rows without jitter"),
    ("num_levels", 4, "noise levels at which each point is denoised in a step", at_least(1),
     "causal"),
    ("max_history", 64, "largest size of the history, or points to encode", at_least(1), HISTORY),
    ("min_history", 1, "smallest size of the history; sizes are log-uniform", at_least(1),
     "history"),
    ("history_drop", 0.15, "share of sets without a history, as first points", SHARE, ATTENTION),
    ("label_drop", 0.15, "share of sets whose label is dropped", SHARE, "models with labels"),
    ("optimizer", "adamw", "muon = muon for matrices, adam for the rest", one_of("adamw muon")),
    ("learning_rate", 3e-3, "peak, after a linear warm-up, before a cosine decay to 0", above(0)),
    ("warmup", 200, "steps of the warm-up, at most a tenth of all steps", at_least(0)),
    ("weight_decay", 1e-4, "decay of the weights, times the learning rate", at_least(0)),
    ("clip_norm", 1.0, "largest norm of the gradient; longer ones are scaled down", above(0)),
    ("precision", "default", "matrix products; default = the fastest of the device (TPU: "
     "bfloat16, recent GPU: TF32, CPU: float32)", PRECISION),
    ("ema_decay", 0.998, "decay of the EMA weights, which draw the samples", interval("[0, 1)")),
    ("keep_best", False, "draw with the EMA weights of the lowest held-out loss; for a table "
     "of points, if rows are held out"),
    ("split_heldout", True, "keep_best chooses on half of the held-out sets; False = on all"),
    ("block", 200, "steps in one program, which write one line of metrics.jsonl", at_least(1)),
    ("checkpoint_every", 4000, "steps between checkpoints, rounded up to blocks", at_least(1)),
    ("keep", 2, "number of checkpoints to keep", at_least(1)),
    ("snapshots", 10, "most snapshots of the EMA weights' samples and score field during training, "
     "for the slider of the report; 0 = none", at_least(0)),
)  # fmt: skip
ROWS["sample"] = (
    ("sampler", "dpm++2m", "the sampler; consistency = for distilled models",
     one_of("ancestral ddim dpm++2m sde-dpm++2m heun consistency")),
    ("num_steps", 25, "steps of the sampler, at most schedule.num_levels", at_least(1)),
    ("spacing", "time", "noise levels are evenly spaced in this", one_of("time log_snr")),
    ("sigma_min", 0.0, "sigma / alpha of the last noise level; 0 = lowest", SHARE,
     "spacing log_snr"),
    ("eta", 0.0, "0 = deterministic, 1 = ancestral", SHARE, "ddim"),
    ("num_sets", 32, "number of sets", at_least(1)),
    ("num_points", 4000, "points of each set; 0 = as in the data, for observed sets", at_least(0)),
    ("seed", 1, "random seed of the samples", SEED),
    ("label", "", "name of the label of every set; '' or -1 = random, -2 = none; a label with the "
     "name -1 or -2 takes precedence", ANY, "models with labels"),
    ("guidance_scale", 1.0, "guidance to the label, or else to the history; 1 = none"),
    ("first_block", 1, "points of the first block, which has no history", at_least(1), BLOCKS),
    ("growth", 1.5, "a block extends a set from n to growth x n points; 1 = equal blocks",
     at_least(1), BLOCKS),
    ("burn_in", 0, "first points, which are thrown away", at_least(0), ATTENTION),
    ("precision", "default", "as train.precision; likelihoods are always in float32", PRECISION),
    ("memory_mb", 1024, "larger requests are drawn in chunks of about this size", at_least(1)),
)  # fmt: skip
ROWS["evaluate"] = (
    ("seed", 2, "random seed of the real draws", SEED),
    ("num_projections", 128, "directions of the sliced Wasserstein distance", at_least(1)),
    ("exact_points", 1000, "points of the exact 2-Wasserstein distance (cubic cost)",
     interval("[1, 2000]")),
    ("likelihood_steps", 48, "Runge-Kutta steps of the probability-flow ODE", at_least(1)),
    ("likelihood_sets", 32, "real sets of at most 64 points whose log-likelihood is measured "
     "(joint, and causal of sorted points: of train.num_points); 0 = none", at_least(0),
     "mixture, sets, mnist_sets"),
    ("set_likelihood_steps", 24, "as likelihood_steps, for whole sets", at_least(1),
     "mixture, sets, mnist_sets"),
    ("density_steps", 16, "as likelihood_steps, for the density picture", at_least(1)),
    ("density_size", 160, "pixels per side of the density picture; 0 = no picture", at_least(0)),
    ("heldout_points", 2000, "points whose likelihood is measured", at_least(1)),
    ("frames", 48, "frames of the animations; 0 = none", at_least(0)),
    ("gifs", False, "write animations; False = only report.html shows how points move"),
    ("max_sets", 500, "sets to compare with the same number of real sets", at_least(2), MANY),
    ("guidance_scale", 2.0, "guidance of the sets that measure label accuracy", ANY, MANY),
)  # fmt: skip
ROWS["log"] = (
    ("tensorboard", False, "also write TensorBoard event files (needs tensorboardX)"),
)  # fmt: skip
OPTIONS = {
    option.name: option
    for part, rows in ROWS.items()
    for option in (Option(f"{part}.{name}".lstrip("."), *row) for name, *row in rows)
}
