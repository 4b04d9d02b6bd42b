"""The grid of bins: given by the user, or just large enough for the pixels that take part."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable

from friedel.core.errors import DataError, ParameterError
from friedel.core.units import Unit
from friedel.device.memory import memory_limit
from friedel.kernels.splitting import Axis

from .pixels import TURN, Discontinuity

WIDENING = 1.0 + 2.0**-23
"""The upper end of a grid is moved up by this factor, so that the largest value falls inside the last bin."""

MOST_BINS = 2**31 - 1
"""Bins have numbers of 32 bits."""

LEAST_BYTES_PER_BIN = 8 * 32
"""What the sums over all pixels, and over those of one frame, take while they are made."""

Extents = Callable[[], Iterable[tuple[float, float]]]


def radial_grid(
    npt: int,
    limits: tuple[float, float] | None,
    extents: Extents,
    *,
    negative_allowed: bool = False,
    name: str = "radial_range",
) -> Axis:
    """Return the bins of a coordinate that is not periodic.

    Parameters
    ----------
    npt : int
        Number of bins.
    limits : (float, float), optional
        Lower and upper end as the user gives them, in the unit.
    extents : callable
        Gives the extents of the pixels slab by slab, for use without `limits`.
    negative_allowed : bool
        Whether coordinates below zero mean something in this unit.
    name : str
        What the user calls the limits.

    Raises
    ------
    ParameterError
        If `npt` or `limits` cannot be used.
    DataError
        If there is no pixel to take the range from.
    """
    check_bins(npt)
    if limits is not None:
        low, high = limits
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ParameterError(f"{name} is {low} to {high}.", "Give two numbers, the smaller one first.")
        return Axis(low, _widened(high), npt)
    low, high = _joined(extents())
    if not negative_allowed:
        low = max(low, 0.0)
    return Axis(low, _widened(high), npt)


def azimuth_grid(
    npt_azimuth: int,
    limits: tuple[float, float] | None,
    extents: Extents,
    unit: Unit,
    discontinuity: Discontinuity,
) -> Axis:
    """Return the bins of the second axis: those of an angle all round in rad, others in their unit.

    Parameters
    ----------
    npt_azimuth : int
        Number of bins.
    limits : (float, float), optional
        Lower and upper end in `unit`. Where the upper end of an angle is not larger, a full turn is added to it:
        (170, -170) is the sector of 20 degrees across the cut.
    extents : callable
        Gives the extents of the pixels slab by slab, angles in rad, for use without `limits`.
    unit : Unit
    discontinuity : {"pi", "0"}
        Where the azimuth jumps, which bounds a range that is not given.

    Raises
    ------
    ParameterError
        If `npt_azimuth` or `limits` cannot be used.
    DataError
        If there is no pixel to take the range from.
    """
    check_bins(1, npt_azimuth)
    if not unit.period:
        return radial_grid(npt_azimuth, limits, extents, negative_allowed=unit.signed, name="azimuth_range")
    if limits is not None:
        return _sector(npt_azimuth, limits, unit)
    low, high = _joined(extents())
    lowest, highest = (-math.pi, math.pi) if discontinuity == "pi" else (0.0, TURN)
    return Axis(max(low, lowest), _widened(min(high, highest)), npt_azimuth, TURN)


def _sector(npt_azimuth: int, limits: tuple[float, float], unit: Unit) -> Axis:
    low, high = limits
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ParameterError(f"azimuth_range is {low} to {high}.", f"Give two angles in {unit.units}.")
    if high == low:
        raise ParameterError(
            f"azimuth_range is {low} to {high} {unit.units}: it has no width.", "Leave it out for the whole circle."
        )
    if high < low:
        high += unit.period
    if not 0.0 < high - low <= unit.period * (1.0 + 1e-11):
        raise ParameterError(
            f"azimuth_range is {limits[0]} to {limits[1]} {unit.units}.", "Give a range of one full turn at most."
        )
    # Far away ends are brought to within a turn of zero, where the angles of pixels are.
    turns = unit.period * math.trunc(low / unit.period)
    low, high = low - turns, high - turns
    low, high = (math.radians(end) if unit.units == "deg" else end for end in (low, high))
    return Axis(low, _widened(high), npt_azimuth, TURN)


def _widened(high: float) -> float:
    return high * WIDENING if high > 0 else high / WIDENING


def _joined(extents: Iterable[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip(*extents, strict=True)
    low, high = min(lows), max(highs)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError("No pixel is left to integrate: all are masked.", "Check the mask: True means excluded.")
    return low, high


def check_bins(npt: int, npt_azimuth: int | None = None) -> None:
    """Check that these are numbers of bins, and that a grid of so many can be worked with.

    Raises
    ------
    ParameterError
        If they are not, or there are more bins than can be numbered or kept in memory.
    """
    for name, value in (("npt", npt), ("npt_azimuth", 1 if npt_azimuth is None else npt_azimuth)):
        if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < 1:
            raise ParameterError(f"{name} is {value!r}.", "Give a whole number of bins, 1 or more.")
    n_bins = operator.index(npt) * (1 if npt_azimuth is None else operator.index(npt_azimuth))
    shown = f"npt is {npt}" if npt_azimuth is None else f"npt x npt_azimuth is {npt} x {npt_azimuth}"
    if n_bins > MOST_BINS:
        raise ParameterError(f"{shown}: there can be {MOST_BINS} bins at most.", "Give fewer bins.")
    memory = memory_limit()
    if n_bins * LEAST_BYTES_PER_BIN > memory:
        raise ParameterError(
            f"{shown}: that takes {n_bins * LEAST_BYTES_PER_BIN / 1e9:.0f} GB for one frame, and this computer has "
            f"{memory / 1e9:.0f} GB of memory.",
            "Give fewer bins.",
        )
