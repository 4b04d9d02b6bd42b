"""How far the work is, on a terminal and in a log."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from friedel.core.context import SilentProgress

from .signals import say

if TYPE_CHECKING:
    from rich.progress import Progress as RichBars

SECONDS_BETWEEN_LINES = 5.0


def make_progress(stream: TextIO | None = None) -> BarProgress | LineProgress:
    """Return bars for a terminal, occasional lines for anything else; `stream` is standard error by default."""
    target = stream or sys.stderr
    return BarProgress(target) if target.isatty() else LineProgress(target)


class QuietProgress(SilentProgress):
    """Nothing but warnings."""

    def warn(self, text: str) -> None:
        say(text)


class BarProgress:
    """Bars that move in place, from the first stage to the end of the ``with`` block."""

    def __init__(self, stream: TextIO) -> None:
        self._bars = _make_bars(stream)
        self._started = False

    def __enter__(self) -> BarProgress:
        return self

    def __exit__(self, *reason: object) -> None:
        if self._started:
            self._bars.stop()
            self._started = False

    def start(self, label: str, total: int, unit: str) -> int:
        if not self._started:
            self._bars.start()
            self._started = True
        return int(self._bars.add_task(label, total=total, unit=unit))

    def advance(self, key: int, amount: int = 1) -> None:
        self._bars.advance(key, amount)  # type: ignore[arg-type]

    def finish(self, key: int) -> None:
        self._bars.stop_task(key)  # type: ignore[arg-type]

    def message(self, text: str) -> None:
        self._bars.console.print(text, style="dim", highlight=False, markup=False)

    def warn(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False)


def _make_bars(stream: TextIO) -> RichBars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", style="dim"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
    )


@dataclass
class _Stage:
    label: str
    total: int
    unit: str
    started: float
    told: float
    done: int = 0


class LineProgress:
    """A line when a stage ends, and every few seconds while it lasts."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stages: dict[int, _Stage] = {}
        self._lock = threading.Lock()

    def start(self, label: str, total: int, unit: str) -> int:
        now = time.monotonic()
        with self._lock:
            key = len(self._stages)
            self._stages[key] = _Stage(label, total, unit, now, now)
        return key

    def advance(self, key: int, amount: int = 1) -> None:
        with self._lock:
            stage = self._stages[key]
            stage.done += amount
            now = time.monotonic()
            if now - stage.told < SECONDS_BETWEEN_LINES or stage.done >= stage.total:
                return
            stage.told = now
            self._write(f"{stage.label}: {stage.done} of {stage.total} {stage.unit}")

    def finish(self, key: int) -> None:
        with self._lock:
            stage = self._stages[key]
            seconds = time.monotonic() - stage.started
            self._write(f"{stage.label}: {stage.done} of {stage.total} {stage.unit}, {seconds:.1f} s")

    def message(self, text: str) -> None:
        with self._lock:
            self._write(text)

    def warn(self, text: str) -> None:
        self.message(text)

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()
