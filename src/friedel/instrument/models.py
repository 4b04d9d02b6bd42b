"""Finding a detector model by any of its names."""

from __future__ import annotations

import difflib
import re
from functools import cache

from friedel.core.errors import ParameterError

from .model_kinds import DetectorModel
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
        close = difflib.get_close_matches(_key(name), _models_by_key(), n=6, cutoff=0.5)
        near = list(dict.fromkeys(_models_by_key()[key].name for key in close))
        raise ParameterError(
            f"There is no detector {name!r}.",
            (f"Detectors like it: {', '.join(near)}. " if near else "")
            + f"All are listed by 'friedel detectors'; '{GENERIC}' with pixel sizes describes any other.",
        )
    return found


def models_of_shape(shape: tuple[int, int]) -> list[str]:
    """Return the names of the models whose frames have `shape`."""
    return [model.name for model in MODELS if model.default_readout().shape == shape]
