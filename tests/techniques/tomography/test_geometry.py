"""Angles, weights and the one convention."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.errors import DataError
from friedel.techniques.tomography import ParallelBeam, angular_weights
from friedel.techniques.tomography.geometry import coverage_degrees


@pytest.mark.parametrize(
    "angles",
    [
        np.arange(60) * 3.0,
        np.arange(120) * 3.0,
        np.arange(120) * 3.0 - 77.7,
        np.random.default_rng(0).permutation(np.arange(60) * 3.0),
    ],
)
def test_even_scans_have_even_weights_whatever_order_and_turns(angles: np.ndarray) -> None:
    np.testing.assert_allclose(angular_weights(angles), np.pi / len(angles), rtol=1e-9)


def test_angles_that_repeat_share_their_weight() -> None:
    weights = angular_weights([0, 0, 45, 90, 135, 180])
    np.testing.assert_allclose(weights, np.array([1, 1, 3, 3, 3, 1]) * np.pi / 12)


def test_uneven_angles_take_half_the_gap_on_either_side() -> None:
    np.testing.assert_allclose(np.rad2deg(angular_weights([0, 10, 30, 60, 90, 120, 150])), [20, 15, 25, 30, 30, 30, 30])


def test_a_wedge_is_not_filled_by_its_edges() -> None:
    weights = np.rad2deg(angular_weights(np.arange(0, 120, 2.0)))
    np.testing.assert_allclose(weights, 2.0)


@given(st.lists(st.floats(-360, 360), min_size=1, max_size=40))
def test_weights_are_positive_and_at_most_half_a_turn(angles: list[float]) -> None:
    weights = angular_weights(angles)
    assert (weights > 0).all()
    assert weights.sum() <= np.pi * (1 + 1e-9)


@pytest.mark.parametrize(
    ("angles", "covered"),
    [(np.arange(180.0), 180), (np.arange(0, 360, 7.0), 180), (np.arange(91.0), 91), ([0, 60, 120], 180), ([5.0], 0)],
)
def test_coverage(angles: np.ndarray, covered: float) -> None:
    assert coverage_degrees(angles) == pytest.approx(covered, abs=3)


def test_a_short_range_is_refused_with_its_value() -> None:
    with pytest.raises(DataError, match=r"0 to 99 degrees cover 100\.0 of 180"):
        ParallelBeam.build(np.arange(100.0), 64)
    assert ParallelBeam.build(np.arange(100.0), 64, allow_missing_wedge=True).n_angles == 100


def test_radians_are_recognised_in_the_message() -> None:
    with pytest.raises(DataError, match="look like radians"):
        ParallelBeam.build(np.linspace(0, np.pi, 100), 64)


@pytest.mark.parametrize("angles", [[0, 90], [0, 180, 360, 90], [1.0] * 10, []])
def test_few_distinct_angles_are_refused(angles: list[float]) -> None:
    with pytest.raises(DataError, match="different ones"):
        ParallelBeam.build(angles, 64)


def test_angles_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="1 values that are not finite"):
        ParallelBeam.build([0, 60, np.nan, 120], 64)


def test_excluded_projections_have_no_weight_and_leave_theirs_to_the_others() -> None:
    beam = ParallelBeam.build(np.arange(0, 180, 10), 64, excluded=np.arange(18) == 4)
    assert beam.weights[4] == 0
    assert beam.weights.sum() == pytest.approx(np.pi)
    assert 4 not in beam.used


def test_the_axis_is_seen_at_the_center_from_everywhere() -> None:
    beam = ParallelBeam.build(np.arange(0, 360, 15), 64, center=30.25, size=51)
    offset, step_x, step_y = beam.detector_lines()
    np.testing.assert_allclose(offset + 25 * step_x + 25 * step_y, 30.25)
    # At 0 degrees the detector looks along the rows, at 90 degrees it runs against them.
    assert (step_x[0], step_y[0]) == (1, 0)
    assert step_y[6] == pytest.approx(-1)
