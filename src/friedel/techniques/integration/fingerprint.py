"""What identifies the setup that a stored map was built for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from friedel.instrument import Geometry


def fingerprint(geometry: Geometry, unit: str) -> str:
    """Return a short text that is the same for equal geometries and units, and for no others."""
    text = json.dumps([asdict(geometry), unit], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
