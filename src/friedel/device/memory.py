"""How much memory this process may use."""

from __future__ import annotations

import os
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")


def memory_limit() -> int:
    """Return how many bytes this process may use: those of the machine, or fewer where a batch system limits them."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([physical, *_limits(CONTROL_GROUPS, OWN_GROUP)])


def _limits(root: Path, own: Path) -> list[int]:
    """Return the limits of the control groups (Linux, versions 1 and 2) that the process is in."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers in ("", "memory"):
            name = "memory.max" if controllers == "" else "memory.limit_in_bytes"
            folder = Path(group.lstrip("/"))
            # A group inside a container may be named as it is outside: its root is then that of the container.
            files += [root / controllers / part / name for part in (folder, *folder.parents)]
    return [limit for file in files if (limit := _number(file)) is not None]


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # no such group, or "max"
