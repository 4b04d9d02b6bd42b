"""Every command and snippet of the README and the documentation runs.

Blocks of ``bash`` and ``python`` are run in the order of the page, each page in its own folder; what cannot run
(placeholders, other machines) is marked ``text``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAKES_ITS_OWN_SCAN = (
    "README.md",
    *(f"docs/tutorials/{name}.md" for name in ("integrate", "calibrate", "phase-map", "diffraction-map")),
    "docs/how-to/calibrate.md",
)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield language and text of the blocks of a page."""
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        yield match[1], match[2]


def runnable_pages() -> list[str]:
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    names = [str(page.relative_to(REPOSITORY)) for page in pages if "_build" not in page.parts]
    return [name for name in names if any(kind in ("bash", "python") for kind, _ in blocks(REPOSITORY / name))]


def shell(script: str, folder: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    words = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="session")
def small_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scan of the tutorial, smaller."""
    folder = tmp_path_factory.mktemp("scan")
    shell("friedel simulate xrdct scan.h5 --translations 16 --rotations 15 --quiet", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", runnable_pages())
def test_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if name not in MAKES_ITS_OWN_SCAN:
        shutil.copytree(request.getfixturevalue("small_scan"), tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for kind, text in blocks(REPOSITORY / name):
        if kind == "bash":
            shell(text, tmp_path)
        elif kind == "python":
            exec(compile(text, name, "exec"), namespace)  # noqa: S102 - our own documentation


def test_every_block_says_what_it_is() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    known = {"bash", "python", "text", "json", "make"}
    unknown = {(page.name, kind) for page in pages if "_build" not in page.parts for kind, _ in blocks(page)}
    assert {kind for _, kind in unknown} <= known
