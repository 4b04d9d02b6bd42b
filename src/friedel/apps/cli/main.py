"""The entry point: from words to an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from friedel.core.context import Cancellation
from friedel.core.errors import CancelledError, FriedelError

DEBUG_VARIABLE = "FRIEDEL_DEBUG"
BAD_USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    if sys.stderr is None:
        _occupy(2)
    if sys.stdout is None:
        _occupy(1)
        _say("friedel: standard output is closed.")
        _say("Send it somewhere, such as to /dev/null.")
        sys.exit(BAD_USAGE)
    sys.exit(run(sys.argv[1:] if words is None else words))


def run(words: Sequence[str]) -> int:
    """Run the command line and return its exit code.

    0 if all went well, 1 if something failed, 2 if what was asked for is wrong, 130 if it was stopped.
    """
    if os.environ.get(DEBUG_VARIABLE):
        return _dispatch(words)
    try:
        return _dispatch(words)
    except FriedelError as error:
        _say(f"friedel: {error.problem}")
        if error.remedy:
            _say(error.remedy)
        return error.exit_code
    except KeyboardInterrupt:
        _say("friedel: stopped at once.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`friedel tasks | head -1`); python must not try to flush again.
        _occupy(sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            _say(f"friedel: cannot write: {error.strerror}.")
            _say("Check the space where the results go, and where standard output is sent to.")
            return 1
        _say(f"friedel: failed unexpectedly: {type(error).__name__}: {error}")
        _say(f"Set {DEBUG_VARIABLE}=1 to see where, and please report it.")
        return 1


def _occupy(descriptor: int) -> None:
    """Let nothing be written to `descriptor`: were it free, the next file opened would get the messages."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    if descriptor == 2 and sys.stderr is None:
        sys.stderr = os.fdopen(descriptor, "w")


def _dispatch(words: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    from .application import make_application

    application = make_application()
    try:
        command, bound, _ = application.parse_args(list(words), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _say(f"friedel: {error}")
        _say("See friedel --help, or --help after a command.")
        return BAD_USAGE
    command(*bound.args, **bound.kwargs)
    sys.stdout.flush()
    return 0


@contextmanager
def cancellation_by_signals() -> Iterator[Cancellation]:
    """Give a cancellation that Ctrl-C and SIGTERM set; a second Ctrl-C stops at once."""
    cancellation = Cancellation()

    def stop(number: int, frame: FrameType | None) -> None:
        if cancellation.cancelled:
            raise KeyboardInterrupt
        cancellation.cancel()
        _say("\nStopping when the current blocks are complete (Ctrl-C again: at once).")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancellation
        if cancellation.cancelled:
            raise CancelledError("Stopped on request.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
