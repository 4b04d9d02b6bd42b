"""Exact places on rings, for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from friedel.instrument import Calibrant, Geometry
from friedel.techniques.calibration import ControlPoints

CERIA = Calibrant.named("CeO2")


def ring_places(
    geometry: Geometry,
    *,
    rings: int = 12,
    per_ring: int = 60,
    sigma: float = 0.05,
    arc=(-np.pi, np.pi),
    calibrant=CERIA,
) -> ControlPoints:
    """Return points of a flat detector that lie on rings exactly."""
    inverse = geometry.rotation().T
    found = []
    for ring, two_theta in enumerate(calibrant.rings(geometry.wavelength).two_theta[:rings]):
        azimuth = arc[0] + (arc[1] - arc[0]) * (np.arange(per_ring) + 0.37 * ring % 1) / per_ring
        sine, cosine = np.sin(two_theta), np.cos(two_theta)
        direction = inverse @ np.stack([sine * np.sin(azimuth), sine * np.cos(azimuth), np.full(per_ring, cosine)])
        direction = direction[:, direction[2] > 0.02]
        p1 = geometry.poni1 + geometry.distance * direction[0] / direction[2]
        p2 = geometry.poni2 + geometry.distance * direction[1] / direction[2]
        places = [geometry.detector.pixel_of(one, other) for one, other in zip(p1, p2, strict=True)]
        y, x = np.array(places).reshape(-1, 2).T
        inside = (y > 0) & (y < geometry.shape[0]) & (x > 0) & (x < geometry.shape[1])
        found.append(ControlPoints(y[inside], x[inside], np.full(inside.sum(), ring), np.full(inside.sum(), sigma)))
    return ControlPoints.joined(found)


def moved(points: ControlPoints, random: np.random.Generator, sigma: float = 0.05) -> ControlPoints:
    """Return points with noise in both directions."""
    return replace(
        points,
        y=points.y + sigma * random.standard_normal(len(points)),
        x=points.x + sigma * random.standard_normal(len(points)),
    )
