"""Sums over bins that outliers do not spoil: the compiled twin of `clip` and `percentile`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from friedel import _native
from friedel.core.errors import DataError

from .clip import ClipModel
from .decode import decode
from .encoded import EncodedFrames
from .scatter import MODEL_NUMBERS, BinSums, ErrorModel, FrameArrays, PixelMap, join_sums, per_pixel, variance_rows

MOST_PIXELS = 2**31
"""Numbers of pixels have 31 bits; the last one marks the entry by which a pixel is counted."""

FRAMES_DECODED = 4
"""Compressed frames are decoded to memory, at least so many at a time."""


@dataclass(frozen=True, eq=False)
class RobustScatter:
    """A plan: the map in the order of the bins, with what all frames share. Make it by `RobustScatter.build`.

    Attributes
    ----------
    n_pixels, n_bins : int
    starts : ndarray of int64, shape (n_bins + 1,)
        The entries of bin b are those from ``starts[b]`` up to ``starts[b + 1]``.
    pixels : ndarray of uint32, shape (n_entries,)
        Pixel of each entry; the highest bit is set in one entry of each pixel.
    shares : ndarray of float32, shape (n_entries,), or None
        Part of the pixel that lies in the bin; None where all are 1.
    normalization : ndarray of float32, shape (n_entries,), or None
    dark, dark_variance : ndarray of float64, shape (n_entries,), or None
    """

    n_pixels: int
    n_bins: int
    starts: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint32]
    shares: npt.NDArray[np.float32] | None
    normalization: npt.NDArray[np.float32] | None
    dark: npt.NDArray[np.float64] | None
    dark_variance: npt.NDArray[np.float64] | None

    def __post_init__(self) -> None:
        arrays = (self.starts, self.pixels, self.shares, self.normalization, self.dark, self.dark_variance)
        object.__setattr__(self, "_map", _native.OrderedMap(*arrays, self.n_pixels))

    def __reduce__(self) -> tuple[Any, ...]:
        arrays = (self.starts, self.pixels, self.shares, self.normalization, self.dark, self.dark_variance)
        return RobustScatter, (self.n_pixels, self.n_bins, *arrays)

    @classmethod
    def build(
        cls,
        pixel_map: PixelMap,
        *,
        normalization: npt.ArrayLike | None = None,
        dark: npt.ArrayLike | None = None,
        dark_variance: npt.ArrayLike | None = None,
    ) -> Self:
        """Put a map in the order of its bins.

        Parameters
        ----------
        pixel_map, normalization, dark, dark_variance
            As for `friedel.kernels.scatter.Scatter.build`.

        Raises
        ------
        DataError
            If the arrays do not fit together, a variance is below zero, or there are too many pixels.
        """
        pixel_map.check()
        n = pixel_map.n_pixels
        if n >= MOST_PIXELS:
            raise DataError(f"A frame has {n} pixels.", f"Frames can have {MOST_PIXELS - 1} pixels at most.")
        w = per_pixel(normalization, "normalization", n, np.float32)
        d, dv = (per_pixel(a, name, n, np.float64) for a, name in ((dark, "dark"), (dark_variance, "dark_variance")))
        if dv is not None and (dv < 0).any():
            raise DataError("dark_variance has values below zero.", "Give the squares of the errors.")
        usable = np.ones(n, bool)
        for values in (w, d, dv):
            if values is not None:
                usable &= np.isfinite(values)
        if w is not None:
            usable &= w != 0
        pixel = np.repeat(np.arange(n, dtype=np.uint32), np.diff(pixel_map.pointers))
        keep = usable[pixel] & (pixel_map.weights != 0)
        pixel, bins, shares = pixel[keep], pixel_map.bins[keep], pixel_map.weights[keep]
        order = _stable_order(bins, pixel_map.n_bins)
        starts = np.concatenate([[0], np.cumsum(np.bincount(bins, minlength=pixel_map.n_bins))]).astype(np.int64)
        first = np.ones(len(pixel), bool)
        first[1:] = pixel[1:] != pixel[:-1]
        marked = (pixel | (first.astype(np.uint32) << np.uint32(31)))[order]
        pixel = pixel[order]
        return cls(
            n,
            pixel_map.n_bins,
            starts,
            np.ascontiguousarray(marked),
            None if (shares == 1).all() else np.ascontiguousarray(shares[order]),
            *(None if values is None else np.ascontiguousarray(values[pixel]) for values in (w, d, dv)),
        )

    @property
    def nbytes(self) -> int:
        """Memory of the map and what it needs, in bytes."""
        arrays = (self.starts, self.pixels, self.shares, self.normalization, self.dark, self.dark_variance)
        return sum(array.nbytes for array in arrays if array is not None)

    def clip(
        self,
        frames: npt.NDArray[np.generic] | EncodedFrames,
        *,
        error_model: ClipModel = "azimuthal",
        threshold: float = 5.0,
        iterations: int = 5,
        variance: npt.ArrayLike | None = None,
        dummy: float | None = None,
        delta_dummy: float = 0.0,
        threads: int = 1,
    ) -> BinSums:
        """Sum frames over bins and leave outliers out; see `friedel.kernels.clip`.

        A frame's sums do not depend on the frames it comes with, on `threads` nor on the instruction set.

        Parameters
        ----------
        frames : ndarray or EncodedFrames
            As for `friedel.kernels.scatter.Scatter`.
        error_model : {"azimuthal", "poisson", "variance", "hybrid"}
        threshold : float
            Least distance from the mean that is an outlier's, in spreads; 1 or more.
        iterations : int
            Most rounds of dropping.
        variance, dummy, delta_dummy, threads
            As for `friedel.kernels.scatter.Scatter`.

        Returns
        -------
        BinSums
            With `rejected`.

        Raises
        ------
        DataError
            If the shape or type of the frames does not fit, a variance is below zero, or a compressed frame is
            corrupt; if `threshold` or `iterations` cannot be used.
        """
        if not threshold >= 1:
            raise DataError(f"threshold is {threshold}.", "Give 1 or more: how many spreads from the mean to keep.")
        if iterations < 0:
            raise DataError(f"iterations is {iterations}.", "Give 0 or more rounds of clipping.")
        hybrid = error_model == "hybrid"
        model: ErrorModel = "poisson" if error_model == "hybrid" else error_model

        def sum_arrays(source: FrameArrays, rows: Any, sums: npt.NDArray[np.float64]) -> Any:
            numbers = MODEL_NUMBERS[model], hybrid, rows, source.integer_range, source.float_range
            return self._native.clip(
                source.buffers, source.type, *numbers, float(threshold), int(iterations), sums, source.threads
            )

        return self._sum(frames, model, variance, dummy, delta_dummy, threads, sum_arrays)

    def percentile(
        self,
        frames: npt.NDArray[np.generic] | EncodedFrames,
        *,
        low: float = 50.0,
        high: float = 50.0,
        error_model: ErrorModel = "none",
        variance: npt.ArrayLike | None = None,
        dummy: float | None = None,
        delta_dummy: float = 0.0,
        threads: int = 1,
    ) -> BinSums:
        """Sum the pixels between two percentiles of each bin; see `friedel.kernels.percentile`.

        Parameters
        ----------
        low, high : float
            Percentiles, 0 to 100; the median where both are 50.
        frames, error_model, variance, dummy, delta_dummy, threads
            As for `friedel.kernels.scatter.Scatter`.

        Raises
        ------
        DataError
            As from `clip`.
        """
        if not 0 <= low <= high <= 100:
            raise DataError(f"The percentiles are {low} and {high}.", "Give two from 0 to 100, the lower one first.")

        def sum_arrays(source: FrameArrays, rows: Any, sums: npt.NDArray[np.float64]) -> Any:
            numbers = MODEL_NUMBERS[error_model], rows, source.integer_range, source.float_range
            return self._native.percentile(
                source.buffers, source.type, *numbers, low / 100, high / 100, sums, source.threads
            )

        return self._sum(frames, error_model, variance, dummy, delta_dummy, threads, sum_arrays)

    @property
    def _native(self) -> Any:
        return self._map  # type: ignore[attr-defined]

    def _sum(
        self,
        frames: npt.NDArray[np.generic] | EncodedFrames,
        model: ErrorModel,
        variance: npt.ArrayLike | None,
        dummy: float | None,
        delta_dummy: float,
        threads: int,
        sum_arrays: Callable[[FrameArrays, Any, npt.NDArray[np.float64]], Any],
    ) -> BinSums:
        if (variance is not None) != (model == "variance"):
            raise DataError('Variances and the error model "variance" belong together: give both or none.')
        rows = None if variance is None else variance_rows(variance, len(frames), self.n_pixels)
        parts = []
        for part, some in _decoded_parts(frames, max(threads, 1)):
            source = FrameArrays.of(part, self.n_pixels, dummy, delta_dummy, max(threads, 1))
            given = rows if rows is None or len(rows) == 1 else rows[some]
            sums = np.empty((6, len(part), self.n_bins))
            negative = np.array(sum_arrays(source, given, sums), np.int64)
            signal, norm, squared, count, spread, rejected = sums
            parts.append(BinSums(signal, norm, squared, count, None if model == "none" else spread, negative, rejected))
        return parts[0] if len(parts) == 1 else join_sums(parts)


def _decoded_parts(frames: npt.NDArray[np.generic] | EncodedFrames, threads: int) -> Any:
    """Yield frames as arrays, with their numbers: compressed ones a few at a time."""
    if not isinstance(frames, EncodedFrames):
        yield frames, slice(0, len(frames))
        return
    step = max(threads, FRAMES_DECODED)
    for start in range(0, max(len(frames), 1), step):
        some = slice(start, start + step)
        part = replace(frames, buffers=frames.buffers[some], labels=frames.labels[some])
        yield decode(part, threads=threads), some


def _stable_order(bins: npt.NDArray[np.int32], n_bins: int) -> npt.NDArray[np.intp]:
    """Return the order that sorts entries by bin, in the order of the pixels within a bin."""
    # numpy sorts 16-bit numbers by radix, in a fraction of the time.
    if n_bins <= np.iinfo(np.uint16).max:
        return np.argsort(bins.astype(np.uint16), kind="stable")
    low = np.argsort((bins & 0xFFFF).astype(np.uint16), kind="stable")
    return np.asarray(low[np.argsort((bins[low] >> 16).astype(np.uint16), kind="stable")])
