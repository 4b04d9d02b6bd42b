"""The documentation as a whole: every page is reached, every decision has a number of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8").splitlines()
    folders = ("tutorials", "how-to", "reference", "explanation")
    pages = [f"{page.parent.name}/{page.stem}" for folder in folders for page in (DOCS / folder).glob("*.md")]
    assert [page for page in pages if page not in index] == []


def test_decisions_have_numbers_of_their_own() -> None:
    pages = sorted((DOCS / "decisions").glob("0*.md"))
    numbers = [page.name[:4] for page in pages]
    assert numbers == [f"{number:04d}" for number in range(1, len(pages) + 1)]
    assert [page.read_text(encoding="utf-8")[2:6] for page in pages] == numbers


def test_figures_of_the_readme_are_those_of_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS.parent / "tools")
    import figures

    found = figures.TABLE.search(figures.README.read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == figures.table(), "run python tools/figures.py"
