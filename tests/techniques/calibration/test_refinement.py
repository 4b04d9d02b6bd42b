"""Refinement: exact points give exact numbers, noise gives errors that are right, and what cannot be known is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from calibrant_rings import CERIA, moved, ring_places
from friedel.core.errors import DataError, GeometryError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.instrument.derivatives import FIELDS
from friedel.techniques.calibration import ControlPoints, ImagesModel, derived_quantities, refine
from friedel.techniques.calibration.problem import Problem

DETECTOR = Detector.named("Pilatus1M")
TRUTH = Geometry(DETECTOR, 0.2, 0.09, 0.08, 0.05, -0.1, 0.0, wavelength=4e-11)
ALL = FIELDS


def off(geometry: Geometry, part: float = 1.0) -> Geometry:
    """A start that is off by several pixels."""
    return replace(
        geometry,
        distance=geometry.distance * (1 + 0.02 * part),
        poni1=geometry.poni1 + 1e-3 * part,
        poni2=geometry.poni2 - 2e-3 * part,
        rot1=geometry.rot1 - 0.02 * part,
        rot2=geometry.rot2 + 0.01 * part,
    )


def numbers(geometry: Geometry) -> np.ndarray:
    return np.array([getattr(geometry, name) for name in FIELDS])


def distances_of_centres(one: Geometry, other: Geometry) -> float:
    return float(np.hypot(*np.subtract(one.beam_center(), other.beam_center())))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 0.6), st.floats(-0.9, 0.9), st.floats(-0.9, 0.9), st.sampled_from([1, 2, 3, 4]))
def test_exact_points_give_exact_geometries(distance, rot1, rot2, orientation):
    detector = replace(DETECTOR, orientation=orientation)
    truth = replace(TRUTH, detector=detector, distance=distance, rot1=rot1, rot2=rot2)
    # the point of normal incidence follows, so that the beam meets the detector's middle
    y, x = truth.beam_center()
    p1, p2, _ = detector.positions_of([y, 500.0], [x, 500.0])
    truth = replace(truth, poni1=truth.poni1 + float(p1[1] - p1[0]), poni2=truth.poni2 + float(p2[1] - p2[0]))
    points = ring_places(truth)
    assume(len(points) > 40)
    found = refine(points, off(truth, 0.3), CERIA)
    assert found.converged
    assert found.used.all()
    assert found.rms < 1e-8
    np.testing.assert_allclose(numbers(found.geometry), numbers(truth), rtol=1e-6, atol=1e-8)


def test_errors_are_those_of_the_noise():
    points, pulls, scaled = ring_places(TRUTH), [], []
    random = np.random.default_rng(1)
    for _ in range(60):
        found = refine(moved(points, random), off(TRUTH), CERIA)
        free = found.errors > 0
        pulls.append((found.values - numbers(TRUTH))[free] / found.errors[free])
        scaled.append(found.chi_squared)
    assert len(pulls[0]) == 5
    assert 0.8 < np.std(pulls) < 1.2
    assert abs(np.mean(scaled) - 1) < 0.1


def test_errors_follow_residuals_where_the_points_tell_none():
    points = replace(ring_places(TRUTH), sigma=np.full(len(ring_places(TRUTH)), np.nan))
    known = refine(moved(ring_places(TRUTH), np.random.default_rng(1)), TRUTH, CERIA)
    found = refine(moved(points, np.random.default_rng(1)), TRUTH, CERIA)
    np.testing.assert_allclose(found.errors[:5], known.errors[:5], rtol=0.15)
    np.testing.assert_allclose(found.chi_squared, 0.05**2, rtol=0.2)


def test_points_of_other_things_lose_their_weight():
    random = np.random.default_rng(2)
    points = moved(ring_places(TRUTH), random)
    wrong = random.random(len(points)) < 0.15
    points = replace(points, y=points.y + np.where(wrong, random.uniform(-8, 8, len(points)), 0))
    found = refine(points, off(TRUTH), CERIA)
    assert (np.abs(numbers(found.geometry) - numbers(TRUTH))[:5] < 4 * found.errors[:5]).all()
    assert found.used[~wrong].mean() > 0.98
    plain = refine(points, off(TRUTH), CERIA, robust=False)
    assert plain.errors[0] > 3 * found.errors[0]


def test_no_ring_tells_rot3():
    found = refine(ring_places(TRUTH), TRUTH, CERIA, free=("distance", "poni1", "poni2", "rot1", "rot2", "rot3"))
    assert list(found.undetermined) == ["rot3"]
    assert "about the beam" in found.undetermined["rot3"]
    assert np.isinf(found.errors[found.names.index("rot3")])
    assert found.geometry.rot3 == TRUTH.rot3
    assert "rot3" not in found.free


def test_wavelength_and_distance_of_a_small_angle_are_not_told_apart():
    truth = Geometry(DETECTOR, 3.0, 0.09, 0.08, wavelength=1e-11)
    points = moved(ring_places(truth, rings=5), np.random.default_rng(0))
    found = refine(points, truth, CERIA, free=("distance", "poni1", "poni2", "wavelength"))
    assert list(found.undetermined) == ["wavelength"]
    reason = found.undetermined["wavelength"]
    assert "distance and wavelength cannot both be determined" in reason
    assert "fix one" in reason
    assert found.geometry.wavelength == truth.wavelength
    assert np.isfinite(found.value("distance").error)


def test_wavelength_is_refined_where_the_angles_are_large():
    points = moved(ring_places(TRUTH, rings=20), np.random.default_rng(0))
    start = replace(off(TRUTH, 0.5), wavelength=4.03e-11)
    found = refine(points, start, CERIA, free=("distance", "poni1", "poni2", "rot1", "rot2", "wavelength"))
    assert not found.undetermined
    assert abs(found.geometry.wavelength - 4e-11) < 4 * found.value("wavelength").error
    assert any("correlation" in note for note in found.notes)


def test_a_short_arc_of_one_ring_does_not_tell_the_tilt():
    points = moved(ring_places(TRUTH, rings=1, arc=(0.0, 0.5)), np.random.default_rng(0))
    found = refine(points, TRUTH, CERIA)
    assert found.undetermined
    for name in found.undetermined:
        assert np.isinf(found.value(name).error)
        assert found.value(name).value == getattr(TRUTH, name)
    assert found.free
    assert np.isfinite(found.errors[[found.names.index(name) for name in found.free]]).all()


def test_fixed_parameters_keep_their_value_and_bounds_are_kept():
    points = ring_places(TRUTH)
    found = refine(points, off(TRUTH), CERIA, fixed=("rot1",), bounds={"dist": (0.202, 0.3)})
    assert found.geometry.rot1 == off(TRUTH).rot1
    assert found.value("rot1").error == 0
    assert found.geometry.distance == pytest.approx(0.202)
    assert np.isnan(found.value("dist").error)
    assert any("bound" in note for note in found.notes)


def test_several_distances_share_rotations_and_wavelength():
    geometries = [replace(TRUTH, distance=distance) for distance in (0.15, 0.25, 0.4)]
    points = ControlPoints.joined(
        [
            moved(ring_places(each), np.random.default_rng(number)).of_image(number)
            for number, each in enumerate(geometries)
        ]
    )
    start = [off(each, 0.3) for each in geometries]
    free = ("distance", "poni1", "poni2", "rot1", "rot2", "wavelength")
    found = refine(points, start, CERIA, free=free, own=("distance",))
    assert found.names[:3] == ("distance[0]", "distance[1]", "distance[2]")
    for number, each in enumerate(geometries):
        assert abs(found.geometries[number].distance - each.distance) < 4 * found.errors[number]
        assert found.geometries[number].rot1 == found.geometries[0].rot1
    single = refine(points.select(points.image == 0).of_image(0), start[0], CERIA, free=free)
    assert found.value("wavelength").error < single.value("wavelength").error


def test_the_derivatives_of_residuals_are_differences():
    points = ring_places(TRUTH, rings=4, per_ring=9)
    geometries = [off(TRUTH), replace(off(TRUTH), distance=0.3)]
    both = ControlPoints.joined([points, points.of_image(1)])
    problem = Problem.of(both, ImagesModel(tuple(geometries), own=("distance",)), CERIA)
    start = problem.model.start
    _, jacobian, _ = problem.evaluate(start)
    for column in range(start.size):
        step = np.zeros_like(start)
        step[column] = 1e-6 * max(abs(start[column]), 1e-3 if start[column] == 0 else 0)
        difference = problem.evaluate(start + step)[0] - problem.evaluate(start - step)[0]
        np.testing.assert_allclose(jacobian[:, column], difference / (2 * step[column]), rtol=1e-4, atol=1e-7)


def test_residuals_are_distances_on_the_detector():
    points = ring_places(TRUTH, rings=1, per_ring=8)
    y, x = TRUTH.beam_center()
    away = np.hypot(points.y - y, points.x - x)
    outwards = replace(points, y=points.y + 0.01 * (points.y - y) / away, x=points.x + 0.01 * (points.x - x) / away)
    found = refine(outwards, TRUTH, CERIA, free=("distance",), bounds={"distance": (0.2, 0.20000001)})
    np.testing.assert_allclose(found.residuals, 0.01, rtol=0.03)


def test_neighbours_that_are_off_together_raise_the_errors():
    random = np.random.default_rng(5)
    points = moved(ring_places(TRUTH, per_ring=200), random)
    cells = random.normal(0, 0.1, (6, 6))
    part = cells[(points.y // 180).astype(int), (points.x // 170).astype(int)]
    y, x = TRUTH.beam_center()
    away = np.hypot(points.y - y, points.x - x)
    shifted = replace(points, y=points.y + part * (points.y - y) / away, x=points.x + part * (points.x - x) / away)
    alone, together = refine(points, TRUTH, CERIA), refine(shifted, TRUTH, CERIA)
    assert alone.correlation_factor < 1.5
    assert together.correlation_factor > 4
    assert any("off together" in note for note in together.notes)


def test_no_place_is_known_to_ten_thousandths_of_a_pixel():
    points = ring_places(TRUTH, sigma=1e-4)
    found = refine(moved(points, np.random.default_rng(4), 1e-4), TRUTH, CERIA)
    assert 3e-4 < found.derived()["beam_center_y"].error < 3e-3


def test_beam_centre_and_tilt_are_known_better_than_what_they_follow_from():
    found = refine(moved(ring_places(TRUTH), np.random.default_rng(3)), off(TRUTH), CERIA)
    derived, truth = found.derived(), derived_quantities(TRUTH)
    assert derived["beam_center_y"].error < 0.3 * found.value("poni1").error / DETECTOR.pixel1
    for name, quantity in derived.items():
        assert abs(quantity.value - truth[name].value) < 4 * quantity.error
    assert truth["tilt"].value == pytest.approx(np.arccos(np.cos(0.05) * np.cos(0.1)))
    assert truth["direct_distance"].value == pytest.approx(0.2 / (np.cos(0.05) * np.cos(0.1)))


def test_without_tilt_its_plane_is_not_known():
    flat = replace(TRUTH, rot1=0.0, rot2=0.0)
    found = refine(moved(ring_places(flat), np.random.default_rng(3)), flat, CERIA)
    assert found.derived()["tilt_plane"].error > 0.3
    assert derived_quantities(flat)["tilt"].value == 0


def test_what_cannot_be_refined_is_refused():
    points = ring_places(TRUTH)
    with pytest.raises(ParameterError, match="no parameter 'rot4'"):
        refine(points, TRUTH, CERIA, fixed=("rot4",))
    with pytest.raises(ParameterError, match="outside its bounds"):
        refine(points, TRUTH, CERIA, bounds={"distance": (0.3, 0.4)})
    with pytest.raises(DataError, match="cannot determine 5 parameters"):
        refine(points.select(slice(4)), TRUTH, CERIA)
    with pytest.raises(DataError, match="geometry for each image"):
        refine(points.of_image(2), TRUTH, CERIA)
    with pytest.raises(GeometryError, match="wavelength"):
        refine(points, replace(TRUTH, wavelength=None), CERIA)
