"""Experiments of DIALS (.expt): beam and panels as dxtbx keeps them, JSON.

Lengths in mm, the wavelength in Angstrom; `direction` points from the sample to the source, z usually. What is (x, y,
z) elsewhere here is (x, −y, −z) there, so that an image of orientation 3 has the axes (1, 0, 0) and (0, −1, 0) that
dxtbx gives most images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import FileError, GeometryError

from ..fit2d import untwisted
from ..geometry import Geometry
from ..sensor import Sensor
from .format import (
    Content,
    GeometryFormat,
    Given,
    checked_shape,
    chosen_wavelength,
    rectangles,
    require_shape,
)
from .joining import EVEN, MODULE_SKEW, Panel, displaced_within_modules, joined, module_panels
from .placement import Placement

TURN = np.diag([1.0, -1.0, -1.0])
_Array = NDArray[np.float64]


def recognises(content: Content) -> bool:
    """Whether a file is a list of experiments."""
    return content.beginning.lstrip().startswith("{") and '"ExperimentList"' in content.searchable


def read(content: Content, given: Given) -> tuple[Geometry, list[str]]:
    """Read beam and detector of the first experiment."""
    try:
        table = json.loads(content.text)
        experiment = (table.get("experiment") or [{}])[0]
        beam = table["beam"][experiment.get("beam") or 0]
        detector = table["detector"][experiment.get("detector") or 0]
        direction = np.asarray(beam.get("direction", (0, 0, 1)), dtype=np.float64)
        panels = list(_panels(content, detector))
        tables = detector["panels"]
        if content.inside:
            tables, panels = _one_panel(content, tables, panels)
        masked = _masked(tables, panels)
        told = float(beam["wavelength"]) * 1e-10 if beam.get("wavelength") else None
        sensor = _sensor(tables[0])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise FileError(
            content.path, f"has no beam and detector that can be read ({error!r}).", "Give experiments of DIALS."
        ) from None
    if len(table["detector"]) > 1 or len(table["beam"]) > 1:
        others = ["beams and detectors of other experiments: those of the first are taken"]
    else:
        others = []
    if len(panels) > 1 and all(panel.first_row == panel.first_column == 0 for panel in panels):
        raise GeometryError(
            f"{content.path}: its {len(panels)} panels are images of their own.",
            f"Name one of them: {content.path}::{panels[0].name}.",
        )
    if direction.shape != (3,) or not np.isfinite(direction).all() or not np.linalg.norm(direction) > 0:
        raise GeometryError(f"{content.path}: the direction of the beam is {list(direction)}.", "Correct it.")
    upright = TURN @ untwisted(direction / np.linalg.norm(direction))
    turned = [
        Panel(
            panel.name, panel.first_row, panel.first_column, panel.rows, panel.columns, panel.placement.rotated(upright)
        )
        for panel in panels
    ]
    wavelength, notes = chosen_wavelength(told, given)
    geometry = joined(content, turned, masked, wavelength, given)
    if sensor is not None and geometry.detector.sensor is None:
        geometry = replace(geometry, detector=replace(geometry.detector, sensor=sensor))
    return geometry, notes + others


def _one_panel(
    content: Content, tables: list[Mapping[str, Any]], panels: list[Panel]
) -> tuple[list[Mapping[str, Any]], list[Panel]]:
    """Return the panel that is named, or numbered, as an image of its own."""
    names = [panel.name for panel in panels]
    numbers = [str(number) for number in range(len(panels))]
    found = next((known.index(content.inside) for known in (names, numbers) if content.inside in known), None)
    if found is None:
        raise GeometryError(f"{content.path}: there is no panel {content.inside}.", f"Panels: {', '.join(names[:20])}.")
    return [tables[found]], [replace(panels[found], first_row=0, first_column=0)]


def _frame(table: Mapping[str, Any]) -> _Array:
    """Return the matrix (4, 4) from coordinates in a frame to those of its parent."""
    fast, slow, origin = (np.asarray(table[key], dtype=np.float64) for key in ("fast_axis", "slow_axis", "origin"))
    matrix = np.eye(4)
    matrix[:3] = np.stack([fast, slow, np.cross(fast, slow), origin], axis=1)
    return matrix


def _panels(content: Content, detector: Mapping[str, Any]) -> Iterator[Panel]:
    """Yield panels in m; a panel's axes are those in the frame of the group that has it."""
    parents = dict(_parents(detector.get("hierarchy") or {}, np.eye(4)))
    for number, table in enumerate(detector["panels"]):
        whole = parents.get(number, np.eye(4)) @ _frame(table)
        width, height = (float(size) * 1e-3 for size in table["pixel_size"])
        columns, rows = (float(count) for count in table["image_size"])
        first_column, first_row = (int(count) for count in table.get("raw_image_offset") or (0, 0))
        placement = Placement(whole[:3, 3] * 1e-3, whole[:3, 0] * width, whole[:3, 1] * height)
        shape = checked_shape(content, rows, columns)
        checked_shape(content, first_row + rows, first_column + columns)
        yield Panel(str(table.get("name") or number), first_row, first_column, *shape, placement)


def _parents(group: Mapping[str, Any], above: _Array) -> Iterator[tuple[int, _Array]]:
    if "fast_axis" in group:
        above = above @ _frame(group)
    for child in group.get("children") or ():
        if "panel" in child:
            yield int(child["panel"]), above
        else:
            yield from _parents(child, above)


def _masked(tables: list[Mapping[str, Any]], panels: list[Panel]) -> NDArray[np.bool_]:
    rows = max(panel.first_row + panel.rows for panel in panels)
    columns = max(panel.first_column + panel.columns for panel in panels)
    masked = np.zeros((rows, columns), dtype=np.bool_)
    for table, panel in zip(tables, panels, strict=True):
        for left, top, right, bottom in table.get("mask") or ():
            masked[panel.place][max(0, int(top)) : int(bottom), max(0, int(left)) : int(right)] = True
    return masked


def _sensor(table: Mapping[str, Any]) -> Sensor | None:
    material, thickness = table.get("material"), table.get("thickness")
    return Sensor(str(material), float(thickness) / 1e3) if material and thickness else None


def write(geometry: Geometry) -> bytes:
    """Return a list of one experiment: one panel with gaps masked, or one for each module off the common grid."""
    if geometry.wavelength is None:
        raise GeometryError("DIALS needs the wavelength, and the geometry has none.", "Give --wavelength.")
    panels = _told_panels(geometry)
    tables = [_panel_table(geometry, panel) for panel in panels]
    beam = {
        "__id__": "monochromatic",
        "direction": [0.0, 0.0, 1.0],
        "wavelength": geometry.wavelength * 1e10,
        "divergence": 0.0,
        "sigma_divergence": 0.0,
        "polarization_normal": [0.0, 1.0, 0.0],
        "polarization_fraction": 0.999,
        "flux": 0.0,
        "transmission": 1.0,
    }
    children = [{"panel": number} for number in range(len(tables))]
    table = {
        "__id__": "ExperimentList",
        "experiment": [{"__id__": "Experiment", "identifier": "", "beam": 0, "detector": 0}],
        "imageset": [],
        "beam": [beam],
        "detector": [{"panels": tables, "hierarchy": _node("", "") | {"children": children}}],
        "goniometer": [],
        "scan": [],
        "crystal": [],
        "profile": [],
        "scaling_model": [],
    }
    return (json.dumps(table, indent=2) + "\n").encode()


def _told_panels(geometry: Geometry) -> list[Panel]:
    """Return the whole array as one panel if all pixels are on one grid, as DIALS has most detectors."""
    found, _ = module_panels(geometry, "DIALS")
    if geometry.detector.displaced and len(found) > 1:
        return [replace(panel, placement=panel.placement.straightened(MODULE_SKEW)) for panel in found]
    rows, columns = require_shape(geometry, "DIALS")
    return [Panel("Panel", 0, 0, rows, columns, Placement.from_geometry(geometry))]


def _panel_table(geometry: Geometry, panel: Panel) -> dict[str, Any]:
    placed, sensor = panel.placement.rotated(TURN), geometry.detector.sensor
    masked = rectangles(geometry.detector.mask()[panel.place])
    return _node(panel.name, "SENSOR_PAD") | {
        "fast_axis": (placed.fast / placed.pixel2).tolist(),
        "slow_axis": (placed.slow / placed.pixel1).tolist(),
        "origin": (placed.origin * 1e3).tolist(),
        "raw_image_offset": [panel.first_column, panel.first_row],
        "image_size": [panel.columns, panel.rows],
        "pixel_size": [placed.pixel2 * 1e3, placed.pixel1 * 1e3],
        "trusted_range": [0.0, 4294967294.0],
        "mask": [[left, top, right, bottom] for top, bottom, left, right in masked],
        "thickness": 0.0 if sensor is None or sensor.thickness is None else sensor.thickness * 1e3,
        "material": "" if sensor is None else sensor.material,
    }


def losses(geometry: Geometry) -> list[str]:
    """Return that pixels displaced within modules, or skewed modules, cannot be told."""
    if geometry.detector.shape is None:
        return []
    found, _ = module_panels(geometry, "DIALS")
    skew = max(abs(panel.placement.skew) * max(panel.rows, panel.columns) for panel in found)
    skewed = [f"the skew of modules, {skew:.3g} px from end to end: their axes are at right angles"]
    return (skewed if skew > EVEN else []) + displaced_within_modules(geometry, "DIALS")


def _node(name: str, kind: str) -> dict[str, Any]:
    """Return the entries that panels and groups of them have."""
    return {
        "name": name,
        "type": kind,
        "fast_axis": [1.0, 0.0, 0.0],
        "slow_axis": [0.0, 1.0, 0.0],
        "origin": [0.0, 0.0, 0.0],
        "raw_image_offset": [0, 0],
        "image_size": [0, 0],
        "pixel_size": [0.0, 0.0],
        "trusted_range": [0.0, 0.0],
        "thickness": 0.0,
        "material": "",
        "mu": 0.0,
        "identifier": "",
        "mask": [],
        "gain": 1.0,
        "pedestal": 0.0,
        "px_mm_strategy": {"type": "SimplePxMmStrategy"},
    }


FORMAT = GeometryFormat(
    "dials",
    "Experiments of DIALS",
    ".expt",
    recognises,
    read,
    write,
    frozenset({"wavelength", "orientation", "shape", "gaps", "sensor", "displacement"}),
    losses,
)
