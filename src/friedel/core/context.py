"""What a task is given beside its parameters: where it runs, whom it tells, who may stop it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from .blocks import Block, BlockPlan, BlockSink, BlockSource
from .errors import CancelledError
from .usage import peak_memory

if TYPE_CHECKING:
    from .provenance import Provenance


class Progress(Protocol):
    """Told how far the work is."""

    def start(self, label: str, total: int, unit: str) -> int:
        """Begin a stage of `total` `unit`; return its key."""
        ...

    def advance(self, key: int, amount: int = 1) -> None:
        """Say that `amount` more units of stage `key` are complete."""
        ...

    def finish(self, key: int) -> None:
        """End stage `key`."""
        ...

    def message(self, text: str) -> None:
        """Tell the user something that is no number."""
        ...

    def warn(self, text: str) -> None:
        """Tell the user, also one who wants to see no progress, what is wrong with the result."""
        ...


class SilentProgress:
    """Tells nobody."""

    def start(self, label: str, total: int, unit: str) -> int:
        return 0

    def advance(self, key: int, amount: int = 1) -> None:
        return None

    def finish(self, key: int) -> None:
        return None

    def message(self, text: str) -> None:
        return None

    def warn(self, text: str) -> None:
        self.message(text)


class Cancellation:
    """A flag that one thread sets and the work looks at between blocks."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at the next block."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise `CancelledError` if `cancel` was called."""
        if self.cancelled:
            raise CancelledError(
                "Stopped on request.", "Run the same command again to go on from the last complete block."
            )


class Runner(Protocol):
    """Where plans are applied. Placement only: results are the same everywhere."""

    @property
    def threads(self) -> int:
        """Threads that a plan may use when it is called outside `stream`."""
        ...

    def stream(
        self,
        source: BlockSource[Any],
        plan: BlockPlan[Any, Any],
        sink: BlockSink[Any],
        blocks: Sequence[Block],
        context: Context,
        label: str,
        unit: str = "frames",
    ) -> None:
        """Apply `plan` to each block of `source` that `sink` still lacks, with bounded memory.

        Raises
        ------
        CancelledError
            If `context.cancellation` was set; complete blocks are kept.
        FriedelError
            The first problem met; complete blocks are kept.
        """
        ...


@dataclass(frozen=True)
class Context:
    """What a task's function is given beside its parameters.

    Attributes
    ----------
    runner : Runner
        Applies plans to blocks.
    device : str
        Resolved device name, "cpu", "cuda:N" or "cuda:N,M".
    progress : Progress
    cancellation : Cancellation
    provenance : Provenance or None
        The record of this execution so far; the task adds its input files and stores it with its result.
    started : float
        `time.perf_counter` when the execution began.
    """

    runner: Runner
    device: str = "cpu"
    progress: Progress = field(default_factory=SilentProgress)
    cancellation: Cancellation = field(default_factory=Cancellation)
    provenance: Provenance | None = None
    started: float = field(default_factory=time.perf_counter)

    def with_provenance(self, provenance: Provenance) -> Context:
        """Return the same context for another execution, which begins now."""
        return replace(self, provenance=provenance, started=time.perf_counter())

    def with_cost(self, record: Provenance) -> Provenance:
        """Return the record, as it is stored with a result, with the notes "seconds" and "peak_memory" (bytes)."""
        seconds = round(time.perf_counter() - self.started, 3)
        return record.with_notes(seconds=seconds, peak_memory=peak_memory())

    def on_cpu(self, work: str) -> Context:
        """Return the context for work that GPUs do not do, and tell the user if one was asked for.

        Parameters
        ----------
        work : str
            What is done, the beginning of a sentence: "Spots are found".
        """
        if self.device == "cpu":
            return self
        self.progress.message(f"{work} on the CPU; the device {self.device} is not used.")
        record = None if self.provenance is None else replace(self.provenance, device="cpu")
        return replace(self, device="cpu", provenance=record)

    def step(self, text: str) -> None:
        """Tell the user about a step of work that keeps nothing half done, and stop there if that was asked for.

        Raises
        ------
        CancelledError
            If `cancellation` was set.
        """
        if self.cancellation.cancelled:
            raise CancelledError("Stopped on request.", "Nothing was written.")
        self.progress.message(text)

    @contextmanager
    def stage(self, label: str, total: int, unit: str) -> Iterator[Any]:
        """Report a stage of work: the body is given a function to call with each amount done."""
        key = self.progress.start(label, total, unit)
        try:
            yield lambda amount=1: self.progress.advance(key, amount)
        finally:
            self.progress.finish(key)
