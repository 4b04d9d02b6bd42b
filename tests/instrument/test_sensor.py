"""Efficiency and parallax of a sensor against what the integrals over its depth give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from friedel.core.errors import GeometryError, ParameterError
from friedel.core.units import wavelength_from_energy
from friedel.instrument import Detector, Geometry, Sensor
from friedel.instrument.sensor import mean_displacement, peak_displacement
from friedel.matter import material

WAVELENGTH = wavelength_from_energy(40.0)
ANGLES = np.deg2rad([0.0, 1.0, 15.0, 40.0, 65.0, 89.0])


def test_efficiency_is_what_the_path_absorbs():
    sensor = Sensor("CdTe", 750e-6)
    mu = material("CdTe").attenuation(WAVELENGTH)
    for angle in ANGLES[:-1]:
        absorbed, _ = quad(lambda s: mu * np.exp(-mu * s), 0, 750e-6 / np.cos(angle))
        assert sensor.efficiency(np.cos(angle), WAVELENGTH) == pytest.approx(absorbed, rel=1e-9)
    assert Sensor("CdTe").efficiency([1.0, 0.5], WAVELENGTH).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("thickness", [1e-7, 5e-5, 320e-6, 1e-2, np.inf])
def test_mean_displacement_is_the_mean_over_the_depth(thickness):
    mu = 2e4
    for angle in ANGLES[:-1]:
        end = min(thickness / np.cos(angle), 60 / mu)
        weight, _ = quad(lambda s: np.exp(-mu * s), 0, end, epsabs=0)
        moment, _ = quad(lambda s, a=angle: s * np.sin(a) * np.exp(-mu * s), 0, end, epsabs=0)
        assert mean_displacement(angle, mu, thickness) == pytest.approx(moment / weight, rel=1e-6, abs=1e-20)


def test_limits_of_thick_and_thin_sensors():
    np.testing.assert_allclose(mean_displacement(ANGLES, 1e4), np.sin(ANGLES) / 1e4, rtol=1e-12)
    np.testing.assert_allclose(mean_displacement(ANGLES, 1e4, 1e-9), 0.5e-9 * np.tan(ANGLES), rtol=1e-3)


@given(st.floats(0, 1.57), st.floats(1e2, 1e6), st.floats(1e-6, 1e-2))
def test_thin_sensors_displace_less_than_thick_ones(angle, mu, thickness):
    assert 0 <= mean_displacement(angle, mu, thickness) <= mean_displacement(angle, mu) * (1 + 1e-12)


@pytest.mark.parametrize("profile", ["gaussian", "circle"])
@pytest.mark.parametrize(("mu", "thickness", "width"), [(5e3, 4.5e-4, 3e-4), (2e4, 1e-3, 1e-4), (5e3, 4.5e-4, 2e-5)])
def test_the_maximum_of_the_convolution(profile, mu, thickness, width):
    """By brute force on a grid."""
    angle = 0.6
    step = 1e-7
    decay = np.exp(-mu / np.sin(angle) * np.arange(0, thickness * np.tan(angle), step))
    wide = width / np.cos(angle)
    x = np.arange(-3 * wide, 3 * wide, step)
    circle = np.sqrt(np.maximum(1 - (2 * x / wide) ** 2, 0))
    beam = np.exp(-4 * np.log(2) * (x / wide) ** 2) if profile == "gaussian" else circle
    convolved = np.convolve(beam, decay)
    expected = x[0] + step * np.argmax(convolved)
    assert peak_displacement(angle, mu, thickness, width, profile) == pytest.approx(expected, abs=2 * step)


def test_a_square_beam_holds_what_it_can():
    angle, mu, thickness = 0.5, 3e3, 3e-4
    projected = thickness * np.tan(angle)
    narrow, wide = projected / 4, projected * 4
    assert peak_displacement(angle, mu, thickness, narrow, "square") == pytest.approx(narrow / np.cos(angle) / 2)
    assert peak_displacement(angle, mu, thickness, wide, "square") == pytest.approx(projected / 2)


@pytest.mark.parametrize(("width", "profile"), [(1e-4, "triangle"), (0.0, "gaussian"), (np.nan, "square")])
def test_beams_that_are_none(width, profile):
    with pytest.raises(ParameterError):
        peak_displacement(0.1, 1e4, 1e-3, width, profile)


@pytest.mark.parametrize(
    ("text", "sensor"),
    [
        ("CdTe,750um", Sensor("CdTe", 750e-6)),
        ("silicon, 0.45 mm", Sensor("Si", 0.45e-3)),
        ("Gd2O2S", Sensor("Gd2O2S")),
        ("PbI2,5e-4,6.16", Sensor("PbI2", 5e-4, 6.16)),
    ],
)
def test_sensors_as_text(text, sensor):
    assert Sensor.parse(text) == sensor


@pytest.mark.parametrize("text", ["", "Unobtainium,1mm", "Si,thick", "Si,1mm,heavy", "Si,-1mm", "Si,1,2,3"])
def test_text_that_is_no_sensor(text):
    with pytest.raises(ParameterError):
        Sensor.parse(text)


def test_a_sensor_without_thickness_in_numbers():
    with pytest.raises(GeometryError, match="thick"):
        Sensor("Si", 0.0)


def geometry(parallax: bool, **changes: object) -> Geometry:
    detector = Detector("Detector", (40, 60), 1e-3, 1e-3, sensor=Sensor("Si", 450e-6))
    place = {"distance": 0.03, "poni1": 0.02, "poni2": 0.025, "rot1": 0.1, "rot2": -0.2, "rot3": 0.4} | changes
    return Geometry(detector, wavelength=WAVELENGTH, parallax=parallax, **place)


def test_parallax_moves_pixels_towards_the_poni_by_the_displacement():
    """A ray that enters at r' is seen at r' + Δr(r'): the inverse of the inverse."""
    seen, moved = geometry(False), geometry(True)
    p1, p2 = seen.detector.row_centers(), seen.detector.column_centers()
    back = np.linalg.inv(seen.rotation())
    here, there = (np.einsum("ij,jkl->ikl", back, np.array(g.position(p1, p2))) for g in (seen, moved))
    r, entered = np.hypot(here[0], here[1]), np.hypot(there[0], there[1])
    np.testing.assert_allclose(there[2], here[2], rtol=1e-12)
    np.testing.assert_allclose(there[0] * here[1], there[1] * here[0], rtol=1e-9, atol=1e-18)
    shift = moved.detector.sensor.displacement(np.arctan2(entered, 0.03), WAVELENGTH)
    np.testing.assert_allclose(entered + shift, r, rtol=1e-9)
    assert (r - entered).max() > 1e-4


def test_the_pixel_of_the_poni_stays():
    one = Detector("Detector", (3, 3), 1e-3, 1e-3, sensor=Sensor("CdTe", 1e-3))
    centred = Geometry(one, 0.1, 1.5e-3, 1.5e-3, wavelength=WAVELENGTH, parallax=True)
    assert centred.center_array("r_m")[1, 1] == 0.0


@pytest.mark.parametrize("changes", [{"wavelength": None}, {"detector": Detector.from_shape((3, 3), 1e-3)}])
def test_parallax_needs_sensor_and_wavelength(changes):
    from dataclasses import replace

    with pytest.raises(GeometryError, match="parallax"):
        replace(geometry(True), **changes)
