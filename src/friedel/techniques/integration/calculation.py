"""Images calculated from patterns or cakes: what a perfect detector would have recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.context import Context
from friedel.core.errors import DataError, ParameterError
from friedel.core.files import refuse_existing
from friedel.core.provenance import refuse_to_replace_inputs
from friedel.core.units import unit_named
from friedel.data.conventions import radial_unit_of
from friedel.instrument import Geometry
from friedel.instrument.coordinates import SamplePose
from friedel.io import open_dataset, read_image, read_pattern, store_image, write_dataset
from friedel.io.text import ENDINGS

from .corrections import checked_images, corrected_geometry, pixel_normalization
from .imaging import image_names
from .options import Corrections
from .pixels import Plane
from .reprojection import PatternImages
from .tasks import CalculateImage


def calculate_image(parameters: CalculateImage, context: Context) -> xr.Dataset:
    """Do the task ``calculate_image``; see `CalculateImage`."""
    output = parameters.output
    given = [parameters.patterns, parameters.geometry, *parameters.flat, *parameters.dark]
    files = [path.partition("::")[0] for path in given]
    refuse_to_replace_inputs([output, parameters.report], files)
    patterns = read_patterns(parameters)
    names = image_names(output, patterns.sizes["frame"])
    refuse_existing(names or ([output] if output else []), parameters.overwrite)
    images = _plan(parameters, patterns)(patterns.values)
    if parameters.empty is not None:
        images[~np.isfinite(images)] = parameters.empty
    variables = {"image": (("frame", "y", "x"), images, {"units": "counts", "long_name": "Calculated counts"})}
    result = xr.Dataset(variables, attrs={"default": "image"})
    if context.provenance is not None:
        record = context.provenance.with_inputs(list(dict.fromkeys(files)))
        result.attrs["provenance"] = context.with_cost(record).to_json()
    if output is None:
        return result
    for path, image in zip(names, images, strict=bool(names)):
        store_image(path, image, context, parameters.overwrite)
    if names:
        return result
    write_dataset(output, result, overwrite=parameters.overwrite)
    stored: xr.Dataset = open_dataset(output)
    return stored


def read_patterns(parameters: CalculateImage) -> xr.DataArray:
    """Return the intensities of a file, (frame, radial) or (frame, azimuth, radial), in ascending order.

    Raises
    ------
    DataError
        If they are no patterns or cakes.
    """
    path = parameters.patterns
    text = Path(path).suffix.lower() in ENDINGS
    dataset = read_pattern(path) if text else open_dataset(path)
    name = dataset.attrs.get("default", "intensity")
    if name not in dataset or not {"radial"} <= set(dataset[name].dims) <= {"frame", "azimuth", "radial"}:
        raise DataError(f"{path} holds no patterns or cakes.", "Give a result of integrate1d or integrate2d.")
    array = dataset[name]
    if "frame" not in array.dims:
        array = array.expand_dims("frame")
    axes = [dim for dim in ("azimuth", "radial") if dim in array.dims]
    ordered: xr.DataArray = array.transpose("frame", *axes).sortby(axes)
    return ordered


def _plan(parameters: CalculateImage, patterns: xr.DataArray) -> PatternImages:
    geometry = Geometry.load(parameters.geometry)
    if parameters.orientation is not None:
        geometry = replace(geometry, detector=replace(geometry.detector, orientation=parameters.orientation))
    shape = parameters.shape
    if shape is not None:
        geometry = geometry.for_shape(shape)
    if geometry.detector.shape is None:
        raise ParameterError("The geometry does not say how many pixels there are.", "Give shape: rows columns.")
    corrections = Corrections(
        solid_angle=parameters.solid_angle,
        polarization=parameters.polarization,
        polarization_axis=parameters.polarization_axis,
        flat=_mean_image(parameters.flat),
        dark=_mean_image(parameters.dark),
        sensor=parameters.sensor,
        efficiency=parameters.efficiency,
        parallax=parameters.parallax,
        absorber=parameters.absorber,
    )
    geometry = corrected_geometry(geometry, corrections)
    corrections = checked_images(geometry, corrections)
    radial_unit = _radial_unit(parameters, patterns)
    cake = "azimuth" in patterns.dims
    azimuth_unit = unit_named(str(patterns["azimuth"].attrs.get("azimuth_unit", "chi_deg")) if cake else "chi_deg")
    azimuth = None
    if cake:
        azimuth = patterns["azimuth"].values / (azimuth_unit.scale if azimuth_unit.period else 1.0)
    return PatternImages.build(
        geometry,
        Plane(unit_named(radial_unit), azimuth_unit, SamplePose(), "pi"),
        patterns["radial"].values,
        azimuth,
        normalization=pixel_normalization(geometry, corrections),
        dark=corrections.dark,
        interpolation=parameters.interpolation,
    )


def _radial_unit(parameters: CalculateImage, patterns: xr.DataArray) -> str:
    """Return the unit of patterns: that of their file, or the one that is given where it does not say."""
    given = parameters.unit
    if given is None:
        return radial_unit_of(patterns)
    stored = patterns["radial"].attrs.get("radial_unit")
    if stored and unit_named(str(stored)) != unit_named(given):
        raise ParameterError(f"unit is {given}, and {parameters.patterns} is over {stored}.", "Leave it out.")
    return given


def _mean_image(paths: tuple[str, ...]) -> NDArray[Any] | None:
    if not paths:
        return None
    mean: NDArray[Any] = np.stack([read_image(path, average=True) for path in paths]).mean(axis=0, dtype=np.float64)
    return mean
