"""What the process has cost so far."""

from __future__ import annotations

import sys


def peak_memory() -> int:
    """Return the largest resident size of this process or of any one finished child, in bytes.

    Source: getrusage(2); ``ru_maxrss`` counts kibibytes on Linux and bytes on macOS.
    """
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
