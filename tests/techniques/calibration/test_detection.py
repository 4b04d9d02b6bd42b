"""Points on ridges and spots: where they are, which way they run, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from friedel.core.errors import DataError
from friedel.techniques.calibration import detect

CENTER = (140.3, 70.6)
RADIUS = 130.4


def image_of_a_ring(*, counts=400.0, background=20.0, width=2.0, seed=0, shape=(300, 320)):
    """Return counts of one ring."""
    y, x = np.indices(shape) + 0.5
    radius = np.hypot(y - CENTER[0], x - CENTER[1])
    expected = background + counts * np.exp(-0.5 * ((radius - RADIUS) / width) ** 2)
    return np.random.default_rng(seed).poisson(expected)


def off_the_ring(points):
    return np.hypot(points.y - CENTER[0], points.x - CENTER[1]) - RADIUS


def test_points_lie_on_the_ring_to_a_fraction_of_a_pixel():
    points = detect(image_of_a_ring())
    assert len(points) > 50
    assert np.median(np.abs(off_the_ring(points))) < 0.15
    assert abs(np.mean(off_the_ring(points))) < 0.05


def test_directions_are_across_the_ring():
    points = detect(image_of_a_ring())
    across = np.arctan2(points.y - CENTER[0], points.x - CENTER[1])
    assert np.median(np.abs(np.sin(points.direction - across))) < 0.02


def test_a_ring_is_few_chains():
    points = detect(image_of_a_ring())
    assert 1 <= len(np.unique(points.chain)) <= 4


@pytest.mark.parametrize("width", [0.8, 2.0, 5.0, 9.0])
def test_narrow_and_wide_rings_are_found(width):
    points = detect(image_of_a_ring(width=width))
    assert len(points) > 30
    assert np.median(np.abs(off_the_ring(points))) < 0.1 + 0.1 * width


def test_faint_rings_are_found_in_binned_pixels():
    points = detect(image_of_a_ring(counts=1.5, background=1.0, width=5.0))
    assert len(points) > 10
    assert np.median(np.abs(off_the_ring(points))) < 1.5


def test_noise_has_no_rings():
    assert len(detect(np.random.default_rng(0).poisson(20.0, (500, 500)))) < 15


def test_hot_and_dead_pixels_are_no_spots():
    image = np.random.default_rng(0).poisson(50.0, (300, 300))
    image[100, 100], image[200, 50], image[150, 150] = 100_000, 5000, 0
    assert len(detect(image)) < 10


def test_spots_have_no_direction():
    y, x = np.indices((200, 200)) + 0.5
    expected = 5.0 + 500.0 * np.exp(-0.5 * ((y - 80.3) ** 2 + (x - 120.8) ** 2) / 1.5**2)
    points = detect(np.random.default_rng(0).poisson(expected))
    spot = np.argmax(points.strength)
    assert np.hypot(points.y[spot] - 80.3, points.x[spot] - 120.8) < 0.2
    assert np.isnan(points.direction[spot])
    assert points.chain[spot] == -1


def image_of_grains(n):
    """Return counts of a ring that is a row of n bright round spots, and their places."""
    phi = np.linspace(0.1, 6.2, n)
    places = np.array(CENTER)[:, None] + RADIUS * np.array([np.sin(phi), np.cos(phi)])
    places = places[:, ((places > 40) & (places < 260)).all(axis=0)]
    y, x = np.indices((300, 320)) + 0.5
    expected = np.full(y.shape, 5.0)
    for row, column in places.T:
        expected += 2000.0 * np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / 2.0**2)
    return np.random.default_rng(0).poisson(expected), places


def test_bright_grains_are_spots_without_flanks():
    image, places = image_of_grains(25)
    points = detect(image)
    assert np.abs(off_the_ring(points)).max() < 0.5
    assert (points.chain < 0).sum() == places.shape[1]


def test_spots_have_a_share_of_the_points():
    ring, (grains, places) = image_of_a_ring(counts=2000.0), image_of_grains(25)
    image = np.concatenate((ring, grains))
    points = detect(image, maximum_points=50)
    assert len(points) <= 50
    assert 0.8 * places.shape[1] < (points.chain < 0).sum() <= 25


def test_nothing_is_found_at_gaps():
    image = image_of_a_ring()
    mask = np.zeros(image.shape, bool)
    mask[120:130] = mask[:, 200:206] = True
    points = detect(np.where(mask, -1, image), mask)
    rows = np.minimum(np.abs(points.y - 120), np.abs(points.y - 130))
    assert rows.min() > 1.0
    assert np.median(np.abs(off_the_ring(points))) < 0.2


def test_the_edge_of_a_shadow_is_no_ring():
    y, x = np.indices((400, 400)) + 0.5
    expected = np.where(x + 0.3 * y > 200, 100.0 * np.exp(-x / 300), 1.0)
    assert len(detect(np.random.default_rng(0).poisson(expected))) < 25


def test_the_number_of_points_is_limited():
    assert len(detect(image_of_a_ring(), maximum_points=40)) <= 40


def test_the_same_image_gives_the_same_points():
    first, second = detect(image_of_a_ring()), detect(image_of_a_ring())
    np.testing.assert_array_equal(first.y, second.y)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(DataError, match="mask"):
        detect(image_of_a_ring(), np.zeros((3, 3), bool))


def test_an_image_without_a_valid_pixel_is_refused():
    with pytest.raises(DataError, match="No pixel"):
        detect(np.full((50, 50), np.nan))
