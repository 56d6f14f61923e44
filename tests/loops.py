"""Layers in float64 as explicit loops, to compare networks with."""

import numpy as np

SIZE, FREQUENCIES, CLOCK, BLOCKS = 6, 3, 2, 2  # sizes of the networks that are compared


def normal(seed, *shape):
    return np.float32(np.random.default_rng(seed).normal(size=shape))


def allclose(actual, expected, **tolerance):
    np.testing.assert_allclose(actual, expected, **{"atol": 3e-5, "rtol": 1e-4} | tolerance)


def waves64(coordinates, num_frequencies, scale, max_period):
    row = []
    for a in np.float64(coordinates):
        w = [scale * max_period ** (-i / max(num_frequencies - 1, 1))
             for i in range(num_frequencies)]
        row += [np.sin(w_i * a) for w_i in w] + [np.cos(w_i * a) for w_i in w]
    return np.array(row)


def place(point):
    return waves64(point, FREQUENCIES, 2.0, 4.0)


def time_features(time):
    return waves64([time], CLOCK, 3.0, 10_000.0)


def dense(weights, row):
    return row @ np.float64(weights["kernel"]) + weights.get("bias", 0.0)


def gelu(a):
    return 0.5 * a * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm64(weights, carry, row):
    c, h = carry
    gate = lambda name: dense(weights["i" + name], row) + dense(weights["h" + name], h)
    c = sigmoid(gate("f")) * c + sigmoid(gate("i")) * np.tanh(gate("g"))
    return c, sigmoid(gate("o")) * np.tanh(c)


def trunk64(weights, point, time, context, per_set=None):
    def film(layer, a):
        if per_set is None:
            return a
        scale_shift = dense(weights[f"films_{layer}"], per_set)
        return (1 + scale_shift[:SIZE]) * a + scale_shift[SIZE:]

    features = time_features(time)
    strength = 2 * sigmoid(dense(weights["fade"], features)) if "fade" in weights else 1.0
    row = np.concatenate([strength * place(point), features, context])
    h = gelu(film(0, dense(weights["from_features"], row)))
    for i in range(BLOCKS):
        h = h + gelu(film(i + 1, dense(weights[f"blocks_{i}"], h)))
    return dense(weights["to_output"], h)
