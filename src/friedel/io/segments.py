"""Runs of frames that lie in one file in one way, and how to get at them.

A segment is small and picklable: where each frame lies in the file is looked up in the process that reads, once, and
kept for the most recent segments.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError, FileError
from friedel.kernels.encoded import Codec, EncodedFrames

from . import cbf, handles
from .handles import Stamp, stamp_of
from .hdf5_tree import BrokenLink, is_dataset, linked_path, resolve_link

if TYPE_CHECKING:
    import h5py

BITSHUFFLE = 32008
BITSHUFFLE_LZ4 = 2
KEPT_TABLES = 256

Frame = bytes | memoryview


class Segment(Protocol):
    """Frames of one file."""

    @property
    def n_frames(self) -> int: ...

    @property
    def frame_shape(self) -> tuple[int, int]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def codec(self) -> Codec | None:
        """How `buffers` are coded; None if only `images` gives the frames."""
        ...

    @property
    def path(self) -> str:
        """The file."""
        ...

    def buffers(self, indices: range) -> list[Frame]:
        """Return the coded frames."""
        ...

    def images(self, indices: range) -> NDArray[Any]:
        """Return the decoded frames, (n, rows, columns); only where `codec` is None."""
        ...

    def label(self, index: int) -> str:
        """Say where a frame comes from."""
        ...


@dataclass(frozen=True)
class StoredFrames:
    """Frames whose bytes lie in the file one by one: HDF5 chunks of one frame each, or a contiguous dataset.

    They are read at their offsets, by any thread, without the HDF5 library and its lock.
    """

    path: str
    stamp: Stamp
    dataset: str
    first: int
    n_frames: int
    frame_shape: tuple[int, int]
    dtype: np.dtype[Any]
    codec: Codec | None
    offset: int | None
    """Byte offset of frame 0 of a contiguous dataset."""

    def _places(self, indices: range) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        wanted = np.arange(indices.start, indices.stop, indices.step, dtype=np.int64) + self.first
        if self.offset is None:
            offsets, sizes = _chunk_table(self.path, self.stamp, self.dataset)
            if wanted.size and (np.any(wanted >= offsets.size) or np.any(sizes[wanted] == 0)):
                raise _never_written(self.path, self.dataset, sizes)
            return offsets[wanted], sizes[wanted]
        size = self.dtype.itemsize * self.frame_shape[0] * self.frame_shape[1]
        return self.offset + wanted * size, np.full(wanted.size, size, np.int64)

    def buffers(self, indices: range) -> list[Frame]:
        """Return the frames as they lie in the file."""
        file = handles.descriptor(self.path, self.stamp)
        offsets, sizes = self._places(indices)
        return [
            file.read(int(offset), int(size), self.label(index))
            for index, offset, size in zip(indices, offsets, sizes, strict=True)
        ]

    def images(self, indices: range) -> NDArray[Any]:
        """Return uncompressed frames, (n, rows, columns)."""
        frames = np.empty((len(indices), *self.frame_shape), self.dtype)
        for image, buffer in zip(frames, self.buffers(indices), strict=True):
            image[...] = np.frombuffer(buffer, self.dtype).reshape(self.frame_shape)
        return frames

    def label(self, index: int) -> str:
        """Say where a frame comes from."""
        return f"{self.path}::{self.dataset} frame {self.first + index}"


@dataclass(frozen=True)
class DecodedFrames:
    """Frames of a dataset that only the HDF5 library can decode, read under its lock."""

    path: str
    stamp: Stamp
    dataset: str
    first: int
    n_frames: int
    frame_shape: tuple[int, int]
    dtype: np.dtype[Any]
    codec: ClassVar[Codec | None] = None

    def buffers(self, indices: range) -> list[Frame]:
        """Never called: there is no codec."""
        raise NotImplementedError

    def images(self, indices: range) -> NDArray[Any]:
        """Return the frames, (n, rows, columns), in the byte order of this machine."""
        with handles.hdf5_file(self.path, self.stamp) as file, handles.damage_told(self.path):
            dataset = file[self.dataset]
            if dataset.chunks is not None and _chunk_storage(dataset) == "bslz4":
                return self._from_chunks(dataset, indices)
            handles.need_filters(dataset)
            self._check_written(dataset, indices)
            if len(dataset.shape) <= 3:
                first, last = self.first + indices.start, self.first + indices.stop
                found = dataset[()] if len(dataset.shape) == 2 else dataset[first : last : indices.step]
            else:
                grid = [np.unravel_index(self.first + index, dataset.shape[:-2]) for index in indices]
                found = np.stack([dataset[tuple(int(part) for part in place)] for place in grid])
        return np.ascontiguousarray(found.reshape(len(indices), *self.frame_shape), self.dtype)

    def _check_written(self, dataset: h5py.Dataset, indices: range) -> None:
        """HDF5 would fill in zeros for frames that are not there."""
        leading = dataset.shape[:-2]
        if dataset.chunks != (1,) * len(leading) + dataset.shape[-2:] or dataset.is_virtual:
            return
        for index in indices:
            place = (*(int(part) for part in np.unravel_index(self.first + index, leading)), 0, 0)
            if dataset.id.get_chunk_info_by_coord(place).byte_offset is None:
                raise _never_written(self.path, self.dataset, _read_chunk_table(dataset)[1])

    def _from_chunks(self, dataset: h5py.Dataset, indices: range) -> NDArray[Any]:
        """Decode bitshuffle-LZ4 chunks here: HDF5's own filter trusts them, and crashes on damaged ones."""
        frames = np.empty((len(indices), *self.frame_shape), self.dtype)
        chunk = dataset.chunks[:-2]
        corner, frames_of_chunk = None, frames
        for image, index in zip(frames, indices, strict=True):
            place = tuple(map(int, np.unravel_index(self.first + index, dataset.shape[:-2])))
            wanted = tuple(part // size * size for part, size in zip(place, chunk, strict=True))
            if wanted != corner:
                corner, frames_of_chunk = wanted, _decoded_chunks(dataset, wanted, self.label(index))
            image[...] = frames_of_chunk[tuple(part - low for part, low in zip(place, wanted, strict=True))]
        return frames

    def label(self, index: int) -> str:
        """Say where a frame comes from."""
        return f"{self.path}::{self.dataset} frame {self.first + index}"


@dataclass(frozen=True)
class CbfFrame:
    """The image of a byte-offset CBF file."""

    path: str
    frame_shape: tuple[int, int]
    dtype: np.dtype[Any]
    check: bool = False
    n_frames: ClassVar[int] = 1
    codec: ClassVar[Codec | None] = "byte_offset"

    def buffers(self, indices: range) -> list[Frame]:
        """Return the coded image.

        Raises
        ------
        DataError
            If its shape or type differs from that of the other frames.
        """
        header, payload = cbf.read_payload(self.path, check=self.check)
        if header.shape != self.frame_shape or header.dtype != self.dtype or not is_byte_offset(header):
            raise _other_shape(self.path, header.shape, header.dtype, self.frame_shape, self.dtype)
        return [payload for _ in indices]

    def images(self, indices: range) -> NDArray[Any]:
        """Never called: there is a codec."""
        raise NotImplementedError

    def label(self, index: int) -> str:
        """Say where the frame comes from."""
        return self.path


@dataclass(frozen=True)
class FabioFrames:
    """Frames of a file that fabio reads."""

    path: str
    stamp: Stamp
    n_frames: int
    frame_shape: tuple[int, int]
    dtype: np.dtype[Any]
    codec: ClassVar[Codec | None] = None

    def buffers(self, indices: range) -> list[Frame]:
        """Never called: there is no codec."""
        raise NotImplementedError

    def images(self, indices: range) -> NDArray[Any]:
        """Return the frames, (n, rows, columns), in the byte order of this machine."""
        frames = np.empty((len(indices), *self.frame_shape), self.dtype)
        with open_fabio(self.path) as file:
            for image, index in zip(frames, indices, strict=True):
                data = fabio_frame(self.path, file, index)
                if data.shape != self.frame_shape:
                    raise _other_shape(self.path, data.shape, data.dtype, self.frame_shape, self.dtype)
                image[...] = data
        return frames

    def label(self, index: int) -> str:
        """Say where a frame comes from."""
        return f"{self.path} frame {index}" if self.n_frames > 1 else self.path


def is_byte_offset(header: cbf.CbfHeader) -> bool:
    """Whether the fast path reads this image."""
    return header.conversion == "x-cbf_byte_offset"


def _other_shape(path: str, shape: Any, dtype: Any, wanted: Any, wanted_type: Any) -> DataError:
    return DataError(
        f"{path}: the image is {shape[0]} x {shape[1]} ({dtype}), the other frames are "
        f"{wanted[0]} x {wanted[1]} ({wanted_type}).",
        "Leave the file out, or process it apart.",
    )


# ---- fabio


def open_fabio(path: str) -> Any:
    """Open a file with fabio.

    Raises
    ------
    FileError
        If it is no image, or damaged.
    """
    import logging

    import fabio

    stamp_of(path)
    # fabio reports what it tries on its way; what matters is raised.
    logging.getLogger("fabio").setLevel(logging.CRITICAL)
    try:
        file = fabio.open(path)
    except Exception as error:  # fabio raises whatever its 36 readers meet
        raise _not_read(path, error) from None
    if _is_edf(file) and file.incomplete_file:
        _check_complete(path, file)
    return file


def _check_complete(path: str, file: Any) -> None:
    """Look at the end of an EDF file that fabio found to be incomplete: it would fill in zeros."""
    frame = file.get_frame(file.nframes - 1)
    frame.file.seek(0)
    there, end, tail = 0, frame.start + (frame.blobsize if _is_compressed(frame) else frame.size), b""
    try:
        while piece := frame.file.read(2**20):
            tail = (tail + piece[max(end - there, 0) :])[:64]
            there += len(piece)
    except EOFError:  # a compressed file that was cut; what follows is not there
        tail = b"{"
    if there < end:
        problem = f"the file is truncated: it has {there} bytes, frame {file.nframes - 1} needs {end} bytes."
    elif tail.lstrip().startswith(b"{"):
        problem = f"the file is truncated: it ends after {there} bytes, behind frame {file.nframes - 1}."
    else:
        return
    raise FileError(path, problem, "Copy it again, or wait until it is written completely.")


def _is_edf(file: Any) -> bool:
    from fabio.edfimage import EdfImage

    return isinstance(file, EdfImage)


def _is_compressed(frame: Any) -> bool:
    words = (str(value).upper() for key, value in frame.header.items() if key.upper() == "COMPRESSION")
    return next(words, "NONE") != "NONE"


def _check_block(path: str, file: Any, index: int) -> None:
    """Make sure that the block of an EDF frame is as large as its header says; fabio would fill in zeros."""
    frame = file.get_frame(index)
    if frame.bfname is None and frame.blobsize < frame.size and not _is_compressed(frame):
        problem = f"is damaged: frame {index} has {frame.blobsize} bytes, {frame.size} are needed."
        raise FileError(path, problem, "Copy the file again.")


def fabio_frame(path: str, file: Any, index: int) -> NDArray[Any]:
    """Return one frame of a file that is open in fabio.

    Raises
    ------
    FileError
        If it is damaged.
    """
    if _is_edf(file):
        _check_block(path, file, index)
    try:
        data = file.data if file.nframes == 1 else file.get_frame(index).data
    except Exception as error:  # as above
        raise _not_read(path, error) from None
    if data is None:
        raise FileError(path, "is no image that can be read; it may be truncated.", "Copy the file again.")
    if data.ndim != 2:
        raise FileError(path, "holds no two-dimensional image.", "Leave the file out.")
    found: NDArray[Any] = data
    return found


def _not_read(path: str, error: Exception) -> FileError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return FileError(
        path, f"is no image that can be read ({reason}).", "Leave the file out; if it is one, copy it again."
    )


def fabio_segment(path: str) -> FabioFrames:
    """Look at a file with fabio."""
    stamp = stamp_of(path)
    with open_fabio(path) as file:
        data = fabio_frame(path, file, 0)
        return FabioFrames(path, stamp, int(file.nframes), data.shape, data.dtype.newbyteorder("="))


# ---- HDF5


def dataset_segments(dataset: h5py.Dataset, *, incomplete: bool = False) -> list[Segment]:
    """Return the segments of a dataset; a virtual one is replaced by the datasets that it is made of.

    Parameters
    ----------
    dataset : h5py.Dataset
    incomplete : bool
        Whether frames may be missing that were not written yet, or never: then only reading them is an error.

    Raises
    ------
    FileError
        If a source of a virtual dataset is missing.
    DataError
        If frames were never written.
    """
    segments = _virtual_segments(dataset, incomplete) if dataset.is_virtual else None
    return segments if segments is not None else [_plain_segment(dataset, incomplete)]


def _plain_segment(dataset: h5py.Dataset, incomplete: bool) -> Segment:
    path, shape = dataset.file.filename, dataset.shape
    stamp = stamp_of(path)
    frame_shape = (int(shape[-2]), int(shape[-1]))
    n_frames = int(np.prod(shape[:-2], dtype=np.int64))
    common = (path, stamp, dataset.name, 0, n_frames, frame_shape)
    native = dataset.dtype.newbyteorder("=")
    plain = dataset.dtype == native and not dataset.is_virtual and dataset.file.userblock_size == 0
    external = bool(dataset.external)
    if plain and not external and dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is not None:
            return StoredFrames(*common, native, None, int(offset))
    if dataset.chunks is not None and not dataset.is_virtual:
        one_frame = dataset.chunks == (1,) * (len(shape) - 2) + shape[-2:]
        storage = _chunk_storage(dataset) if plain and one_frame else "other"
        if one_frame and not incomplete and dataset.id.get_num_chunks() < n_frames:
            raise _never_written(path, dataset.name, _read_chunk_table(dataset)[1])
        if storage != "other":
            table = _read_chunk_table(dataset)
            if not table[2]:
                _tables.put((path, stamp, dataset.name), table[:2])
                return StoredFrames(*common, native, "bslz4" if storage == "bslz4" else None, None)
    return DecodedFrames(*common, native)


def _chunk_storage(dataset: h5py.Dataset) -> str:
    """Return how a chunk is coded: "bslz4", "raw", or "other"."""
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(index) for index in range(properties.get_nfilters())]
    if not filters:
        return "raw"
    number, _, values, _ = filters[0]
    if len(filters) == 1 and number == BITSHUFFLE and len(values) > 4 and values[4] == BITSHUFFLE_LZ4:
        return "bslz4"
    return "other"


def _decoded_chunks(dataset: h5py.Dataset, corner: tuple[int, ...], label: str) -> NDArray[Any]:
    """Return the whole frames that lie in the bitshuffle-LZ4 chunks at `corner`, which may tile the image."""
    rows, columns = dataset.shape[-2:]
    frames = np.empty((*dataset.chunks[:-2], rows, columns), dataset.dtype.newbyteorder("="))
    for row in range(0, rows, dataset.chunks[-2]):
        for column in range(0, columns, dataset.chunks[-1]):
            tile = frames[..., row : row + dataset.chunks[-2], column : column + dataset.chunks[-1]]
            chunk = _decoded_chunk(dataset, (*corner, row, column), label)
            tile[...] = chunk[..., : tile.shape[-2], : tile.shape[-1]]
    return frames


def _decoded_chunk(dataset: h5py.Dataset, corner: tuple[int, ...], label: str) -> NDArray[Any]:
    from friedel.kernels.decode import decode

    shape = dataset.chunks
    if dataset.id.get_chunk_info_by_coord(corner).byte_offset is None:
        return np.broadcast_to(dataset.fillvalue, shape)
    skipped, buffer = dataset.id.read_direct_chunk(corner)
    if skipped:
        return np.frombuffer(buffer, dataset.dtype).reshape(shape)
    rows = int(np.prod(shape[:-1], dtype=np.int64))
    return decode(EncodedFrames("bslz4", (buffer,), (rows, shape[-1]), dataset.dtype, (label,))).reshape(shape)


def _never_written(path: str, dataset: str, sizes: NDArray[np.int64]) -> DataError:
    missing = np.flatnonzero(sizes == 0)
    return DataError(
        f"{path}::{dataset}: {missing.size} of {sizes.size} frames were never written, the first is frame "
        f"{missing[0] if missing.size else sizes.size}.",
        "The scan stopped early or the file is truncated: read only the frames that are there "
        f"(frames 0:{missing[0] if missing.size else sizes.size}).",
    )


def written_frames(segment: StoredFrames | DecodedFrames) -> int:
    """Return how many frames of chunks are in the file, up to the first that is not."""
    with handles.hdf5_file(segment.path, segment.stamp) as file, handles.damage_told(segment.path):
        dataset = file[segment.dataset]
        leading = dataset.shape[:-2]
        if dataset.chunks != (1,) * len(leading) + dataset.shape[-2:]:
            return segment.n_frames
    sizes = _chunk_table(segment.path, segment.stamp, segment.dataset)[1]
    missing = np.flatnonzero(sizes[segment.first : segment.first + segment.n_frames] == 0)
    return int(missing[0]) if missing.size else segment.n_frames


Table = tuple[NDArray[np.int64], NDArray[np.int64]]


class _Tables:
    """Chunk tables of the segments used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: OrderedDict[tuple[str, Stamp, str], Table] = OrderedDict()

    def get(self, key: tuple[str, Stamp, str]) -> Table | None:
        with self._lock:
            table = self._tables.get(key)
            if table is not None:
                self._tables.move_to_end(key)
            return table

    def put(self, key: tuple[str, Stamp, str], table: Table) -> None:
        with self._lock:
            self._tables[key] = table
            while len(self._tables) > KEPT_TABLES:
                self._tables.popitem(last=False)

    def reset_lock(self) -> None:
        self._lock = threading.Lock()


_tables = _Tables()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tables.reset_lock)


def _chunk_table(path: str, stamp: Stamp, dataset: str) -> Table:
    """Return byte offset and size of each chunk, in the order of the frames; size 0 where there is none."""
    table = _tables.get((path, stamp, dataset))
    if table is None:
        with handles.hdf5_file(path, stamp) as file:
            table = _read_chunk_table(file[dataset])[:2]
        _tables.put((path, stamp, dataset), table)
    return table


def _read_chunk_table(dataset: h5py.Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """Return offsets, sizes, and whether a chunk left out a filter.

    Of a file in SWMR mode, chunks that were added since the dataset was opened are left out.
    """
    growing = dataset.file.swmr_mode
    leading = dataset.shape[:-2]
    strides = np.cumprod((1, *leading[:0:-1]), dtype=np.int64)[::-1] if leading else np.zeros(0, np.int64)
    n_frames = int(np.prod(leading, dtype=np.int64))
    offsets, sizes = np.zeros(n_frames, np.int64), np.zeros(n_frames, np.int64)
    skipped: list[int] = []

    def note(chunk: Any) -> None:
        place = chunk.chunk_offset[: len(leading)]
        index = sum(int(stride) * int(part) for stride, part in zip(strides, place, strict=True))
        if not 0 <= index < n_frames:
            if growing:
                return
            raise FileError(
                dataset.file.filename,
                f"the HDF5 file is damaged (a chunk of {dataset.name} lies at frame {index} of {n_frames}).",
                "Copy it again.",
            )
        offsets[index], sizes[index] = chunk.byte_offset, chunk.size
        if chunk.filter_mask:
            skipped.append(index)

    try:
        dataset.id.chunk_iter(note)
    except (OSError, RuntimeError, KeyError) as error:
        raise handles.hdf5_error(dataset.file.filename, error) from None
    return offsets, sizes, bool(skipped)


# ---- virtual datasets


def _virtual_segments(dataset: h5py.Dataset, incomplete: bool) -> list[Segment] | None:
    """Return the segments of the sources, in order, or None if the mapping is not frame by frame."""

    if len(dataset.shape) != 3:
        _check_sources(dataset)
        return None
    pieces: list[tuple[int, int, list[Segment]]] = []
    for mapping in dataset.virtual_sources():
        target = _whole_frames(mapping.vspace, dataset.shape)
        if target is None or "%" in mapping.file_name:
            _check_sources(dataset)
            return None
        inside = mapping.file_name == "."
        path = dataset.file.filename if inside else str(linked_path(dataset.file.filename, mapping.file_name))
        if not inside and not Path(path).exists():
            raise _missing_source(dataset, path)
        with _lent(dataset.file if inside else handles.open_hdf5(path), keep=inside) as file:
            source = _source_dataset(file, mapping.dset_name, dataset)
            wanted = _whole_frames(mapping.src_space, source.shape)
            same_type = source.dtype.newbyteorder("=") == dataset.dtype.newbyteorder("=")
            if wanted is None or source.shape[1:] != dataset.shape[1:] or not same_type:
                _check_sources(dataset)
                return None
            cut = cut_segments(
                dataset_segments(source, incomplete=incomplete), range(wanted[0], min(wanted[1], source.shape[0]))
            )
        pieces.append((target[0], target[1], cut))
    pieces.sort(key=lambda piece: piece[0])
    if not _is_complete(dataset, pieces):
        return None
    return [segment for _, _, segments in pieces for segment in segments]


class _lent:  # noqa: N801  used like a function
    """Lend a file: close it at the end unless it belongs to somebody else."""

    def __init__(self, file: h5py.File, keep: bool) -> None:
        self.file, self.keep = file, keep

    def __enter__(self) -> h5py.File:
        return self.file

    def __exit__(self, *_: object) -> None:
        if not self.keep:
            self.file.close()


def _source_dataset(file: h5py.File, name: str, dataset: h5py.Dataset) -> h5py.Dataset:
    item: Any = file
    for part in [part for part in name.split("/") if part]:
        item = resolve_link(item, part) if part in item else BrokenLink(name, name, False)
        if isinstance(item, BrokenLink):
            raise _missing_source(dataset, f"{file.filename}::{name}")
    if not is_dataset(item):
        raise _missing_source(dataset, f"{file.filename}::{name}")
    return item


def _missing_source(dataset: h5py.Dataset, what: str) -> FileError:
    return FileError(
        dataset.file.filename,
        f"the virtual dataset {dataset.name} is made of {what}, which is missing.",
        "Copy the data files to the place beside the master file where it expects them.",
    )


def _check_sources(dataset: h5py.Dataset) -> None:
    """Make sure that HDF5 will not fill in for files that are missing."""
    for mapping in dataset.virtual_sources():
        name = mapping.file_name
        path = linked_path(dataset.file.filename, name)
        if name != "." and "%" not in name and not path.exists():
            raise _missing_source(dataset, str(path))


def _whole_frames(space: Any, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the frames [start, stop) that a selection takes, or None if it is not such a range of whole frames."""
    import h5py

    if len(shape) != 3:
        return None
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return 0, shape[0]
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return None
    low, high = space.get_select_bounds()
    whole = low[1:] == (0, 0) and high[1:] == (shape[1] - 1, shape[2] - 1)
    filled = space.get_select_npoints() == (high[0] - low[0] + 1) * shape[1] * shape[2]
    return (int(low[0]), int(high[0]) + 1) if whole and filled else None


def _is_complete(dataset: h5py.Dataset, pieces: Sequence[tuple[int, int, list[Segment]]]) -> bool:
    """Whether each frame has one source; an error if one has none."""
    sources = np.zeros(dataset.shape[0], np.int64)
    for start, _, segments in pieces:
        sources[start : start + sum(segment.n_frames for segment in segments)] += 1
    if np.any(sources == 0):
        raise _never_written(dataset.file.filename, dataset.name, sources)
    return bool(np.all(sources == 1))


def cut_segments(segments: Sequence[Segment], wanted: range) -> list[Segment]:
    """Return the segments of the frames `wanted` (without a step), the first and last one shortened."""
    found: list[Segment] = []
    start = 0
    for segment in segments:
        low, high = max(wanted.start - start, 0), min(wanted.stop - start, segment.n_frames)
        if low < high:
            whole = (low, high) == (0, segment.n_frames)
            found.append(segment if whole else _shortened(segment, low, high))
        start += segment.n_frames
    return found


def _shortened(segment: Segment, low: int, high: int) -> Segment:
    assert isinstance(segment, (StoredFrames, DecodedFrames))
    return replace(segment, first=segment.first + low, n_frames=high - low)
