"""The conventions on xarray: dimensions, units, sigma beside the signal, masks, provenance."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "azimuth_coordinate",
    "check_dataset",
    "coordinate",
    "covariance_matrix",
    "errors_name",
    "errors_of",
    "is_errors",
    "radial_coordinate",
    "radial_unit_of",
    "whitened",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        home = "covariance" if name in ("covariance_matrix", "whitened") else "conventions"
        return getattr(importlib.import_module(f"friedel.data.{home}"), name)
    raise AttributeError(f"module 'friedel.data' has no attribute {name!r}")
