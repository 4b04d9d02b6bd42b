"""Line integrals: nothing is lost at any angle, and every point casts its shadow where reconstruction expects it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.instrument.virtual import path_lengths

POSITIONS = np.arange(41) - 20.0


@given(st.floats(-7.0, 7.0), st.integers(0, 2**32 - 1), st.sampled_from([0.25, 0.5, 1.0, 2.5]), st.floats(0.3, 2.0))
def test_the_beam_meets_all_of_the_sample_at_every_angle(angle, seed, pixel, step):
    maps = np.random.default_rng(seed).uniform(size=(2, 10, 7))
    paths = path_lengths(maps, pixel, np.array([angle]), POSITIONS * step * 1.5, step * 1.5)
    expected = maps.sum(axis=(1, 2)) * pixel**2
    if 20 * step * 1.5 > 9 * pixel:
        np.testing.assert_allclose(paths.sum(axis=(1, 2)) * step * 1.5, expected, rtol=1e-9)


@given(st.floats(0.0, 2 * np.pi), st.integers(0, 30), st.integers(0, 30))
def test_a_point_casts_its_shadow_where_reconstruction_looks_for_it(angle, row, column):
    maps = np.zeros((1, 31, 31))
    maps[0, row, column] = 1.0
    positions = np.linspace(-30, 30, 301)
    path = path_lengths(maps, 1.0, np.array([angle]), positions, 0.2)[0, 0]
    t = np.cos(angle) * (column - 15) - np.sin(angle) * (row - 15)
    assert (path * positions).sum() / path.sum() == pytest.approx(t, abs=2e-3)


def test_a_disk_by_hand():
    grid = (np.arange(400) - 199.5) / 10
    disk = (np.hypot(*np.meshgrid(grid, grid)) < 15).astype(float)[None]
    paths = path_lengths(disk, 0.1, np.linspace(0, 3, 7), POSITIONS, 0.01)[0]
    chord = 2 * np.sqrt(np.maximum(15.0**2 - POSITIONS**2, 0))
    inside = abs(POSITIONS) < 14.5
    np.testing.assert_allclose(paths[:, inside], np.broadcast_to(chord[inside], (7, inside.sum())), atol=0.2)
    assert not paths[:, abs(POSITIONS) > 15.2].any()


def test_straight_through_a_square_pixel():
    paths = path_lengths(np.ones((1, 1, 1)), 2.0, np.array([0.0, np.pi / 4]), np.array([-0.9, 0.0, 0.9]), 1e-3)[0]
    np.testing.assert_allclose(paths[0], 2.0, rtol=1e-9)
    assert paths[1, 1] == pytest.approx(2 * np.sqrt(2), rel=1e-3)


@given(st.integers(0, 2**32 - 1))
def test_paths_are_linear_in_the_map(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 6, 6))
    angles = np.linspace(0, 3, 5)
    together = path_lengths(np.stack([a, b, 2 * a - 3 * b]), 1.0, angles, POSITIONS, 1.0)
    np.testing.assert_allclose(together[2], 2 * together[0] - 3 * together[1], atol=1e-10)
