"""Progress on a terminal and in a log."""

from __future__ import annotations

import io

import pytest

from friedel.apps.cli import progress
from friedel.apps.cli.progress import BarProgress, LineProgress, QuietProgress, make_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bars_and_a_log_gets_lines() -> None:
    assert isinstance(make_progress(Terminal()), BarProgress)
    assert isinstance(make_progress(io.StringIO()), LineProgress)


def test_bars_show_stages_and_messages() -> None:
    screen = Terminal()
    with BarProgress(screen) as bars:
        for label in ("Reading", "Fitting"):
            key = bars.start(label, 3, "frames")
            bars.advance(key, 3)
            bars.finish(key)
        bars.message("a [message]")
    for expected in ("Reading", "Fitting", "3/3", "frames", "a [message]"):
        assert expected in screen.getvalue()


def test_bars_that_never_began_leave_nothing() -> None:
    screen = Terminal()
    with BarProgress(screen):
        pass
    assert screen.getvalue() == ""


def test_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 6.0, 7.0, 20.0, 21.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    log = io.StringIO()
    lines = LineProgress(log)
    key = lines.start("Reading", 5, "frames")  # 0 s
    for _ in range(3):
        lines.advance(key)  # 1, 6, 7 s
    lines.advance(key, 2)  # 20 s, all done: the end tells it
    lines.finish(key)
    assert log.getvalue().splitlines() == ["Reading: 2 of 5 frames", "Reading: 5 of 5 frames, 21.0 s"]


def test_quiet_tells_of_what_is_wrong_and_of_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    progress = QuietProgress()
    progress.message("The scan has 4 lines.")
    progress.warn("2 of 9 frames were skipped.")
    assert capsys.readouterr().err == "2 of 9 frames were skipped.\n"
