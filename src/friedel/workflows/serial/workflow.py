"""The work of the tasks of serial crystallography: frames from files, through the spot finder, to a file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from friedel.core.blocks import Block, cut_blocks
from friedel.core.context import Context
from friedel.core.errors import OutputError, ParameterError
from friedel.core.provenance import Provenance, refuse_to_replace_inputs
from friedel.io import FrameSource, FrameWriter, open_dataset, write_dataset
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
from .files import peak_arrays, read_sparse, write_cxi, write_sparse
from .spots import FrameSpots, PeakSearch, SpotFinder
from .tasks import Densify, FindPeaks, Sparsify, Spots

CXI = ".cxi"
LONG_NAMES = {
    "n_peaks": "Number of peaks",
    "peak_x": "Column of the peak",
    "peak_y": "Row of the peak",
    "peak_intensity": "Intensity above the background",
    "peak_snr": "Intensity over its standard deviation",
}
ORIGIN = "The centre of the first pixel is at 0, as in CXI; friedel's own pixel coordinates are larger by 1/2."
"""Where positions of peaks are counted from."""
CXI_NAMES = {
    "n_peaks": "nPeaks",
    "peak_x": "peakXPosRaw",
    "peak_y": "peakYPosRaw",
    "peak_intensity": "peakTotalIntensity",
    "peak_snr": "peakSNR",
}


class OrderedSpots:
    """What is found in the frames, in their order; a `friedel.core.blocks.BlockSink` in memory."""

    def __init__(self) -> None:
        self._found: dict[Block, list[FrameSpots]] = {}
        self._lock = threading.Lock()

    @property
    def shared(self) -> bool:
        """Another process has other memory."""
        return False

    def pending(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks that are not complete."""
        return [block for block in blocks if block not in self._found]

    def write(self, block: Block, result: list[FrameSpots]) -> None:
        """Keep what was found in a block."""
        with self._lock:
            self._found[block] = result

    def commit(self, block: Block) -> None:
        """Do nothing: memory is not durable."""

    def flush(self) -> None:
        """Do nothing: memory is not durable."""

    @property
    def frames(self) -> list[FrameSpots]:
        """What was found, frame by frame."""
        return [spots for block in sorted(self._found) for spots in self._found[block]]


def find_peaks(parameters: FindPeaks, context: Context) -> xr.Dataset:
    """Do the task ``find_peaks``; see `FindPeaks`."""
    context = context.on_cpu("Spots are found")
    source, record = _open(parameters, context)
    finder = SpotFinder(_background(parameters, source, context), parameters.noise, search=_search(parameters))
    found = _find(finder, parameters, source, context)
    result = label_peaks(found, source)
    text = ""
    if record is not None:
        text = result.attrs["provenance"] = context.with_cost(record).to_json()
    output = parameters.output
    if output is None:
        return result
    if Path(output).suffix.lower() == CXI:
        write_cxi(output, found, _stored_at(source), text, parameters.overwrite)
        return result
    write_dataset(output, result, overwrite=parameters.overwrite)
    stored: xr.Dataset = open_dataset(output)
    return stored


def label_peaks(found: Sequence[FrameSpots], source: FrameSource) -> xr.Dataset:
    """Return the peaks as a Dataset: ``n_peaks`` over frames, and NaN beyond the peaks of a frame."""
    arrays = peak_arrays(found)
    there = np.arange(arrays["peakSNR"].shape[1]) < arrays["nPeaks"][:, np.newaxis]
    variables: dict[str, Any] = {}
    for name, long_name in LONG_NAMES.items():
        values = arrays[CXI_NAMES[name]]
        units = {"peak_x": "pixel", "peak_y": "pixel", "peak_intensity": "counts"}.get(name, "")
        dims = ("frame",) if values.ndim == 1 else ("frame", "peak")
        shown = values if values.ndim == 1 else np.where(there, values, np.nan)
        variables[name] = (dims, shown, {"units": units, "long_name": long_name})
        if units == "pixel":
            variables[name][2]["origin"] = ORIGIN
    return xr.Dataset(variables, scan_axes(source), {"default": "n_peaks"})


def sparsify(parameters: Sparsify, context: Context) -> xr.Dataset:
    """Do the task ``sparsify``; see `Sparsify`."""
    context = context.on_cpu("Spots are found")
    source, record = _open(parameters, context)
    background = _background(parameters, source, context)
    search = _search(parameters) if parameters.peaks else None
    finder = SpotFinder(background, parameters.noise, parameters.keep_cutoff, search)
    found = _find(finder, parameters, source, context)
    options = {"cutoff": parameters.keep_cutoff, "noise": parameters.noise}
    text = "" if record is None else context.with_cost(record).to_json()
    write_sparse(parameters.output, found, background, options, source.dtype, text, parameters.overwrite)
    kept = np.array([len(frame.index) for frame in found])
    size = Path(parameters.output).stat().st_size
    raw = source.n_frames * source.frame_bytes
    context.progress.message(
        f"{kept.mean():.0f} pixels of a frame are stored on average; {raw / size:.0f} times smaller than the frames."
    )
    counts = ("frame", kept, {"units": "", "long_name": "Number of pixels stored"})
    result = label_peaks(found, source) if parameters.peaks else xr.Dataset(coords=scan_axes(source))
    return result.assign(n_stored=counts)


def densify(parameters: Densify, context: Context) -> xr.Dataset:
    """Do the task ``densify``; see `Densify`."""
    context = context.on_cpu("Frames are made dense")
    refuse_to_replace_inputs([parameters.output], [parameters.frames])
    sparse = read_sparse(parameters.frames)
    if Path(parameters.output).exists() and not parameters.overwrite:
        raise OutputError(parameters.output, "exists already.", "Choose another name, or allow to overwrite it.")
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
    source = open_scan(parameters)
    refuse_to_replace_inputs([output, parameters.report], input_files(parameters, source))
    if output is not None and Path(output).exists() and not parameters.overwrite:
        raise OutputError(output, "exists already.", "Choose another name, or allow to overwrite it (--overwrite).")
    return source, describe_inputs(parameters, context, source)


def _background(parameters: Spots, source: FrameSource, context: Context) -> RingBackground:
    if parameters.estimator == "mean" or parameters.error_model == "none":
        raise ParameterError(
            "The background of spots needs a robust estimator and an error model.",
            "Choose the estimator sigma-clip and the error model azimuthal.",
        )
    return RingBackground.of(build_map(parameters, source, {}, context))


def _search(parameters: Spots) -> PeakSearch:
    return PeakSearch(parameters.peak_cutoff, parameters.patch_size, parameters.connected)


def _find(finder: SpotFinder, parameters: Spots, source: FrameSource, context: Context) -> list[FrameSpots]:
    n_pixels = source.shape[1] * source.shape[2]
    n_bins = finder.background.radial_map.scatter.n_bins
    size = parameters.block_frames or frames_per_block(source.frame_bytes + BYTES_PER_PIXEL * n_pixels, n_bins)
    sink = OrderedSpots()
    numbered = NumberedSource(LabelledSource(source))
    context.runner.stream(numbered, finder, sink, cut_blocks(source.n_frames, size), context, "Finding spots")
    return sink.frames


def _stored_at(source: FrameSource) -> tuple[str, str] | None:
    """Return file and dataset of the frames if all of a single dataset are taken."""
    if len(source.segments) != 1:
        return None
    segment = source.segments[0]
    whole = source.selection == range(0, segment.n_frames)
    if not isinstance(segment, StoredFrames) or not whole or segment.first:
        return None
    return str(Path(segment.path).absolute()), segment.dataset
