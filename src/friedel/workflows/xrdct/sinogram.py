"""The scan on its grid: frames in the order of the grid, patterns as sinograms, sinograms by channel blocks.

The sinogram cube is (layer, angle, translation, channel), channel last, as integration writes it; it is never
transposed. Blocks of the first stage are runs of grid points, blocks of the second are ranges of channels of one layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.io.regions import map_rows
from friedel.techniques.tomography.cleanup import Cleaning

Singles = NDArray[np.float32]

MOST_MISSING = 0.5
"""A projection that lacks more than this part of its points is left out rather than filled."""

SINOGRAM = "sinogram"
SINOGRAM_ERRORS = "sinogram_errors"


@dataclass(frozen=True, eq=False)
class SinogramSource:
    """Ranges of channels of one layer's sinograms. A block source; item = layer * channels + channel.

    Attributes
    ----------
    path : str
        File that holds the cube.
    shape : tuple of int
        (layers, angles, translations, channels).
    background : ndarray of float32, shape (layers, channels)
        What is subtracted: air and the detector's own.
    empty : ndarray of bool, shape (channels,)
        Channels without data; they are read as zero.
    cleaning : Cleaning
    errors : bool
        Whether variances are read, too.
    """

    path: str
    shape: tuple[int, int, int, int]
    background: Singles
    empty: NDArray[np.bool_]
    cleaning: Cleaning
    errors: bool

    def read(self, block: Block) -> dict[str, Singles]:
        """Return "sinogram" and, if asked for, "variance", each (angles, translations, channels of the block)."""
        layer, first = divmod(block.start, self.shape[3])
        channels = slice(first, first + len(block))
        sinogram = np.array(map_rows(self.path, SINOGRAM)[layer, :, :, channels]) - self.background[layer, channels]
        variance = None
        if self.errors:
            variance = np.array(map_rows(self.path, SINOGRAM_ERRORS)[layer, :, :, channels]) ** 2
            variance[..., self.empty[channels]] = 0
        sinogram[..., self.empty[channels]] = 0
        sinogram = self.cleaning(fill_missing(sinogram))
        return {"sinogram": sinogram} | ({} if variance is None else {"variance": fill_missing(variance)})


def fill_missing(sinogram: Singles) -> Singles:
    """Fill samples that are NaN by linear interpolation along the translation, each channel by itself.

    Beyond the first and last known sample their values are kept; a projection without any known sample becomes zero
    (it is to be excluded from the reconstruction).

    Parameters
    ----------
    sinogram : ndarray of float32, shape (angles, translations, channels)
    """
    unknown: NDArray[np.bool_] = np.isnan(sinogram)
    if not unknown.any():
        return sinogram
    filled = sinogram.copy()
    everywhere = np.asarray(unknown.all(axis=2))
    alone = (unknown & ~everywhere[..., None]).any(axis=(0, 1))
    # Mostly a point lacks all channels, and these are filled at once; an odd channel is filled alone.
    groups: list[tuple[NDArray[np.intp], NDArray[np.bool_]]] = [(np.flatnonzero(~alone), everywhere)]
    groups += [(np.array([channel]), unknown[..., channel]) for channel in np.flatnonzero(alone)]
    for channels, absent in groups:
        for angle in np.flatnonzero(absent.any(axis=1)):
            filled[angle][:, channels] = _interpolated(sinogram[angle][:, channels], absent[angle])
    return filled


def _interpolated(projection: Singles, absent: NDArray[np.bool_]) -> Singles:
    """Return (translations, channels) with the samples at `absent` interpolated from the others."""
    known = np.flatnonzero(~absent)
    if not known.size:
        return np.zeros_like(projection)
    position = np.arange(len(absent))
    above = np.clip(np.searchsorted(known, position), 1, max(1, len(known) - 1))
    left, right = known[above - 1], known[np.minimum(above, len(known) - 1)]
    part = np.clip((position - left) / np.maximum(right - left, 1), 0.0, 1.0).astype(np.float32)[:, None]
    line = (1 - part) * projection[left] + part * projection[right]
    return np.where(absent[:, None], line, projection)


def lost_projections(totals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which projections lack more than half of their points and are excluded.

    Parameters
    ----------
    totals : ndarray, shape (layers, angles, translations)
        NaN for missing points.

    Returns
    -------
    ndarray of bool, shape (layers, angles)
    """
    return np.asarray(np.isnan(totals).mean(axis=2) > MOST_MISSING)
