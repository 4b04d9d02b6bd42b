"""Headers of SPD and the ESRF Data Format: SampleDistance, Center, PSize, DetectorRotation.

Lengths in m, angles in rad, centres in pixels where the first one covers 0 to 1; 1 is the fast axis (Boesecke, J. Appl.
Cryst. 40 (2007) s423). SampleDistance and Center are those of the point of normal incidence. Rotations are understood
as ESRF's ID02 gives them to pyFAI (ewoksid02): DetectorRotation_2, _1, _3 are rot1, rot2, rot3.
"""

from __future__ import annotations

import re

from ..geometry import Geometry
from .entries import Entries, positive
from .format import Content, GeometryFormat, Given, checked_shape, chosen_wavelength, detector_from, require_flat
from .placement import reoriented

MARK = re.compile(r"^\s*(SampleDistance|Center_[12])\s*=", re.IGNORECASE | re.MULTILINE)


def recognises(content: Content) -> bool:
    """Whether a file has a header with the distance or the centre, such as an image in the ESRF Data Format."""
    return MARK.search(content.beginning) is not None


def read(content: Content, given: Given) -> tuple[Geometry, list[str]]:
    """Read a header."""
    entries = Entries.parse(content.path, content.beginning.split("\n}", 1)[0], separator="=")
    sizes = [entries.optional(f"PSize_{axis}") for axis in (2, 1)]
    counts = [entries.optional(f"Dim_{axis}") for axis in (2, 1)]
    known = checked_shape(content, counts[0], counts[1]) if counts[0] and counts[1] else None
    detector = detector_from(content, given, pixel1=sizes[0], pixel2=sizes[1], shape=known)
    wavelength, notes = chosen_wavelength(entries.optional("WaveLength"), given)
    center1, center2 = (entries.number(f"Center_{axis}") - entries.number(f"Offset_{axis}", 0.0) for axis in (1, 2))
    raster = entries.number("RasterOrientation", 1.0)
    if raster != 1:
        notes.append(f"RasterOrientation {raster:g}: the array is taken as it is stored")
    geometry = Geometry(
        detector,
        distance=positive(content.path, "SampleDistance", entries.number("SampleDistance")),
        poni1=center2 * detector.pixel1,
        poni2=center1 * detector.pixel2,
        rot1=entries.number("DetectorRotation_2", entries.number("Rot_2", 0.0)),
        rot2=entries.number("DetectorRotation_1", entries.number("Rot_1", 0.0)),
        rot3=entries.number("DetectorRotation_3", entries.number("Rot_3", 0.0)),
        wavelength=wavelength,
    )
    return geometry, notes


def write(geometry: Geometry) -> bytes:
    """Return a header of the ESRF Data Format with the geometry alone."""
    require_flat(geometry, "SPD")
    native = reoriented(geometry, 3)
    detector = native.detector
    values: dict[str, object] = {
        "PSize_1": detector.pixel2,
        "PSize_2": detector.pixel1,
        "Center_1": native.poni2 / detector.pixel2,
        "Center_2": native.poni1 / detector.pixel1,
        "SampleDistance": native.distance,
        "DetectorRotation_1": native.rot2,
        "DetectorRotation_2": native.rot1,
        "DetectorRotation_3": native.rot3,
    }
    if detector.shape is not None:
        values = {"Dim_1": detector.shape[1], "Dim_2": detector.shape[0]} | values
    if native.wavelength is not None:
        values["WaveLength"] = native.wavelength
    lines = [f"{key} = {value!r} ;" for key, value in values.items()]
    return "\n".join(["{", *lines, "}", ""]).encode()


def losses(geometry: Geometry) -> list[str]:
    """Return that rotations are a matter of convention."""
    if abs(geometry.rot1) < 1e-9 and abs(geometry.rot2) < 1e-9 and abs(geometry.rot3) < 1e-9:
        return []
    return ["certainty about rotations: they are told as ESRF's ID02 reads them, and pyFAI's own export has none"]


FORMAT = GeometryFormat(
    "spd",
    "Header of SPD (ESRF Data Format)",
    ".txt",
    recognises,
    read,
    write,
    frozenset({"wavelength", "shape"}),
    losses,
)
