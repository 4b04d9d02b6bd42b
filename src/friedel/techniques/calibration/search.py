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
from .local_arcs import with_directions
from .points import RingPoints

if TYPE_CHECKING:
    from friedel.instrument.calibrants import Calibrant

_Array = NDArray[np.float64]
_Whole = NDArray[np.int32]

SAMPLE = 900
"""Points that the search works with, drawn from those given."""
LONGEST_SPOTS = (22.0, 90.0)
"""Chains that count as spots of single grains, in pixels; the second is tried where the first leads to nothing."""
FEWEST = 20
"""Points without which nothing is tried."""
LEAST_SCORE = 10.0
LEAST_SCORE_ALONE = 7.5
CLEAR_MARGIN = 7.0
"""Less is enough where nothing else comes near."""
LEAST_MARGIN = 4.0
LEAST_RINGS = 3
MANY_RINGS = 20
LEAST_SCORE_OF_MANY = -10.0
"""Scores below which a solution could be chance. Of many rings close together each tells little, but nothing else comes
near."""
LARGEST_ANGLE = 3.0
REFERENCE_WAVELENGTH = 0.3e-10
SHORTEST_WAVELENGTH, LONGEST_WAVELENGTH = 0.08e-10, 2.5e-10
"""Wavelengths that are tried where it is not known, m."""
WORST_WAVELENGTH = 0.01
"""Relative error of a wavelength above which it counts as not found."""
CLEAR_ERRORS = 8.0
LEAST_WRONG = 0.005
"""A wavelength is wrong if it is off by so many standard errors and by this part."""
HC = 12.398419843320026
"""keV Å."""
FITTED = 500
QUICK_ERROR = 1.5
PLACE_ERROR = 0.5
"""Error of the place of a ring, pixels, besides that which its points tell."""
EXPECTED_WIDTH = 2.0
"""Standard deviation in pixels of a ring as the detection sees it."""
RADIAL_STEP = 0.5
PROFILE_STEP = 0.15
"""Step in ln L."""
ANCHORS = 12
HYPOTHESES = 500
POLISHED = 16
"""Numberings that are looked at closely, and those that are fitted."""
WEAK_ERRORS = 10.0
"""Standard errors that the worst determined change is tried for; points that belong together make errors too small."""
WEAK_STEP = 1.2
LARGEST_SHIFT = 30.0
"""Step of that and its largest extent, in pixels."""
PREFERENCE = 0.02
"""Weight of a usual distance and of no tilt, in units of the cost of one point."""
FOREIGN = math.log(0.1)
"""Log probability that a clear ring is not the calibrant's."""
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
    """The rings that a calibrant can give: d in Å falling, 2θ and relative intensity at a wavelength in m."""

    spacing: _Array
    two_theta: _Array
    intensity: _Array
    wavelength: float

    @classmethod
    def of(cls, calibrant: Calibrant, wavelength: float) -> _Comb:
        rings = calibrant.rings(wavelength, LARGEST_ANGLE)
        intensity = np.asarray(rings.intensity, np.float64)
        relative = np.maximum(intensity / max(float(intensity.max(initial=0.0)), 1e-30), 1e-6)
        spacing = np.asarray(rings.spacing, np.float64)
        return cls(spacing, np.asarray(rings.two_theta, np.float64), relative, wavelength)

    def at(self, wavelength: float) -> _Comb:
        """Return the comb at another wavelength: the rings that both have, with the intensity for the new angle."""
        sine = 0.5e10 * wavelength / self.spacing
        inside = sine < math.sin(0.5 * LARGEST_ANGLE)
        two_theta = 2 * np.arcsin(sine[inside])
        old = self.two_theta[inside]
        factor = np.sin(0.5 * old) * np.sin(old) / (np.sin(0.5 * two_theta) * np.sin(two_theta))
        intensity = self.intensity[inside] * factor
        return _Comb(self.spacing[inside], two_theta, intensity / intensity.max(initial=1e-300), wavelength)


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
    failure: CalibrationError | None = None
    for longest_spot in LONGEST_SPOTS:
        scene = _scene(with_directions(points, longest_spot), detector)
        scene = scene.select(_sample(scene, SAMPLE))
        try:
            return _decide(whole, scene, _solutions(scene, calibrant, wavelength), calibrant, wavelength)
        except CalibrationError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _solutions(scene: _Scene, calibrant: Calibrant, wavelength: float | None) -> list[_Solution]:
    shapes = _shapes(scene)
    if not shapes:
        raise CalibrationError("The points lie on no rings.", "Check that the image shows rings of a powder.")
    solutions: list[_Solution] = []
    for shape in shapes:
        solutions += _numbered(scene, *shape, calibrant, wavelength)
        if any(solution.beyond_doubt for solution in solutions):
            break
    return solutions


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
        return _moderate(parameters, _robust(turns, columns, scale))

    return normal


def _moderate(parameters: _Array, normal: Normal) -> Normal:
    """Prefer a usual distance and no tilt, ever so slightly, where the points do not tell."""
    cost, matrix, gradient = normal
    usual = np.array([0.0, 0.0, 0.7, 0.0, 0.0])
    weight = np.array([0.0, 0.0, 1.0, 0.3, 0.3]) * PREFERENCE
    away = parameters - usual
    return cost + (weight * away**2).sum(axis=1), matrix + np.diag(weight), gradient + weight * away


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
    found = [shape for parameters in _straightened(scene, best) if (shape := _sharpened(scene, parameters)) is not None]
    found.sort(key=lambda shape: -shape[1].sharpness)
    upright = _upright(scene, more)
    # Short arcs fit many tilts; none is then the first guess.
    if upright is not None and found and upright[1].sharpness > found[0][1].sharpness - 0.5:
        found.insert(1, upright)
    return found[:3]


def _upright(scene: _Scene, directed: Places) -> tuple[_Array, _Clusters] | None:
    """Return the shape without tilt: the centre is where all normals meet."""
    steps = np.array([-3.0, -1.7, -0.8, -0.35, 0.0, 0.35, 0.8, 1.7, 3.0])
    centers = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    starts = _product(centers, [1.5], np.zeros((1, 2)))
    for scale in (0.15, 0.05):
        starts, cost = descend(starts, _fixing(_orientation_normal(directed, scale), (2, 3, 4)), 8)
        starts = starts[np.argsort(cost)[:8]]
    return _sharpened(scene, starts[0], fixed=(2, 3, 4))


def _fixing(normal: NormalEquations, fixed: tuple[int, ...]) -> NormalEquations:
    """Return the equations without some parameters."""

    def fixing(parameters: _Array) -> Normal:
        cost, matrix, gradient = normal(parameters)
        for k in fixed:
            matrix[:, k, :] = 0.0
            matrix[:, :, k] = 0.0
            matrix[:, k, k] = 1.0
            gradient[:, k] = 0.0
        return cost, matrix, gradient

    return fixing


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
        return _moderate(parameters, _robust(residual, columns, scale))

    return _fixing(normal, fixed)


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


def _sharpened(scene: _Scene, parameters: _Array, *, fixed: tuple[int, ...] = ()) -> tuple[_Array, _Clusters] | None:
    """Gather the points in rings and let these be sharp."""
    for smoothing, scale in ((3.0, 4.0), (1.5, 2.0), (1.0, 1.0)):
        rings = _clusters(scene, parameters, smoothing)
        chosen = np.nonzero(rings.label >= 0)[0]
        if len(chosen) < FEWEST:
            return None
        normal = _free_rings_normal(scene.places.select(chosen), rings.label[chosen], scene.pixel, scale, fixed=fixed)
        mirrored = parameters * np.array([1.0, 1.0, 1.0, -1.0, -1.0])
        refined, cost = descend(np.stack((parameters, mirrored)), normal, 8)
        if np.isfinite(refined).all():
            parameters = refined[int(np.argmin(cost))]
    return parameters, _clusters(scene, parameters, 1.0)


# ------------------------------------------------------------------------------------------- which ring is which


@dataclass(frozen=True)
class _Profile:
    """The rings seen, for a row of lengths L: everything else is fitted at each.

    log_length : (j,);  parameters : (j, 5);  angle : (j, m) ln tan θ of each ring;  slope : (j, m) ln rad/pixel
    weak : (j, 5) what the points determine least besides L, as long as its standard error
    moves : (j, m) by how much `angle` rises along it;  shift : (j,) by how many pixels it moves rings, at most
    known : (rings,) which of the rings seen these m are
    """

    log_length: _Array
    parameters: _Array
    angle: _Array
    slope: _Array
    weak: _Array
    moves: _Array
    shift: _Array
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class _Solution:
    """A numbered geometry."""

    parameters: _Array
    wavelength: float
    match: _Match
    rings: _Clusters

    @property
    def score(self) -> float:
        return self.match.score

    @property
    def beyond_doubt(self) -> bool:
        """Whether nothing else needs to be tried."""
        return self.score > 20.0 and self.match.matched > 0.8 * len(self.rings.two_theta)


def _profile(scene: _Scene, parameters: _Array, rings: _Clusters) -> _Profile:
    chosen = np.nonzero(rings.label >= 0)[0]
    if len(chosen) > 400:
        chosen = chosen[np.linspace(0, len(chosen) - 1, 400).astype(int)]
    label = rings.label[chosen]
    places = scene.places.select(chosen)
    normal = _free_rings_normal(places, label, scene.pixel, 2.0, fixed=(2,))
    nodes = np.arange(SHORTEST + 0.1, LONGEST, PROFILE_STEP)
    fitted = np.empty((len(nodes), N_PARAMETERS))
    cost = np.empty(len(nodes))
    middle = int(np.argmin(np.abs(nodes - parameters[2])))
    for direction in (1, -1):
        here = parameters
        for i in range(middle, len(nodes) if direction > 0 else -1, direction):
            # From afar a tilt and its mirror image look alike, and sin(tilt)/L counts more than the tilt.
            start = np.stack((here, here, here, here))
            start[1, 3:5] *= math.exp(nodes[i] - here[2])
            start[2, 3:5] *= -1.0
            start[3, 3:5] = 0.0
            start[:, 2] = nodes[i]
            there, value = descend(start, normal, 8)
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
    seen = angles(fitted, places, derivatives=True)
    assert seen.derivatives is not None
    _, matrix, _ = normal(fitted)
    m = len(rings.two_theta)
    known = np.bincount(label, minlength=m) > 0
    mean = np.stack([(label == k) / max((label == k).sum(), 1) for k in np.nonzero(known)[0]])
    angle = np.log(np.tan(0.5 * seen.two_theta)) @ mean.T
    slope = np.log(seen.slope * scene.pixel) @ mean.T
    per_pixel = seen.derivatives / (seen.slope * scene.pixel)[..., None]
    moves = np.einsum("mn,jnk->jmk", mean, per_pixel)
    weak, shift = _weakest(matrix * 4.0 / rms.min() ** 2, moves)
    in_pixels = np.einsum("jmk,jk->jm", moves, weak)
    moves_angle = in_pixels * np.exp(slope) / np.sin(2 * np.arctan(np.exp(angle)))
    return _Profile(nodes, fitted, angle, slope, weak, moves_angle, shift, known)


def _weakest(information: _Array, moves: _Array) -> tuple[_Array, _Array]:
    """Return which change of (C, β) moves rings against each other most, within its errors: (j, 5), and how far: (j,).

    What a change of L makes up for does not count.
    """
    others = [0, 1, 3, 4]
    weak, shift = np.zeros((len(moves), N_PARAMETERS)), np.zeros(len(moves))
    for j, (inverse, move) in enumerate(zip(information[:, others][:, :, others], moves, strict=True)):
        scale = np.sqrt(np.maximum(np.diag(inverse), 1e-30))
        values, vectors = np.linalg.eigh(inverse / np.outer(scale, scale))
        spread = vectors / np.sqrt(np.maximum(values, 1e-12)) / scale[:, None]
        by_length = move[:, 2] / max(float(np.linalg.norm(move[:, 2])), 1e-30)
        apart = move[:, others] @ spread
        apart = apart - np.outer(by_length, by_length @ apart)
        _, _, right = np.linalg.svd(apart, full_matrices=False)
        weak[j, others] = spread @ right[0]
        shift[j] = np.abs(apart @ right[0]).max()
    return weak, shift


def _numbered(
    scene: _Scene, parameters: _Array, rings: _Clusters, calibrant: Calibrant, wavelength: float | None
) -> list[_Solution]:
    """Return the best ways to number the rings."""
    if len(rings.two_theta) < 2:
        return []
    profile = _profile(scene, parameters, rings)
    count = rings.count[profile.known]
    free = wavelength is None
    comb = _Comb.of(calibrant, wavelength or REFERENCE_WAVELENGTH)
    if free:
        trial, two_theta, slope, wavelengths = _anchored_by_wavelength(profile, comb, count)
        if not len(trial):
            return []
        per_angle = 2e-10 / wavelengths[:, None]
        place, width = per_angle * np.sin(0.5 * two_theta), 0.5 * per_angle * np.cos(0.5 * two_theta) * slope
        quick = _quick_score(place, width, 1.0 / comb.spacing, comb.intensity)
    else:
        trial, two_theta, slope = _anchored(profile, comb, count)
        if not len(trial):
            return []
        wavelengths = np.full(len(trial), comb.wavelength)
        quick = _quick_score(two_theta, slope, comb.two_theta, comb.intensity)
    label = np.where(rings.label >= 0, np.where(profile.known, np.cumsum(profile.known) - 1, -1)[rings.label], -1)
    best = np.argsort(-quick, kind="stable")[:HYPOTHESES]
    combs = [comb.at(wavelengths[i]) if free else comb for i in best]
    matches = [
        _match(_Clusters(label, two_theta[i], slope[i], slope[i], count, 0.0), c)
        for i, c in zip(best, combs, strict=True)
    ]
    ranking = np.argsort([-match.score for match in matches], kind="stable")
    chosen: list[int] = []
    solutions: list[_Solution] = []
    for rank in ranking:
        i = int(best[rank])
        if all(
            (np.abs(two_theta[i] - two_theta[j]) > 1.5 * slope[i]).any()
            or abs(wavelengths[i] / wavelengths[j] - 1.0) > 0.01
            for j in chosen
        ):
            chosen.append(i)
            solutions.append(_polished(scene, trial[i], label, matches[rank].target, combs[rank], free=free))
        if len(chosen) == POLISHED:
            break
    return solutions


def _polished(
    scene: _Scene, parameters: _Array, label: NDArray[np.intp], target: _Array, comb: _Comb, *, free: bool
) -> _Solution:
    """Fit the geometry, and the wavelength if that is free, to the rings that were matched, match again, and so on."""
    rings, match = None, None
    for scale in (2.0, 1.0, 1.0):
        fit = _numbered_fit(scene, parameters, label, target, scale, free=free)
        if fit is not None:
            parameters = fit.parameters
            if free:
                comb = comb.at(comb.wavelength * float(np.clip(fit.ratio, 0.8, 1.25)))
        rings = _clusters(scene, parameters, 1.0)
        match = _match(rings, comb, _view(scene, parameters))
        label, target = rings.label, match.target
    assert rings is not None and match is not None
    return _Solution(parameters, comb.wavelength, match, rings)


@dataclass(frozen=True)
class _NumberedFit:
    """Geometry and ratio of the wavelength to that assumed, and the relative standard error of the ratio."""

    parameters: _Array
    ratio: float
    error: float


def _numbered_fit(
    scene: _Scene, parameters: _Array, label: NDArray[np.intp], target: _Array, scale: float, *, free: bool
) -> _NumberedFit | None:
    """Fit to points on numbered rings; None if there are too few."""
    chosen = np.nonzero(np.where(label >= 0, np.isfinite(target)[label], False))[0]
    if len(chosen) < FEWEST:
        return None
    if len(chosen) > FITTED:
        chosen = chosen[np.linspace(0, len(chosen) - 1, FITTED).astype(int)]
    places, wanted = scene.places.select(chosen), target[label[chosen]]
    normal = _numbered_rings_normal(places, wanted, scene.pixel, scale)
    start = np.concatenate((parameters, [0.0] if free else []))[None]
    there, _ = descend(start, normal, 10 if free else 6)
    if not free:
        return _NumberedFit(there[0], 1.0, 0.0)
    _, matrix, _ = normal(there)
    seen = angles(there[:, :N_PARAMETERS], places)
    angle = 2 * np.arcsin(np.minimum(np.sin(0.5 * wanted) * math.exp(there[0, 5]), 1.0))
    rms = 1.4826 * float(np.median(np.abs((seen.two_theta[0] - angle) / (seen.slope[0] * scene.pixel))))
    norm = np.sqrt(np.diag(matrix[0])) + 1e-30
    covariance = np.linalg.pinv(matrix[0] / np.outer(norm, norm), rcond=1e-12) / np.outer(norm, norm)
    # What shifts a ring, such as neighbours that are not resolved, shifts all its points.
    together = len(chosen) / min(len(chosen), 4 * len(np.unique(label[chosen])))
    error = max(rms, 0.05) / scale * math.sqrt(max(covariance[5, 5], 0.0) * together)
    return _NumberedFit(there[0, :N_PARAMETERS], math.exp(float(np.clip(there[0, 5], -1.0, 1.0))), error)


def _anchored(profile: _Profile, comb: _Comb, count: NDArray[np.intp]) -> tuple[_Array, _Array, _Array]:
    """Return geometries (h, 5) that put one of the clearest rings on one of the calibrant's, and 2θ and slope (h, m).

    Around each length of the profile ln tan θ of a ring is linear in ln L and in the weakest change of the other
    parameters, which is tried in steps as fine as the error of a ring's place.
    """
    target = np.log(np.tan(0.5 * comb.two_theta))
    anchors = np.sort(np.argsort(-count, kind="stable")[:ANCHORS])
    half = 0.5 * PROFILE_STEP
    found = []
    rises = np.gradient(profile.angle, profile.log_length, axis=0)
    changes = np.gradient(profile.parameters, profile.log_length, axis=0)
    for j, node in enumerate(profile.log_length):
        reach = min(WEAK_ERRORS * profile.shift[j], LARGEST_SHIFT)
        steps = int(reach / WEAK_STEP)
        part = np.arange(-steps, steps + 1) * (WEAK_STEP / max(profile.shift[j], 1e-30))
        moved = profile.angle[j] + part[:, None] * profile.moves[j]  # (s, m)
        rise = np.minimum(rises[j], -0.05)
        there = (target - moved[:, anchors, None]) / rise[anchors][:, None]  # (s, a, k)
        step, _, _ = inside = np.nonzero(np.abs(there) <= half)
        if not len(step):
            continue
        away = there[inside][:, None]
        parameters = profile.parameters[j] + away * changes[j] + part[step][:, None] * profile.weak[j]
        parameters[:, 2] = node + away[:, 0]
        two_theta = 2 * np.arctan(np.exp(moved[step] + away * rise))
        found.append((parameters, two_theta, np.broadcast_to(np.exp(profile.slope[j] - away), two_theta.shape)))
    if not found:
        nothing = np.empty((0, 0))
        return nothing, nothing, nothing
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]


def _anchored_by_wavelength(
    profile: _Profile, comb: _Comb, count: NDArray[np.intp]
) -> tuple[_Array, _Array, _Array, _Array]:
    """Return the same for any wavelength, and the wavelengths in m: each L and ring number gives one."""
    anchors = np.argsort(-count, kind="stable")[:4]
    strongest = np.sort(np.argsort(-comb.intensity, kind="stable")[:30])
    away = (np.arange(6) + 0.5) / 6 * PROFILE_STEP - 0.5 * PROFILE_STEP
    rises = np.gradient(profile.angle, profile.log_length, axis=0)
    changes = np.gradient(profile.parameters, profile.log_length, axis=0)
    found = []
    for j, node in enumerate(profile.log_length):
        angle = profile.angle[j] + away[:, None] * rises[j]
        two_theta = 2 * np.arctan(np.exp(angle))  # (l, m)
        wavelength = 2e-10 * comb.spacing[strongest] * np.sin(0.5 * two_theta[:, anchors, None])  # (l, a, k)
        inside = np.nonzero((wavelength > SHORTEST_WAVELENGTH) & (wavelength < LONGEST_WAVELENGTH))
        row = inside[0]
        parameters = profile.parameters[j] + away[row, None] * changes[j]
        parameters[:, 2] = node + away[row]
        slope = np.exp(profile.slope[j] - away[row, None])
        found.append((parameters, two_theta[row], np.broadcast_to(slope, two_theta[row].shape), wavelength[inside]))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]


def _quick_score(place: _Array, pixel: _Array, rings: _Array, intensity: _Array) -> _Array:
    """Return how much better than by chance the rings seen (h, m) match, each by its nearest ring (k)."""
    upper = np.clip(np.searchsorted(rings, place), 1, len(rings) - 1)
    left, right = rings[upper - 1], rings[upper]
    nearest = np.where(place - left < right - place, upper - 1, upper)
    distance = np.abs(place - rings[nearest]) / pixel
    lowest, highest = place.min(axis=1), place.max(axis=1)
    span = (highest - lowest) / np.median(pixel, axis=1)
    strength = intensity / (intensity + 0.03)
    total = np.concatenate(([0.0], np.cumsum(strength)))
    number = total[np.searchsorted(rings, highest * 1.02)] - total[np.searchsorted(rings, lowest * 0.98)]
    density = strength[nearest] / np.maximum(number, 1.0)[:, None]
    peak = density * np.exp(-0.5 * (distance / QUICK_ERROR) ** 2) / (QUICK_ERROR * math.sqrt(2 * np.pi))
    return np.asarray(np.log(0.8 * peak * span[:, None] + 0.2).sum(axis=1))


def _view(scene: _Scene, parameters: _Array) -> tuple[_Array, _Array]:
    """Return 2θ of places all over the detector, sorted, and the pixels across a ring there."""
    seen = angles(parameters[None], scene.view)
    order = np.argsort(seen.two_theta[0])
    return seen.two_theta[0][order], (seen.slope[0] * scene.pixel)[order]


@dataclass(frozen=True)
class _Match:
    """Rings seen against rings expected.

    score : log likelihood ratio against rings at random
    target : (m,) 2θ that the calibrant gives each ring seen; NaN for those that are nowhere
    line : (e,) 2θ of what should be seen, rings that are not resolved being one
    clear : (e,) bool, those that should be seen as well as the others
    """

    score: float
    target: _Array
    line: _Array
    clear: NDArray[np.bool_]

    @property
    def matched(self) -> int:
        return int(np.isfinite(self.target).sum())


def _match(rings: _Clusters, comb: _Comb, view: tuple[_Array, _Array] | None = None) -> _Match:
    """Compare rings seen with those of the calibrant.

    A ring of the calibrant in view is detected with probability P, which rises with its intensity over the faintest
    that is seen (chosen for each hypothesis). If detected, it is found at its place with the error of the measurement;
    rings that are nowhere are spread evenly.
    """
    order = np.argsort(rings.two_theta)
    two_theta, slope = rings.two_theta[order], rings.slope[order]
    nothing = _Match(-math.inf, np.full(len(order), np.nan), np.empty(0), np.empty(0, np.bool_))
    if len(order) < 2 or not two_theta[-1] > two_theta[0]:
        return nothing
    (nodes, pixels), expected, height = _expected(two_theta, slope, comb)
    if not len(expected):
        return nothing
    seen = np.interp(two_theta, nodes, pixels)
    tolerance = np.hypot(PLACE_ERROR, np.minimum(rings.width[order] / slope, 2.0))
    rate = len(seen) / (seen[-1] - seen[0])
    gap = np.abs(expected[:, None] - seen)
    gain = -0.5 * (gap / tolerance) ** 2 - np.log(tolerance * rate * math.sqrt(2 * np.pi))
    gain[gap > 3 * tolerance] = -np.inf
    # Each ring seen belongs to one that is expected there.
    owner = np.argmax(gain, axis=0)
    valid = np.isfinite(gain[owner, np.arange(len(seen))])
    best = np.full(len(expected), -np.inf)
    np.maximum.at(best, owner[valid], gain[owner[valid], np.nonzero(valid)[0]])
    matched = np.isfinite(best)
    line = np.interp(expected, pixels, nodes)
    arc = np.ones(len(expected)) if view is None else _arcs(line, view)
    probability = 0.9 * arc / (1.0 + DETECTION_LIMITS[:, None] / height)
    found = np.log(np.maximum(probability, 1e-6)) + np.where(matched, best, 0.0)
    total = np.where(matched, found, np.log1p(-probability)).sum(axis=1)
    foreign = FOREIGN * np.minimum(rings.count[order][~valid] / 10.0, 1.0).sum()
    target = np.full(len(order), np.nan)
    target[order[valid]] = line[owner[valid]]
    clear = height > 0.3 * DETECTION_LIMITS[int(np.argmax(total))]
    return _Match(float(total.max() + foreign), target, line, clear)


def _expected(two_theta: _Array, slope: _Array, comb: _Comb) -> tuple[tuple[_Array, _Array], _Array, _Array]:
    """Return what the detection makes of the calibrant's rings, a little beyond the range of the rings seen.

    The detection sees minus the second derivative of the smoothed image; rings that are not resolved are one.

    Returns
    -------
    place : (two_theta, pixels across the rings), both rising
    expected : (e,) pixels across the rings
    height : (e,) relative to the largest
    """
    margin = 0.03 * (two_theta[-1] - two_theta[0])
    nodes = np.linspace(max(two_theta[0] - margin, 1e-4), two_theta[-1] + margin, 200)
    across = 1.0 / np.interp(nodes, two_theta, slope)
    pixels = np.concatenate(([0.0], np.cumsum(0.5 * (across[1:] + across[:-1]) * np.diff(nodes))))
    inside = (comb.two_theta > nodes[0]) & (comb.two_theta < nodes[-1])
    where = np.interp(comb.two_theta[inside], nodes, pixels) / RADIAL_STEP
    n = min(int(pixels[-1] / RADIAL_STEP) + 2, 40_000)
    low = np.minimum(where.astype(np.int64), n - 2)
    part = where - low
    weight = comb.intensity[inside]
    profile = np.bincount(low, weight * (1 - part), n) + np.bincount(low + 1, weight * part, n)
    smooth = ndimage.gaussian_filter1d(profile, EXPECTED_WIDTH / RADIAL_STEP, order=2, truncate=4.0, mode="constant")
    response = -smooth
    middle = response[1:-1]
    peak = np.nonzero((middle > response[:-2]) & (middle >= response[2:]) & (middle > 0))[0] + 1
    left, here, right = response[peak - 1], response[peak], response[peak + 1]
    shift = 0.5 * (left - right) / np.minimum(left - 2 * here + right, -1e-300)
    keep = here > 1e-5 * here.max(initial=0.0)
    return (nodes, pixels), ((peak + shift) * RADIAL_STEP)[keep], (here / here.max(initial=1e-300))[keep]


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


def _numbered_rings_normal(places: Places, target: _Array, pixel: float, scale: float) -> NormalEquations:
    """Return the robust sum of squares of distances, in pixels, from rings at known angles.

    A sixth parameter is ln of the wavelength's ratio to that of the known angles.
    """
    sine = np.sin(0.5 * target)

    def normal(parameters: _Array) -> Normal:
        seen = angles(parameters[:, :N_PARAMETERS], places, derivatives=True)
        assert seen.derivatives is not None
        weight = 1.0 / (seen.slope * pixel)
        columns = seen.derivatives * weight[..., None]
        if parameters.shape[1] == N_PARAMETERS:
            return _robust((seen.two_theta - target) * weight, columns, scale)
        angle = 2 * np.arcsin(np.minimum(sine * np.exp(parameters[:, 5:6]), 1.0))
        by_wavelength = -2 * np.tan(np.minimum(0.5 * angle, 1.55)) * weight
        columns = np.concatenate((columns, by_wavelength[..., None]), axis=2)
        return _robust((seen.two_theta - angle) * weight, columns, scale)

    return normal


# -------------------------------------------------------------------------------------------------- the decision


def _decide(
    whole: _Scene, scene: _Scene, solutions: list[_Solution], calibrant: Calibrant, wavelength: float | None
) -> Candidate:
    """Return the best solution for all points, or say why none can be trusted; `scene` is what they were found with."""
    if not solutions:
        raise CalibrationError(
            "Fewer than two rings were found, and a ring of unknown number cannot fix a distance.",
            "Give an image with more rings, or start from a geometry.",
        )
    solutions = sorted(solutions, key=lambda solution: -solution.score)
    best = solutions[0]
    others = [other for other in solutions[1:] if not _same(scene, best, other)]
    margin = best.score - max((other.score for other in others), default=0.0)
    _check(best, margin)
    wavelength = _checked_wavelength(scene, best, wavelength)
    comb = _Comb.of(calibrant, best.wavelength)
    ring, distance = _assigned(whole, best.parameters, comb)
    on_ring = ring >= 0
    residual = float(np.sqrt(np.mean(distance[on_ring] ** 2))) if on_ring.any() else math.inf
    return Candidate(_geometry(scene, best), best.score, margin, ring, float(on_ring.mean()), residual)


def _check(best: _Solution, margin: float) -> None:
    """Refuse what could as well be chance."""
    seen, matched = len(best.rings.two_theta), best.match.matched
    many = matched >= MANY_RINGS and matched >= 0.9 * seen and margin >= 10.0
    if matched < LEAST_RINGS or matched < 0.7 * seen or best.score < _least_score(many, margin):
        raise CalibrationError(
            f"No geometry explains the rings: the best puts {matched} of {seen} at places of the calibrant, "
            "no more than by chance.",
            "Check calibrant, energy and pixel size; or mask what is not of the calibrant.",
        )
    if margin < LEAST_MARGIN:
        raise CalibrationError(
            f"Different geometries explain the {seen} rings about equally well.",
            "Give an image with more rings or longer arcs, or start from a geometry.",
        )


def _least_score(many: bool, margin: float) -> float:
    if many:
        return LEAST_SCORE_OF_MANY
    return LEAST_SCORE if margin < CLEAR_MARGIN else LEAST_SCORE_ALONE


def _checked_wavelength(scene: _Scene, best: _Solution, wavelength: float | None) -> float:
    """Return the wavelength; refuse one that the rings contradict, and one that they cannot tell."""
    fit = _numbered_fit(scene, best.parameters, best.rings.label, best.match.target, 1.0, free=True)
    if fit is None:
        return best.wavelength
    if wavelength is None:
        if fit.error > WORST_WAVELENGTH:
            raise CalibrationError(
                "The rings fix the product of wavelength and distance, but neither of them.",
                "Give the energy or wavelength, or an image that reaches larger scattering angles.",
            )
        return best.wavelength
    if abs(math.log(fit.ratio)) > max(CLEAR_ERRORS * fit.error, LEAST_WRONG):
        angstrom, better = wavelength * 1e10, wavelength * fit.ratio * 1e10
        raise CalibrationError(
            f"The rings contradict the wavelength: {better:.4f} Å ({HC / better:.3f} keV) explains them clearly better "
            f"than {angstrom:.4f} Å ({HC / angstrom:.3f} keV).",
            "Check the energy and the calibrant; or let the wavelength be found.",
        )
    return wavelength


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
