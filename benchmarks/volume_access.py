"""How long it takes to read one channel, one pixel and all of a volume of maps, against a file stored in one piece.

The volume is 400 x 400 voxels of 2000 channels (1.28 GB), stored as ``friedel xrdct`` stores it. Times are the best of
several with the file in the page cache; the number of bytes that must be touched is what counts on a slower disk.

    python benchmarks/volume_access.py [--channels 2000]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from friedel.core.blocks import cut_blocks
from friedel.io import RegionFile, RegionSpec
from friedel.workflows.xrdct.workflow import CHUNK

RESULTS = Path(__file__).parent / "results" / "volume_access.json"
SIZE = 400
REPEAT = 5


def best_milliseconds(function: Callable[[], Any]) -> float:
    """Return the shortest of several times."""
    times = []
    for _ in range(REPEAT):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return round(1e3 * min(times), 2)


def write(path: Path, channels: int) -> float:
    """Write the volume channel block by channel block; return GB/s."""
    spec = RegionSpec((1, SIZE, SIZE, channels), "f4", "channels", chunk=CHUNK)
    slices = np.random.default_rng(0).normal(size=(SIZE, SIZE, CHUNK[2])).astype(np.float32)
    start = time.perf_counter()
    with RegionFile.create(path, {"volume": spec}, "benchmark") as sink:
        for block in cut_blocks(channels, CHUNK[2]):
            sink.write(block, {"volume": slices[..., : len(block)]})
            sink.commit(block)
        sink.finish()
    return round(SIZE * SIZE * channels * 4 / 1e9 / (time.perf_counter() - start), 2)


def read_times(dataset: h5py.Dataset, channels: int) -> dict[str, float]:
    """Return the times of typical reads in ms."""
    return {
        "one channel": best_milliseconds(lambda: dataset[0, :, :, channels // 2]),
        "ten channels": best_milliseconds(lambda: dataset[0, :, :, channels // 2 : channels // 2 + 10]),
        "one pixel": best_milliseconds(lambda: dataset[0, SIZE // 2, SIZE // 2]),
        "all": best_milliseconds(lambda: dataset[...]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--channels", type=int, default=2000)
    channels = parser.parse_args().channels
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.h5"
        rate = write(path, channels)
        with h5py.File(path) as file, h5py.File(Path(folder) / "plain.h5", "w") as plain:
            chunked = file["entry/volume/volume"]
            plain["volume"] = chunked[...]
            times = {"chunked": read_times(chunked, channels), "in one piece": read_times(plain["volume"], channels)}
    for layout, found in times.items():
        print(f"{layout:14s}" + ", ".join(f"{what} {value:.2f} ms" for what, value in found.items()))
    result = {
        "benchmark": "volume_access",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.machine(), "python": platform.python_version()},
        "shape": [1, SIZE, SIZE, channels],
        "chunk": [1, *CHUNK],
        "write_GB_per_s": rate,
        "milliseconds": times,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
