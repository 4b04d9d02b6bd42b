"""The geometry inside the configuration of a pyFAI worker (JSON), as the entries of a PONI file.

Versions 0 to 3 of the configuration have the values of the geometry among the others, with the pixel sizes (0, 1) or
``detector_config`` (2, 3), and ``poni`` may name a PONI file whose values they replace. Since version 4 ``poni`` is a
table. The configuration of a diffraction map has that of the worker under ``ai``. Source: pyFAI 2026.9, documentation
of ``pyFAI.io.integration_config``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from friedel.core.errors import FileError

from .models import GENERIC

NAMES = {
    "poni_version": "poni_version",
    "dist": "distance",
    "distance": "distance",
    "poni1": "poni1",
    "poni2": "poni2",
    "rot1": "rot1",
    "rot2": "rot2",
    "rot3": "rot3",
    "wavelength": "wavelength",
    "parallax": "parallax",
    "detector": "detector",
    "detector_config": "detector_config",
    "pixel1": "pixelsize1",
    "pixel2": "pixelsize2",
    "pixelsize1": "pixelsize1",
    "pixelsize2": "pixelsize2",
    "splinefile": "splinefile",
}
"""Keys of the JSON, in lower case, and of a PONI file."""
PLACE = ("distance", "poni1", "poni2")


def worker_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the worker: that of a diffraction map has it under ``ai``."""
    inner = config.get("ai")
    return inner if isinstance(inner, Mapping) else config


def geometry_entries(
    path: str | Path, text: str, read_entries: Callable[[str | Path], dict[str, str]]
) -> dict[str, str]:
    """Return the entries of a PONI file that a configuration stands for.

    Parameters
    ----------
    path : path-like
        The JSON file, for messages and for the place of a PONI file that it names.
    text : str
        What is in it.
    read_entries : callable
        Reads the entries of a PONI file.

    Raises
    ------
    FileError
        If it is no JSON table, or names a PONI file that cannot be read.
    """
    try:
        config = json.loads(text)
    except ValueError as error:
        raise FileError(path, f"is no PONI file, and no JSON: {error}.", "Give a PONI file.") from None
    if not isinstance(config, Mapping):
        raise FileError(path, "holds no table of parameters.", "Give a PONI file, or the configuration of a worker.")
    worker = worker_of(config)
    poni = worker.get("poni")
    own = _own_entries(poni if isinstance(poni, Mapping) else worker)
    if not isinstance(poni, str) or not poni.strip():
        return own
    file = near(poni.strip(), path)
    if not file.exists() and "detector" in own and all(key in own for key in PLACE):
        return own
    return _replaced(read_entries(file), own)


def near(name: str, path: str | Path) -> Path:
    """Return where a file named in `path` is: as pyFAI takes it, from the working folder, else beside `path`."""
    file = Path(name)
    beside = Path(path).parent / name
    return beside if not file.exists() and beside.exists() else file


def _own_entries(values: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        name = NAMES.get(key.casefold())
        if name is None or value is None or value == "":
            continue
        found[name] = json.dumps(value) if isinstance(value, Mapping) else str(value)
    if "detector_config" in found:
        found.setdefault("poni_version", "2.1")
    elif "detector" in found or "pixelsize1" in found:
        found["poni_version"] = "1"
        # pyFAI takes the pixels of a model from the model.
        if found.get("detector", GENERIC).casefold() != GENERIC.casefold():
            found.pop("pixelsize1", None)
            found.pop("pixelsize2", None)
    return found


def _replaced(entries: dict[str, str], own: dict[str, str]) -> dict[str, str]:
    """Return the entries of the PONI file with those that the configuration gives itself instead."""
    if "detector" not in own:
        own = {key: value for key, value in own.items() if key not in ("pixelsize1", "pixelsize2", "poni_version")}
    elif "detector_config" not in own:
        entries = {key: value for key, value in entries.items() if key != "detector_config"}
    return entries | own
