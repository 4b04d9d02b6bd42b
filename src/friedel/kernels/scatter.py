"""Sums of pixels over bins, for many frames that share one sparse map from pixels to bins.

With c_ib the fraction of pixel i in bin b, s = raw - dark, v the variance and w the normalization of a pixel,

    signal S = Σ c s, normalization N = Σ c w, variance V = Σ c² v, normalization_squared N2 = Σ (c w)², count n = Σ c

over the valid pixels; intensity S/N, its standard error √V/N and the spread √(V/N2) are left to the caller.
N, N2 and n depend on the map alone: they are summed once, and a frame's invalid pixels are taken out of them, exactly:
each term is rounded to a multiple of a unit of its bin, of which a float64 holds every sum (docs/decisions/0013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from friedel import _native
from friedel.core.errors import DataError

from .decode import CODEC_NUMBERS, as_bytes, check_decoded, decode
from .encoded import EncodedFrames
from .marks import invalid_range, marked

ErrorModel = Literal["none", "poisson", "variance", "azimuthal"]

MODEL_NUMBERS: dict[ErrorModel, int] = {"none": 0, "poisson": 1, "variance": 2, "azimuthal": 3}
_TYPE_NUMBERS = {"u1": 0, "u2": 1, "u4": 2, "i1": 3, "i2": 4, "i4": 5, "f4": 6, "f8": 7}

# A frame is summed in pieces, so that several threads can share one frame. The pieces follow from the map, not
# from the number of threads: that keeps every sum the same. Their sums should cost little beside the pixels.
_MOST_PIECES = 16
_PIXELS_PER_BIN_AND_PIECE = 64
_PIECE_ALIGNMENT = 8192

# The fused route takes blocks that fit its scratch memory and hold whole tiles: the automatic size does.
_BLOCK_BYTES = 8192
_TILE_PIXELS, _TILE_STREAMS = 512, 4


@dataclass(frozen=True, eq=False)
class PixelMap:
    """Which bins each pixel falls into: a sparse matrix, one row for each pixel.

    Attributes
    ----------
    n_bins : int
    pointers : ndarray of int64, shape (n_pixels + 1,)
        The entries of pixel i are those from ``pointers[i]`` up to ``pointers[i + 1]``.
    bins : ndarray of int32, shape (n_entries,)
        Bin of each entry.
    weights : ndarray of float32, shape (n_entries,)
        Fraction of the pixel that lies in the bin. A pixel that is masked or out of range has no entries.
    """

    n_bins: int
    pointers: npt.NDArray[np.int64]
    bins: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @property
    def n_pixels(self) -> int:
        """Number of pixels of a frame."""
        return len(self.pointers) - 1

    def check(self) -> None:
        """Raise `DataError` if the arrays contradict one another."""
        ends = self.pointers[[0, -1]].tolist() if len(self.pointers) else [-1, -1]
        if ends != [0, len(self.bins)] or len(self.bins) != len(self.weights) or (np.diff(self.pointers) < 0).any():
            raise DataError("The pointers of a pixel map do not fit its entries.")
        if len(self.bins) and not 0 <= self.bins.min() <= self.bins.max() < self.n_bins:
            raise DataError(f"A pixel map has entries outside its {self.n_bins} bins.")
        if not np.isfinite(self.weights).all():
            raise DataError("A pixel map has weights that are not finite.")


@dataclass(frozen=True, eq=False)
class BinSums:
    """Sums over the valid pixels of each bin, for n frames. Float64.

    Attributes
    ----------
    signal : ndarray, shape (n, n_bins)
        Σ c (raw - dark).
    normalization : ndarray, shape (n, n_bins), or (1, n_bins) if no frame has invalid pixels
        Σ c w; exactly 0 where no valid pixel contributes, and so are the other sums.
    normalization_squared : ndarray, shape like `normalization`
        Σ (c w)².
    count : ndarray, shape like `normalization`
        Σ c.
    variance : ndarray, shape (n, n_bins), or None
        Σ c² v; for the azimuthal model Σ (c w)² (s/w - S/N)²; None without an error model.
    negative : ndarray of int64, shape (n,)
        Number of valid pixels in any bin with raw < 0.
    rejected : ndarray, shape (n, n_bins), or None
        Σ c of the valid pixels that a robust estimator has left out of all other sums; None from the plain mean.
    """

    signal: npt.NDArray[np.float64]
    normalization: npt.NDArray[np.float64]
    normalization_squared: npt.NDArray[np.float64]
    count: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64] | None
    negative: npt.NDArray[np.int64]
    rejected: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.signal)


@dataclass(frozen=True, eq=False)
class Scatter:
    """A plan: the map packed for speed, with what all frames share. Make it by `Scatter.build`.

    Attributes
    ----------
    n_pixels, n_bins : int
    packed : dict of str to ndarray
        The map, tile by tile (``native/scatter_plan.hpp``).
    normalization : ndarray of float32, shape (n_pixels,), or None
    dark, dark_variance : ndarray of float64, shape (n_pixels,), or None
    constants : ndarray of float64, shape (6, n_bins)
        Sums over all pixels of c w, (c w)², c, c², c dark, c² dark_variance.
    rounding : ndarray of float64, shape (n_bins + spare bins, 4 or 8)
        What makes sums of the same terms exact (``native/scatter_kernels.hpp``); 4 columns without a dark.
    """

    n_pixels: int
    n_bins: int
    packed: dict[str, Any]
    normalization: npt.NDArray[np.float32] | None
    dark: npt.NDArray[np.float64] | None
    dark_variance: npt.NDArray[np.float64] | None
    constants: npt.NDArray[np.float64] = field(repr=False)
    rounding: npt.NDArray[np.float64] = field(repr=False)
    _map: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        piece = _piece_pixels(self.n_pixels, self.n_bins)
        shared = (self.normalization, self.dark, self.dark_variance, self.constants, self.rounding)
        object.__setattr__(self, "_map", _native.PackedMap(self.packed, self.n_pixels, self.n_bins, piece, *shared))

    def __reduce__(self) -> tuple[Any, ...]:
        shared = (self.normalization, self.dark, self.dark_variance, self.constants, self.rounding)
        return Scatter, (self.n_pixels, self.n_bins, self.packed, *shared)

    @classmethod
    def build(
        cls,
        pixel_map: PixelMap,
        *,
        normalization: npt.ArrayLike | None = None,
        dark: npt.ArrayLike | None = None,
        dark_variance: npt.ArrayLike | None = None,
    ) -> Self:
        """Pack a map.

        Parameters
        ----------
        pixel_map : PixelMap
        normalization : array-like, n_pixels values, optional
            w of each pixel; 1 if absent. A pixel whose w is 0 or not finite is left out.
        dark, dark_variance : array-like, n_pixels values, optional
            Signal without beam, and its variance. A pixel where they are not finite is left out.

        Raises
        ------
        DataError
            If the arrays do not fit together, or a variance is below zero.
        """
        pixel_map.check()
        n = pixel_map.n_pixels
        w = per_pixel(normalization, "normalization", n, np.float32)
        d, dv = (per_pixel(a, name, n, np.float64) for a, name in ((dark, "dark"), (dark_variance, "dark_variance")))
        if dv is not None and (dv < 0).any():
            raise DataError("dark_variance has values below zero.", "Give the squares of the errors.")
        keep = np.ones(n, bool)
        for values in (w, d, dv):
            if values is not None:
                keep &= np.isfinite(values)
        if w is not None:
            keep &= w != 0
        entries = (
            np.ascontiguousarray(pixel_map.pointers, np.int64),
            np.ascontiguousarray(pixel_map.bins, np.int32),
            np.ascontiguousarray(pixel_map.weights, np.float32),
        )
        packed = _native.pack_map(*entries, keep.view(np.uint8), pixel_map.n_bins)
        constants = np.empty((6, pixel_map.n_bins))
        rounding = np.empty((pixel_map.n_bins + _native.SPARE_BINS, 4 if d is None and dv is None else 8))
        scatter = cls(n, pixel_map.n_bins, packed, w, d, dv, constants, rounding)
        scatter._map.sum_constants(constants, rounding)
        return scatter

    @property
    def nbytes(self) -> int:
        """Memory of the packed map and what it needs, in bytes."""
        shared = (self.normalization, self.dark, self.dark_variance, self.constants, self.rounding)
        arrays = [*self.packed.values(), *shared]
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))

    def pixel_map(self) -> PixelMap:
        """Return the map as it was before it was packed, without entries that contribute nothing."""
        pixels, bins, weights = [], [], []
        first = self.packed["first"].reshape(-1, _TILE_PIXELS).astype(np.int64)
        width, begin = self.packed["tile_bins"], self.packed["tile_weights"]
        # Where each pixel of a tile stands: four streams take turns (native/scatter_plan.hpp).
        place = np.arange(_TILE_PIXELS) % (_TILE_PIXELS // _TILE_STREAMS) * _TILE_STREAMS
        place += np.arange(_TILE_PIXELS) // (_TILE_PIXELS // _TILE_STREAMS)
        for count in np.unique(width[width > 0]):
            tiles = np.flatnonzero(width == count)
            number = (tiles[:, np.newaxis] * _TILE_PIXELS + np.arange(_TILE_PIXELS))[..., np.newaxis]
            bin_number = first[tiles][:, place, np.newaxis] + np.arange(count)
            if self.packed["unit"]:
                weight = np.ones(bin_number.shape, np.float32)
            else:
                at = begin[tiles][:, np.newaxis] + np.arange(_TILE_PIXELS * int(count))
                weight = self.packed["weights"][at].reshape(len(tiles), _TILE_PIXELS, -1)[:, place]
            used = (first[tiles][:, place, np.newaxis] < self.n_bins) & (weight != 0)
            pixels.append(np.broadcast_to(number, used.shape)[used])
            bins.append(bin_number[used])
            weights.append(weight[used])
        tile = np.repeat(np.arange(len(width)), np.diff(self.packed["extra_pointers"]))
        pixels.append(tile * _TILE_PIXELS + self.packed["extra_pixels"])
        bins.append(self.packed["extra_bins"].astype(np.int64))
        weights.append(self.packed["extra_weights"])
        pixel, bin_of, share = (np.concatenate(parts) for parts in (pixels, bins, weights))
        order = np.lexsort((bin_of, pixel))
        pointers = np.zeros(self.n_pixels + 1, np.int64)
        np.cumsum(np.bincount(pixel, minlength=self.n_pixels), out=pointers[1:])
        return PixelMap(self.n_bins, pointers, bin_of[order].astype(np.int32), share[order])

    def __call__(
        self,
        frames: npt.NDArray[np.generic] | EncodedFrames,
        *,
        error_model: ErrorModel = "none",
        variance: npt.ArrayLike | None = None,
        dummy: float | None = None,
        delta_dummy: float = 0.0,
        threads: int = 1,
    ) -> BinSums:
        """Sum frames over bins.

        A frame's sums do not depend on the frames it comes with, on `threads`, on the instruction set, nor on
        whether it comes compressed.

        Parameters
        ----------
        frames : ndarray or EncodedFrames
            Shape (n, rows, columns) or (n, n_pixels); u1, u2, u4, i1, i2, i4, f4 or f8. Values that are not
            finite are invalid.
        error_model : {"none", "poisson", "variance", "azimuthal"}
            Variance of a pixel: none; max(1, raw); as given; or the spread in the bin. The variance of the dark
            is added to the second and third.
        variance : array-like, shape of one frame or of `frames`, optional
            For the model "variance". A pixel whose variance is not finite is invalid.
        dummy, delta_dummy : float
            raw is invalid where |raw - dummy| <= delta_dummy. For unsigned frames a negative dummy stands for
            the number of the same bits.
        threads : int

        Returns
        -------
        BinSums

        Raises
        ------
        DataError
            If the shape or type of the frames does not fit, a variance is below zero, or a compressed frame is
            corrupt.
        """
        if (variance is not None) != (error_model == "variance"):
            raise DataError('Variances and the error model "variance" belong together: give both or none.')
        if isinstance(frames, EncodedFrames) and not _is_fusible(frames):
            return self._decoded_first(frames, error_model, variance, dummy, delta_dummy, threads)
        given = None if variance is None else variance_rows(variance, len(frames), self.n_pixels)
        source = FrameArrays.of(frames, self.n_pixels, dummy, delta_dummy, max(threads, 1))
        first: ErrorModel = "none" if error_model == "azimuthal" else error_model
        sums = source.scatter(self, first, given)
        if error_model != "azimuthal":
            return sums
        mean = np.divide(sums.signal, sums.normalization, out=np.zeros_like(sums.signal), where=sums.normalization != 0)
        return replace(sums, variance=source.spread(self, mean))

    def _decoded_first(
        self,
        frames: EncodedFrames,
        error_model: ErrorModel,
        variance: npt.ArrayLike | None,
        dummy: float | None,
        delta_dummy: float,
        threads: int,
    ) -> BinSums:
        """Decode a few frames at a time to memory, where the fused route cannot go."""
        parts, step = [], max(threads, 4)
        rows = None if variance is None else variance_rows(variance, len(frames), self.n_pixels)
        for start in range(0, len(frames), step):
            some = slice(start, start + step)
            part = replace(frames, buffers=frames.buffers[some], labels=frames.labels[some])
            given = rows if rows is None or len(rows) == 1 else rows[some]
            if given is not None and len(given) == 1:
                given = given[0]
            arrays = decode(part, threads=threads)
            parts.append(
                self(
                    arrays,
                    error_model=error_model,
                    variance=given,
                    dummy=dummy,
                    delta_dummy=delta_dummy,
                    threads=threads,
                )
            )
        if not parts:
            return self(np.empty((0, self.n_pixels), np.uint8), error_model=error_model, variance=variance)
        return join_sums(parts)


def _piece_pixels(n_pixels: int, n_bins: int) -> int:
    pieces = min(max(n_pixels // (_PIXELS_PER_BIN_AND_PIECE * n_bins), 1), _MOST_PIECES) if n_bins else 1
    return max(math.ceil(n_pixels / pieces / _PIECE_ALIGNMENT), 1) * _PIECE_ALIGNMENT


def per_pixel(values: npt.ArrayLike | None, name: str, n_pixels: int, dtype: Any) -> npt.NDArray[Any] | None:
    """Return one value of `dtype` for each pixel, or raise `DataError` if there are more or fewer."""
    if values is None:
        return None
    array = np.ascontiguousarray(values, dtype).reshape(-1)
    if array.size != n_pixels:
        raise DataError(f"{name} has {array.size} values for {n_pixels} pixels.", "Give one value for each pixel.")
    return array


def variance_rows(variance: npt.ArrayLike, n_frames: int, n_pixels: int) -> npt.NDArray[np.float64]:
    """Return the variances of one frame, or of each, as rows; `DataError` if they do not fit or are below zero."""
    array = np.ascontiguousarray(variance, np.float64)
    if array.size != n_pixels and array.size != n_frames * n_pixels:
        raise DataError(
            f"variance has shape {array.shape} for {n_frames} frames of {n_pixels} pixels.",
            "Give the variances of one frame, or of each.",
        )
    if (array < 0).any():
        raise DataError("variance has values below zero.", "Give the squares of the errors.")
    return array.reshape(-1, n_pixels)


def type_number(dtype: np.dtype[np.generic]) -> int:
    try:
        return _TYPE_NUMBERS[dtype.str[1:]]
    except KeyError:
        raise DataError(
            f"Frames of type {dtype} cannot be summed.",
            "Use integers of 8, 16 or 32 bits, or floats of 32 or 64 bits.",
        ) from None


def _is_fusible(frames: EncodedFrames) -> bool:
    """Whether frames can be summed block by block, without being decoded to memory first."""
    dtype = frames.dtype
    if not dtype.isnative or dtype.str[1:] not in _TYPE_NUMBERS:
        return False
    if frames.codec == "byte_offset":
        return dtype.kind in "iu" and dtype.itemsize == 4
    sizes = {bytes(buffer[8:12]) for buffer in frames.buffers}
    if len(sizes) != 1:
        return False
    block_bytes = int.from_bytes(sizes.pop(), "big")
    elements = block_bytes // dtype.itemsize
    return 0 < block_bytes <= _BLOCK_BYTES and elements % _TILE_PIXELS == 0 and _PIECE_ALIGNMENT % elements == 0


@dataclass(frozen=True)
class FrameArrays:
    """Frames as the compiled kernels take them."""

    buffers: list[npt.NDArray[np.uint8]]
    codec: int
    type: int
    integer_range: tuple[int, int] | None
    float_range: tuple[float, float] | None
    labels: tuple[str, ...]
    threads: int

    @classmethod
    def of(
        cls,
        frames: npt.NDArray[np.generic] | EncodedFrames,
        n_pixels: int,
        dummy: float | None,
        delta_dummy: float,
        threads: int,
    ) -> FrameArrays:
        """Check frames, and say which values of their type are invalid.

        Raises
        ------
        DataError
            If their type or shape cannot be summed.
        """
        if isinstance(frames, EncodedFrames):
            size, codec, labels = math.prod(frames.frame_shape), CODEC_NUMBERS[frames.codec], frames.labels
            buffers = as_bytes(frames)
        else:
            frames = np.ascontiguousarray(frames, frames.dtype.newbyteorder("="))
            type_number(frames.dtype)
            if frames.ndim not in (2, 3):
                raise DataError(f"Frames have shape {frames.shape}.", "Give (frame, row, column) or (frame, pixel).")
            size, codec, labels = math.prod(frames.shape[1:]), CODEC_NUMBERS[None], ("",) * len(frames)
            buffers = list(frames.reshape(len(frames), size).view(np.uint8)) if frames.size else []
        if size != n_pixels:
            raise DataError(f"A frame has {size} pixels, the map {n_pixels}.", "Use the geometry of this detector.")
        ranges = invalid_range(frames.dtype, dummy, delta_dummy)
        return cls(buffers, codec, type_number(frames.dtype), *ranges, labels, threads)

    def scatter(self, plan: Scatter, error_model: ErrorModel, variance: npt.NDArray[np.float64] | None) -> BinSums:
        """Return all sums, with any error model but "azimuthal"."""
        shape = (len(self.buffers), plan.n_bins)
        signal, own = np.empty(shape), np.empty((3, *shape))
        spread = None if error_model == "none" else np.empty(shape)
        negative, filled = self._run(plan, error_model, variance, None, signal, spread, own)
        normalization, normalization_squared, count = own if filled else plan.constants[:3, np.newaxis]
        return BinSums(signal, normalization, normalization_squared, count, spread, negative)

    def spread(self, plan: Scatter, mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return Σ (c w)² (s/w - mean)²."""
        variance = np.empty(mean.shape)
        self._run(plan, "azimuthal", None, mean, None, variance, None)
        return variance

    def _run(
        self,
        plan: Scatter,
        error_model: ErrorModel,
        variance: npt.NDArray[np.float64] | None,
        mean: npt.NDArray[np.float64] | None,
        *sums: npt.NDArray[np.float64] | None,
    ) -> tuple[npt.NDArray[np.int64], bool]:
        problems, negative, filled = plan._map.scatter(
            self.buffers,
            self.codec,
            self.type,
            MODEL_NUMBERS[error_model],
            variance,
            mean,
            self.integer_range,
            self.float_range,
            *sums,
            self.threads,
            0,
        )
        check_decoded(problems, self.labels)
        return np.array(negative, np.int64), filled


def join_sums(parts: Sequence[BinSums]) -> BinSums:
    """Return the sums of consecutive frames as one."""

    def joined(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        if arrays[0] is None:
            return None
        shapes = [(len(part), *array.shape[1:]) for part, array in zip(parts, arrays, strict=True)]
        return np.concatenate([np.broadcast_to(array, shape) for array, shape in zip(arrays, shapes, strict=True)])

    return BinSums(*(joined(field.name) for field in fields(BinSums)))


def reference_scatter(
    pixel_map: PixelMap,
    frames: npt.NDArray[Any],
    *,
    normalization: npt.ArrayLike | None = None,
    dark: npt.ArrayLike | None = None,
    dark_variance: npt.ArrayLike | None = None,
    error_model: ErrorModel = "none",
    variance: npt.ArrayLike | None = None,
    dummy: float | None = None,
    delta_dummy: float = 0.0,
) -> BinSums:
    """Sum frames over bins in float64: what `Scatter` means. Slow; parameters as there."""
    n_pixels, n_bins = pixel_map.n_pixels, pixel_map.n_bins
    raw, w, d, v, valid = reference_pixels(
        pixel_map,
        frames,
        normalization=normalization,
        dark=dark,
        dark_variance=dark_variance,
        error_model=error_model,
        variance=variance,
        dummy=dummy,
        delta_dummy=delta_dummy,
    )
    pixel = np.repeat(np.arange(n_pixels), np.diff(pixel_map.pointers))
    c, b = pixel_map.weights.astype(float), pixel_map.bins

    def total(values: npt.NDArray[np.float64], take: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return np.bincount(b[take], values[take], n_bins).astype(np.float64)

    rows = []
    for frame in range(len(raw)):
        take = valid[frame][pixel]
        s = (raw[frame] - d)[pixel]
        signal, norm = total(c * s, take), total(c * w[pixel], take)
        spread = None if error_model == "none" else total(c**2 * v[frame][pixel], take)
        if error_model == "azimuthal":
            mean = np.divide(signal, norm, out=np.zeros(n_bins), where=norm != 0)
            with np.errstate(all="ignore"):
                spread = total((c * w[pixel]) ** 2 * (s / w[pixel] - mean[b]) ** 2, take)
        below = np.unique(pixel[take & (raw[frame] < 0)[pixel] & (c != 0)]).size
        rows.append((signal, norm, total((c * w[pixel]) ** 2, take), total(c, take), spread, below))
    columns = [list(column) for column in zip(*rows, strict=True)]
    arrays = [
        None if name == "variance" and error_model == "none" else np.array(column)
        for name, column in zip((field.name for field in fields(BinSums)), columns, strict=False)
    ]
    return BinSums(*arrays)  # type: ignore[arg-type]


def reference_pixels(
    pixel_map: PixelMap,
    frames: npt.NDArray[Any],
    *,
    normalization: npt.ArrayLike | None = None,
    dark: npt.ArrayLike | None = None,
    dark_variance: npt.ArrayLike | None = None,
    error_model: ErrorModel = "none",
    variance: npt.ArrayLike | None = None,
    dummy: float | None = None,
    delta_dummy: float = 0.0,
) -> tuple[npt.NDArray[np.float64], ...]:
    """Return raw (n, n_pixels), w (n_pixels), dark (n_pixels), v (n, n_pixels) and which pixels are valid."""
    n, n_pixels = len(frames), pixel_map.n_pixels
    raw = np.asarray(frames, np.float64).reshape(n, n_pixels)
    w = np.ones(n_pixels) if normalization is None else np.asarray(normalization, np.float32).astype(float).ravel()
    d = np.zeros(n_pixels) if dark is None else np.asarray(dark, np.float64).ravel()
    v = np.zeros((n, n_pixels))
    if error_model == "poisson":
        v = np.maximum(1, raw)
    elif error_model == "variance":
        v = np.broadcast_to(np.asarray(variance, np.float64).reshape(-1, n_pixels), (n, n_pixels))
    if dark_variance is not None:
        v = v + np.asarray(dark_variance, np.float64).ravel()
    valid = np.isfinite(raw) & np.isfinite(d) & np.isfinite(v) & np.isfinite(w) & (w != 0)
    valid &= ~marked(raw, dummy, delta_dummy, frames.dtype)
    return raw, w, d, v, valid
