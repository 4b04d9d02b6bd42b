"""Finds the reference data that are too large for the repository, or skips the test that needs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VARIABLE = "FRIEDEL_SHARED"
REPOSITORY = Path(__file__).resolve().parents[1]


def shared_folder() -> Path:
    """Return the folder of shared material: the variable ``FRIEDEL_SHARED``, else ``shared`` beside the repository."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else REPOSITORY.parent / "shared"


def shared(*parts: str) -> Path:
    """Return a path below ``shared/data``; skip the running test if it is absent."""
    path = shared_folder().joinpath("data", *parts)
    if not path.exists():
        pytest.skip(f"shared data {path} is absent (set {VARIABLE} to the folder that holds data/)")
    return path
