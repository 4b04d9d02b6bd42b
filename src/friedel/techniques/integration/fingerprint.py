"""What identifies the setup that a stored map was built for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from friedel.instrument import Geometry


def fingerprint(geometry: Geometry, unit: str) -> str:
    """Return a short text that is the same for equal geometries and units, and for no others."""
    # Displaced pixels are told by their digest, the only value here that JSON does not know.
    text = json.dumps([asdict(geometry), unit], sort_keys=True, default=lambda pixels: pixels.digest)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
