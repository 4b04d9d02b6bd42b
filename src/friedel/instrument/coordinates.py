"""What each quantity of `friedel.core.units` is at a point of the detector.

The point is at (x, y, z) seen from the sample: x along the columns, y along the rows, z along the beam. With
k = 2π/λ and R the distance from the sample, the scattering vector is, along x, y and z,

    q = k (x/R, y/R, z/R − 1)

Grazing incidence and fibres: the sample's horizontal h and vertical v are x and y turned and mirrored by the sample
orientation (`ORIENTATIONS`). At an incidence αi and a tilt τ the components across the beam (h), along the surface
normal (v) and along the beam (b) in the frame of the surface are

    b' = cos αi · b + sin αi · v          v* = cos αi · v − sin αi · b
    h' = cos τ · h + sin τ · v*           v' = cos τ · v* − sin τ · h

for the scattering vector and for the scattered beam alike, so that the reflected beam leaves at the exit angle αi
and the direct beam at −αi (Gutiérrez-Fernández et al., J. Synchrotron Rad. 2025; Renaud, Lazzari & Leroy, Surf. Sci.
Rep. 64 (2009) 255). In-plane and out-of-plane components and the polar angle are

    q_ip = ±√(qh'² + qb'²), with the sign of qh'      q_oop = qv'      χ = atan2(q_ip, q_oop)

Between q_ip < 0 and q_ip > 0 lies what the detector cannot see, the missing wedge: q_ip jumps over it where qh' = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import ParameterError
from friedel.core.units import FORMULA_NAMES, QUANTITIES, WAVELENGTH_IN_FORMULAS, Unit

from .radial import radial_from_position

_Array = NDArray[np.float64]

ORIENTATIONS: dict[int, tuple[tuple[int, int], tuple[int, int]]] = {
    1: ((1, 0), (0, 1)),
    2: ((-1, 0), (0, 1)),
    3: ((-1, 0), (0, -1)),
    4: ((1, 0), (0, -1)),
    5: ((0, -1), (-1, 0)),
    6: ((0, -1), (1, 0)),
    7: ((0, 1), (1, 0)),
    8: ((0, 1), (-1, 0)),
}
"""The sample's horizontal and vertical in (x, y), for each sample orientation; numbers as EXIF and pyFAI have them."""


@dataclass(frozen=True)
class SamplePose:
    """How a surface or fibre is held in the beam.

    Attributes
    ----------
    incidence : float
        Angle αi between beam and surface, rad.
    tilt : float
        Angle τ of the surface about the beam, rad.
    orientation : int
        1 to 8: which way up the sample is on the detector, see `ORIENTATIONS`.

    Raises
    ------
    ParameterError
        If there is no such orientation.
    """

    incidence: float = 0.0
    tilt: float = 0.0
    orientation: int = 1

    def __post_init__(self) -> None:
        if self.orientation not in ORIENTATIONS:
            raise ParameterError(
                f"sample_orientation is {self.orientation!r}.", "Give a whole number from 1 to 8; 1 is upright."
            )


UPRIGHT = SamplePose()


@dataclass(frozen=True, eq=False)
class Points:
    """Points of the detector, seen from the sample.

    Attributes
    ----------
    y, x, z : ndarray of float64
        In m.
    wavelength : float
        In m; NaN if not known.
    pose : SamplePose
    side : int
        1 or -1 continues q_ip from that side of the missing wedge, 0 takes each point on its own side.
    """

    y: _Array
    x: _Array
    z: _Array
    wavelength: float
    pose: SamplePose = UPRIGHT
    side: int = 0

    @cached_property
    def length(self) -> _Array:
        """Distance R from the sample, m."""
        return np.asarray(np.sqrt(self.x * self.x + self.y * self.y + self.z * self.z))

    @cached_property
    def radius(self) -> _Array:
        """Distance from the beam, m."""
        return np.asarray(np.sqrt(self.x * self.x + self.y * self.y))

    @property
    def wave_number(self) -> float:
        """k = 2π/λ, 1/m."""
        return 2.0 * np.pi / self.wavelength

    @cached_property
    def transverse(self) -> tuple[_Array, _Array]:
        """(h, v): the sample's horizontal and vertical coordinate before incidence and tilt, m."""
        (hx, hy), (vx, vy) = ORIENTATIONS[self.pose.orientation]
        return hx * self.x + hy * self.y, vx * self.x + vy * self.y

    @cached_property
    def scattering(self) -> tuple[_Array, _Array, _Array]:
        """(h', v', b') of the scattering vector divided by k, in the frame of the surface."""
        h, v = self.transverse
        # z/R − 1 without the cancellation near the beam.
        along = -(h * h + v * v) / (self.length * (self.length + self.z))
        return self._turned(h / self.length, v / self.length, along)

    @cached_property
    def scattered(self) -> tuple[_Array, _Array, _Array]:
        """(h', v', b') of the scattered beam in the frame of the surface, m."""
        return self._turned(*self.transverse, self.z)

    @cached_property
    def in_plane(self) -> _Array:
        """q_ip/k."""
        horizontal, _, beam = self.scattering
        return np.copysign(np.sqrt(horizontal * horizontal + beam * beam), self.side or horizontal + 0.0)

    def _turned(self, h: _Array, v: _Array, b: _Array) -> tuple[_Array, _Array, _Array]:
        sin_incidence, cos_incidence = np.sin(self.pose.incidence), np.cos(self.pose.incidence)
        sin_tilt, cos_tilt = np.sin(self.pose.tilt), np.cos(self.pose.tilt)
        upright = cos_incidence * v - sin_incidence * b
        return (
            cos_tilt * h + sin_tilt * upright,
            cos_tilt * upright - sin_tilt * h,
            cos_incidence * b + sin_incidence * v,
        )


def _radial(unit: str) -> Callable[[Points], _Array]:
    return lambda points: radial_from_position(points.radius, points.z, unit, points.wavelength)


def _azimuth(points: Points) -> _Array:
    # Adding zero turns −0 into 0, so that the ray along −x is π, never −π.
    return np.asarray(np.arctan2(points.y + 0.0, points.x + 0.0))


def _elevation(h: _Array, v: _Array, b: _Array) -> _Array:
    return np.asarray(np.arctan2(v, np.sqrt(h * h + b * b)))


VALUES: dict[str, Callable[[Points], _Array]] = {
    "two_theta": _radial("2th_rad"),
    "q": lambda points: radial_from_position(points.radius, points.z, "q_nm^-1", points.wavelength) * 1e9,
    "d": _radial("d_m"),
    "r": _radial("r_m"),
    "dstar2": lambda points: radial_from_position(points.radius, points.z, "dstar2_nm^-2", points.wavelength) * 1e18,
    "chi": _azimuth,
    "x": lambda points: points.x,
    "y": lambda points: points.y,
    "z": lambda points: points.z,
    "qx": lambda points: points.wave_number * (points.x / points.length),
    "qy": lambda points: points.wave_number * (points.y / points.length),
    "qz": lambda points: points.wave_number * (points.z / points.length - 1.0),
    "scattering_angle_horz": lambda points: np.arctan2(points.transverse[0], points.z),
    "scattering_angle_vert": lambda points: _elevation(*points.transverse, points.z),
    "exit_angle_horz": lambda points: np.arctan2(points.scattered[0], points.scattered[2]),
    "exit_angle_vert": lambda points: _elevation(*points.scattered),
    "qxgi": lambda points: points.wave_number * points.scattering[0],
    "qygi": lambda points: points.wave_number * points.scattering[1],
    "qzgi": lambda points: points.wave_number * points.scattering[2],
    "qip": lambda points: points.wave_number * points.in_plane,
    "qoop": lambda points: points.wave_number * points.scattering[1],
    "chigi": lambda points: np.arctan2(points.in_plane, points.scattering[1]),
}
"""Each quantity in SI units (rad, m, 1/m, 1/m²)."""


def values_at(points: Points, unit: Unit) -> _Array:
    """Return what `unit` shows at points.

    Returns
    -------
    ndarray of float64
        Infinite or NaN where there is no such value: d and the logarithm of q on the beam.
    """
    if unit.formula is not None:
        return _formula_values(points, unit)
    if unit.beam is not None:
        return radial_from_position(points.radius, points.z, unit.name, points.wavelength)
    return np.asarray(VALUES[unit.quantity](points) * unit.scale)


def _formula_values(points: Points, unit: Unit) -> _Array:
    assert unit.formula is not None
    values: dict[str, _Array | float] = {
        name: VALUES[name](points) * QUANTITIES[name].formula_scale
        for name in FORMULA_NAMES
        if name in QUANTITIES and name in unit.formula.variables
    }
    values["wavelength"] = points.wavelength * WAVELENGTH_IN_FORMULAS
    return np.array(np.broadcast_to(unit.formula.evaluate(values, np), points.x.shape))
