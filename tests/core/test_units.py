import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.units import energy_from_wavelength, wavelength_from_energy


def test_copper_k_alpha() -> None:
    assert wavelength_from_energy(8.0478) == pytest.approx(1.5406e-10, rel=1e-4)


@given(st.floats(1e-3, 1e4))
def test_energy_and_wavelength_are_inverse(energy: float) -> None:
    assert energy_from_wavelength(wavelength_from_energy(energy)) == pytest.approx(energy, rel=1e-14)
