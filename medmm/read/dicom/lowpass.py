"""A smaller picture of a film: the one that a JPEG 2000 codestream holds of it, whatever the film is encoded in."""

from __future__ import annotations

import numpy as np


def halved(values: np.ndarray, times: int, bits: int) -> np.ndarray:
    """Halve the size of stored values: the low-pass of the reversible 5-3 wavelet (ISO/IEC 15444-1 annex F).

    A film that was encoded so holds these very values; one of another syntax is brought to them, so that a model is
    given the same picture of both.

    Args:
        values: integers (rows, columns), or RGB (rows, columns, 3).
        times: how often.
        bits: Bits Stored (0028,0101), beyond which no value goes; more where the values themselves have more.

    Returns:
        The sides divided by 2 ** times, rounded up. Each value lies on the first of those that it stands for, and not
        amid them, see `centred`.
    """
    if not times:
        return values
    signed = values.dtype.kind == "i"
    most = max(int(values.max()), -1 - int(values.min())) if signed else int(values.max())
    bits = max(bits, most.bit_length() + signed)  # a header may be wrong
    reach = 3 * 2.25 ** (times - 1) * 2**bits  # of two high-pass values together, if each pixel does its worst
    low = values.astype(np.int16 if reach < 2**15 else np.int32)  # half the time
    for _ in range(times):  # down, then across, as an encoder does
        low = _low(low[0::2], low[1::2])
        low = _low(low[:, 0::2].swapaxes(0, 1), low[:, 1::2].swapaxes(0, 1)).swapaxes(0, 1)
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    made = np.empty(low.shape, values.dtype)
    return np.clip(low, least, most, out=made, casting="unsafe")


def centred(pixels: np.ndarray, times: int) -> np.ndarray:
    """Move a picture that was halved so often, so that its pixels lie where they belong: float32 in [0, 1], as given.

    Between its pixels it is interpolated by cubic convolution (Keys 1981, a = -0.5), with its edge repeated.
    """
    import cv2

    away = np.abs(np.array([-1.0, 0.0, 1.0, 2.0]) - (1 - 0.5**times) / 2)
    near, far = (1.5 * away - 2.5) * away**2 + 1, ((2.5 - 0.5 * away) * away - 4) * away + 2
    weights = np.where(away < 1, near, far).astype(np.float32)
    moved = cv2.sepFilter2D(pixels, -1, weights, weights, anchor=(1, 1), borderType=cv2.BORDER_REPLICATE)
    return np.clip(moved, 0.0, 1.0, out=moved)


def _low(even: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """Lift along the first axis, mirrored at its ends: every second value and those between -> what is left."""
    if not len(odd):
        return even
    count = len(odd)
    between = even[:count].copy(order="K")
    between[: len(even) - 1] += even[1:]
    between[len(even) - 1 :] += even[-1:]
    between >>= 1
    high = np.subtract(odd, between, out=between)
    low = np.empty_like(even)
    low[0] = 2 * high[0]
    np.add(high[:-1], high[1:], out=low[1:count])
    low[count:] = 2 * high[-1:]
    low += 2
    low >>= 2
    low += even
    return low
