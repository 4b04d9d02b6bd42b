"""Attenuation against the tables of NIST, and what is said about materials that are none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.errors import ParameterError
from friedel.core.units import wavelength_from_energy
from friedel.matter.attenuation import MATERIALS, OTHER_NAMES, Material, material

# μ/ρ in cm²/g at points of NIST's tables (Hubbell & Seltzer, NISTIR 5632), energies in keV.
NIST = [
    ("Si", 10, 33.89),
    ("Si", 20, 4.464),
    ("Ge", 20, 42.22),
    ("GaAs", 20, 42.58),
    ("CdTe", 40, 19.30),
    ("Gd2O2S", 80, 4.666),
    ("Al", 10, 26.23),
    ("Be", 10, 0.6466),
    ("Cu", 60, 1.593),
    ("Pb", 100, 5.549),
    ("air", 10, 5.120),
    ("water", 60, 0.2059),
]


@pytest.mark.parametrize(("name", "energy", "per_mass"), NIST)
def test_tabulated_points(name, energy, per_mass):
    found = material(name)
    expected = per_mass * found.density * 100.0
    assert found.attenuation(wavelength_from_energy(energy)) == pytest.approx(expected, rel=0.01)


def test_every_material_has_an_attenuation():
    for name in MATERIALS:
        assert material(name).attenuation(0.4e-10) > 0
    assert set(OTHER_NAMES.values()) <= set(MATERIALS)


def test_names_in_any_case_and_other_names():
    assert material("cdte") is material(" CdTe ") is MATERIALS["CdTe"]
    assert material("CZT") is MATERIALS["CdZnTe"]


def test_a_formula_with_its_density():
    found = material("PbI2", 6.16)
    assert found == Material("PbI2", "PbI2", 6.16)
    assert material("Si", 2.0).attenuation(1e-10) == pytest.approx(material("Si").attenuation(1e-10) * 2.0 / 2.329)


@pytest.mark.parametrize(
    ("name", "density", "message"),
    [
        ("PbI2", None, "density"),
        ("mylarr", None, "neither"),
        ("", None, "neither"),
        ("Si", -1.0, "positive"),
        ("Xx2", 1.0, "neither"),
    ],
)
def test_what_is_no_material(name, density, message):
    with pytest.raises(ParameterError, match=message):
        material(name, density)


@pytest.mark.parametrize("wavelength", [1e-5, 1e-13, 0.0, float("nan")])
def test_energies_without_a_table(wavelength):
    with pytest.raises(ParameterError, match="keV"):
        material("Si").attenuation(wavelength)


@given(st.floats(1e-6, 1e-2), st.floats(1e-6, 1e-2))
def test_layers_multiply(one, other):
    whole = material("Al").transmission(1e-10, one + other)
    parts = material("Al").transmission(1e-10, one) * material("Al").transmission(1e-10, other)
    np.testing.assert_allclose(whole, parts, rtol=1e-9, atol=1e-300)
