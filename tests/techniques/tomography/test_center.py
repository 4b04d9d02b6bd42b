"""The rotation axis: known offsets with noise, half and whole turns, missing angles; the real tooth."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from friedel.core.errors import DataError
from friedel.techniques.tomography import find_center, minus_log
from phantoms import several, sinogram
from shared_data import shared

HALF, WHOLE = np.arange(0, 180, 1.5), np.arange(0, 360, 3.0)
GAP = np.delete(HALF, slice(20, 30))


@pytest.mark.parametrize(
    ("n", "angles", "center", "noise"),
    [
        (128, HALF, 60.3, 0.0),
        (128, HALF, 70.3, 0.02),
        (128, WHOLE, 55.75, 0.02),
        (200, WHOLE[::2], 105.75, 0.03),
        (128, GAP, 61.2, 0.02),
        (128, np.random.default_rng(1).permutation(HALF), 65.1, 0.01),
        (101, np.sort(np.random.default_rng(2).uniform(0, 180, 70)), 48.9, 0.01),
    ],
    ids=["clean", "noise", "whole turn", "coarse", "gap", "unsorted", "random"],
)
def test_known_offsets(n: int, angles: np.ndarray, center: float, noise: float) -> None:
    rows = sinogram(several(round(0.75 * n)), angles, n, center)
    rows = rows + np.random.default_rng(0).normal(size=rows.shape) * noise * rows.max()
    found = find_center(rows, angles)
    assert found.agreed, found.message
    assert found.value == pytest.approx(center, abs=0.15)
    assert found.spread < 1


def test_a_missing_wedge_has_no_opposite_projections() -> None:
    angles = np.arange(0, 150, 1.5)
    found = find_center(sinogram(several(96), angles, 128, 66.2), angles)
    assert "mirror" not in found.estimates
    assert found.value == pytest.approx(66.2, abs=0.2)


def test_truncated_projections_discredit_the_centre_of_mass() -> None:
    rows = sinogram(several(128), HALF, 160, 86.0)[:, 20:110]
    found = find_center(rows, HALF)
    assert found.value == pytest.approx(66.0, abs=0.5)
    assert found.estimates["mass"].note or not found.agreed


def test_jitter_is_reported() -> None:
    rng = np.random.default_rng(0)
    jitter = rng.normal(size=len(HALF)) * 0.8
    rows = np.concatenate([sinogram(several(96), [a], 128, 60 + j) for a, j in zip(HALF, jitter, strict=True)])
    found = find_center(rows, HALF)
    assert found.estimates["mass"].residual == pytest.approx(0.8, rel=0.3)


def test_failed_projections_are_left_out_and_channels_summed() -> None:
    rows = np.repeat(sinogram(several(96), HALF, 128, 60.3)[..., None], 3, axis=2)
    rows[[4, 50]] = np.nan
    assert find_center(rows, HALF).value == pytest.approx(60.3, abs=0.15)


def test_disagreement_is_said() -> None:
    found = find_center(np.random.default_rng(0).random((60, 64)), np.arange(0, 180, 3.0))
    assert not found.agreed
    assert "px is used" in found.message


def test_no_signal_is_refused() -> None:
    with pytest.raises(DataError, match="holds no signal"):
        find_center(np.zeros((60, 64)), np.arange(0, 180, 3.0))
    with pytest.raises(DataError, match="61 angles"):
        find_center(np.zeros((60, 64)), np.arange(61.0))


def test_search_range_is_kept() -> None:
    found = find_center(sinogram(several(96), HALF, 128, 60.3), HALF, search=(55, 66))
    assert found.value == pytest.approx(60.3, abs=0.15)


def test_tooth() -> None:
    with h5py.File(shared("tomography", "tooth.h5")) as file:
        exchange = file["exchange"]
        flat, dark = exchange["data_white"][:].mean(axis=0), exchange["data_dark"][:].mean(axis=0)
        absorption = minus_log(exchange["data"][:], flat, dark)
        angles = exchange["theta"][:]
    found = find_center(np.moveaxis(absorption, 1, 2), angles)
    assert found.agreed, found.message
    assert found.value == pytest.approx(295.5, abs=0.7)
