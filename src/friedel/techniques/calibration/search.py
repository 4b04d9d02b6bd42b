"""The geometry behind points on rings, without an initial guess. How: docs/explanation/calibration-search.md."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from friedel.core.errors import CalibrationError
from friedel.instrument import Detector, Geometry

from .cone_model import (
    LONGEST,
    N_PARAMETERS,
    SHORTEST,
    Normal,
    NormalEquations,
    Places,
    angles,
    beam_direction,
    descend,
)
from .points import RingPoints

if TYPE_CHECKING:
    from friedel.instrument.calibrants import Calibrant

_Array = NDArray[np.float64]
_Whole = NDArray[np.int32]

SAMPLE = 900
"""Points that the search works with, drawn from those given."""
FEWEST = 20
"""Points without which nothing is tried."""
LEAST_SCORE = 10.0
LEAST_MARGIN = 4.0
LEAST_RINGS = 3
DETECTION_LIMITS = np.array([0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.0005])
"""Relative intensities tried as the faintest that is seen."""


@dataclass(frozen=True)
class Candidate:
    """A geometry that explains the points.

    Attributes
    ----------
    geometry : Geometry
        With rot3 = 0: rings do not tell it.
    score : float
        Log likelihood ratio of the rings against rings placed at random.
    margin : float
        By how much the score exceeds that of the best different solution.
    ring : ndarray of int32 (n,)
        Number of the ring of each point in `Calibrant.rings`, −1 for none.
    explained : float
        Fraction of the points that are on rings.
    residual : float
        Root mean square distance of those from their rings, pixels.
    """

    geometry: Geometry
    score: float
    margin: float
    ring: _Whole
    explained: float
    residual: float


@dataclass(frozen=True)
class _Scene:
    """The points in the search's own units: lengths over `unit`, the middle of the detector at the origin."""

    detector: Detector
    middle: tuple[float, float]  # m
    unit: float  # m
    pixel: float  # in units
    places: Places
    directed: NDArray[np.bool_]
    chain: _Whole
    strength: _Array
    view: Places  # places all over the detector

    def select(self, chosen: NDArray[np.generic]) -> _Scene:
        return replace(
            self,
            places=self.places.select(chosen),
            directed=self.directed[chosen],
            chain=self.chain[chosen],
            strength=self.strength[chosen],
        )


@dataclass(frozen=True)
class _Clusters:
    """Rings seen, numbers not known.

    label : (n,) int, −1 none;  two_theta, width, slope, weight : (m,)
    sharpness: mean log of the density of points over an even one
    """

    label: NDArray[np.intp]
    two_theta: _Array
    width: _Array
    slope: _Array
    count: NDArray[np.intp]
    sharpness: float


@dataclass(frozen=True)
class _Comb:
    """The rings that a calibrant can give: d in Å falling, and relative intensities at the wavelength."""

    spacing: _Array
    two_theta: _Array
    intensity: _Array
    wavelength: float


def find_geometry(
    points: RingPoints,
    detector: Detector,
    calibrant: Calibrant,
    wavelength: float | None,
) -> Candidate:
    """Find the geometry from points on rings of unknown number.

    Parameters
    ----------
    points : RingPoints
    detector : Detector
    calibrant : Calibrant
    wavelength : float or None
        In m; None if it is to be found as well.

    Returns
    -------
    Candidate

    Raises
    ------
    CalibrationError
        If no geometry explains the points clearly better than others; the message says why.
    """
    if len(points) < FEWEST:
        raise CalibrationError(
            f"Only {len(points)} points on rings were found.",
            "Check that the image shows rings, the mask (True means excluded) and the exposure.",
        )
    whole = _scene(points, detector)
    scene = whole.select(_sample(whole, SAMPLE))
    shapes = _shapes(scene)
    if not shapes:
        raise CalibrationError("The points lie on no rings.", "Check that the image shows rings of a powder.")
    solutions = [solution for shape in shapes for solution in _numbered(scene, *shape, calibrant, wavelength)]
    return _decide(whole, solutions, calibrant, wavelength)


# ---------------------------------------------------------------------------------------------- the points as seen


def _scene(points: RingPoints, detector: Detector) -> _Scene:
    rows, columns = detector.known_shape()
    directed = np.isfinite(points.direction)
    normal = np.where(directed, points.direction, 0.0)
    ny, nx = np.sin(normal), np.cos(normal)
    unit = 0.5 * math.hypot(rows * detector.pixel1, columns * detector.pixel2)
    middle = (0.5 * rows * detector.pixel1, 0.5 * columns * detector.pixel2)
    grid_y, grid_x = np.meshgrid((np.arange(48) + 0.5) / 48 * rows, (np.arange(48) + 0.5) / 48 * columns, indexing="ij")
    mask = detector.mask()
    seen = ~mask[grid_y.astype(int).ravel(), grid_x.astype(int).ravel()]
    flat = np.zeros(int(seen.sum()))
    return _Scene(
        detector=detector,
        middle=middle,
        unit=unit,
        pixel=math.sqrt(detector.pixel1 * detector.pixel2) / unit,
        places=_places(detector, points.y, points.x, ny, nx, middle, unit),
        directed=directed,
        chain=points.chain,
        strength=np.where(np.isfinite(points.strength), points.strength, 1.0),
        view=_places(detector, grid_y.ravel()[seen], grid_x.ravel()[seen], flat + 1.0, flat, middle, unit),
    )


def _places(
    detector: Detector, y: _Array, x: _Array, ny: _Array, nx: _Array, middle: tuple[float, float], unit: float
) -> Places:
    """Return places in m over `unit`, and what steps across and along the ring on the image are in space."""

    def positions(y: _Array, x: _Array) -> _Array:
        p1, p2, p3 = detector.positions_of(y, x)
        third = np.zeros_like(p1) if p3 is None else p3
        return np.stack(((p1 - middle[0]), (p2 - middle[1]), third), axis=-1) / unit

    def direction(dy: _Array, dx: _Array) -> _Array:
        step = positions(y + 0.5 * dy, x + 0.5 * dx) - positions(y - 0.5 * dy, x - 0.5 * dx)
        return np.asarray(step / np.linalg.norm(step, axis=1, keepdims=True))

    along = direction(-nx, ny)
    across = direction(ny, nx)
    # pixels that are not square turn right angles into others
    across -= (across * along).sum(axis=1, keepdims=True) * along
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return Places(positions(y, x), across, along)


def _sample(scene: _Scene, n: int) -> NDArray[np.intp]:
    """Draw points at random, the same each time."""
    total = len(scene.places)
    if total <= n:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).permutation(total)[:n])


# ------------------------------------------------------------------------ shape of the rings, from their directions


def _starts() -> _Array:
    """Return trial geometries: beam near the detector at any tilt, or detector in front of the sample at an angle."""

    def slopes(tilt: float, n: int) -> _Array:
        phi = np.arange(n) * (2 * np.pi / n)
        return math.tan(math.radians(tilt)) * np.column_stack((np.cos(phi), np.sin(phi)))

    steps = np.array([-1.7, -0.8, -0.35, 0.0, 0.35, 0.8, 1.7])
    centers = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    parts = [_product(centers, [1.5], np.zeros((1, 2)))]
    parts += [_product(centers, [0.6, 1.5, 5.0], slopes(tilt, n)) for tilt, n in ((20.0, 6), (45.0, 8))]
    feet = np.stack(np.meshgrid(*2 * [np.array([-0.5, 0.0, 0.5])], indexing="ij"), axis=-1).reshape(-1, 2)
    for tilt in (15.0, 30.0, 45.0, 58.0):
        front = _product(feet, [0.7, 2.0, 6.0], slopes(tilt, 12))
        distance = np.exp(front[:, 2])
        front[:, :2] += distance[:, None] * front[:, 3:5]
        front[:, 2] = np.log(distance * np.sqrt(1 + (front[:, 3:5] ** 2).sum(axis=1)))
        parts.append(front)
    return np.concatenate(parts)


def _product(centers: _Array, lengths: list[float], slopes: _Array) -> _Array:
    c, length, s = np.meshgrid(np.arange(len(centers)), np.log(lengths), np.arange(len(slopes)), indexing="ij")
    return np.column_stack((centers[c.ravel()], length.ravel(), slopes[s.ravel()]))


def _turns(parameters: _Array, places: Places) -> _Array:
    """Return the sine of the angle between each point's direction and that of the ring there: (b, n)."""
    seen = angles(parameters, places)
    return np.asarray(seen.along / seen.slope)


def _orientation_normal(places: Places, scale: float) -> NormalEquations:
    """Return the robust sum of squares of the turns, with derivatives by differences."""
    step = 1e-5

    def normal(parameters: _Array) -> Normal:
        turns = _turns(parameters, places)
        columns = np.empty((*turns.shape, N_PARAMETERS))
        for k in range(N_PARAMETERS):
            moved = parameters.copy()
            moved[:, k] += step
            columns[..., k] = (_turns(moved, places) - turns) / step
        return _robust(turns, columns, scale)

    return normal


def _robust(residuals: _Array, columns: _Array, scale: float | _Array, weights: _Array | float = 1.0) -> Normal:
    """Return Cauchy's robust cost Σ w ln(1 + (r/s)²), its normal matrix and gradient."""
    ratio = (residuals / scale) ** 2
    cost = (weights * np.log1p(ratio)).sum(axis=1)
    weight = weights / (scale * scale) / (1.0 + ratio)
    weighted = columns * weight[..., None]
    matrix = np.swapaxes(weighted, 1, 2) @ columns
    gradient = (np.swapaxes(weighted, 1, 2) @ residuals[..., None])[..., 0]
    return cost, matrix, gradient


def _shapes(scene: _Scene) -> list[tuple[_Array, _Clusters]]:
    """Return geometries whose rings go where the points go, numbers and scale open, the sharpest rings first."""
    directed = scene.places.select(np.nonzero(scene.directed)[0])
    if len(directed) < FEWEST:
        return []
    few = directed.select(np.linspace(0, len(directed) - 1, min(150, len(directed))).astype(int))
    more = directed.select(np.linspace(0, len(directed) - 1, min(350, len(directed))).astype(int))
    starts = _starts()
    cost = np.log1p((_turns(starts, few) / 0.2) ** 2).sum(axis=1)
    best = starts[np.argsort(cost)[:64]]
    best, cost = descend(best, _orientation_normal(more, 0.15), 12)
    best = best[_different(best, cost, more, 16)]
    best, cost = descend(best, _orientation_normal(more, 0.05), 15)
    best = best[_different(best, cost, more, 8)]
    found = []
    for parameters in _straightened(scene, best):
        shape = _sharpened(scene, parameters)
        if shape is not None:
            found.append(shape)
    found.sort(key=lambda shape: -shape[1].sharpness)
    return found[:3]


def _different(parameters: _Array, cost: _Array, places: Places, n: int) -> list[int]:
    """Return up to n geometries by rising cost, none of whose rings run like those of one before."""
    seen = angles(parameters, places)
    course = np.arctan2(seen.along, seen.across)
    chosen: list[int] = []
    for i in np.argsort(cost):
        if all(np.median(np.abs(np.sin(course[i] - course[j]))) > 0.01 for j in chosen):
            chosen.append(int(i))
        if len(chosen) == n:
            break
    return chosen


def _free_rings_normal(
    places: Places, label: NDArray[np.intp], pixel: float, scale: float, *, fixed: tuple[int, ...] = ()
) -> NormalEquations:
    """Return the robust sum of squares of distances, in pixels, from rings whose angles are free."""
    ones = np.zeros((len(label), int(label.max()) + 1))
    ones[np.arange(len(label)), label] = 1.0

    def normal(parameters: _Array) -> Normal:
        seen = angles(parameters, places, derivatives=True)
        assert seen.derivatives is not None
        weight = 1.0 / (seen.slope * pixel)
        squared = weight * weight
        for _ in range(2):  # the ring's angle, first by all points, then by those near
            mean = (squared * seen.two_theta) @ ones / np.maximum(squared @ ones, 1e-300)
            residual = (seen.two_theta - mean[:, label]) * weight
            squared = weight * weight / (1 + (residual / scale) ** 2)
        total = np.maximum(squared @ ones, 1e-300)
        columns = np.empty_like(seen.derivatives)
        for k in range(N_PARAMETERS):
            column = seen.derivatives[..., k]
            columns[..., k] = (column - ((squared * column) @ ones / total)[:, label]) * weight
        cost, matrix, gradient = _robust(residual, columns, scale)
        for k in fixed:
            matrix[:, k, :] = 0.0
            matrix[:, :, k] = 0.0
            matrix[:, k, k] = 1.0
            gradient[:, k] = 0.0
        return cost, matrix, gradient

    return normal


def _straightened(scene: _Scene, parameters: _Array) -> _Array:
    """Let each chain lie on one ring of its own."""
    number, count = np.unique(scene.chain[scene.chain >= 0], return_counts=True)
    long = number[count >= 4]
    chosen = np.nonzero(np.isin(scene.chain, long))[0]
    if len(chosen) < 3 * FEWEST or not len(parameters):
        return parameters
    label = np.searchsorted(long, scene.chain[chosen])
    if len(long) > 60:
        label_kept = np.argsort(-np.bincount(label))[:60]
        kept = np.isin(label, label_kept)
        chosen, label = chosen[kept], np.unique(label[kept], return_inverse=True)[1]
    straight = parameters
    for scale in (6.0, 2.0):
        straight, _ = descend(straight, _free_rings_normal(scene.places.select(chosen), label, scene.pixel, scale), 10)
    return np.concatenate((straight, parameters[:3]))


def _clusters(scene: _Scene, parameters: _Array, smoothing: float) -> _Clusters:
    """Find at which scattering angles points gather."""
    seen = angles(parameters[None], scene.places)
    two_theta, slope = seen.two_theta[0], seen.slope[0] * scene.pixel
    order = np.argsort(two_theta)
    # A coordinate that grows by one for each pixel across the rings.
    local = ndimage.median_filter(slope[order], size=min(31, len(order)), mode="nearest")
    radial = np.concatenate(([0.0], np.cumsum(np.diff(two_theta[order]) / (0.5 * (local[1:] + local[:-1])))))
    step = 0.5
    n = int(min(radial[-1] / step + 40, 40000))
    histogram = np.bincount((radial / step + 20).astype(int).clip(0, n - 1), minlength=n).astype(float)
    density = ndimage.gaussian_filter1d(histogram, smoothing / step, truncate=4.0)
    around = ndimage.gaussian_filter1d(histogram, 20 * smoothing / step, truncate=3.0)
    at = (radial / step + 20).astype(int).clip(0, n - 1)
    alone = 1.0 / (smoothing / step * math.sqrt(2 * np.pi))
    sharpness = float(np.mean(np.log(np.maximum(density[at] - alone, 0.05 * alone) / (len(at) / max(n - 40, 1)))))
    top = (density == ndimage.maximum_filter1d(density, max(3, int(3 * smoothing / step)))) & (
        density > np.maximum(1.5 * around, 3.0 * alone)
    )
    tops = np.nonzero(top)[0]
    if not len(tops):
        nothing = np.empty(0)
        return _Clusters(np.full(len(order), -1), nothing, nothing, nothing, np.empty(0, np.intp), sharpness)
    position = (tops - 20 + 0.5) * step
    nearest = np.abs(radial[:, None] - position).argmin(axis=1)
    near = np.abs(radial - position[nearest]) < 2.5 * smoothing
    label = np.full(len(order), -1)
    label[order] = np.where(near, nearest, -1)
    m = len(tops)
    values = [np.nonzero(label == k)[0] for k in range(m)]
    center = np.array([np.median(two_theta[v]) if len(v) else np.nan for v in values])
    width = np.array(
        [
            1.4826 * np.median(np.abs(two_theta[v] - c)) / np.sqrt(len(v)) if len(v) else np.nan
            for v, c in zip(values, center, strict=True)
        ]
    )
    slopes = np.array([np.median(slope[v]) if len(v) else np.nan for v in values])
    count = np.array([len(v) for v in values])
    good = count >= 4
    renumber = np.where(good, np.cumsum(good) - 1, -1)
    label = np.where(label >= 0, renumber[label], -1)
    return _Clusters(label, center[good], width[good], slopes[good], count[good], sharpness)


def _sharpened(scene: _Scene, parameters: _Array) -> tuple[_Array, _Clusters] | None:
    """Gather the points in rings and let these be sharp."""
    for smoothing, scale in ((3.0, 4.0), (1.5, 2.0), (1.0, 1.0)):
        rings = _clusters(scene, parameters, smoothing)
        chosen = np.nonzero(rings.label >= 0)[0]
        if len(chosen) < FEWEST:
            return None
        normal = _free_rings_normal(scene.places.select(chosen), rings.label[chosen], scene.pixel, scale)
        refined, _ = descend(parameters[None], normal, 8)
        if np.isfinite(refined).all():
            parameters = refined[0]
    return parameters, _clusters(scene, parameters, 1.0)


# ------------------------------------------------------------------------------------------- which ring is which


@dataclass(frozen=True)
class _Profile:
    """The rings seen, for a row of lengths L: everything else is fitted at each.

    log_length : (j,);  parameters : (j, 5);  angle : (j, m) ln tan θ of each ring;  slope : (j, m) ln rad/pixel
    """

    log_length: _Array
    parameters: _Array
    angle: _Array
    slope: _Array

    def at(self, log_length: _Array) -> tuple[_Array, _Array, _Array]:
        """Return parameters (h, 5), 2θ (h, m) and slopes (h, m)."""
        parameters = np.column_stack([np.interp(log_length, self.log_length, column) for column in self.parameters.T])
        parameters[:, 2] = log_length
        angle = np.column_stack([np.interp(log_length, self.log_length, column) for column in self.angle.T])
        slope = np.column_stack([np.interp(log_length, self.log_length, column) for column in self.slope.T])
        return parameters, 2 * np.arctan(np.exp(angle)), np.exp(slope)


@dataclass(frozen=True)
class _Solution:
    """A numbered geometry: parameters, wavelength (m) and score."""

    parameters: _Array
    wavelength: float
    score: float
    matched: int
    rings: _Clusters


def _profile(scene: _Scene, parameters: _Array, rings: _Clusters) -> _Profile:
    chosen = np.nonzero(rings.label >= 0)[0]
    if len(chosen) > 400:
        chosen = chosen[np.linspace(0, len(chosen) - 1, 400).astype(int)]
    label = rings.label[chosen]
    places = scene.places.select(chosen)
    normal = _free_rings_normal(places, label, scene.pixel, 2.0, fixed=(2,))
    nodes = np.arange(SHORTEST + 0.1, LONGEST, 0.15)
    fitted = np.empty((len(nodes), N_PARAMETERS))
    cost = np.empty(len(nodes))
    middle = int(np.argmin(np.abs(nodes - parameters[2])))
    for direction in (1, -1):
        here = parameters
        for i in range(middle, len(nodes) if direction > 0 else -1, direction):
            start = np.stack((here, here))
            start[1, 3:5] *= math.exp(nodes[i] - here[2])
            start[:, 2] = nodes[i]
            there, value = descend(start, normal, 4)
            one = int(np.argmin(value))
            here = fitted[i] = there[one]
            cost[i] = value[one]
    # Cauchy's cost with scale 2: a mean of ln(1 + (r/2)²).
    rms = 2.0 * np.sqrt(np.expm1(np.minimum(cost / len(chosen), 20.0)))
    good = rms < 1.6 * rms.min() + 0.25
    first = last = int(np.argmin(np.where(good, rms, np.inf)))
    while first > 0 and good[first - 1]:
        first -= 1
    while last < len(nodes) - 1 and good[last + 1]:
        last += 1
    first, last = max(first - 1, 0), min(last + 1, len(nodes) - 1)
    fitted, nodes = fitted[first : last + 1], nodes[first : last + 1]
    seen = angles(fitted, places)
    m = len(rings.two_theta)
    angle, slope = np.full((len(nodes), m), np.nan), np.full((len(nodes), m), np.nan)
    for k in range(m):
        mine = label == k
        if mine.any():
            angle[:, k] = np.log(np.tan(0.5 * np.median(seen.two_theta[:, mine], axis=1)))
            slope[:, k] = np.log(np.median(seen.slope[:, mine], axis=1) * scene.pixel)
    known = np.isfinite(angle).all(axis=0)
    return _Profile(nodes, fitted, angle[:, known], slope[:, known])


def _comb(calibrant: Calibrant, wavelength: float, limit: float = 3.0) -> _Comb:
    rings = calibrant.rings(wavelength, limit)
    intensity = np.asarray(rings.intensity, np.float64)
    return _Comb(
        np.asarray(rings.spacing, np.float64),
        np.asarray(rings.two_theta, np.float64),
        np.maximum(intensity / max(float(intensity.max(initial=0.0)), 1e-30), 1e-6),
        wavelength,
    )


def _numbered(
    scene: _Scene, parameters: _Array, rings: _Clusters, calibrant: Calibrant, wavelength: float | None
) -> list[_Solution]:
    """Return the best ways to number the rings."""
    if len(rings.two_theta) < 2:
        return []
    profile = _profile(scene, parameters, rings)
    if wavelength is None:
        raise CalibrationError("An unknown wavelength is not searched for yet.", "Give the wavelength.")
    comb = _comb(calibrant, wavelength)
    hypotheses = _anchored(profile, comb)
    if not len(hypotheses):
        return []
    trial, two_theta, slope = profile.at(hypotheses)
    quick = _quick_score(two_theta, slope, comb)
    best = np.argsort(-quick)[:300]
    exact = np.array([_score(two_theta[i], 1.2 * slope[i], comb)[0] for i in best])
    best = best[np.argsort(-exact)]
    chosen: list[int] = []
    for i in best:
        if all(abs(hypotheses[i] - hypotheses[j]) > 0.004 for j in chosen):
            chosen.append(int(i))
        if len(chosen) == 16:
            break
    polished = _polished(scene, trial[chosen], comb)
    solutions = []
    for one in polished:
        sharp = _clusters(scene, one, 1.0)
        if len(sharp.two_theta) < 2:
            continue
        score, matched = _score(sharp.two_theta, np.hypot(0.5 * sharp.slope, sharp.width), comb, view=_view(scene, one))
        solutions.append(_Solution(one, wavelength, score, matched, sharp))
    return solutions


def _anchored(profile: _Profile, comb: _Comb) -> _Array:
    """Return the ln L at which one of the rings seen is one of the rings of the calibrant."""
    target = np.log(np.tan(0.5 * comb.two_theta))
    found = []
    for angle in profile.angle.T:
        falling = angle[::-1]
        if (np.diff(falling) <= 0).any():
            continue
        inside = (target > falling[0]) & (target < falling[-1])
        found.append(np.interp(target[inside], falling, profile.log_length[::-1]))
    return np.unique(np.round(np.concatenate(found), 5)) if found else np.empty(0)


def _quick_score(two_theta: _Array, slope: _Array, comb: _Comb) -> _Array:
    """Return how much better than by chance the rings seen (h, m) match, each by its nearest ring."""
    upper = np.clip(np.searchsorted(comb.two_theta, two_theta), 1, len(comb.two_theta) - 1)
    left, right = comb.two_theta[upper - 1], comb.two_theta[upper]
    nearest = np.where(two_theta - left < right - two_theta, upper - 1, upper)
    distance = np.abs(two_theta - comb.two_theta[nearest]) / slope
    tolerance = 1.5
    lowest, highest = two_theta.min(axis=1), two_theta.max(axis=1)
    span = (highest - lowest) / np.median(slope, axis=1)
    strength = comb.intensity / (comb.intensity + 0.03)
    total = np.concatenate(([0.0], np.cumsum(strength)))
    number = (
        total[np.searchsorted(comb.two_theta, highest * 1.02)] - total[np.searchsorted(comb.two_theta, lowest * 0.98)]
    )
    density = strength[nearest] / np.maximum(number, 1.0)[:, None]
    peak = density * np.exp(-0.5 * (distance / tolerance) ** 2) / (tolerance * math.sqrt(2 * np.pi))
    return np.asarray(np.log(0.8 * peak * span[:, None] + 0.2).sum(axis=1))


def _view(scene: _Scene, parameters: _Array) -> tuple[_Array, _Array]:
    """Return 2θ of places all over the detector, sorted, and the pixels across a ring there."""
    seen = angles(parameters[None], scene.view)
    order = np.argsort(seen.two_theta[0])
    return seen.two_theta[0][order], (seen.slope[0] * scene.pixel)[order]


def _score(
    two_theta: _Array, tolerance: _Array, comb: _Comb, view: tuple[_Array, _Array] | None = None
) -> tuple[float, int]:
    """Return the log likelihood ratio of the rings seen against rings at random, and how many are matched.

    A ring of the calibrant in view is detected with probability P, which rises with its intensity over the faintest
    that is seen (chosen for each hypothesis). If detected, it is found at its place with the error of the measurement;
    rings that are nowhere are spread evenly.
    """
    order = np.argsort(two_theta)
    two_theta, tolerance = two_theta[order], tolerance[order]
    lowest, highest = two_theta[0], two_theta[-1]
    span = highest - lowest
    if not span > 0:
        return -np.inf, 0
    margin = 0.02 * span
    present = np.nonzero((comb.two_theta > lowest - margin) & (comb.two_theta < highest + margin))[0]
    if not len(present):
        return -np.inf, 0
    rate = len(two_theta) / span
    expected, intensity = comb.two_theta[present], comb.intensity[present]
    gap = np.abs(expected[:, None] - two_theta)
    # Each ring seen belongs to the one nearest, weighed by intensity, so that faint neighbours take no part.
    gain = -0.5 * (gap / tolerance) ** 2 - np.log(tolerance * rate * math.sqrt(2 * np.pi))
    gain[gap > 3 * tolerance] = -np.inf
    owner = np.argmax(gain + 0.3 * np.log(intensity)[:, None], axis=0)
    best = np.full(len(present), -np.inf)
    valid = np.isfinite(gain[owner, np.arange(len(two_theta))])
    np.maximum.at(best, owner[valid], gain[owner[valid], np.nonzero(valid)[0]])
    matched = np.isfinite(best)
    arc = np.ones(len(present))
    if view is not None:
        arc = _arcs(expected, view)
    relative = intensity / intensity.max()
    probability = 0.9 * arc / (1.0 + DETECTION_LIMITS[:, None] / relative)
    # A ring beside one that is matched may be part of it.
    claimed = np.isin(np.arange(len(two_theta)), np.nonzero(valid)[0])
    merged = ((gap < 6 * tolerance) & claimed).any(axis=1)
    found = np.log(np.maximum(probability, 1e-6)) + np.where(matched, best, 0.0)
    total = np.where(matched, found, np.where(merged, 0.0, np.log1p(-probability))).sum(axis=1)
    extra = len(two_theta) - int(matched.sum())
    return float(total.max() - 0.2 * extra), int(matched.sum())


def _arcs(expected: _Array, view: tuple[_Array, _Array]) -> _Array:
    """Return how well a ring is in view: from 0 to 1 for arcs long enough to be found."""
    angle, slope = view
    half = 0.01 * (angle[-1] - angle[0])
    low, high = np.searchsorted(angle, expected - half), np.searchsorted(angle, expected + half)
    total = np.concatenate(([0.0], np.cumsum(slope)))
    # number of view places within ±half, times their slope, over the width: length of the arc in view steps
    length = (total[high] - total[low]) / (2 * half) * 1.0
    steps = length * (1.0 / 48)
    return np.asarray(np.clip(steps * 20, 0.02, 1.0))


def _assigned_normal(scene: _Scene, comb: _Comb, use: NDArray[np.bool_], scale: float) -> NormalEquations:
    target = comb.two_theta[use]
    middle = 0.5 * (target[1:] + target[:-1])

    def normal(parameters: _Array) -> Normal:
        seen = angles(parameters, scene.places, derivatives=True)
        assert seen.derivatives is not None
        weight = 1.0 / (seen.slope * scene.pixel)
        residual = (seen.two_theta - target[np.searchsorted(middle, seen.two_theta)]) * weight
        return _robust(residual, seen.derivatives * weight[..., None], scale)

    return normal


def _polished(scene: _Scene, parameters: _Array, comb: _Comb) -> _Array:
    """Fit geometries to the points, each on the nearest ring."""
    few = scene.select(_sample(scene, 400))
    for scale, floor in ((3.0, 0.01), (1.5, 0.003), (0.8, 0.001)):
        use = comb.intensity > floor
        if use.sum() < 2:
            use = np.ones_like(use)
        parameters, _ = descend(parameters, _assigned_normal(few, comb, use, scale), 8)
    return parameters


# -------------------------------------------------------------------------------------------------- the decision


def _decide(scene: _Scene, solutions: list[_Solution], calibrant: Calibrant, wavelength: float | None) -> Candidate:
    if not solutions:
        raise CalibrationError(
            "Fewer than two rings were found, and a ring of unknown number cannot fix a distance.",
            "Give an image with more rings, or start from a geometry.",
        )
    solutions = sorted(solutions, key=lambda solution: -solution.score)
    best = solutions[0]
    others = [other for other in solutions[1:] if not _same(scene, best, other)]
    margin = best.score - max((other.score for other in others), default=0.0)
    comb = _comb(calibrant, best.wavelength)
    ring, distance = _assigned(scene, best.parameters, comb)
    explained = float((ring >= 0).mean())
    residual = float(np.sqrt(np.mean(distance[ring >= 0] ** 2))) if (ring >= 0).any() else math.inf
    seen = len(best.rings.two_theta)
    if best.matched < LEAST_RINGS or best.score < LEAST_SCORE or best.matched < 0.5 * seen:
        raise CalibrationError(
            f"No geometry explains the rings: the best has {best.matched} of {seen} rings at places of the calibrant.",
            "Check calibrant and energy.",
        )
    if margin < LEAST_MARGIN:
        raise CalibrationError(
            "Different geometries explain the rings about equally well.",
            "Give an image with more rings, or start from a geometry.",
        )
    return Candidate(_geometry(scene, best), best.score, margin, ring, explained, residual)


def _same(scene: _Scene, one: _Solution, other: _Solution) -> bool:
    """Tell whether two solutions give the view the same angles, to a few pixels."""
    a = angles(one.parameters[None], scene.view)
    b = angles(other.parameters[None], scene.view)
    apart = np.abs(a.two_theta - b.two_theta) / (a.slope * scene.pixel)
    return bool(np.median(apart) < 3.0)


def _assigned(scene: _Scene, parameters: _Array, comb: _Comb) -> tuple[_Whole, _Array]:
    """Return the ring of each point, −1 if it is on none, and its distance from it in pixels."""
    seen = angles(parameters[None], scene.places)
    middle = 0.5 * (comb.two_theta[1:] + comb.two_theta[:-1])
    nearest = np.searchsorted(middle, seen.two_theta[0])
    distance = (seen.two_theta[0] - comb.two_theta[nearest]) / (seen.slope[0] * scene.pixel)
    return np.where(np.abs(distance) < 2.0, nearest, -1).astype(np.int32), distance


def _geometry(scene: _Scene, solution: _Solution) -> Geometry:
    c1, c2, log_length = solution.parameters[:3]
    b = beam_direction(solution.parameters[None])[0]
    length = math.exp(log_length)
    # b = (sin rot2, −cos rot2 sin rot1, cos rot1 cos rot2)
    return Geometry(
        scene.detector,
        distance=float(length * b[2] * scene.unit),
        poni1=float((c1 - length * b[0]) * scene.unit + scene.middle[0]),
        poni2=float((c2 - length * b[1]) * scene.unit + scene.middle[1]),
        rot1=math.atan2(-b[1], b[2]),
        rot2=math.asin(b[0]),
        rot3=0.0,
        wavelength=solution.wavelength,
    )
