"""The self-contained page that shows a result."""

from __future__ import annotations

from typing import Any

__all__ = ["write_picture", "write_report"]


def __getattr__(name: str) -> Any:
    # matplotlib and xarray are loaded when something is drawn, not when the command line looks at its commands
    if name in __all__:
        from . import write

        return getattr(write, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
