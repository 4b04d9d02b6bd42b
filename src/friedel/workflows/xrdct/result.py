"""The results of XRD-CT as labelled Datasets, and what other programs look for in the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.data import coordinate, radial_coordinate
from friedel.instrument.scan_layout import ScanLayout
from friedel.techniques.integration.radial_map import RadialMap
from friedel.techniques.integration.skipping import SKIPPED
from friedel.techniques.powder import fit_phases

from .background import Background
from .maps import VoxelAnalysis
from .motors import ScanMotors
from .phases import ReferencePatterns
from .sinogram import SINOGRAM, SINOGRAM_ERRORS

GRID = ("layer", "angle", "translation")
VOXELS = ("layer", "y", "x")
RELATIVE_PERCENTILE = 99.9


@dataclass(frozen=True, eq=False)
class Measured:
    """What one look at the sinograms tells.

    Attributes
    ----------
    totals : ndarray of float64, shape (layers, angles, translations)
        Mean over the channels; NaN for missing points.
    mean_pattern : ndarray of float64, shape (channels,)
        Mean over all points; NaN for channels without data.
    mean_errors : ndarray of float64, shape (channels,), or None
    """

    totals: NDArray[np.float64]
    mean_pattern: NDArray[np.float64]
    mean_errors: NDArray[np.float64] | None


def scan_coordinates(motors: ScanMotors, layout: ScanLayout, radial_map: RadialMap) -> dict[str, xr.Variable]:
    """Return the axes of the sinogram cube."""
    unit = motors.translation_unit
    return {
        "layer": coordinate("layer", layout.layers, unit, "Height"),
        "angle": coordinate("angle", layout.angles, "deg", "Rotation angle"),
        "translation": coordinate("translation", layout.translations, unit, "Translation"),
        "radial": radial_coordinate(radial_map.radial.centers, radial_map.binning.unit),
    }


def describe_scan(
    motors: ScanMotors, layout: ScanLayout, radial_map: RadialMap, cubes: Mapping[str, NDArray[Any]]
) -> xr.Dataset:
    """Return the sinograms as a Dataset: ``sinogram`` and ``sinogram_errors`` (layer, angle, translation, radial).

    With `SKIPPED` among the cubes, it is over (layer, angle, translation).
    """
    texts = {SINOGRAM: "Intensity", SINOGRAM_ERRORS: "Standard deviation of the intensity"}
    variables = {
        name: ((*GRID, "radial"), cube, {"units": "counts", "long_name": texts[name]})
        for name, cube in cubes.items()
        if name in texts
    }
    attributes = {
        "default": SINOGRAM,
        "splitting": radial_map.binning.splitting,
        "error_model": radial_map.averaging.error_model,
        "definition": "NXxrdct",
    }
    dataset = xr.Dataset(variables, scan_coordinates(motors, layout, radial_map), attributes)
    if SKIPPED in cubes:
        text = "Whether the point has no frame that can be read"
        dataset[SKIPPED] = (GRID, cubes[SKIPPED], {"units": "", "long_name": text})
    return dataset


def assemble(
    motors: ScanMotors,
    layout: ScanLayout,
    radial_map: RadialMap,
    measured: Measured,
    background: Background,
    references: ReferencePatterns | None,
    analysis: VoxelAnalysis,
    maps: Mapping[str, NDArray[Any]],
    volumes: Mapping[str, Any],
) -> xr.Dataset:
    """Put all results into one Dataset.

    Returns
    -------
    xarray.Dataset
        ``volume`` (layer, y, x, radial) and ``volume_errors``; ``mean_pattern`` (radial) above the background,
        ``background`` (layer, radial); with phases ``phase_map`` (phase, layer, y, x), ``phase_height`` (phase),
        ``residual`` (layer, y, x),
        ``reflections`` (phase, reflection), ``reference`` (phase, radial) and ``fit_pattern`` (radial); with regions
        ``roi_intensity`` (roi, layer, y, x); with peaks ``peak_area``, ``peak_position`` and ``peak_width``
        (peak, layer, y, x).
    """
    scan = scan_coordinates(motors, layout, radial_map)
    unit = motors.translation_unit
    size = len(layout.translations)
    step = float(np.median(np.diff(layout.translations)))
    position = (np.arange(size) - (size - 1) / 2) * step
    coords: dict[str, Any] = {
        "layer": scan["layer"],
        "y": coordinate("y", position, unit, "y"),
        "x": coordinate("x", position, unit, "x"),
        "radial": scan["radial"],
    }
    radial_units = str(scan["radial"].attrs["units"])
    mean_pattern = measured.mean_pattern - background.pattern.mean(axis=0)
    voxel_units = f"counts/{unit}"
    counts = {"units": "counts"}
    variables: dict[str, Any] = {
        "mean_pattern": ("radial", mean_pattern, counts | {"long_name": "Mean pattern above the background"}),
        "background": (("layer", "radial"), background.pattern, counts | {"long_name": "Pattern beside the sample"}),
    }
    if measured.mean_errors is not None:
        variables["mean_pattern_errors"] = ("radial", measured.mean_errors, counts)
    if references is not None:
        coords["phase"] = ("phase", list(references.names))
        variables |= _phase_variables(references, analysis, mean_pattern, maps, voxel_units)
    if analysis.regions:
        coords["roi"] = ("roi", list(analysis.regions))
        variables |= _region_variables(analysis, maps, voxel_units)
    if analysis.peaks:
        coords["peak"] = ("peak", [peak.name for peak in analysis.peaks])
        variables |= _peak_variables(analysis, maps, voxel_units, radial_units)
    for name, volume in volumes.items():
        text = "Reconstructed intensity" if name == "volume" else "Standard deviation of the reconstructed intensity"
        variables[name] = ((*VOXELS, "radial"), volume, {"units": voxel_units, "long_name": text})
    default = "phase_map" if references is not None else "volume"
    attributes = {
        "default": default,
        "splitting": radial_map.binning.splitting,
        "error_model": radial_map.averaging.error_model,
    }
    return xr.Dataset(variables, coords, attributes)


def _phase_variables(
    references: ReferencePatterns,
    analysis: VoxelAnalysis,
    mean_pattern: NDArray[np.float64],
    maps: Mapping[str, NDArray[Any]],
    voxel_units: str,
) -> dict[str, Any]:
    heights = np.percentile(maps["phase"], RELATIVE_PERCENTILE, axis=(0, 1, 2))
    amounts = maps["phase"] / references.scales
    # One factor for all phases, so that they can be compared with one another; the flux is not known.
    amounts /= np.percentile(amounts.sum(axis=-1), RELATIVE_PERCENTILE) or 1.0
    most = max(len(row) for row in references.reflections)
    reflections = np.full((len(references.names), most), np.nan)
    for row, found in zip(reflections, references.reflections, strict=True):
        row[: len(found)] = found
    used = analysis.measured
    fit = fit_phases(mean_pattern[used], references.patterns[:, used], analysis.background_degree)
    points = np.linspace(-1.0, 1.0, int(used.sum()))
    fitted = np.full(len(used), np.nan)
    fitted[used] = fit.weights @ references.patterns[:, used] + np.polynomial.chebyshev.chebval(points, fit.background)
    return {
        "phase_map": (
            ("phase", *VOXELS),
            np.moveaxis(amounts, -1, 0),
            {"units": "", "long_name": "Relative amount of dense phase", "peak_width_deg": references.peak_width},
        ),
        "phase_height": (
            "phase",
            heights,
            {"units": voxel_units, "long_name": "Highest peak of the phase in the voxels richest in it"},
        ),
        "residual": (VOXELS, maps["residual"], {"units": voxel_units, "long_name": "Root mean square residual"}),
        "reflections": (("phase", "reflection"), reflections, {"long_name": "Positions of the reflections"}),
        "reference": (("phase", "radial"), references.patterns, {"units": "", "long_name": "Computed pattern"}),
        "fit_pattern": ("radial", fitted, {"units": "counts", "long_name": "Fit of the phases to the mean pattern"}),
    }


def _region_variables(analysis: VoxelAnalysis, maps: Mapping[str, NDArray[Any]], voxel_units: str) -> dict[str, Any]:
    attributes = {"units": voxel_units, "long_name": "Sum over the region"}
    dims = ("roi", *VOXELS)
    variables = {"roi_intensity": (dims, analysis.region_maps(maps["functional"]), attributes)}
    if "functional_errors" in maps:
        variables["roi_intensity_errors"] = (dims, analysis.region_maps(maps["functional_errors"]), attributes)
    return variables


def _peak_variables(
    analysis: VoxelAnalysis, maps: Mapping[str, NDArray[Any]], voxel_units: str, radial_units: str
) -> dict[str, Any]:
    units = {"area": f"{voxel_units}.{radial_units}", "position": radial_units, "width": radial_units}
    texts = {"area": "Area above the background", "position": "Centre of mass", "width": "Full width at half maximum"}
    return {
        f"peak_{name}": (("peak", *VOXELS), values, {"units": units[name], "long_name": texts[name]})
        for name, values in analysis.peak_maps(maps["functional"]).items()
    }


def link_sinograms(file: Any, path: str) -> None:
    """Let the maps' file show the sinograms, which lie in a file beside it."""
    import h5py

    file["entry/sinogram"] = h5py.ExternalLink(Path(path).name, "/entry/sinogram")


def write_nxxrdct(file: Any, motors: ScanMotors, layout: ScanLayout, radial_map: RadialMap) -> None:
    """Add what readers of NXxrdct look for: sample, detector and a link to the data."""
    entry = file["entry"]
    sample = _group(entry, "sample", "NXsample")
    sample["rotation_angle"] = layout.angles
    sample["rotation_angle"].attrs["units"] = "degree"
    sample["translation_values"] = layout.translations
    sample["translation_values"].attrs["units"] = motors.translation_unit
    sample["z_translation"] = layout.layers
    sample["z_translation"].attrs["units"] = motors.translation_unit
    instrument = _group(entry, "instrument", "NXinstrument")
    detector = _group(instrument, "detector", "NXdetector")
    geometry = radial_map.geometry
    detector["distance"] = geometry.distance
    detector["distance"].attrs["units"] = "m"
    detector["data"] = entry[SINOGRAM][SINOGRAM]
    if geometry.wavelength is not None:
        monochromator = _group(instrument, "monochromator", "NXmonochromator")
        monochromator["wavelength"] = geometry.wavelength * 1e10
        monochromator["wavelength"].attrs["units"] = "angstrom"


def _group(parent: Any, name: str, nexus_class: str) -> Any:
    group = parent.require_group(name)
    group.attrs["NX_class"] = nexus_class
    return group
