"""What else a scan file says about each frame: motors, monitors, counters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .hdf5_tree import is_dataset, text_attribute, walk

if TYPE_CHECKING:
    import h5py

MOTOR_GROUPS = re.compile(
    r"sample|positioner|measurement|control|monitor|exchange|scan|goniometer|motor", re.IGNORECASE
)
NO_AXIS = re.compile(r"pixel_offset|pixel_size|image_key|frame_numbers?$|error_code|sequence_number", re.IGNORECASE)
GENERIC_NAMES = ("data", "value", "values", "position", "integral")
MAX_DEPTH = 6


@dataclass(frozen=True)
class Axis:
    """One value for each frame.

    Attributes
    ----------
    values : ndarray, shape (n_frames,)
    units : str
        As the file says, "" if it does not.
    path : str
        Where it was found.
    """

    values: NDArray[Any]
    units: str = ""
    path: str = ""


@dataclass(frozen=True)
class FoundAxes:
    """The axes of one file.

    Attributes
    ----------
    axes : dict
        By name, one value for each frame.
    constants : dict
        By name, motors that stood still: one value.
    mismatched : dict
        By name, the number of values of motors that do not go with the frames.
    """

    axes: dict[str, Axis] = field(default_factory=dict)
    constants: dict[str, Axis] = field(default_factory=dict)
    mismatched: dict[str, int] = field(default_factory=dict)


def find_axes(file: h5py.File, dataset: str, leading: tuple[int, ...]) -> FoundAxes:
    """Look for axes in the entry that holds `dataset`.

    Parameters
    ----------
    file : h5py.File
    dataset : str
        Path of the frames.
    leading : tuple of int
        Shape of the frames without that of an image; several dimensions for a grid scan.
    """
    n_frames = int(np.prod(leading, dtype=np.int64))
    start = _entry_of(file, dataset)
    entry = file[start or "/"]
    found = FoundAxes(axes=_grid_axes(file, dataset, leading) if len(leading) > 1 else {})
    for node in walk(entry, start, MAX_DEPTH):
        item = node.item
        if not is_dataset(item) or item.dtype.kind not in "iuf" or node.path == dataset or NO_AXIS.search(node.name):
            continue
        folder = node.path.rpartition("/")[0]
        is_motor = MOTOR_GROUPS.search(folder[len(start) :] or folder) is not None
        if item.shape in ((n_frames,), leading) and (is_motor or n_frames > 1):
            _add(found.axes, node.path, item)
        elif is_motor and item.shape in ((), (1,)):
            _add(found.constants, node.path, item)
        elif is_motor and len(item.shape) == 1 and item.shape[0] > 1:
            found.mismatched[_free_name(node.path, found.mismatched)] = int(item.shape[0])
    return found


def _grid_axes(file: h5py.File, dataset: str, leading: tuple[int, ...]) -> dict[str, Axis]:
    """Return the axes of a grid scan that its NXdata group names, repeated for each frame."""
    place = dataset.rpartition("/")[0] or "/"
    group = file[place]
    names = text_attribute(group, "axes").split(":")
    found = {}
    for name in group:
        told = text_attribute(group, f"{name}_indices")
        numbers = [int(part) for part in told.split(":") if part.isdecimal()]
        numbers = numbers or ([names.index(name)] if name in names else [])
        item = group.get(name)
        if not numbers or max(numbers) >= len(leading) or not is_dataset(item) or item.dtype.kind not in "iuf":
            continue
        if item.shape == tuple(leading[number] for number in numbers):
            missing = [number for number in range(len(leading)) if number not in numbers]
            values = np.broadcast_to(np.expand_dims(item[()], missing), leading).ravel()
            found[name] = Axis(values, text_attribute(item, "units"), f"{place}/{name}")
    return found


def _entry_of(file: h5py.File, dataset: str) -> str:
    """Return the path of the innermost entry around `dataset`, by default of the topmost group; "" for the root."""
    parts = dataset.strip("/").split("/")[:-1]
    for count in range(len(parts), 0, -1):
        path = "/" + "/".join(parts[:count])
        if text_attribute(file[path], "NX_class") in ("NXentry", "NXsubentry"):
            return path
    return f"/{parts[0]}" if parts else ""


def _add(axes: dict[str, Axis], path: str, item: h5py.Dataset) -> None:
    try:
        axis = Axis(np.asarray(item[()]).ravel(), text_attribute(item, "units") or text_attribute(item, "unit"), path)
    except OSError:
        return
    twins = (known for known in axes.values() if np.array_equal(known.values, axis.values))
    base = _base_name(path)
    if any(_base_name(known.path) == base for known in twins):
        return
    axes[_free_name(path, axes)] = axis


def _base_name(path: str) -> str:
    parts = path.strip("/").split("/")
    return parts[-2] if parts[-1] in GENERIC_NAMES and len(parts) > 1 else parts[-1]


def _free_name(path: str, taken: Iterable[str]) -> str:
    """Return a short name for the dataset at `path`: its own, with its groups' in front as far as needed."""
    parts = path.strip("/").split("/")
    if parts[-1] in GENERIC_NAMES and len(parts) > 1:
        parts = parts[:-1]
    for count in range(1, len(parts) + 1):
        name = "_".join(parts[-count:])
        if name not in taken:
            return name
    return "_".join(parts)


def join_axes(found: Sequence[FoundAxes], counts: Sequence[int]) -> FoundAxes:
    """Join the axes of stacks that follow one another.

    A motor that stood still within each stack becomes an axis if it moved between them.

    Parameters
    ----------
    found : sequence of FoundAxes
        One for each stack.
    counts : sequence of int
        Frames of each stack.
    """
    if len(found) == 1:
        return found[0]
    joined = FoundAxes(mismatched={name: count for part in found for name, count in part.mismatched.items()})
    names = dict.fromkeys(name for part in found for name in (*part.axes, *part.constants))
    for name in names:
        parts = [part.axes.get(name) or part.constants.get(name) for part in found]
        present = [part for part in parts if part is not None]
        if len(present) < len(parts):
            continue
        moves = any(name in part.axes for part in found) or len({float(part.values[0]) for part in present}) > 1
        values = [
            part.values if part.values.size == count else np.full(count, part.values[0])
            for part, count in zip(present, counts, strict=True)
        ]
        if moves:
            joined.axes[name] = Axis(np.concatenate(values), present[0].units, present[0].path)
        else:
            joined.constants[name] = present[0]
    return joined
