"""Tomographic scans in HDF5 files, read as sinograms: friedel's own, Data Exchange, NXtomo, NXdata with named axes.

Whatever the order in the file, a block is (angle, translation, channel), sorted by the values of the motors. Where
there are no channels, the layers take their place: they share the geometry too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.core.errors import DataError, FileError

from . import handles
from .axes import Axis
from .hdf5_frames import signal_name
from .hdf5_tree import BrokenLink, is_dataset, is_group, resolve_link, text_attribute, walk

if TYPE_CHECKING:
    import h5py

Singles = NDArray[np.float32]

# Which axis is which, by its name; asked in this order ("2theta" is no rotation).
ROLES: dict[str, re.Pattern[str]] = {
    "channel": re.compile(r"radial|^q|2th|tth|two_?theta|energy|channel|diffraction", re.IGNORECASE),
    "angle": re.compile(r"theta|rot|angle|omega|phi", re.IGNORECASE),
    "translation": re.compile(r"^x$|trans|dty|detector_x|^sam_?x|^sx$", re.IGNORECASE),
    "layer": re.compile(r"layer|^y$|^z$|height|^sam_?[yz]|^s[yz]$|detector_y", re.IGNORECASE),
}
MONITOR = re.compile(r"monitor|control|^i0$|fpico", re.IGNORECASE)
LARGEST_JITTER = 0.25
"""Largest distance of a translation from the even grid, in steps."""


@dataclass(frozen=True)
class RawSinograms:
    """A block of sinograms as measured, with what normalizes it.

    Attributes
    ----------
    values : ndarray (angle, translation, channel) float32
    errors : ndarray of the same shape, or None
        One standard deviation.
    monitor : ndarray (angle, translation, channel or 1), or None
        Beam intensity.
    flat, dark : ndarray (translation, channel or 1), or None
        Mean images without sample and without beam.
    """

    values: Singles
    errors: Singles | None = None
    monitor: Singles | None = None
    flat: Singles | None = None
    dark: Singles | None = None


@dataclass(frozen=True, eq=False)
class Tomogram:
    """A tomographic scan in a file; a `friedel.core.blocks.BlockSource` of `RawSinograms`, picklable.

    Item = layer * n_channels + channel; without channels item = layer.

    Attributes
    ----------
    path, dataset : str
        The file and the dataset in it.
    roles : tuple of str
        What each axis of the dataset is: "angle", "translation", "layer" or "channel".
    angles : ndarray (n_angles,) float64
        In degrees, ascending.
    translations, layers : Axis
        Ascending, in `units`.
    channels : Axis or None
    channel_attributes : dict
        What the file says about the channels' axis (long_name, radial_unit).
    rows, columns : ndarray of int
        Where each angle and translation stands along its axis in the file.
    first_layer, first_channel : int
        Where `layers` and `channels` begin in the file.
    errors, monitor : str
        Paths of further datasets, "" if there are none.
    flat, dark : ndarray (layer, translation) float32, or None
    units : str
        Of the values.
    """

    path: str
    dataset: str
    roles: tuple[str, ...]
    angles: NDArray[np.float64]
    translations: Axis
    layers: Axis
    channels: Axis | None
    channel_attributes: Mapping[str, Any]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    first_layer: int = 0
    first_channel: int = 0
    errors: str = ""
    monitor: str = ""
    flat: Singles | None = None
    dark: Singles | None = None
    units: str = ""

    @property
    def n_layers(self) -> int:
        """Number of slices along the rotation axis."""
        return len(self.layers.values)

    @property
    def n_channels(self) -> int:
        """Number of channels of each slice; 1 without an axis of channels."""
        return 1 if self.channels is None else len(self.channels.values)

    @property
    def files(self) -> tuple[str, ...]:
        """The file, and those that the data lie in if links or a virtual dataset lead there."""
        with handles.hdf5_file(self.path) as file:
            data = file[self.dataset]
            holding = str(data.file.filename)
            names = {mapping.file_name for mapping in data.virtual_sources()} - {"."} if data.is_virtual else set()
            return self.path, holding, *(str(Path(holding).parent / name) for name in sorted(names))

    def select(self, layers: slice, channels: slice) -> Tomogram:
        """Return some layers and channels of the scan.

        Raises
        ------
        DataError
            If nothing is left.
        """
        kept = range(self.n_layers)[layers], range(self.n_channels)[channels]
        if not len(kept[0]) or not len(kept[1]) or kept[0].step != 1 or kept[1].step != 1:
            raise DataError(
                f"{self.path}: nothing or no contiguous range is left of {self.n_layers} layers and "
                f"{self.n_channels} channels.",
                "Give ranges as start:stop.",
            )
        part = slice(kept[0].start, kept[0].stop)
        return replace(
            self,
            layers=replace(self.layers, values=self.layers.values[part]),
            channels=None
            if self.channels is None
            else replace(self.channels, values=self.channels.values[kept[1].start : kept[1].stop]),
            first_layer=self.first_layer + kept[0].start,
            first_channel=self.first_channel + kept[1].start,
            flat=None if self.flat is None else self.flat[part],
            dark=None if self.dark is None else self.dark[part],
        )

    def mean_monitor(self) -> float:
        """Return the mean of the beam monitor over all positions of the scan where there was beam; NaN without any."""
        with handles.hdf5_file(self.path) as file:
            values = np.asarray(file[self.monitor][()], float)
        if self.roles[0] == "angle":
            values = values[self.rows]
        lit = values[np.isfinite(values) & (values > 0)]
        return float(lit.mean()) if lit.size else float("nan")

    def read(self, block: Block) -> RawSinograms:
        """Return the sinograms of a block.

        Raises
        ------
        FileError
            If the file cannot be read.
        """
        if self.channels is None:
            layers, channels = slice(block.start, block.stop), slice(0, 1)
        else:
            layer, first = divmod(block.start, self.n_channels)
            layers, channels = slice(layer, layer + 1), slice(first, first + len(block))
        return RawSinograms(
            values=self._read(self.dataset, layers, channels),
            errors=self._read(self.errors, layers, channels) if self.errors else None,
            monitor=self._read(self.monitor, layers, channels) if self.monitor else None,
            flat=None if self.flat is None else self.flat[layers].T,
            dark=None if self.dark is None else self.dark[layers].T,
        )

    def _read(self, name: str, layers: slice, channels: slice) -> Singles:
        """Return (angle, translation, layer or channel) of a dataset, which may lack the last axes of `roles`."""
        with handles.hdf5_file(self.path) as file:
            data = file[name]
            handles.need_filters(data)
            roles = self.roles[: data.ndim]
            wanted = {
                "angle": slice(int(self.rows.min()), int(self.rows.max()) + 1),
                "layer": slice(layers.start + self.first_layer, layers.stop + self.first_layer),
                "channel": slice(channels.start + self.first_channel, channels.stop + self.first_channel),
            }
            part = tuple(wanted.get(role, slice(None)) for role in roles)
            try:
                values = _mapped(data)[part] if _is_contiguous(data) else data[part]
            except (OSError, RuntimeError) as error:
                raise handles.hdf5_error(self.path, error) from None
        order = ["angle", "translation", "layer", "channel"]
        present = sorted(range(len(roles)), key=lambda axis: order.index(roles[axis]))
        values = values.transpose(present)
        if "translation" in roles:
            values = values[self.rows - self.rows.min()][:, self.columns]
        else:
            values = np.broadcast_to(values[self.rows - self.rows.min(), None], (len(self.rows), len(self.columns)))
        return np.ascontiguousarray(values.reshape(*values.shape[:2], -1), np.float32)


def open_tomogram(
    path: str,
    *,
    dataset: str | None = None,
    rotation: str | None = None,
    translation: str | None = None,
    monitor: str | None = None,
) -> Tomogram:
    """Find the scan in a file.

    Parameters
    ----------
    path : str
    dataset : str, optional
        Path of the dataset, or of its NXdata group; by default the one that looks most like a tomographic scan.
    rotation, translation : str, optional
        Names of these axes, where they cannot be guessed.
    monitor : str, optional
        Path of the beam monitor; "none": do not use any; by default the one beside the data, if there is one.

    Raises
    ------
    FileError
        If the file cannot be read or holds no such scan.
    DataError
        If axes do not fit the data, or the translations are not evenly spaced.
    """
    with handles.hdf5_file(path) as file:
        try:
            if "exchange" in file and (dataset is None or dataset.strip("/").startswith("exchange")):
                return _data_exchange(file, path, dataset or "exchange/data")
            if (entry := _nxtomo_entry(file, dataset)) is not None:
                return _nxtomo(file, path, entry, monitor)
            return _nxdata(file, path, dataset, rotation, translation, monitor)
        except (OSError, RuntimeError, KeyError) as error:
            if isinstance(error, KeyError):
                raise FileError(path, f"{error.args[0]}", "friedel info shows what the file holds.") from None
            raise handles.hdf5_error(path, error) from None


# ---- layouts


def _data_exchange(file: h5py.File, path: str, dataset: str) -> Tomogram:
    """Data Exchange: exchange/{data (theta, y, x), data_white, data_dark, theta}."""
    data, exchange = _dataset(file, dataset), file["exchange"]
    n_angles, n_layers, n_columns = _three(path, data)
    angles = _degrees(exchange["theta"]) if "theta" in exchange else np.linspace(0, 180, n_angles, endpoint=False)
    means = {name: _mean_image(exchange[name]) for name in ("data_white", "data_dark") if name in exchange}
    tomogram = _tomogram(
        path,
        data,
        ("angle", "layer", "translation"),
        angles,
        Axis(np.arange(n_columns, dtype=float), "pixel"),
        Axis(np.arange(n_layers, dtype=float), "pixel"),
    )
    return replace(tomogram, flat=means.get("data_white"), dark=means.get("data_dark"))


def _nxtomo_entry(file: h5py.File, dataset: str | None) -> Any:
    for name in file:
        item = resolve_link(file, name)
        if isinstance(item, BrokenLink) or not is_group(item) or "definition" not in item:
            continue
        if "NXtomo" in str(item["definition"][()]) and (dataset is None or dataset.strip("/").startswith(str(name))):
            return item
    return None


def _nxtomo(file: h5py.File, path: str, entry: Any, monitor: str | None) -> Tomogram:
    """NXtomo: frames in order of acquisition, with a key that says projection 0, flat 1, dark 2, invalid 3."""
    detector = entry["instrument/detector"]
    data = detector["data"]
    n_frames, n_layers, n_columns = _three(path, data)
    key = detector["image_key"][()] if "image_key" in detector else np.zeros(n_frames, int)
    if len(key) != n_frames:
        raise DataError(f"{path}: image_key has {len(key)} values for {n_frames} frames.")
    angles = _degrees(entry["sample/rotation_angle"])
    if len(angles) != n_frames:
        raise DataError(f"{path}: rotation_angle has {len(angles)} values for {n_frames} frames.")
    sizes = [_in_millimetres(detector.get(name)) for name in ("x_pixel_size", "y_pixel_size")]
    steps = [(1.0, "pixel") if size is None else (size, "mm") for size in sizes]
    found = "control/data" if "control/data" in entry and entry["control/data"].shape == (n_frames,) else None
    means = [_mean_image(data, np.flatnonzero(key == number)) for number in (1, 2)]
    tomogram = _tomogram(
        path,
        data,
        ("angle", "layer", "translation"),
        angles,
        Axis(np.arange(n_columns) * steps[0][0], steps[0][1]),
        Axis(np.arange(n_layers) * steps[1][0], steps[1][1]),
        projections=np.flatnonzero(key == 0),
    )
    # Flats are taken in the same beam: only without them does the monitor say what came in.
    named = monitor if monitor not in (None, "none") else f"{entry.name}/{found}" if found else ""
    used = monitor != "none" and (means[0] is None or monitor)
    return replace(tomogram, monitor=named if used else "", flat=means[0], dark=means[1])


@dataclass(frozen=True)
class _Candidate:
    group: Any
    data: Any
    names: tuple[str, ...]
    roles: tuple[str, ...]

    @property
    def usable(self) -> bool:
        return {"angle", "translation"} <= set(self.roles) and len(set(self.roles)) == len(self.roles)

    @property
    def rank(self) -> tuple[bool, int]:
        """Friedel's own sinogram first, then what has most angles."""
        n_angles = self.data.shape[self.roles.index("angle")]
        return self.data.name.rpartition("/")[2] == "sinogram", n_angles


def _nxdata(
    file: h5py.File, path: str, dataset: str | None, rotation: str | None, translation: str | None, monitor: str | None
) -> Tomogram:
    """NXdata groups whose axes have names: friedel's own sinograms, maps of pencil-beam scans, NXxrdct."""
    start = file if dataset is None else _object(file, dataset)
    group = start.parent if is_dataset(start) else start
    found = [_candidate(item, rotation, translation) for item in _signal_groups(group)]
    usable = [candidate for candidate in found if candidate is not None and candidate.usable]
    if not usable:
        seen = "; ".join(f"{one.data.name} ({', '.join(one.names)})" for one in found if one is not None)
        raise FileError(
            path,
            f"holds no sinogram with axes of rotation and translation. Data with axes: {seen or 'none'}.",
            "Name the dataset (dataset) and its axes (rotation, translation).",
        )
    chosen = max(usable, key=lambda candidate: candidate.rank)
    axes = {role: _axis(file, chosen, index) for index, role in enumerate(chosen.roles)}
    data = chosen.data
    errors = f"{data.name}_errors"
    tomogram = _tomogram(
        path,
        data,
        chosen.roles,
        _to_degrees(axes["angle"]),
        axes["translation"],
        axes.get("layer", Axis(np.zeros(1), "")),
    )
    tomogram = replace(tomogram, channels=axes.get("channel"), channel_attributes=dict(_attributes(chosen, "channel")))
    return replace(
        tomogram,
        errors=errors if errors in file and file[errors].shape == data.shape else "",
        monitor=_monitor(file, path, tomogram, monitor),
    )


def _candidate(group: Any, rotation: str | None, translation: str | None) -> _Candidate | None:
    data = group[signal_name(group)]
    text = text_attribute(group, "axes") or text_attribute(data, "axes")
    names = tuple(name for name in re.split(r"[:,]", text) if name)
    if not is_dataset(data) or len(names) != data.ndim or data.dtype.kind not in "iuf":
        return None
    given = {rotation: "angle", translation: "translation"}
    return _Candidate(group, data, names, tuple(given.get(name) or _role(name) for name in names))


def _role(name: str) -> str:
    return next((role for role, pattern in ROLES.items() if pattern.search(name)), name)


def _signal_groups(group: Any) -> Iterator[Any]:
    if signal_name(group) is not None:
        yield group
        return
    for node in walk(group):
        if is_group(node.item) and text_attribute(node.item, "NX_class") == "NXdata" and signal_name(node.item):
            yield node.item


def _axis(file: h5py.File, candidate: _Candidate, index: int) -> Axis:
    """Return the values along an axis; of a grid of values, one for each layer and translation, the mean."""
    name, length = candidate.names[index], candidate.data.shape[index]
    item = candidate.group.get(name) or _similar(file, candidate, name, length)
    if item is None:
        return Axis(np.arange(length, dtype=float), "", "")
    values, units = np.asarray(item[()], float), text_attribute(item, "units")
    if values.ndim > 1:
        indices = [int(number) for number in np.atleast_1d(candidate.group.attrs.get(f"{name}_indices", [])).tolist()]
        if index not in indices or len(indices) != values.ndim:
            raise DataError(
                f"{item.name} has the shape {values.shape}, but no {name}_indices that say what it runs along."
            )
        others = tuple(axis for axis, number in enumerate(indices) if number != index)
        values = values.mean(axis=others)
    if candidate.roles[index] == "angle" and len(values) != length:
        raise DataError(f"{item.name} has {len(values)} angles for {length} projections.")
    if len(values) != length:
        # Detectors were cut out of larger ones, and their axes left as they were.
        return Axis(np.arange(length, dtype=float), "", "")
    return Axis(values, units, str(item.name))


def _similar(file: h5py.File, candidate: _Candidate, name: str, length: int) -> Any:
    """Return a dataset elsewhere in the entry that has the name (or its singular) and the length."""
    entry = candidate.data.name.strip("/").split("/")[0]
    for node in walk(file[entry]):
        fits = is_dataset(node.item) and node.item.shape == (length,)
        if fits and node.name.lower().rstrip("s") == name.lower().rstrip("s"):
            return node.item
    return None


def _attributes(candidate: _Candidate, role: str) -> dict[str, Any]:
    if role not in candidate.roles:
        return {}
    item = candidate.group.get(candidate.names[candidate.roles.index(role)])
    if item is None:
        return {}
    texts = {name: text_attribute(item, name) for name in ("units", "long_name", "radial_unit")}
    return {name: text for name, text in texts.items() if text}


def _monitor(file: h5py.File, path: str, tomogram: Tomogram, wanted: str | None) -> str:
    """Return the path of the monitor: the one asked for, or a dataset called so with one value for each position."""
    shape = file[tomogram.dataset].shape
    n_positions = len(shape) - (tomogram.channels is not None)
    if wanted == "none" or (wanted is None and tomogram.dataset.endswith("/sinogram")):
        return ""
    if wanted is not None:
        item = _dataset(file, wanted)
        if item.shape not in (shape[:n_positions], shape[:1]):
            raise DataError(
                f"{path}: the monitor {wanted} has the shape {item.shape}; {shape[:n_positions]} is needed.",
                "Give one value for each position.",
            )
        return str(item.name)
    parent = file[tomogram.dataset].parent.parent
    for node in walk(parent, max_depth=3):
        named = MONITOR.search(node.path.removeprefix(parent.name))
        if named and is_dataset(node.item) and node.item.shape == shape[:n_positions]:
            return str(node.item.name)
    return ""


# ---- what layouts share


def _tomogram(
    path: str,
    data: Any,
    roles: tuple[str, ...],
    angles: NDArray[np.float64],
    translations: Axis,
    layers: Axis,
    *,
    projections: NDArray[np.intp] | None = None,
) -> Tomogram:
    """Put rows and columns in the order of the motors; callers add what else the layout holds."""
    length = data.shape[roles.index("angle")]
    if len(angles) != length:
        raise DataError(f"{path}: there are {len(angles)} angles for {length} projections of {data.name}.")
    rows = np.arange(length) if projections is None else projections
    rows = rows[np.argsort(angles[rows], kind="stable")]
    columns = np.argsort(translations.values, kind="stable")
    positions = translations.values[columns]
    _check_spacing(path, positions, translations.path)
    return Tomogram(
        path=path,
        dataset=str(data.name),
        roles=roles,
        angles=np.asarray(angles[rows], float),
        translations=replace(translations, values=positions),
        layers=layers,
        channels=None,
        channel_attributes={},
        rows=rows,
        columns=columns,
        units=text_attribute(data, "units"),
    )


def _check_spacing(path: str, positions: NDArray[np.float64], name: str) -> None:
    if len(positions) < 3:
        raise DataError(
            f"{path}: {len(positions)} translations are too few for a sinogram.", "Check the translation axis."
        )
    even = np.linspace(positions[0], positions[-1], len(positions))
    step = even[1] - even[0]
    worst = np.abs(positions - even).max()
    if step == 0 or worst > LARGEST_JITTER * step:
        raise DataError(
            f"{path}: the translations {name} are not evenly spaced: up to {worst:.4g} off a step of {step:.4g}.",
            "Interpolate the sinograms onto an even grid first.",
        )


def _dataset(file: h5py.File, path: str) -> Any:
    item = _object(file, path)
    if not is_dataset(item):
        raise FileError(file.filename, f"{path} is a group, a dataset is needed.", "friedel info shows the datasets.")
    return item


def _object(file: h5py.File, path: str) -> Any:
    if path not in file:
        raise FileError(file.filename, f"there is no {path}.", "friedel info shows what the file holds.")
    return file[path]


def _three(path: str, data: Any) -> tuple[int, int, int]:
    if data.ndim != 3:
        raise DataError(f"{path}: {data.name} has {data.ndim} axes; projections are (angle, y, x).")
    n_angles, n_layers, n_columns = data.shape
    return n_angles, n_layers, n_columns


def _mean_image(data: Any, frames: NDArray[np.intp] | None = None) -> Singles | None:
    """Return the mean of some images (layer, translation), None of none; a single image is itself."""
    if data.ndim == 2:
        return np.asarray(data[()], np.float32)
    chosen = range(len(data)) if frames is None else frames
    if not len(chosen):
        return None
    total = np.zeros(data.shape[1:])
    for number in chosen:
        total += data[int(number)]
    return (total / len(chosen)).astype(np.float32)


def _is_contiguous(data: Any) -> bool:
    plain = data.chunks is None and not data.is_virtual and not data.external and data.dtype.kind in "iuf"
    return bool(plain and data.size and data.id.get_offset() is not None)


def _mapped(data: Any) -> NDArray[Any]:
    """Return the dataset as a memory map: the HDF5 library takes twice as long to pick channels out of rows."""
    return np.memmap(data.file.filename, data.dtype, "r", data.id.get_offset(), data.shape)


def _degrees(item: Any) -> NDArray[np.float64]:
    return _to_degrees(Axis(np.asarray(item[()], float), text_attribute(item, "units")))


def _to_degrees(axis: Axis) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.asarray(axis.values, float)
    units = axis.units.strip().lower()
    if units.startswith("rad"):
        return np.asarray(np.rad2deg(values))
    if units and not units.startswith(("deg", "°")):
        raise DataError(f"The rotation angles are in {axis.units!r}, which is not known here.", "Write deg or rad.")
    return values


def _in_millimetres(item: Any) -> float | None:
    if item is None:
        return None
    factor = {"m": 1e3, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "cm": 10.0}.get(text_attribute(item, "units", "m"))
    return None if factor is None else float(np.asarray(item[()]).ravel()[0]) * factor
