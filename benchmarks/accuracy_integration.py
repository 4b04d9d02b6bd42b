"""How far friedel's results are from pyFAI's, row by row; from a reference curve; and both from brute force.

A noisy Pilatus 2M frame of rings with gaps, dead pixels, dark, flat field, solid angle, polarization and a
normalization is integrated by both: patterns and cakes with each splitting and error model, every unit, robust
estimators, unweighted averages, grazing incidence (``accuracy_rows.py``). The bins between the first and the last are
compared where more than one pixel was counted. With the shared data present, real frames of four detectors are
integrated by both too, and the CeO2 frame is compared with its reference curve. Then the places where pyFAI is off are
measured against brute force.

    python benchmarks/accuracy_integration.py [PART_OF_A_NAME]

pyFAI runs in the interpreter that the variable FRIEDEL_PEERS names, else in .venv-peers (benchmarks/peers.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
from accuracy_rows import RADIAL_UNITS, Row, rows
from numpy.typing import NDArray

from friedel.core.provenance import friedel_version
from friedel.instrument import Detector, Geometry
from friedel.io import read_image
from friedel.kernels.scatter import reference_scatter
from friedel.techniques.integration import FrameBlock, RadialMap
from friedel.techniques.integration.estimators import Percentile, SigmaClip
from friedel.techniques.integration.merge import MultiGeometry

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "accuracy_integration.json"
SHAPE, PIXEL = (1679, 1475), 172e-6
PLACE = (0.3, 0.151, 0.118, 0.07, -0.05, 0.2)
WAVELENGTH = 0.5e-10
SECTOR, NPT_AZIMUTH = (-170.0, 160.0), 90
FACTOR, POLARIZATION = 1.7, 0.97
INTENSITY, SIGMA = 1e-5, 1e-4
IMAGES = ("mask", "dark", "flat", "variance")
ESTIMATORS = {"SigmaClip": SigmaClip, "Percentile": Percentile}

PEER = """
import json, logging, math, sys, warnings
warnings.filterwarnings("ignore"); logging.disable(logging.CRITICAL)
import numpy as np, pyFAI
from pyFAI.detectors import Detector
from pyFAI.integrator.azimuthal import AzimuthalIntegrator
from pyFAI.method_registry import IntegrationMethod
from pyFAI.multi_geometry import MultiGeometry
from pyFAI.units import get_unit_fiber
given = dict(np.load(sys.argv[1]))
frames, rows = json.loads(str(given["frames"])), json.loads(str(given["rows"]))
made = {"version": np.array(pyFAI.version)}

def integrator(name):
    told = frames[name]
    detector = Detector(told["pixel1"], told["pixel2"], max_shape=given[name + ".image"].shape,
                        orientation=told["orientation"])
    return AzimuthalIntegrator(*told["place"], detector=detector, wavelength=told["wavelength"])

def merged(name, image, told):
    ais = []
    for turn in told["turns"]:
        ais.append(integrator(name))
        ais[-1].rot1 += turn
    several = MultiGeometry(ais, unit=told["unit"], radial_range=told["radial_range"], empty=0.0)
    n = len(ais)
    return several.integrate1d([image] * n, told["npt"], error_model=told["error_model"], method=told["method"],
                               polarization_factor=told["polarization_factor"], lst_mask=[told["mask"]] * n,
                               lst_flat=[told["flat"]] * n, normalization_factor=[told["normalization_factor"]] * n)

current = None
for row in rows:
    name, keywords = row["frame"], dict(row["theirs"])
    if name != current or "incidence" in keywords:
        current, ai = name, integrator(name)  # pyFAI keeps maps by the names of units, whatever the pose
    images = {key.partition(".")[2]: value for key, value in given.items() if key.startswith(name + ".")}
    keywords = frames[name]["theirs"] | keywords
    for key in ("mask", "dark", "flat", "variance"):
        if isinstance(keywords.get(key), str):
            keywords[key] = images[keywords[key]]
    pose = {key: keywords.pop(key) for key in ("incidence", "tilt", "sample_orientation") if key in keywords}
    azimuth_unit = keywords.pop("azimuth_unit", None)
    if azimuth_unit:
        told = dict(incident_angle=math.radians(pose["incidence"]), tilt_angle=math.radians(pose["tilt"]),
                    sample_orientation=pose["sample_orientation"])
        keywords["unit"] = tuple(get_unit_fiber(unit, **told) for unit in (keywords["unit"], azimuth_unit))
    if keywords.pop("unweighted", False):
        dim = 2 if "npt_azim" in keywords else 1
        keywords["method"] = IntegrationMethod.select_one_available(tuple(keywords["method"]), dim=dim).unweighted
    elif "method" in keywords:
        keywords["method"] = tuple(keywords["method"])
    ai.setChiDiscAtZero() if keywords.pop("from_zero", False) else ai.setChiDiscAtPi()
    try:
        if row["call"] == "MultiGeometry.integrate1d":
            result = merged(name, images["image"], keywords)
        else:
            result = getattr(ai, row["call"])(images["image"], **keywords)
    except Exception as error:
        made[row["name"] + ".failed"] = np.array(f"{type(error).__name__}: {error}"[:300])
        continue
    made[row["name"] + ".intensity"], made[row["name"] + ".count"] = result.intensity, result.count
    made[row["name"] + ".radial"] = result.radial
    if result.intensity.ndim == 2:
        made[row["name"] + ".azimuth"] = result.azimuthal
    if result.sigma is not None:
        made[row["name"] + ".sigma"] = result.sem if row["call"] == "sigma_clip_ng" else result.sigma
np.savez(sys.argv[2], **made)
"""


@dataclass(frozen=True, eq=False)
class Scene:
    """A frame and all that goes with it.

    Attributes
    ----------
    geometry : Geometry
    images : dict
        ``image``, ``mask`` and what else there is.
    ours, theirs : dict
        Options that go with it; images by name.
    """

    geometry: Geometry
    images: dict[str, NDArray[Any]]
    ours: dict[str, Any]
    theirs: dict[str, Any]

    def described(self) -> dict[str, Any]:
        """Return what pyFAI has to know beside the images."""
        g = self.geometry
        return {
            "place": [g.distance, g.poni1, g.poni2, g.rot1, g.rot2, g.rot3],
            "pixel1": g.detector.pixel1,
            "pixel2": g.detector.pixel2,
            "orientation": g.detector.orientation,
            "wavelength": g.wavelength,
            "theirs": self.theirs,
        }

    def range(self, unit: str) -> tuple[float, float]:
        """Return what unmasked pixels reach in a unit, a little less on both sides."""
        seen = self.geometry.center_array(unit)[self.images["mask"] == 0]
        low, high = float(seen.min()), float(seen.max())
        return low + 0.02 * (high - low), high - 0.02 * (high - low)


def setup() -> Geometry:
    """Return the geometry of the synthetic frame."""
    return Geometry(Detector.from_shape(SHAPE, PIXEL), *PLACE, wavelength=WAVELENGTH)


def synthetic() -> dict[str, Scene]:
    """Return the synthetic frame, plain and with spots of single crystals."""
    rng = np.random.default_rng(7)
    geometry = setup()
    angle = geometry.center_array("2th_deg")
    rings = sum(800 * np.exp(-(((angle - at) / 0.06) ** 2)) for at in np.arange(3.0, 24.0, 1.3))
    flat = rng.uniform(0.7, 1.3, SHAPE).astype(np.float32)
    dark = rng.uniform(0, 4, SHAPE).astype(np.float32)
    mask = Detector.named("Pilatus2M").mask() | (rng.uniform(size=SHAPE) < 0.005)
    ideal = (40 + rings) * geometry.solid_angle() * geometry.polarization(POLARIZATION) * flat + dark
    row = np.floor((np.rad2deg(geometry.azimuth_corners()) - SECTOR[0]) / (SECTOR[1] - SECTOR[0]) * NPT_AZIMUTH)
    images = {
        "image": rng.poisson(ideal).astype(np.int32),
        "dark": dark,
        "flat": flat,
        "mask": mask,
        "cake_mask": mask | (row.max(axis=-1) != row.min(axis=-1)),
        "variance": rng.uniform(20, 90, SHAPE).astype(np.float32),
    }
    azimuth = geometry.azimuth_corners()
    images["axis_mask"] = mask | ((azimuth.min(axis=-1) < 0) & (azimuth.max(axis=-1) >= 0))
    spots = (rng.uniform(size=SHAPE) < 0.002) * rng.integers(100, 1000, SHAPE)
    named = {"mask": "mask", "dark": "dark", "flat": "flat"}
    ours = named | {"polarization": POLARIZATION}
    theirs = named | {"polarization_factor": POLARIZATION, "normalization_factor": FACTOR}
    plain = Scene(geometry, images, ours, theirs)
    spotted = images | {"image": (images["image"] + spots).astype(np.int32)}
    return {"synthetic": plain, "spots": replace(plain, images=spotted)}


def real() -> dict[str, Scene]:
    """Return the real frames, where the shared data are present; counts below zero are masked."""
    shared = Path(os.environ.get("FRIEDEL_SHARED", REPOSITORY.parent / "shared")) / "data" / "diffraction"
    if not shared.exists():
        print(f"{shared} is absent (set FRIEDEL_SHARED): the real frames are left out.")
        return {}
    golden = shared / "golden_CeO2_Pilatus1M"
    cadmium = shared / "ceo2_pilatus2m_cdte"
    found = {
        "golden": _scene(golden / "CeO2_Pilatus1M.tif", golden / "CeO2_Pilatus1M.poni", orientation=2),
        "CeO2 2M": _scene(cadmium / "CeO2.cbf", cadmium / "CeO2.poni", cadmium / "mask.edf.gz"),
        "phi scan": _scene(
            shared / "cbf" / "phi_scan_001.cbf", Geometry(Detector.named("Pilatus300k"), 0.1, 0.05, 0.04)
        ),
    }
    frames = next((shared / "lambda").glob("*.nxs"))
    found["lambda"] = _scene(frames, Geometry(Detector.from_shape((516, 1554), 55e-6), 0.2, 0.014, 0.04))
    return found


def _scene(image: Path, geometry: Path | Geometry, mask: Path | None = None, orientation: int = 3) -> Scene:
    from friedel.io import open_frames

    frame = open_frames(image).decoded(0, 1)[0].astype(np.int32)
    place = geometry if isinstance(geometry, Geometry) else Geometry.load(geometry)
    pixels = Detector.from_shape(frame.shape, place.detector.pixel1, place.detector.pixel2, orientation=orientation)
    excluded = frame < 0
    if mask is not None:
        excluded |= read_image(mask) != 0
    named = {"mask": "mask"}
    return Scene(replace(place, detector=pixels), {"image": frame, "mask": excluded}, named, named)


def ask_peer(scenes: dict[str, Scene], asked: list[Row]) -> dict[str, NDArray[Any]]:
    """Return what pyFAI makes of it."""
    named = os.environ.get("FRIEDEL_PEERS")
    python = Path(named) if named else REPOSITORY / ".venv-peers" / "bin" / "python"
    if not python.exists():
        sys.exit(f"{python} is absent: run python benchmarks/peers.py, or set FRIEDEL_PEERS.")
    used = {row.frame for row in asked}
    given: dict[str, Any] = {
        f"{name}.{key}": value for name, scene in scenes.items() if name in used for key, value in scene.images.items()
    }
    given["frames"] = json.dumps({name: scene.described() for name, scene in scenes.items()})
    given["rows"] = json.dumps([asdict(row) for row in asked])
    with TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("given.npz", "made.npz")]
        np.savez(paths[0], **given)
        subprocess.run([python, "-c", PEER, *paths], check=True)
        with np.load(paths[1]) as made:
            return dict(made)


def integrate(scene: Scene, row: Row) -> tuple[RadialMap, Any]:
    """Return friedel's map and what it makes of a row."""
    options = scene.ours | row.ours
    for name in IMAGES:
        if isinstance(options.get(name), str):
            options[name] = scene.images[options[name]]
    if "estimator" in options:
        kind, *values = options["estimator"]
        options["estimator"] = ESTIMATORS[kind](*values)
    if row.call.startswith("MultiGeometry"):
        return merge(scene, row.theirs["turns"], options)
    plan = RadialMap.build(scene.geometry, detector_mask=False, keep_sums=True, **options)
    variance = scene.images["variance"] if options.get("error_model") == "variance" else None
    factor = np.array([scene.theirs.get("normalization_factor", 1.0)])
    return plan, plan(FrameBlock(scene.images["image"][None], normalization=factor, variance=variance))


def merge(scene: Scene, turns: tuple[float, ...], options: dict[str, Any]) -> tuple[RadialMap, Any]:
    """Return what friedel makes of the frame taken in several geometries, with the map of the first."""
    geometries = [replace(scene.geometry, rot1=scene.geometry.rot1 + turn) for turn in turns]
    whole = MultiGeometry(geometries, detector_mask=False, keep_sums=True, **options)
    factors = np.full(len(turns), scene.theirs["normalization_factor"])
    found = whole.integrate1d([scene.images["image"]] * len(turns), normalization=factors)
    sums = SimpleNamespace(count=found["sum_count"].values[None], signal=found["sum_signal"].values[None])
    plan = RadialMap.build(scene.geometry, detector_mask=False, **options)
    arrays = {name: found[name].values[None] for name in ("intensity", "intensity_errors")}
    return plan, SimpleNamespace(sums=sums, **arrays)


def difference(
    found: NDArray[Any], expected: NDArray[Any], chosen: NDArray[np.bool_] | None, limit: float, edge: int = 1
) -> dict[str, Any]:
    """Compare the bins without the first and last `edge` of each axis, those `chosen`."""
    inner = tuple(slice(edge, -edge) for _ in found.shape)
    with np.errstate(all="ignore"):
        relative = np.abs(found / np.where(expected == 0, np.nan, expected) - 1)[inner]
        equal = (found == expected)[inner]
    relative = np.where(equal, 0.0, relative)
    if chosen is not None:
        relative = relative[chosen[inner]]
    relative = relative[np.isfinite(relative)]
    return {
        "median": float(np.median(relative)),
        "largest": float(relative.max()),
        "bins": int(relative.size),
        "bins_beyond": int(np.count_nonzero(relative > limit)),
        "limit": limit,
    }


def compare(scene: Scene, row: Row, theirs: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return what is measured for one row."""
    if f"{row.name}.failed" in theirs:
        return {"pyFAI": str(theirs[f"{row.name}.failed"]), "reason": row.reason}
    plan, found = integrate(scene, row)
    expected, counted = theirs[f"{row.name}.intensity"], theirs[f"{row.name}.count"]
    ours = np.broadcast_to(found.sums.count, found.sums.signal.shape)[0].reshape(plan.bins)
    edge = 1 if plan.binning.cake else edge_bins(scene, plan)
    moved = None
    if row.ours["splitting"] == "none" and "estimator" not in row.ours:
        # pyFAI's coordinates are in single precision: a pixel at the limit of a bin may fall into the next one.
        moved = np.abs(counted - ours) > 0.5
    chosen = np.minimum(counted, ours) > row.least
    if moved is not None:
        chosen &= ~moved
    measured: dict[str, Any] = {
        "radial": float(np.abs(plan.radial.centers - theirs[f"{row.name}.radial"]).max() / abs(plan.radial.high)),
        "intensity": difference(found.intensity[0], expected, chosen, row.limit.get("intensity", INTENSITY), edge),
    }
    if found.intensity_errors is not None and f"{row.name}.sigma" in theirs:
        limit = row.limit.get("sigma", SIGMA)
        measured["sigma"] = difference(found.intensity_errors[0], theirs[f"{row.name}.sigma"], chosen, limit, edge)
    if row.name.startswith("pattern") and row.ours.get("error_model") == "azimuthal":
        measured["sigma against brute force"] = brute_force(scene, plan, found, theirs[f"{row.name}.sigma"])
    if moved is not None:
        inner = tuple(slice(1, -1) for _ in moved.shape)
        measured["bins with another pixel"] = int(np.count_nonzero(moved[inner]))
        if (
            row.ours["unit"] in RADIAL_UNITS
            and not plan.binning.cake
            and plan.azimuth is None
            and not row.call.startswith("Multi")
        ):
            measured["of these wrong here"] = int(np.count_nonzero(np.abs(ours - counted_by_force(scene, plan)) > 0.5))
    return measured | ({"reason": row.reason} if row.reason else {})


def edge_bins(scene: Scene, plan: RadialMap) -> int:
    """Return how many bins a pixel across a limit of the range reaches into it, which pyFAI gives its whole weight."""
    if plan.binning.splitting == "none":
        return 1
    corners = scene.geometry.corner_array(plan.binning.unit)[~plan.excluded]
    inside = corners[(corners.max(axis=-1) > plan.radial.low) & (corners.min(axis=-1) < plan.radial.high)]
    width = (plan.radial.high - plan.radial.low) / plan.radial.n_bins
    return int(np.ceil((inside.max(axis=-1) - inside.min(axis=-1)).max() / width)) + (plan.binning.splitting == "bbox")


def counted_by_force(scene: Scene, plan: RadialMap) -> NDArray[Any]:
    """Count the centres of pixels in each bin in double precision."""
    place = scene.geometry.center_array(plan.binning.unit)[~plan.excluded]
    width = (plan.radial.high - plan.radial.low) / plan.radial.n_bins
    number = np.floor((place - plan.radial.low) / width)
    inside = (number >= 0) & (number < plan.radial.n_bins)
    return np.bincount(number[inside].astype(np.int64), minlength=plan.radial.n_bins)


def show(row: Row, measured: dict[str, Any]) -> str:
    """Return a line of the table."""
    parts = [
        f"{name} {value['median']:.0e} {value['largest']:.0e}"
        + (f" ({value['bins_beyond']} beyond)" if value["bins_beyond"] else "")
        for name, value in measured.items()
        if isinstance(value, dict) and "median" in value
    ]
    told = ("bins with another pixel", "of these wrong here")
    parts += [f"{name}: {measured[name]}" for name in told if measured.get(name)]
    return f"{row.name:50} " + ("   ".join(parts) or str(measured))


def brute_force(scene: Scene, plan: RadialMap, found: Any, theirs: NDArray[Any]) -> dict[str, Any]:
    """Compare both with the azimuthal variance summed pixel by pixel."""
    w = scene.images["flat"] * (setup().solid_angle() * setup().polarization(POLARIZATION))
    sums = reference_scatter(
        plan.pixel_map(),
        scene.images["image"][None],
        normalization=w,
        dark=scene.images["dark"],
        error_model="azimuthal",
    )
    right = np.sqrt(sums.variance[0]) / sums.normalization[0] / FACTOR  # type: ignore[index]
    return {
        "friedel": difference(found.intensity_errors[0], right, None, SIGMA),
        "pyFAI": difference(theirs, right, None, SIGMA),
    }


def first_bin(scene: Scene, theirs: dict[str, NDArray[Any]]) -> dict[str, float]:
    """Count the pixels whose centre lies in the first bin of a range."""
    row = next(row for row in rows() if row.name == "pattern, none, none")
    _, found = integrate(scene, row)
    low, high = row.ours["radial_range"]
    angle = setup().center_array("2th_deg")
    inside = (angle >= low) & (angle < low + (high - low) / row.ours["npt"]) & ~scene.images["mask"]
    return {
        "brute force": float(np.count_nonzero(inside)),
        "friedel": float(found.sums.count.reshape(-1)[0]),
        "pyFAI": float(theirs[f"{row.name}.count"][0]),
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


def located(row: Row, scenes: dict[str, Scene]) -> Row:
    """Return a row with the range that its frame covers where it asks for that."""
    if row.ours.get("radial_range") != "frame":
        return row
    limits = {"radial_range": scenes[row.frame].range(row.ours["unit"])}
    return replace(row, ours=row.ours | limits, theirs=row.theirs | limits)


def main() -> None:
    """Measure and keep the figures."""
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    scenes = synthetic() | real()
    asked = [located(row, scenes) for row in rows() if row.frame in scenes and part in row.name]
    theirs = ask_peer(scenes, asked)
    table: dict[str, Any] = {}
    for row in asked:
        table[row.name] = compare(scenes[row.frame], row, theirs)
        print(show(row, table[row.name]), flush=True)
    if part:
        return
    result = {
        "benchmark": "accuracy_integration",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "friedel": friedel_version(),
        "pyFAI": str(theirs["version"]),
        "limits": {"intensity": INTENSITY, "sigma": SIGMA},
        "table": table,
        "pixels in the first bin of a range": first_bin(scenes["synthetic"], theirs),
        "golden CeO2 frame": golden(),
    }
    print(result["pixels in the first bin of a range"], result["golden CeO2 frame"])
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"Wrote {RESULT}.")


if __name__ == "__main__":
    main()
