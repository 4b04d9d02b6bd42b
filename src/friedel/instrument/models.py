"""Detector models as data: modules, gaps and pixel sizes.

Numbers are the manufacturers' (Dectris, X-Spectrum, PSI, Varex, Rayonix, ...); the masks were compared with
those of another package for each model.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache

from friedel.core.errors import ParameterError

GENERIC = "Detector"

Span = tuple[int, int]


@dataclass(frozen=True)
class DetectorModel:
    """A detector as it is sold.

    Attributes
    ----------
    name : str
    shape : (int, int)
        Rows and columns, unbinned.
    pixel1, pixel2 : float
        Unbinned pixel size in m.
    gap_rows, gap_columns : tuple of (int, int)
        Spans without sensitive pixels.
    dummy, delta_dummy
        See `Detector`.
    default_binning : int
        Binning that is meant when no pixel size is given.
    """

    name: str
    shape: tuple[int, int]
    pixel1: float
    pixel2: float
    gap_rows: tuple[Span, ...] = ()
    gap_columns: tuple[Span, ...] = ()
    dummy: float | None = None
    delta_dummy: float = 0.0
    default_binning: int = 1


@dataclass(frozen=True)
class Family:
    """Detectors tiled from one module.

    Attributes
    ----------
    name : str
        The models' names, with ``{}`` for the size.
    pixel : float
        In m.
    module, gap : (int, int)
        Rows and columns of a module and of the gap between two.
    sizes : dict
        Size in the name to (modules along y, modules along x).
    seam : (int, int) or None
        Columns inside each module without sensitive pixels (two CdTe crystals side by side).
    """

    name: str
    pixel: float
    module: tuple[int, int]
    gap: tuple[int, int]
    sizes: dict[str, tuple[int, int]]
    seam: Span | None = None
    dummy: float | None = -2.0
    delta_dummy: float = 1.5

    def models(self) -> list[DetectorModel]:
        """Return one model for each size."""
        return [self._model(size, tiles) for size, tiles in self.sizes.items()]

    def _model(self, size: str, tiles: tuple[int, int]) -> DetectorModel:
        (rows, columns), (gap_rows, gap_columns) = self.module, self.gap
        shape = (tiles[0] * (rows + gap_rows) - gap_rows, tiles[1] * (columns + gap_columns) - gap_columns)
        seams: list[Span] = []
        if self.seam is not None:
            start, stop = self.seam
            seams = [(start + i * (columns + gap_columns), stop + i * (columns + gap_columns)) for i in range(tiles[1])]
        return DetectorModel(
            name=self.name.format(size),
            shape=shape,
            pixel1=self.pixel,
            pixel2=self.pixel,
            gap_rows=_gaps(rows, gap_rows, tiles[0]),
            gap_columns=tuple(sorted([*_gaps(columns, gap_columns, tiles[1]), *seams])),
            dummy=self.dummy,
            delta_dummy=self.delta_dummy,
        )


def _gaps(module: int, gap: int, count: int) -> tuple[Span, ...]:
    return tuple((module + i * (module + gap), (i + 1) * (module + gap)) for i in range(count - 1))


_PILATUS = {"100k": (1, 1), "200k": (2, 1), "300k": (3, 1), "300kw": (1, 3), "900k": (3, 3), "1M": (5, 2), "2M": (8, 3)}
_PILATUS |= {"6M": (12, 5)}
_PILATUS_CDTE = {"300k": (3, 1), "300kw": (1, 3), "900kw": (1, 9), "1M": (5, 2), "2M": (8, 3)}
_PILATUS4 = {"260k": (2, 1), "260kw": (1, 2), "1M": (4, 2), "2M": (6, 3), "4M": (8, 4)}
_EIGER = {"500k": (1, 1), "1M": (2, 1), "4M": (4, 2), "9M": (6, 3), "16M": (8, 4)}
_EIGER2 = {**_EIGER, "1MW": (1, 2), "2MW": (1, 4)}
_LAMBDA = {"60k": (1, 1), "250k": (2, 2), "750k": (2, 6), "2M": (6, 6), "7M5": (10, 10), "10M": (10, 18)}

FAMILIES = (
    Family("Pilatus{}", 172e-6, (195, 487), (17, 7), _PILATUS),
    Family("PilatusCdTe{}", 172e-6, (195, 487), (17, 7), _PILATUS_CDTE, seam=(242, 245)),
    Family("Pilatus4_{}", 150e-6, (255, 513), (20, 7), _PILATUS4),
    Family("Pilatus4_CdTe_{}", 150e-6, (255, 513), (20, 7), _PILATUS4, seam=(256, 257)),
    Family("Eiger{}", 75e-6, (514, 1030), (37, 10), _EIGER),
    Family("Eiger2_{}", 75e-6, (512, 1028), (38, 12), _EIGER2),
    Family("Eiger2CdTe_{}", 75e-6, (512, 1028), (38, 12), _EIGER2, seam=(513, 515)),
    Family("Jungfrau{}", 75e-6, (514, 1030), (36, 8), {"1M": (2, 1), "4M": (4, 2)}),
    # No dummy: a pixel without counts is a valid one (pyFAI takes 0 for invalid, which raises weak intensities).
    Family("Lambda{}", 55e-6, (256, 256), (4, 4), _LAMBDA, dummy=None, delta_dummy=0.0),
    Family(
        "Maxipix{}", 55e-6, (256, 256), (4, 4), {"": (1, 1), "2x2": (2, 2), "5x1": (1, 5)}, dummy=None, delta_dummy=0.0
    ),
)

# name, rows, columns, unbinned pixel in m, binning meant when no pixel size is given
_PLAIN: tuple[tuple[str, int, int, float, int], ...] = (
    ("Perkin", 4096, 4096, 100e-6, 2),
    ("Pixium", 1910, 2480, 154e-6, 2),
    ("Dexela2923", 3888, 3072, 75e-6, 1),
    ("Eiger2_250k", 512, 512, 75e-6, 1),
    ("HF_1M", 1024, 1024, 150e-6, 1),
    ("HF_4M", 2048, 2048, 150e-6, 1),
    ("HF_9M", 3072, 3072, 150e-6, 1),
    ("RayonixMx225", 6144, 6144, 36.621e-6, 2),
    ("RayonixMx225hs", 5760, 5760, 39.0625e-6, 2),
    ("RayonixMx300", 8192, 8192, 36.621e-6, 2),
    ("RayonixLx170", 1920, 3840, 44.2708e-6, 1),
    ("RayonixMx170", 3840, 3840, 44.2708e-6, 1),
)


@cache
def models() -> dict[str, DetectorModel]:
    """Return every model by name."""
    plain = [
        DetectorModel(name, (rows, columns), pixel, pixel, default_binning=binning)
        for name, rows, columns, pixel, binning in _PLAIN
    ]
    tiled = [model for family in FAMILIES for model in family.models()]
    return {model.name: model for model in [*tiled, *plain]}


def _key(name: str) -> str:
    """Reduce a name to what tells models apart: neither case, spaces, dashes nor the place of "CdTe" do."""
    key = re.sub(r"(\d)\.(\d)m", r"\1m\2", name.casefold())  # "7.5M" is spelled 7M5 too
    key = re.sub(r"[^a-z0-9]", "", key)
    for word in ("dectris", "detector", "elmer"):
        key = key.replace(word, "")
    return key.replace("cdte", "") + "cdte" if "cdte" in key else key


@cache
def _models_by_key() -> dict[str, DetectorModel]:
    return {_key(name): model for name, model in models().items()}


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
        known = [_models_by_key()[key].name for key in close] or list(models())
        raise ParameterError(
            f"There is no detector {name!r}.",
            f"Detectors like it: {', '.join(known)}; '{GENERIC}' with pixel sizes describes any other.",
        )
    return found


def models_of_shape(shape: tuple[int, int]) -> list[str]:
    """Return the names of the models whose frames have `shape`."""
    return [
        model.name
        for model in models().values()
        if (model.shape[0] // model.default_binning, model.shape[1] // model.default_binning) == shape
    ]
