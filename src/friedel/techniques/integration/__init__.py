"""Azimuthal integration: from frames to powder patterns."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "FrameBlock": "radial_map",
    "Integrator": "integrator",
    "MultiGeometry": "merge",
    "Mean": "estimators",
    "PatternImages": "reprojection",
    "Percentile": "estimators",
    "SigmaClip": "estimators",
    "Patterns": "patterns",
    "RadialMap": "radial_map",
    "StreamedMap": "radial_map",
    "label_patterns": "results",
}

__all__ = list(_HOMES)  # pyright: ignore


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
