"""Check augmented sets: distances are kept, and transformations have the right distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tiny_diffusion_jax.config import default_config
from tiny_diffusion_jax.training import augment
from tiny_diffusion_jax.training.augment import Augment

KEY = jax.random.key(2)


apply = jax.jit(augment.apply, static_argnums=0)


def moved(dim=2, num_sets=400, **options):
    """(sets, the same sets moved), f64[num_sets, 5, dim]; the sets are not centred."""
    sets = 1 + jax.random.normal(jax.random.key(1), (num_sets, 5, dim))
    after = apply(Augment(**options), KEY, sets)
    return np.float64(sets), np.float64(after)


def distances(sets):
    return np.linalg.norm(sets[:, :, None] - sets[:, None], axis=-1)


def solve(before, after):
    """Matrices f64[S, D, D] that map the sets to the moved sets, around the origin."""
    return np.stack([np.linalg.lstsq(a, b, rcond=None)[0].T
                     for a, b in zip(before, after, strict=True)])  # fmt: skip


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_rotations_are_proper_and_of_any_direction(dim):
    before, after = moved(dim, rotate=True)
    np.testing.assert_allclose(distances(after), distances(before), atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(after, axis=-1), np.linalg.norm(before, axis=-1), atol=1e-5
    )
    matrices = solve(before, after)
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-4)
    if dim > 1:  # uniform rotations have E R = 0 and E R_ij^2 = 1 / D
        np.testing.assert_allclose(matrices.mean(0), 0, atol=0.15)
        np.testing.assert_allclose((matrices**2).mean(0), 1 / dim, atol=0.08)


def test_reflections_mirror_half_of_the_sets():
    before, after = moved(reflect=True)
    mirrored = np.array([-1, 1]) * before
    is_mirrored = (after == mirrored).all((1, 2))
    assert ((after == before).all((1, 2)) ^ is_mirrored).all()
    assert is_mirrored.mean() == pytest.approx(0.5, abs=0.1)
    _, both = moved(reflect=True, rotate=True)
    assert np.linalg.det(solve(before, both)).mean() == pytest.approx(0, abs=0.2)


def test_a_scale_is_one_factor_for_a_set():
    before, after = moved(scale=0.3)
    factor = (after / before).reshape(len(after), -1)
    np.testing.assert_allclose(factor, factor[:, :1] * np.ones(10), rtol=1e-5)
    log = np.log(factor[:, 0])
    assert log.mean() == pytest.approx(0, abs=0.05) and log.std() == pytest.approx(0.3, abs=0.04)


def test_a_shift_is_one_vector_for_a_set():
    before, after = moved(3, shift=0.5)
    shift = after - before
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-6)
    np.testing.assert_allclose(shift[:, 0].std(0), 0.5, atol=0.06)
    assert abs(np.corrcoef(shift[:, 0, 0], shift[:, 0, 1])[0, 1]) < 0.15


def test_off_by_default():
    config = default_config().data
    assert augment.make_augment(config) is None
    config.augment_rotate = True
    assert augment.make_augment(config) == Augment(rotate=True)
    points = jnp.ones((2, 3, 2))
    np.testing.assert_array_equal(augment.apply(Augment(), KEY, points), points)
