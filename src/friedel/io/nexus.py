"""Datasets as NeXus files that open by default in any HDF5 browser.

Each data variable ``v`` becomes a group ``/entry/v`` (NXdata) with the signal ``v``, its coordinates as axes and one
standard deviation as ``v_errors``; a coordinate that several variables share is stored once and linked. Each execution
that led to the result is a group ``/entry/process_N`` (NXprocess). Source: NeXus manual, NXdata, NXprocess, "default".
"""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from friedel.core import files
from friedel.core.errors import DataError, FileError
from friedel.core.provenance import Provenance
from friedel.data.conventions import check_dataset, errors_name, is_errors

from . import handles
from .hdf5_frames import signal_name
from .hdf5_tree import BrokenLink, is_dataset, is_group, resolve_link, text_attribute, text_value
from .lazy import lazy_variable

if TYPE_CHECKING:
    import h5py

SLAB_BYTES = 64 * 1024**2
"""Lazy variables are copied in slabs of at most this size."""
JSON_PREFIX = "json:"
STRUCTURE = ("NX_class", "default", "signal", "axes", "dimensions", "interpretation")
"""Attributes that belong to the file, not to the Dataset."""
TEXTS = ("title", "definition")
LEFTOVERS = "coordinates"
TIME_UNITS = "ns since 1970-01-01T00:00:00"


def variable_path(name: Hashable) -> str:
    """Return where a data variable (or the standard deviation of one) stands in the file."""
    text = str(name)
    return f"/entry/{text.removesuffix('_errors')}/{text}"


# ---- writing


def write_dataset(
    target: str | Path | h5py.Group,
    dataset: xr.Dataset,
    *,
    existing: Collection[str] = (),
    overwrite: bool = True,
) -> None:
    """Write a Dataset.

    Parameters
    ----------
    target : path-like or h5py.File
        A path is written under a temporary name and renamed, so that it is complete or absent. An open file is added
        to.
    dataset : xarray.Dataset
        ``attrs["default"]`` names the variable that browsers show first; ``attrs["provenance"]`` is the record as JSON.
        Lazy variables are read in slabs.
    existing : collection of str
        Variables whose values are in the file already, at `variable_path`; they are given attributes and axes only.
    overwrite : bool
        Whether to replace a file at the path.

    Raises
    ------
    DataError
        If the Dataset breaks the conventions, holds what HDF5 cannot, or a variable in `existing` has another shape.
    OutputError
        If the path cannot be written, or exists and may not be replaced.
    """
    check_dataset(dataset)
    if not isinstance(target, (str, Path)):
        _write_entry(target, dataset, existing)
        return
    with replacing(target, overwrite=overwrite) as temporary:
        import h5py

        if dataset.nbytes <= SLAB_BYTES:
            Path(temporary).write_bytes(_encoded(dataset, existing))
            return
        with h5py.File(temporary, "w", locking=False) as file:
            _write_entry(file, dataset, existing)


def _encoded(dataset: xr.Dataset, existing: Collection[str]) -> bytes:
    """Return a Dataset as the bytes of a file: where the disk is full HDF5 cannot even close one, python says so."""
    import h5py

    with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
        _write_entry(file, dataset, existing)
        file.flush()
        return bytes(file.id.get_file_image())


@contextmanager
def replacing(path: str | Path, *, overwrite: bool = True) -> Iterator[str]:
    """Lend a temporary path as `friedel.core.files.replacing` does; HDF5 files kept open of `path` are closed first."""
    with files.replacing(path, overwrite=overwrite, release=handles.release) as temporary:
        yield temporary


def _write_entry(file: h5py.Group, dataset: xr.Dataset, existing: Collection[str]) -> None:
    names = [str(name) for name in dataset.data_vars]
    signals = [name for name in names if not is_errors(name, names)]
    default = dataset.attrs.get("default", signals[0] if signals else None)
    file.attrs["NX_class"] = "NXroot"
    file.attrs["default"] = "entry"
    file.attrs["creator"] = "friedel"
    entry = file.require_group("entry")
    entry.attrs["NX_class"] = "NXentry"
    if default is not None:
        entry.attrs["default"] = default
    for key, value in dataset.attrs.items():
        if key in TEXTS:
            _replace(entry, key)
            entry[key] = str(value)
        elif key not in ("default", "provenance"):
            _write_attribute(entry, str(key), value)
    places: dict[str, str] = {}
    for name in signals:
        _write_signal(entry, dataset, name, existing, places)
    leftover = [str(name) for name in dataset.coords if str(name) not in places]
    if leftover:
        group = entry.require_group(LEFTOVERS)
        group.attrs["NX_class"] = "NXcollection"
        for name in leftover:
            _write_variable(group, name, dataset.coords[name].variable)
    _write_provenance(entry, dataset.attrs.get("provenance"))


def _write_signal(
    entry: h5py.Group, dataset: xr.Dataset, name: str, existing: Collection[str], places: dict[str, str]
) -> None:
    array = dataset[name]
    group = entry.require_group(name)
    group.attrs["NX_class"] = "NXdata"
    group.attrs["signal"] = name
    for written in (name, errors_name(name)):
        if written not in dataset:
            continue
        if written in existing:
            _adopt(group, written, dataset[written].variable)
        else:
            _write_variable(group, written, dataset[written].variable)
    interpretation = _interpretation(array.dims)
    if interpretation:
        group[name].attrs["interpretation"] = interpretation
    if array.dims:
        group.attrs["axes"] = [str(dim) if dim in array.coords else "." for dim in array.dims]
    for key, coordinate in array.coords.items():
        text = str(key)
        _replace(group, text)
        if text in places:
            group[text] = entry[places[text]]
        else:
            _write_variable(group, text, coordinate.variable)
            places[text] = f"{name}/{text}"
        if coordinate.dims:
            group.attrs[f"{text}_indices"] = [array.dims.index(dim) for dim in coordinate.dims]


def _interpretation(dims: tuple[Hashable, ...]) -> str:
    if dims[-2:] in (("y", "x"), ("azimuth", "radial")):
        return "image"
    return "spectrum" if dims[-1:] == ("radial",) else ""


def _replace(group: h5py.Group, name: str) -> None:
    if name in group:
        del group[name]


def _adopt(group: h5py.Group, name: str, variable: xr.Variable) -> None:
    if name not in group or group[name].shape != variable.shape:
        found = group[name].shape if name in group else "nothing"
        raise DataError(
            f"{group.file.filename}: {group.name}/{name} should hold {variable.shape}, it holds {found}.",
            "The file being built is damaged: delete it and start again.",
        )
    _write_attributes(group[name], variable)


def _write_variable(group: h5py.Group, name: str, variable: xr.Variable) -> None:
    _replace(group, name)
    if variable.dtype.kind in "OUS":
        _write_texts(group, name, variable)
    elif variable.dtype.kind == "M":
        group[name] = variable.values.astype("datetime64[ns]").astype(np.int64)
    elif variable.dtype.kind in "biufc":
        chunks = variable.encoding.get("chunksizes") or None
        stored = group.create_dataset(name, variable.shape, variable.dtype, chunks=chunks)
        if not variable.ndim or not variable.size:
            stored[...] = variable.values
        else:
            rows = max(1, SLAB_BYTES // max(1, variable.nbytes // variable.shape[0]))
            for start in range(0, variable.shape[0], rows):
                stored[start : start + rows] = variable[start : start + rows].values
    else:
        raise DataError(f"{name!r} has the type {variable.dtype}, which cannot be stored.", "Convert it to numbers.")
    _write_attributes(group[name], variable)
    if variable.dtype.kind == "M":
        group[name].attrs["units"] = TIME_UNITS


def _write_texts(group: h5py.Group, name: str, variable: xr.Variable) -> None:
    import h5py

    values = variable.values
    if not all(isinstance(value, str) for value in np.asarray(values, object).ravel()):
        raise DataError(f"{name!r} holds objects that are no text.", "Convert it to numbers or text.")
    group.create_dataset(name, data=np.asarray(values, object), dtype=h5py.string_dtype())


def _write_attributes(stored: h5py.Dataset, variable: xr.Variable) -> None:
    for key, value in variable.attrs.items():
        _write_attribute(stored, str(key), value)
    stored.attrs["dimensions"] = [str(dim) for dim in variable.dims] or ""


def _write_attribute(item: Any, key: str, value: Any) -> None:
    if value is None or key in STRUCTURE:
        return
    plain = isinstance(value, (str, bool, int, float, complex, np.number, np.bool_))
    if plain or (isinstance(value, np.ndarray) and value.dtype.kind in "biufc"):
        item.attrs[key] = value
        return
    try:
        item.attrs[key] = JSON_PREFIX + json.dumps(value)
    except TypeError:
        raise DataError(
            f"The attribute {key!r} is a {type(value).__name__}, which cannot be stored.",
            "Use text, numbers, or lists and dicts of them.",
        ) from None


def _write_provenance(entry: h5py.Group, given: Any) -> None:
    if given is None:
        return
    try:
        record = given if isinstance(given, Provenance) else Provenance.from_json(str(given))
    except ValueError as error:
        raise DataError(f"attrs['provenance'] is no record: {error}.", "Store Provenance.to_json() there.") from None
    for number, step in enumerate(_in_order(record), 1):
        _replace(entry, f"process_{number}")
        group = entry.create_group(f"process_{number}")
        group.attrs["NX_class"] = "NXprocess"
        group["program"] = "friedel"
        group["version"] = step.friedel
        group["date"] = step.started
        group["sequence_index"] = number
        group["task"] = step.task
        _write_note(group, "parameters", json.dumps(step.parameters, indent=1))
        _write_note(group, "record", step.to_json())


def _write_note(group: h5py.Group, name: str, text: str) -> None:
    note = group.create_group(name)
    note.attrs["NX_class"] = "NXnote"
    note["type"] = "application/json"
    note["data"] = text


def _in_order(record: Provenance) -> list[Provenance]:
    """Return a record and those before it, the first execution first, each once."""
    found: list[Provenance] = []
    for earlier in record.earlier:
        found += [step for step in _in_order(earlier) if step not in found]
    return [*found, record]


# ---- reading


def read_provenance(path: str | Path) -> tuple[Provenance, ...]:
    """Return the record of the execution that made a file, which holds those before it; () for any other file.

    Raises
    ------
    FileError
        If the file cannot be read.
    """
    with handles.examined(str(path)) as file:
        text = _read_provenance(file.get(_default_entry(file) or "entry"))
    try:
        return (Provenance.from_json(text),) if text else ()
    except ValueError as error:
        raise FileError(path, f"its provenance cannot be understood: {error}.", "It is of another version.") from None


def _read_provenance(entry: Any) -> str:
    if not is_group(entry):
        return ""
    names = [name for name in entry if name.startswith("process_") and f"{name}/record/data" in entry]
    last = max(names, key=lambda name: int(name.rpartition("_")[2]), default=None)
    return text_value(entry[f"{last}/record/data"]) if last is not None else ""


def finished_result(path: str | Path | None, record: Provenance | None) -> xr.Dataset | None:
    """Return what is in `path` if the work that `record` describes made it, so that it need not be done again.

    A command that is repeated after it had finished gives its result, as one that was interrupted goes on.

    Parameters
    ----------
    path : path-like or None
        Where the result is to be written.
    record : Provenance or None
        Of the execution that is about to begin, with its input files.
    """
    if path is None or record is None or not Path(path).exists():
        return None
    try:
        made_by = read_provenance(path)[:1]
    except FileError:
        return None
    return open_dataset(path) if made_by and made_by[0].fingerprint() == record.fingerprint() else None


def is_result(path: str | Path) -> bool:
    """Whether friedel wrote this HDF5 file as a result."""
    with handles.examined(str(path)) as file:
        return text_attribute(file, "creator") == "friedel" and "entry" in file and _has_data(file["entry"])


def _has_data(entry: Any) -> bool:
    return any(text_attribute(item, "NX_class") == "NXdata" for item in entry.values() if is_group(item))


def open_dataset(path: str | Path, entry: str | None = None) -> xr.Dataset:
    """Open the NXdata groups of an entry as a lazy Dataset.

    Parameters
    ----------
    path : path-like
        A file of friedel or any NeXus file.
    entry : str, optional
        The entry to read; by default the file's default one.

    Returns
    -------
    xarray.Dataset
        Values are read when they are needed; the file is not kept locked.

    Raises
    ------
    FileError
        If it cannot be read, or holds no NXdata group.
    """
    text = str(path)
    with handles.examined(text) as file:
        group = _find_entry(file, entry)
        reader = _Reader(text)
        for item in _data_groups(group):
            reader.add(item)
        if not reader.variables and not reader.coordinates:
            raise FileError(path, "holds no NXdata group.", "friedel info shows what it holds.")
        dataset = reader.dataset()
        dataset.attrs = _entry_attributes(group, dataset)
    return dataset


def _default_entry(file: h5py.File) -> str:
    """Return the name of the default entry: friedel's own in its files, which may show that of another layout first."""
    own = text_attribute(file, "creator") == "friedel" and "entry" in file
    return "entry" if own else text_attribute(file, "default")


def _find_entry(file: h5py.File, name: str | None) -> Any:
    if name is not None:
        if name not in file:
            raise DataError(f"{file.filename}: there is no entry {name!r}.", f"Entries: {', '.join(file)}.")
        return file[name]
    default = _default_entry(file)
    if default in file:
        return file[default]
    entries = [item for item in file.values() if is_group(item) and text_attribute(item, "NX_class") == "NXentry"]
    return entries[0] if entries else file


def _data_groups(entry: Any) -> Iterator[Any]:
    """Yield the NXdata groups of an entry, or what its default chain leads to if it has none directly."""
    found = False
    for name in entry:
        item = resolve_link(entry, name)
        if isinstance(item, BrokenLink) or not is_group(item):
            continue
        if name == LEFTOVERS or (signal_name(item) is not None and text_attribute(item, "NX_class") == "NXdata"):
            found = True
            yield item
    if found:
        return
    item = entry
    while is_group(item):
        if signal_name(item) is not None:
            yield item
            return
        default = text_attribute(item, "default")
        if default not in item:
            return
        item = item[default]


def _entry_attributes(entry: Any, dataset: xr.Dataset) -> dict[str, Any]:
    attributes = _read_attributes(entry) if entry.name != "/" else {}
    for key in TEXTS:
        if key in entry and is_dataset(entry[key]) and text_value(entry[key]):
            attributes[key] = text_value(entry[key])
    default = text_attribute(entry, "default")
    if default in dataset:
        attributes["default"] = default
    provenance = _read_provenance(entry)
    return attributes | ({"provenance": provenance} if provenance else {})


def _read_attributes(item: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in item.attrs.items():
        if key in STRUCTURE or key.endswith("_indices"):
            continue
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str) and value.startswith(JSON_PREFIX):
            value = json.loads(value.removeprefix(JSON_PREFIX))
        elif isinstance(value, np.ndarray) and value.dtype.kind in "OS":
            value = [part.decode() if isinstance(part, bytes) else part for part in value.ravel()]
        elif isinstance(value, np.generic):
            value = value.item()
        found[key] = value
    return found


class _Reader:
    """Collects variables; dimensions of the same name but another size are told apart by their group."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}
        self.variables: dict[str, xr.Variable] = {}
        self.coordinates: dict[str, xr.Variable] = {}

    def add(self, group: Any) -> None:
        label = group.name.rpartition("/")[2]
        signal = signal_name(group)
        if signal is None or text_attribute(group, "NX_class") == "NXcollection":
            for name in group:
                self._add_coordinate(name, group[name], self._dims(group, group[name], label))
            return
        item = group[signal]
        dims = self._dims(group, item, label)
        name = signal if signal not in self.variables else label
        self.variables[name] = self._variable(item, dims)
        # A signal may itself be called "errors".
        for candidate in (errors_name(signal), *(["errors"] if signal != "errors" else [])):
            if candidate in group and is_dataset(group[candidate]) and group[candidate].shape == item.shape:
                self.variables[errors_name(name)] = self._variable(group[candidate], dims)
                break
        for key in group:
            indices = group.attrs.get(f"{key}_indices")
            if key in (signal, errors_name(signal)) or not is_dataset(group[key]):
                continue
            stored = text_attribute(group[key], "dimensions", "?")
            if indices is not None:
                numbers = [int(number) for number in np.atleast_1d(indices)]
                places = tuple(dims[number] for number in numbers if number < len(dims))
                self._add_coordinate(key, group[key], places)
            elif key in dims:
                self._add_coordinate(key, group[key], (key,))
            elif stored == "":
                self._add_coordinate(key, group[key], ())

    def _dims(self, group: Any, item: Any, label: str) -> tuple[str, ...]:
        names = [part for part in text_attribute(item, "dimensions").split(":") if part]
        names = names or text_attribute(group, "axes").replace(",", ":").strip("[]").split(":")
        names = names if len(names) == len(item.shape) else ["."] * len(item.shape)
        dims = []
        for number, (name, size) in enumerate(zip(names, item.shape, strict=True)):
            dim = name if name not in (".", "") else f"{label}_dim_{number}"
            dim = dim if self.sizes.get(dim, size) == size and dim not in dims else f"{label}_{dim}_{number}"
            self.sizes[dim] = int(size)
            dims.append(dim)
        return tuple(dims)

    def _variable(self, item: Any, dims: tuple[str, ...]) -> xr.Variable:
        attributes = _read_attributes(item)
        if item.dtype.kind in "OS":
            return xr.Variable(dims, _texts(item), attributes)
        if attributes.get("units") == TIME_UNITS:
            attributes.pop("units")
            return xr.Variable(dims, np.asarray(item[()]).astype("datetime64[ns]"), attributes)
        return lazy_variable(self.path, item, dims, attributes)

    def _add_coordinate(self, name: str, item: Any, dims: tuple[str, ...]) -> None:
        expected = tuple(self.sizes[dim] for dim in dims)
        if name in self.coordinates or name in self.variables or not is_dataset(item) or item.shape != expected:
            return
        variable = self._variable(item, dims)
        # A coordinate along its own dimension becomes an index: it is needed at once.
        self.coordinates[name] = variable.load() if len(dims) < 2 else variable

    def dataset(self) -> xr.Dataset:
        return xr.Dataset(self.variables, self.coordinates)


def _texts(item: Any) -> Any:
    values = np.asarray(item.asstr()[()], object)
    return values.astype(str) if values.size else values.astype("U1")
