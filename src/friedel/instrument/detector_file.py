"""Files that describe the pixels of a detector: splines of FIT2D, and NeXus detector files as pyFAI has them.

What pyFAI does not write is added as NeXus has it: modules as groups of NXdetector_module, and the rule that places of
pixels follow from (`RULE`), so that they come back as exact as they were.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import FileError, GeometryError, ParameterError
from friedel.core.files import replacing

from .detector import Detector, oriented_modules
from .model_kinds import Module, Span
from .models import GENERIC
from .pixel_layouts import restored_pixels
from .pixel_shapes import PixelShapes, PixelTable, SplineDistortion
from .sensor import Sensor

SPLINE_ENDING = ".spline"
NEXUS_ENDINGS = (".h5", ".hdf5", ".nxs", ".nexus")

NUMBER_WIDTH = 14
"""Characters of a number in a spline file; neighbours need no space between them."""
LARGEST_FILE = 16 * 1024**2
ROWS_AT_A_TIME = 64
RULE = "friedel_pixels"
GAPS = ("gap_rows", "gap_columns")
ORIENTATIONS = {1: "TopLeft", 2: "TopRight", 3: "BottomRight", 4: "BottomLeft"}


def is_detector_file(name: str) -> bool:
    """Whether a name is that of a file that describes a detector, rather than that of a model."""
    return Path(name).suffix.lower() in (SPLINE_ENDING, *NEXUS_ENDINGS)


def read_detector(path: str | Path) -> Detector:
    """Read a detector from a spline file of FIT2D or a NeXus detector file.

    Raises
    ------
    FileError
        If the file cannot be read or describes no detector.
    GeometryError
        If what it describes is not supported.
    """
    if Path(path).suffix.lower() == SPLINE_ENDING:
        return read_spline(path)
    return read_nexus_detector(path)


# ---- FIT2D


def read_spline(path: str | Path) -> Detector:
    """Read the distortion of a detector as FIT2D writes it: pixel sizes in µm, displacements in pixels.

    Raises
    ------
    FileError
        If the file cannot be read or is no spline file.
    """
    lines = _lines(path)
    sections = {line.strip().upper(): number for number, line in enumerate(lines)}
    try:
        region = _numbers(lines[sections["VALID REGION"] + 1])
        spacing = _numbers(lines[sections["GRID SPACING, X-PIXEL SIZE, Y-PIXEL SIZE"] + 1])
        splines = [_spline(lines, sections[f"{axis}-DISTORTION"] + 1) for axis in "XY"]
        shape = (int(region[3] - region[1]), int(region[2] - region[0]))
        pixel1, pixel2 = spacing[2] * 1e-6, spacing[1] * 1e-6
    except (KeyError, IndexError, ValueError) as error:
        raise FileError(path, f"is no spline file of FIT2D ({error}).", "Give the file that FIT2D wrote.") from None
    pixels = SplineDistortion(shape, pixel1, pixel2, *splines, path=str(Path(path).absolute()))
    return Detector(GENERIC, shape, pixel1, pixel2, pixels=pixels)


def _lines(path: str | Path) -> list[str]:
    try:
        if Path(path).stat().st_size > LARGEST_FILE:
            raise FileError(path, "is too large for a spline file.", "Give the file that FIT2D wrote.")
        return Path(path).read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}.", "Check the name of the spline file.") from None


def _numbers(line: str) -> list[float]:
    text = line.rstrip()
    return [float(text[start : start + NUMBER_WIDTH]) for start in range(0, len(text), NUMBER_WIDTH)]


def _spline(lines: list[str], start: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return knots along x and y, and coefficients, of the block of lines that begins with their counts."""
    along_x, along_y = (int(word) for word in lines[start].split())
    values: list[float] = []
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        values += _numbers(line)
    block = np.asarray(values)
    return block[:along_x], block[along_x : along_x + along_y], block[along_x + along_y :]


# ---- NeXus


def read_nexus_detector(path: str | Path) -> Detector:
    """Read a NeXus detector file as pyFAI writes it: pixel size, shape, corners of the pixels, mask, sensor.

    Corners and mask belong to the pixels of the stored image, whatever its orientation.

    Raises
    ------
    FileError
        If the file cannot be read or holds no detector.
    GeometryError
        If what it says about its pixels does not fit together.
    """
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            group = _find_detector(file)
            if group is None:
                raise FileError(path, "holds no detector (NXdetector).", "Give a NeXus detector file.")
            name = str(group.name).rpartition("/")[2].replace("_", " ")
            return _read_group(group, str(Path(path).absolute()), name)
    except OSError as error:
        raise FileError(path, f"cannot be read as HDF5: {error}.", "Give a NeXus detector file.") from None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise FileError(path, f"is damaged: {error}.", "Write the detector file again.") from None


def _read_group(group: Any, path: str, name: str) -> Detector:
    import h5py

    known = [key for key in group if isinstance(group[key], h5py.Dataset) and key != "pixel_corners"]
    values = {key: group[key][()] for key in known}
    spans, rule = _module_spans(group), _read_rule(group, path)
    if rule is not None:
        detector = _detector(path, name, values, spans, rule)
        # A mask that is not that of the rule is one that somebody drew: it counts, and the table with it.
        if np.array_equal(detector.mask(), np.asarray(values.get("mask", detector.mask())) != 0):
            return detector
    if "pixel_corners" in group:
        values["pixel_corners"] = group["pixel_corners"][()]
    return _detector(path, name, values, spans)


class _Rule(NamedTuple):
    """What places and mask of pixels follow from."""

    pixels: PixelShapes
    gap_rows: tuple[Span, ...]
    gap_columns: tuple[Span, ...]


def _read_rule(group: Any, path: str) -> _Rule | None:
    if RULE not in group:
        return None
    arrays = {name: np.asarray(group[RULE][name][()]) for name in group[RULE]}
    rows, columns = (tuple((int(start), int(stop)) for start, stop in arrays.pop(name)) for name in GAPS)
    return _Rule(restored_pixels(str(group[RULE].attrs["kind"]), arrays, path), rows, columns)


def _module_spans(group: Any) -> tuple[Module, ...]:
    """Return what each module records of the stored array."""
    spans = []
    for key in group:
        item = group[key]
        if hasattr(item, "keys") and _class_of(item) == "NXdetector_module":
            origin, size = ([int(number) for number in item[name][()][-2:]] for name in ("data_origin", "data_size"))
            spans.append(Module((origin[0], origin[0] + size[0]), (origin[1], origin[1] + size[1])))
    return tuple(spans)


def _class_of(group: Any) -> str:
    kind = group.attrs.get("NX_class", b"")
    return kind.decode() if isinstance(kind, bytes) else str(kind)


def _find_detector(group: Any) -> Any:
    """Return the first group of class NXdetector, in the order of their names."""
    for key in group:
        item = group.get(key)
        if item is None or not hasattr(item, "keys"):
            continue
        if _class_of(item) == "NXdetector":
            return item
        found = _find_detector(item)
        if found is not None:
            return found
    return None


def _detector(
    path: str, name: str, values: dict[str, Any], spans: tuple[Module, ...], rule: _Rule | None = None
) -> Detector:
    if "pixel_size" not in values:
        raise FileError(path, f"{name} has no pixel_size.", "Write the detector file again.")
    pixel1, pixel2 = (float(size) for size in values["pixel_size"])
    orientation = int(values.get("orientation", 3)) or 3
    pixels = rule.pixels if rule else _table(path, name, values, orientation)
    dummy = values.get("dummy")
    return Detector(
        name=name,
        shape=pixels.shape,
        pixel1=pixel1,
        pixel2=pixel2,
        orientation=orientation,
        dummy=None if dummy is None else float(dummy),
        delta_dummy=float(values.get("delta_dummy") or 0.0),
        gap_rows=rule.gap_rows if rule else (),
        gap_columns=rule.gap_columns if rule else (),
        sensor=_sensor(values),
        pixels=pixels,
        module_spans=oriented_modules(spans, pixels, orientation),
    )


def _table(path: str, name: str, values: dict[str, Any], orientation: int) -> PixelTable:
    corners, mask = values.get("pixel_corners"), values.get("mask")
    if corners is None and mask is None:
        shape = _shape(values)
        if shape is None:
            raise FileError(path, f"{name} has no shape.", "Write the detector file again.")
        mask = np.zeros(shape, np.bool_)
    return PixelTable(corners, mask, path=path, orientation=orientation)


def _shape(values: dict[str, Any]) -> tuple[int, int] | None:
    for key in ("shape", "max_shape", "flatfield", "darkcurrent"):
        if key in values:
            found = values[key] if key.endswith("shape") else np.shape(values[key])
            return int(found[0]), int(found[1])
    return None


def _sensor(values: dict[str, Any]) -> Sensor | None:
    material = values.get("sensor_material")
    if material is None:
        return None
    text = material.decode() if isinstance(material, bytes) else str(material)
    thickness = values.get("sensor_thickness")
    try:
        return Sensor(text, None if thickness is None else float(thickness))
    except (GeometryError, ParameterError):
        return None


def write_nexus_detector(path: str | Path, detector: Detector, *, overwrite: bool = False) -> Detector:
    """Write a NeXus detector file as pyFAI reads it.

    Parameters
    ----------
    path : path-like
    detector : Detector
        With a known shape.
    overwrite : bool
        Whether to replace a file that exists.

    Returns
    -------
    Detector
        The same detector, which now knows its file.

    Raises
    ------
    OutputError
        If the file exists already or cannot be written.
    """
    import h5py

    with replacing(path, overwrite=overwrite) as temporary, h5py.File(temporary, "w", locking=False) as file:
        _write_detector(file, detector)
    return read_nexus_detector(path)


def _write_detector(file: Any, detector: Detector) -> None:
    shape = detector.known_shape()
    name = detector.name.replace(" ", "_")
    file.attrs.update({"NX_class": "NXroot", "default": "entry_0000"})
    group = file
    for part, kind in (("entry_0000", "NXentry"), ("pyFAI", "NXsubentry"), (name, "NXdetector")):
        group = group.create_group(part)
        group.attrs["NX_class"] = kind
        if kind == "NXentry":
            group["start_time"] = datetime.now().astimezone().isoformat(timespec="seconds")
    displaced, flat = detector.displaced, detector.pixels is None or detector.pixels.flat
    group["API_VERSION"] = np.bytes_("1.1")
    group["IS_FLAT"], group["IS_CONTIGUOUS"], group["CORNERS"] = flat, not displaced, detector.n_corners
    group["pixel_size"] = np.array([detector.pixel1, detector.pixel2])
    group["pixel_size"].attrs["unit"] = "m"
    group["force_pixel"] = False
    for key in ("max_shape", "shape"):
        group[key] = np.asarray(shape, np.int32)
    group["binning"] = np.ones(2, np.int32)
    group["orientation"] = np.int32(detector.orientation)
    group["orientation"].attrs["value"] = ORIENTATIONS[detector.orientation]
    if detector.dummy is not None:
        group["dummy"], group["delta_dummy"] = detector.dummy, detector.delta_dummy
    packing = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    group.create_dataset("mask", data=detector.mask().astype(np.int8), **packing)
    group["mask"].attrs["interpretation"] = "image"
    if displaced:
        _write_corners(group, detector, packing)
    if detector.pixels is not None and not isinstance(detector.pixels, PixelTable):
        _write_rule(group, detector)
    for number, module in enumerate(detector.modules() if detector.module_spans else ()):
        part = group.create_group(f"module_{number:04}")
        part.attrs["NX_class"] = "NXdetector_module"
        part["data_origin"] = np.array([span[0] for span in module], np.int32)
        part["data_size"] = np.array([stop - start for start, stop in module], np.int32)
    if detector.sensor is not None:
        group["sensor_material"] = np.bytes_(detector.sensor.material)
        if detector.sensor.thickness is not None:
            group["sensor_thickness"] = detector.sensor.thickness
            group["sensor_thickness"].attrs["unit"] = "m"


def _write_corners(group: Any, detector: Detector, packing: dict[str, Any]) -> None:
    """Write the table of corners, a few rows at a time: that of a large image plate is larger than memory."""
    rows, columns = detector.known_shape()
    step = min(ROWS_AT_A_TIME, rows)
    shape = (rows, columns, detector.n_corners, 3)
    table = group.create_dataset("pixel_corners", shape, np.float32, chunks=(1, *shape[1:]), **packing)
    table.attrs["interpretation"] = "vertex"
    for start in range(0, rows, step):
        some = slice(start, min(start + step, rows))
        table[some] = corner_table(detector, some)


def _write_rule(group: Any, detector: Detector) -> None:
    """Write what the places of the pixels follow from, and the gaps as part of it."""
    rule = group.create_group(RULE)
    rule.attrs.update({"NX_class": "NXcollection", "kind": type(detector.pixels).__name__})
    for name in GAPS:
        rule[name] = np.asarray(getattr(detector, name), np.int64).reshape(-1, 2)
    for name, values in detector.pixels.arrays().items() if detector.pixels is not None else ():
        rule[name] = values


def corner_table(detector: Detector, rows: slice = slice(None)) -> NDArray[np.float32]:
    """Return the corners of pixels of the stored array: float32 (rows, columns, n, 3), the last axis (z, y, x)."""
    p1, p2, p3 = detector.corner_positions(rows)
    return np.stack([np.zeros_like(p1) if p3 is None else p3, p1, p2], axis=-1).astype(np.float32)
