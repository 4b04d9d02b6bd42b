"""How fast a GPU turns frames in its memory into sums over bins, and how far that is from reading them once.

The frames are those of `scatter_kernels.py`: Poisson counts of an Eiger 4M (2162 × 2068) and a Pilatus 2M
(1679 × 1475); 1000 radial bins, or 1000 × 360; solid angle correction. Times are by events on the device, the median
of several; the frames are many times the size of the caches. The limit beside them is a copy within the device's
memory, bytes read plus bytes written.

    python benchmarks/scatter_kernels_gpu.py [--frames 128] [--repeat 9] [--record FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from friedel.device import cuda
from friedel.instrument.detector import Detector
from friedel.instrument.geometry import Geometry
from friedel.kernels.cuda_robust import CudaRobustScatter
from friedel.kernels.cuda_scatter import CudaScatter
from friedel.kernels.robust import RobustScatter
from friedel.techniques.integration.radial_map import RadialMap

DETECTORS = {"Eiger 4M": ((2162, 2068), 75e-6), "Pilatus 2M": ((1679, 1475), 172e-6)}


def median_ms(function: Callable[[], Any], repeat: int) -> float:
    """Return the median time of calls on the device, in ms."""
    cupy = cuda.array_module()
    function()
    function()
    times = []
    for _ in range(repeat):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end))
    return float(np.median(times))


def copy_bandwidth(repeat: int) -> float:
    """Return the bandwidth of a copy within the device, in TB/s, bytes read plus bytes written."""
    cupy = cuda.array_module()
    source = cupy.random.randint(0, 2**31, 2**30, dtype=np.int32)
    target = cupy.empty_like(source)
    return 2 * source.nbytes / median_ms(lambda: cupy.copyto(target, source), repeat) / 1e9


def poisson_frames(shape: tuple[int, int], dtype: str, n: int) -> Any:
    """Rings on a background, mean counts from about 10 to 100, on the device."""
    cupy = cuda.array_module()
    y, x = cupy.indices(shape)
    r = cupy.hypot(y - 0.49 * shape[0], x - 0.51 * shape[1]) / shape[0]
    mean = 10 + 60 * cupy.exp(-((r / 0.3) ** 2)) + 30 * (cupy.cos(120 * r) > 0.9)
    random = cupy.random.RandomState(0)
    frames = cupy.empty((n, *shape), dtype)
    for i in range(n):
        frames[i] = random.poisson(mean).astype(dtype)
    return frames


def radial_map(shape: tuple[int, int], pixel: float, splitting: Any, n_azimuth: int | None = None) -> RadialMap:
    """Return the map of a detector 0.2 m behind the sample."""
    detector = Detector.from_shape(shape, pixel, pixel)
    geometry = Geometry(detector, 0.2, 0.49 * shape[0] * pixel, 0.51 * shape[1] * pixel, wavelength=1e-10)
    return RadialMap.build(geometry, npt=1000, unit="q_nm^-1", splitting=splitting, npt_azimuth=n_azimuth)


def plan(radial_map: RadialMap) -> CudaScatter:
    """Return the sums of a map on the device."""
    return CudaScatter.build(radial_map.pixel_map(), normalization=radial_map.scatter.normalization)


def robust_plan(of: RadialMap) -> CudaRobustScatter:
    """Return the clipped sums of a map on the device."""
    return CudaRobustScatter.of(RobustScatter.build(of.pixel_map(), normalization=of.scatter.normalization))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    bandwidth = copy_bandwidth(options.repeat)
    print(f"copy within the device {bandwidth:.2f} TB/s")
    rows: list[dict[str, Any]] = []

    def measure(name: str, frames: Any, function: Callable[..., Any], *given: Any, **named: Any) -> None:
        ms = median_ms(partial(function, *given, **named), options.repeat)
        rows.append({"what": name, "us_per_frame": 1e3 * ms / len(frames), "TB_per_s": frames.nbytes / ms / 1e9})
        print(f"{name:60s} {1e3 * ms / len(frames):8.2f} us/frame {frames.nbytes / ms / 1e9:6.2f} TB/s", flush=True)

    for detector, types in (("Eiger 4M", ("u4", "u2")), ("Pilatus 2M", ("i4",))):
        shape, pixel = DETECTORS[detector]
        maps = {splitting: radial_map(shape, pixel, splitting) for splitting in ("none", "full")}
        patterns = {splitting: plan(of) for splitting, of in maps.items()}
        cakes = {f"2D {splitting}": plan(radial_map(shape, pixel, splitting, 360)) for splitting in ("none", "full")}
        robust = {splitting: robust_plan(of) for splitting, of in maps.items()}
        for dtype in types:
            frames, mark = poisson_frames(shape, dtype, options.frames), float(np.iinfo(dtype).max)
            for name, scatter in (patterns | cakes).items():
                some = frames[:16] if name in cakes else frames
                label = f"{detector} {dtype} {name}"
                for model in ("none", "poisson", "azimuthal"):
                    measure(f"{label} {model}", some, scatter, some, error_model=model)
                measure(f"{label} poisson dummy", some, scatter, some, error_model="poisson", dummy=mark)
            for name, clipping in robust.items():
                for clip_model in ("azimuthal", "poisson", "hybrid"):
                    label = f"{detector} {dtype} {name} sigma clip {clip_model}"
                    measure(label, frames, clipping.clip, frames, error_model=clip_model, iterations=5, threshold=3)
            sums = patterns["none"](frames, error_model="poisson")
            measure(f"{detector} {dtype} divide", frames, patterns["none"].finish, sums, deviations=True)
            frames[:, 5::7, 3::50] = mark
            for name, scatter in patterns.items():
                label = f"{detector} {dtype} {name} poisson, 0.3 % invalid"
                measure(label, frames, scatter, frames, error_model="poisson", dummy=mark)
    if options.record:
        record = {"device": device_name(), "copy_TB_per_s": bandwidth, "frames": options.frames, "rows": rows}
        options.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def device_name() -> str:
    """Return the name of the device."""
    name = cuda.array_module().cuda.runtime.getDeviceProperties(0)["name"]
    return str(name.decode())


if __name__ == "__main__":
    main()
