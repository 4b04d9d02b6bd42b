"""Convolution of lines, channel-last, through the Fourier transform."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from friedel import _native

Singles = NDArray[np.float32]


def filter_lines(
    lines: Singles,
    response: NDArray[np.inexact],
    *,
    edge: bool = False,
    implementation: Literal["native", "reference"] = "native",
) -> Singles:
    """Multiply the spectrum of each line by the response of a real kernel.

    Parameters
    ----------
    lines : ndarray (n_lines, n_samples, n_channels) float32
    response : ndarray (length // 2 + 1,)
        For ``rfft`` of the line extended to an even `length`, a product of 2, 3 and 5.
    edge : bool
        Extend with the line's end values, half on each side, instead of zeros.
    implementation : {"native", "reference"}

    Returns
    -------
    ndarray (n_lines, n_samples, n_channels) float32
    """
    if implementation == "native":
        filtered = np.empty(lines.shape, np.float32)
        _native.filter_lines(np.ascontiguousarray(lines, np.float32), response.astype(np.complex64), edge, filtered)
        return filtered
    from scipy import fft

    length = 2 * (len(response) - 1)
    extended = extend_lines(lines, length, edge)
    spectra = fft.rfft(extended, axis=1) * response.astype(np.complex64)[:, None]
    return np.asarray(fft.irfft(spectra, n=length, axis=1)[:, : lines.shape[1]], np.float32)


def extend_lines(lines: Singles, length: int, edge: bool) -> Singles:
    """Return lines prolonged to `length` samples with zeros or with their end values.

    The samples stay at the start; what is added continues the right end in its first half and, since the transform is
    periodic, leads to the left end in its second half.
    """
    n = lines.shape[1]
    extended = np.zeros((lines.shape[0], length, *lines.shape[2:]), np.float32)
    extended[:, :n] = lines
    if edge:
        middle = n + (length - n) // 2
        extended[:, n:middle] = lines[:, -1:]
        extended[:, middle:] = lines[:, :1]
    return extended
