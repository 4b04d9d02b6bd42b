"""Patterns as text: columns of position (radial, or the azimuth), intensity and standard deviation.

``.xy``, ``.xye`` and ``.dat`` have a header of ``#`` lines, the last of which names the columns; ``.chi`` is Fit2D's:
title, two axis labels and the number of points on four lines; ``.fxye`` is GSAS's: a title, a BANK line with first
position and step, then 2θ in hundredths of a degree, intensity and standard deviation. Source: GSAS technical manual,
"FXYE".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.errors import DataError, FileError, ParameterError
from friedel.core.units import FORMULA, UNITS, unit_named
from friedel.data.conventions import azimuth_coordinate, coordinate, errors_name, radial_coordinate, radial_unit_of

from .nexus import replacing
from .recognise import read_whole

ENDINGS = (".xy", ".xye", ".dat", ".chi", ".fxye")
WITH_ERRORS = (".xye", ".fxye")
HEADER_LINES = 200
GSAS_BANK = re.compile(r"BANK\s+\d+\s+\d+.*\bFXYE\b")
GSAS_WIDTH = 80
UNIT_WORDS = (
    ("2th_deg", r"2.?th(eta)?.*(deg|°)|2θ.*(deg|°)|tth.*deg"),
    ("2th_rad", r"2.?th(eta)?.*rad|2θ.*rad"),
    ("q_nm^-1", r"\bq\b.*(nm|nanomet)"),
    ("q_A^-1", r"\bq\b.*(a\^|å|angstrom|1/a)"),
)


def read_pattern(path: str | Path) -> xr.Dataset:
    """Read a pattern of two or three columns.

    Returns
    -------
    xarray.Dataset
        ``intensity`` and, with three columns, ``intensity_errors`` over ``radial`` (``azimuth``, if the header names an
        angle all round), whose units are those that the header names ("" if it names none).

    Raises
    ------
    FileError
        If the file cannot be read or holds no columns of numbers.
    """
    lines = read_whole(str(path)).decode("utf-8", "replace").splitlines()
    bank = next((number for number, line in enumerate(lines[:HEADER_LINES]) if GSAS_BANK.match(line)), None)
    if bank is not None:
        header, rows = [*lines[:bank], "2th_deg"], lines[bank + 1 :]
    elif _is_chi(lines):
        header, rows = lines[:4], lines[4:]
    else:
        header = [line for line in lines[:HEADER_LINES] if line.lstrip().startswith(("#", "!", ";", "'"))]
        rows = [line for line in lines if not line.lstrip().startswith(("#", "!", ";", "'"))]
    columns = _columns(path, rows)
    if bank is not None:
        columns[0] = columns[0] / 100.0
    unit = _unit(header)
    dim = "azimuth" if unit and unit_named(unit).period else "radial"
    data: dict[str, Any] = {"intensity": (dim, columns[1], {"long_name": "Intensity"})}
    if len(columns) > 2:
        data["intensity_errors"] = (dim, columns[2])
    axis = coordinate(dim, columns[0], "")
    if unit:
        axis = azimuth_coordinate(columns[0], unit) if dim == "azimuth" else radial_coordinate(columns[0], unit)
    return xr.Dataset(data, {dim: axis}, {"title": header[0].strip("# ")} if header else {})


def _is_chi(lines: list[str]) -> bool:
    return len(lines) > 4 and re.fullmatch(r"\s*\d+\s*", lines[3]) is not None and not lines[0].startswith("#")


def _unit(header: list[str]) -> str:
    # The column names come last; a header may mention other units before.
    for line in reversed(header):
        if FORMULA in line:
            return unit_named(re.split(r"\s{2,}", line[line.index(FORMULA) :].strip())[0]).name
        for unit in UNITS:
            if re.search(rf"(?<![\w^]){re.escape(unit)}(?![\w^])", line):
                return unit
    for line in reversed(header):
        for unit, words in UNIT_WORDS:
            if re.search(words, line, re.IGNORECASE):
                return unit
    return ""


def _columns(path: str | Path, rows: list[str]) -> list[NDArray[np.float64]]:
    values: list[list[float]] = []
    for line in rows:
        parts = re.split(r"[\s,;]+", line.strip())
        try:
            numbers = [float(part) for part in parts if part]
        except ValueError:
            if values:
                raise FileError(path, f"the line {line!r} holds no numbers.", "Remove it.") from None
            continue
        if numbers:
            values.append(numbers)
    widths = {len(numbers) for numbers in values}
    if len(values) < 2 or len(widths) != 1 or min(widths) < 2:
        raise FileError(
            path, "holds no columns of numbers.", "Give a text of two columns (position, intensity) or three."
        )
    return list(np.array(values, np.float64).T[:3])


def write_pattern(path: str | Path, dataset: xr.Dataset, *, variable: str = "intensity") -> None:
    """Write one pattern as text, by the name's ending: ``.xy``, ``.xye``, ``.dat``, ``.chi`` or ``.fxye``.

    Parameters
    ----------
    path : path-like
    dataset : xarray.Dataset
        `variable` over ``radial`` or ``azimuth`` alone; ``.xy`` and ``.dat`` take its standard deviation along,
        ``.xye`` and ``.fxye`` need it.
    variable : str
        What to write.

    Raises
    ------
    DataError
        If the variable has further dimensions, or lacks what the format needs: ``.fxye`` is over 2θ, ``.xye`` and
        ``.fxye`` have errors.
    ParameterError
        If the ending is another one.
    OutputError
        If it cannot be written.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise ParameterError(f"Patterns cannot be written as {ending!r}.", f"Choose one of {', '.join(ENDINGS)}.")
    if variable not in dataset or dataset[variable].dims not in (("radial",), ("azimuth",)):
        found = dataset[variable].dims if variable in dataset else "nothing"
        raise DataError(f"{variable!r} should have the dimension radial, it has {found}.", "Choose one frame.")
    axis = dataset[dataset[variable].dims[0]]
    unit = radial_unit_of(dataset) if axis.name == "radial" else str(axis.attrs.get("azimuth_unit", "chi_deg"))
    if ending in WITH_ERRORS and errors_name(variable) not in dataset:
        raise DataError(f"The pattern has no errors; {ending} needs them.", "Integrate with --error-model poisson.")
    if ending == ".fxye":
        _write_lines(path, _gsas_lines(dataset, variable, unit))
        return
    columns = [axis.values, dataset[variable].values]
    if ending != ".chi" and errors_name(variable) in dataset:
        columns.append(dataset[errors_name(variable)].values)
    text = _chi_header(dataset, unit, axis.size) if ending == ".chi" else _header(dataset, unit, len(columns))
    rows = (" ".join(f"{value:.9E}" for value in row) for row in zip(*columns, strict=True))
    _write_lines(path, [text, *rows])


def _write_lines(path: str | Path, lines: list[str]) -> None:
    with replacing(path) as temporary:
        Path(temporary).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _gsas_lines(dataset: xr.Dataset, variable: str, unit: str) -> list[str]:
    """Return the lines of GSAS's format; a bin without a value has intensity and error 0, which GSAS leaves out."""
    if unit not in ("2th_deg", "2th_rad"):
        raise DataError(f"The pattern is over {unit}; .fxye is over 2θ.", "Integrate with --unit 2th_deg.")
    angle = np.asarray(dataset.radial.values, np.float64) * 100.0
    if unit == "2th_rad":
        angle = np.rad2deg(angle)
    values, errors = (np.asarray(dataset[name].values, np.float64) for name in (variable, errors_name(variable)))
    known = np.isfinite(values) & np.isfinite(errors)
    columns = angle, np.where(known, values, 0.0), np.where(known, errors, 0.0)
    count = angle.size
    step = (angle[-1] - angle[0]) / (count - 1) if count > 1 else 0.0
    title = _title(dataset)[:GSAS_WIDTH]
    bank = f"BANK 1 {count} {count} CONS {angle[0]:.6f} {step:.6f} 0 0 FXYE"
    rows = [f"{at:20.9f} {value:20.9E} {error:20.9E}" for at, value, error in zip(*columns, strict=True)]
    return [line.ljust(GSAS_WIDTH) for line in (title, bank, *rows)]


def _header(dataset: xr.Dataset, unit: str, count: int) -> str:
    lines = [_title(dataset)]
    if "provenance" in dataset.attrs:
        lines += ["Provenance:", *str(dataset.attrs["provenance"]).splitlines()]
    names = [unit, "I", "sigma"][:count]
    return "\n".join(f"# {line}" for line in [*lines, "  ".join(names)])


def _chi_header(dataset: xr.Dataset, unit: str, count: int) -> str:
    known = unit_named(unit)
    # Programs that read .chi know nothing but ASCII.
    named = f"{known.long_name} ({known.units}) {unit}".replace("2θ", "2-Theta").replace("χ", "chi")
    lines = [_title(dataset), named, "Intensity", f"{count:8d}"]
    return "\n".join(line.encode("ascii", "replace").decode() for line in lines)


def _title(dataset: xr.Dataset) -> str:
    """Return one line that says what it is: its title, or what its axis makes of it."""
    plain = "Powder pattern" if "radial" in dataset.dims else "Intensity against azimuth"
    return str(dataset.attrs.get("title", plain)).replace("\n", " ")
