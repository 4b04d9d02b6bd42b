"""Calibration without a guess: real images against pyFAI's refinement, random simulated images, and standard errors.

    python benchmarks/calibration.py [--only real images pulls] [--images 200] [--first 0] [--realisations 200]

real     the shared CeO2 images: geometries found without a guess, compared with those that pyFAI refines to from there.
         Both are judged alike, by peaks of patterns integrated with them and by the control points of both.
images   simulated images of random geometries: 3 detectors, 5 calibrants, distances over a factor of 10, tilts up to 60
         degrees, the beam on and off the detector, noise, spots, texture, gaps, beam stop. 3 rings or more with arcs of
         100 pixels are on the detector. A geometry is right if the five numbers that rings tell (beam centre, distance,
         tilt) lie within 3 standard errors of the truth, jointly.
pulls    200 realisations of the noise of three scenes: (value - truth)/error has a standard deviation of 1.

Results of images are kept in benchmarks/results/calibration_images.jsonl while it runs, so that it can be continued.
pyFAI runs in the interpreter that the variable FRIEDEL_PEERS names, else in .venv-peers (benchmarks/peers.py).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import chi2

from friedel.core.errors import FriedelError
from friedel.core.provenance import friedel_version
from friedel.core.units import wavelength_from_energy
from friedel.instrument import Calibrant, Detector, Geometry
from friedel.instrument.virtual import Exposure, simulated_frame
from friedel.instrument.virtual.calibrant_image import expected_counts
from friedel.io.images import read_image, read_mask
from friedel.kernels.poisson import poisson_frames
from friedel.techniques.calibration import Scene, calibrate_images, compare, derived_quantities
from friedel.techniques.calibration.calibrate import Calibration, measured_rings
from friedel.techniques.calibration.refinement import refine
from friedel.techniques.calibration.ring_curves import visible_curve
from friedel.techniques.integration import Integrator

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
RESULT, KEPT = RESULTS / "calibration.json", RESULTS / "calibration_images.jsonl"
THREADS = 2

# ---- random images

DETECTORS = ("Pilatus1M", "Eiger2_4M", "Perkin")
CALIBRANTS = ("CeO2", "LaB6", "Si", "Al2O3", "AgBh")
LONGEST_SPACING = {"CeO2": 3.12, "LaB6": 4.16, "Si": 3.14, "Al2O3": 3.48, "AgBh": 58.38}
STEEPEST = math.radians(60.0)
LEAST_RINGS, LEAST_ARC, LEAST_INTENSITY = 3, 100, 0.01
JOINT = float(chi2.ppf(0.9973, 5))


@dataclass(frozen=True)
class Trial:
    """A random image and what it was made from."""

    geometry: Geometry
    calibrant: str
    exposure: Exposure
    seed: int


def random_trial(number: int) -> Trial:
    """Return trial `number`; the same each time."""
    random = np.random.default_rng([number, 0xCA1])
    while True:
        trial = _drawn(random, number)
        if trial is not None:
            return trial


def _drawn(random: np.random.Generator, number: int) -> Trial | None:
    detector = Detector.named(DETECTORS[number % 3])
    calibrant = CALIBRANTS[(number // 3) % 5]
    rows, columns = detector.known_shape()
    low, high = (8.0, 20.0) if calibrant == "AgBh" else (15.0, 80.0)
    wavelength = wavelength_from_energy(float(random.uniform(low, high)))
    # The first ring has a radius of 0.05 to 0.5 of the detector's width: a factor of 10 in distance.
    radius = 0.05 * 10.0 ** random.uniform(0.0, 1.0) * columns * detector.pixel2
    angle = 2.0 * math.asin(wavelength * 1e10 / (2.0 * LONGEST_SPACING[calibrant]))
    direct = radius / math.tan(angle)
    tilt, plane = float(random.uniform(0.0, STEEPEST)), float(random.uniform(-math.pi, math.pi))
    center = random.uniform(0.1, 0.9, 2) if random.uniform() < 0.6 else random.uniform(-0.6, 1.6, 2)
    geometry = tilted(detector, direct, tilt, plane, center * (rows, columns), wavelength)
    pixel = math.degrees(detector.pixel1 / direct)
    spotty, textured, stopped = random.uniform(size=3) < (0.3, 0.3, 0.5)
    exposure = Exposure(
        counts=float(10 ** random.uniform(2.0, 4.3)),
        width=pixel * float(random.uniform(1.5, 5.0)),
        mixing=float(random.uniform(0.0, 0.6)),
        background=float(10 ** random.uniform(-0.5, 2.0)),
        air=float(10 ** random.uniform(0.0, 2.5)),
        halo=float(10 ** random.uniform(0.0, 2.0)),
        halo_place=math.degrees(angle) * float(random.uniform(0.5, 2.0)),
        grains=float(10 ** random.uniform(2.2, 3.3)) if spotty else 0.0,
        spot_width=float(random.uniform(0.2, 1.0)),
        texture=float(random.uniform(0.3, 2.5)) if textured else 0.0,
        stop=math.degrees(angle) * float(random.uniform(0.2, 1.3)) if stopped else 0.0,
        holder=math.degrees(angle) * float(random.uniform(0.0, 0.4)) if stopped else 0.0,
        holder_azimuth=float(random.uniform(-180.0, 180.0)),
        opening=None if random.uniform() < 0.8 else _opening(random),
        hot_pixels=int(random.integers(0, 200)),
        dead_pixels=int(random.integers(0, 200)),
        gain_spread=float(random.choice([0.0, 0.01])),
    )
    trial = Trial(geometry, calibrant, exposure, number)
    return trial if enough_rings(trial) else None


def _opening(random: np.random.Generator) -> tuple[float, float]:
    start = float(random.uniform(-180.0, 180.0))
    return start, start + float(random.uniform(90.0, 270.0))


def tilted(
    detector: Detector, direct: float, tilt: float, plane: float, center: np.ndarray, wavelength: float
) -> Geometry:
    """Return the geometry whose beam meets the detector at `center` (y, x in pixels), tilted towards `plane`."""
    normal = np.array([math.sin(tilt) * math.sin(plane), math.sin(tilt) * math.cos(plane), math.cos(tilt)])
    # The beam in the frame of the detector, (sin rot2, -sin rot1 cos rot2, cos rot1 cos rot2).
    rot2 = math.asin(normal[0])
    rot1 = math.atan2(-normal[1], normal[2])
    distance = direct * math.cos(tilt)
    poni1 = center[0] * detector.pixel1 - distance * normal[0] / normal[2]
    poni2 = center[1] * detector.pixel2 - distance * normal[1] / normal[2]
    return Geometry(detector, distance, float(poni1), float(poni2), rot1, rot2, 0.0, wavelength)


def enough_rings(trial: Trial) -> bool:
    """Whether three rings have arcs that a person could see."""
    geometry, exposure = trial.geometry, trial.exposure
    rings = Calibrant.named(trial.calibrant).rings(geometry.wavelength, math.radians(120.0))
    arcs = []
    for two_theta, intensity in zip(rings.two_theta[:60], rings.intensity[:60], strict=True):
        y, x = visible_curve(geometry, float(two_theta), 360)
        if exposure.opening is not None:
            start, stop = exposure.opening
            shaded = np.mod(np.linspace(-180.0, 180.0, 361) - start, 360.0) > stop - start
            y[shaded] = np.nan
        length = float(np.nansum(np.hypot(np.diff(y), np.diff(x))))
        if math.degrees(two_theta) > exposure.stop:
            arcs.append((length, float(intensity)))
    strongest = max((intensity for length, intensity in arcs if length > LEAST_ARC), default=0.0)
    seen = [length for length, intensity in arcs if length > LEAST_ARC and intensity > LEAST_INTENSITY * strongest]
    return len(seen) >= LEAST_RINGS


def try_image(number: int) -> dict[str, Any]:
    """Calibrate one random image without a guess; return how it went."""
    trial = random_trial(number)
    calibrant = Calibrant.named(trial.calibrant)
    rings = calibrant.rings(trial.geometry.wavelength)
    frame = simulated_frame(trial.geometry, rings, trial.exposure, seed=trial.seed, threads=THREADS)
    image = frame.image.astype(np.float64)
    mask = (frame.pixel_mask & 1) > 0
    lean = derived_quantities(trial.geometry)
    case = {
        "number": number,
        "detector": trial.geometry.detector.name,
        "calibrant": trial.calibrant,
        "distance": lean["direct_distance"].value,
        "tilt_degrees": math.degrees(lean["tilt"].value),
        "counts": trial.exposure.counts,
        "grains": trial.exposure.grains,
        "texture": trial.exposure.texture,
        "stop": trial.exposure.stop > 0,
        "opening": trial.exposure.opening is not None,
        "megapixels": image.size / 1e6,
    }
    scene = Scene(np.where(mask, 0.0, image), mask)
    started, processor = time.perf_counter(), time.process_time()
    try:
        found = calibrate_images(
            [scene], trial.geometry.detector, calibrant, wavelength=trial.geometry.wavelength, threads=THREADS
        )
    except FriedelError as error:
        case |= {"outcome": "refused", "why": error.problem}
    else:
        case |= judged(found, trial.geometry)
    return case | {"seconds": time.perf_counter() - started, "processor": time.process_time() - processor}


def judged(found: Calibration, truth: Geometry) -> dict[str, Any]:
    """Return how far a calibration is from the truth, in pixels and in standard errors."""
    geometry = found.geometries[0]
    difference = compare(replace(geometry, wavelength=truth.wavelength), truth)
    numbers, expected, covariance = five_numbers(found), truth_numbers(truth), five_covariance(found)
    errors = np.sqrt(np.diag(covariance))
    off = numbers - expected
    joint = float(off @ np.linalg.pinv(covariance, rcond=1e-14, hermitian=True) @ off)
    pulls = np.divide(off, errors, out=np.full(5, np.inf), where=errors > 0)
    return {
        "outcome": found.validation.verdict,
        "why": " ".join(found.validation.reasons()),
        "largest_pixels": difference.largest,
        "rms_pixels": difference.rms,
        "joint": joint,
        "within": bool(joint < JOINT),
        "each_within": bool(np.abs(pulls).max() < 3.0),
        "pulls": pulls.round(2).tolist(),
        "points": int(found.refinement.used.sum()),
        "residual": found.refinement.rms,
    }


FIELDS = ("distance", "poni1", "poni2", "rot1", "rot2")


def five_numbers(found: Calibration) -> np.ndarray:
    return truth_numbers(found.geometries[0])


def truth_numbers(geometry: Geometry) -> np.ndarray:
    return np.array([getattr(geometry, name) for name in FIELDS])


def five_covariance(found: Calibration) -> np.ndarray:
    return found.refinement.field_covariance(0)[:5, :5]


def run_images(first: int, count: int) -> dict[str, Any]:
    """Try images that were not tried yet; return the summary of all."""
    known = {}
    if KEPT.exists():
        known = {case["number"]: case for case in map(json.loads, KEPT.read_text().splitlines())}
    for number in range(first, first + count):
        if number in known:
            continue
        known[number] = case = try_image(number)
        with KEPT.open("a") as stream:
            stream.write(json.dumps(case) + "\n")
        told = f"{case.get('largest_pixels', math.nan):8.3f} px {case.get('joint', math.nan):10.1f}"
        print(
            f"{number:4d} {case['detector']:10s} {case['calibrant']:6s} tilt {case['tilt_degrees']:4.0f} "
            f"{case['outcome']:8s} {told} {case['seconds']:5.1f} s {case.get('why', '')[:110]}",
            flush=True,
        )
    return summary([known[number] for number in sorted(known) if first <= number < first + count])


def summary(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return counts and times."""
    solved = [case for case in cases if case["outcome"] in ("trusted", "doubtful")]
    trusted = [case for case in cases if case["outcome"] == "trusted"]
    large = [case["seconds"] for case in cases if case["megapixels"] > 3.9]
    return {
        "images": len(cases),
        "within_3_standard_errors": sum(case["within"] for case in solved),
        "each_number_within_3": sum(case["each_within"] for case in solved),
        "within_half_a_pixel": sum(case["largest_pixels"] < 0.5 for case in solved),
        "trusted": len(trusted),
        "doubtful": len(solved) - len(trusted),
        "said_to_have_failed": len(cases) - len(solved),
        "trusted_but_beyond_3": sorted(case["number"] for case in trusted if not case["within"]),
        "trusted_but_off_by_a_pixel": sorted(case["number"] for case in trusted if case["largest_pixels"] > 1.0),
        "failures": {str(case["number"]): case["why"] for case in cases if case["outcome"] in ("refused", "failed")},
        "median_seconds": float(np.median([case["seconds"] for case in cases])),
        "median_seconds_4_megapixels": float(np.median(large)) if large else None,
        "median_processor_seconds": float(np.median([case["processor"] for case in cases])),
    }


# ---- pulls

PULL_DETECTOR = "Pilatus300k"
SCENES = {
    "centred": (0.0, 0.0, (0.5, 0.5), 2000.0),
    "tilted": (0.5, 1.0, (0.4, 0.6), 2000.0),
    "arcs, weak": (0.2, -2.0, (1.2, -0.1), 150.0),
}


def run_pulls(realisations: int) -> dict[str, Any]:
    """Refine realisations of the noise of some scenes; return mean and standard deviation of the pulls."""
    results: dict[str, Any] = {}
    detector, calibrant = Detector.named(PULL_DETECTOR), Calibrant.named("CeO2")
    wavelength = wavelength_from_energy(30.0)
    rings = calibrant.rings(wavelength)
    for name, (tilt, plane, center, counts) in SCENES.items():
        pixels = np.array(center) * detector.known_shape()
        truth = tilted(detector, 0.15, tilt, plane, pixels, wavelength)
        exposure = Exposure(counts=counts, width=0.15)
        mean = expected_counts(truth, rings, exposure, threads=THREADS)
        mask = detector.mask()
        pulls, covariances, values = [], [], []
        for seed in range(realisations):
            image = poisson_frames(mean.reshape(1, -1), np.ones((1, 1)), seed=seed, threads=THREADS)
            scene = Scene(image.reshape(mean.shape).astype(np.float64), mask)
            found = refine(measured_rings(scene, truth, calibrant), truth, calibrant)
            numbers = np.array([getattr(found.geometry, field) for field in FIELDS])
            derived = found.derived()
            expected = derived_quantities(truth)
            own = ("beam_center_y", "beam_center_x", "direct_distance", "tilt")
            pulls.append(
                [*((numbers - truth_numbers(truth)) / found.errors[:5])]
                + [(derived[key].value - expected[key].value) / derived[key].error for key in own]
            )
            values.append(numbers)
            covariances.append(found.field_covariance(0)[:5, :5])
        table = np.array(pulls)
        off = np.array(values) - truth_numbers(truth)
        joint = [float(one @ np.linalg.solve(cov, one)) for one, cov in zip(off, covariances, strict=True)]
        keys = [*FIELDS, "beam_center_y", "beam_center_x", "direct_distance", "tilt"]
        results[name] = {
            "realisations": realisations,
            "standard_deviation": dict(zip(keys, table.std(axis=0).round(3).tolist(), strict=True)),
            "mean": dict(zip(keys, table.mean(axis=0).round(3).tolist(), strict=True)),
            "mean_chi_squared_of_five": float(np.mean(joint)),
        }
        print(name, json.dumps(results[name]), flush=True)
    return results


# ---- real images

PEER = """
import json, logging, sys, warnings
warnings.filterwarnings("ignore"); logging.disable(logging.CRITICAL)
import fabio, numpy as np, pyFAI
from pyFAI.calibrant import get_calibrant
from pyFAI.goniometer import SingleGeometry
from pyFAI.geometry import Geometry
request = json.loads(sys.argv[1])
image = np.load(request["image"]); mask = np.load(request["mask"])
detector = pyFAI.detector_factory(request["detector"], config={"orientation": 3})
detector.mask = mask.astype("int8")
calibrant = get_calibrant("CeO2"); calibrant.wavelength = request["wavelength"]
geometry = Geometry(detector=detector, wavelength=request["wavelength"], **request["start"])
single = SingleGeometry("x", image, calibrant=calibrant, detector=detector, geometry=geometry)
for rings in (5, 10, request["rings"], request["rings"]):
    single.extract_cp(max_rings=rings, pts_per_deg=1.0)
    single.geometry_refinement.refine3(fix=["rot3", "wavelength"])
found = single.geometry_refinement
data = np.asarray(found.data)
np.savez(sys.argv[2], points=data[:, :3])
place = {key: float(getattr(found, key)) for key in ("dist", "poni1", "poni2", "rot1", "rot2", "rot3")}
print(json.dumps({"pyFAI": pyFAI.version, "points": len(data), **place}))
"""


def run_real(shared: Path, peers: str) -> dict[str, Any]:
    """Calibrate the shared images; compare with pyFAI."""
    folder = shared / "data" / "diffraction"
    golden, large = folder / "golden_CeO2_Pilatus1M", folder / "ceo2_pilatus2m_cdte"
    images = {
        "CeO2 Pilatus 1M": ("Pilatus1M", golden / "CeO2_Pilatus1M.tif", None, 4.066e-11),
        "CeO2 Pilatus CdTe 2M": ("Pilatus CdTe 2M", large / "CeO2.cbf", large / "mask.edf.gz", 1.74625623831e-11),
    }
    return {name: _real(peers, *given) for name, given in images.items()}


def _real(peers: str, name: str, image_file: Path, mask_file: Path | None, wavelength: float) -> dict[str, Any]:
    calibrant, detector = Calibrant.named("CeO2"), Detector.named(name)
    image = read_image(image_file)
    mask = detector.mask() | (image < 0)
    if mask_file is not None:
        mask |= read_mask(mask_file)
    scene = Scene(np.where(mask, 0.0, image).astype(np.float64), mask)
    started = time.perf_counter()
    found = calibrate_images([scene], detector, calibrant, wavelength=wavelength, threads=THREADS)
    seconds = time.perf_counter() - started
    geometry = found.geometries[0]
    own = found.points.select(found.refinement.used)
    theirs, their_points, version = _peer(peers, scene, geometry, name)
    rings = {
        "friedel": peak_places(scene, geometry, calibrant),
        "pyFAI": peak_places(scene, theirs, calibrant),
    }
    result = {
        "seconds": seconds,
        "verdict": found.validation.verdict,
        "geometry": {field: getattr(geometry, field) for field in FIELDS},
        "pyFAI": version,
        "pyFAI_geometry": {field: getattr(theirs, field) for field in FIELDS},
        "rms_pixels_on_friedel_points": {
            "friedel": rms_of(own, geometry, calibrant),
            "pyFAI": rms_of(own, theirs, calibrant),
        },
        "rms_pixels_on_pyFAI_points": {
            "friedel": rms_of(their_points, geometry, calibrant),
            "pyFAI": rms_of(their_points, theirs, calibrant),
        },
        "pyFAI_refined_by_friedel_on_pyFAI_points": refine(their_points, geometry, calibrant).rms,
        "peaks": {key: value | {} for key, value in rings.items()},
        "points": {"friedel": len(own), "pyFAI": len(their_points)},
    }
    print(json.dumps(result, indent=1), flush=True)
    return result


def _peer(peers: str, scene: Scene, start: Geometry, detector: str) -> tuple[Geometry, Any, str]:
    from friedel.techniques.calibration import ControlPoints

    with TemporaryDirectory() as folder:
        paths = {key: str(Path(folder) / f"{key}.npy") for key in ("image", "mask")}
        np.save(paths["image"], scene.image)
        np.save(paths["mask"], scene.mask)
        place = {"dist" if field == "distance" else field: getattr(start, field) for field in (*FIELDS, "rot3")}
        request = {**paths, "detector": detector, "wavelength": start.wavelength, "start": place, "rings": 30}
        output = Path(folder) / "points.npz"
        ran = subprocess.run(
            [peers, "-c", PEER, json.dumps(request), str(output)], capture_output=True, text=True, check=False
        )
        if ran.returncode:
            raise RuntimeError(ran.stderr[-2000:])
        said = json.loads(ran.stdout.splitlines()[-1])
        points = np.load(output)["points"]
    geometry = replace(start, distance=said["dist"], **{key: said[key] for key in FIELDS[1:]}, rot3=said["rot3"])
    return geometry, ControlPoints(points[:, 0] + 0.5, points[:, 1] + 0.5, points[:, 2].astype(int), 1.0), said["pyFAI"]


def rms_of(points: Any, geometry: Geometry, calibrant: Calibrant) -> float:
    """Return the root mean square distance of points from their rings, the farthest 1 % left out, pixels."""
    residuals = np.abs(refine(points, geometry, calibrant, free=(), robust=False).residuals)
    residuals = np.sort(residuals[np.isfinite(residuals)])
    return float(np.sqrt(np.mean(residuals[: int(0.99 * residuals.size)] ** 2)))


def peak_places(scene: Scene, geometry: Geometry, calibrant: Calibrant) -> dict[str, float]:
    """Return how far the peaks of the integrated pattern are from the calibrant's rings, degrees."""
    pattern = Integrator(geometry, npt=4000, unit="2th_deg", mask=scene.mask, polarization=0.99).integrate1d(
        scene.image
    )
    axis, values = pattern["radial"].values, pattern["intensity"].values
    rings = np.degrees(calibrant.rings(geometry.wavelength, math.radians(float(axis[-1]))).two_theta)
    apart = np.minimum(np.diff(rings, prepend=0.0), np.diff(rings, append=np.inf))
    half = 0.05
    off = []
    for ring in rings[apart > 0.25]:
        near = np.abs(axis - ring) < 2.5 * half
        if near.sum() < 15 or not np.isfinite(values[near]).all() or axis[-1] - ring < 1.0:
            continue
        x, y = axis[near] - ring, values[near]
        edge = np.abs(x) > 1.9 * half
        above = np.clip(y - np.polyval(np.polyfit(x[edge], y[edge], 1), x), 0.0, None)
        if above.max() > 0:
            off.append(float((above * x).sum() / above.sum()))
    return {
        "rings": len(off),
        "mean_absolute_degrees": float(np.mean(np.abs(off))),
        "largest_degrees": float(np.max(np.abs(off))),
    }


# ---- all


def main() -> None:
    """Run what is asked for and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["real", "images", "pulls"], default=["real", "images", "pulls"])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--realisations", type=int, default=200)
    parser.add_argument("--again", action="store_true", help="try images again that were tried before")
    options = parser.parse_args()
    if options.again:
        KEPT.unlink(missing_ok=True)
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    shared = Path(os.environ.get("FRIEDEL_SHARED", REPOSITORY.parent / "shared"))
    peers = os.environ.get("FRIEDEL_PEERS", str(REPOSITORY / ".venv-peers" / "bin" / "python"))
    stamp = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "friedel": friedel_version(),
    }
    if "real" in options.only:
        result["real"] = {**run_real(shared, peers), **stamp}
    if "pulls" in options.only:
        result["pulls"] = {**run_pulls(options.realisations), **stamp}
    if "images" in options.only:
        result["images"] = {**run_images(options.first, options.images), **stamp}
        print(json.dumps(result["images"], indent=1))
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
