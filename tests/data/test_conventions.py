"""Datasets carry units, and one standard deviation beside each value."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from friedel.core.errors import DataError, ParameterError
from friedel.core.units import RADIAL_UNITS
from friedel.data import (
    azimuth_coordinate,
    check_dataset,
    coordinate,
    errors_name,
    errors_of,
    is_errors,
    radial_coordinate,
    radial_unit_of,
)


def patterns(**attributes):
    values = xr.Variable(("frame", "radial"), np.ones((2, 3)))
    return xr.Dataset(
        {"intensity": values, "intensity_errors": values},
        {"radial": radial_coordinate([1, 2, 3], "q_nm^-1")},
        attributes,
    )


@pytest.mark.parametrize("unit", RADIAL_UNITS)
def test_each_radial_unit_is_found_again(unit):
    dataset = xr.Dataset(coords={"radial": radial_coordinate([1.0, 2.0], unit)})
    assert radial_unit_of(dataset) == unit
    # Logarithms have none.
    assert bool(dataset.radial.attrs["units"]) != unit.startswith(("log", "arcsinh"))
    assert dataset.radial.attrs["long_name"]


def test_units_alone_are_enough():
    dataset = xr.Dataset(coords={"radial": coordinate("radial", [1.0], "1/nm")})
    assert radial_unit_of(dataset) == "q_nm^-1"


def test_unknown_units_are_told():
    with pytest.raises(ParameterError, match="q_furlong"):
        radial_coordinate([1], "q_furlong")
    with pytest.raises(DataError, match="furlong"):
        radial_unit_of(xr.Dataset(coords={"radial": coordinate("radial", [1.0], "furlong")}))
    with pytest.raises(DataError, match="no coordinate"):
        radial_unit_of(xr.Dataset())


def test_errors_stand_beside_their_value():
    dataset = patterns()
    assert errors_name("intensity") == "intensity_errors"
    assert errors_of(dataset, "intensity") is not None
    assert errors_of(dataset, "intensity_errors") is None
    assert is_errors("intensity_errors", dataset.data_vars)
    assert not is_errors("fit_errors", dataset.data_vars)


def test_a_dataset_that_keeps_the_conventions():
    check_dataset(patterns(default="intensity").assign_coords(azimuth=azimuth_coordinate([0.0, 1.0])))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda d: d.assign_coords(radial=[1, 2, 3]), "'radial' has no units"),
        (lambda d: d.assign(intensity_errors=d.intensity_errors.sum("frame")), "intensity_errors has the dimensions"),
        (lambda d: d.assign_attrs(default="counts"), "'counts', which is not there"),
        (lambda d: d.rename(intensity="a/b"), "holds a '/'"),
    ],
    ids=["units", "errors", "default", "name"],
)
def test_what_does_not_is_told(broken, message):
    with pytest.raises(DataError, match=message):
        check_dataset(broken(patterns()))
