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

# A bin of many pixels has a block of threads, and as much shared memory as it needs: the more of it, the fewer blocks
# run side by side, and the more threads each has. Small bins have some lanes of a warp, with a few pixels each.
_LARGE_BIN = 512
_THREADS_OF_LARGE = ((64 * 1024, 256), (110 * 1024, 512), (1 << 30, 1024))
_THREADS = 256
_ENTRIES_OF_LANE = 8
_SMALL_BYTES = 48 * 1024
_LARGE_BYTES = 200 * 1024

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
    lanes : int or None
        Threads for a bin; None if it has a block of its own.
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
    lanes: int | None
    largest: int
    arrays: Mapping[str, Any] = field(repr=False)
    lengths: Any = field(repr=False)

    @classmethod
    def of(cls, plan: RobustScatter, device: int = 0) -> Self:
        """Put a plan on a device."""
        lengths = np.diff(plan.starts)
        mean, largest = len(plan.pixels) / max(plan.n_bins, 1), int(lengths.max(initial=0))
        lanes = None
        if largest <= _LARGE_BIN or mean <= _LARGE_BIN / 4:
            lanes = 1 << min(max(math.ceil(math.log2(max(mean / _ENTRIES_OF_LANE, 1))), 0), 5)
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
        return cls(plan.n_pixels, plan.n_bins, device, total, lanes, largest, held, lengths)

    @property
    def nbytes(self) -> int:
        """Memory of the map on the device, in bytes."""
        return sum(array.nbytes for array in self.arrays.values() if array is not None)

    def nbytes_of_frame(self, error_model: str = "none") -> int:
        """Return the device memory that the sums and patterns of a frame take at most, in bytes."""
        _, keep_words = self._kept_outside(self._layout(np.dtype(np.float64)))
        return self.n_bins * (6 * 8 + 3 * 4) + 4 * keep_words

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
            layout = self._layout(np.dtype(frames.dtype))
            keep_starts, keep_words = self._kept_outside(layout)
            keep = xp.empty((n, keep_words), np.uint32) if keep_words else None
            sums = [xp.empty((n, self.n_bins)) for _ in range(6)]
            negative = xp.zeros(n, np.uint64)
            if n and self.n_bins:
                self._kernel(frames.dtype, error_model, layout, marks)(
                    (-(-self.n_bins // layout.groups) * n,),
                    (layout.threads,),
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
                    shared_mem=layout.shared_bytes,
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

    def _layout(self, dtype: np.dtype[Any]) -> Layout:
        each = dtype.itemsize + 4 * (self.arrays["weights"] is not None) + 4 * (self.arrays["shares"] is not None)
        room = cuda.limits(self.device).shared_bytes - 4096
        if self.lanes is None:
            cached = max(min(self.largest, min(room, _LARGE_BYTES) // (each + 1)), 1)
            threads = next(threads for most, threads in _THREADS_OF_LARGE if cached * each <= most)
            return Layout(threads, threads, cached, each)
        cached = min(room, _SMALL_BYTES) * self.lanes // _THREADS // (each + 1)
        return Layout(_THREADS, self.lanes, max(min(self.largest, cached), 1), each)

    def _kept_outside(self, layout: Layout) -> tuple[Any, int]:
        """Return where the bits of the bins that are not cached lie in the words of a frame, and how many there are."""
        if self.largest <= layout.cached:
            return None, 0
        words = np.where(self.lengths > layout.cached, layout.keep_words(self.lengths), 0)
        return np.cumsum(words) - words, int(words.sum())

    def _kernel(self, dtype: Any, error_model: ClipModel, layout: Layout, marks: Marks) -> cuda.Kernel:
        defines = pixel_macros(dtype) | {
            "MODEL": _MODELS[error_model],
            "GROUP": layout.group,
            "THREADS": layout.threads,
            "CACHED": layout.cached,
            "SHARED_PIXELS": int(self.arrays["shares"] is not None),
            "WEIGHTED": int(self.arrays["weights"] is not None),
            "DARK": int(self.arrays["dark"] is not None),
            "DARK_VARIANCE": int(self.arrays["dark_variance"] is not None),
            "MARKED": int(marks.marked),
        }
        return cuda.load_kernel(SOURCES / "clip.cu", "clip", defines, self.device)


@dataclass(frozen=True)
class Layout:
    """How the kernel's threads share the bins.

    Attributes
    ----------
    threads, group : int
        Threads of a block, and of a bin.
    cached : int
        Entries of a bin that are kept in shared memory; of larger bins none are.
    bytes_of_entry : int
    """

    threads: int
    group: int
    cached: int
    bytes_of_entry: int

    @property
    def groups(self) -> int:
        """Bins of a block."""
        return self.threads // self.group

    def keep_words(self, entries: Any) -> Any:
        """Return the words that hold a bit for each of so many entries."""
        return -(-entries // (32 * self.group)) * self.group

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block."""
        return 48 + self.groups * int(self.bytes_of_entry * self.cached + 4 * self.keep_words(self.cached))
