"""Install the packages that friedel is compared with into an environment of their own, .venv-peers.

    python benchmarks/peers.py [FOLDER]

Benchmarks and peer tests use the interpreter in .venv-peers, or the one that the variable FRIEDEL_PEERS names.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PEERS = (
    "pyFAI==2026.9.0",
    "fabio==2026.6.0",
    "silx==3.1.3",
    "hdf5plugin==7.1.0",
    "h5py",
    "astra-toolbox",
)


def main() -> None:
    """Make the environment, or bring it up to date."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / ".venv-peers"
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *PEERS], check=True)
    print(f"The peers are in {folder}. To use them from elsewhere: export FRIEDEL_PEERS={folder}/bin/python")


if __name__ == "__main__":
    main()
