"""Arrays that xarray reads from files when they are needed, and only the part that is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from . import handles
from .frames import FrameSource
from .handles import Stamp, stamp_of


class FrameArray(BackendArray):
    """A `FrameSource` as xarray sees it; dimensions (frame, y, x)."""

    def __init__(self, source: FrameSource) -> None:
        self.source = source
        self.shape = source.shape
        self.dtype = source.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        frames, rows, columns = key
        if isinstance(frames, (int, np.integer)):
            number = int(frames)
            image: NDArray[Any] = self.source.decoded(number, number + 1)[0, rows, columns]
            return image
        indices = np.arange(self.source.n_frames)[frames]
        # Runs of neighbours are read together; only the part of each frame that is wanted is kept.
        runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1) if indices.size else []
        parts = [self.source.decoded(int(run[0]), int(run[-1]) + 1)[:, rows, :][:, :, columns] for run in runs]
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), self.dtype)[:, rows, :][:, :, columns]


class HDF5Array(BackendArray):
    """A dataset of an HDF5 file as xarray sees it."""

    def __init__(self, path: str, stamp: Stamp, dataset: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.stamp, self.dataset = path, stamp, dataset
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        with handles.hdf5_file(self.path, self.stamp) as file:
            dataset = file[self.dataset]
            handles.need_filters(dataset)
            try:
                values: NDArray[Any] = np.asarray(_read_any(dataset, key))
            except OSError as error:
                raise handles.hdf5_error(self.path, error) from None
        return values.astype(self.dtype, copy=False)


def _read_any(dataset: Any, key: tuple[Any, ...]) -> Any:
    """Read with steps of any sign and indices in any order, which HDF5 itself does not offer."""
    plain: list[Any] = []
    then: list[Any] = []
    for part, size in zip(key, dataset.shape, strict=True):
        if isinstance(part, (int, np.integer)):
            plain.append(int(part))
            continue
        if isinstance(part, slice):
            wanted = range(size)[part]
            backward = wanted.step < 0
            ordered = wanted[::-1] if backward else wanted
            plain.append(slice(ordered.start, ordered.stop, ordered.step) if len(ordered) else slice(0, 0))
            then.append(slice(None, None, -1) if backward else slice(None))
            continue
        unique, inverse = np.unique(np.asarray(part) % max(size, 1), return_inverse=True)
        plain.append(unique)
        then.append(inverse)
    return np.asarray(dataset[tuple(plain)])[tuple(then)]


def lazy_variable(path: str, dataset: Any, dims: tuple[str, ...], attributes: dict[str, Any]) -> xr.Variable:
    """Return an HDF5 dataset as a variable that is read when needed."""
    array = HDF5Array(path, stamp_of(path), dataset.name, dataset.shape, dataset.dtype.newbyteorder("="))
    return xr.Variable(dims, indexing.LazilyIndexedArray(array), attributes)


def label_frames(source: FrameSource) -> xr.DataArray:
    """Return a stack of frames as a lazy, labelled array (frame, y, x) with the motors along ``frame``."""
    coords = {
        name: ("frame", axis.values, {"units": axis.units, "source": axis.path})
        for name, axis in source.axes.items()
        if name not in ("frame", "y", "x")
    }
    constants = {
        name: ((), axis.values[0], {"units": axis.units, "source": axis.path})
        for name, axis in source.constants.items()
        if name not in ("frame", "y", "x", *coords)
    }
    variable = xr.Variable(("frame", "y", "x"), indexing.LazilyIndexedArray(FrameArray(source)))
    attributes = {"units": "counts", "long_name": "Detector frames"}
    return xr.DataArray(variable, coords=coords | constants, name="frames", attrs=attributes)


def source_of(array: xr.DataArray) -> FrameSource | None:
    """Return the frames behind a labelled array that `friedel.io.open` made and that was cut by ranges at most.

    Plans then read the compressed frames themselves; None for any other array.
    """
    data: Any = array.variable._data
    while not isinstance(data, indexing.LazilyIndexedArray):
        if not hasattr(data, "array"):
            return None
        data = data.array
    if not isinstance(data.array, FrameArray):
        return None
    source, parts = data.array.source, data.key.tuple
    if array.dims not in (("frame", "y", "x"), ("y", "x")):
        return None
    cuts: list[slice] = []
    for part, size in zip(parts, source.shape, strict=True):
        if isinstance(part, (int, np.integer)) and not cuts:
            cuts.append(slice(int(part), int(part) + 1))
        elif isinstance(part, slice) and part.step in (None, 1):
            kept = range(size)[part]
            cuts.append(slice(kept.start, kept.stop))
        else:
            return None
    if any(cut.start >= cut.stop for cut in cuts):
        return None
    whole = all((cut.start, cut.stop) == (0, size) for cut, size in zip(cuts[1:], source.shape[1:], strict=True))
    return source.select(cuts[0], None if whole else (cuts[1], cuts[2]))
