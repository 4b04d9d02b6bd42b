"""Radial units: each is a monotonic function of the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.errors import GeometryError, ParameterError
from friedel.core.units import RADIAL_UNITS
from friedel.instrument import radial_from_spacing, radial_from_two_theta, two_theta_from_radial
from friedel.instrument.radial import radial_from_position

WAVELENGTH = 1e-10
DISTANCE = 0.2


@given(st.floats(1e-6, 1.5), st.sampled_from(RADIAL_UNITS))
def test_every_unit_leads_back_to_the_same_angle(two_theta, unit):
    value = radial_from_two_theta(two_theta, unit, WAVELENGTH, DISTANCE)
    assert two_theta_from_radial(value, unit, WAVELENGTH, DISTANCE) == pytest.approx(two_theta, rel=1e-9)


@given(st.floats(1e-9, 3.1), st.floats(0.01, 10.0), st.sampled_from(RADIAL_UNITS[:6]))
def test_a_point_has_the_value_of_its_angle_at_any_length(two_theta, length, unit):
    radius, along = np.array(length * np.sin(two_theta)), np.array(length * np.cos(two_theta))
    expected = radial_from_two_theta(np.arctan2(radius, along), unit, WAVELENGTH)
    assert radial_from_position(radius, along, unit, WAVELENGTH) == pytest.approx(expected, rel=1e-12)


def test_known_values():
    # Si 111, d = 3.1356 Å, at 1 Å: Bragg's law by hand.
    assert radial_from_spacing(3.1356, "2th_deg", WAVELENGTH) == pytest.approx(2 * np.degrees(np.arcsin(1 / 6.2712)))
    assert radial_from_spacing(3.1356, "q_A^-1") == pytest.approx(2 * np.pi / 3.1356)
    assert radial_from_spacing(3.1356, "q_nm^-1") == pytest.approx(20 * np.pi / 3.1356)
    assert radial_from_spacing(3.1356, "d_nm") == pytest.approx(0.31356)
    assert radial_from_spacing(3.1356, "d_A") == pytest.approx(3.1356)


def test_what_no_angle_reaches_is_nan():
    assert np.isnan(radial_from_spacing(0.49, "2th_deg", WAVELENGTH))
    assert np.isnan(two_theta_from_radial(13.0, "q_A^-1", WAVELENGTH))


def test_missing_wavelength_and_distance_are_named():
    with pytest.raises(GeometryError, match=r"q_nm\^-1 needs the wavelength(.|\n)*Wavelength"):
        radial_from_two_theta(0.1, "q_nm^-1")
    with pytest.raises(GeometryError, match="2th_deg without the wavelength"):
        radial_from_spacing(3.0, "2th_deg")
    with pytest.raises(GeometryError, match="r_mm needs the distance"):
        radial_from_two_theta(0.1, "r_mm")


def test_unknown_unit_lists_the_known_ones():
    with pytest.raises(ParameterError, match=r"'s'(.|\n)*2th_deg, 2th_rad, q_nm\^-1"):
        radial_from_spacing(1.0, "s")
