"""From points on rings to a geometry, without a guess; and refusal where the points do not tell."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant_rings import ring_places
from friedel.core.errors import CalibrationError
from friedel.instrument import Calibrant, Detector, Geometry
from friedel.techniques.calibration import RingPoints, find_geometry
from friedel.techniques.calibration.ring_numbers import fit_numbered
from friedel.techniques.calibration.ring_scene import make_scene

DETECTOR = Detector.named("Eiger2_4M")


def points_on_rings(
    geometry: Geometry, calibrant: Calibrant, *, rings: int = 14, noise: float = 0.3, arc=(-np.pi, np.pi), spots=False
):
    """Return points with directions in chains of a ring each, all moved by noise."""
    random = np.random.default_rng(5)
    exact = ring_places(geometry, rings=rings, per_ring=150, calibrant=calibrant, arc=arc)
    columns, rows = 0.1 * np.array([[0, 1], [1, 0]])
    two_theta = [angle_at(geometry, exact.y + dy, exact.x + dx) for dy, dx in (columns, -columns, rows, -rows)]
    direction = np.arctan2(two_theta[2] - two_theta[3], two_theta[0] - two_theta[1])
    return RingPoints(
        y=exact.y + noise * random.standard_normal(len(exact)),
        x=exact.x + noise * random.standard_normal(len(exact)),
        direction=np.full(len(exact), np.nan) if spots else direction + 0.03 * random.standard_normal(len(exact)),
        strength=np.full(len(exact), 10.0),
        sigma=np.full(len(exact), noise),
        chain=np.full(len(exact), -1) if spots else exact.ring,
    )


def angle_at(geometry: Geometry, y, x):
    places = geometry.detector.positions_of(y, x)
    return geometry.point_array("2th_rad", places.p1, places.p2)


def distance_between(geometry: Geometry, truth: Geometry) -> float:
    """Return the median distance in pixels of the rings of one geometry from those of another."""
    one, other = (g.center_array("2th_rad", slice(0, None))[::50, ::50] for g in (geometry, truth))
    slope = np.hypot(*np.gradient(other)) / 50
    return float(np.median(np.abs(one - other) / slope))


GEOMETRIES = {
    "straight": Geometry(DETECTOR, 0.2, 0.08, 0.07, wavelength=0.4e-10),
    "near": Geometry(DETECTOR, 0.1, 0.08, 0.07, 0.02, -0.01, wavelength=0.4e-10),
    "tilted by 30 degrees": Geometry(DETECTOR, 0.2, 0.08, 0.07, 0.4, 0.35, wavelength=0.4e-10),
    "tilted by 60 degrees": Geometry(DETECTOR, 0.15, 0.0, -0.1, -1.0, 0.2, wavelength=0.3e-10),
    "beam beside the detector": Geometry(DETECTOR, 0.25, -0.06, 0.07, wavelength=0.3e-10),
    "on an arm": Geometry(DETECTOR, 0.3, 0.08, 0.07, -0.5, 0.0, wavelength=0.8e-10),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_finds_the_geometry(name):
    truth = GEOMETRIES[name]
    calibrant = Calibrant.named("CeO2")
    candidate = find_geometry(points_on_rings(truth, calibrant, rings=20), DETECTOR, calibrant, truth.wavelength)
    assert distance_between(candidate.geometry, truth) < 1.0
    assert candidate.explained > 0.9


def test_first_rings_may_be_missing():
    truth = GEOMETRIES["straight"]
    calibrant = Calibrant.named("CeO2")
    points = points_on_rings(truth, calibrant, rings=16)
    later = points.select(points.chain >= 3)
    assert distance_between(find_geometry(later, DETECTOR, calibrant, truth.wavelength).geometry, truth) < 1.0


def test_short_arcs_on_a_steep_detector_are_enough():
    # Where the tilt fixes the length, all else changes fast with it: the fitted length must be among those tried.
    detector, silicon = Detector.named("Perkin"), Calibrant.named("Si")
    truth = Geometry(detector, 0.09952, 0.20037, 0.23175, 1.03734, 0.16491, wavelength=0.7723e-10)
    points = points_on_rings(truth, silicon, rings=24, arc=np.radians((80.0, 140.0)))
    found = find_geometry(points, detector, silicon, truth.wavelength)
    assert distance_between(found.geometry, truth) < 1.0


def test_is_the_same_each_time():
    truth = GEOMETRIES["straight"]
    calibrant = Calibrant.named("LaB6")
    points = points_on_rings(truth, calibrant)
    first, second = (find_geometry(points, DETECTOR, calibrant, truth.wavelength) for _ in range(2))
    assert first.geometry == second.geometry


def test_a_single_ring_cannot_fix_a_distance():
    truth = GEOMETRIES["straight"]
    calibrant = Calibrant.named("CeO2")
    with pytest.raises(CalibrationError):
        find_geometry(points_on_rings(truth, calibrant, rings=1), DETECTOR, calibrant, truth.wavelength)


def test_the_wrong_calibrant_is_refused():
    truth = GEOMETRIES["straight"]
    points = points_on_rings(truth, Calibrant.named("CeO2"), rings=16)
    with pytest.raises(CalibrationError, match="calibrant"):
        find_geometry(points, DETECTOR, Calibrant.named("LaB6"), truth.wavelength)


def test_points_at_random_are_refused():
    random = np.random.default_rng(1)
    y, x = random.uniform(0, 2000, (2, 800))
    points = RingPoints(y=y, x=x, direction=random.uniform(0, np.pi, 800))
    with pytest.raises(CalibrationError):
        find_geometry(points, DETECTOR, Calibrant.named("CeO2"), 0.4e-10)


def test_few_rings_are_too_few_to_be_sure():
    truth = GEOMETRIES["straight"]
    calibrant = Calibrant.named("CeO2")
    points = points_on_rings(truth, calibrant, rings=2)
    with pytest.raises(CalibrationError, match="Only 2 rings were found, too few"):
        find_geometry(points, DETECTOR, calibrant, truth.wavelength)


def test_no_points_are_called_no_points():
    nothing = RingPoints(y=np.empty(0), x=np.empty(0))
    with pytest.raises(CalibrationError, match="No points"):
        find_geometry(nothing, DETECTOR, Calibrant.named("CeO2"), 0.4e-10)


def test_points_that_gather_nowhere_cannot_be_fitted():
    scene = make_scene(RingPoints(y=np.arange(40.0), x=np.arange(40.0)), DETECTOR)
    nowhere = np.full(40, -1)
    assert fit_numbered(scene, np.zeros(5), nowhere, np.empty(0), 1.0, free=False) is None


def test_too_few_points_are_refused():
    with pytest.raises(CalibrationError, match="points"):
        find_geometry(RingPoints(y=np.arange(5.0), x=np.arange(5.0)), DETECTOR, Calibrant.named("CeO2"), 0.4e-10)
