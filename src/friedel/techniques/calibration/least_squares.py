"""Robust least squares: where the weighted residuals are least, and how far noise moves that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError

from .problem import Problem

_Array = NDArray[np.float64]

TUKEY = 6.0
"""Residuals over this many standard deviations do not count. Where there are no outliers 1.6 % of precision is lost."""
CAUCHY = 2.385
"""Half weight at this many standard deviations; used until the parameters are near, since it has no other minima."""
STEPS = 25
SETTLED = 1e-3
"""Change of the parameters in standard errors below which the iteration ends."""
SIGNIFICANT = 3.0
SMALLEST_SCALE = 1e-9
EXACT = 1e-3
"""Residuals in standard errors below which points are computed rather than measured."""


@dataclass(frozen=True)
class Fit:
    """Where the iteration ended."""

    names: tuple[str, ...]
    places: NDArray[np.intp]  # of the free parameters
    values: _Array
    residuals: _Array  # in sigma
    pixels: _Array  # residuals in px
    jacobian: _Array  # of residuals in sigma, (n, free)
    scale: float
    weights: _Array
    factor: float  # K of the module's description
    clusters: float
    converged: bool
    at_bound: NDArray[np.bool_]


def first_values(problem: Problem, names: tuple[str, ...], limits: _Array, robust: bool) -> _Array:
    """Return the start of the fit: where it ends without the wavelength, if that is to be refined.

    Distance and wavelength together make a long and narrow valley, in which steps from far away are lost.
    """
    start = problem.model.start
    some = tuple(name for name in names if name.split("[")[0] not in ("wavelength", "rot3"))
    return start if len(some) == len(names) else fit_points(problem, some, limits, robust, start).values


def fit_points(problem: Problem, names: tuple[str, ...], limits: _Array, robust: bool, start: _Array) -> Fit:
    model = problem.model
    places = np.array([model.names.index(name) for name in names], np.intp)
    n, p = problem.rows.size, places.size
    if n < p + 1:
        raise DataError(
            f"{n} control points cannot determine {p} parameters ({', '.join(names)}).",
            "Give more points, or fix some.",
        )
    values = start.copy()
    soft, converged = robust, False
    for _ in range(STEPS):
        standard, scale, weights, slope = _weighted(problem, values, robust, soft)
        moved = _step(problem, values, places, limits, np.sqrt(weights) / (slope * problem.sigma))
        _, jacobian, slope = problem.evaluate(moved)
        scaled = jacobian[:, places] / (slope * problem.sigma)[:, None]
        change = scaled @ (moved - values)[places]
        values = moved
        # The change of the predicted places, against that which noise makes: p parameters' worth of it.
        if np.sum(weights * change**2) < (SETTLED * max(scale, EXACT)) ** 2 * max(p, 1):
            if not soft:
                converged = True
                break
            soft = False
    angle, jacobian, slope = problem.evaluate(values)
    standard, scale, weights, slope = _weighted(problem, values, robust, soft)
    scaled = jacobian[:, places] / (slope * problem.sigma)[:, None]
    low, high = limits[:, places]
    margin = 1e-6 * np.where(np.isfinite(high - low), high - low, 1.0)
    at_bound = (values[places] <= low + margin) | (values[places] >= high - margin)
    factor, clusters = inflation(problem, standard, scale, weights, scaled[:, ~at_bound], robust)
    return Fit(
        names=names,
        places=places,
        values=values,
        residuals=standard,
        pixels=angle / slope,
        jacobian=scaled,
        scale=scale,
        weights=weights,
        factor=factor,
        clusters=clusters,
        converged=converged,
        at_bound=at_bound,
    )


def _weighted(problem: Problem, values: _Array, robust: bool, soft: bool) -> tuple[_Array, float, _Array, _Array]:
    """Return residuals in sigma, their robust standard deviation, the weights, and |∇2θ|."""
    angle, _, slope = problem.evaluate(values)
    standard = angle / (slope * problem.sigma)
    scale = max(1.4826 * float(np.median(np.abs(standard))), SMALLEST_SCALE)
    if not robust:
        return standard, max(float(np.sqrt(np.mean(standard**2))), SMALLEST_SCALE), np.ones_like(standard), slope
    t = standard / scale
    weights = 1.0 / (1.0 + (t / CAUCHY) ** 2) if soft else np.maximum(1.0 - (t / TUKEY) ** 2, 0.0) ** 2
    return standard, scale, np.asarray(weights), slope


def _step(problem: Problem, values: _Array, places: NDArray[np.intp], limits: _Array, factors: _Array) -> _Array:
    """Return the parameters that minimise Σ (factor · (2θ − 2θ_ring))²."""
    from scipy.optimize import least_squares

    if not places.size:
        return values
    scales = problem.model.scales(values)[places]

    def filled(free: _Array) -> _Array:
        whole = values.copy()
        whole[places] = free * scales
        return whole

    low, high = limits[:, places] / scales
    start = np.clip(values[places] / scales, low, high)

    def residuals(free: _Array) -> _Array:
        return np.asarray(factors * problem.evaluate(filled(free))[0])

    def jacobian(free: _Array) -> _Array:
        return np.asarray(factors[:, None] * problem.evaluate(filled(free))[1][:, places] * scales)

    found = least_squares(
        residuals,
        start,
        jac=jacobian,
        bounds=(low, high),
        method="trf",
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-14,
        max_nfev=30,
    )
    return filled(np.asarray(found.x))


def inflation(
    problem: Problem, standard: _Array, scale: float, weights: _Array, jacobian: _Array, robust: bool
) -> tuple[float, float]:
    """Return K of the covariance, and what clustered points add to it as a factor."""
    p = jacobian.shape[1]
    if robust:
        square = np.minimum((standard / scale / TUKEY) ** 2, 1.0)
        psi = standard / scale * (1.0 - square) ** 2
        slope = float(np.mean((1.0 - square) * (1.0 - 5.0 * square)))
    else:
        psi, slope = standard / scale, 1.0
    used = max(int(np.count_nonzero(weights)), p + 1)
    factor = scale**2 * (used / (used - p)) * float(np.mean(psi**2)) / max(slope, 0.1) ** 2
    if problem.sigma_known:
        factor = max(factor, 1.0)
    exact = scale < EXACT and problem.sigma_known
    return factor, 1.0 if exact else _cluster_factor(problem.cell, psi, jacobian)


def _cluster_factor(cell: NDArray[np.int64], psi: _Array, jacobian: _Array) -> float:
    """Return by how much sums of scores over cells vary more than those of independent points would, 1 or more."""
    p = jacobian.shape[1]
    _, inverse = np.unique(cell, return_inverse=True)
    clusters = int(inverse.max()) + 1 if inverse.size else 0
    if p == 0 or clusters < 3 * p:
        return 1.0  # too few to tell
    left, singular, _ = np.linalg.svd(jacobian, full_matrices=False)
    basis = left[:, singular > 1e-10 * singular[0]]
    scores = np.stack([np.bincount(inverse, psi * column, clusters) for column in basis.T], axis=1)
    lever = np.bincount(inverse, (basis**2).sum(axis=1), clusters)
    variance = float(np.mean(psi**2))
    # Residuals of a fit have lost what the parameters took: of a cell the part that is its leverage.
    each = (scores**2).sum(axis=1) / np.maximum(1.0 - np.minimum(lever, 0.9), 0.1) / variance
    found = float(each.sum()) / basis.shape[1]
    spread = math.sqrt(float((lever**2).sum()) * 2.0 / basis.shape[1]) / math.sqrt(basis.shape[1])
    return found if found > 1.0 + SIGNIFICANT * spread else 1.0
