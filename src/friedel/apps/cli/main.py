"""The entry point: from words to an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from friedel.core.errors import FriedelError

from .signals import say

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
        say("friedel: standard output is closed.")
        say("Send it somewhere, such as to /dev/null.")
        sys.exit(BAD_USAGE)
    sys.exit(run(sys.argv[1:] if words is None else words))


def run(words: Sequence[str]) -> int:
    """Run the command line and return its exit code.

    0 if all went well, 1 if something failed, 2 if what was asked for is wrong, 3 if the result is doubtful, 130 if it
    was stopped.
    """
    if os.environ.get(DEBUG_VARIABLE):
        return _dispatch(words)
    try:
        return _dispatch(words)
    except FriedelError as error:
        say(f"friedel: {error.problem}")
        if error.remedy:
            say(error.remedy)
        return error.exit_code
    except KeyboardInterrupt:
        say("friedel: stopped at once.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`friedel tasks | head -1`); python must not try to flush again.
        _occupy(sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            say(f"friedel: cannot write: {error.strerror}.")
            say("Check the space where the results go, and where standard output is sent to.")
            return 1
        say(f"friedel: failed unexpectedly: {type(error).__name__}: {error}")
        say(f"Set {DEBUG_VARIABLE}=1 to see where, and please report it.")
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

    application = make_application(words)
    try:
        command, bound, _ = application.parse_args(list(words), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        say(f"friedel: {error}")
        say("See friedel --help, or --help after a command.")
        return BAD_USAGE
    code = command(*bound.args, **bound.kwargs)
    sys.stdout.flush()
    return code if isinstance(code, int) else 0
