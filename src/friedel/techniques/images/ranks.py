"""Statistics that need all values of a pixel at once: median, quantiles, means without the farthest values.

Memory is bounded by taking some rows of the detector at a time, from every frame; the frames are read again for each
slab of rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.device.memory import memory_limit
from friedel.io import FrameSource

from .correction import FrameCorrection

Floats = NDArray[np.float64]

MEMORY_PART = 4
"""Slabs that are read and worked on at the same time may take one part in so many of the memory."""
READ_BYTES = 64 * 1024**2
SORTED_VALUES = 1 << 20
"""Values that are sorted at a time."""


def rows_per_slab(source: FrameSource, slabs: int) -> int:
    """Return how many rows of all frames fit the memory, when `slabs` are there at a time."""
    memory = memory_limit() // MEMORY_PART
    row_bytes = source.n_frames * source.frame_shape[1] * source.dtype.itemsize
    return int(max(1, min(memory // slabs // max(1, row_bytes), source.frame_shape[0])))


@dataclass(frozen=True, eq=False)
class RowSlab:
    """Some rows of all frames, shape (frames, rows, columns), and the number of the first row."""

    values: NDArray[Any]
    first: int


@dataclass(frozen=True, eq=False)
class DetectorRows:
    """Rows of the detector, from every frame; a `friedel.core.blocks.BlockSource` whose items are rows."""

    source: FrameSource
    threads: int = 1

    def read(self, block: Block) -> RowSlab:
        """Return the rows of a block."""
        n_frames, _, columns = self.source.shape
        slab = np.empty((n_frames, len(block), columns), self.source.dtype)
        step = max(1, READ_BYTES // self.source.frame_bytes)
        for start in range(0, n_frames, step):
            stop = min(start + step, n_frames)
            frames = self.source.decoded(start, stop, threads=self.threads)
            slab[start:stop] = frames[:, block.start : block.stop]
        return RowSlab(slab, block.start)


@dataclass(frozen=True, eq=False)
class RankStatistics:
    """A plan: rows of all frames to statistics of their pixels.

    Attributes
    ----------
    correction : FrameCorrection
    names : tuple of str
        Statistics: "median", "quantiles", "trimmed_mean", "clipped_mean".
    quantiles : tuple of float
    trim : (float, float)
        Quantiles between which "trimmed_mean" averages.
    cutoff : float
        Standard deviations from the median within which "clipped_mean" averages.
    factors : ndarray of float64, shape (frames,), or None
        What the values of each frame are divided by.
    """

    correction: FrameCorrection
    names: tuple[str, ...]
    quantiles: tuple[float, ...] = ()
    trim: tuple[float, float] = (0.0, 1.0)
    cutoff: float = math.inf
    factors: Floats | None = None

    def __call__(self, slab: RowSlab) -> Mapping[str, Floats]:
        """Return the statistics by name: (rows, columns), "quantiles" (rows, columns, quantiles)."""
        n_frames, rows, columns = slab.values.shape
        shapes = {name: (len(self.quantiles),) if name == "quantiles" else () for name in self.names}
        found = {name: np.empty((rows, columns, *shape)) for name, shape in shapes.items()}
        step = max(1, SORTED_VALUES // max(1, n_frames))
        for row in range(rows):
            for start in range(0, columns, step):
                part = slice(start, min(start + step, columns))
                ordered, count = self._ordered(slab.values[:, row, part], (slab.first + row) * columns + start)
                for name, values in self._statistics(ordered, count).items():
                    found[name][row, part] = values
        return found

    def _ordered(self, raw: NDArray[Any], first: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return values (pixels, frames) in ascending order, invalid ones (as NaN) last, and how many are valid."""
        if self.factors is None and self.correction.is_trivial(raw.dtype):
            ordered = np.sort(np.ascontiguousarray(raw.T), axis=1).astype(np.float64)
            return ordered, np.full(len(ordered), raw.shape[0])
        factor = None if self.factors is None else self.factors[:, np.newaxis]
        values, valid = self.correction(raw, slice(first, first + raw.shape[1]), factor)
        if valid is not None:
            values[~valid] = np.nan
        ordered = np.sort(np.ascontiguousarray(values.T), axis=1)
        return ordered, np.count_nonzero(~np.isnan(ordered), axis=1)

    def _statistics(self, ordered: Floats, count: NDArray[np.int64]) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        if "quantiles" in self.names:
            found["quantiles"] = np.stack([quantile(ordered, count, fraction) for fraction in self.quantiles], axis=-1)
        if "median" in self.names:
            found["median"] = quantile(ordered, count, 0.5)
        if "trimmed_mean" in self.names:
            found["trimmed_mean"] = trimmed_mean(ordered, count, *self.trim)
        if "clipped_mean" in self.names:
            found["clipped_mean"] = clipped_mean(ordered, quantile(ordered, count, 0.5), self.cutoff)
        return found


def quantile(ordered: Floats, count: NDArray[np.int64], fraction: float) -> Floats:
    """Return a quantile of each row of `ordered`, by linear interpolation between neighbours.

    Parameters
    ----------
    ordered : ndarray of float64, shape (pixels, frames)
        Ascending; only the first `count` values of a row are valid.
    count : ndarray of int, shape (pixels,)
    fraction : float
        0 for the smallest value, 1 for the largest.

    Returns
    -------
    ndarray of float64, shape (pixels,)
        NaN where there is no valid value.
    """
    place = np.maximum(count - 1, 0) * fraction
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    part = place - below
    rows = np.arange(len(ordered))
    low, high = ordered[rows, below], ordered[rows, above]
    return np.where(count > 0, low + part * (high - low), np.nan)


def trimmed_mean(ordered: Floats, count: NDArray[np.int64], low: float, high: float) -> Floats:
    """Return the mean of the values between two quantiles: those of rank ⌊low·n⌋ to ⌈high·n⌉, at least one."""
    low, high = min(low, high), max(low, high)
    first = np.minimum(np.floor(low * count).astype(np.int64), np.maximum(count - 1, 0))
    last = np.maximum(np.minimum(np.ceil(high * count).astype(np.int64), count), first + 1)
    rank = np.arange(ordered.shape[1])
    inside = (rank >= first[:, np.newaxis]) & (rank < last[:, np.newaxis])
    return _mean_where(ordered, inside & ~np.isnan(ordered))


def clipped_mean(ordered: Floats, center: Floats, cutoff: float) -> Floats:
    """Return the mean of the values within `cutoff` standard deviations (of all values) of the centre."""
    valid = ~np.isnan(ordered)
    mean = _mean_where(ordered, valid)[:, np.newaxis]
    spread = np.sqrt(_mean_where((ordered - mean) ** 2, valid))[:, np.newaxis]
    with np.errstate(invalid="ignore"):
        inside = np.abs(ordered - center[:, np.newaxis]) <= cutoff * spread
    return _mean_where(ordered, inside & valid)


def _mean_where(values: Floats, chosen: NDArray[np.bool_]) -> Floats:
    count = np.count_nonzero(chosen, axis=1)
    total = np.where(chosen, values, 0.0).sum(axis=1)
    mean: Floats = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return mean
