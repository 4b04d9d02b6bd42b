"""How quantities and units are written in pictures and tables."""

from __future__ import annotations

import math
import re
from typing import Any

_UNITS = {
    "1/nm": "nm⁻¹",
    "1/Angstrom": "Å⁻¹",
    "1/angstrom": "Å⁻¹",
    "1/A": "Å⁻¹",
    "1/nm^2": "nm⁻²",
    "1/Angstrom^2": "Å⁻²",
    "Angstrom": "Å",
    "angstrom": "Å",
    "deg": "°",
    "degree": "°",
    "degrees": "°",
    "um": "µm",
    "micrometer": "µm",
    "1": "",
    "counts": "counts",
}
_RADIAL_NAMES = {"q": "q", "2th": "2θ", "d": "d", "r": "radius"}


def unit_text(units: str) -> str:
    """Return a unit as it is printed."""
    return _UNITS.get(units, units)


def with_unit(name: str, units: str) -> str:
    """Return an axis label such as "q (nm⁻¹)"."""
    text = unit_text(units)
    return f"{name} ({text})" if text else name


def axis_label(coordinate: Any) -> str:
    """Return the label of an xarray coordinate."""
    radial_unit = str(coordinate.attrs.get("radial_unit", ""))
    name = _RADIAL_NAMES.get(radial_unit.partition("_")[0]) or coordinate.attrs.get("long_name") or coordinate.name
    text = str(name).replace("_", " ")
    word = text.split()[0]
    shown = text[0].upper() + text[1:] if len(text) > 2 and word.replace("-", "").isalpha() else text
    return with_unit(shown, str(coordinate.attrs.get("units", "")))


def number_text(value: float, digits: int = 4) -> str:
    """Return a number with `digits` significant digits and no needless zeros."""
    return f"{value:.{digits}g}"


def size_text(n_bytes: float) -> str:
    """Return a number of bytes in a decimal unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if n_bytes >= 100 or unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def time_text(seconds: float) -> str:
    """Return a duration."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def round_length(limit: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not above `limit` (> 0)."""
    power = 10.0 ** math.floor(math.log10(limit))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= limit * (1 + 1e-9))


def length_text(length: float, units: str) -> str:
    """Return a length; below a millimetre in micrometres."""
    if units == "mm" and length < 1:
        length, units = length * 1000, "um"
    return f"{length:g} {unit_text(units)}"


def phase_text(name: str) -> str:
    """Return a phase's name with the numbers of a chemical formula as subscripts."""
    if not re.fullmatch(r"(?:[A-Z][a-z]?\d*|[()]\d*)+", name):
        return name
    return name.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
