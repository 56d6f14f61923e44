"""Check that compiled programs are reused and that chunks have nearly equal sizes."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax import devices, sets
from tiny_diffusion_jax.models.traits import Traits
from tiny_diffusion_jax.sets.autoregressive import Autoregressive, block_sizes
from tiny_diffusion_jax.sets.chunks import chunk_size
from tiny_diffusion_jax.sets.reverse import SamplingContext
from tiny_diffusion_jax.training.batches import draw_batches, make_batch_spec

SMALL = {
    "model.hidden_dim": 8, "model.num_blocks": 1, "model.num_frequencies": 4,
    "model.time_frequencies": 4, "model.num_heads": 2, "model.num_inducing": 2,
    "model.latent_dim": 4, "train.max_history": 8, "train.num_points": 4, "train.num_sets": 4,
    "sample.num_steps": 2, "sample.num_sets": 3, "sample.num_points": 8,
    "sample.first_block": 4, "sample.growth": 1.0,
}  # fmt: skip


def small(model: str, **changes):
    config = td.default_config(model)
    config.data.update(name="mixture", members="moons+circle")
    config.update_from_flattened_dict(SMALL | {k.replace("__", "."): v for k, v in changes.items()})
    return config


class Compilations:
    """Count the programs compiled since the last call of `since`."""

    def __init__(self):
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event, seconds, **_):
        self.count += event == "/jax/core/compile/backend_compile_duration"

    def since(self) -> int:
        count, self.count = self.count, 0
        return count


compilations = Compilations()


@pytest.mark.parametrize("model", ["set_transformer", "history", "causal", "set_latent"])
def test_a_second_sample_compiles_nothing(model):
    """Arguments that keep shapes may change: seed, weights, label, guidance scale."""
    config = small(model, model__labels=True, sample__guidance_scale=2.0)
    experiment = td.build(config)
    params = random_weights(experiment.model)
    given = np.ones((2, 2), np.float32)
    td.sample(experiment, params)
    assert compilations.since() > 0
    again = td.build(config)  # a new experiment with the same parts
    others = jax.tree.map(lambda p: np.asarray(p) + 1, params)
    config.sample.update(seed=5, guidance_scale=3.0)
    compilations.since()
    td.sample(again, others)
    assert compilations.since() == 0
    config.sample.update(guidance_scale=1.0, label=1)
    given_label = np.array([1, 0, 1])
    for _ in range(2):
        compilations.since()
        td.sample(experiment, params, given=given if model != "set_latent" else None,
                  labels=given_label)  # fmt: skip
    assert compilations.since() == 0


@pytest.mark.parametrize("model", ["history", "causal"])
def test_point_by_point_a_set_has_fewer_programs_than_points(model):
    """Histories have a few sizes, so the number of programs does not grow with every point."""
    def compiled(num_points: int) -> int:
        config = small(model, sample__first_block=1, sample__num_points=num_points,
                       train__max_history=32)  # fmt: skip
        experiment = td.build(config)
        params = random_weights(experiment.model)
        compilations.since()
        td.sample(experiment, params)
        return compilations.since()

    compiled(4)  # the programs that all sizes share
    assert compiled(24) < 24


def test_a_second_log_prob_compiles_nothing():
    config = small("fourier_mlp", data__name="moons", data__members="")
    experiment = td.build(config)
    params = random_weights(experiment.model)
    points = np.zeros((5, 2), np.float32)
    first = td.log_prob(experiment, params, points, 4)
    assert compilations.since() > 0
    again = td.build(config)
    compilations.since()
    np.testing.assert_array_equal(td.log_prob(again, params, points, 4), first)
    td.log_prob(again, params, points + 1, 4)
    assert compilations.since() == 0


def size_of_chunks(monkeypatch, num_sets, num_points=8, history_points=0, memory_mb=1, cores=1,
                   **floats):  # fmt: skip
    monkeypatch.setattr(devices, "num_cores", lambda: cores)
    traits = Traits("joint", **{"floats_per_point": 1} | floats)
    return chunk_size(traits, num_sets, num_points, history_points, memory_mb, devices.make_mesh())


@pytest.mark.parametrize("num_sets, chunks", [(512, 1), (513, 2), (1024, 2), (1025, 3), (7, 1)])
def test_chunks_have_nearly_equal_sizes(num_sets, chunks, monkeypatch):
    """One set more than a chunk adds about one set of work, not a nearly empty chunk."""
    floats = 2**20 // (512 * 2 * 4 * 8)  # chosen so that 512 sets of 8 points fit into 1 MB
    size = size_of_chunks(monkeypatch, num_sets, floats_per_point=floats)
    assert size == -(-num_sets // chunks)
    assert chunks * size - num_sets < chunks


def test_the_cores_of_a_cpu_have_as_many_chunks_each(monkeypatch):
    """Each core has an equal share of the memory, at most as much as the caches hold."""
    floats = 2**20 // (512 * 2 * 4 * 8)  # chosen so that 512 sets of 8 points fit into 1 MB
    size = lambda num_sets, memory: size_of_chunks(
        monkeypatch, num_sets, memory_mb=memory, cores=4, floats_per_point=floats)
    sizes = [size(128, 1), size(129, 1), size(1025, 4), size(10**6, 10**6)]
    # the last size: 31 chunks of 64 MB, and one more chunk
    assert sizes == [128, 33, 257, -(-(10**6) // 32)]
    monkeypatch.setattr(devices, "is_cpu", lambda mesh: False)
    assert size(10**6, 10**6) == 10**6


def test_memory_counts_the_points_of_the_history(monkeypatch):
    """A history of 1,000 points needs more memory than 10 points, up to the size of the set."""
    monkeypatch.setattr(devices, "is_cpu", lambda mesh: False)
    sizes = [size_of_chunks(monkeypatch, 10**6, 2_000, history, 10_000, floats_per_history_point=8)
             for history in (10, 1_000, 2_000)]  # fmt: skip
    assert sizes[0] > 50 * sizes[1] > 75 * sizes[2]
    arguments = []
    monkeypatch.setattr(sets, "chunk_size", lambda *a: arguments.append(a) or a[1])
    options = SimpleNamespace(num_sets=5, burn_in=100, memory_mb=1)
    strategy = Autoregressive(SimpleNamespace(traits=Traits("autoregressive", 1)))
    for max_history in (10, 1_000, 2_200, 4_000):
        context = SamplingContext(None, None, options, 2_000, max_history)
        list(sets._chunks(strategy, context, None, 0, None))
    assert [history for *_, history, _, _ in arguments] == [10, 1_000, 2_100, 2_100]


def test_blocks_with_a_burn_in():
    options = SimpleNamespace(first_block=250, growth=1.0, burn_in=250)
    assert block_sizes(options, 256) == ([250], [250, 6])
    assert block_sizes(options, 256, num_given=6) == ([], [250])  # given points are a history
    options = SimpleNamespace(first_block=1, growth=2.0, burn_in=0)
    assert block_sizes(options, 10) == ([], [1, 1, 2, 4, 2])
    options = SimpleNamespace(first_block=1, growth=2.0, burn_in=3)
    assert block_sizes(options, 10) == ([1, 1, 1], [3, 6, 1])


def test_every_point_of_the_attention_models_has_a_history():
    """Blocks without a burn-in are [250, 6], and 250 points have no history."""
    for model in ("attention_v1", "attention_v2"):
        config = td.default_config(model)
        config.sample.update(num_points=256, first_block=250, growth=1.0, burn_in=250)
        burned, kept = block_sizes(config.sample, 256)
        assert sum(burned) >= config.sample.first_block and sum(kept) == 256
        # training includes the first block, which has no history
        assert config.train.history_drop > 0


@pytest.mark.parametrize("drop, min_history", [(0.15, 1), (0.0, 64)])
def test_latents_are_computed_from_complete_histories_in_any_config(drop, min_history):
    """Otherwise the prior would learn latents of empty sets and of one-point sets."""
    config = small("set_latent", train__history_drop=drop, train__min_history=min_history,
                   train__max_history=64)  # fmt: skip
    experiment = td.build(config)
    spec = make_batch_spec(config.train, experiment.model)
    draw = jax.jit(draw_batches, static_argnums=(2, 3, 4))
    batch = draw(jax.random.key(0), experiment.dataset, 10, 3, spec)
    history = batch.conditioning.history
    assert history.points.shape == (3, 4, 64, 2) and np.all(history.mask)
