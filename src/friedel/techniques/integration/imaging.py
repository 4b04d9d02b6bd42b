"""The way of the tasks whose results are images: frames from files, through a plan, to images in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.blocks import Block, cut_blocks
from friedel.core.context import Context
from friedel.core.files import refuse_existing
from friedel.core.provenance import refuse_to_replace_inputs
from friedel.io import MemorySink, RegionFile, RegionSpec, finished_result, open_dataset, store_image, write_dataset
from friedel.io.images import IMAGE_ENDINGS
from friedel.io.recognise import check_ending
from friedel.kernels.decode import decode
from friedel.kernels.encoded import EncodedFrames
from friedel.kernels.marks import marked

from .integrate import (
    LabelledSource,
    build_map,
    describe_inputs,
    input_files,
    normalization_factors,
    open_scan,
    scan_axes,
)
from .integrator import frames_per_block
from .options import MapOptions
from .radial_map import FrameBlock, RadialMap
from .tasks import Integration

BYTES_PER_PIXEL = 40
"""Of a frame, while its images are made."""


@dataclass(frozen=True)
class NumberedFrames:
    """Frames of a block, with the number of the first.

    Attributes
    ----------
    start : int
    block : FrameBlock
    """

    start: int
    block: FrameBlock

    @property
    def frames(self) -> NDArray[Any]:
        """The frames, decoded."""
        frames = self.block.frames
        return decode(frames) if isinstance(frames, EncodedFrames) else frames

    def decoded(self) -> NumberedFrames:
        """Return the same with frames that are decoded."""
        return replace(self, block=replace(self.block, frames=self.frames))


@dataclass(frozen=True, eq=False)
class NumberedSource:
    """A `friedel.core.blocks.BlockSource` of frames that know their number."""

    source: LabelledSource

    def read(self, block: Block) -> NumberedFrames:
        """Return the frames of a block."""
        return NumberedFrames(block.start, self.source.read(block))


Plan = Callable[[NumberedFrames], dict[str, NDArray[np.float32]]]


def stream_images(
    parameters: Integration,
    context: Context,
    bins: MapOptions,
    make_plan: Callable[[RadialMap], Plan],
    images: Mapping[str, str],
    label: str,
    *,
    numbers: Mapping[str, str] = MappingProxyType({}),
    endings: Mapping[str, str] = MappingProxyType({}),
    complete: Callable[[xr.Dataset], None] | None = None,
) -> xr.Dataset:
    """Do a task that makes images of frames.

    Parameters
    ----------
    parameters : Integration
    context : Context
    bins : MapOptions
        Bins beside those of the parameters: {"npt_azimuth": n} for plans that work with cakes.
    make_plan : callable
        Makes the plan from the map; the plan's arrays are images by name, (n, rows, columns), and nothing else.
    images : mapping of str to str
        Name of each image, and what it is.
    label : str
        What is done, for the display of progress.
    numbers : mapping of str to str
        Name of each array of one number for a frame that the plan makes beside the images, and what it is.
    endings : mapping of str to str
        What is added to the name of image files, for each of several images; by default there is one image.
    complete : callable, optional
        Given the result before it is stored.
    """
    for note in parameters.notes:
        context.progress.message(note)
    output = parameters.output
    check_ending(output, *IMAGE_ENDINGS)
    parameters.refuse(("format",), "it is a layout of patterns")
    context = context.on_cpu("Images are made")
    source = open_scan(parameters)
    image_files = {name: image_names(output, source.n_frames, endings.get(name, "")) for name in images}
    written = [str(path) for paths in image_files.values() for path in paths]
    refuse_to_replace_inputs([output, *written, parameters.report], input_files(parameters, source))
    refuse_existing(written, parameters.overwrite)
    record = describe_inputs(parameters, context, source)
    finished: xr.Dataset | None = None if parameters.overwrite or written else finished_result(output, record)
    if finished is not None:
        context.progress.message(f"{output} is complete already.")
        return finished
    radial_map = build_map(parameters, source, bins, context)
    plan = make_plan(radial_map)
    regions = {name: RegionSpec((source.n_frames, *radial_map.geometry.shape), "f4") for name in images}
    regions |= {name: RegionSpec((source.n_frames,), "f4") for name in numbers}
    bytes_per_frame = source.frame_bytes + BYTES_PER_PIXEL * radial_map.excluded.size
    blocks = cut_blocks(
        source.n_frames, parameters.block_frames or frames_per_block(bytes_per_frame, radial_map.scatter.n_bins)
    )
    numbered = NumberedSource(LabelledSource(source, normalization_factors(parameters, source)))
    fingerprint = record.fingerprint() if record is not None else ""
    sink: RegionFile | MemorySink = (
        MemorySink(regions)
        if output is None or written
        else RegionFile.create(output, regions, fingerprint, parameters.overwrite)
    )
    with sink:
        if sink.message:
            context.progress.message(sink.message)
        context.runner.stream(numbered, plan, sink, blocks, context, label)
        variables: dict[str, Any] = {
            name: (("frame", "y", "x"), sink.read(name), {"units": "counts", "long_name": long_name})
            for name, long_name in images.items()
        }
        variables |= {
            name: (("frame",), np.asarray(sink.read(name)).astype(np.int64), {"long_name": long_name})
            for name, long_name in numbers.items()
        }
        result = xr.Dataset(variables, scan_axes(source), {"default": next(iter(images))})
        if complete is not None:
            complete(result)
        if record is not None:
            result.attrs["provenance"] = context.with_cost(record).to_json()
        for name, paths in image_files.items():
            for number, file_name in enumerate(paths):
                store_image(file_name, np.asarray(result[name][number]), context, parameters.overwrite)
        if output is None or written:
            return result
        sink.finish(lambda file: write_dataset(file, result, existing=tuple(regions)))
    stored: xr.Dataset = open_dataset(output)
    return stored


def image_names(output: str | None, count: int, ending: str = "") -> list[Path]:
    """Return the image files to write, numbered if there are several; none if the output is HDF5 or memory.

    Parameters
    ----------
    output : str or None
    count : int
        Number of frames.
    ending : str
        Of the names, before the number: "_bragg".
    """
    if output is None or Path(output).suffix.lower() not in IMAGE_ENDINGS:
        return []
    base = Path(output)
    base = base.with_stem(base.stem + ending)
    return [base] if count == 1 else [base.with_stem(f"{base.stem}_{number:05d}") for number in range(count)]


def invalid_pixels(radial_map: RadialMap, frames: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels of frames are no measurement: those of the mask, and those marked in a frame.

    Parameters
    ----------
    radial_map : RadialMap
    frames : ndarray, shape (n, rows, columns)
    """
    validity = radial_map.validity
    invalid = ~np.isfinite(frames) | radial_map.excluded | marked(frames, validity.dummy, validity.delta_dummy)
    if validity.negative == "mask":
        invalid |= frames < 0
    return np.asarray(invalid)
