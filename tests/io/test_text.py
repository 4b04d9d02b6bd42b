"""Patterns as columns of text."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.core.errors import DataError, FileError, ParameterError
from friedel.core.units import RADIAL_UNITS
from friedel.data import azimuth_coordinate, radial_coordinate, radial_unit_of
from friedel.io import read_pattern, write_pattern
from shared_data import shared


def pattern(unit="q_nm^-1", n=50, errors=True) -> xr.Dataset:
    data = {"intensity": ("radial", np.linspace(3, 9, n) ** 3)}
    if errors:
        data["intensity_errors"] = ("radial", np.linspace(1, 2, n))
    return xr.Dataset(data, {"radial": radial_coordinate(np.linspace(0.5, 30, n), unit)}, {"title": "CeO2 at 30 keV"})


@settings(max_examples=30, deadline=None)
@given(
    unit=st.sampled_from(RADIAL_UNITS), ending=st.sampled_from([".xy", ".xye", ".dat", ".chi"]), n=st.integers(2, 20)
)
def test_round_trip(unit, ending, n, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"pattern{ending}"
    written = pattern(unit, n)
    write_pattern(path, written)
    found = read_pattern(path)
    assert radial_unit_of(found) == unit
    assert found.attrs["title"] == "CeO2 at 30 keV"
    np.testing.assert_allclose(found.radial, written.radial, rtol=1e-9)
    np.testing.assert_allclose(found.intensity, written.intensity, rtol=1e-9)
    assert ("intensity_errors" in found) == (ending != ".chi")


@pytest.mark.parametrize("ending", [".xy", ".chi"])
@pytest.mark.parametrize("unit", ["qip_nm^-1", "formula: q**2; units: 1/nm^2; label: q squared", "formula: 2 * q"])
def test_other_units_are_known_again(unit, ending, tmp_path):
    write_pattern(tmp_path / f"pattern{ending}", pattern(unit))
    assert radial_unit_of(read_pattern(tmp_path / f"pattern{ending}")) == unit


@pytest.mark.parametrize("ending", [".xy", ".dat", ".chi"])
@pytest.mark.parametrize("unit", ["chi_deg", "chigi_rad"])
def test_a_profile_along_the_azimuth(unit, ending, tmp_path):
    profile = xr.Dataset({"intensity": ("azimuth", np.arange(6.0))})
    profile = profile.assign_coords(azimuth=azimuth_coordinate(np.linspace(-1, 1, 6), unit))
    write_pattern(tmp_path / f"profile{ending}", profile)
    found = read_pattern(tmp_path / f"profile{ending}")
    assert found.intensity.dims == ("azimuth",)
    assert found.azimuth.attrs["azimuth_unit"] == unit
    np.testing.assert_allclose(found.azimuth, profile.azimuth, rtol=1e-9)


def test_gsas(tmp_path):
    """80 characters a line, hundredths of a degree; bins without a value have no weight."""
    written = pattern("2th_deg", 20)
    written.intensity[3] = np.nan
    write_pattern(tmp_path / "a.fxye", written)
    lines = (tmp_path / "a.fxye").read_text().splitlines()
    assert {len(line) for line in lines} == {80}
    assert lines[1].split()[:6] == ["BANK", "1", "20", "20", "CONS", "50.000000"]
    assert lines[5].split()[1:] == ["0.000000000E+00", "0.000000000E+00"]
    found = read_pattern(tmp_path / "a.fxye")
    assert radial_unit_of(found) == "2th_deg"
    np.testing.assert_allclose(found.radial, written.radial, rtol=1e-9)
    np.testing.assert_allclose(found.intensity[4:], written.intensity[4:], rtol=1e-9)
    np.testing.assert_allclose(found.intensity_errors[4:], written.intensity_errors[4:], rtol=1e-9)
    for wrong, word in ((pattern("q_nm^-1"), "2θ"), (pattern("2th_deg", errors=False), "errors")):
        with pytest.raises(DataError, match=word):
            write_pattern(tmp_path / "b.fxye", wrong)


def test_columns_with_errors_need_errors(tmp_path):
    with pytest.raises(DataError, match=r"\.xye needs them"):
        write_pattern(tmp_path / "a.xye", pattern(errors=False))


def test_real_pattern():
    found = read_pattern(shared("diffraction", "golden_CeO2_Pilatus1M", "CeO2_Pilatus1M.xy"))
    assert found.sizes == {"radial": 1512}
    assert radial_unit_of(found) == "2th_deg"
    assert float(found.radial[0]) == pytest.approx(0.01019698551)


def test_fit2d_file_without_our_unit(tmp_path):
    (tmp_path / "a.chi").write_text("frame\n2-Theta Angle (Degrees)\nIntensity\n 3\n 1.0 10\n 2.0 20\n 3.0 30\n")
    found = read_pattern(tmp_path / "a.chi")
    assert radial_unit_of(found) == "2th_deg"
    assert found.intensity.values.tolist() == [10, 20, 30]


def test_bad_input(tmp_path):
    (tmp_path / "a.xy").write_text("no numbers here\n")
    with pytest.raises(FileError, match="no columns of numbers"):
        read_pattern(tmp_path / "a.xy")
    (tmp_path / "a.xy").write_text("1 2\n3 4\nbeam lost\n5 6\n")
    with pytest.raises(FileError, match="'beam lost' holds no numbers"):
        read_pattern(tmp_path / "a.xy")
    with pytest.raises(ParameterError, match=r"\.pdf"):
        write_pattern(tmp_path / "a.pdf", pattern())
    with pytest.raises(DataError, match="dimension radial"):
        write_pattern(tmp_path / "a.xy", pattern().expand_dims("frame"))
