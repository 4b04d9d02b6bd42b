"""Convolution of lines through the Fourier transform."""

from __future__ import annotations

import numpy as np
import pytest

from friedel.kernels.filtering import extend_lines, filter_lines


@pytest.mark.parametrize("length", [64, 60, 50, 54, 100, 48, 90])
@pytest.mark.parametrize("edge", [False, True])
def test_native_is_the_reference(length: int, edge: bool) -> None:
    rng = np.random.default_rng(length)
    lines = rng.normal(size=(7, 25, 18)).astype(np.float32)
    response = np.fft.rfft(rng.normal(size=length))
    reference = filter_lines(lines, response, edge=edge, implementation="reference")
    assert np.abs(filter_lines(lines, response, edge=edge) - reference).max() < 1e-6 * np.abs(reference).max()


def test_is_a_convolution() -> None:
    rng = np.random.default_rng(0)
    line, kernel = rng.normal(size=(1, 20, 1)).astype(np.float32), np.zeros(40)
    kernel[[0, 1, 2, -1]] = 1.0, 0.5, -0.25, 2.0
    expected = np.convolve(line[0, :, 0], [2.0, 1.0, 0.5, -0.25])[1:21]
    np.testing.assert_allclose(filter_lines(line, np.fft.rfft(kernel))[0, :, 0], expected, atol=1e-5)


def test_edges_continue_on_their_side() -> None:
    line = np.array([1, 2, 3], np.float32)[None, :, None]
    np.testing.assert_array_equal(extend_lines(line, 7, edge=True)[0, :, 0], [1, 2, 3, 3, 3, 1, 1])
    np.testing.assert_array_equal(extend_lines(line, 5, edge=False)[0, :, 0], [1, 2, 3, 0, 0])


def test_channel_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(1)
    lines, response = rng.normal(size=(5, 30, 37)).astype(np.float32), np.fft.rfft(rng.normal(size=60))
    whole = filter_lines(lines, response)
    for part in (slice(0, 1), slice(3, 20), slice(36, 37)):
        np.testing.assert_array_equal(filter_lines(lines[..., part], response), whole[..., part])


def test_lengths_of_other_primes_are_refused() -> None:
    with pytest.raises(ValueError, match="product of 2, 3 and 5"):
        filter_lines(np.zeros((1, 5, 1), np.float32), np.ones(8))
