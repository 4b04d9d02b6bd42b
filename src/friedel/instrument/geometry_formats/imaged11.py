"""Parameter files of ImageD11: distance, centre and size along y and z, tilts, and a flip matrix.

Lengths in µm, angles in rad, the wavelength in Angstrom, centres in pixels counted from the middle of the first one.
Its laboratory has x along the beam, z up; its y is taken against axis 2, as pyFAI does. Source: ImageD11.transform
(``compute_xyz_lab``) and pyFAI's conversion.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from friedel.core.errors import GeometryError

from ..geometry import Geometry
from .entries import Entries, positive
from .format import Content, GeometryFormat, Given, chosen_wavelength, detector_from, require_flat

MARK = re.compile(r"^\s*[yz][_-]center\s+[-+\d.]", re.MULTILINE)
FLIPS = {1: (-1, 1), 2: (-1, -1), 3: (1, -1), 4: (1, 1)}
"""Elements o11 and o22 of the flip matrix for each orientation."""
IGNORED = ("wedge", "chi", "t_x", "t_y", "t_z")


def recognises(content: Content) -> bool:
    """Whether a file has lines with the centre along y or z."""
    return MARK.search(content.beginning) is not None


def read(content: Content, given: Given) -> tuple[Geometry, list[str]]:
    """Read a parameter file."""
    text = re.sub(r"^(\s*[yz])-(center|size)", r"\1_\2", content.text, flags=re.MULTILINE)
    entries = Entries.parse(content.path, text, separator=r"\s")
    flip = [entries.number(key, default) for key, default in (("o11", 1), ("o12", 0), ("o21", 0), ("o22", -1))]
    orientation = next((number for number, (o11, o22) in FLIPS.items() if flip == [o11, 0, 0, o22]), None)
    if orientation is None:
        raise GeometryError(
            f"{content.path}: the flip matrix {flip} exchanges rows and columns, or is none.",
            "Transpose the image, and write its geometry with o12 = o21 = 0.",
        )
    sizes = [positive(content.path, key, entries.number(key)) * 1e-6 for key in ("z_size", "y_size")]
    detector = detector_from(content, given, pixel1=sizes[0], pixel2=sizes[1], orientation=orientation)
    told = entries.optional("wavelength")
    wavelength, notes = chosen_wavelength(told and told * 1e-10, given)
    notes += [f"{key} = {entries.text(key)}, which is of the sample" for key in IGNORED if entries.number(key, 0.0)]
    rot1, rot2, rot3 = -entries.number("tilt_z", 0.0), entries.number("tilt_y", 0.0), entries.number("tilt_x", 0.0)
    direct = positive(content.path, "distance", entries.number("distance")) * 1e-6
    upright = Geometry(detector, direct * np.cos(rot1) * np.cos(rot2), 0.0, 0.0, rot1, rot2, rot3, wavelength)
    beam = upright.rotation()[2]
    p1, p2, _ = detector.positions_of(entries.number("z_center") + 0.5, entries.number("y_center") + 0.5)
    return replace(upright, poni1=float(p1 - direct * beam[0]), poni2=float(p2 - direct * beam[1])), notes


def write(geometry: Geometry) -> bytes:
    """Return a parameter file."""
    require_flat(geometry, "ImageD11")
    y, x = geometry.beam_center()
    o11, o22 = FLIPS[geometry.detector.orientation]
    direct = geometry.distance / np.cos(geometry.rot1) / np.cos(geometry.rot2)
    values = {
        "distance": float(direct * 1e6),
        "o11": o11,
        "o12": 0,
        "o21": 0,
        "o22": o22,
        "tilt_x": float(geometry.rot3),
        "tilt_y": float(geometry.rot2),
        "tilt_z": -float(geometry.rot1),
        "y_center": x - 0.5,
        "y_size": geometry.detector.pixel2 * 1e6,
        "z_center": y - 0.5,
        "z_size": geometry.detector.pixel1 * 1e6,
    }
    if geometry.wavelength is not None:
        values["wavelength"] = geometry.wavelength * 1e10
    return "".join(f"{key} {value!r}\n" for key, value in sorted(values.items())).encode()


FORMAT = GeometryFormat(
    "imaged11",
    "Parameters of ImageD11",
    ".par",
    recognises,
    read,
    write,
    frozenset({"wavelength", "orientation"}),
)
