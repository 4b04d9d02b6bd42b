"""The ramp filter of filtered back-projection and the windows that tame it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import ParameterError

FilterName = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann", "tukey", "lanczos", "none"]
Padding = Literal["zeros", "edge"]
Floats = NDArray[np.float64]

TUKEY_TAPER = 0.5


def _tukey(r: Floats) -> Floats:
    return np.where(r < 1 - TUKEY_TAPER, 1.0, (1 + np.cos(np.pi * (r - 1 + TUKEY_TAPER) / TUKEY_TAPER)) / 2)


# Each window as a function of r = frequency / cut-off frequency, 0 to 1.
WINDOWS: dict[str, Callable[[Floats], Floats]] = {
    "ramp": np.ones_like,
    "shepp-logan": lambda r: np.sinc(r / 2),
    "cosine": lambda r: np.cos(np.pi * r / 2),
    "hamming": lambda r: 0.54 + 0.46 * np.cos(np.pi * r),
    "hann": lambda r: (1 + np.cos(np.pi * r)) / 2,
    "tukey": _tukey,
    "lanczos": np.sinc,
}


def fast_length(at_least: int, multiple_of: int) -> int:
    """Return the smallest product of 2, 3 and 5 that is a multiple of `multiple_of` and not below `at_least`."""
    length = -(-at_least // multiple_of) * multiple_of
    while not _is_fast(length):
        length += multiple_of
    return length


def _is_fast(length: int) -> bool:
    for factor in (2, 3, 5):
        while length % factor == 0:
            length //= factor
    return length == 1


def filter_length(n_translations: int) -> int:
    """Return the length of the padded ray: at least twice the samples, with an even half."""
    return fast_length(2 * n_translations, 4)


def ramp_kernel(length: int) -> Floats:
    """Return the band-limited ramp in real space, index 0 first, negative indices at the end (Ram and Lak 1971).

    Its transform is used instead of |f|, which would leave an offset in the slice.
    """
    n = np.concatenate([np.arange(length // 2 + 1), np.arange(length // 2 - 1, 0, -1)])
    kernel = np.zeros(length)
    kernel[0] = 0.25
    odd = n % 2 == 1
    kernel[odd] = -1 / (np.pi * n[odd]) ** 2
    return kernel


def filter_response(length: int, name: FilterName = "ramp", cutoff: float = 1.0) -> Floats:
    """Return the filter's frequency response for ``rfft`` of `length` samples.

    Parameters
    ----------
    length : int
        Even number of samples of the padded ray.
    name : str
        "ramp" (Ram-Lak), one of the windows on it, or "none" (no filter: plain back-projection).
    cutoff : float
        Frequency beyond which the response is 0, as a fraction of the Nyquist frequency, above 0 up to 1.

    Returns
    -------
    ndarray (length // 2 + 1,) float64

    Raises
    ------
    ParameterError
        If the name is unknown or the cut-off out of range.
    """
    if not 0 < cutoff <= 1:
        raise ParameterError(f"The filter's cutoff is {cutoff}.", "Give a fraction of the Nyquist frequency, 0 to 1.")
    if name == "none":
        return np.ones(length // 2 + 1)
    if name not in WINDOWS:
        raise ParameterError(f"There is no filter {name!r}.", "Filters: " + ", ".join([*WINDOWS, "none"]))
    relative = np.arange(length // 2 + 1) / (length / 2) / cutoff
    window = np.where(relative <= 1, WINDOWS[name](np.minimum(relative, 1.0)), 0.0)
    return np.asarray(np.fft.rfft(ramp_kernel(length)).real * window)
