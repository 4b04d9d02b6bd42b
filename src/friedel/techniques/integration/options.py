"""The options of a map, by name and type, for those who pass them on to `RadialMap.build`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, TypedDict, get_args

from numpy.typing import ArrayLike

from friedel.core.errors import ParameterError
from friedel.core.units import RadialUnit
from friedel.instrument.radial import radial_scale

from .pixels import Discontinuity, Splitting

ErrorModel = Literal["none", "poisson", "azimuthal", "variance"]
Negative = Literal["refuse", "keep", "mask"]

CHOICES: dict[str, Any] = {
    "splitting": Splitting,
    "error_model": ErrorModel,
    "negative": Negative,
    "discontinuity": Discontinuity,
}


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


def check_options(options: Mapping[str, Any]) -> None:
    """Check the names of options, and the values of those that offer a choice.

    Raises
    ------
    ParameterError
        If there is no such option, or no such choice.
    """
    known = MapOptions.__annotations__
    for name, value in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"Did you mean {near[0]}?" if near else f"Options: {', '.join(known)}."
            raise ParameterError(f"There is no option {name}.", remedy)
        if name == "unit":
            radial_scale(value)
        allowed = get_args(CHOICES.get(name))
        if allowed and value not in allowed:
            raise ParameterError(f"{name} is {value!r}.", f"Choose one of {', '.join(allowed)}.")
