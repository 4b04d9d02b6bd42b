"""PONI files of Dioptas, which turns images upside down before it integrates them.

What is the first row of the file is the last one of what Dioptas shows and calibrates. That is orientation 2 of the
file's own image. Older files do not say so: read by content they count as orientation 3, so they have to be called
Dioptas' own.
"""

from __future__ import annotations

from dataclasses import replace

from ..geometry import Geometry
from . import pyfai
from .format import ASPECTS, Content, GeometryFormat, Given
from .placement import is_mirrored, reoriented

ORIENTATION = 2


def read(content: Content, given: Given) -> tuple[Geometry, list[str]]:
    """Read a PONI file of Dioptas; one that tells no orientation means the image turned upside down."""
    geometry, notes = pyfai.read(content, given)
    if '"orientation"' not in content.text:
        geometry = replace(geometry, detector=replace(geometry.detector, orientation=ORIENTATION))
    return geometry, notes


def write(geometry: Geometry) -> bytes:
    """Return a PONI file of the image as Dioptas has it, which says so."""
    return pyfai.write(reoriented(geometry, ORIENTATION))


def losses(geometry: Geometry) -> list[str]:
    """Return what is lost because Dioptas has one orientation."""
    own = geometry.detector.orientation
    mirrored = f"orientation {own}: azimuths run the other way, scattering angles stay"
    return [mirrored] if is_mirrored(own, ORIENTATION) else []


FORMAT = GeometryFormat(
    "dioptas",
    "PONI file of Dioptas",
    ".poni",
    lambda content: False,
    read,
    write,
    frozenset(ASPECTS),
    losses,
)
