"""How the arrays of blocks map to datasets of an HDF5 file that is laid out before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.core.errors import DataError

from .nexus import variable_path

if TYPE_CHECKING:
    import h5py

Layout = Literal["rows", "channels"]
Results = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class RegionSpec:
    """One dataset of the file, and how blocks map to it.

    Attributes
    ----------
    shape : tuple of int
        "rows": (items, ...), or (a, b, ..., ...) with `item_axes`. "channels": (layers, rows, columns, channels).
    dtype : str
        Element type, "f4".
    layout : {"rows", "channels"}
        "rows": a block is ``start:stop`` along the first axis, stored contiguously. "channels": item = layer · channels
        + channel, a block is a range of channels of one layer, stored in chunks, so that both one channel and one pixel
        are quick to read.
    chunk : tuple of int
        "channels" only: (rows, columns, channels) of a chunk. Blocks begin and end at multiples of its channels.
    item_axes : int
        "rows" only: how many leading axes number the items, in C order (3 for a scan of layers, angles, translations).
    path : str
        Place in the file; by default that of a variable of the same name, `friedel.io.nexus.variable_path`.
    """

    shape: tuple[int, ...]
    dtype: str = "f4"
    layout: Layout = "rows"
    chunk: tuple[int, int, int] = (32, 32, 16)
    path: str = ""
    item_axes: int = 1

    @property
    def n_items(self) -> int:
        """Number of items that blocks count."""
        if self.layout == "channels":
            return self.shape[0] * self.shape[3]
        return math.prod(self.shape[: self.item_axes])

    @property
    def row_bytes(self) -> int:
        """Bytes of an item of "rows"."""
        return math.prod(self.shape[self.item_axes :]) * np.dtype(self.dtype).itemsize

    @property
    def chunk_shape(self) -> tuple[int, int, int, int]:
        """Shape of a chunk, no larger than the dataset."""
        rows, columns, channels = (min(part, size) for part, size in zip(self.chunk, self.shape[1:], strict=True))
        return 1, rows, columns, channels

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """Number of chunks along each axis."""
        layers, rows, columns, channels = (
            -(-size // part) for size, part in zip(self.shape, self.chunk_shape, strict=True)
        )
        return layers, rows, columns, channels

    @property
    def stored_bytes(self) -> int:
        """Bytes that the values take in the file."""
        itemsize = np.dtype(self.dtype).itemsize
        if self.layout == "rows":
            return math.prod(self.shape) * itemsize
        return math.prod(self.grid) * math.prod(self.chunk_shape) * itemsize

    def block_shape(self, block: Block) -> tuple[int, ...]:
        """Shape of the array that a block stores.

        Raises
        ------
        DataError
            If the block does not fit.
        """
        if self.layout == "rows":
            if block.stop > self.n_items:
                raise DataError(f"Block {block.number} ends at item {block.stop}, there are {self.n_items}.")
            return (len(block), *self.shape[self.item_axes :])
        layers, rows, columns, channels = self.shape
        layer, first = divmod(block.start, channels)
        last, step = first + len(block), self.chunk_shape[3]
        if layer >= layers or last > channels or first % step or (last % step and last != channels):
            raise DataError(
                f"Block {block.number} (channels {first} to {last} of layer {layer}) is no whole number of chunks of "
                f"{step} channels, or leaves the {layers} layers of {channels} channels.",
                f"Cut blocks within a layer at multiples of {step} channels.",
            )
        return rows, columns, len(block)


@dataclass(frozen=True)
class Places:
    """Where the values of a dataset lie: one offset, or one for each chunk."""

    spec: RegionSpec
    offsets: NDArray[np.int64]

    def pieces(self, block: Block, array: NDArray[Any]) -> list[tuple[int, NDArray[Any]]]:
        """Return what a block writes: byte offsets and contiguous arrays."""
        if self.spec.layout == "rows":
            offset = int(self.offsets.flat[0]) + block.start * self.spec.row_bytes
            return [(offset, np.ascontiguousarray(array))]
        layer, first = divmod(block.start, self.spec.shape[3])
        _, rows, columns, channels = self.spec.chunk_shape
        pieces = []
        for place in np.ndindex(self.spec.grid[1], self.spec.grid[2], -(-len(block) // channels)):
            part = array[
                place[0] * rows : (place[0] + 1) * rows,
                place[1] * columns : (place[1] + 1) * columns,
                place[2] * channels : (place[2] + 1) * channels,
            ]
            if part.shape != (rows, columns, channels):
                padded = np.zeros((rows, columns, channels), array.dtype)
                padded[: part.shape[0], : part.shape[1], : part.shape[2]] = part
                part = padded
            offset = self.offsets[layer, place[0], place[1], place[2] + first // channels]
            pieces.append((int(offset), np.ascontiguousarray(part)))
        return pieces

    def extents(self, block: Block) -> list[tuple[int, int]]:
        """Return offset and size in bytes of each piece, in the order of `pieces`."""
        if self.spec.layout == "rows":
            row = self.spec.row_bytes
            return [(int(self.offsets.flat[0]) + block.start * row, len(block) * row)]
        layer, first = divmod(block.start, self.spec.shape[3])
        channels = self.spec.chunk_shape[3]
        columns = slice(first // channels, first // channels + -(-len(block) // channels))
        size = math.prod(self.spec.chunk_shape) * np.dtype(self.spec.dtype).itemsize
        return [(int(offset), size) for offset in self.offsets[layer, :, :, columns].ravel()]

    def all_extents(self) -> list[tuple[int, int]]:
        """Return offset and size in bytes of every piece of the dataset."""
        if self.spec.layout == "rows":
            return [(int(self.offsets.flat[0]), self.spec.stored_bytes)] if self.spec.stored_bytes else []
        size = math.prod(self.spec.chunk_shape) * np.dtype(self.spec.dtype).itemsize
        return [(int(offset), size) for offset in self.offsets.ravel()]


def fitting(name: str, spec: RegionSpec, block: Block, result: Results) -> NDArray[Any]:
    """Return the array of a region in its element type, or say what is wrong with it."""
    if name not in result:
        raise DataError(f"Block {block.number} has no {name!r}.", f"It has {', '.join(result) or 'nothing'}.")
    array = np.asarray(result[name])
    expected = spec.block_shape(block)
    if array.shape != expected:
        raise DataError(f"Block {block.number}: {name} has the shape {array.shape}, {expected} was announced.")
    if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise DataError(f"Block {block.number}: {name} is {array.dtype}, {spec.dtype} was announced.")
    return array.astype(spec.dtype, copy=False)


def dataset_path(name: str, spec: RegionSpec) -> str:
    return spec.path or variable_path(name)


def lay_out(path: str, regions: Mapping[str, RegionSpec]) -> dict[str, Places]:
    """Make the HDF5 file with every dataset allocated but nothing written; return where the values lie."""
    import h5py

    with h5py.File(path, "w", locking=False, libver=("earliest", "v110")) as file:
        for name, spec in regions.items():
            _create_dataset(file, dataset_path(name, spec), spec)
    with h5py.File(path, "r", locking=False) as file:
        return {name: Places(spec, _offsets(file[dataset_path(name, spec)], spec)) for name, spec in regions.items()}


def _create_dataset(file: h5py.File, path: str, spec: RegionSpec) -> None:
    import h5py

    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    if spec.layout == "channels":
        properties.set_chunk(spec.chunk_shape)
    group, _, name = path.rpartition("/")
    parent = file.require_group(group or "/")
    kind, space = h5py.h5t.py_create(np.dtype(spec.dtype)), h5py.h5s.create_simple(spec.shape)
    h5py.h5d.create(parent.id, name.encode(), kind, space, properties)


def _offsets(dataset: h5py.Dataset, spec: RegionSpec) -> NDArray[np.int64]:
    if spec.layout == "rows":
        return np.array(dataset.id.get_offset() or 0, np.int64)
    offsets = np.full(spec.grid, -1, np.int64)
    shape = spec.chunk_shape

    def note(chunk: Any) -> None:
        place = tuple(start // size for start, size in zip(chunk.chunk_offset, shape, strict=True))
        offsets[place] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    return offsets
