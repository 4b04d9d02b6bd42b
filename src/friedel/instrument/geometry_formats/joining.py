"""Panels of one stored array, as formats for single crystals tell them: joined to one detector, and taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import GeometryError

from ..detector import Detector, oriented_modules
from ..geometry import Geometry
from ..model_kinds import Module
from ..pixel_layouts import PlacedModule, PlacedModules
from ..pixel_shapes import FLIPPED_COLUMNS, FLIPPED_ROWS, PixelTable, Positions
from .format import Content, Given, between_gaps, detector_from, require_flat, require_shape, with_mask
from .placement import LARGEST_SKEW, Placement, is_mirrored

SAME_PLACE = 1e-4
"""Pixels by which panels may be off a common grid and still count as on it."""
MODULE_SKEW = 0.1
"""Cosine between rows and columns of a module as refinements leave it; more is a mistake."""
EVEN = 1e-3
"""Pixels by which pixels may be off the grid of their module."""
FLAT = 1e-12
"""Metres, and sines, out of the plane that are rounding."""


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
            panel.placement.axes(MODULE_SKEW)
        except GeometryError as error:
            raise GeometryError(f"{content.path}: panel {panel.name}: {error.problem}", error.remedy) from None
        if covered[panel.place].any():
            raise GeometryError(
                f"{content.path}: panel {panel.name} has pixels of another one.",
                "Correct the ranges; panels that are images of their own have to be converted one by one.",
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
    if away <= SAME_PLACE * pixel and abs(first.placement.skew) <= LARGEST_SKEW:
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
    """Return the geometry with each pixel where its panel has it, in the frame of the first panel."""
    first = panels[0].placement
    upright = Detector.from_shape(shape, first.pixel1, first.pixel2)
    frame = panels[0].grid.to_geometry(upright, wavelength, skew=MODULE_SKEW)
    native = [_native(panel, shape, frame.detector.orientation) for panel in panels]
    modules = [_module(panel, frame) for panel in native]
    if max(abs(vector[2]) for module in modules for vector in (module.origin, module.slow, module.fast)) < FLAT:
        modules = [_flattened(module) for module in modules]
    placed = PlacedModules(shape, modules)
    own = frame.detector.orientation
    masked = mask[:: -1 if own in FLIPPED_ROWS else 1, :: -1 if own in FLIPPED_COLUMNS else 1]
    outside = placed.mask()
    spans = tuple(Module(module.rows, module.columns) for module in modules)
    if masked.any() and (outside is None or not np.array_equal(outside, masked)):
        p1, p2, p3 = placed.corners(slice(None))
        corners = np.stack([np.zeros_like(p1) if p3 is None else p3, p1, p2], axis=-1)
        table = PixelTable(corners, masked)
        return replace(frame, detector=replace(frame.detector, pixels=table, module_spans=spans))
    return replace(frame, detector=replace(frame.detector, pixels=placed, module_spans=spans))


def _native(panel: Panel, shape: tuple[int, int], orientation: int) -> Panel:
    """Return a panel of the array as it would be in orientation 3."""
    place, row, column = panel.placement, panel.first_row, panel.first_column
    if orientation in FLIPPED_ROWS:
        row = shape[0] - row - panel.rows
        place = Placement(place.origin + panel.rows * place.slow, place.fast, -place.slow)
    if orientation in FLIPPED_COLUMNS:
        column = shape[1] - column - panel.columns
        place = Placement(place.origin + panel.columns * place.fast, -place.fast, place.slow)
    return replace(panel, first_row=row, first_column=column, placement=place)


def _module(panel: Panel, frame: Geometry) -> PlacedModule:
    """Return a panel in the frame of a detector."""
    inverse = frame.rotation().T
    origin, slow, fast = (
        inverse @ vector[[1, 0, 2]] for vector in (panel.placement.origin, panel.placement.slow, panel.placement.fast)
    )
    origin = origin + np.array([frame.poni1, frame.poni2, -frame.distance])
    sizes = [float(np.linalg.norm(vector)) for vector in (slow, fast)]
    row_edges, column_edges = (
        np.stack([np.arange(count, dtype=np.float64), np.arange(1.0, count + 1.0)], axis=-1) * size
        for count, size in zip((panel.rows, panel.columns), sizes, strict=True)
    )
    place = panel.place
    return PlacedModule(
        (place[0].start, place[0].stop),
        (place[1].start, place[1].stop),
        row_edges,
        column_edges,
        _vector(origin),
        _vector(slow / sizes[0]),
        _vector(fast / sizes[1]),
    )


def _vector(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _flattened(module: PlacedModule) -> PlacedModule:
    origin, slow, fast = ((first, second, 0.0) for first, second, _ in (module.origin, module.slow, module.fast))
    return replace(module, origin=origin, slow=slow, fast=fast)


# ---- the other way


def module_panels(geometry: Geometry, title: str) -> tuple[list[Panel], float]:
    """Return each module of a detector, and how far any pixel is from where its module's grid has it, in pixels.

    Raises
    ------
    GeometryError
        If pixels are no quadrilaterals, or do not lie in the planes of their modules.
    """
    shape = require_shape(geometry, title)
    detector = geometry.detector
    if detector.n_corners != 4:
        raise GeometryError(f"The pixels of {detector.name} are no quadrilaterals, which {title} cannot tell.")
    spans = [(slice(*module.rows), slice(*module.columns)) for module in _modules(detector)]
    grid = Placement.from_geometry(geometry)
    if not detector.displaced:
        spans = between_gaps(detector, shape) if len(spans) == 1 else spans
        return [
            _panel(number, place, grid.moved(place[0].start, place[1].start)) for number, place in enumerate(spans)
        ], 0.0
    found = [_panel(number, place, _fitted(geometry, place)) for number, place in enumerate(spans)]
    if len(spans) == 1:
        found = [_panel(0, spans[0], grid)]
    off = max(_off(geometry, panel) for panel in found)
    if off > EVEN and detector.pixels is not None and not detector.pixels.flat:
        require_flat(geometry, title)
    return found, off


def _modules(detector: Detector) -> tuple[Module, ...]:
    pixels = detector.pixels
    if not isinstance(pixels, PlacedModules):
        return detector.modules()
    spans = tuple(Module(module.rows, module.columns) for module in pixels.modules)
    return oriented_modules(spans, pixels, detector.orientation)


def _panel(number: int, place: tuple[slice, slice], placement: Placement) -> Panel:
    rows, columns = place
    return Panel(
        f"p{number}", rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start, placement
    )


def _in_laboratory(geometry: Geometry, points: Positions) -> NDArray[np.float64]:
    """Return (..., x y z) of points of the detector."""
    depth = np.zeros_like(points.p1) if points.p3 is None else points.p3
    way = np.stack([points.p1 - geometry.poni1, points.p2 - geometry.poni2, depth + geometry.distance], axis=-1)
    return np.asarray((way @ geometry.rotation().T)[..., [1, 0, 2]])


def _fitted(geometry: Geometry, place: tuple[slice, slice]) -> Placement:
    """Return the grid through three corners of a module."""
    detector, (rows, columns) = geometry.detector, place
    own = 3 if detector.pixels is None else detector.pixels.orientation
    below, beside = (3, 1) if is_mirrored(detector.orientation, own) else (1, 3)
    top = _in_laboratory(geometry, detector.corner_positions(slice(rows.start, rows.start + 1)))[0]
    bottom = _in_laboratory(geometry, detector.corner_positions(slice(rows.stop - 1, rows.stop)))[0]
    origin = top[columns.start, 0]
    fast = (top[columns.stop - 1, beside] - origin) / (columns.stop - columns.start)
    slow = (bottom[columns.start, below] - origin) / (rows.stop - rows.start)
    return Placement(origin, fast, slow)


def _off(geometry: Geometry, panel: Panel) -> float:
    """Return how far any pixel is from where a panel has it, in pixels."""
    rows, columns = panel.place
    there = _in_laboratory(geometry, geometry.detector.center_positions(rows))[:, columns]
    row, column = np.arange(panel.rows) + 0.5, np.arange(panel.columns) + 0.5
    own = panel.placement
    here = own.origin + row[:, None, None] * own.slow + column[None, :, None] * own.fast
    valid = ~geometry.detector.mask()[panel.place]
    away = np.where(valid, np.linalg.norm(there - here, axis=-1), 0.0)
    return float(away.max() / min(geometry.detector.pixel1, geometry.detector.pixel2))


def displaced_within_modules(geometry: Geometry, title: str) -> list[str]:
    """Return that pixels are displaced within their modules, if they are."""
    if not geometry.detector.displaced:
        return []
    _, off = module_panels(geometry, title)
    return [f"the displacement of pixels in modules, up to {off:.3g} px: even grids are told"] if off > EVEN else []
