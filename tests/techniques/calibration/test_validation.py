"""What an examination says of geometries whose faults are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibrant_rings import CERIA, moved, ring_places
from friedel.core.units import wavelength_from_energy
from friedel.instrument import Calibrant, Detector, Geometry
from friedel.instrument.geometry_comparison import compared
from friedel.instrument.virtual import Exposure, simulated_frame
from friedel.techniques.calibration import ControlPoints, refine, validate
from friedel.techniques.calibration.findings import Finding, verdict_of
from friedel.techniques.calibration.ring_curves import ring_curve, visible_curve
from friedel.techniques.calibration.validation import compare, point_azimuths
from friedel.techniques.calibration.visible_rings import VisibleRings

TRUTH = Geometry(Detector.named("Pilatus1M"), 0.2, 0.09, 0.08, 0.05, -0.1, 0.0, wavelength=4e-11)


def noisy_points(seed: int = 1) -> ControlPoints:
    return moved(ring_places(TRUTH), np.random.default_rng(seed))


def judged(points: ControlPoints, **options):
    return validate(points, refine(points, TRUTH, CERIA, **options), CERIA)


def names_of(validation, state="doubtful"):
    return {finding.name for finding in validation.findings if finding.state == state}


def test_good_points_are_trusted():
    found = judged(noisy_points())
    assert found.verdict == "trusted"
    assert found.reasons() == []
    assert found.summary() == "Trusted."
    assert np.nanmax(np.abs(found.rings.mean)) < 0.05
    assert all(one.repeated < 3 * one.stated for one in found.repeated)


def displaced(points: ControlPoints, rings: tuple[int, ...], by: float) -> ControlPoints:
    """Points of some rings farther from the beam."""
    off = np.where(np.isin(points.ring, rings), by, 0.0)
    y, x = TRUTH.beam_center()
    away = np.hypot(points.y - y, points.x - x)
    return replace(points, y=points.y + off * (points.y - y) / away, x=points.x + off * (points.x - x) / away)


def test_rings_beside_their_places_are_named():
    found = judged(displaced(noisy_points(), (3, 5, 6), 1.0), robust=False)
    assert found.verdict == "doubtful"
    assert "rings lie beside them" in found.summary()
    assert found.advice()


def test_one_ring_of_many_casts_no_doubt_but_is_told():
    found = judged(displaced(noisy_points(), (3,), 1.0), robust=False)
    assert any("those of ring 3 by" in finding.text for finding in found.findings)
    assert "rings" not in names_of(found)


def test_pixels_that_are_not_square_make_a_wave_twice_round():
    points = noisy_points()
    stretched = replace(points, y=521.5 + 1.003 * (points.y - 521.5))
    found = judged(stretched)
    assert found.waves[1].amplitude > 0.2
    assert "azimuth" in names_of(found)


def test_a_wrong_energy_is_noticed():
    points = noisy_points()
    found = validate(points, refine(points, replace(TRUTH, wavelength=1.004 * TRUTH.wavelength), CERIA), CERIA)
    assert "energy" in names_of(found)
    assert "an energy +0.39" in found.summary() or "an energy +0.40" in found.summary()


@pytest.mark.parametrize(("energy", "given", "distance", "rings"), [(60.0, 61.0, 0.8, 5), (80.0, 65.0, 0.7, 4)])
def test_a_wrong_energy_is_noticed_by_few_rings_at_small_angles(energy, given, distance, rings):
    truth = replace(TRUTH, distance=distance, rot1=0.0, rot2=0.0, wavelength=wavelength_from_energy(energy))
    points = moved(ring_places(truth, rings=rings, sigma=0.005), np.random.default_rng(2), sigma=0.005)
    start = replace(truth, wavelength=wavelength_from_energy(given))
    found = validate(points, refine(points, start, CERIA), CERIA)
    assert "energy" in names_of(found)
    assert f" keV instead of {given:g} keV" in found.summary()
    assert "CeO2" in found.advice()[0]


def test_it_is_noted_where_rings_cannot_tell_the_energy():
    truth = replace(TRUTH, distance=0.8, rot1=0.0, rot2=0.0, wavelength=1.5e-11)
    points = moved(ring_places(truth, rings=4), np.random.default_rng(3))
    found = validate(points, refine(points, truth, CERIA), CERIA)
    (energy,) = (finding for finding in found.findings if finding.name == "energy")
    assert energy.state == "noted"
    assert "moves the distance by 0.1 % (0.8 mm)" in energy.text
    assert found.verdict == "trusted"
    assert found.reasons() == []


def test_it_is_noted_if_nothing_was_refined():
    found = judged(noisy_points(), fixed=("dist, poni1, poni2", "rot1", "rot2"))
    assert "parameters" in names_of(found, "noted")
    assert found.verdict == "trusted"


def test_a_single_ring_cannot_tell_its_number():
    points = noisy_points()
    found = judged(points.select(points.ring == 2), fixed=("rot1", "rot2"))
    assert "ring numbers" in names_of(found)


def test_a_wrong_calibrant_is_not_trusted():
    points = noisy_points()
    wrong = Calibrant.named("LaB6")
    refinement = refine(points, TRUTH, wrong)
    assert validate(points, refinement, wrong).verdict != "trusted"


def test_points_everywhere_fail():
    random = np.random.default_rng(0)
    points = ControlPoints(random.uniform(0, 1043, 300), random.uniform(0, 981, 300), random.integers(0, 8, 300), 0.1)
    assert judged(points).verdict == "failed"


def test_the_worst_finding_is_the_verdict():
    states = [Finding("a", "good", ""), Finding("b", "doubtful", "")]
    assert verdict_of(states) == "doubtful"
    assert verdict_of([*states, Finding("c", "failed", "")]) == "failed"
    assert verdict_of([]) == "trusted"


def test_a_geometry_is_compared_with_another_over_the_detector():
    same = compare(TRUTH, TRUTH)
    assert (same.rms, same.largest, same.center, same.distance, same.tilt) == (0, 0, 0, 0, 0)
    shifted = compare(replace(TRUTH, poni1=TRUTH.poni1 + 172e-6), TRUTH)
    assert shifted.center == pytest.approx(1.0, rel=1e-3)
    assert 0.3 < shifted.rms < shifted.largest < 1.1


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_curves_lie_where_their_angle_is_seen(orientation):
    geometry = replace(TRUTH, detector=replace(TRUTH.detector, orientation=orientation))
    y, x = visible_curve(geometry, 0.25)
    inside = np.isfinite(y)
    assert inside.sum() > 100
    place = geometry.detector.positions_of(y[inside], x[inside])
    np.testing.assert_allclose(geometry.point_array("2th_rad", place.p1, place.p2), 0.25, atol=1e-9)


def test_rays_that_miss_the_plane_are_nowhere():
    y, _ = ring_curve(TRUTH, 2.5, np.linspace(-3, 3, 50))
    assert np.isnan(y).all()


def simulated(geometry: Geometry, calibrant: Calibrant, **exposure):
    frame = simulated_frame(geometry, calibrant.rings(geometry.wavelength), Exposure(**exposure), seed=1)
    return frame.image, geometry.detector.mask()


def test_the_rings_of_an_image_are_recognised():
    image, mask = simulated(TRUTH, CERIA)
    seen = VisibleRings.look(image, mask, TRUTH, CERIA)
    assert seen.explained > 0.95
    assert seen.present.mean() > 0.9
    assert {finding.state for finding in seen.findings("CeO2")} == {"good"}


def test_rings_of_another_powder_are_noticed():
    image, mask = simulated(TRUTH, Calibrant.named("LaB6"))
    seen = VisibleRings.look(image, mask, TRUTH, CERIA)
    assert {finding.state for finding in seen.findings("CeO2")} & {"doubtful", "failed"}


def test_an_image_without_rings_says_so():
    rings = CERIA.rings(TRUTH.wavelength)
    dark = simulated_frame(TRUTH, replace(rings, intensity=1e-9 * rings.intensity), Exposure(counts=1e-3), seed=1)
    seen = VisibleRings.look(dark.image, TRUTH.detector.mask(), TRUTH, CERIA)
    assert any(finding.state != "good" for finding in seen.findings("CeO2"))


BENT = Geometry(Detector.cylindrical((90, 300), 2e-4, 2e-4, 0.08), 0.2, 0.009, 0.02, 0.1, 0.05, wavelength=4e-11)


def test_points_on_a_bent_plate_are_where_it_is():
    rows, columns = BENT.shape
    y, x = (part.ravel() + 0.5 for part in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    found = point_azimuths(ControlPoints(y, x), [BENT])
    assert found == pytest.approx(BENT.azimuth_center().ravel(), abs=1e-9)


def test_geometries_of_a_bent_plate_are_compared_where_it_is():
    other = replace(BENT, distance=0.201)
    assert compare(BENT, other).largest == pytest.approx(compared(BENT, other).largest_pixels, rel=0.02)


def test_a_bright_edge_of_the_beam_stop_hides_no_rings():
    image, mask = simulated(TRUTH, CERIA)
    radius = np.degrees(TRUTH.center_array("2th_rad"))
    first = np.degrees(CERIA.rings(TRUTH.wavelength).two_theta[0])
    image = np.where(np.abs(radius - 0.5 * first) < 0.02 * first, 1000.0 * image.max(), image)
    seen = VisibleRings.look(image, mask, TRUTH, CERIA)
    assert "failed" not in {finding.state for finding in seen.findings("CeO2")}
    assert seen.present.mean() > 0.6
