"""The memory that this process may use."""

from pathlib import Path

import pytest

from friedel.device import memory


def group(folder: Path, name: str, limit: str) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(limit + "\n")


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/job/step\n", {"job/memory.max": "4096", "job/step/memory.max": "max"}, 4096),
        ("0::/outside/name\n", {"memory.max": "8192"}, 8192),
        ("3:cpu:/job\n5:memory:/job\n", {"memory/job/memory.limit_in_bytes": "2048"}, 2048),
    ],
    ids=["of a parent", "inside a container", "version 1"],
)
def test_the_limit_of_a_batch_system_counts(tmp_path, monkeypatch, own, files, limit):
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        group(tmp_path / "groups", name, text)
    monkeypatch.setattr(memory, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(memory, "CONTROL_GROUPS", tmp_path / "groups")
    assert memory.memory_limit() == limit


def test_without_limits_it_is_that_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "OWN_GROUP", tmp_path / "none")
    assert memory.memory_limit() > 2**28
