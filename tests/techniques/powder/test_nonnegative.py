"""Non-negative least squares of many problems at once against scipy's of one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import nnls

from friedel.techniques.powder import solve_nonnegative


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 40), st.floats(0.0, 3.0))
def test_the_same_as_scipy(seed, unknowns, problems, mean):
    random = np.random.default_rng(seed)
    matrix = random.normal(mean, 1.0, size=(unknowns + 5, unknowns)) * random.uniform(1e-3, 1e3, unknowns)
    measured = random.normal(size=(problems, unknowns + 5))
    found = solve_nonnegative(matrix.T @ matrix, measured @ matrix)
    for y, weights in zip(measured, found, strict=True):
        expected, norm = nnls(matrix, y)
        assert (weights >= 0).all()
        assert np.linalg.norm(matrix @ weights - y) == pytest.approx(norm, rel=1e-7)
        np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6 * (abs(expected).max() + 1e-9))


@given(arrays(np.float64, (20, 4), elements=st.floats(0, 10)))
def test_exact_amounts_come_back(amounts):
    matrix = np.random.default_rng(0).uniform(size=(30, 4))
    found = solve_nonnegative(matrix.T @ matrix, amounts @ matrix.T @ matrix)
    np.testing.assert_allclose(found, amounts, atol=1e-9)


def test_references_that_are_the_same_share_the_amount():
    matrix = np.ones((10, 2))
    found = solve_nonnegative(matrix.T @ matrix, np.full((1, 10), 3.0) @ matrix)
    assert found.sum() == pytest.approx(3.0)
    assert (found >= 0).all()


def test_leading_dimensions_and_what_is_not_finite():
    gram = np.eye(2)
    found = solve_nonnegative(gram, np.array([[[1.0, -1.0], [np.nan, 0.0]]]))
    assert found.shape == (1, 2, 2)
    np.testing.assert_array_equal(found[0, 0], [1.0, 0.0])
    assert np.isnan(found[0, 1]).all()
