"""Names of the units that a user may ask for, and the constants that join them."""

from __future__ import annotations

from typing import Literal, get_args

RadialUnit = Literal["2th_deg", "2th_rad", "q_nm^-1", "q_A^-1", "d_nm", "d_A", "r_mm", "r_m"]
RADIAL_UNITS: tuple[str, ...] = get_args(RadialUnit)

HC_KEV_ANGSTROM = 12.398419843320026
"""Planck constant times speed of light in keV Å (CODATA 2018, exact by the SI of 2019)."""


def wavelength_from_energy(energy_kev: float) -> float:
    """Return the wavelength in m of photons of `energy_kev` keV."""
    return HC_KEV_ANGSTROM / energy_kev * 1e-10


def energy_from_wavelength(wavelength_m: float) -> float:
    """Return the energy in keV of photons of wavelength `wavelength_m` m."""
    return HC_KEV_ANGSTROM / (wavelength_m * 1e10)
