"""The rows of the comparison with pyFAI: what each integrates, and how both are asked for it.

A row names a frame, options of `friedel.integration.RadialMap.build`, and a call of pyFAI with its keywords; images
(mask, dark, flat, variance) are named by what the frame brings. Rows that are known to differ say why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

SPLITTINGS = {"none": "no", "bbox": "bbox", "full": "full"}
MODELS = ("none", "poisson", "azimuthal", "variance")
RADIAL_UNITS = {
    "2th_deg": (2.0, 24.0),
    "2th_rad": (0.04, 0.4),
    "q_nm^-1": (5.0, 50.0),
    "q_A^-1": (0.5, 5.0),
    "d_nm": (0.13, 0.6),
    "d_A": (1.3, 6.0),
    "r_mm": (12.0, 130.0),
    "r_m": (0.012, 0.13),
    "d*2_nm^-2": (1.0, 60.0),
    "d*2_A^-2": (0.01, 0.6),
    "log10(q.m)_None": (9.7, 10.7),
    "log(q.nm)_None": (1.7, 3.9),
    "log(1+q.nm)_None": (1.8, 3.9),
    "log(1+q.A)_None": (0.4, 1.7),
    "arcsinh(q.nm)_None": (2.3, 4.6),
    "arcsinh(q.A)_None": (0.5, 2.3),
}
"""Units of a powder pattern, and a range that the detector covers."""
SCATTERING_ANGLE = "scattering_angle_vert_rad"
SURFACE_UNITS = (
    ("qip_A^-1", "qoop_A^-1"),
    ("qxgi_nm^-1", "qygi_nm^-1"),
    ("qygi_A^-1", "qzgi_A^-1"),
    ("qtot_nm^-1", "chigi_deg"),
)
ORIENTATIONS = range(1, 9)
POSE = {"incidence": 0.6, "tilt": 1.4}

ONE_PASS = "pyFAI sums the azimuthal variance in one pass, which is not exact for unequal weights"
POLYGONS = "pyFAI shares polygons wrongly between azimuthal bins: those within one bin are compared"
DESCENDING = (
    "where the unit falls with the radius, pyFAI takes pixels across the azimuth 0 for pixels across the cut: they are "
    "masked"
)
HALVES = (
    "on the slopes of rings most pixels lie beyond the noise of counts: pyFAI drops nearly all of a bin, friedel clips "
    "by the spread where more than half would go"
)
SLIVERS = (
    "a bin that holds little but a sliver of one bright pixel hangs on the share of it, which pyFAI has in single "
    "precision"
)
TIES = "single precision decides which of several pixels of nearly the same value is the median"
TURNS = (0.0, 0.08, 0.17)
"""Angles in rad by which the detector is turned where several geometries are merged."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    name : str
    ours : dict
        Options for friedel.
    call : str
        Method of pyFAI's integrator.
    theirs : dict
        Its keywords.
    frame : str
        What is integrated.
    limit : dict
        Largest relative difference that is asked for, where it is not that of all rows.
    reason : str
        Why a row has another limit, or is compared in part.
    least : float
        Pixels that a bin must have more of to be compared.
    """

    name: str
    ours: dict[str, Any]
    call: str
    theirs: dict[str, Any]
    frame: str = "synthetic"
    limit: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    least: float = 1.0


def _pattern(name: str, ours: dict[str, Any], theirs: dict[str, Any], **more: Any) -> Row:
    common = {"npt": 400, "unit": "2th_deg", "radial_range": (2.0, 24.0)}
    return Row(name, common | ours, more.pop("call", "integrate1d_ng"), common | theirs, **more)


def _cake(name: str, ours: dict[str, Any], theirs: dict[str, Any], **more: Any) -> Row:
    common = {"unit": "2th_deg", "radial_range": (2.0, 24.0), "azimuth_range": (-170.0, 160.0)}
    grid = {"npt": 300, "npt_azimuth": 90}
    return Row(name, common | grid | ours, "integrate2d_ng", common | {"npt_rad": 300, "npt_azim": 90} | theirs, **more)


def _errors(model: str) -> dict[str, Any]:
    return {"variance": "variance"} if model == "variance" else {"error_model": None if model == "none" else model}


def rows() -> Iterator[Row]:
    """Yield every row."""
    yield from _splittings_and_models()
    yield from _units()
    yield from _estimators()
    yield from _unweighted()
    yield from _surfaces()
    yield from _merged()
    yield from _real_frames()


def _splittings_and_models() -> Iterator[Row]:
    for ours, theirs in SPLITTINGS.items():
        for model in MODELS:
            method = {"method": (theirs, "csc", "cython")}
            limit = {"sigma": 3e-2} if model == "azimuthal" else {}
            yield _pattern(
                f"pattern, {ours}, {model}", {"splitting": ours, "error_model": model}, method | _errors(model),
                limit=limit, reason=ONE_PASS if limit else "",
            )  # fmt: skip
            if model == "azimuthal":
                continue
            mask = {"mask": "cake_mask"} if ours == "full" else {}
            yield _cake(
                f"cake, {ours}, {model}", {"splitting": ours, "error_model": model} | mask,
                method | _errors(model) | mask, reason=POLYGONS if mask else "",
            )  # fmt: skip
    method = {"method": ("bbox", "csc", "cython")}
    # Without clipping hybrid errors are Poisson's, and friedel wants them called so.
    yield _pattern("pattern, none, hybrid", {"splitting": "none", "error_model": "poisson"},
                   {"method": ("no", "csr", "cython"), "error_model": "hybrid"})  # fmt: skip
    yield _pattern("sector, none, poisson",
                   {"splitting": "none", "error_model": "poisson", "azimuth_range": (100.0, 200.0)},
                   {"method": ("no", "csc", "cython"), "error_model": "poisson", "azimuth_range": (100.0, 200.0),
                    "from_zero": True})  # fmt: skip


def _units() -> Iterator[Row]:
    for unit, limits in RADIAL_UNITS.items():
        # Wide enough that no pixel reaches beyond the bins at the ends of the range.
        npt = 60 if unit.startswith("d_") else 100 if "(" in unit else 200
        same = {"unit": unit, "radial_range": limits, "npt": npt}
        for ours in ("none", "full"):
            descending = unit.startswith("d_") and ours == "full"
            mask = {"mask": "axis_mask"} if descending else {}
            yield _pattern(
                f"unit {unit}, {ours}", same | mask | {"splitting": ours},
                same | mask | {"method": (SPLITTINGS[ours], "csc", "cython")}, reason=DESCENDING if mask else "",
            )  # fmt: skip
    same = {"unit": SCATTERING_ANGLE, "radial_range": (-0.2, 0.2), "npt": 200}
    yield _pattern(
        f"unit {SCATTERING_ANGLE}, none", same | {"splitting": "none"}, same | {"method": ("no", "csc", "cython")}
    )


def _estimators() -> Iterator[Row]:
    for model in ("azimuthal", "poisson", "hybrid"):
        limit = {"sigma": 3e-2} if model == "azimuthal" else {}
        yield _pattern(
            f"sigma clip, {model}", {"splitting": "none", "error_model": model, "estimator": ["SigmaClip", 5.0, 5]},
            {"method": ("no", "csr", "cython"), "error_model": model, "thres": 5, "max_iter": 5},
            call="sigma_clip_ng", frame="spots", limit=limit,
            reason={"azimuthal": ONE_PASS, "poisson": HALVES}.get(model, ""),
        )  # fmt: skip
    for low, high in ((50.0, 50.0), (20.0, 80.0)):
        for ours, theirs in SPLITTINGS.items():
            yield _pattern(
                f"percentiles {low:g} to {high:g}, {ours}",
                {"splitting": ours, "error_model": "poisson", "estimator": ["Percentile", low, high]},
                {"method": (theirs, "csr", "cython"), "error_model": "poisson",
                 "percentile": low if low == high else (low, high)},
                call="medfilt1d_ng", frame="spots", least=0.0, reason=TIES,
            )  # fmt: skip


def _unweighted() -> Iterator[Row]:
    for ours, theirs in SPLITTINGS.items():
        yield _pattern(f"unweighted, {ours}, poisson", {"splitting": ours, "error_model": "poisson", "weighted": False},
                       {"method": (theirs, "csc", "cython"), "error_model": "poisson", "unweighted": True})  # fmt: skip


def _surfaces() -> Iterator[Row]:
    for unit, azimuth_unit in SURFACE_UNITS:
        yield _surface(unit, azimuth_unit, 1)
    for orientation in ORIENTATIONS:
        yield _surface("qip_nm^-1", "qoop_nm^-1", orientation)


def _surface(unit: str, azimuth_unit: str, orientation: int) -> Row:
    pose = POSE | {"sample_orientation": orientation}
    return Row(
        f"{unit} and {azimuth_unit}, orientation {orientation}",
        {"npt": 120, "npt_azimuth": 100, "unit": unit, "azimuth_unit": azimuth_unit, "splitting": "none",
         "error_model": "poisson", **pose},
        "integrate2d_ng",
        {"npt_rad": 120, "npt_azim": 100, "unit": unit, "azimuth_unit": azimuth_unit, "error_model": "poisson",
         "method": ("no", "csc", "cython"), **pose},
    )  # fmt: skip


def _merged() -> Iterator[Row]:
    for ours, theirs in SPLITTINGS.items():
        same = {"unit": "q_nm^-1", "radial_range": (5.0, 60.0), "npt": 400, "error_model": "poisson", "dark": None}
        yield _pattern(
            f"several geometries, {ours}, poisson", same | {"splitting": ours},
            same | {"method": (theirs, "csr", "cython"), "turns": TURNS}, call="MultiGeometry.integrate1d",
        )  # fmt: skip


def _real_frames() -> Iterator[Row]:
    for frame, npt, unit in (("golden", 1512, "2th_deg"), ("CeO2 2M", 1000, "q_nm^-1"), ("phi scan", 200, "r_mm"),
                             ("lambda", 300, "r_mm")):  # fmt: skip
        for ours, theirs in SPLITTINGS.items():
            grid = {"npt": npt, "unit": unit, "radial_range": "frame"}
            yield Row(f"{frame}, {ours}", grid | {"splitting": ours, "error_model": "poisson"}, "integrate1d_ng",
                      grid | {"method": (theirs, "csc", "cython"), "error_model": "poisson"}, frame,
                      reason="" if ours == "none" else SLIVERS)  # fmt: skip
