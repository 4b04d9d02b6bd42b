"""What is done to sinograms before they are reconstructed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.core.errors import DataError, ParameterError
from friedel.techniques.tomography import minus_log, normalize_monitor, remove_outliers, remove_rings, subtract_air
from phantoms import several, sinogram

ANGLES = np.arange(0, 180, 1.5)
ROWS = sinogram(several(80), ANGLES, 96)
NOISY = ROWS + np.random.default_rng(0).normal(size=ROWS.shape).astype(np.float32)


def test_isolated_samples_are_replaced_and_the_rest_is_untouched() -> None:
    spoilt = NOISY.copy()
    where = np.zeros(ROWS.shape, bool)
    where[5::17, 7::13] = True
    spoilt[where] += 300
    cleaned = remove_outliers(spoilt)
    assert np.abs(cleaned[where] - NOISY[where]).max() < 40
    assert (cleaned[~where] == spoilt[~where]).all()


@pytest.mark.parametrize("rows", [ROWS, NOISY, np.zeros_like(ROWS)])
def test_clean_sinograms_stay_as_they_are(rows: np.ndarray) -> None:
    changed = remove_outliers(rows) != rows
    assert changed.mean() < 2e-3


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), rate=st.floats(0.001, 3.0))
def test_sparse_counts_are_not_lost(seed: int, rate: float) -> None:
    """Most samples equal their neighbours, and yet a single count is no outlier."""
    counts = np.random.default_rng(seed).poisson(rate, (60, 60)).astype(np.float32)
    assert remove_outliers(counts).sum() == pytest.approx(counts.sum(), rel=0.01)


def test_outliers_among_sparse_counts_are_replaced() -> None:
    counts = np.random.default_rng(0).poisson(0.05, (60, 60)).astype(np.float32)
    spoilt = counts.copy()
    spoilt[7::20, 5::20] = 400
    cleaned = remove_outliers(spoilt)
    assert cleaned.max() <= counts.max()
    assert cleaned.sum() == pytest.approx(counts.sum(), rel=0.05)


@pytest.mark.parametrize("air", [0.0, 0.1])
def test_a_smooth_object_in_empty_air_stays_as_it_is(air: float) -> None:
    y, x = np.indices((60, 60))
    for width in (3, 6, 9):
        bump = np.maximum(np.exp(-((x - 30 - 8 * np.sin(y / 9)) ** 2) / width**2 / 2) - 0.1, 0)
        rows = (np.where(bump > 0, 100 * bump + 3 * np.sin(y / 7) ** 2, 0) + air).astype(np.float32) - np.float32(air)
        np.testing.assert_array_equal(remove_outliers(rows), rows)


def test_nan_is_filled_where_neighbours_know() -> None:
    rows = NOISY.copy()
    rows[10, 20] = np.nan
    rows[50] = np.nan
    cleaned = remove_outliers(rows)
    assert abs(cleaned[10, 20] - NOISY[10, 20]) < 40
    assert np.isfinite(np.delete(cleaned, 50, axis=0)).all()


def test_monitor_undoes_the_decay_of_the_beam() -> None:
    beam = np.linspace(2e5, 1e5, ROWS.size).reshape(ROWS.shape)
    cube = (ROWS * beam / np.mean(beam))[..., None] * np.ones(3)
    np.testing.assert_allclose(normalize_monitor(cube, beam)[..., 1], ROWS, rtol=1e-6)
    np.testing.assert_allclose(normalize_monitor(ROWS, beam[:, 0]).shape, ROWS.shape)


def test_monitor_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match=r"monitor has the shape \(3, 4\)"):
        normalize_monitor(ROWS, np.ones((3, 4)))
    beam = np.ones(ROWS.shape)
    beam[2, 3:6] = 0
    with pytest.raises(DataError, match="zero or negative at 3 of"):
        normalize_monitor(ROWS, beam)


def test_absorption_is_minus_the_log_of_the_transmission() -> None:
    flat, dark = np.linspace(900, 1100, 96), np.full(96, 100.0)
    counts = dark + (flat - dark) * np.exp(-ROWS.astype(float) / 50)
    np.testing.assert_allclose(minus_log(counts, flat, dark), ROWS / 50, atol=1e-5)


def test_dead_pixels_and_dark_counts_stay_finite() -> None:
    flat = np.full(96, 1000.0)
    flat[3] = 0
    assert np.isfinite(minus_log(np.zeros((4, 96)), flat, 10.0)).all()
    with pytest.raises(DataError, match="nowhere above"):
        minus_log(np.zeros((4, 96)), 1.0, 2.0)


def test_air_is_a_line_between_the_edges() -> None:
    air = np.linspace(1, 3, 96) + np.arange(len(ANGLES))[:, None]
    np.testing.assert_allclose(subtract_air(ROWS + air, 5), ROWS, atol=1e-4)
    with pytest.raises(ParameterError, match="49 translations"):
        subtract_air(ROWS, 49)


@pytest.mark.parametrize("method", ["sort", "mean"])
def test_stripes_go_and_structure_stays(method: str) -> None:
    stripes = np.zeros(96, np.float32)
    stripes[[30, 47, 48, 62]] = 8, -6, -6, 10
    striped = NOISY + stripes
    cleaned = remove_rings(striped, method, 11)  # type: ignore[arg-type]
    left = (cleaned - NOISY).mean(axis=0)[stripes != 0]
    assert np.abs(left).max() < 2.5
    assert np.sqrt(np.mean((cleaned - ROWS) ** 2)) < 1.6


def test_channels_are_cleaned_one_by_one() -> None:
    cube = np.stack([NOISY, NOISY[::-1] * 2, ROWS], axis=-1)
    for clean in (remove_outliers, remove_rings):
        whole = clean(cube)
        for k in range(3):
            np.testing.assert_array_equal(whole[..., k], clean(np.ascontiguousarray(cube[..., k])))


def test_wrong_settings_are_explained() -> None:
    with pytest.raises(ParameterError, match="no ring removal 'polar'"):
        remove_rings(ROWS, "polar")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="size is 4"):
        remove_rings(ROWS, "sort", 4)
    with pytest.raises(ParameterError, match="threshold is 0"):
        remove_outliers(ROWS, 0)
    assert remove_rings(ROWS, "none") is ROWS
