"""Finding a detector model by any of its names."""

from __future__ import annotations

import difflib
import re
from functools import cache

from friedel.core.errors import ParameterError

from .model_kinds import Bent, Chips, DetectorModel, Polygon, RoundPlate, WiderEdges
from .model_table import MODELS

GENERIC = "Detector"

SERIES = frozenset({"x", "xe", "s", "r", "si"})
"""Words of Dectris between the family and the size that tell neither pixels nor modules: "Eiger2 X 4M"."""


@cache
def models() -> dict[str, DetectorModel]:
    """Return every model by name."""
    return {model.name: model for model in MODELS}


def _key(name: str) -> str:
    """Reduce a name to what tells models apart: neither case, spaces, dashes nor the place of "CdTe" do."""
    words = re.split(r"[\s_-]+", name.partition(",")[0].casefold())  # cameras put a serial number behind a comma
    if any(word.startswith(("pilatus", "eiger")) for word in words):
        words = ["pilatus" if word == "pilatus3" else word for word in words if word not in SERIES]
    key = re.sub(r"(\d)\.(\d)m", r"\1m\2", "".join(words))  # "7.5M" is spelled 7M5 too
    key = re.sub(r"[^a-z0-9]", "", key)
    for word in ("dectris", "detector", "elmer"):
        key = key.replace(word, "") or key
    return key.replace("cdte", "") + "cdte" if "cdte" in key else key


@cache
def _models_by_key() -> dict[str, DetectorModel]:
    aliases = {_key(alias): model for model in MODELS for alias in model.aliases}
    return aliases | {_key(model.name): model for model in MODELS}


def find_model(name: str) -> DetectorModel:
    """Return the model called `name`, in any of its spellings.

    Raises
    ------
    ParameterError
        If there is none; the message lists those that are close.
    """
    found = _models_by_key().get(_key(name))
    if found is None:
        near = _like(_key(name))
        raise ParameterError(
            f"There is no detector {name!r}.",
            (f"Detectors like it: {', '.join(near)}. " if near else "")
            + "All are listed by 'friedel detectors'; any other is described by the size of its pixels, 75um.",
        )
    return found


def _like(key: str) -> list[str]:
    """Return the names of models that begin like a key, or else of those that are spelled much like it."""
    known = _models_by_key()
    close = [other for other in known if len(key) > 1 and other.startswith(key)]
    close = close or difflib.get_close_matches(key, known, n=6, cutoff=0.5)
    return list(dict.fromkeys(known[other].name for other in close))


def layout_words(model: DetectorModel) -> str:
    """Return in words what is special about the pixels of a model, "" if nothing is."""
    layout = model.layout
    if isinstance(layout, RoundPlate):
        return "round plate"
    if isinstance(layout, Chips):
        return f"chips of {layout.size[0]} x {layout.size[1]} pixels"
    if isinstance(layout, WiderEdges):
        return f"wider pixels at the edges of chips of {layout.chip[0]} x {layout.chip[1]}"
    if isinstance(layout, Polygon):
        return f"modules on an arc, {layout.angle:g} degrees between neighbours"
    if isinstance(layout, Bent):
        return f"bent to a cylinder, radius {layout.radius:g} m"
    return "" if layout is None else "hexagonal pixels"


def models_of_shape(shape: tuple[int, int]) -> list[str]:
    """Return the names of the models whose frames have `shape` in one of their readouts."""
    return [
        model.name
        for model in MODELS
        if shape in (model.default_readout().shape, *(readout.shape for readout in model.readouts))
    ]
