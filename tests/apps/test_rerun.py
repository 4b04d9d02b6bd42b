"""A result can be made again from the record in its file, from any folder, and only from the same inputs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest
import xarray as xr

from fake_tasks import fake_registry
from friedel.apps import python
from friedel.apps.cli.main import run as friedel
from friedel.core import provenance
from friedel.core.context import Context
from friedel.core.errors import DataError, FileError
from friedel.core.parameters import Argument, FilePath, FilePaths, Parameters
from friedel.core.tasks import task
from friedel.io.nexus import open_dataset, read_provenance, write_dataset


class Count(Parameters):
    """Count the bytes of files."""

    files: Annotated[FilePaths, Argument(positional=True)]
    """Files."""
    factor: float = 1.0
    """Multiplies the counts."""
    output: Annotated[FilePath, Argument(alias="-o")]
    """Result file."""


def count(parameters: Count, context: Context) -> xr.Dataset:
    assert context.provenance is not None
    sizes = [parameters.factor * Path(file).stat().st_size for file in parameters.files]
    record = context.provenance.with_inputs(parameters.files)
    dataset = xr.Dataset({"size": ("file", sizes)}, attrs={"provenance": record.to_json()})
    write_dataset(parameters.output, dataset)
    return dataset


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    module = SimpleNamespace(count=count, task=task("count", version=1, parameters=Count, run="counting:count"))
    monkeypatch.setitem(sys.modules, "counting", module)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").write_bytes(b"1234")
    with fake_registry(SimpleNamespace(value="counting", dist=None, load=lambda: module)):
        assert friedel(["count", "frames", "--factor", "2", "-o", "result.h5", "--quiet"]) == 0
        yield tmp_path


def test_a_result_is_made_again_from_another_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert friedel(["rerun", str(folder / "result.h5"), "-o", "here.h5"]) == 0
    assert (elsewhere / "here.h5").exists()
    assert friedel(["rerun", str(folder / "result.h5")]) == 0
    with open_dataset(folder / "result_rerun.h5") as again:
        assert again["size"].values.tolist() == [8.0]
    (record,) = read_provenance(folder / "result_rerun.h5")
    assert (record.task, record.parameters["factor"]) == ("count", 2.0)


def test_the_output_can_be_named(folder: Path) -> None:
    assert friedel(["rerun", "result.h5", "-o", "new.h5"]) == 0
    assert (folder / "new.h5").exists()


def test_a_repetition_can_be_repeated(folder: Path) -> None:
    assert friedel(["rerun", "result.h5", "-o", "new.h5"]) == 0
    assert friedel(["rerun", "new.h5"]) == 0
    assert (folder / "new_rerun.h5").exists()


def test_changed_inputs_are_refused_unless_forced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "frames").write_bytes(b"12345")
    assert friedel(["rerun", "result.h5"]) == 2
    said = capsys.readouterr().err
    assert "frames: has changed" in said
    assert "--force" in said
    assert not (folder / "result_rerun.h5").exists()
    assert friedel(["rerun", "result.h5", "--force"]) == 0


def test_large_inputs_written_since_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "WHOLE_HASH_LIMIT", -1)
    monkeypatch.setattr(provenance, "SAMPLE_SIZE", 1)
    assert friedel(["rerun", "result.h5", "-o", "large.h5", "--force"]) == 0
    assert friedel(["rerun", "large.h5", "-o", "again.h5"]) == 0
    os.utime(folder / "frames", (1, 1))
    with pytest.raises(DataError, match="only samples are compared"):
        python.rerun("large.h5", "other.h5")
    python.rerun("large.h5", "other.h5", force=True)


def test_missing_inputs_are_named(folder: Path) -> None:
    (folder / "frames").unlink()
    with pytest.raises(DataError, match="frames: is missing"):
        python.rerun("result.h5")


def test_python_gives_the_dataset(folder: Path) -> None:
    assert python.rerun("result.h5", "again.h5")["size"].values.tolist() == [8.0]


def test_another_version_of_the_task_is_told(folder: Path) -> None:
    newer = SimpleNamespace(task=task("count", version=2, parameters=Count, run="counting:count"))
    announced = fake_registry(SimpleNamespace(value="newer", dist=None, load=lambda: newer))
    with announced, pytest.raises(DataError, match="now version 2"):
        python.rerun("result.h5")


def test_a_file_without_a_record_is_refused(folder: Path) -> None:
    write_dataset("plain.h5", xr.Dataset({"size": ("file", [1.0])}))
    with pytest.raises(FileError, match="no record"):
        python.rerun("plain.h5")
