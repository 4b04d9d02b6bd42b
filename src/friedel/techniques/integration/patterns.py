"""From sums over bins to intensities and their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.kernels.scatter import BinSums

Floats = NDArray[np.float32]

SUMS = {
    "signal": ("Σ c (raw - dark)", "counts"),
    "normalization": ("Σ c w", ""),
    "variance": ("Σ c² v", "counts^2"),
    "normalization_squared": ("Σ (c w)²", ""),
    "count": ("Σ c", ""),
    "rejected": ("Σ c of the pixels left out as outliers", ""),
}
"""The sums over the bins, which results hold as ``sum_signal``, ..., what they are, and their units."""


@dataclass(frozen=True, eq=False)
class Patterns:
    """Patterns or cakes of n frames; ``bins`` is (n_radial,) or (n_azimuth, n_radial).

    Attributes
    ----------
    intensity : ndarray of float32, shape (n, *bins)
        I = S/N, in counts for a pixel without corrections; `empty` of the map where no valid pixel contributes.
    intensity_errors : ndarray of float32, shape (n, *bins), or None
        One standard deviation of I, σ = √V/N.
    valid_fraction : ndarray of float32, shape (n,)
        How many of the pixels in the range were valid in the frame, counted by their shares; 0 for a lost frame.
        Pixels that a robust estimator left out were valid.
    sums : BinSums or None
        The sums themselves where the map keeps them, shape (n, number of bins).
    intensity_std : ndarray of float32, shape (n, *bins), or None
        Spread of a single pixel about the mean of its bin, √(V/N2), where it is asked for.
    intensity_covariance : ndarray of float64, shape (n, offsets, n_radial), or None
        Covariance of bins b and b + offset of patterns, where it is asked for.
    """

    intensity: Floats
    intensity_errors: Floats | None
    valid_fraction: Floats
    sums: BinSums | None = None
    intensity_std: Floats | None = None
    intensity_covariance: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.intensity)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, with ``sum_signal``, ... of shape (n, *bins) where the sums are kept."""
        found = {
            "intensity": self.intensity,
            "intensity_errors": self.intensity_errors,
            "intensity_std": self.intensity_std,
            "intensity_covariance": self.intensity_covariance,
            "valid_fraction": self.valid_fraction,
        } | self._sums()
        return {name: values for name, values in found.items() if values is not None}

    def _sums(self) -> dict[str, NDArray[Any] | None]:
        if self.sums is None:
            return {}
        sums = {name: getattr(self.sums, name) for name in SUMS}
        shape = self.sums.signal.shape
        return {
            f"sum_{name}": np.broadcast_to(values, shape).reshape(self.intensity.shape)
            for name, values in sums.items()
            if values is not None
        }


def patterns_of(
    sums: BinSums,
    total_count: float,
    bins: tuple[int, ...],
    *,
    factor: NDArray[np.float64] | None = None,
    empty: float = np.nan,
    std: bool = False,
    keep_sums: bool = False,
) -> Patterns:
    """Divide sums by their normalization.

    Parameters
    ----------
    sums : BinSums
    total_count : float
        Sum of the shares of all pixels of the map.
    bins : tuple of int
        Shape of a pattern.
    factor : ndarray, shape (n,), optional
        Normalization of each frame: monitor, exposure time.
    empty : float
        Value where no valid pixel contributes.
    std : bool
        Whether the result holds the spread of single pixels.
    keep_sums : bool
        Whether the result holds the sums, and the spread of single pixels.
    """
    n = len(sums.signal)
    normalization: NDArray[Any] = sums.normalization
    if factor is not None:
        normalization = normalization * factor[:, np.newaxis]
    errors = spread = None
    if sums.variance is not None:
        errors = _ratio(np.sqrt(sums.variance), normalization, empty).reshape(n, *bins)
        if std or keep_sums:
            per_pixel: NDArray[Any] = np.sqrt(sums.normalization_squared)
            per_pixel = per_pixel if factor is None else per_pixel * factor[:, np.newaxis]
            spread = _ratio(np.sqrt(sums.variance), per_pixel, empty).reshape(n, *bins)
    intensity = _ratio(sums.signal, normalization, empty).reshape(n, *bins)
    count = sums.count if sums.rejected is None else sums.count + sums.rejected
    valid = np.broadcast_to(count.sum(axis=1), (n,)) / (total_count or 1.0)
    return Patterns(intensity, errors, valid.astype(np.float32), sums if keep_sums else None, spread)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64], empty: float) -> Floats:
    ratio = np.full(above.shape, empty, np.float32)
    np.divide(above, below, out=ratio, where=np.broadcast_to(below != 0, above.shape), casting="same_kind")
    return ratio
