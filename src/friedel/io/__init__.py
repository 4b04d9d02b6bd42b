"""File formats: lazy frame sources, block sinks, NeXus in and out."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Axis": "axes",
    "FileDescription": "inspect",
    "FrameSource": "frames",
    "FrameWriter": "scan_writer",
    "MemorySink": "memory",
    "RegionFile": "regions",
    "RegionSpec": "region_layout",
    "describe_file": "inspect",
    "finished_result": "nexus",
    "label_frames": "lazy",
    "map_rows": "regions",
    "open": "opening",
    "open_dataset": "nexus",
    "open_frames": "frames",
    "read_image": "images",
    "read_mask": "images",
    "read_pattern": "text",
    "read_provenance": "nexus",
    "source_of": "lazy",
    "store_image": "images",
    "variable_path": "nexus",
    "write_dataset": "nexus",
    "write_image": "images",
    "write_pattern": "text",
}

__all__ = [
    "Axis",
    "FileDescription",
    "FrameSource",
    "FrameWriter",
    "MemorySink",
    "RegionFile",
    "RegionSpec",
    "describe_file",
    "finished_result",
    "label_frames",
    "map_rows",
    "open",
    "open_dataset",
    "open_frames",
    "read_image",
    "read_mask",
    "read_pattern",
    "read_provenance",
    "source_of",
    "store_image",
    "variable_path",
    "write_dataset",
    "write_image",
    "write_pattern",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"friedel.io.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'friedel.io' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
