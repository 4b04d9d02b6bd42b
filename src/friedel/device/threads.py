"""How many threads friedel uses: decided here, nowhere else."""

from __future__ import annotations

import os

from friedel.core.errors import ParameterError

THREADS_VARIABLE = "FRIEDEL_THREADS"


def thread_count() -> int:
    """Return the number of threads to use: ``FRIEDEL_THREADS``, or one for each core this process may use.

    Raises
    ------
    ParameterError
        If the variable is not a positive whole number.
    """
    text = os.environ.get(THREADS_VARIABLE)
    if text is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise ParameterError(f"{THREADS_VARIABLE} is {text!r}.", "Give a whole number of threads, 1 or more.")
    return int(text)
