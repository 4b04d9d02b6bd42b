"""The simulated image of a calibrant: rings where they belong, whatever the width, the tilt and the detector."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from friedel.core.errors import ParameterError
from friedel.instrument import Detector, Geometry
from friedel.instrument.virtual import Exposure, simulated_frame
from friedel.instrument.virtual.calibrant_image import expected_counts

BARE = Exposure(background=0.0, air=0.0, halo=0.0, polarization=None, noise=False)


@dataclass
class FewRings:
    two_theta: np.ndarray
    intensity: np.ndarray


RINGS = FewRings(np.radians([6.0, 8.0, 11.0]), np.array([1.0, 2.0, 1.0]))
TILTED = Geometry(Detector.from_shape((120, 150), 2e-4), 0.1, 0.012, 0.004, 0.9, -0.2, 0.3, 4e-11)
FLAT = Geometry(Detector.from_shape((120, 150), 2e-4), 0.1, 0.012, 0.004, 0.0, 0.0, 0.0, 4e-11)


def averaged_over_pixels(geometry, rings, exposure, factor=15):
    """The same image from a detector with `factor` times the pixels along each side."""
    rows, columns = geometry.shape
    fine = Detector.from_shape((rows * factor, columns * factor), geometry.detector.pixel1 / factor)
    image = expected_counts(replace(geometry, detector=fine), rings, exposure)
    return image.reshape(rows, factor, columns, factor).mean(axis=(1, 3))


@pytest.mark.parametrize("geometry", [FLAT, TILTED], ids=["flat", "tilted"])
@pytest.mark.parametrize("width", [0.03, 0.1, 0.4])
def test_a_pixel_holds_the_mean_over_its_area(geometry, width):
    exposure = replace(BARE, width=width)
    image = expected_counts(geometry, RINGS, exposure)
    fine = averaged_over_pixels(geometry, RINGS, exposure)
    np.testing.assert_allclose(image, fine, atol=0.02 * fine.max())
    np.testing.assert_allclose(image.sum(), fine.sum(), rtol=1e-3)


@pytest.mark.parametrize("width", [0.03, 0.1])
def test_rings_keep_their_places(width):
    """The mean radius of the counts on a ring is that of the same ring on much smaller pixels."""
    exposure = replace(BARE, width=width, mixing=0.0)
    one = FewRings(RINGS.two_theta[1:2], RINGS.intensity[1:2])
    image = expected_counts(FLAT, one, exposure).astype(float)
    two_theta = np.degrees(FLAT.center_array("2th_rad"))
    pixel = np.degrees(2e-4 / 0.1)
    assert abs((image * two_theta).sum() / image.sum() - 8.0) < 0.01 * pixel


def test_the_same_for_any_number_of_threads():
    exposure = Exposure(grains=30.0, texture=0.5, spot_scatter=0.01, hot_pixels=5, dead_pixels=5)
    frames = [simulated_frame(TILTED, RINGS, exposure, seed=3, threads=threads).image for threads in (1, 2)]
    np.testing.assert_array_equal(*frames)
    assert (frames[0] != simulated_frame(TILTED, RINGS, exposure, seed=4).image).any()


def test_the_brightest_ring_has_the_counts_asked_for():
    image = expected_counts(FLAT, RINGS, replace(BARE, width=0.8, counts=500.0))
    assert image.max() == pytest.approx(500.0, rel=0.05)


def test_grains_make_spots_and_keep_the_mean():
    powder = expected_counts(FLAT, RINGS, BARE)
    spotty = expected_counts(FLAT, RINGS, replace(BARE, grains=400.0), seed=1)
    bright = powder > 0.3 * powder.max()
    assert spotty[bright].std() > 2 * powder[bright].std()
    assert spotty.sum() == pytest.approx(powder.sum(), rel=0.3)


def test_texture_leaves_the_mean_of_a_whole_ring():
    centered = replace(FLAT, poni2=0.015)
    one = FewRings(RINGS.two_theta[:1], RINGS.intensity[:1])
    powder, textured = (
        expected_counts(centered, one, replace(BARE, texture=texture, mixing=0.0)) for texture in (0.0, 1.0)
    )
    assert textured.sum() == pytest.approx(powder.sum(), rel=0.01)


def test_the_beam_stop_and_its_holder_hide_what_lies_behind():
    exposure = replace(BARE, background=100.0, stop=3.0, holder=1.0, holder_azimuth=90.0)
    image = expected_counts(FLAT, RINGS, exposure)
    two_theta, chi = FLAT.center_array("2th_deg"), FLAT.azimuth_center()
    assert image[two_theta < 2.9].max() < 1.0
    assert image[(np.abs(chi - np.pi / 2) < 0.01) & (two_theta > 3.0)].max() < 10.0
    assert image[(np.abs(chi) < 0.1) & (two_theta > 4.0)].min() > 90.0


def test_only_an_opening_lets_rays_pass():
    image = expected_counts(FLAT, RINGS, replace(BARE, background=100.0, opening=(-30.0, 30.0)))
    chi = np.degrees(FLAT.azimuth_center())
    assert image[np.abs(chi) > 30.5].max() == 0.0
    assert image[np.abs(chi) < 29.5].min() > 85.0


def test_gaps_hold_what_the_detector_writes_there():
    detector = Detector.named("Pilatus300k")
    geometry = Geometry(detector, 0.2, 0.05, 0.04, wavelength=4e-11)
    frame = simulated_frame(geometry, RINGS, Exposure(hot_pixels=7, dead_pixels=4, saturation=900.0), seed=2)
    assert frame.image.dtype == np.int32
    assert (frame.image[detector.mask()] == -1).all()
    assert (frame.image[~detector.mask()] >= 0).all()
    assert frame.image.max() <= 900
    assert (frame.pixel_mask == 16).sum() == 7
    assert (frame.image[frame.pixel_mask == 2] == 0).all()


def test_a_point_spread_widens_rings_and_keeps_counts():
    sharp = expected_counts(FLAT, RINGS, BARE)
    blurred = expected_counts(FLAT, RINGS, replace(BARE, point_spread=3.0))
    assert blurred.max() < 0.8 * sharp.max()
    assert blurred.sum() == pytest.approx(sharp.sum(), rel=0.02)


def test_a_ring_has_a_width():
    with pytest.raises(ParameterError, match="width"):
        Exposure(width=0.0)
