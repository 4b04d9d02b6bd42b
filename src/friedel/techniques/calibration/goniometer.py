"""Calibration of a moving detector: from images at several positions to formulas of its geometry.

One image is calibrated by itself. Slopes that are not known are tried (a degree or a radian, a millimetre or a metre
for each unit of a motor, both ways); the images nearest by tell which is right. Then the images are taken in the
order of their distance from the first: the formulas as refined so far say where the rings of the next one are, they
are measured there, and all are refined together. An image whose rings are not where they should be is searched by
itself, and left out if that does not help. At last the rings of all images are measured and refined in turns until
nothing moves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import CalibrationError
from friedel.instrument import Calibrant, Geometry, Goniometer
from friedel.instrument.derivatives import FIELDS

from .agreement import AGREEING, part_on_rings
from .calibrate import ROUNDS, SETTLED, Scene, Tell
from .detection import detect
from .extraction import extract
from .goniometer_model import LENGTHS, GoniometerModel, fitted_to_geometry
from .points import ControlPoints
from .refinement import Refinement, refine
from .search import find_geometry

_Array = NDArray[np.float64]

TURNS = (math.pi / 180, -math.pi / 180, 1.0, -1.0)
"""Slopes of rotations that are tried: motors in degrees, in rad."""
SHIFTS = (1e-3, -1e-3, 1.0, -1.0)
"""Slopes of lengths that are tried: motors in mm, in m."""
MOST_TRIALS = 4
"""Images that tell which slopes are right, at most."""
SAMPLE = 60_000
"""Pixels by which images are compared with rings."""
FEWEST_PIXELS = 1000
BINS = (200, 20_000)
SMOOTH = 2.5
"""Width in pixels to which rings are smeared for that."""
BACKGROUND = 61
"""Bins over which the background is averaged."""
TOLD = 0.15
"""Correlation with the rings below which no slope is believed."""
EACH_UNTIL = 6
"""All images are refined together with each new one up to this number, then each time there are half as many more."""
FIRST_REACH, REACH, NEAR = 6.0, 3.0, 1.0
"""Pixels from their expected place in which rings are looked for: in a new image, later, and where there are too many
rings to look far about each."""
FEWEST_POINTS = 20
BELIEVED = 0.5
"""Part of the points of an image that must count, for it to be used."""


@dataclass(frozen=True)
class Start:
    """What is known before.

    Attributes
    ----------
    geometry : Geometry
        Of the image `image`.
    image : int
    known : tuple of str
        Parameters whose start values in the goniometer are meant; the others follow from `geometry`, slopes by trial.
    """

    geometry: Geometry
    image: int
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class GoniometerCalibration:
    """What a calibration of a goniometer found.

    Attributes
    ----------
    goniometer : Goniometer
        Refined, with the covariance of its parameters.
    positions : ndarray of float64 (n_images, n_motors)
    points : ControlPoints
        Of all images; those of images left out are not among them.
    refinement : Refinement
        Its geometries are those of all images.
    left_out : dict of int to str
        Images that do not count, with the reason.
    """

    goniometer: Goniometer
    positions: _Array
    points: ControlPoints
    refinement: Refinement
    left_out: dict[int, str]

    def rms(self) -> _Array:
        """Return the root mean square residual of each image in pixels, (n_images,); NaN for those left out."""
        found = np.full(len(self.positions), np.nan)
        for number in range(len(found)):
            residuals = self.refinement.residuals[self.refinement.used & (self.points.image == number)]
            if residuals.size:
                found[number] = math.sqrt(float(np.mean(residuals**2)))
        return found

    def rms_alone(self, number: int, calibrant: Calibrant) -> float:
        """Return the root mean square residual of an image in pixels if its geometry is refined by itself."""
        points = self.points.select(self.points.image == number).of_image(0)
        return refine(points, self.refinement.geometries[number], calibrant).rms


@dataclass(frozen=True)
class Choices:
    """What is refined, see `refine`."""

    free: tuple[str, ...] | None = None
    fixed: tuple[str, ...] = ()
    bounds: Mapping[str, tuple[float, float]] | None = None


def calibrate_goniometer(
    scenes: Sequence[Scene],
    model: GoniometerModel,
    calibrant: Calibrant,
    start: Start,
    choices: Choices | None = None,
    *,
    rounds: int = ROUNDS,
    threads: int = 1,
    tell: Tell = lambda text: None,
) -> GoniometerCalibration:
    """Calibrate a goniometer.

    Parameters
    ----------
    scenes : sequence of Scene
        May read each image when it is asked for.
    model : GoniometerModel
        Formulas, start values and positions.
    calibrant : Calibrant
    start : Start
    choices : Choices, optional
    rounds : int
        How often the rings of all images are measured and refined at the end, at most.
    threads : int
    tell : callable
        Told what is being done.

    Returns
    -------
    GoniometerCalibration

    Raises
    ------
    CalibrationError
        If no slope explains the images, or no more images agree with one another than any slope explains.
    """
    work = _Work(scenes, calibrant, choices or Choices(), threads, tell)
    values = first_values(scenes, model, calibrant, start)
    values, points, left_out = work.grow(model, values, start)
    # Some slopes put the rings of any two images where they are, of three with two motors.
    if left_out and len(points) <= len(model.goniometer.motors) + 1:
        reasons = "; ".join(f"image {number}: {reason}" for number, reason in left_out.items())
        raise CalibrationError(
            f"Rings are where the formulas have them on {len(points)} of {len(scenes)} images only. {reasons}.",
            "Check positions, expressions and the start; start from another image, or give slopes with --start.",
        )
    refinement, joined = work.settle(model, values, points, rounds)
    goniometer = model.goniometer.with_values(refinement.values, refinement.covariance)
    return GoniometerCalibration(goniometer, model.positions, joined, refinement, left_out)


def find_start(scenes: Sequence[Scene], model: GoniometerModel, calibrant: Calibrant, tell: Tell) -> Start:
    """Return the geometry of the first image whose geometry is found without a guess.

    Raises
    ------
    CalibrationError
        If there is none.
    """
    template = model.templates[0]
    problem = "there is no image"
    for number, scene in enumerate(scenes):
        try:
            points = detect(scene.image, scene.mask)
            candidate = find_geometry(points, template.detector, calibrant, template.wavelength)
        except CalibrationError as error:
            problem = error.problem
            continue
        tell(f"Image {number}: the search explains {100 * candidate.explained:.0f} % of {len(points)} points.")
        return Start(candidate.geometry, number)
    raise CalibrationError(
        f"No image can be calibrated by itself; the last: {problem}",
        "Give the geometry of one image (--geometry, --geometry-image).",
    )


# -------------------------------------------------------------------------------------------------- slopes by trial


def first_values(scenes: Sequence[Scene], model: GoniometerModel, calibrant: Calibrant, start: Start) -> _Array:
    """Return values of the parameters with which one image has its geometry and those next to it their rings.

    Raises
    ------
    CalibrationError
        If no trial puts the rings of any other image where they are.
    """
    slopes = [name for name in slopes_of(model) if name not in start.known]
    kept = (*start.known, *slopes)
    if not slopes or len(scenes) < 2:
        return fitted_to_geometry(model, model.start, start.geometry, start.image, kept)
    others = [number for number in _nearest(model.positions, start.image) if _moves(model, number, start.image)]
    seen = [(number, _Sampled.of(scenes[number], model.templates[number])) for number in others[:MOST_TRIALS]]
    best, score = model.start, -math.inf
    for trial in _trials(model, slopes):
        values = fitted_to_geometry(model, trial, start.geometry, start.image, kept)
        geometries = model.geometries(values)
        found = [sampled.likeness(geometries[number], calibrant) for number, sampled in seen]
        if found and (mean := float(np.mean(found))) > score:
            best, score = values, mean
    if score < TOLD:
        tried = ", ".join(slopes)
        raise CalibrationError(
            f"No value of {tried} that was tried puts the rings next to image {start.image} where they are.",
            "Give it with --start, like rot1_per_pos=0.01745 (rad or m for each unit of the motor).",
        )
    return best


def slopes_of(model: GoniometerModel) -> list[str]:
    """Return the parameters that multiply a position: without effect where all motors are at 0."""
    values = np.where(model.start == 0.0, 1e-3, model.start)
    origin = GoniometerModel(model.goniometer, np.zeros((1, model.positions.shape[1])))
    away = GoniometerModel(model.goniometer, np.ones((1, model.positions.shape[1])))
    still, moving = (np.abs(one.derivatives(values)[0]).max(axis=0) for one in (origin, away))
    return [name for name, a, b in zip(model.names, still, moving, strict=True) if a < 1e-9 * max(b, 1e-12)]


def _trials(model: GoniometerModel, slopes: Sequence[str]) -> Iterator[_Array]:
    """Return start values with each motor moving one number of the geometry by a usual slope, and no other."""
    ways: list[list[tuple[str, float]]] = []
    for motor in range(model.positions.shape[1]):
        position = np.eye(model.positions.shape[1])[motor : motor + 1]
        ways.append(list(_ways(GoniometerModel(model.goniometer, position), slopes)) or [("", 0.0)])
    for combination in itertools.product(*ways):
        values = model.start.copy()
        for name in slopes:
            values[model.names.index(name)] = 0.0
        for name, slope in combination:
            if name:
                values[model.names.index(name)] = slope
        yield values


def _ways(alone: GoniometerModel, slopes: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Return the slopes that matter where one motor is at 1, with values to try."""
    effect = np.abs(alone.derivatives(alone.start)[0])
    for name in _main_slopes(alone, slopes):
        most = FIELDS[int(np.argmax(effect[:, alone.names.index(name)]))]
        for value in SHIFTS if most in LENGTHS else TURNS:
            yield name, value


def _main_slopes(alone: GoniometerModel, slopes: Sequence[str]) -> list[str]:
    """Return the slopes of a motor that may be its main one: those given with a value, else all."""
    effect = np.abs(alone.derivatives(alone.start)[0]).max(axis=0)
    own = [name for name in slopes if effect[alone.names.index(name)] > 1e-9]
    marked = [name for name in own if alone.start[alone.names.index(name)] != 0.0]
    return marked or own


def _nearest(positions: _Array, image: int) -> list[int]:
    """Return the images by their distance from one, that one first; motors are made comparable by their ranges."""
    ranges = np.ptp(positions, axis=0)
    distance = np.linalg.norm((positions - positions[image]) / np.where(ranges > 0, ranges, 1.0), axis=1)
    return [int(number) for number in np.argsort(distance, kind="stable")]


def _moves(model: GoniometerModel, number: int, image: int) -> bool:
    return bool((model.positions[number] != model.positions[image]).any())


@dataclass(frozen=True)
class _Sampled:
    """Some pixels of an image: places on the detector, and counts made comparable."""

    places: Any
    counts: _Array

    @classmethod
    def of(cls, scene: Scene, geometry: Geometry) -> _Sampled:
        valid = np.flatnonzero(~scene.mask & np.isfinite(scene.image) & (scene.image >= 0))
        some = valid[np.linspace(0, len(valid) - 1, min(SAMPLE, len(valid))).astype(int)] if len(valid) else valid
        row, column = np.unravel_index(some, scene.mask.shape)
        counts = np.sqrt(np.asarray(scene.image.ravel()[some], np.float64))
        return cls(geometry.detector.positions_of(row + 0.5, column + 0.5), counts)

    def likeness(self, geometry: Geometry, calibrant: Calibrant) -> float:
        """Return the correlation of the mean along 2θ with the rings of the calibrant; 0 if no ring is in reach."""
        if geometry.wavelength is None or geometry.distance <= 0 or len(self.counts) < FEWEST_PIXELS:
            return 0.0
        angle = geometry.point_array("2th_rad", *self.places)
        low, high = float(angle.min()), float(angle.max())
        size = math.hypot(geometry.detector.pixel1, geometry.detector.pixel2) / math.sqrt(2.0)
        bins = int(np.clip((high - low) * geometry.distance / size, *BINS))
        pixel = (high - low) / bins
        if not pixel > 0:
            return 0.0
        edges = np.linspace(low, high, bins + 1)
        number = np.minimum(((angle - low) / (high - low) * bins).astype(int), bins - 1)
        count = np.bincount(number, minlength=bins)
        mean = np.bincount(number, self.counts, bins) / np.maximum(count, 1)
        middle = 0.5 * (edges[1:] + edges[:-1])
        rings = calibrant.rings(geometry.wavelength, min(high * 1.05, math.pi))
        inside = (rings.two_theta > low) & (rings.two_theta < high)
        width = SMOOTH * pixel
        expected = np.zeros(bins)
        for place, height in zip(rings.two_theta[inside], rings.intensity[inside], strict=True):
            expected += math.sqrt(float(height)) * np.exp(-0.5 * ((middle - place) / width) ** 2)
        return _correlation(_sharp(mean, count), _sharp(expected, count), count > 0)


def _sharp(values: _Array, count: NDArray[np.int64]) -> _Array:
    """Return values less their running mean: rings without the background."""
    window = np.ones(BACKGROUND)
    weight = np.minimum(count, 1).astype(np.float64)
    mean = np.convolve(values * weight, window, "same") / np.maximum(np.convolve(weight, window, "same"), 1e-9)
    return np.asarray(np.where(count > 0, values - mean, 0.0))


def _correlation(one: _Array, other: _Array, chosen: NDArray[np.bool_]) -> float:
    one, other = one[chosen] - one[chosen].mean(), other[chosen] - other[chosen].mean()
    size = math.sqrt(float((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / size if size > 0 else 0.0


# ---------------------------------------------------------------------------------------- images one after the other


@dataclass(frozen=True)
class _Work:
    """What stays the same while images are measured."""

    scenes: Sequence[Scene]
    calibrant: Calibrant
    choices: Choices
    threads: int
    tell: Tell

    def grow(
        self, model: GoniometerModel, values: _Array, start: Start
    ) -> tuple[_Array, dict[int, ControlPoints], dict[int, str]]:
        """Take in the images by their distance from the first; return values, points and images left out."""
        points: dict[int, ControlPoints] = {}
        left_out: dict[int, str] = {}
        refined_with = 0
        for number in _nearest(model.positions, start.image):
            guess = start.geometry if number == start.image else model.geometries(values)[number]
            measured, found = self._believed(model, values, points, number, guess)
            if measured is None:
                left_out[number] = str(found)
                self.tell(f"Image {number} is left out: {found}.")
                continue
            points[number] = measured
            self.tell(f"Image {number}: {len(measured)} points.")
            if len(points) <= EACH_UNTIL and isinstance(found, Refinement):
                values, refined_with = found.values, len(points)
            elif len(points) >= 1.5 * refined_with:
                values, refined_with = self._refined(model, values, points).values, len(points)
        return values, points, left_out

    def settle(
        self, model: GoniometerModel, values: _Array, points: dict[int, ControlPoints], rounds: int
    ) -> tuple[Refinement, ControlPoints]:
        """Measure and refine in turns until nothing moves; return the refinement of all images, and their points."""
        joined, refinement = self._joined(model, values, points)
        for turn in range(rounds):
            before = refinement.geometries
            points = {number: self._measured(number, before[number], REACH) for number in points}
            joined, refinement = self._joined(model, refinement.values, points)
            moved = max(_moved(refinement.geometries[number], before[number], points[number]) for number in points)
            self.tell(f"Round {turn + 1}: {int(refinement.used.sum())} points, residual {refinement.rms:.3f} pixels.")
            if moved < SETTLED:
                break
        return refinement, joined

    def _joined(
        self, model: GoniometerModel, values: _Array, points: Mapping[int, ControlPoints]
    ) -> tuple[ControlPoints, Refinement]:
        """Refine with all images; return their points too."""
        joined = ControlPoints.joined([points[number].of_image(number) for number in sorted(points)])
        everywhere = model.at(range(len(model.positions)), values)
        return joined, refine(joined, everywhere, self.calibrant, **self._options())

    def _measured(self, number: int, geometry: Geometry, reach: float) -> ControlPoints:
        scene = self.scenes[number]
        wavelength = geometry.wavelength
        rings = self.calibrant.rings(wavelength if wavelength is not None else math.nan)
        points = extract(scene.image, scene.mask, geometry, rings, reach=reach, threads=self.threads)
        if len(points) < FEWEST_POINTS:
            points = extract(scene.image, scene.mask, geometry, rings, reach=NEAR, threads=self.threads)
        return points

    def _believed(
        self, model: GoniometerModel, values: _Array, known: Mapping[int, ControlPoints], number: int, guess: Geometry
    ) -> tuple[ControlPoints | None, Refinement | str]:
        """Return the points of a new image and their refinement with its neighbours, or None and the reason why not."""
        reason = "its rings are not where the formulas have them"
        for geometry in self._guesses(number, guess):
            points = self._measured(number, geometry, FIRST_REACH)
            if len(points) < FEWEST_POINTS:
                reason = f"{len(points)} points were measured on its rings"
                continue
            near = [other for other in _nearest(model.positions, number) if other in known][: EACH_UNTIL - 1]
            some = {other: known[other] for other in near} | {number: points}
            refinement = self._refined(model, values, some)
            before = sum(len(some[other]) for other in some if other < number)
            part = float(refinement.used[before : before + len(points)].mean())
            if part < BELIEVED:
                reason = f"only {100 * part:.0f} % of its points agree with the other images"
                continue
            # Rings were looked for only near where they were expected: the image must not show others.
            own = refinement.geometries[sorted(some).index(number)]
            seen = part_on_rings(self.scenes[number], own, self.calibrant)
            if not seen < AGREEING:
                return points, refinement
            reason = f"only {100 * seen:.0f} % of the points on its rings are where the formulas have them"
        return None, reason

    def _guesses(self, number: int, guess: Geometry) -> Iterator[Geometry]:
        yield guess
        scene = self.scenes[number]
        try:
            points = detect(scene.image, scene.mask)
            yield find_geometry(points, guess.detector, self.calibrant, guess.wavelength).geometry
        except CalibrationError:
            return

    def _refined(self, model: GoniometerModel, values: _Array, points: Mapping[int, ControlPoints]) -> Refinement:
        chosen = sorted(points)
        joined = ControlPoints.joined([points[number].of_image(place) for place, number in enumerate(chosen)])
        return refine(joined, model.at(chosen, values), self.calibrant, **self._options())

    def _options(self) -> dict[str, Any]:
        choices = self.choices
        return {"free": choices.free, "fixed": choices.fixed, "bounds": choices.bounds or {}}


def _moved(new: Geometry, old: Geometry, points: ControlPoints) -> float:
    """Return by how many pixels rings move from one geometry to another, at most, where there are points."""
    if not len(points):
        return 0.0
    places = new.detector.positions_of(points.y, points.x)
    one, other = (geometry.point_array("2th_rad", *places) for geometry in (new, old))
    step = new.detector.positions_of(points.y + 1.0, points.x), new.detector.positions_of(points.y, points.x + 1.0)
    slope = np.hypot(*(new.point_array("2th_rad", *moved) - one for moved in step))
    return float(np.max(np.abs(one - other) / np.maximum(slope, 1e-12)))
