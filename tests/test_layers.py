"""The house keeps its layers: imports point down, and every room is in its place."""

from __future__ import annotations

import tomllib
from pathlib import Path

from importlinter.application.use_cases import lint_imports
from importlinter.configuration import configure

REPOSITORY = Path(__file__).resolve().parents[1]


def contracts() -> list[dict[str, object]]:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["tool"]["importlinter"]["contracts"]


def test_every_room_is_in_the_layers() -> None:
    layers = next(contract for contract in contracts() if contract["type"] == "layers")
    named = {room.strip() for layer in layers["layers"] for room in layer.split("|")}
    rooms = {path.name for path in (REPOSITORY / "src" / "friedel").iterdir() if (path / "__init__.py").exists()}
    assert rooms == named
    assert layers["exhaustive"] is True


def test_contracts_are_kept() -> None:
    configure()
    assert lint_imports(config_filename=str(REPOSITORY / "pyproject.toml"), cache_dir=None)
