"""Patterns as columns of text, for programs that read no HDF5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.errors import OutputError
from friedel.io.nexus import replacing

TEXT_FORMATS = (".xy", ".dat", ".chi")


def write_text_patterns(path: str | Path, patterns: xr.Dataset, *, overwrite: bool = False) -> list[Path]:
    """Write patterns as text: radial value, intensity and, where known, its error, a line for each bin.

    Parameters
    ----------
    path : path-like
        Ends in .xy, .dat (header lines with ``#``) or .chi (Fit2D: four header lines). Several frames are written
        to ``<stem>_00000<suffix>``, ``<stem>_00001<suffix>``, ...
    patterns : xarray.Dataset
        intensity over (frame, radial) or (radial).
    overwrite : bool
        Whether files that exist may be replaced.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OutputError
        If a file cannot be written, or exists and may not be replaced.
    """
    stacked = patterns if "frame" in patterns["intensity"].dims else patterns.expand_dims("frame")
    count = stacked.sizes["frame"]
    base = Path(path)
    paths = [base] if count == 1 else [base.with_stem(f"{base.stem}_{number:05d}") for number in range(count)]
    for existing in (one for one in paths if one.exists() and not overwrite):
        raise OutputError(existing, "exists already.", "Choose another name, or allow to overwrite it.")
    for number, one in enumerate(paths):
        text = _pattern_text(stacked.isel(frame=number), chi=base.suffix.lower() == ".chi", title=one.stem)
        with replacing(one, overwrite=overwrite) as temporary:
            Path(temporary).write_text(text, encoding="utf-8")
    return paths


def _pattern_text(pattern: xr.Dataset, *, chi: bool, title: str) -> str:
    radial = pattern["radial"]
    axis = f"{radial.attrs.get('long_name', 'radial')} ({radial.attrs.get('units', '')})"
    columns = [radial.values, pattern["intensity"].values]
    if "intensity_errors" in pattern:
        columns.append(pattern["intensity_errors"].values)
    if chi:
        header = [title, axis, "Intensity", f"{len(radial):12d}"]
    else:
        names = ["radial", "intensity", "intensity_errors"][: len(columns)]
        details = [f"{key}: {pattern.attrs[key]}" for key in ("splitting", "error_model") if key in pattern.attrs]
        header = [f"# {line}" for line in (title, *details, axis, "  ".join(names))]
    return "\n".join([*header, *_lines(columns)]) + "\n"


def _lines(columns: list[NDArray[np.floating]]) -> list[str]:
    return ["  ".join(f"{value:.8e}" for value in row) for row in zip(*columns, strict=True)]
