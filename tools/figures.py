"""Write the table of measured figures in README.md from benchmarks/results.

    python tools/figures.py

A row whose benchmark has no result yet is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
TABLE = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)
HEAD = "| | friedel | beside it | limit |\n|---|---|---|---|\n"


@cache
def result(name: str) -> dict[str, Any]:
    """Return what a benchmark found; KeyError if it was not run."""
    path = REPOSITORY / "benchmarks" / "results" / f"{name}.json"
    if not path.exists():
        raise KeyError(name)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def digits(value: float) -> str:
    """Return a number as people read it: thousands apart, small ones with three digits."""
    return (
        f"{round(value, 2 - len(str(int(value)))) if value >= 1000 else value:,.0f}" if value >= 100 else f"{value:.3g}"
    )


def on_cpu(what: str, case: str, unit: str = "ms") -> str:
    """A row of frames in memory or in files on the CPU, beside pyFAI."""
    found = result("integration_cpu")
    times = found["cases"][case]["ms_per_frame"]
    ours, theirs = times["friedel"], times[found["cases"][case]["peer"]]
    floors = found["cases"][case].get("floor_ms") or {"reading it once": next(iter(found["floors"].values()))}
    name, floor = next(iter(floors.items()))
    return row(
        what,
        f"{digits(ours)} {unit}",
        f"{digits(theirs)} ms, pyFAI ({theirs / ours:.0f} ×)",
        f"{digits(floor)} ms, {name}",
    )


def robust(what: str, case: str) -> str:
    """A row of a robust estimator in one thread, beside pyFAI."""
    times = result("robust_cpu")["rows"][case]
    ours, theirs = times["friedel_ms"], times["pyfai_ms"]
    return row(what, f"{digits(ours)} ms", f"{digits(theirs)} ms, pyFAI ({theirs / ours:.0f} ×)", "")


def slices(what: str) -> str:
    """The row of tomography, beside astra."""
    found = result("reconstruction_cpu")
    ours, theirs = (1e3 * found[name]["seconds_per_slice"] for name in ("friedel", "astra_fbp"))
    floor = 1e3 * found["floor"]["flop_floor_seconds_per_slice"]
    return row(
        what,
        f"{digits(ours)} ms",
        f"{digits(theirs)} ms, astra ({theirs / ours:.0f} ×)",
        f"{digits(floor)} ms, arithmetic",
    )


def to_patterns(what: str, case: str, benchmark: str = "integration_gpu") -> str:
    """A row of compressed frames in the host's memory to patterns there, on a GPU; the limit is the bus."""
    found = result(benchmark)["cases"][case]
    return row(what, f"{digits(found['frames_per_second'])} /s", "", f"{digits(found['limit_of_the_bus'])} /s, the bus")


def resident(what: str, case: str, bound: bool = True) -> str:
    """A row of frames in the memory of a GPU; the limit is its copying."""
    found = result("scatter_kernels_gpu")
    made = next(item for item in found["rows"] if item["what"] == case)
    rate = f"{digits(1e6 / made['us_per_frame'])} /s"
    if not bound:
        return row(what, rate, "", "")
    return row(what, f"{rate}, {made['TB_per_s']:.1f} TB/s", "", f"{found['copy_TB_per_s']:.1f} TB/s, copying")


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


ROWS: tuple[tuple[Callable[..., str], str, *tuple[Any, ...]], ...] = (
    (on_cpu, "Eiger 4M frame to 1000 bins with Poisson errors, no splitting", "none+poisson"),
    (on_cpu, "the same, full splitting", "full+poisson"),
    (on_cpu, "bitshuffle-LZ4 file of Eiger 4M frames to patterns, per frame", "hdf5+poisson"),
    (on_cpu, "CBF files of a Pilatus 2M to patterns, per frame", "cbf"),
    (robust, "sigma clipping of a frame, one thread", "clip azimuthal"),
    (robust, "median of a frame, one thread", "median"),
    (slices, "slice of 400 × 400 from 600 angles"),
    (to_patterns, "GPU: Eiger 4M, 32 bits, compressed in memory to patterns", "Eiger 4M uint32"),
    (to_patterns, "GPU: the same, 16 bits", "Eiger 4M uint16"),
    (to_patterns, "two GPUs: the same, 16 bits", "Eiger 4M uint16", "integration_gpu_two"),
    (to_patterns, "two GPUs: the same, 16 bits, in pinned memory", "Eiger 4M uint16", "integration_gpu_two_pinned"),
    (to_patterns, "GPU: the same, 32 bits, cakes of 1000 × 360", "Eiger 4M uint32, 1000 x 360"),
    (to_patterns, "GPU: Pilatus 2M, CBF in memory to patterns", "Pilatus 2M CBF"),
    (resident, "GPU: Eiger 4M frames that are there, Poisson errors", "Eiger 4M u4 none poisson"),
    (resident, "GPU: the same, cakes of 1000 × 360", "Eiger 4M u4 2D none poisson", False),
    (resident, "GPU: the same, sigma clipping", "Eiger 4M u4 none sigma clip azimuthal", False),
)


def table() -> str:
    """Return the rows that there are results for."""
    rows = []
    for make, *values in ROWS:
        try:
            rows.append(make(*values))
        except (KeyError, StopIteration):
            continue
    return HEAD + "".join(rows)


def main() -> None:
    text = README.read_text(encoding="utf-8")
    README.write_text(TABLE.sub(lambda _: table(), text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
