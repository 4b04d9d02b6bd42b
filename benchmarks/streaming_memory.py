"""Memory and speed of frames to patterns from 10^2 to 10^5 frames: the memory must not grow with their number.

A file of 100 bitshuffle-LZ4 frames of a Pilatus 100k is given again and again; each number of frames is integrated by
``friedel integrate1d`` in a process of its own, which says at its end how much memory it held at most. The same for
cakes of float frames in each of which a pixel is NaN: there each frame has its own normalization.

    python benchmarks/streaming_memory.py [--most 100000]
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np

from friedel.device.threads import thread_count
from friedel.instrument import Detector, Geometry
from friedel.io import FrameWriter, open_frames

RESULTS = Path(__file__).parent / "results" / "streaming_memory.json"
FRAMES_IN_FILE = 100
# The peak that the parent could ask the system for would include the parent's own memory before the start.
WORK = """
import sys
from pathlib import Path
from friedel.apps.cli.main import run
code = run(sys.argv[1:])
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
sys.exit(code)
"""
BINS = 500
AZIMUTHAL_BINS = 360
MOST_CAKES = 1000


def prepare(folder: Path) -> None:
    """Write the frames and the geometry."""
    detector = Detector.named("Pilatus100k")
    Geometry(detector, 0.2, 0.017, 0.04, wavelength=5e-11).save(folder / "setup.poni")
    frames = np.random.default_rng(0).poisson(3.0, (FRAMES_IN_FILE, *detector.known_shape())).astype("i4")
    with FrameWriter(folder / "scan.h5", frames.shape[1:], frames.dtype) as writer:
        writer.append(frames)
    holed = frames.astype("f4")
    holed[np.arange(FRAMES_IN_FILE), 100, 100 + np.arange(FRAMES_IN_FILE)] = np.nan
    with FrameWriter(folder / "holed.h5", holed.shape[1:], holed.dtype) as writer:
        writer.append(holed)


def measure(folder: Path, n_frames: int, cake: bool = False) -> dict[str, float]:
    """Integrate `n_frames` frames in a process of its own."""
    shape = (AZIMUTHAL_BINS, BINS) if cake else (BINS,)
    config = {
        "frames": [str(folder / ("holed.h5" if cake else "scan.h5"))] * (n_frames // FRAMES_IN_FILE),
        "geometry": str(folder / "setup.poni"),
        "npt": BINS,
        "error_model": "poisson",
        "output": str(folder / "patterns.h5"),
        "overwrite": True,
    }
    if cake:
        config["npt_azimuth"] = AZIMUTHAL_BINS
    (folder / "config.json").write_text(json.dumps(config))
    task = "integrate2d" if cake else "integrate1d"
    command = [sys.executable, "-c", WORK, task, "--config", str(folder / "config.json"), "--quiet"]
    start = time.perf_counter()
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    with h5py.File(folder / "patterns.h5") as file:
        patterns = file["entry/intensity/intensity"]
        if patterns.shape != (n_frames, *shape):
            raise SystemExit(f"{n_frames} frames gave {patterns.shape} patterns")
        # Every repetition of the file must give the same patterns: none lost, none twice, order kept.
        first = patterns[:FRAMES_IN_FILE]
        step = FRAMES_IN_FILE if cake else 100 * FRAMES_IN_FILE
        for start_frame in range(0, n_frames, step):
            some = patterns[start_frame : start_frame + step].reshape(-1, FRAMES_IN_FILE, *shape)
            if not np.array_equal(some, np.broadcast_to(first, some.shape), equal_nan=True):
                raise SystemExit(f"patterns from {start_frame} on are not those of their frames")
    return {
        "frames": n_frames,
        "seconds": round(seconds, 2),
        "frames_per_second": round(n_frames / seconds, 1),
        "peak_memory_MB": round(int(process.stdout.split()[-1]) * 1024 / 1e6, 1),
    }


def measure_damage(folder: Path, n_frames: int) -> dict[str, float]:
    """Integrate frames of which one in a hundred is damaged; every one must be named, and no other."""
    import friedel

    shutil.copy(folder / "scan.h5", folder / "damaged.h5")
    place = next(segment for segment in open_frames(folder / "damaged.h5").segments)._places(range(17, 18))
    damaged = Path(open_frames(folder / "damaged.h5").files[0])
    with damaged.open("rb+") as file:
        file.seek(int(place[0][0]) + 12)
        file.write(b"\xff" * (int(place[1][0]) // 2))
    start = time.perf_counter()
    result = friedel.integrate1d(
        frames=[folder / "damaged.h5"] * (n_frames // FRAMES_IN_FILE),
        geometry=folder / "setup.poni",
        npt=BINS,
        on_error="skip",
        output=folder / "damaged_patterns.h5",
    )
    seconds = time.perf_counter() - start
    if not np.array_equal(np.flatnonzero(result["skipped"].values), np.arange(17, n_frames, FRAMES_IN_FILE)):
        raise SystemExit("other frames were skipped than those that are damaged")
    return {"frames": n_frames, "skipped": n_frames // FRAMES_IN_FILE, "seconds": round(seconds, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--most", type=int, default=100_000)
    numbers = [10**power for power in range(2, 8) if 10**power <= parser.parse_args().most]
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        runs = [measure(Path(name), n_frames) for n_frames in numbers]
        damage = measure_damage(Path(name), min(10_000, numbers[-1]))
        cakes = [measure(Path(name), n_frames, cake=True) for n_frames in numbers if n_frames <= MOST_CAKES]
    for run in runs + cakes:
        print("{frames:>8} frames: {peak_memory_MB:7.1f} MB at most, {frames_per_second:8.1f} frames/s".format(**run))
    result = {
        "benchmark": "streaming_memory",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.machine(), "threads": thread_count(), "python": platform.python_version()},
        "frame": "Pilatus 100k, 195 x 487 int32, bitshuffle-LZ4",
        "runs": runs,
        "growth": round(runs[-1]["peak_memory_MB"] / runs[0]["peak_memory_MB"], 3),
        "cakes": cakes,
        "one frame in a hundred damaged": damage,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
