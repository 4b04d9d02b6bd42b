"""Runs code with another package in its own environment, so that the product never shares a process with it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

VARIABLE = "FRIEDEL_PEERS"
REPOSITORY = Path(__file__).resolve().parents[1]

PROLOGUE = """
import logging, sys, warnings
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
import numpy as np
inputs = dict(np.load(sys.argv[1]))
outputs = {}
"""
EPILOGUE = """
np.savez(sys.argv[2], **outputs)
"""


def peer_python() -> Path:
    """Return the interpreter that ``FRIEDEL_PEERS`` names, else that of ``.venv-peers``, else skip."""
    named = os.environ.get(VARIABLE)
    python = Path(named) if named else REPOSITORY / ".venv-peers" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"the peers' interpreter {python} is absent (set {VARIABLE} to a python that has pyFAI)")
    return python


def run_peer(code: str, **inputs: Any) -> dict[str, np.ndarray]:
    """Run `code` in the peers' environment; it reads arrays from ``inputs`` and puts arrays into ``outputs``."""
    with TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npz"
        np.savez(given, **inputs)
        command = [str(peer_python()), "-c", PROLOGUE + code + EPILOGUE, str(given), str(made)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        with np.load(made) as arrays:
            return dict(arrays)
