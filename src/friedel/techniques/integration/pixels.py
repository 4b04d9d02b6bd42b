"""Where the pixels of a detector are in the plane of radial coordinate and azimuth, slab by slab of its rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from friedel.instrument import Geometry
from friedel.instrument.radial import radial_scale
from friedel.kernels.splitting import Axis, Shares, extent, half_widths, split_boxes, split_centers, split_polygons

Splitting = Literal["none", "bbox", "full"]
Discontinuity = Literal["pi", "0"]
Result = TypeVar("Result")

TURN = 2 * math.pi
SLAB_PIXELS = 1 << 17
"""Pixels worked on at a time by one thread: about 20 MB of temporaries."""


@dataclass(frozen=True)
class Slab:
    """Some rows of a detector, seen in one radial unit.

    Attributes
    ----------
    geometry : Geometry
    unit : str
        Radial unit.
    rows : slice
    mask : ndarray of bool, shape (rows, columns)
        True where a pixel is excluded.
    discontinuity : {"pi", "0"}
        Where the azimuth jumps.
    """

    geometry: Geometry
    unit: str
    rows: slice
    mask: NDArray[np.bool_]
    discontinuity: Discontinuity = "pi"

    @property
    def pole(self) -> float:
        """Radial coordinate of the beam itself."""
        return math.inf if radial_scale(self.unit).quantity == "d" else 0.0

    def radial_centers(self) -> NDArray[np.float64]:
        """Return the radial coordinate of the centres, (rows, columns)."""
        return self.geometry.center_array(self.unit, self.rows)

    def radial_corners(self) -> NDArray[np.float64]:
        """Return the radial coordinate of the corners, (rows, columns, 4)."""
        return self.geometry.corner_array(self.unit, self.rows)

    def azimuth_centers(self) -> NDArray[np.float64]:
        """Return the azimuth of the centres in rad, (rows, columns)."""
        return self.geometry.azimuth_center(self.rows, self.discontinuity)

    def azimuth_corners(self) -> NDArray[np.float64]:
        """Return the azimuth of the corners in rad, (rows, columns, 4)."""
        return self.geometry.azimuth_corners(self.rows, self.discontinuity)

    def radial_extent(self, splitting: Splitting) -> tuple[float, float]:
        """Return the lowest and highest radial coordinate that unmasked pixels reach."""
        if splitting == "full":
            return extent(self.radial_corners(), self.mask)
        centers = self.radial_centers()
        if splitting == "none":
            return extent(centers, self.mask)
        half = half_widths(centers, self.radial_corners())
        return extent(centers - half, self.mask)[0], extent(centers + half, self.mask)[1]

    def azimuth_extent(self, splitting: Splitting) -> tuple[float, float]:
        """Return the lowest and highest azimuth in rad that unmasked pixels reach."""
        centers = self.azimuth_centers()
        if splitting == "none":
            return extent(centers, self.mask)
        if splitting == "full":
            corners = self.azimuth_corners()
            across = half_widths(centers, corners) > math.pi
            # A pixel across the cut reaches both ends of the circle.
            return (-TURN, 2 * TURN) if (across & ~self.mask).any() else extent(corners, self.mask)
        half = half_widths(centers, self.azimuth_corners(), TURN)
        return extent(centers - half, self.mask)[0], extent(centers + half, self.mask)[1]

    def shares(self, splitting: Splitting, radial: Axis, azimuth: Axis | None) -> Shares:
        """Return which share of each pixel belongs to which bin."""
        if splitting == "full":
            corners = self.radial_corners(), self.azimuth_corners()
            return split_polygons(*corners, radial, azimuth, self.mask, pole=self.pole)
        centers = self.radial_centers()
        angles = self.azimuth_centers() if azimuth else None
        if splitting == "none":
            return split_centers(centers, radial, angles, azimuth, self.mask)
        half = half_widths(centers, self.radial_corners())
        half_angles = half_widths(angles, self.azimuth_corners(), TURN) if angles is not None else None
        return split_boxes(centers, half, radial, angles, half_angles, azimuth, self.mask, pole=self.pole)


def cut_slabs(
    geometry: Geometry, unit: str, mask: NDArray[np.bool_], discontinuity: Discontinuity = "pi"
) -> Iterator[Slab]:
    """Cut a detector into slabs of rows."""
    n_rows, n_columns = mask.shape
    step = max(SLAB_PIXELS // n_columns, 1)
    for start in range(0, n_rows, step):
        rows = slice(start, min(start + step, n_rows))
        yield Slab(geometry, unit, rows, mask[rows], discontinuity)


def each_slab(slabs: Iterator[Slab], function: Callable[[Slab], Result], threads: int) -> list[Result]:
    """Return what `function` makes of each slab, in order; several slabs are worked on at a time."""
    if threads <= 1:
        return [function(slab) for slab in slabs]
    with ThreadPoolExecutor(threads, "slab") as workers:
        return list(workers.map(function, slabs))
