"""Diffraction maps from end to end: frames to patterns on the grid of the scan, patterns to maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.blocks import Block, cut_blocks
from friedel.core.context import Context
from friedel.core.errors import ParameterError
from friedel.core.files import exists_already
from friedel.core.provenance import Provenance, refuse_to_replace_inputs
from friedel.instrument.scan_layout import NO_FRAME
from friedel.io import FrameSource, MemorySink, RegionFile, RegionSpec, finished_result, open_dataset, write_dataset
from friedel.io.recognise import check_ending
from friedel.techniques.integration.integrate import (
    Followed,
    build_map,
    describe_inputs,
    follow_frames,
    for_estimator,
    input_files,
    normalization_factors,
    open_scan,
    pattern_regions,
)
from friedel.techniques.integration.integrator import frames_per_block
from friedel.techniques.integration.options import MapOptions
from friedel.techniques.integration.radial_map import RadialMap, StreamedMap
from friedel.techniques.integration.skipping import (
    SKIPPED,
    ranges_of,
    tell_skipped,
)
from friedel.workflows.grid import GridSource, grid_stream, on_points
from friedel.workflows.tasks import DiffractionMap

from .layout import MapLayout
from .maps import MapPoints, PatternMaps, StoredArray, mean_pattern
from .result import assemble, write_diffmap

WITHOUT_INFLUENCE = ("regions", "peaks")
"""Parameters that the patterns do not depend on."""
ANALYSED_BYTES = 32 * 1024**2
"""Patterns that are mapped at a time take about this much memory."""


def diffraction_map(parameters: DiffractionMap, context: Context) -> xr.Dataset:
    """Do the task ``diffraction_map``; see `friedel.workflows.tasks.DiffractionMap`.

    Returns
    -------
    xarray.Dataset
        As `friedel.workflows.mapping.result.assemble` describes; lazy.
    """
    if parameters.format not in ("friedel", "pyfai"):
        raise ParameterError(
            f"format is {parameters.format}: there is no such layout of a map.",
            "Leave it out: the file has the layouts of friedel and of pyFAI's diffraction maps.",
        )
    for note in parameters.notes:
        context.progress.message(note)
    context = for_estimator(parameters, context)
    check_ending(parameters.output)
    if parameters.follow is None:
        return _map_frames(parameters, context, open_scan(parameters), None)

    def accept(radial_map: RadialMap) -> None:
        # What is wrong with a window is told before the scan, not after.
        PatternMaps.build(radial_map.radial.centers, parameters.regions, parameters.peaks)

    points = None if parameters.shape is None else math.prod(parameters.shape)
    bins: MapOptions = {"npt_azimuth": parameters.npt_azimuth}
    with follow_frames(parameters, context, bins, points=points, accept=accept) as (source, followed):
        # Motors may be written after the frames.
        now = open_scan(parameters)
        if now.n_frames >= source.n_frames:
            source = now.select(slice(0, source.n_frames))
        return _map_frames(parameters, context, source, followed)


def _map_frames(
    parameters: DiffractionMap, context: Context, source: FrameSource, followed: Followed | None
) -> xr.Dataset:
    refuse_to_replace_inputs([parameters.output, parameters.report], input_files(parameters, source))
    layout = find_layout(parameters, source)
    context.progress.message(f"Scan: {layout.describe()}.")
    for warning in layout.warnings:
        context.progress.warn(warning)
    factors = normalization_factors(parameters, source)
    record = describe_inputs(parameters, context, source) or _unrecorded(parameters, context)
    if not parameters.overwrite and Path(parameters.output).exists():
        finished: xr.Dataset | None = finished_result(parameters.output, record)
        if finished is None:
            raise exists_already(parameters.output)
        context.progress.message(f"{parameters.output} is complete already.")
        return finished
    if followed is not None:
        radial_map = followed.radial_map
    else:
        radial_map = build_map(parameters, source, {"npt_azimuth": parameters.npt_azimuth}, context)
    # What is wrong with a window is told before the work, not after.
    analysis = PatternMaps.build(radial_map.radial.centers, parameters.regions, parameters.peaks)
    return _map(parameters, context, source, layout, radial_map, analysis, factors, record, followed)


def _unrecorded(parameters: DiffractionMap, context: Context) -> Provenance:
    """Begin a record where the caller keeps none: an interrupted run is recognised by it."""
    return Provenance.begin("diffraction_map", 1, parameters.model_dump(mode="json"), context.device)


def find_layout(parameters: DiffractionMap, source: FrameSource) -> MapLayout:
    """Return the grid of the scan: of the shape that is given, else as the motors tell.

    Raises
    ------
    ParameterError
        If the shape is too small for the frames, or what goes with a shape is given without it.
    DataError
        If there is no shape and the motors form no grid.
    """
    shape = parameters.shape
    if shape is None:
        alone = [name for name in ("snake", "slow_range", "fast_range") if getattr(parameters, name)]
        if alone:
            raise ParameterError(
                f"{alone[0]} is given without the shape of the map.",
                "Give --shape LINES POINTS too, or leave it out: the motors tell how the scan ran.",
            )
        return MapLayout.from_motors(source.axes, parameters.slow, parameters.fast, source.mismatched)
    layout = MapLayout.from_shape(
        source.n_frames,
        shape,
        snake=parameters.snake,
        slow_range=parameters.slow_range,
        fast_range=parameters.fast_range,
    )
    motors = [None if name is None else (name, source.axis(name)) for name in (parameters.slow, parameters.fast)]
    return layout.with_motors(*motors)


def _map(
    parameters: DiffractionMap,
    context: Context,
    source: FrameSource,
    layout: MapLayout,
    radial_map: RadialMap,
    analysis: PatternMaps,
    factors: NDArray[np.float64] | None,
    record: Provenance,
    followed: Followed | None,
) -> xr.Dataset:
    regions = map_regions(radial_map, layout, parameters.on_error == "skip")
    blocks = cut_blocks(
        layout.frames.size,
        parameters.block_frames
        or frames_per_block(source.frame_bytes, radial_map.scatter.n_bins, context.device, encoded=source.encoded),
    )
    # An interrupted run goes on although other maps are asked for: the patterns are the same.
    patterns = {name: value for name, value in record.parameters.items() if name not in WITHOUT_INFLUENCE}
    work = replace(record, parameters=patterns).fingerprint()
    with RegionFile.create(parameters.output, regions, work, parameters.overwrite) as sink:
        if sink.message:
            context.progress.message(sink.message)
        if followed is not None:
            _place(followed, layout, sink, blocks)
        else:
            streamed = StreamedMap(radial_map, context.device, context.runner.threads)
            points, plan = grid_stream(GridSource(source, layout.frames.ravel(), factors), streamed, regions)
            context.runner.stream(points, plan, sink, blocks, context, "Integrating", "points")
        arrays = {name: sink.read(name) for name in regions}
        skipped = _tell_lost(arrays, layout, source, context)
        maps = analyse(analysis, arrays, layout, radial_map, context)
        cake = arrays["intensity"].ndim > 3
        mean = None if cake else mean_pattern(arrays["intensity"], arrays.get("intensity_errors"))
        result = assemble(layout, radial_map, arrays, analysis, maps, mean)
        if SKIPPED in arrays:
            result.attrs["skipped_frames"] = ranges_of(skipped)
        notes: dict[str, Any] = {
            "scan": layout.describe(),
            "motors": {"slow": layout.slow.name, "fast": layout.fast.name},
        }
        if layout.warnings:
            notes["warnings"] = list(layout.warnings)
        result.attrs["points_without_frame"] = layout.missing
        result.attrs["provenance"] = context.with_cost(record.with_notes(**notes)).to_json()

        def write(file: Any) -> None:
            write_dataset(file, result, existing=tuple(regions))
            write_diffmap(file, layout, radial_map, parameters.model_dump(mode="json"))

        sink.finish(write)
    stored: xr.Dataset = open_dataset(parameters.output)
    return stored


def _place(followed: Followed, layout: MapLayout, sink: RegionFile, blocks: Sequence[Block]) -> None:
    """Store patterns that are there already at the points of the grid."""
    frame_of_point = layout.frames.ravel()
    for block in sink.pending(blocks):
        numbers = frame_of_point[block.start : block.stop]
        present = numbers != NO_FRAME
        found = followed.spool.take(numbers[present]) if present.any() else {}
        sink.write(block, on_points(found, present, sink.regions))
        sink.commit(block)


def map_regions(radial_map: RadialMap, layout: MapLayout, skipping: bool = False) -> dict[str, RegionSpec]:
    """Return what a sink has to hold for the patterns of the points of the grid."""
    per_frame = pattern_regions(radial_map, 1)
    if skipping:
        per_frame[SKIPPED] = RegionSpec((1,), "u1")
    return {
        name: RegionSpec((*layout.shape, *spec.shape[1:]), spec.dtype, item_axes=2) for name, spec in per_frame.items()
    }


def _tell_lost(
    arrays: Mapping[str, Any], layout: MapLayout, source: FrameSource, context: Context
) -> NDArray[np.int64]:
    """Tell the user which frames were skipped, and how many hold nothing; return the numbers of the former."""
    there = layout.frames != NO_FRAME
    marks = np.asarray(arrays[SKIPPED]) > 0 if SKIPPED in arrays else np.zeros(layout.shape, np.bool_)
    skipped = np.sort(layout.frames[marks & there])
    tell_skipped(skipped, source, context)
    lost = int(np.count_nonzero((np.asarray(arrays["valid_fraction"]) == 0) & there & ~marks))
    if lost:
        context.progress.warn(f"{lost} frames have no valid pixel in the range.")
    return skipped


def analyse(
    analysis: PatternMaps,
    arrays: Mapping[str, Any],
    layout: MapLayout,
    radial_map: RadialMap,
    context: Context,
) -> dict[str, NDArray[Any]]:
    """Return the arrays of `PatternMaps` for all points, each (slow, fast, ...)."""
    # Splitting shares counts between neighbouring channels: the error of a sum over channels is then not known.
    with_errors = radial_map.binning.splitting == "none" and arrays["intensity"].ndim == 3
    errors = arrays.get("intensity_errors") if with_errors else None
    count = len(analysis.weights)
    shapes: dict[str, tuple[int, ...]] = {"mean": (), "functional": (count,)}
    if errors is not None:
        shapes["functional_errors"] = (count,)
    sink = MemorySink({name: RegionSpec((*layout.shape, *shape), "f8", item_axes=2) for name, shape in shapes.items()})
    point_bytes = int(np.prod(arrays["intensity"].shape[2:])) * 8
    blocks = cut_blocks(layout.frames.size, max(1, ANALYSED_BYTES // point_bytes))
    source = MapPoints(StoredArray.of(arrays["intensity"]), None if errors is None else StoredArray.of(errors))
    context.runner.stream(source, analysis, sink, blocks, context, "Mapping", "points")
    return {name: sink.read(name) for name in shapes}
