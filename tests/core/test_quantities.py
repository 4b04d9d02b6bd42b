import pytest

from friedel.core.errors import ParameterError
from friedel.core.quantities import parse_energy, parse_length, parse_wavelength, wavelength_given


@pytest.mark.parametrize(
    ("text", "metres"), [("450um", 450e-6), ("0.75 mm", 0.75e-3), ("3.2e-4", 3.2e-4), ("2 cm", 0.02), ("5µm", 5e-6)]
)
def test_lengths(text, metres):
    assert parse_length(text) == metres


@pytest.mark.parametrize("text", ["", "mm", "-1 mm", "0", "1 inch", "nan", "1e", "inf mm"])
def test_what_is_no_length(text):
    with pytest.raises(ParameterError, match="window"):
        parse_length(text, "window")


@pytest.mark.parametrize("text", ["30.5keV", "30.5", 30.5, "30500 eV", "0.0305MeV"])
def test_energies_have_units(text):
    assert parse_energy(text) == pytest.approx(30.5)


@pytest.mark.parametrize("text", ["0.4065A", "0.4065", 0.4065, "0.04065nm", "40.65 pm", "4.065e-11m", "4.065e-11"])
def test_wavelengths_have_units(text):
    assert parse_wavelength(text) == pytest.approx(4.065e-11)


@pytest.mark.parametrize("text", ["", "-3keV", "0", "thirty", "30 kV", "nan", "1e999"])
def test_what_is_no_energy_is_refused(text):
    with pytest.raises(ParameterError, match="energy"):
        parse_energy(text)


def test_the_wavelength_follows_from_either():
    assert wavelength_given("0.4065A", None) == pytest.approx(4.065e-11)
    assert wavelength_given(None, "30.5keV") == pytest.approx(4.06506e-11, rel=1e-5)
    assert wavelength_given(None, None) is None
    with pytest.raises(ParameterError, match="wavelength and energy are both"):
        wavelength_given("0.4065A", "30.5keV")


def test_electronvolts_without_unit_are_not_taken_for_kiloelectronvolts() -> None:
    with pytest.raises(ParameterError) as caught:
        parse_energy("30100")
    assert "Did you mean 30100eV?" in caught.value.remedy
    assert parse_energy("30100keV") == 30100.0
