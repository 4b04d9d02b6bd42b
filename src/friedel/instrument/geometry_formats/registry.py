"""The formats, and which one a file is in."""

from __future__ import annotations

import difflib
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

from friedel.core.errors import ParameterError
from friedel.core.files import refuse_existing, write_whole

from ..geometry import Geometry
from ..poni import PARAMETERS
from .format import Content, GeometryFormat, Given, Reading
from .pyfai import with_detector_file

NAMES = ("pyfai", "dioptas", "fit2d", "spd", "imaged11", "crystfel", "cxi", "dials", "gsas2", "hexrd")
ASKED = ("dials", "cxi", "pyfai", "crystfel", "gsas2", "fit2d", "imaged11", "spd", "hexrd")
"""In which order a file is looked at; what is none of these is left to the PONI reader, and its words."""
FALLBACK = "pyfai"
ALIASES = {
    "poni": "pyfai",
    "gsas": "gsas2",
    "gsas-ii": "gsas2",
    "gsasii": "gsas2",
    "id11": "imaged11",
    "dxtbx": "dials",
}
POINTING = ("pyfai", "dioptas")
"""Formats in which the detector may be a file of its own."""


@cache
def formats() -> dict[str, GeometryFormat]:
    """Return the formats by name."""
    package = __name__.rpartition(".")[0]
    return {name: import_module(f"{package}.{name}").FORMAT for name in NAMES}


def format_named(name: str) -> GeometryFormat:
    """Return a format.

    Raises
    ------
    ParameterError
        If there is none of that name.
    """
    plain = name.strip().casefold()
    found = formats().get(ALIASES.get(plain, plain))
    if found is None:
        close = difflib.get_close_matches(name.casefold(), NAMES, n=1)
        remedy = f"Did you mean {close[0]}? " if close else ""
        raise ParameterError(f"There is no geometry format {name!r}.", f"{remedy}Formats: {', '.join(NAMES)}.")
    return found


def format_for(path: str | Path) -> GeometryFormat:
    """Return the format that the ending of a file's name means.

    Raises
    ------
    ParameterError
        If it means none, or several.
    """
    ending = Path(path).suffix.casefold()
    found = [known for known in formats().values() if known.ending == ending and known.name != "dioptas"]
    if len(found) != 1:
        raise ParameterError(f"The name {path} does not tell the format.", f"Give --to: {', '.join(NAMES)}.")
    return found[0]


def known_format(path: str | Path) -> GeometryFormat | None:
    """Return the format that a file is in, None if in none of these."""
    return _recognised(Content.of(path))


def _recognised(content: Content) -> GeometryFormat | None:
    known = formats()
    return next((known[name] for name in ASKED if known[name].recognises(content)), None)


def read_geometry(path: str | Path, given: Given | None = None, format_name: str | None = None) -> Reading:
    """Read a geometry in any of the formats.

    Parameters
    ----------
    path : path-like
    given : Given, optional
        What the user says, for what the file does not.
    format_name : str, optional
        One of `NAMES`; found by the content of the file if it is not given.

    Raises
    ------
    FileError
        If the file cannot be read or holds no geometry.
    GeometryError
        If something is missing or has a value that is not allowed; the message names it.
    ParameterError
        If there is no such format.
    """
    content = Content.of(path)
    known = (_recognised(content) or formats()[FALLBACK]) if format_name is None else format_named(format_name)
    geometry, notes = known.read(content, given or Given())
    return Reading(geometry, known.name, tuple(notes))


def write_geometry(path: str | Path, geometry: Geometry, format_name: str, *, overwrite: bool = True) -> list[str]:
    """Write a geometry in one of the formats; return what the file does not hold, a sentence each.

    A detector that a PONI file cannot tell by its name is written beside it, as NAME_detector.h5.

    Raises
    ------
    GeometryError
        If the format cannot hold it at all.
    OutputError
        If the file cannot be written.
    ParameterError
        If there is no such format.
    """
    chosen = format_named(format_name)
    lost, told = chosen.lost(geometry), _plain(geometry)
    refuse_existing([path], overwrite)
    if chosen.name in POINTING:
        told = with_detector_file(path, told, overwrite=overwrite)
    write_whole(path, chosen.write(told))
    return lost


def _plain(geometry: Geometry) -> Geometry:
    """Return the geometry with numbers of Python, which are written with all their digits and nothing else."""
    own = geometry.detector
    detector = replace(own, pixel1=float(own.pixel1), pixel2=float(own.pixel2))
    wavelength = None if geometry.wavelength is None else float(geometry.wavelength)
    distance, poni1, poni2, rot1, rot2, rot3 = (float(getattr(geometry, name)) for name in PARAMETERS)
    return Geometry(detector, distance, poni1, poni2, rot1, rot2, rot3, wavelength, geometry.parallax)
