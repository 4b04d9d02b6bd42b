"""Which frame was taken where: the grid of a translation-rotation scan, found from the motor values.

File order says little: scans run x fast or rotation fast, back and forth, are interrupted and repeated. The motor
values say all, so a frame is placed by its values alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError

LEAST_COVERAGE = 0.5
"""Part of the grid's cells that must hold a frame; below it the motors do not describe a grid."""

SPARSEST_GRID = 1000
"""Cells for each frame beyond which a grid is not even tried: it would only waste memory."""

SMALLEST_STEP = 0.01
"""The least step of a scan, as part of its largest step (missing lines widen steps)."""

LEAST_JUMP = 3.0
"""How much larger than all jitter the smallest step must be to be told from it."""

MOST_JUMPS = 3
"""Jumps between jitter and step that are tried for each motor."""

NO_FRAME = -1


@dataclass(frozen=True)
class ScanLayout:
    """The grid (layer, angle, translation) of a scan.

    Attributes
    ----------
    frames : ndarray of int64, shape (layers, angles, translations)
        Frame taken at each point, -1 where there is none. Where a point was measured twice, the later frame.
    angles : ndarray of float64, shape (angles,)
        Ascending rotation angles in degrees.
    translations : ndarray of float64, shape (translations,)
        Ascending positions across the beam, in the motor's unit.
    layers : ndarray of float64, shape (layers,)
        Ascending heights, in the motor's unit; ``[0.]`` for a single layer.
    fast : {"rotation", "translation"}
        The motor that moved between neighbouring frames.
    snake : bool
        Whether every other line ran backwards.
    repeated : int
        Frames that were superseded by a later one at the same point.
    """

    frames: NDArray[np.int64]
    angles: NDArray[np.float64]
    translations: NDArray[np.float64]
    layers: NDArray[np.float64]
    fast: str
    snake: bool
    repeated: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of layers, angles and translations."""
        layers, angles, translations = self.frames.shape
        return layers, angles, translations

    @property
    def missing(self) -> int:
        """Points of the grid without a frame."""
        return int(np.count_nonzero(self.frames == NO_FRAME))

    def positions(self, n_frames: int) -> NDArray[np.int64]:
        """Return for each of `n_frames` frames its place in the flattened grid, -1 if it has none."""
        places = np.full(n_frames, NO_FRAME, np.int64)
        flat = self.frames.ravel()
        filled = np.flatnonzero(flat != NO_FRAME)
        places[flat[filled]] = filled
        return places

    def describe(self) -> str:
        """Say in words how the scan ran."""
        layers, angles, translations = self.shape
        order = f"{self.fast} fast, {'back and forth' if self.snake else 'always in the same direction'}"
        text = f"{layers} layer(s) of {angles} angles x {translations} translations, {order}"
        text += f", {self.missing} points missing" if self.missing else ""
        return text + (f", {self.repeated} points measured twice" if self.repeated else "")

    @classmethod
    def find(
        cls,
        rotation: NDArray[np.float64],
        translation: NDArray[np.float64],
        layer: NDArray[np.float64] | None = None,
    ) -> ScanLayout:
        """Find the grid from one value per frame of each motor.

        Parameters
        ----------
        rotation : ndarray, shape (frames,)
            Degrees.
        translation : ndarray, shape (frames,)
            Position across the beam.
        layer : ndarray, shape (frames,), optional
            Height.

        Raises
        ------
        DataError
            If the lengths differ, a value is not finite, or the values do not form a grid.
        """
        motors = {"rotation": rotation, "translation": translation}
        if layer is not None:
            motors["layer"] = layer
        _check_motors(motors)
        candidates = itertools.product(
            group_positions(translation),
            group_positions(rotation),
            group_positions(np.zeros(len(rotation)) if layer is None else layer),
        )
        grids = [_Grid.place(*candidate) for candidate in candidates]
        # A single position of a motor fills its grid, and is no scan.
        grids = [grid for grid in grids if min(grid.frames.shape[1:]) > 1] or grids
        # A tiny grid can be read in several ways: the one whose positions stand clearest apart is meant.
        grid = max(grids, key=lambda grid: (round(grid.quality, 9), grid.clearness))
        shape = grid.frames.shape
        if grid.filled < LEAST_COVERAGE * grid.frames.size or min(shape[1:]) < 2:
            raise DataError(
                f"The motors do not form a grid: {len(rotation)} frames fill {grid.filled} of {shape[0]} layers x "
                f"{shape[1]} angles x {shape[2]} translations.",
                "Check which motors are the rotation, the translation and the layer.",
            )
        angle_of, translation_of = grid.angles.index, grid.translations.index
        fast_is_rotation = np.count_nonzero(np.diff(angle_of)) > np.count_nonzero(np.diff(translation_of))
        fast, slow = (angle_of, translation_of) if fast_is_rotation else (translation_of, angle_of)
        return cls(
            frames=grid.frames,
            angles=grid.angles.positions,
            translations=grid.translations.positions,
            layers=grid.layers.positions,
            fast="rotation" if fast_is_rotation else "translation",
            snake=_runs_back_and_forth(fast, slow),
            repeated=len(rotation) - grid.filled,
        )


def _check_motors(motors: Mapping[str, NDArray[np.float64]]) -> None:
    lengths = {name: len(values) for name, values in motors.items()}
    if len(set(lengths.values())) > 1:
        described = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"The motors have different numbers of values: {described}.", "One value per frame is needed.")
    for name, values in motors.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise DataError(
                f"The motor {name} has no finite value at {bad.size} frames, the first at frame {bad[0]}.",
                "Leave those frames out, or repair the motor's values.",
            )


@dataclass(frozen=True)
class MotorPositions:
    """The positions that a motor was sent to.

    Attributes
    ----------
    positions : ndarray of float64
        Ascending mean of the values read back at each position.
    index : ndarray of int64, shape (frames,)
        Position of each frame.
    clearness : float
        Smallest step between positions over the largest jitter within one.
    """

    positions: NDArray[np.float64]
    index: NDArray[np.int64]
    clearness: float


def group_positions(values: NDArray[np.float64]) -> list[MotorPositions]:
    """Return the possible groupings of read-back values into positions.

    Either the values are exact, then different values are different positions; or the small gaps between sorted
    values are jitter of the read-back and the large ones the steps of the scan, with a wide jump in between.

    Parameters
    ----------
    values : ndarray of float64, shape (frames,)
    """
    order = np.argsort(values, kind="stable")
    gaps = np.diff(values[order])
    rounding = 1e-9 * (float(np.ptp(values)) or 1.0)
    thresholds = [rounding]
    different = np.sort(gaps[gaps > rounding])
    if different.size > 1:
        # Where the larger gap is tiny too, both are jitter, and their ratio is chance.
        ratios = np.where(different[1:] > SMALLEST_STEP * different[-1], different[1:] / different[:-1], 0.0)
        jumps = [jump for jump in np.argsort(ratios)[-MOST_JUMPS:] if ratios[jump] > LEAST_JUMP]
        thresholds += [float(np.sqrt(different[jump] * different[jump + 1])) for jump in jumps]
    found = []
    for threshold in thresholds:
        index = np.empty(len(values), np.int64)
        index[order] = np.concatenate([[0], np.cumsum(gaps > threshold)])
        positions = np.bincount(index, weights=values) / np.bincount(index)
        steps, jitter = gaps[gaps > threshold], gaps[gaps <= threshold]
        clearness = float(steps.min(initial=np.inf) / max(jitter.max(initial=0.0), rounding))
        found.append(MotorPositions(positions, index, clearness))
    return found


@dataclass(frozen=True)
class _Grid:
    """Frames placed on a grid of positions."""

    translations: MotorPositions
    angles: MotorPositions
    layers: MotorPositions
    frames: NDArray[np.int64]

    @classmethod
    def place(cls, translations: MotorPositions, angles: MotorPositions, layers: MotorPositions) -> _Grid:
        shape = (len(layers.positions), len(angles.positions), len(translations.positions))
        if np.prod(shape, dtype=float) > SPARSEST_GRID * len(angles.index):
            return cls(translations, angles, layers, np.full((1, 1, 1), NO_FRAME, np.int64))
        frames = np.full(shape, NO_FRAME, np.int64)
        # numpy keeps the last of several values assigned to one place: a repeated point supersedes the failed one.
        frames[layers.index, angles.index, translations.index] = np.arange(len(angles.index))
        return cls(translations, angles, layers, frames)

    @property
    def filled(self) -> int:
        return int(np.count_nonzero(self.frames != NO_FRAME))

    @property
    def clearness(self) -> float:
        """How clearly the positions of the motors stand apart, the least clear motor counting."""
        return min(self.translations.clearness, self.angles.clearness)

    @property
    def quality(self) -> float:
        """Part of the grid that is filled, times part of the frames that have a place: 1 for the true grid."""
        return self.filled**2 / (self.frames.size * len(self.angles.index))


def _runs_back_and_forth(fast: NDArray[np.int64], slow: NDArray[np.int64]) -> bool:
    """Tell whether the fast motor's direction alternates from line to line."""
    ends = np.flatnonzero(np.diff(slow)) + 1
    lines = [line for line in np.split(fast, ends) if len(line) > 1]
    directions = np.sign([int(line[-1]) - int(line[0]) for line in lines])
    return len(lines) > 1 and bool(np.count_nonzero(directions[1:] != directions[:-1]) > len(lines) / 2)
