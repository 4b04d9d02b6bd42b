"""From sinograms to slices: the calls that most users need."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import DataError, ParameterError
from friedel.data.conventions import coordinate
from friedel.device.threads import thread_count

from .backprojection import BackprojectionPlan
from .blocks import failed_projections
from .center import CenterEstimate, find_center
from .geometry import ParallelBeam
from .gridding import GriddingPlan
from .iterative import MlemPlan, SirtPlan
from .variance import BackprojectionVariance, GriddingVariance

Method = Literal["gridding", "fbp", "sirt", "mlem"]
Sinogram = TypeVar("Sinogram", NDArray[np.generic], xr.DataArray)

CHANNELS_AT_ONCE = 32
DEGREES = ("", "deg", "degree", "degrees", "°")
RADIANS = ("rad", "radian", "radians")
UNEVEN = 0.25
"""Translations may lie this part of a step beside even ones, as those in files."""


class CenterWarning(UserWarning):
    """The estimates of the rotation axis do not agree."""


class ReconstructionPlan(Protocol):
    """What every method's plan does."""

    @property
    def beam(self) -> ParallelBeam:
        """The geometry."""
        ...

    def __call__(self, sinograms: NDArray[np.generic], /, *, threads: int = 1) -> NDArray[np.float32]:
        """Return the slices (y, x, channel) of (angle, translation, channel)."""
        ...


def build_plan(beam: ParallelBeam, method: Method = "gridding", **options: Any) -> ReconstructionPlan:
    """Return the plan of a method.

    Parameters
    ----------
    beam : ParallelBeam
    method : {"gridding", "fbp", "sirt", "mlem"}
    **options
        Those of `GriddingPlan.build`, `BackprojectionPlan.build`, `SirtPlan.build` or `MlemPlan.build`; None: its
        default.

    Raises
    ------
    ParameterError
        If the method is unknown or does not have an option.
    """
    builders = {"gridding": GriddingPlan, "fbp": BackprojectionPlan, "sirt": SirtPlan, "mlem": MlemPlan}
    if method not in builders:
        raise ParameterError(
            f"There is no reconstruction method {method!r}.", f"Methods: {', '.join(get_args(Method))}."
        )
    given = {name: value for name, value in options.items() if value is not None}
    builder: Any = builders[method]
    unknown = set(given) - set(builder.build.__kwdefaults__)
    if unknown:
        raise ParameterError(
            f"{method} has no option {', '.join(sorted(unknown))}.",
            f"Its options: {', '.join(builder.build.__kwdefaults__)}.",
        )
    plan: ReconstructionPlan = builder.build(beam, **given)
    return plan


def variance_plan(plan: ReconstructionPlan) -> BackprojectionVariance | GriddingVariance:
    """Return the plan that maps variances of samples to variances of the slices of `plan`.

    Raises
    ------
    ParameterError
        For a method that is not linear.
    """
    if isinstance(plan, GriddingPlan):
        return GriddingVariance(plan)
    if isinstance(plan, BackprojectionPlan):
        return BackprojectionVariance(plan)
    raise ParameterError(
        "The uncertainty of an iterative reconstruction is not known: SIRT and MLEM are not linear in the data.",
        "Use gridding or fbp, or repeat the reconstruction with simulated noise.",
    )


def reconstruct(
    sinogram: Sinogram,
    angles: ArrayLike | None = None,
    center: float | Literal["auto"] | CenterEstimate | None = "auto",
    method: Method = "gridding",
    *,
    pixel_size: float | None = None,
    size: int | None = None,
    allow_missing_wedge: bool = False,
    threads: int | None = None,
    **options: Any,
) -> Sinogram:
    """Reconstruct slices from sinograms of a parallel beam.

    Parameters
    ----------
    sinogram : ndarray (angle, translation[, channel...]) or DataArray with the dims angle and translation
        Only quantities that add up along the ray: intensity, peak area, absorption (-log transmission). Projections
        that are NaN throughout are left out.
    angles : array_like (angle,), optional
        Rotation angles in degrees, in any order; in rad if it is a DataArray whose `units` say so. By default the
        DataArray's coordinate `angle`.
    center : float, "auto", CenterEstimate or None
        Rotation axis in pixels from the first translation, as the array stands; None for the middle, (n - 1) / 2.
    method : {"gridding", "fbp", "sirt", "mlem"}
        "gridding" is the fastest and most exact; "sirt" and "mlem" bear masks and few angles.
    pixel_size : float, optional
        Distance of two translations; the result is per this unit of length. By default that of the
        DataArray's coordinate `translation`, else 1: the result is per pixel.
    size : int, optional
        Rows and columns of the slice, by default as many as there are translations.
    allow_missing_wedge : bool
        Accept angles that cover less than 150 degrees.
    threads : int, optional
        By default friedel's number of threads. The result is the same for any.
    **options
        Of the method: `filter`, `cutoff`, `padding` (gridding, fbp); `width`, `oversampling` (gridding);
        `iterations`, `tolerance`, `mask`, `support` (sirt, mlem), `non_negative` (sirt). See `build_plan`.

    Returns
    -------
    ndarray (y, x[, channel...]) float32 or DataArray
        The slice is centred on the axis, x grows with the translation. A DataArray keeps its other dims; y and x
        replace angle and translation.

    Raises
    ------
    DataError
        If shapes differ, angles cover too little or are in an unknown unit, translations are not evenly spaced or
        samples are not finite.
    ParameterError
        If the method or an option is unknown.

    Warns
    -----
    CenterWarning
        If the estimates of the rotation axis do not agree.
    """
    result: Sinogram = _apply(
        sinogram, angles, center, method, pixel_size, size, allow_missing_wedge, threads, options, errors=False
    )
    return result


def reconstruct_errors(
    errors: Sinogram,
    angles: ArrayLike | None = None,
    center: float | CenterEstimate | None = None,
    method: Method = "gridding",
    *,
    pixel_size: float | None = None,
    size: int | None = None,
    allow_missing_wedge: bool = False,
    threads: int | None = None,
    **options: Any,
) -> Sinogram:
    """Return the standard deviation of each pixel from that of the samples, which are taken as independent.

    Parameters
    ----------
    errors : ndarray or DataArray
        One standard deviation of each sample; otherwise as for `reconstruct`.
    center : float, CenterEstimate or None
        As used for the slice; there is no "auto", the errors do not know the axis.

    Raises
    ------
    ParameterError
        For SIRT and MLEM, which are not linear in the data, and for center "auto".
    """
    if isinstance(center, str):
        raise ParameterError(
            "The centre of rotation cannot be found from errors.", "Give the one that was used for the slice."
        )
    result: Sinogram = _apply(
        errors, angles, center, method, pixel_size, size, allow_missing_wedge, threads, options, errors=True
    )
    return result


def _apply(
    sinogram: Any,
    angles: ArrayLike | None,
    center: Any,
    method: Method,
    pixel_size: float | None,
    size: int | None,
    allow_missing_wedge: bool,
    threads: int | None,
    options: dict[str, Any],
    errors: bool,
) -> Any:
    array = _labelled(sinogram)
    step = translation_step(array)
    # The slice's x grows with the translation: a scan that ran backwards is turned round, and so is its axis.
    backwards = step is not None and step < 0
    if backwards:
        array = array.isel(translation=slice(None, None, -1))
    degrees = angles_in_degrees(array.coords["angle"] if angles is None and "angle" in array.coords else angles)
    values = array.transpose("angle", "translation", ...).values
    if degrees.shape != values.shape[:1]:
        raise DataError(
            f"There are {degrees.size} angles for {values.shape[0]} projections.",
            "Give one angle for each row of the sinogram.",
        )
    failed = failed_projections(values)
    given = center.value if isinstance(center, CenterEstimate) else center
    if backwards and isinstance(given, (int, float, np.number)):
        given = values.shape[1] - 1 - float(given)
    position = resolve_center(given, values, degrees)
    beam = ParallelBeam.build(
        degrees,
        values.shape[1],
        center=position,
        size=size,
        pixel_size=pixel_size or abs(step or 1.0),
        excluded=failed,
        allow_missing_wedge=allow_missing_wedge,
    )
    plan = build_plan(beam, method, **options)
    if errors:
        slices = np.sqrt(apply_plan(variance_plan(plan), np.square(values), threads))
    else:
        slices = apply_plan(plan, values, threads)
    if not isinstance(sinogram, xr.DataArray):
        return slices
    axis = values.shape[1] - 1 - beam.center if backwards else beam.center
    return _as_slices(slices, array, beam, axis, method)


def apply_plan(
    plan: ReconstructionPlan, values: NDArray[np.generic], threads: int | None = None
) -> NDArray[np.float32]:
    """Apply `plan` to (angle, translation[, channel...]) in blocks of channels, over threads: (y, x[, channel...])."""
    flat = values.reshape(*values.shape[:2], -1)
    n, n_threads = flat.shape[2], threads or thread_count()
    slices = np.empty((plan.beam.size, plan.beam.size, n), np.float32)
    starts = range(0, n, CHANNELS_AT_ONCE)
    inner = max(1, n_threads // max(len(starts), 1))

    def work(start: int) -> None:
        block = slice(start, start + CHANNELS_AT_ONCE)
        slices[..., block] = plan(flat[..., block], threads=inner)

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, starts))
    return slices.reshape(plan.beam.size, plan.beam.size, *values.shape[2:])


def resolve_center(
    center: float | str | CenterEstimate | None, values: NDArray[np.generic], angles_degrees: NDArray[np.float64]
) -> float | None:
    """Return the axis in pixels; "auto" estimates it from all channels together.

    Warns
    -----
    CenterWarning
        If the estimates do not agree.
    """
    if isinstance(center, CenterEstimate):
        return center.value
    if not isinstance(center, str):
        return center
    if center != "auto":
        raise ParameterError(f"The centre of rotation is {center!r}.", 'Give a number of pixels or "auto".')
    found = find_center(values, angles_degrees)
    if not found.agreed:
        warnings.warn(found.message, CenterWarning, stacklevel=4)
    return found.value


def angles_in_degrees(angles: Any) -> NDArray[np.float64]:
    """Return rotation angles in degrees; plain arrays are in degrees, DataArrays in what their `units` say.

    Raises
    ------
    DataError
        If there are none, or they are in another unit.
    """
    if angles is None:
        raise DataError("The rotation angles are not known.", "Give `angles` in degrees, or a coordinate named angle.")
    units = str(angles.attrs.get("units", "deg")) if isinstance(angles, xr.DataArray) else "deg"
    known = units.strip().lower()
    if known not in DEGREES + RADIANS:
        raise DataError(
            f"The rotation angles are in {units!r}, which is not known here.", "Give them in degrees (deg) or rad."
        )
    values = np.asarray(angles, float)
    return np.rad2deg(values) if known in RADIANS else values


def translation_step(array: xr.DataArray) -> float | None:
    """Return the step of the coordinate `translation` in its unit, negative if it descends; None without one.

    Raises
    ------
    DataError
        If the translations are not evenly spaced.
    """
    if "translation" not in array.coords or array.sizes["translation"] < 2:
        return None
    positions = array.coords["translation"].values.astype(float)
    even = np.linspace(positions[0], positions[-1], len(positions))
    step = float(even[1] - even[0])
    worst = float(np.abs(positions - even).max())
    if not worst < UNEVEN * abs(step):
        raise DataError(
            f"The translations are not evenly spaced: up to {worst:.4g} off a step of {step:.4g}.",
            'Sort them (.sortby("translation")), and interpolate the sinogram on even ones.',
        )
    return step


def _labelled(sinogram: Any) -> xr.DataArray:
    if isinstance(sinogram, xr.DataArray):
        missing = {"angle", "translation"} - set(sinogram.dims)
        if missing:
            raise DataError(f"The sinogram has the dims {sinogram.dims}; {' and '.join(sorted(missing))} are missing.")
        return sinogram
    values = np.asarray(sinogram)
    if values.ndim < 2:
        raise DataError(
            f"The sinogram has the shape {values.shape}.",
            "It must be (angle, translation) or (angle, translation, channel).",
        )
    return xr.DataArray(values, dims=("angle", "translation", *(f"channel_{i}" for i in range(values.ndim - 2))))


def _as_slices(
    slices: NDArray[np.float32], sinogram: xr.DataArray, beam: ParallelBeam, center: float, method: str
) -> xr.DataArray:
    """Label the slices: y and x from the rotation axis, in the unit of the translations; other dims stay."""
    others = [dim for dim in sinogram.dims if dim not in ("angle", "translation")]
    unit = sinogram.coords["translation"].attrs.get("units") if "translation" in sinogram.coords else None
    coords: dict[Any, Any] = {
        name: value for name, value in sinogram.coords.items() if not {"angle", "translation"} & set(value.dims)
    }
    coords |= slice_coordinates(beam, unit or "pixel")
    result = xr.DataArray(
        slices,
        dims=("y", "x", *others),
        coords=coords,
        name=sinogram.name,
        attrs={
            **sinogram.attrs,
            "units": slice_units(sinogram.attrs.get("units", ""), unit or "pixel"),
            "center_pixels": center,
            "method": method,
        },
    )
    leading = [dim for dim in sinogram.dims[: sinogram.dims.index("angle")] if dim not in ("angle", "translation")]
    return result.transpose(*leading, "y", "x", ...)


def slice_coordinates(beam: ParallelBeam, units: str) -> dict[str, xr.Variable]:
    """Return the coordinates y and x of a slice: distances from the rotation axis, in the unit of the translations."""
    position = (np.arange(beam.size) - (beam.size - 1) / 2) * beam.pixel_size
    return {name: coordinate(name, position, units, f"Distance from the rotation axis, {name}") for name in ("y", "x")}


def slice_units(units: str, length: str) -> str:
    """Return the units of what adds up to `units` along a ray measured in `length`."""
    return f"{units}/{length}" if units and units != "1" else f"1/{length}"
