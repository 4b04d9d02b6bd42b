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
from friedel.io import MemorySink, RegionFile, RegionSpec, open_dataset, read_provenance, write_dataset
from friedel.io.tomograms import RawSinograms, Tomogram, open_tomogram

from .blocks import failed_projections
from .center import CenterEstimate, find_center
from .cleanup import minus_log, remove_outliers, remove_rings, subtract_air
from .geometry import ParallelBeam
from .reconstruction import Method, ReconstructionPlan, build_plan, slice_coordinates, slice_units, variance_plan
from .tasks import Reconstruct

Singles = NDArray[np.float32]
Options = tuple[tuple[str, Any], ...]

CHANNELS_IN_BLOCK = 32
LAYERS_IN_BLOCK = 16
"""Layers of a scan without channels: as many as the compiled kernels do at a time."""
SURVEYED_BLOCKS = 16
LINEAR = ("gridding", "fbp")
BRIGHTER_EDGE = 1.02
"""Beside the sample a transmitted beam is brighter than behind it by more than this; a signal of the sample is not."""


@dataclass(frozen=True)
class Cleaning:
    """From what was measured to what adds up along a ray.

    Attributes
    ----------
    transmission : bool
        Whether to take the negative logarithm.
    monitor_level : float
        What a signal that is divided by the monitor is multiplied by, so that it keeps its size.
    outliers : float or None
        Threshold of `remove_outliers`.
    rings, ring_size
        See `remove_rings`.
    air : int
        See `subtract_air`; 0: nothing is subtracted.
    """

    transmission: bool
    monitor_level: float = 1.0
    outliers: float | None = None
    rings: str = "none"
    ring_size: int = 21
    air: int = 0

    def __call__(self, raw: RawSinograms) -> Singles:
        """Return (angle, translation, channel)."""
        sinograms = raw.values if raw.monitor is None else raw.values / self.relative(raw.monitor)
        if self.outliers is not None:
            sinograms = remove_outliers(sinograms, self.outliers)
        if self.transmission:
            sinograms = minus_log(
                sinograms, 1.0 if raw.flat is None else raw.flat, 0.0 if raw.dark is None else raw.dark
            )
        if self.air:
            sinograms = subtract_air(sinograms, self.air)
        return np.asarray(remove_rings(sinograms, self.rings, self.ring_size), np.float32)  # type: ignore[arg-type]

    def relative(self, monitor: Singles) -> Singles:
        """Return the beam relative to the level; NaN, a failed sample, where there was none."""
        return np.asarray(np.where(monitor > 0, monitor, np.nan) / np.float32(self.monitor_level), np.float32)


@dataclass(frozen=True, eq=False)
class SlicePlan:
    """A plan from raw sinograms to slices; a `friedel.core.blocks.BlockPlan`.

    Projections that are NaN throughout a block are left out; the tables without them are built when first needed.

    Attributes
    ----------
    cleaning : Cleaning
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

    cleaning: Cleaning
    beam: ParallelBeam
    method: Method
    options: Options
    errors: bool
    layers_last: bool
    allow_missing_wedge: bool

    def __call__(self, items: RawSinograms) -> dict[str, Singles]:
        """Return the slices of a block, and their standard deviations if `errors`."""
        sinograms = self.cleaning(items)
        plan = self._plan(failed_projections(sinograms))
        slices = {"volume": plan(sinograms)}
        if self.errors and items.errors is not None:
            errors = items.errors if items.monitor is None else items.errors / self.cleaning.relative(items.monitor)
            slices["volume_errors"] = np.sqrt(variance_plan(plan)(np.square(errors)))
        if self.layers_last:
            return {name: np.ascontiguousarray(np.moveaxis(values, 2, 0)) for name, values in slices.items()}
        return slices

    def _plan(self, failed: NDArray[np.bool_]) -> ReconstructionPlan:
        beam = self.beam
        numbers = (beam.n_translations, beam.center, beam.size, beam.pixel_size, self.allow_missing_wedge)
        return _plan_for(beam.angles.tobytes(), failed.tobytes(), numbers, self.method, self.options)


@lru_cache(maxsize=8)
def _plan_for(
    angles: bytes, failed: bytes, numbers: tuple[int, float, int, float, bool], method: Method, options: Options
) -> ReconstructionPlan:
    """Build the tables once in each process, whichever copy of the `SlicePlan` asks for them."""
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
    return build_plan(beam, method, **dict(options))


def reconstruct_volume(parameters: Reconstruct, context: Context) -> xr.Dataset:
    """Do the task ``reconstruct``; see `Reconstruct`."""
    scan = open_tomogram(
        parameters.sinograms,
        dataset=parameters.dataset,
        rotation=parameters.rotation,
        translation=parameters.translation,
        monitor=parameters.monitor,
    ).select(parse_range(parameters.layers, "layers"), parse_range(parameters.channels, "channels"))
    refuse_to_replace_inputs([parameters.output, parameters.report], [parameters.sinograms])
    # What cannot work is refused before anything is read at length.
    beam = _beam(scan, parameters, None)
    build_plan(ParallelBeam.build([0, 60, 120], 8), parameters.method, **_options(parameters))
    cleaning, total = survey(scan, parameters, context)
    center, found = _center(total, scan, parameters, context)
    beam = beam.with_center(center)
    errors = bool(scan.errors) and parameters.method in LINEAR and not cleaning.transmission
    if scan.errors and not errors:
        context.progress.message(
            "The uncertainty of the data is not carried over: there is no rule for a logarithm, SIRT or MLEM."
        )
    plan = SlicePlan(
        cleaning,
        beam,
        parameters.method,
        tuple(sorted(_options(parameters).items())),
        errors,
        scan.channels is None,
        parameters.allow_missing_wedge,
    )
    record = _record(parameters, context, found, center, cleaning)
    regions = _regions(scan, beam.size, errors)
    with _sink(parameters, regions, record) as sink:
        if sink.message:
            context.progress.message(sink.message)
        context.runner.stream(scan, plan, sink, _blocks(scan), context, "Reconstructing", _unit(scan))
        result = _label(scan, beam, {name: sink.read(name) for name in regions}, cleaning, total)
        if record is not None:
            result.attrs["provenance"] = record.to_json()
        if parameters.output is None:
            return result
        sink.finish(lambda file: write_dataset(file, result, existing=tuple(regions)))
    written: xr.Dataset = open_dataset(parameters.output)
    return written


def parse_range(text: str | None, name: str) -> slice:
    """Return the slice that ``start:stop`` or a single number means; everything for None.

    Raises
    ------
    ParameterError
        If the text is no such range.
    """
    if text is None:
        return slice(None)
    try:
        bounds = [int(part) if part.strip() else None for part in text.split(":")]
    except ValueError:
        bounds = []
    if len(bounds) == 1 and bounds[0] is not None:
        return slice(bounds[0], bounds[0] + 1 or None)
    if len(bounds) != 2:
        raise ParameterError(f"{name} is {text!r}.", "Give a range as start:stop, or one number.")
    return slice(bounds[0], bounds[1])


# ---- before the first block


def survey(scan: Tomogram, parameters: Reconstruct, context: Context) -> tuple[Cleaning, NDArray[np.float64]]:
    """Look at blocks spread over the scan: is it transmission, how bright is the beam, what is the total sinogram?

    Returns
    -------
    Cleaning
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
    level = 1.0
    if first.monitor is not None and not transmission:
        level = float(np.nanmedian(np.where(first.monitor > 0, first.monitor, np.nan)))
    air = parameters.air
    if air is None:
        air = max(2, len(scan.columns) // 20) if transmission and first.flat is None else 0
    cleaning = Cleaning(transmission, level, parameters.outliers, parameters.rings, parameters.ring_size, air)
    total = np.zeros((len(scan.angles), len(scan.columns)))
    with context.stage("Looking at the sinograms", len(chosen), "blocks") as advance:
        for block in chosen:
            context.cancellation.check()
            total += cleaning(scan.read(block)).sum(axis=2, dtype=float)
            advance(1)
    return cleaning, total


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
    if parameters.method in LINEAR:
        if parameters.iterations is not None:
            raise ParameterError(f"{parameters.method} takes no iterations.", "Use sirt or mlem, or leave it out.")
        return {"filter": parameters.filter, "cutoff": parameters.cutoff, "padding": parameters.padding}
    return {} if parameters.iterations is None else {"iterations": parameters.iterations}


def _record(
    parameters: Reconstruct, context: Context, found: CenterEstimate | None, center: float, cleaning: Cleaning
) -> Provenance | None:
    if context.provenance is None:
        return None
    record = context.provenance.with_inputs([parameters.sinograms], read_provenance(parameters.sinograms))
    notes: dict[str, Any] = {"center": center, "transmission": cleaning.transmission, "air": cleaning.air}
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
    cleaning: Cleaning,
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
    signal = "" if cleaning.transmission else scan.units
    attributes = {
        "units": slice_units(signal, length),
        "long_name": "Absorption" if cleaning.transmission else "Signal",
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
