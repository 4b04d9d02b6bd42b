"""The whole way from images of a calibrant to a geometry that was examined: find, then measure and refine in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import CalibrationError, ParameterError
from friedel.instrument import Calibrant, Detector, Geometry

from .detection import detect
from .extraction import extract
from .findings import Finding, verdict_of
from .modules import ModuleRefinement, refine_modules
from .points import ControlPoints, RingPoints
from .refinement import Refinement, refine
from .search import Candidate, find_geometry
from .validation import Validation, validate

Tell = Callable[[str], None]
ROUNDS = 3
REACH = (10.0, 3.0)
"""Pixels from their expected place in which rings are looked for, in the first round and later."""
FAR, MOST_WIDE = 1.0, 6
"""Pixels of residual above which rings are looked for in the wide reach again, and how often at most."""
SETTLED = 0.02
"""Pixels of change of the rings below which measuring again changes nothing."""


@dataclass(frozen=True)
class Scene:
    """An image to calibrate with.

    Attributes
    ----------
    image : ndarray (rows, columns)
    mask : ndarray of bool (rows, columns)
        True = excluded.
    """

    image: NDArray[Any]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    Attributes
    ----------
    geometries : tuple of Geometry
        One for each image.
    points : ControlPoints
    refinement : Refinement
    validation : Validation
    modules : ModuleRefinement or None
        Where the modules are, if that was asked for; the geometries have that detector.
    detected : tuple of RingPoints
        Of each image that was searched; empty where a geometry was given.
    candidates : tuple of Candidate
        What the search found.
    """

    geometries: tuple[Geometry, ...]
    points: ControlPoints
    refinement: Refinement
    validation: Validation
    detected: tuple[RingPoints, ...]
    candidates: tuple[Candidate, ...]
    modules: ModuleRefinement | None = None


def calibrate_images(
    scenes: Sequence[Scene],
    detector: Detector,
    calibrant: Calibrant,
    *,
    wavelength: float | None = None,
    start: Geometry | None = None,
    free: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    bounds: Mapping[str, tuple[float, float]] | None = None,
    own: Sequence[str] = (),
    parallax: bool | None = None,
    modules: bool = False,
    rounds: int = ROUNDS,
    reference: Geometry | None = None,
    threads: int = 1,
    tell: Tell = lambda text: None,
) -> Calibration:
    """Calibrate.

    Parameters
    ----------
    scenes : sequence of Scene
    detector : Detector
    calibrant : Calibrant
    wavelength : float, optional
        In m; without one it is a parameter like the others.
    start : Geometry, optional
        Where to start from; without one the geometry of each image is searched for.
    free, fixed, bounds, own
        See `refine`.
    parallax : bool, optional
        Whether pixels count as where their rays enter the sensor; by default as `start` says, or not.
    modules : bool
        Whether the modules of the detector are refined too.
    rounds : int
        How often rings are measured and the geometry refined, at most.
    reference : Geometry, optional
        A geometry to compare with; by default `start`.
    threads : int
        Results do not depend on it.
    tell : callable
        Told what is being done.

    Returns
    -------
    Calibration

    Raises
    ------
    CalibrationError
        If no geometry is found; it says why and what to do.
    """
    detected: tuple[RingPoints, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    if start is None:
        detected = tuple(detect(scene.image, scene.mask) for scene in scenes)
        tell(f"Found {' and '.join(str(len(points)) for points in detected)} points on rings.")
        candidates = tuple(_searched(points, detector, calibrant, wavelength, tell) for points in detected)
        geometries = tuple(candidate.geometry for candidate in candidates)
    else:
        if wavelength is not None:
            start = replace(start, wavelength=wavelength)
        geometries = tuple(start for _ in scenes)
    if wavelength is None and start is None and free is None:
        free = (*_default_free(geometries, own), "wavelength")
    geometries = _sharing(geometries, own)
    if parallax is not None:
        geometries = tuple(replace(geometry, parallax=parallax) for geometry in geometries)
    points, refinement = _measured(
        scenes, geometries, calibrant, free, fixed, bounds or {}, own, max(rounds, 1), threads, tell
    )
    placed = None
    if modules:
        tell("Refining the places of the modules.")
        placed = refine_modules(points, refinement.geometries, calibrant, free=refinement.free, own=own)
        refinement = placed.refinement
        tell(f"Residual {placed.before.rms:.3f} pixels before, {refinement.rms:.3f} after.")
    tell("Examining the geometry.")
    validation = validate(
        points,
        refinement,
        calibrant,
        images=[scene.image for scene in scenes],
        masks=[scene.mask for scene in scenes],
        reference=reference or start,
    )
    for candidate in candidates:
        validation = with_findings(validation, _about_candidate(candidate))
    return Calibration(refinement.geometries, points, refinement, validation, detected, candidates, placed)


def _searched(
    points: RingPoints, detector: Detector, calibrant: Calibrant, wavelength: float | None, tell: Tell
) -> Candidate:
    candidate = find_geometry(points, detector, calibrant, wavelength)
    tell(f"Found a geometry that explains {100 * candidate.explained:.0f} % of them.")
    return candidate


def _default_free(geometries: Sequence[Geometry], own: Sequence[str]) -> tuple[str, ...]:
    from .models import ImagesModel

    return ImagesModel(tuple(geometries), tuple(own)).default_free


def _sharing(geometries: tuple[Geometry, ...], own: Sequence[str]) -> tuple[Geometry, ...]:
    """Return starts that agree in the wavelength: that found with most of the images."""
    if "wavelength" in own or len(geometries) < 2:
        return geometries
    known = [geometry.wavelength for geometry in geometries if geometry.wavelength is not None]
    return tuple(replace(geometry, wavelength=float(np.median(known))) for geometry in geometries)


def _measured(
    scenes: Sequence[Scene],
    geometries: tuple[Geometry, ...],
    calibrant: Calibrant,
    free: Sequence[str] | None,
    fixed: Sequence[str],
    bounds: Mapping[str, tuple[float, float]],
    own: Sequence[str],
    rounds: int,
    threads: int,
    tell: Tell,
) -> tuple[ControlPoints, Refinement]:
    """Measure the rings and refine in turns until the geometry no longer changes."""
    wide, number, left = True, 0, rounds
    while left > 0:
        points = ControlPoints.joined(
            [
                measured_rings(scene, geometry, calibrant, REACH[0 if wide else 1], threads).of_image(image)
                for image, (scene, geometry) in enumerate(zip(scenes, geometries, strict=True))
            ]
        )
        if not len(points):
            raise CalibrationError(
                f"No ring of {calibrant.name} was measured with the geometry that was found.",
                "Check the calibrant and the energy; expose longer.",
            )
        refinement = refine(points, geometries, calibrant, free=free, fixed=fixed, bounds=bounds, own=own)
        number += 1
        tell(f"Round {number}: {int(refinement.used.sum())} points, residual {refinement.rms:.3f} pixels.")
        moved = max(moved_by(new, old) for new, old in zip(refinement.geometries, geometries, strict=True))
        geometries = refinement.geometries
        if moved < SETTLED and number > 1:
            break
        # A start far away is approached in rounds that do not count: a narrow reach would lose the rings.
        wide = refinement.rms > FAR and number < MOST_WIDE
        left -= 0 if wide else 1
    return points, refinement


def measured_rings(
    scene: Scene, geometry: Geometry, calibrant: Calibrant, reach: float = REACH[-1], threads: int = 1
) -> ControlPoints:
    """Return the places of the calibrant's rings on an image, `reach` pixels about where the geometry has them."""
    if geometry.wavelength is None:
        raise ParameterError("The geometry has no wavelength.", "Give the energy or the wavelength.")
    return extract(
        scene.image, scene.mask, geometry, calibrant.rings(geometry.wavelength), reach=reach, threads=threads
    )


def moved_by(new: Geometry, old: Geometry) -> float:
    """Return by how many pixels rings move from one geometry to another, at most, on a grid over the detector."""
    from .validation import compare

    if new.wavelength and old.wavelength and abs(new.wavelength / old.wavelength - 1.0) > 1e-6:
        return np.inf
    return compare(new, old).largest


def with_findings(validation: Validation, findings: Sequence[Finding]) -> Validation:
    """Return the validation with more findings and the verdict that follows."""
    everything = (*validation.findings, *findings)
    return replace(validation, findings=everything, verdict=verdict_of(everything))


def _about_candidate(candidate: Candidate) -> list[Finding]:
    """Say how much better the solution of the search was than the next one."""
    text = (
        f"The search explains {100 * candidate.explained:.0f} % of the points found without a guess; the next best "
        f"solution is less likely by a factor of e^{candidate.margin:.0f}."
    )
    return [Finding("search", "good", text)]
