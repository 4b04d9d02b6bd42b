"""PONI files, and the geometry in configurations of pyFAI's workers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ..geometry import Geometry
from ..poni import poni_text, read_poni
from .format import ASPECTS, Content, GeometryFormat, Given, chosen_wavelength, detector_from

PONI = re.compile(r"^\s*(poni_version|poni1)\s*:", re.IGNORECASE | re.MULTILINE)


def recognises(content: Content) -> bool:
    """Whether a file is a PONI file."""
    return PONI.search(content.beginning) is not None


def read(content: Content, given: Given) -> tuple[Geometry, list[str]]:
    """Read a PONI file; what the user says replaces what it says of the detector."""
    values = read_poni(content.path)
    detector = values["detector"]
    values["wavelength"], notes = chosen_wavelength(values["wavelength"], given)
    if given.detector is not None:
        values["detector"] = detector_from(
            content,
            given,
            pixel1=detector.pixel1,
            pixel2=detector.pixel2,
            shape=detector.shape,
            orientation=detector.orientation,
        )
        if detector.sensor is not None:
            values["detector"] = replace(values["detector"], sensor=detector.sensor)
    elif given.shape is not None:
        values["detector"] = detector.with_shape(given.shape)
    return Geometry(**values), notes


def write(geometry: Geometry) -> bytes:
    """Return a PONI file of version 2.1, or 3 if the geometry tells of parallax."""
    return poni_text(geometry).encode()


def with_detector_file(path: str | Path, geometry: Geometry, *, overwrite: bool = True) -> Geometry:
    """Write the detector to a file beside a PONI file, if its name does not tell all, and return what points there.

    Raises
    ------
    OutputError
        If it cannot be written, or exists and `overwrite` is not set.
    """
    detector = geometry.detector
    gaps = detector.generic and (detector.gap_rows or detector.gap_columns)
    placed = detector.pixels is not None and not detector.pixels.path and not detector.described_by_name
    if not (gaps or placed) or detector.shape is None:
        return geometry
    file = Path(path).with_name(f"{Path(path).stem}_detector.h5")
    return replace(geometry, detector=detector.save(file, overwrite=overwrite))


FORMAT = GeometryFormat("pyfai", "PONI file (pyFAI)", ".poni", recognises, read, write, frozenset(ASPECTS))
