"""The map as a labelled Dataset, and what other programs look for in the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.provenance import friedel_version
from friedel.data import coordinate
from friedel.techniques.integration.radial_map import RadialMap
from friedel.techniques.integration.results import label_patterns
from friedel.techniques.integration.skipping import SKIPPED

from .layout import MapAxis, MapLayout
from .maps import Floats, PatternMaps

GRID = ("y", "x")
MOST_MAPPINGS = 20_000
"""Pieces that the transposed view of the map is put together from at most; a view of more opens too slowly."""


def assemble(
    layout: MapLayout,
    radial_map: RadialMap,
    arrays: Mapping[str, Any],
    analysis: PatternMaps,
    maps: Mapping[str, NDArray[Any]],
    mean: tuple[Floats, Floats | None] | None,
) -> xr.Dataset:
    """Put all results into one Dataset.

    Returns
    -------
    xarray.Dataset
        ``intensity`` (y, x, radial), of cakes (y, x, azimuth, radial), with errors if there is an error model;
        ``valid_fraction``, ``mean_intensity`` and ``frame_number`` (y, x); ``mean_pattern`` (radial); with regions
        ``roi_intensity`` (roi, y, x); with peaks ``peak_area``, ``peak_position`` and ``peak_width`` (peak, y, x). y is
        the slow direction of the scan, x the fast one.
    """
    coords = {"y": _coordinate("y", layout.slow), "x": _coordinate("x", layout.fast)}
    dataset: xr.Dataset = label_patterns(radial_map, arrays, coords, GRID)
    units = str(dataset["radial"].attrs["units"])
    variables: dict[str, Any] = {
        "mean_intensity": (GRID, maps["mean"], {"units": "counts", "long_name": "Mean over the pattern"}),
        "frame_number": (GRID, layout.frames.astype(np.int32), {"units": "", "long_name": "Frame, -1 for none"}),
    }
    if SKIPPED in arrays:
        described = {"units": "", "long_name": "Whether the point has no frame, or a damaged one"}
        variables[SKIPPED] = (GRID, arrays[SKIPPED], described)
    if mean is not None:
        variables["mean_pattern"] = ("radial", mean[0], {"units": "counts", "long_name": "Mean pattern of the map"})
        if mean[1] is not None:
            variables["mean_pattern_errors"] = ("radial", mean[1], {"units": "counts"})
    if analysis.regions:
        described = {"units": "counts", "long_name": "Sum over the region"}
        dataset = dataset.assign_coords(roi=list(analysis.regions))
        variables["roi_intensity"] = (("roi", *GRID), analysis.region_maps(maps["functional"]), described)
        if "functional_errors" in maps:
            errors = analysis.region_maps(maps["functional_errors"])
            variables["roi_intensity_errors"] = (("roi", *GRID), errors, described)
    if analysis.peaks:
        dataset = dataset.assign_coords(peak=[peak.name for peak in analysis.peaks])
        variables |= _peak_variables(analysis, maps["functional"], units)
    return dataset.assign(variables)


def _coordinate(dim: str, axis: MapAxis) -> xr.Variable:
    found: xr.Variable = coordinate(dim, axis.values, axis.units, axis.label)
    return found


def _peak_variables(analysis: PatternMaps, functional: Floats, units: str) -> dict[str, Any]:
    described = {
        "area": (f"counts.{units}", "Area above the background"),
        "position": (units, "Centre of mass"),
        "width": (units, "Full width at half maximum"),
    }
    return {
        f"peak_{name}": (("peak", *GRID), values, {"units": described[name][0], "long_name": described[name][1]})
        for name, values in analysis.peak_maps(functional).items()
    }


def write_diffmap(file: Any, layout: MapLayout, radial_map: RadialMap, parameters: Mapping[str, Any]) -> None:
    """Add the groups in which readers of pyFAI's diffraction maps look, ``/entry/pyFAI`` and its ``result``.

    The patterns are not stored twice: ``intensity`` is the same dataset, ``map`` a view of it with the pattern's axes
    first, unless the map has too many points for such a view.
    """
    entry = file["entry"]
    process = _group(entry, "pyFAI", "NXprocess")
    process["program"] = "friedel"
    process["version"] = friedel_version()
    process["date"] = datetime.now().astimezone().isoformat(timespec="seconds")
    process["offset"] = 0
    for number, axis in enumerate((layout.slow, layout.fast)):
        process[f"dim{number}"] = len(axis.values)
        process[f"dim{number}"].attrs.update({"axis": axis.label, "range": [axis.values[0], axis.values[-1]]})
    process["dim2"] = radial_map.radial.n_bins
    process["dim2"].attrs["axis"] = "diffraction"
    note = _group(process, "configuration", "NXnote")
    note["type"] = "text/json"
    note["data"] = json.dumps(dict(parameters), indent=2)
    _write_result(process, entry, layout, radial_map)


def _write_result(process: Any, entry: Any, layout: MapLayout, radial_map: RadialMap) -> None:
    result = _group(process, "result", "NXdata")
    for name, axis in (("slow", layout.slow), ("fast", layout.fast)):
        result[name] = axis.values
        result[name].attrs.update({"long_name": axis.label, "units": axis.units, "interpretation": "scalar"})
    result["map_ptr"] = layout.frames.astype(np.int32)
    result["map_ptr"].attrs.update({"interpretation": "image", "long_name": "Frame index for given map position"})
    source = entry["intensity"]
    result["intensity"] = source["intensity"]
    if "intensity_errors" in source:
        result["errors"] = source["intensity_errors"]
    space = radial_map.binning.unit.partition("_")[0]
    result[space] = source["radial"]
    bins = [space]
    if "azimuth" in source:
        result["azimuthal"] = source["azimuth"]
        bins = ["azimuthal", space]
    if _write_view(result, result["intensity"]):
        result.attrs["signal"], result.attrs["axes"] = "map", [*bins, "slow", "fast"]
    else:
        result.attrs["signal"], result.attrs["axes"] = "intensity", ["slow", "fast", *bins]


def _write_view(result: Any, intensity: Any) -> bool:
    """Write the view of the patterns with the axes of the grid last, if it takes few pieces; say whether."""
    import h5py

    grid, bins = intensity.shape[:2], intensity.shape[2:]
    by_points = np.prod(grid) <= np.prod(bins)
    if min(np.prod(grid), np.prod(bins)) > MOST_MAPPINGS:
        return False
    view = h5py.VirtualLayout((*bins, *grid), intensity.dtype)
    source = h5py.VirtualSource(intensity)
    for place in np.ndindex(*(grid if by_points else bins)):
        view[(..., *place) if by_points else place] = source[place if by_points else (..., *place)]
    result.create_virtual_dataset("map", view, fillvalue=np.nan).attrs["interpretation"] = "image"
    return True


def _group(parent: Any, name: str, nexus_class: str) -> Any:
    group = parent.require_group(name)
    group.attrs["NX_class"] = nexus_class
    return group
