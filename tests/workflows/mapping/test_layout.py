"""The grid of a map, from motors and from its shape, however the scan ran."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.errors import DataError, ParameterError
from friedel.workflows.mapping.layout import MapLayout


@dataclass(frozen=True)
class Motor:
    values: np.ndarray
    units: str = "mm"
    path: str = ""


def scan(lines: int = 4, points: int = 6, snake: bool = False, jitter: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the slow and the fast motor, frame by frame."""
    slow, fast = np.meshgrid(np.arange(lines) * 0.5, np.arange(points) * 0.1 - 1, indexing="ij")
    if snake:
        fast = fast.copy()
        fast[1::2] = fast[1::2, ::-1]
    noise = np.random.default_rng(1).uniform(-jitter, jitter, (2, slow.size))
    return slow.ravel() + noise[0], fast.ravel() + noise[1]


def find(axes, slow=None, fast=None) -> MapLayout:
    return MapLayout.from_motors(axes, slow, fast, {"broken": 3})


@pytest.mark.parametrize("snake", [False, True])
@pytest.mark.parametrize("jitter", [0.0, 1e-3])
def test_motors_tell_the_grid(snake, jitter):
    slow, fast = scan(snake=snake, jitter=jitter)
    layout = find(
        {"epoch": Motor(np.arange(24.0)), "samx": Motor(fast), "samz": Motor(slow), "i0": Motor(fast**2 + slow)}
    )
    assert layout.shape == (4, 6) and layout.snake == snake and not layout.missing
    assert (layout.slow.name, layout.fast.name) == ("samz", "samx")
    np.testing.assert_allclose(layout.fast.values, np.arange(6) * 0.1 - 1, atol=1e-3)
    expected = np.arange(24).reshape(4, 6)
    if snake:
        expected[1::2] = expected[1::2, ::-1]
    assert np.array_equal(layout.frames, expected)
    assert ("back and forth" in layout.describe()) == snake


def test_the_named_motor_has_its_direction():
    slow, fast = scan()
    axes = {"samx": Motor(slow), "samy": Motor(fast)}
    assert find(axes).slow.name == "samx"
    turned = find(axes, slow="samy")
    assert turned.slow.name == "samy" and turned.shape == (6, 4)
    both = find(axes, slow="samy", fast="samx")
    assert np.array_equal(both.frames, turned.frames) and both.frames[1, 0] == 1
    assert find(axes, fast="samx").fast.name == "samx"


def test_missing_and_repeated_points_are_told():
    slow, fast = scan()
    kept = np.delete(np.arange(24), [7, 20])
    layout = find({"samx": Motor(np.append(fast[kept], fast[3])), "samz": Motor(np.append(slow[kept], slow[3]))})
    assert layout.missing == 2 and layout.repeated == 1
    assert layout.frames[0, 3] == 22 and layout.frames[1, 1] == -1
    assert "2 points missing, 1 points measured twice" in layout.describe()


def test_one_motor_is_a_line():
    layout = find({"samx": Motor(np.linspace(3, 1, 9)), "epoch": Motor(np.arange(9.0))})
    assert layout.shape == (1, 9) and layout.frames[0, 0] == 8
    assert layout.describe() == "a line of 9 points (samx)"


def test_what_is_no_grid_is_refused():
    angle = np.linspace(0, 20, 60)
    spiral = {"samx": Motor(angle * np.cos(angle)), "samz": Motor(angle * np.sin(angle))}
    with pytest.raises(DataError, match=r"do not form a grid(.|\n)*--shape"):
        find(spiral, slow="samz", fast="samx")
    with pytest.raises(DataError, match=r"no motors(.|\n)*--shape"):
        find({})
    with pytest.raises(DataError, match=r"no slow motor called 'samq'(.|\n)*samx, samz(.|\n)*broken \(3 values\)"):
        find(spiral, slow="samq")
    with pytest.raises(DataError, match="samz and any other axis"):
        find(spiral, slow="samz")


@given(st.integers(1, 7), st.integers(1, 7), st.booleans(), st.data())
def test_a_shape_lays_every_frame_once(lines, points, snake, data):
    count = data.draw(st.integers(0, lines * points))
    layout = MapLayout.from_shape(count, (lines, points), snake=snake)
    placed = layout.frames[layout.frames >= 0]
    assert sorted(placed) == list(range(count)) and layout.missing == lines * points - count
    path = layout.frames.copy()
    if snake:
        path[1::2] = path[1::2, ::-1]
    assert np.array_equal(path.ravel()[:count], np.arange(count))


def test_a_shape_has_positions():
    layout = MapLayout.from_shape(12, (3, 5), slow_range=(0, 1), fast_range=(2, -2))
    np.testing.assert_allclose(layout.slow.values, [0, 0.5, 1])
    np.testing.assert_allclose(layout.fast.values, [2, 1, 0, -1, -2])
    slow, fast = scan(3, 5, jitter=1e-3)
    moved = layout.with_motors(("samz", Motor(slow[:12])), ("samx", Motor(fast[:12])))
    np.testing.assert_allclose(moved.slow.values, [0, 0.5, 1], atol=1e-3)
    np.testing.assert_allclose(moved.fast.values, np.arange(5) * 0.1 - 1, atol=1e-3)
    assert moved.slow.name == "samz" and moved.fast.units == "mm"
    stopped = MapLayout.from_shape(5, (3, 5)).with_motors(("samz", Motor(slow[:5])), None)
    assert np.isfinite(stopped.slow.values).all()


def test_too_many_frames_are_refused():
    with pytest.raises(ParameterError, match="12 points, there are 13 frames"):
        MapLayout.from_shape(13, (3, 4))
