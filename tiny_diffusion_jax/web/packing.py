"""Pack arrays into a page: 16-bit numbers in base64, which static/arrays.js reads."""

import base64

import numpy as np

NONE = 2**16 - 1  # code of NaN
STEPS = NONE - 1  # number of steps from the smallest number to the largest


def pack(array: np.ndarray) -> dict:
    """Return {"shape", "offset", "scale", "data"} of f[..., C], with 16 bits per number:

        q = round((x - offset_c) / scale_c).

    Each of the C columns uses all 65,534 steps, so that an error is at most (max - min) / 131,068.
    NaN stays NaN. Raises ValueError for infinite numbers.
    """
    array = np.asarray(array, np.float64)
    if np.isinf(array).any():
        raise ValueError("infinite numbers cannot be packed")
    rows = array.reshape(-1, array.shape[-1])
    numbers = np.where(np.isnan(rows).all(0), 0.0, rows)  # a column may hold NaN only
    low, high = np.nanmin(numbers, 0, initial=np.inf), np.nanmax(numbers, 0, initial=-np.inf)
    low, high = np.where(np.isfinite(low), low, 0), np.where(np.isfinite(high), high, 0)
    scale = np.where(high > low, (high - low) / STEPS, 1.0)
    steps = np.where(np.isnan(rows), NONE, np.rint((rows - low) / scale))
    data = base64.b64encode(steps.astype("<u2").tobytes()).decode()
    return {"shape": list(array.shape), "offset": low.tolist(), "scale": scale.tolist(),
            "data": data}  # fmt: skip


def pack_weights(array: np.ndarray, bytes_each: int = 4) -> dict:
    """Return {"shape", "data", "bytes_each"} of float32: exact, or in 3 bytes to a part in 2^16."""
    bits = np.ascontiguousarray(array, "<f4").view("<u4").reshape(-1)
    if bytes_each == 3:
        bits = bits + np.uint32(0x80)  # round to the nearest, because the last byte is dropped
    kept = bits.astype("<u4").view(np.uint8).reshape(-1, 4)[:, 4 - bytes_each :]
    data = base64.b64encode(kept.tobytes()).decode()
    return {"shape": list(np.shape(array)), "data": data, "bytes_each": bytes_each}
