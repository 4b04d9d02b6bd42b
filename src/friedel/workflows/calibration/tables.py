"""Tables of points as files: text, HDF5, and pyFAI's control points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from friedel.core.errors import FileError
from friedel.io.nexus import open_dataset, replacing, write_dataset
from friedel.techniques.calibration import ControlPoints, RingPoints

RING_COLUMNS = ("y", "x", "direction", "strength", "sigma", "chain")
HDF5 = (".h5", ".hdf5", ".nxs")


def write_ring_points(path: str, points: RingPoints, record: str | None) -> None:
    """Write points whose rings are not known."""
    if Path(path).suffix.lower() in HDF5:
        write_dataset(path, as_columns(points.to_dataset(), record))
        return
    rows = np.stack([getattr(points, name) for name in RING_COLUMNS], axis=1)
    with replacing(path) as temporary:
        np.savetxt(temporary, rows, fmt=["%.4f", "%.4f", "%.5f", "%.4g", "%.4g", "%d"], header=" ".join(RING_COLUMNS))


def read_ring_points(path: str) -> RingPoints:
    """Read points whose rings may not be known: what `write_ring_points` writes, or control points."""
    if Path(path).suffix.lower() in HDF5:
        return RingPoints.from_dataset(_columns_of(path))
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            header = stream.readline().lstrip("# ").split()
    except OSError as error:
        raise FileError(path, error.strerror or str(error), "Check the path and the permissions.") from None
    if set(RING_COLUMNS) <= set(header):
        try:
            rows = np.loadtxt(path, ndmin=2)
            return RingPoints(**{name: rows[:, place] for place, name in enumerate(header)})
        except (ValueError, IndexError, TypeError) as error:
            raise FileError(path, f"no table of points: {error}.", "Detect them again.") from None
    points = ControlPoints.load(path)
    return RingPoints(points.y, points.x, sigma=points.sigma)


def read_ring_numbers(path: str) -> ControlPoints | None:
    """Return control points if the file tells the rings of most of its points, None otherwise."""
    if Path(path).suffix.lower() in HDF5:
        columns = _columns_of(path)
        points = ControlPoints.from_dataset(columns) if "ring" in columns else None
    else:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            detected = set(RING_COLUMNS) <= set(stream.readline().lstrip("# ").split())
        points = None if detected else ControlPoints.load(path)
    return points if points is not None and np.mean(points.ring >= 0) > 0.5 else None


def write_control_points(
    path: str, points: ControlPoints, spacings: Sequence[float], wavelength: float | None, record: str | None
) -> None:
    """Write points whose rings are known."""
    if Path(path).suffix.lower() in HDF5:
        write_dataset(path, as_columns(points.to_dataset(), record))
    else:
        points.save(path, spacings=spacings, wavelength=wavelength)


def read_control_points(path: str) -> ControlPoints:
    """Read points whose rings are known."""
    if Path(path).suffix.lower() in HDF5:
        return ControlPoints.from_dataset(_columns_of(path))
    return ControlPoints.load(path)


def as_columns(points: xr.Dataset, record: str | None = None) -> xr.Dataset:
    """Return the columns with names that are unique in a file: point_y, point_x, ..."""
    named = points.rename({str(name): f"point_{name}" for name in points.data_vars})
    named.attrs["default"] = "point_y"
    if record is not None:
        named.attrs["provenance"] = record
    return named


def _columns_of(path: str) -> xr.Dataset:
    with open_dataset(path) as dataset:
        names = [str(name) for name in dataset.data_vars if str(name).startswith("point_")]
        if not {"point_y", "point_x"} <= set(names):
            raise FileError(path, "holds no points.", "Give a table of points, or the result of a calibration.")
        columns = xr.Dataset({name.removeprefix("point_"): dataset[name].variable for name in names})
        return columns.load()
