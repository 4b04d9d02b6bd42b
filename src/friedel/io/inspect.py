"""What is in a file, for a person: shapes, types, units, axes, links, how it was made, what can be done with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from friedel.core.errors import DataError, FileError, FriedelError
from friedel.core.provenance import Provenance

from . import handles
from .axes import Axis
from .frames import FrameSource, open_frames
from .hdf5_tree import BrokenLink, Node, is_dataset, text_attribute, text_value, walk
from .nexus import is_result, open_dataset, read_provenance
from .recognise import head_of, natural_key, recognise, split_location

Holds = Literal["frames", "image", "result", "HDF5", "geometry", "pattern", "array", "unknown"]
LISTED = 40
"""Datasets, links or values that the text names at most."""
LARGEST_TABLE = 1 << 24
"""Bytes of a JSON file that is read to be described."""
SPARSE_FRAMES = "pyFAI_sparse_frames"
"""Attribute of the entry of files that hold sparse frames."""
LOOKED_AT = 5000
"""Objects of an HDF5 file that are looked at."""


@dataclass(frozen=True)
class ItemDescription:
    """A dataset, variable or coordinate.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : str
    units : str
    note : str
        Its dimensions, its range, or its text.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    units: str = ""
    note: str = ""

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape)) or "scalar"
        parts = [f"{self.name}:", f"{shape} {self.dtype}", f"[{self.units}]" if self.units else "", self.note]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class FileDescription:
    """What a file holds.

    Attributes
    ----------
    path : str
    holds : str
        "frames", "image", "result", "HDF5", "geometry", "pattern", "array" or "unknown".
    format : str
        "hdf5", "cbf", ...
    size : int
        Bytes.
    items : tuple of ItemDescription
        Datasets, or variables of a result.
    axes : tuple of ItemDescription
        What has one value for each frame; coordinates of a result.
    links : tuple of str
        Links into other files, broken ones marked.
    provenance : tuple of Provenance
    values : dict of str to str
        Keys of a header or a geometry.
    hints : tuple of str
        What friedel can do with it: commands, or problems to solve first.
    """

    path: str
    holds: Holds
    format: str
    size: int
    items: tuple[ItemDescription, ...] = ()
    axes: tuple[ItemDescription, ...] = ()
    links: tuple[str, ...] = ()
    provenance: tuple[Provenance, ...] = ()
    values: dict[str, str] | None = None
    hints: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.holds} ({self.format}, {_readable(self.size)})"]
        for title, entries in (
            ("", self.items),
            ("Axes and coordinates", self.axes),
            ("Links", self.links),
            ("Header", [f"{key}: {value}" for key, value in (self.values or {}).items()]),
            ("Made by", [_made(record) for record in self.provenance]),
            ("What friedel can do with it", self.hints),
        ):
            if entries:
                lines += [f"{title}:"] if title else []
                lines += [f"  {entry}" for entry in entries[:LISTED]]
                lines += [f"  ... and {len(entries) - LISTED} more"] if len(entries) > LISTED else []
        return "\n".join(lines)


def _readable(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _made(record: Provenance) -> str:
    inputs = f" from {', '.join(Path(item.path).name for item in record.inputs[:3])}" if record.inputs else ""
    return f"{record.task} (version {record.version}), friedel {record.friedel}, {record.started}{inputs}"


def describe_file(path: str | Path) -> FileDescription:
    """Look at a file; values of large arrays are not read.

    Parameters
    ----------
    path : path-like
        Any file, or ``file.h5::/path`` for a part of one.

    Raises
    ------
    FileError
        If it cannot be read.
    DataError
        If the path in it is not there.
    """
    file, inside = split_location(path)
    size = handles.stamp_of(file).size
    kind = recognise(file)
    if kind == "hdf5":
        return _describe_hdf5(str(path), file, inside, size)
    if kind == "poni":
        return _describe_poni(file, size)
    if kind == "text":
        described = _describe_goniometer(file, size) or _describe_pattern(file, size)
        if described is not None:
            return described
    if kind == "numpy":
        return _describe_numpy(file, size)
    return _describe_image(file, kind, size)


# ---- images and text


def _describe_image(path: str, kind: str, size: int) -> FileDescription:
    try:
        source = open_frames(path)
    except FriedelError as error:
        return FileDescription(path, "unknown", kind, size, hints=(error.problem.removeprefix(f"{path}: "),))
    header: dict[str, str] = {}
    if kind == "cbf":
        from .cbf import read_header

        header = read_header(path).contents
    holds: Holds = "frames" if source.n_frames > 1 else "image"
    return FileDescription(
        path, holds, kind, size, (_frames_item(source),), _axes_items(source), values=header, hints=_hints(path, source)
    )


def _describe_poni(path: str, size: int) -> FileDescription:
    lines = head_of(path, 100_000).decode("utf-8", "replace").splitlines()
    pairs = (line.partition(":") for line in lines if ":" in line and not line.startswith("#"))
    values = {key.strip(): value.strip() for key, _, value in pairs}
    hints: tuple[str, ...] = (f"friedel integrate1d FRAMES... --geometry {path} -o patterns.h5",)
    if not any(key.lower() == "wavelength" for key in values):
        hints += ("It names no wavelength: only angles and radii can be computed.",)
    return FileDescription(path, "geometry", "poni", size, values=values, hints=hints)


def _describe_goniometer(path: str, size: int) -> FileDescription | None:
    """Describe the JSON of a goniometer calibration; None if the file is none."""
    if Path(path).suffix.lower() != ".json" or size > LARGEST_TABLE:
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if "goniometer" not in str(content.get("content", "")).casefold():
            return None
        function = content["trans_function"]
        names = content.get("param_names") or function["param_names"]
        given = content["param"]
        numbers = [given[name] for name in names] if isinstance(given, dict) else given
        motors = [str(name) for name in content.get("pos_names") or function.get("pos_names") or ("pos",)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    values = {"detector": str(content.get("detector")), "wavelength": str(content.get("wavelength"))}
    values |= {"motors": ", ".join(motors)}
    formulas = ((key, text) for key, text in function.items() if key.endswith("_expr") and text is not None)
    values |= {key.removesuffix("_expr"): str(text) for key, text in formulas}
    values |= {f"  {name}": str(number) for name, number in zip(names, numbers, strict=False)}
    positions = " ".join(motors)
    hints = (f"friedel merge1d FRAMES... --geometry {path} --positions {positions} -o merged.h5",)
    return FileDescription(path, "geometry", "goniometer", size, values=values, hints=hints)


def _describe_pattern(path: str, size: int) -> FileDescription | None:
    from .text import read_pattern

    try:
        pattern = read_pattern(path)
    except FileError:
        return None
    items = tuple(_variable_item(name, item) for name, item in pattern.data_vars.items())
    return FileDescription(path, "pattern", "text", size, items, (_variable_item("radial", pattern.radial),))


def _describe_numpy(path: str, size: int) -> FileDescription:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise FileError(path, f"is no numpy array that can be read ({error}).", "Copy it again.") from None
    return FileDescription(path, "array", "numpy", size, (ItemDescription("array", array.shape, str(array.dtype)),))


# ---- HDF5


def _describe_hdf5(shown: str, path: str, inside: str | None, size: int) -> FileDescription:
    if inside is None and is_result(path):
        return _describe_result(path, size)
    with handles.examined(path) as file:
        if inside is not None and inside not in file:
            raise DataError(f"{path}: there is no {inside}.", "friedel info FILE shows what there is.")
        root = file[inside] if inside else file
        nodes = [Node(inside or "/", root)] if is_dataset(root) else list(islice(walk(root, inside or ""), LOOKED_AT))
        broken = [node.item for node in nodes if isinstance(node.item, BrokenLink)]
        datasets = [node for node in nodes if not isinstance(node.item, BrokenLink) and is_dataset(node.item)]
        datasets.sort(key=lambda node: (-node.item.size, natural_key(node.path)))
        items = tuple(_dataset_item(node) for node in datasets)
        others = {node.item.file.filename for node in datasets} - {path}
        sparse = any(SPARSE_FRAMES in getattr(item, "attrs", ()) for item in file.values() if item is not None)
    links = tuple(f"{link.path} -> {link.target} (missing)" for link in broken)
    links += tuple(f"-> {other}" for other in sorted(others, key=natural_key))
    try:
        source = open_frames(shown)
    except FriedelError as error:
        problem = error.problem.removeprefix(f"{path}: ")
        hints = (f"No frames: {problem}", *([error.remedy] if error.remedy else []))
        hints = (f"friedel densify {path} -o frames.h5",) if sparse else hints
        return FileDescription(shown, "HDF5", "hdf5", size, items, links=links, hints=hints)
    frames = (_frames_item(source), *(item for item in items if not _same_place(item, source)))
    hints = _hints(shown, source) + _mismatch_hints(source)
    return FileDescription(shown, "frames", "hdf5", size, frames, _axes_items(source), links, hints=hints)


def _same_place(item: ItemDescription, source: FrameSource) -> bool:
    return item.name == getattr(source.segments[0], "dataset", None) and len(source.files) == 1


def _dataset_item(node: Node) -> ItemDescription:
    item = node.item
    note = text_value(item)[:60].strip()
    if item.dtype.kind in "iufb" and item.size == 1:
        note = f"= {np.asarray(item[()]).item():g}" if item.dtype.kind != "b" else f"= {np.asarray(item[()]).item()}"
    return ItemDescription(node.path, item.shape, _dtype(item.dtype), text_attribute(item, "units"), note)


def _dtype(dtype: Any) -> str:
    return "text" if dtype.kind in "OSU" else str(dtype)


def _describe_result(path: str, size: int) -> FileDescription:
    dataset = open_dataset(path)
    items = tuple(_variable_item(name, item) for name, item in dataset.data_vars.items())
    coordinates = tuple(_variable_item(name, item) for name, item in dataset.coords.items())
    records = read_provenance(path)
    hints: tuple[str, ...] = (f"friedel plot {path}", f"friedel report {path}")
    hints += (f"friedel rerun {path}",) if records else ()
    axes = {str(name) for name in (*dataset.coords, *dataset.dims)}
    if {"angle", "translation"} <= axes:
        hints += (f"friedel reconstruct {path} -o volume.h5",)
    return FileDescription(path, "result", "hdf5", size, items, coordinates, provenance=records, hints=hints)


def _variable_item(name: Any, item: Any) -> ItemDescription:
    note = f"({', '.join(map(str, item.dims))})" if item.dims else ""
    if item.ndim == 1 and item.dtype.kind in "iuf" and item.size and item.name in item.coords:
        note += f" {float(item[0]):g} to {float(item[-1]):g}"
    return ItemDescription(str(name), item.shape, _dtype(item.dtype), str(item.attrs.get("units", "")), note)


# ---- frames


def _frames_item(source: FrameSource) -> ItemDescription:
    codec = source.segments[0].codec
    stored = {"bslz4": "bitshuffle-LZ4, read raw", "byte_offset": "byte offset, read raw"}.get(codec or "", "")
    files = f"in {len(source.files)} files" if len(source.files) > 1 else ""
    note = ", ".join(part for part in (stored, files) if part)
    return ItemDescription("frames (frame, y, x)", source.shape, str(source.dtype), "", note)


def _axes_items(source: FrameSource) -> tuple[ItemDescription, ...]:
    return tuple(_axis_item(name, axis) for name, axis in (source.axes | source.constants).items())


def _axis_item(name: str, axis: Axis) -> ItemDescription:
    if axis.values.size == 1:
        note = f"= {axis.values[0]:g}"
    else:
        distinct = np.unique(axis.values).size
        note = f"{np.nanmin(axis.values):g} to {np.nanmax(axis.values):g}, {distinct} different values"
    return ItemDescription(name, axis.values.shape, str(axis.values.dtype), axis.units, note)


def _hints(path: str, source: FrameSource) -> tuple[str, ...]:
    hints = [f"friedel integrate1d {path} --geometry setup.poni -o patterns.h5"]
    moving = [name for name, axis in source.axes.items() if np.unique(axis.values).size > 1]
    repeated = [name for name in moving if np.unique(source.axes[name].values).size < source.n_frames]
    if len(moving) >= 2 and repeated:
        hints.append(f"friedel xrdct {path} --geometry setup.poni -o maps.h5   (motors: {', '.join(moving[:6])})")
    if source.segments[0].path.endswith((".h5", ".hdf5", ".nxs")) and "theta" in source.axes:
        hints.append(f"friedel reconstruct {path} -o volume.h5")
    return tuple(hints)


def _mismatch_hints(source: FrameSource) -> tuple[str, ...]:
    if not source.mismatched:
        return ()
    names = ", ".join(f"{name} ({count})" for name, count in list(source.mismatched.items())[:6])
    return (f"Not one value for each of {source.n_frames} frames: {names}",)
