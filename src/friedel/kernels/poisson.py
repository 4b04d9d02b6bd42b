"""Poisson noise for simulated frames, the same numbers for any order, number or size of blocks.

Each pixel's random numbers are a function of (seed, frame, pixel) alone (a counter hashed by the finalizer of
SplitMix64: Steele, Lea & Flood, OOPSLA 2014). Means up to 60 are drawn by inversion, larger ones by transformed
rejection (Hörmann, Insurance: Mathematics and Economics 12 (1993) 39, algorithm PTRS); both are exact to the
precision of double numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel import _native
from friedel.core.errors import ParameterError

_Floats = NDArray[np.float64]
_Words = NDArray[np.uint64]

INVERSION_LIMIT = 60.0
LARGEST_INVERTED = 192
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
ATTEMPT_SHIFT = 40


def poisson_frames(
    images: ArrayLike, amounts: ArrayLike, *, seed: int = 0, first_frame: int = 0, threads: int = 1
) -> NDArray[np.uint32]:
    """Draw frames of counts whose means are sums of images.

    Parameters
    ----------
    images : array_like of float32 (k, npix)
        Mean counts of each component for a unit amount.
    amounts : array_like of float32 (n, k)
        Amount of each component in each frame. Pixels with a negative mean get 0.
    seed : int
        0 to 2⁶⁴ − 1.
    first_frame : int
        Number of the first frame in the whole series.
    threads : int
        Does not change the result.

    Returns
    -------
    ndarray of uint32 (n, npix)

    Raises
    ------
    ParameterError
        If shapes do not fit or values are not finite.
    """
    components, weights = _checked(images, amounts)
    frames = np.empty((weights.shape[0], components.shape[1]), dtype=np.uint32)
    _native.poisson_frames(components, weights, frames, seed, first_frame, threads)
    return frames


def _checked(images: ArrayLike, amounts: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    components = np.ascontiguousarray(images, dtype=np.float32)
    weights = np.ascontiguousarray(amounts, dtype=np.float32)
    if components.ndim != 2 or weights.ndim != 2 or weights.shape[1] != components.shape[0]:
        raise ParameterError(
            f"Images of shape {components.shape} and amounts of shape {weights.shape} do not fit.",
            "Give images (k, pixels) and amounts (frames, k).",
        )
    if not (np.isfinite(components).all() and np.isfinite(weights).all()):
        raise ParameterError("Images or amounts are not finite.", "Give finite mean counts.")
    return components, weights


def poisson_frames_reference(
    images: ArrayLike, amounts: ArrayLike, *, seed: int = 0, first_frame: int = 0
) -> NDArray[np.uint32]:
    """The same as `poisson_frames`, in numpy: the specification of the compiled kernel."""
    components, weights = _checked(images, amounts)
    frames = np.empty((weights.shape[0], components.shape[1]), dtype=np.uint32)
    for row, amount in enumerate(weights.astype(np.float64)):
        mean = np.zeros(components.shape[1])
        for share, image in zip(amount, components, strict=True):
            mean += share * image.astype(np.float64)
        frames[row] = _draw(mean, _frame_key(seed, first_frame + row))
    return frames


def _mix(z: _Words) -> _Words:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _frame_key(seed: int, frame: int) -> tuple[_Words, _Words]:
    first = _mix(_mix(np.array([seed], dtype=np.uint64) + GOLDEN) + np.array([frame], dtype=np.uint64) * GOLDEN)
    return first, _mix(first + GOLDEN)


def _uniform(key: tuple[_Words, _Words], counter: _Words) -> _Floats:
    """Return numbers in [0, 1) with 52 bits, a function of key and counter alone."""
    z = _mix(_mix(counter * GOLDEN + key[0]) ^ key[1])
    return ((z >> np.uint64(12)) | np.uint64(0x3FF0000000000000)).view(np.float64) - 1.0


def _draw(mean: _Floats, key: tuple[_Words, _Words]) -> NDArray[np.uint32]:
    pixel = np.arange(mean.size, dtype=np.uint64)
    large = mean > INVERSION_LIMIT
    counts = np.empty(mean.size, dtype=np.uint32)
    counts[~large] = _invert(np.maximum(mean[~large], 0.0), _uniform(key, pixel[~large]))
    counts[large] = [_reject(value, key, number) for value, number in zip(mean[large], pixel[large], strict=True)]
    return counts


def _invert(mean: _Floats, u: _Floats) -> NDArray[np.uint32]:
    """The sample is the number of k with u ≥ P(X ≤ k)."""
    p = _exponential(mean)
    cumulative = p.copy()
    drawn = np.zeros(mean.size, dtype=np.uint32)
    for k in range(1, LARGEST_INVERTED + 1):
        drawn += u >= cumulative
        p *= mean * (1.0 / k)
        cumulative += p
    return drawn


def _exponential(m: _Floats) -> _Floats:
    """Return exp(−m): 2⁻ⁿ exp(r), |r| ≤ ln 2 / 2, spelled out so that every machine gives the same number."""
    n = (m * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0
    r = (n * 0.693147180369123816490 - m) + n * 1.90821492927058770002e-10
    factorials = (39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1)
    e = r * (1.0 / 479001600.0) + 1.0 / factorials[0]
    for factorial in factorials[1:]:
        e = e * r + 1.0 / factorial
    return np.asarray(np.ldexp(e, -n.astype(np.int64)))


def _log_factorial(k: float) -> float:
    if k < 10:
        return float(np.log(float(np.prod(np.arange(1.0, k + 1.0)))))
    r = 1.0 / k
    s = r * r
    series = r * (1.0 / 12.0 - s * (1.0 / 360.0 - s * (1.0 / 1260.0 - s * (1.0 / 1680.0))))
    return float((k + 0.5) * np.log(k) - k + 0.9189385332046727 + series)


def _reject(mean: float, key: tuple[_Words, _Words], pixel: np.uint64) -> int:
    if not mean < 4.0e9:
        return 2**32 - 1
    b = 0.931 + 2.53 * np.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2.0)
    attempt = 1
    while True:
        counters = np.array([int(pixel) | (attempt << ATTEMPT_SHIFT), int(pixel) | ((attempt + 1) << ATTEMPT_SHIFT)])
        u, v = _uniform(key, counters.astype(np.uint64))
        u -= 0.5
        us = 0.5 - abs(u)
        k = np.floor((2.0 * a / us + b) * u + mean + 0.43) if us > 0 else -1.0
        if us >= 0.07 and v <= v_r:
            return int(k)
        possible = 0 <= k < 4.2e9 and not (us < 0.013 and v > us) and v > 0
        bound = k * np.log(mean) - mean - _log_factorial(k) if possible else 0.0
        if possible and np.log(v * inverse_alpha / (a / (us * us) + b)) <= bound:
            return int(k)
        attempt += 2
