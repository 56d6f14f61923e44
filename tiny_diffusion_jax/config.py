"""All options, with defaults and meanings. `configs/*.py` change some of them."""

from ml_collections import ConfigDict


class SampleOptions(ConfigDict):
    """The `sample` part of a config. Its label may be set to a number: 3 becomes "3"."""

    def __setitem__(self, name: str, value) -> None:
        is_int = isinstance(value, int) and not isinstance(value, bool)
        super().__setitem__(name, str(value) if name == "label" and is_int else value)


def default_config(model: str = "") -> ConfigDict:
    """Return the options of a run, with the settings of a recipe if `model` is given.

    recipes.py holds the recipes. The types are fixed: 1.0 stays a float, "" a text. Raises
    UserError for an unknown model.
    """
    config = _all_options()
    if model:
        from tiny_diffusion_jax.recipes import recipe  # imports jax: only when needed

        config.update_from_flattened_dict(recipe(model))
    return config


def flatten(config) -> dict:
    """Return {"train.steps": 12000, ...} of a config, or of a dictionary of the same form."""
    fields = {}
    for part, value in config.items():
        is_part = isinstance(value, (ConfigDict, dict))
        fields |= {f"{part}.{name}": v for name, v in value.items()} if is_part else {part: value}
    return fields


def _all_options() -> ConfigDict:
    config = ConfigDict()
    config.name = "run"  # name of the default run folder, runs/NAME
    config.seed = 0  # random seed of weights and training

    config.data = ConfigDict(dict(
        # moons, circle, line, eight_gaussians, two_spirals, pinwheel, checkerboard, rings,
        # swiss_roll, dino | image | points | mnist | mixture | mnist_sets | sets
        name="moons",
        normalize=True,  # mean 0 and variance 1 for the network; samples come back in own units
        jitter="none",  # noise added to a drawn point: none, gaussian, or uniform (in its pixel)
        jitter_std=0.0,  # std of gaussian jitter: pixels for pictures, the table's units for points
        path="",  # image, points: the file; sets: a table, an array or a folder of pictures
        # image, sets: yes = dark is dense, no = light is dense, auto = the opposite of the border
        invert="auto",
        threshold=0.0,  # image, mnist, sets of pictures: ink in [0, 1] below this counts as 0
        max_side=256,  # image, sets: larger pictures are reduced to this many pixels per side
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
        # points without jitter: share of the rows held out, to measure likelihood;
        # sets: share of the sets held out, to compare generated sets with
        heldout=0.1,
        set_column="",  # sets: names the set of each row; "" = set, set_id, id or group
        # sets: a label for each set, any text; "" = a column named label if there is one; "none"
        label_column="",
        # sets: train or test, for each set; "" = a column named split if there is one; "none"
        split_column="",
        skip_unreadable=False,  # sets of pictures: leave out unreadable and blank pictures.
        # sets: move, rotate, scale or reflect each drawn set as a whole, to augment few sets.
        augment_shift=0.0,  # std of a normal shift, in normalised units.
        augment_rotate=False,  # by a random angle, about the mean of all data.
        augment_scale=0.0,  # std of the log of a random factor.
        augment_reflect=False,  # half of the sets, in the first coordinate.
        digit=0,  # mnist: the class, 0..9
        index=0,  # mnist: number of the image in its class, in the training split.
        source="auto",  # mnist: tfds, openml, digits (8x8, bundled), auto = the first that works.
        # mnist: folder of tensorflow_datasets; "" = $TFDS_DATA_DIR, else the default of the package
        data_dir="",
        # mnist: folder of downloads and decoded images; "" = ~/.cache/tiny_diffusion_jax
        cache_dir="",
        # mixture: "dino+moons+mnist:3+cat.png". A member is a shape, mnist:DIGIT[:INDEX], a file,
        # or a folder of a finished run, which gives its samples.npy. "table.csv?column=value"
        # selects rows of a table, and "table.csv?column" makes a member of each value.
        members="",
        weights="",  # mixture: "0.3+0.7", one number per member, with sum 1; "" = equal
        order="shuffled",  # mixture: shuffled, or sequential: train on one member after the other
        align=True,  # mixture: bring each member to mean 0 and mean variance 1; False: own units
        digits="",  # mnist_sets: "017" = only these digits; "" = all
        max_images=0,  # mnist_sets: number of images to train on, from the first; 0 = all
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
        rho=7.0,  # karras: a larger rho puts more levels near the data
    ))
    config.diffusion = ConfigDict(dict(
        prediction="edm",  # what the network outputs: eps, x0, v, edm (preconditioned)
        weighting="simple",  # weights of the noise levels in the loss: simple, min_snr, likelihood
    ))
    config.model = ConfigDict(dict(
        # fourier_mlp | history, causal, set_transformer, set_latent
        # | of the student project: seq2seq, attention_v1, attention_v2
        # | the same, fixed to separate members: seq2seq_aligned, attention_v1_own, attention_v2_own
        name="fourier_mlp",
        labels=False,  # condition the model on the label of each set: the member, or the digit
        # condition the model on the number of points of each set, which must vary in training
        count=False,
        hidden_dim=128,
        num_blocks=3,
        num_heads=4,  # history, causal, set_transformer
        num_inducing=32,  # set_transformer: learned queries that read the set; 0 = full attention
        context_dim=96,  # causal: width of the transformer; hidden_dim is the width of the head
        context_blocks=3,  # causal: blocks of the transformer; num_blocks counts those in the head
        # causal: height of a row in the data's units. Points are drawn row by row, from the top,
        # and from left to right. Such a model cannot complete sets. 0 = points in random order.
        row_height=0.0,
        latent_dim=16,  # set_latent: numbers in the latent of a set
        latent_noise=0.1,  # set_latent: std of the noise on latents when the decoder is trained
        teacher_forcing=0.5,  # seq2seq: share of sets whose decoder reads the correct outputs
        state_dim=64,  # seq2seq_aligned: cells of each LSTM
        encoder="both",  # seq2seq_aligned: directions of the encoder: forward, both
        embedding="sinusoidal",  # features of coordinates: sinusoidal, gaussian, learned, identity
        num_frequencies=32,  # per coordinate (sinusoidal) or in total (gaussian, learned)
        # highest frequency (sinusoidal), or std of frequencies (gaussian, learned: use about 12)
        scale=100.0,
        max_period=1000.0,  # sinusoidal: ratio of the highest to the lowest frequency
        fade=True,  # features of noisy coordinates fade with t, each by a learned gate
        time_frequencies=16,
        time_scale=50.0,  # t / T is multiplied by this: T gives the classic features of t
    ))
    config.train = ConfigDict(dict(
        steps=12000,
        init_from="",  # run folder: start from the EMA weights of this run; "" = random weights
        num_sets=64,  # B: sets in a batch, each at its own noise level
        num_points=8,  # N: points of each set
        min_points=0,  # set sizes are log-uniform from this to num_points; 0 = always num_points
        max_points=0,  # also train on sets of 4, 16, ... x num_points, at most this; 0 = none
        num_levels=4,  # causal: noise levels at which each point is denoised in a step
        # history, attention: largest size of the history; set_latent: number of points to encode
        max_history=64,
        min_history=1,  # history: smallest size of the history; the sizes are log-uniform
        history_drop=0.15,  # history, attention: share of sets without a history, as first points
        label_drop=0.15,  # with labels: share of sets whose label is dropped
        optimizer="adamw",  # adamw, muon (muon for matrices, adam for all other weights)
        learning_rate=3e-3,  # peak, after a linear warm-up, before a cosine decay to 0
        warmup=200,  # steps, at most a tenth of all steps
        weight_decay=1e-4,
        clip_norm=1.0,  # largest norm of the gradient; longer gradients are scaled down
        # matrix products in the network: float32, or default = the fastest precision of the device
        # (bfloat16 on TPUs, TF32 on recent GPUs, float32 on CPUs)
        precision="default",
        ema_decay=0.998,  # decay of the EMA weights, which draw the samples
        keep_best=False,  # draw with the EMA weights of the lowest held-out loss, not the last ones
        # keep_best: choose on half of the held-out sets, measure on the others; False: both on all
        split_heldout=True,
        block=200,  # steps in one compiled program; each block writes one line of metrics.jsonl
        checkpoint_every=4000,  # steps, rounded up to whole blocks
        keep=2,  # number of checkpoints to keep
    ))
    config.sample = SampleOptions(dict(
        sampler="dpm++2m",  # ancestral, ddim, dpm++2m, sde-dpm++2m, heun
        num_steps=25,
        spacing="time",  # of the sampler's noise levels: even in time or in log_snr
        sigma_min=0.0,  # log_snr: sigma / alpha of the last level before the data; 0 = the lowest
        eta=0.0,  # ddim: 0 = deterministic ... 1 = ancestral
        num_sets=32,
        num_points=4000,  # 0 = each set has its own number, as often as in the data (observed sets)
        seed=1,
        # models with labels: the name of the label of every set; "" or -1 = random, -2 = none.
        # A label whose name is -1 or -2 takes precedence.
        label="",
        guidance_scale=1.0,  # of the label, or of the history if there is no label; 1 = no guidance
        first_block=1,  # history, causal, attention: points of the first block, with no history
        growth=1.5,  # the next block extends the set from n to growth x n points; 1 = equal blocks
        burn_in=0,  # history, attention: first points, which are thrown away; causal: must be 0
        precision="default",  # see train.precision; likelihoods are always in float32
        memory_mb=1024,  # larger requests are drawn in chunks of about this size
    ))
    config.evaluate = ConfigDict(dict(
        seed=2,  # random seed of the real draws
        num_projections=128,  # sliced Wasserstein: directions
        exact_points=1000,  # exact 2-Wasserstein: points, at most 2000 (cost grows as their cube)
        likelihood_steps=48,  # Runge-Kutta steps of the probability-flow ODE
        # mixtures and sets: number of real sets whose log-likelihood is measured, 0 = none. Sets
        # have at most 64 points (joint models of sets, and causal in rows: train.num_points).
        likelihood_sets=32,
        density_steps=16,  # the same for the density picture, which needs fewer steps
        density_size=160,  # pixels per side of the density picture; 0 = no picture
        heldout_points=2000,  # likelihood: points
        frames=48,  # frames of the animations; 0 = none
        gifs=True,  # write animations; False: report.html alone shows how the points move
        max_sets=500,  # mnist_sets: sets to compare with the same number of real sets
        guidance_scale=2.0,  # mnist_sets: of the sets that measure label accuracy
    ))
    config.log = ConfigDict(dict(
        tensorboard=False,  # also write TensorBoard event files (needs `tensorboardX`)
    ))
    # Folder of compiled programs, which make a second start faster; "" = none.
    config.compilation_cache = "~/.cache/tiny_diffusion_jax/xla"
    return config.lock()  # a misspelt field in a config file is an error, not a new field
