"""From nothing to a phase map: python demo.py FOLDER

Runs the same commands as a user would, shows them, and compares what comes out with what was put in.
"""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
MOST_SECONDS = 90.0
MOST_MEMORY = 2e9


def run(*words: str | Path) -> None:
    """Show a command and run it; leave with its exit code if it fails."""
    print(f"\n$ {shlex.join(map(str, words))}", flush=True)
    program = [sys.executable, "-m", "friedel.apps.cli", *words[1:]] if words[0] == "friedel" else list(words)
    code = subprocess.run(program, check=False).returncode
    if code:
        sys.exit(code)


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    scan, geometry, maps, report = (folder / name for name in ("scan.h5", "setup.poni", "maps.h5", "report.html"))
    phases = ("--phases", "CeO2", "Al2O3", "Ni")
    # Started again, the demonstration does all of its work again: a result that is complete would be kept.
    for path in folder.glob("maps*.h5*"):
        path.unlink()
    started = time.perf_counter()
    run("friedel", "simulate", "xrdct", scan, *phases, "--translations", "64", "--rotations", "61", "--overwrite")
    run("friedel", "info", scan)
    run("friedel", "xrdct", scan, "--geometry", geometry, "--npt", "1000", *phases, "-o", maps, "--report", report)
    seconds = time.perf_counter() - started
    memory = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    run(sys.executable, HERE / "compare_with_truth.py", maps, folder / "scan_truth.h5")
    print(f"\nThe job took {seconds:.1f} s and {memory / 1e6:.0f} MB of memory at most.")
    print(f"The report is {report}, its pictures are in {folder / 'report_files'}.")
    if seconds > MOST_SECONDS or memory > MOST_MEMORY:
        print(f"It should take less than {MOST_SECONDS:.0f} s and {MOST_MEMORY / 1e9:.0f} GB.")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
