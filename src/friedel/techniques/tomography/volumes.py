"""The work of the task: sinograms from a file, cleaned, reconstructed block by block, to a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.blocks import Block, cut_blocks
from friedel.core.context import Context
from friedel.core.errors import ParameterError
from friedel.core.provenance import Provenance, refuse_to_replace_inputs
from friedel.data.conventions import coordinate
from friedel.io import (
    MemorySink,
    RegionFile,
    RegionSpec,
    finished_result,
    open_dataset,
    read_provenance,
    write_dataset,
)
from friedel.io.frames import parse_range
from friedel.io.tomograms import RawSinograms, Tomogram, open_tomogram

from .blocks import failed_projections
from .center import CenterEstimate, find_center
from .cleanup import Cleaning, minus_log, subtract_air
from .geometry import ParallelBeam
from .reconstruction import Method, build_plan, slice_coordinates, slice_units, variance_plan
from .slices import LINEAR_METHODS, NoErrors, SlicePlan, missing_rule
from .tasks import Reconstruct

Singles = NDArray[np.float32]
Options = tuple[tuple[str, Any], ...]

CHANNELS_IN_BLOCK = 32
LAYERS_IN_BLOCK = 16
"""Layers of a scan without channels: as many as the compiled kernels do at a time."""
SURVEYED_BLOCKS = 16
BRIGHTER_EDGE = 1.02
"""Beside the sample a transmitted beam is brighter than behind it by more than this; a signal of the sample is not."""


@dataclass(frozen=True)
class Preparation:
    """From what was measured to what adds up along a ray.

    Attributes
    ----------
    cleaning : Cleaning
    transmission : bool
        Whether to take the negative logarithm.
    monitor_level : float
        Mean of the monitor over the scan: a signal is divided by the monitor relative to it.
    edge : int
        Translations on each side whose mean is subtracted, see `subtract_air`; 0: nothing is subtracted.
    """

    cleaning: Cleaning
    transmission: bool
    monitor_level: float = 1.0
    edge: int = 0

    def __call__(self, raw: RawSinograms) -> Singles:
        """Return (angle, translation, channel)."""
        sinograms = raw.values if raw.monitor is None else raw.values / self.relative(raw.monitor)
        sinograms = self.cleaning.without_outliers(sinograms)
        if self.transmission:
            sinograms = minus_log(
                sinograms, 1.0 if raw.flat is None else raw.flat, 0.0 if raw.dark is None else raw.dark
            )
        if self.edge:
            sinograms = subtract_air(sinograms, self.edge)
        return np.asarray(self.cleaning.finish(sinograms), np.float32)

    def relative(self, monitor: Singles) -> Singles:
        """Return the beam relative to the level; NaN, a failed sample, where there was none."""
        return np.asarray(np.where(monitor > 0, monitor, np.nan) / np.float32(self.monitor_level), np.float32)


@dataclass(frozen=True, eq=False)
class TomogramPlan:
    """A plan from raw sinograms to slices; a `friedel.core.blocks.BlockPlan`.

    Projections that are NaN throughout a block are left out; the tables without them are built when first needed.

    Attributes
    ----------
    preparation : Preparation
    beam : ParallelBeam
    method : str
    options : tuple of (name, value)
        Of the method.
    errors : bool
        Whether to carry the standard deviations of the samples over.
    layers_last : bool
        Whether a block's channels are layers: slices are then (layer, y, x).
    allow_missing_wedge : bool
    """

    preparation: Preparation
    beam: ParallelBeam
    method: Method
    options: Options
    errors: bool
    layers_last: bool
    allow_missing_wedge: bool

    def __call__(self, items: RawSinograms) -> dict[str, Singles]:
        """Return the slices of a block, and their standard deviations if `errors`."""
        sinograms = {"sinogram": self.preparation(items)}
        if self.errors and items.errors is not None:
            errors = items.errors if items.monitor is None else items.errors / self.preparation.relative(items.monitor)
            sinograms["variance"] = np.square(errors)
        slices = self._plan(failed_projections(sinograms["sinogram"]))(sinograms)
        if self.layers_last:
            return {name: np.ascontiguousarray(np.moveaxis(values, 2, 0)) for name, values in slices.items()}
        return slices

    def _plan(self, failed: NDArray[np.bool_]) -> SlicePlan:
        beam = self.beam
        numbers = (beam.n_translations, beam.center, beam.size, beam.pixel_size, self.allow_missing_wedge)
        return _plan_for(beam.angles.tobytes(), failed.tobytes(), numbers, self.method, self.options, self.errors)


@lru_cache(maxsize=8)
def _plan_for(
    angles: bytes,
    failed: bytes,
    numbers: tuple[int, float, int, float, bool],
    method: Method,
    options: Options,
    errors: bool,
) -> SlicePlan:
    """Build the tables once in each process, whichever copy of the `TomogramPlan` asks for them."""
    n_translations, center, size, pixel_size, allow_missing_wedge = numbers
    beam = ParallelBeam.build(
        np.rad2deg(np.frombuffer(angles)),
        n_translations,
        center=center,
        size=size,
        pixel_size=pixel_size,
        excluded=np.frombuffer(failed, bool),
        allow_missing_wedge=allow_missing_wedge,
    )
    plan = build_plan(beam, method, **dict(options))
    return SlicePlan(plan, variance_plan(plan) if errors else None)


def reconstruct_volume(parameters: Reconstruct, context: Context) -> xr.Dataset:
    """Do the task ``reconstruct``; see `Reconstruct`."""
    scan = open_tomogram(
        parameters.sinograms,
        dataset=parameters.dataset,
        rotation=parameters.rotation,
        translation=parameters.translation,
        monitor=parameters.monitor,
    ).select(parse_range(parameters.layers or ":", "layers"), parse_range(parameters.channels or ":", "channels"))
    refuse_to_replace_inputs([parameters.output, parameters.report], scan.files)
    # What cannot work is refused before anything is read at length.
    beam = _beam(scan, parameters, None)
    build_plan(ParallelBeam.build([0, 60, 120], 8), parameters.method, **_options(parameters))
    cleaning = _cleaning(parameters)
    _carries_errors(scan, parameters, missing_rule(parameters.method, cleaning, parameters.transmission == "on"))
    preparation, total = survey(scan, parameters, cleaning, context)
    center, found = _center(total, scan, parameters, context)
    beam = beam.with_center(center)
    no_rule = missing_rule(parameters.method, cleaning, preparation.transmission)
    errors = _carries_errors(scan, parameters, no_rule)
    if no_rule is not None and scan.errors and parameters.errors is None:
        context.progress.message(no_rule.message)
    if cleaning.non_negative:
        context.progress.message("MLEM takes counts: negative samples of the sinograms are taken as zero.")
    plan = TomogramPlan(
        preparation,
        beam,
        parameters.method,
        tuple(sorted(_options(parameters).items())),
        errors,
        scan.channels is None,
        parameters.allow_missing_wedge,
    )
    record = _record(parameters, context, found, center, preparation)
    finished: xr.Dataset | None = None if parameters.overwrite else finished_result(parameters.output, record)
    if finished is not None:
        context.progress.message(f"{parameters.output} is complete already.")
        return finished
    regions = _regions(scan, beam.size, errors)
    with _sink(parameters, regions, record) as sink:
        if sink.message:
            context.progress.message(sink.message)
        context.runner.stream(scan, plan, sink, _blocks(scan), context, "Reconstructing", _unit(scan))
        result = _label(scan, beam, {name: sink.read(name) for name in regions}, preparation, total)
        if record is not None:
            result.attrs["provenance"] = context.with_cost(record).to_json()
        if parameters.output is None:
            return result
        sink.finish(lambda file: write_dataset(file, result, existing=tuple(regions)))
    written: xr.Dataset = open_dataset(parameters.output)
    return written


# ---- before the first block


def survey(
    scan: Tomogram, parameters: Reconstruct, cleaning: Cleaning, context: Context
) -> tuple[Preparation, NDArray[np.float64]]:
    """Look at blocks spread over the scan: is it transmission, how bright is the beam, what is the total sinogram?

    Returns
    -------
    Preparation
    ndarray (angle, translation) float64
        Sum of the cleaned sinograms that were looked at.
    """
    blocks = _blocks(scan)
    chosen = [blocks[int(i)] for i in np.unique(np.linspace(0, len(blocks) - 1, min(len(blocks), SURVEYED_BLOCKS)))]
    if scan.channels is None:  # a few single layers say as much as whole blocks of them
        layers = np.unique(np.linspace(0, scan.n_layers - 1, min(scan.n_layers, SURVEYED_BLOCKS)).astype(int))
        chosen = [Block(number, int(layer), int(layer) + 1) for number, layer in enumerate(layers)]
    first = scan.read(chosen[len(chosen) // 2])
    transmission = parameters.transmission == "on" or (
        parameters.transmission == "auto" and looks_transmitted(first, scan.channels is not None)
    )
    # Over the monitor, transmitted counts are the transmission; any other signal keeps its size.
    relative = first.monitor is not None and not (transmission and first.flat is None)
    level = scan.mean_monitor() if relative else 1.0
    edges = parameters.background == "edges" or (parameters.background is None and transmission and first.flat is None)
    edge = parameters.edge or max(2, len(scan.columns) // 20)
    preparation = Preparation(cleaning, transmission, level, edge if edges else 0)
    total = np.zeros((len(scan.angles), len(scan.columns)))
    with context.stage("Looking at the sinograms", len(chosen), "blocks") as advance:
        for block in chosen:
            context.cancellation.check()
            total += preparation(scan.read(block)).sum(axis=2, dtype=float)
            advance(1)
    return preparation, total


def looks_transmitted(raw: RawSinograms, has_channels: bool) -> bool:
    """Whether these are transmitted intensities: flats were taken, or it is brighter beside the sample than behind."""
    if raw.flat is not None:
        return True
    if has_channels:
        return False
    values = raw.values if raw.monitor is None else raw.values / np.where(raw.monitor > 0, raw.monitor, np.nan)
    profile = np.nanmean(values, axis=(0, 2))
    edge = max(2, len(profile) // 20)
    beside = float(np.mean([profile[:edge].mean(), profile[-edge:].mean()]))
    behind = float(profile[len(profile) // 3 : -(len(profile) // 3)].mean())
    return beside > BRIGHTER_EDGE * behind > 0


def _cleaning(parameters: Reconstruct) -> Cleaning:
    return Cleaning(parameters.outliers, parameters.rings, parameters.ring_size, parameters.method == "mlem")


def _carries_errors(scan: Tomogram, parameters: Reconstruct, no_rule: NoErrors | None) -> bool:
    """Tell whether the slices get standard deviations; refuse what was asked for and cannot be."""
    if parameters.errors and no_rule is not None:
        raise no_rule.refusal()
    if parameters.errors and not scan.errors:
        raise ParameterError(
            f"errors: {parameters.sinograms} holds no uncertainty of {scan.dataset}.",
            "Integrate with an error model, or leave out --errors.",
        )
    return bool(scan.errors) and no_rule is None and parameters.errors is not False


def _center(
    total: NDArray[np.float64], scan: Tomogram, parameters: Reconstruct, context: Context
) -> tuple[float, CenterEstimate | None]:
    if parameters.center != "auto":
        return float(parameters.center), None
    found = find_center(total, scan.angles)
    context.progress.message(found.message)
    return found.value, found


def _beam(scan: Tomogram, parameters: Reconstruct, center: float | None) -> ParallelBeam:
    step = float(np.median(np.diff(scan.translations.values)))
    return ParallelBeam.build(
        scan.angles,
        len(scan.columns),
        center=center,
        size=parameters.size,
        pixel_size=parameters.pixel_size or step,
        allow_missing_wedge=parameters.allow_missing_wedge,
    )


def _options(parameters: Reconstruct) -> dict[str, Any]:
    if parameters.method in LINEAR_METHODS:
        if parameters.iterations is not None:
            raise ParameterError(f"{parameters.method} takes no iterations.", "Use sirt or mlem, or leave it out.")
        return {"filter": parameters.filter, "cutoff": parameters.cutoff, "padding": parameters.padding}
    return {} if parameters.iterations is None else {"iterations": parameters.iterations}


def _record(
    parameters: Reconstruct, context: Context, found: CenterEstimate | None, center: float, preparation: Preparation
) -> Provenance | None:
    if context.provenance is None:
        return None
    record = context.provenance.with_inputs([parameters.sinograms], read_provenance(parameters.sinograms))
    notes: dict[str, Any] = {"center": center, "transmission": preparation.transmission, "edge": preparation.edge}
    if found is not None:
        notes["center_estimates"] = {name: estimate.value for name, estimate in found.estimates.items()}
        notes["center_agreed"] = found.agreed
        notes["center_message"] = found.message
    return record.with_notes(**notes)


# ---- blocks and results


def _unit(scan: Tomogram) -> str:
    return "layers" if scan.channels is None else "channels"


def _blocks(scan: Tomogram) -> list[Block]:
    if scan.channels is None:
        return cut_blocks(scan.n_layers, LAYERS_IN_BLOCK)
    return cut_blocks(scan.n_channels, CHANNELS_IN_BLOCK, groups=scan.n_layers)


def _regions(scan: Tomogram, size: int, errors: bool) -> dict[str, RegionSpec]:
    if scan.channels is None:
        spec = RegionSpec((scan.n_layers, size, size), "f4")
    else:
        spec = RegionSpec((scan.n_layers, size, size, scan.n_channels), "f4", "channels")
    return {"volume": spec, "volume_errors": spec} if errors else {"volume": spec}


def _sink(
    parameters: Reconstruct, regions: Mapping[str, RegionSpec], record: Provenance | None
) -> RegionFile | MemorySink:
    if parameters.output is None:
        return MemorySink(regions)
    fingerprint = record.fingerprint() if record is not None else ""
    return RegionFile.create(parameters.output, regions, fingerprint, parameters.overwrite)


def _label(
    scan: Tomogram,
    beam: ParallelBeam,
    arrays: Mapping[str, Any],
    preparation: Preparation,
    total: NDArray[np.float64],
) -> xr.Dataset:
    """Name the axes of the volume and give them units; the sinogram that the centre was found from goes with it."""
    length = scan.translations.units or "pixel"
    dims = ("layer", "y", "x") if scan.channels is None else ("layer", "y", "x", "radial")
    coords: dict[str, Any] = {
        "layer": coordinate("layer", scan.layers.values, scan.layers.units or "1", "Layer"),
        **slice_coordinates(beam, length),
    }
    if scan.channels is not None:
        attributes = {"long_name": "Channel", **scan.channel_attributes}
        coords["radial"] = xr.Variable(("radial",), scan.channels.values, {**attributes, "units": scan.channels.units})
    signal = "" if preparation.transmission else scan.units
    attributes = {
        "units": slice_units(signal, length),
        "long_name": "Absorption" if preparation.transmission else "Signal",
    }
    variables: dict[str, Any] = {name: (dims, values, attributes) for name, values in arrays.items()}
    angle = coordinate("angle", scan.angles, "deg", "Rotation")
    translation = coordinate("translation", scan.translations.values, length, "Translation")
    variables["sinogram"] = (("angle", "translation"), total.astype(np.float32), {"units": signal or "1"})
    return xr.Dataset(
        {name: xr.Variable(*value) for name, value in variables.items()},
        coords={**coords, "angle": angle, "translation": translation},
        attrs={"default": "volume", "title": "Reconstruction", "center_pixels": beam.center},
    )
