"""Robust least squares: where the weighted residuals are least, and how far noise moves that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError

from .problem import Problem
from .scatter import MEDIAN_SQUARE, extra_variance

_Array = NDArray[np.float64]

TUKEY = 6.0
"""Residuals over this many standard deviations do not count. Where there are no outliers 1.6 % of precision is lost."""
CAUCHY = 2.385
"""Half weight at this many standard deviations; used until the parameters are near, since it has no other minima."""
STEPS = 40
RING_ROUNDS = 3
MOST_SCATTER = 4.0
"""What a ring may scatter more than rings usually do."""
SETTLED = 1e-3
"""Change of the parameters in standard errors below which the iteration ends."""
SIGNIFICANT = 3.0
SIGNIFICANT_CORRELATION = 1.0
"""Standard errors (1/√n) from which a correlation of neighbours counts: missed ones make errors too small."""
FEWEST_PAIRS = 30
FARTHEST_NEIGHBOUR = 20
SMALLEST_SCALE = 1e-9
SMALLEST_BIAS = 0.001
"""Pixels by which a quarter of a ring may be off whatever counts say: tails, backgrounds, response."""
EXACT = 1e-3
"""Residuals in standard errors below which points are computed rather than measured."""


@dataclass(frozen=True)
class Fit:
    """Where the iteration ended."""

    names: tuple[str, ...]
    places: NDArray[np.intp]  # of the free parameters
    values: _Array
    sigma: _Array  # of the points with what their ring adds, px
    pixels: _Array  # residuals in px
    jacobian: _Array  # of residuals in sigma, (n, free)
    weights: _Array
    factor: float  # K of the module's description
    clusters: float
    biased: _Array  # (free, free) without those at bounds: added to the covariance for what counts do not tell
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
    """Return the parameters with the least residuals.

    First with weights that have one minimum only, then, near it, with those that leave outliers out; then too each ring
    gets the errors that its residuals show.

    Raises
    ------
    DataError
        If there are fewer points than parameters.
    """
    places = np.array([problem.model.names.index(name) for name in names], np.intp)
    n, p = problem.rows.size, places.size
    if n < p + 1:
        raise DataError(
            f"{n} control points cannot determine {p} parameters ({', '.join(names)}).",
            "Give more points, or fix some.",
        )
    search = _Search(problem, places, limits)
    at = search.at(start, problem.sigma)
    converged = True
    if p:
        at, converged = search.settled(at, "soft" if robust else "plain")
    if robust:
        for _ in range(RING_ROUNDS if problem.sigma_known else 1):
            sigma = ring_sigma(problem, at.pixels) if problem.sigma_known else at.sigma
            same = np.allclose(sigma, at.sigma, rtol=0.02)
            at = search.at(at.values, sigma)
            if p:
                at, converged = search.settled(at, "robust")
            if same:
                break
    return _fit_of(problem, names, places, limits, at, robust, converged)


def ring_sigma(problem: Problem, pixels: _Array) -> _Array:
    """Return errors of the points to which is added what the residuals of their ring scatter beyond them.

    No more is added than a few times what rings usually scatter: a ring that is somewhere else is an outlier.
    """
    variance, groups = problem.sigma**2, np.unique(problem.group)
    usual = float(np.median([np.median(pixels[problem.group == ring] ** 2) for ring in groups])) / MEDIAN_SQUARE
    for ring in groups:
        some = problem.group == ring
        variance[some] += min(extra_variance(pixels[some] ** 2, problem.sigma[some] ** 2), MOST_SCATTER**2 * usual)
    return np.sqrt(variance)


@dataclass(frozen=True)
class _State:
    """Parameters, and what follows from them."""

    values: _Array
    sigma: _Array  # px
    pixels: _Array  # residuals
    standard: _Array  # residuals in sigma
    jacobian: _Array  # of them, (n, free)


def _scale(standard: _Array, kind: str) -> float:
    """Return the standard deviation of residuals."""
    if kind == "plain":
        return max(float(np.sqrt(np.mean(standard**2))), SMALLEST_SCALE)
    return max(1.4826 * float(np.median(np.abs(standard))), SMALLEST_SCALE)


def _weights(t: _Array, kind: str) -> _Array:
    match kind:
        case "soft":
            return np.asarray(1.0 / (1.0 + (t / CAUCHY) ** 2))
        case "robust":
            return np.asarray(np.maximum(1.0 - (t / TUKEY) ** 2, 0.0) ** 2)
    return np.ones_like(t)


def tukey_weights(standard: _Array) -> tuple[_Array, float]:
    """Return the weights of residuals given in sigma, and their robust standard deviation."""
    scale = _scale(standard, "robust")
    return _weights(standard / scale, "robust"), scale


def _loss(t: _Array, kind: str) -> float:
    match kind:
        case "soft":
            return float(0.5 * CAUCHY**2 * np.log1p((t / CAUCHY) ** 2).sum())
        case "robust":
            return float(TUKEY**2 / 6.0 * (1.0 - np.maximum(1.0 - (t / TUKEY) ** 2, 0.0) ** 3).sum())
    return float(0.5 * (t * t).sum())


@dataclass(frozen=True)
class _Search:
    """Levenberg-Marquardt with weights that follow the residuals, inside limits."""

    problem: Problem
    places: NDArray[np.intp]
    limits: _Array

    def at(self, values: _Array, sigma: _Array) -> _State:
        """Return the residuals of parameters."""
        angle, jacobian, slope = self.problem.evaluate(values)
        unit = slope * sigma
        return _State(values, sigma, angle / slope, angle / unit, jacobian[:, self.places] / unit[:, None])

    def settled(self, at: _State, kind: str) -> tuple[_State, bool]:
        """Return where a step changes the residuals by a small part of what noise does, and whether it was found."""
        damping = 0.0
        for _ in range(STEPS):
            scale = _scale(at.standard, kind)
            root = np.sqrt(_weights(at.standard / scale, kind))
            weighted, rest = root[:, None] * at.jacobian, root * at.standard
            loss = _loss(at.standard / scale, kind)
            for _ in range(STEPS):
                step = self._step(at.values, weighted, rest, damping)
                change = weighted @ step
                small = float(change @ change) < (SETTLED * max(scale, EXACT)) ** 2 * step.size
                moved = at.values.copy()
                moved[self.places] = np.clip(moved[self.places] + step, *self.limits[:, self.places])
                there = self.at(moved, at.sigma)
                if small or _loss(there.standard / scale, kind) <= loss:
                    break
                damping = max(10.0 * damping, 1e-4)
            at, damping = there, 0.1 * damping if damping > 1e-7 else 0.0
            if small:
                return at, True
        return at, False

    def _step(self, values: _Array, weighted: _Array, rest: _Array, damping: float) -> _Array:
        """Return the step of the free parameters; those at a limit that would leave it stay."""
        low, high = self.limits[:, self.places]
        current, gradient = values[self.places], weighted.T @ rest
        stuck = ((current <= low) & (gradient > 0)) | ((current >= high) & (gradient < 0))
        free = np.flatnonzero(~stuck)
        norms = np.linalg.norm(weighted[:, free], axis=0)
        norms[norms == 0] = 1.0
        scaled = weighted[:, free] / norms
        if damping:
            scaled = np.concatenate([scaled, np.sqrt(damping) * np.eye(free.size)])
            rest = np.concatenate([rest, np.zeros(free.size)])
        step = np.zeros(self.places.size)
        if free.size:
            step[free] = -np.linalg.lstsq(scaled, rest, rcond=1e-12)[0] / norms
        return step


def _fit_of(
    problem: Problem,
    names: tuple[str, ...],
    places: NDArray[np.intp],
    limits: _Array,
    at: _State,
    robust: bool,
    converged: bool,
) -> Fit:
    kind = "robust" if robust else "plain"
    scale = _scale(at.standard, kind)
    low, high = limits[:, places]
    margin = 1e-6 * np.where(np.isfinite(high - low), high - low, 1.0)
    at_bound = (at.values[places] <= low + margin) | (at.values[places] >= high - margin)
    weights = _weights(at.standard / scale, kind)
    inner = at.jacobian[:, ~at_bound]
    factor, clusters = inflation(problem, at.standard, scale, weights, inner, robust)
    biased = _biased(problem, at, weights, inner)
    return Fit(
        names=names,
        places=places,
        values=at.values,
        sigma=at.sigma,
        pixels=at.pixels,
        jacobian=at.jacobian,
        weights=weights,
        factor=factor,
        clusters=clusters,
        biased=biased,
        converged=converged,
        at_bound=at_bound,
    )


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
    if exact:
        return factor, 1.0
    return factor, max(_cluster_factor(problem.cell, psi, jacobian), _neighbour_factor(problem, psi))


def _biased(problem: Problem, at: _State, weights: _Array, jacobian: _Array) -> _Array:
    """Return what the covariance gains by the `SMALLEST_BIAS` of quarters of rings.

    Each quarter b of a ring has a displacement of its own, with the variance τ², beside the noise of its points. It
    moves the parameters by (JᵀJ)⁻¹ g_b, g_b = Σ J/σ, and so adds τ² (JᵀJ)⁻¹ Σ g_b g_bᵀ (JᵀJ)⁻¹.
    """
    p = jacobian.shape[1]
    if p == 0 or not problem.sigma_known:
        return np.zeros((p, p))
    _, block = np.unique(problem.group * 4 + problem.quarter, return_inverse=True)
    scales = np.linalg.norm(jacobian, axis=0)
    scales[scales == 0] = 1.0
    scaled = jacobian / scales
    sums = np.stack([np.bincount(block, weights / at.sigma * column) for column in scaled.T], axis=1)
    moved = sums @ np.linalg.pinv(scaled.T @ scaled, rcond=1e-15)
    return np.asarray(SMALLEST_BIAS**2 * (moved.T @ moved) / np.outer(scales, scales))


def _neighbour_factor(problem: Problem, psi: _Array) -> float:
    """Return 1 + 2 Σ ρ_k, with ρ_k the correlation of points with their k-th neighbours along rings, 1 or more."""
    scores, ring = psi[problem.along], problem.group[problem.along]
    counted = scores != 0.0
    variance = float(np.mean(scores[counted] ** 2)) if counted.any() else 0.0
    found = 1.0
    for lag in range(1, FARTHEST_NEIGHBOUR + 1):
        pairs = (ring[lag:] == ring[:-lag]) & counted[lag:] & counted[:-lag]
        number = int(np.count_nonzero(pairs))
        if number < FEWEST_PAIRS or variance == 0.0:
            break
        correlation = float(np.mean(scores[lag:][pairs] * scores[:-lag][pairs])) / variance
        if correlation < SIGNIFICANT_CORRELATION / math.sqrt(number):
            break
        found += 2.0 * correlation
    return found


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
    # The covariance of the scores of each cell, in units of that of ψ; their traces add up to p.
    parts = [np.bincount(inverse, one * other, clusters) for one in basis.T for other in basis.T]
    number = basis.shape[1]
    expected = np.stack(parts, axis=1).reshape(clusters, number, number)
    lever = np.einsum("cii->c", expected)
    # Residuals of a fit have lost what the parameters took: of a cell the part that is its leverage.
    raised = 1.0 / np.maximum(1.0 - lever, 0.3)
    found = float((raised * (scores**2).sum(axis=1)).sum()) / number / float(np.mean(psi**2))
    spread = math.sqrt(float((2.0 * raised**2 * np.einsum("cij,cij->c", expected, expected)).sum())) / number
    return found if found > 1.0 + SIGNIFICANT * spread else 1.0
