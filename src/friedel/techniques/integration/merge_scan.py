"""The work of the tasks ``merge1d`` and ``merge2d``: frames of several geometries from files, to one result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.blocks import Block, cut_blocks
from friedel.core.context import Context
from friedel.core.errors import DataError, FriedelError, ParameterError
from friedel.core.files import refuse_existing
from friedel.core.provenance import refuse_to_replace_inputs
from friedel.instrument import Geometry, Goniometer
from friedel.io import FrameSource, finished_result, open_dataset, open_frames, write_dataset, write_pattern
from friedel.io.frames import expand

from .integrate import (
    LabelledSource,
    check_output,
    describe_files,
    given_files,
    is_text,
    map_options,
    normalization_factors,
    placed,
    refuse_covariance,
    scan_axes,
    text_files,
    variance_source,
)
from .integrator import frames_per_block
from .merge import IMAGES, MergePlan, Merging, SumSink, check_memory, merged_dataset
from .options import MapOptions
from .radial_map import FrameBlock
from .tasks import Merge1D, Merge2D, Merged


@dataclass(frozen=True, eq=False)
class Group:
    """Frames of one geometry.

    Attributes
    ----------
    source : FrameSource
    geometry : Geometry
    parameters : Merged
        With the images that belong to this geometry.
    variance : FrameSource or None
    """

    source: FrameSource
    geometry: Geometry
    parameters: Merged
    variance: FrameSource | None


@dataclass(frozen=True, eq=False)
class MergeSource:
    """Frames of all geometries, geometry after geometry. A block source; items are ``(number, FrameBlock)``."""

    sources: tuple[LabelledSource, ...]
    n_frames: int

    def read(self, block: Block) -> tuple[int, FrameBlock]:
        """Return the frames of a block, and the number of the geometry that they belong to."""
        number, start = divmod(block.start, self.n_frames)
        return number, self.sources[number].read(Block(block.number, start, start + len(block)))


def merge1d(parameters: Merge1D, context: Context) -> xr.Dataset:
    """Do the task ``merge1d``; see `Merge1D`."""
    return _merge(parameters, context, None)


def merge2d(parameters: Merge2D, context: Context) -> xr.Dataset:
    """Do the task ``merge2d``; see `Merge2D`."""
    if is_text(parameters.output):
        raise ParameterError(
            f"output is {parameters.output}: a cake cannot be written as text.", "Give a name that ends in .h5."
        )
    refuse_covariance(parameters)
    return _merge(parameters, context, parameters.npt_azimuth)


def _merge(parameters: Merged, context: Context, npt_azimuth: int | None) -> xr.Dataset:
    if parameters.format != "friedel":
        raise ParameterError(
            f"format is {parameters.format}: a merged pattern has no single geometry to write there.",
            "Leave it out, or write text.",
        )
    if parameters.on_error == "skip":
        raise ParameterError(
            "on_error is skip: a merged pattern without some of its frames is another one.",
            "Leave the frames out by frame_range, with their geometries.",
        )
    parameters.refuse(("follow",), "frames are merged when all of them are there")
    context = context.on_cpu("Frames of several geometries are merged")
    groups = _groups(parameters)
    n_frames = groups[0].source.n_frames
    files = tuple(dict.fromkeys(file for group in groups for file in group.source.files))
    output = parameters.output
    written = text_files(output, n_frames) if output is not None and is_text(output) else [output]
    refuse_to_replace_inputs(
        [*written, parameters.report],
        [*given_files(parameters), *(path for path, _ in expand(parameters.frames)), *files],
    )
    check_output(parameters, context)
    record = describe_files(parameters, context, files, n_frames * len(groups))
    finished: xr.Dataset | None = None if parameters.overwrite else finished_result(output, record)
    if finished is not None:
        context.progress.message(f"{output} is complete already.")
        return finished
    refuse_existing(written, parameters.overwrite)
    result = _sums(groups, _merging(groups, npt_azimuth, context), context)
    if record is not None:
        result.attrs["provenance"] = context.with_cost(record).to_json()
    if output is None:
        return result
    if is_text(output):
        for number, path in enumerate(text_files(output, n_frames)):
            write_pattern(path, result.isel(frame=number) if "frame" in result.dims else result)
        return result
    write_dataset(output, result)
    stored: xr.Dataset = open_dataset(output)
    return stored


def _sums(groups: list[Group], merging: Merging, context: Context) -> xr.Dataset:
    n_frames = groups[0].source.n_frames
    threads = context.runner.threads
    _, radial_map = merging.any_map(threads)
    check_memory(n_frames, radial_map)
    sources = tuple(
        LabelledSource(group.source, normalization_factors(group.parameters, group.source), group.variance)
        for group in groups
    )
    size = groups[0].parameters.block_frames or frames_per_block(
        groups[0].source.frame_bytes, radial_map.scatter.n_bins
    )
    # Geometry follows geometry: where each has many blocks, few maps are in use at a time, and all threads need the
    # same. Else each has its own to build.
    per_geometry = -(-n_frames // size)
    alone = per_geometry == 1
    plan = MergePlan(merging, 1 if alone else 2 + threads // per_geometry, 1 if alone else threads)
    sink = SumSink(n_frames)
    context.runner.stream(
        MergeSource(sources, n_frames),
        plan,
        sink,
        cut_blocks(n_frames, size, groups=len(groups)),
        context,
        "Merging",
    )
    dims, axes = (("frame",), scan_axes(groups[0].source)) if n_frames > 1 else ((), {})
    return merged_dataset(radial_map, sink.sums, dims, axes, per_steradian=groups[0].parameters.solid_angle)


def _merging(groups: list[Group], npt_azimuth: int | None, context: Context) -> Merging:
    """Return all geometries on one grid, each with its images."""
    first = groups[0]
    same = all(group.parameters is first.parameters for group in groups)
    each = [map_options(group.geometry, group.parameters, group.source) for group in (groups[:1] if same else groups)]
    options: dict[str, Any] = each[0] | {"npt_azimuth": npt_azimuth}
    if not same:
        options |= {name: [one[name] for one in each] for name in IMAGES}
    geometries = [group.geometry for group in groups]
    asked: MapOptions = options  # type: ignore[assignment]
    return Merging.of(geometries, asked, context.runner.threads)


def _groups(parameters: Merged) -> list[Group]:
    """Return the frames of each geometry.

    Raises
    ------
    DataError
        If there are neither as many geometries as files nor as many as frames.
    """
    files = expand(parameters.frames)
    goniometer = len(parameters.geometry) == 1 and _is_goniometer(parameters.geometry[0])
    if not goniometer:
        parameters.refuse(("positions",), "the geometries are PONI files, which no motor moves")
    if not goniometer and len(files) == len(parameters.geometry):
        return _groups_by_file(parameters, files)
    whole = _open(parameters, parameters.frames)
    if goniometer:
        geometries = _on_the_goniometer(parameters, whole)
    elif len(parameters.geometry) == whole.n_frames:
        geometries = [Geometry.load(path) for path in parameters.geometry]
    else:
        raise DataError(
            f"There are {len(parameters.geometry)} geometries for {whole.n_frames} frames in {len(files)} files.",
            "Give one PONI file for each file of frames or for each frame, or a goniometer calibration (JSON).",
        )
    variance = variance_source(parameters, whole)
    return [
        Group(
            whole.select(slice(number, number + 1)),
            placed(geometry, parameters, whole),
            parameters,
            variance if variance is None or variance.n_frames == 1 else variance.select(slice(number, number + 1)),
        )
        for number, geometry in enumerate(geometries)
    ]


def _groups_by_file(parameters: Merged, files: list[tuple[str, str | None]]) -> list[Group]:
    groups = []
    for number, (path, inside) in enumerate(files):
        source = _open(parameters, (path if inside is None else f"{path}::{inside}",))
        own = _own(parameters, number, len(files))
        geometry = placed(Geometry.load(parameters.geometry[number]), own, source)
        groups.append(Group(source, geometry, own, variance_source(own, source)))
    counts = {group.source.n_frames for group in groups}
    if len(counts) > 1:
        raise DataError(
            f"The files have {', '.join(str(group.source.n_frames) for group in groups)} frames.",
            "Give files with as many frames each: frame i of all files makes pattern i.",
        )
    return groups


def _is_goniometer(path: str) -> bool:
    """Whether a JSON file is no geometry in the configuration of pyFAI, and so has to be that of a goniometer."""
    if Path(path).suffix.lower() != ".json":
        return False
    try:
        Geometry.load(path)
    except FriedelError:
        return True
    return False


def _own(parameters: Merged, number: int, count: int) -> Merged:
    """Return the parameters of one of several files: of as many images as files each file has its own."""
    if count == 1:
        return parameters
    own = {
        name: (paths[number],)
        for name in ("mask", "flat", "dark", "variance")
        if len(paths := getattr(parameters, name) or ()) == count
    }
    return parameters.model_copy(update=own)


def _open(parameters: Merged, frames: tuple[str, ...]) -> FrameSource:
    return open_frames(frames, dataset=parameters.dataset, frames=parameters.frame_range, checksum=parameters.checksum)


def _on_the_goniometer(parameters: Merged, source: FrameSource) -> list[Geometry]:
    """Return the geometry of each frame."""
    goniometer = Goniometer.load(parameters.geometry[0])
    given = parameters.positions or goniometer.motors
    if len(given) != len(goniometer.motors):
        raise ParameterError(
            f"positions has {len(given)} entries for the motors {', '.join(goniometer.motors)}.",
            "Give an axis of the scan, or numbers with commas between them, for each motor.",
        )
    positions = {motor: _positions(text, source) for motor, text in zip(goniometer.motors, given, strict=True)}
    return [
        goniometer.geometry({motor: values[number] for motor, values in positions.items()})
        for number in range(source.n_frames)
    ]


def _positions(text: str, source: FrameSource) -> NDArray[np.float64]:
    """Return the position of a motor at each frame: numbers as they are, or an axis of the scan by name."""
    try:
        values = np.array([float(word) for word in text.split(",")])
    except ValueError:
        values = np.asarray(source.axis(text).values, np.float64)
    if values.size not in (1, source.n_frames):
        raise DataError(
            f"positions has {values.size} numbers for {source.n_frames} frames.", "Give one for each frame."
        )
    return np.broadcast_to(values, (source.n_frames,))
