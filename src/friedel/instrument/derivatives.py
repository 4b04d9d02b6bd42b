"""How the scattering angle of a point of the detector changes with the geometry, and with the place of the point.

With the way from the sample to the point, in the frame of the detector, d = (p1 − poni1, p2 − poni2, distance + p3),
and the direction of the beam there, b = R⁻¹·(0, 0, 1) = (sin rot2, −sin rot1 cos rot2, cos rot1 cos rot2),

    cos 2θ = b·d/|d|,   ∂2θ/∂d = (cos 2θ · d/|d| − b)/(|d| sin 2θ),   ∂2θ/∂b = −(d/|d|)/sin 2θ

all else follows by the chain rule. rot3 turns everything about the beam: no scattering angle depends on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .detector import Detector
from .geometry import Geometry
from .pixel_shapes import FLIPPED_COLUMNS, FLIPPED_ROWS, Positions
from .sensor import Sensor

_Array = NDArray[np.float64]

FIELDS = ("distance", "poni1", "poni2", "rot1", "rot2", "rot3", "wavelength")
"""Numbers of a geometry, in the order of derivatives."""

SMALLEST_SINE = 1e-9
NEWTON_STEPS = 5
"""The way into a sensor is far shorter than that to it: each step leaves about its square of the error."""

WAVELENGTH_STEP = 1e-4
"""Relative; attenuation is a table."""


class ScatteringAngles(NamedTuple):
    """Angles of points with their derivatives.

    Attributes
    ----------
    two_theta : ndarray of float64 (n,)
        In rad.
    by_field : ndarray of float64 (n, 7)
        Derivatives with respect to `FIELDS`, in rad/m and rad/rad.
    by_place : ndarray of float64 (n, 3)
        With respect to the place (p1, p2, p3) on the detector, rad/m.
    """

    two_theta: _Array
    by_field: _Array
    by_place: _Array


def scattering_angles(geometry: Geometry, positions: Positions) -> ScatteringAngles:
    """Return the scattering angles of points of the detector, with derivatives.

    Parameters
    ----------
    geometry : Geometry
    positions : Positions
        Points, arrays (n,); `Detector.positions_of` gives them.
    """
    p1, p2, p3 = positions
    ways = np.stack([p1 - geometry.poni1, p2 - geometry.poni2, np.full_like(p1, geometry.distance)], axis=-1)
    if p3 is not None:
        ways[:, 2] += p3
    entered, by_way, by_distance, by_wavelength = _entries(geometry, ways)
    length = np.sqrt((entered * entered).sum(axis=1))
    unit = entered / length[:, None]
    beam = geometry.rotation()[2]
    cosine = unit @ beam
    sine = np.maximum(np.linalg.norm(np.cross(unit, beam), axis=1), SMALLEST_SINE)
    by_entered = (cosine[:, None] * unit - beam) / (length * sine)[:, None]
    by_place = np.einsum("ni,nij->nj", by_entered, by_way)
    by_field = np.zeros((p1.size, len(FIELDS)))
    by_field[:, 0] = by_place[:, 2] + (by_entered * by_distance).sum(axis=1)
    by_field[:, 1:3] = -by_place[:, :2]
    by_field[:, 3:5] = -(unit @ _beam_derivatives(geometry)) / sine[:, None]
    by_field[:, 6] = (by_entered * by_wavelength).sum(axis=1)
    return ScatteringAngles(np.arctan2(sine, cosine), by_field, by_place)


def pixel_vectors(detector: Detector, y: _Array, x: _Array) -> _Array:
    """Return ∂(p1, p2, p3)/∂(y, x) in m a pixel, over one pixel round points of the stored array.

    Parameters
    ----------
    detector : Detector
    y, x : ndarray of float64 (n,)
        In pixels.

    Returns
    -------
    ndarray of float64 (n, 3, 2)
    """
    vectors = np.zeros((y.size, 3, 2))
    if not detector.displaced:
        vectors[:, 0, 0] = -detector.pixel1 if detector.orientation in FLIPPED_ROWS else detector.pixel1
        vectors[:, 1, 1] = -detector.pixel2 if detector.orientation in FLIPPED_COLUMNS else detector.pixel2
        return vectors
    for axis, (dy, dx) in enumerate(((0.5, 0.0), (0.0, 0.5))):
        after, before = detector.positions_of(y + dy, x + dx), detector.positions_of(y - dy, x - dx)
        for row, (one, other) in enumerate(zip(after, before, strict=True)):
            if one is not None and other is not None:
                vectors[:, row, axis] = one - other
    return vectors


def ring_derivative(spacing: _Array, wavelength: float) -> _Array:
    """Return d2θ/dλ of rings in rad/m: 1/(d cos θ).

    Parameters
    ----------
    spacing : ndarray of float64
        d in m.
    wavelength : float
        In m.
    """
    sine = wavelength / (2.0 * spacing)
    return np.asarray(1.0 / (spacing * np.sqrt(1.0 - sine * sine)))


def _beam_derivatives(geometry: Geometry) -> _Array:
    """Return ∂b/∂rot1 and ∂b/∂rot2 as columns: (3, 2)."""
    c1, c2 = np.cos([geometry.rot1, geometry.rot2])
    s1, s2 = np.sin([geometry.rot1, geometry.rot2])
    return np.array([[0.0, c2], [-c1 * c2, s1 * s2], [-s1 * c2, -c1 * s2]])


def _entries(geometry: Geometry, ways: _Array) -> tuple[_Array, _Array, _Array, _Array]:
    """Return the way to where the ray enters, and its derivatives by the way, by distance beside that, by wavelength.

    Without parallax that is the way itself. Otherwise (d1, d2) ← (d1, d2)·r'/r with r' + Δr(α, μ) = r and
    tan α = r'/distance, see `sensor.entry_ratios`.
    """
    n = len(ways)
    same, nothing = np.broadcast_to(np.eye(3), (n, 3, 3)), np.zeros((n, 3))
    if not geometry.parallax:
        return ways, same, nothing, nothing
    sensor, wavelength = geometry.sensor_and_wavelength("The correction for parallax")
    distance = abs(geometry.distance)
    radius = np.maximum(np.hypot(ways[:, 0], ways[:, 1]), 1e-12)
    inner, slope = radius, np.zeros(n)
    for _ in range(NEWTON_STEPS):
        shift, slope = _displacement(sensor, wavelength, inner, distance)
        inner = inner - (inner + shift - radius) / (1.0 + slope)
    shift, slope = _displacement(sensor, wavelength, inner, distance)
    ratio, by_radius = inner / radius, 1.0 / (1.0 + slope)
    # Δr depends on r'/distance alone: ∂Δr/∂distance = −(r'/distance) ∂Δr/∂r'.
    inner_by_distance = slope * inner / distance * by_radius * np.sign(geometry.distance)
    step = WAVELENGTH_STEP * wavelength
    longer, shorter = (_displacement(sensor, wavelength + sign * step, inner, distance)[0] for sign in (1, -1))
    inner_by_wavelength = -(longer - shorter) / (2.0 * step) * by_radius
    across = ways[:, :2] / radius[:, None]
    by_way = np.zeros((n, 3, 3))
    by_way[:, 2, 2] = 1.0
    by_way[:, :2, :2] = ratio[:, None, None] * np.eye(2)
    by_way[:, :2, :2] += (by_radius - ratio)[:, None, None] * across[:, :, None] * across[:, None, :]
    entered = np.concatenate([ways[:, :2] * ratio[:, None], ways[:, 2:]], axis=1)
    by_distance, by_wavelength = np.zeros((n, 3)), np.zeros((n, 3))
    by_distance[:, :2] = inner_by_distance[:, None] * across
    by_wavelength[:, :2] = inner_by_wavelength[:, None] * across
    return entered, by_way, by_distance, by_wavelength


def _displacement(sensor: Sensor, wavelength: float, radius: _Array, distance: float) -> tuple[_Array, _Array]:
    """Return Δr in m of rays that enter at `radius` from the PONI, and its derivative by the radius."""
    angle = np.arctan2(radius, distance)
    step = 1e-5
    shift = sensor.displacement(angle, wavelength)
    # Δr is odd in α where `displacement` takes |α|.
    before = np.sign(angle - step) * sensor.displacement(angle - step, wavelength)
    by_angle = (sensor.displacement(angle + step, wavelength) - before) / (2.0 * step)
    return shift, by_angle * distance / (radius * radius + distance * distance)
