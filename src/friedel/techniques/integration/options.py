"""The options of a map, by name and type, for those who pass them on to `RadialMap.build`."""

from __future__ import annotations

from typing import TypedDict

from numpy.typing import ArrayLike

from friedel.core.units import RadialUnit

from .pixels import Discontinuity, Splitting
from .radial_map import ErrorModel, Negative


class MapOptions(TypedDict, total=False):
    """See `RadialMap.build`."""

    unit: RadialUnit
    splitting: Splitting
    mask: ArrayLike | None
    detector_mask: bool
    radial_range: tuple[float, float] | None
    azimuth_range: tuple[float, float] | None
    discontinuity: Discontinuity
    solid_angle: bool
    polarization: float | None
    polarization_axis: float
    flat: ArrayLike | None
    dark: ArrayLike | None
    dark_variance: ArrayLike | None
    dummy: float | None
    delta_dummy: float
    error_model: ErrorModel
    negative: Negative
    empty: float
    keep_sums: bool
    threads: int | None
