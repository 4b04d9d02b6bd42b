"""The geometry behind points on rings, without an initial guess. How: docs/explanation/calibration-search.md."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import CalibrationError
from friedel.instrument import Detector, Geometry

from .cone_model import angles, beam_direction
from .local_arcs import with_directions
from .points import RingPoints
from .ring_matching import Comb
from .ring_numbers import Solution, fit_numbered, number_rings
from .ring_scene import Scene, make_scene, sample
from .ring_shapes import FEWEST, find_shapes

if TYPE_CHECKING:
    from friedel.instrument.calibrants import Calibrant

_Array = NDArray[np.float64]
_Whole = NDArray[np.int32]

SAMPLE = 900
"""Points that the search works with, drawn from those given."""
LONGEST_SPOTS = (22.0, 90.0)
"""Chains that count as spots of single grains, in pixels; the second is tried where the first leads to nothing."""
LEAST_SCORE = 10.0
LEAST_SCORE_ALONE = 7.5
CLEAR_MARGIN = 7.0
"""Score below which a solution could be chance; less is enough where nothing else comes near."""
LEAST_MARGIN = 4.0
LEAST_RINGS = 3
FEW_RINGS = 6
"""So many rings agree with some geometry or other by chance."""
LEAST_MATCHED = 0.7
"""Part of the rings seen that must be the calibrant's."""
MOST_FOREIGN = 0.22
"""Part of the points on rings that may be on others: a calibrant with some rings of another is not that."""
MANY_RINGS = 20
LEAST_SCORE_OF_MANY = -10.0
"""Of many rings close together each tells little, but all of them in place and nothing else near is no chance."""
WORST_WAVELENGTH = 0.01
"""Relative error of a wavelength above which it counts as not found."""
CLEAR_ERRORS = 8.0
LEAST_WRONG = 0.005
"""A wavelength is wrong if it is off by so many standard errors and by this part."""
HC = 12.398419843320026
"""keV Å."""


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
            f"Only {len(points)} points on rings are there." if len(points) else "No points on rings were found.",
            "Check that the image shows rings, the mask (True means excluded) and the exposure; "
            f"a table of points needs at least {FEWEST} on {LEAST_RINGS} rings.",
        )
    whole = make_scene(points, detector)
    failure: CalibrationError | None = None
    for longest_spot in LONGEST_SPOTS:
        scene = make_scene(with_directions(points, longest_spot), detector)
        scene = scene.select(sample(scene, SAMPLE))
        try:
            return _decide(whole, scene, _solutions(scene, calibrant, wavelength), calibrant, wavelength)
        except CalibrationError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _solutions(scene: Scene, calibrant: Calibrant, wavelength: float | None) -> list[Solution]:
    shapes = find_shapes(scene)
    if not shapes:
        raise CalibrationError("The points lie on no rings.", "Check that the image shows rings of a powder.")
    solutions: list[Solution] = []
    for shape in shapes:
        solutions += number_rings(scene, *shape, calibrant, wavelength)
        if any(solution.beyond_doubt for solution in solutions):
            break
    return solutions


def _decide(
    whole: Scene, scene: Scene, solutions: list[Solution], calibrant: Calibrant, wavelength: float | None
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
    comb = Comb.of(calibrant, best.wavelength)
    ring, distance = _assigned(whole, best.parameters, comb)
    on_ring = ring >= 0
    residual = float(np.sqrt(np.mean(distance[on_ring] ** 2))) if on_ring.any() else math.inf
    return Candidate(_geometry(scene, best), best.score, margin, ring, float(on_ring.mean()), residual)


def _check(best: Solution, margin: float) -> None:
    """Refuse what could as well be chance."""
    seen, matched = len(best.rings.two_theta), best.match.matched
    many = matched >= MANY_RINGS and matched >= 0.85 * seen and margin >= 10.0
    own = np.isfinite(best.match.target)
    foreign = best.rings.count[~own].sum() > MOST_FOREIGN * best.rings.count.sum()
    foreign |= matched < LEAST_MATCHED * seen
    chance = matched < LEAST_RINGS or best.score < _least_score(many, margin)
    if chance and not foreign and seen <= FEW_RINGS:
        raise CalibrationError(
            f"Only {seen} rings were found, too few to be sure of a geometry.",
            "Give an image with more rings or a longer exposure, or start from a geometry.",
        )
    if chance or foreign:
        raise CalibrationError(
            f"No geometry explains the rings: the best puts {matched} of {seen} at places of the calibrant.",
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


def _checked_wavelength(scene: Scene, best: Solution, wavelength: float | None) -> float:
    """Return the wavelength; refuse one that the rings contradict, and one that they cannot tell."""
    fit = fit_numbered(scene, best.parameters, best.rings.label, best.match.target, 1.0, free=True)
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


def _same(scene: Scene, one: Solution, other: Solution) -> bool:
    """Tell whether two solutions give the points the same angles, to a few pixels; elsewhere they may differ."""
    a = angles(one.parameters[None], scene.places)
    b = angles(other.parameters[None], scene.places)
    apart = np.abs(a.two_theta - b.two_theta) / (a.slope * scene.pixel)
    return bool(np.median(apart) < 3.0)


def _assigned(scene: Scene, parameters: _Array, comb: Comb) -> tuple[_Whole, _Array]:
    """Return the ring of each point, −1 if it is on none, and its distance from it in pixels."""
    seen = angles(parameters[None], scene.places)
    middle = 0.5 * (comb.two_theta[1:] + comb.two_theta[:-1])
    nearest = np.searchsorted(middle, seen.two_theta[0])
    distance = (seen.two_theta[0] - comb.two_theta[nearest]) / (seen.slope[0] * scene.pixel)
    return np.where(np.abs(distance) < 2.0, nearest, -1).astype(np.int32), distance


def _geometry(scene: Scene, solution: Solution) -> Geometry:
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
