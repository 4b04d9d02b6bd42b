"""The command that lists detectors, as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from friedel.apps.cli.main import run
from friedel.instrument import Detector
from friedel.instrument.models import models


def test_all_detectors_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["detectors"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.partition(" ")[0] for line in lines}
    assert set(models()) <= listed
    row = next(line for line in lines if line.startswith("PilatusCdTe2M "))
    assert row.split() == ["PilatusCdTe2M", "1679", "x", "1475", "172", "24", "CdTe,1000um", "Dectris"]
    assert "8000 x 50" in next(line for line in lines if line.startswith("Mythen "))


def test_one_detector_is_told_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["detectors", "pilatus 1m"]) == 0
    text = capsys.readouterr().out
    for expected in (
        "Pilatus1M\n",
        "1043 x 981 pixels",
        "10 of 195 x 487 pixels",
        "0:195 212:407",
        "195:212",
        "73533 pixels",
        "Si,320um or Si,450um",
        "if you say so",
        "-2",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Jungfrau 8M", "rows 1:515, columns 607:1638"),
        ("MAR 165", "1364 x 1364 of 118.616 µm"),
        ("Perkin", "4096 x 4096 of 100 µm"),
        ("Pixirad1", "6 corners"),
        ("Aarhus", "radius 0.29989 m"),
        ("Cirpad", "6.74 degrees"),
        ("Mar345", "round plate"),
        ("Xpad flat", "wider pixels"),
        ("ImXPad S70V", "0:1 79:81"),
    ],
)
def test_what_is_special_is_said(capsys: pytest.CaptureFixture[str], name: str, expected: str) -> None:
    assert run(["detectors", name]) == 0
    assert expected in capsys.readouterr().out


def test_every_model_can_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    for name, model in models().items():
        if max(model.shape) < 1100:
            assert run(["detectors", name]) == 0
            assert name in capsys.readouterr().out


def test_a_file_is_written_and_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    assert run(["detectors", "ImXPad S10", "-o", str(path)]) == 0
    assert Detector.load(path).displaced
    assert run(["detectors", "ImXPad S10", "-o", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(["detectors", "ImXPad S10", "-o", str(path), "--overwrite"]) == 0
    capsys.readouterr()
    assert run(["detectors", str(path)]) == 0
    assert str(path) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "near"),
    [("pilatus", "Pilatus300kw"), ("Pilatus 3M", "Pilatus2M"), ("frelom", "FReLoN"), ("none.h5", "none.h5")],
)
def test_what_is_not_known_is_told(capsys: pytest.CaptureFixture[str], name: str, near: str) -> None:
    assert run(["detectors", name]) == 2
    assert near in capsys.readouterr().err
