import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.errors import ParameterError
from friedel.core.units import (
    QUANTITIES,
    RADIAL_UNITS,
    UNITS,
    energy_from_wavelength,
    unit_named,
    wavelength_from_energy,
)

PYFAI_NAMES = """
2th_rad 2th_deg q_nm^-1 q_A^-1 r_m r_mm d_m d_nm d_A d*2_nm^-2 d*2_A^-2 log10(q.m)_None log(q.nm)_None
log(1+q.nm)_None log(1+q.A)_None arcsinh(q.nm)_None arcsinh(q.A)_None qx_nm^-1 qy_nm^-1 scattering_angle_vert_rad
scattering_angle_horz_rad exit_angle_vert_rad exit_angle_horz_rad exit_angle_vert_deg exit_angle_horz_deg qxgi_nm^-1
qygi_nm^-1 qzgi_nm^-1 qip_nm^-1 qoop_nm^-1 qtot_nm^-1 qxgi_A^-1 qygi_A^-1 qzgi_A^-1 qip_A^-1 qoop_A^-1 qtot_A^-1
chi_rad chi_deg chigi_rad chigi_deg
""".split()  # noqa: SIM905


def test_copper_k_alpha() -> None:
    assert wavelength_from_energy(8.0478) == pytest.approx(1.5406e-10, rel=1e-4)


@given(st.floats(1e-3, 1e4))
def test_energy_and_wavelength_are_inverse(energy: float) -> None:
    assert energy_from_wavelength(wavelength_from_energy(energy)) == pytest.approx(energy, rel=1e-14)


@pytest.mark.parametrize("name", PYFAI_NAMES)
def test_the_names_of_pyfai_are_understood(name: str) -> None:
    assert unit_named(name).quantity in QUANTITIES


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_says_what_it_measures(name: str) -> None:
    unit = unit_named(name)
    assert unit.name == name
    assert unit.long_name
    assert bool(unit.units) != bool(unit.transform)
    assert unit.needs_wavelength == unit.name.startswith(("q", "d", "log", "arcsinh"))
    assert unit.period == pytest.approx({"chi_deg": 360, "chigi_deg": 360}.get(name, unit.period))


def test_radial_units_are_those_of_the_distance_from_the_beam() -> None:
    assert RADIAL_UNITS[:4] == ("2th_deg", "2th_rad", "q_nm^-1", "q_A^-1")
    assert "chi_deg" not in RADIAL_UNITS
    assert "qip_nm^-1" not in RADIAL_UNITS


def test_a_formula_is_a_unit() -> None:
    unit = unit_named("formula: q**2 ;label: q²; units: 1/nm^2")
    assert (unit.long_name, unit.units, unit.needs_wavelength) == ("q²", "1/nm^2", True)
    assert unit_named(unit.name) == unit
    assert unit_named("formula: two_theta").long_name == "two_theta"
    assert unit_named("formula: qip").sided
    assert unit_named("formula: exit_angle_vert").needs_sample


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("qip", "no unit 'qip'.\nDid you mean qip_nm^-1 or qip_A^-1?"),
        ("q_nm-1", "no unit 'q_nm-1'.\nDid you mean q_nm^-1"),
        ("log10(q)_nm", "no unit 'log10(q)_nm'.\nDid you mean log1p_q_nm or"),
        ("formula: energy", "'energy' at character 1 is not known"),
        ("formula: q; color: red", "goes on with 'color: red'"),
        ("formula:", "is empty"),
    ],
)
def test_what_is_no_unit_is_named(name: str, message: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)):
        unit_named(name)
