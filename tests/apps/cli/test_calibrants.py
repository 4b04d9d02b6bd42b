"""The command that lists calibrants, as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from friedel.apps.cli.main import run
from friedel.instrument import Calibrant


def test_all_calibrants_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrants"]) == 0
    text = capsys.readouterr().out
    for expected in ("AgBh", "silver behenate", "NIST SRM 660c", "lysozyme"):
        assert expected in text


def test_rings_at_an_energy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrants", "lab6", "--energy", "30.5keV", "--two-theta-max", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "cell     4.156826 4.156826 4.156826 Å, 90 90 90 degrees, P m -3 m"
    assert lines[-3].split() == ["0", "1", "0", "0", "4.156826", "15.1153", "5.6053", "6", "59.09"]
    assert len(lines) == 8


def test_rings_without_a_wavelength_have_no_angle(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrants", "3.1, 2.0"]) == 0
    text = capsys.readouterr().out
    assert "3.100000" in text
    assert "2theta" not in text


def test_what_is_not_shown_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrants", "AgBh", "--wavelength", "1A", "--rings", "3"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "113 more (--rings 116). Intensities are an assumption: the structure is not known."


def test_a_file_is_written_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.D"
    assert run(["calibrants", "Si", "-o", str(path)]) == 0
    assert Calibrant.load(path).listed[0].label == "1 1 1"
    assert run(["calibrants", "Si", "-o", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(["calibrants", "Si", "-o", str(path), "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["CeO3"], "Did you mean CeO2"),
        (["CeO2", "--two-theta-max", "20"], "Give a wavelength or an energy"),
        (["CeO2", "--energy", "30keV", "--wavelength", "1A"], "wavelength and energy are both"),
        (["CeO2", "--energy", "thirty"], "energy"),
    ],
)
def test_what_cannot_be_shown_is_told(capsys: pytest.CaptureFixture[str], words: list[str], problem: str) -> None:
    assert run(["calibrants", *words]) == 2
    assert problem in " ".join(capsys.readouterr().err.split())
