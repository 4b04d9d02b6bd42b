"""Radial units: what is measured from the beam outwards, and how one follows from another.

θ is half the scattering angle 2θ, λ the wavelength (de Graef & McHenry, Structure of Materials, ch. 11):

    q = 4π sin θ / λ        d = λ / (2 sin θ)        d*² = 1/d²        r = √(x² + y²)

where x and y are the pixel's coordinates perpendicular to the beam, so r is no function of 2θ alone on a
tilted detector.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import GeometryError, ParameterError
from friedel.core.units import RADIAL_UNITS, Unit, unit_named

_Array = NDArray[np.float64]


def radial_unit(name: str) -> Unit:
    """Return the unit called `name`, one of the distance from the beam.

    Raises
    ------
    ParameterError
        If there is no such unit, or it depends on more than the distance from the beam.
    """
    unit = unit_named(name)
    if unit.beam is None:
        raise ParameterError(
            f"The unit {name} is no function of the scattering angle alone.", "Choose one of " + ", ".join(RADIAL_UNITS)
        )
    return unit


def require_wavelength(unit: str, wavelength: float | None) -> float:
    """Return `wavelength`, or NaN for a unit that needs none.

    Raises
    ------
    GeometryError
        If `unit` needs a wavelength and there is none.
    """
    if wavelength is not None:
        return wavelength
    if not unit_named(unit).needs_wavelength:
        return float("nan")
    raise GeometryError(
        f"The unit {unit} needs the wavelength, and the geometry has none.",
        "Add a line 'Wavelength: <metres>' to the PONI file, or ask for 2th_deg, 2th_rad, r_mm or r_m.",
    )


def radial_from_position(radius: _Array, along_beam: _Array, unit: str, wavelength: float | None = None) -> _Array:
    """Return the radial value of points in the sample frame.

    Parameters
    ----------
    radius : ndarray of float64
        Distance from the beam in m.
    along_beam : ndarray of float64
        Coordinate along the beam in m, measured from the sample.
    unit : str
        Radial unit.
    wavelength : float or None
        In m; needed for q and d.

    Returns
    -------
    ndarray of float64
        In `unit`; d is infinite on the beam.

    Raises
    ------
    GeometryError
        If `unit` needs a wavelength and there is none.
    """
    scale = radial_unit(unit)
    wavelength = require_wavelength(unit, wavelength)
    if scale.quantity == "r":
        return radius * scale.scale
    if scale.quantity == "two_theta":
        return np.asarray(np.arctan2(radius, along_beam)) * scale.scale
    # sin θ = √((1 − cos 2θ)/2) = r / √(2R(R + z)) without the cancellation near the beam.
    length = np.sqrt(radius * radius + along_beam * along_beam)
    sine = radius / np.sqrt(2.0 * length * (length + along_beam))
    return _from_sine(sine, scale, wavelength)


def _from_sine(sine: _Array, unit: Unit, wavelength: float) -> _Array:
    if unit.quantity == "d":
        with np.errstate(divide="ignore"):
            return np.asarray((0.5 * wavelength * unit.scale) / sine)
    if unit.quantity == "dstar2":
        return np.asarray((2.0 / wavelength * sine) ** 2 * unit.scale)
    return _shown(np.asarray((4.0 * np.pi / wavelength * unit.scale) * sine), unit)


_TRANSFORMS: dict[str, tuple[Callable[[_Array], _Array], Callable[[_Array], _Array]]] = {
    "log10": (np.log10, lambda value: np.power(10.0, value)),
    "log": (np.log, np.exp),
    "log1p": (np.log1p, np.expm1),
    "arcsinh": (np.arcsinh, np.sinh),
}
"""Each transform with its inverse."""


def _shown(scaled: _Array, unit: Unit) -> _Array:
    if not unit.transform:
        return scaled
    with np.errstate(divide="ignore"):
        return np.asarray(_TRANSFORMS[unit.transform][0](scaled))


def _scaled(shown: _Array, unit: Unit) -> _Array:
    return np.asarray(_TRANSFORMS[unit.transform][1](shown)) if unit.transform else shown


def radial_from_two_theta(
    two_theta: ArrayLike, unit: str, wavelength: float | None = None, distance: float | None = None
) -> _Array:
    """Return the radial value at scattering angles.

    Parameters
    ----------
    two_theta : array_like
        Scattering angle in rad.
    unit : str
        Radial unit of the result.
    wavelength : float or None
        In m; needed for q and d.
    distance : float or None
        Sample to detector in m; needed for r, which is that on a detector perpendicular to the beam.

    Raises
    ------
    GeometryError
        If the wavelength or the distance is needed and missing.
    """
    scale = radial_unit(unit)
    angle = np.asarray(two_theta, dtype=np.float64)
    if scale.quantity == "two_theta":
        return angle * scale.scale
    if scale.quantity == "r":
        return np.asarray(_require_distance(unit, distance) * np.tan(angle) * scale.scale)
    return _from_sine(np.asarray(np.sin(0.5 * angle)), scale, require_wavelength(unit, wavelength))


def two_theta_from_radial(
    radial: ArrayLike, unit: str, wavelength: float | None = None, distance: float | None = None
) -> _Array:
    """Return scattering angles in rad; the inverse of `radial_from_two_theta`.

    Values that no angle reaches (q > 4π/λ, d < λ/2) give NaN.
    """
    scale = radial_unit(unit)
    value = _scaled(np.asarray(radial, dtype=np.float64), scale) / scale.scale
    if scale.quantity == "two_theta":
        return value
    if scale.quantity == "r":
        return np.asarray(np.arctan(value / _require_distance(unit, distance)))
    wavelength = require_wavelength(unit, wavelength)
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale.quantity == "q":
            sine = value * wavelength / (4.0 * np.pi)
        elif scale.quantity == "dstar2":
            sine = np.sqrt(value) * (0.5 * wavelength)
        else:
            sine = wavelength / (2.0 * value)
        return np.asarray(2.0 * np.arcsin(sine))


def radial_from_spacing(
    spacing: ArrayLike, unit: str, wavelength: float | None = None, distance: float | None = None
) -> _Array:
    """Return where lattice spacings appear; NaN where no angle reaches them (d < λ/2).

    Parameters
    ----------
    spacing : array_like
        Lattice spacing d in Å.
    unit, wavelength, distance
        As for `radial_from_two_theta`; units of q and d need no wavelength here.
    """
    scale = radial_unit(unit)
    metres = np.asarray(spacing, dtype=np.float64) * 1e-10
    if scale.quantity == "d":
        return metres * scale.scale
    if scale.quantity == "dstar2":
        return scale.scale / (metres * metres)
    if scale.quantity == "q":
        return _shown(2.0 * np.pi / metres * scale.scale, scale)
    if wavelength is None:
        raise GeometryError(
            f"A lattice spacing has no place on the radial unit {unit} without the wavelength.",
            "Give the wavelength, or ask for a unit of q or d.",
        )
    return radial_from_two_theta(_angle_of_spacing(metres, wavelength), unit, wavelength, distance)


def _angle_of_spacing(spacing: _Array, wavelength: float) -> _Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(2.0 * np.arcsin(wavelength / (2.0 * spacing)))


def _require_distance(unit: str, distance: float | None) -> float:
    if distance is None:
        raise GeometryError(f"The radial unit {unit} needs the distance to the detector.", "Give the distance.")
    return distance
