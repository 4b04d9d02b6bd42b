"""Bands against full matrices."""

import numpy as np
import pytest

from friedel.core.errors import DataError
from friedel.data import covariance_matrix, whitened


def bands(n=12, reach=2, seed=1):
    """The covariance of sums of neighbouring independent numbers."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(n) + sum(np.diag(rng.uniform(0, 0.6, n - k), -k) for k in range(1, reach + 1))
    matrix = mixing @ np.diag(rng.uniform(1, 3, n)) @ mixing.T
    found = np.zeros((reach + 1, n))
    for k in range(reach + 1):
        found[k, : n - k] = np.diag(matrix, -k)
    return found, matrix


def test_the_matrix_of_bands():
    given, matrix = bands()
    np.testing.assert_allclose(covariance_matrix(given), matrix, rtol=1e-12)
    assert covariance_matrix(np.ones((3, 2))).shape == (2, 2)


def test_whitened_residuals_have_the_right_chi_squared():
    given, matrix = bands()
    r = np.random.default_rng(2).normal(size=12)
    white = whitened(r, given)
    assert white @ white == pytest.approx(r @ np.linalg.solve(matrix, r))
    np.testing.assert_allclose(np.linalg.cholesky(matrix) @ white, r, rtol=1e-9)


def test_bins_without_intensity_are_left_out():
    given, matrix = bands()
    r = np.random.default_rng(2).normal(size=12)
    r[3], given[0, 7] = np.nan, np.nan
    known = np.delete(np.arange(12), [3, 7])
    white = whitened(r, given)
    assert white.shape == (10,)
    assert white @ white == pytest.approx(r[known] @ np.linalg.solve(matrix[np.ix_(known, known)], r[known]))


@pytest.mark.parametrize(
    ("residuals", "covariance", "message"),
    [
        (np.ones(3), np.ones((2, 4)), "one residual"),
        (np.ones(3), np.ones(3), "one pattern"),
        (np.ones(3), np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]), "positive definite"),
    ],
)
def test_what_cannot_be_whitened(residuals, covariance, message):
    with pytest.raises(DataError, match=message):
        whitened(residuals, covariance)
