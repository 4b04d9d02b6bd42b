"""Images hold what integration with all corrections takes out again."""

import numpy as np
import pytest

from friedel.instrument import Detector, Geometry
from friedel.instrument.virtual import DetectorFaults, diffraction_image, invalid_value


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_corrected_image_is_the_profile(orientation):
    detector = Detector.named("Pilatus200k", orientation=orientation)
    geometry = Geometry(detector, 0.1, 0.03, 0.02, 0.1, -0.05, 0.3, 2e-11)
    axis = np.linspace(0.0, 400.0, 8001)
    profile = 3.0 + np.sin(axis / 5.0)
    image = diffraction_image(geometry, axis, profile, "q_nm^-1", polarization=0.95)
    corrected = image / (geometry.solid_angle() * geometry.polarization(0.95)) / (172e-6 / 0.1) ** 2
    good = ~detector.mask()
    # A pixel averages over the tip of the cone near the beam.
    expected = 3.0 + np.sin(geometry.center_array("q_nm^-1") / 5.0)
    np.testing.assert_allclose(corrected[good], expected[good], atol=1e-2)
    assert not image[detector.mask()].any()


def test_the_absolute_solid_angle_of_a_sphere_is_four_pi():
    # One of the six faces of a cube seen from its middle.
    detector = Detector.from_shape((200, 200), 1e-3)
    geometry = Geometry(detector, 0.1, 0.1, 0.1)
    image = diffraction_image(geometry, np.array([0.0, 2.0]), np.ones(2), "2th_rad", oversampling=1)
    assert image.sum() == pytest.approx(4 * np.pi / 6, rel=1e-4)


def test_faults_are_sensitive_pixels_and_in_the_mask():
    detector = Detector.named("Pilatus200k")
    faults = DetectorFaults.random(detector, 5, 7, seed=3)
    mask = faults.pixel_mask(detector)
    assert (mask == 16).sum() == 5
    assert (mask == 2).sum() == 7
    assert (mask == 1).sum() == detector.mask().sum()
    assert np.array_equal(mask, DetectorFaults.random(detector, 5, 7, seed=3).pixel_mask(detector))


def test_what_the_detector_writes_in_its_gaps():
    assert invalid_value(np.dtype(np.int32)) == -1
    assert invalid_value(np.dtype(np.uint32)) == 2**32 - 1
