"""Which values of a frame mark a pixel without a measurement: one rule for all that looks at pixels.

A dummy d marks the values within its margin of it, |value - d| <= delta. It is taken as frames of their type store it:
rounded for floating-point frames, and for unsigned ones a negative d stands for the value with the same bits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .encoded import EncodedFrames

WIDENED = ("i8", "u8", "b1", "f2")
"""Types of frames that are summed as float64."""


def stored_mark(dtype: np.dtype[Any], dummy: float) -> float:
    """Return a dummy as frames of a type store it."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return float(np.asarray(dummy).astype(dtype))
    if dtype.kind == "u" and dummy < 0:
        return float(dummy) + 2.0 ** (8 * dtype.itemsize)
    return float(dummy)


def marked(
    values: NDArray[Any], dummy: float | None, delta_dummy: float = 0.0, dtype: np.dtype[Any] | None = None
) -> NDArray[np.bool_]:
    """Return which values are marked as invalid.

    Parameters
    ----------
    values : ndarray
    dummy : float or None
        None or NaN marks nothing.
    delta_dummy : float
    dtype : numpy.dtype, optional
        Type of the frame that the values come from, where they have been converted since.
    """
    if dummy is None or math.isnan(dummy):
        return np.zeros(values.shape, np.bool_)
    mark = stored_mark(values.dtype if dtype is None else dtype, dummy)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(values.astype(np.float64) - mark) <= delta_dummy)


def invalid_range(
    dtype: np.dtype[Any], dummy: float | None, delta_dummy: float
) -> tuple[tuple[int, int] | None, tuple[float, float] | None]:
    """Return what is `marked` as the native code and GPUs take it.

    Returns
    -------
    tuple
        For integers (lowest invalid value modulo 2³², number of further ones) or None; for floats (dummy, delta) or
        None.
    """
    if dummy is None or math.isnan(dummy):
        return None, None
    mark = stored_mark(dtype, dummy)
    if dtype.kind == "f":
        return None, (mark, float(delta_dummy))
    limits = np.iinfo(dtype)
    low, high = max(mark - delta_dummy, limits.min), min(mark + delta_dummy, limits.max)
    if low > high:
        return None, None
    first, last = math.ceil(low), math.floor(high)
    return (None if first > last else (first % 2**32, last - first)), None


def widened(
    frames: NDArray[Any] | EncodedFrames, dummy: float | None, threads: int = 1
) -> tuple[NDArray[Any] | EncodedFrames, float | None]:
    """Return frames of a type that can be summed, with the dummy that marks the same pixels in them.

    Parameters
    ----------
    frames : ndarray or EncodedFrames
    dummy : float or None
    threads : int
        Threads to decode with.

    Raises
    ------
    DataError
        If a frame that has to be decoded for this is corrupt.
    """
    from .decode import decode
    from .encoded import EncodedFrames

    dtype = frames.dtype
    if dtype.str[1:] not in WIDENED:
        return frames, dummy
    values = decode(frames, threads=threads) if isinstance(frames, EncodedFrames) else frames
    return values.astype(np.float64), None if dummy is None else stored_mark(dtype, dummy)
