"""Whether images that are added up show the rings of one geometry: points of each image alone against that geometry."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import CalibrationError
from friedel.instrument import Calibrant, Geometry

from .calibrate import Scene
from .detection import detect
from .findings import Finding
from .points import RingPoints

NEAR = 3.0
"""Pixels within which a point is on a ring."""
AGREEING = 0.6
"""Part of an image's points that lie on rings below which it is not of this geometry."""
FEWEST = 40
"""Points; with fewer an image alone says nothing."""


def ring_distances(points: RingPoints, geometry: Geometry, calibrant: Calibrant) -> NDArray[np.float64]:
    """Return by how many pixels each point lies beside the nearest ring (n,), as the geometry has them."""
    place = geometry.detector.positions_of(points.y, points.x)
    angle = geometry.point_array("2th_rad", *place)
    beside = (
        geometry.detector.positions_of(points.y + 1.0, points.x),
        geometry.detector.positions_of(points.y, points.x + 1.0),
    )
    slope = np.hypot(*(geometry.point_array("2th_rad", *moved) - angle for moved in beside))
    rings = np.asarray(calibrant.rings(geometry.wavelength).two_theta) if geometry.wavelength else np.zeros(0)
    if not rings.size:
        return np.full(angle.shape, np.inf)
    edges = np.concatenate([[-np.inf], rings, [np.inf]])
    after = np.searchsorted(rings, angle) + 1
    nearest = np.minimum(angle - edges[after - 1], edges[after] - angle)
    return np.asarray(nearest / np.maximum(slope, 1e-12))


def part_on_rings(scene: Scene, geometry: Geometry, calibrant: Calibrant) -> float:
    """Return which part of the points found on an image lies on rings; NaN if there are too few to say."""
    try:
        points = detect(scene.image, scene.mask)
    except CalibrationError:
        return np.nan
    if len(points) < FEWEST:
        return np.nan
    return float(np.mean(ring_distances(points, geometry, calibrant) < NEAR))


def about_images(scenes: Iterable[tuple[str, Scene]], geometry: Geometry, calibrant: Calibrant) -> list[Finding]:
    """Say which of the images that were added up do not show the rings where the geometry has them.

    Parameters
    ----------
    scenes : iterable of (str, Scene)
        Each image alone, with its name.
    """
    parts = [(name, part_on_rings(scene, geometry, calibrant)) for name, scene in scenes]
    strangers = [(name, part) for name, part in parts if part < AGREEING]
    if not strangers:
        return []
    name, part = min(strangers, key=lambda one: one[1])
    others = "" if len(strangers) == 1 else f" ({len(strangers)} images are such)"
    text = (
        f"The images do not show the same rings: only {100 * part:.0f} % of the points found on {name} lie where the "
        f"geometry has them{others}."
    )
    advice = "Add up images of one setup only; where the detector was moved, let each have its own: --own distance."
    return [Finding("images", "doubtful", text, advice)]
