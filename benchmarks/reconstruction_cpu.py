"""Reconstruction of one XRD-CT layer: 400 x 400 pixels from 600 angles, 2,000 channels; friedel against astra-toolbox.

Both run on the same cores: friedel with as many threads, astra's filtered back-projection (CPU, linear projector)
with as many processes, each on slices of its own. Rounds alternate and the best of each counts. Accuracy is that of a
disk that is projected analytically. The floors say what memory and arithmetic would allow.

    python benchmarks/reconstruction_cpu.py [--channels 2000] [--rounds 3]

astra runs in the interpreter that the variable FRIEDEL_PEERS names, else in .venv-peers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from friedel._native import instruction_set
from numpy.typing import NDArray

from friedel.core.provenance import friedel_version
from friedel.device.threads import thread_count
from friedel.techniques.tomography import GriddingPlan, ParallelBeam, apply_plan

N, A = 400, 600
RADIUS, X, Y = 120.0, 40.0, -25.0
OVERSAMPLING = 8
REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "reconstruction_cpu.json"

PEER = """
import sys, time
import numpy as np, astra
sinograms = np.load(sys.argv[1])
n_slices, A, N = sinograms.shape
projector = astra.create_projector("linear", astra.create_proj_geom("parallel", 1.0, N, np.arange(A) * np.pi / A),
                                   astra.create_vol_geom(N, N))
def fbp(sinogram):
    projections = astra.data2d.create("-sino", astra.projector.projection_geometry(projector), sinogram)
    picture = astra.data2d.create("-vol", astra.projector.volume_geometry(projector))
    config = astra.astra_dict("FBP")
    config.update(ProjectorId=projector, ProjectionDataId=projections, ReconstructionDataId=picture)
    algorithm = astra.algorithm.create(config)
    astra.algorithm.run(algorithm)
    result = astra.data2d.get(picture)
    astra.algorithm.delete(algorithm)
    astra.data2d.delete([projections, picture])
    return result
first = fbp(sinograms[0])
np.save(sys.argv[2], first)
print(astra.__version__, flush=True)
for _ in sys.stdin:
    started = time.perf_counter()
    for sinogram in sinograms:
        fbp(sinogram)
    print(time.perf_counter() - started, flush=True)
"""


def disk_sinogram() -> NDArray[np.float32]:
    """Project the disk analytically, averaged over the width of a pixel."""
    theta = np.arange(A)[:, None, None] * np.pi / A
    t = np.arange(N)[:, None] + (np.arange(OVERSAMPLING) + 0.5) / OVERSAMPLING - 0.5 - (N - 1) / 2
    distance = t - (X * np.cos(theta) - Y * np.sin(theta))
    return (2 * np.sqrt(np.clip(RADIUS**2 - distance**2, 0, None))).mean(axis=2).astype(np.float32)


def accuracy(slice_: NDArray[np.floating]) -> dict[str, float]:
    """Compare with the disk, averaged over the area of a pixel, within 195 pixels of the axis."""
    position = (np.arange(N * OVERSAMPLING) + 0.5) / OVERSAMPLING - N / 2
    fine = np.hypot(position[None] - X, position[:, None] - Y) < RADIUS
    truth = fine.reshape(N, OVERSAMPLING, N, OVERSAMPLING).mean(axis=(1, 3))
    y, x = np.indices((N, N)) - (N - 1) / 2
    seen, distance = np.hypot(x, y) < 195, np.hypot(x - X, y - Y)
    inside, outside = distance < RADIUS - 4, seen & (distance > RADIUS + 4)
    return {
        "inside_mean": float(slice_[inside].mean(dtype=float)),
        "inside_std": float(slice_[inside].std(dtype=float)),
        "outside_mean": float(slice_[outside].mean(dtype=float)),
        "outside_std": float(slice_[outside].std(dtype=float)),
        "rms": float(np.sqrt(np.mean((slice_ - truth)[seen] ** 2))),
    }


class Astra:
    """Processes that reconstruct their slices each time they are told to."""

    def __init__(self, folder: Path, slices: NDArray[np.float32], processes: int) -> None:
        named = os.environ.get("FRIEDEL_PEERS")
        python = Path(named) if named else REPOSITORY / ".venv-peers" / "bin" / "python"
        self.n_slices = len(slices)
        np.save(folder / "slices.npy", slices)
        self.picture = folder / "astra_0.npy"
        self.workers = [
            subprocess.Popen(
                [str(python), "-c", PEER, str(folder / "slices.npy"), str(folder / f"astra_{number}.npy")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for number in range(processes)
        ]
        self.version = next(iter([self._answer(worker) for worker in self.workers]))  # each says it is ready

    @staticmethod
    def _answer(worker: subprocess.Popen[str]) -> str:
        assert worker.stdout is not None
        answer = worker.stdout.readline().strip()
        if not answer:
            sys.exit("astra-toolbox could not be run; FRIEDEL_PEERS must name a python that has it.")
        return answer

    def seconds_per_slice(self) -> float:
        """Let all processes work at the same time."""
        for worker in self.workers:
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        slowest = max(float(self._answer(worker)) for worker in self.workers)
        return slowest / (self.n_slices * len(self.workers))

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.communicate("", timeout=60)


def copy_bandwidth() -> float:
    """Return bytes per second, read and written together, of copying 512 MB with one thread."""
    source = np.ones(1 << 27, np.float32)
    target = np.zeros_like(source)
    return 2 * source.nbytes / best_of(3, lambda: np.copyto(target, source))


def multiplication_rate() -> float:
    """Return floating-point operations per second of a float32 matrix product on all cores: what is possible at all."""
    matrix = np.ones((2048, 2048), np.float32)
    return 2 * 2048**3 / best_of(3, lambda: matrix @ matrix)


def best_of(times: int, work: Any) -> float:
    """Return the shortest time in seconds."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def operations(plan: GriddingPlan) -> float:
    """Return the floating-point operations of one slice: transforms of the rays, spreading, transform of the grid."""
    tables = plan.lines_to_picture
    length, size = tables.length, tables.grid.size
    rays = A / 2 * 5 * length * np.log2(length) + A * length / 2 * 8
    spreading = 4 * len(tables.grid.weights)
    grid = (size // 2 + 1 + N / 2) * 5 * size * np.log2(size)
    return float(rays + spreading + grid)


def processor() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main() -> None:
    """Run and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--astra-slices", type=int, default=6, help="slices for each process and round")
    arguments = parser.parse_args()
    threads = thread_count()
    disk = disk_sinogram()
    strength = np.random.default_rng(0).uniform(0.5, 2.0, arguments.channels).astype(np.float32)
    strength[0] = 1
    cube = disk[..., None] * strength
    started = time.perf_counter()
    plan = GriddingPlan.build(ParallelBeam.build(np.arange(A) * 180 / A, N))
    build_seconds = time.perf_counter() - started
    ours, theirs = [], []
    with TemporaryDirectory() as folder:
        slices = np.ascontiguousarray(np.moveaxis(cube[..., : arguments.astra_slices], 2, 0))
        astra = Astra(Path(folder), slices, threads)
        for number in range(arguments.rounds):
            started = time.perf_counter()
            volume = apply_plan(plan, cube, threads)
            ours.append((time.perf_counter() - started) / arguments.channels)
            theirs.append(astra.seconds_per_slice())
            print(f"round {number + 1}: friedel {1e3 * ours[-1]:.2f}, astra {1e3 * theirs[-1]:.1f} ms a slice")
        astra.close()
        picture = np.load(astra.picture)
    astra_accuracy = min((accuracy(view) for view in (picture, picture[::-1])), key=lambda found: found["rms"])
    moved, flops = cube.nbytes + volume.nbytes, operations(plan)
    bandwidth, rate = copy_bandwidth(), multiplication_rate()
    result = {
        "benchmark": "reconstruction_cpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": processor(),
            "cores": threads,
            "instruction_set": str(instruction_set()),
            "system": platform.system(),
            "architecture": platform.machine(),
        },
        "versions": {"friedel": friedel_version(), "astra": astra.version, "numpy": np.__version__},
        "case": {"pixels": N, "angles": A, "channels": arguments.channels, "rounds": arguments.rounds},
        "friedel": {
            "seconds_per_slice": min(ours),
            "seconds_per_layer": min(ours) * arguments.channels,
            "plan_seconds": build_seconds,
            "rounds": ours,
            "accuracy": accuracy(volume[..., 0]),
        },
        "astra_fbp": {
            "seconds_per_slice": min(theirs),
            "rounds": theirs,
            "accuracy": astra_accuracy,
        },
        "ratio": min(theirs) / min(ours),
        "target_ratio": 20,
        "floor": {
            "bytes_per_layer": moved,
            "copy_bytes_per_second": bandwidth,
            "byte_floor_seconds_per_slice": moved / bandwidth / arguments.channels,
            "flops_per_slice": flops,
            "matrix_flops_per_second": rate,
            "flop_floor_seconds_per_slice": flops / rate,
            "achieved_flops_per_second": flops / min(ours),
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
