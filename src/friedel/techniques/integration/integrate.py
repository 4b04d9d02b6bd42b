"""The work of the tasks: frames from files, through the map, to a file."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.blocks import Block, cut_blocks
from friedel.core.context import Context
from friedel.core.errors import DataError, FileError, ParameterError
from friedel.core.files import refuse_existing
from friedel.core.provenance import Provenance, refuse_to_replace_inputs
from friedel.instrument import Geometry
from friedel.instrument.poni import detector_file
from friedel.io import (
    FrameSource,
    MemorySink,
    RegionFile,
    RegionSpec,
    finished_result,
    open_dataset,
    open_frames,
    read_image,
    write_dataset,
    write_pattern,
)
from friedel.io.following import follow
from friedel.io.frames import expand, parse_range, parse_region
from friedel.io.recognise import check_ending
from friedel.io.spool import Spool
from friedel.io.text import ENDINGS as TEXT_ENDINGS
from friedel.kernels.encoded import EncodedFrames

from .corrections import image_for
from .estimators import Estimator, Mean, Percentile, SigmaClip
from .exchange import WITH_SUMS, Description, check_layout, write_layout
from .integrator import checked_factors, frames_per_block
from .options import MapOptions
from .patterns import SUMS
from .radial_map import FrameBlock, RadialMap, StreamedMap
from .results import label_patterns
from .skipping import SKIPPED, SkippingMap, SkippingSource, ranges_of, tell_skipped
from .tasks import Averages, Integrate1D, Integrate2D, IntegrateRadial, Integration, Live

DESCRIBED_FILES = 100
"""Of longer lists of frame files, as many spread over the list are hashed for the record."""
RESERVED = ("frame", "radial", "azimuth", "intensity", "intensity_errors", "valid_fraction")


@dataclass(frozen=True, eq=False)
class LabelledSource:
    """Frames of a `FrameSource` with their labels and normalization; a `friedel.core.blocks.BlockSource`.

    Attributes
    ----------
    source : FrameSource
    normalization : ndarray of float64, shape (n_frames,), or None
        What each pattern is divided by.
    variance : FrameSource or None
        Variance of the pixels: one frame for all, or one for each.
    """

    source: FrameSource
    normalization: NDArray[np.float64] | None = None
    variance: FrameSource | None = None

    def read(self, block: Block) -> FrameBlock:
        """Return the frames of a block in the cheapest form."""
        frames = self.source.read(block)
        if isinstance(frames, EncodedFrames):
            labels = frames.labels
        else:
            labels = tuple(self.source.label(number) for number in range(block.start, block.stop))
        part = slice(block.start, block.stop)
        normalization = None if self.normalization is None else self.normalization[part]
        return FrameBlock(frames, labels, normalization, self._variance(block))

    def _variance(self, block: Block) -> NDArray[Any] | None:
        if self.variance is None:
            return None
        if self.variance.n_frames == 1:
            return np.asarray(self.variance.decoded(0, 1)[0])
        return np.asarray(self.variance.decoded(block.start, block.stop))


def integrate1d(parameters: Integrate1D, context: Context) -> xr.Dataset:
    """Do the task ``integrate1d``; see `Integrate1D`."""
    return _integrate(parameters, context, {"npt_azimuth": None})


def integrate_radial(parameters: IntegrateRadial, context: Context) -> xr.Dataset:
    """Do the task ``integrate_radial``; see `IntegrateRadial`."""
    if parameters.format != "friedel":
        raise ParameterError(
            f"format is {parameters.format}: it holds no profiles along the azimuth.", "Choose friedel, or write text."
        )
    return _integrate(parameters, context, {"npt_azimuth": parameters.npt, "azimuthal": True})


def integrate2d(parameters: Integrate2D, context: Context) -> xr.Dataset:
    """Do the task ``integrate2d``; see `Integrate2D`."""
    if is_text(parameters.output):
        raise ParameterError(
            f"output is {parameters.output}: a cake cannot be written as text.", "Give a name that ends in .h5."
        )
    refuse_covariance(parameters)
    return _integrate(parameters, context, {"npt_azimuth": parameters.npt_azimuth})


def refuse_covariance(parameters: Averages) -> None:
    """Refuse covariances of the bins of a cake: they share pixels with neighbours in two directions.

    Raises
    ------
    ParameterError
        If they are asked for.
    """
    if parameters.covariance:
        raise ParameterError(
            "covariance: the bins of a cake have neighbours in two directions, and their matrix is too large to keep.",
            "In Python, RadialMap.build(geometry, npt_azimuth=..., covariance=True).covariance(frames) makes it.",
        )


def _integrate(parameters: Averages, context: Context, bins: MapOptions) -> xr.Dataset:
    for note in parameters.notes:
        context.progress.message(note)
    context = for_estimator(parameters, context)
    if parameters.follow is None:
        return _integrate_frames(parameters, context, bins, open_scan(parameters), None)
    check_output(parameters, context)
    with follow_frames(parameters, context, bins) as (source, followed):
        return _integrate_frames(parameters, context, bins, source, followed)


@dataclass(frozen=True, eq=False)
class Followed:
    """Patterns that were made while their frames were being written."""

    radial_map: RadialMap
    spool: Spool


@contextmanager
def follow_frames(
    parameters: Live,
    context: Context,
    bins: MapOptions,
    *,
    points: int | None = None,
    accept: Callable[[RadialMap], object] = lambda _: None,
) -> Iterator[tuple[FrameSource, Followed]]:
    """Integrate frames as they come; give all frames, and the patterns in files that are there as long as the context.

    Parameters
    ----------
    parameters : Live
    context : Context
    bins : MapOptions
        Bins beside those of the parameters.
    points : int, optional
        Ends when there are so many frames.
    accept : callable
        Called with the map before any frame is integrated; may raise what would be wrong with it in the end.

    Raises
    ------
    ParameterError
        If the parameters ask for what is only known at the end.
    """
    if parameters.monitor is not None:
        raise ParameterError(
            "monitor is given with follow: its values may come after the frames.",
            "Leave follow out, and divide afterwards.",
        )
    refuse_existing([parameters.output], parameters.overwrite)
    wanted = None
    if parameters.frame_range is not None:
        asked = parse_range(parameters.frame_range, "frame_range")
        start, stop, step = asked.start or 0, asked.stop, asked.step or 1
        if min(start, stop or 0) < 0:
            raise ParameterError(
                f"frame_range is {parameters.frame_range}, and the end is not known yet.", "Count from the beginning."
            )
        wanted = None if stop is None else len(range(start, stop, step))
    if points is not None:
        wanted = points if wanted is None else min(wanted, points)
    with tempfile.TemporaryDirectory(prefix=".friedel-", dir=_folder(parameters.output)) as folder:
        yield _follow(parameters, context, bins, wanted, accept, folder)


def _follow(
    parameters: Live,
    context: Context,
    bins: MapOptions,
    wanted: int | None,
    accept: Callable[[RadialMap], object],
    folder: str,
) -> tuple[FrameSource, Followed]:
    followed: Followed | None = None
    latest: FrameSource | None = None
    done = 0
    seconds = parameters.follow or 0.0
    for source, start, stop in follow(
        lambda: open_scan(parameters), seconds, wanted=wanted, check=context.cancellation.check
    ):
        if start == 0 and done:
            context.progress.message("Files came before others that were integrated already: beginning anew.")
        if followed is None:
            radial_map = build_map(parameters, source, bins, context)
            accept(radial_map)
            _, _, regions = _steps(parameters, context, source, radial_map, None)
            followed = Followed(radial_map, Spool(folder, regions))
        factors = normalization_factors(parameters, source)
        frames, streamed, _ = _steps(parameters, context, source, followed.radial_map, factors)
        size = _block_size(parameters, source, followed.radial_map, context)
        blocks = [Block(b.number, start + b.start, start + b.stop) for b in cut_blocks(stop - start, size)]
        label = f"Integrating frames {start} to {stop}"
        context.runner.stream(frames, streamed, followed.spool, blocks, context, label)
        latest, done = source, stop
    if followed is None or latest is None:
        raise DataError(f"No frame came in {seconds:g} s.", "Check the names of the files, or wait longer.")
    if wanted is None or done < wanted:
        context.progress.message(f"{done} frames have come, and no more for {seconds:g} s.")
    return latest.select(slice(0, done)), followed


def _folder(output: str | None) -> str | None:
    return None if output is None else str(Path(output).absolute().parent)


def _steps(
    parameters: Live,
    context: Context,
    source: FrameSource,
    radial_map: RadialMap,
    factors: NDArray[np.float64] | None,
) -> tuple[Any, Any, dict[str, RegionSpec]]:
    """Return where blocks come from, what is done to them, and what is made of them."""
    variance = variance_source(parameters, source) if isinstance(parameters, Averages) else None
    frames: Any = LabelledSource(source, factors, variance)
    streamed: Any = StreamedMap(radial_map, context.device, context.runner.threads)
    regions = pattern_regions(radial_map, source.n_frames)
    if parameters.on_error == "skip":
        regions[SKIPPED] = RegionSpec((source.n_frames,), "u1")
        frames, streamed = SkippingSource(frames), SkippingMap(streamed, regions)
    return frames, streamed, regions


def _block_size(parameters: Live, source: FrameSource, radial_map: RadialMap, context: Context) -> int:
    automatic = frames_per_block(source.frame_bytes, radial_map.scatter.n_bins, context.device, encoded=source.encoded)
    return parameters.block_frames or automatic


def _integrate_frames(
    parameters: Averages, context: Context, bins: MapOptions, source: FrameSource, followed: Followed | None
) -> xr.Dataset:
    output = parameters.output
    written = text_files(output, source.n_frames) if output is not None and is_text(output) else [output]
    refuse_to_replace_inputs([*written, parameters.report], input_files(parameters, source))
    if followed is None:
        check_output(parameters, context)
    check_layout(parameters, source.n_frames, text=is_text(output), cake=bins.get("npt_azimuth") is not None)
    factors = normalization_factors(parameters, source)
    record = describe_inputs(parameters, context, source)
    finished: xr.Dataset | None = None if parameters.overwrite else finished_result(parameters.output, record)
    if finished is not None:
        context.progress.message(f"{parameters.output} is complete already.")
        return finished
    radial_map = followed.radial_map if followed else build_map(parameters, source, bins, context)
    frames, streamed, regions = _steps(parameters, context, source, radial_map, factors)
    blocks = cut_blocks(source.n_frames, _block_size(parameters, source, radial_map, context))
    in_memory = parameters.output is None or is_text(parameters.output)
    with _sink(parameters, regions, record, in_memory) as sink:
        if sink.message:
            context.progress.message(sink.message)
        if followed is None:
            context.runner.stream(frames, streamed, sink, blocks, context, "Integrating")
        else:
            for block in sink.pending(blocks):
                sink.write(block, followed.spool.read(block))
                sink.commit(block)
        arrays = {name: sink.read(name) for name in regions}
        result = label_patterns(radial_map, arrays, scan_axes(source))
        skipped = _note_skipped(source, arrays, result, context)
        lost = int(np.count_nonzero(np.asarray(arrays["valid_fraction"]) == 0)) - skipped
        result.attrs["frames_without_valid_pixels"] = lost
        if lost:
            context.progress.warn(f"{lost} of {source.n_frames} frames have no valid pixel in the range.")
        if record is not None:
            result.attrs["provenance"] = context.with_cost(record).to_json()
        if parameters.output is None:
            return result
        if in_memory:
            for number, path in enumerate(text_files(parameters.output, source.n_frames)):
                write_pattern(path, result.isel(frame=number))
            return result
        sums = {name: values for name, values in arrays.items() if name.startswith("sum_")}
        described = Description(parameters, radial_map.geometry, factors, sums)

        def write(file: Any) -> None:
            write_dataset(file, result, existing=tuple(regions))
            write_layout(file, result, described)

        sink.finish(write)
    stored: xr.Dataset = open_dataset(parameters.output)
    return stored


def _note_skipped(source: FrameSource, arrays: Mapping[str, Any], result: xr.Dataset, context: Context) -> int:
    """Note in a result and tell the user which frames were left out, and why; return how many."""
    if SKIPPED not in arrays:
        return 0
    marks = np.asarray(arrays[SKIPPED])
    numbers = np.flatnonzero(marks)
    result[SKIPPED] = ("frame", marks, {"units": "", "long_name": "Whether the frame was damaged or missing"})
    result.attrs["skipped_frames"] = ranges_of(numbers)
    tell_skipped(numbers, source, context)
    return len(numbers)


def open_scan(parameters: Integration) -> FrameSource:
    """Open the frames that the parameters of a task name."""
    return open_frames(
        parameters.frames,
        dataset=parameters.dataset,
        frames=parameters.frame_range,
        checksum=parameters.checksum,
        incomplete=getattr(parameters, "on_error", "stop") == "skip" or getattr(parameters, "follow", None) is not None,
    )


def variance_source(parameters: Averages, source: FrameSource) -> FrameSource | None:
    """Open the variances of the pixels, None if there are none.

    Raises
    ------
    ParameterError
        If the error model asks for variances and there are none, or the other way round.
    DataError
        If they are not for these frames.
    """
    if not parameters.variance:
        if parameters.error_model == "variance":
            raise ParameterError("The error model is variance, and no variance is given.", "Give the file with it.")
        return None
    if parameters.error_model not in ("none", "variance"):
        raise ParameterError(
            f"variance is given, and the error model is {parameters.error_model}.", "Leave one of them out."
        )
    found = open_frames(parameters.variance)
    if found.n_frames > 1:
        found = open_frames(parameters.variance, frames=parameters.frame_range)
    if found.n_frames not in (1, source.n_frames) or found.shape[1:] != source.shape[1:]:
        raise DataError(
            f"The variance has the shape {found.shape}, the frames have {source.shape}.",
            "Give one image of variances for all frames, or one for each.",
        )
    return found


def normalization_factors(parameters: Integration, source: FrameSource) -> NDArray[np.float64] | None:
    """Return what each pattern is divided by, None for nothing.

    Raises
    ------
    DataError
        If there is no such monitor, or it has values that nothing can be divided by.
    """
    constant = parameters.normalization_factor
    if parameters.monitor is None:
        return None if constant == 1.0 else np.full(source.n_frames, constant)
    values = np.asarray(source.axis(parameters.monitor).values, np.float64)
    return checked_factors(values, source.n_frames, parameters.monitor) * constant


def build_map(parameters: Integration, source: FrameSource, bins: MapOptions, context: Context) -> RadialMap:
    """Build the map that the parameters of a task describe, with its bins, for the frames of `source`.

    Raises
    ------
    GeometryError
        If the geometry, the frames and the images for mask, dark and flat do not go together.
    """
    geometry = placed(Geometry.load(parameters.geometry), parameters, source)
    options = map_options(geometry, parameters, source) | dict(bins)
    radial_map = RadialMap.build(geometry, threads=context.runner.threads, **options)
    _tell_marked_pixels(source, radial_map, context)
    return radial_map


def placed(geometry: Geometry, parameters: Integration, source: FrameSource) -> Geometry:
    """Return a geometry with the orientation that is asked for, for the frames of `source`.

    Raises
    ------
    GeometryError
        If its detector gives frames of another shape.
    """
    if parameters.orientation is not None:
        geometry = replace(geometry, detector=replace(geometry.detector, orientation=parameters.orientation))
    return geometry.for_shape(source.full_shape)


def map_options(geometry: Geometry, parameters: Integration, source: FrameSource) -> dict[str, Any]:
    """Return the options of `RadialMap.build` that the parameters of a task describe, with images read from files.

    Raises
    ------
    GeometryError
        If the images for mask, dark and flat have another shape than the detector.
    """
    _refuse_without_effect(parameters, geometry)
    images = {name: _image(geometry, getattr(parameters, name), name) for name in ("mask", "dark", "flat")}
    dark, frames = images["dark"], parameters.dark_frames
    if frames is not None and dark is None:
        raise ParameterError("dark_frames is given without a dark.", "Give the image of the dark too.")
    options: dict[str, Any] = {
        name: getattr(parameters, name) for name in MapOptions.__annotations__ if name in type(parameters).model_fields
    }
    options |= images | {
        "mask": _whole_mask(geometry, images["mask"], source, parameters),
        "dark_variance": None if dark is None or frames is None else np.maximum(dark, 0) / frames,
        "keep_sums": parameters.format in WITH_SUMS,
        "estimator": estimator_asked(parameters),
    }
    if isinstance(parameters, Averages):
        # Whoever works on with patterns tells empty bins by their not being a number.
        options["empty"] = math.nan if parameters.empty is None else parameters.empty
        if parameters.variance:
            options["error_model"] = "variance"
    return options


def _refuse_without_effect(parameters: Integration, geometry: Geometry) -> None:
    """Refuse parameters that belong to what is not asked for."""
    if parameters.polarization is None:
        parameters.refuse(("polarization_axis",), "no polarization is given")
    if parameters.dummy is None:
        parameters.refuse(("delta_dummy",), "no dummy is given")
    if not (parameters.efficiency or (geometry.parallax if parameters.parallax is None else parameters.parallax)):
        parameters.refuse(("sensor",), "neither efficiency nor parallax is asked for")


def for_estimator(parameters: Integration, context: Context) -> Context:
    """Return the context to use the estimator in: GPUs do not sort."""
    return context.on_cpu("Percentiles are found") if parameters.estimator == "percentile" else context


def estimator_asked(parameters: Integration) -> Estimator:
    """Return the estimator that the parameters of a task name.

    Raises
    ------
    ParameterError
        If its own parameters cannot be used, or another one's are given.
    """
    clip, percentile = ("clip_threshold", "clip_iterations"), ("percentile",)
    for name, own in (("sigma-clip", clip), ("percentile", percentile)):
        if parameters.estimator != name:
            parameters.refuse(own, f"the estimator is {parameters.estimator}")
    match parameters.estimator:
        case "sigma-clip":
            return SigmaClip(parameters.clip_threshold, parameters.clip_iterations)
        case "percentile":
            return Percentile(*parameters.percentile)
        case _:
            return Mean()


def _image(geometry: Geometry, paths: Sequence[str] | None, name: str) -> NDArray[Any] | None:
    """Return the mean of images, or of masks where any of them excludes a pixel."""
    images = [image_for(geometry, read_image(path, average=name != "mask"), name) for path in paths or ()]
    whole = [image for image in images if image is not None]
    if len(whole) < 2:
        return whole[0] if whole else None
    stack = np.stack(whole)
    joined: NDArray[Any] = (stack != 0).any(axis=0) if name == "mask" else stack.mean(axis=0, dtype=np.float64)
    return joined


def _tell_marked_pixels(source: FrameSource, radial_map: RadialMap, context: Context) -> None:
    """Say so if pixels that are averaged hold the largest value of their type, which marks invalid ones."""
    if radial_map.validity.dummy is not None or source.dtype.kind != "u" or source.region is not None:
        return
    largest = int(np.iinfo(source.dtype).max)
    try:
        first = source.decoded(0, 1).reshape(-1)
    except (FileError, DataError):
        return  # told when it is integrated
    marked = int(np.count_nonzero((first == largest) & ~radial_map.excluded.reshape(-1)))
    if marked:
        context.progress.message(
            f"{marked} pixels of the first frame hold {largest}, which usually marks invalid ones, and are averaged: "
            f"leave them out with --dummy {largest}."
        )


def _whole_mask(
    geometry: Geometry, mask: NDArray[Any] | None, source: FrameSource, parameters: Integration
) -> NDArray[np.bool_]:
    excluded = np.zeros(geometry.shape, np.bool_) if mask is None else mask != 0
    if parameters.detector_mask and source.pixel_mask is not None:
        excluded |= source.pixel_mask
    if parameters.roi is not None:
        outside = np.ones(geometry.shape, np.bool_)
        outside[parse_region(parameters.roi)] = False
        excluded |= outside
    return excluded


def pattern_regions(radial_map: RadialMap, n_frames: int) -> dict[str, RegionSpec]:
    """Return what a sink has to hold for the patterns of `n_frames` frames."""
    shape = (n_frames, *radial_map.bins)
    regions = {"intensity": RegionSpec(shape, "f4"), "valid_fraction": RegionSpec((n_frames,), "f4")}
    if radial_map.averaging.error_model != "none":
        regions["intensity_errors"] = RegionSpec(shape, "f4")
    sums = radial_map.averaging.keep_sums
    if radial_map.averaging.std or (sums and "intensity_errors" in regions):
        regions["intensity_std"] = RegionSpec(shape, "f4")
    if radial_map.pairs is not None and len(radial_map.bins) == 1:
        regions["intensity_covariance"] = RegionSpec((n_frames, radial_map.pairs.reach + 1, *radial_map.bins), "f8")
    if sums:
        absent = {"variance": radial_map.averaging.error_model == "none"}
        absent["rejected"] = not radial_map.averaging.estimator.robust
        regions |= {f"sum_{name}": RegionSpec(shape, "f8") for name in SUMS if not absent.get(name)}
    return regions


def _sink(
    parameters: Integration, regions: Mapping[str, RegionSpec], record: Provenance | None, in_memory: bool
) -> RegionFile | MemorySink:
    if in_memory or parameters.output is None:
        files = text_files(parameters.output, regions["intensity"].shape[0]) if parameters.output else []
        refuse_existing(files, parameters.overwrite)
        return MemorySink(regions)
    fingerprint = record.fingerprint() if record is not None else ""
    return RegionFile.create(parameters.output, regions, fingerprint, parameters.overwrite)


def input_files(parameters: Integration, source: FrameSource) -> list[str]:
    """Return every file that is read: those named, those that they link to, geometry and images."""
    named = [path for path, _ in expand(parameters.frames)]
    return [*given_files(parameters), *named, *source.files]


def given_files(parameters: Integration) -> list[str]:
    """Return the files of the parameters and those that they name, without the frames, each once."""
    geometries = (parameters.geometry,) if isinstance(parameters.geometry, str) else parameters.geometry
    detectors = (detector_file(path) for path in geometries or () if path)
    named_images = ("mask", "dark", "flat", "variance")
    images = (path for name in named_images for path in getattr(parameters, name, None) or ())
    named = (*geometries, *detectors, *images, parameters.pyfai_config)
    return list(dict.fromkeys(path.partition("::")[0] for path in named if path))


def describe_inputs(parameters: Integration, context: Context, source: FrameSource) -> Provenance | None:
    """Return the record of this execution with the files that it reads; None if the context keeps no record."""
    return describe_files(parameters, context, source.files, source.n_frames)


def describe_files(
    parameters: Integration, context: Context, files: tuple[str, ...], n_frames: int
) -> Provenance | None:
    """Return the record of this execution on frames in some files."""
    if context.provenance is None:
        return None
    count = len(files)
    if count > DESCRIBED_FILES:
        files = tuple(files[int(number)] for number in np.linspace(0, count - 1, DESCRIBED_FILES))
    if getattr(parameters, "on_error", "stop") == "skip":
        files = tuple(path for path in files if Path(path).exists())
    given = given_files(parameters)
    record = context.provenance.with_inputs([*given, *_masters(parameters, files), *files])
    return record.with_notes(frames=n_frames, frame_files=count, frame_files_hashed=len(files))


def _masters(parameters: Integration, files: Sequence[str]) -> list[str]:
    """Return the files that were named but hold no frames: a master file holds links to them, and the motors."""
    holding = {Path(path).resolve() for path in files}
    named = dict.fromkeys(text.partition("::")[0] for text in parameters.frames[:DESCRIBED_FILES])
    return [path for path in named if Path(path).is_file() and Path(path).resolve() not in holding]


def scan_axes(source: FrameSource) -> dict[str, Any]:
    """Return the axes of a scan as coordinates: those that move along ``frame``, those that do not without."""
    coordinates: dict[str, Any] = source.coordinates(RESERVED)
    return coordinates


def check_output(parameters: Integration, context: Context) -> None:
    """Check that the file to write can hold what is asked for, before any work is done.

    Raises
    ------
    ParameterError
        If its name has no ending that is known, or results are asked for that it has no place for.
    """
    check_ending(parameters.output, *(() if "npt_azimuth" in type(parameters).model_fields else TEXT_ENDINGS))
    if not is_text(parameters.output):
        return
    asked = [name for name in ("std", "covariance") if name in type(parameters).model_fields]
    parameters.refuse(asked, "text files have no place for it, HDF5 files have")
    if Path(str(parameters.output)).suffix.lower() == ".chi" and parameters.error_model != "none":
        context.progress.warn(f"{parameters.output}: .chi files hold no errors; .xye and .dat do.")


def text_files(output: str, count: int) -> list[Path]:
    """Return the text files of `count` patterns: one pattern has the name given, several are numbered."""
    base = Path(output)
    return [base] if count == 1 else [base.with_stem(f"{base.stem}_{number:05d}") for number in range(count)]


def is_text(output: str | None) -> bool:
    return output is not None and Path(output).suffix.lower() in TEXT_ENDINGS
