"""Instruments of HEXRD (.yml): beam, and the tilt and translation of a panel.

Lengths in mm, the energy in keV; `tilt` is an exponential map (axis times angle in rad), `translation` the centre of
the panel; on it X runs along columns, Y against rows. The beam runs along −Z unless `vector` says otherwise. What is
(x, y, z) elsewhere here is (x, −y, −z) there, so that an image of orientation 3 has no tilt. HEXRD has no mirrored
images. Source: hexrd.instrument.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from friedel.core.errors import FileError, GeometryError
from friedel.core.units import energy_from_wavelength, wavelength_from_energy

from ..fit2d import untwisted
from ..geometry import Geometry
from .entries import positive
from .format import (
    Content,
    GeometryFormat,
    Given,
    checked_shape,
    chosen_wavelength,
    detector_from,
    require_flat,
    require_shape,
)
from .placement import Placement, is_mirrored, reoriented

MARK = re.compile(r"^detectors\s*:\s*$", re.MULTILINE)
TURN = np.diag([1.0, -1.0, -1.0])
SATURATION = 4294967294.0


def recognises(content: Content) -> bool:
    """Whether a file has detectors and a beam as HEXRD has them."""
    return MARK.search(content.searchable) is not None


def read(content: Content, given: Given) -> tuple[Geometry, list[str]]:
    """Read an instrument with one detector."""
    from scipy.spatial.transform import Rotation

    table = _table(content)
    try:
        beam, detectors = table.get("beam") or {}, table["detectors"]
        if len(detectors) != 1 and content.inside not in detectors:
            raise GeometryError(
                f"{content.path}: it has {len(detectors)} detectors: {', '.join(map(str, detectors))}.",
                f"Name one of them: {content.path}::{next(iter(detectors), 'NAME')}.",
            )
        panel = detectors.get(content.inside) or next(iter(detectors.values()))
        pixels, transform = panel["pixels"], panel["transform"]
        shape = checked_shape(content, float(pixels["rows"]), float(pixels["columns"]))
        height, width = (positive(content.path, "pixel size", float(size)) * 1e-3 for size in pixels["size"])
        turn = Rotation.from_rotvec(np.asarray(transform["tilt"], dtype=np.float64)).as_matrix()
        center = np.asarray(transform["translation"], dtype=np.float64) * 1e-3 + np.zeros(3)
        energy = beam.get("energy")
        direction = _against_beam(beam.get("vector") or {})
        told = None if energy is None else wavelength_from_energy(positive(content.path, "energy", float(energy)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(
            content.path, f"has no detector that can be read ({error!r}).", "Give an instrument of HEXRD."
        ) from None
    corner = center + turn @ np.array([-0.5 * shape[1] * width, 0.5 * shape[0] * height, 0.0])
    placed = Placement(corner, turn[:, 0] * width, -turn[:, 1] * height).rotated(TURN @ untwisted(direction))
    detector = detector_from(content, given, pixel1=height, pixel2=width, shape=shape)
    wavelength, notes = chosen_wavelength(told, given)
    notes += ["the distortion of the panel"] if panel.get("distortion") else []
    return placed.to_geometry(detector, wavelength), notes


def _table(content: Content) -> dict[str, Any]:
    import yaml

    try:
        table = yaml.safe_load(content.text)
    except yaml.YAMLError as error:
        raise FileError(content.path, f"is no YAML: {error}.", "Give an instrument of HEXRD.") from None
    if not isinstance(table, dict):
        raise FileError(content.path, "holds no table.", "Give an instrument of HEXRD.")
    return table


def _against_beam(vector: dict[str, Any]) -> np.ndarray:
    """Return the unit vector against the beam, from azimuth and polar angle in degrees."""
    azimuth, polar = np.radians([float(vector.get("azimuth", 90.0)), float(vector.get("polar_angle", 90.0))])
    return np.array([np.sin(polar) * np.cos(azimuth), np.cos(polar), np.sin(polar) * np.sin(azimuth)])


def write(geometry: Geometry) -> bytes:
    """Return an instrument with one detector."""
    from scipy.spatial.transform import Rotation

    require_flat(geometry, "HEXRD")
    rows, columns = require_shape(geometry, "HEXRD")
    own = geometry.detector.orientation
    native = reoriented(geometry, 3) if is_mirrored(own, 3) else geometry
    detector = native.detector
    placed = Placement.from_geometry(native).rotated(TURN)
    along_x, along_y = placed.fast / placed.pixel2, -placed.slow / placed.pixel1
    turn = np.stack([along_x, along_y, np.cross(along_x, along_y)], axis=1)
    tilt = Rotation.from_matrix(turn).as_rotvec()
    center = placed.moved(0.5 * rows, 0.5 * columns).origin * 1e3
    name = re.sub(r"\W+", "_", detector.name).strip("_").lower() or "detector"
    lines = ["beam:"]
    if native.wavelength is not None:
        lines.append(f"  energy: {energy_from_wavelength(native.wavelength)!r}")
    lines += ["  vector:", "    azimuth: 90.0", "    polar_angle: 90.0", "detectors:", f"  {name}:"]
    lines += ["    buffer: null", "    detector_type: planar", "    pixels:"]
    lines += [f"      columns: {columns}", f"      rows: {rows}", "      size:"]
    lines += [f"      - {size * 1e3!r}" for size in (detector.pixel1, detector.pixel2)]
    lines += [f"    saturation_level: {SATURATION!r}", "    transform:", "      tilt:"]
    lines += [f"      - {_number(value)}" for value in tilt] + ["      translation:"]
    lines += [f"      - {_number(value)}" for value in center]
    lines += ["id: friedel", "oscillation_stage:", "  chi: 0.0", "  translation:", *["  - 0.0"] * 3]
    return ("\n".join(lines) + "\n").encode()


def _number(value: float) -> str:
    """Return a number so that YAML takes it as one: with a point before an exponent."""
    text = repr(float(value))
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


FORMAT = GeometryFormat(
    "hexrd", "Instrument of HEXRD", ".yml", recognises, read, write, frozenset({"wavelength", "shape"})
)
