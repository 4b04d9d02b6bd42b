"""Moments find a peak's area, position and width, whatever straight background it stands on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.errors import ParameterError
from friedel.techniques.powder.peaks import PeakWindow, half_maximum_width, sum_weights, window_channels

RADIAL = np.linspace(10.0, 30.0, 1001)


def gaussian(area: float, position: float, width: float) -> np.ndarray:
    sigma = width / np.sqrt(8 * np.log(2))
    return area / (sigma * np.sqrt(2 * np.pi)) * np.exp(-0.5 * ((RADIAL - position) / sigma) ** 2)


@given(
    area=st.floats(0.1, 1e4),
    position=st.floats(19.7, 20.3),
    width=st.floats(0.1, 0.4),
    level=st.floats(-10, 100),
    slope=st.floats(-5, 5),
)
def test_a_gaussian_on_a_straight_background(
    area: float, position: float, width: float, level: float, slope: float
) -> None:
    window = PeakWindow.build(RADIAL, 18.0, 22.0, "peak")
    pattern = gaussian(area, position, width) + level + slope * (RADIAL - 20.0)
    found = window.evaluate(window.weights @ pattern)
    assert found["area"] == pytest.approx(area, rel=1e-6, abs=1e-6)
    assert found["position"] == pytest.approx(position, abs=1e-6 * (1 + 100 / area))
    assert found["width"] == pytest.approx(width, rel=1e-4 * (1 + 100 / area))


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.integers(0, 99))
def test_moments_commute_with_any_linear_operation(mixture: list[float], seed: int) -> None:
    patterns = np.random.default_rng(seed).normal(size=(4, len(RADIAL)))
    window = PeakWindow.build(RADIAL, 18.0, 22.0, "peak")
    np.testing.assert_allclose(
        window.weights @ (np.array(mixture) @ patterns), (window.weights @ patterns.T) @ np.array(mixture), atol=1e-9
    )


def test_no_peak_no_position() -> None:
    window = PeakWindow.build(RADIAL, 18.0, 22.0, "peak")
    found = window.evaluate(
        np.array([[0.0, 0.0, 0.0], [-1.0, 0.1, 0.2], [0.5, 0.0, 0.1], [3.0, 0.0, 0.1]]), least_area=1.0
    )
    np.testing.assert_array_equal(np.isnan(found["position"]), [True, True, True, False])
    np.testing.assert_array_equal(found["area"], [0.0, -1.0, 0.5, 3.0])


def test_sum_over_a_region() -> None:
    weights = sum_weights(RADIAL, 12.0, 12.1, "roi")
    assert weights @ np.ones_like(RADIAL) == 6


@pytest.mark.parametrize(("low", "high"), [(5.0, 9.0), (29.99, 40.0), (20.0, 20.01), (22.0, 20.0)])
def test_a_window_without_channels_is_refused_by_name(low: float, high: float) -> None:
    with pytest.raises(ParameterError, match="The window CeO2 111 from"):
        window_channels(RADIAL, low, high, "CeO2 111")


@pytest.mark.parametrize("width", [0.1, 0.3, 0.8])
def test_width_at_half_maximum(width: float) -> None:
    pattern = gaussian(10.0, 20.1, width) + 3.0
    pattern[np.abs(RADIAL - 20.5) < 0.03] = np.nan
    assert half_maximum_width(RADIAL, pattern, 18.0, 22.0) == pytest.approx(width, abs=0.04)


def test_no_channels_no_width() -> None:
    assert half_maximum_width(RADIAL, np.full_like(RADIAL, np.nan), 18.0, 22.0) == 0.0
