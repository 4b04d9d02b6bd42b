"""Azimuthal integration on GPUs, end to end: compressed frames in the host's memory to patterns in the host's memory.

The frames are those of ``integration_cpu.py``, Poisson counts with rings: Eiger 4M (2162 x 2068, bitshuffle-LZ4 of 32
and 16 bits) and Pilatus 2M (1679 x 1475, CBF byte-offset); 1000 bins in q, Poisson errors, solid angle, polarization,
mask of the module gaps. Blocks go through the runner, the plan and the sink that the command line uses. There are many
times more buffers than fit into the processor's caches. Beside each rate stand its limits: the bus (pinned copies,
measured), and the time of each kernel on the GPU alone.

    python benchmarks/integration_gpu.py [--frames 3000] [--device cuda:0] [--lanes 4] [--only PATTERN] [--record FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block, cut_blocks
from friedel.core.context import Context
from friedel.core.provenance import friedel_version
from friedel.device import cuda
from friedel.device.choice import gpu_numbers, resolve_device
from friedel.device.threads import thread_count
from friedel.instrument import Detector, Geometry
from friedel.io import MemorySink
from friedel.kernels.decode import encode_bitshuffle_lz4, encode_byte_offset
from friedel.kernels.encoded import EncodedFrames
from friedel.run.threads import ThreadRunner
from friedel.techniques.integration import RadialMap, StreamedMap, device_map
from friedel.techniques.integration.integrate import pattern_regions
from friedel.techniques.integration.integrator import frames_per_block

NPT, UNIT, POLARIZATION = 1000, "q_nm^-1", 0.99
DISTINCT, BUFFERS = 6, 96
CHECKED = 3


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    detector: str
    dtype: str
    codec: Any
    target: float
    splitting: str = "none"
    npt_azimuth: int | None = None
    model: str = "poisson"


CASES = (
    Case("Eiger 4M uint32", "Eiger4M", "u4", "bslz4", 5000),
    Case("Eiger 4M uint16", "Eiger4M", "u2", "bslz4", 10000),
    Case("Eiger 4M uint32, full splitting", "Eiger4M", "u4", "bslz4", 5000, splitting="full"),
    Case("Eiger 4M uint32, 1000 x 360", "Eiger4M", "u4", "bslz4", 3000, npt_azimuth=360),
    Case("Pilatus 2M CBF", "Pilatus2M", "i4", "byte_offset", 5000),
)


@dataclass(frozen=True)
class Repeated:
    """A scan made of a few buffers, again and again; a `friedel.core.blocks.BlockSource`."""

    frames: EncodedFrames
    n_frames: int

    def read(self, block: Block) -> EncodedFrames:
        """Return the frames of a block."""
        numbers = [number % len(self.frames) for number in range(block.start, block.stop)]
        return replace(
            self.frames,
            buffers=tuple(self.frames.buffers[number] for number in numbers),
            labels=tuple(self.frames.labels[number] for number in numbers),
        )


def scene(case: Case) -> tuple[Geometry, NDArray[np.bool_], EncodedFrames, NDArray[Any]]:
    """Return geometry, mask, the compressed frames and a few of them decoded."""
    model = Detector.named(case.detector)
    shape, pixel = model.known_shape(), model.pixel1
    detector = Detector.from_shape(shape, pixel)
    geometry = Geometry(
        detector, 0.25, 0.52 * shape[0] * pixel, 0.47 * shape[1] * pixel, 0.01, -0.02, 0.1, wavelength=0.5e-10
    )
    q = geometry.center_array(UNIT)
    ideal = 2.0 + 8.0 * np.exp(-q / 30) + sum(30 * np.exp(-(((q - at) / 0.15) ** 2)) for at in range(8, 70, 7))
    rng = np.random.default_rng(1)
    frames = np.empty((DISTINCT, *shape), case.dtype)
    mask = model.mask()
    for frame in frames:
        frame[:] = rng.poisson(ideal)
        frame[mask] = -1 if frames.dtype.kind == "i" else np.iinfo(frames.dtype).max
    encode = {"bslz4": encode_bitshuffle_lz4, "byte_offset": encode_byte_offset}[case.codec]
    coded = [encode(frame) for frame in frames]
    buffers = tuple(bytes(bytearray(coded[number % DISTINCT])) for number in range(BUFFERS))
    labels = tuple(f"frame {number}" for number in range(BUFFERS))
    return geometry, mask, EncodedFrames(case.codec, buffers, shape, frames.dtype, labels), frames


def plan_of(case: Case, geometry: Geometry, mask: NDArray[np.bool_]) -> RadialMap:
    """Return the map of a case."""
    return RadialMap.build(
        geometry,
        npt=NPT,
        unit=UNIT,
        splitting=case.splitting,  # type: ignore[arg-type]
        error_model=case.model,  # type: ignore[arg-type]
        npt_azimuth=case.npt_azimuth,
        polarization=POLARIZATION,
        mask=mask,
    )


def bus_bandwidth(device: int) -> float:
    """Return the rate of copies from pinned memory to a GPU, in GB/s."""
    size = 2**28
    host = cuda.pinned_memory(size)
    with cuda.using(device, cuda.new_stream(device)):
        cupy = cuda.array_module()
        there = cupy.empty(size, np.uint8)

        def copy() -> None:
            cuda.to_device(there, host)
            cuda.wait_for(cupy.cuda.get_current_stream())

        copy()
        return 4 * size / seconds_of(lambda: [copy() for _ in range(4)]) / 1e9


def seconds_of(function: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


@contextmanager
def kernels_timed() -> Iterator[dict[str, list[tuple[Any, Any]]]]:
    """Put events around each kernel and each copy to the device."""
    events: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    load_kernel, to_device = cuda.load_kernel, cuda.to_device
    cupy = cuda.array_module()

    def timed(name: str, function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any, **named: Any) -> None:
            start, end = cupy.cuda.Event(), cupy.cuda.Event()
            start.record()
            function(*arguments, **named)
            end.record()
            events[name].append((start, end))

        return call

    device_map._pools.clear()  # lanes keep the kernels that they have used
    try:
        cuda.load_kernel = lambda source, name, *rest: timed(name, load_kernel(source, name, *rest))  # type: ignore[assignment]
        cuda.to_device = timed("copy over the bus", to_device)  # type: ignore[assignment]
        yield events
    finally:
        cuda.load_kernel, cuda.to_device = load_kernel, to_device
        device_map._pools.clear()


def block_size(plan: RadialMap, device: str, frames: EncodedFrames) -> int:
    """Return the frames of a block."""
    frame_bytes = int(np.prod(frames.frame_shape)) * frames.dtype.itemsize
    return frames_per_block(frame_bytes, plan.scatter.n_bins, device, encoded=True)


def stages(plan: RadialMap, device: str, frames: EncodedFrames, threads: int) -> dict[str, float]:
    """Return the microseconds a frame that each step of one lane takes by itself."""
    on_device = device_map.DeviceMap(plan, device)
    n = min(block_size(plan, device, frames), BUFFERS)
    some = frames.part(0, n)
    on_device(some, threads=threads)
    with kernels_timed() as events:
        for _ in range(3):
            on_device(some, threads=threads)
        cuda.array_module().cuda.Device(gpu_numbers(device)[0]).synchronize()
    elapsed = cuda.array_module().cuda.get_elapsed_time
    found = {name: 1e3 * sum(elapsed(*pair) for pair in pairs) / (3 * n) for name, pairs in events.items()}
    found["whole lane"] = 1e6 * min(seconds_of(lambda: on_device(some, threads=threads)) for _ in range(3)) / n
    return found


def rate(plan: RadialMap, device: str, frames: EncodedFrames, n_frames: int, threads: int) -> tuple[float, Any]:
    """Return frames a second through runner, plan and sink, and the arrays that came out."""
    blocks = cut_blocks(n_frames, block_size(plan, device, frames))
    sink = MemorySink(pattern_regions(plan, n_frames))
    runner = ThreadRunner(threads)
    streamed = StreamedMap(plan, device, threads)
    source = Repeated(frames, n_frames)
    seconds = seconds_of(lambda: runner.stream(source, streamed, sink, blocks, Context(runner, device), ""))
    return n_frames / seconds, sink.arrays


def measure(case: Case, device: str, n_frames: int, threads: int, pinned: bool) -> dict[str, Any]:
    """Check the results of a case, then time it."""
    geometry, mask, frames, decoded = scene(case)
    if pinned:
        frames = replace(frames, buffers=cuda.pinned_buffers(frames.buffers))
    plan = plan_of(case, geometry, mask)
    if case.npt_azimuth:
        n_frames //= 4
    _, warm = rate(plan, device, frames, min(n_frames, 600), threads)
    expected = plan(decoded[:CHECKED], threads=threads).arrays()
    worst = {}
    for name, values in expected.items():
        found = warm[name][:CHECKED].reshape(values.shape)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
        worst[name] = float(np.nanmax(np.abs(found - values) / np.maximum(np.abs(values), 1e-9)))
        for start in range(DISTINCT, len(warm[name]) - DISTINCT, DISTINCT):
            np.testing.assert_array_equal(warm[name][start : start + DISTINCT], warm[name][:DISTINCT])
    rates = [rate(plan, device, frames, n_frames, threads)[0] for _ in range(3)]
    n_bytes = sum(map(len, frames.buffers)) / len(frames)
    return {
        "frames_per_second": round(max(rates)),
        "rounds": [round(value) for value in rates],
        "target": case.target,
        "bytes_per_frame": round(n_bytes),
        "ratio": round(decoded[0].nbytes / n_bytes, 2),
        "worst_difference": worst,
        "microseconds_per_frame": {
            name: round(value, 2) for name, value in stages(plan, device, frames, threads).items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--threads", type=int, default=thread_count())
    parser.add_argument("--lanes", type=int, default=device_map.LANES)
    parser.add_argument("--only", default="", help="regular expression: which cases")
    parser.add_argument(
        "--pinned", action="store_true", help="compressed frames lie in memory that the GPU reads itself"
    )
    parser.add_argument("--record", type=Path)
    asked = parser.parse_args()
    device_map.LANES = asked.lanes
    device = resolve_device(asked.device)
    numbers = gpu_numbers(device)
    bus = [round(bus_bandwidth(number), 1) for number in numbers]
    names = [cuda.array_module().cuda.runtime.getDeviceProperties(n)["name"].decode() for n in numbers]
    print(f"{device}: {', '.join(names)}; bus {bus} GB/s; {asked.threads} threads, {asked.lanes} lanes", flush=True)
    result: dict[str, Any] = {
        "friedel": friedel_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "gpus": names,
        "bus_gb_per_second": bus,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": asked.threads,
        "lanes": asked.lanes,
        "pinned": asked.pinned,
        "memory_limit": os.environ.get(cuda.MEMORY_VARIABLE),
        "cases": {},
    }
    for case in CASES:
        if re.search(asked.only, case.name):
            made = result["cases"][case.name] = measure(case, device, asked.frames, asked.threads, asked.pinned)
            limit = made["limit_of_the_bus"] = round(sum(bus) * 1e9 / made["bytes_per_frame"])
            print(
                f"{case.name:34} {made['frames_per_second']:7d} frames/s (wanted {case.target:.0f}, bus {limit}) "
                f"{made['rounds']} ratio {made['ratio']} worst {max(made['worst_difference'].values()):.1e}\n"
                f"    us/frame {made['microseconds_per_frame']}",
                flush=True,
            )
    if asked.record:
        asked.record.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
