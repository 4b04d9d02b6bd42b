"""The built-in calibrants, each with its source."""

from __future__ import annotations

import difflib
from functools import cache

from friedel.core.errors import ParameterError

from .calibrants import Calibrant


@cache
def built_in_calibrants() -> dict[str, Calibrant]:
    """Return the built-in calibrants by name."""
    from friedel.matter import built_in_phases

    phases = built_in_phases()
    names = ("CeO2", "LaB6", "Si", "Al2O3", "Cr2O3", "NaCl", "Ni", "Al", "Pt", "Au", "Ag", "Cu", "ZnO", "diamond")
    crystals = [Calibrant.from_crystal(phases[name]) for name in (*names, "rutile", "quartz")]
    layered = [
        Calibrant("AgBh", "Blanton et al., J. Appl. Cryst. 32 (1999) 811, doi:10.1107/S0021889899012388", layer=58.380),
        Calibrant("C14H30O", "Brindley, Clays and Clay Minerals 29 (1981) 67; tetradecan-1-ol", layer=39.681),
    ]
    return {calibrant.name: calibrant for calibrant in (*crystals, *layered)}


_ALIASES = {
    "ceria": "CeO2",
    "silicon": "Si",
    "corundum": "Al2O3",
    "alumina": "Al2O3",
    "alphaal2o3": "Al2O3",
    "eskolaite": "Cr2O3",
    "silverbehenate": "AgBh",
    "behenate": "AgBh",
    "tetradecanol": "C14H30O",
    "tio2": "rutile",
    "gold": "Au",
    "halite": "NaCl",
    "zincite": "ZnO",
}


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def find_calibrant(name: str) -> Calibrant:
    """Return the built-in calibrant called `name`; see `Calibrant.named`."""
    known = built_in_calibrants()
    by_key = {_key(title): title for title in known} | _ALIASES
    if (key := _key(name)) in by_key:
        return known[by_key[key]]
    near = difflib.get_close_matches(key, by_key, 3)
    remedy = f"Did you mean {', '.join(dict.fromkeys(by_key[one] for one in near))}? " if near else ""
    raise ParameterError(
        f"There is no built-in calibrant {name!r}.",
        f"{remedy}Calibrants: {', '.join(known)}; or give a CIF file.",
    )
