"""Panels of one stored array, as formats for single crystals tell them, joined to one detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import GeometryError

from ..detector import Detector
from ..geometry import Geometry
from ..models import GENERIC
from ..pixel_shapes import PixelTable
from .format import Content, Given, detector_from, with_mask
from .placement import Placement

SAME_PLACE = 1e-4
"""Pixels by which panels may be off a common grid and still count as on it."""


@dataclass(frozen=True)
class Panel:
    """A rectangle of the stored array, and where it lies.

    Attributes
    ----------
    name : str
    first_row, first_column, rows, columns : int
        Which pixels of the array it has.
    placement : Placement
        Of these pixels.
    """

    name: str
    first_row: int
    first_column: int
    rows: int
    columns: int
    placement: Placement

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the array."""
        rows = slice(self.first_row, self.first_row + self.rows)
        return rows, slice(self.first_column, self.first_column + self.columns)

    @property
    def grid(self) -> Placement:
        """Where the whole array would be, were it all on the grid of this panel."""
        return self.placement.moved(-self.first_row, -self.first_column)

    def corner_points(self, placement: Placement) -> NDArray[np.float64]:
        """Return where a grid has the corners of this panel, (4, 3) in m."""
        ends = [(row, column) for row in (0, self.rows) for column in (0, self.columns)]
        return np.stack(
            [placement.moved(self.first_row + row, self.first_column + column).origin for row, column in ends]
        )


def joined(
    content: Content,
    panels: Sequence[Panel],
    masked: NDArray[np.bool_] | None,
    wavelength: float | None,
    given: Given,
) -> Geometry:
    """Return the geometry of panels; pixels of no panel are masked.

    Panels on one grid make a regular detector, others one with displaced pixels (kept to 32 bits).

    Raises
    ------
    GeometryError
        If panels overlap, or their pixels are of different size.
    """
    shape = _shape(content, panels, given)
    covered = np.zeros(shape, dtype=np.bool_)
    for panel in panels:
        try:
            panel.placement.axes()
        except GeometryError as error:
            raise GeometryError(f"{content.path}: panel {panel.name}: {error.problem}", error.remedy) from None
        if covered[panel.place].any():
            raise GeometryError(
                f"{content.path}: panel {panel.name} has pixels of another one.", "Correct the ranges of the panels."
            )
        covered[panel.place] = True
    mask = ~covered
    if masked is not None:
        mask[: masked.shape[0], : masked.shape[1]] |= masked
    first = panels[0]
    detector = detector_from(content, given, pixel1=first.placement.pixel1, pixel2=first.placement.pixel2, shape=shape)
    pixel = min(detector.pixel1, detector.pixel2)
    away = max(
        float(np.abs(panel.corner_points(first.grid) - panel.corner_points(panel.grid)).max()) for panel in panels
    )
    if away <= SAME_PLACE * pixel:
        if given.detector is None:
            detector = with_mask(detector, mask)
        return first.grid.to_geometry(detector, wavelength)
    return _displaced(panels, shape, mask, wavelength)


def _shape(content: Content, panels: Sequence[Panel], given: Given) -> tuple[int, int]:
    needed = (
        max(panel.first_row + panel.rows for panel in panels),
        max(panel.first_column + panel.columns for panel in panels),
    )
    if given.detector is None or given.detector.shape is None:
        return needed
    own = given.detector.shape
    if needed[0] > own[0] or needed[1] > own[1]:
        raise GeometryError(
            f"{content.path}: its panels reach to {needed[0]} x {needed[1]} pixels, the detector "
            f"{given.detector.name} has {own[0]} x {own[1]}.",
            "Give the detector that the file is about.",
        )
    return own


def _displaced(
    panels: Sequence[Panel], shape: tuple[int, int], mask: NDArray[np.bool_], wavelength: float | None
) -> Geometry:
    """Return the geometry of an upright detector with each pixel where its panel has it."""
    corners = np.full((*shape, 4, 3), np.nan)
    for panel in panels:
        rows, columns = np.arange(panel.rows + 1.0), np.arange(panel.columns + 1.0)
        own = panel.placement
        grid = own.origin + rows[:, None, None] * own.slow + columns[None, :, None] * own.fast
        order = [grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]]
        if np.cross(own.fast, own.slow)[2] < 0:
            order = [order[0], order[3], order[2], order[1]]  # the same sense round each pixel
        corners[panel.place] = np.stack(order, axis=2)
    distance = float(np.nanmean(corners[..., 2]))
    least_x, least_y = (float(np.nanmin(corners[..., axis])) for axis in (0, 1))
    table = (corners - np.array([least_x, least_y, distance]))[..., ::-1]
    if np.abs(table[..., 0][~mask]).max(initial=0.0) < 1e-9:
        table[..., 0] = 0.0
    first = panels[0].placement
    pixels = PixelTable(table, mask)
    detector = Detector(GENERIC, shape, first.pixel1, first.pixel2, pixels=pixels)
    return Geometry(detector, distance, -least_y, -least_x, wavelength=wavelength)
