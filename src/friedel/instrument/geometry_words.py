"""A geometry in words: the same numbers in the terms of every program, side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from friedel.core.errors import GeometryError
from friedel.core.units import energy_from_wavelength

from .fit2d import Fit2D
from .geometry import Geometry
from .geometry_formats.imaged11 import FLIPS
from .geometry_formats.placement import Placement, reoriented

CORNERS = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"}
ROWS_AT_A_TIME = 256
COMMENT = re.compile(r"^#\s*([^:]+):\s*(.+?)\s*$")
CALIBRATION = ("Calibrant", "Verdict", "Residual")
Line = tuple[str, str]


def described(geometry: Geometry) -> list[Line]:
    """Return what a geometry is in the terms of every program: (name, words) of each line.

    What cannot be told without the number of pixels is left out.
    """
    lines = [*_detector(geometry), *_beam(geometry), *_poni(geometry)]
    for part in (_center, _fit2d, _spd, _imaged11, _vectors, _reach):
        try:
            lines += part(geometry)
        except GeometryError as error:
            lines.append((part.__name__.strip("_"), error.problem))
    return lines


def calibrated(text: str) -> list[Line]:
    """Return what the comments of a PONI file tell of its calibration: verdict, residual, errors.

    Parameters
    ----------
    text : str
        The file; of several calibrations the last one counts, as in reading.
    """
    told = [match.groups() for line in text.rpartition("# Nota")[2].splitlines() if (match := COMMENT.match(line))]
    errors = [f"{key.removesuffix(' error').lower()} {value}" for key, value in told if key.endswith(" error")]
    lines = [("Calibration", f"{key}: {value}") for key, value in told if key.startswith(CALIBRATION) or "+/-" in value]
    return lines + ([("Errors", ", ".join(errors))] if errors else [])


def aligned(lines: Sequence[Line]) -> str:
    """Return lines with their words one below the other; a name is written once."""
    width = max((len(name) for name, _ in lines), default=0)
    shown, last = [], ""
    for name, words in lines:
        shown.append(f"{'' if name == last else name:<{width}}  {words}".rstrip())
        last = name
    return "\n".join(shown)


def _detector(geometry: Geometry) -> list[Line]:
    detector = geometry.detector
    size = "unknown number of" if detector.shape is None else f"{detector.shape[0]} x {detector.shape[1]}"
    pixel = f"{detector.pixel1 * 1e6:.6g} x {detector.pixel2 * 1e6:.6g} um"
    name = "" if detector.generic else f"{detector.name}, "
    lines = [f"{name}{size} pixels (rows x columns) of {pixel}"]
    lines.append(f"orientation {detector.orientation} (first pixel {CORNERS[detector.orientation]})")
    if detector.sensor is not None:
        thick = detector.sensor.thickness
        told = detector.sensor.material + ("" if thick is None else f", {thick * 1e6:.6g} um")
        lines.append(f"sensor {told}" + (", parallax corrected" if geometry.parallax else ""))
    if detector.displaced:
        lines.append("pixels displaced from a regular grid; what follows is that of the grid")
    return [("Detector", text) for text in lines]


def _beam(geometry: Geometry) -> list[Line]:
    if geometry.wavelength is None:
        return [("Beam", "wavelength unknown")]
    energy = energy_from_wavelength(geometry.wavelength)
    return [("Beam", f"{geometry.wavelength * 1e10:.9g} Angstrom, {energy:.7g} keV")]


def _poni(geometry: Geometry) -> list[Line]:
    rotations = ", ".join(
        f"rot{axis} {angle + 0.0:.9g} rad ({_unsigned_zero(f'{math.degrees(angle):.5f}')} deg)"
        for axis, angle in ((1, geometry.rot1), (2, geometry.rot2), (3, geometry.rot3))
    )
    place = f"distance {geometry.distance:.9g} m, poni1 {geometry.poni1:.9g} m, poni2 {geometry.poni2:.9g} m"
    return [("PONI", place), ("PONI", rotations)]


def _unsigned_zero(text: str) -> str:
    return text if float(text) else text.lstrip("-")


def _center(geometry: Geometry) -> list[Line]:
    y, x = geometry.beam_center()
    terms = Fit2D.from_geometry(geometry)
    where = ""
    if geometry.detector.shape is not None:
        rows, columns = geometry.detector.shape
        where = ", on the detector" if 0 <= y <= rows and 0 <= x <= columns else ", off the detector"
    return [
        ("Beam centre", f"x {x:.4f} px, y {y:.4f} px (the first pixel covers 0 to 1){where}"),
        ("Direct distance", f"{terms.direct_distance:.6f} mm along the beam"),
        ("Tilt", f"{terms.tilt:.6f} deg towards {terms.tilt_plane_rotation:.4f} deg from the fast axis"),
    ]


def _fit2d(geometry: Geometry) -> list[Line]:
    terms = Fit2D.from_geometry(geometry)
    return [
        (
            "Fit2D",
            f"directDist {terms.direct_distance:.6f} mm, centerX {terms.center_x:.4f}, centerY {terms.center_y:.4f}",
        ),
        ("Fit2D", f"tilt {terms.tilt:.6f} deg, tiltPlanRotation {terms.tilt_plane_rotation:.6f} deg"),
    ]


def _spd(geometry: Geometry) -> list[Line]:
    native = reoriented(geometry, 3)
    center1, center2 = native.poni2 / native.detector.pixel2, native.poni1 / native.detector.pixel1
    place = f"SampleDistance {native.distance:.9g} m, Center_1 {center1:.4f}, Center_2 {center2:.4f}"
    angles = ", ".join(
        f"DetectorRotation_{axis} {angle:.6g} rad"
        for axis, angle in ((1, native.rot2), (2, native.rot1), (3, native.rot3))
    )
    return [("SPD", place), ("SPD", angles)]


def _imaged11(geometry: Geometry) -> list[Line]:
    y, x = geometry.beam_center()
    direct = geometry.distance / math.cos(geometry.rot1) / math.cos(geometry.rot2)
    o11, o22 = FLIPS[geometry.detector.orientation]
    return [
        (
            "ImageD11",
            f"distance {direct * 1e6:.4f} um, y_center {x - 0.5:.4f}, z_center {y - 0.5:.4f}, o11 {o11}, o22 {o22}",
        ),
        ("ImageD11", f"tilt_x {geometry.rot3:.6g}, tilt_y {geometry.rot2:.6g}, tilt_z {-geometry.rot1:.6g} rad"),
    ]


def _vectors(geometry: Geometry) -> list[Line]:
    placement = Placement.from_geometry(geometry)
    fast, slow = placement.fast / placement.pixel2, placement.slow / placement.pixel1
    x, y, z = placement.origin
    pixel = placement.pixel2
    turn = np.array([1.0, -1.0, -1.0])
    return [
        ("CrystFEL", f"clen + coffset {z:.9g} m, corner_x {x / pixel:.4f}, corner_y {y / pixel:.4f} px"),
        ("CrystFEL", f"fs {_vector(fast)}, ss {_vector(slow)}"),
        ("CXI", f"corner_position {_vector(placement.origin)} m"),
        ("DIALS", f"origin {_vector(turn * placement.origin * 1e3)} mm"),
        ("DIALS", f"fast_axis {_vector(turn * fast)}, slow_axis {_vector(turn * slow)}"),
    ]


def _vector(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{float(value) + 0.0:.6g}" for value in values) + ")"


def _reach(geometry: Geometry) -> list[Line]:
    if geometry.detector.shape is None:
        return []
    least, most = math.inf, -math.inf
    for start in range(0, geometry.shape[0], ROWS_AT_A_TIME):
        angles = geometry.center_array("2th_rad", slice(start, start + ROWS_AT_A_TIME))
        least, most = min(least, float(angles.min())), max(most, float(angles.max()))
    words = f"2theta {math.degrees(least):.4f} to {math.degrees(most):.4f} deg"
    if geometry.wavelength is not None:
        factor = 4.0 * math.pi / (geometry.wavelength * 1e10)
        low, high = (factor * math.sin(angle / 2.0) for angle in (least, most))
        words += f", q {low:.5g} to {high:.5g} 1/Angstrom, d down to {2.0 * math.pi / high:.5g} Angstrom"
    return [("Reach", words)]
