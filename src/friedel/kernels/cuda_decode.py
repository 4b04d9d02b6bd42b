"""Frames into the memory of a CUDA device, decoded there: the twin of `decode`.

Compressed buffers are gathered in pinned host memory, copied to the device as they are, and decoded by it
(``cuda/bitshuffle_lz4.cu``, ``cuda/byte_offset.cu``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from friedel import _native
from friedel.device import cuda

from .decode import as_bytes, element_size
from .encoded import EncodedFrames

SOURCES = Path(__file__).parent / "cuda"

ALIGNMENT = 256
_BUFFER_ALIGNMENT = 16
_SLACK = 64
"""Bytes that kernels may read behind the buffers."""

_LEAST_BLOCK_BYTES = 2048
"""Chunks with smaller blocks (on average) than this are left to the CPU: detectors write 8192 bytes."""
_WARPS = 4
_WALKING_THREADS = 128

_TILE_BYTES = 2048
_TILE_ROOM = 2192
_TILE_ELEMENTS = 2080
_ELEMENT_TYPES = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long long"}

Frames = npt.NDArray[Any] | EncodedFrames


class FrameLoader:
    """Brings batches of frames to a device, through memory that is taken once.

    A batch is put on a stream; its frames stay until the next one. Not for several threads at a time.

    Parameters
    ----------
    device : int
    staging_bytes : int
        Memory for a batch as it comes, on the host (pinned) and on the device.
    frame_bytes : int
        Memory for the decoded frames of a batch, on the device.

    Attributes
    ----------
    errors : device array of uint32, shape (n,)
        Not 0 for a frame of the last batch that the device could not decode.
    """

    def __init__(self, device: int, staging_bytes: int, frame_bytes: int) -> None:
        self.device = device
        self.limit = cuda.limits(device).shared_bytes
        self._staging = cuda.pinned_memory(staging_bytes)
        with cuda.using(device):
            xp = cuda.array_module()
            self._coded = xp.empty(staging_bytes + _SLACK, np.uint8)
            self._frames = xp.empty(frame_bytes, np.uint8)
            # For each tile of byte-offset data a map (then an entry), a count and a sum.
            self._tiles = xp.empty(3 * (staging_bytes // _TILE_BYTES + 1), np.uint64)
            self.errors = xp.zeros(0, np.uint32)
        self._refused: npt.NDArray[np.bool_] = np.zeros(0, bool)
        self._kernels: dict[tuple[int | str, ...], cuda.Kernel] = {}

    @staticmethod
    def decodes(frames: Frames) -> bool:
        """Whether the device can take frames as they are; others are decoded by the CPU before."""
        if not frames.dtype.isnative:
            return False
        return not isinstance(frames, EncodedFrames) or frames.dtype.kind in "iu" or frames.codec == "bslz4"

    def leading(self, frames: Frames) -> int:
        """Return how many of the first of `frames` fit into a batch; 0 if not even one does."""
        shape = frames.frame_shape if isinstance(frames, EncodedFrames) else frames.shape[1:]
        n_pixels, size = math.prod(shape), frames.dtype.itemsize
        most = min(len(frames), len(self._frames) // max(n_pixels * size, 1))
        if not isinstance(frames, EncodedFrames):
            return min(most, len(self._staging) // max(staging_for(n_pixels * size, 1), 1))
        each = 24 + (4 * _pitch(n_pixels, size) if frames.codec == "bslz4" else 0)
        sizes = np.fromiter(map(len, frames.buffers[:most]), np.int64, most)
        fits = 4 * ALIGNMENT + np.cumsum(each + _aligned(sizes, _BUFFER_ALIGNMENT)) <= len(self._staging)
        if frames.codec == "byte_offset":
            tiles = np.maximum.accumulate(_tiles(sizes)) * np.arange(1, most + 1)
            fits &= 3 * tiles <= len(self._tiles)
        return most if fits.all() else int(np.argmin(fits))

    def __call__(self, frames: Frames, *, threads: int = 1) -> Any:
        """Put frames on the current stream.

        Parameters
        ----------
        frames : ndarray, shape (n, ...), or EncodedFrames
            No more than `leading` says, of a type that `decodes`.
        threads : int
            Threads that gather the buffers.

        Returns
        -------
        device array, shape (n, n_pixels)
            Of the type of `frames`; complete when the stream has got so far, valid until the next call. What is in a
            frame that `damaged` marks is undefined.
        """
        n = len(frames)
        with cuda.using(self.device):
            xp = cuda.array_module()
            self.errors = xp.zeros(n, np.uint32)
        self._refused = np.zeros(n, bool)
        if not isinstance(frames, EncodedFrames):
            return self._load(frames, threads)
        shape = (n, math.prod(frames.frame_shape))
        made = self._frames[: math.prod(shape) * element_size(frames.dtype)]
        if n and shape[1]:
            decode = self._decode_bslz4 if frames.codec == "bslz4" else self._decode_byte_offset
            decode(frames, shape[1], made, threads)
        return made.view(frames.dtype).reshape(shape)

    def damaged(self, errors: npt.NDArray[np.uint32] | None = None) -> npt.NDArray[np.bool_]:
        """Return which frames of the last batch the device could not decode.

        Such frames are damaged, or their blocks have an unusual size, or values that do not fit their type: the CPU
        finds out (`decode`).

        Parameters
        ----------
        errors : ndarray of uint32, shape (n,), optional
            What `errors` has when the stream has got so far; by default it is fetched, which waits for that.
        """
        if errors is None:
            errors = cuda.array_module().asnumpy(self.errors)
        return np.asarray((errors != 0) | self._refused)

    def _load(self, frames: npt.NDArray[Any], threads: int) -> Any:
        n = len(frames)
        rows = np.ascontiguousarray(frames).reshape(n, math.prod(frames.shape[1:]))
        n_bytes = rows.nbytes
        if n_bytes:
            piece = rows.reshape(-1).view(np.uint8)
            _native.gather([piece], self._staging, np.empty(1, np.uint64), max(threads, 1))
            cuda.to_device(self._frames[:n_bytes], self._staging[:n_bytes])
        return self._frames[:n_bytes].view(frames.dtype).reshape(rows.shape)

    def _tables(self, *tables: tuple[int, Any]) -> tuple[int, list[tuple[npt.NDArray[Any], Any]]]:
        """Return the bytes that tables of so many elements take, and each in the staging memory and on the device."""
        used, made = 0, []
        for count, dtype in tables:
            size = count * np.dtype(dtype).itemsize
            part = slice(used, used + size)
            made.append((self._staging[part].view(dtype), self._coded[part].view(dtype)))
            used += _aligned(size, _BUFFER_ALIGNMENT)
        return _aligned(used, ALIGNMENT), made

    def _bring(
        self,
        head: int,
        buffers: Sequence[npt.NDArray[np.uint8]],
        starts: npt.NDArray[np.uint64],
        sizes: npt.NDArray[np.uint64],
        threads: int,
    ) -> int:
        """Put the copying of `head` bytes of tables and of the buffers behind them on the current stream.

        Returns
        -------
        int
            Bytes of the buffers, with what is between them. Where each starts is noted in `starts`, its size in
            `sizes`; both are among the tables.
        """
        addresses = np.empty_like(sizes)
        _native.locate(buffers, addresses, sizes)
        shelf = cuda.shelf_of(addresses, sizes)
        used: int = _native.gather(buffers, self._staging[head:], starts, max(threads, 1), shelf is None)
        if shelf is None:
            cuda.to_device(self._coded[: head + used], self._staging[: head + used])
            return used
        cuda.to_device(self._coded[:head], self._staging[:head])
        memory, places = shelf
        for first, last in _runs(starts, places):
            start, end, there = int(starts[first]), int(starts[last] + sizes[last]), int(places[first])
            cuda.to_device(self._coded[head + start : head + end], memory[there : there + end - start])
        return used

    def _decode_bslz4(self, frames: EncodedFrames, n_pixels: int, made: Any, threads: int) -> None:
        n, size = len(frames), frames.dtype.itemsize
        pitch = _pitch(n_pixels, size)
        buffers = as_bytes(frames)
        head, tables = self._tables((n, np.uint64), (n, np.uint64), (n, np.uint32))
        (starts, starts_there), (sizes, sizes_there), (blocks, blocks_there) = tables
        _native.block_elements(buffers, size, n_pixels, pitch - 1, blocks)
        whole = n_pixels // 8 * 8
        largest = np.minimum(blocks.astype(np.int64), whole) * size
        blocks[_room(largest) > self.limit] = 0
        decoded = blocks != 0
        self._refused = ~decoded
        room = int(_room(largest[decoded].max(initial=0)))
        warps = max(min(_WARPS, self.limit // max(room, 1)), 1)
        count = max(-(-whole // int(blocks[decoded].min(initial=whole or 1))), 1)

        used = self._bring(head, buffers, starts, sizes, threads)
        data = self._coded[head:]
        # Where the blocks lie is found there, and noted behind the chunks.
        begin = _aligned(head + used, ALIGNMENT)
        offsets = self._coded[begin : begin + 4 * n * pitch].view(np.uint32)
        elements, macros = np.uint64(n_pixels), {"SIZE": size}
        self._kernel("bitshuffle_lz4", "find_blocks", macros)(
            (n,),
            (_WALKING_THREADS,),
            (data, starts_there, sizes_there, np.uint32(pitch), elements, blocks_there, offsets, self.errors),
        )
        self._kernel("bitshuffle_lz4", "decode_bslz4", macros)(
            (-(-count // warps), n),
            (32 * warps,),
            (
                data,
                starts_there,
                offsets,
                blocks_there,
                np.uint32(pitch),
                elements,
                np.uint32(room),
                made,
                self.errors,
            ),
            shared_mem=room * warps,
        )

    def _decode_byte_offset(self, frames: EncodedFrames, n_pixels: int, made: Any, threads: int) -> None:
        n, size = len(frames), frames.dtype.itemsize
        buffers = as_bytes(frames)
        head, tables = self._tables((n, np.uint64), (n, np.uint64))
        (starts, starts_there), (sizes, sizes_there) = tables
        self._bring(head, buffers, starts, sizes, threads)

        tiles = max(_tiles(int(sizes.max())), 1)
        pitch, per_frame = np.uint32(tiles), n * tiles
        maps, counts, sums = (self._tiles[i * per_frame : (i + 1) * per_frame] for i in range(3))
        data = self._coded[head:]
        macros = {"ELEMENT": _ELEMENT_TYPES[size]}
        grid, block = (-(-tiles // _WARPS), n), (32 * _WARPS,)
        common = (data, starts_there, sizes_there, pitch)
        limits = _limits(frames.dtype)

        def start(
            name: str, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], room: int = 0
        ) -> None:
            self._kernel("byte_offset", name, macros)(tuple(grid), tuple(block), tuple(arguments), shared_mem=room)

        start("byte_offset_maps", grid, block, (*common, maps), _WARPS * _TILE_ROOM)
        start("byte_offset_entries", (n,), (32,), (sizes_there, pitch, maps))
        start("byte_offset_sums", grid, block, (*common, maps, counts, sums), _WARPS * _TILE_ROOM)
        start("byte_offset_scan", (n,), (32,), (sizes_there, pitch, np.uint64(n_pixels), counts, sums, self.errors))
        room = _WARPS * (_TILE_ROOM + _TILE_ELEMENTS * size)
        made_of = (*common, maps, counts, sums, np.uint64(n_pixels), *limits, made, self.errors)
        start("byte_offset_write", grid, block, made_of, room)

    def _kernel(self, source: str, name: str, macros: Mapping[str, int | str]) -> cuda.Kernel:
        key = (name, *macros.values())
        if key not in self._kernels:
            self._kernels[key] = cuda.load_kernel(SOURCES / f"{source}.cu", name, macros, self.device)
        return self._kernels[key]


def _runs(starts: npt.NDArray[np.uint64], places: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the first and last number of buffers that lie in one piece here and there: one transfer takes them."""
    shifts = places - starts.astype(np.int64)
    cuts = (np.flatnonzero(shifts[1:] != shifts[:-1]) + 1).tolist()
    return [(first, stop - 1) for first, stop in zip([0, *cuts], [*cuts, len(shifts)], strict=True)]


def staging_for(frame_bytes: int, n_frames: int) -> int:
    """Return the staging memory that is needed for `n_frames` frames which are not compressed."""
    return n_frames * int(_aligned(frame_bytes, _BUFFER_ALIGNMENT))


def _aligned(n_bytes: Any, alignment: int) -> Any:
    return -(-n_bytes // alignment) * alignment


def _pitch(n_pixels: int, size: int) -> int:
    """Entries of the table of a chunk's blocks."""
    return n_pixels * size // _LEAST_BLOCK_BYTES + 3


def _tiles(n_bytes: Any) -> Any:
    return -(-n_bytes // _TILE_BYTES)


def _limits(dtype: np.dtype[Any]) -> tuple[np.int64, np.int64]:
    """Return the least and the largest value of a type, as far as 64 bits with a sign tell them."""
    if dtype.itemsize == 8:
        return np.int64(-(2**63)), np.int64(2**63 - 1)
    return np.int64(np.iinfo(dtype).min), np.int64(np.iinfo(dtype).max)


def _room(block_bytes: Any) -> Any:
    """Shared memory in which a block can be decoded in place (``cuda/bitshuffle_lz4.cu``)."""
    return (block_bytes + block_bytes // 255 + 48 + 127) // 128 * 128
