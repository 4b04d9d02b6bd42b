from __future__ import annotations

import time

import pytest

from friedel.core.context import Cancellation, Context, SilentProgress
from friedel.core.errors import CancelledError
from friedel.core.provenance import Provenance
from friedel.run import InlineRunner


class Recorder(SilentProgress):
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def start(self, label: str, total: int, unit: str) -> int:
        self.calls.append(("start", label, total, unit))
        return 7

    def advance(self, key: int, amount: int = 1) -> None:
        self.calls.append(("advance", key, amount))

    def finish(self, key: int) -> None:
        self.calls.append(("finish", key))


def test_a_stage_is_told_from_start_to_finish() -> None:
    recorder = Recorder()
    with Context(InlineRunner(), progress=recorder).stage("Reading", 3, "frames") as advance:
        advance()
        advance(2)
    assert recorder.calls == [("start", "Reading", 3, "frames"), ("advance", 7, 1), ("advance", 7, 2), ("finish", 7)]


def test_a_stage_that_fails_is_finished() -> None:
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError), Context(InlineRunner(), progress=recorder).stage("Reading", 3, "frames"):
        raise ZeroDivisionError
    assert recorder.calls[-1] == ("finish", 7)


def test_cancellation_is_seen_at_the_next_check() -> None:
    cancellation = Cancellation()
    cancellation.check()
    cancellation.cancel()
    assert cancellation.cancelled
    with pytest.raises(CancelledError, match="Run the same command again"):
        cancellation.check()


def test_a_record_is_stored_with_what_the_execution_cost() -> None:
    record = Provenance.begin("average", 1, {}, "cpu")
    context = Context(InlineRunner()).with_provenance(record)
    time.sleep(0.05)
    notes = context.with_cost(record.with_notes(frames=3)).notes
    assert notes["frames"] == 3
    assert 0.05 <= notes["seconds"] < 30
    assert notes["peak_memory"] > 1e6
