"""The self-contained page that shows a result."""

from __future__ import annotations

from typing import Any

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    # matplotlib and xarray are loaded when something is drawn, not when the command line looks at its commands
    if name == "write_report":
        from .write import write_report

        return write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
