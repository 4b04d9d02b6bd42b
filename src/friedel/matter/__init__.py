"""Elements, form factors, cells, space groups and crystals."""

from __future__ import annotations

from typing import Any

_HOMES = {
    "Atoms": "crystal",
    "Crystal": "crystal",
    "Reflections": "crystal",
    "Site": "crystal",
    "air": "amorphous",
    "atomic_form_factor": "crystal",
    "built_in_phases": "phases",
    "silica_glass": "amorphous",
}

__all__ = ["Atoms", "Crystal", "Reflections", "Site", "air", "atomic_form_factor", "built_in_phases", "silica_glass"]


def __getattr__(name: str) -> Any:
    # gemmi is loaded when a crystal is first asked for.
    if name not in _HOMES:
        raise AttributeError(f"module 'friedel.matter' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"friedel.matter.{_HOMES[name]}"), name)
