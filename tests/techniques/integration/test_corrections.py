"""What a count stands for, against the answers of analysis."""

from dataclasses import replace

import numpy as np
import pytest

from friedel.core.errors import GeometryError, ParameterError
from friedel.core.units import wavelength_from_energy
from friedel.instrument import Absorber, Detector, Geometry, Sensor
from friedel.matter import material
from friedel.techniques.integration import RadialMap

WAVELENGTH = wavelength_from_energy(30.0)
CENTRED = Geometry(Detector.from_shape((101, 101), 1e-3), 0.06, 0.0505, 0.0505, wavelength=WAVELENGTH)
TWO_THETA = {"unit": "2th_rad", "npt": 40, "radial_range": (0.02, 0.6), "splitting": "none"}


def pattern(frame, geometry=CENTRED, **options):
    """The pattern of a frame, corrected by nothing but the options."""
    radial_map = RadialMap.build(geometry, **(TWO_THETA | {"solid_angle": False} | options))
    return radial_map.radial.centers, radial_map(frame[None]).intensity[0]


def test_efficiency_of_a_sensor():
    sensor = Sensor("CdTe", 1e-4)
    depth = material("CdTe").attenuation(WAVELENGTH) * 1e-4
    cosine = CENTRED.incidence_cosine()
    seen = 100.0 * (1 - np.exp(-depth / cosine)) / (1 - np.exp(-depth))
    _, found = pattern(seen, sensor=sensor, efficiency=True)
    np.testing.assert_allclose(found, 100.0, rtol=1e-6)
    angle, uncorrected = pattern(seen, sensor=sensor)
    expected = 100.0 * (1 - np.exp(-depth / np.cos(angle))) / (1 - np.exp(-depth))
    np.testing.assert_allclose(uncorrected, expected, rtol=3e-3)
    assert uncorrected[-1] > 1.05 * uncorrected[0]


@pytest.mark.parametrize("plane", ["detector", "beam"])
def test_transmission_of_air_and_a_window(plane):
    layers = (Absorber("air", 5.0, plane=plane), Absorber("Al", 1e-4, plane=plane))
    depth = sum(material(a.material).attenuation(WAVELENGTH) * a.thickness for a in layers)
    tilted = replace(CENTRED, rot1=0.2, rot2=0.1)
    cosine = tilted.incidence_cosine() if plane == "detector" else tilted.scattering_cosine()
    seen = 50.0 * np.exp(-depth * (1 / cosine - 1))
    _, found = pattern(seen, tilted, absorber=layers)
    np.testing.assert_allclose(found[np.isfinite(found)], 50.0, rtol=1e-6)


def test_absorbers_as_text_and_alone():
    frame = np.ones((101, 101))
    one, two = pattern(frame, absorber="Al,100um")[1], pattern(frame, absorber=[Absorber("Al", 1e-4)])[1]
    np.testing.assert_array_equal(one, two)


def test_corrections_multiply():
    sensor, layer = Sensor("Si", 4.5e-4), Absorber("kapton", 1e-3)
    flat = np.random.default_rng(1).uniform(0.5, 2, (101, 101))
    w = flat * CENTRED.solid_angle() * CENTRED.polarization(0.9) * layer.relative_transmission(
        CENTRED.incidence_cosine(), WAVELENGTH
    ) * sensor.efficiency(CENTRED.incidence_cosine(), WAVELENGTH) / sensor.efficiency(1.0, WAVELENGTH)  # fmt: skip
    _, found = pattern(
        7.0 * w, flat=flat, solid_angle=True, polarization=0.9, absorber=layer, sensor=sensor, efficiency=True
    )
    np.testing.assert_allclose(found, 7.0, rtol=1e-6)


def test_parallax_puts_rings_where_they_belong():
    """A ring of one angle, seen through a thick sensor, is put back on that angle."""
    sensor = Sensor("Si", 1e-3)
    moved = replace(CENTRED, detector=replace(CENTRED.detector, sensor=sensor), parallax=True)
    angle = 0.45
    ring = np.exp(-(((moved.center_array("2th_rad") - angle) / 0.015) ** 2))
    options = {"npt": 200, "splitting": "full"}
    for parallax, error in ((True, 1e-4), (None, 4e-3), (False, 4e-3)):
        radial, found = pattern(ring, sensor="Si,1mm", parallax=parallax, **options)
        mean = (radial * found).sum() / found.sum()
        assert abs(mean - angle) < error
        assert parallax or mean - angle > 1e-3
    radial, found = pattern(ring, moved, **options)
    assert (radial * found).sum() / found.sum() == pytest.approx(angle, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"efficiency": True}, GeometryError, "sensor"),
        ({"parallax": True}, GeometryError, "sensor"),
        ({"sensor": "Unobtainium,1mm"}, ParameterError, "Unobtainium"),
        ({"absorber": "air"}, ParameterError, "cannot be read"),
    ],
)
def test_what_cannot_be_corrected(options, error, message):
    with pytest.raises(error, match=message):
        RadialMap.build(CENTRED, **options)


@pytest.mark.parametrize("options", [{"efficiency": True, "sensor": "Si,1mm"}, {"absorber": "air,1m"}])
def test_attenuation_needs_a_wavelength(options):
    with pytest.raises(GeometryError, match="wavelength"):
        RadialMap.build(replace(CENTRED, wavelength=None), unit="2th_deg", **options)
