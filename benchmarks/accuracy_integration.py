"""How far friedel's patterns and cakes are from pyFAI's, from a reference curve, and both from brute force.

A noisy Pilatus 2M frame of rings with gaps, dead pixels, dark, flat field, solid angle, polarization and a
normalization is integrated by both, with each splitting and error model, over a fixed radial range; the bins between
the first and the last are compared. Then the places where pyFAI is off are measured against brute force. With the
shared data present, the real CeO2 frame is compared with its reference curve.

    python benchmarks/accuracy_integration.py

pyFAI runs in the interpreter that the variable FRIEDEL_PEERS names, else in .venv-peers (benchmarks/peers.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.provenance import friedel_version
from friedel.instrument import Detector, Geometry
from friedel.io import read_image
from friedel.kernels.scatter import reference_scatter
from friedel.techniques.integration import FrameBlock, RadialMap

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "accuracy_integration.json"
SHAPE, PIXEL = (1679, 1475), 172e-6
PLACE = (0.3, 0.151, 0.118, 0.07, -0.05, 0.2)
WAVELENGTH = 0.5e-10
RANGE, NPT = (2.0, 24.0), 400  # bins wider than a pixel: pyFAI renormalises those across a limit
NPT_2D, NPT_AZIMUTH, SECTOR = 300, 90, (-170.0, 160.0)
FACTOR, POLARIZATION = 1.7, 0.97
SPLITTINGS, MODELS = ("none", "bbox", "full"), ("none", "poisson", "azimuthal", "variance")
INTENSITY, SIGMA = 1e-5, 1e-4

PEER = """
import logging, sys, warnings
warnings.filterwarnings("ignore"); logging.disable(logging.CRITICAL)
import numpy as np, pyFAI
from pyFAI.detectors import Detector
from pyFAI.integrator.azimuthal import AzimuthalIntegrator
given = dict(np.load(sys.argv[1]))
ai = AzimuthalIntegrator(*given["place"], detector=Detector(float(given["pixel"]), float(given["pixel"]),
                         max_shape=given["frame"].shape, orientation=3), wavelength=float(given["wavelength"]))
common = dict(dark=given["dark"], flat=given["flat"], polarization_factor=float(given["polarization"]),
              normalization_factor=float(given["factor"]), unit="2th_deg", radial_range=tuple(given["range"]))
made = {"version": np.array(pyFAI.version)}
for splitting, name in {"none": "no", "bbox": "bbox", "full": "full"}.items():
    for model in ("none", "poisson", "azimuthal", "variance"):
        errors = dict(variance=given["variance"]) if model == "variance" else dict(
            error_model=None if model == "none" else model)
        one = ai.integrate1d_ng(given["frame"], int(given["npt"]), method=(name, "csc", "cython"), mask=given["mask"],
                                **common, **errors)
        two = ai.integrate2d_ng(given["frame"], int(given["npt_2d"]), int(given["npt_azimuth"]), mask=given[
            "cake_mask" if splitting == "full" else "mask"], azimuth_range=tuple(given["sector"]),
            method=(name, "csc", "cython"), **common, **errors)
        for kind, result in (("1d", one), ("2d", two)):
            made[f"{kind}.{splitting}.{model}"] = result.intensity
            made[f"{kind}.{splitting}.{model}.count"] = result.count
            if model != "none":
                made[f"{kind}.{splitting}.{model}.sigma"] = result.sigma
np.savez(sys.argv[2], **made)
"""


def scene() -> dict[str, NDArray[Any]]:
    """Return the frame and all that goes with it."""
    rng = np.random.default_rng(7)
    geometry = setup()
    angle = geometry.center_array("2th_deg")
    rings = sum(800 * np.exp(-(((angle - at) / 0.06) ** 2)) for at in np.arange(3.0, 24.0, 1.3))
    flat = rng.uniform(0.7, 1.3, SHAPE).astype(np.float32)
    dark = rng.uniform(0, 4, SHAPE).astype(np.float32)
    mask = Detector.named("Pilatus2M").mask() | (rng.uniform(size=SHAPE) < 0.005)
    ideal = (40 + rings) * geometry.solid_angle() * geometry.polarization(POLARIZATION) * flat + dark
    row = np.floor((np.rad2deg(geometry.azimuth_corners()) - SECTOR[0]) / (SECTOR[1] - SECTOR[0]) * NPT_AZIMUTH)
    return {
        "frame": rng.poisson(ideal).astype(np.int32),
        "dark": dark,
        "flat": flat,
        "mask": mask,
        "cake_mask": mask | (row.max(axis=-1) != row.min(axis=-1)),
        "variance": rng.uniform(20, 90, SHAPE).astype(np.float32),
    }


def setup() -> Geometry:
    """Return the geometry."""
    return Geometry(Detector.from_shape(SHAPE, PIXEL), *PLACE, wavelength=WAVELENGTH)


def ask_peer(given: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what pyFAI makes of it."""
    named = os.environ.get("FRIEDEL_PEERS")
    python = Path(named) if named else REPOSITORY / ".venv-peers" / "bin" / "python"
    if not python.exists():
        sys.exit(f"{python} is absent: run python benchmarks/peers.py, or set FRIEDEL_PEERS.")
    numbers = {
        "place": np.array(PLACE),
        "pixel": PIXEL,
        "wavelength": WAVELENGTH,
        "range": np.array(RANGE),
        "npt": NPT,
        "npt_2d": NPT_2D,
        "npt_azimuth": NPT_AZIMUTH,
        "sector": np.array(SECTOR),
        "factor": FACTOR,
        "polarization": POLARIZATION,
    }
    with TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("given.npz", "made.npz")]
        np.savez(paths[0], **given, **numbers)  # type: ignore[arg-type]
        subprocess.run([python, "-c", PEER, *paths], check=True)
        with np.load(paths[1]) as made:
            return dict(made)


def integrate(given: dict[str, NDArray[Any]], splitting: str, model: str, cake: bool) -> tuple[RadialMap, Any]:
    """Return friedel's map and what it makes of the frame."""
    grid: dict[str, Any] = {"npt": NPT}
    if cake:
        grid = {"npt": NPT_2D, "npt_azimuth": NPT_AZIMUTH, "azimuth_range": SECTOR}
    plan = RadialMap.build(
        setup(),
        unit="2th_deg",
        splitting=splitting,  # type: ignore[arg-type]
        error_model=model,  # type: ignore[arg-type]
        radial_range=RANGE,
        mask=given["cake_mask" if cake and splitting == "full" else "mask"],
        dark=given["dark"],
        flat=given["flat"],
        polarization=POLARIZATION,
        keep_sums=True,
        **grid,
    )
    variance = given["variance"] if model == "variance" else None
    return plan, plan(FrameBlock(given["frame"][None], normalization=np.array([FACTOR]), variance=variance))


def difference(
    found: NDArray[Any], expected: NDArray[Any], counted: NDArray[Any] | None, limit: float
) -> dict[str, Any]:
    """Compare the bins between the first and the last of each axis, where enough pixels were counted."""
    inner = tuple(slice(1, -1) for _ in found.shape)
    relative = np.abs(found / np.where(expected == 0, np.nan, expected) - 1)[inner]
    if counted is not None:
        relative = relative[counted[inner] > 1.0]
    relative = relative[np.isfinite(relative)]
    return {
        "median": float(np.median(relative)),
        "largest": float(relative.max()),
        "bins": int(relative.size),
        "bins_beyond": int(np.count_nonzero(relative > limit)),
        "limit": limit,
    }


def compare(given: dict[str, NDArray[Any]], theirs: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the table: patterns and cakes, each splitting, each error model."""
    table: dict[str, Any] = {}
    for kind in ("1d", "2d"):
        for splitting in SPLITTINGS:
            for model in MODELS:
                if kind == "2d" and model == "azimuthal":
                    continue
                key = f"{kind}.{splitting}.{model}"
                plan, found = integrate(given, splitting, model, kind == "2d")
                counted = found.sums.count[0].reshape(plan.bins) if kind == "2d" else None
                row = {"intensity": difference(found.intensity[0], theirs[key], counted, INTENSITY)}
                if found.intensity_errors is not None:
                    row["sigma"] = difference(found.intensity_errors[0], theirs[key + ".sigma"], counted, SIGMA)
                if model == "azimuthal":
                    row["sigma against brute force"] = brute_force(given, plan, found, theirs[key + ".sigma"])
                table[key] = row
                print(
                    key,
                    {
                        name: f"{value.get('median', 0):.1e} {value.get('largest', 0):.1e}"
                        for name, value in row.items()
                    },
                )
    return table


def brute_force(given: dict[str, NDArray[Any]], plan: RadialMap, found: Any, theirs: NDArray[Any]) -> dict[str, Any]:
    """Compare both with the azimuthal variance summed pixel by pixel."""
    w = given["flat"] * (setup().solid_angle() * setup().polarization(POLARIZATION))
    sums = reference_scatter(
        plan.pixel_map(), given["frame"][None], normalization=w, dark=given["dark"], error_model="azimuthal"
    )
    right = np.sqrt(sums.variance[0]) / sums.normalization[0] / FACTOR  # type: ignore[index]
    return {
        "friedel": difference(found.intensity_errors[0], right, None, SIGMA),
        "pyFAI": difference(theirs, right, None, SIGMA),
    }


def first_bin(given: dict[str, NDArray[Any]], theirs: dict[str, NDArray[Any]]) -> dict[str, float]:
    """Count the pixels whose centre lies in the first bin of the range."""
    _, found = integrate(given, "none", "none", False)
    angle = setup().center_array("2th_deg")
    right = np.count_nonzero((angle >= RANGE[0]) & (angle < RANGE[0] + (RANGE[1] - RANGE[0]) / NPT) & ~given["mask"])
    return {
        "brute force": float(right),
        "friedel": float(found.sums.count[0, 0]),
        "pyFAI": float(theirs["1d.none.none.count"][0]),
    }


def golden() -> dict[str, float] | None:
    """Compare the real CeO2 frame with its reference curve, where the shared data are present."""
    shared = Path(os.environ.get("FRIEDEL_SHARED", REPOSITORY.parent / "shared"))
    folder = shared / "data" / "diffraction" / "golden_CeO2_Pilatus1M"
    if not folder.exists():
        print(f"{folder} is absent (set FRIEDEL_SHARED): the reference curve is left out.")
        return None
    image = read_image(folder / "CeO2_Pilatus1M.tif")
    geometry = Geometry.load(folder / "CeO2_Pilatus1M.poni").for_shape(image.shape)  # type: ignore[arg-type]
    geometry = replace(geometry, detector=replace(geometry.detector, orientation=2))
    plan = RadialMap.build(geometry, npt=1512, unit="2th_deg", splitting="bbox", polarization=0.99, detector_mask=False)
    radial, intensity = np.loadtxt(folder / "CeO2_Pilatus1M.xy").T
    found = plan(image[None]).intensity[0]
    relative = np.abs(found / intensity - 1)
    return {
        "radial_largest_deg": float(np.abs(plan.radial.centers - radial).max()),
        "R": float(np.abs(found - intensity).sum() / intensity.sum()),
        "median": float(np.median(relative)),
        "largest": float(relative[1:-1].max()),
    }


def main() -> None:
    """Measure and keep the figures."""
    given = scene()
    theirs = ask_peer(given)
    result = {
        "benchmark": "accuracy_integration",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "friedel": friedel_version(),
        "pyFAI": str(theirs["version"]),
        "limits": {"intensity": INTENSITY, "sigma": SIGMA},
        "table": compare(given, theirs),
        "pixels in the first bin of a range": first_bin(given, theirs),
        "golden CeO2 frame": golden(),
    }
    print(result["pixels in the first bin of a range"], result["golden CeO2 frame"])
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"Wrote {RESULT}.")


if __name__ == "__main__":
    main()
