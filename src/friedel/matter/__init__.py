"""Elements, form factors, cells, space groups and crystals."""

from __future__ import annotations

from typing import Any

_HOMES = {
    "Atoms": "crystal",
    "Crystal": "crystal",
    "MATERIALS": "attenuation",
    "Material": "attenuation",
    "Reflections": "crystal",
    "Site": "crystal",
    "air": "amorphous",
    "atomic_form_factor": "crystal",
    "built_in_phases": "phases",
    "material": "attenuation",
    "silica_glass": "amorphous",
}

__all__ = list(_HOMES)  # pyright: ignore


def __getattr__(name: str) -> Any:
    # gemmi is loaded when a crystal is first asked for, xraydb when an attenuation is.
    if name not in _HOMES:
        raise AttributeError(f"module 'friedel.matter' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"friedel.matter.{_HOMES[name]}"), name)
