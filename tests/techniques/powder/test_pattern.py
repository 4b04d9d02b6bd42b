"""Powder patterns: intensity is conserved on every axis, rings are where Bragg's law puts them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.core.errors import GeometryError, ParameterError
from friedel.instrument import radial_from_two_theta
from friedel.matter import Crystal
from friedel.techniques.powder import Profile, powder_pattern, reflection_positions

WAVELENGTH = 0.2e-10
ANGLES = np.linspace(0.01, 12.0, 24000)


def test_the_area_of_a_peak_is_its_integrated_intensity():
    si = Crystal.named("Si")
    pattern = powder_pattern(si, ANGLES, "2th_deg", WAVELENGTH, profile=Profile(0.02, 0.0))
    rings = reflection_positions(si, "2th_deg", WAVELENGTH, (1.0, 11.0))
    for center, expected in list(zip(rings.radial, rings.intensity, strict=True))[:4]:
        near = abs(ANGLES - center) < 0.1
        assert np.radians(np.trapezoid(pattern[near], ANGLES[near])) == pytest.approx(expected, rel=1e-6)


def test_absolute_intensity_of_silicon_by_hand():
    # Warren's formula for Si 111 with F from the tables: 8 atoms, |F| = 8 f /√2.
    si = Crystal.named("Si")
    reflections = si.reflections(3.0)
    rings = reflection_positions(si, "2th_rad", WAVELENGTH, (0.001, 0.08))
    theta = np.arcsin(0.2 / (2 * 5.43118 / np.sqrt(3)))
    power_per_volume = 2.8179e-15**2 * WAVELENGTH**3 * 8 * reflections.structure_factor_squared[0]
    power_per_volume /= 4 * (5.43118e-10**3) ** 2 * np.sin(theta)
    assert rings.intensity[0] * 2 * np.pi * np.sin(2 * theta) == pytest.approx(power_per_volume, rel=1e-4)
    assert 55 < np.sqrt(reflections.structure_factor_squared[0]) < 62  # 59 electrons, e.g. Int. Tables


@given(st.sampled_from(["2th_rad", "q_nm^-1", "q_A^-1", "d_nm", "d_A", "r_mm"]), st.floats(0.0, 1.0))
@settings(max_examples=12)
def test_the_unit_of_the_axis_does_not_change_the_intensity(unit, mixing):
    angles = ANGLES[::16]
    axis = radial_from_two_theta(np.radians(angles), unit, WAVELENGTH, 0.5)
    profile = Profile(0.05, mixing)
    crystal = Crystal.named("CeO2")
    expected = powder_pattern(crystal, angles, "2th_deg", WAVELENGTH, profile=profile)
    found = powder_pattern(crystal, axis, unit, WAVELENGTH, profile=profile, distance=0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * expected.max())


@given(st.floats(0.005, 1.0), st.floats(0.0, 0.9))
def test_a_profile_has_unit_area_and_its_width(width, mixing):
    profile = Profile(width, mixing)
    half = np.radians(width) / 2
    assert profile(np.array([half]))[0] == pytest.approx(profile(np.array([0.0]))[0] / 2)
    offset = half * np.sinh(np.linspace(-15, 15, 20001))
    assert np.trapezoid(profile(offset), offset) == pytest.approx(1.0, rel=1e-5)


def test_reflections_that_coincide_are_one_ring():
    rings = reflection_positions(Crystal.named("Si"), "d_A", WAVELENGTH, (1.0, 1.2))
    assert rings.spacing == pytest.approx([5.43118 / np.sqrt(24), 5.43118 / np.sqrt(27)])
    assert rings.labels()[0] in {"242", "224", "422"}
    assert rings.radial == pytest.approx(rings.spacing)


def test_rings_follow_braggs_law_in_every_unit():
    rings = reflection_positions(Crystal.named("LaB6"), "q_A^-1", 1e-10, (0.1, 8.0))
    assert rings.radial == pytest.approx(2 * np.pi / rings.spacing)
    assert np.sin(rings.two_theta / 2) == pytest.approx(1 / (2 * rings.spacing))
    assert rings.spacing[0] == pytest.approx(4.156826)


def test_axis_beyond_the_reach_of_the_wavelength():
    pattern = powder_pattern(Crystal.named("Si"), [0.0, 2.0, 100.0], "q_A^-1", 1e-10)
    assert pattern[0] == 0
    assert pattern[2] == 0
    with pytest.raises(GeometryError, match="holds no scattering angle"):
        reflection_positions(Crystal.named("Si"), "q_A^-1", 1e-10, (0.0, 0.0))


def test_impossible_profiles_are_refused():
    with pytest.raises(ParameterError, match="width"):
        Profile(0.0)
    with pytest.raises(ParameterError, match="mixing"):
        Profile(0.1, 2.0)
