"""Check that each mistake in a call of a public function is one clear line."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from test_interface import RNG, TINY, heart
from weights import random_weights

import tiny_diffusion_jax as td


@pytest.fixture(scope="module")
def density():
    return td.build(data=heart, config=TINY, name="heart")


class Bare(nn.Module):
    """A module without traits."""

    num_labels: int = 0
    counts: bool = False


POINTS, SETS = RNG.normal(size=(30, 2)), np.stack([RNG.normal(size=(5, 2))] * 8)
MISTAKES = {
    "no data": (lambda e, p: td.build(), "base = None: must be a config, or a config file"),
    "a model without data": (lambda e, p: td.build("causal"), "data = None: must be given"),
    "a misspelt option": (lambda e, p: td.build("moons", config={"train.step": 3}),
                          "config.train.step: must be an option. Did you mean config.train.steps"),
    "a text for a number": (lambda e, p: td.build("moons", config={"train.steps": "many"}),
                            "config.train.steps = 'many': must be a whole number, in .1, "),
    "a value out of range": (lambda e, p: td.build("moons", config={"train.steps": -1}),
                             "config.train.steps = -1: must be in .1, "),
    "one coordinate": (lambda e, p: td.build(data=POINTS[:, :1]),
                       "data.shape = .30, 1.: must be .P, D., D at least 2"),
    "NaN": (lambda e, p: td.build(data=np.where(POINTS < 2, POINTS, np.nan)), "data: "),
    "objects": (lambda e, p: td.build(data=np.array([{}, {}])), "data.shape"),
    "labels of points": (lambda e, p: td.build(data=POINTS, labels=[0] * 30),
                         "labels = 'given': must be None for points of one density"),
    "labels of another length": (lambda e, p: td.build("causal", data=SETS, labels=[0]),
                                 "label has shape .1,.: must be .8,."),
    "a label that is missing": (
        lambda e, p: td.build("causal", data=SETS, labels=np.array(["a", None] * 4, object)),
        "label of set '1' is missing: must be a text or a number"),
    "labels of which one is NaN": (lambda e, p: td.build("causal", data=SETS, labels=[np.nan] * 8),
                                   "label of set '0' is missing"),
    "sets of other dimensions": (lambda e, p: td.build(data=[POINTS, SETS[0][:, :1]]),
                                 "must be arrays f.n, D. with one D"),
    "no set column": (lambda e, p: td.build("causal", data=pandas.DataFrame(POINTS)),
                      "config.data.set_column = ''"),
    "a function of numpy": (lambda e, p: td.build(data=lambda key, n: np.zeros(int(key[0]))),
                            "data = '<lambda>': must be a function .key, n. of JAX"),
    "a function of another shape": (lambda e, p: td.build(data=lambda key, n: jnp.zeros(n)),
                                    "data: shape of data.key, n. = .7,.: must be .7, D."),
    "a function without its key": (
        lambda e, p: td.build(data=lambda key, n: RNG.normal(size=(n, 2))),
        "data = '<lambda>': must be a function whose points depend on"),
    "log_prob of one number": (lambda e, p: td.build(data=heart, log_prob=lambda x: 0.0),
                               "log_prob: shape of log_prob.points. = ..: must be .7,. for 7"),
    "log_prob of numpy": (
        lambda e, p: td.build(data=heart, log_prob=lambda x: np.log(np.array(x))),
        "log_prob = '<lambda>': must be a function of JAX"),
    "labels of a table": (
        lambda e, p: td.build(data=pandas.DataFrame(POINTS), labels="kind"),
        "labels = 'given': must be None for a table. Name its column: config="),
    "half a step": (lambda e, p: td.log_prob(e, p, POINTS, num_steps=2.5),
                    "num_steps = 2.5: must be a whole number"),
    "True steps": (lambda e, p: td.log_prob(e, p, POINTS, num_steps=True),
                   "num_steps = True: must be a whole number"),
    "steps as a text": (lambda e, p: td.log_prob(e, p, POINTS, num_steps="4"),
                        "num_steps = '4': must be a whole number"),
    "half a step of traced points": (
        lambda e, p: jax.jit(lambda x: td.log_prob(e, p, x, num_steps=2.5))(POINTS),
        "num_steps = 2.5: must be a whole number"),
    "half a draw": (lambda e, p: td.log_prob(e, p, POINTS, draws=2.5),
                    "draws = 2.5: must be a whole number"),
    "half a given point": (lambda e, p: td.log_prob(e, p, SETS, num_given=0.5),
                           "num_given = 0.5: must be a whole number"),
    "no seed": (lambda e, p: td.sample(e, p, seed=None),
                "config.sample.seed = None: must be a whole number, in .0, 4294967295."),
    "True sets": (lambda e, p: td.sample(e, p, num_sets=True),
                  "config.sample.num_sets = True: must be a whole number, at least 1"),
    "a switch for a number": (lambda e, p: td.sample(e, p, guidance_scale=True),
                              "config.sample.guidance_scale = True: must be a number"),
    "a config of another kind": (lambda e, p: td.sample(e, p, 3),
                                 "config = 3: must be the part config.sample, or a dictionary"),
    "an unknown option in a dictionary": (
        lambda e, p: td.sample(e, p, {"num_set": 3}),
        "config.sample.num_set: must be an option. Did you mean"),
    "no weights": (lambda e, p: td.sample(e, None),
                   "weights: params/.*: must be the parameters of the model of this experiment"),
    "weights without parameters": (lambda e, p: td.log_prob(e, {"params": {}}, POINTS),
                                   "weights: params/.* of shape .* is missing"),
    "weights of another width": (
        lambda e, p: td.sample(e, jax.tree.map(lambda a: a[..., :1], p)),
        "weights: params/.* of shape .* has shape .*: must be the parameters of the model of"),
    "text for points": (lambda e, p: td.log_prob(e, p, [["1", "2"]]),
                        "points.dtype = '<U1': must be a type of real numbers"),
    "complex points": (lambda e, p: td.log_prob(e, p, POINTS + 1j),
                       "points.dtype = 'complex128': must be a type of real numbers"),
    "text to complete": (lambda e, p: td.complete(e, p, [["a", "b"]]),
                         "given.dtype = '<U1': must be a type of real numbers"),
    "rows of different lengths": (lambda e, p: td.log_prob(e, p, [[1, 2], [3]]),
                                  "points: must be an array of numbers"),
    "sets of different dimensions": (lambda e, p: td.log_prob(e, p, [POINTS, POINTS[0]]),
                                     "points = .*: must be arrays f.n, D. with one D"),
    "masked points": (
        lambda e, p: td.log_prob(e, p, np.ma.array(POINTS, mask=POINTS > 1)),
        "points: points that are not finite = .*: must be 0"),
    "one set for several": (lambda e, p: td.ragged(POINTS),
                            "sets.shape = .30, 2.: must be .S, N, D.. A single set has no"),
    "no points to complete": (lambda e, p: td.complete(e, p, None), "given = None: must be the po"),
    "a module without traits": (lambda e, p: td.build(data=heart, model=Bare()),
                                "model.traits = 'Bare': must be a field of the module. Add traits"),
    "an unknown option of sample": (lambda e, p: td.sample(e, p, num_set=2),
                                    "config.sample.num_set: must be an option. Did you mean"),
    "num_steps = 0": (lambda e, p: td.log_prob(e, p, POINTS, num_steps=0),
                      "num_steps = 0: must be at least 1"),
    "points of another shape": (lambda e, p: td.log_prob(e, p, np.zeros((6, 3))),
                                "points.shape = .6, 3.: must be .n, 2. for points"),
    "points that are NaN": (lambda e, p: td.log_prob(e, p, np.full((3, 2), np.nan)),
                            "points that are not finite = 3: must be 0"),
    "a traced set": (lambda e, p: jax.jit(lambda x: td.log_prob(e, p, x))(np.zeros((3, 3))),
                     "points.shape = .3, 3.: must be"),
    "weights of another kind": (lambda e, p: td.sample(e, [1, 2]), "weights = 'list': must be"),
    "a label of a model without labels": (lambda e, p: td.sample(e, p, label="ring"),
                                          "config.sample.label = 'ring': must be -1"),
    "completing with single points": (lambda e, p: td.complete(e, p, POINTS[:2], num_points=5),
                                      "config.model.name = 'fourier_mlp': must be a model that c"),
    "samples of another shape": (lambda e, p: td.evaluate(e, p, np.zeros((3, 4, 3))),
                                 "samples.shape = .3, 4, 3.: must be"),
    "a format that does not exist": (lambda e, p: td.save("x", e, p, format="zip"),
                                     "format = 'zip': must be one of checkpoint, safetensors"),
    "no run": (lambda e, p: td.load("no/folder"), "--workdir = 'no/folder': must be the folder"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_one_clear_line(mistake, density, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, words = MISTAKES[mistake]
    with pytest.raises(td.UserError, match=words) as error:
        call(density, random_weights(density.model))
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
