"""Every option there is, with its default and its meaning. `configs/*.py` change some of them."""

from ml_collections import ConfigDict


class SampleOptions(ConfigDict):
    """The `sample` part of a config, whose label may be assigned as a number: 3 becomes "3"."""

    def __setitem__(self, name: str, value) -> None:
        is_int = isinstance(value, int) and not isinstance(value, bool)
        super().__setitem__(name, str(value) if name == "label" and is_int else value)


def default_config(model: str = "") -> ConfigDict:
    """The options of a run; with `model`, those that its recipe in models/recipes.py chooses.

    The types are fixed: 1.0 stays a float, "" a text. Raises UserError for an unknown model.
    """
    config = _all_options()
    if model:
        from tiny_diffusion_jax.models.recipes import recipe  # imports jax: only when needed

        config.update_from_flattened_dict(recipe(model))
    return config


def flatten(config) -> dict:
    """{"train.steps": 12000, ...} of a config, or of a dictionary of the same form."""
    fields = {}
    for part, value in config.items():
        is_part = isinstance(value, (ConfigDict, dict))
        fields |= {f"{part}.{name}": v for name, v in value.items()} if is_part else {part: value}
    return fields


def _all_options() -> ConfigDict:
    config = ConfigDict()
    config.name = "run"  # of the default workdir, runs/<name>
    config.seed = 0  # of weights and training

    config.data = ConfigDict(dict(
        # moons, circle, line, eight_gaussians, two_spirals, pinwheel, checkerboard, rings,
        # swiss_roll, dino | image | points | mnist | mixture | mnist_sets | sets
        name="moons",
        normalize=True,  # mean 0 and variance 1 for the network; samples come back in own units
        jitter="none",  # spread of a drawn point: none, gaussian, or uniform (in its pixel)
        jitter_std=0.0,  # of gaussian jitter: pixels for pictures, the table's units for points
        path="",  # image, points: the file; sets: a table, an array or a folder of pictures
        # image, sets: yes = dark is dense, no = light is dense, auto = what the border is not
        invert="auto",
        threshold=0.0,  # image, mnist, sets of pictures: ink in [0, 1] below this counts as 0
        max_side=256,  # image, sets: larger pictures are reduced to this many pixels a side
        # points, sets: names "x,y" or numbers "0,1", two or more; "" = x, y (and z), else longitude
        # and latitude, else the first two columns of numbers that are no identifiers
        columns="",
        header="auto",  # points, sets: does the table start with names? yes, no, auto
        where="",  # points, sets: keep only these rows, "column=value"
        # points, sets: name of the array in an .npz file or of the sheet in an .xlsx file; "" = the
        # array called points, or the first
        array="",
        skip_incomplete=False,  # points, sets: leave out rows with missing values
        skip_small=False,  # sets: leave out sets with fewer than 2 points
        per_axis=False,  # points, sets: each coordinate has its own scale; False: one for all
        clip_outliers=False,  # points, sets: leave out rows far from all others; False: a notice
        # points without jitter: share of the rows kept from training, to measure likelihood on;
        # sets: share of the sets, to compare generated ones with
        heldout=0.1,
        set_column="",  # sets: names the set of each row; "" = set, set_id, id or group
        # sets: a label for each set, any text; "" = a column named label if there is one; "none"
        label_column="",
        # sets: train or test, for each set; "" = a column named split if there is one; "none"
        split_column="",
        skip_unreadable=False,  # sets of pictures: leave out those that cannot be read or are blank
        # sets: each drawn set is moved, turned, ... as a whole, so that few sets stand for many:
        augment_shift=0.0,  # by a normal number of this standard deviation, in normalised units
        augment_rotate=False,  # by any angle, about the mean of all data
        augment_scale=0.0,  # by a factor whose log has this standard deviation
        augment_reflect=False,  # every other set: in the first coordinate
        digit=0,  # mnist: the class, 0..9
        index=0,  # mnist: which image of that class in the training split
        source="auto",  # mnist: tfds, openml, digits (8x8, bundled), auto = the first that works
        data_dir="",  # mnist: of tensorflow_datasets; "" = $TFDS_DATA_DIR, else its own default
        cache_dir="",  # mnist: of downloads and decoded images; "" = ~/.cache/tiny_diffusion_jax
        # mixture: "dino+moons+mnist:3+cat.png": shapes, mnist:DIGIT[:INDEX], files, some rows of
        # a table as "table.csv?column=value", or a member for each value, "table.csv?column", and
        # folders of finished runs, whose samples.npy stands for what they were trained on
        members="",
        weights="",  # mixture: "0.3+0.7", one number a member, of sum 1; "" = equal
        order="shuffled",  # mixture: shuffled, or sequential: trained on one member after the other
        align=True,  # mixture: bring each member to mean 0 and mean variance 1; False: own units
        digits="",  # mnist_sets: "017" = only these digits; "" = all
        max_images=0,  # mnist_sets: train on the first so many images only; 0 = all
        # mnist_sets, sets of pictures: draw pixels with replacement; False: different pixels
        replace=True,
    ))
    config.schedule = ConfigDict(dict(
        name="karras",  # linear, quadratic, cosine, seed_cosine, karras, flow
        num_levels=1000,  # T
        beta_min=1e-4,  # linear, quadratic, seed_cosine
        beta_max=0.02,
        sigma_min=0.002,  # karras, in units of the normalised data
        sigma_max=12.0,
        rho=7.0,  # karras: larger puts more levels near the data
    ))
    config.diffusion = ConfigDict(dict(
        prediction="edm",  # what the network outputs: eps, x0, v, edm (preconditioned)
        weighting="simple",  # of the loss over noise levels: simple, min_snr, likelihood
    ))
    config.model = ConfigDict(dict(
        # fourier_mlp | history, causal, set_transformer, set_latent
        # | the student project's: seq2seq, attention_v1, attention_v2
        # | and these made to separate: seq2seq_aligned, attention_v1_own, attention_v2_own
        name="fourier_mlp",
        labels=False,  # tell the model the label of each set: the member, or the digit
        # condition the model on the number of points of each set, which must vary in training
        count=False,
        hidden_dim=128,
        num_blocks=3,
        num_heads=4,  # history, causal, set_transformer
        num_inducing=32,  # set_transformer: learned queries that read the set; 0 = full attention
        context_dim=96,  # causal: width of the transformer; hidden_dim is that of the head
        context_blocks=3,  # causal: its blocks; num_blocks is those of the head
        # causal: points come row by row, from the top, each row from left to right, and sets cannot
        # be completed; the height of a row in the data's units, 0 = points in random order
        row_height=0.0,
        latent_dim=16,  # set_latent: numbers in the latent of a set
        latent_noise=0.1,  # set_latent: blur of the latents that the decoder is trained with
        teacher_forcing=0.5,  # seq2seq: share of the sets whose decoder is told the answers so far
        state_dim=64,  # seq2seq_aligned: cells of each LSTM
        encoder="both",  # seq2seq_aligned: the ways in which it reads the set: forward, both
        embedding="sinusoidal",  # of coordinates: sinusoidal, gaussian, learned, identity
        num_frequencies=32,  # per coordinate (sinusoidal) or in all (gaussian, learned)
        # highest frequency (sinusoidal), or their spread (gaussian, learned): these want about 12
        scale=100.0,
        max_period=1000.0,  # sinusoidal: highest over lowest frequency
        fade=True,  # waves of noisy coordinates fade out with t, each as it learns to
        time_frequencies=16,
        time_scale=50.0,  # t / T is multiplied by this: T gives the classic features of t
    ))
    config.train = ConfigDict(dict(
        steps=12000,
        init_from="",  # folder of a run: start from its averaged weights; "" = from random ones
        num_sets=64,  # B: sets in a batch, each at a noise level of its own
        num_points=8,  # N: points of each set
        min_points=0,  # set sizes log-uniform from this to num_points; 0 = always num_points
        max_points=0,  # blocks of sets of 4, 16, ... x num_points, too, up to this; 0 = none
        num_levels=4,  # causal: noise levels at which each point is denoised in a step
        max_history=64,  # history, attention: most clean points shown; set_latent: points encoded
        min_history=1,  # history: fewest; their number is log-uniform
        history_drop=0.15,  # history, attention: share that is shown none, as a set's first points
        label_drop=0.15,  # with labels: share of sets that are not told theirs
        optimizer="adamw",  # adamw, muon (matrices by muon, all else by adam)
        learning_rate=3e-3,  # peak, after a linear warm-up; a cosine takes it to 0
        warmup=200,  # steps, or a tenth of all if that is less
        weight_decay=1e-4,
        clip_norm=1.0,  # gradients longer than this are shortened to it
        # products of matrices in the network: default is what the device does fastest, bfloat16 on
        # TPUs and TF32 on recent GPUs; or float32, as CPUs always do
        precision="default",
        ema_decay=0.998,  # of the averaged weights that samples are drawn with
        keep_best=False,  # draw with those of the lowest held-out loss, not with the last ones
        # keep_best: choose on half of the held-out sets, report on the others; False: both on all
        split_heldout=True,
        block=200,  # steps compiled as one program; one line of metrics.jsonl each
        checkpoint_every=4000,  # steps, rounded up to whole blocks
        keep=2,  # checkpoints kept
    ))
    config.sample = SampleOptions(dict(
        sampler="dpm++2m",  # ancestral, ddim, dpm++2m, sde-dpm++2m, heun
        num_steps=25,
        spacing="time",  # of the levels visited: even in time or in log_snr
        sigma_min=0.0,  # log_snr: noise (sigma / alpha) of the last before the data; 0 = the lowest
        eta=0.0,  # ddim: 0 = deterministic ... 1 = ancestral
        num_sets=32,
        num_points=4000,  # 0: each set's own, as often as in the data (sets that were observed)
        seed=1,
        # models with labels: the label of every set, by its own name; "" or -1 = random ones,
        # -2 = none. A label that is called -1 or -2 comes first.
        label="",
        guidance_scale=1.0,  # of the label, or of the history where there is none: 1 = as learned
        first_block=1,  # history, causal, attention: points drawn first, with no history
        growth=1.5,  # and a block that takes the set from n to growth x n points; 1 = equal blocks
        burn_in=0,  # history, attention: points drawn first and thrown away; causal: must be 0
        precision="default",  # as train.precision; a likelihood is always in float32
        memory_mb=1024,  # larger requests are drawn in chunks that need about this much
    ))
    config.evaluate = ConfigDict(dict(
        seed=2,  # of the real draws
        num_projections=128,  # sliced Wasserstein: directions
        exact_points=1000,  # exact 2-Wasserstein: points, at most 2000 (cost grows as their cube)
        likelihood_steps=48,  # Runge-Kutta steps of the probability-flow ODE
        # mixtures and sets: real sets whose log-likelihood is taken, of at most 64 points (joint
        # models of sets, and causal in rows: of at most train.num_points); 0 = none
        likelihood_sets=32,
        density_steps=16,  # the same for the density picture, which needs less
        density_size=160,  # pixels a side of the density picture; 0 = no picture
        heldout_points=2000,  # likelihood: points
        frames=48,  # of the animations; 0 = none
        gifs=True,  # write animations; False: report.html alone shows how the points move
        max_sets=500,  # mnist_sets: sets that are compared with as many real ones
        guidance_scale=2.0,  # mnist_sets: of the sets whose label is checked
    ))
    config.log = ConfigDict(dict(
        tensorboard=False,  # also write TensorBoard event files (needs `tensorboardX`)
    ))
    # Compiled programs are kept here, so that a second start is faster; "" = nowhere.
    config.compilation_cache = "~/.cache/tiny_diffusion_jax/xla"
    return config.lock()  # a misspelt field in a config file is an error, not a new field
