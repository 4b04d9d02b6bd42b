"""Where the rotation axis is: three estimators that look at different things, and what to make of them.

mirror
    A projection and the one half a turn later are mirror images about the axis.
mass
    The centre of mass of the projections follows center + a cos(theta) + b sin(theta) (Helgason and Ludwig).
sharpness
    About a wrong axis every point is smeared into an arc. The integral of the slice stays the same, so the integral of
    its fourth power is largest about the right one. (Of the measures tried, among them those of Donath, Beckmann and
    Schreyer 2006, this one alone held with noise, few angles, a missing wedge and whole turns alike.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import DataError

from .blocks import failed_projections
from .geometry import ParallelBeam
from .gridding import GriddingPlan

Floats = NDArray[np.float64]

AGREEMENT_PIXELS = 1.0
MOST_PAIRS = 64
MOST_COARSE_SAMPLES = 200
LARGEST_MASS_CHANGE = 0.2
LARGEST_MASS_RESIDUAL = 0.02


@dataclass(frozen=True)
class Estimate:
    """One estimator's answer.

    Attributes
    ----------
    value : float
        Rotation axis in pixels.
    spread : float
        How uncertain it is, in pixels.
    note : str
        Why it is not to be trusted; empty if it is.
    residual : float
        For the centre of mass: rms distance of the projections from the sine, in pixels. Otherwise 0.
    """

    value: float
    spread: float
    note: str = ""
    residual: float = 0.0


@dataclass(frozen=True)
class CenterEstimate:
    """The rotation axis and how far it can be trusted.

    Attributes
    ----------
    value : float
        In pixels from the first translation.
    spread : float
        Largest distance of two estimators that are trusted, in pixels; for a single one its own uncertainty.
    estimates : dict
        Each estimator's answer by name.
    agreed : bool
        Whether at least two estimators can be trusted and lie within a pixel.
    message : str
        All of that in a sentence.
    """

    value: float
    spread: float
    estimates: dict[str, Estimate] = field(default_factory=dict)
    agreed: bool = True
    message: str = ""


def find_center(
    sinogram: ArrayLike, angles_degrees: ArrayLike, *, search: tuple[float, float] | None = None
) -> CenterEstimate:
    """Find the rotation axis of a sinogram.

    Parameters
    ----------
    sinogram : array_like (angle, translation[, channel...])
        Channels are summed. Projections that are NaN throughout are left out.
    angles_degrees : array_like (angle,)
        Rotation angles in degrees, in any order.
    search : tuple of float, optional
        Lowest and highest axis to consider, in pixels; by default the middle half.

    Returns
    -------
    CenterEstimate

    Raises
    ------
    DataError
        If the shapes differ, samples are not finite, or no estimator can work.
    """
    projections, angles = _prepare(sinogram, angles_degrees)
    n = projections.shape[1]
    low, high = search if search is not None else ((n - 1) / 2 - n / 4, (n - 1) / 2 + n / 4)
    estimates = {
        name: estimate
        for name, estimator in ESTIMATORS.items()
        if (estimate := estimator(projections, angles, low, high)) is not None
    }
    return _combine(estimates)


def _prepare(sinogram: ArrayLike, angles_degrees: ArrayLike) -> tuple[Floats, Floats]:
    values, angles = np.asarray(sinogram, float), np.asarray(angles_degrees, float)
    if values.ndim < 2 or angles.shape != values.shape[:1]:
        raise DataError(
            f"The sinogram has the shape {values.shape} and there are {angles.size} angles.",
            "The first axis of the sinogram must be the angle.",
        )
    failed = failed_projections(values)
    summed = values.reshape(*values.shape[:2], -1).sum(axis=2)[~failed]
    return summed, angles[~failed]


def _combine(estimates: dict[str, Estimate]) -> CenterEstimate:
    trusted = {name: estimate for name, estimate in estimates.items() if not estimate.note}
    if not estimates:
        raise DataError(
            "The centre of rotation cannot be estimated: the sinogram holds no signal.",
            "Give it as a number of pixels.",
        )
    listing = ", ".join(
        f"{name} {estimate.value:.2f}" + (f" (not used: {estimate.note})" if estimate.note else "")
        for name, estimate in estimates.items()
    )
    if not trusted:
        value = float(np.median([estimate.value for estimate in estimates.values()]))
        message = f"No estimate of the centre of rotation can be trusted: {listing}. {value:.2f} px is used."
        return CenterEstimate(value, float("nan"), estimates, False, message)
    group = _largest_agreeing(trusted)
    values = [trusted[name].value for name in group]
    value = float(np.median(values))
    everyone = [estimate.value for estimate in trusted.values()]
    spread = float(np.ptp(everyone)) if len(everyone) > 1 else trusted[group[0]].spread
    agreed = len(group) >= 2 and len(group) == len(trusted)
    verdict = "agree" if agreed else "do not agree" if len(everyone) > 1 else "rest on one estimator"
    message = f"The estimates of the centre of rotation {verdict}: {listing}. {value:.2f} px is used."
    return CenterEstimate(value, spread, estimates, agreed, message)


def _largest_agreeing(trusted: dict[str, Estimate]) -> list[str]:
    """Return the names of the largest group within a pixel; of equal groups that of the earliest estimator."""
    groups = [
        [name for name in trusted if abs(trusted[name].value - trusted[first].value) <= AGREEMENT_PIXELS]
        for first in trusted
    ]
    return max(groups, key=len)


def center_from_mirror(projections: Floats, angles_degrees: Floats, low: float, high: float) -> Estimate | None:
    """Register each projection with the mirror image of the one half a turn later; None if there is no such pair.

    The measure is the correlation coefficient over what both share, so that a constant background or truncated
    projections do no harm.
    """
    first, second = _opposite_pairs(projections, angles_degrees)
    n = projections.shape[1]
    # Positions t and s - t show the same ray if s is twice the centre.
    sums = np.arange(max(n // 2, int(np.ceil(2 * low))), min(2 * n - 2 - n // 2, int(np.floor(2 * high))) + 1)
    if len(first) == 0 or len(sums) < 3:
        return None
    correlation = np.array([_mirror_correlation(first, second, s) for s in sums])
    each = [_peak(sums, row) / 2 for row in correlation.T if np.isfinite(row).all()]
    if not each:
        return None
    mean = np.nanmean(correlation, axis=1)
    spread = float(np.std(each) / np.sqrt(len(each))) if len(each) > 2 else 0.25
    note = "opposite projections differ" if mean.max() < 0.5 else ""
    return Estimate(float(_peak(sums, mean) / 2), spread, note)


def _opposite_pairs(projections: Floats, angles_degrees: Floats) -> tuple[Floats, Floats]:
    """Return projections and those half a turn later: between two neighbours or, at an end of the scan, the nearest."""
    order = np.argsort(np.mod(angles_degrees, 360))
    turned, rows = np.mod(angles_degrees, 360)[order], projections[order]
    step = np.median(np.diff(np.sort(angles_degrees)))
    first, second = [], []
    for row, angle in zip(rows, turned, strict=True):
        wanted = (angle + 180) % 360
        above = int(np.searchsorted(turned, wanted)) % len(turned)
        below = above - 1
        to_above, to_below = (turned[above] - wanted) % 360, (wanted - turned[below]) % 360
        if to_above + to_below <= 2.5 * step and to_above + to_below > 0:
            opposite = (rows[below] * to_above + rows[above] * to_below) / (to_above + to_below)
        elif min(to_above, to_below) <= 1.2 * step:
            opposite = rows[above] if to_above < to_below else rows[below]
        else:
            continue
        first.append(row)
        second.append(opposite)
    thin = slice(None, None, -(-len(first) // MOST_PAIRS) or 1)
    return np.array(first[thin]), np.array(second[thin])


def _mirror_correlation(first: Floats, second: Floats, s: int) -> Floats:
    n = first.shape[1]
    low, high = max(0, s - (n - 1)), min(n - 1, s)
    a = first[:, low : high + 1]
    b = second[:, low : high + 1][:, ::-1]
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    norm = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.asarray(np.divide((a * b).sum(axis=1), norm, out=np.full(len(a), np.nan), where=norm > 0))


def center_from_mass(projections: Floats, angles_degrees: Floats, low: float, high: float) -> Estimate | None:
    """Fit a sine to the centres of mass; None without signal. Needs projections that hold the whole object."""
    n = projections.shape[1]
    edge = max(2, n // 50)
    background = np.minimum(projections[:, :edge].mean(axis=1), projections[:, -edge:].mean(axis=1))
    weights = projections - background[:, None]
    mass = weights.sum(axis=1)
    if mass.mean() <= 0 or (mass <= 0).mean() > 0.1:
        return None
    usable = mass > 0
    mass, theta = mass[usable], np.deg2rad(angles_degrees[usable])
    position = (weights[usable] * np.arange(n)).sum(axis=1) / mass
    basis = np.stack([np.ones_like(theta), np.cos(theta), np.sin(theta)], axis=1)
    coefficients, keep = np.zeros(3), np.ones(len(theta), bool)
    for _ in range(4):
        coefficients = np.linalg.lstsq(basis[keep], position[keep], rcond=None)[0]
        distance = position - basis @ coefficients
        keep = np.abs(distance) <= 4 * 1.4826 * np.median(np.abs(distance)) + 1e-9
    residual = float(np.sqrt(np.mean(distance[keep] ** 2)))
    covariance = np.linalg.pinv(basis[keep].T @ basis[keep])
    spread = residual * float(np.sqrt(covariance[0, 0]))
    note = ""
    if np.std(mass) > LARGEST_MASS_CHANGE * np.mean(mass):
        note = f"the total of the projections varies by {np.std(mass) / np.mean(mass):.0%}"
    elif residual > LARGEST_MASS_RESIDUAL * n:
        note = f"the centres of mass lie {residual:.1f} px off a sine"
    elif not low <= coefficients[0] <= high:
        note = "outside the range of the search"
    return Estimate(float(coefficients[0]), spread, note, residual)


def center_from_sharpness(projections: Floats, angles_degrees: Floats, low: float, high: float) -> Estimate | None:
    """Find the axis about which the slice is sharpest, first on a coarse copy; None without signal."""
    if not np.ptp(projections) > 0:
        return None
    n = projections.shape[1]
    binning = -(-n // MOST_COARSE_SAMPLES)
    coarse, thinned = _coarse(projections, angles_degrees, binning)
    # Sample i of the copy covers binning samples around i binning + (binning - 1) / 2.
    offset = (binning - 1) / 2
    positions = np.arange((low - offset) / binning, (high - offset) / binning + 1)
    sharpness = np.array([*map(_sharpness_of(coarse, thinned), positions)])
    best = positions[sharpness.argmax()] * binning + offset
    fine = best + np.arange(-1.5 * binning - 1, 1.5 * binning + 1.01, 0.5)
    value = _peak(fine, np.array([*map(_sharpness_of(projections, angles_degrees), fine)]))
    at_end = not fine[0] < value < fine[-1] or sharpness.argmax() in (0, len(positions) - 1)
    note = "no maximum within the range of the search" if at_end else ""
    return Estimate(float(value), 0.25, note)


def _coarse(projections: Floats, angles_degrees: Floats, binning: int) -> tuple[Floats, Floats]:
    order = np.argsort(angles_degrees)[:: max(1, len(angles_degrees) // MOST_COARSE_SAMPLES)]
    n = projections.shape[1] // binning * binning
    return projections[order, :n].reshape(len(order), -1, binning).mean(axis=2), angles_degrees[order]


def _sharpness_of(projections: Floats, angles_degrees: Floats) -> Callable[[float], float]:
    n = projections.shape[1]
    beam = ParallelBeam.build(angles_degrees, n, allow_missing_wedge=True)
    plan = GriddingPlan.build(beam, filter="hann")
    block = projections.astype(np.float32)
    y, x = np.indices((n, n)) - (n - 1) / 2
    field_of_view = np.hypot(x, y) < n / 2

    def sharpness(center: float) -> float:
        return float(np.square(np.square(plan.with_center(center)(block)[field_of_view], dtype=float)).sum())

    return sharpness


def _peak(positions: NDArray[np.generic], values: Floats) -> float:
    """Return the position of the maximum, refined by a parabola through its neighbours."""
    top = int(np.nanargmax(values))
    if not 0 < top < len(values) - 1:
        return float(positions[top])
    left, middle, right = values[top - 1 : top + 2]
    curvature = left - 2 * middle + right
    shift = 0.0 if curvature == 0 else 0.5 * (left - right) / curvature
    return float(positions[top] + shift * (positions[top + 1] - positions[top]))


ESTIMATORS: dict[str, Callable[[Floats, Floats, float, float], Estimate | None]] = {
    "mirror": center_from_mirror,
    "sharpness": center_from_sharpness,
    "mass": center_from_mass,
}
