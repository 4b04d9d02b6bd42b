"""Parallel-beam tomography: from sinograms to slices."""

from __future__ import annotations

import importlib
from typing import Any

# Found on first use: tasks.py must be importable without numpy, scipy or xarray.
_HOMES = {
    "BackprojectionPlan": "backprojection",
    "CenterEstimate": "center",
    "CenterWarning": "reconstruction",
    "GriddingPlan": "gridding",
    "MlemPlan": "iterative",
    "ParallelBeam": "geometry",
    "SirtPlan": "iterative",
    "angular_weights": "geometry",
    "apply_plan": "reconstruction",
    "build_plan": "reconstruction",
    "find_center": "center",
    "minus_log": "cleanup",
    "normalize_monitor": "cleanup",
    "reconstruct": "reconstruction",
    "reconstruct_errors": "reconstruction",
    "remove_outliers": "cleanup",
    "remove_rings": "cleanup",
    "subtract_air": "cleanup",
    "variance_plan": "reconstruction",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
