"""The demonstration fails when it does not show what it should."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import demo

    yield demo
    for name in ("demo", "compare_with_truth"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("seconds", "memory", "correlation", "named"),
    [
        (20.0, 10**9, 0.97, ""),
        (91.0, 10**9, 0.97, "91.0 s"),
        (20.0, 21 * 10**8, 0.97, "2.10 GB"),
        (20.0, 10**9, 0.94, "Ni correlates with the truth by 0.94"),
        (20.0, 10**9, float("nan"), "Ni correlates with the truth by nan"),
    ],
)
def test_it_fails_where_it_falls_short(
    demo: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    seconds: float,
    memory: int,
    correlation: float,
    named: str,
) -> None:
    figures = demo.Figures(seconds, memory, {"CeO2": 0.99, "Ni": correlation})
    monkeypatch.setattr(demo, "demonstrate", lambda folder: figures)
    assert demo.main([str(tmp_path), "--json", str(tmp_path / "demo.json")]) == (1 if named else 0)
    said = capsys.readouterr().err
    assert named in said
    assert bool(said) == bool(named)
    assert '"peak_memory"' in (tmp_path / "demo.json").read_text()
