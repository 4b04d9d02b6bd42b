"""Statistics of a series of frames: what is asked for, computed with bounded memory, named and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from friedel.core.blocks import cut_blocks
from friedel.core.context import Context
from friedel.core.errors import DataError, ParameterError
from friedel.core.files import refuse_existing
from friedel.core.provenance import refuse_to_replace_inputs
from friedel.io import (
    FrameSource,
    MemorySink,
    RegionSpec,
    finished_result,
    open_dataset,
    open_frames,
    store_image,
    write_dataset,
)

from .correction import FrameCorrection, monitor_factors
from .files import all_inputs, image_inputs, is_image, record_of
from .moments import FrameGroup, FrameGroups, Moments, MomentSums, OrderedSum, group_size, moment_statistics
from .ranks import DetectorRows, RankStatistics, RowSlab, rows_per_slab
from .tasks import Average

Floats = NDArray[np.float64]

ROUNDING = 1e-12
"""Part of the mean within which a value counts as equal to it."""
SLABS = 4
"""Slabs of rows that a runner may hold at a time beyond one for each thread."""

LONG_NAMES = {
    "mean": "Mean of the valid values",
    "mean_errors": "Standard error of the mean",
    "median": "Median of the valid values",
    "min": "Smallest valid value",
    "max": "Largest valid value",
    "sum": "Sum of the valid values",
    "std": "Standard deviation of the values",
    "count": "Number of valid values",
    "quantiles": "Quantiles of the valid values",
    "trimmed_mean": "Mean of the values between two quantiles",
    "clipped_mean": "Mean of the values near the centre",
}
OPTIONS = {("quantiles",): "quantiles", ("trim",): "trimmed_mean", ("clip_threshold", "center"): "clipped_mean"}
"""Parameters, and the statistic that they are for."""
RANKS = ("median", "quantiles", "trimmed_mean")


def average(parameters: Average, context: Context) -> xr.Dataset:
    """Do the task ``average``; see `Average`."""
    names = tuple(dict.fromkeys(parameters.statistics))
    if not names:
        raise ParameterError("statistics is empty.", "Name at least one, such as mean.")
    for options, statistic in OPTIONS.items():
        if statistic not in names:
            parameters.refuse(options, f"it is for {statistic}, which is not among the statistics")
    if parameters.trim[0] > parameters.trim[1]:
        raise ParameterError(f"trim is {parameters.trim}: the quantiles do not ascend.", "Give the lower one first.")
    context = context.on_cpu("Statistics are computed")
    source = open_frames(parameters.frames, dataset=parameters.dataset, frames=parameters.frame_range)
    written: list[str | Path | None] = [*_image_files(parameters, names)] or [parameters.output]
    refuse_to_replace_inputs([*written, parameters.report], all_inputs(parameters, source))
    record = record_of(context, source, image_inputs(parameters))
    finished: xr.Dataset | None = None if parameters.overwrite else finished_result(parameters.output, record)
    if finished is not None:
        context.progress.message(f"{parameters.output} is complete already.")
        return finished
    refuse_existing(written, parameters.overwrite)
    correction = FrameCorrection.of(parameters, source)
    arrays = _statistics(parameters, names, source, correction, context)
    result = label_statistics(arrays, names, parameters.quantiles, correction.excluded)
    result.attrs["frames"] = source.n_frames
    if record is not None:
        result.attrs["provenance"] = context.with_cost(record).to_json()
    return _write(parameters, names, result, context)


def average_frames(
    frames: ArrayLike,
    statistics: str | Sequence[str] = "mean",
    *,
    mask: ArrayLike | None = None,
    dark: ArrayLike | None = None,
    flat: ArrayLike | None = None,
    normalization: ArrayLike | None = None,
    dummy: float | None = None,
    delta_dummy: float = 0.0,
    quantiles: Sequence[float] = (0.25, 0.5, 0.75),
    trim: tuple[float, float] = (0.1, 0.9),
    clip_threshold: float = 3.0,
    center: str = "median",
) -> xr.Dataset:
    """Return statistics of frames in memory, pixel by pixel.

    Parameters
    ----------
    frames : array-like, shape (n, rows, columns)
        Values that are not finite are invalid.
    statistics : str or sequence of str
        "mean", "median", "min", "max", "sum", "std", "count", "quantiles", "trimmed_mean", "clipped_mean".
    mask, dark, flat : array-like, shape (rows, columns), optional
        Pixels to leave out (non-zero), counts without beam, relative efficiency.
    normalization : array-like, shape (n,), optional
        What each frame is divided by.
    dummy, delta_dummy : float
        Value that marks invalid pixels, and how far from it values still do.
    quantiles : sequence of float
        Fractions for "quantiles".
    trim : (float, float)
        Quantiles between which "trimmed_mean" averages.
    clip_threshold : float
        Standard deviations from the centre within which "clipped_mean" averages.
    center : {"median", "mean"}
        What "clipped_mean" measures distances from.

    Returns
    -------
    xarray.Dataset
        A variable (y, x) for each statistic, NaN where a pixel has no valid value.

    Raises
    ------
    DataError
        If the frames are no stack of images.
    GeometryError
        If an image has another shape.
    """
    stack = np.asarray(frames)
    if stack.ndim != 3 or not len(stack):
        raise DataError(f"The frames have the shape {stack.shape}.", "Give (n, rows, columns), n at least 1.")
    names = (statistics,) if isinstance(statistics, str) else tuple(statistics)
    unknown = [name for name in names if name not in LONG_NAMES]
    if unknown:
        raise ParameterError(f"There is no statistic {unknown[0]!r}.", f"Statistics: {', '.join(LONG_NAMES)}.")
    images = (None if image is None else np.asarray(image) for image in (mask, dark, flat))
    names_of_images = dict(zip(("mask", "dark", "flat"), images, strict=True))
    correction = FrameCorrection.build(stack.shape[1:], **names_of_images, dummy=dummy, delta_dummy=delta_dummy)
    factors = None if normalization is None else np.broadcast_to(np.asarray(normalization, float), (len(stack),))
    wanted = Wanted(names, tuple(quantiles), trim, clip_threshold, center)
    groups = [
        FrameGroup(stack[block.start : block.stop], None if factors is None else factors[block.start : block.stop])
        for block in cut_blocks(len(stack), group_size(stack[0].nbytes))
    ]

    def sum_groups(plan: MomentSums) -> Moments:
        moments = Moments.empty(stack[0].size)
        for group in groups:
            moments.merge(plan(group))
        return moments

    first = correction(stack[0].reshape(-1), factor=None if factors is None else factors[0])
    arrays = wanted.from_moments(correction, first, sum_groups)
    if wanted.ranked:
        plan = wanted.rank_plan(correction, factors)
        arrays |= {name: values.reshape(-1, *values.shape[2:]) for name, values in plan(RowSlab(stack, 0)).items()}
    return label_statistics(arrays, names, quantiles, correction.excluded)


@dataclass(frozen=True)
class Wanted:
    """Which statistics are to be computed, and how.

    Attributes
    ----------
    names : tuple of str
    quantiles, trim, clip_threshold, center
        See `Average`.
    """

    names: tuple[str, ...]
    quantiles: tuple[float, ...]
    trim: tuple[float, float]
    clip_threshold: float
    center: str

    @property
    def ranked(self) -> tuple[str, ...]:
        """Those that need all values of a pixel at once."""
        by_rank = ("clipped_mean",) if self.center == "median" else ()
        return tuple(name for name in self.names if name in RANKS + by_rank)

    def rank_plan(self, correction: FrameCorrection, factors: Floats | None) -> RankStatistics:
        """Return the plan for those."""
        return RankStatistics(correction, self.ranked, self.quantiles, self.trim, self.clip_threshold, factors)

    def from_moments(
        self,
        correction: FrameCorrection,
        first: tuple[Floats, NDArray[np.bool_] | None],
        sum_frames: Callable[[MomentSums], Moments],
    ) -> dict[str, Floats]:
        """Return the statistics that sums give, shape (pixels,).

        Parameters
        ----------
        correction : FrameCorrection
        first : (ndarray, ndarray or None)
            Corrected values of the first frame, and which are valid.
        sum_frames : callable
            Applies a plan to all frames and adds the results.
        """
        remaining = [name for name in self.names if name not in self.ranked]
        if not remaining:
            return {}
        values, valid = first
        usable = np.isfinite(values) if valid is None else valid & np.isfinite(values)
        pivot = np.where(usable, values, 0.0)
        found = moment_statistics(sum_frames(MomentSums(correction, pivot)), pivot)
        if "clipped_mean" in remaining:
            # A second look at the frames, with limits that the first one gave.
            reach = self.clip_threshold * found["std"] + ROUNDING * np.abs(found["mean"])
            limits = np.nan_to_num(found["mean"] - reach), np.nan_to_num(found["mean"] + reach)
            clipped = moment_statistics(sum_frames(MomentSums(correction, pivot, limits)), pivot)
            found["clipped_mean"] = clipped["mean"]
        wanted = {*remaining, "mean_errors"} if "mean" in remaining else {*remaining}
        return {name: found[name] for name in found if name in wanted}


def _statistics(
    parameters: Average, names: tuple[str, ...], source: FrameSource, correction: FrameCorrection, context: Context
) -> dict[str, Floats]:
    """Return the statistics of the frames of a source, shape (pixels, ...)."""
    wanted = Wanted(names, parameters.quantiles, parameters.trim, parameters.clip_threshold, parameters.center)
    factors = monitor_factors(source, parameters.monitor)
    n_pixels = source.full_shape[0] * source.full_shape[1]

    def sum_frames(plan: MomentSums) -> Moments:
        sink = OrderedSum(n_pixels)
        blocks = cut_blocks(source.n_frames, group_size(source.frame_bytes))
        context.runner.stream(FrameGroups(source, factors), plan, sink, blocks, context, "Averaging")
        return sink.moments

    first = correction(source.decoded(0, 1)[0].reshape(-1), factor=None if factors is None else factors[0])
    arrays = wanted.from_moments(correction, first, sum_frames)
    if wanted.ranked:
        arrays |= _ranked(wanted, source, correction, factors, context)
    return arrays


def _ranked(
    wanted: Wanted, source: FrameSource, correction: FrameCorrection, factors: Floats | None, context: Context
) -> dict[str, Floats]:
    rows, columns = source.full_shape
    shapes = {name: (len(wanted.quantiles),) if name == "quantiles" else () for name in wanted.ranked}
    sink = MemorySink({name: RegionSpec((rows, columns, *shape), "f8") for name, shape in shapes.items()})
    threads = context.runner.threads
    blocks = cut_blocks(rows, rows_per_slab(source, threads + SLABS))
    if len(blocks) > 1:
        context.progress.message(f"The frames are read {len(blocks)} times: their ranks do not fit the memory at once.")
    plan = wanted.rank_plan(correction, factors)
    context.runner.stream(DetectorRows(source, threads), plan, sink, blocks, context, "Sorting", "rows")
    return {name: sink.read(name).reshape(rows * columns, *shapes[name]) for name in wanted.ranked}


def label_statistics(
    arrays: Mapping[str, Floats],
    names: Sequence[str],
    quantiles: Sequence[float],
    excluded: NDArray[np.bool_],
) -> xr.Dataset:
    """Return statistics of pixels as a Dataset of images, NaN at excluded pixels."""
    variables: dict[str, Any] = {}
    ordered = [name for name in (*names, "mean_errors") if name in arrays]
    for name in ordered:
        image = arrays[name].reshape(*excluded.shape, *arrays[name].shape[1:])
        image[excluded] = 0.0 if name == "count" else np.nan
        dims: tuple[str, ...] = ("y", "x")
        if name == "quantiles":
            image, dims = np.moveaxis(image, -1, 0), ("quantile", "y", "x")
        units = "" if name == "count" else "counts"
        variables[name] = (dims, image, {"units": units, "long_name": LONG_NAMES[name]})
    coords = {}
    if "quantiles" in arrays:
        coords["quantile"] = ("quantile", np.asarray(quantiles, float), {"units": "", "long_name": "Quantile"})
    return xr.Dataset(variables, coords, {"default": ordered[0]})


# ---- files


def _images(parameters: Average, names: Sequence[str]) -> list[tuple[str, float | None]]:
    """Return statistic and quantile of each image."""
    return [
        (name, fraction) for name in names for fraction in (parameters.quantiles if name == "quantiles" else (None,))
    ]


def _image_files(parameters: Average, names: Sequence[str]) -> list[Path]:
    """Return the image files to write, in the order of `_images`; none if the output is HDF5 or memory."""
    if not is_image(parameters.output):
        return []
    base = Path(str(parameters.output))
    images = _images(parameters, names)
    if len(images) == 1:
        return [base]
    tails = [name if fraction is None else f"quantile_{fraction:g}" for name, fraction in images]
    return [base.with_name(f"{base.stem}_{tail}{base.suffix}") for tail in tails]


def _write(parameters: Average, names: Sequence[str], result: xr.Dataset, context: Context) -> xr.Dataset:
    if parameters.output is None:
        return result
    files = _image_files(parameters, names)
    if not files:
        write_dataset(parameters.output, result, overwrite=parameters.overwrite)
        stored: xr.Dataset = open_dataset(parameters.output)
        return stored
    for path, (name, fraction) in zip(files, _images(parameters, names), strict=True):
        image = result[name].values
        if fraction is not None:
            image = image[parameters.quantiles.index(fraction)]
        store_image(path, image, context, parameters.overwrite)
    return result
