"""Results of blocks go straight to their place in an HDF5 file that is being built, from any thread or process.

The file is laid out first: every dataset is allocated, its byte offsets are noted, the file is closed. Blocks are then
written at those offsets without the HDF5 library. A journal beside the file says which blocks are complete; the data of
a block are on disk before its line in the journal is. The file gets its name when all is complete.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.core.errors import DataError, OutputError

from . import handles
from .journal import Journal, Line
from .nexus import output_error, variable_path

if TYPE_CHECKING:
    import h5py

PARTIAL = ".partial"
JOURNAL = ".journal"
SYNC_SECONDS = 1.0
SYNC_SHARE = 10
"""The next group of blocks is made durable after this many times what the last one took, at least `SYNC_SECONDS`."""
VERIFIED_BYTES = 4 * 1024**3
"""On resuming, the last blocks of this size are compared with their checksums; all of them if one differs."""

Layout = Literal["rows", "channels"]
Results = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class RegionSpec:
    """One dataset of the file, and how blocks map to it.

    Attributes
    ----------
    shape : tuple of int
        "rows": (items, ...). "channels": (layers, rows, columns, channels).
    dtype : str
        Element type, "f4".
    layout : {"rows", "channels"}
        "rows": a block is ``start:stop`` along the first axis, stored contiguously. "channels": item = layer · channels
        + channel, a block is a range of channels of one layer, stored in chunks, so that both one channel and one pixel
        are quick to read.
    chunk : tuple of int
        "channels" only: (rows, columns, channels) of a chunk. Blocks begin and end at multiples of its channels.
    path : str
        Place in the file; by default that of a variable of the same name, `friedel.io.nexus.variable_path`.
    """

    shape: tuple[int, ...]
    dtype: str = "f4"
    layout: Layout = "rows"
    chunk: tuple[int, int, int] = (32, 32, 16)
    path: str = ""

    @property
    def chunk_shape(self) -> tuple[int, int, int, int]:
        """Shape of a chunk, no larger than the dataset."""
        rows, columns, channels = (min(part, size) for part, size in zip(self.chunk, self.shape[1:], strict=True))
        return 1, rows, columns, channels

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """Number of chunks along each axis."""
        layers, rows, columns, channels = (
            -(-size // part) for size, part in zip(self.shape, self.chunk_shape, strict=True)
        )
        return layers, rows, columns, channels

    @property
    def stored_bytes(self) -> int:
        """Bytes that the values take in the file."""
        itemsize = np.dtype(self.dtype).itemsize
        if self.layout == "rows":
            return math.prod(self.shape) * itemsize
        return math.prod(self.grid) * math.prod(self.chunk_shape) * itemsize

    def block_shape(self, block: Block) -> tuple[int, ...]:
        """Shape of the array that a block stores.

        Raises
        ------
        DataError
            If the block does not fit.
        """
        if self.layout == "rows":
            if block.stop > self.shape[0]:
                raise DataError(f"Block {block.number} ends at item {block.stop}, there are {self.shape[0]}.")
            return (len(block), *self.shape[1:])
        layers, rows, columns, channels = self.shape
        layer, first = divmod(block.start, channels)
        last, step = first + len(block), self.chunk_shape[3]
        if layer >= layers or last > channels or first % step or (last % step and last != channels):
            raise DataError(
                f"Block {block.number} (channels {first} to {last} of layer {layer}) is no whole number of chunks of "
                f"{step} channels, or leaves the {layers} layers of {channels} channels.",
                f"Cut blocks within a layer at multiples of {step} channels.",
            )
        return rows, columns, len(block)


@dataclass(frozen=True)
class _Places:
    """Where the values of a dataset lie: one offset, or one for each chunk."""

    spec: RegionSpec
    offsets: NDArray[np.int64]

    def pieces(self, block: Block, array: NDArray[Any]) -> list[tuple[int, NDArray[Any]]]:
        """Return what a block writes: byte offsets and contiguous arrays."""
        if self.spec.layout == "rows":
            row = math.prod(self.spec.shape[1:]) * array.dtype.itemsize
            return [(int(self.offsets.flat[0]) + block.start * row, np.ascontiguousarray(array))]
        layer, first = divmod(block.start, self.spec.shape[3])
        _, rows, columns, channels = self.spec.chunk_shape
        pieces = []
        for place in np.ndindex(self.spec.grid[1], self.spec.grid[2], -(-len(block) // channels)):
            part = array[
                place[0] * rows : (place[0] + 1) * rows,
                place[1] * columns : (place[1] + 1) * columns,
                place[2] * channels : (place[2] + 1) * channels,
            ]
            if part.shape != (rows, columns, channels):
                padded = np.zeros((rows, columns, channels), array.dtype)
                padded[: part.shape[0], : part.shape[1], : part.shape[2]] = part
                part = padded
            offset = self.offsets[layer, place[0], place[1], place[2] + first // channels]
            pieces.append((int(offset), np.ascontiguousarray(part)))
        return pieces

    def extents(self, block: Block) -> list[tuple[int, int]]:
        """Return offset and size in bytes of each piece, in the order of `pieces`."""
        empty = np.broadcast_to(np.zeros((), self.spec.dtype), self.spec.block_shape(block))
        if self.spec.layout == "rows":
            row = math.prod(self.spec.shape[1:]) * empty.itemsize
            return [(int(self.offsets.flat[0]) + block.start * row, len(block) * row)]
        layer, first = divmod(block.start, self.spec.shape[3])
        channels = self.spec.chunk_shape[3]
        columns = slice(first // channels, first // channels + -(-len(block) // channels))
        size = math.prod(self.spec.chunk_shape) * empty.itemsize
        return [(int(offset), size) for offset in self.offsets[layer, :, :, columns].ravel()]


class RegionFile:
    """Results of blocks, stored in an HDF5 file that is being built; a `friedel.core.blocks.BlockSink`.

    Made by `RegionFile.create`. Picklable: another process may `write`, only the creator may `commit` and `finish`.

    Attributes
    ----------
    path : str
        Name of the finished file.
    resumed : bool
        Whether complete blocks of an earlier run were found.
    message : str
        What became of an earlier run, for the user; "" if there was none.
    """

    def __init__(self, path: str, places: dict[str, _Places], journal: Journal | None) -> None:
        self.path = path
        self.resumed = False
        self.message = ""
        self._places = places
        self._journal = journal
        self._process = os.getpid()
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._descriptor = -1
        self._sums: dict[int, int] = {}
        self._waiting: list[Line] = []
        self._next_sync = 0.0
        self._reader: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "resumed": self.resumed, "message": self.message, "_places": self._places}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._journal = None
        self._process = -1
        self._start()

    @property
    def partial(self) -> str:
        """The file being built."""
        return self.path + PARTIAL

    @property
    def shared(self) -> bool:
        """Other processes may write."""
        return True

    @property
    def regions(self) -> dict[str, RegionSpec]:
        """The datasets by name."""
        return {name: places.spec for name, places in self._places.items()}

    @classmethod
    def create(
        cls, path: str | Path, regions: Mapping[str, RegionSpec], fingerprint: str, overwrite: bool = False
    ) -> RegionFile:
        """Begin a file, or go on with what an earlier run with the same fingerprint left.

        Parameters
        ----------
        path : path-like
            Name of the finished file.
        regions : mapping of str to RegionSpec
            The datasets.
        fingerprint : str
            Names the work: parameters, inputs and versions. Blocks of a run with another one are not used.
        overwrite : bool
            Whether a file at `path` may be replaced, when all is complete.

        Raises
        ------
        OutputError
            If the file exists, the folder cannot be written, another process is at work on it, or the disk has not
            enough space for the whole result.
        """
        text = str(path)
        if Path(text).exists() and not overwrite:
            raise OutputError(text, "exists already.", "Choose another name, or allow to overwrite it.")
        try:
            journal = Journal.open(text + JOURNAL, text)
        except OSError as error:
            raise output_error(text, error) from None
        try:
            return _begin(text, regions, fingerprint, journal)
        except OSError as error:
            journal.close()
            raise output_error(text, error) from None
        except BaseException:
            journal.close()
            raise

    # ---- blocks

    def pending(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks of which not every item is complete."""
        done = self._creator().completed
        return [block for block in blocks if not _covered(block, done)]

    def write(self, block: Block, result: Results) -> None:
        """Store the arrays of a block at their places.

        Parameters
        ----------
        block : Block
        result : mapping of str to ndarray
            One array for each region: "rows" (items, ...), "channels" (rows, columns, channels of the block).

        Raises
        ------
        DataError
            If an array is missing, has another shape, or a value that its dtype cannot hold exactly in kind.
        OutputError
            If the disk fails.
        """
        descriptor = self._open()
        total = 0
        try:
            for name, places in self._places.items():
                for offset, piece in places.pieces(block, _fitting(name, places.spec, block, result)):
                    buffer = piece.reshape(-1).view(np.uint8).data
                    total = zlib.crc32(buffer, total)
                    _write_all(descriptor, buffer, offset)
            if os.getpid() != self._process:
                os.fdatasync(descriptor)  # the creator cannot make durable what another machine has in memory
        except OSError as error:
            raise output_error(self.path, error) from None
        with self._lock:
            self._sums[block.number] = total

    def commit(self, block: Block) -> None:
        """Record that a block is complete; durable about a second later."""
        self._creator()
        with self._lock:
            total = self._sums.pop(block.number, None)
        if total is None:
            total = self._checksum(block)
        self._waiting.append(Line(block.number, block.start, block.stop, total))
        if time.monotonic() >= self._next_sync:
            self.flush()

    def flush(self) -> None:
        """Make every committed block durable now."""
        journal = self._creator()
        if not self._waiting:
            return
        started = time.monotonic()
        try:
            os.fdatasync(self._open())
            journal.append(self._waiting)
        except OSError as error:
            raise output_error(self.path, error) from None
        self._waiting = []
        now = time.monotonic()
        self._next_sync = now + max(SYNC_SECONDS, SYNC_SHARE * (now - started))

    def _checksum(self, block: Block) -> int:
        descriptor = self._open()
        total = 0
        for places in self._places.values():
            for offset, size in places.extents(block):
                total = zlib.crc32(os.pread(descriptor, size, offset), total)
        return total

    def _open(self) -> int:
        with self._lock:
            if self._descriptor < 0:
                try:
                    self._descriptor = os.open(self.partial, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
                except OSError as error:
                    raise output_error(self.path, error) from None
            return self._descriptor

    def _creator(self) -> Journal:
        if self._journal is None:
            raise RuntimeError("only the process that created a RegionFile may commit to it")
        return self._journal

    # ---- results

    def read(self, name: str) -> Any:
        """Return the values of a region, for the stage that follows: not in memory, read when indexed.

        Returns
        -------
        numpy.memmap or h5py.Dataset
            A memory map for "rows" (it stays valid after `finish`), the dataset for "channels" (valid until `finish`).
        """
        places = self._places[name]
        spec = places.spec
        if spec.layout == "rows":
            if not math.prod(spec.shape):
                return np.zeros(spec.shape, spec.dtype)
            present = self.partial if Path(self.partial).exists() else self.path
            return np.memmap(present, spec.dtype, "r", int(places.offsets.flat[0]), spec.shape)
        if self._reader is None:
            self._reader = handles.open_hdf5(self.partial)
        return self._reader[_path(name, spec)]

    def finish(self, write: Callable[[h5py.File], None] | None = None) -> None:
        """Add what describes the data, and give the file its name.

        Parameters
        ----------
        write : callable, optional
            Given the open file, to add groups and attributes.

        Raises
        ------
        OutputError
            If the disk fails; the work stays and can be finished by running again.
        """
        import h5py

        self.flush()
        journal = self._creator()
        self._close_files()
        try:
            with h5py.File(self.partial, "r+", locking=False) as file:
                if write is not None:
                    write(file)
            with Path(self.partial).open("rb+") as stream:
                os.fsync(stream.fileno())
            handles.release(self.path)
            Path(self.partial).replace(self.path)
            _sync_folder(self.path)
        except OSError as error:
            raise output_error(self.path, error) from None
        journal.remove()
        self._journal = None

    def close(self) -> None:
        """Make durable what is complete, and let another process go on with the work."""
        if self._journal is not None:
            self.flush()
            self._close_files()
            self._journal.close()
            self._journal = None

    def _close_files(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def __enter__(self) -> RegionFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(Exception):
            if self._descriptor >= 0:
                os.close(self._descriptor)


def _fitting(name: str, spec: RegionSpec, block: Block, result: Results) -> NDArray[Any]:
    """Return the array of a region in its element type, or say what is wrong with it."""
    if name not in result:
        raise DataError(f"Block {block.number} has no {name!r}.", f"It has {', '.join(result) or 'nothing'}.")
    array = np.asarray(result[name])
    expected = spec.block_shape(block)
    if array.shape != expected:
        raise DataError(f"Block {block.number}: {name} has the shape {array.shape}, {expected} was announced.")
    if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise DataError(f"Block {block.number}: {name} is {array.dtype}, {spec.dtype} was announced.")
    return array.astype(spec.dtype, copy=False)


def _write_all(descriptor: int, buffer: memoryview, offset: int) -> None:
    while len(buffer):
        written = os.pwrite(descriptor, buffer, offset)
        buffer, offset = buffer[written:], offset + written


def _covered(block: Block, done: Sequence[tuple[int, int]]) -> bool:
    """Whether the sorted, disjoint ranges `done` hold every item of the block."""
    return any(start <= block.start and block.stop <= stop for start, stop in done)


# ---- laying out


def _path(name: str, spec: RegionSpec) -> str:
    return spec.path or variable_path(name)


def _lay_out(path: str, regions: Mapping[str, RegionSpec]) -> dict[str, _Places]:
    """Make the HDF5 file with every dataset allocated but nothing written; return where the values lie."""
    import h5py

    with h5py.File(path, "w", locking=False, libver=("earliest", "v110")) as file:
        for name, spec in regions.items():
            _create_dataset(file, _path(name, spec), spec)
    with h5py.File(path, "r", locking=False) as file:
        return {name: _Places(spec, _offsets(file[_path(name, spec)], spec)) for name, spec in regions.items()}


def _create_dataset(file: h5py.File, path: str, spec: RegionSpec) -> None:
    import h5py

    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    if spec.layout == "channels":
        properties.set_chunk(spec.chunk_shape)
    group, _, name = path.rpartition("/")
    parent = file.require_group(group or "/")
    kind, space = h5py.h5t.py_create(np.dtype(spec.dtype)), h5py.h5s.create_simple(spec.shape)
    h5py.h5d.create(parent.id, name.encode(), kind, space, properties)


def _offsets(dataset: h5py.Dataset, spec: RegionSpec) -> NDArray[np.int64]:
    if spec.layout == "rows":
        return np.array(dataset.id.get_offset() or 0, np.int64)
    offsets = np.full(spec.grid, -1, np.int64)
    shape = spec.chunk_shape

    def note(chunk: Any) -> None:
        place = tuple(start // size for start, size in zip(chunk.chunk_offset, shape, strict=True))
        offsets[place] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    return offsets


def _begin(path: str, regions: Mapping[str, RegionSpec], fingerprint: str, journal: Journal) -> RegionFile:
    partial = Path(path + PARTIAL)
    skeleton = path + PARTIAL + ".new"
    _check_space(path, partial, sum(spec.stored_bytes for spec in regions.values()))
    try:
        places = _lay_out(skeleton, regions)
        header = _header(regions, places, fingerprint, Path(skeleton).stat().st_size)
        reason = _why_not_resume(partial, journal, header)
        sink = RegionFile(path, places, journal)
        if not reason:
            _restore_metadata(skeleton, partial, places)
            dropped = _verify(sink, journal)
            sink.resumed = bool(journal.lines)
            items = sum(stop - start for start, stop in journal.completed)
            sink.message = f"Going on with {partial}: {items} items are complete." if sink.resumed else ""
            sink.message += f" {dropped} damaged blocks are done again." if dropped else ""
            return sink
        sink.message = f"Starting over: {reason}." if journal.header is not None else ""
        journal.clear()  # first: its lines must never stand beside a new, empty file
        _allocate(path, skeleton, partial)
        journal.begin(header)
        return sink
    finally:
        with suppress(OSError):
            Path(skeleton).unlink(missing_ok=True)


def _header(
    regions: Mapping[str, RegionSpec], places: Mapping[str, _Places], fingerprint: str, size: int
) -> dict[str, Any]:
    layout = {
        name: [list(spec.shape), np.dtype(spec.dtype).str, spec.layout, list(spec.chunk), _path(name, spec)]
        for name, spec in regions.items()
    }
    table = zlib.crc32(b"".join(part.offsets.tobytes() for part in places.values()))
    content = {"fingerprint": fingerprint, "regions": layout, "offsets": table, "size": size}
    found: dict[str, Any] = json.loads(json.dumps(content))
    return found


def _why_not_resume(partial: Path, journal: Journal, header: dict[str, Any]) -> str:
    """Return why the blocks of an earlier run cannot be used, or "" if they can."""
    old = journal.header
    if old is None:
        return "there is no journal"
    if not partial.exists():
        return f"{partial} is gone"
    if old.get("fingerprint") != header["fingerprint"]:
        return f"{partial} belongs to a run with other parameters or inputs"
    if old != header:
        return f"{partial} has another layout"
    if partial.stat().st_size < header["size"]:
        return f"{partial} is damaged"
    return ""


def _allocate(path: str, skeleton: str, partial: Path) -> None:
    """Give the file all the space that it will need, or say now that there is too little."""
    partial.unlink(missing_ok=True)
    size = Path(skeleton).stat().st_size
    free = _check_space(path, partial, size)
    descriptor = os.open(skeleton, os.O_RDWR)
    try:
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(descriptor, 0, size)
        os.fsync(descriptor)
    except OSError as error:
        import errno

        if error.errno == errno.ENOSPC:
            raise _no_space(path, size, free) from None
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
    finally:
        os.close(descriptor)
    Path(skeleton).replace(partial)
    _sync_folder(path)


def _check_space(path: str, partial: Path, size: int) -> int:
    """Return the free bytes, those of an earlier run's file included."""
    status = os.statvfs(Path(path).absolute().parent)
    taken = partial.stat().st_blocks * 512 if partial.exists() else 0
    free = status.f_bavail * status.f_frsize + taken
    if free < size:
        raise _no_space(path, size, free)
    return free


def _no_space(path: str, size: int, free: int) -> OutputError:
    return OutputError(
        path,
        f"there is not enough space on the disk: {size:,} bytes are needed, {free:,} are free.",
        "Free some space, or write elsewhere.",
    )


def _restore_metadata(skeleton: str, partial: Path, places: Mapping[str, _Places]) -> None:
    """Write everything that is no value anew: a run that died in `finish` may have left it half changed."""
    values = sorted(extent for part in places.values() for extent in _value_extents(part))
    size = Path(skeleton).stat().st_size
    with Path(skeleton).open("rb") as source, partial.open("rb+") as target:
        start = 0
        for offset, length in [*values, (size, 0)]:
            if offset > start:
                source.seek(start)
                target.seek(start)
                target.write(source.read(offset - start))
            start = max(start, offset + length)
        target.truncate(size)
        target.flush()
        os.fsync(target.fileno())


def _value_extents(places: _Places) -> list[tuple[int, int]]:
    if places.spec.layout == "rows":
        return [(int(places.offsets.flat[0]), places.spec.stored_bytes)] if places.spec.stored_bytes else []
    size = math.prod(places.spec.chunk_shape) * np.dtype(places.spec.dtype).itemsize
    return [(int(offset), size) for offset in places.offsets.ravel()]


def _verify(sink: RegionFile, journal: Journal) -> int:
    """Compare the last blocks with their checksums; forget those that differ and return how many."""
    bad: set[Line] = set()
    checked = 0
    for line in reversed(journal.lines):
        if checked > VERIFIED_BYTES and not bad:
            break
        block = Block(line.number, line.start, line.stop)
        if sink._checksum(block) != line.checksum:
            bad.add(line)
        checked += sum(size for places in sink._places.values() for _, size in places.extents(block))
    if bad:
        journal.keep([line for line in journal.lines if line not in bad])
    return len(bad)


def _sync_folder(path: str) -> None:
    """Make a rename durable."""
    with suppress(OSError):
        descriptor = os.open(Path(path).absolute().parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ---- in memory


@dataclass
class MemorySink:
    """Results of blocks in arrays; the interface of `RegionFile` without a file.

    Attributes
    ----------
    regions : mapping of str to RegionSpec
        The arrays.
    arrays : dict of str to ndarray
        What was written so far, in the shape of each region.
    """

    regions: Mapping[str, RegionSpec]
    arrays: dict[str, NDArray[Any]] = field(init=False)
    resumed: bool = False
    message: str = ""

    def __post_init__(self) -> None:
        self.arrays = {name: np.zeros(spec.shape, spec.dtype) for name, spec in self.regions.items()}
        self._done: set[Block] = set()

    @property
    def shared(self) -> bool:
        """Another process has other memory."""
        return False

    def pending(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks that are not complete."""
        return [block for block in blocks if block not in self._done]

    def write(self, block: Block, result: Results) -> None:
        """Store the arrays of a block; see `RegionFile.write`."""
        for name, spec in self.regions.items():
            values = _fitting(name, spec, block, result)
            if spec.layout == "rows":
                self.arrays[name][block.start : block.stop] = values
            else:
                layer, first = divmod(block.start, spec.shape[3])
                self.arrays[name][layer, :, :, first : first + len(block)] = values

    def commit(self, block: Block) -> None:
        """Record that a block is complete."""
        self._done.add(block)

    def flush(self) -> None:
        """Do nothing: memory is not durable."""

    def read(self, name: str) -> NDArray[Any]:
        """Return the values of a region."""
        return self.arrays[name]

    def finish(self, write: Callable[[Any], None] | None = None) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Do nothing: there is no file."""

    def __enter__(self) -> MemorySink:
        return self

    def __exit__(self, *_: object) -> None:
        return None
