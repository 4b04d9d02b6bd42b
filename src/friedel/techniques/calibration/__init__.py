"""Calibration: from images of a calibrant to a geometry, and how far it can be trusted."""

from __future__ import annotations

import importlib
from typing import Any

# Found on first use: tasks.py must be importable without numpy, scipy or xarray.
_HOMES = {
    "Candidate": "search",
    "ControlPoints": "points",
    "GeometryModel": "models",
    "GoniometerModel": "goniometer_model",
    "ImagesModel": "models",
    "Quantity": "derived",
    "Refinement": "refinement",
    "RingPoints": "points",
    "derived_quantities": "derived",
    "detect": "detection",
    "find_geometry": "search",
    "extract": "extraction",
    "refine": "refinement",
    "usual_formulas": "goniometer_model",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
