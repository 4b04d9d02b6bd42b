"""What every test may use."""

from __future__ import annotations

import sys
from pathlib import Path

# Test modules import helpers (`from shared_data import shared`) whatever the folder they lie in.
sys.path.insert(0, str(Path(__file__).resolve().parent))
