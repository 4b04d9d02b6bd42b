"""The command line as a user meets it: words in, text and an exit code out."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_tasks import fake_registry
from friedel.apps.cli.main import run


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with fake_registry():
        yield


def average(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["average", "a.cbf", "--geometry", "setup.poni", *words]) == 0
    return capsys.readouterr().out


def test_help_lists_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for expected in ("average", "Average frames into one pattern.", "simulate", "tasks", "schema", "info", "rerun"):
        assert expected in text


def test_help_of_a_task_shows_documentation_defaults_and_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["average", "--help"]) == 0
    text = capsys.readouterr().out
    for expected in ("Radial bins.", "1000", "--radial-range", "--no-solid-angle", "-o", "--device", "--cluster"):
        assert expected in text


def test_tasks_are_listed_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "average           Average frames into one pattern.",
        "simulate pretend  Pretend to scan.",
    ]


def test_schema_is_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "simulate", "pretend"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["seed"] == {
        "default": 0,
        "description": "Seed of the noise.",
        "title": "Seed",
        "type": "integer",
    }


def test_options_become_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    text = average(
        capsys, "b.cbf", "--npt", "50", "--radial-range", "-5", "8", "--no-solid-angle", "--rois", "1", "2", "3", "4"
    )  # fmt: skip
    for expected in (
        "frames=('a.cbf', 'b.cbf')",
        "npt=50",
        "radial_range=(-5.0, 8.0)",
        "solid_angle=False",
        "rois=((1.0, 2.0), (3.0, 4.0))",
        "center='auto'",
    ):
        assert expected in text


@pytest.mark.parametrize(("word", "value"), [("295.5", "295.5"), ("auto", "'auto'")])
def test_number_or_word(capsys: pytest.CaptureFixture[str], word: str, value: str) -> None:
    assert f"center={value}" in average(capsys, "--center", word)


def test_a_task_of_two_words_is_a_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "pretend", "scan.h5", "--seed", "7", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_options_override_the_parameters_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "average.json"
    file.write_text(json.dumps({"frames": ["a.cbf"], "geometry": "setup.poni", "npt": 7, "unit": "2th_deg"}))
    assert run(["average", "--config", str(file), "--npt", "8"]) == 0
    text = capsys.readouterr().out
    assert "npt=8" in text
    assert "unit='2th_deg'" in text


def test_template_is_a_parameters_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "average", "--template"]) == 0
    template = json.loads(capsys.readouterr().out)
    assert template["npt"] == 1000
    assert template["geometry"] is None


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["average", "a.cbf", "--geometry", "p", "--nppt", "3"], "--nppt"),
        (["average", "a.cbf", "--geometry", "p", "--npt", "many"], "npt"),
        (["average", "a.cbf", "--geometry", "p", "--npt", "2.5"], "npt"),
        (["average", "a.cbf", "--geometry", "p", "--npt", "0"], "npt"),
        (["average", "a.cbf", "--geometry", "p", "--unit", "furlong"], "--unit"),
        (["average", "a.cbf", "--geometry", "p", "--polarization", "2"], "polarization"),
        (["average", "a.cbf"], "geometry"),
        (["average", "a.cbf", "--config", "absent.json"], "absent.json"),
        (["average", "a.cbf", "--geometry", "p", "--device", "abacus"], "abacus"),
        (["average", "a.cbf", "--geometry", "p", "--threads", "0"], "threads"),
        (["fly"], "fly"),
        (["schema", "fly"], "fly"),
    ],
)
def test_bad_words_are_named_and_exit_with_2(capsys: pytest.CaptureFixture[str], words: list[str], named: str) -> None:
    assert run(words) == 2
    said = capsys.readouterr()
    assert named in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_problem_is_told_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "pretend", "s.h5", "--behaviour", "bad data"]) == 2
    assert capsys.readouterr().err.splitlines()[-2:] == ["friedel: scan.h5: frame 3 holds NaN.", "Mask it."]


def test_the_unexpected_exits_with_1_and_says_how_to_see_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "pretend", "s.h5", "--behaviour", "fault"]) == 1
    said = capsys.readouterr().err
    assert "RuntimeError: the unexpected" in said
    assert "FRIEDEL_DEBUG=1" in said
    assert "Traceback" not in said


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRIEDEL_DEBUG", "1")
    with pytest.raises(RuntimeError, match="the unexpected"):
        run(["simulate", "pretend", "s.h5", "--behaviour", "fault"])


def test_interruption_cancels_and_exits_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)  # ignored in a shell's background
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert run(["simulate", "pretend", "s.h5", "--behaviour", "slow"]) == 130
    said = capsys.readouterr().err
    assert "Stopping as soon as what was begun is complete" in said
    assert "Run the same command again" in said
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_after_the_last_block_does_no_harm(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The work is complete, so the exit code says so."""
    output = tmp_path / "s.h5"
    assert run(["simulate", "pretend", str(output), "--behaviour", "stopped at the end"]) == 0
    said = capsys.readouterr()
    assert f"Wrote {output}" in said.out
    assert "Stopping" in said.err


def test_progress_is_told_in_lines_to_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["average", "a.cbf", "--geometry", "p"]) == 0
    assert "Averaging: 2 of 2 frames" in capsys.readouterr().err
