"""A geometry from points that a person typed, with the numbers of their rings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibrant_rings import CERIA, ring_places
from friedel.core.errors import CalibrationError
from friedel.instrument import Detector, Geometry
from friedel.techniques.calibration import ControlPoints, compare
from friedel.techniques.calibration.known_rings import circles, first_geometry, leaning

FLAT = Geometry(Detector.named("Pilatus1M"), 0.2, 0.09, 0.08, wavelength=4e-11)


def typed(truth: Geometry, per_ring: int = 8, rings: int = 3) -> ControlPoints:
    points = ring_places(truth, rings=rings, per_ring=per_ring)
    return ControlPoints(np.round(points.y, 1), np.round(points.x, 1), points.ring)


@pytest.mark.parametrize("tilt", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("plane", [0.5, 2.5, -1.5])
def test_some_typed_points_are_enough(tilt, plane):
    truth = leaning(FLAT, tilt, plane)
    found = first_geometry(typed(truth), truth.detector, CERIA, truth.wavelength)
    assert compare(found.geometry, truth).rms < 1.0


def test_circles_are_exact_without_tilt():
    points = ring_places(FLAT, rings=3)
    assert compare(circles(points, FLAT.detector, CERIA, FLAT.wavelength), FLAT).largest < 1e-6


def test_wrong_ring_numbers_are_refused():
    points = typed(FLAT, per_ring=12, rings=4)
    mixed = replace(points, ring=points.ring[::-1])
    with pytest.raises(CalibrationError, match="rings"):
        first_geometry(mixed, FLAT.detector, CERIA, FLAT.wavelength)


def test_too_few_points_are_refused():
    with pytest.raises(CalibrationError, match="do not fix"):
        first_geometry(typed(FLAT).select(slice(0, 4)), FLAT.detector, CERIA, FLAT.wavelength)
