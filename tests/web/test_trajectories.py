"""Compare the scripts of the player with closed forms: positions, noise levels, texts."""

import numpy as np
import pytest

from tiny_diffusion_jax.diffusion.schedules import make_schedule
from tiny_diffusion_jax.web import trajectories
from tiny_diffusion_jax.web.trajectories import Marks, pack_noising, pack_trajectories

GRID = np.array([4, 3, 2, 1, 0])
SCHEDULE = make_schedule("cosine", 4)
# five frames of two sets of three points, with three coordinates
TRAJECTORIES = np.random.default_rng(0).normal(size=(5, 2, 3, 3)).astype(np.float32)
TRAJECTORIES[:, 1, 2] = np.nan  # the second set has two points
POSITIONS = """([packed, set, time]) => {
  const process = new Reverse(packed), xy = new Float32Array(6).fill(NaN);
  process.positions(set, time, xy);
  return [...xy];
}"""


@pytest.fixture(scope="module")
def script(scripts):
    return scripts("arrays.js", "trajectories.js", "controls.js", "layers.js", "dots.js")


def numbers(values) -> np.ndarray:
    """Array of numbers; JSON writes NaN as null, which is None here."""
    return np.array(values, float)


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_two_coordinates_move_straight_from_frame_to_frame(script, number):
    packed = pack_trajectories(TRAJECTORIES, GRID, SCHEDULE)
    at = lambda time: numbers(script.evaluate(POSITIONS, [packed, number, time])).reshape(3, 2)
    frames = TRAJECTORIES[:, number, :, :2]
    for time, expected in ((0, frames[0]), (1, frames[4]), (0.5, frames[2]),
                           (0.3125, 0.75 * frames[1] + 0.25 * frames[2])):  # fmt: skip
        np.testing.assert_allclose(at(time), expected, atol=1e-4)


def test_blocks_move_one_after_the_other(script):
    """After 1 given point there are 2 blocks of 1 point, and each block takes half of the time."""
    packed = pack_trajectories(TRAJECTORIES[:, :1], GRID, SCHEDULE, Marks(num_given=1), [[1, 1]])
    at = lambda time: numbers(script.evaluate(POSITIONS, [packed, 0, time])).reshape(3, 2)
    frames = TRAJECTORIES[:, 0, :, :2]
    nothing = np.full(2, np.nan)
    for time, expected in ((0.25, [frames[4, 0], frames[2, 1], nothing]),
                           (0.75, [frames[4, 0], frames[4, 1], frames[2, 2]])):  # fmt: skip
        np.testing.assert_allclose(at(time), expected, atol=1e-4)


@pytest.mark.parametrize("frames, blocks", [(5, None), (3, None), (5, [[1, 2]])])
def test_a_press_is_a_step_of_the_sampler(script, monkeypatch, frames, blocks):
    """N presses lead from noise through whole steps to data, and N presses back.

    Steps between the frames that the page keeps count, too.
    """
    monkeypatch.setattr(trajectories, "MOST_FRAMES", frames)
    packed = pack_trajectories(TRAJECTORIES[:, :1], GRID, SCHEDULE, blocks=blocks)
    assert packed["frames"] == frames
    forth, back = script.evaluate("""packed => {
      const process = new Reverse(packed), forth = [0], back = [0.99];
      const step = (list, by) => list.push(process.stepped(list.at(-1), by));
      while (forth.at(-1) < 1) step(forth, 1);
      while (back.at(-1) > 0) step(back, -1);
      const read = (time) => {
        const { block, step, steps } = process.level(time);
        return block * steps + step;
      };
      return [forth.map(read), back.map(read)];
    }""", packed)
    count = 4 * (1 if blocks is None else 2)
    np.testing.assert_allclose(forth, np.arange(count + 1), atol=1e-9)
    np.testing.assert_allclose(back[1:], np.arange(count)[::-1], atol=1e-9)


def test_noise_levels_between_frames(script):
    """t and alpha are arithmetic means of their neighbours; sigma is the geometric mean."""
    packed = pack_trajectories(TRAJECTORIES, GRID, SCHEDULE)
    level = script.evaluate("packed => new Reverse(packed).level(0.375)", packed)
    alpha, sigma = (np.asarray(a, float) for a in (SCHEDULE.alpha, SCHEDULE.sigma))
    expected = {"t": 2.5 / 4, "alpha": (alpha[3] + alpha[2]) / 2,
                "sigma": np.sqrt(sigma[3] * sigma[2])}  # fmt: skip
    assert {name: level[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    ratio = expected["alpha"] / expected["sigma"]
    assert level["logSnr"] == pytest.approx(2 * np.log(ratio), rel=1e-5)


def test_the_forward_process_is_its_formula(script):
    rng = np.random.default_rng(1)
    x_0, eps = rng.normal(size=(2, 1, 3, 2))
    shift, scale = np.array([0.5, -1.0]), np.array([2.0, 3.0])
    packed = [pack_noising(x_0, eps, shift, scale), pack_trajectories(TRAJECTORIES, GRID, SCHEDULE)]
    found = numbers(script.evaluate("""([points, reverse]) => {
      const process = new Forward(points, new Reverse(reverse)), xy = new Float32Array(6);
      process.positions(0, 0.75, xy);
      return [...xy];
    }""", packed)).reshape(3, 2)  # fmt: skip
    alpha, sigma = float(SCHEDULE.alpha[1]), float(SCHEDULE.sigma[1])
    expected = shift + alpha * (x_0[0] - shift) + sigma * scale * eps[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("log_snr, text", [("2.345", "+2.3"), ("-2.345", "-2.3"), ("0", "0.0"),
                                           ("Infinity", "infinite"), ("-Infinity", "-infinite")])
def test_noise_is_read_out(script, log_snr, text):
    found = script.evaluate(f"""() => readout({{ step: 2.6, steps: 9, block: 0, count: 2, t: 0.34,
      sigma: 0.123456, logSnr: {log_snr} }})""")
    assert found == {"block": "1 of 2", "step": "3 of 9", "t": "0.340", "sigma": "0.123",
                     "logSnr": text}  # fmt: skip


def test_the_darkest_tone_ignores_a_peak_with_two_per_cent_of_the_mass(script):
    """The darkest tone is the largest density at or above which more than 2 % of the mass lies."""
    # the largest density alone has 19.9 % of the mass
    broad = [0.001, *[0.05] * 10, *[0.1] * 3, 0.199]
    assert script.evaluate("(values) => dense(values)", broad) == 0.199
    sharp = [0.015, *[0.01] * 98, 0.005]  # the peak has 1.5 % of the mass
    assert script.evaluate("(values) => dense(values)", sharp) == 0.01


@pytest.mark.parametrize("place", [(10.1, 20.9), (20.0, 8.4)])
def test_a_dot_is_a_disc_about_its_place(script, place):
    """A dot has mass pi r^2, and its centre of mass is exact to an eighth of a pixel."""
    light = numbers(script.evaluate("""(place) => {
      globalThis.devicePixelRatio = 1;
      const image = (size) => ({ data: new Uint8ClampedArray(4 * size * size) });
      const canvas = { clientWidth: 32, getContext: () => ({ createImageData: image }) };
      const dots = new Dots(canvas);
      dots.fit();
      dots.clear([0, 0, 0]);
      dots.draw(place, 1, [255, 255, 255], 3, 1);
      return Array.from({ length: 32 * 32 }, (_, i) => dots.image.data[4 * i] / 255);
    }""", list(place))).reshape(32, 32)  # fmt: skip
    assert light.sum() == pytest.approx(9 * np.pi, rel=0.05)
    y, x = (np.indices(light.shape) + 0.5).reshape(2, -1) @ light.ravel() / light.sum()
    assert (x, y) == pytest.approx(place, abs=0.13)
