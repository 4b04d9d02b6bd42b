"""The layer that stops the photons: how many it stops, and where it puts them.

A ray that meets the sensor at the angle α to its normal runs a path of t/cos α through a layer of thickness t and is
absorbed along it with the density μ exp(−μs). So more oblique rays are absorbed more completely (the efficiency of
the sensor), and seem to come from farther out (parallax): what is absorbed at depth s cos α is found s sin α outside
the place where the ray entered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import GeometryError, ParameterError
from friedel.core.quantities import parse_length
from friedel.matter.attenuation import material

BeamProfile = Literal["gaussian", "square", "circle"]
_Array = NDArray[np.float64]

TABLE_POINTS = 8193
TABLE_STEPS = 10
DECADES = 36.0
"""exp(−36) is the rounding error of a float64."""
NARROWINGS = 7
"""Each search on a grid of 33 places narrows the interval 16 times: 7 of them reach the root of the rounding error."""
REACH = {"gaussian": 3.0, "circle": 0.5}
"""How far from its middle a beam has any intensity, in its widths."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)


@dataclass(frozen=True)
class Sensor:
    """The sensitive layer of a detector.

    Attributes
    ----------
    material : str
        Name of `friedel.matter.MATERIALS` ("Si", "CdTe", ...) or a formula.
    thickness : float or None
        In m; None for a layer that stops everything.
    density : float or None
        In g/cm³; needed for a material that friedel does not know.
    """

    material: str
    thickness: float | None = None
    density: float | None = None

    def __post_init__(self) -> None:
        if self.thickness is not None and not (math.isfinite(self.thickness) and self.thickness > 0):
            raise GeometryError(
                f"The sensor of {self.material} is {self.thickness} m thick.", "Give a positive thickness in metres."
            )

    @classmethod
    def parse(cls, text: str) -> Sensor:
        """Read "material,thickness" or "formula,thickness,density": "CdTe,750um", "PbI2,0.5mm,6.16".

        Raises
        ------
        ParameterError
            If it cannot be read.
        """
        parts = [part.strip() for part in text.split(",")]
        if not 1 <= len(parts) <= 3 or not parts[0]:
            raise ParameterError(f"The sensor {text!r} cannot be read.", "Give material and thickness: CdTe,750um.")
        thickness = parse_length(parts[1], "thickness of the sensor") if len(parts) > 1 and parts[1] else None
        try:
            density = float(parts[2]) if len(parts) > 2 else None
        except ValueError:
            raise ParameterError(f"The density {parts[2]!r} is no number.", "Give it in g/cm³.") from None
        return cls(material(parts[0], density).name, thickness, density)

    def attenuation(self, wavelength: float) -> float:
        """Return μ in 1/m for a wavelength in m; ParameterError if the material is not known."""
        return material(self.material, self.density).attenuation(wavelength)

    def efficiency(self, cosine: ArrayLike, wavelength: float) -> _Array:
        """Return which part of the photons is absorbed, 1 − exp(−μt/cos α).

        Parameters
        ----------
        cosine : array_like
            cos α of the rays.
        wavelength : float
            In m.
        """
        path = 1.0 / np.asarray(cosine, np.float64)
        if self.thickness is None:
            return np.ones_like(path)
        return np.asarray(-np.expm1(-self.attenuation(wavelength) * self.thickness * path))

    def displacement(self, angle: ArrayLike, wavelength: float) -> _Array:
        """Return how far outwards rays appear, in m: the mean of s sin α over the depth of absorption.

        See `mean_displacement`.

        Parameters
        ----------
        angle : array_like
            α in rad.
        wavelength : float
            In m.
        """
        thickness = math.inf if self.thickness is None else self.thickness
        return mean_displacement(angle, self.attenuation(wavelength), thickness)


def mean_displacement(angle: ArrayLike, attenuation: float, thickness: float = math.inf) -> _Array:
    """Return the mean displacement of absorbed photons along the surface of a sensor, in m.

    With the optical depth of the path u = μt/cos α,

        Δr = sin α/μ · [1 − u exp(−u)/(1 − exp(−u))]

    which is sin α/μ for a thick sensor and half the projected path, t tan α/2, for a thin one.

    Parameters
    ----------
    angle : array_like
        Angle α to the normal in rad.
    attenuation : float
        μ in 1/m.
    thickness : float
        In m.
    """
    alpha = np.abs(np.asarray(angle, np.float64))
    sine = np.sin(alpha)
    return np.asarray(sine / attenuation * _part_of_thick(np.cos(alpha), attenuation * thickness))


@lru_cache(maxsize=64)
def entry_ratios(sensor: Sensor, wavelength: float, distance: float) -> tuple[_Array, _Array]:
    """Return r'/r, how much nearer to the PONI rays enter a sensor than they are seen, as a table.

    r' solves r' + Δr(α) = r with tan α = r'/distance. Δr grows by much less than r does, so that each step of
    r' ← r − Δr(r') leaves a small part (about the depth in the sensor over the distance) of the error: of a sensor of
    1 mm at 5 cm 2 %.

    Parameters
    ----------
    sensor : Sensor
    wavelength, distance : float
        In m.

    Returns
    -------
    cosines : ndarray of float64, shape (n,)
        distance/√(r² + distance²), ascending from 0 to 1: of the direction of the place where rays are seen. In it the
        ratio is nearly straight, and interpolation is off by less than 1e-9 of r.
    ratios : ndarray of float64, shape (n,)
    """
    cosines = np.linspace(0.0, 1.0, TABLE_POINTS)
    inner = np.clip(cosines, 0.5 / TABLE_POINTS, 1.0 - 1e-9)  # r is neither infinite nor 0
    radius = distance * np.sqrt(1.0 / (inner * inner) - 1.0)
    entered = radius
    for _ in range(TABLE_STEPS):
        shift = sensor.displacement(np.arctan2(entered, distance), wavelength)
        entered = np.maximum(radius - shift, 0.0)
    ratios = entered / radius
    for table in (cosines, ratios):
        table.setflags(write=False)
    return cosines, ratios


def _part_of_thick(cosine: _Array, optical_depth: float) -> _Array:
    """Return 1 − u/(exp(u) − 1) for the path's optical depth u."""
    if not math.isfinite(optical_depth):
        return np.ones_like(cosine)
    u = optical_depth / np.maximum(cosine, 1e-6)
    with np.errstate(over="ignore"):
        # u/2 − u²/12 where the difference would cancel.
        return np.asarray(np.where(u < 1e-4, u / 2 - u * u / 12, 1.0 - u / np.expm1(np.maximum(u, 1e-300))))


def peak_displacement(
    angle: ArrayLike,
    attenuation: float,
    thickness: float,
    beam_width: float,
    profile: BeamProfile = "gaussian",
) -> _Array:
    """Return the displacement of the maximum of a ring's profile, in m.

    The exponential of the absorption, s ∈ [0, t/cos α] projected by sin α, is convolved with the profile of the beam
    widened by 1/cos α. Who follows maxima of rings sees this displacement; centres of mass see `mean_displacement`.

    Parameters
    ----------
    angle : array_like
        α in rad.
    attenuation, thickness : float
        μ in 1/m, t in m.
    beam_width : float
        Full width at half maximum (gaussian), side (square) or diameter (circle) in m.
    profile : {"gaussian", "square", "circle"}

    Raises
    ------
    ParameterError
        If there is no such profile, or the width is not positive.
    """
    if profile not in get_args(BeamProfile):
        raise ParameterError(f"profile is {profile!r}.", f"Choose one of {', '.join(get_args(BeamProfile))}.")
    if not (math.isfinite(beam_width) and beam_width > 0):
        raise ParameterError(f"beam_width is {beam_width}.", "Give a positive width in metres.")
    angles = np.abs(np.atleast_1d(np.asarray(angle, np.float64)))
    found = [_maximum(float(alpha), attenuation, thickness, beam_width, profile) for alpha in angles.ravel()]
    return np.array(found).reshape(np.shape(angle))


def _maximum(alpha: float, attenuation: float, thickness: float, width: float, profile: BeamProfile) -> float:
    """Return where the convolution of decay and beam is largest at one angle."""
    if alpha >= math.pi / 2:
        return 1.0 / attenuation
    if alpha == 0:
        return 0.0
    rate, widened = attenuation / math.sin(alpha), width / math.cos(alpha)
    # Beyond this the decay is lost in the rounding of its sum.
    end = min(thickness * math.tan(alpha), DECADES / rate)
    if profile == "square":
        # The window holds most where it begins with the decay; if it can hold all, in the middle of where it does.
        return 0.5 * min(widened, end)
    low, high = 0.0, float(mean_displacement(alpha, attenuation, thickness)) + widened
    for _ in range(NARROWINGS):
        places = np.linspace(low, high, 33)
        at = int(np.argmax([_convolution(float(x), rate, end, widened, profile) for x in places]))
        low, high = float(places[max(at - 1, 0)]), float(places[min(at + 1, 32)])
    return 0.5 * (low + high)


def _convolution(x: float, rate: float, end: float, width: float, profile: BeamProfile) -> float:
    """Return ∫ beam(x − y) exp(−rate y) dy over the part of [0, end] that the beam reaches."""
    reach = REACH[profile] * width
    low, high = max(0.0, x - reach), min(end, x + reach)
    if low >= high:
        return 0.0
    high = min(high, low + DECADES / rate)
    y = low + 0.5 * (high - low) * (_NODES + 1.0)
    if profile == "gaussian":
        beam = np.exp(-4.0 * math.log(2.0) * ((x - y) / width) ** 2)
    else:
        beam = np.sqrt(np.maximum(1.0 - (2.0 * (x - y) / width) ** 2, 0.0))
    return float((_WEIGHTS * beam * np.exp(-rate * y)).sum() * 0.5 * (high - low))
