"""Calibrants: which rings there are, where, and how bright."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.errors import ParameterError
from friedel.instrument import Calibrant

CU_K_ALPHA = 1.5406e-10


def test_rings_follow_braggs_law() -> None:
    rings = Calibrant.named("LaB6").rings(CU_K_ALPHA)
    assert rings.spacing[:3] == pytest.approx(4.156826 / np.sqrt([1, 2, 3]), rel=1e-12)
    assert 2 * rings.spacing * np.sin(rings.two_theta / 2) == pytest.approx(np.full(len(rings), 1.5406), rel=1e-12)
    assert (np.diff(rings.two_theta) > 0).all()
    assert rings.complete


def test_reflections_that_coincide_are_one_ring() -> None:
    rings = Calibrant.named("Si").rings(CU_K_ALPHA)
    assert rings.labels[:4] == ("1 1 1", "2 2 0", "3 1 1", "4 0 0")
    assert "5 1 1, 3 3 3" in rings.labels
    assert rings.multiplicity[rings.labels.index("5 1 1, 3 3 3")] == 32


def test_intensities_are_those_of_powder_diffraction_tables() -> None:
    # Certificates of NIST SRM 640e and 660c and powder tables, for Cu Kα and thus an unpolarized beam.
    tables = {"Si": [100, 64.3, 37.3, 9.6], "LaB6": [64.3, 100, 41.5, 20.2], "CeO2": [100, 27.7, 48.6, 35.7]}
    for name, expected in tables.items():
        rings = Calibrant.named(name).rings(CU_K_ALPHA)
        seen = (rings.intensity * (1 + np.cos(rings.two_theta) ** 2))[:4]
        assert 100 * seen / seen.max() == pytest.approx(expected, rel=0.2)


@given(st.floats(0.05, 3.0), st.floats(0.1, math.pi))
def test_ring_numbers_do_not_depend_on_wavelength_or_range(wavelength: float, two_theta_max: float) -> None:
    for name in ("CeO2", "AgBh"):
        calibrant = Calibrant.named(name)
        some = calibrant.rings(wavelength * 1e-10, two_theta_max)
        most = calibrant.rings(0.05e-10)
        assert some.spacing.tolist() == most.spacing[: len(some)].tolist()
        assert some.labels == most.labels[: len(some)]
        assert len(some) == 0 or some.two_theta[-1] <= two_theta_max * (1 + 1e-9)


def test_layers_have_orders() -> None:
    rings = Calibrant.named("silver behenate").rings(1e-10, math.radians(10))
    assert rings.spacing == pytest.approx(58.380 / np.arange(1, len(rings) + 1))
    assert rings.labels[1] == "0 0 2"
    assert (rings.intensity == 1).all()
    assert rings.complete


def test_own_spacings_come_in_any_order() -> None:
    rings = Calibrant.from_spacings("mine", [2.0, 3.0, 1.0]).rings(1e-10)
    assert rings.spacing.tolist() == [3.0, 2.0, 1.0]
    assert rings.intensity.tolist() == [1.0, 1.0, 1.0]
    assert not rings.complete
    with pytest.raises(ParameterError, match="mine has the spacing -1"):
        Calibrant.from_spacings("mine", [-1.0])


@pytest.mark.parametrize("name", ["CeO2", "ceo2", "Ceria", "silver-behenate", "alpha_Al2O3", " LaB6 "])
def test_names_as_people_type_them(name: str) -> None:
    assert len(Calibrant.load(name).rings(0.5e-10, 0.5)) > 5


def test_an_unknown_name_says_what_is_near() -> None:
    with pytest.raises(ParameterError, match="Did you mean CeO2"):
        Calibrant.named("CeO3")


@pytest.mark.parametrize(("wavelength", "two_theta_max"), [(0.0, 1.0), (math.nan, 1.0), (1e-10, 0.0), (1e-10, 4.0)])
def test_impossible_ranges_are_refused(wavelength: float, two_theta_max: float) -> None:
    with pytest.raises(ParameterError):
        Calibrant.named("CeO2").rings(wavelength, two_theta_max)


def test_calibrants_can_be_sent_to_workers() -> None:
    calibrant = Calibrant.named("CeO2")
    assert pickle.loads(pickle.dumps(calibrant)) == calibrant  # noqa: S301
