"""Spots of one frame: pixels far from the background of their ring, and the peaks among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.kernels.encoded import EncodedFrames
from friedel.techniques.integration.imaging import NumberedFrames, invalid_pixels

from .background import Floats, RingBackground

PEAK = np.dtype([("y", "f4"), ("x", "f4"), ("intensity", "f4"), ("sigma", "f4")])
"""A peak: centre of mass in pixels (the centre of pixel 0 is at 0), sum of the corrected intensities above the
background, and its standard deviation."""


@dataclass(frozen=True)
class PeakSearch:
    """What a peak is.

    Attributes
    ----------
    cutoff : float
        Its highest pixel, and those that count as connected, lie this many uncertainties above the background.
    patch : int
        Rows and columns, odd, in which it is the highest pixel.
    connected : int
        How many pixels of the patch, itself included, lie above the cutoff at least.
    """

    cutoff: float = 5.0
    patch: int = 3
    connected: int = 3


@dataclass(frozen=True, eq=False)
class FrameSpots:
    """What was found in a frame.

    Attributes
    ----------
    mean, std : ndarray of float64, shape (n_bins,)
        Background and spread of a pixel about it, in corrected intensity.
    index : ndarray of uint32
        Numbers of pixels that are not background, ascending.
    intensity : ndarray
        Their counts as recorded.
    peaks : ndarray of PEAK
    """

    mean: Floats
    std: Floats
    index: NDArray[np.uint32]
    intensity: NDArray[np.generic]
    peaks: NDArray[np.void]


@dataclass(frozen=True, eq=False)
class SpotFinder:
    """The plan: frames to what is not background.

    A pixel is uncertain by √(std² + noise²), std interpolated on the rings.

    Attributes
    ----------
    background : RingBackground
    noise : float
        Uncertainty that every pixel has besides, in corrected intensity.
    keep : float or None
        Distance from the background in uncertainties from which on pixels are kept, above or below it; None for none.
    search : PeakSearch or None
    """

    background: RingBackground
    noise: float = 1.0
    keep: float | None = None
    search: PeakSearch | None = None

    def __call__(self, items: NumberedFrames) -> list[FrameSpots]:
        """Return what is found in each frame of a block."""
        block = items.decoded().block
        mean, std = self.background.fit(block)
        frames = block.frames
        assert not isinstance(frames, EncodedFrames)
        invalid = invalid_pixels(self.background.radial_map, frames)
        return [self._spots(*parts) for parts in zip(frames, invalid, mean, std, strict=True)]

    def _spots(self, frame: NDArray[np.generic], invalid: NDArray[np.bool_], mean: Floats, std: Floats) -> FrameSpots:
        raw = frame.reshape(-1)
        index = np.zeros(0, np.uint32)
        if self.keep is not None:
            index = self._kept(raw, invalid, mean, std, self.keep)
        peaks = np.zeros(0, PEAK)
        if self.search is not None:
            peaks = self._peaks(raw, invalid, mean, std, self.search)
        return FrameSpots(mean, std, index, raw[index], peaks)

    def _excess(
        self, raw: NDArray[np.generic], mean: Floats, std: Floats, pixels: NDArray[np.intp]
    ) -> tuple[Floats, Floats]:
        """Return how far pixels lie above the background, and how uncertain that is."""
        excess = self.background.corrected(raw, pixels) - self.background.at(mean, pixels)
        return excess, np.hypot(self.background.at(std, pixels), self.noise)

    def _kept(
        self, raw: NDArray[np.generic], invalid: NDArray[np.bool_], mean: Floats, std: Floats, cutoff: float
    ) -> NDArray[np.uint32]:
        pixels = self.background.beyond(raw, mean, np.hypot(std, self.noise), cutoff, both_sides=True)
        excess, uncertainty = self._excess(raw, mean, std, pixels)
        far = pixels[~(np.abs(excess) <= cutoff * uncertainty)]
        # What is marked in this frame alone must be kept: the mask of all frames does not tell.
        marked = np.flatnonzero(invalid.reshape(-1) & self.background.valid)
        return np.union1d(far, marked).astype(np.uint32)

    def _peaks(
        self, raw: NDArray[np.generic], invalid: NDArray[np.bool_], mean: Floats, std: Floats, search: PeakSearch
    ) -> NDArray[np.void]:
        rows, columns = self.background.shape
        pixels = self.background.beyond(raw, mean, np.hypot(std, self.noise), search.cutoff, both_sides=False)
        half = search.patch // 2
        y, x = np.divmod(pixels, columns)
        pixels = pixels[(y >= half) & (y < rows - half) & (x >= half) & (x < columns - half)]
        excess, uncertainty = self._excess(raw, mean, std, pixels)
        pixels = pixels[excess >= search.cutoff * uncertainty]
        dy, dx = (step.ravel() for step in np.mgrid[-half : half + 1, -half : half + 1])
        around = pixels[:, np.newaxis] + dy * columns + dx
        usable = self.background.valid & ~invalid.reshape(-1)
        whole = usable[around].all(axis=1)
        around = around[whole]
        excess, uncertainty = self._excess(raw, mean, std, around)
        middle = len(dy) // 2
        own = excess[:, middle : middle + 1]
        # Of equal pixels the first is the highest.
        highest = (excess[:, :middle] < own).all(axis=1) & (excess[:, middle:] <= own).all(axis=1)
        strong = (excess > 0) & (excess >= search.cutoff * uncertainty)
        chosen = highest & (strong.sum(axis=1) >= search.connected)
        return _peaks_of(around[chosen, middle], excess[chosen], uncertainty[chosen], dy, dx, columns)


def _peaks_of(
    centers: NDArray[np.intp],
    excess: Floats,
    uncertainty: Floats,
    dy: NDArray[np.intp],
    dx: NDArray[np.intp],
    columns: int,
) -> NDArray[np.void]:
    weights = np.maximum(excess, 0.0)
    total = weights.sum(axis=1)
    y, x = np.divmod(centers, columns)
    peaks = np.zeros(len(centers), PEAK)
    peaks["y"], peaks["x"] = y + weights @ dy / total, x + weights @ dx / total
    peaks["intensity"] = total
    peaks["sigma"] = np.sqrt(np.where(excess > 0, uncertainty**2, 0.0).sum(axis=1))
    return peaks
