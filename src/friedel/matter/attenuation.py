"""How much of a beam a layer of matter takes away.

The attenuation coefficient μ of a material follows from the mass attenuation coefficients of its elements (total
cross sections: photoelectric absorption, coherent and incoherent scattering) and its density; a layer of thickness t
transmits exp(−μt) (Elam, Ravel & Sieber, Radiat. Phys. Chem. 63 (2002) 121, as tabulated by xraydb; interpolated in
the logarithms of energy and cross section, 100 eV to 800 keV).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from friedel.core.errors import ParameterError
from friedel.core.units import energy_from_wavelength

LOWEST_ENERGY, HIGHEST_ENERGY = 0.1, 800.0
"""Energies in keV between which the tables can be relied on."""


@dataclass(frozen=True)
class Material:
    """What a layer is made of.

    Attributes
    ----------
    name : str
    formula : str
        Sum formula; numbers need not be whole: "BaFBr0.85I0.15".
    density : float
        In g/cm³.
    """

    name: str
    formula: str
    density: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.density) and self.density > 0):
            raise ParameterError(f"The density of {self.name} is {self.density} g/cm³.", "Give a positive number.")

    def attenuation(self, wavelength: float) -> float:
        """Return the attenuation coefficient μ in 1/m.

        Parameters
        ----------
        wavelength : float
            In m.

        Raises
        ------
        ParameterError
            If the formula cannot be read, or the tables do not reach that energy.
        """
        return _attenuation(self.formula, self.density, float(wavelength))

    def transmission(self, wavelength: float, thickness: float) -> float:
        """Return which part of a beam passes a layer at right angles, exp(−μt).

        Parameters
        ----------
        wavelength, thickness : float
            In m.
        """
        return float(np.exp(-self.attenuation(wavelength) * thickness))


def _table(*rows: tuple[str, str, float]) -> dict[str, Material]:
    return {name: Material(name, formula, density) for name, formula, density in rows}


# Densities in g/cm³ at room temperature, of gases at 20 °C and 1013 hPa.
MATERIALS: dict[str, Material] = _table(
    # sensors
    ("Si", "Si", 2.329),
    ("Ge", "Ge", 5.323),
    ("GaAs", "GaAs", 5.3176),
    ("CdTe", "CdTe", 5.85),
    ("CdZnTe", "Cd0.9Zn0.1Te", 5.78),
    ("Se", "Se", 4.26),
    ("Gd2O2S", "Gd2O2S", 7.32),
    ("BaFBr0.85I0.15", "BaFBr0.85I0.15", 3.18),
    ("CsI", "CsI", 4.51),
    # windows, foils, absorbers
    ("Be", "Be", 1.848),
    ("Al", "Al", 2.699),
    ("Ti", "Ti", 4.506),
    ("Fe", "Fe", 7.874),
    ("Ni", "Ni", 8.908),
    ("Cu", "Cu", 8.96),
    ("Mo", "Mo", 10.28),
    ("W", "W", 19.3),
    ("Pb", "Pb", 11.35),
    ("diamond", "C", 3.515),
    ("graphite", "C", 2.26),
    ("glassy carbon", "C", 1.45),
    ("silica", "SiO2", 2.20),
    ("sapphire", "Al2O3", 3.98),
    ("silicon nitride", "Si3N4", 3.17),
    ("kapton", "C22H10N2O5", 1.42),
    ("mylar", "C10H8O4", 1.40),
    ("polycarbonate", "C16H14O3", 1.20),
    ("polypropylene", "C3H6", 0.90),
    ("polyethylene", "C2H4", 0.94),
    ("peek", "C19H12O3", 1.32),
    ("pmma", "C5H8O2", 1.19),
    ("teflon", "C2F4", 2.20),
    ("water", "H2O", 0.998),
    # gases
    ("air", "N1.562O0.4196Ar0.0094C0.0004", 1.204e-3),
    ("helium", "He", 1.664e-4),
    ("nitrogen", "N2", 1.165e-3),
    ("argon", "Ar", 1.662e-3),
)

OTHER_NAMES = {
    "czt": "CdZnTe",
    "silicon": "Si",
    "germanium": "Ge",
    "beryllium": "Be",
    "aluminium": "Al",
    "aluminum": "Al",
    "glass": "silica",
    "quartz": "silica",
    "gadox": "Gd2O2S",
    "gos": "Gd2O2S",
    "polyimide": "kapton",
    "n2": "nitrogen",
}

_KNOWN = {name.casefold(): name for name in MATERIALS} | OTHER_NAMES


def material(name: str, density: float | None = None) -> Material:
    """Return a material by its name, or by its formula and density.

    Parameters
    ----------
    name : str
        Name of `MATERIALS` ("CdTe", "kapton", "air"; case does not matter), or a formula.
    density : float, optional
        In g/cm³; needed with a formula, and replaces that of a known material.

    Raises
    ------
    ParameterError
        If there is no such material and no density, or the formula cannot be read.
    """
    known = _KNOWN.get(name.strip().casefold())
    if known is not None:
        found = MATERIALS[known]
        return found if density is None else Material(found.name, found.formula, density)
    _composition(name)
    if density is None:
        near = difflib.get_close_matches(name, MATERIALS, 1)
        guess = f", or did you mean {near[0]}?" if near else "."
        raise ParameterError(
            f"There is no material {name!r} with a known density.",
            f"Known: {', '.join(MATERIALS)}. Of any other give its formula and its density in g/cm³{guess}",
        )
    return Material(name, name, density)


def _composition(formula: str) -> dict[str, float]:
    """Return how many atoms of each element a formula holds."""
    import xraydb

    try:
        found = {str(element): float(number) for element, number in xraydb.chemparse(formula).items()}
    except ValueError:
        found = {}
    if not found:
        raise ParameterError(
            f"{formula!r} is neither a material that friedel knows nor a formula.",
            f"Give a formula like Gd2O2S or BaFBr0.85I0.15, or one of {', '.join(MATERIALS)}.",
        )
    return found


@lru_cache(maxsize=256)
def _attenuation(formula: str, density: float, wavelength: float) -> float:
    import xraydb

    energy = energy_from_wavelength(wavelength) if wavelength > 0 else float("nan")
    if not LOWEST_ENERGY <= energy <= HIGHEST_ENERGY:
        raise ParameterError(
            f"The attenuation of {formula} is not tabulated for the wavelength {wavelength} m ({energy:g} keV).",
            f"Energies from {LOWEST_ENERGY:g} to {HIGHEST_ENERGY:g} keV are; check the wavelength of the geometry.",
        )
    composition = _composition(formula)
    weights = {element: number * float(xraydb.atomic_mass(element)) for element, number in composition.items()}
    per_mass = sum(weights[element] * float(xraydb.mu_elam(element, energy * 1e3)) for element in weights)
    return 100.0 * density * per_mass / sum(weights.values())
