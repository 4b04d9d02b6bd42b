"""The package as it is imported: what every task has to be reachable by."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import friedel
from friedel.apps.cli.main import run
from friedel.core.tasks import Task, find_task, registry

REPOSITORY = Path(__file__).resolve().parents[1]
OURS = [task for task in registry().values() if task.run.startswith("friedel.")]


def python_name(task: Task) -> str:
    return task.name.replace(" ", "_")


@pytest.mark.parametrize("task", OURS, ids=python_name)
def test_every_task_is_a_function_of_the_package(task: Task) -> None:
    name = python_name(task)
    assert inspect.isfunction(getattr(friedel, name))
    assert name in friedel.__all__
    assert f"`friedel.{name}`" in (REPOSITORY / "docs/reference/python.md").read_text(encoding="utf-8")


def test_names_of_the_package_are_sorted_and_exist() -> None:
    assert friedel.__all__ == sorted(friedel.__all__)
    assert all(hasattr(friedel, name) for name in friedel.__all__)


@pytest.mark.parametrize("task", OURS, ids=python_name)
def test_a_task_is_found_by_its_name_in_python_and_in_the_shell(task: Task) -> None:
    assert "-" not in task.name
    assert find_task(task.name) is find_task(task.command) is task


@pytest.mark.parametrize("name", ["find-peaks", "find_peaks", "diffraction-map", "diffraction_map"])
def test_the_command_line_takes_both_forms(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert "--geometry" in capsys.readouterr().out


def test_help_lists_a_task_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.count("find-peaks") == 1
    assert "find_peaks" not in text
