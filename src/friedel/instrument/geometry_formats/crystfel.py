"""Geometry files of CrystFEL (.geom): panels with corner, fast and slow vectors, and bad regions.

Corners and vectors are in pixels of 1/res, clen and coffset in m, along x, y and z (the beam). Source: the manual page
crystfel_geometry(5). x is taken along axis 2 and y along axis 1, as pyFAI does.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import FileError, GeometryError
from friedel.core.units import energy_from_wavelength, wavelength_from_energy

from ..geometry import Geometry
from .entries import NUMBER, Entries, positive
from .format import Content, GeometryFormat, Given, chosen_wavelength, rectangles
from .joining import Panel, displaced_within_modules, joined, module_panels
from .placement import Placement

MARK = re.compile(r"^[^\s;/]+/(fs|ss|corner_x|corner_y|min_fs)\s*=", re.MULTILINE)
VECTOR = re.compile(rf"([-+]?\s*(?:{NUMBER.pattern})?)\s*([xyz])")
NOT_PANELS = ("bad", "group", "rigid_group")
MOST_REGIONS = 2000
LENGTHS = {"m": 1.0, "mm": 1e-3, "cm": 1e-2, "um": 1e-6}
ENERGIES = {"ev": 1e-3, "kev": 1.0, "mev": 1e3}
WAVELENGTHS = {"m": 1.0, "a": 1e-10}


def recognises(content: Content) -> bool:
    """Whether a file has parameters of panels."""
    return MARK.search(content.beginning) is not None


def read(content: Content, given: Given) -> tuple[Geometry, list[str]]:
    """Read a geometry file."""
    head, parts = _parse(content)
    wavelength, notes = chosen_wavelength(_wavelength(content, head), given)
    if wavelength is None and {"photon_energy", "wavelength"} & set(head):
        notes.append("the place of the photon energy in data files: give --wavelength")
    if not any(not name.startswith(NOT_PANELS) for name in parts):
        raise FileError(content.path, "has no panel.", "Give a geometry file of CrystFEL.")
    clen = _clen(content, head, parts)
    shifts = [_measure(content, head, key, LENGTHS, "m") or 0.0 for key in ("detector_shift_x", "detector_shift_y")]
    found = {
        name: _panel(content, name, Entries(content.path, values), clen, shifts)
        for name, values in parts.items()
        if not name.startswith(NOT_PANELS)
    }
    regions = {name: values for name, values in parts.items() if name.startswith("bad")}
    masked, left = _bad_pixels(content, found, regions)
    for name, panel in found.items():
        if parts[name].get("no_index", "0").casefold() in ("1", "true"):
            masked[panel.place] = True
    if left:
        notes.append(f"bad regions in x and y: {', '.join(left)}")
    return joined(content, list(found.values()), masked, wavelength, given), notes


def _parse(content: Content) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return global parameters, and those of each panel or region; global ones hold for panels that follow."""
    head: dict[str, str] = {}
    parts: dict[str, dict[str, str]] = {}
    for line in content.text.splitlines():
        key, separator, value = line.partition(";")[0].partition("=")
        name, slash, parameter = key.strip().partition("/")
        if not separator:
            continue
        if slash:
            parts.setdefault(name, {} if name.startswith(NOT_PANELS) else dict(head))[parameter.strip()] = value.strip()
        else:
            head[name] = value.strip()
    return head, parts


def _measure(content: Content, head: dict[str, str], key: str, units: dict[str, float], default: str) -> float | None:
    """Return a value in the base unit; None if it is not there or a place in data files."""
    text = head.get(key, "")
    if not text or text.startswith(("/", "%")):
        return None
    number, _, unit = text.partition(" ")
    scale = units.get((unit.strip() or default).casefold())
    if scale is None:
        raise GeometryError(f"{content.path}: {key} is {text!r}.", f"Its unit is one of {', '.join(units)}.")
    return Entries(content.path, {key: number}).number(key) * scale


def _wavelength(content: Content, head: dict[str, str]) -> float | None:
    wavelength = _measure(content, head, "wavelength", WAVELENGTHS, "m")
    energy = _measure(content, head, "photon_energy", ENERGIES, "eV")
    if wavelength is None and energy is not None:
        wavelength = wavelength_from_energy(positive(content.path, "photon_energy", energy))
    return None if wavelength is None else positive(content.path, "wavelength", wavelength)


def _clen(content: Content, head: dict[str, str], parts: dict[str, dict[str, str]]) -> float:
    told = {text for values in [head, *parts.values()] if (text := values.get("clen"))}
    if not told:
        raise GeometryError(f"{content.path}: there is no clen.", "Add the camera length: clen = 0.2 m.")
    lengths = {_measure(content, {"clen": text}, "clen", LENGTHS, "m") for text in told}
    if None in lengths:
        raise GeometryError(
            f"{content.path}: clen is {', '.join(sorted(told))}, a place in data files.",
            "Replace it by the camera length itself: clen = 0.2 m.",
        )
    if len(lengths) > 1:
        raise GeometryError(f"{content.path}: panels have different clen.", "Use one clen, and coffset for each panel.")
    return float(lengths.pop() or 0.0)


def _panel(content: Content, name: str, entries: Entries, clen: float, shifts: list[float]) -> Panel:
    try:
        pixel = 1.0 / positive(content.path, "res", entries.number("res"))
        ranges = [int(entries.number(key)) for key in ("min_ss", "max_ss", "min_fs", "max_fs")]
        corner = np.array([entries.number("corner_x"), entries.number("corner_y"), 0.0]) * pixel
        fast, slow = (_vector(entries, key) * pixel for key in ("fs", "ss"))
    except GeometryError as error:
        raise GeometryError(f"{error.problem} (panel {name})", error.remedy) from None
    if min(ranges) < 0 or ranges[1] < ranges[0] or ranges[3] < ranges[2] or max(ranges) > 100_000:
        raise GeometryError(
            f"{content.path}: panel {name} reaches from {ranges[0::2]} to {ranges[1::2]}.", "Correct it."
        )
    origin = corner + np.array([*shifts, clen + entries.number("coffset", 0.0)])
    rows, columns = ranges[1] - ranges[0] + 1, ranges[3] - ranges[2] + 1
    return Panel(name, ranges[0], ranges[2], rows, columns, Placement(origin, fast, slow))


def _vector(entries: Entries, key: str) -> NDArray[np.float64]:
    """Return a vector like ``+0.99x -0.01y +0.1z``; a letter alone means 1."""
    text = entries.text(key).strip()
    vector = np.zeros(3)
    rest = text
    for match in VECTOR.finditer(text):
        factor = match[1].replace(" ", "")
        vector["xyz".index(match[2])] += float(f"{factor}1" if factor in ("", "+", "-") else factor)
        rest = rest.replace(match[0], "", 1)
    if rest.strip() or not vector.any():
        raise GeometryError(f"{entries.path}: {key} is {text!r}.", f"Give a vector like {key} = +1.0x +0.0y.")
    return vector


def _bad_pixels(
    content: Content, found: dict[str, Panel], regions: dict[str, dict[str, str]]
) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which pixels bad regions have, and the names of those in x and y, which are left."""
    rows = max(panel.first_row + panel.rows for panel in found.values())
    columns = max(panel.first_column + panel.columns for panel in found.values())
    masked, left = np.zeros((rows, columns), dtype=np.bool_), []
    for name, values in regions.items():
        entries = Entries(content.path, values)
        if "min_fs" not in entries and "min_ss" not in entries:
            left.append(name)
            continue
        first_row, last_row, first, last = (
            int(entries.number(key)) for key in ("min_ss", "max_ss", "min_fs", "max_fs")
        )
        region = np.zeros_like(masked)
        region[max(0, first_row) : last_row + 1, max(0, first) : last + 1] = True
        if "panel" in entries and entries.text("panel") in found:
            own = np.zeros_like(masked)
            own[found[entries.text("panel")].place] = True
            region &= own
        masked |= region
    return masked, left


def write(geometry: Geometry) -> bytes:
    """Return a geometry file with a panel for each module."""
    found, _ = module_panels(geometry, "CrystFEL")
    detector = geometry.detector
    pixel, clen = detector.pixel2, geometry.distance
    lines = ["; Geometry for CrystFEL, written by friedel", f"clen = {clen!r} m"]
    if geometry.wavelength is not None:
        lines.append(f"photon_energy = {energy_from_wavelength(geometry.wavelength) * 1e3!r} eV")
    lines += [f"res = {1.0 / pixel!r}", "adu_per_photon = 1", "data = /entry/data/data"]
    lines += ["dim0 = %", "dim1 = ss", "dim2 = fs", ""]
    regions = _regions(geometry, found)
    for panel in found:
        part = panel.placement
        values: dict[str, Any] = {
            "min_fs": panel.first_column,
            "max_fs": panel.first_column + panel.columns - 1,
            "min_ss": panel.first_row,
            "max_ss": panel.first_row + panel.rows - 1,
            "corner_x": repr(float(part.origin[0] / pixel)),
            "corner_y": repr(float(part.origin[1] / pixel)),
            "coffset": repr(float(part.origin[2] - clen)),
            "fs": _vector_text(part.fast / pixel),
            "ss": _vector_text(part.slow / pixel),
        }
        lines += [f"{panel.name}/{key} = {value}" for key, value in values.items()] + [""]
        for count, (top, bottom, left, right) in enumerate(regions.get(panel.name, [])):
            name = f"bad_{panel.name}_{count}"
            lines += [
                f"{name}/panel = {panel.name}",
                f"{name}/min_fs = {panel.first_column + left}",
                f"{name}/max_fs = {panel.first_column + right - 1}",
                f"{name}/min_ss = {panel.first_row + top}",
                f"{name}/max_ss = {panel.first_row + bottom - 1}",
                "",
            ]
    lines.append(f"group_all = {','.join(panel.name for panel in found)}")
    return ("\n".join(lines) + "\n").encode()


def _regions(geometry: Geometry, found: list[Panel]) -> dict[str, list[tuple[int, int, int, int]]]:
    """Return the masked rectangles of each panel; none at all if they are too many to be told."""
    mask = geometry.detector.mask()
    regions = {panel.name: rectangles(mask[panel.place]) for panel in found}
    return regions if sum(map(len, regions.values())) <= MOST_REGIONS else {}


def _vector_text(vector: NDArray[np.float64]) -> str:
    return " ".join(f"{float(part):+.17g}{axis}" for part, axis in zip(vector, "xyz", strict=True))


def losses(geometry: Geometry) -> list[str]:
    """Return that a scattered mask, or pixels displaced within modules, cannot be told."""
    if geometry.detector.shape is None:
        return []
    found, _ = module_panels(geometry, "CrystFEL")
    scattered = geometry.detector.mask().any() and not _regions(geometry, found)
    lost = ["the mask, too scattered for bad regions: use mask0_file"] if scattered else []
    return lost + displaced_within_modules(geometry, "CrystFEL")


FORMAT = GeometryFormat(
    "crystfel",
    "Geometry of CrystFEL",
    ".geom",
    recognises,
    read,
    write,
    frozenset({"wavelength", "orientation", "shape", "gaps", "displacement"}),
    losses,
)
