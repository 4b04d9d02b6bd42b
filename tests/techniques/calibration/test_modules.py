"""Modules out of place are found by the rings that cross them, in every orientation, and are kept in files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibrant_rings import CERIA
from friedel.core.errors import GeometryError
from friedel.instrument import Detector, Geometry
from friedel.instrument.virtual import Exposure, simulated_frame
from friedel.techniques.calibration import ControlPoints, extract, refine, refine_modules
from friedel.techniques.calibration.modules import displaced_modules, placed_modules

PIXEL = 172e-6
SHIFTS = np.random.default_rng(3).normal(0, [0.3 * PIXEL, 0.3 * PIXEL, 5e-4], (3, 3))


def nominal(orientation: int = 3) -> Geometry:
    return Geometry(Detector.named("Pilatus300k", orientation=orientation), 0.1, 0.05, 0.04, 0.02, -0.03, 0.0, 4e-11)


def displaced(geometry: Geometry) -> Geometry:
    return replace(geometry, detector=displaced_modules(geometry.detector, SHIFTS))


def points_of(truth: Geometry, start: Geometry, seed: int = 1) -> ControlPoints:
    rings = CERIA.rings(truth.wavelength)
    frame = simulated_frame(truth, rings, Exposure(width=0.12), seed=seed)
    return extract(frame.image, frame.pixel_mask > 0, start, rings)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_modules_in_their_places_are_the_detector(orientation):
    plain = nominal(orientation)
    placed = replace(plain, detector=displaced_modules(plain.detector, np.zeros((3, 3))))
    good = ~plain.detector.mask()
    for unit in ("2th_deg", "chi_deg"):
        one, other = placed.center_array(unit)[good], plain.center_array(unit)[good]
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(placed.corner_array("2th_deg")[good], plain.corner_array("2th_deg")[good], rtol=1e-6)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_displaced_modules_are_found(orientation):
    start, truth = nominal(orientation), displaced(nominal(orientation))
    found = refine_modules(points_of(truth, start), start, CERIA)
    assert found.before.rms > 0.1
    assert found.refinement.rms < 0.02
    good = ~start.detector.mask()
    expected = truth.center_array("2th_rad")
    pixel = PIXEL / start.distance
    before = np.abs(found.before.geometry.center_array("2th_rad") - expected)[good] / pixel
    after = np.abs(found.refinement.geometry.center_array("2th_rad") - expected)[good] / pixel
    assert np.sqrt(np.mean(after**2)) < 0.01
    assert np.sqrt(np.mean(before**2)) > 0.1
    assert [offset.rows for offset in found.offsets] == [module.rows for module in start.detector.modules()]
    assert sum(offset.points for offset in found.offsets) == found.refinement.used.size


def test_modules_in_their_places_stay_there():
    found = refine_modules(points_of(nominal(), nominal()), nominal(), CERIA)
    for offset in found.offsets:
        assert abs(offset.shift1) < 4 * offset.shift1_error
        assert abs(offset.shift2) < 4 * offset.shift2_error
        assert abs(offset.shift1) < 0.1 * PIXEL
    assert found.refinement.chi_squared == pytest.approx(1, abs=0.2)


def test_modules_can_be_shifted_only():
    truth = replace(nominal(), detector=displaced_modules(nominal().detector, SHIFTS * [1, 1, 0]))
    found = refine_modules(points_of(truth, nominal()), nominal(), CERIA, turns=False)
    assert all(offset.turn == 0 for offset in found.offsets)
    assert found.refinement.rms < 0.03


def test_places_of_modules_survive_a_file(tmp_path):
    detector = displaced(nominal()).detector
    detector.save(tmp_path / "detector.h5")
    loaded = Detector.load(tmp_path / "detector.h5")
    good = ~detector.mask()
    one = replace(nominal(), detector=loaded).center_array("2th_deg")[good]
    np.testing.assert_allclose(one, displaced(nominal()).center_array("2th_deg")[good], rtol=1e-6)


def test_modules_that_were_placed_are_refined_again():
    truth = displaced(nominal())
    points = points_of(truth, nominal())
    first = refine_modules(points, nominal(), CERIA)
    again = refine_modules(points, first.refinement.geometry, CERIA)
    assert again.before.rms == pytest.approx(first.refinement.rms, rel=1e-3)
    assert max(abs(offset.shift1) for offset in again.offsets) < 0.02 * PIXEL
    assert refine(points, again.refinement.geometry, CERIA).rms < 0.02


def test_a_detector_of_one_module_is_refused():
    with pytest.raises(GeometryError, match="one module"):
        placed_modules(Detector.from_shape((100, 100), 1e-4))
