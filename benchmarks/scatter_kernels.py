"""How fast frames become sums over bins, and how far that is from reading them once.

Frames are Poisson counts of an Eiger 4M (2162 × 2068, uint32) and a Pilatus 2M (1679 × 1475, int32); 1000 radial
bins, solid angle correction, no mask. Times are the best of several, in ms for one frame, for a block of frames and
for one frame alone. What a dynamic mask costs is measured on the Eiger's frames, of 32 and of 16 bits, in turn with the
same frames before pixels were marked, and with the marked frames when no dummy is given: marks make frames longer to
decode, mask or not. The record holds the load average before the run: above about 0.5 other work took part of the
processor, and the figures of several threads are too high. The peers are in `integration_cpu.py`.

    python benchmarks/scatter_kernels.py [--repeat 3] [--dynamic-mask]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from friedel import _native
from friedel.device.threads import thread_count
from friedel.instrument.detector import Detector
from friedel.instrument.geometry import Geometry
from friedel.kernels.decode import decode, encode_bitshuffle_lz4, encode_byte_offset
from friedel.kernels.encoded import EncodedFrames
from friedel.kernels.scatter import Scatter
from friedel.techniques.integration.radial_map import RadialMap

RESULTS = Path(__file__).parent / "results" / "scatter_kernels.json"
DETECTORS = {"Eiger 4M": ((2162, 2068), 75e-6, "u4"), "Pilatus 2M": ((1679, 1475), 172e-6, "i4")}
FRAMES = 16
DIFFERENT = 8
BINS = 1000

# Which pixels a dynamic mask marks: how, and what part of them.
MARKED = (
    ("none", 0.0),
    ("scattered", 0.003),
    ("scattered", 0.01),
    ("scattered", 0.03),
    ("dead", 0.06),
    ("squares", 0.03),
)


def best(function: Callable[[], Any], repeat: int) -> float:
    """Return the least time of several calls, in ms."""
    function()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def poisson_frames(shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Rings on a background, mean counts from about 10 to 100."""
    y, x = np.indices(shape)
    r = np.hypot(y - 0.49 * shape[0], x - 0.51 * shape[1]) / shape[0]
    mean = 10 + 60 * np.exp(-((r / 0.3) ** 2)) + 30 * (np.cos(120 * r) > 0.9)
    rng = np.random.default_rng(0)
    different = np.stack([rng.poisson(mean).astype(dtype) for _ in range(DIFFERENT)])
    return np.concatenate([different] * (FRAMES // DIFFERENT))


def encode(frames: np.ndarray, codec: str) -> EncodedFrames:
    """Compress the different ones of the frames."""
    function = encode_bitshuffle_lz4 if codec == "bslz4" else encode_byte_offset
    buffers = tuple(function(frame) for frame in frames[:DIFFERENT]) * (FRAMES // DIFFERENT)
    return EncodedFrames(codec, buffers, frames.shape[1:], frames.dtype, ("",) * FRAMES)


def plans(shape: tuple[int, int], pixel: float) -> dict[str, Scatter]:
    """Return the plan for each splitting."""
    geometry = Geometry(
        Detector.from_shape(shape, pixel, pixel),
        0.2,
        0.49 * shape[0] * pixel,
        0.51 * shape[1] * pixel,
        wavelength=1e-10,
    )
    return {
        splitting: RadialMap.build(geometry, npt=BINS, unit="q_nm^-1", splitting=splitting).scatter
        for splitting in ("none", "full")
    }


def measure(name: str, repeat: int) -> dict[str, Any]:
    """Time every way for one detector; ms for a frame."""
    shape, pixel, dtype = DETECTORS[name]
    frames = poisson_frames(shape, dtype)
    sources: dict[str, Any] = {"array": frames, "bslz4": encode(frames, "bslz4")}
    if dtype == "i4":
        sources["byte_offset"] = encode(frames, "byte_offset")
    threads = thread_count()
    figures: dict[str, Any] = {
        "read the frames once": {"1 thread": best(lambda: np.bitwise_or.reduce(frames.ravel()), repeat) / FRAMES},
        "compression ratio": frames[0].nbytes / len(sources["bslz4"].buffers[0]),
    }
    for codec in list(sources)[1:]:
        figures[f"decode {codec}"] = {
            f"{n} threads": best(lambda n=n, codec=codec: decode(sources[codec], threads=n), repeat) / FRAMES
            for n in (1, threads)
        }
    scatters = plans(shape, pixel)
    for splitting, scatter in scatters.items():
        figures[f"plan {splitting}"] = {"MB": scatter.nbytes / 1e6}
        for model in ("none", "poisson", "azimuthal"):
            for source, block in sources.items():
                figures[f"{splitting} {model} from {source}"] = {
                    f"{n} threads": best(
                        lambda n=n, s=scatter, b=block, m=model: s(b, error_model=m, threads=n), repeat
                    )
                    / FRAMES
                    for n in (1, threads)
                }
            figures[f"{splitting} {model} one frame alone"] = {
                f"{n} threads": best(lambda n=n, s=scatter, m=model: s(frames[:1], error_model=m, threads=n), repeat)
                for n in (1, threads)
            }
    return figures


def invalid_pixels(shape: tuple[int, ...], kind: str, fraction: float) -> np.ndarray:
    """Mark a fraction of the pixels: dead ones are the same in every frame, others not; or squares of 40 pixels."""
    rng = np.random.default_rng(1)
    if kind == "dead":
        return np.broadcast_to(rng.random(shape[1:]) < fraction, shape)
    if kind == "scattered":
        return rng.random(shape) < fraction
    marked, side = np.zeros(shape, bool), 40
    for frame in marked:
        for _ in range(int(fraction * frame.size / side**2)):
            y, x = (rng.integers(0, size - side) for size in frame.shape)
            frame[y : y + side, x : x + side] = True
    return marked


def measure_dynamic_masks(repeat: int) -> dict[str, Any]:
    """Measure what dynamic masks cost on frames of the Eiger."""
    shape, pixel, _ = DETECTORS["Eiger 4M"]
    scatters, threads = plans(shape, pixel), thread_count()
    record: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load average before": os.getloadavg()[0],
        "unit": "processor time of all threads, as a multiple of that of the same frames without marks and dummy",
    }
    for form in ("u4", "u2"):
        frames = poisson_frames(shape, form)
        for codec in ("array", "bslz4"):
            record[f"{form} {codec}"] = measure_dynamic_mask(frames, codec, scatters, threads, repeat)
    return record


def measure_dynamic_mask(
    frames: np.ndarray, codec: str, scatters: dict[str, Scatter], threads: int, repeat: int
) -> dict[str, dict[str, float]]:
    """Time frames with invalid pixels and without, in turn: processor time, which other work changes less."""
    mark = np.iinfo(frames.dtype).max

    def stored(some: np.ndarray) -> Any:
        return some if codec == "array" else encode(some, codec)

    clean = stored(frames)
    found: dict[str, dict[str, float]] = {}
    for kind, fraction in MARKED:
        marked = frames.copy()
        if fraction:
            marked[invalid_pixels(frames.shape, kind, fraction)] = mark
        block_of_marked = stored(marked)
        sources = {"without": (clean, None), "with": (block_of_marked, mark), "no dummy": (block_of_marked, None)}
        for splitting, scatter in scatters.items():
            for model in ("none", "poisson"):
                times: dict[str, float] = dict.fromkeys(sources, np.inf)
                for _ in range(repeat):
                    for name, (block, dummy) in sources.items():
                        start = time.process_time()
                        scatter(block, error_model=model, dummy=dummy, threads=threads)
                        times[name] = min(times[name], time.process_time() - start)
                row = found.setdefault(
                    f"{splitting} {model}", {"ms for one frame without": 1e3 * times["without"] / FRAMES}
                )
                part = f"{kind} {fraction:.1%}" if fraction else "none invalid"
                row[part] = times["with"] / times["without"]
                if fraction:
                    row[f"{part}, no dummy given"] = times["no dummy"] / times["without"]
    return found


def processor() -> str:
    """Return the processor's name."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dynamic-mask", action="store_true", help="measure this alone, and keep the other figures")
    arguments = parser.parse_args()
    repeat = arguments.repeat
    if arguments.dynamic_mask:
        record = json.loads(RESULTS.read_text()) | {"dynamic mask": measure_dynamic_masks(repeat)}
        for figures in record["figures"].values():
            figures.pop("dynamic mask", None)
        RESULTS.write_text(json.dumps(rounded(record), indent=1) + "\n")
        return
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "threads": thread_count(),
        "instruction set": _native.instruction_set(),
        "unit": "ms for one frame, best of several",
        "load average before": os.getloadavg()[0],
        "figures": {name: measure(name, repeat) for name in DETECTORS},
        "dynamic mask": measure_dynamic_masks(repeat),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rounded(record), indent=1) + "\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
