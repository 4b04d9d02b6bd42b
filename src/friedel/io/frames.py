"""Frames of a scan, wherever they lie: one stack, read block by block in the cheapest form a plan can take."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.core.errors import DataError, FileError, ParameterError
from friedel.kernels.encoded import EncodedFrames

from . import cbf, handles
from .axes import Axis, FoundAxes, find_axes, join_axes
from .hdf5_frames import find_stack
from .hdf5_tree import is_dataset
from .recognise import Kind, natural_key, recognise, split_location
from .segments import (
    CbfFrame,
    FabioFrames,
    Segment,
    _other_shape,
    dataset_segments,
    fabio_segment,
    is_byte_offset,
    open_fabio,
)

Region = tuple[slice, slice]
Paths = str | Path | Sequence[str | Path]
CHECKED_AT_OPEN = 2000
"""Single-image files whose headers are compared when they are opened; of longer lists, as many spread over the list."""

COMPARED = 9
"""So many CBF headers say what the images of a series are, where some may be damaged."""

CBF_MOTORS = ("Start_angle", "Phi", "Chi", "Omega", "Kappa", "Alpha", "Exposure_time", "Flux")
"""Values of PILATUS headers that may change from frame to frame; angles in degrees, time in s."""

MASK_PLACES = (
    "instrument/detector/detectorSpecific/pixel_mask",
    "instrument/detector/pixel_mask",
    "instrument/detector/detector_specific/pixel_mask",
)
FLAT_PLACES = (
    "instrument/detector/flatfield",
    "instrument/detector/detectorSpecific/flatfield",
)


@dataclass(frozen=True)
class FrameSource:
    """A stack of frames on disk; a `friedel.core.blocks.BlockSource`.

    Make one with `open_frames`. Picklable and safe to read from several threads; nothing is read before it is asked
    for, and never more than the block.

    Attributes
    ----------
    segments : tuple of Segment
        Where the frames lie.
    selection : range
        Which frames of the segments belong to the stack.
    full_shape : tuple of int
        (rows, columns) of the detector frame.
    dtype : numpy.dtype
        Element type of the decoded frames.
    region : tuple of slice or None
        Rows and columns that are kept.
    axes : dict of str to Axis
        One value for each frame of the stack: motors, monitor, counters.
    constants : dict of str to Axis
        Motors that stood still: one value.
    mismatched : dict of str to int
        Motors with another number of values than there are frames, and how many they have.
    """

    segments: tuple[Segment, ...]
    selection: range
    full_shape: tuple[int, int]
    dtype: np.dtype[Any]
    region: Region | None = None
    axes: dict[str, Axis] = field(default_factory=dict)
    constants: dict[str, Axis] = field(default_factory=dict)
    mismatched: dict[str, int] = field(default_factory=dict)
    mask_location: tuple[str, str] | None = None
    flat_location: tuple[str, str] | None = None

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.selection)

    def __len__(self) -> int:
        return self.n_frames

    @property
    def frame_shape(self) -> tuple[int, int]:
        """(rows, columns) of a frame as it is given."""
        if self.region is None:
            return self.full_shape
        rows, columns = (
            len(range(*part.indices(size))) for part, size in zip(self.region, self.full_shape, strict=True)
        )
        return rows, columns

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, rows, columns)."""
        return (self.n_frames, *self.frame_shape)

    @property
    def frame_bytes(self) -> int:
        """Size of a decoded frame before it is cut to the region."""
        return self.full_shape[0] * self.full_shape[1] * self.dtype.itemsize

    @cached_property
    def encoded(self) -> bool:
        """Whether `read` gives frames that are still compressed, wherever a block is not of several kinds."""
        same_type = all(segment.dtype == self.dtype for segment in self.segments)
        return self.region is None and same_type and all(segment.codec is not None for segment in self.segments)

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The files that hold frames, each once, in order."""
        return tuple(dict.fromkeys(segment.path for segment in self.segments))

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.array([0, *accumulate(segment.n_frames for segment in self.segments)], np.int64)

    def _parts(self, start: int, stop: int) -> list[tuple[Segment, range]]:
        """Return the segments that frames `start` to `stop` lie in, with the indices in each."""
        if not 0 <= start <= stop <= self.n_frames:
            raise DataError(
                f"Frames {start} to {stop} were asked for, there are {self.n_frames}.", "Ask for frames that exist."
            )
        wanted = self.selection[start:stop]
        parts = []
        number = int(np.searchsorted(self._starts, wanted.start, side="right")) - 1 if len(wanted) else 0
        while len(wanted):
            segment, first = self.segments[number], int(self._starts[number])
            inside = len(range(wanted.start, min(wanted.stop, first + segment.n_frames), wanted.step))
            if inside:
                here = wanted[:inside]
                parts.append((segment, range(here.start - first, here[-1] - first + 1, here.step)))
            wanted = wanted[inside:]
            number += 1
        return parts

    def read(self, block: Block) -> EncodedFrames | NDArray[Any]:
        """Return the frames of `block` in the cheapest form: still compressed where the kernels can decode them.

        Returns
        -------
        EncodedFrames or ndarray, shape (n, rows, columns)

        Raises
        ------
        FileError
            If a file is truncated, damaged or gone.
        DataError
            If a frame has another shape than the others, or was never written.
        """
        return self._read(block.start, block.stop)

    def _read(self, start: int, stop: int) -> EncodedFrames | NDArray[Any]:
        parts = self._parts(start, stop)
        codecs = {segment.codec for segment, _ in parts}
        codec = codecs.pop() if len(codecs) == 1 else None
        same_type = all(segment.dtype == self.dtype for segment, _ in parts)
        if codec is not None and same_type and self.region is None:
            buffers = tuple(buffer for segment, indices in parts for buffer in segment.buffers(indices))
            return EncodedFrames(codec, buffers, self.full_shape, self.dtype, self._labels(parts))
        return self._assemble(parts, stop - start)

    def _labels(self, parts: list[tuple[Segment, range]]) -> tuple[str, ...]:
        return tuple(segment.label(index) for segment, indices in parts for index in indices)

    def _assemble(self, parts: list[tuple[Segment, range]], count: int, threads: int = 1) -> NDArray[Any]:
        if len(parts) == 1 and self.region is None and parts[0][0].dtype == self.dtype:
            return _images(*parts[0], threads)
        frames = np.empty((count, *self.frame_shape), self.dtype)
        start = 0
        for segment, indices in parts:
            images = _images(segment, indices, threads)
            region = self.region or (slice(None), slice(None))
            frames[start : start + len(indices)] = images[:, region[0], region[1]]
            start += len(indices)
        return frames

    def decoded(self, start: int, stop: int, *, threads: int = 1) -> NDArray[Any]:
        """Return frames `start` to `stop` (excluded) as an array (n, rows, columns).

        Raises
        ------
        FileError, DataError
            As `read`.
        """
        return self._assemble(self._parts(start, stop), stop - start, threads)

    def label(self, index: int) -> str:
        """Say where frame `index` comes from."""
        return self._labels(self._parts(index, index + 1))[0]

    def select(self, frames: slice | str | None = None, roi: Region | str | None = None) -> FrameSource:
        """Return a part of the stack.

        Parameters
        ----------
        frames : slice or str, optional
            Range of frames, "start:stop:step".
        roi : tuple of two slices or str, optional
            Rows and columns, "y0:y1,x0:x1", counted in the frames of this source.

        Raises
        ------
        ParameterError
            If nothing is left, or a step is not positive.
        """
        source = self
        if frames is not None:
            chosen = parse_range(frames, "frames")
            selection = self.selection[chosen]
            _check_selection(selection, chosen, self.n_frames, "frames")
            axes = {name: replace(axis, values=axis.values[chosen]) for name, axis in self.axes.items()}
            source = replace(source, selection=selection, axes=axes)
        if roi is not None:
            source = replace(source, region=self._compose(parse_region(roi)))
        return source

    def _compose(self, region: Region) -> Region:
        old = self.region or (slice(None), slice(None))
        composed = []
        for name, part, inner, size in zip(("rows", "columns"), old, region, self.full_shape, strict=True):
            kept = range(*part.indices(size))[inner]
            _check_selection(kept, inner, size, name)
            composed.append(slice(kept.start, kept[-1] + 1, kept.step))
        return composed[0], composed[1]

    def coordinates(self, without: Collection[str] = ()) -> dict[str, Any]:
        """Return the axes as coordinates of a Dataset: those that move along ``frame``, those that do not as numbers.

        Parameters
        ----------
        without : collection of str
            Names that the Dataset has for something else.
        """
        found: dict[str, Any] = {}
        for name, axis in (self.constants | self.axes).items():
            attributes = {"units": axis.units, "source": axis.path}
            moves = name in self.axes
            found[name] = ("frame", axis.values, attributes) if moves else ((), axis.values[0], attributes)
        return {name: value for name, value in found.items() if name not in without}

    def axis(self, name: str) -> Axis:
        """Return the axis called `name`, or found at that path in the file.

        Raises
        ------
        DataError
            If there is none, or its number of values is not that of the frames.
        """
        if name in self.axes:
            return self.axes[name]
        found = (self.constants | self.axes).items()
        at_path = {axis.path.strip("/"): key for key, axis in found if "/" in axis.path}
        if name not in self.constants and name.strip("/") in at_path:
            return self.axis(at_path[name.strip("/")])
        if name in self.constants:
            constant = self.constants[name]
            return replace(constant, values=np.full(self.n_frames, constant.values[0]))
        have = ", ".join(self.axes) or "none"
        if name in self.mismatched:
            count = sum(segment.n_frames for segment in self.segments)
            raise DataError(
                f"{self.files[0]}: {name} has {self.mismatched[name]} values, there are {count} frames.",
                f"The scan may have stopped early. Axes with one value for each frame: {have}.",
            )
        raise DataError(f"{self.files[0]}: there is no axis {name!r}.", f"Axes with one value for each frame: {have}.")

    @property
    def pixel_mask(self) -> NDArray[np.bool_] | None:
        """Pixels that the file says are invalid (True), cut to the region; None if it says nothing."""
        values = self._image_of_file(self.mask_location)
        return None if values is None else values != 0

    @property
    def flatfield(self) -> NDArray[np.floating[Any]] | None:
        """Flat field that the file gives (as stored; it may have been applied already), or None."""
        return self._image_of_file(self.flat_location)

    def _image_of_file(self, location: tuple[str, str] | None) -> NDArray[Any] | None:
        if location is None:
            return None
        with handles.hdf5_file(location[0]) as file, handles.damage_told(location[0]):
            dataset = file[location[1]]
            handles.need_filters(dataset)
            image: NDArray[Any] = np.asarray(dataset[()]).reshape(self.full_shape)
        rows, columns = self.region or (slice(None), slice(None))
        return image[rows, columns]


def _images(segment: Segment, indices: range, threads: int) -> NDArray[Any]:
    if segment.codec is None:
        return segment.images(indices)
    from friedel.kernels.decode import decode

    labels = tuple(segment.label(index) for index in indices)
    buffers = tuple(segment.buffers(indices))
    return decode(EncodedFrames(segment.codec, buffers, segment.frame_shape, segment.dtype, labels), threads=threads)


def parse_range(text: slice | str, name: str) -> slice:
    """Read "start:stop:step" (each part optional), or "17" for one.

    Raises
    ------
    ParameterError
        If it cannot be understood, or the step is not positive.
    """
    if isinstance(text, str):
        try:
            parts = [int(part) if part.strip() else None for part in text.split(":")]
            if len(parts) > 3:
                raise ValueError
        except ValueError:
            raise ParameterError(f"{name}: {text!r} is no range.", "Give start:stop or start:stop:step.") from None
        if len(parts) == 1 and parts[0] is not None:
            return slice(parts[0], parts[0] + 1 if parts[0] != -1 else None)
        text = slice(*parts)
    if text.step is not None and text.step < 1:
        raise ParameterError(f"{name}: the step is {text.step}.", "Give a step of 1 or more.")
    return text


def parse_region(text: Region | str) -> Region:
    """Read "y0:y1,x0:x1".

    Raises
    ------
    ParameterError
        If it cannot be understood.
    """
    if not isinstance(text, str):
        return parse_range(text[0], "rows"), parse_range(text[1], "columns")
    parts = text.split(",")
    if len(parts) != 2:
        raise ParameterError(f"roi: {text!r} is no region.", "Give rows and columns: y0:y1,x0:x1.")
    return parse_range(parts[0], "rows"), parse_range(parts[1], "columns")


def _check_selection(found: range, asked: slice, size: int, name: str) -> None:
    if not len(found):
        shown = f"{'' if asked.start is None else asked.start}:{'' if asked.stop is None else asked.stop}"
        raise ParameterError(f"{name} {shown} selects nothing: there are {size}.", f"Give a range within 0:{size}.")


# ---- opening


def expand(paths: Paths) -> list[tuple[str, str | None]]:
    """Return each file with the path inside it, patterns replaced by the files that match, sorted naturally.

    Raises
    ------
    FileError
        If a pattern matches nothing.
    DataError
        If there is no path at all.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    found: list[tuple[str, str | None]] = []
    for item in given:
        path, inside = split_location(item)
        path = str(Path(path).expanduser().absolute())  # other processes may work in another folder
        if any(character in path for character in "*?[") and not Path(path).exists():
            matches = sorted(glob.glob(path, recursive=True), key=natural_key)  # noqa: PTH207  absolute patterns too
            if not matches:
                raise FileError(path, "no file matches this pattern.", "Check the folder and the pattern.")
            found += [(match, inside) for match in matches]
        else:
            found.append((path, inside))
    if not found:
        raise DataError("No files were given.", "Name at least one file with frames.")
    return found


def open_frames(
    paths: Paths,
    *,
    dataset: str | None = None,
    frames: slice | str | None = None,
    roi: Region | str | None = None,
    checksum: bool = False,
    incomplete: bool = False,
) -> FrameSource:
    """Open a stack of frames without reading them.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        Files, patterns with ``*``, ``?`` or ``[]``, locations ``file.h5::/path/in/file``; single images and stacks in
        any order. A path in a file may be a pattern too: ``master.h5::/*.1/measurement/eiger``.
    dataset : str, optional
        Path of the frames in HDF5 files, where none is part of `paths`.
    frames : slice or str, optional
        Range of frames, "start:stop:step", counted over all files.
    roi : tuple of two slices or str, optional
        Rows and columns to keep, "y0:y1,x0:x1".
    checksum : bool
        Whether CBF images are compared with the checksum in their header; it costs more than decoding them.
    incomplete : bool
        Whether frames may be missing or damaged that can be told from the others: chunks that were never written, CBF
        and other single images that are damaged or of another shape. Then only reading them is an error.

    Returns
    -------
    FrameSource

    Raises
    ------
    FileError
        If a file is missing, truncated or no image, or a pattern matches nothing.
    DataError
        If a dataset is not there or ambiguous, or the shapes differ.
    ParameterError
        If `frames` or `roi` select nothing.

    Examples
    --------
    >>> source = open_frames("run_*/image_*.cbf", frames="0:1000")  # doctest: +SKIP
    >>> source = open_frames("master.h5::/entry/data/data", roi="100:900,:")  # doctest: +SKIP
    """
    locations = expand(paths)
    opened = _Opened()
    sampled = _sample(len(locations), CHECKED_AT_OPEN)
    first_cbf = _typical_cbf(locations, checksum) if incomplete else None
    for number, (path, inside) in enumerate(locations):
        # Long lists of CBF files: those between the samples are taken to be like the first, and checked when read.
        if number not in sampled and first_cbf is not None and path.endswith(".cbf") and inside is None:
            opened.add([replace(first_cbf, path=path)], FoundAxes())
            continue
        try:
            kind = recognise(path)
            if kind == "hdf5":
                _open_hdf5(path, inside or dataset, opened, incomplete)
                continue
            segment, found = _open_image(path, kind, checksum)
        except FileError:
            if not incomplete or first_cbf is None or not path.endswith(".cbf"):
                raise
            segment, found = replace(first_cbf, path=path), FoundAxes()
        known = first_cbf or (opened.segments[0] if opened.segments else segment)
        if incomplete and isinstance(segment, CbfFrame | FabioFrames) and segment.n_frames == 1:
            segment = replace(segment, frame_shape=known.frame_shape)  # reading it tells another shape
        first_cbf = first_cbf or (segment if isinstance(segment, CbfFrame) else None)
        opened.add([segment], found)
    return opened.source().select(frames, roi)


def _typical_cbf(locations: Sequence[tuple[str, str | None]], checksum: bool) -> CbfFrame | None:
    """Return the first CBF image that has the shape and type of most of the first that can be read, if there are any.

    It stands for those that cannot be read, wherever in the series they are.
    """
    sound: list[CbfFrame] = []
    for path, inside in locations:
        if inside is None and path.endswith(".cbf") and len(sound) < COMPARED:
            with suppress(FileError):
                header = cbf.read_header(path)
                if is_byte_offset(header):
                    sound.append(CbfFrame(path, header.shape, header.dtype, checksum))
    if not sound:
        return None
    kinds = [(image.frame_shape, image.dtype) for image in sound]
    return sound[kinds.index(max(kinds, key=kinds.count))]


def _sample(count: int, limit: int) -> set[int] | range:
    return range(count) if count <= limit else {int(index) for index in np.linspace(0, count - 1, limit)}


@dataclass
class _Opened:
    """What was found so far."""

    segments: list[Segment] = field(default_factory=list)
    found: list[FoundAxes] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    mask_location: tuple[str, str] | None = None
    flat_location: tuple[str, str] | None = None

    def add(self, segments: Sequence[Segment], axes: FoundAxes) -> None:
        for segment in segments:
            known = self.segments[0] if self.segments else segment
            if segment.frame_shape != known.frame_shape:
                raise _other_shape(segment.path, segment.frame_shape, segment.dtype, known.frame_shape, known.dtype)
        self.segments += segments
        self.found.append(axes)
        self.counts.append(sum(segment.n_frames for segment in segments))

    def source(self) -> FrameSource:
        types = {segment.dtype for segment in self.segments}
        dtype = types.pop() if len(types) == 1 else np.result_type(*(segment.dtype for segment in self.segments))
        joined = join_axes(self.found, self.counts)
        return FrameSource(
            tuple(self.segments),
            range(sum(self.counts)),
            self.segments[0].frame_shape,
            dtype,
            None,
            joined.axes,
            joined.constants,
            joined.mismatched,
            self.mask_location,
            self.flat_location,
        )


def _open_image(path: str, kind: Kind, checksum: bool) -> tuple[Segment, FoundAxes]:
    if kind == "empty":
        raise FileError(path, "the file is empty.", "Copy it again, or leave it out.")
    if kind == "poni":
        raise FileError(path, "is a geometry (PONI), no image.", "Give it as the geometry.")
    if kind == "cbf":
        header = cbf.read_header(path)
        if is_byte_offset(header):
            motors = {key: value.split()[0] for key, value in header.contents.items() if key in CBF_MOTORS}
            return CbfFrame(path, header.shape, header.dtype, checksum), _constants(motors, "header")
    segment = fabio_segment(path)
    return segment, _edf_motors(segment)


def _edf_motors(segment: FabioFrames) -> FoundAxes:
    """Return what the header of an EDF file says about its frame (``motor_mne``, ``motor_pos``)."""
    if segment.n_frames > 1:
        return FoundAxes()
    with open_fabio(segment.path) as file:
        header = dict(file.header)
    motors: dict[str, str] = {}
    for kind in ("counter", "motor"):
        names, values = str(header.get(f"{kind}_mne", "")).split(), str(header.get(f"{kind}_pos", "")).split()
        motors |= dict(zip(names, values, strict=False))
    return _constants(motors, "header")


def _constants(values: dict[str, str], path: str) -> FoundAxes:
    found = FoundAxes()
    for name, text in values.items():
        try:
            found.constants[name] = Axis(np.array([float(text)]), "", path)
        except ValueError:
            continue
    return found


def _open_hdf5(path: str, dataset: str | None, opened: _Opened, incomplete: bool) -> None:
    with handles.examined(path) as file:
        stack = find_stack(file, dataset)
        items = [file[place] for place in stack.paths]
        groups = {place.rpartition("/")[0] for place in stack.paths}
        if len(items) > 1 and len(groups) == 1:
            # A series split over datasets: motors have one value for each frame of the whole.
            count = sum(item.shape[0] for item in items)
            axes = find_axes(file, stack.paths[0], (count,))
            opened.add([segment for item in items for segment in dataset_segments(item, incomplete=incomplete)], axes)
        else:
            for place, item in zip(stack.paths, items, strict=True):
                opened.add(
                    dataset_segments(item, incomplete=incomplete), find_axes(file, place, item.shape[:-2] or (1,))
                )
        _find_corrections(file, path, stack.paths[0], opened)


def _find_corrections(file: Any, path: str, dataset: str, opened: _Opened) -> None:
    parts = dataset.strip("/").split("/")
    beside = "/".join(parts[:-1])
    size = opened.segments[0].frame_shape
    for attribute, places, name in (
        ("mask_location", MASK_PLACES, "pixel_mask"),
        ("flat_location", FLAT_PLACES, "flatfield"),
    ):
        for place in (f"{beside}/{name}", *(f"{parts[0]}/{place}" for place in places)):
            item = file.get(place)
            fits = item is not None and is_dataset(item) and item.size == size[0] * size[1]
            if fits and getattr(opened, attribute) is None:
                setattr(opened, attribute, (path, f"/{place}"))
