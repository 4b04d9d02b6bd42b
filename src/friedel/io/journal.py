"""A file of lines that only grows: what is complete, each line with its own checksum, held by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from friedel.core.errors import OutputError

MAGIC = "friedel journal 1"


class Line(NamedTuple):
    """A complete block: its number, its items, and the checksum (crc32) of what was written."""

    number: int
    start: int
    stop: int
    checksum: int


def _sealed(text: str) -> str:
    return f"{text} #{zlib.crc32(text.encode()):08x}\n"


def _opened(line: bytes) -> str | None:
    """Return the text of a line, or None if it is damaged or cut."""
    text, _, checksum = line.removesuffix(b"\n").rpartition(b" #")
    whole = line.endswith(b"\n") and checksum == f"{zlib.crc32(text):08x}".encode()
    return text.decode() if whole else None


class Journal:
    """The journal of a file being built.

    Attributes
    ----------
    header : dict or None
        What `begin` was given by the run that started it; None for a new journal.
    lines : list of Line
        Complete blocks. Reading stops at the first line that is damaged: those behind it may not be durable.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.header: dict[str, Any] | None = None
        self.lines: list[Line] = []
        self._end = 0
        self._read()

    @classmethod
    def open(cls, path: str, subject: str) -> Journal:
        """Open or make the journal, for this process alone.

        Parameters
        ----------
        path : str
        subject : str
            The file being built, for the message.

        Raises
        ------
        OutputError
            If another process holds it.
        OSError
            If it cannot be made.
        """
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise OutputError(
                    subject, "another process is writing it.", "Wait until it has ended, or choose another name."
                ) from None
            # The former holder may have finished and removed the file between the two calls.
            with suppress(FileNotFoundError):
                if os.fstat(descriptor).st_ino == Path(path).stat().st_ino:
                    return cls(path, descriptor)
            os.close(descriptor)

    def _read(self) -> None:
        content = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        for number, line in enumerate(content.splitlines(keepends=True)):
            text = _opened(line)
            if text is None or (number == 0 and not text.startswith(MAGIC)):
                break
            if number == 0:
                self.header = json.loads(text.removeprefix(MAGIC))
            else:
                self.lines.append(Line(*(int(part) for part in text.split())))
            self._end += len(line)

    @property
    def completed(self) -> list[tuple[int, int]]:
        """Ranges of complete items, sorted, neighbours joined."""
        joined: list[tuple[int, int]] = []
        for start, stop in sorted((line.start, line.stop) for line in self.lines):
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
            else:
                joined.append((start, stop))
        return joined

    def clear(self) -> None:
        """Forget everything, durably."""
        self.header, self.lines, self._end = None, [], 0
        self._write("")

    def begin(self, header: dict[str, Any]) -> None:
        """Start anew with this header, durably."""
        self.clear()
        self.header = header
        self._write(_sealed(f"{MAGIC} {json.dumps(header)}"))

    def keep(self, lines: Sequence[Line]) -> None:
        """Keep these lines only, durably."""
        assert self.header is not None
        self.begin(self.header)
        self.append(lines)

    def append(self, lines: Sequence[Line]) -> None:
        """Add lines, durably."""
        self._write("".join(map(_text, lines)))
        self.lines += lines

    def _write(self, text: str) -> None:
        """Write behind the last whole line; what a crash left there is cut off."""
        data = text.encode()
        os.ftruncate(self._descriptor, self._end)
        while data:
            written = os.pwrite(self._descriptor, data, self._end)
            data, self._end = data[written:], self._end + written
        os.fdatasync(self._descriptor)

    def remove(self) -> None:
        """Delete the journal: the work is finished."""
        Path(self.path).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let another process have it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _text(line: Line) -> str:
    return _sealed(f"{line.number} {line.start} {line.stop} {line.checksum}")
