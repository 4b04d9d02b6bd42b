"""Phase fits: known mixtures come back, whatever smooth background they stand on."""

import time

import numpy as np
import pytest

from friedel.core.errors import DataError
from friedel.matter import Crystal
from friedel.techniques.powder import Profile, fit_phases, powder_pattern

AXIS = np.linspace(10, 60, 800)
NAMES = ["CeO2", "Si", "Ni", "Al2O3"]


@pytest.fixture(scope="module")
def references():
    patterns = [powder_pattern(Crystal.named(name), AXIS, "q_nm^-1", 2e-11, profile=Profile(0.05)) for name in NAMES]
    return np.stack(patterns)


def test_known_mixtures_come_back(references):
    random = np.random.default_rng(1)
    amounts = np.maximum(random.uniform(-1, 1, size=(5, 6, 4)), 0)
    x = np.linspace(-1, 1, AXIS.size)
    background = 1e-2 * references.max() * np.polynomial.chebyshev.chebval(x, [3.0, -2.0, 0.5])
    fit = fit_phases(amounts @ references + background, references, background_degree=2)
    np.testing.assert_allclose(fit.weights, amounts, atol=1e-9)
    coefficients = np.broadcast_to(1e-2 * references.max() * np.array([3.0, -2.0, 0.5]), (5, 6, 3))
    np.testing.assert_allclose(fit.background, coefficients, rtol=1e-6, atol=1e-9 * references.max())
    assert fit.residual.shape == (5, 6)
    assert fit.residual.max() < 1e-12 * references.max()


def test_residual_is_that_of_the_noise(references):
    noise = np.random.default_rng(2).normal(scale=0.01 * references.max(), size=(50, AXIS.size))
    fit = fit_phases(references.sum(axis=0) + noise, references, background_degree=1)
    assert fit.residual.mean() == pytest.approx(0.01 * references.max(), rel=0.02)


def test_empty_bins_are_left_out_and_broken_patterns_are_nan(references):
    patterns = np.repeat(references[:1], 3, axis=0)
    patterns[:, 100:110] = np.nan
    patterns[2, 5] = np.nan
    fit = fit_phases(patterns, references, None)
    np.testing.assert_allclose(fit.weights[:2], [[1, 0, 0, 0]] * 2, atol=1e-9)
    assert np.isnan(fit.weights[2]).all()
    assert fit.background.shape == (3, 0)


def test_different_axes_are_refused(references):
    with pytest.raises(DataError, match="same radial axis"):
        fit_phases(np.zeros((3, 10)), references)
    with pytest.raises(DataError, match="not finite"):
        fit_phases(np.zeros((3, AXIS.size)), np.full_like(references, np.nan))


def test_many_voxels_are_fast(references):
    random = np.random.default_rng(3)
    patterns = (random.uniform(-1, 1, size=(20_000, 4)) @ references).astype(np.float32)
    start = time.perf_counter()
    fit_phases(patterns, references)
    assert time.perf_counter() - start < 5.0
