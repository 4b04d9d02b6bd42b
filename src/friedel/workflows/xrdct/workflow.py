"""XRD-CT from end to end: frames to patterns on the grid of the scan, sinograms to slices, voxels to maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.blocks import Block, cut_blocks
from friedel.core.context import Context
from friedel.core.errors import DataError, ParameterError
from friedel.core.files import exists_already
from friedel.core.provenance import Provenance, refuse_to_replace_inputs
from friedel.instrument.scan_layout import NO_FRAME, ScanLayout
from friedel.io import FrameSource, MemorySink, RegionFile, RegionSpec, finished_result, open_dataset, write_dataset
from friedel.io.regions import map_rows
from friedel.techniques.integration.integrate import build_map, describe_inputs, input_files, open_scan
from friedel.techniques.integration.integrator import frames_per_block
from friedel.techniques.integration.radial_map import RadialMap, StreamedMap
from friedel.techniques.integration.skipping import SKIPPED, ranges_of, tell_skipped
from friedel.techniques.integration.tasks import Integration
from friedel.techniques.powder.peaks import half_maximum_width
from friedel.techniques.tomography.center import CenterEstimate, find_center
from friedel.techniques.tomography.cleanup import Cleaning
from friedel.techniques.tomography.geometry import ParallelBeam
from friedel.techniques.tomography.reconstruction import build_plan, variance_plan
from friedel.techniques.tomography.slices import SlicePlan, missing_rule
from friedel.workflows.grid import GridSource, RenamedArrays, grid_stream
from friedel.workflows.tasks import XRDCT
from friedel.workflows.windows import parse_window

from .background import Background, find_background, no_background
from .maps import VoxelAnalysis
from .motors import ScanMotors
from .phases import ReferencePatterns, compute_references, explained_part, find_rings
from .result import Measured, assemble, describe_scan, link_sinograms, write_nxxrdct
from .sinogram import (
    SINOGRAM,
    SINOGRAM_ERRORS,
    SinogramSource,
    lost_projections,
)
from .volume import VolumeRows

SINOGRAM_BLOCK_BYTES = 64 * 1024**2
"""Sinograms that are reconstructed together take about this much memory."""

CHUNK = (32, 32, 32)
"""Rows, columns and channels of a chunk of the volume: a channel and a pixel are both quick to read."""

IRREGULAR_STEP = 0.2
"""The translations may deviate from even steps by this part of a step."""

LEAST_EXPLAINED = 0.8
"""Part of the mean pattern's peaks that the phases must explain to be believed without a warning."""

LEAST_WINDOW_WIDTHS = 4.0
"""Width of a peak's window over that of the peak, below which its edges lie on the peak."""

SCAN_PARAMETERS = ("rotation", "translation", "layer")


def xrdct(parameters: XRDCT, context: Context) -> xr.Dataset:
    """Do the task ``xrdct``; see `friedel.workflows.tasks.XRDCT`.

    Returns
    -------
    xarray.Dataset
        As `friedel.workflows.xrdct.result.assemble` describes; lazy.
    """
    _check_parameters(parameters)
    source = open_scan(parameters)
    refuse_to_replace_inputs(
        [parameters.output, sinogram_file(parameters.output), parameters.report],
        [*input_files(parameters, source), *parameters.phases],
    )
    motors = ScanMotors.identify(
        source.axes,
        parameters.rotation,
        parameters.translation,
        parameters.layer,
        parameters.monitor,
        source.mismatched,
    )
    layout = ScanLayout.find(motors.rotation, motors.translation, motors.layer)
    context.progress.message(f"Scan: {layout.describe()}.")
    beam = _beam(layout, parameters)
    record = describe_inputs(parameters, context, source) or _unrecorded(parameters, context)
    if not parameters.overwrite and Path(parameters.output).exists():
        return _finished(parameters, record, context)
    radial_map = build_map(parameters, source, {}, context)
    _check_maps(parameters, radial_map)  # what is wrong is told before hours of work, not after
    sinograms = _integrate(parameters, context, source, motors, layout, radial_map, record)
    return _reconstruct(parameters, context, _Scan(motors, layout, radial_map, sinograms, beam), record)


def _finished(parameters: XRDCT, record: Provenance, context: Context) -> xr.Dataset:
    """Return the result that is there, if the same work made it; refuse to replace any other file."""
    finished: xr.Dataset | None = finished_result(parameters.output, record)
    if finished is None:
        raise exists_already(parameters.output)
    context.progress.message(f"{parameters.output} is complete already.")
    return finished


def _check_maps(parameters: XRDCT, radial_map: RadialMap) -> None:
    """Refuse windows without channels and phases that are unknown or have no reflection in the range."""
    radial = radial_map.radial.centers
    VoxelAnalysis.build(radial, np.ones(len(radial), bool), parameters.regions, parameters.peaks, None, 0)
    if parameters.phases:
        find_rings(parameters.phases, radial, parameters.unit, radial_map.geometry)


@dataclass(frozen=True, eq=False)
class _Scan:
    """What the first stage hands to the second."""

    motors: ScanMotors
    layout: ScanLayout
    radial_map: RadialMap
    sinograms: str
    beam: ParallelBeam


def _check_parameters(parameters: XRDCT) -> None:
    no_rule = missing_rule(parameters.method, _cleaning(parameters))
    if parameters.errors and no_rule is not None:
        raise no_rule.refusal()
    if parameters.errors and parameters.error_model == "none":
        raise ParameterError("errors: there is no error model to start from.", "Use --error-model poisson.")
    if parameters.unit.startswith("d_") and parameters.radial_range is None:
        raise ParameterError(
            "Bins that are even in d reach to hundreds of Angstrom, and hold all rings in a few of them.",
            "Give --radial-range, or use --unit q_nm^-1 or 2th_deg.",
        )


def _cleaning(parameters: XRDCT) -> Cleaning:
    return Cleaning(parameters.outliers, parameters.rings, parameters.ring_size, parameters.method == "mlem")


def _has_errors(parameters: XRDCT, context: Context) -> bool:
    """Tell whether the slices get standard deviations, and say why not if they were to be expected."""
    if parameters.error_model == "none" or parameters.errors is False:
        return False
    no_rule = missing_rule(parameters.method, _cleaning(parameters))
    if no_rule is not None:
        context.progress.message(no_rule.message)
    return no_rule is None


def _unrecorded(parameters: XRDCT, context: Context) -> Provenance:
    """Begin a record where the caller keeps none: an interrupted run is recognised by it."""
    return Provenance.begin("xrdct", 1, parameters.model_dump(mode="json"), context.device)


def sinogram_file(output: str) -> str:
    """Return the name of the file of sinograms that goes with the maps in `output`."""
    path = Path(output)
    return str(path.with_name(f"{path.stem}_sinograms{path.suffix}"))


# ---- frames to sinograms


def _integrate(
    parameters: XRDCT,
    context: Context,
    source: FrameSource,
    motors: ScanMotors,
    layout: ScanLayout,
    radial_map: RadialMap,
    record: Provenance,
) -> str:
    """Write the patterns of all frames on the grid of the scan, unless that was done before; return the file."""
    path = sinogram_file(parameters.output)
    work = _fingerprint(record, (*Integration.model_fields, *SCAN_PARAMETERS, "on_error"))
    if _is_complete(path, work):
        context.progress.message(f"The patterns are in {path} already.")
        return path
    names = {SINOGRAM: "intensity"}
    if parameters.error_model != "none":
        names[SINOGRAM_ERRORS] = "intensity_errors"
    spec = RegionSpec((*layout.shape, radial_map.radial.n_bins), "f4", item_axes=3)
    regions = dict.fromkeys(names, spec)
    if parameters.on_error == "skip":
        regions[SKIPPED] = RegionSpec(layout.shape, "u1", item_axes=3)
    blocks = cut_blocks(
        layout.frames.size,
        parameters.block_frames
        or frames_per_block(source.frame_bytes, radial_map.scatter.n_bins, context.device, encoded=source.encoded),
    )
    normalization = None if motors.monitor is None else motors.monitor / np.nanmean(motors.monitor)
    if parameters.normalization_factor != 1.0:
        normalization = parameters.normalization_factor * (
            np.ones(source.n_frames) if normalization is None else normalization
        )
    with RegionFile.create(path, regions, work, parameters.overwrite) as sink:
        if sink.message:
            context.progress.message(sink.message)
        frames = _usable_frames(layout, motors, context)
        streamed = StreamedMap(radial_map, context.device, context.runner.threads)
        points, plan = grid_stream(GridSource(source, frames, normalization), RenamedArrays(streamed, names), regions)
        context.runner.stream(points, plan, sink, blocks, context, "Integrating", "points")
        dataset = describe_scan(motors, layout, radial_map, {name: sink.read(name) for name in regions})
        notes = {"scan": layout.describe(), "motors": motors.names}
        done = context.with_cost(record.with_notes(**notes))
        dataset.attrs |= {"fingerprint": work, "provenance": done.to_json()}
        if SKIPPED in regions:
            skipped = np.sort(frames[(np.asarray(sink.read(SKIPPED)).ravel() > 0) & (frames != NO_FRAME)])
            tell_skipped(skipped, source, context)
            dataset.attrs["skipped_frames"] = ranges_of(skipped)

        def finish(file: Any) -> None:
            write_dataset(file, dataset, existing=tuple(regions))
            write_nxxrdct(file, motors, layout, radial_map)

        sink.finish(finish)
    return path


def _usable_frames(layout: ScanLayout, motors: ScanMotors, context: Context) -> NDArray[np.int64]:
    """Return the frame of each point of the flattened grid, without those taken while the beam was lost."""
    frames = layout.frames.ravel()
    if motors.monitor is None or not np.isnan(motors.monitor).any():
        return frames
    lost = np.isnan(motors.monitor)
    context.progress.message(
        f"The monitor says that the beam was lost at {lost.sum()} frames, the first is frame {np.argmax(lost)}: "
        "they are left out."
    )
    return np.where((frames != NO_FRAME) & lost[frames], NO_FRAME, frames)


def _fingerprint(record: Provenance, names: tuple[str, ...]) -> str:
    """Return the fingerprint of the part of the work that depends on the parameters `names` only."""
    return replace(record, parameters={key: record.parameters[key] for key in names}).fingerprint()


def _is_complete(path: str, work: str) -> bool:
    return Path(path).exists() and open_dataset(path).attrs.get("fingerprint") == work


# ---- sinograms to slices


def _beam(layout: ScanLayout, parameters: XRDCT) -> ParallelBeam:
    """Check angles and translations; the axis is found later."""
    steps = np.diff(layout.translations)
    step = float(np.median(steps))
    worst = int(np.argmax(np.abs(steps - step)))
    if abs(steps[worst] - step) > IRREGULAR_STEP * step:
        raise DataError(
            f"The translations are not evenly spaced: {steps[worst]:g} between {layout.translations[worst]:g} and "
            f"{layout.translations[worst + 1]:g}, {step:g} elsewhere.",
            "Measure the missing line and give its frames, too; or leave out those beyond the gap (--frame-range), if "
            "the scan ran line by line.",
        )
    return ParallelBeam.build(
        layout.angles,
        len(layout.translations),
        pixel_size=step,
        allow_missing_wedge=parameters.allow_missing_wedge,
    )


def measure(path: str) -> Measured:
    """Look at the sinograms once: totals of the points, mean pattern, channels without data.

    Parameters
    ----------
    path : str
        File of sinograms.
    """
    cube = map_rows(path, SINOGRAM)
    with_errors = SINOGRAM_ERRORS in open_dataset(path)
    errors = map_rows(path, SINOGRAM_ERRORS) if with_errors else None
    layers, angles, translations, channels = cube.shape
    totals = np.full((layers, angles, translations), np.nan)
    sums, squares, count = np.zeros(channels), np.zeros(channels), np.zeros(channels)
    for layer, angle in np.ndindex(layers, angles):
        row = cube[layer, angle].astype(np.float64)
        known = np.isfinite(row)
        n_known = known.sum(axis=1)
        row[~known] = 0
        np.divide(row.sum(axis=1), n_known, out=totals[layer, angle], where=n_known > 0)
        sums += row.sum(axis=0)
        count += known.sum(axis=0)
        if errors is not None:
            squares += np.nansum(errors[layer, angle].astype(np.float64) ** 2, axis=0)
    mean = np.divide(sums, count, out=np.full(channels, np.nan), where=count > 0)
    deviation = np.divide(np.sqrt(squares), count, out=np.full(channels, np.nan), where=count > 0)
    return Measured(totals, mean, deviation if with_errors else None)


def _reconstruct(parameters: XRDCT, context: Context, scan: _Scan, record: Provenance) -> xr.Dataset:
    """Reconstruct every channel and map what the voxels hold."""
    context.progress.message("Looking at the sinograms.")
    measured = measure(scan.sinograms)
    background = _background(parameters, scan, measured)
    context.progress.message(background.message)
    center = _center(parameters, scan, measured)
    context.progress.message(center.message)
    mean_pattern = measured.mean_pattern - background.pattern.mean(axis=0)
    radial = scan.radial_map.radial.centers
    references = _references(parameters, scan, mean_pattern)
    warnings = _doubts(parameters, references, mean_pattern, radial)
    for warning in warnings:
        context.progress.warn(f"Warning: {warning}")
    analysis = VoxelAnalysis.build(
        radial,
        np.isfinite(measured.mean_pattern),
        parameters.regions,
        parameters.peaks,
        None if references is None else references.patterns,
        parameters.background_degree,
    )
    if parameters.method == "mlem":
        context.progress.message("MLEM takes counts: negative samples of the sinograms are taken as zero.")
    errors = _has_errors(parameters, context)
    with _reconstruct_volume(parameters, context, scan, measured, background, center, errors, record) as sink:
        maps = _analyse(parameters, context, scan, analysis, sink, errors)
        notes = {
            "scan": scan.layout.describe(),
            "motors": scan.motors.names,
            "background": background.message,
            "center": {
                "value": center.value,
                "estimates": {name: item.value for name, item in center.estimates.items()},
            },
            "center_message": center.message,
            "warnings": warnings,
            "excluded_projections": int(lost_projections(measured.totals).sum()),
        }
        dataset = assemble(
            scan.motors,
            scan.layout,
            scan.radial_map,
            measured,
            background,
            references,
            analysis,
            maps,
            {name: sink.read(name) for name in sink.regions},
        )
        dataset.attrs["provenance"] = context.with_cost(record.with_notes(**notes)).to_json()

        def finish(file: Any) -> None:
            write_dataset(file, dataset, existing=tuple(sink.regions))
            link_sinograms(file, scan.sinograms)

        sink.finish(finish)
    result: xr.Dataset = open_dataset(parameters.output)
    return result


def _background(parameters: XRDCT, scan: _Scan, measured: Measured) -> Background:
    if parameters.background == "none":
        return no_background(scan.layout.shape[0], scan.radial_map.radial.n_bins)
    return find_background(map_rows(scan.sinograms, SINOGRAM), measured.totals)


def _center(parameters: XRDCT, scan: _Scan, measured: Measured) -> CenterEstimate:
    """Return the axis that was given, or find it from the totals of all layers."""
    last = len(scan.layout.translations) - 1
    if parameters.center != "auto" and not 0 <= parameters.center <= last:
        raise ParameterError(
            f"center is {parameters.center:g}, outside the {last + 1} translations.", f"Give 0 to {last}, or auto."
        )
    if parameters.center != "auto":
        return CenterEstimate(
            parameters.center, 0.0, {}, True, f"The centre of rotation is {parameters.center:g}, as given."
        )
    totals = np.stack([_filled_totals(layer) for layer in measured.totals]).sum(axis=0)
    lost = lost_projections(measured.totals).any(axis=0)
    return find_center(totals[~lost], scan.layout.angles[~lost])


def _filled_totals(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    from .sinogram import fill_missing

    return fill_missing(totals[..., None].astype(np.float32))[..., 0].astype(np.float64)


def _references(parameters: XRDCT, scan: _Scan, mean_pattern: NDArray[np.float64]) -> ReferencePatterns | None:
    if not parameters.phases:
        return None
    return compute_references(
        parameters.phases,
        mean_pattern,
        scan.radial_map.radial.centers,
        parameters.unit,
        scan.radial_map.geometry,
        parameters.background_degree,
        parameters.peak_width,
    )


def _doubts(
    parameters: XRDCT,
    references: ReferencePatterns | None,
    mean_pattern: NDArray[np.float64],
    radial: NDArray[np.float64],
) -> list[str]:
    """Return what speaks against the maps that will be made."""
    doubts = []
    if references is not None:
        explained = explained_part(mean_pattern, references.patterns, parameters.background_degree)
        if explained < LEAST_EXPLAINED:
            doubts.append(
                f"the phases explain only {100 * explained:.0f} % of the peaks of the mean pattern, with peaks "
                f"{references.peak_width:.3g} degrees wide: a phase may be missing, or the geometry wrong."
            )
    for text in parameters.peaks:
        name, low, high = parse_window(text, "peaks")
        width = half_maximum_width(radial, mean_pattern, low, high)
        if high - low < LEAST_WINDOW_WIDTHS * width:
            doubts.append(
                f"the window of peak {name} is too narrow for a sure position and width: it should be "
                f"{LEAST_WINDOW_WIDTHS:g} times as wide as the peak or more, with the peak in its middle."
            )
    return doubts


def _reconstruct_volume(
    parameters: XRDCT,
    context: Context,
    scan: _Scan,
    measured: Measured,
    background: Background,
    center: CenterEstimate,
    errors: bool,
    record: Provenance,
) -> RegionFile:
    """Fill the volume, channel block by channel block; the caller finishes the file."""
    layers, angles, translations = scan.layout.shape
    channels, size = scan.radial_map.radial.n_bins, scan.beam.size
    names = ["volume", "volume_errors"] if errors else ["volume"]
    spec = RegionSpec((layers, size, size, channels), "f4", "channels", chunk=CHUNK)
    without = ("phases", "peak_width", "background_degree", "regions", "peaks")
    work = _fingerprint(record, tuple(name for name in record.parameters if name not in without))
    sink = RegionFile.create(parameters.output, dict.fromkeys(names, spec), work, parameters.overwrite)
    if sink.message:
        context.progress.message(sink.message)
    source = SinogramSource(
        path=scan.sinograms,
        shape=(layers, angles, translations, channels),
        background=background.pattern,
        empty=~np.isfinite(measured.mean_pattern),
        cleaning=_cleaning(parameters),
        errors=errors,
    )
    blocks = cut_blocks(channels, _channels_per_block(angles * translations, channels), groups=layers)
    try:
        for excluded, some in _by_excluded(blocks, channels, lost_projections(measured.totals)):
            beam = ParallelBeam.build(
                scan.layout.angles,
                translations,
                center=center.value,
                pixel_size=scan.beam.pixel_size,
                excluded=excluded,
                allow_missing_wedge=parameters.allow_missing_wedge,
            )
            options = {"filter": parameters.filter, "iterations": parameters.iterations}
            plan = build_plan(beam, parameters.method, **options)
            work_plan = SlicePlan(plan, variance_plan(plan) if errors else None)
            context.runner.stream(source, work_plan, sink, some, context, "Reconstructing", "channels")
    except BaseException:
        sink.close()
        raise
    return sink


def _channels_per_block(samples: int, channels: int) -> int:
    """Return a whole number of chunks whose sinograms fit the block's memory, in at least eight blocks if possible."""
    most = min(SINOGRAM_BLOCK_BYTES // (4 * samples), -(-channels // 8))
    return int(max(1, most // CHUNK[2]) * CHUNK[2])


def _by_excluded(
    blocks: list[Block], channels: int, lost: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.bool_], list[Block]]]:
    """Yield the blocks of the layers that lack the same projections, with those projections."""
    for excluded in np.unique(lost, axis=0):
        layers = np.flatnonzero((lost == excluded).all(axis=1))
        yield excluded, [block for block in blocks if block.start // channels in layers]


# ---- voxels to maps


def _analyse(
    parameters: XRDCT, context: Context, scan: _Scan, analysis: VoxelAnalysis, sink: RegionFile, errors: bool
) -> dict[str, NDArray[Any]]:
    """Return the arrays of `VoxelAnalysis` for all voxels, each (layers, y, x, ...)."""
    layers, size = scan.layout.shape[0], scan.beam.size
    shapes: dict[str, tuple[int, ...]] = {}
    n_functionals = len(analysis.weights)
    # Splitting shares counts between neighbouring channels: the error of a sum over channels is then not known.
    sum_errors = errors and parameters.splitting == "none"
    if n_functionals:
        shapes["functional"] = (n_functionals,)
        if sum_errors:
            shapes["functional_errors"] = (n_functionals,)
    if analysis.references is not None:
        shapes |= {"phase": (len(analysis.references),), "residual": ()}
    if not shapes:
        return {}
    regions = {name: RegionSpec((layers, size, size, *shape), "f8", item_axes=2) for name, shape in shapes.items()}
    memory = MemorySink(regions)
    blocks = cut_blocks(size, CHUNK[0], groups=layers)
    rows = VolumeRows(sink.partial, size, sum_errors)
    context.runner.stream(rows, analysis, memory, blocks, context, "Mapping", "rows")
    return {name: memory.read(name) for name in regions}
