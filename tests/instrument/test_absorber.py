"""Transmission of layers against their path length."""

import numpy as np
import pytest

from friedel.core.errors import ParameterError
from friedel.instrument import Absorber, Detector, Geometry
from friedel.matter import material

WAVELENGTH = 1e-10


@pytest.mark.parametrize(
    ("text", "absorber"),
    [
        ("kapton,50um", Absorber("kapton", 50e-6)),
        (" Air , 0.3 m ", Absorber("air", 0.3)),
        ("Fe2O3,10um,5.24", Absorber("Fe2O3", 10e-6, 5.24)),
        ("Be,1mm@beam", Absorber("Be", 1e-3, plane="beam")),
        ("Be,1mm@detector", Absorber("Be", 1e-3)),
    ],
)
def test_absorbers_as_text(text, absorber):
    assert Absorber.parse(text) == absorber


@pytest.mark.parametrize(
    "text", ["", "air", "Unobtainium,1mm", "Be,1 parsec", "Be,1mm@moon", "Be,-1mm", "Fe2O3,1um", "Be,1um,heavy"]
)
def test_text_that_is_no_absorber(text):
    with pytest.raises(ParameterError):
        Absorber.parse(text)


@pytest.mark.parametrize("values", [{"thickness": 0.0}, {"thickness": 1e-3, "plane": "moon"}])
def test_layers_that_are_none(values):
    with pytest.raises(ParameterError):
        Absorber("Be", **values)


def test_transmission_follows_the_path():
    depth = material("Al").attenuation(WAVELENGTH) * 1e-4
    found = Absorber("Al", 1e-4).relative_transmission([1.0, 0.5, 0.0, -0.5], WAVELENGTH)
    np.testing.assert_allclose(found, [1.0, np.exp(-depth), 0.0, 0.0])


def test_angles_of_both_kinds_of_layer():
    """Of a tilted detector: α is measured from the PONI, 2θ from the beam."""
    geometry = Geometry(Detector.from_shape((20, 30), 1e-3), 0.05, 0.01, 0.015, 0.2, -0.3, 0.1)
    np.testing.assert_allclose(geometry.scattering_cosine(), np.cos(geometry.center_array("2th_rad")), rtol=1e-12)
    np.testing.assert_allclose(geometry.incidence_cosine() ** 3, geometry.solid_angle(), rtol=1e-12)
