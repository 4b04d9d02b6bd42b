"""The built-in calibrants, each with its source.

Crystals with atoms are those of `friedel.matter`. Certified powders that share a structure differ in the cell only. Of
three crystals (a protein and two compounds) only cell and space group are taken: all reflections have the same |F|².
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from friedel.core.errors import ParameterError

from .calibrants import Calibrant

if TYPE_CHECKING:
    from friedel.matter import Crystal

Cell = tuple[float, float, float, float, float, float]

_OF_PHASES = (
    *("LaB6", "CeO2", "Si", "Al2O3", "Cr2O3", "TiO2", "ZnO", "NaCl", "Ni", "Al", "Pt", "Au"),
    *("diamond", "graphite", "quartz", "cristobalite", "Cu2O", "vanadinite", "C60"),
)
"""Calibrants that are phases of `friedel.matter` as they are."""

_CELLS: dict[str, tuple[str, float, float, str]] = {
    "LaB6 SRM660": ("LaB6", 4.15695, 4.15695, "NIST SRM 660"),
    "LaB6 SRM660a": ("LaB6", 4.1569162, 4.1569162, "NIST SRM 660a"),
    "LaB6 SRM660b": ("LaB6", 4.15689, 4.15689, "NIST SRM 660b"),
    "Si SRM640": ("Si", 5.43088, 5.43088, "NIST SRM 640"),
    "Si SRM640a": ("Si", 5.430825, 5.430825, "NIST SRM 640a"),
    "Si SRM640b": ("Si", 5.430940, 5.430940, "NIST SRM 640b"),
    "Si SRM640c": ("Si", 5.431195, 5.431195, "NIST SRM 640c"),
    "Si SRM640d": ("Si", 5.43123, 5.43123, "NIST SRM 640d"),
    "Si SRM640f": ("Si", 5.431144, 5.431144, "NIST SRM 640f"),
    "Al2O3 SRM676": ("Al2O3", 4.75919, 12.99183, "NIST SRM 676"),
    "Al2O3 SRM676a 2008": ("Al2O3", 4.7590914, 12.991779, "NIST SRM 676a, certificate of 2008"),
    "alpha Al2O3": (
        "Al2O3",
        4.7570,
        12.9877,
        "Kirfel & Eichhorn, Acta Cryst. A46 (1990) 271, doi:10.1107/S0108767389012596",
    ),
}
"""Name: phase, a, c in Å, source."""

_LATTICES: dict[str, tuple[Cell, str, str]] = {
    "PBBA": (
        (29.59, 6.15, 3.98, 90.0, 95.5, 90.0),
        "P 1 21/a 1",
        "Ohkura, Kashino & Haisa, Bull. Chem. Soc. Jpn. 45 (1972) 2651; p-bromobenzoic acid",
    ),
    "hydrocerussite": (
        (5.2466, 5.2466, 23.7023, 90.0, 90.0, 120.0),
        "R -3 m:H",
        "Martinetto et al., Acta Cryst. C58 (2002) i82, doi:10.1107/S0108270102006844",
    ),
    "lysozyme": (
        (79.2688, 79.2688, 37.9573, 90.0, 90.0, 90.0),
        "P 43 21 2",
        "doi:10.1524/zkri.2007.2007.suppl_26.1; hen egg white, room temperature",
    ),
    "verneite": (
        (10.257, 10.257, 10.257, 90.0, 90.0, 90.0),
        "I 21 3",
        "Courbion & Ferey, J. Solid State Chem. 76 (1988) 426, doi:10.1016/0022-4596(88)90239-3; Na2Ca3Al2F14",
    ),
}

_LAYERS = {
    "AgBh": (58.380, "Huang, Toraya, Blanton & Wu, J. Appl. Cryst. 26 (1993) 180; silver behenate"),
    "C14H30O": (39.681, "Brindley, Clays and Clay Minerals 29 (1981) 67; tetradecan-1-ol"),
}

_LISTS: dict[str, tuple[tuple[float, ...], str]] = {
    "CrOx": (
        (3.645, 2.672, 2.487, 2.181, 1.819, 1.676, 1.467, 1.433),
        "an oxide of chromium not further known, as used at beamlines of the ESRF: do not use where precision matters",
    ),
    "mock": (
        tuple(0.5 / math.sin(math.radians(0.5 * two_theta)) for two_theta in range(4, 13)),
        "no substance: rings at 2θ of 4, 5, ... 12 degrees for a wavelength of 1 Å, for tests",
    ),
}

_ALIASES = {
    "LaB6": ("lanthanum hexaboride", "LaB6 660c", "LaB6 SRM660c", "SRM660c"),
    "LaB6 SRM660": ("LaB6 660", "SRM660"),
    "LaB6 SRM660a": ("LaB6 660a", "SRM660a"),
    "LaB6 SRM660b": ("LaB6 660b", "SRM660b"),
    "CeO2": ("ceria", "cerium dioxide", "cerium oxide", "CeO2 674b", "CeO2 SRM674b"),
    "Si": ("silicon", "Si 640e", "Si SRM640e", "SRM640e"),
    "Si SRM640": ("Si 640", "SRM640"),
    "Si SRM640a": ("Si 640a", "SRM640a"),
    "Si SRM640b": ("Si 640b", "SRM640b"),
    "Si SRM640c": ("Si 640c", "SRM640c"),
    "Si SRM640d": ("Si 640d", "SRM640d"),
    "Si SRM640f": ("Si 640f", "SRM640f"),
    "Al2O3": ("corundum", "alumina", "Al2O3 676a", "SRM676a", "Al2O3 SRM676a", "alpha Al2O3 SRM676a 2015"),
    "Al2O3 SRM676": ("Al2O3 676", "SRM676", "alpha Al2O3 SRM676"),
    "Al2O3 SRM676a 2008": ("alpha Al2O3 SRM676a 2008",),
    "Cr2O3": ("eskolaite", "chromia", "chromium oxide"),
    "TiO2": ("rutile", "titania"),
    "ZnO": ("zincite", "zinc oxide"),
    "NaCl": ("halite", "salt", "sodium chloride"),
    "Ni": ("nickel",),
    "Al": ("aluminium", "aluminum"),
    "Pt": ("platinum",),
    "Au": ("gold",),
    "diamond": ("C diamond",),
    "quartz": ("SiO2", "alpha quartz"),
    "cristobalite": ("cristobaltite", "alpha cristobalite"),
    "Cu2O": ("cuprite",),
    "C60": ("fullerene", "buckminsterfullerene"),
    "AgBh": ("silver behenate", "behenate", "AgBeh", "silver behenate AgBh"),
    "C14H30O": ("tetradecanol", "tetradecan-1-ol", "1-tetradecanol"),
    "PBBA": ("p-bromobenzoic acid", "4-bromobenzoic acid", "para bromo benzoic acid"),
    "lysozyme": ("hen egg-white lysozyme", "HEWL"),
    "verneite": ("Na2Ca3Al2F14", "NAC"),
}
"""Other names; case, spaces, dashes and the like do not count."""

_AMBIGUOUS = {
    "CuO": "pyFAI's calibrant of this name is cuprite, Cu2O; tenorite, CuO, is another substance. Write Cu2O, or give "
    "a CIF file.",
}


def _of_cell(phases: Mapping[str, Crystal], name: str) -> Calibrant:
    phase, a, c, source = _CELLS[name]
    _, _, _, *angles = phases[phase].cell
    atoms = phases[phase].source.partition(";")[2]
    cell: Cell = (a, a, c, angles[0], angles[1], angles[2])
    return Calibrant.from_crystal(
        replace(phases[phase], name=name, cell=cell, source=source + (f";{atoms}" if atoms else ""))
    )


@cache
def built_in_calibrants() -> dict[str, Calibrant]:
    """Return the built-in calibrants by name."""
    from friedel.matter import Crystal, built_in_phases

    phases = dict(built_in_phases())
    phases["TiO2"] = replace(phases["rutile"], name="TiO2")
    listed = [Calibrant.from_crystal(phases[name]) for name in _OF_PHASES]
    listed += [_of_cell(phases, name) for name in _CELLS]
    listed += [Calibrant(name, source, layer=spacing) for name, (spacing, source) in _LAYERS.items()]
    listed += [
        Calibrant.from_crystal(Crystal(name, cell, group, (), source))
        for name, (cell, group, source) in _LATTICES.items()
    ]
    listed += [Calibrant.from_spacings(name, spacings, source) for name, (spacings, source) in _LISTS.items()]
    return {calibrant.name: calibrant for calibrant in sorted(listed, key=lambda one: one.name.casefold())}


def aliases_of(name: str) -> tuple[str, ...]:
    """Return the other names that the calibrant `name` is known by."""
    return _ALIASES.get(name, ())


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def find_calibrant(name: str) -> Calibrant:
    """Return the built-in calibrant called `name`, or the phase of that name; see `Calibrant.named`."""
    from friedel.matter import built_in_phases

    key = _key(name)
    known = built_in_calibrants()
    for ambiguous, explanation in _AMBIGUOUS.items():
        if key == _key(ambiguous):
            raise ParameterError(f"The calibrant {name!r} could mean two substances.", explanation)
    by_key = {_key(title): title for title in known}
    by_key |= {_key(alias): title for title, aliases in _ALIASES.items() for alias in aliases}
    if key in by_key:
        return known[by_key[key]]
    for crystal in built_in_phases().values():
        if _key(crystal.name) == key:
            return Calibrant.from_crystal(crystal)
    near = difflib.get_close_matches(key, by_key, 3)
    remedy = f"Did you mean {', '.join(dict.fromkeys(by_key[one] for one in near))}? " if near else ""
    raise ParameterError(
        f"There is no built-in calibrant {name!r}.",
        f"{remedy}Calibrants: {', '.join(known)}; or give a CIF file, a .D file, or d in Å with commas between.",
    )
