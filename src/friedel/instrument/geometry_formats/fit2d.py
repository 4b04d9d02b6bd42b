"""The terms of Fit2D as text, with the names that pyFAI gives them; Fit2D has no geometry file of its own."""

from __future__ import annotations

import re

import numpy as np

from ..fit2d import Fit2D
from ..geometry import Geometry
from .entries import Entries, positive
from .format import Content, GeometryFormat, Given, chosen_wavelength, detector_from, require_flat
from .placement import reoriented

MARK = re.compile(r"^\s*directDist\s*[=:]", re.IGNORECASE | re.MULTILINE)


def recognises(content: Content) -> bool:
    """Whether a file tells the direct distance by its name."""
    return MARK.search(content.beginning) is not None


def read(content: Content, given: Given) -> tuple[Geometry, list[str]]:
    """Read the terms of Fit2D: mm, pixels, degrees, µm, Angstrom."""
    entries = Entries.parse(content.path, content.text)
    sizes = [entries.optional(key) for key in ("pixelY", "pixelX")]
    pixel1, pixel2 = (None if size is None else positive(content.path, "pixel", size) * 1e-6 for size in sizes)
    detector = detector_from(content, given, pixel1=pixel1, pixel2=pixel2)
    terms = Fit2D(
        positive(content.path, "directDist", entries.number("directDist")),
        entries.number("centerX"),
        entries.number("centerY"),
        entries.number("tilt", 0.0),
        entries.number("tiltPlanRotation", 0.0),
    )
    told = entries.optional("wavelength")
    wavelength, notes = chosen_wavelength(told and told * 1e-10, given)
    return terms.to_geometry(detector, wavelength), notes


def write(geometry: Geometry) -> bytes:
    """Return the terms as text."""
    require_flat(geometry, "Fit2D")
    terms = Fit2D.from_geometry(geometry)
    lines = [
        "# Geometry in the terms of Fit2D: mm, pixels (the first one covers 0 to 1), degrees, um, Angstrom",
        f"directDist = {terms.direct_distance!r}",
        f"centerX = {terms.center_x!r}",
        f"centerY = {terms.center_y!r}",
        f"tilt = {terms.tilt!r}",
        f"tiltPlanRotation = {terms.tilt_plane_rotation!r}",
        f"pixelX = {geometry.detector.pixel2 * 1e6!r}",
        f"pixelY = {geometry.detector.pixel1 * 1e6!r}",
    ]
    if geometry.wavelength is not None:
        lines.append(f"wavelength = {geometry.wavelength * 1e10!r}")
    return ("\n".join(lines) + "\n").encode()


def losses(geometry: Geometry) -> list[str]:
    """Return how far azimuths turn because there is no turn about the beam."""
    native = reoriented(geometry, 3)
    back = Fit2D.from_geometry(native).to_geometry(native.detector)
    turn = native.rotation() @ back.rotation().T
    angle = float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))
    return [f"the turn about the beam: azimuths change by {angle:.4g} degrees"] if abs(angle) > 1e-7 else []


FORMAT = GeometryFormat("fit2d", "Terms of Fit2D", ".txt", recognises, read, write, frozenset({"wavelength"}), losses)
