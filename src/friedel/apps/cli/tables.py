"""Tables of text."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def write_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows under a header to the standard output, each column as wide as its longest cell."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
