"""Open files, each with the state of the file it belongs to: descriptors that a process keeps for the next block, a
bounded number of them, and HDF5 files for the length of a loan.

A handle is found by path and stamp (size and modification time), so that a file that was replaced is opened anew. After
a fork the child opens its own handles: it shares none of its parent's HDF5 state.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from friedel.core.errors import FileError, FriedelError

if TYPE_CHECKING:
    import h5py

MAX_DESCRIPTORS = 64
MAX_HDF5_FILES = 16
USER_FILTERS = 256
"""HDF5 filters from this number on are no part of HDF5; hdf5plugin brings those of the field."""

OPEN_FOR_WRITING = ("SWMR", "already open for write")
"""What HDF5 says of a file that a program writes, or wrote when it was killed; the words depend on its version."""
TRUNCATED = "truncated file"

H = TypeVar("H")


class Stamp(NamedTuple):
    """What tells one state of a file from another: size in bytes and modification time in ns."""

    size: int
    mtime: int


def stamp_of(path: str) -> Stamp:
    """Look at the file now.

    Raises
    ------
    FileError
        If it is missing, is no file (but a folder, a device, a pipe), or may not be looked at.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise FileError(path, "there is no such file.", "Check the path.") from None
    except OSError as error:
        raise FileError(path, f"{error.strerror}.", "Check the path and the permissions.") from None
    if Path(path).is_dir():
        raise FileError(path, "is a folder.", f"Name the files, for example {path}/*.cbf or {path}/*.h5.")
    if not Path(path).is_file():
        raise FileError(path, "is a device or a pipe, no file.", "Name a file; write what a program gives to one.")
    return Stamp(status.st_size, status.st_mtime_ns)


class Descriptor:
    """A file opened for reading at given offsets, by any thread; closed when nobody holds it any more."""

    def __init__(self, path: str) -> None:
        self._number = -1
        self.path = path
        try:
            self._number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            raise FileError(path, "there is no such file.", "Check the path.") from None
        except OSError as error:
            raise FileError(path, f"{error.strerror}.", "Check the path and the permissions.") from None

    def __del__(self) -> None:
        if self._number >= 0:
            with suppress(OSError):
                os.close(self._number)

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Return `size` bytes from `offset` on.

        Raises
        ------
        FileError
            If the file ends before, or the medium fails; `what` names what was wanted ("frame 17").
        """
        try:
            found = os.pread(self._number, size, offset)
            while len(found) < size:
                more = os.pread(self._number, size - len(found), offset + len(found))
                if not more:
                    break
                found += more
        except OSError as error:
            raise FileError(self.path, f"{what} cannot be read: {error.strerror}.", "Try again.") from None
        if len(found) < size:
            raise FileError(
                self.path,
                f"the file ends inside {what}: bytes {offset} to {offset + size} are needed, "
                f"the file has {offset + len(found)}.",
                "The file is truncated: copy it again, or wait until it is written completely.",
            )
        return found


class _Cache(Generic[H]):
    """The most recently used handles of this process."""

    def __init__(self, limit: int, release: Callable[[H], None]) -> None:
        self.limit = limit
        self.lock = threading.RLock()
        self._release = release
        self._handles: OrderedDict[tuple[str, Stamp], H] = OrderedDict()

    def get(self, path: str, stamp: Stamp, make: Callable[[str], H]) -> H:
        with self.lock:
            key = (path, stamp)
            if key not in self._handles:
                self.drop(path)
                while len(self._handles) >= self.limit:
                    self._release(self._handles.popitem(last=False)[1])
                self._handles[key] = make(path)
            self._handles.move_to_end(key)
            return self._handles[key]

    def drop(self, path: str) -> None:
        with self.lock:
            for key in [key for key in self._handles if key[0] == path]:
                self._release(self._handles.pop(key))

    def clear(self) -> None:
        with self.lock:
            while self._handles:
                self._release(self._handles.popitem()[1])

    def forget(self) -> None:
        """Start empty in the child of a fork, without touching what belongs to the parent."""
        self.lock = threading.RLock()
        _inherited.append(self._handles)
        self._handles = OrderedDict()

    def __len__(self) -> int:
        return len(self._handles)


# The parent's handles stay referenced in a child: closing them there would run HDF5 code on the parent's state.
_inherited: list[Any] = []
_descriptors: _Cache[Descriptor] = _Cache(MAX_DESCRIPTORS, lambda handle: None)
_loans = 0
_hdf5_files: _Cache[Any] = _Cache(MAX_HDF5_FILES, lambda handle: handle.close())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_descriptors.forget)
    os.register_at_fork(after_in_child=_hdf5_files.forget)


def descriptor(path: str, stamp: Stamp) -> Descriptor:
    """Return the file opened for `Descriptor.read`."""
    return _descriptors.get(path, stamp, Descriptor)


@contextmanager
def hdf5_file(path: str, stamp: Stamp | None = None) -> Iterator[h5py.File]:
    """Lend the file, opened for reading; one thread at a time.

    It is closed when the outermost loan ends: HDF5 refuses to open a file again in one process with other locking than
    it is open with already, so a file kept open here could not be opened by the user with plain h5py.

    Raises
    ------
    FileError
        If it is missing, truncated or no HDF5 file.
    """
    global _loans
    with _hdf5_files.lock:
        _loans += 1
        try:
            yield _hdf5_files.get(path, stamp or stamp_of(path), open_hdf5)
        finally:
            _loans -= 1
            if not _loans:
                _hdf5_files.clear()


def open_hdf5(path: str) -> h5py.File:
    """Open an HDF5 file for reading, without locking it; also one that is being written in SWMR mode.

    Raises
    ------
    FileError
        If it is missing, truncated or no HDF5 file, or open for writing in a way that allows no reader.
    """
    import h5py

    stamp_of(path)
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        problem = error
    # A file that grows may look truncated to whoever does not know that it is in SWMR mode.
    if any(words in str(problem) for words in (*OPEN_FOR_WRITING, TRUNCATED)):
        with suppress(OSError):
            return h5py.File(path, "r", locking=False, swmr=True)
    raise hdf5_error(path, problem) from None


@contextmanager
def examined(path: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading and close it again; what h5py raises at its content means that it is damaged.

    Raises
    ------
    FileError
        If it is missing, truncated, damaged or no HDF5 file.
    """
    with open_hdf5(path) as file, damage_told(path):
        yield file


@contextmanager
def damage_told(path: str) -> Iterator[None]:
    """Turn what h5py raises when it meets nonsense in a file into a `FileError`.

    A garbled file can lead to almost any exception: of a name that is no text, a size beyond all numbers, an index
    beyond an array.
    """
    try:
        yield
    except (FriedelError, ImportError):
        raise
    except (OSError, RuntimeError) as error:
        raise hdf5_error(path, error) from None
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise FileError(path, f"the HDF5 file is damaged ({reason}).", "Copy it again.") from error


def hdf5_error(path: str, error: Exception) -> FileError:
    """Return what an error of the HDF5 library means to the user."""
    text = str(error)
    if any(words in text for words in OPEN_FOR_WRITING):
        return FileError(
            path,
            "is open in the program that writes it, not in SWMR mode (or that program was killed): "
            "HDF5 lets nobody read it.",
            "Wait until it is closed, or write it in SWMR mode. If its program is gone: h5clear -s on a copy of it.",
        )
    if TRUNCATED in text or "addr overflow" in text:
        remedy = "Copy it again, or wait until it is written completely."
        return FileError(path, f"the HDF5 file is truncated ({text}).", remedy)
    if "signature not found" in text:
        return FileError(path, "is no HDF5 file, or its beginning is damaged.", "Check the path; copy the file again.")
    if "required filter" in text or "can't open directory" in text or "filter" in text:
        return FileError(
            path, f"is compressed with a filter that is not installed ({text}).", "pip install -U hdf5plugin"
        )
    return FileError(path, f"the HDF5 library cannot read it: {text}.", "Check the permissions; copy the file again.")


def need_filters(dataset: h5py.Dataset) -> None:
    """Register the decompressors that `dataset` needs beyond those of HDF5."""
    properties = dataset.id.get_create_plist()
    if any(properties.get_filter(index)[0] >= USER_FILTERS for index in range(properties.get_nfilters())):
        import hdf5plugin  # noqa: F401  importing it registers them


def release(path: str | Path) -> None:
    """Close what this process keeps open of `path`, before it is written to."""
    for cache in (_descriptors, _hdf5_files):
        cache.drop(str(path))
