"""Patterns with names, axes and units."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xarray as xr

from friedel.data import azimuth_coordinate, radial_coordinate

from .estimators import describe
from .patterns import SUMS
from .radial_map import RadialMap

LONG_NAMES = {
    "intensity": "Intensity",
    "intensity_errors": "Standard deviation of the intensity",
    "intensity_std": "Standard deviation of a pixel in the bin",
}


def label_patterns(
    radial_map: RadialMap, arrays: Mapping[str, Any], coordinates: Mapping[str, Any], dims: tuple[str, ...] = ("frame",)
) -> xr.Dataset:
    """Return arrays of patterns as a Dataset.

    Parameters
    ----------
    radial_map : RadialMap
        That made the patterns.
    arrays : mapping of str to array
        As `Patterns.arrays` gives them.
    coordinates : mapping
        Coordinates along `dims`.
    dims : tuple of str
        Dimensions of the frames; () for a single one.

    Returns
    -------
    xarray.Dataset
        ``intensity``, with an error model ``intensity_errors``, ``valid_fraction``, and where they were asked for
        ``intensity_std`` and ``intensity_covariance`` over (offset, radial); ``sum_signal``, ... where the sums are
        kept.
    """
    bins = bin_dims(radial_map)
    variables: dict[str, Any] = {}
    for name, long_name in LONG_NAMES.items():
        if name in arrays:
            variables[name] = ((*dims, *bins), arrays[name], {"units": "counts", "long_name": long_name})
    if "intensity_covariance" in arrays:
        variables["intensity_covariance"] = (
            (*dims, "offset", *bins),
            arrays["intensity_covariance"],
            {"units": "counts^2", "long_name": "Covariance of a bin and the one by the offset above it"},
        )
    variables["valid_fraction"] = (
        dims,
        arrays["valid_fraction"],
        {"units": "", "long_name": "Valid part of the pixels in the range"},
    )
    for name, (formula, units) in SUMS.items():
        if f"sum_{name}" in arrays:
            variables[f"sum_{name}"] = ((*dims, *bins), arrays[f"sum_{name}"], {"units": units, "long_name": formula})
    coords = dict(coordinates) | bin_coordinates(radial_map)
    if "intensity_covariance" in arrays:
        numbers = range(arrays["intensity_covariance"].shape[-2])
        coords["offset"] = ("offset", list(numbers), {"units": "", "long_name": "Offset in bins"})
    attributes = {
        "default": "intensity",
        "splitting": radial_map.binning.splitting,
        "error_model": radial_map.averaging.error_model,
        "estimator": json.dumps(describe(radial_map.averaging.estimator)),
    }
    return xr.Dataset(variables, coords, attributes)


def bin_coordinates(radial_map: RadialMap) -> dict[str, xr.Variable]:
    """Return the coordinates of the bins: ``radial`` in the unit of the map, for cakes ``azimuth`` in the other one."""
    coords = {}
    if "radial" in bin_dims(radial_map):
        coords["radial"] = radial_coordinate(radial_map.radial.centers, radial_map.binning.unit)
    if "azimuth" in bin_dims(radial_map):
        coords["azimuth"] = azimuth_coordinate(radial_map.azimuth_centers, radial_map.binning.azimuth_unit)
    return coords


def bin_dims(radial_map: RadialMap) -> tuple[str, ...]:
    """Return the dimensions of a result for one frame."""
    if radial_map.binning.azimuthal:
        return ("azimuth",)
    return ("azimuth", "radial") if radial_map.binning.cake else ("radial",)
