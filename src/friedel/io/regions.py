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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.core.errors import DataError, FileError, OutputError
from friedel.core.files import output_error, refuse_existing

from . import handles
from .journal import Journal, Line
from .nexus import variable_path
from .region_layout import Places, RegionSpec, Results, dataset_path, fitting, lay_out

if TYPE_CHECKING:
    import h5py

PARTIAL = ".partial"
JOURNAL = ".journal"
SYNC_SECONDS = 1.0
SYNC_SHARE = 10
"""The next group of blocks is made durable after this many times what the last one took, at least `SYNC_SECONDS`."""
VERIFIED_BYTES = 4 * 1024**3
"""On resuming, the last blocks of this size are compared with their checksums; all of them if one differs."""


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

    def __init__(self, path: str, places: dict[str, Places], journal: Journal | None) -> None:
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
            Whether a file at `path` may be replaced, when all is complete, and complete blocks of other work given up.

        Raises
        ------
        OutputError
            If the file exists, or complete blocks of other work do, and `overwrite` is false; the folder cannot be
            written, another process is at work on it, or the disk has not enough space for the whole result.
        """
        text = str(Path(path).absolute())  # other processes may work elsewhere
        refuse_existing([text], overwrite)
        try:
            journal = Journal.open(text + JOURNAL, text)
        except OSError as error:
            raise output_error(text, error) from None
        try:
            return _begin(text, regions, fingerprint, journal, overwrite)
        except BaseException as error:
            _abandon(text, journal)
            if isinstance(error, OSError):
                raise output_error(text, error) from None
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
                for offset, piece in places.pieces(block, fitting(name, places.spec, block, result)):
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
        return self._reader[dataset_path(name, spec)]

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
        """Make durable what is complete, and let another process go on with the work.

        Where no block is complete, nothing is left behind.
        """
        if self._journal is not None:
            self.flush()
            self._close_files()
            _abandon(self.path, self._journal)
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


def _write_all(descriptor: int, buffer: memoryview, offset: int) -> None:
    while len(buffer):
        written = os.pwrite(descriptor, buffer, offset)
        buffer, offset = buffer[written:], offset + written


def _covered(block: Block, done: Sequence[tuple[int, int]]) -> bool:
    """Whether the sorted, disjoint ranges `done` hold every item of the block."""
    return any(start <= block.start and block.stop <= stop for start, stop in done)


# ---- laying out


def _begin(
    path: str, regions: Mapping[str, RegionSpec], fingerprint: str, journal: Journal, overwrite: bool
) -> RegionFile:
    partial = Path(path + PARTIAL)
    skeleton = path + PARTIAL + ".new"
    _check_space(path, partial, sum(spec.stored_bytes for spec in regions.values()))
    try:
        places = lay_out(skeleton, regions)
        header = _header(regions, places, fingerprint, Path(skeleton).stat().st_size)
        reason = _why_not_resume(partial, journal, header)
        sink = RegionFile(path, places, journal)
        if not reason:
            _restore_metadata(skeleton, partial, places)
            dropped = _verify(sink, journal)
            sink.resumed = bool(journal.lines)
            going_on = f"Going on with {partial}: {_complete_items(journal)} items are complete."
            sink.message = going_on if sink.resumed else ""
            sink.message += f" {dropped} damaged blocks are done again." if dropped else ""
            return sink
        if _is_other_work(partial, journal, header) and not overwrite:
            raise OutputError(
                partial,
                f"holds {_complete_items(journal)} complete items of a run with other parameters, inputs or version of "
                "friedel.",
                "Give the command of that run to go on with it, choose another output, or give the work up "
                "(--overwrite).",
            )
        sink.message = f"Starting over: {reason}." if journal.header is not None else ""
        journal.clear()  # first: its lines must never stand beside a new, empty file
        _allocate(path, skeleton, partial)
        journal.begin(header)
        return sink
    finally:
        with suppress(OSError):
            Path(skeleton).unlink(missing_ok=True)


def _header(
    regions: Mapping[str, RegionSpec], places: Mapping[str, Places], fingerprint: str, size: int
) -> dict[str, Any]:
    layout = {
        name: [
            list(spec.shape),
            np.dtype(spec.dtype).str,
            spec.layout,
            list(spec.chunk),
            spec.item_axes,
            dataset_path(name, spec),
        ]
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


def _is_other_work(partial: Path, journal: Journal, header: dict[str, Any]) -> bool:
    """Whether blocks are complete that could still be used, but not for this result."""
    old = journal.header
    return old is not None and old != header and bool(journal.lines) and partial.exists()


def _complete_items(journal: Journal) -> int:
    return sum(stop - start for start, stop in journal.completed)


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


def _restore_metadata(skeleton: str, partial: Path, places: Mapping[str, Places]) -> None:
    """Write everything that is no value anew: a run that died in `finish` may have left it half changed."""
    values = sorted(extent for part in places.values() for extent in part.all_extents())
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


def _abandon(path: str, journal: Journal) -> None:
    """Give up the work on a file, for now if blocks are complete, for good if none is."""
    if journal.completed:
        journal.close()
        return
    Path(path + PARTIAL).unlink(missing_ok=True)
    journal.remove()


def map_rows(path: str | Path, name: str) -> NDArray[Any]:
    """Return a variable of a finished file as a memory map, for a stage that reads it in another order.

    Parameters
    ----------
    path : path-like
        A file that friedel wrote.
    name : str
        A variable with the layout "rows".

    Returns
    -------
    numpy.memmap
        Read-only, in the shape of the variable.

    Raises
    ------
    FileError
        If the file cannot be read or its values do not lie in one piece.
    DataError
        If there is no such variable.
    """
    with handles.open_hdf5(str(path)) as file:
        place = variable_path(name)
        if place not in file:
            raise DataError(f"{path}: there is no variable {name!r}.", "friedel info shows what there is.")
        dataset = file[place]
        offset = dataset.id.get_offset()
        if offset is None or dataset.chunks is not None:
            raise FileError(path, f"the values of {name!r} do not lie in one piece.", "Use friedel.io.open_dataset.")
        shape, dtype = dataset.shape, dataset.dtype
    mapped: NDArray[Any] = np.memmap(path, dtype, "r", offset, shape)
    return mapped
