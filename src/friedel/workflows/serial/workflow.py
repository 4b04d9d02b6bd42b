"""The work of the tasks of serial crystallography: frames from files, through the spot finder, to a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.blocks import cut_blocks
from friedel.core.context import Context
from friedel.core.errors import ParameterError
from friedel.core.files import refuse_existing
from friedel.core.provenance import Provenance, refuse_to_replace_inputs
from friedel.io import FrameSource, FrameWriter, MemorySink, RegionFile, RegionSpec, open_dataset, write_dataset
from friedel.io.recognise import check_ending
from friedel.io.segments import StoredFrames
from friedel.techniques.integration.imaging import BYTES_PER_PIXEL, NumberedSource
from friedel.techniques.integration.integrate import (
    LabelledSource,
    build_map,
    describe_inputs,
    input_files,
    open_scan,
    scan_axes,
)
from friedel.techniques.integration.integrator import frames_per_block

from .background import RingBackground
from .files import read_sparse, write_cxi, write_sparse
from .log import SpotLog
from .spots import PeakSearch, SpotFinder
from .tasks import Densify, FindPeaks, Sparsify, Spots

CXI = ".cxi"
ORIGIN = "The centre of the first pixel is at 0, as in CXI; friedel's own pixel coordinates are larger by 1/2."
"""Where positions of peaks are counted from."""
LONG_NAMES = {
    "n_peaks": "Number of peaks",
    "peak_x": "Column of the peak",
    "peak_y": "Row of the peak",
    "peak_intensity": "Intensity above the background",
    "peak_snr": "Intensity over its standard deviation",
}


def find_peaks(parameters: FindPeaks, context: Context) -> xr.Dataset:
    """Do the task ``find_peaks``; see `FindPeaks`."""
    context = context.on_cpu("Spots are found")
    source, record = _open(parameters, context)
    finder = SpotFinder(_background(parameters, source, context), parameters.readout_noise, search=_search(parameters))
    with _find(finder, parameters, source, record, context) as log:
        result = _stored_peaks(log, parameters, source, record, context)
        log.remove()
    return result


def _stored_peaks(
    log: SpotLog, parameters: FindPeaks, source: FrameSource, record: Provenance | None, context: Context
) -> xr.Dataset:
    """Write the peaks, and return them; those of a CXI file are only counted."""
    text = "" if record is None else context.with_cost(record).to_json()
    _, found = log.counts()
    output = parameters.output
    if output is not None and Path(output).suffix.lower() == CXI:
        write_cxi(output, log, _stored_at(source), text, parameters.overwrite)
        return label_peaks({"n_peaks": found.astype(np.int32)}, source, text)
    width = max(int(found.max(initial=0)), 1)
    regions = {name: RegionSpec((len(found), width), "f4") for name in LONG_NAMES}
    regions["n_peaks"] = RegionSpec((len(found),), "i4")
    fingerprint = "" if record is None else record.fingerprint()
    with (
        MemorySink(regions)
        if output is None
        else RegionFile.create(output, regions, fingerprint, parameters.overwrite) as sink
    ):
        for block, spots in log.blocks():
            padded = {f"peak_{name}": values for name, values in spots.padded(width, np.nan).items()}
            sink.write(block, padded | {"n_peaks": spots.found.astype(np.int32)})
            sink.commit(block)
        result = label_peaks({name: sink.read(name) for name in regions}, source, text)
        if output is None:
            return result
        sink.finish(lambda file: write_dataset(file, result, existing=tuple(regions)))
    stored: xr.Dataset = open_dataset(output)
    return stored


def label_peaks(arrays: Mapping[str, NDArray[Any]], source: FrameSource, record: str = "") -> xr.Dataset:
    """Return arrays of peaks as a Dataset: ``n_peaks`` over frames, the others NaN beyond the peaks of a frame."""
    variables: dict[str, Any] = {}
    for name, long_name in LONG_NAMES.items():
        if name in arrays:
            units = {"peak_x": "pixel", "peak_y": "pixel", "peak_intensity": "counts"}.get(name, "")
            attributes = {"units": units, "long_name": long_name} | ({"origin": ORIGIN} if units == "pixel" else {})
            variables[name] = (("frame", "peak")[: arrays[name].ndim], arrays[name], attributes)
    attributes = {"default": "n_peaks"} | ({"provenance": record} if record else {})
    return xr.Dataset(variables, scan_axes(source), attributes)


def sparsify(parameters: Sparsify, context: Context) -> xr.Dataset:
    """Do the task ``sparsify``; see `Sparsify`."""
    context = context.on_cpu("Spots are found")
    source, record = _open(parameters, context)
    background = _background(parameters, source, context)
    search = _search(parameters) if parameters.peaks else None
    finder = SpotFinder(background, parameters.readout_noise, parameters.keep_threshold, search)
    options = {"cutoff": parameters.keep_threshold, "noise": parameters.readout_noise}
    with _find(finder, parameters, source, record, context) as log:
        text = "" if record is None else context.with_cost(record).to_json()
        write_sparse(parameters.output, log, background, options, source.dtype, text, parameters.overwrite)
        kept, found = log.counts()
        log.remove()
    size = Path(parameters.output).stat().st_size
    raw = source.n_frames * source.frame_bytes
    context.progress.message(
        f"{kept.mean():.0f} pixels of a frame are stored on average; {raw / size:.0f} times smaller than the frames."
    )
    counts = ("frame", kept, {"units": "", "long_name": "Number of pixels stored"})
    peaks = {"n_peaks": found.astype(np.int32)} if parameters.peaks else {}
    return label_peaks(peaks, source).assign(n_stored=counts).assign_attrs(default="n_stored")


def densify(parameters: Densify, context: Context) -> xr.Dataset:
    """Do the task ``densify``; see `Densify`."""
    context = context.on_cpu("Frames are made dense")
    refuse_to_replace_inputs([parameters.output], [parameters.frames])
    check_ending(parameters.output)
    sparse = read_sparse(parameters.frames)
    refuse_existing([parameters.output], parameters.overwrite)
    seed = parameters.seed if parameters.noise else None
    rows, columns = sparse.mask.shape
    with (
        FrameWriter(
            parameters.output, (rows, columns), sparse.intensity.dtype, overwrite=parameters.overwrite
        ) as writer,
        context.stage("Densifying", len(sparse), "frames") as advance,
    ):
        for number in range(len(sparse)):
            writer.append(sparse.frame(number, seed=seed)[np.newaxis])
            advance()
    stored = np.diff(sparse.pointers.astype(np.int64))
    return xr.Dataset({"n_stored": ("frame", stored, {"units": "", "long_name": "Number of pixels stored"})})


def _open(parameters: Spots, context: Context) -> tuple[FrameSource, Provenance | None]:
    for note in parameters.notes:
        context.progress.message(note)
    parameters.refuse(("monitor", "normalization_factor"), "spots are found in frames as they were recorded")
    parameters.refuse(("format",), "it is a layout of patterns")
    output = parameters.output
    check_ending(output, *((CXI,) if isinstance(parameters, FindPeaks) else ()))
    source = open_scan(parameters)
    refuse_to_replace_inputs([output, parameters.report], input_files(parameters, source))
    refuse_existing([output], parameters.overwrite)
    return source, describe_inputs(parameters, context, source)


def _background(parameters: Spots, source: FrameSource, context: Context) -> RingBackground:
    if parameters.estimator == "mean" or parameters.error_model == "none":
        raise ParameterError(
            "The background of spots needs a robust estimator and an error model.",
            "Choose the estimator sigma-clip and the error model azimuthal.",
        )
    return RingBackground.of(build_map(parameters, source, {}, context))


def _search(parameters: Spots) -> PeakSearch:
    return PeakSearch(parameters.peak_threshold, parameters.patch_size, parameters.connected)


@contextmanager
def _find(
    finder: SpotFinder, parameters: Spots, source: FrameSource, record: Provenance | None, context: Context
) -> Iterator[SpotLog]:
    """Give the spots of all frames; what a run that was stopped had found is not looked for again."""
    n_pixels = source.shape[1] * source.shape[2]
    n_bins = finder.background.radial_map.scatter.n_bins
    size = parameters.block_frames or frames_per_block(source.frame_bytes + BYTES_PER_PIXEL * n_pixels, n_bins)
    fingerprint = "" if record is None else record.fingerprint()
    with SpotLog.open(parameters.output, fingerprint, n_bins, source.dtype, size, parameters.overwrite) as log:
        blocks = cut_blocks(source.n_frames, log.block_frames)
        if log.resumed:
            context.progress.message(f"Going on: {log.resumed} of {len(blocks)} blocks of frames are complete.")
        numbered = NumberedSource(LabelledSource(source))
        context.runner.stream(numbered, finder, log, blocks, context, "Finding spots")
        yield log


def _stored_at(source: FrameSource) -> tuple[str, str] | None:
    """Return file and dataset of the frames if all of a single dataset are taken."""
    if len(source.segments) != 1:
        return None
    segment = source.segments[0]
    whole = source.selection == range(0, segment.n_frames)
    if not isinstance(segment, StoredFrames) or not whole or segment.first:
        return None
    return str(Path(segment.path).absolute()), segment.dataset
