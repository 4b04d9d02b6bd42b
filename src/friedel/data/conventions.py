"""How friedel uses xarray: names of dimensions, units on every coordinate, one standard deviation beside the value."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from friedel.core.errors import DataError
from friedel.core.units import RADIAL_UNITS, UNITS, unit_named

Dimension = Literal["frame", "y", "x", "radial", "azimuth", "angle", "translation", "layer", "phase"]
"""frame: in the order of acquisition; y, x: rows and columns; radial, azimuth: bins of a pattern or cake; angle,
translation: motors of a tomographic scan; layer: slices along the rotation axis; phase: crystalline phases."""

ERRORS_SUFFIX = "_errors"
UNITS_NEEDED = ("radial", "azimuth", "angle", "translation", "layer")
"""Coordinates that mean nothing without units."""


def errors_name(name: Hashable) -> str:
    """Return the name of the standard deviation of variable `name`."""
    return f"{name}{ERRORS_SUFFIX}"


def is_errors(name: Hashable, names: Iterable[Hashable]) -> bool:
    """Whether `name` is the standard deviation of another of `names`."""
    text = str(name)
    return text.endswith(ERRORS_SUFFIX) and text.removesuffix(ERRORS_SUFFIX) in {str(other) for other in names}


def errors_of(dataset: xr.Dataset, name: Hashable) -> xr.DataArray | None:
    """Return one standard deviation of variable `name`, or None if the Dataset has none."""
    return dataset.get(errors_name(name))


def coordinate(dim: str, values: ArrayLike, units: str, long_name: str = "", **attributes: Any) -> xr.Variable:
    """Return a coordinate along `dim` with its units.

    Parameters
    ----------
    dim : str
        Name of the dimension.
    values : array_like, shape (n,)
    units : str
        In UDUNITS spelling ("1/nm", "deg", "mm"); "" for a pure number.
    long_name : str
        What to write at the axis.
    **attributes
        Further attributes.
    """
    attrs = {"units": units} | ({"long_name": long_name} if long_name else {}) | attributes
    return xr.Variable((dim,), np.asarray(values), attrs)


def radial_coordinate(values: ArrayLike, unit: str) -> xr.Variable:
    """Return the coordinate ``radial`` in one of friedel's units.

    Parameters
    ----------
    values : array_like, shape (n,)
        Bin centres as shown, in `unit`.
    unit : str
        See `friedel.core.units.unit_named`.

    Raises
    ------
    ParameterError
        If the unit is unknown.
    """
    known = unit_named(unit)
    return coordinate("radial", values, known.units, known.long_name, radial_unit=known.name)


def azimuth_coordinate(values: ArrayLike, unit: str = "chi_deg") -> xr.Variable:
    """Return the coordinate ``azimuth``: bin centres of the second axis of a cake, in one of friedel's units.

    By default χ in degrees, 0 along the columns, growing towards the rows.
    """
    known = unit_named(unit)
    return coordinate("azimuth", values, known.units, known.long_name, azimuth_unit=known.name)


def radial_unit_of(dataset: xr.Dataset | xr.DataArray) -> str:
    """Return the radial unit ("q_nm^-1", ...) of the coordinate ``radial``.

    Raises
    ------
    DataError
        If there is no such coordinate, or its units say nothing known.
    """
    if "radial" not in dataset.coords:
        raise DataError("The data have no coordinate 'radial'.", "Give integrated patterns.")
    attributes = dataset.coords["radial"].attrs
    named = attributes.get("radial_unit")
    if named is not None:
        return unit_named(str(named)).name
    shown, name = str(attributes.get("units", "")), str(attributes.get("long_name", "")).lower()
    matches = [unit for unit in RADIAL_UNITS if UNITS[unit].units == shown and not UNITS[unit].transform]
    if len(matches) == 1:
        return matches[0]
    raise DataError(
        f"The radial coordinate has units {shown!r} ({name or 'no long_name'}), which name no radial unit.",
        f"Set its attribute radial_unit to one of {', '.join(RADIAL_UNITS)}.",
    )


def check_dataset(dataset: xr.Dataset) -> None:
    """Make sure that a Dataset keeps the conventions.

    Raises
    ------
    DataError
        Naming the first variable or coordinate that does not: a coordinate without units, a standard deviation with
        other dimensions than its value, a `default` that is no variable, a name with "/".
    """
    for name, variable in dataset.variables.items():
        if "/" in str(name):
            raise DataError(f"The name {name!r} holds a '/'.", "Rename it: names become groups in files.")
        is_axis = name in dataset.coords and variable.ndim == 1
        if is_axis and name in UNITS_NEEDED and "units" not in variable.attrs:
            raise DataError(f"The coordinate {name!r} has no units.", f'Set coords["{name}"].attrs["units"].')
    for name in dataset.data_vars:
        errors = errors_of(dataset, name)
        if errors is None:
            continue
        if errors.dims != dataset[name].dims:
            raise DataError(
                f"{errors.name} has the dimensions {errors.dims}, {name} has {dataset[name].dims}.",
                "Give one standard deviation for each value.",
            )
    default = dataset.attrs.get("default")
    if default is not None and default not in dataset.data_vars:
        raise DataError(
            f"The default variable is {default!r}, which is not there.",
            f"Choose one of {', '.join(map(str, dataset.data_vars))}.",
        )
