"""The sparse map pixel -> bins: which share of each pixel belongs to which bin of a grid.

A pixel is a point ("none"), an upright box around its centre ("bbox"), the smallest upright box that holds its corners
("pseudo"), or the polygon of its corners ("full"), in a
plane of two coordinates: a radial one and an azimuth, or any other two. Its share in a bin is the fraction of its area
that lies in the bin, so that the shares of a pixel inside the grid sum to one. At the edges of the grid only the true
overlap counts. Where the azimuth is an angle (`Axis.turn` > 0) a pixel that crosses the cut of the angle is one pixel,
and its part beyond one end of a full circle goes to the other end.

Each function returns the shares of the pixels given; a frame is worked through slab by slab of its rows and
`join_shares` puts the slabs together. The functions named ``..._reference`` say the same pixel by pixel in Python:
they are the specification, and what the compiled twins are tested against.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from friedel import _native

if TYPE_CHECKING:
    from .scatter import PixelMap

SMALLEST_SHARE = 2.0**-24
"""Shares up to this one are dropped: half a unit in the last place of a float32 share of 1."""

THINNEST = 1e-12
"""A polygon with less area than this times that of its bounding box counts as a point."""

AT_POLE = 1e-9
"""A corner nearer to the pole than this times its farthest sibling has no azimuth of its own; an edge whose azimuth
changes by half a turn, to within this fraction of a turn, passes through the pole."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Axis:
    """Equal bins from `low` to `high`.

    Attributes
    ----------
    low, high : float
        Ends of the grid; a coordinate c is in bin ``floor((c - low) / step)``.
    n_bins : int
    turn : float
        Length of one full turn in the unit of the axis where it is an angle, else 0.
    """

    low: float
    high: float
    n_bins: int
    turn: float = 0.0

    @property
    def step(self) -> float:
        """Width of a bin."""
        return (self.high - self.low) / self.n_bins

    @property
    def centers(self) -> Floats:
        """Centres of the bins, shape (n_bins,)."""
        numbers: Floats = np.arange(self.n_bins, dtype=np.float64)
        return self.low + (numbers + 0.5) * self.step

    @property
    def turn_bins(self) -> float:
        """Length of one full turn in bins, 0 where the axis is no angle."""
        return self.turn / self.step

    @property
    def top(self) -> float:
        """Upper end in bins: of an axis that is longer than a full turn only one turn is used."""
        return min(float(self.n_bins), self.turn_bins) if self.turn else float(self.n_bins)

    def scaled(self, value: float) -> float:
        """Return `value` in bins from `low`."""
        return (value - self.low) / self.step

    def row_edges(self, row: int) -> tuple[float, float]:
        """Return the ends of bin `row` in bins."""
        return float(row), self.top if row == self.n_bins - 1 else float(row + 1)

    def native(self) -> tuple[float, float, int, float]:
        """Return what the compiled functions take."""
        return self.low, self.step, self.n_bins, self.turn_bins


class Shares(NamedTuple):
    """Shares of a run of pixels, pixel after pixel.

    Attributes
    ----------
    counts : ndarray of int32, shape (n_pixels,)
        Number of bins that each pixel contributes to.
    bins : ndarray of int32, shape (sum of counts,)
        ``azimuth_bin * n_radial + radial_bin``, ascending within a pixel.
    weights : ndarray of float32, shape (sum of counts,)
        Fraction of the pixel's area inside the bin.
    """

    counts: NDArray[np.int32]
    bins: NDArray[np.int32]
    weights: NDArray[np.float32]


def _flat(values: Floats, *tail: int) -> Floats:
    return np.ascontiguousarray(values, np.float64).reshape(-1, *tail)


def _flags(mask: Flags | None, n_pixels: int) -> Flags:
    if mask is None:
        return np.zeros(n_pixels, bool)
    return np.ascontiguousarray(mask, bool).reshape(n_pixels)


def split_centers(
    radial: Floats,
    radial_axis: Axis,
    azimuth: Floats | None = None,
    azimuth_axis: Axis | None = None,
    mask: Flags | None = None,
) -> Shares:
    """Give each pixel whole to the bin of its centre (splitting "none").

    Parameters
    ----------
    radial : ndarray of float64
        Radial coordinate of the pixel centres, any shape.
    radial_axis : Axis
    azimuth : ndarray of float64, optional
        Azimuth of the pixel centres; needed with `azimuth_axis`.
    azimuth_axis : Axis, optional
        Makes the grid two-dimensional. Its range selects pixels: with one bin it is a sector.
    mask : ndarray of bool, optional
        True where a pixel is excluded.

    Returns
    -------
    Shares
    """
    flat = _flat(radial)
    angles = _flat(azimuth) if azimuth is not None else flat[:0]
    return Shares(
        *_native.split_centers(
            flat, angles, _flags(mask, flat.size), radial_axis.native(), azimuth_axis.native() if azimuth_axis else ()
        )
    )


def split_boxes(
    radial: Floats,
    radial_half_width: Floats,
    radial_axis: Axis,
    azimuth: Floats | None = None,
    azimuth_half_width: Floats | None = None,
    azimuth_axis: Axis | None = None,
    mask: Flags | None = None,
    *,
    pole: float = 0.0,
) -> Shares:
    """Spread each pixel evenly over the box around its centre (splitting "bbox").

    Parameters
    ----------
    radial, radial_half_width : ndarray of float64
        Radial coordinate of the centres and half the width of the boxes (see `half_widths`).
    radial_axis : Axis
    azimuth, azimuth_half_width : ndarray of float64, optional
        The same for the azimuth.
    azimuth_axis : Axis, optional
        Makes the grid two-dimensional.
    mask : ndarray of bool, optional
        True where a pixel is excluded.
    pole : float
        Radial coordinate of the beam, below which there is nothing: what of a box lies below counts at the beam. Not
        finite where the beam has no radial coordinate.

    Returns
    -------
    Shares
    """
    flat = _flat(radial)
    empty = flat[:0]
    return Shares(
        *_native.split_boxes(
            flat,
            _flat(radial_half_width),
            _flat(azimuth) if azimuth is not None else empty,
            _flat(azimuth_half_width) if azimuth_half_width is not None else empty,
            _flags(mask, flat.size),
            radial_axis.native(),
            azimuth_axis.native() if azimuth_axis else (),
            pole,
        )
    )


def split_polygons(
    radial_corners: Floats,
    azimuth_corners: Floats,
    radial_axis: Axis,
    azimuth_axis: Axis | None = None,
    mask: Flags | None = None,
    *,
    turn: float = 2 * math.pi,
    pole: float = 0.0,
) -> Shares:
    """Spread each pixel evenly over the polygon of its corners in the plane of the two coordinates (splitting "full").

    The polygon has straight edges between neighbouring corners; the azimuth of a corner is taken within half a turn
    of that of its neighbour. The pixel that contains the beam covers everything between its outline and the pole.

    Parameters
    ----------
    radial_corners, azimuth_corners : ndarray of float64, shape (..., corners)
        Coordinates of the corners, in order round the pixel: 4, or as many as it has (3 to 12).
    radial_axis : Axis
    azimuth_axis : Axis, optional
        Makes the grid two-dimensional.
    mask : ndarray of bool, optional
        True where a pixel is excluded.
    turn : float
        A full turn in the unit of the azimuth, where `azimuth_axis` does not say it; 0 where it is no angle.
    pole : float
        Radial coordinate of the beam, of an azimuth about it. Where it is not finite the pixel that contains the beam
        has no shares.

    Returns
    -------
    Shares
    """
    corners = _flat(radial_corners, radial_corners.shape[-1])
    angles = azimuth_axis or Axis(0.0, turn or 1.0, 1, turn)
    return Shares(
        *_native.split_polygons(
            corners,
            _flat(azimuth_corners, azimuth_corners.shape[-1]),
            _flags(mask, len(corners)),
            radial_axis.native(),
            angles.native(),
            azimuth_axis is not None,
            pole,
        )
    )


def half_widths(centers: Floats, corners: Floats, turn: float = 0.0) -> Floats:
    """Return the largest distance of a corner from the centre of its pixel.

    Parameters
    ----------
    centers : ndarray of float64, shape (...)
    corners : ndarray of float64, shape (..., corners)
    turn : float
        Length of a full turn where the coordinate is an angle: distances are taken the short way round.
    """
    result = np.empty(centers.shape)
    _native.half_widths(_flat(centers), _flat(corners, corners.shape[-1]), turn, result.reshape(-1))
    return result


def half_widths_reference(centers: Floats, corners: Floats, turn: float = 0.0) -> Floats:
    """Do what `half_widths` does."""
    distance = np.abs(corners - centers[..., None])
    if turn:
        np.minimum(distance, np.abs(turn - distance), out=distance)
    result: Floats = distance.max(axis=-1)
    return result


def corner_boxes(corners: Floats, turn: float = 0.0) -> tuple[Floats, Floats]:
    """Return the middle and half the width of the smallest interval that holds all corners of a pixel.

    Parameters
    ----------
    corners : ndarray of float64, shape (..., corners)
        In order round the pixel.
    turn : float
        Length of a full turn where the coordinate is an angle: it runs on past the cut, and all round in the pixel
        that contains the beam.

    Returns
    -------
    middle, half_width : ndarray of float64, shape (...)
    """
    if not turn:
        low, high = corners.min(axis=-1), corners.max(axis=-1)
        return 0.5 * (low + high), 0.5 * (high - low)
    steps = np.diff(corners, axis=-1, append=corners[..., :1])
    steps -= turn * np.round(steps / turn)
    running = corners[..., :1] + np.cumsum(steps, axis=-1)  # corners 1, 2, ... and 0 again, after going all round
    low, high = running.min(axis=-1), running.max(axis=-1)
    around = np.abs(running[..., -1] - corners[..., 0]) > 0.5 * turn
    return 0.5 * (low + high), np.where(around, 0.5 * turn, 0.5 * (high - low))


def extent(values: Floats, mask: Flags) -> tuple[float, float]:
    """Return the smallest and the largest finite value of pixels that are not masked; (inf, -inf) without any.

    Parameters
    ----------
    values : ndarray of float64, shape (*pixels) or (*pixels, k)
    mask : ndarray of bool, shape (*pixels)
    """
    low, high = _native.extent(_flat(values), _flags(mask, mask.size))
    return float(low), float(high)


def extent_reference(values: Floats, mask: Flags) -> tuple[float, float]:
    """Do what `extent` does."""
    kept = values[~mask]
    kept = kept[np.isfinite(kept)]
    return float(kept.min(initial=math.inf)), float(kept.max(initial=-math.inf))


def join_shares(parts: Sequence[Shares], n_bins: int) -> PixelMap:
    """Put the shares of consecutive runs of pixels together to the map of a frame."""
    from .scatter import PixelMap

    counts = np.concatenate([part.counts for part in parts])
    pointers = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=pointers[1:])
    bins = np.concatenate([part.bins for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    return PixelMap(n_bins=n_bins, pointers=pointers, bins=bins, weights=weights)


# ---------------------------------------------------------------------------------------------------------------------
# The specification, pixel by pixel.

Vertex = tuple[float, float]
Share = tuple[int, float]


def split_centers_reference(
    radial: Floats,
    radial_axis: Axis,
    azimuth: Floats | None = None,
    azimuth_axis: Axis | None = None,
    mask: Flags | None = None,
) -> Shares:
    """Do what `split_centers` does."""
    angles = [0.0] * radial.size if azimuth is None else azimuth.ravel().tolist()
    coordinates = zip(radial.ravel().tolist(), angles, strict=True)
    return _collect(
        (_point_shares(r, chi, radial_axis, azimuth_axis) for r, chi in coordinates), _flags(mask, radial.size)
    )


def split_boxes_reference(
    radial: Floats,
    radial_half_width: Floats,
    radial_axis: Axis,
    azimuth: Floats | None = None,
    azimuth_half_width: Floats | None = None,
    azimuth_axis: Axis | None = None,
    mask: Flags | None = None,
    *,
    pole: float = 0.0,
) -> Shares:
    """Do what `split_boxes` does: the share of a box is the product of the shares of its two sides."""
    angles = np.zeros(radial.shape) if azimuth is None else azimuth
    half_angles = np.zeros(radial.shape) if azimuth_half_width is None else azimuth_half_width

    def box(r: float, half: float, chi: float, half_chi: float) -> list[Share]:
        if not (math.isfinite(r) and math.isfinite(half)):
            return []
        if half == 0 or (azimuth_axis is not None and half_chi == 0):
            return _point_shares(r, chi, radial_axis, azimuth_axis)
        columns = _radial_shares(r - half, r + half, radial_axis, pole)
        rows = _azimuth_shares(chi - half_chi, chi + half_chi, azimuth_axis) if azimuth_axis else {0: 1.0}
        cells = {
            row * radial_axis.n_bins + column: part * other
            for row, part in rows.items()
            for column, other in columns.items()
        }
        return sorted((number, share) for number, share in cells.items() if share > SMALLEST_SHARE)

    arrays = (radial, radial_half_width, angles, half_angles)
    pixels = zip(*(array.ravel().tolist() for array in arrays), strict=True)
    return _collect((box(*pixel) for pixel in pixels), _flags(mask, radial.size))


def _radial_shares(low: float, high: float, axis: Axis, pole: float) -> dict[int, float]:
    """Return the part of the interval in each bin; what lies below the pole counts at the pole."""
    x0, x1 = axis.scaled(low), axis.scaled(high)
    beam = axis.scaled(pole) if math.isfinite(pole) else -math.inf
    found = {}
    for column in range(max(0, math.floor(max(x0, beam))), min(axis.n_bins - 1, math.floor(x1)) + 1):
        width = _overlap(max(x0, beam), x1, column, column + 1)
        if x0 < beam and column <= beam < column + 1:
            width += beam - x0
        found[column] = width / (x1 - x0)
    return found


def _azimuth_shares(low: float, high: float, axis: Axis) -> dict[int, float]:
    """Return the part of the interval in each bin, by whole turns in reach."""
    y0, y1 = axis.scaled(low), axis.scaled(high)
    y1 = min(y1, y0 + axis.turn_bins) if axis.turn else y1
    found: dict[int, float] = {}
    for shift, row, bottom, top in _rows(y0, y1, axis):
        found[row] = found.get(row, 0.0) + _overlap(y0 + shift, y1 + shift, bottom, top) / (y1 - y0)
    return found


def _overlap(a0: float, a1: float, b0: float, b1: float) -> float:
    return max(0.0, min(a1, b1) - max(a0, b0))


def split_polygons_reference(
    radial_corners: Floats,
    azimuth_corners: Floats,
    radial_axis: Axis,
    azimuth_axis: Axis | None = None,
    mask: Flags | None = None,
    *,
    turn: float = 2 * math.pi,
    pole: float = 0.0,
) -> Shares:
    """Do what `split_polygons` does, by clipping the polygon to each bin."""
    full_turn = azimuth_axis.turn if azimuth_axis else turn
    count = radial_corners.shape[-1]
    pixels = zip(radial_corners.reshape(-1, count).tolist(), azimuth_corners.reshape(-1, count).tolist(), strict=True)
    return _collect(
        (
            _polygon_shares(_outline(list(zip(r, chi, strict=True)), full_turn, pole), radial_axis, azimuth_axis)
            for r, chi in pixels
        ),
        _flags(mask, radial_corners.size // count),
    )


def _collect(pixels: Iterator[list[Share]], mask: Flags) -> Shares:
    kept = [[] if excluded else shares for shares, excluded in zip(pixels, mask.tolist(), strict=True)]
    flat = [share for shares in kept for share in shares]
    return Shares(
        np.array([len(shares) for shares in kept], np.int32),
        np.array([number for number, _ in flat], np.int32),
        np.array([weight for _, weight in flat], np.float32),
    )


def _point_shares(r: float, chi: float, radial_axis: Axis, azimuth_axis: Axis | None) -> list[Share]:
    x = radial_axis.scaled(r)
    if not 0 <= x < radial_axis.n_bins:
        return []
    if azimuth_axis is None:
        return [(math.floor(x), 1.0)]
    turn = azimuth_axis.turn_bins
    for y in (azimuth_axis.scaled(chi) + number * turn for number in (0, 1, -1, 2, -2)):
        if 0 <= y < azimuth_axis.n_bins:
            return [(math.floor(y) * radial_axis.n_bins + math.floor(x), 1.0)]
    return []


def _outline(corners: list[Vertex], turn: float, pole: float) -> list[Vertex]:
    """Return the corners with azimuths that run on past the cut, and the points needed to enclose the pole."""
    if not all(math.isfinite(value) for corner in corners for value in corner):
        return []
    if not turn:
        return corners
    opening = _opening(corners, turn, pole) if math.isfinite(pole) else None
    if opening is not None:
        first, count = opening
        others = _run_on((corners[first:] + corners[:first])[:count], turn)
        return [*others, (pole, others[-1][1]), (pole, others[0][1])]
    outline = _run_on(corners, turn)
    (r0, chi0), (_, last) = outline[0], outline[-1]
    closing = last + _short_way(chi0 - last, turn)
    if abs(closing - chi0) < turn / 2:
        return outline
    if not math.isfinite(pole):
        return []
    return [*outline, (r0, closing), (pole, closing), (pole, chi0)]


def _opening(corners: list[Vertex], turn: float, pole: float) -> tuple[int, int] | None:
    """Return (first corner, number of corners) of an outline that meets the beam, where its azimuth jumps."""
    nearest = AT_POLE * max(abs(r - pole) for r, _ in corners)
    at_pole = [abs(r - pole) <= nearest for r, _ in corners]
    for number in range(len(corners)):
        after = (number + 1) % len(corners)
        if at_pole[number]:
            return after, len(corners) - 1
        step = _short_way(corners[after][1] - corners[number][1], turn)
        if not at_pole[after] and abs(step) >= (0.5 - AT_POLE) * turn:
            return after, len(corners)
    return None


def _run_on(corners: list[Vertex], turn: float) -> list[Vertex]:
    result = corners[:1]
    for r, chi in corners[1:]:
        before = result[-1][1]
        result.append((r, before + _short_way(chi - before, turn)))
    return result


def _short_way(angle: float, turn: float) -> float:
    return angle - turn * round(angle / turn)


def _polygon_shares(corners: list[Vertex], radial_axis: Axis, azimuth_axis: Axis | None) -> list[Share]:
    if not corners or not all(math.isfinite(value) for corner in corners for value in corner):
        return []
    # Without an azimuth axis the azimuth is only needed for areas, in any unit.
    polygon = [(radial_axis.scaled(r), azimuth_axis.scaled(chi) if azimuth_axis else chi) for r, chi in corners]
    x_values, y_values = zip(*polygon, strict=True)
    x0, x1, y0, y1 = min(x_values), max(x_values), min(y_values), max(y_values)
    area = _area(polygon)
    if not abs(area) > THINNEST * (x1 - x0) * (y1 - y0):
        chi = 0.5 * (y0 + y1) * azimuth_axis.step + azimuth_axis.low if azimuth_axis else 0.0
        return _point_shares(0.5 * (x0 + x1) * radial_axis.step + radial_axis.low, chi, radial_axis, azimuth_axis)
    columns = range(max(0, math.floor(x0)), min(radial_axis.n_bins - 1, math.floor(x1)) + 1)
    found: dict[int, float] = {}
    for shift, row, low, high in _rows(y0, y1, azimuth_axis):
        for column in columns:
            moved = [(x, y + shift) for x, y in polygon]
            share = _area(_clip(moved, column, column + 1, low, high)) / area
            if share > SMALLEST_SHARE:
                number = row * radial_axis.n_bins + column
                found[number] = found.get(number, 0.0) + share
    return sorted(found.items())


def _rows(y0: float, y1: float, axis: Axis | None) -> list[tuple[float, int, float, float]]:
    """Return (shift by whole turns, row, low edge, high edge) of the azimuth bins that [y0, y1] may touch."""
    if axis is None:
        return [(0.0, 0, y0, y1)]
    found = []
    if not axis.turn:
        rows = range(max(0, math.floor(y0)), min(axis.n_bins - 1, math.floor(y1)) + 1)
        return [(0.0, row, *axis.row_edges(row)) for row in rows]
    for number in range(math.floor(-y1 / axis.turn_bins), math.ceil((axis.top - y0) / axis.turn_bins) + 1):
        shift = number * axis.turn_bins
        rows = range(max(0, math.floor(y0 + shift)), min(axis.n_bins - 1, math.floor(y1 + shift)) + 1)
        found += [(shift, row, *axis.row_edges(row)) for row in rows]
    return found


def _area(polygon: list[Vertex]) -> float:
    """Signed area of a polygon, by the shoelace formula about its first corner."""
    if len(polygon) < 3:
        return 0.0
    x0, y0 = polygon[0]
    relative = [(x - x0, y - y0) for x, y in polygon]
    return 0.5 * sum(
        xa * yb - xb * ya for (xa, ya), (xb, yb) in zip(relative, relative[1:] + relative[:1], strict=True)
    )


def _clip(polygon: list[Vertex], left: float, right: float, low: float, high: float) -> list[Vertex]:
    """Return the part of a polygon inside a rectangle (Sutherland and Hodgman, Commun. ACM 17, 32, 1974)."""
    for axis, limit, keep_above in ((0, left, True), (0, right, False), (1, low, True), (1, high, False)):
        result: list[Vertex] = []
        for before, here in zip(polygon[-1:] + polygon[:-1], polygon, strict=True):
            inside = [point[axis] >= limit if keep_above else point[axis] <= limit for point in (before, here)]
            if inside[0] != inside[1]:
                t = (limit - before[axis]) / (here[axis] - before[axis])
                result.append((before[0] + t * (here[0] - before[0]), before[1] + t * (here[1] - before[1])))
            if inside[1]:
                result.append(here)
        polygon = result
    return polygon
