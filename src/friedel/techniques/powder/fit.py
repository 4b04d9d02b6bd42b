"""How much of each known phase is in each pattern."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import DataError

from .nonnegative import solve_nonnegative

_Array = NDArray[np.float64]

PATTERNS_AT_A_TIME = 4096


@dataclass(frozen=True)
class PhaseFit:
    """Result of `fit_phases`; leading dimensions are those of the patterns.

    Attributes
    ----------
    weights : ndarray of float64 (..., phase)
        Amount of each reference, never negative; NaN for a pattern that is not finite.
    background : ndarray of float64 (..., degree + 1)
        Coefficients of Chebyshev polynomials of the radial index, −1 at the first point and 1 at the last.
    residual : ndarray of float64 (...)
        Root mean square of what the fit leaves, in the pattern's unit.
    """

    weights: _Array
    background: _Array
    residual: _Array


def fit_phases(patterns: ArrayLike, references: ArrayLike, background_degree: int | None = 3) -> PhaseFit:
    """Fit each pattern by non-negative amounts of the references and a free smooth background.

    Parameters
    ----------
    patterns : array_like (..., radial)
        Measured patterns; radial points that are NaN in every pattern (empty bins) are left out.
    references : array_like (phase, radial)
        Patterns of the phases on the same radial axis.
    background_degree : int or None
        Degree of the background; None for no background.

    Returns
    -------
    PhaseFit

    Raises
    ------
    DataError
        If the radial axes differ in length or a reference is not finite.
    """
    measured, known = np.asarray(patterns), np.asarray(references, dtype=np.float64)
    _check(measured, known)
    flat = measured.reshape(-1, measured.shape[-1])
    used = ~np.isnan(flat).all(axis=0) if len(flat) else np.ones(flat.shape[1], dtype=bool)
    smooth = _polynomials(flat.shape[1], background_degree)
    amounts, coefficients, residual = _fit(flat, known[:, used], smooth[used], used)
    lead = measured.shape[:-1]
    return PhaseFit(amounts.reshape(*lead, -1), coefficients.reshape(*lead, smooth.shape[1]), residual.reshape(lead))


def _polynomials(count: int, degree: int | None) -> _Array:
    """Return Chebyshev polynomials up to `degree` on `count` points: (count, degree + 1)."""
    if degree is None:
        return np.empty((count, 0))
    points = np.linspace(-1.0, 1.0, count)
    return np.asarray(np.polynomial.chebyshev.chebvander(points, degree), dtype=np.float64)


def _check(measured: NDArray[np.generic], known: _Array) -> None:
    if known.ndim != 2 or measured.ndim < 1 or known.shape[1] != measured.shape[-1]:
        raise DataError(
            f"The patterns have shape {measured.shape}, the references {known.shape}.",
            "Give patterns (..., radial) and references (phase, radial) on the same radial axis.",
        )
    if not np.isfinite(known).all():
        raise DataError("A reference pattern is not finite.", "Compute the references on the patterns' radial axis.")


def _fit(
    flat: NDArray[np.generic], known: _Array, smooth: _Array, used: NDArray[np.bool_]
) -> tuple[_Array, _Array, _Array]:
    # The background's sign is free: with Q its orthonormal basis, it is removed from both sides by I − QQᵀ.
    basis, triangle = np.linalg.qr(smooth)
    sharp = known - (known @ basis) @ basis.T
    gram = sharp @ sharp.T
    amounts = np.empty((len(flat), len(known)))
    coefficients = np.empty((len(flat), smooth.shape[1]))
    residual = np.empty(len(flat))
    for start in range(0, len(flat), PATTERNS_AT_A_TIME):
        block = slice(start, start + PATTERNS_AT_A_TIME)
        measured = flat[block][:, used].astype(np.float64)
        amounts[block] = solve_nonnegative(gram, measured @ sharp.T)
        left = measured - amounts[block] @ known
        projected = left @ basis
        coefficients[block] = np.linalg.solve(triangle, projected.T).T if smooth.size else projected
        left -= projected @ basis.T
        residual[block] = np.sqrt(np.mean(left * left, axis=1))
    return amounts, coefficients, residual
