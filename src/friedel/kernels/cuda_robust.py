"""Sums over bins that outliers do not spoil, on a CUDA device: the twin of `robust`, for frames in its memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from friedel.core.errors import DataError
from friedel.device import cuda

from .clip import ClipModel
from .cuda_scatter import (
    SOURCES,
    Marks,
    check_frames,
    on_device,
    patterns,
    pixel_macros,
    pointers,
    variances_on_device,
)
from .robust import RobustScatter
from .scatter import BinSums

_MODELS: dict[ClipModel, int] = {"azimuthal": 0, "poisson": 1, "variance": 2, "hybrid": 3}

# Threads for a bin: a block for bins of many pixels, else some lanes of a warp with a few pixels each.
_THREADS = 256
_LARGE_BIN = 512
_ENTRIES_OF_LANE = 8

# Shared memory of a block, in bytes, for the pixels: two blocks of large bins, or four of small ones, run side by side.
_CACHE_BYTES = {True: 100 * 1024, False: 48 * 1024}

_ENTRY_ARRAYS = ("starts", "pixels", "shares", "weights", "dark", "dark_variance")


@dataclass(frozen=True, eq=False)
class CudaRobustScatter:
    """A plan on one device: the map in the order of the bins. Make it by `CudaRobustScatter.of`.

    Its calls start work on a stream and return at once; nothing in it is changed by a call.

    Attributes
    ----------
    n_pixels, n_bins : int
    device : int
    total_count : float
        Σ c over all pixels and bins.
    group : int
        Threads for a bin.
    largest : int
        Entries of the largest bin.
    arrays : dict of str to device array or None
        Those of `RobustScatter`; ``weights`` is its normalization.
    lengths : ndarray of int64, shape (n_bins,)
        Entries of the bins.
    """

    n_pixels: int
    n_bins: int
    device: int
    total_count: float
    group: int
    largest: int
    arrays: Mapping[str, Any] = field(repr=False)
    lengths: Any = field(repr=False)

    @classmethod
    def of(cls, plan: RobustScatter, device: int = 0) -> Self:
        """Put a plan on a device."""
        lengths = np.diff(plan.starts)
        mean, largest = len(plan.pixels) / max(plan.n_bins, 1), int(lengths.max(initial=0))
        group = _THREADS
        if largest <= _LARGE_BIN or mean <= _LARGE_BIN / 4:
            group = 1 << min(max(math.ceil(math.log2(max(mean / _ENTRIES_OF_LANE, 1))), 0), 5)
        total = float(len(plan.pixels)) if plan.shares is None else float(plan.shares.sum(dtype=np.float64))
        arrays = {
            "starts": plan.starts,
            "pixels": plan.pixels,
            "shares": plan.shares,
            "weights": plan.normalization,
            "dark": plan.dark,
            "dark_variance": plan.dark_variance,
        }
        with cuda.using(device):
            held = on_device(arrays)
        return cls(plan.n_pixels, plan.n_bins, device, total, group, largest, held, lengths)

    @property
    def nbytes(self) -> int:
        """Memory of the map on the device, in bytes."""
        return sum(array.nbytes for array in self.arrays.values() if array is not None)

    def clip(
        self,
        frames: Any,
        *,
        error_model: ClipModel = "azimuthal",
        threshold: float = 5.0,
        iterations: int = 5,
        variance: Any = None,
        dummy: float | None = None,
        delta_dummy: float = 0.0,
        stream: Any = None,
    ) -> BinSums:
        """Sum frames over bins and leave outliers out; see `friedel.kernels.clip`.

        A frame's sums do not depend on the frames it comes with.

        Parameters
        ----------
        frames : device array, shape (n, n_pixels) or (n, rows, columns)
            As for `CudaScatter`.
        error_model, threshold, iterations
            As for `RobustScatter.clip`.
        variance, dummy, delta_dummy, stream
            As for `CudaScatter`.

        Returns
        -------
        BinSums
            Of device arrays, with `rejected`, all of one row for each frame.

        Raises
        ------
        DataError
            If the shape or type of the frames does not fit, a variance is below zero, or `threshold` or `iterations`
            cannot be used.
        """
        if not threshold >= 1:
            raise DataError(f"threshold is {threshold}.", "Give 1 or more: how many spreads from the mean to keep.")
        if iterations < 0:
            raise DataError(f"iterations is {iterations}.", "Give 0 or more rounds of clipping.")
        if (variance is not None) != (error_model == "variance"):
            raise DataError('Variances and the error model "variance" belong together: give both or none.')
        check_frames(frames, self.n_pixels)
        with cuda.using(self.device, stream):
            xp = cuda.array_module()
            n = len(frames)
            frames = xp.ascontiguousarray(frames)
            given = None if variance is None else variances_on_device(variance, n, self.n_pixels)
            marks = Marks.of(np.dtype(frames.dtype), dummy, delta_dummy)
            cached, keep_starts, keep_words = self._caching(frames.dtype)
            keep = xp.empty((n, keep_words), np.uint32) if keep_words else None
            sums = [xp.empty((n, self.n_bins)) for _ in range(6)]
            negative = xp.zeros(n, np.uint64)
            if n and self.n_bins:
                self._kernel(frames.dtype, error_model, cached, marks)(
                    (-(-self.n_bins // (_THREADS // self.group)) * n,),
                    (_THREADS,),
                    pointers(
                        frames,
                        np.int32(n),
                        np.int64(self.n_pixels),
                        np.int32(self.n_bins),
                        *(self.arrays[name] for name in _ENTRY_ARRAYS),
                        given,
                        np.int64(0 if given is None or len(given) == 1 else self.n_pixels),
                        *marks.arguments(),
                        np.float64(threshold),
                        np.int32(iterations),
                        None if keep_starts is None else xp.asarray(keep_starts),
                        np.int64(keep_words),
                        keep,
                        *sums,
                        negative,
                    ),
                    shared_mem=self._shared_bytes(np.dtype(frames.dtype), cached),
                )
            signal, normalization, normalization_squared, count, spread, rejected = sums
            return BinSums(
                signal, normalization, normalization_squared, count, spread, negative.view(np.int64), rejected
            )

    def finish(
        self,
        sums: BinSums,
        *,
        factor: Any = None,
        empty: float = math.nan,
        deviations: bool = False,
        stream: Any = None,
    ) -> dict[str, Any]:
        """Divide sums by their normalization, on the device; see `CudaScatter.finish`."""
        with cuda.using(self.device, stream):
            return patterns(sums, self.total_count, self.device, factor=factor, empty=empty, deviations=deviations)

    def _caching(self, dtype: Any) -> tuple[int, Any, int]:
        """Return how many entries of a bin are cached, and where the bits of larger bins lie in so many words."""
        large = self.group == _THREADS
        room = min(_CACHE_BYTES[large], cuda.limits(self.device).shared_bytes - 2048)
        each = self._bytes_of_entry(np.dtype(dtype)) + 1
        cached = max(min(self.largest, room * self.group // _THREADS // each), 1)
        if self.largest <= cached:
            return cached, None, 0
        words = np.where(self.lengths > cached, -(-self.lengths // (32 * self.group)) * self.group, 0)
        return cached, np.cumsum(words) - words, int(words.sum())

    def _bytes_of_entry(self, dtype: np.dtype[Any]) -> int:
        return dtype.itemsize + 4 * (self.arrays["weights"] is not None) + 4 * (self.arrays["shares"] is not None)

    def _shared_bytes(self, dtype: np.dtype[Any], cached: int) -> int:
        groups = _THREADS // self.group
        keep_words = -(-cached // (32 * self.group)) * self.group
        return 48 + groups * (self._bytes_of_entry(dtype) * cached + 4 * keep_words)

    def _kernel(self, dtype: Any, error_model: ClipModel, cached: int, marks: Marks) -> cuda.Kernel:
        defines = pixel_macros(dtype) | {
            "MODEL": _MODELS[error_model],
            "GROUP": self.group,
            "THREADS": _THREADS,
            "CACHED": cached,
            "SHARED_PIXELS": int(self.arrays["shares"] is not None),
            "WEIGHTED": int(self.arrays["weights"] is not None),
            "DARK": int(self.arrays["dark"] is not None),
            "DARK_VARIANCE": int(self.arrays["dark_variance"] is not None),
            "MARKED": int(marks.marked),
        }
        return cuda.load_kernel(SOURCES / "clip.cu", "clip", defines, self.device)
