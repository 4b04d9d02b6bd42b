"""Statistics that need each frame once and no memory of it: mean, sum, spread, extremes.

The spread is found from sums of d = value − pivot and d², where the pivot of a pixel is its value in the first frame:
the cancellation in Σd² − (Σd)²/n is then that of the spread, not of the value itself (Chan, Golub & LeVeque, The
American Statistician 37 (1983) 242). A pivot far off, such as a cosmic ray, is itself one of the n values: it raises
the spread by as much as it costs digits, and the variance is still exact to about n roundings.

Frames are summed in groups whose size depends on the data only, and groups in order, so that results do not depend on
who summed which group when.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.io import FrameSource
from friedel.kernels.encoded import EncodedFrames

from .correction import FrameCorrection

Floats = NDArray[np.float64]

TILE = 1 << 15
"""Pixels worked on at a time: their sums stay in the processor's cache over all frames of a group."""
GROUP_BYTES = 64 * 1024**2
MOST_FRAMES = 64


def group_size(frame_bytes: int) -> int:
    """Return the number of frames that are summed together."""
    return max(1, min(GROUP_BYTES // max(1, frame_bytes), MOST_FRAMES))


@dataclass(frozen=True, eq=False)
class FrameGroup:
    """Some frames of the series and what each is divided by."""

    frames: NDArray[Any] | EncodedFrames
    factors: Floats | None


@dataclass(frozen=True, eq=False)
class FrameGroups:
    """Frames with their factors; a `friedel.core.blocks.BlockSource`."""

    source: FrameSource
    factors: Floats | None

    def read(self, block: Block) -> FrameGroup:
        """Return the frames of a block in the cheapest form."""
        factors = None if self.factors is None else self.factors[block.start : block.stop]
        return FrameGroup(self.source.read(block), factors)


@dataclass
class Moments:
    """Sums over valid values, pixel by pixel; each of shape (pixels,).

    Attributes
    ----------
    count : ndarray of float64
        Number of valid values.
    total : ndarray of float64
        Σ (value − pivot).
    squares : ndarray of float64
        Σ (value − pivot)².
    lowest, highest : ndarray of float64
        Infinite where there is no valid value.
    """

    count: Floats
    total: Floats
    squares: Floats
    lowest: Floats
    highest: Floats

    @classmethod
    def empty(cls, n_pixels: int) -> Moments:
        """Return the sums over no frame."""
        count, total, squares = np.zeros((3, n_pixels))
        return cls(count, total, squares, np.full(n_pixels, np.inf), np.full(n_pixels, -np.inf))

    def add(self, values: Floats, pivot: Floats, valid: NDArray[np.bool_] | None, place: slice) -> None:
        """Add the values of one frame at the pixels `place`."""
        distance = values - pivot
        if valid is None:
            self.count[place] += 1.0
            np.minimum(self.lowest[place], values, out=self.lowest[place])
            np.maximum(self.highest[place], values, out=self.highest[place])
        else:
            self.count[place] += valid
            distance[~valid] = 0.0
            np.minimum(self.lowest[place], values, out=self.lowest[place], where=valid)
            np.maximum(self.highest[place], values, out=self.highest[place], where=valid)
        self.total[place] += distance
        self.squares[place] += distance * distance

    def merge(self, other: Moments) -> None:
        """Add the sums over the frames that follow."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        np.minimum(self.lowest, other.lowest, out=self.lowest)
        np.maximum(self.highest, other.highest, out=self.highest)


@dataclass(frozen=True, eq=False)
class MomentSums:
    """A plan: frames to `Moments`.

    Attributes
    ----------
    correction : FrameCorrection
    pivot : ndarray of float64, shape (pixels,)
        A value typical for each pixel.
    limits : (ndarray, ndarray) or None
        Lowest and highest value of each pixel that counts, shape (pixels,) each; None: every value counts.
    """

    correction: FrameCorrection
    pivot: Floats
    limits: tuple[Floats, Floats] | None = None

    def __call__(self, group: FrameGroup) -> Moments:
        """Return the sums over the frames of a group."""
        moments = Moments.empty(self.pivot.size)
        for number, frame in enumerate(each_frame(group.frames)):
            factor = None if group.factors is None else float(group.factors[number])
            self._add(frame.reshape(-1), factor, moments)
        return moments

    def _add(self, frame: NDArray[Any], factor: float | None, moments: Moments) -> None:
        for start in range(0, frame.size, TILE):
            place = slice(start, start + TILE)
            values, valid = self.correction(frame[place], place, factor)
            if self.limits is not None:
                inside = (values >= self.limits[0][place]) & (values <= self.limits[1][place])
                valid = inside if valid is None else valid & inside
            moments.add(values, self.pivot[place], valid, place)


def each_frame(frames: NDArray[Any] | EncodedFrames) -> Iterator[NDArray[Any]]:
    """Yield frame after frame, decoding one at a time."""
    if not isinstance(frames, EncodedFrames):
        yield from frames
        return
    from dataclasses import replace

    from friedel.kernels.decode import decode

    for number in range(len(frames.buffers)):
        one = slice(number, number + 1)
        yield np.asarray(decode(replace(frames, buffers=frames.buffers[one], labels=frames.labels[one]))[0])


class OrderedSum:
    """Sums of groups, added in the order of the groups, whatever the order they come in.

    A `friedel.core.blocks.BlockSink`; at most the groups that are being worked on wait for their turn.
    """

    def __init__(self, n_pixels: int) -> None:
        self.moments = Moments.empty(n_pixels)
        self._waiting: dict[int, Moments] = {}
        self._next = 0
        self._lock = threading.Lock()

    @property
    def shared(self) -> bool:
        """Another process has other memory."""
        return False

    def pending(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks that are not summed yet."""
        return [block for block in blocks if block.number >= self._next and block.number not in self._waiting]

    def write(self, block: Block, result: Moments) -> None:
        """Add the sums of a block when those before it are there."""
        with self._lock:
            self._waiting[block.number] = result
            while self._next in self._waiting:
                self.moments.merge(self._waiting.pop(self._next))
                self._next += 1

    def commit(self, block: Block) -> None:
        """Do nothing: memory is not durable."""


def moment_statistics(moments: Moments, pivot: Floats) -> dict[str, Floats]:
    """Return the statistics by name, shape (pixels,); NaN where there is no valid value.

    ``std`` is the spread of the values, √(Σ(x − mean)²/n); ``mean_errors`` is std/√(n − 1), the standard error of the
    mean.
    """
    count = moments.count
    known = count > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = moments.total / count
        variance = np.maximum(moments.squares / count - shift * shift, 0.0)
        found = {
            "mean": pivot + shift,
            "mean_errors": np.sqrt(variance / (count - 1.0)),
            "sum": moments.total + count * pivot,
            "std": np.sqrt(variance),
            "min": moments.lowest,
            "max": moments.highest,
        }
    found = {name: np.where(known, values, np.nan) for name, values in found.items()}
    found["mean_errors"] = np.where(count > 1, found["mean_errors"], np.nan)
    return found | {"count": count}
