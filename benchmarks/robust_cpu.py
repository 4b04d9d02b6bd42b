"""Robust estimators on the CPU: friedel's sigma clipping and percentiles against pyFAI's on the same frames.

Frames are Eiger 4M (2162 x 2068, uint32) of Poisson counts with 4000 strong spots, 1000 bins, solid angle and
polarization. Both run on one thread and are told by the processor time they take for a frame, so that other work on the
machine does not matter; the best of the rounds counts. The patterns are compared too.

    python benchmarks/robust_cpu.py [--rounds 3]

pyFAI runs in the interpreter that the variable FRIEDEL_PEERS names, else in .venv-peers (benchmarks/peers.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from friedel.core.provenance import friedel_version
from friedel.instrument import Detector, Geometry
from friedel.techniques.integration import Percentile, RadialMap, SigmaClip

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "robust_cpu.json"
SHAPE, PIXEL, PLACE, WAVELENGTH = (2162, 2068), 75e-6, (0.2, 0.08, 0.077, 0.0, 0.0, 0.0), 1e-10
NPT, POLARIZATION, RANGE = 1000, 0.99, (1.0, 31.0)
CASES: dict[str, tuple[str, str, Any]] = {
    "clip azimuthal": ("none", "azimuthal", SigmaClip()),
    "clip hybrid": ("none", "hybrid", SigmaClip()),
    "clip poisson": ("none", "poisson", SigmaClip()),
    "median": ("none", "poisson", Percentile()),
    "percentiles 20-80": ("none", "poisson", Percentile(20, 80)),
    "median, full splitting": ("full", "poisson", Percentile()),
}

PEER = """
import json, logging, sys, time, warnings
warnings.filterwarnings("ignore"); logging.disable(logging.CRITICAL)
import numpy as np, pyFAI
from pyFAI.detectors import Detector
from pyFAI.integrator.azimuthal import AzimuthalIntegrator
request = json.loads(sys.argv[1])
frames = np.load(request["frames"])
detector = Detector(request["pixel"], request["pixel"], max_shape=frames.shape[1:], orientation=3)
ai = AzimuthalIntegrator(*request["place"], detector=detector, wavelength=request["wavelength"])
found, patterns = {"pyFAI": pyFAI.version}, {}
for name, (splitting, model, kind, values) in request["cases"].items():
    common = dict(unit="q_nm^-1", method=("no" if splitting == "none" else splitting, "csr", "cython"),
                  error_model=model, radial_range=tuple(request["range"]), polarization_factor=request["polarization"])
    best = float("inf")
    for _ in range(request["rounds"] + 1):  # the first one builds the matrix
        started = time.process_time()
        if kind == "sigma-clip":
            result = ai.sigma_clip_ng(frames[0], request["npt"], thres=values[0], max_iter=values[1], **common)
        else:
            low, high = values
            result = ai.medfilt1d_ng(frames[0], request["npt"], percentile=(low, high) if low < high else low, **common)
        best = min(best, time.process_time() - started)
    found[name] = best
    patterns[name] = result.intensity
np.savez(request["patterns"], **patterns)
print(json.dumps(found))
"""


def frames_of(count: int) -> np.ndarray:
    """Return frames of Poisson counts with spots."""
    rng = np.random.default_rng(0)
    frames = rng.poisson(20, (count, *SHAPE)).astype(np.uint32)
    frames.reshape(count, -1)[:, rng.choice(frames[0].size, 4000, replace=False)] = 50_000
    return frames


def ours(frames: np.ndarray, rounds: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return seconds of processor time for a frame, and the pattern of the first one, of each case."""
    geometry = Geometry(Detector.from_shape(SHAPE, PIXEL), *PLACE, wavelength=WAVELENGTH)
    seconds, patterns = {}, {}
    for name, (splitting, model, estimator) in CASES.items():
        radial_map = RadialMap.build(
            geometry,
            npt=NPT,
            splitting=splitting,
            error_model=model,
            estimator=estimator,
            polarization=POLARIZATION,
            radial_range=RANGE,
        )
        best = float("inf")
        for _ in range(rounds):
            started = time.process_time()
            result = radial_map(frames)
            best = min(best, time.process_time() - started)
        seconds[name] = best / len(frames)
        patterns[name] = result.intensity[0]
    return seconds, patterns


def theirs(frames: np.ndarray, rounds: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the same of pyFAI, with its version."""
    named = os.environ.get("FRIEDEL_PEERS")
    python = named or str(REPOSITORY / ".venv-peers" / "bin" / "python")
    cases = {
        name: (splitting, model, estimator.name, list(vars(estimator).values()))
        for name, (splitting, model, estimator) in CASES.items()
    }
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "frames.npy", frames[:1])
        request = {
            "frames": f"{folder}/frames.npy",
            "patterns": f"{folder}/patterns.npz",
            "pixel": PIXEL,
            "place": PLACE,
            "wavelength": WAVELENGTH,
            "npt": NPT,
            "polarization": POLARIZATION,
            "range": RANGE,
            "rounds": rounds,
            "cases": cases,
        }
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [python, "-c", PEER, json.dumps(request)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        with np.load(f"{folder}/patterns.npz") as arrays:
            return json.loads(done.stdout), dict(arrays)


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    frames = frames_of(2)
    mine, patterns = ours(frames, rounds)
    other, expected = theirs(frames, rounds)
    rows = {}
    for name in CASES:
        with np.errstate(divide="ignore", invalid="ignore"):
            difference = np.abs(patterns[name] / expected[name] - 1)[1:-1]
        rows[name] = {
            "friedel_ms": round(1e3 * mine[name], 2),
            "pyfai_ms": round(1e3 * other[name], 2),
            "ratio": round(other[name] / mine[name], 2),
            "bins_that_agree_to_1e-5": float(np.mean(difference < 1e-5)),
        }
        print(f"{name:24s} " + "  ".join(f"{key} {value}" for key, value in rows[name].items()))
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "friedel": friedel_version(),
        "pyFAI": other["pyFAI"],
        "unit": "ms of processor time for a frame, one thread",
        "rows": rows,
    }
    RESULT.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
