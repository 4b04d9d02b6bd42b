"""The tasks ``undistort`` and ``distort``: frames through a regridding, to a file."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.blocks import cut_blocks
from friedel.core.context import Context
from friedel.core.errors import DataError, ParameterError
from friedel.core.files import refuse_existing
from friedel.core.provenance import Provenance, refuse_to_replace_inputs
from friedel.instrument import Detector, Geometry
from friedel.instrument.detector_file import is_detector_file
from friedel.instrument.poni import detector_file
from friedel.io import (
    FrameSource,
    MemorySink,
    RegionFile,
    RegionSpec,
    finished_result,
    open_dataset,
    open_frames,
    store_image,
    write_dataset,
)
from friedel.kernels.scatter import Scatter

from .correction import FrameCorrection, monitor_factors
from .files import all_inputs, image_inputs, is_image, record_of
from .moments import FrameGroups
from .regridding import Grid, Overlap, Regridding
from .tasks import Distort, Resampling, Undistort

RESULT_BYTES = 128 * 1024**2
"""Sums of the frames of a block take about this much memory."""
BYTES_PER_PIXEL = 48
LONG_NAMES = {
    "undistorted": "Frames corrected for distortion",
    "distorted": "Frames as the distorted detector sees them",
}


def undistort(parameters: Undistort, context: Context) -> xr.Dataset:
    """Do the task ``undistort``; see `Undistort`."""
    context = context.on_cpu("Frames are resampled")
    source, detector, geometry = _opened(parameters)
    _fitting(source, detector.known_shape(), "the detector")
    correction = FrameCorrection.of(parameters, source)
    grid = Grid.of(detector, parameters.resize)
    overlap = Overlap.build(detector, grid, correction.excluded)
    shares, dark, flat = overlap.shares, correction.dark, correction.flat
    if flat is not None:
        shares = replace(shares, weights=(shares.weights / flat.reshape(-1)[overlap.owners()]).astype(np.float32))
    scatter = Scatter.build(shares, normalization=flat, dark=dark)
    regular = None if geometry is None else _regular(geometry, grid)
    return _resample(parameters, context, source, "undistorted", scatter, grid.shape, overlap.coverage(), regular)


def distort(parameters: Distort, context: Context) -> xr.Dataset:
    """Do the task ``distort``; see `Distort`."""
    context = context.on_cpu("Frames are resampled")
    source, detector, _ = _opened(parameters)
    grid = Grid.of(detector)
    _fitting(source, grid.shape, "the regular grid")
    correction = FrameCorrection.of(parameters, source)
    if correction.dark is not None or correction.flat is not None:
        raise ParameterError("dark and flat belong to the detector, not to corrected frames.", "Leave them out.")
    overlap = Overlap.build(detector, grid)
    inverse = overlap.inverse()
    inverse.weights[np.repeat(correction.excluded.reshape(-1), np.diff(inverse.pointers))] = 0.0
    shape = detector.known_shape()
    covered = np.bincount(inverse.bins, inverse.weights, inverse.n_bins).reshape(shape).astype(np.float32)
    return _resample(parameters, context, source, "distorted", Scatter.build(inverse), shape, covered, None)


def _opened(parameters: Resampling) -> tuple[FrameSource, Detector, Geometry | None]:
    source = open_frames(parameters.frames, dataset=parameters.dataset, frames=parameters.frame_range)
    if is_detector_file(parameters.detector):
        return source, Detector.load(parameters.detector), None
    geometry = Geometry.load(parameters.detector)
    if geometry.detector.shape is None:
        geometry = geometry.for_shape(source.full_shape)
    if not geometry.detector.displaced:
        raise ParameterError(
            f"{parameters.detector}: its detector is not distorted: {geometry.detector.name}.",
            "Give a spline file, a NeXus detector file with pixel_corners, or a PONI file that names one.",
        )
    return source, geometry.detector, geometry


def _fitting(source: FrameSource, shape: tuple[int, int], name: str) -> None:
    if source.full_shape != shape:
        frame, own = (f"{rows} x {columns}" for rows, columns in (source.full_shape, shape))
        raise DataError(
            f"{source.files[0]}: the frames have {frame} pixels, {name} has {own}.",
            "Give the description of the detector that took these frames.",
        )


def _regular(geometry: Geometry, grid: Grid) -> Geometry:
    """Return the geometry of the corrected frames."""
    detector = grid.detector(geometry.detector)
    return replace(
        geometry,
        detector=replace(detector, sensor=geometry.detector.sensor),
        poni1=geometry.poni1 - grid.offset[0] * detector.pixel1,
        poni2=geometry.poni2 - grid.offset[1] * detector.pixel2,
    )


def _resample(
    parameters: Resampling,
    context: Context,
    source: FrameSource,
    name: str,
    scatter: Scatter,
    shape: tuple[int, int],
    coverage: NDArray[np.float32],
    geometry: Geometry | None,
) -> xr.Dataset:
    images = _image_files(parameters, source.n_frames)
    poni = None if geometry is None or parameters.output is None else Path(parameters.output).with_suffix(".poni")
    outputs: list[str | Path | None] = [*images] or [parameters.output]
    written = [*outputs, poni]
    named = None if is_detector_file(parameters.detector) else detector_file(parameters.detector)
    described = (parameters.detector, named)
    refuse_to_replace_inputs([*written, parameters.report], all_inputs(parameters, source, *described))
    record = record_of(context, source, image_inputs(parameters, *described))
    finished: xr.Dataset | None = None if parameters.overwrite else finished_result(parameters.output, record)
    if finished is not None:
        context.progress.message(f"{parameters.output} is complete already.")
        return finished
    refuse_existing(written, parameters.overwrite)
    plan = Regridding(
        scatter,
        shape,
        name,
        parameters.conserve,
        parameters.error_model == "poisson",
        math.nan if parameters.empty is None else parameters.empty,
        parameters.dummy,
        parameters.delta_dummy,
    )
    names = [name, f"{name}_errors"] if plan.poisson else [name]
    regions = {key: RegionSpec((source.n_frames, *shape), "f4") for key in names}
    blocks = cut_blocks(source.n_frames, max(1, RESULT_BYTES // (BYTES_PER_PIXEL * shape[0] * shape[1])))
    frames = FrameGroups(source, monitor_factors(source, parameters.monitor))
    with _sink(parameters, regions, record, bool(images)) as sink:
        if sink.message:
            context.progress.message(sink.message)
        context.runner.stream(frames, plan, sink, blocks, context, "Resampling")
        result = _labelled({key: sink.read(key) for key in names}, coverage, source)
        if record is not None:
            result.attrs["provenance"] = context.with_cost(record).to_json()
        if geometry is not None and poni is not None:
            geometry.save(poni, f"Geometry of {Path(str(parameters.output)).name}, corrected for distortion")
            context.progress.message(f"The geometry of the corrected frames is in {poni}.")
        for number, path in enumerate(images):
            store_image(path, np.asarray(result[name][number]), context, parameters.overwrite)
        if parameters.output is None or images:
            return result
        sink.finish(lambda file: write_dataset(file, result, existing=tuple(regions)))
    stored: xr.Dataset = open_dataset(parameters.output)
    return stored


def _sink(
    parameters: Resampling, regions: dict[str, RegionSpec], record: Provenance | None, images: bool
) -> RegionFile | MemorySink:
    if images or parameters.output is None:
        return MemorySink(regions)
    fingerprint = record.fingerprint() if record is not None else ""
    return RegionFile.create(parameters.output, regions, fingerprint, parameters.overwrite)


def _image_files(parameters: Resampling, count: int) -> list[Path]:
    if not is_image(parameters.output):
        return []
    base = Path(str(parameters.output))
    return [base] if count == 1 else [base.with_stem(f"{base.stem}_{number:05d}") for number in range(count)]


def _labelled(arrays: dict[str, Any], coverage: NDArray[np.float32], source: FrameSource) -> xr.Dataset:
    variables: dict[str, Any] = {}
    for name, values in arrays.items():
        kind = LONG_NAMES.get(name, "Standard deviation")
        variables[name] = (("frame", "y", "x"), values, {"units": "counts", "long_name": kind})
    variables["coverage"] = (
        ("y", "x"),
        coverage,
        {"units": "", "long_name": "Part of the pixel that valid pixels of the frames overlap"},
    )
    coordinates = source.coordinates(("frame", "y", "x", *variables))
    return xr.Dataset(variables, coordinates, {"default": next(iter(arrays))})
