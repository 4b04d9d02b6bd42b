"""Azimuthal integration on the CPU: friedel against pyFAI, fabio and h5py on the same frames and the same cores.

Frames in memory are Eiger 4M (2162 x 2068, uint32), 1000 bins in q, static mask of module gaps, solid angle and
polarization; files are bitshuffle-LZ4 HDF5 of the same frames and CBF byte-offset of Pilatus 2M frames. The peer runs
in its own interpreter and is asked for one measurement at a time, in turn with friedel; the best of the rounds counts.
Of pyFAI's CPU methods the fastest in each case is taken. The floors say what memory and reading would allow.

    python benchmarks/integration_cpu.py [--rounds 7] [--threads 2] [--only memory|hdf5|cbf]

pyFAI runs in the interpreter that the variable FRIEDEL_PEERS names, else in .venv-peers (benchmarks/peers.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
from friedel._native import instruction_set
from numpy.typing import NDArray

from friedel.core.blocks import cut_blocks
from friedel.core.context import Context
from friedel.core.provenance import friedel_version
from friedel.device.threads import thread_count
from friedel.instrument import Detector, Geometry
from friedel.io import RegionFile, open_frames
from friedel.kernels.decode import encode_bitshuffle_lz4, encode_byte_offset
from friedel.run.threads import ThreadRunner
from friedel.techniques.integration import RadialMap, StreamedMap
from friedel.techniques.integration.integrate import LabelledSource, pattern_regions
from friedel.techniques.integration.integrator import frames_per_block
from friedel.techniques.integration.tasks import integrate1d

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "integration_cpu.json"
NPT, UNIT, POLARIZATION = 1000, "q_nm^-1", 0.99
DISTINCT = 8
FILE_FRAMES = 48
CBF_FILES = 48
TARGETS = {"none": 8, "full": 6, "none+poisson": 6, "full+poisson": 6, "hdf5": 7, "cbf": 5}
METHODS = {
    "none": [("no", "csc", "cython"), ("no", "csr", "cython"), ("no", "histogram", "cython")],
    "full": [("full", "csc", "cython"), ("full", "csr", "cython")],
}

# What the peer does: reads one request a line, answers with one line.
PEER = """
import json, logging, sys, time, warnings
warnings.filterwarnings("ignore"); logging.disable(logging.CRITICAL)
import numpy as np, h5py, hdf5plugin, fabio, pyFAI
import pyFAI.detectors
from pyFAI.integrator.azimuthal import AzimuthalIntegrator
print(json.dumps({"pyFAI": pyFAI.version, "fabio": fabio.version, "numpy": np.__version__,
                  "hdf5plugin": hdf5plugin.version}), flush=True)
integrators = {}

def prepare(request):
    key = request["scene"]
    if key not in integrators:
        mask = np.load(request["mask"])
        detector = pyFAI.detectors.Detector(request["pixel"], request["pixel"], max_shape=mask.shape, orientation=3)
        detector.mask = mask
        integrators[key] = AzimuthalIntegrator(*request["place"], detector=detector, wavelength=request["wavelength"])
    return integrators[key]

def frames_of(request):
    if request["kind"] == "memory":
        return memory
    if request["kind"] == "hdf5":
        with h5py.File(request["path"]) as file:
            dataset = file["entry/data/data"]
            return (dataset[n] for n in range(len(dataset)))
    return (fabio.open(path).data for path in request["paths"])

def integrate(request, frames):
    ai = prepare(request)
    method, model = tuple(request["method"]), request["model"]
    return [ai.integrate1d_ng(frame, request["npt"], unit=request["unit"], method=method, error_model=model,
                              radial_range=tuple(request["range"]), polarization_factor=request["polarization"])
            for frame in frames]

memory = None
for line in sys.stdin:
    request = json.loads(line)
    if request["kind"] == "memory" and memory is None:
        memory = np.load(request["path"])
    started = time.perf_counter()
    if request["kind"] == "hdf5":
        with h5py.File(request["path"]) as file:
            dataset = file["entry/data/data"]
            results = integrate(request, (dataset[n] for n in range(len(dataset))))
    else:
        results = integrate(request, frames_of(request))
    seconds = time.perf_counter() - started
    if request.get("keep"):
        arrays = {"intensity": np.array([r.intensity for r in results])}
        if results[0].sigma is not None:
            arrays["sigma"] = np.array([r.sigma for r in results])
        np.savez(request["keep"], **arrays)
    print(json.dumps(seconds), flush=True)
"""


class Peer:
    """pyFAI in its own interpreter, one request at a time."""

    def __init__(self, threads: int) -> None:
        named = os.environ.get("FRIEDEL_PEERS")
        python = Path(named) if named else REPOSITORY / ".venv-peers" / "bin" / "python"
        if not python.exists():
            sys.exit(f"{python} is absent: run python benchmarks/peers.py, or set FRIEDEL_PEERS.")
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [python, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.versions = self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the peer has died")
        return json.loads(line)

    def ask(self, request: dict[str, Any]) -> float:
        """Return the seconds that the request took there."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Scene:
    """A detector in the beam, noisy rings on it, and files of them."""

    def __init__(self, name: str, folder: Path, dtype: str, pixel: float, rings: float) -> None:
        model = Detector.named(name)
        shape = model.known_shape()
        # Known by its pixels only, with the gaps as a mask: the same test of values for both programs.
        detector = Detector.from_shape(shape, pixel)
        self.name, self.folder, self.mask = name, folder, model.mask()
        self.geometry = Geometry(
            detector, 0.25, 0.52 * shape[0] * pixel, 0.47 * shape[1] * pixel, 0.01, -0.02, 0.1, wavelength=0.5e-10
        )
        q = self.geometry.center_array(UNIT)
        self.range = (1.0, float(q.max() * 0.9))
        ideal = 2.0 + 8.0 * np.exp(-q / 30) + sum(rings * np.exp(-(((q - at) / 0.15) ** 2)) for at in range(8, 70, 7))
        rng = np.random.default_rng(1)
        self.frames = np.empty((DISTINCT, *shape), dtype)
        for frame in self.frames:
            frame[:] = rng.poisson(ideal)
            frame[self.mask] = -1 if np.dtype(dtype).kind == "i" else np.iinfo(dtype).max
        self.geometry.save(folder / f"{name}.poni")
        np.save(folder / f"{name}_mask.npy", self.mask)
        np.save(folder / f"{name}.npy", self.frames)

    def request(self, kind: str, splitting: str, model: str, method: tuple[str, ...], **more: Any) -> dict[str, Any]:
        """Return what the peer is asked."""
        g = self.geometry
        return {
            "scene": f"{self.name}.{splitting}",
            "kind": kind,
            "mask": str(self.folder / f"{self.name}_mask.npy"),
            "pixel": g.detector.pixel1,
            "place": [g.distance, g.poni1, g.poni2, g.rot1, g.rot2, g.rot3],
            "wavelength": g.wavelength,
            "npt": NPT,
            "unit": UNIT,
            "range": self.range,
            "polarization": POLARIZATION,
            "method": method,
            "model": None if model == "none" else model,
            "path": str(self.folder / f"{self.name}.npy"),
        } | more

    def plan(self, splitting: str, model: str, threads: int) -> RadialMap:
        """Return friedel's plan for the same."""
        return RadialMap.build(
            self.geometry,
            npt=NPT,
            unit=UNIT,
            splitting=splitting,  # type: ignore[arg-type]
            error_model=model,  # type: ignore[arg-type]
            polarization=POLARIZATION,
            mask=self.mask,
            radial_range=self.range,
            threads=threads,
        )


def seconds_of(function: Callable[[], Any]) -> float:
    """Return how long one call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def compete(ours: dict[str, Callable[[], Any]], peer: Peer, theirs: dict[str, dict[str, Any]], rounds: int) -> Any:
    """Measure every contestant in turn, `rounds` times after a warm-up; return the best seconds of each."""
    for function in ours.values():
        function()
    for request in theirs.values():
        peer.ask(request)
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, function in ours.items():
            best[name] = min(best.get(name, np.inf), seconds_of(function))
        for name, request in theirs.items():
            best[name] = min(best.get(name, np.inf), peer.ask(request))
    return best


def difference(found: NDArray[Any], expected: NDArray[Any]) -> dict[str, float]:
    """Compare the bins between the first and the last."""
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.abs(found / expected - 1)[:, 1:-1]
    relative = relative[np.isfinite(relative)]
    return {"median": float(np.median(relative)), "largest": float(relative.max())}


def memory_case(scene: Scene, peer: Peer, splitting: str, model: str, rounds: int, threads: int) -> dict[str, Any]:
    """Integrate frames in memory."""
    built = seconds_of(lambda: scene.plan(splitting, model, threads))
    plan = scene.plan(splitting, model, threads)
    ours = {
        "friedel": lambda: plan(scene.frames, threads=threads),
        "friedel, one frame a call": lambda: [plan(frame[None], threads=threads) for frame in scene.frames],
        "friedel, one thread": lambda: plan(scene.frames, threads=1),
    }
    theirs = {
        f"pyFAI {'/'.join(method)}": scene.request("memory", splitting, model, method) for method in METHODS[splitting]
    }
    best = compete(ours, peer, theirs, rounds)
    milliseconds = {name: value / DISTINCT * 1e3 for name, value in best.items()}
    fastest = min(theirs, key=lambda name: milliseconds[name])
    kept = scene.folder / "kept.npz"
    peer.ask(theirs[fastest] | {"keep": str(kept)})
    patterns = plan(scene.frames, threads=threads)
    with np.load(kept) as arrays:
        accuracy = {"intensity": difference(patterns.intensity, arrays["intensity"])}
        if patterns.intensity_errors is not None:
            accuracy["sigma"] = difference(patterns.intensity_errors, arrays["sigma"])
    return {
        "ms_per_frame": milliseconds,
        "build_seconds": built,
        "peer": fastest,
        "ratio": milliseconds[fastest] / milliseconds["friedel"],
        "ratio_one_frame_a_call": milliseconds[fastest] / milliseconds["friedel, one frame a call"],
        "accuracy": accuracy,
    }


def memory_floor(scene: Scene, rounds: int, threads: int) -> float:
    """Return the milliseconds in which `threads` threads read a frame once from memory."""
    words = scene.frames.view(np.uint32).reshape(DISTINCT * 4, -1)
    with ThreadPoolExecutor(threads) as pool:
        times = [seconds_of(lambda: list(pool.map(np.bitwise_or.reduce, words))) for _ in range(rounds + 1)]
    return min(times) / DISTINCT * 1e3


def write_hdf5(scene: Scene, path: Path) -> None:
    """Write the frames in turn as bitshuffle-LZ4 chunks."""
    import hdf5plugin

    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "entry/data/data",
            (FILE_FRAMES, *scene.frames.shape[1:]),
            scene.frames.dtype,
            chunks=(1, *scene.frames.shape[1:]),
            **hdf5plugin.Bitshuffle(),
        )
        chunks = [encode_bitshuffle_lz4(frame) for frame in scene.frames]
        for number in range(FILE_FRAMES):
            dataset.id.write_direct_chunk((number, 0, 0), chunks[number % DISTINCT])


def write_cbf(scene: Scene, folder: Path) -> list[str]:
    """Write the frames in turn as CBF files."""
    folder.mkdir()
    rows, columns = scene.frames.shape[1:]
    payloads = [encode_byte_offset(frame) for frame in scene.frames]
    paths = []
    for number in range(CBF_FILES):
        payload = payloads[number % DISTINCT]
        head = (
            "###CBF: VERSION 1.5, CBFlib v0.7.8 - PILATUS detectors\r\n\r\ndata_frame\r\n\r\n"
            '_array_data.header_convention "PILATUS_1.2"\r\n_array_data.header_contents\r\n;\r\n'
            f"# Detector: {scene.name}\r\n# Pixel_size 172e-6 m x 172e-6 m\r\n;\r\n\r\n_array_data.data\r\n;\r\n"
            "--CIF-BINARY-FORMAT-SECTION--\r\nContent-Type: application/octet-stream;\r\n"
            '     conversions="x-CBF_BYTE_OFFSET"\r\nContent-Transfer-Encoding: BINARY\r\n'
            f"X-Binary-Size: {len(payload)}\r\nX-Binary-ID: 1\r\n"
            'X-Binary-Element-Type: "signed 32-bit integer"\r\nX-Binary-Element-Byte-Order: LITTLE_ENDIAN\r\n'
            f"X-Binary-Number-of-Elements: {rows * columns}\r\nX-Binary-Size-Fastest-Dimension: {columns}\r\n"
            f"X-Binary-Size-Second-Dimension: {rows}\r\nX-Binary-Size-Padding: 0\r\n\r\n"
        )
        tail = b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n"
        path = folder / f"frame_{number:05d}.cbf"
        path.write_bytes(head.encode() + b"\x0c\x1a\x04\xd5" + payload + tail)
        paths.append(str(path))
    return paths


def file_case(
    scene: Scene, peer: Peer, kind: str, frames: list[str], model: str, rounds: int, threads: int
) -> dict[str, Any]:
    """Integrate files to a file of patterns; both programs have built their maps before."""
    runner, context = ThreadRunner(threads), Context(ThreadRunner(threads))
    output = scene.folder / "patterns.h5"
    plan = scene.plan("none", model, threads)

    def ours() -> None:
        source = open_frames(frames)
        regions = pattern_regions(plan, source.n_frames)
        blocks = cut_blocks(source.n_frames, frames_per_block(source.frame_bytes, plan.scatter.n_bins))
        with RegionFile.create(output, regions, "benchmark", overwrite=True) as sink:
            runner.stream(LabelledSource(source), StreamedMap(plan), sink, blocks, context, "")
            sink.finish()

    def whole_task() -> None:
        given = {
            "frames": frames,
            "geometry": scene.folder / f"{scene.name}.poni",
            "npt": NPT,
            "unit": UNIT,
            "splitting": "none",
            "error_model": model,
            "polarization": POLARIZATION,
            "mask": scene.folder / f"{scene.name}_mask.npy",
            "radial_range": scene.range,
            "output": output,
            "overwrite": True,
        }
        integrate1d.execute(integrate1d.parameters.parse(given), context)

    count = FILE_FRAMES if kind == "hdf5" else CBF_FILES
    given = {"path": frames[0].partition("::")[0]} if kind == "hdf5" else {"paths": frames}
    theirs = {
        f"pyFAI {'/'.join(method)}": scene.request(kind, "none", model, method, **given)
        for method in METHODS["none"][:1]
    }
    best = compete({"friedel": ours}, peer, theirs, rounds)
    milliseconds = {name: value / count * 1e3 for name, value in best.items()}
    fastest = min(theirs, key=lambda name: milliseconds[name])
    return {
        "frames": count,
        "whole_task_seconds": min(seconds_of(whole_task) for _ in range(3)),
        "ms_per_frame": milliseconds,
        "frames_per_second": {name: 1e3 / value for name, value in milliseconds.items()},
        "peer": fastest,
        "ratio": milliseconds[fastest] / milliseconds["friedel"],
        "floor_ms": {"reading the files": reading_floor(kind, frames, rounds) / count},
    }


def reading_floor(kind: str, frames: list[str], rounds: int) -> float:
    """Return the milliseconds in which the compressed bytes are read, with one thread, from the page cache."""

    def read() -> None:
        if kind == "cbf":
            for path in frames:
                Path(path).read_bytes()
            return
        with h5py.File(frames[0].partition("::")[0], locking=False) as file:
            dataset = file["entry/data/data"]
            for number in range(len(dataset)):
                dataset.id.read_direct_chunk((number, 0, 0))

    return min(seconds_of(read) for _ in range(rounds)) * 1e3


def machine(threads: int) -> dict[str, Any]:
    """Describe where this was measured."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": threads,
        "instruction_set": instruction_set(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_average": list(os.getloadavg()),
    }


def show(name: str, case: dict[str, Any]) -> None:
    """Print a case in a line."""
    times = ", ".join(f"{key} {value:.2f}" for key, value in case["ms_per_frame"].items())
    goal = TARGETS.get(name.split(" ")[-1], TARGETS.get(name.split(" ")[0], 0))
    print(f"{name:24s} {case['ratio']:6.1f}x (aim {goal}x)   ms a frame: {times}", flush=True)


def main() -> None:
    """Run everything and keep the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--threads", type=int, default=thread_count())
    options.add_argument("--only", choices=["memory", "hdf5", "cbf"])
    options.add_argument("--output", type=Path, default=RESULT)
    given = options.parse_args()
    peer = Peer(given.threads)
    cases: dict[str, Any] = {}
    floors: dict[str, float] = {}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.only in (None, "memory", "hdf5"):
            scene = Scene("Eiger2_4M", folder, "u4", 75e-6, 40.0)
            floors["Eiger 4M: reading the frame from memory, ms"] = memory_floor(scene, given.rounds, given.threads)
            for splitting in ("none", "full") if given.only != "hdf5" else ():
                for model in ("none", "poisson"):
                    name = splitting + ("" if model == "none" else f"+{model}")
                    cases[name] = memory_case(scene, peer, splitting, model, given.rounds, given.threads)
                    show(name, cases[name])
            if given.only in (None, "hdf5"):
                path = folder / "scan.h5"
                write_hdf5(scene, path)
                for model in ("none", "poisson"):
                    name = "hdf5" if model == "none" else f"hdf5+{model}"
                    cases[name] = file_case(scene, peer, "hdf5", [str(path)], model, given.rounds, given.threads)
                    cases[name]["bytes_per_frame"] = path.stat().st_size // FILE_FRAMES
                    show(name, cases[name])
            del scene
        if given.only in (None, "cbf"):
            scene = Scene("Pilatus2M", folder, "i4", 172e-6, 400.0)
            paths = write_cbf(scene, folder / "cbf")
            cases["cbf"] = file_case(scene, peer, "cbf", paths, "none", given.rounds, given.threads)
            show("cbf", cases["cbf"])
    peer.close()
    result = {
        "benchmark": "integration_cpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "friedel": friedel_version(),
        "peers": peer.versions,
        "machine": machine(given.threads),
        "rounds": given.rounds,
        "targets": TARGETS,
        "floors": floors,
        "cases": cases,
    }
    given.output.parent.mkdir(exist_ok=True)
    given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"Wrote {given.output}.")


if __name__ == "__main__":
    main()
