"""Sums of pixels over bins on a CUDA device: the twin of `scatter`, for frames that lie in the device's memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from friedel.core.errors import DataError
from friedel.device import cuda

from .cuda_tiles import THREADS as TILE_THREADS
from .cuda_tiles import TilePlan
from .marks import invalid_range
from .scatter import BinSums, ErrorModel, PixelMap, per_pixel, type_number

SOURCES = Path(__file__).parent / "cuda"
SCATTER, GATHER, DIVIDE = (SOURCES / name for name in ("scatter.cu", "gather.cu", "divide.cu"))
"""Made once: a path takes longer to make and to compare than a kernel to start."""

PIXEL_TYPES = {
    "u1": "unsigned char",
    "u2": "unsigned short",
    "u4": "unsigned int",
    "i1": "signed char",
    "i2": "short",
    "i4": "int",
    "f4": "float",
    "f8": "double",
}
_MODELS: dict[ErrorModel, int] = {"none": 0, "poisson": 1, "variance": 2, "azimuthal": 3}
_THREADS = 256
_FRAMES_AT_ONCE = 4

# The kernel of tiles: bytes of a tile up to which three of them are under way instead of two, and how many frames may
# share one reading of the map.
_SMALL_TILE_BYTES = 48 * 1024
_FRAMES_OF_TILES = (8, 4, 2, 1)

_MAP_ARRAYS = ("starts", "pixels", "shares", "weights", "dark", "dark_variance")
_TILE_ARRAYS = ("offsets", "shares", "ends", "counted", "first_slots", "bin_starts", "tile_bins", "bin_slots")
_NULL = np.uintp(0)

# The highest bit of an entry's pixel number marks the one entry by which the pixel is counted.
_COUNTED = np.uint32(1 << 31)


@dataclass(frozen=True, eq=False)
class CudaScatter:
    """A plan on one device: the map sorted by bins, with what all frames share. Make it by `CudaScatter.build`.

    Its calls start work on a stream and return at once; nothing in it is changed by a call, so several streams may
    use it together.

    Attributes
    ----------
    n_pixels, n_bins : int
    device : int
    lanes : int
        Threads that share the pixels of a bin.
    total_count : float
        Σ c over all pixels and bins.
    tiles : TilePlan or None
        The map tile by tile, if that is faster; its arrays lie on the device.
    arrays : dict of str to device array or None
        ``starts`` int64 (n_bins + 1,): the entries of bin b are those from starts[b] to starts[b + 1];
        ``pixels`` uint32 and ``shares`` float32 or None (all 1), one for each entry; ``weights`` float32, ``dark`` and
        ``dark_variance`` float64, one for each pixel, or None; ``constants`` float64 (7, n_bins): sums over all pixels
        of c w, (c w)², c, 1, c dark, c² dark_variance, c².
    """

    n_pixels: int
    n_bins: int
    device: int
    lanes: int
    total_count: float
    tiles: TilePlan | None
    arrays: Mapping[str, Any] = field(repr=False)

    @classmethod
    def build(
        cls,
        pixel_map: PixelMap,
        *,
        normalization: npt.ArrayLike | None = None,
        dark: npt.ArrayLike | None = None,
        dark_variance: npt.ArrayLike | None = None,
        device: int = 0,
    ) -> Self:
        """Sort a map by bins and put it on a device.

        Parameters
        ----------
        pixel_map : PixelMap
        normalization, dark, dark_variance : array-like, n_pixels values, optional
            As for `Scatter.build`: w of each pixel; its signal without beam; the variance of that.
        device : int
            Number of the CUDA device.

        Raises
        ------
        DataError
            If the arrays do not fit together, a variance is below zero, or there are 2³¹ pixels or more.
        """
        pixel_map.check()
        n = pixel_map.n_pixels
        if n >= 1 << 31:
            raise DataError(f"A map of {n} pixels is too large for a GPU.", "Use the CPU.")
        w = per_pixel(normalization, "normalization", n, np.float32)
        d, dv = (per_pixel(a, name, n, np.float64) for a, name in ((dark, "dark"), (dark_variance, "dark_variance")))
        if dv is not None and (dv < 0).any():
            raise DataError("dark_variance has values below zero.", "Give the squares of the errors.")
        pixels, bins, shares, counted = _entries(pixel_map, _usable(w, d, dv, n))
        entries = EntriesByBin.of(pixels, bins, shares, counted, pixel_map.n_bins)
        arrays = entries.arrays() | {"weights": w, "dark": d, "dark_variance": dv}
        arrays["constants"] = entries.constants(w, d, dv)
        per_bin = len(entries.pixels) / max(pixel_map.n_bins, 1)
        lanes = 1 << min(max(math.ceil(math.log2(max(per_bin / 4, 1))), 0), 5)
        tiles = None
        if cuda.limits(device).bulk_copies:
            tiles = TilePlan.of(n, pixel_map.n_bins, pixels, bins, shares, counted)
        with cuda.using(device):
            held = on_device(arrays)
            if tiles is not None:
                tiles = replace(tiles, arrays=on_device(tiles.arrays))
        return cls(n, pixel_map.n_bins, device, lanes, float(arrays["constants"][2].sum()), tiles, held)

    @property
    def nbytes(self) -> int:
        """Memory of the map on the device, in bytes."""
        arrays = [*self.arrays.values(), *(self.tiles.arrays.values() if self.tiles else ())]
        return sum(array.nbytes for array in arrays if array is not None)

    def nbytes_of_frame(self, error_model: ErrorModel = "none") -> int:
        """Return the device memory that the sums and patterns of a frame take at most, in bytes."""
        sums = 8 * self.n_bins * (4 + (error_model != "none"))
        pieces = 16 * self.n_bins * self.tiles.n_pieces if self.tiles else 0
        return sums + pieces + 3 * 4 * self.n_bins

    def __call__(
        self,
        frames: Any,
        *,
        error_model: ErrorModel = "none",
        variance: Any = None,
        dummy: float | None = None,
        delta_dummy: float = 0.0,
        stream: Any = None,
    ) -> BinSums:
        """Sum frames over bins.

        A frame's sums do not depend on the frames it comes with.

        Parameters
        ----------
        frames : device array, shape (n, n_pixels) or (n, rows, columns)
            u1, u2, u4, i1, i2, i4, f4 or f8. Values that are not finite are invalid.
        error_model : {"none", "poisson", "variance", "azimuthal"}
            As for `Scatter`.
        variance : array or device array, shape of one frame or of `frames`, optional
            For the model "variance". A pixel whose variance is not finite is invalid.
        dummy, delta_dummy : float
            As for `Scatter`.
        stream : cupy stream, optional
            Where the work is put; by default the current one. The result is ready when the stream has done it.

        Returns
        -------
        BinSums
            Of device arrays. The normalization, its square and the count have one row if no pixel can be invalid
            (whole numbers without `dummy`), else one for each frame.

        Raises
        ------
        DataError
            If the shape or type of the frames does not fit, or a variance is below zero.
        """
        if (variance is not None) != (error_model == "variance"):
            raise DataError('Variances and the error model "variance" belong together: give both or none.')
        check_frames(frames, self.n_pixels)
        with cuda.using(self.device, stream):
            given = None if variance is None else variances_on_device(variance, len(frames), self.n_pixels)
            frames = cuda.array_module().ascontiguousarray(frames)
            marks = Marks.of(np.dtype(frames.dtype), dummy, delta_dummy)
            layout = self._layout(frames.dtype, error_model, len(frames))
            if layout is None:
                return self._gather(frames, error_model, given, marks)
            return self._by_tiles(frames, error_model, marks, *layout)

    def finish(
        self,
        sums: BinSums,
        *,
        factor: Any = None,
        empty: float = math.nan,
        deviations: bool = False,
        stream: Any = None,
    ) -> dict[str, Any]:
        """Divide sums by their normalization, on the device.

        Parameters
        ----------
        sums : BinSums
            Of this plan.
        factor : device array of float64, shape (n,), optional
            Normalization of each frame: monitor, exposure time.
        empty : float
            Value where no valid pixel contributes.
        deviations : bool
            Whether to return the spread of single pixels as well.
        stream : cupy stream, optional

        Returns
        -------
        dict of device arrays of float32
            ``intensity`` S/N, shape (n, n_bins); if there are variances ``intensity_errors`` √V/N and on request
            ``intensity_std`` √(V/N2); ``valid_fraction``, shape (n,).
        """
        with cuda.using(self.device, stream):
            return patterns(sums, self.total_count, self.device, factor=factor, empty=empty, deviations=deviations)

    def _layout(self, dtype: Any, error_model: ErrorModel, n: int) -> tuple[int, int] | None:
        """Return the stages and frames at once of the kernel of tiles; None if it cannot do this."""
        tiles, kind = self.tiles, np.dtype(dtype)
        if tiles is None or error_model not in ("none", "poisson") or kind.itemsize > 4 or n == 0:
            return None
        limits = cuda.limits(self.device)
        stages = 3 if tiles.tile * kind.itemsize <= _SMALL_TILE_BYTES else 2
        best: tuple[float, int] | None = None
        for frames in _FRAMES_OF_TILES:
            if tiles.shared_bytes(kind, error_model == "poisson", stages, frames) > limits.shared_bytes - 1024:
                continue
            blocks = -(-n // frames) * tiles.n_pieces
            rounds = -(-blocks // limits.multiprocessors)
            # What the multiprocessors do, in frames of a piece; reading the map once takes a part of one of these.
            work = rounds * (min(frames, n) + 0.2)
            if best is None or work < best[0]:
                best = work, frames
        return None if best is None else (stages, best[1])

    def _by_tiles(self, frames: Any, error_model: ErrorModel, marks: Marks, stages: int, at_once: int) -> BinSums:
        xp = cuda.array_module()
        tiles, n, n_bins = self.tiles, len(frames), self.n_bins
        assert tiles is not None
        poisson, checked = error_model == "poisson", marks.marked or frames.dtype.kind == "f"
        pieces = xp.empty((n, tiles.n_pieces, n_bins, 1 + poisson))
        invalid = xp.zeros(n, np.int32) if checked else None
        negative = xp.zeros(n, np.uint64)
        defines = pixel_macros(frames.dtype) | tiles.macros()
        defines |= {"POISSON": int(poisson), "CHECKED": int(checked), "MARKED": int(marks.marked)}
        defines |= {"STAGES": stages, "FRAMES": at_once}
        cuda.load_kernel(SCATTER, "scatter", defines, self.device)(
            (-(-n // at_once) * tiles.n_pieces,),
            (TILE_THREADS + tiles.adders,),
            pointers(
                frames,
                np.int32(n),
                np.int64(self.n_pixels),
                np.int32(n_bins),
                np.int32(tiles.n_tiles),
                np.int32(tiles.tiles_of_piece),
                np.int32(tiles.n_pieces),
                *(tiles.arrays[name] for name in _TILE_ARRAYS),
                *marks.arguments(),
                pieces,
                invalid,
                negative,
            ),
            shared_mem=tiles.shared_bytes(np.dtype(frames.dtype), poisson, stages, at_once),
        )
        signal, spread = xp.empty((n, n_bins)), xp.empty((n, n_bins)) if poisson else None
        cuda.load_kernel(SCATTER, "merge", defines, self.device)(
            (min(-(-n * n_bins // _THREADS), 4096),),
            (_THREADS,),
            pointers(
                pieces,
                np.int32(n),
                np.int32(tiles.n_pieces),
                np.int32(n_bins),
                self.arrays["constants"],
                np.int32(self.arrays["dark"] is not None and not checked),
                np.int32(self.arrays["dark_variance"] is not None and not checked),
                signal,
                spread,
            ),
        )
        shared = [self.arrays["constants"][row : row + 1] for row in range(3)]
        if checked:
            shared = self._normalized(frames, marks, invalid, signal, spread)
        normalization, normalization_squared, count = shared
        return BinSums(signal, normalization, normalization_squared, count, spread, negative.view(np.int64))

    def _normalized(self, frames: Any, marks: Marks, invalid: Any, signal: Any, spread: Any) -> list[Any]:
        """Return N, N2 and n of frames some of which have invalid pixels; takes their dark out of the signal."""
        xp = cuda.array_module()
        n = len(frames)
        own = [xp.empty((n, self.n_bins)) for _ in range(3)]
        self._kernel("normalize", frames.dtype, "none", True, marks)(
            (-(-self.n_bins // (_THREADS // self.lanes)) * n,),
            (_THREADS,),
            pointers(
                frames,
                np.int32(n),
                np.int64(self.n_pixels),
                np.int32(self.n_bins),
                *(self.arrays[name] for name in _MAP_ARRAYS),
                *marks.arguments(),
                self.arrays["constants"],
                invalid,
                signal,
                spread,
                *own,
            ),
        )
        return own

    def _gather(self, frames: Any, error_model: ErrorModel, variance: Any, marks: Marks) -> BinSums:
        xp = cuda.array_module()
        n = len(frames)
        checked = marks.marked or frames.dtype.kind == "f" or variance is not None
        signal = xp.empty((n, self.n_bins))
        spread = None if error_model == "none" else xp.empty((n, self.n_bins))
        negative = xp.zeros(n, np.uint64)
        own: list[Any] = [xp.empty((n, self.n_bins)) if checked else None for _ in range(3)]
        if n and self.n_bins:
            blocks = -(-self.n_bins // (_THREADS // self.lanes)) * -(-n // _FRAMES_AT_ONCE)
            self._kernel("gather", frames.dtype, error_model, checked, marks)(
                (blocks,),
                (_THREADS,),
                pointers(
                    frames,
                    np.int32(n),
                    np.int64(self.n_pixels),
                    np.int32(self.n_bins),
                    *(self.arrays[name] for name in _MAP_ARRAYS),
                    variance,
                    np.int64(0 if variance is None or len(variance) == 1 else self.n_pixels),
                    *marks.arguments(),
                    self.arrays["constants"],
                    signal,
                    spread,
                    *own,
                    negative,
                ),
            )
        shared = own if checked else [self.arrays["constants"][row : row + 1] for row in range(3)]
        normalization, normalization_squared, count = shared
        return BinSums(signal, normalization, normalization_squared, count, spread, negative.view(np.int64))

    def _kernel(self, name: str, dtype: Any, error_model: ErrorModel, checked: bool, marks: Marks) -> cuda.Kernel:
        defines = pixel_macros(dtype) | {
            "MODEL": _MODELS[error_model],
            "LANES": self.lanes,
            "FRAMES": _FRAMES_AT_ONCE,
            "SHARED_PIXELS": int(self.arrays["shares"] is not None),
            "WEIGHTED": int(self.arrays["weights"] is not None),
            "DARK": int(self.arrays["dark"] is not None),
            "DARK_VARIANCE": int(self.arrays["dark_variance"] is not None),
            "CHECKED": int(checked),
            "MARKED": int(marks.marked),
        }
        return cuda.load_kernel(GATHER, name, defines, self.device)


@dataclass(frozen=True)
class Marks:
    """Which values of a type mark invalid pixels, as the kernels take it.

    Attributes
    ----------
    lowest, span : int
        Of whole numbers: lowest such value modulo 2³², and how many more there are.
    dummy, delta : float
        Of floats.
    marked : bool
        Whether there are any.
    """

    lowest: int = 0
    span: int = 0
    dummy: float = 0.0
    delta: float = 0.0
    marked: bool = False

    @classmethod
    def of(cls, dtype: np.dtype[Any], dummy: float | None, delta_dummy: float) -> Marks:
        whole, real = invalid_range(dtype, dummy, delta_dummy)
        if whole is not None:
            return cls(lowest=whole[0], span=whole[1], marked=True)
        if real is not None:
            return cls(dummy=real[0], delta=real[1], marked=True)
        return cls()

    def arguments(self) -> tuple[np.generic, ...]:
        return np.uint32(self.lowest), np.uint32(self.span), np.float64(self.dummy), np.float64(self.delta)


def patterns(
    sums: BinSums, total_count: float, device: int, *, factor: Any, empty: float, deviations: bool
) -> dict[str, Any]:
    """Divide sums by their normalization, on the current device and stream; see `CudaScatter.finish`."""
    xp = cuda.array_module()
    n, n_bins = sums.signal.shape
    found = {"intensity": xp.empty((n, n_bins), np.float32)}
    if sums.variance is not None:
        found["intensity_errors"] = xp.empty((n, n_bins), np.float32)
        if deviations:
            found["intensity_std"] = xp.empty((n, n_bins), np.float32)
    if n * n_bins:
        cuda.load_kernel(DIVIDE, "divide", {}, device)(
            (min(-(-n * n_bins // _THREADS), 4096),),
            (_THREADS,),
            pointers(
                sums.signal,
                sums.variance,
                sums.normalization,
                sums.normalization_squared,
                factor,
                np.int32(len(sums.normalization) == 1),
                np.int64(n_bins),
                np.int64(n * n_bins),
                np.float32(empty),
                found["intensity"],
                found.get("intensity_errors"),
                found.get("intensity_std"),
            ),
        )
    rows = len(sums.count)
    valid = xp.zeros(rows, np.float32)
    if rows:
        cuda.load_kernel(DIVIDE, "fraction", {}, device)(
            (rows,),
            (_THREADS,),
            pointers(sums.count, sums.rejected, np.int64(n_bins), np.float64(total_count or 1.0), valid),
        )
    found["valid_fraction"] = valid if rows == n else xp.broadcast_to(valid, (n,))
    return found


def check_frames(frames: Any, n_pixels: int) -> None:
    """Raise `DataError` if the shape or type of frames does not fit."""
    type_number(frames.dtype)
    if frames.ndim not in (2, 3):
        raise DataError(f"Frames have shape {frames.shape}.", "Give (frame, row, column) or (frame, pixel).")
    size = math.prod(frames.shape[1:])
    if size != n_pixels:
        raise DataError(f"A frame has {size} pixels, the map {n_pixels}.", "Use the geometry of this detector.")


def variances_on_device(variance: Any, n_frames: int, n_pixels: int) -> Any:
    """Return variances as float64 rows on the device; waits for it if they lie there already.

    Raises
    ------
    DataError
        If they do not fit, or are below zero.
    """
    xp = cuda.array_module()
    array = xp.ascontiguousarray(xp.asarray(variance, np.float64))
    if array.size not in (n_pixels, n_frames * n_pixels):
        raise DataError(
            f"variance has shape {array.shape} for {n_frames} frames of {n_pixels} pixels.",
            "Give the variances of one frame, or of each.",
        )
    if bool((array < 0).any()):
        raise DataError("variance has values below zero.", "Give the squares of the errors.")
    return array.reshape(-1, n_pixels)


def on_device(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Copy arrays to the current device."""
    xp = cuda.array_module()
    return {name: None if array is None else xp.asarray(array) for name, array in arrays.items()}


def pointers(*arguments: Any) -> tuple[Any, ...]:
    """Return the arguments of a kernel, with a null pointer for None."""
    return tuple(_NULL if argument is None else argument for argument in arguments)


def pixel_macros(dtype: Any) -> dict[str, int | str]:
    """Return the macros that tell a kernel the type of the frames."""
    kind = np.dtype(dtype)
    return {
        "PIXEL": PIXEL_TYPES[kind.str[1:]],
        "PIXEL_BYTES": kind.itemsize,
        "PIXEL_IS_FLOAT": int(kind.kind == "f"),
        "PIXEL_IS_SIGNED": int(kind.kind in "if"),
    }


@dataclass(frozen=True, eq=False)
class EntriesByBin:
    """The entries of a map in the order of bins, and of pixels within a bin.

    Attributes
    ----------
    starts : ndarray of int64, shape (n_bins + 1,)
    pixels : ndarray of uint32, shape (n_entries,)
        Number of the pixel; the highest bit marks the one entry by which the pixel is counted.
    shares : ndarray of float32, shape (n_entries,)
    """

    starts: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint32]
    shares: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls,
        pixels: npt.NDArray[np.uint32],
        bins: npt.NDArray[np.int32],
        shares: npt.NDArray[np.float32],
        counted: npt.NDArray[np.bool_],
        n_bins: int,
    ) -> EntriesByBin:
        """Sort entries that are in the order of pixels."""
        from scipy.sparse import csr_array

        # One row for each entry, so that columns keep the order of the entries: a counting sort.
        rows = np.arange(len(bins) + 1, dtype=np.int64)
        by_bin = csr_array((np.arange(len(bins)), bins, rows), shape=(len(bins), n_bins)).tocsc()
        order = by_bin.data
        tagged = pixels | np.where(counted, _COUNTED, np.uint32(0))
        return cls(by_bin.indptr.astype(np.int64), tagged[order], np.ascontiguousarray(shares[order], np.float32))

    def arrays(self) -> dict[str, Any]:
        """Return the arrays by name; shares that are all 1 are left out."""
        whole = bool((self.shares == 1).all())
        return {"starts": self.starts, "pixels": self.pixels, "shares": None if whole else self.shares}

    def constants(
        self,
        weights: npt.NDArray[np.float32] | None,
        dark: npt.NDArray[np.float64] | None,
        dark_variance: npt.NDArray[np.float64] | None,
    ) -> npt.NDArray[np.float64]:
        """Return the sums over all pixels of c w, (c w)², c, 1, c dark, c² dark_variance, c², shape (7, n_bins)."""
        n_bins = len(self.starts) - 1
        bins = np.repeat(np.arange(n_bins), np.diff(self.starts))
        pixel, c = self.pixels & ~_COUNTED, self.shares.astype(np.float64)
        cw = c if weights is None else c * weights[pixel]
        terms = [cw, cw**2, c, None]
        terms.append(np.zeros_like(c) if dark is None else c * dark[pixel])
        terms.append(np.zeros_like(c) if dark_variance is None else c**2 * dark_variance[pixel])
        terms.append(c**2)
        return np.stack([np.bincount(bins, term, n_bins).astype(np.float64) for term in terms])


def _entries(
    pixel_map: PixelMap, keep: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return pixel, bin and share of the entries of the pixels to keep, and by which of them a pixel is counted."""
    of_pixel = np.repeat(np.arange(pixel_map.n_pixels, dtype=np.uint32), np.diff(pixel_map.pointers))
    bins, shares = pixel_map.bins, pixel_map.weights
    if not keep.all():
        taken = keep[of_pixel]
        of_pixel, bins, shares = of_pixel[taken], bins[taken], shares[taken]
    counted = np.zeros(len(of_pixel), bool)
    contributing = np.flatnonzero(shares != 0)
    first = np.ones(len(contributing), bool)
    np.not_equal(of_pixel[contributing][1:], of_pixel[contributing][:-1], out=first[1:])
    counted[contributing[first]] = True
    return of_pixel, bins, shares, counted


def _usable(
    w: npt.NDArray[np.float32] | None,
    dark: npt.NDArray[np.float64] | None,
    dark_variance: npt.NDArray[np.float64] | None,
    n_pixels: int,
) -> npt.NDArray[np.bool_]:
    """Return which pixels can contribute: finite corrections, w not 0."""
    keep = np.ones(n_pixels, bool)
    for values in (w, dark, dark_variance):
        if values is not None:
            keep &= np.isfinite(values)
    if w is not None:
        keep &= w != 0
    return keep
