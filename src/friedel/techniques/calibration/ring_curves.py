"""Where on the detector a scattering angle is seen, for drawing and for simulated points."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.instrument import Geometry

_Array = NDArray[np.float64]

FARTHEST = 50.0
"""Rays that meet the detector's plane farther away than this many times the distance are taken to miss it."""


def ring_curve(geometry: Geometry, two_theta: float, azimuth: ArrayLike) -> tuple[_Array, _Array]:
    """Return where rays of one scattering angle meet the detector's plane.

    Parameters
    ----------
    geometry : Geometry
        Pixels count as if they were on a regular grid.
    two_theta : float
        In rad.
    azimuth : array_like (n,)
        In rad.

    Returns
    -------
    y, x : ndarray of float64 (n,)
        In pixels, also outside the detector; NaN for rays that miss its plane.
    """
    chi = np.asarray(azimuth, np.float64)
    sine, cosine = np.sin(two_theta), np.cos(two_theta)
    rays = np.stack([sine * np.sin(chi), sine * np.cos(chi), np.full(chi.shape, cosine)])
    along1, along2, towards = geometry.rotation().T @ rays
    meets = towards * np.sign(geometry.distance) * FARTHEST > 1.0
    scale = np.where(meets, geometry.distance / np.where(meets, towards, 1.0), np.nan)
    p1, p2 = geometry.poni1 + scale * along1, geometry.poni2 + scale * along2
    detector = geometry.detector
    y, x = p1 / detector.pixel1, p2 / detector.pixel2
    rows, columns = detector.known_shape()
    if detector.orientation in (1, 2):
        y = rows - y
    if detector.orientation in (1, 4):
        x = columns - x
    return y, x


def visible_curve(geometry: Geometry, two_theta: float, steps: int = 720) -> tuple[_Array, _Array]:
    """Return the curve of a ring on the detector, NaN where it is outside: two arrays (steps + 1,)."""
    y, x = ring_curve(geometry, two_theta, np.linspace(-np.pi, np.pi, steps + 1))
    rows, columns = geometry.shape
    outside = ~((y >= 0) & (y <= rows) & (x >= 0) & (x <= columns))
    return np.where(outside, np.nan, y), np.where(outside, np.nan, x)
