"""Fits of patterns whose bins share pixels: covariances as matrices, residuals made independent.

A pattern carries ``intensity_covariance`` over (offset, radial): the covariance of bin b and bin b + offset, the lower
bands of a symmetric matrix C. With its Cholesky factor, C = L·Lᵀ, the residuals r of a model become L⁻¹·r, which are
independent and of variance 1; the sum of their squares is χ² = rᵀ·C⁻¹·r.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import DataError

_Array = NDArray[np.float64]


def covariance_matrix(covariance: ArrayLike | xr.DataArray) -> _Array:
    """Return the matrix of bands.

    Parameters
    ----------
    covariance : array-like or DataArray, shape (offset, radial)
        ``intensity_covariance`` of one pattern.

    Returns
    -------
    ndarray of float64, shape (radial, radial)
    """
    bands = _bands(covariance)
    n = bands.shape[1]
    matrix = np.zeros((n, n))
    for offset, band in enumerate(bands[:n]):
        first = np.arange(n - offset)
        matrix[first, first + offset] = matrix[first + offset, first] = band[: n - offset]
    return matrix


def whitened(residuals: ArrayLike | xr.DataArray, covariance: ArrayLike | xr.DataArray) -> _Array:
    """Return residuals made independent, L⁻¹·r: what a least-squares fit minimizes the squares of.

    Bins that have no intensity (NaN in the residuals or in the variance) are left out.

    Parameters
    ----------
    residuals : array-like or DataArray, shape (radial,)
        Intensity minus model.
    covariance : array-like or DataArray, shape (offset, radial)
        ``intensity_covariance`` of the pattern.

    Returns
    -------
    ndarray of float64, shape (bins with intensity,)
        Of variance 1 and independent where the model is right.

    Raises
    ------
    DataError
        If the shapes do not go together, or the covariance is not that of independent numbers: there are fewer
        pixels than bins.
    """
    from scipy.linalg import LinAlgError, cholesky_banded, solve_banded

    bands, r = _bands(covariance), np.asarray(residuals, np.float64)
    if r.shape != bands.shape[1:]:
        raise DataError(
            f"The residuals have the shape {r.shape}, the covariance {bands.shape}.",
            "Give one residual for each bin, and the covariance of one pattern.",
        )
    known = np.isfinite(r) & np.isfinite(bands[0])
    # Left out bins stay in the bands, as numbers of variance 1 that nothing depends on: L⁻¹·r of the others is the
    # same as without them.
    bands = np.where(_joins(known, len(bands)), bands, 0.0)
    bands[0, ~known] = 1.0
    try:
        lower = cholesky_banded(bands, lower=True)
    except LinAlgError:
        raise DataError(
            "The covariance is not positive definite: some bins follow from others, since there are fewer pixels "
            "than bins or several bins in one pixel.",
            "Integrate with fewer bins.",
        ) from None
    white = np.asarray(solve_banded((len(bands) - 1, 0), lower, np.where(known, r, 0.0)), np.float64)
    return np.asarray(white[known])


def _joins(known: NDArray[np.bool_], n_offsets: int) -> NDArray[np.bool_]:
    """Return which of the bands join two bins that are known."""
    joins = np.zeros((n_offsets, len(known)), bool)
    for offset in range(min(n_offsets, len(known))):
        joins[offset, : len(known) - offset] = known[: len(known) - offset] & known[offset:]
    return joins


def _bands(covariance: ArrayLike | xr.DataArray) -> _Array:
    bands = np.asarray(covariance, np.float64)
    if bands.ndim != 2:
        raise DataError(
            f"The covariance has the shape {bands.shape}.", "Give that of one pattern, over (offset, radial)."
        )
    return bands
