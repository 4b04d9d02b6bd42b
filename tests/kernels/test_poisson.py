"""Poisson frames: the right distribution, and the same numbers however the work is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, poisson

from friedel.core.errors import ParameterError
from friedel.kernels.poisson import poisson_frames, poisson_frames_reference


@given(
    seed=st.integers(0, 2**64 - 1),
    first=st.integers(0, 2**40),
    pixels=st.integers(1, 70),
    scale=st.sampled_from([0.0, 0.1, 5.0, 60.0, 300.0, 1e6]),
)
@settings(max_examples=60)
def test_compiled_and_reference_give_the_same_numbers(seed, first, pixels, scale):
    random = np.random.default_rng(pixels)
    images = random.uniform(0, scale, size=(3, pixels))
    amounts = random.uniform(0, 1, size=(2, 3))
    expected = poisson_frames_reference(images, amounts, seed=seed, first_frame=first)
    assert np.array_equal(poisson_frames(images, amounts, seed=seed, first_frame=first), expected)


@pytest.mark.parametrize("mean", [0.01, 0.7, 4.0, 29.3, 59.9, 60.1, 150.0, 4000.0])
def test_counts_follow_the_distribution(mean):
    counts = poisson_frames(np.full((1, 40_000), mean), np.ones((5, 1)), seed=11).ravel()
    mean = float(np.float32(mean))
    # Classes of at least 50 expected counts: the tails are lumped together.
    edges = np.unique(poisson.ppf(np.linspace(0.001, 0.999, 60), mean))
    observed = np.bincount(np.searchsorted(edges, counts), minlength=edges.size + 1)
    expected = np.diff(np.concatenate([[0.0], poisson.cdf(edges, mean), [1.0]])) * counts.size
    keep = expected > 50
    statistic = ((observed - expected) ** 2 / expected)[keep].sum()
    assert chi2.sf(statistic, keep.sum() - 1) > 1e-4
    assert counts.max() < mean + 8 * np.sqrt(mean) + 8


def test_frames_and_pixels_are_independent():
    frames = poisson_frames(np.full((1, 20_000), 10.0), np.ones((8, 1)), seed=1).astype(float)
    between_frames = np.corrcoef(frames)
    assert abs(between_frames - np.eye(8)).max() < 0.04
    assert abs(np.corrcoef(frames[:, :-1].ravel(), frames[:, 1:].ravel())[0, 1]) < 0.01
    other = poisson_frames(np.full((1, 20_000), 10.0), np.ones((1, 1)), seed=2)[0]
    assert abs(np.corrcoef(other, frames[0])[0, 1]) < 0.04


def test_neither_threads_nor_blocks_change_the_counts():
    random = np.random.default_rng(0)
    images, amounts = random.uniform(0, 50, size=(2, 10_001)), random.uniform(0, 2, size=(7, 2))
    whole = poisson_frames(images, amounts, seed=5, first_frame=100)
    assert np.array_equal(poisson_frames(images, amounts, seed=5, first_frame=100, threads=3), whole)
    blocks = [poisson_frames(images, amounts[i : i + 2], seed=5, first_frame=100 + i) for i in range(0, 7, 2)]
    assert np.array_equal(np.concatenate(blocks), whole)


def test_nothing_scatters_nothing():
    assert not poisson_frames(np.zeros((2, 5)), np.ones((3, 2))).any()
    assert not poisson_frames(np.full((1, 5), -3.0), np.ones((3, 1))).any()


def test_means_beyond_the_type_saturate():
    assert (poisson_frames(np.full((1, 3), 1e12), np.ones((1, 1))) == 2**32 - 1).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ParameterError, match=r"\(2, 5\) and amounts of shape \(3, 1\)"):
        poisson_frames(np.zeros((2, 5)), np.zeros((3, 1)))
    with pytest.raises(ParameterError, match="not finite"):
        poisson_frames(np.full((1, 5), np.nan), np.ones((1, 1)))
