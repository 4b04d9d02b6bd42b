"""Frames that cannot be read are left out of a stream, and their places marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block, BlockPlan, BlockSource
from friedel.core.context import Context
from friedel.core.errors import DataError, FileError
from friedel.io import FrameSource, RegionSpec
from friedel.kernels.decode import decode
from friedel.kernels.encoded import EncodedFrames, joined

from .radial_map import FrameBlock

SKIPPED = "skipped"
"""Name of the variable that is 1 for each frame that was left out."""

TOLD = 5
"""So many of the frames left out are told with what is wrong with them."""


class Numbered(Protocol):
    """What frames are read from one by one, to say what is wrong with them."""

    def read(self, block: Block) -> EncodedFrames | NDArray[Any]: ...
    def label(self, index: int) -> str: ...


@dataclass(frozen=True, eq=False)
class Readable:
    """The frames of a block that can be read.

    Attributes
    ----------
    block : FrameBlock or None
        None if there is none.
    places : ndarray of int
        Where in the block they belong.
    count : int
        Number of frames of the whole block.
    """

    block: FrameBlock | None
    places: NDArray[np.intp]
    count: int


@dataclass(frozen=True)
class SkippingSource:
    """Frames of `source`, without those that cannot be read; a `friedel.core.blocks.BlockSource`."""

    source: BlockSource[FrameBlock]

    def read(self, block: Block) -> Readable:
        """Return the frames of a block that can be read; one by one if there is a problem with any."""
        everything = np.arange(len(block))
        try:
            return Readable(self.source.read(block), everything, len(block))
        except (FileError, DataError):
            pass
        found, places = [], []
        for number in range(block.start, block.stop):
            try:
                found.append(self.source.read(Block(number, number, number + 1)))
                places.append(number - block.start)
            except (FileError, DataError):
                continue
        return Readable(_joined(found), np.array(places, np.intp), len(block))


@dataclass(frozen=True)
class SkippingMap:
    """`plan` for the frames that can be decoded; empty rows for the others.

    Attributes
    ----------
    plan : BlockPlan
        From a `FrameBlock` to arrays by name.
    regions : mapping of str to RegionSpec
        Shapes and types of the arrays.
    """

    plan: BlockPlan[FrameBlock, Mapping[str, NDArray[Any]]]
    regions: Mapping[str, RegionSpec]

    def __call__(self, items: Readable) -> dict[str, NDArray[Any]]:
        """Return the arrays of the whole block, with "skipped".

        Rows of frames left out are NaN, and 0 of integers and of the fraction of valid pixels.
        """
        block, places = items.block, items.places
        arrays: Mapping[str, NDArray[Any]] = {}
        if block is not None:
            try:
                arrays = self.plan(block)
            except DataError:
                sound = _sound(block)
                if len(sound) == len(places):
                    raise
                places = places[sound]
                arrays = self.plan(_part(block, sound)) if len(sound) else {}
        whole = {name: self._empty(name, items.count) for name in self.regions}
        whole[SKIPPED][places] = 0
        for name, rows in arrays.items():
            whole[name][places] = rows
        return whole

    @property
    def at_once(self) -> int | None:
        """Blocks that are worth working on at the same time, if `plan` knows."""
        wanted: int | None = getattr(self.plan, "at_once", None)
        return wanted

    def _empty(self, name: str, count: int) -> NDArray[Any]:
        spec = self.regions[name]
        dtype = np.dtype(spec.dtype)
        fill: float = 1 if name == SKIPPED else 0 if name == "valid_fraction" or dtype.kind != "f" else np.nan
        return np.full((count, *spec.shape[1:]), fill, dtype)


def _sound(block: FrameBlock) -> list[int]:
    """Return the numbers of the frames that can be decoded."""
    frames = block.frames
    if not isinstance(frames, EncodedFrames):
        return list(range(len(frames)))
    sound = []
    for number in range(len(frames)):
        try:
            decode(frames.part(number, number + 1))
        except DataError:
            continue
        sound.append(number)
    return sound


def _part(block: FrameBlock, numbers: list[int]) -> FrameBlock:
    frames = block.frames
    some = frames.take(numbers) if isinstance(frames, EncodedFrames) else frames[numbers]
    variance = block.variance
    return FrameBlock(
        some,
        tuple(block.labels[number] for number in numbers) if block.labels else (),
        None if block.normalization is None else block.normalization[numbers],
        variance if variance is None or variance.ndim == 2 else variance[numbers],
    )


def _joined(blocks: Sequence[FrameBlock]) -> FrameBlock | None:
    """Put blocks of one frame each together."""
    if not blocks:
        return None
    factors = [block.normalization for block in blocks]
    variances = [block.variance for block in blocks]
    one_variance = variances[0] is None or variances[0].ndim == 2
    return FrameBlock(
        joined([block.frames for block in blocks]),
        tuple(label for block in blocks for label in block.labels),
        None if factors[0] is None else np.concatenate([factor for factor in factors if factor is not None]),
        variances[0] if one_variance else np.concatenate([part for part in variances if part is not None]),
    )


def problem_of(source: Numbered, number: int) -> str:
    """Say what is wrong with frame `number`, which was left out."""
    try:
        frames = source.read(Block(number, number, number + 1))
        if isinstance(frames, EncodedFrames):
            decode(frames)
    except (FileError, DataError) as error:
        return str(error.problem)
    return f"{source.label(number)}: it could not be read at that time."


def tell_skipped(numbers: Sequence[int] | NDArray[Any], source: FrameSource, context: Context) -> None:
    """Tell the user which frames were left out, and what is wrong with the first of them."""
    if not len(numbers):
        return
    problems = [f"frame {number}: {problem_of(source, int(number))}" for number in numbers[:TOLD]]
    more = [f"and {len(numbers) - TOLD} more"] if len(numbers) > TOLD else []
    text = "\n  ".join(["", *problems, *more])
    context.progress.warn(f"{len(numbers)} of {source.n_frames} frames were skipped: {text}")


def ranges_of(numbers: Sequence[int] | NDArray[Any]) -> str:
    """Write numbers in ascending order as ranges, "17, 40-45"."""
    runs: list[list[int]] = []
    for number in map(int, numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in runs)
