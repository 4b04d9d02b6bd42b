"""friedel geometry show, convert and compare."""

from pathlib import Path

import pytest

from friedel.apps.cli.main import run
from friedel.instrument import Detector, Geometry
from friedel.instrument.geometry_formats import NAMES


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A geometry in the working folder."""
    monkeypatch.chdir(tmp_path)
    Geometry(Detector.named("Pilatus100k"), 0.2, 0.017, 0.04, 0.01, 0.02, wavelength=5e-11).save("setup.poni")
    return tmp_path


def test_show_has_all_conventions_one_below_the_other(folder, capsys):
    assert run(["geometry", "show", "setup.poni"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "setup.poni: PONI file (pyFAI)"
    assert lines[1].startswith("Detector ")
    assert any(line.startswith("DIALS ") for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_convert_to_every_format_and_compare(folder, capsys, name):
    assert run(["geometry", "convert", "setup.poni", "--to", name, "-o", "other"]) == 0
    assert capsys.readouterr().out.startswith("Wrote other (")
    assert run(["geometry", "compare", "setup.poni", "other", "--calibrant", "CeO2"]) == 0
    assert "Beam centre" in capsys.readouterr().out
    assert run(["geometry", "convert", "other", "--to", "pyfai", "-o", "back.poni", "--detector", "Pilatus100k"]) == 0
    back = Geometry.load("back.poni")
    assert back.detector.name == "Pilatus100k"


def test_what_is_lost_is_said_and_refused_if_strict(folder, capsys):
    words = ["geometry", "convert", "setup.poni", "--to", "fit2d", "-o", "terms.txt"]
    assert run([*words, "--strict"]) == 2
    assert "turn about the beam" in capsys.readouterr().err
    assert not (folder / "terms.txt").exists()
    assert run(words) == 0
    assert "Warning: not in terms.txt: the number of pixels" in capsys.readouterr().err
    assert run(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert run([*words, "--overwrite"]) == 0


def test_what_a_format_lacks_may_be_given(folder, capsys):
    run(["geometry", "convert", "setup.poni", "--to", "imaged11", "-o", "a.par"])
    text = "\n".join(line for line in Path("a.par").read_text().splitlines() if not line.startswith("wavelength"))
    Path("a.par").write_text(text)
    capsys.readouterr()
    words = ["geometry", "show", "a.par", "--shape", "195x487", "--energy", "24.79684keV"]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "195 x 487 pixels" in out
    assert "24.79684 keV" in out


def test_an_orientation_told_otherwise(folder, capsys):
    assert run(["geometry", "convert", "setup.poni", "--to", "pyfai", "-o", "b.poni", "--orientation", "2"]) == 0
    assert "mirrored" in capsys.readouterr().err
    assert Geometry.load("b.poni").detector.orientation == 2
    assert run(["geometry", "convert", "setup.poni", "--to", "dioptas", "-o", "c.poni"]) == 0
    assert Geometry.load("c.poni").poni1 == Geometry.load("b.poni").poni1
    assert run(["geometry", "compare", "setup.poni", "b.poni"]) == 0
    assert "e-1" in capsys.readouterr().out.split("2theta")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "missing.poni"], "missing.poni"),
        (["show", "setup.poni", "--detector", "Pilatus9k"], "Pilatus9k"),
        (["show", "setup.poni", "--detector", "Eiger2 4M"], "75 µm"),
        (["show", "setup.poni", "--shape", "wide"], "wide"),
        (["show", "setup.poni", "--shape", "10x10"], "10 x 10"),
        (["show", "setup.poni", "--wavelength", "red"], "red"),
        (["show", "setup.poni", "--wavelength", "1A", "--energy", "1keV"], "both given"),
        (["show", "setup.poni", "--from", "crystfel"], "no panel"),
        (["convert", "setup.poni", "--to", "crystfell", "-o", "x"], "crystfel"),
        (["convert", "setup.poni", "--to", "fit2d", "-o", "nowhere/x"], "nowhere"),
        (["convert", "setup.poni", "-o", "x.txt"], "--to"),
        (["convert", "setup.poni", "-o", "setup.poni"], "exists already"),
        (["convert", "setup.poni", "--to", "fit2d", "-o", "x", "--orientation", "7"], "orientation is 7"),
        (["compare", "setup.poni", "setup.poni", "--calibrant", "unobtainium"], "unobtainium"),
    ],
)
def test_bad_input_is_named_with_exit_code_2(folder, capsys, words, message):
    assert run(["geometry", *words]) == 2
    assert message in capsys.readouterr().err


def test_info_knows_geometries_of_other_programs(folder, capsys):
    run(["geometry", "convert", "setup.poni", "--to", "gsas2", "-o", "a.imctrl"])
    capsys.readouterr()
    assert run(["info", "a.imctrl"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("a.imctrl: geometry (Image controls of GSAS-II)")
    assert "Beam centre" in out


def test_standard_errors_that_get_lost_are_said(folder, capsys):
    text = Path("setup.poni").read_text().replace("poni_version", "# Verdict: trusted\nponi_version")
    Path("setup.poni").write_text(text)
    assert run(["geometry", "convert", "setup.poni", "--to", "pyfai", "-o", "b.poni"]) == 0
    assert "the verdict and the standard errors" in capsys.readouterr().err


def test_the_ending_tells_the_format(folder, capsys):
    assert run(["geometry", "convert", "setup.poni", "-o", "a.geom"]) == 0
    assert "Wrote a.geom (Geometry of CrystFEL)" in capsys.readouterr().out
    assert run(["geometry", "convert", "a.geom", "--to", "poni", "-o", "b"]) == 0


def test_without_an_output_the_text_is_shown(folder, capsys):
    assert run(["geometry", "convert", "setup.poni", "--to", "fit2d"]) == 0
    shown = capsys.readouterr()
    assert "directDist = " in shown.out
    assert "Warning: not in this text: the number of pixels" in shown.err
    assert list(folder.iterdir()) == [folder / "setup.poni"]


@pytest.mark.parametrize(("words", "problem"), [(["--to", "cxi"], "is no text"), ([], "Nothing tells the format")])
def test_what_cannot_be_shown_needs_a_name(folder, capsys, words, problem):
    assert run(["geometry", "convert", "setup.poni", *words]) == 2
    assert problem in capsys.readouterr().err


def test_a_file_without_the_number_of_pixels_says_what_to_give(folder, capsys):
    run(["geometry", "convert", "setup.poni", "--to", "imaged11", "-o", "a.par"])
    Path("a.par").write_text(Path("a.par").read_text().replace("o11 1", "o11 -1").replace("o22 -1", "o22 1"))
    capsys.readouterr()
    assert run(["geometry", "show", "a.par"]) == 2
    assert "--shape" in capsys.readouterr().err
    assert run(["geometry", "show", "a.par", "--shape", "195x487"]) == 0
