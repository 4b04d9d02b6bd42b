"""Numbers with units, as people write them on the command line."""

from __future__ import annotations

import re

from .errors import ParameterError
from .units import wavelength_from_energy

LENGTHS = {"m": 1.0, "cm": 1e2, "mm": 1e3, "um": 1e6, "µm": 1e6, "μm": 1e6, "nm": 1e9}
"""Units of length, how many make a metre: 750 / 1e6 is the float nearest to 750 µm, 750 · 1e-6 is not always."""
_LENGTH = re.compile(r"([-+0-9.eE]+)\s*([a-zµμ]*)")


def parse_length(text: str, what: str = "length") -> float:
    """Read a positive length: "450um", "0.75 mm", "3.2e-4" (metres); returned in m.

    Parameters
    ----------
    text : str
    what : str
        Name of the quantity, for messages.

    Raises
    ------
    ParameterError
        If it cannot be read or is not positive.
    """
    match = _LENGTH.fullmatch(text.strip())
    try:
        number = float(match[1]) if match else float("nan")
    except ValueError:
        number = float("nan")
    unit = match[2] or "m" if match else ""
    if not (0 < number < float("inf")) or unit not in LENGTHS:
        raise ParameterError(
            f"The {what} {text!r} cannot be read.", f"Give a positive number and a unit of {', '.join(LENGTHS)}: 450um."
        )
    return number / LENGTHS[unit]


ENERGIES = {"keV": 1.0, "eV": 1e3, "MeV": 1e-3}
"""Units of energy, how many make a keV."""
WAVELENGTHS = {"A": 1e10, "Å": 1e10, "Angstrom": 1e10, "angstrom": 1e10, "nm": 1e9, "pm": 1e12, "m": 1.0}
"""Units of wavelength, how many make a metre."""
_QUANTITY = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([a-zA-ZÅ]*)")


HIGHEST_UNSAID = 1000.0
"""Energy in keV above which a number without unit is taken for one in eV that was mistyped."""


def parse_energy(text: str | float) -> float:
    """Read a photon energy: "30.5keV", "30500 eV", 30.5 (keV); returned in keV.

    Raises
    ------
    ParameterError
        If it cannot be read or is not positive.
    """
    found = _parsed(text, "energy", ENERGIES, "keV", "30.5keV")
    plain = str(text).strip()
    if found > HIGHEST_UNSAID and plain[-1] in "0123456789.":
        raise ParameterError(
            f"The energy {plain} has no unit and would be {found:g} keV, more than diffraction is measured with.",
            f"Did you mean {plain}eV? Give the unit.",
        )
    return found


def parse_wavelength(text: str | float) -> float:
    """Read a wavelength: "0.4065A", "0.04065 nm", "4.065e-11m", 0.4065 (Å); returned in m.

    A number without unit is in Å, or in m if it is smaller than a millionth, as PONI files have it.

    Raises
    ------
    ParameterError
        If it cannot be read or is not positive.
    """
    match = _QUANTITY.fullmatch(str(text).strip())
    small = match is not None and not match[2] and float(match[1]) < 1e-6
    return _parsed(text, "wavelength", WAVELENGTHS, "m" if small else "A", "0.4065A")


def wavelength_given(wavelength: str | float | None, energy: str | float | None) -> float | None:
    """Return the wavelength in m that either of both tells, as `parse_wavelength` and `parse_energy` read them.

    Returns
    -------
    float or None
        None if neither is given.

    Raises
    ------
    ParameterError
        If both are given, or it cannot be read.
    """
    if wavelength is not None and energy is not None:
        raise ParameterError("wavelength and energy are both given.", "Give one of them.")
    if energy is not None:
        return wavelength_from_energy(parse_energy(energy))
    return None if wavelength is None else parse_wavelength(wavelength)


def _parsed(text: str | float, what: str, units: dict[str, float], default: str, example: str) -> float:
    match = _QUANTITY.fullmatch(str(text).strip())
    number = float(match[1]) if match else float("nan")
    unit = (match[2] or default) if match else ""
    if not (0 < number < float("inf")) or unit not in units:
        raise ParameterError(
            f"The {what} {str(text)!r} cannot be read.",
            f"Give a positive number and a unit of {', '.join(units)}: {example}.",
        )
    return number / units[unit]
