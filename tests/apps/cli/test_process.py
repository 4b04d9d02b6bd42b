"""What only a real process shows: what is imported, and a reader that leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "numpy",
    "scipy",
    "xarray",
    "h5py",
    "hdf5plugin",
    "pandas",
    "dask",
    "distributed",
    "matplotlib",
    "fabio",
    "gemmi",
)


def imported_by(code: str) -> set[str]:
    script = f"{code}\nimport sys, json; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr))


def test_import_is_light() -> None:
    assert imported_by("import friedel").isdisjoint({*HEAVY, "pydantic", "cyclopts", "rich"})


def test_help_is_light() -> None:
    assert imported_by("from friedel.apps.cli.main import run; run(['--help'])").isdisjoint(HEAVY)


def test_help_of_each_task_is_light() -> None:
    code = (
        "from friedel.apps.cli.main import run\n"
        "from friedel.core.tasks import registry\n"
        "for name in registry(): assert run([*name.split(), '--help']) == 0"
    )
    assert imported_by(code).isdisjoint(HEAVY)


def test_a_reader_that_leaves_is_no_failure() -> None:
    command = f"{sys.executable} -m friedel.apps.cli schema xrdct | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("words", ["tasks", "--help"])
@pytest.mark.parametrize(
    ("where", "code", "said"), [(">&-", 2, "standard output is closed"), ("> /dev/full", 1, "cannot write: No space")]
)
def test_standard_output_that_takes_nothing_is_told(words: str, where: str, code: int, said: str) -> None:
    if "full" in where and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    command = f"{sys.executable} -m friedel.apps.cli {words} {where}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.startswith(f"friedel: {said}")
    assert len(done.stderr.splitlines()) == 2
    assert "unexpectedly" not in done.stderr


def test_closed_standard_error_does_not_get_into_the_next_file() -> None:
    command = f"{sys.executable} -m friedel.apps.cli nonsense 2>&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")


def test_help_builds_no_options_and_no_markdown() -> None:
    """The list of all commands is what people wait for most often; options of all tasks take longer than the rest."""
    script = (
        "from friedel.apps.cli import application\n"
        "from friedel.apps.cli.main import run\n"
        "application.signature = None\n"
        "assert run(['--help']) == 0"
    )
    assert "rich.markdown" not in imported_by(script)
