"""What every test may use."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

# Test modules import helpers (`from shared_data import shared`) whatever the folder they lie in.
sys.path.insert(0, str(Path(__file__).resolve().parent))

# A shared machine is no stopwatch: a property is true however long it takes to check.
settings.register_profile("friedel", deadline=None)
settings.load_profile("friedel")
