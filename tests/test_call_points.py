"""Check that points of a call mean the same in every type: array, list, table, masked array."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from test_interface import RNG, TINY
from weights import random_weights

import tiny_diffusion_jax as td
from tiny_diffusion_jax import reports
from tiny_diffusion_jax.call_points import points_of

COLUMNS = ["lat", "lon"]  # the program orders them as lon, lat
TABLE = pandas.DataFrame(RNG.normal(size=(60, 2)) + [0, 5], columns=COLUMNS)
LON_LAT = TABLE[["lon", "lat"]].to_numpy()


@pytest.fixture(scope="module")
def density():
    experiment = td.build("fourier_mlp", data=TABLE, config=TINY)
    return experiment, random_weights(experiment.model)


@pytest.fixture(scope="module")
def history():
    table = TABLE.assign(set=np.repeat(np.arange(12), 5))
    experiment = td.build("history", data=table, config=TINY)
    return experiment, random_weights(experiment.model)


def test_the_columns_of_a_table_are_selected_by_name(density):
    assert density[0].dataset.coordinates == ("lon", "lat")
    expected = td.log_prob(*density, LON_LAT)
    for table in (TABLE, TABLE.assign(name="tree")[["lon", "name", "lat"]],
                  TABLE.astype("Float64"), TABLE.astype(object)):  # fmt: skip
        np.testing.assert_array_equal(td.log_prob(*density, table), expected)


def test_samples_may_be_a_list_of_tables(density, monkeypatch):
    monkeypatch.setattr(reports, "measure", lambda data: data.samples)
    samples = td.evaluate(*density, [TABLE[:30], TABLE[30:50]])
    np.testing.assert_array_equal(samples, td.pad_sets([LON_LAT[:30], LON_LAT[30:50]]))


def test_given_points_may_be_a_table_of_one_set(history):
    completed = td.complete(*history, TABLE[:2], num_sets=1, num_points=4)
    np.testing.assert_allclose(completed[0, :2], LON_LAT[:2], atol=1e-5)
    table = TABLE.assign(set=[0] * 30 + [1] * 30)
    for call in (td.log_prob, td.complete):
        with pytest.raises(td.UserError, match="sets in column set = 2: must be 1. A list of tabl"):
            call(*history, table)
    with pytest.raises(td.UserError, match="given.shape = .2, 3, 2.: .*Complete each set in"):
        td.complete(*history, [TABLE[:2], TABLE[2:5]])


def test_columns_without_names_are_those_of_the_data():
    table = pandas.DataFrame(LON_LAT)
    experiment = td.build("fourier_mlp", data=table, config=TINY)
    params = random_weights(experiment.model)
    np.testing.assert_array_equal(td.log_prob(experiment, params, table),
                                  td.log_prob(experiment, params, LON_LAT))  # fmt: skip


@pytest.mark.parametrize("call", [td.log_prob, td.complete, td.evaluate])
def test_a_table_without_the_columns_is_refused(call, density):
    for table in (TABLE.rename(columns={"lat": "y"}), [TABLE, TABLE[["lon"]]]):
        with pytest.raises(td.UserError, match="columns of the table = .*: must be lon, lat, the"):
            call(*density, table)


@pytest.mark.parametrize("call", [td.log_prob, td.complete, td.evaluate])
@pytest.mark.filterwarnings("error")
def test_points_beyond_float32_are_refused(call, history):
    for point in ([1e300, 1], [-1e39, 1]):
        with pytest.raises(td.UserError, match=": a point = .-?1e.*, 1.0.: must be closer to the"):
            call(*history, [[[0, 1], point], [[1, 2]]])


def test_points_beyond_float32_in_units_of_the_network_are_refused():
    points = LON_LAT * 1e-3 + [388098.25, 0]
    experiment = td.build("history", data=points.reshape(12, 5, 2), config=TINY)
    params = random_weights(experiment.model)
    with pytest.raises(td.UserError, match="given: a point = .1e.37, 1.0.: must be closer to the"):
        td.complete(experiment, params, [[0, 0], [1e37, 1]])


def test_masked_points_are_missing(history):
    mask = np.zeros((2, 3, 2), bool)
    mask[1, 2:] = True
    points = np.ma.array(np.arange(12).reshape(2, 3, 2), mask=mask)
    expected = [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [np.nan] * 2]]
    for sets in (points, list(points), td.pad_sets(list(points))):
        np.testing.assert_array_equal(points_of("points", sets, history[0].dataset), expected)
    assert len(td.ragged(points)[1]) == 2
    with pytest.raises(td.UserError, match="given: must be finite numbers"):
        td.complete(*history, points[1])


def test_traced_points_may_be_in_a_list(density):
    log_p = lambda x: td.log_prob(*density, x, num_steps=4)
    listed = jax.vmap(lambda x, y: log_p([x, y]))(*jnp.asarray(LON_LAT.T))
    np.testing.assert_allclose(listed, log_p(LON_LAT), atol=1e-4)
    np.testing.assert_allclose(log_p(jnp.asarray(LON_LAT, jnp.bfloat16)),
                               log_p(jnp.asarray(LON_LAT, jnp.bfloat16).astype(float)))  # fmt: skip
    with pytest.raises(td.UserError, match="points.dtype = 'complex64': must be a type of real"):
        jax.jit(log_p)(LON_LAT + 1j)
