"""The one call that opens whatever a file holds."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from .frames import Paths, Region, open_frames
from .lazy import label_frames
from .nexus import is_result, open_dataset
from .recognise import recognise, split_location
from .text import read_pattern


def open(  # noqa: A001  friedel.open is the name that users know
    path: Paths,
    *,
    dataset: str | None = None,
    frames: slice | str | None = None,
    roi: Region | str | None = None,
) -> xr.DataArray | xr.Dataset:
    """Open frames or a result; nothing is read before it is needed.

    Parameters
    ----------
    path : path-like or sequence of path-like
        As in `open_frames`; or one result of friedel; or one pattern as text.
    dataset, frames, roi
        As in `open_frames`.

    Returns
    -------
    xarray.DataArray
        For frames: (frame, y, x), motors and monitors as coordinates along ``frame``.
    xarray.Dataset
        For a result or a pattern.

    Raises
    ------
    FileError
        If a file is missing, damaged or of an unknown kind.
    DataError
        If it does not hold what is asked for.

    Examples
    --------
    >>> frames = friedel.open("scan.h5")  # doctest: +SKIP
    >>> frames[10:20].mean("frame").plot()  # doctest: +SKIP
    """
    if isinstance(path, (str, Path)) and dataset is frames is roi is None and Path(path).is_file():
        file, inside = split_location(path)
        kind = recognise(file)
        if kind == "hdf5" and inside is None and is_result(file):
            return open_dataset(file)
        if kind == "text":
            return read_pattern(file)
    return label_frames(open_frames(path, dataset=dataset, frames=frames, roi=roi))
