"""A frame is placed by its motor values, whatever the order of the files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from friedel.core.errors import DataError
from friedel.instrument.scan_layout import ScanLayout, group_positions


def scan(
    angles: int, translations: int, *, fast: str = "translation", snake: bool = True, layers: int = 1, step: float = 3.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Motor values in the order of acquisition."""
    slow_count, fast_count = (angles, translations) if fast == "translation" else (translations, angles)
    points = []
    for layer in range(layers):
        for slow in range(slow_count):
            line = range(fast_count)
            for fast_index in reversed(line) if snake and slow % 2 else line:
                pair = (slow, fast_index) if fast == "translation" else (fast_index, slow)
                points.append((layer, *pair))
    layer_index, angle_index, translation_index = np.array(points).T
    return angle_index * step, translation_index * 0.01 - 0.2, layer_index * 0.05


@example(angles=4, translations=2, layers=1, fast="rotation", snake=False, jitter=1e-3, seed=4)
@given(
    angles=st.integers(2, 12),
    translations=st.integers(2, 12),
    layers=st.integers(1, 3),
    fast=st.sampled_from(["rotation", "translation"]),
    snake=st.booleans(),
    jitter=st.sampled_from([0.0, 1e-3, 0.02]),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_any_order_and_read_back_jitter_gives_the_grid(
    angles: int, translations: int, layers: int, fast: str, snake: bool, jitter: float, seed: int
) -> None:
    rotation, translation, layer = scan(angles, translations, fast=fast, snake=snake, layers=layers)
    noise = np.random.default_rng(seed).uniform(-1, 1, (2, len(rotation)))
    layout = ScanLayout.find(
        rotation + jitter * 3.0 * noise[0], translation + jitter * 0.01 * noise[1], layer if layers > 1 else None
    )
    assert layout.shape == (layers, angles, translations)
    assert layout.missing == layout.repeated == 0
    np.testing.assert_allclose(layout.angles, np.arange(angles) * 3.0, atol=3 * jitter + 1e-9)
    np.testing.assert_array_equal(
        rotation[layout.frames], np.broadcast_to(np.arange(angles)[:, None] * 3.0, layout.shape)
    )
    np.testing.assert_array_equal(layout.frames.ravel()[layout.positions(len(rotation))], np.arange(len(rotation)))


@pytest.mark.parametrize("fast", ["rotation", "translation"])
@pytest.mark.parametrize("snake", [True, False])
def test_it_says_how_the_scan_ran(fast: str, snake: bool) -> None:
    rotation, translation, _ = scan(10, 7, fast=fast, snake=snake)
    layout = ScanLayout.find(rotation, translation)
    assert (layout.fast, layout.snake) == (fast, snake)
    assert "10 angles x 7 translations" in layout.describe()
    assert f"{fast} fast" in layout.describe()


def test_a_missing_line_leaves_its_places_empty() -> None:
    rotation, translation, _ = scan(10, 7)
    kept = rotation != 12.0
    layout = ScanLayout.find(rotation[kept], translation[kept])
    assert layout.shape == (1, 9, 7)
    assert 12.0 not in layout.angles


def test_a_wide_gap_of_missing_lines_is_no_jitter() -> None:
    rotation, translation, _ = scan(60, 7)
    kept = (rotation < 60.0) | (rotation > 90.0)
    layout = ScanLayout.find(rotation[kept], translation[kept])
    assert layout.shape == (1, 49, 7)
    assert layout.missing == layout.repeated == 0


@pytest.mark.parametrize("jitter", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("seed", range(5))
def test_one_motor_is_exact_and_the_other_jitters(jitter: float, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-jitter, jitter, 45 * 41) * 0.01
    rotation, translation = np.repeat(np.arange(0, 180, 4.0), 41), np.tile((np.arange(41) - 20) * 0.01, 45)
    assert ScanLayout.find(rotation, translation + noise).shape == (1, 45, 41)
    assert ScanLayout.find(np.tile(np.arange(41) * 4.0, 45) + noise * 400, np.repeat(np.arange(45.0), 41)).shape == (
        1,
        41,
        45,
    )


def test_steps_that_differ_a_little_are_no_jitter() -> None:
    """Encoder errors and rounding make steps of 1 % difference; positions must not be merged for that."""
    rng = np.random.default_rng(3)
    positions = (np.arange(41) + rng.normal(0, 0.005, 41)) * 0.01
    rotation, translation = np.repeat(np.arange(0, 180, 4.0), 41), np.tile(positions, 45)
    kept = rng.random(len(rotation)) > 0.4
    layout = ScanLayout.find(rotation[kept], translation[kept])
    assert layout.shape == (1, 45, 41)
    assert layout.repeated == 0


def test_missing_points_are_told() -> None:
    rotation, translation, _ = scan(10, 7)
    layout = ScanLayout.find(np.delete(rotation, [3, 40]), np.delete(translation, [3, 40]))
    assert layout.shape == (1, 10, 7)
    assert layout.missing == 2
    assert "2 points missing" in layout.describe()


def test_a_repeated_line_supersedes_the_failed_one() -> None:
    rotation, translation, _ = scan(10, 7)
    again = slice(14, 21)
    layout = ScanLayout.find(np.append(rotation, rotation[again]), np.append(translation, translation[again]))
    assert layout.repeated == 7
    assert set(layout.frames[0, 2]) == set(range(70, 77))
    assert (layout.positions(77)[14:21] == -1).all()


def test_unsorted_angles_are_sorted() -> None:
    rng = np.random.default_rng(1)
    rotation, translation, _ = scan(10, 7)
    order = rng.permutation(70)
    layout = ScanLayout.find(rotation[order], translation[order])
    assert (np.diff(layout.angles) > 0).all()
    np.testing.assert_array_equal(order[layout.frames[0, 0]] % 7, np.arange(7))


@pytest.mark.parametrize(
    ("rotation", "translation", "message"),
    [
        (np.arange(5.0), np.arange(4.0), "rotation 5, translation 4"),
        (np.array([0.0, np.nan, 1.0]), np.arange(3.0), "no finite value at 1 frames, the first at frame 1"),
        (np.arange(50.0), np.arange(50.0), "do not form a grid: 50 frames fill 50 of"),
        (np.zeros(50), np.arange(50.0), "do not form a grid"),
    ],
)
def test_motors_that_cannot_be_a_scan_are_refused(rotation: np.ndarray, translation: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ScanLayout.find(rotation, translation)


def test_positions_of_a_motor_that_never_moves() -> None:
    [motor] = group_positions(np.full(5, 0.3))
    np.testing.assert_allclose(motor.positions, [0.3])
    np.testing.assert_array_equal(motor.index, 0)
