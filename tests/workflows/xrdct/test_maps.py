"""Every voxel's pattern gives its sums, peaks and phases."""

from __future__ import annotations

import numpy as np
import pytest

from friedel.workflows.xrdct.maps import VoxelAnalysis

RADIAL = np.linspace(10.0, 30.0, 401)
MEASURED = np.ones(401, bool)


def gaussian(position: float, width: float) -> np.ndarray:
    return np.exp(-4 * np.log(2) * ((RADIAL - position) / width) ** 2)


@pytest.fixture
def references() -> np.ndarray:
    return np.stack([gaussian(14, 0.4) + gaussian(20, 0.4), gaussian(17, 0.4) + gaussian(26, 0.4)])


@pytest.fixture
def amounts() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 2, (3, 5, 2))


def test_maps_of_a_known_volume(references: np.ndarray, amounts: np.ndarray) -> None:
    analysis = VoxelAnalysis.build(RADIAL, MEASURED, ["low=13:15"], ["second=16:18"], references, background_degree=2)
    volume = (amounts @ references + 0.1 + 0.01 * RADIAL).astype(np.float32)
    result = analysis({"volume": volume})
    np.testing.assert_allclose(result["phase"], amounts, atol=1e-4)
    assert result["residual"].max() < 1e-4
    inside = (RADIAL >= 13) & (RADIAL <= 15)
    np.testing.assert_allclose(analysis.region_maps(result["functional"])[0], volume[..., inside].sum(-1), rtol=1e-5)
    peaks = analysis.peak_maps(result["functional"])
    np.testing.assert_allclose(peaks["area"][0], amounts[..., 1] * 0.4 * np.sqrt(np.pi / np.log(16)), rtol=1e-3)
    np.testing.assert_allclose(peaks["position"][0], 17.0, atol=1e-3)
    np.testing.assert_allclose(peaks["width"][0], 0.4, rtol=1e-2)


def test_errors_of_sums_of_independent_channels(references: np.ndarray) -> None:
    analysis = VoxelAnalysis.build(RADIAL, MEASURED, ["roi=13:15"], [], None, 0)
    volume = np.ones((1, 1, 401), np.float32)
    result = analysis({"volume": volume, "volume_errors": 2 * volume})
    assert result["functional_errors"][0, 0, 0] == pytest.approx(2 * np.sqrt(41))


def test_channels_without_data_do_not_disturb(references: np.ndarray, amounts: np.ndarray) -> None:
    measured = (RADIAL < 19) | (RADIAL > 19.5)
    analysis = VoxelAnalysis.build(RADIAL, measured, [], [], references, background_degree=0)
    volume = np.where(measured, amounts @ references, 0.0).astype(np.float32)
    np.testing.assert_allclose(analysis({"volume": volume})["phase"], amounts, atol=1e-5)
