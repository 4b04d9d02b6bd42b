"""Frames in the order of the grid of a scan: what is missing is left out, lines that ran backwards are turned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.core.errors import DataError
from friedel.instrument.scan_layout import NO_FRAME
from friedel.io.frames import FrameSource
from friedel.io.region_layout import RegionSpec
from friedel.kernels.encoded import EncodedFrames, joined
from friedel.techniques.integration.radial_map import FrameBlock, StreamedMap
from friedel.techniques.integration.skipping import SKIPPED, SkippingMap, SkippingSource


@dataclass(frozen=True, eq=False)
class GridPoints:
    """Frames of neighbouring grid points.

    Attributes
    ----------
    frames : FrameBlock or None
        The frames of those points that have one; None if none has.
    present : ndarray of bool, shape (points,)
    """

    frames: FrameBlock | None
    present: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class GridSource:
    """Frames in the order of the grid. A block source; its items are grid points.

    Attributes
    ----------
    frames : FrameSource
    frame_of_point : ndarray of int64, shape (points,)
        Frame of each point of the flattened grid, -1 where there is none.
    normalization : ndarray of float64, shape (frames,), or None
        What each frame's intensity is divided by.
    """

    frames: FrameSource
    frame_of_point: NDArray[np.int64]
    normalization: NDArray[np.float64] | None

    def read(self, block: Block) -> GridPoints:
        """Read the frames of the points of `block`."""
        numbers = self.frame_of_point[block.start : block.stop]
        present = numbers != NO_FRAME
        wanted = numbers[present]
        if not wanted.size:
            return GridPoints(None, present)
        normalization = None if self.normalization is None else self.normalization[wanted]
        labels = tuple(self.frames.label(int(number)) for number in wanted)
        return GridPoints(FrameBlock(self._gather(wanted), labels, normalization), present)

    def _gather(self, numbers: NDArray[np.int64]) -> Any:
        """Read frames by number, neighbours in the file at once; a line that ran backwards is one run, too."""
        steps = np.diff(numbers)
        # A run ends where the step is not that of one frame, and where the direction turns.
        far = np.abs(steps) != 1
        turns = (steps[1:] == -steps[:-1]) & ~far[1:]
        ends = far | np.append(False, turns)[: len(steps)]
        breaks = [0, *(np.flatnonzero(ends) + 1), len(numbers)]
        return joined([self._run(numbers[begin:end]) for begin, end in pairwise(breaks)])

    def _run(self, run: NDArray[np.int64]) -> Any:
        backwards = len(run) > 1 and run[1] < run[0]
        frames = self.frames.read(Block(0, int(run.min()), int(run.max()) + 1))
        if not backwards:
            return frames
        if isinstance(frames, EncodedFrames):
            return frames.take(reversed(range(len(frames))))
        return frames[::-1]


@dataclass(frozen=True, eq=False)
class FramesOfPoints:
    """Frames of points that all have one, for `SkippingSource`, which goes on point by point where one has none.

    Attributes
    ----------
    grid : GridSource
    """

    grid: GridSource

    def read(self, block: Block) -> FrameBlock:
        """Return the frames of the points of `block`.

        Raises
        ------
        DataError
            If a point has no frame.
        """
        points = self.grid.read(block)
        if points.frames is None or not points.present.all():
            raise DataError("A point of the grid has no frame.")
        return points.frames


@dataclass(frozen=True, eq=False)
class RenamedArrays:
    """A plan: some of the arrays of `patterns`, by other names.

    Attributes
    ----------
    patterns : StreamedMap
    names : mapping of str to str
        New name to that in `patterns`.
    """

    patterns: StreamedMap
    names: Mapping[str, str]

    @property
    def at_once(self) -> int | None:
        """Blocks that are worth working on at the same time; None for as many as there are threads."""
        return self.patterns.at_once

    def __call__(self, items: FrameBlock) -> dict[str, NDArray[Any]]:
        """Return the arrays of the frames of a block."""
        found = self.patterns(items)
        return {new: found[old] for new, old in self.names.items()}


@dataclass(frozen=True, eq=False)
class PatternsOnGrid:
    """A plan: grid points to patterns; NaN where a point has no frame.

    Attributes
    ----------
    patterns : StreamedMap or RenamedArrays
        Frames to arrays by name.
    regions : mapping of str to RegionSpec
        The arrays that are wanted, as the sink has them.
    """

    patterns: StreamedMap | RenamedArrays
    regions: Mapping[str, RegionSpec]

    @property
    def at_once(self) -> int | None:
        """Blocks that are worth working on at the same time; None for as many as there are threads."""
        return self.patterns.at_once

    def __call__(self, points: GridPoints) -> dict[str, NDArray[Any]]:
        """Return the arrays of the points of a block; a missing point has no valid pixel."""
        found = {} if points.frames is None else self.patterns(points.frames)
        return on_points(found, points.present, self.regions)


def on_points(
    found: Mapping[str, NDArray[Any]], present: NDArray[np.bool_], regions: Mapping[str, RegionSpec]
) -> dict[str, NDArray[Any]]:
    """Return the arrays of grid points, given those of the points that have a frame; the others have no valid pixel."""
    result = {}
    for name, spec in regions.items():
        empty = np.nan if np.dtype(spec.dtype).kind == "f" and name != "valid_fraction" else 0
        values = np.full((len(present), *spec.shape[spec.item_axes :]), empty, spec.dtype)
        if present.any():
            values[present] = found[name]
        result[name] = values
    return result


def grid_stream(
    points: GridSource, patterns: StreamedMap | RenamedArrays, regions: Mapping[str, RegionSpec]
) -> tuple[Any, Any]:
    """Return the source and the plan that make the arrays of the points of a grid.

    Parameters
    ----------
    points : GridSource
    patterns : StreamedMap or RenamedArrays
        Frames to arrays by name.
    regions : mapping of str to RegionSpec
        What the sink holds; with `SKIPPED`, frames that cannot be read are left out and their points marked.
    """
    if SKIPPED not in regions:
        return points, PatternsOnGrid(patterns, regions)
    by_point = {name: RegionSpec((1, *spec.shape[spec.item_axes :]), spec.dtype) for name, spec in regions.items()}
    return SkippingSource(FramesOfPoints(points)), SkippingMap(patterns, by_point)
