"""Numbers with units, as people write them on the command line."""

from __future__ import annotations

import re

from .errors import ParameterError

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
