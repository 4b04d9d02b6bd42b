"""The self-contained page that shows a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_report(result: Any, page: str | Path, usage: Any = None) -> None:
    """Draw `result` on `page`."""
    raise NotImplementedError
