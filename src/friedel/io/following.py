"""Frames that are still being written: what is there is given out, again and again, until nothing comes any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from friedel.core.errors import DataError, FileError, ParameterError

from . import cbf
from .handles import stamp_of
from .segments import CbfFrame, DecodedFrames, FabioFrames, Segment, StoredFrames, written_frames

if TYPE_CHECKING:
    from .frames import FrameSource

POLL_SECONDS = 0.5
"""How often is looked for new frames, at least."""
POLL_SHARE = 4
"""If looking takes long, the pause is this many times as long."""
SETTLED_SECONDS = 1.0
"""A file that says nothing about its size is complete if it has not changed for so long."""


def follow(
    open_now: Callable[[], FrameSource],
    patience: float,
    *,
    wanted: int | None = None,
    check: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[FrameSource, int, int]]:
    """Yield (source, start, stop) whenever frames `start` to `stop` of it have become complete.

    Every frame is given once, in order; start is 0 again if files appear before others that were given already: then
    all frames are to be taken anew.

    Parameters
    ----------
    open_now : callable
        Opens what there is, with `open_frames(..., incomplete=True)`.
    patience : float
        Ends when no frame has come for so many seconds.
    wanted : int, optional
        Ends when there are so many frames.
    check : callable
        Called between looks; may raise to end.
    sleep, clock : callable
        For tests.

    Raises
    ------
    FileError, DataError
        If no frame has come at all: what was wrong last.
    """
    done = 0
    before: tuple[tuple[str, int], ...] = ()
    problem: FileError | DataError | None = None
    whole: set[str] = set()
    latest = clock()
    while True:
        check()
        looked = clock()
        try:
            source = open_now()
            ready = _ready(source, whole)
        except ParameterError:
            ready = 0  # the range of frames that is asked for has not begun
        except (FileError, DataError) as error:
            # A file that is being written may be unreadable for a moment.
            problem, ready = error, 0
        if ready > 0:
            order = _order(source, ready)
            if order[: len(before)] != before:
                done = 0
            if ready > done:
                yield source, done, ready
                before, done, latest = order, ready, clock()
                if wanted is not None and done >= wanted:
                    return
                continue
        if clock() - latest >= patience:
            break
        sleep(max(min(POLL_SECONDS, patience / 4), POLL_SHARE * (clock() - looked)))
    if not done and problem is not None:
        raise problem


def _order(source: FrameSource, ready: int) -> tuple[tuple[str, int], ...]:
    """Return which frames the first ones are: the files, and how many frames of each; the last one may grow."""
    found: list[tuple[str, int]] = []
    left = ready
    for segment in source.segments:
        if left <= 0:
            break
        found.append((segment.path, getattr(segment, "first", 0)))
        left -= segment.n_frames
    return tuple(found)


def _ready(source: FrameSource, whole: set[str]) -> int:
    """Return how many frames of the stack are complete, up to the first that is not.

    `whole` holds the files of one image that are known to be.
    """
    complete = 0
    for segment in source.segments:
        here = 1 if segment.path in whole else _complete_frames(segment)
        if isinstance(segment, CbfFrame) and here:
            whole.add(segment.path)
        complete += here
        if here < segment.n_frames:
            break
    selection = source.selection
    return len(range(selection.start, min(selection.stop, complete), selection.step))


def _complete_frames(segment: Segment) -> int:
    match segment:
        case CbfFrame():
            return int(_is_whole_cbf(segment))
        case StoredFrames(offset=int(offset)):
            size = segment.dtype.itemsize * int(np.prod(segment.frame_shape))
            return min(max((segment.stamp.size - offset) // size - segment.first, 0), segment.n_frames)
        case StoredFrames() | DecodedFrames():
            return written_frames(segment)
        case FabioFrames():
            return segment.n_frames if time.time() - segment.stamp.mtime / 1e9 > SETTLED_SECONDS else 0
        case _:
            return segment.n_frames


def _is_whole_cbf(segment: CbfFrame) -> bool:
    if segment.path.endswith((".gz", ".bz2")):
        return time.time() - stamp_of(segment.path).mtime / 1e9 > SETTLED_SECONDS
    try:
        header = cbf.read_header(segment.path)
    except FileError:
        return False
    return stamp_of(segment.path).size >= header.offset + header.size
