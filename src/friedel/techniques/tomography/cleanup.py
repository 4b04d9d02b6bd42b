"""What is done to sinograms before they are reconstructed.

Every function takes (angle, translation[, channel...]) and returns a new array of the same shape; none looks from one
channel into another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import DataError, ParameterError

Floats = NDArray[np.floating]
RingMethod = Literal["none", "sort", "mean"]

SMALLEST_TRANSMISSION = 1e-6
MEDIAN_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True)
class Cleaning:
    """What is done to sinograms before they are reconstructed.

    Attributes
    ----------
    outliers : float or None
        Threshold of `remove_outliers`; None: they stay.
    rings : {"none", "sort", "mean"}
        See `remove_rings`.
    ring_size : int
        See `remove_rings`.
    non_negative : bool
        Whether negative samples become 0 in the end, as MLEM needs it.

    Raises
    ------
    ParameterError
        If one of them makes no sense, so that it is told before the work begins.
    """

    outliers: float | None = None
    rings: RingMethod = "none"
    ring_size: int = 21
    non_negative: bool = False

    def __post_init__(self) -> None:
        if self.outliers is not None:
            _check_threshold(self.outliers)
        _check_rings(self.rings, self.ring_size)

    def __call__(self, sinograms: Floats) -> Floats:
        """Return sinograms (angle, translation, channel) without outliers, without rings, and not negative."""
        return self.finish(self.without_outliers(sinograms))

    def without_outliers(self, sinograms: Floats) -> Floats:
        """Do the first step, which looks at the samples as they were measured."""
        return sinograms if self.outliers is None else remove_outliers(sinograms, self.outliers)

    def finish(self, sinograms: Floats) -> Floats:
        """Do the other steps, which look at what adds up along a ray."""
        cleaned = remove_rings(sinograms, self.rings, self.ring_size)
        return np.maximum(cleaned, 0, dtype=cleaned.dtype) if self.non_negative else cleaned


def normalize_monitor(sinogram: Floats, monitor: ArrayLike) -> Floats:
    """Divide by the monitor relative to its mean over the scan, so that counts stay counts.

    Parameters
    ----------
    sinogram : ndarray (angle, translation[, channel...])
    monitor : array_like (angle, translation) or (angle,)
        Beam intensity at each position. Where it is NaN the result is NaN.

    Raises
    ------
    DataError
        If the shape does not fit, or the monitor is 0 or negative somewhere.
    """
    beam = np.asarray(monitor, sinogram.dtype)
    if beam.shape not in (sinogram.shape[:2], sinogram.shape[:1]):
        raise DataError(
            f"The monitor has the shape {beam.shape}; the sinogram's is {sinogram.shape}.",
            "Give one value for each angle and translation.",
        )
    dark = int(np.count_nonzero(beam <= 0))
    if dark:
        raise DataError(
            f"The monitor is zero or negative at {dark} of {beam.size} positions.",
            "Check which data set is the monitor, or set these positions to NaN.",
        )
    relative = beam / np.nanmean(beam, dtype=float).astype(beam.dtype)
    return np.asarray(sinogram / relative.reshape(relative.shape + (1,) * (sinogram.ndim - relative.ndim)))


def minus_log(counts: Floats, flat: ArrayLike = 1.0, dark: ArrayLike = 0.0) -> Floats:
    """Return the absorption -log((counts - dark) / (flat - dark)) along each ray.

    Parameters
    ----------
    counts : ndarray (angle, translation[, channel...])
    flat, dark : array_like
        What is measured without the sample and without the beam; anything that broadcasts against `counts`.

    Raises
    ------
    DataError
        If the flat is not above the dark anywhere.
    """
    flat, dark = np.asarray(flat, counts.dtype), np.asarray(dark, counts.dtype)
    beam = flat - dark
    if not (beam > 0).any():
        raise DataError("The flat is nowhere above the dark.", "Check which images are flats and which are darks.")
    # A pixel that sees no beam knows nothing: it takes the median beam, and the ring filter deals with the rest.
    beam = np.where(beam > 0, beam, np.median(beam[beam > 0]))
    return np.asarray(-np.log(np.maximum((counts - dark) / beam, SMALLEST_TRANSMISSION)), counts.dtype)


def subtract_air(sinogram: Floats, edge: int) -> Floats:
    """Subtract what is seen beside the sample: a line through the means of the first and the last translations.

    Parameters
    ----------
    sinogram : ndarray (angle, translation[, channel...])
    edge : int
        Translations on each side that never see the sample.

    Raises
    ------
    ParameterError
        If the edges leave nothing between them.
    """
    n = sinogram.shape[1]
    if not 1 <= edge <= n // 2:
        raise ParameterError(f"{edge} translations on each side are no edge of {n}.", f"Give 1 to {n // 2}.")
    left, right = (part.mean(axis=1, keepdims=True) for part in (sinogram[:, :edge], sinogram[:, n - edge :]))
    along = (np.arange(n) - (edge - 1) / 2) / (n - edge)
    along = along.astype(sinogram.dtype).reshape(1, n, *[1] * (sinogram.ndim - 2))
    return np.asarray(sinogram - (left + (right - left) * along))


def remove_outliers(sinogram: Floats, threshold: float = 8.0) -> Floats:
    """Replace isolated samples (cosmic rays, single-crystal spots) by the median of their neighbours.

    A sample is isolated if it lies beyond all its eight neighbours in angle and translation by `threshold` times the
    noise of its channel. Edges of the sample, which have neighbours on their level, stay. Samples that are not finite
    are replaced where at least three neighbours are.

    Parameters
    ----------
    sinogram : ndarray (angle, translation[, channel...])
    threshold : float
        In standard deviations of the noise, estimated from the median absolute deviation of the samples that differ
        from their neighbours. A channel in which hardly anything differs from zero keeps its few counts.
    """
    _check_threshold(threshold)
    flat = sinogram.reshape(*sinogram.shape[:2], -1)
    cleaned = np.stack([_without_outliers(flat[..., k], threshold) for k in range(flat.shape[2])], axis=-1)
    return np.asarray(cleaned.reshape(sinogram.shape))


def _check_threshold(threshold: float) -> None:
    if threshold <= 0:
        raise ParameterError(f"The outlier threshold is {threshold}.", "Give a positive number of standard deviations.")


def _without_outliers(image: Floats, threshold: float) -> Floats:
    around = _neighbours(image)
    known = np.isfinite(around).sum(axis=0)
    low, high = (
        function(np.where(np.isfinite(around), around, fill), axis=0)
        for function, fill in ((np.min, np.inf), (np.max, -np.inf))
    )
    filled = np.sort(np.where(np.isfinite(around), around, np.inf), axis=0)
    pick = np.minimum(np.maximum(known - 1, 0), 7)
    median = (
        np.take_along_axis(filled, (pick // 2)[None], axis=0)[0]
        + np.take_along_axis(filled, ((pick + 1) // 2)[None], axis=0)[0]
    ) / 2
    finite = np.isfinite(image) & (known > 0)
    noise = _noise(image[finite], median[finite])
    isolated = finite & (noise > 0) & ((image > high + threshold * noise) | (image < low - threshold * noise))
    isolated |= ~np.isfinite(image) & (known >= 3)
    return np.where(isolated, median, image).astype(image.dtype)


def _noise(samples: Floats, medians: Floats) -> float:
    """Return the standard deviation of the noise, from how samples deviate from the medians of their neighbours.

    Samples that equal theirs tell nothing: in sparse counts and in empty air most do, and their noise would be zero.
    """
    if not samples.size:
        return 0.0
    deviation = np.abs(samples.astype(float) - medians)
    rounding = 4 * float(np.finfo(np.float32).eps) * float(np.abs(samples).mean(dtype=float))
    deviation = deviation[deviation > rounding]
    return MEDIAN_TO_SIGMA * float(np.median(deviation)) if deviation.size else 0.0


def _neighbours(image: Floats) -> Floats:
    """Return the eight neighbours of each sample, NaN beyond the borders."""
    padded = np.pad(image, 1, constant_values=np.nan)
    rows, columns = image.shape
    return np.stack(
        [padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3) if (i, j) != (1, 1)], axis=0
    )


def remove_rings(sinogram: Floats, method: RingMethod = "sort", size: int = 21) -> Floats:
    """Remove stripes along the angle, which would become rings around the axis.

    Parameters
    ----------
    sinogram : ndarray (angle, translation[, channel...])
    method : {"sort", "mean", "none"}
        "sort": sort each translation over angle, smooth across translations with a median, undo the sort (Vo et al.
        2018, algorithm 3): removes what a translation adds at any level, keeps real structure.
        "mean": subtract from each translation how its mean over angle differs from its neighbours' median.
    size : int
        Translations in the median; wider than a ring, narrower than the structure.

    Raises
    ------
    ParameterError
        If the method is unknown or the size not an odd number from 3.
    """
    _check_rings(method, size)
    if method == "none":
        return sinogram
    flat = sinogram.reshape(*sinogram.shape[:2], -1)
    remove = _without_sorted_stripes if method == "sort" else _without_mean_stripes
    cleaned = np.stack([remove(flat[..., k], size) for k in range(flat.shape[2])], axis=-1)
    return np.asarray(cleaned.reshape(sinogram.shape))


def _check_rings(method: str, size: int) -> None:
    if method not in ("sort", "mean", "none"):
        raise ParameterError(f"There is no ring removal {method!r}.", "Methods: sort, mean, none.")
    if method != "none" and (size < 3 or size % 2 == 0):
        raise ParameterError(f"The ring filter's size is {size}.", "Give an odd number of translations, 3 or more.")


def _without_sorted_stripes(image: Floats, size: int) -> Floats:
    from scipy.ndimage import median_filter

    order = np.argsort(image, axis=0, kind="stable")
    smooth = median_filter(np.take_along_axis(image, order, axis=0), size=(1, size), mode="nearest")
    cleaned = np.empty_like(image)
    np.put_along_axis(cleaned, order, smooth, axis=0)
    return cleaned


def _without_mean_stripes(image: Floats, size: int) -> Floats:
    from scipy.ndimage import median_filter

    mean = np.ascontiguousarray(image).mean(axis=0, dtype=float)
    return np.asarray(image - (mean - median_filter(mean, size=size, mode="nearest")).astype(image.dtype))
