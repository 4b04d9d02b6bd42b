"""A first geometry from points whose rings are known, such as those that a person has typed.

Rings of a detector that is not tilted are circles about one centre, x² + y² = 2ax + 2by + c_k with a c_k for each ring:
linear in a, b and c_k. Their radii give the distance. From there, and from tilts of 25 and 50 degrees to all sides, the
geometry is refined; the one with the least residuals is it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import CalibrationError, InputError
from friedel.instrument import Calibrant, Detector, Geometry

from .points import ControlPoints
from .refinement import Refinement, refine

_Array = NDArray[np.float64]

FEWEST = 6
TILTS = tuple((0.0, 0.0) if not n else (n * 0.44, k * math.pi / 4) for n in range(3) for k in range(8 if n else 1))
"""Angle and direction of the tilts to start from, rad."""
GOOD = 2.0
"""Pixels of residual (root mean square) above which nothing was found."""


def first_geometry(points: ControlPoints, detector: Detector, calibrant: Calibrant, wavelength: float) -> Refinement:
    """Return the refined geometry of points whose rings are known.

    Parameters
    ----------
    points : ControlPoints
        Of one image.
    detector : Detector
    calibrant : Calibrant
    wavelength : float
        In m.

    Raises
    ------
    CalibrationError
        If the points are too few or no geometry puts them on their rings.
    """
    known = points.select(points.ring >= 0)
    if len(known) < FEWEST:
        raise CalibrationError(
            f"{len(known)} points with the number of their ring do not fix a geometry.",
            f"Give {FEWEST} or more, on two rings at least.",
        )
    start = circles(known, detector, calibrant, wavelength)
    best: Refinement | None = None
    for tilt, plane in TILTS:
        try:
            found = refine(known, leaning(start, tilt, plane), calibrant)
        except InputError:
            continue
        if np.isfinite(found.rms) and (best is None or _cost(found) < _cost(best)):
            best = found
    if best is None or not best.rms < GOOD:
        said = "none" if best is None else f"the best leaves {best.rms:.1f} pixels"
        raise CalibrationError(
            f"No geometry puts the points on their rings: {said}.",
            "Check the numbers of the rings (0 is the one with the largest spacing), the calibrant and the energy.",
        )
    return best


def _cost(found: Refinement) -> float:
    """Return the mean square residual, far points cut off: leaving points out is no way to win."""
    residuals = np.nan_to_num(found.residuals, nan=10.0)
    return float(np.mean(np.minimum(residuals**2, 100.0)))


def circles(points: ControlPoints, detector: Detector, calibrant: Calibrant, wavelength: float) -> Geometry:
    """Return the geometry without tilt whose rings are nearest to the points."""
    p1, p2, _ = detector.positions_of(points.y, points.x)
    numbers, which = np.unique(points.ring, return_inverse=True)
    design = np.zeros((p1.size, 2 + numbers.size))
    design[:, 0], design[:, 1] = 2.0 * p1, 2.0 * p2
    design[np.arange(p1.size), 2 + which] = 1.0
    solution = np.linalg.lstsq(design, p1 * p1 + p2 * p2, rcond=None)[0]
    center = solution[:2]
    two_theta = np.asarray(calibrant.rings(wavelength).two_theta)
    inside = points.ring < len(two_theta)
    tangent = np.tan(np.minimum(two_theta[np.minimum(points.ring, len(two_theta) - 1)], 1.4))
    radius = np.hypot(p1 - center[0], p2 - center[1])
    distance = float(np.median((radius / tangent)[inside])) if inside.any() else 0.1
    return Geometry(detector, max(distance, 1e-3), float(center[0]), float(center[1]), wavelength=wavelength)


def leaning(geometry: Geometry, tilt: float, plane: float) -> Geometry:
    """Return a geometry tilted about the place where the beam meets the detector."""
    normal = math.sin(tilt) * math.sin(plane), math.sin(tilt) * math.cos(plane), math.cos(tilt)
    distance = geometry.distance * math.cos(tilt)
    return replace(
        geometry,
        distance=distance,
        poni1=geometry.poni1 - distance * normal[0] / normal[2],
        poni2=geometry.poni2 - distance * normal[1] / normal[2],
        rot1=math.atan2(-normal[1], normal[2]),
        rot2=math.asin(normal[0]),
    )
