"""The phases' patterns come out on the measurement's axis, with the measurement's resolution."""

from __future__ import annotations

import numpy as np
import pytest

from friedel.core.errors import GeometryError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.matter import Crystal
from friedel.techniques.powder import Profile, powder_pattern
from friedel.workflows.xrdct.phases import compute_references

GEOMETRY = Geometry(Detector.named("Pilatus300k"), 0.2, 0.05, 0.04, wavelength=2e-11)
RADIAL = np.linspace(15.0, 60.0, 900)
UNIT = "q_nm^-1"


def mixture(width: float) -> np.ndarray:
    profile = Profile(width=width)
    return (
        sum(powder_pattern(Crystal.named(name), RADIAL, UNIT, 2e-11, profile=profile) for name in ("CeO2", "Si")) + 40
    )


@pytest.mark.parametrize("width", [0.05, 0.15])
def test_the_peak_width_is_found(width: float) -> None:
    found = compute_references(["CeO2", "Si"], mixture(width), RADIAL, UNIT, GEOMETRY, background_degree=3)
    assert found.peak_width == pytest.approx(width, rel=0.03)
    assert found.patterns.shape == (2, 900)
    np.testing.assert_allclose(found.patterns.max(axis=1), 1.0)


def test_reflections_are_at_their_places() -> None:
    found = compute_references(["CeO2"], mixture(0.1), RADIAL, UNIT, GEOMETRY, 3, peak_width=0.1)
    expected = 2 * np.pi * np.sqrt(3) / 0.5411651
    assert found.reflections[0][0] == pytest.approx(expected, rel=1e-3)
    assert found.labels[0][0].replace("-", "") == "111"


def test_no_wavelength() -> None:
    with pytest.raises(GeometryError, match="no wavelength"):
        compute_references(["CeO2"], mixture(0.1), RADIAL, UNIT, Geometry(Detector.named("Pilatus300k"), 0.2, 0, 0), 3)


def test_no_reflection_in_range() -> None:
    axis = np.linspace(1.0, 5.0, 900)
    with pytest.raises(ParameterError, match="phase Si has no reflection between 1 and 5"):
        compute_references(["Si"], np.ones(900), axis, UNIT, GEOMETRY, 3)
