"""Pixels that reach across the missing wedge of a grazing-incidence pattern.

The in-plane component q_ip of the scattering vector takes the sign of its part across the plane of incidence, and is
never smaller than its part along the beam: between its negative and its positive values lies a wedge that the
detector cannot see. On the detector both sides meet in the line where the part across is zero. A pixel on that line
has corners on both sides, and its polygon would fill the wedge. So it is cut along the line, and each part is spread
over the bins of its own side, weighted by its part of the pixel's area.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from friedel.core.units import Unit
from friedel.instrument import Geometry
from friedel.instrument.coordinates import SamplePose
from friedel.instrument.detector import area_vectors
from friedel.instrument.pixel_shapes import Positions
from friedel.kernels.splitting import SMALLEST_SHARE, Axis, Shares, split_polygons

TOUCHING = 1e-9
"""A corner that is nearer to the line than this times its farthest sibling lies on it."""

Floats = NDArray[np.float64]
Point = tuple[float, ...]


def torn_pixels(geometry: Geometry, pose: SamplePose, rows: slice, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which unmasked pixels have corners on both sides of the wedge, shape (rows, columns)."""
    across = geometry.across_corners(pose, rows)
    least = TOUCHING * np.abs(across).max(axis=-1)
    torn: NDArray[np.bool_] = (across.min(axis=-1) < -least) & (across.max(axis=-1) > least) & ~mask
    return torn


class Parts(NamedTuple):
    """Shares of pixels that were cut, by the number of the pixel in its slab.

    Attributes
    ----------
    pixels : ndarray of int64, shape (n,)
    bins : ndarray of int32, shape (n,)
    weights : ndarray of float32, shape (n,)
    """

    pixels: NDArray[np.int64]
    bins: NDArray[np.int32]
    weights: NDArray[np.float32]


def shares_of_parts(
    geometry: Geometry,
    pose: SamplePose,
    units: tuple[Unit, Unit],
    rows: slice,
    torn: NDArray[np.bool_],
    radial: Axis,
    azimuth: Axis | None,
    pole: float,
) -> Parts:
    """Return the shares of pixels that are cut at the wedge.

    Parameters
    ----------
    units : (Unit, Unit)
        Of the two coordinates; an angle in rad.
    torn : ndarray of bool, shape (rows, columns)
        The pixels, of the slab `rows`.
    radial, azimuth : Axis
        The bins.
    pole : float
        Radial coordinate of the beam.
    """
    pixels, triangles, fractions, sides = _triangles(geometry, pose, rows, torn)
    # A triangle is a quadrilateral whose last corner comes twice.
    points = Positions(*(np.stack([*part.T, part[:, 2]], axis=-1) for part in np.moveaxis(triangles, -1, 0)))
    first = _on_sides(geometry, units[0], pose, points, sides)
    if azimuth is not None:
        second = _on_sides(geometry, units[1], pose, points, sides)
        shares = split_polygons(first, second, radial, azimuth, pole=pole)
    else:
        shares = split_polygons(first, _fattest(first, points), radial, None, turn=0.0)
    n_bins = radial.n_bins * (azimuth.n_bins if azimuth else 1)
    owner = np.repeat(np.arange(len(pixels)), shares.counts)
    keys, place = np.unique(pixels[owner] * n_bins + shares.bins, return_inverse=True)
    weights = np.bincount(place, shares.weights * fractions[owner], len(keys))
    kept = weights > SMALLEST_SHARE
    found, bins = np.divmod(keys[kept], n_bins)
    return Parts(found, bins.astype(np.int32), weights[kept].astype(np.float32))


def _triangles(
    geometry: Geometry, pose: SamplePose, rows: slice, torn: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Floats, Floats, NDArray[np.int64]]:
    """Return pixel, corners (n, 3, 2 or 3) on the detector in m, part of the pixel's area, and side, of triangles."""
    places = [part for part in geometry.detector.corner_positions(rows) if part is not None]
    pixels, triangles, sides = [], [], []
    for number in np.flatnonzero(torn):
        row, column = divmod(int(number), torn.shape[1])
        corners: list[Point] = list(zip(*(part[row, column].tolist() for part in places), strict=True))
        heights = geometry.across_points(pose, *np.array(corners).T).tolist()
        for side in (1, -1):
            outline = _part(corners, [side * height for height in heights])
            for two, three in pairwise(outline[1:]):
                pixels.append(number)
                triangles.append((outline[0], two, three))
                sides.append(side)
    shapes = np.array(triangles, np.float64).reshape(-1, 3, len(places))
    areas = area_vectors(Positions(*np.moveaxis(shapes, -1, 0)))
    owner = np.array(pixels, np.int64)
    area = np.sqrt(sum(part * part for part in areas))
    return owner, shapes, area / geometry.detector.pixel_areas(rows).reshape(-1)[owner], np.array(sides, np.int64)


def _part(corners: list[Point], heights: list[float]) -> list[Point]:
    """Return the part of a polygon where the height, linear along its edges, is not negative."""
    part: list[Point] = []
    for k, (here, height) in enumerate(zip(corners, heights, strict=True)):
        before, lower = corners[k - 1], heights[k - 1]
        if (lower < 0) != (height < 0):
            t = lower / (lower - height)
            part.append(tuple(start + t * (end - start) for start, end in zip(before, here, strict=True)))
        if height >= 0:
            part.append(here)
    return part


def _on_sides(geometry: Geometry, unit: Unit, pose: SamplePose, points: Positions, sides: NDArray[np.int64]) -> Floats:
    right, left = (geometry.point_array(unit, *points, pose=pose, side=side) for side in (1, -1))
    return np.where((sides > 0)[:, None], right, left)


def _fattest(first: Floats, points: Positions) -> Floats:
    """Return the coordinate on the detector with which `first` spans the largest part of its bounding box."""

    def fatness(second: Floats) -> Floats:
        x, y = first - first[:, :1], second - second[:, :1]
        area = np.abs(x[:, 1] * y[:, 2] - x[:, 2] * y[:, 1])
        box = np.ptp(x, axis=1) * np.ptp(y, axis=1)
        return np.asarray(area / np.where(box > 0, box, 1.0))

    choices = np.stack([part for part in points if part is not None])
    best = np.argmax([fatness(part) for part in choices], axis=0)
    return np.asarray(np.take_along_axis(choices, best[None, :, None], axis=0)[0])


def with_parts(shares: Shares, parts: Parts) -> Shares:
    """Return the shares of a slab together with those of pixels that were cut."""
    n_pixels = len(shares.counts)
    owner = np.concatenate([np.repeat(np.arange(n_pixels), shares.counts), parts.pixels])
    order = np.argsort(owner, kind="stable")
    return Shares(
        np.bincount(owner, minlength=n_pixels).astype(np.int32),
        np.concatenate([shares.bins, parts.bins])[order],
        np.concatenate([shares.weights, parts.weights])[order],
    )
