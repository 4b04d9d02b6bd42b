"""Many small least-squares problems with weights that cannot be negative.

All share one matrix, so they share its Gram matrix, and those with the same set of positive weights share one
factorization. Block principal pivoting (Kim & Park, SIAM J. Sci. Comput. 33 (2011) 3261) with the backup rule of
Portugal, Judice & Vicente, which ends for any well-posed problem.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]

FULL_EXCHANGES = 3
"""Times that a step without progress may still exchange every variable at fault."""


def solve_nonnegative(gram: _Array, correlation: _Array) -> _Array:
    """Return w ≥ 0 that minimises ½ wᵀ G w − cᵀ w, for many c at once.

    Parameters
    ----------
    gram : ndarray of float64 (k, k)
        G = AᵀA, symmetric.
    correlation : ndarray of float64 (..., k)
        c = Aᵀ y of each problem. A problem that is not finite gives NaN.

    Returns
    -------
    ndarray of float64 (..., k)
    """
    shape = correlation.shape
    # Columns of unit length make one tolerance right for all.
    length = np.sqrt(np.diag(gram))
    length = np.where(length > 0, length, 1.0)
    scaled = gram / np.outer(length, length)
    wanted = correlation.reshape(-1, shape[-1]) / length
    finite = np.isfinite(wanted).all(axis=1)
    weights = np.full(wanted.shape, np.nan)
    weights[finite] = _pivot(scaled, wanted[finite])
    return np.asarray(weights / length).reshape(shape)


def _pivot(gram: _Array, wanted: _Array) -> _Array:
    count, k = wanted.shape
    tolerance = 1e-12 * np.abs(wanted).max(axis=1, keepdims=True, initial=0.0)
    passive = np.zeros((count, k), dtype=bool)
    weights = np.zeros((count, k))
    gradient = -wanted
    best = np.full(count, k + 1)
    patience = np.full(count, FULL_EXCHANGES)
    open_ = np.arange(count)
    for _ in range(100 * (k + 1)):
        fault = np.where(passive[open_], weights[open_] < 0, gradient[open_] < -tolerance[open_])
        faults = fault.sum(axis=1)
        open_, fault, faults = open_[faults > 0], fault[faults > 0], faults[faults > 0]
        if open_.size == 0:
            break
        progress = faults < best[open_]
        best[open_[progress]] = faults[progress]
        patience[open_[progress]] = FULL_EXCHANGES
        patience[open_[~progress]] -= 1
        # Without progress for too long, exchange only the last variable at fault: slow, but it cannot cycle.
        single = patience[open_] < 0
        last = k - 1 - np.argmax(fault[single][:, ::-1], axis=1)
        fault[single] = np.arange(k) == last[:, None]
        passive[open_] ^= fault
        weights[open_], gradient[open_] = _solve_passive(gram, wanted[open_], passive[open_])
    return np.asarray(np.where(passive, np.maximum(weights, 0.0), 0.0))


def _solve_passive(gram: _Array, wanted: _Array, passive: NDArray[np.bool_]) -> tuple[_Array, _Array]:
    """Solve each problem with the weights outside its passive set at zero; return weights and gradient."""
    weights = np.zeros(wanted.shape)
    sets, member = np.unique(passive, axis=0, return_inverse=True)
    for number, chosen in enumerate(sets):
        if chosen.any():
            rows = np.flatnonzero(member.reshape(-1) == number)
            inverse = np.linalg.pinv(gram[np.ix_(chosen, chosen)], rcond=1e-13, hermitian=True)
            weights[np.ix_(rows, np.flatnonzero(chosen))] = wanted[rows][:, chosen] @ inverse
    return weights, weights @ gram - wanted
