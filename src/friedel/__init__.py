"""friedel: from raw X-ray and electron detector frames to answers."""

from __future__ import annotations

import importlib
from typing import Any

# Everything is found on first use, so that importing friedel costs next to nothing.
_ROOMS = {
    "integration": "friedel.techniques.integration",
    "images": "friedel.techniques.images",
    "tomography": "friedel.techniques.tomography",
    "powder": "friedel.techniques.powder",
    "calibration": "friedel.techniques.calibration",
}
_NAMES = {
    "Geometry": "friedel.instrument",
    "Detector": "friedel.instrument",
    "open": "friedel.io",
    "FriedelError": "friedel.core.errors",
}
# Tasks, called from Python with the same parameters as from the shell.
_TASKS = (
    "average",
    "calculate_image",
    "calibrate",
    "calibrate_assign",
    "calibrate_detect",
    "calibrate_extract",
    "calibrate_goniometer",
    "calibrate_refine",
    "calibrate_validate",
    "densify",
    "diffraction_map",
    "distort",
    "find_peaks",
    "inpaint",
    "integrate1d",
    "integrate2d",
    "integrate_radial",
    "merge1d",
    "merge2d",
    "reconstruct",
    "separate",
    "simulate_calibrant",
    "simulate_map",
    "simulate_xrdct",
    "sparsify",
    "undistort",
    "xrdct",
    "rerun",
)

__all__ = [
    "Detector",
    "FriedelError",
    "Geometry",
    "average",
    "calculate_image",
    "calibrate",
    "calibrate_assign",
    "calibrate_detect",
    "calibrate_extract",
    "calibrate_goniometer",
    "calibrate_refine",
    "calibrate_validate",
    "calibration",
    "densify",
    "diffraction_map",
    "distort",
    "find_peaks",
    "images",
    "inpaint",
    "integrate1d",
    "integrate2d",
    "integrate_radial",
    "integration",
    "merge1d",
    "merge2d",
    "open",
    "powder",
    "reconstruct",
    "rerun",
    "separate",
    "simulate_calibrant",
    "simulate_map",
    "simulate_xrdct",
    "sparsify",
    "tomography",
    "undistort",
    "xrdct",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(_ROOMS[name])
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _TASKS:
        return getattr(importlib.import_module("friedel.apps.python"), name)
    raise AttributeError(f"module 'friedel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
