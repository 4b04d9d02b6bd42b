"""What is found in the frames, in a file that grows block by block: memory stays bounded, a stopped run can go on."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.core.errors import OutputError
from friedel.core.files import output_error

from .spots import PEAK, FrameSpots

ENDING = ".spots"
SYNC_SECONDS = 1.0
HEAD = struct.Struct("<qqqqI")
"""Of a block: its number, first and last frame, bytes that follow, their checksum."""


@dataclass(frozen=True, eq=False)
class BlockSpots:
    """What was found in the frames of a block.

    Attributes
    ----------
    start : int
        Number of the first frame.
    stored, found : ndarray of int64, shape (n,)
        Number of pixels kept, and of peaks, of each frame.
    mean, std : ndarray of float32, shape (n, n_bins)
    index : ndarray of uint32, shape (sum of stored,)
    intensity : ndarray, shape (sum of stored,)
    peaks : ndarray of PEAK, shape (sum of found,)
    """

    start: int
    stored: NDArray[np.int64]
    found: NDArray[np.int64]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    index: NDArray[np.uint32]
    intensity: NDArray[np.generic]
    peaks: NDArray[np.void]

    @property
    def frames(self) -> slice:
        """Numbers of the frames."""
        return slice(self.start, self.start + len(self.found))

    def padded(self, width: int, missing: float) -> dict[str, NDArray[np.float32]]:
        """Return x, y, intensity and signal-to-noise ratio of the peaks, (n, width) each; `missing` where is none."""
        frame = np.repeat(np.arange(len(self.found)), self.found)
        number = np.arange(len(frame)) - np.repeat(np.cumsum(self.found) - self.found, self.found)
        columns = {name: self.peaks[name] for name in ("x", "y", "intensity")}
        columns["snr"] = self.peaks["intensity"] / self.peaks["sigma"]
        arrays = {}
        for name, values in columns.items():
            arrays[name] = np.full((len(self.found), width), missing, np.float32)
            arrays[name][frame, number] = values
        return arrays


class SpotLog:
    """Blocks of spots in a file; a `friedel.core.blocks.BlockSink`. Made by `open`.

    Blocks are appended as they are ready, each with a checksum, and read in the order of the frames. Beside the file,
    memory holds two numbers for each frame.

    Attributes
    ----------
    block_frames : int
        Frames of a block, as the run began.
    resumed : int
        Blocks that an earlier run had left.
    """

    def __init__(self, path: str | None, descriptor: int, n_bins: int, dtype: np.dtype[Any], block_frames: int) -> None:
        self.block_frames = block_frames
        self.resumed = 0
        self._path = path
        self._descriptor = descriptor
        self._n_bins = n_bins
        self._dtype = dtype
        self._end = 0
        self._places: dict[int, tuple[Block, int, int]] = {}
        self._counts: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self._lock = threading.Lock()
        self._synced = time.monotonic()

    @classmethod
    def open(
        cls,
        output: str | Path | None,
        fingerprint: str,
        n_bins: int,
        dtype: np.dtype[Any],
        block_frames: int,
        overwrite: bool = False,
    ) -> SpotLog:
        """Begin a file beside the output, or go on with that of an earlier run with the same fingerprint.

        Parameters
        ----------
        output : path-like or None
            None for a file without a name.
        fingerprint : str
            Names the work; "" for work that cannot be recognised.
        n_bins : int
        dtype : numpy.dtype
            Of the frames.
        block_frames : int
            Frames of a block, unless there is a run to go on with.
        overwrite : bool
            Whether the blocks of other work may be given up.

        Raises
        ------
        OutputError
            If it cannot be written, another process is at work, or it holds blocks of other work.
        """
        header = {"fingerprint": fingerprint, "bins": n_bins, "dtype": dtype.str}
        if output is None:
            with tempfile.TemporaryFile() as file:
                log = cls(None, os.dup(file.fileno()), n_bins, dtype, block_frames)
            log._begin(header)
            return log
        path = f"{Path(output).absolute()}{ENDING}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        except OSError as error:
            raise output_error(path, error) from None
        log = cls(path, descriptor, n_bins, dtype, block_frames)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise OutputError(
                path, "another process is writing it.", "Wait until it has ended, or choose another name."
            ) from None
        try:
            log._continue(header, overwrite)
        except OutputError:
            os.close(descriptor)
            raise
        return log

    def _begin(self, header: dict[str, Any]) -> None:
        os.ftruncate(self._descriptor, 0)
        self._end = 0
        self._append(json.dumps(header | {"block_frames": self.block_frames}).encode() + b"\n")

    def _continue(self, header: dict[str, Any], overwrite: bool) -> None:
        size = os.fstat(self._descriptor).st_size
        line, _, _ = os.pread(self._descriptor, 4096, 0).partition(b"\n")
        try:
            before = json.loads(line)
            frames = int(before.pop("block_frames"))
        except (ValueError, KeyError, AttributeError, TypeError):
            self._begin(header)
            return
        if before != header or not header["fingerprint"]:
            if size > len(line) + 1 and not overwrite:
                raise OutputError(
                    str(self._path),
                    "holds what a run with other parameters, inputs or version of friedel has found.",
                    "Give the command of that run to go on with it, choose another output, or give it up "
                    "(--overwrite).",
                )
            self._begin(header)
            return
        self.block_frames = frames
        self._end = len(line) + 1
        while self._end + HEAD.size <= size:
            number, start, stop, length, checksum = HEAD.unpack(os.pread(self._descriptor, HEAD.size, self._end))
            payload = os.pread(self._descriptor, length, self._end + HEAD.size) if 0 < length <= size else b""
            # What a run left half written when it was stopped is written over.
            if len(payload) != length or zlib.crc32(payload) != checksum:
                break
            self._note(Block(number, start, stop), self._end + HEAD.size, payload)
            self._end += HEAD.size + length
        self.resumed = len(self._places)

    def _note(self, block: Block, offset: int, payload: bytes) -> None:
        spots = self._unpacked(block, payload)
        self._places[block.number] = block, offset, len(payload)
        self._counts[block.number] = spots.stored.copy(), spots.found.copy()

    # ---- blocks

    @property
    def shared(self) -> bool:
        """Whether another process may write: no."""
        return False

    def pending(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks that are not there."""
        return [block for block in blocks if block.number not in self._places]

    def write(self, block: Block, result: Sequence[FrameSpots]) -> None:
        """Append what was found in a block.

        Raises
        ------
        OutputError
            If the disk fails.
        """
        counts = [np.array([len(getattr(spots, name)) for spots in result], np.int64) for name in ("index", "peaks")]
        parts: list[NDArray[Any]] = [
            *counts,
            *(np.array([getattr(spots, name) for spots in result], np.float32) for name in ("mean", "std")),
            np.concatenate([spots.index for spots in result]).astype(np.uint32),
            np.concatenate([spots.intensity for spots in result]).astype(self._dtype),
            np.concatenate([spots.peaks for spots in result]).astype(PEAK),
        ]
        payload = b"".join(part.tobytes() for part in parts)
        head = HEAD.pack(block.number, block.start, block.stop, len(payload), zlib.crc32(payload))
        with self._lock:
            offset = self._end + HEAD.size
            self._append(head + payload)
            self._places[block.number] = block, offset, len(payload)
            self._counts[block.number] = counts[0], counts[1]

    def _append(self, data: bytes) -> None:
        view, end = memoryview(data), self._end
        try:
            while len(view):
                written = os.pwrite(self._descriptor, view, end)
                view, end = view[written:], end + written
        except OSError as error:
            raise output_error(str(self._path or tempfile.gettempdir()), error) from None
        self._end = end

    def commit(self, block: Block) -> None:
        """Make what was written durable, once a second."""
        if self._path is not None and time.monotonic() - self._synced > SYNC_SECONDS:
            os.fdatasync(self._descriptor)
            self._synced = time.monotonic()

    # ---- what was found

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the number of pixels kept and of peaks of every frame."""
        ordered = [self._counts[number] for number in sorted(self._counts)]
        stored, found = zip(*ordered, strict=True)
        return np.concatenate(stored), np.concatenate(found)

    def blocks(self) -> Iterator[tuple[Block, BlockSpots]]:
        """Give the blocks in the order of the frames."""
        for number in sorted(self._places):
            block, offset, length = self._places[number]
            yield block, self._unpacked(block, os.pread(self._descriptor, length, offset))

    def _unpacked(self, block: Block, payload: bytes) -> BlockSpots:
        n, place = len(block), 0

        def taken(count: int, dtype: Any) -> NDArray[Any]:
            nonlocal place
            values = np.frombuffer(payload, dtype, count, place)
            place += values.nbytes
            return values

        stored, found = taken(n, np.int64), taken(n, np.int64)
        mean, std = (taken(n * self._n_bins, np.float32).reshape(n, -1) for _ in range(2))
        kept = int(stored.sum())
        index, intensity = taken(kept, np.uint32), taken(kept, self._dtype)
        return BlockSpots(block.start, stored, found, mean, std, index, intensity, taken(int(found.sum()), PEAK))

    def remove(self) -> None:
        """Delete the file: the result is complete."""
        if self._path is not None:
            Path(self._path).unlink(missing_ok=True)

    def __enter__(self) -> SpotLog:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._places:
            self.remove()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
