"""A map in a file, so that it is built once and used again."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError, FileError, GeometryError
from friedel.instrument import Detector, Geometry, Sensor
from friedel.instrument.model_kinds import Module
from friedel.instrument.pixel_layouts import restored_pixels
from friedel.instrument.pixel_shapes import PixelShapes
from friedel.io.nexus import replacing
from friedel.kernels.scatter import PixelMap
from friedel.kernels.splitting import Axis

from .estimators import describe, estimator_of
from .fingerprint import fingerprint
from .options import Averaging, Binning, Validity
from .radial_map import PER_PIXEL, RadialMap, packed

FORMAT = "friedel radial map 4"
SCREENING = ("detector_mask", "dummy", "delta_dummy", "negative")
PIXELS = "pixels"


def save_map(path: str | Path, radial_map: RadialMap) -> None:
    """Write a map: an HDF5 file with the shares of the pixels, the corrections, and the rest as JSON.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import h5py

    shares, pixels = radial_map.pixel_map(), radial_map.geometry.detector.pixels
    description = {
        "binning": asdict(radial_map.binning),
        "validity": {name: getattr(radial_map.validity, name) for name in SCREENING},
        "averaging": asdict(radial_map.averaging) | {"estimator": describe(radial_map.averaging.estimator)},
        "geometry": asdict(replace(radial_map.geometry, detector=replace(radial_map.geometry.detector, pixels=None))),
        "radial": asdict(radial_map.radial),
        "azimuth": asdict(radial_map.azimuth) if radial_map.azimuth else None,
    }
    with replacing(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
        file.attrs["format"] = FORMAT
        file.attrs["fingerprint"] = radial_map.fingerprint
        file.attrs["description"] = json.dumps(description)
        file.attrs["n_bins"] = shares.n_bins
        for name in ("pointers", "bins", "weights"):
            file[name] = getattr(shares, name)
        file["excluded"] = radial_map.excluded
        for name in PER_PIXEL:
            values = getattr(radial_map.scatter, name)
            if values is not None:
                file[name] = values
        if pixels is not None:
            group = file.create_group(PIXELS)
            group.attrs.update({"kind": type(pixels).__name__, "path": pixels.path})
            for name, values in pixels.arrays().items():
                group[name] = values


def load_map(path: str | Path, geometry: Geometry | None = None) -> RadialMap:
    """Read a map; see `RadialMap.load`."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            if file.attrs.get("format") != FORMAT:
                raise FileError(path, "is no radial map of this version.", "Build the map again and save it.")
            description = json.loads(file.attrs["description"])
            identity = str(file.attrs["fingerprint"])
            arrays = {name: np.asarray(file[name][()]) for name in file if name != PIXELS}
            pixels = _pixels(file[PIXELS]) if PIXELS in file else None
            n_bins = int(file.attrs["n_bins"])
        stored = _geometry(description["geometry"], pixels)
        unit = description["binning"]["unit"]
        for other in (stored, geometry):
            if other is not None and fingerprint(other, unit) != identity:
                raise GeometryError(
                    f"{path}: the map is for another geometry.",
                    "Build a map for this geometry, or load the one it is for.",
                )
        return _radial_map(stored, description, arrays, n_bins)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, DataError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        remedy = "Build the map again and save it."
        raise FileError(path, f"cannot be read as a radial map: {reason}.", remedy) from None


def _radial_map(
    geometry: Geometry, description: dict[str, Any], arrays: dict[str, NDArray[Any]], n_bins: int
) -> RadialMap:
    """Put a map together.

    Raises
    ------
    KeyError, ValueError, TypeError, DataError
        If parts are missing or do not fit together.
    """
    binning = Binning(**{name: _tupled(value) for name, value in description["binning"].items()})
    estimator = {"estimator": estimator_of(description["averaging"]["estimator"])}
    validity, averaging = Validity(**description["validity"]), Averaging(**description["averaging"] | estimator)
    radial = Axis(**description["radial"])
    azimuth = Axis(**description["azimuth"]) if description["azimuth"] else None
    excluded = arrays["excluded"].astype(bool)
    shares = PixelMap(n_bins=n_bins, **{name: arrays[name] for name in ("pointers", "bins", "weights")})
    if n_bins != radial.n_bins * (azimuth.n_bins if azimuth else 1):
        raise ValueError(f"it has {n_bins} bins, and axes for another number")
    if excluded.shape != geometry.shape or shares.n_pixels != excluded.size:
        raise ValueError("it is for another number of pixels than its detector has")
    per_pixel = {name: arrays.get(name) for name in PER_PIXEL}
    plans = packed(shares, averaging, **per_pixel)
    return RadialMap(geometry, binning, validity, averaging, radial, azimuth, excluded, **plans)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _pixels(group: Any) -> PixelShapes:
    arrays = {name: np.asarray(group[name][()]) for name in group}
    return restored_pixels(str(group.attrs["kind"]), arrays, str(group.attrs["path"]))


def _geometry(values: dict[str, Any], pixels: PixelShapes | None) -> Geometry:
    detector = values.pop("detector") | {"pixels": pixels}
    detector["shape"] = tuple(detector["shape"])
    for name in ("gap_rows", "gap_columns"):
        detector[name] = tuple(tuple(span) for span in detector[name])
    detector["module_spans"] = tuple(
        Module(*(tuple(span) for span in spans)) for spans in detector.get("module_spans", ())
    )
    if detector.get("sensor") is not None:
        detector["sensor"] = Sensor(**detector["sensor"])
    return Geometry(detector=Detector(**detector), **values)
