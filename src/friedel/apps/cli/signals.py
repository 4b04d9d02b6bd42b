"""What a signal means, and what is said on standard error."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from friedel.core.context import Cancellation


@contextmanager
def cancellation_by_signals() -> Iterator[Cancellation]:
    """Give a cancellation that Ctrl-C and SIGTERM set; a second Ctrl-C stops at once.

    The work itself raises `CancelledError` where it stops; work that was complete by then is a success.
    """
    cancellation = Cancellation()

    def stop(number: int, frame: FrameType | None) -> None:
        if cancellation.cancelled:
            raise KeyboardInterrupt
        cancellation.cancel()
        say("\nStopping as soon as what was begun is complete (Ctrl-C again: at once).")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancellation
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
