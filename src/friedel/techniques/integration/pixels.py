"""Where the pixels of a detector are in the plane of two coordinates, slab by slab of its rows.

The plane is that of a radial coordinate and the azimuth, or of any other two units: q_ip and q_oop, the exit angles,
a formula. Grazing-incidence patterns have a missing wedge, over which q_ip jumps: a pixel that reaches across is cut
there, so that each of its parts stays on its own side (see `wedge`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from friedel.core.units import Unit, unit_named
from friedel.instrument import Geometry
from friedel.instrument.coordinates import SamplePose
from friedel.kernels.splitting import (
    Axis,
    Shares,
    corner_boxes,
    extent,
    half_widths,
    split_boxes,
    split_centers,
    split_polygons,
)

from .wedge import shares_of_parts, torn_pixels, with_parts

Splitting = Literal["none", "bbox", "pseudo", "full"]
Discontinuity = Literal["pi", "0"]
Result = TypeVar("Result")

TURN = 2 * math.pi
SLAB_PIXELS = 1 << 17
"""Pixels worked on at a time by one thread: about 20 MB of temporaries."""

BESIDE_WEDGE = 2.5
"""So many half-widths of a pixel away from the line of the wedge the box about its centre stays clear of it: at a
distance h, q_ip² is h² more than at the line, and 2 h² > (h + 1)² from h = 1/(√2 - 1) = 2.41 on."""


@dataclass(frozen=True)
class Plane:
    """The two coordinates that pixels are binned in.

    Attributes
    ----------
    radial, azimuth : Unit
        An angle all round is worked with in rad, whatever it is shown in.
    pose : SamplePose
        How the sample is held, for units that depend on it.
    discontinuity : {"pi", "0"}
        Where an angle all round jumps.
    """

    radial: Unit
    azimuth: Unit
    pose: SamplePose
    discontinuity: Discontinuity

    @property
    def angular(self) -> bool:
        """Whether the second coordinate is an angle all round."""
        return self.azimuth.period > 0

    @property
    def turn(self) -> float:
        """Length of a full turn of the second coordinate, 0 if it is none."""
        return TURN if self.angular else 0.0

    @property
    def pole(self) -> float:
        """First coordinate of the beam itself, infinite where it has none."""
        return math.inf if self.radial.beam is None else self.radial.beam


@dataclass(frozen=True)
class Slab:
    """Some rows of a detector, seen in a plane of two coordinates.

    Attributes
    ----------
    geometry : Geometry
    plane : Plane
    rows : slice
    mask : ndarray of bool, shape (rows, columns)
        True where a pixel is excluded.
    """

    geometry: Geometry
    plane: Plane
    rows: slice
    mask: NDArray[np.bool_]

    def radial_centers(self) -> NDArray[np.float64]:
        """Return the radial coordinate of the centres, (rows, columns)."""
        return self._centers(self.plane.radial)

    def radial_corners(self) -> NDArray[np.float64]:
        """Return the radial coordinate of the corners, (rows, columns, n)."""
        return self._corners(self.plane.radial)

    def azimuth_centers(self) -> NDArray[np.float64]:
        """Return the second coordinate of the centres, in rad if it is an angle all round, (rows, columns)."""
        return self._centers(_in_rad(self.plane.azimuth))

    def azimuth_corners(self) -> NDArray[np.float64]:
        """Return the second coordinate of the corners, (rows, columns, n)."""
        return self._corners(_in_rad(self.plane.azimuth))

    def _centers(self, unit: Unit) -> NDArray[np.float64]:
        pose, discontinuity = self.plane.pose, self.plane.discontinuity
        return self.geometry.center_array(unit, self.rows, pose=pose, discontinuity=discontinuity)

    def _corners(self, unit: Unit) -> NDArray[np.float64]:
        def corners(side: int) -> NDArray[np.float64]:
            pose, discontinuity = self.plane.pose, self.plane.discontinuity
            return self.geometry.corner_array(unit, self.rows, pose=pose, discontinuity=discontinuity, side=side)

        if not unit.sided:
            return corners(0)
        # All corners as seen from the centre's side of the missing wedge.
        right = self.geometry.across_centers(self.plane.pose, self.rows) >= 0
        return np.where(right[..., None], corners(1), corners(-1))

    def radial_extent(self, splitting: Splitting) -> tuple[float, float]:
        """Return the lowest and highest radial coordinate that unmasked pixels reach."""
        if splitting in ("pseudo", "full"):
            return extent(self.radial_corners(), self.mask)
        if splitting == "none":
            return extent(self.radial_centers(), self.mask)
        middle, half = self._box(self.plane.radial)
        return extent(middle - half, self.mask)[0], extent(middle + half, self.mask)[1]

    def azimuth_extent(self, splitting: Splitting) -> tuple[float, float]:
        """Return the lowest and highest second coordinate that unmasked pixels reach."""
        if splitting == "none":
            return extent(self.azimuth_centers(), self.mask)
        if splitting == "bbox":
            middle, half = self._box(_in_rad(self.plane.azimuth), self.plane.turn)
            return extent(middle - half, self.mask)[0], extent(middle + half, self.mask)[1]
        corners = self.azimuth_corners()
        across = half_widths(self.azimuth_centers(), corners) > math.pi
        # A pixel across the cut of an angle reaches both ends of the circle.
        if self.plane.angular and (across & ~self.mask).any():
            return -TURN, 2 * TURN
        return extent(corners, self.mask)

    def _box(self, unit: Unit, turn: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the middle of each pixel's box along one coordinate, and half its width.

        The middle is the centre of the pixel. Beside the missing wedge it is that of the corners, or the box would
        reach into the wedge as far as the pixel reaches away from it.
        """
        centers, corners = self._centers(unit), self._corners(unit)
        half = half_widths(centers, corners, turn)
        if not unit.sided:
            return centers, half
        across = self.geometry.across_centers(self.plane.pose, self.rows)
        width = half_widths(across, self.geometry.across_corners(self.plane.pose, self.rows))
        beside = np.abs(across) < BESIDE_WEDGE * width
        middle, corner_half = corner_boxes(corners)
        return np.where(beside, middle, centers), np.where(beside, corner_half, half)

    def shares(self, splitting: Splitting, radial: Axis, azimuth: Axis | None) -> Shares:
        """Return which share of each pixel belongs to which bin."""
        if splitting == "full":
            return self._polygon_shares(radial, azimuth)
        if splitting == "pseudo":
            return self._corner_box_shares(radial, azimuth)
        if splitting == "none":
            angles = self.azimuth_centers() if azimuth else None
            return split_centers(self.radial_centers(), radial, angles, azimuth, self.mask)
        middle, half = self._box(self.plane.radial)
        if azimuth is None:
            return split_boxes(middle, half, radial, mask=self.mask, pole=self.plane.pole)
        other = self._box(_in_rad(self.plane.azimuth), self.plane.turn)
        return split_boxes(middle, half, radial, *other, azimuth, self.mask, pole=self.plane.pole)

    def _corner_box_shares(self, radial: Axis, azimuth: Axis | None) -> Shares:
        middle, half = corner_boxes(self.radial_corners())
        if azimuth is None:
            return split_boxes(middle, half, radial, mask=self.mask, pole=self.plane.pole)
        angles, half_angles = corner_boxes(self.azimuth_corners(), self.plane.turn)
        if self.plane.angular and math.isfinite(self.plane.pole):
            # The pixel that contains the beam reaches down to it.
            low = np.where(half_angles >= 0.5 * TURN, self.plane.pole, middle - half)
            middle, half = 0.5 * (middle + half + low), 0.5 * (middle + half - low)
        return split_boxes(middle, half, radial, angles, half_angles, azimuth, self.mask, pole=self.plane.pole)

    def _polygon_shares(self, radial: Axis, azimuth: Axis | None) -> Shares:
        corners, mask = self.radial_corners(), self.mask
        sided = self.plane.radial.sided or (azimuth is not None and self.plane.azimuth.sided)
        torn = torn_pixels(self.geometry, self.plane.pose, self.rows, mask) if sided else None
        if torn is not None:
            mask = mask | torn
        if azimuth is not None:
            shares = split_polygons(corners, self.azimuth_corners(), radial, azimuth, mask, pole=self.plane.pole)
        elif self.plane.radial.beam is not None:
            azimuths = self._corners(_in_rad(CHI))
            shares = split_polygons(corners, azimuths, radial, None, mask, pole=self.plane.pole)
        else:
            shares = split_polygons(corners, along_contours(corners), radial, None, mask, turn=0.0)
        if torn is None or not torn.any():
            return shares
        units = self.plane.radial, _in_rad(self.plane.azimuth)
        parts = shares_of_parts(
            self.geometry, self.plane.pose, units, self.rows, torn, radial, azimuth, self.plane.pole
        )
        return with_parts(shares, parts)


CHI = unit_named("chi_rad")


def along_contours(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a coordinate of the corners of a pixel that changes along the contours of another one.

    With it as the second coordinate a polygon has the area of the pixel itself. The corners of a pixel are taken to be
    those of a regular polygon, which stretching and turning make of it what it is: of its two coordinates the one is
    taken along which the other coordinate, `corners`, changes less.

    Parameters
    ----------
    corners : ndarray of float64, shape (..., n)
    """
    angles = 2 * math.pi * (np.arange(corners.shape[-1]) + 0.5) / corners.shape[-1]
    one, other = -np.cos(angles), -np.sin(angles)
    if corners.shape[-1] == 4:  # whole numbers, so that squares on the grid are squares here
        one, other = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0, 1.0])
    first, second = (np.abs((corners * (axis - axis.mean())).sum(axis=-1)) for axis in (one, other))
    return np.asarray(np.where((first >= second)[..., None], other, one))


def _in_rad(unit: Unit) -> Unit:
    return replace(unit, scale=1.0) if unit.period else unit


def cut_slabs(geometry: Geometry, plane: Plane, mask: NDArray[np.bool_]) -> Iterator[Slab]:
    """Cut a detector into slabs of rows."""
    n_rows, n_columns = mask.shape
    step = max(SLAB_PIXELS // n_columns, 1)
    for start in range(0, n_rows, step):
        rows = slice(start, min(start + step, n_rows))
        yield Slab(geometry, plane, rows, mask[rows])


def each_slab(slabs: Iterator[Slab], function: Callable[[Slab], Result], threads: int) -> list[Result]:
    """Return what `function` makes of each slab, in order; several slabs are worked on at a time."""
    if threads <= 1:
        return [function(slab) for slab in slabs]
    with ThreadPoolExecutor(threads, "slab") as workers:
        return list(workers.map(function, slabs))
