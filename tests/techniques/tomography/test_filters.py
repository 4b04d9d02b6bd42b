"""The ramp and its windows."""

from __future__ import annotations

import numpy as np
import pytest

from friedel.core.errors import ParameterError
from friedel.techniques.tomography.filters import (
    WINDOWS,
    fast_length,
    filter_length,
    filter_response,
    ramp_kernel,
)


def test_ramp_is_the_absolute_frequency_but_for_its_offset() -> None:
    response = filter_response(800)
    frequency = np.arange(401) / 800
    assert response[0] > 0  # |f| would be 0 here and shift the whole slice
    np.testing.assert_allclose(response[1:], frequency[1:], atol=3e-4)


def test_kernel_is_even_and_negative_beside_its_centre() -> None:
    kernel = ramp_kernel(16)
    np.testing.assert_allclose(kernel[1:], kernel[:0:-1])
    assert kernel[0] == 0.25
    assert kernel[1] == pytest.approx(-1 / np.pi**2)
    assert kernel[2] == 0


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_leave_low_frequencies_and_lower_high_ones(name: str) -> None:
    window = filter_response(400, name) / filter_response(400)  # type: ignore[arg-type]
    assert window[0] == pytest.approx(1)
    assert (np.diff(window) <= 1e-12).all()


@pytest.mark.parametrize("name", WINDOWS)
def test_nothing_passes_beyond_the_cutoff(name: str) -> None:
    response = filter_response(400, name, 0.5)  # type: ignore[arg-type]
    assert (response[101:] == 0).all()
    assert response[50] > 0


def test_unknown_filters_and_cutoffs_are_refused() -> None:
    with pytest.raises(ParameterError, match="no filter 'rampp'"):
        filter_response(64, "rampp")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"cutoff is 1\.5"):
        filter_response(64, "ramp", 1.5)


def test_lengths_are_fast_and_long_enough() -> None:
    assert fast_length(601, 2) == 640
    assert fast_length(600, 4) == 600
    for n in (1, 7, 101, 400, 401, 2047):
        length = filter_length(n)
        assert length >= 2 * n
        assert length % 4 == 0
