"""Calibration: from images of a calibrant to a geometry, and how far it can be trusted."""

from __future__ import annotations

import importlib
from typing import Any

# Found on first use: tasks.py must be importable without numpy, scipy or xarray.
_HOMES = {
    "Calibration": "calibrate",
    "Candidate": "search",
    "ControlPoints": "points",
    "Finding": "findings",
    "GeometryModel": "models",
    "GoniometerCalibration": "goniometer",
    "GoniometerModel": "goniometer_model",
    "ImagesModel": "models",
    "ModuleOffset": "modules",
    "ModuleRefinement": "modules",
    "Quantity": "derived",
    "Refinement": "refinement",
    "RingPoints": "points",
    "Scene": "calibrate",
    "Validation": "validation",
    "calibrate_goniometer": "goniometer",
    "calibrate_images": "calibrate",
    "compare": "validation",
    "derived_quantities": "derived",
    "detect": "detection",
    "extract": "extraction",
    "find_geometry": "search",
    "first_geometry": "known_rings",
    "refine": "refinement",
    "refine_modules": "modules",
    "ring_curve": "ring_curves",
    "usual_formulas": "goniometer_model",
    "validate": "validation",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
