"""File formats: lazy frame sources, block sinks, NeXus in and out."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Axis": "axes",
    "FrameSource": "frames",
    "FrameWriter": "scan_writer",
    "MemorySink": "regions",
    "RegionFile": "regions",
    "RegionSpec": "regions",
    "open_dataset": "nexus",
    "open_frames": "frames",
    "read_provenance": "nexus",
    "variable_path": "nexus",
    "write_dataset": "nexus",
}

__all__ = list(_HOMES)  # pyright: ignore


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"friedel.io.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'friedel.io' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
