"""From nothing to a phase map: python demo.py FOLDER [--json FILE]

Runs the same commands as a user would, shows them, and compares what comes out with what was put in. It fails if a
phase map is not like the truth, or if the job takes more time or memory than it should.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from compare_with_truth import ENOUGH, correlations

import friedel
from friedel.core.provenance import friedel_version

MOST_SECONDS = 90.0
MOST_MEMORY = 2e9
PHASES = ("CeO2", "Al2O3", "Ni")
TRANSLATIONS, ROTATIONS, CHANNELS = 64, 61, 1000


@dataclass(frozen=True)
class Figures:
    """What a run of the demonstration gave.

    Attributes
    ----------
    seconds : float
        Wall-clock time of all commands.
    peak_memory : int
        Largest resident size of any one command, bytes.
    correlations : dict
        Pearson's correlation of each phase map with the truth.
    """

    seconds: float
    peak_memory: int
    correlations: dict[str, float]

    def shortcomings(self) -> list[str]:
        """Return what is not as it should be, a line each."""
        found = [
            f"The map of {name} correlates with the truth by {value:.4f}, it should by {ENOUGH} at least."
            for name, value in self.correlations.items()
            if not value >= ENOUGH
        ]
        if self.seconds > MOST_SECONDS:
            found.append(f"The job took {self.seconds:.1f} s, it should take {MOST_SECONDS:.0f} s at most.")
        if self.peak_memory > MOST_MEMORY:
            memory = f"{self.peak_memory / 1e9:.2f} GB"
            found.append(f"The job took {memory} of memory, it should take {MOST_MEMORY / 1e9:.0f} GB at most.")
        return found


def run(*words: str | Path) -> None:
    """Show a command and run it; leave with its exit code if it fails."""
    print(f"\n$ {shlex.join(map(str, words))}", flush=True)
    program = [sys.executable, "-m", "friedel.apps.cli", *words[1:]]
    code = subprocess.run(program, check=False).returncode
    if code:
        sys.exit(code)


def demonstrate(folder: Path) -> Figures:
    """Simulate a scan, map its phases, and compare."""
    folder.mkdir(parents=True, exist_ok=True)
    scan, geometry, maps, report = (folder / name for name in ("scan.h5", "setup.poni", "maps.h5", "report.html"))
    phases = ("--phases", *PHASES)
    size = ("--translations", str(TRANSLATIONS), "--rotations", str(ROTATIONS))
    # Started again, the demonstration does all of its work again: a result that is complete would be kept.
    for path in folder.glob("maps*.h5*"):
        path.unlink()
    started = time.perf_counter()
    run("friedel", "simulate", "xrdct", scan, *phases, *size, "--overwrite")
    run("friedel", "info", scan)
    bins = ("--npt", str(CHANNELS))
    run("friedel", "xrdct", scan, "--geometry", geometry, *bins, *phases, "-o", maps, "--report", report)
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    memory = unit * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    truth = friedel.open(folder / "scan_truth.h5")["fraction"]
    print(f"\nThe report is {report}, its pictures are in {folder / 'report_files'}.")
    return Figures(round(seconds, 1), memory, correlations(friedel.open(maps)["phase_map"], truth))


def record(figures: Figures) -> dict[str, object]:
    """Return the figures with where and how they were measured."""
    return {
        "benchmark": "demo",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "load_average": list(os.getloadavg()),
        },
        "versions": {"friedel": friedel_version(), "python": platform.python_version()},
        "case": {"frames": TRANSLATIONS * ROTATIONS, "channels": CHANNELS, "phases": len(PHASES)},
        "figures": asdict(figures),
        "limits": {"seconds": MOST_SECONDS, "peak_memory": MOST_MEMORY, "correlation": ENOUGH},
    }


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="From nothing to a phase map.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to record the figures")
    arguments = parser.parse_args(words)
    figures = demonstrate(arguments.folder)
    for name, value in figures.correlations.items():
        print(f"{name:<12} correlation with the truth {value:.4f}")
    print(f"The job took {figures.seconds:.1f} s and {figures.peak_memory / 1e6:.0f} MB of memory at most.")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(record(figures), indent=1) + "\n", encoding="utf-8")
    shortcomings = figures.shortcomings()
    for line in shortcomings:
        print(line, file=sys.stderr)
    return 1 if shortcomings else 0


if __name__ == "__main__":
    sys.exit(main())
