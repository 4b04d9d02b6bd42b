"""Image controls of GSAS-II (.imctrl): distance, centre, tilt and its direction, offset of the azimuth.

Lengths in mm, angles in degrees, pixel sizes in µm, the wavelength in Angstrom. Pixels are at Rz(azmthOff) · [M · (x
− centre, y − centre, 0) + (0, 0, distance / cos tilt)], M a turn by the tilt about the line in the plane of the
detector at the angle `rotation`; x along columns, y along rows. Source: GSASIIimage.py, ``GetTthAzmG``. GSAS-II has
no orientation; its importers may turn images.
"""

from __future__ import annotations

import re

import numpy as np

from ..fit2d import untwisted
from ..geometry import Geometry
from .entries import Entries, positive
from .format import Content, GeometryFormat, Given, checked_shape, chosen_wavelength, detector_from, require_flat
from .placement import Placement, reoriented

MARK = re.compile(r"^\s*(azmthOff|DetDepth|IOtth|LRazimuth)\s*:", re.MULTILINE)
IGNORED = {"DetDepth": "the depth of penetration", "sag": "the sag of the detector"}


def recognises(content: Content) -> bool:
    """Whether a file has names of image controls."""
    return MARK.search(content.beginning) is not None


def read(content: Content, given: Given) -> tuple[Geometry, list[str]]:
    """Read image controls; files of GSAS-II itself do not tell the pixels."""
    entries = Entries.parse(content.path, content.text, separator=":")
    sizes: list[float] = [] if "pixelSize" not in entries else entries.numbers("pixelSize", 2)
    pixel2, pixel1 = (positive(content.path, "pixelSize", size) * 1e-6 for size in sizes) if sizes else (None, None)
    counts = entries.numbers("size", 2) if "size" in entries else None
    shape = None if counts is None else checked_shape(content, counts[1], counts[0])
    detector = detector_from(content, given, pixel1=pixel1, pixel2=pixel2, shape=shape)
    told = entries.optional("wavelength")
    wavelength, notes = chosen_wavelength(told and told * 1e-10, given)
    for key, what in IGNORED.items():
        if key in entries and entries.numbers(key, 1)[0]:
            notes.append(f"{what} ({key} = {entries.text(key)})")
    tilt, direction, twist, swing = (
        np.radians(entries.number(key, 0.0)) for key in ("tilt", "rotation", "azmthOff", "det2theta")
    )
    axis = np.array([np.cos(direction), np.sin(direction), 0.0])
    turn = _about(axis, float(tilt))
    distance = positive(content.path, "distance", entries.number("distance")) * 1e-3
    center_x, center_y = (value * 1e-3 for value in entries.numbers("center", 2))
    origin = turn @ np.array([-center_x, -center_y, 0.0]) + np.array([0.0, 0.0, distance / np.cos(tilt)])
    upright = Placement(origin, turn[:, 0] * detector.pixel2, turn[:, 1] * detector.pixel1)
    moved = upright.rotated(_about(np.array([0.0, 1.0, 0.0]), -float(swing)))
    placed = moved.rotated(_about(np.array([0.0, 0.0, 1.0]), float(twist)))
    return placed.to_geometry(detector, wavelength, 3), notes


def write(geometry: Geometry) -> bytes:
    """Return image controls, with the pixels beside what GSAS-II reads."""
    require_flat(geometry, "GSAS-II")
    native = reoriented(geometry, 3)
    rotation = native.rotation()[[1, 0, 2]][:, [1, 0, 2]]  # in (x, y, z)
    beam = rotation[2]
    tilt = np.arctan2(np.hypot(beam[0], beam[1]), beam[2])
    turn = rotation @ untwisted(beam).T
    y, x = native.beam_center()
    detector = native.detector
    values: dict[str, object] = {
        "type": "PWDR",
        "distance": float(native.distance * 1e3),
        "center": [x * detector.pixel2 * 1e3, y * detector.pixel1 * 1e3],
        "tilt": float(np.degrees(tilt)),
        "rotation": float(np.degrees(np.arctan2(-beam[0], beam[1]))) if tilt else 0.0,
        "azmthOff": float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))),
        "DetDepth": 0.0,
        "det2theta": 0.0,
        "pixelSize": [detector.pixel2 * 1e6, detector.pixel1 * 1e6],
    }
    if detector.shape is not None:
        values["size"] = [detector.shape[1], detector.shape[0]]
    if native.wavelength is not None:
        values["wavelength"] = native.wavelength * 1e10
    return "".join(f"{key}:{value}\n" for key, value in values.items()).encode()


def _about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the right-handed rotation (3, 3) by `angle` rad about a unit vector."""
    a, b, c = axis
    skew = np.array([[0.0, -c, b], [c, 0.0, -a], [-b, a, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle) * skew + (1.0 - np.cos(angle)) * (skew @ skew))


FORMAT = GeometryFormat(
    "gsas2",
    "Image controls of GSAS-II",
    ".imctrl",
    recognises,
    read,
    write,
    frozenset({"wavelength", "shape"}),
)
