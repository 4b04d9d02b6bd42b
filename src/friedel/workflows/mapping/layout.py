"""Which frame was taken where: the grid of a scan in two directions, from motors or from its shape."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError, ParameterError
from friedel.instrument.scan_layout import NO_FRAME, ScanLayout, group_positions
from friedel.workflows.axes import LAYER_NAMES, TRANSLATION_NAMES, AxisLike

Floats = NDArray[np.float64]

MOTOR_NAMES = (*TRANSLATION_NAMES, *LAYER_NAMES, "sample_x", "sample_y", "fast", "slow", "px", "py", "nnx", "nny")
NO_MOTORS = ("time", "epoch", "elapsed", "timestamp", "count_time", "exposure", "acq_time", "trig", "index")
"""Parts of names of values that change from frame to frame and move nothing."""
MOST_CANDIDATES = 12
"""Axes that are tried in pairs where no name tells which are the motors."""


@dataclass(frozen=True, eq=False)
class MapAxis:
    """A direction of the map.

    Attributes
    ----------
    name : str
        Of the motor; "" for a count of frames or lines.
    values : ndarray of float64
        Position of each point.
    units : str
    """

    name: str
    values: Floats
    units: str = ""

    @property
    def label(self) -> str:
        """Name for people."""
        return self.name or "point"


@dataclass(frozen=True, eq=False)
class MapLayout:
    """The grid (slow, fast) of a scan.

    Attributes
    ----------
    frames : ndarray of int64, shape (slow, fast)
        Frame taken at each point, -1 where there is none. Where a point was measured twice, the later frame.
    slow, fast : MapAxis
    snake : bool
        Whether every other line ran backwards.
    repeated : int
        Frames that were superseded by a later one at the same point.
    """

    frames: NDArray[np.int64]
    slow: MapAxis
    fast: MapAxis
    snake: bool = False
    repeated: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Points along the slow and the fast direction."""
        slow, fast = self.frames.shape
        return slow, fast

    @property
    def missing(self) -> int:
        """Points without a frame."""
        return int(np.count_nonzero(self.frames == NO_FRAME))

    def describe(self) -> str:
        """Say in words how the scan ran."""
        slow, fast = self.shape
        if slow == 1:
            text = f"a line of {fast} points{_named_in_brackets(self.fast)}"
        else:
            order = "back and forth" if self.snake else "always in the same direction"
            text = (
                f"{slow} lines{_named_in_brackets(self.slow)} of {fast} points{_named_in_brackets(self.fast)}, {order}"
            )
        text += f", {self.missing} points missing" if self.missing else ""
        return text + (f", {self.repeated} points measured twice" if self.repeated else "")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user of the map should know."""
        found = []
        if self.missing:
            found.append(f"{self.missing} of {self.frames.size} points have no frame: they are not a number.")
        if self.repeated:
            found.append(f"{self.repeated} points were measured twice: the later frames are taken.")
        return tuple(found)

    @classmethod
    def from_shape(
        cls,
        n_frames: int,
        shape: tuple[int, int],
        *,
        snake: bool = False,
        slow_range: tuple[float, float] | None = None,
        fast_range: tuple[float, float] | None = None,
    ) -> MapLayout:
        """Lay frames on a grid of known shape, line by line in the order they were taken.

        Parameters
        ----------
        n_frames : int
            Number of frames; fewer than the grid has points if the scan stopped early.
        shape : (int, int)
            Lines, and points of a line.
        snake : bool
            Whether every other line ran backwards.
        slow_range, fast_range : (float, float), optional
            Positions of the first and last line and point; by default they are counted.

        Raises
        ------
        ParameterError
            If there are more frames than points.
        """
        lines, points = shape
        if n_frames > lines * points:
            raise ParameterError(
                f"A map of {lines} x {points} has {lines * points} points, there are {n_frames} frames.",
                "Correct the shape (lines, points of a line), or leave out the frames before and after the map "
                "(--frame-range).",
            )
        frames = np.arange(lines * points).reshape(shape)
        frames[frames >= n_frames] = NO_FRAME
        if snake:
            frames[1::2] = frames[1::2, ::-1]
        slow, fast = (
            MapAxis("", np.arange(count, dtype=np.float64) if limits is None else np.linspace(*limits, count))
            for count, limits in ((lines, slow_range), (points, fast_range))
        )
        return cls(frames, slow, fast, snake)

    def with_motors(self, slow: tuple[str, AxisLike] | None, fast: tuple[str, AxisLike] | None) -> MapLayout:
        """Return the same grid with the mean positions of motors along its directions."""
        return replace(
            self,
            slow=self.slow if slow is None else self._positions(*slow, 1),
            fast=self.fast if fast is None else self._positions(*fast, 0),
        )

    def _positions(self, name: str, axis: AxisLike, over: int) -> MapAxis:
        values = np.asarray(axis.values, np.float64)
        there = self.frames != NO_FRAME
        found = np.where(there, values[np.where(there, self.frames, 0)], 0.0).sum(axis=over)
        count = there.sum(axis=over)
        # Lines that were never reached have no position of their own: they are counted on from the others.
        numbers = np.flatnonzero(count)
        means = found[numbers] / count[numbers]
        places = np.interp(np.arange(len(count)), numbers, means)
        if len(numbers) > 1:
            step = (means[-1] - means[0]) / (numbers[-1] - numbers[0])
            beyond = np.arange(len(count)) > numbers[-1]
            places[beyond] = means[-1] + step * (np.flatnonzero(beyond) - numbers[-1])
        return MapAxis(name, places, axis.units)

    @classmethod
    def from_motors(
        cls, axes: Mapping[str, AxisLike], slow: str | None, fast: str | None, mismatched: Mapping[str, int]
    ) -> MapLayout:
        """Find the grid from values of motors, one for each frame.

        Parameters
        ----------
        axes : mapping of str to axis
            What the scan has for each frame.
        slow, fast : str, optional
            Names of motors; what is not named is told by the values.
        mismatched : mapping of str to int
            Axes with another number of values than there are frames; named in messages.

        Raises
        ------
        DataError
            If there is no such motor, or the motors do not form a grid.
        """
        named = {role: _named(axes, role, name, mismatched) for role, name in (("slow", slow), ("fast", fast)) if name}
        moving = {name: axis for name, axis in axes.items() if _moves(axis)}
        if "slow" in named and "fast" in named:
            layout = _grid(axes, named["slow"], named["fast"])
            if layout is None:
                raise _no_grid(f"{named['slow']} and {named['fast']}")
            return layout
        others = [name for name in _candidates(moving) if name not in named.values()]
        if not named:
            pairs = list(itertools.combinations(others[:MOST_CANDIDATES], 2))
        else:
            pairs = [(next(iter(named.values())), name) for name in others]
        for pair in pairs:
            layout = _grid(axes, *pair, turned="slow" not in named and "fast" not in named)
            if layout is not None:
                return layout._as_named(named)
        if "slow" in named:
            raise _no_grid(f"{named['slow']} and any other axis")
        return _line(moving, named.get("fast"))

    def _as_named(self, named: Mapping[str, str]) -> MapLayout:
        """Return the layout with the directions that the user named."""
        if named.get("slow", self.slow.name) == self.slow.name and named.get("fast", self.fast.name) == self.fast.name:
            return self
        return replace(self, frames=np.ascontiguousarray(self.frames.T), slow=self.fast, fast=self.slow)


def _named_in_brackets(axis: MapAxis) -> str:
    return f" ({axis.name})" if axis.name else ""


def _named(axes: Mapping[str, AxisLike], role: str, name: str, mismatched: Mapping[str, int]) -> str:
    for key, axis in axes.items():
        if name in (key, axis.path):
            return key
    have = ", ".join(axes) or "none"
    others = ", ".join(f"{key} ({count} values)" for key, count in mismatched.items())
    raise DataError(
        f"There is no {role} motor called {name!r} with one value for each frame.",
        f"Axes with one value for each frame: {have}." + (f" Of another length: {others}." if others else ""),
    )


def _moves(axis: AxisLike) -> bool:
    values = np.asarray(axis.values, np.float64)
    return values.size > 1 and bool(np.isfinite(values).all()) and bool(np.any(values != values[0]))


def _candidates(moving: Mapping[str, AxisLike]) -> list[str]:
    """Return axes that come back to their positions, as motors of a grid do; those with names of motors first."""
    found = []
    for name, axis in moving.items():
        if any(part in name.lower() for part in NO_MOTORS):
            continue
        values = np.asarray(axis.values, np.float64)
        if any(1 < len(group.positions) <= len(values) // 2 for group in group_positions(values)):
            found.append(name)
    return sorted(found, key=_rank)


def _rank(name: str) -> int:
    return MOTOR_NAMES.index(name.lower()) if name.lower() in MOTOR_NAMES else len(MOTOR_NAMES)


def _grid(axes: Mapping[str, AxisLike], slow: str, fast: str, turned: bool = False) -> MapLayout | None:
    """Return the grid of two motors, None if they form none; if `turned`, the one that moves more often is the fast."""
    values = [np.asarray(axes[name].values, np.float64) for name in (slow, fast)]
    try:
        found = ScanLayout.find(values[0], values[1])
    except DataError:
        return None
    layout = MapLayout(
        found.frames[0],
        MapAxis(slow, found.angles, axes[slow].units),
        MapAxis(fast, found.translations, axes[fast].units),
        found.snake,
        found.repeated,
    )
    # ScanLayout calls the first motor the rotation.
    if turned and found.fast == "rotation":
        return replace(layout, frames=np.ascontiguousarray(layout.frames.T), slow=layout.fast, fast=layout.slow)
    return layout


def _line(moving: Mapping[str, AxisLike], fast: str | None) -> MapLayout:
    """Return the scan as one line: along the motor that is named or looks like one, or frame by frame."""
    chosen = fast
    if chosen is None:
        known = [name for name in sorted(moving, key=_rank) if name.lower() in MOTOR_NAMES]
        chosen = known[0] if known else None
    if chosen is None:
        raise (
            _no_grid("No two axes of the scan")
            if moving
            else DataError(
                "The scan has no motors, so that the grid of the map is not known.",
                "Give its shape: --shape LINES POINTS, and --snake if every other line ran backwards.",
            )
        )
    values = np.asarray(moving[chosen].values, np.float64) if chosen in moving else np.zeros(1)
    groups = group_positions(values)
    group = max(groups, key=lambda group: group.clearness)
    if len(group.positions) < len(values) / 2:
        raise _no_grid(f"{chosen} comes back to the same positions, and no other axis")
    frames = np.full((1, len(group.positions)), NO_FRAME, np.int64)
    frames[0, group.index] = np.arange(len(values))
    repeated = len(values) - len(group.positions)
    return MapLayout(
        frames, MapAxis("", np.zeros(1)), MapAxis(chosen, group.positions, moving[chosen].units), False, repeated
    )


def _no_grid(names: str) -> DataError:
    return DataError(
        f"{names} do not form a grid.",
        "Name the motors (--slow, --fast), or give the shape of the map: --shape LINES POINTS, and --snake if every "
        "other line ran backwards.",
    )
