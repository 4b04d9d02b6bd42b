"""Extraction: places of rings without bias, with errors that are right, in images that are spoiled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from friedel.core.errors import DataError
from friedel.instrument import Calibrant, Detector, Geometry
from friedel.instrument.virtual import Exposure, simulated_frame
from friedel.instrument.virtual.calibrant_image import expected_counts
from friedel.techniques.calibration import extract, refine
from friedel.techniques.calibration.models import ImagesModel
from friedel.techniques.calibration.problem import Problem

CERIA = Calibrant.named("CeO2")
DETECTOR = Detector.from_shape((600, 700), 1.5e-4)
FLAT = Geometry(DETECTOR, 0.12, 0.044, 0.05, 0.02, -0.03, 0.0, wavelength=4e-11)
TILTED = Geometry(DETECTOR, 0.12, 0.16, 0.05, 0.0, -0.8, 0.0, wavelength=4e-11)
QUIET = Exposure(width=0.12, noise=False)


def frame(geometry=FLAT, exposure=QUIET, seed=0):
    found = simulated_frame(geometry, CERIA.rings(geometry.wavelength), exposure, seed=seed)
    return found.image, found.pixel_mask > 0


def extracted(geometry=FLAT, exposure=QUIET, seed=0, start=None, **options):
    image, mask = frame(geometry, exposure, seed)
    return extract(image, mask, start or geometry, CERIA.rings(geometry.wavelength), **options)


def distances(points, geometry, calibrant=CERIA):
    """Signed distances of points from the rings of the truth, in pixels."""
    problem = Problem.of(points, ImagesModel((geometry,)), calibrant)
    angle, _, slope = problem.evaluate(problem.model.start)
    return angle / slope


@pytest.mark.parametrize("geometry", [FLAT, TILTED], ids=["flat", "tilted"])
@pytest.mark.parametrize("width", [0.05, 0.12, 0.3])
def test_places_have_no_bias_at_any_width(geometry, width):
    points = extracted(geometry, replace(QUIET, width=width))
    away = distances(points, geometry)
    assert np.unique(points.ring).size >= 5
    assert abs(np.mean(away)) < max(1e-3, 0.05 * width)
    assert np.median(np.abs(away)) < max(2e-3, 0.03 * width)


@pytest.mark.parametrize("geometry", [FLAT, TILTED], ids=["flat", "tilted"])
def test_errors_are_those_of_counts(geometry):
    points = extracted(geometry, Exposure(width=0.12, counts=300))
    pulls = distances(points, geometry) / points.sigma
    assert 0.85 < np.std(pulls) < 1.15
    assert abs(np.mean(pulls)) < 4 / np.sqrt(len(points))


def test_what_fades_across_a_wide_ring_does_not_move_it():
    near, ring = replace(FLAT, distance=0.06), Calibrant.from_spacings("one ring", [0.65])
    rings = ring.rings(near.wavelength)
    exposure = Exposure(width=0.8, mixing=0.0, polarization=0.99, noise=False, air=0, halo=0)
    image = simulated_frame(near, rings, exposure).image
    found = [extract(image, None, near, rings, polarization=factor) for factor in (0.99, None)]
    known, unknown = (np.abs(distances(points, near, ring)) for points in found)
    assert np.median(known) < 3e-3
    assert np.median(unknown) > 2 * np.median(known)


def test_few_counts_leave_longer_sectors():
    points = extracted(FLAT, Exposure(width=0.12, counts=2, background=0.3, air=0, halo=0))
    assert len(points) > 30
    pulls = distances(points, FLAT) / points.sigma
    assert 0.75 < np.std(pulls) < 1.25


def test_rings_of_few_grains_have_larger_errors():
    spotty = Exposure(width=0.12, grains=60, spot_width=1.0, spot_scatter=0.03)
    points, smooth = extracted(FLAT, spotty), extracted(FLAT, Exposure(width=0.12))
    assert np.median(points.sigma) > 3 * np.median(smooth.sigma)
    pulls = distances(points, FLAT) / points.sigma
    assert 1.4826 * np.median(np.abs(pulls)) < 1.3


def test_hot_and_dead_pixels_do_not_move_rings():
    points = extracted(FLAT, Exposure(width=0.12, hot_pixels=400, dead_pixels=400))
    away = distances(points, FLAT)
    assert np.mean(np.abs(away / points.sigma) > 6) < 0.01


def test_a_geometry_that_is_off_finds_the_same_places():
    off = replace(FLAT, poni1=FLAT.poni1 + 6e-4, poni2=FLAT.poni2 - 4e-4, distance=FLAT.distance * 1.005)
    points = extracted(FLAT, Exposure(width=0.12), start=off, reach=8.0)
    assert np.median(np.abs(distances(points, FLAT) / points.sigma)) < 1.2
    found = refine(points, off, CERIA)
    again = extracted(FLAT, Exposure(width=0.12), start=found.geometry)
    better = refine(again, found.geometry, CERIA)
    assert (np.abs(better.values - ImagesModel((FLAT,)).start)[:5] < 4 * better.errors[:5]).all()


@pytest.mark.parametrize("truth", [FLAT, TILTED], ids=["flat", "tilted"])
def test_errors_of_geometries_are_those_of_noise(truth):
    rings = CERIA.rings(truth.wavelength)
    expected = expected_counts(truth, rings, Exposure(width=0.12, counts=500))
    random, pulls = np.random.default_rng(3), []
    for _ in range(25):
        image = random.poisson(expected).astype(np.int32)
        found = refine(extract(image, None, truth, rings), truth, CERIA)
        free = found.errors > 0
        pulls.append((found.values - ImagesModel((truth,)).start)[free] / found.errors[free])
    assert 0.7 < np.std(pulls) < 1.3
    assert abs(np.mean(pulls)) < 0.5


def test_neighbouring_grains_raise_the_errors():
    spotty = Exposure(width=0.12, grains=30, spot_width=12.0, spot_scatter=0.03)
    found = refine(extracted(FLAT, spotty), FLAT, CERIA)
    assert found.correlation_factor > 1.3
    assert (np.abs(found.values - ImagesModel((FLAT,)).start)[:5] < 4 * found.errors[:5]).all()


def test_what_hides_a_ring_hides_its_points():
    exposure = Exposure(width=0.12, stop=5.0, holder=1.0, opening=(-60.0, 170.0))
    points = extracted(FLAT, exposure)
    assert np.median(np.abs(distances(points, FLAT) / points.sigma)) < 1.0
    azimuth = np.degrees(np.arctan2(points.y - FLAT.beam_center()[0], points.x - FLAT.beam_center()[1]))
    assert (azimuth > -65).all()
    assert (azimuth < 175).all()


def test_counts_that_are_worth_more_have_larger_errors():
    image, mask = frame(FLAT, Exposure(width=0.12))
    rings = CERIA.rings(FLAT.wavelength)
    one, other = extract(image, mask, FLAT, rings), extract(image.astype(np.float32) * 9, mask, FLAT, rings)
    np.testing.assert_allclose(np.median(other.sigma), np.median(one.sigma), rtol=0.05)


def test_an_image_without_rings_has_no_points():
    random = np.random.default_rng(0)
    assert len(extract(random.poisson(20, DETECTOR.shape), None, FLAT, CERIA.rings(FLAT.wavelength))) < 5
    assert not len(extract(np.zeros(DETECTOR.shape, np.int32), None, FLAT, CERIA.rings(FLAT.wavelength)))


def test_points_do_not_depend_on_threads():
    one, two = extracted(threads=1), extracted(threads=2)
    np.testing.assert_array_equal(one.y, two.y)
    np.testing.assert_array_equal(one.sigma, two.sigma)


def test_images_of_another_detector_are_refused():
    with pytest.raises(DataError, match="shapes"):
        extract(np.zeros((3, 4)), None, FLAT, CERIA.rings(FLAT.wavelength))


def test_what_a_detector_writes_for_no_value_is_left_out_of_numbers_too():
    image, mask = frame(exposure=Exposure(width=0.12, counts=300))
    rings = CERIA.rings(FLAT.wavelength)
    marked = np.where(mask, -1.0, image.astype(np.float64))
    marked[100:140, 60:90] = -1.0
    mask[100:140, 60:90] = True
    found, expected = extract(marked, None, FLAT, rings), extract(image, mask, FLAT, rings)
    np.testing.assert_array_equal(found.y, expected.y)
    np.testing.assert_array_equal(found.sigma, expected.sigma)


def test_rings_with_little_room_have_errors_for_a_common_shift():
    pair = Calibrant.from_spacings("pair", [1.0, 0.97])
    rings = pair.rings(FLAT.wavelength)
    errors = {}
    for width in (0.12, 0.27):
        exposure = Exposure(width=width, mixing=0.5, counts=1e5, noise=False)
        points = extract(simulated_frame(FLAT, rings, exposure).image, None, FLAT, rings)
        inner = points.select(points.ring == 0)
        errors[width] = np.median(inner.sigma) / np.sqrt(len(inner))
        assert abs(np.median(distances(inner, FLAT, pair))) < max(2 * errors[width], 0.01)
    assert errors[0.27] > 10 * errors[0.12]


def test_saturated_pixels_do_not_count():
    image, mask = frame(exposure=Exposure(width=0.12, counts=5000))
    rings = CERIA.rings(FLAT.wavelength)
    clipped = extract(np.minimum(image, 2000), mask, FLAT, rings)
    away = distances(clipped, FLAT)
    assert np.std(away / clipped.sigma) < 1.2
    left_out = extract(np.minimum(image, 2000), mask | (image >= 2000), FLAT, rings)
    np.testing.assert_array_equal(clipped.y, left_out.y)
