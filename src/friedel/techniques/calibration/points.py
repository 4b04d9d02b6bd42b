"""Places on the detector where rings were found, before and after it is known which ring each belongs to.

All places are (y, x) in pixels of the stored array; pixel i covers i to i + 1, its centre is at i + ½.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.errors import DataError, FileError
from friedel.core.files import write_whole

_Floats = NDArray[np.float64]
_Whole = NDArray[np.int32]

UNASSIGNED = -1
"""Ring number of a point whose ring is not known."""

LARGEST_FILE = 1 << 28
PYFAI_CENTER = 0.5
"""pyFAI's files count pixels from the centre of the first one, friedel from its corner."""

COLUMNS = ("y", "x", "ring", "sigma", "image", "intensity")


class _Table:
    """Columns of one length, one row a point."""

    def __len__(self) -> int:
        return int(next(iter(self._columns()))[1].size)

    def _columns(self) -> Iterator[tuple[str, NDArray[Any]]]:
        return ((column.name, getattr(self, column.name)) for column in fields(self))  # type: ignore[arg-type]

    def select(self, chosen: NDArray[Any] | slice) -> Self:
        """Return some of the points: a mask, numbers or a slice."""
        return replace(self, **{name: column[chosen] for name, column in self._columns()})  # type: ignore[type-var]

    def _become(self, whole: Sequence[str]) -> None:
        """Make the columns arrays of one length; called once, while the table is made."""
        length = None
        for name, given in list(self._columns()):
            column = np.atleast_1d(np.asarray(given, np.int32 if name in whole else np.float64))
            if column.ndim != 1:
                raise DataError(
                    f"The column {name} of the points has the shape {column.shape}.", "Give one number each."
                )
            length = column.size if length is None else length
            if column.size not in (1, length):
                raise DataError(f"{length} points have {column.size} values of {name}.", "Give one for each point.")
            if column.size != length:
                column = np.broadcast_to(column, length)
            object.__setattr__(self, name, column)

    def to_dataset(self) -> xr.Dataset:
        """Return the points as variables over the dimension `point`."""
        return xr.Dataset({name: ("point", np.array(column), _attributes(name)) for name, column in self._columns()})

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Self:
        """Return the points of a dataset; columns that it lacks have the values of points typed by a person.

        Raises
        ------
        DataError
            If there is no y or x.
        """
        missing = [name for name in ("y", "x") if name not in dataset.variables]
        if missing:
            raise DataError(f"The points have no {' and no '.join(missing)}.", "Give y and x in pixels.")
        known = [column.name for column in fields(cls) if column.name in dataset.variables]  # type: ignore[arg-type]
        return cls(**{name: np.asarray(dataset[name].values) for name in known})


@dataclass(frozen=True)
class RingPoints(_Table):
    """Points on ridges and spots of an image, rings not known.

    Attributes
    ----------
    y, x : ndarray of float64 (n,)
        In pixels.
    direction : ndarray of float64 (n,)
        Across the ridge: atan2(dy, dx) modulo π in rad; NaN for a spot.
    strength : ndarray of float64 (n,)
        Height over its noise.
    sigma : ndarray of float64 (n,)
        Standard error across the ridge, pixels.
    chain : ndarray of int32 (n,)
        Number of the connected arc that the point lies on, −1 for none.
    """

    y: _Floats
    x: _Floats
    direction: _Floats = np.nan  # type: ignore[assignment]
    strength: _Floats = 1.0  # type: ignore[assignment]
    sigma: _Floats = np.nan  # type: ignore[assignment]
    chain: _Whole = -1  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self._become(("chain",))


@dataclass(frozen=True)
class ControlPoints(_Table):
    """Measured places on rings. A column may be given as one number for all.

    Attributes
    ----------
    y, x : ndarray of float64 (n,)
        In pixels.
    ring : ndarray of int32 (n,)
        Number of the ring in `Calibrant.rings`, 0 for the largest d; −1 if not known.
    sigma : ndarray of float64 (n,)
        Standard error across the ring in pixels; NaN if not known.
    image : ndarray of int32 (n,)
        Number of the image, from 0.
    intensity : ndarray of float64 (n,)
        Counts of the ring that the place was measured from; NaN if not known.
    """

    y: _Floats
    x: _Floats
    ring: _Whole = UNASSIGNED  # type: ignore[assignment]
    sigma: _Floats = np.nan  # type: ignore[assignment]
    image: _Whole = 0  # type: ignore[assignment]
    intensity: _Floats = np.nan  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self._become(("ring", "image"))

    @classmethod
    def joined(cls, parts: Sequence[ControlPoints]) -> ControlPoints:
        """Return the points of several tables, one after the other."""
        if not parts:
            return cls(np.zeros(0), np.zeros(0))
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS})

    def of_image(self, number: int) -> ControlPoints:
        """Return the same points as those of the image `number`."""
        return replace(self, image=np.full(len(self), number, np.int32))

    @classmethod
    def load(cls, path: str | Path) -> ControlPoints:
        """Read control points: a table of text (`save`) or a file of pyFAI (.npt).

        Raises
        ------
        FileError
            If the file cannot be read or holds no control points.
        """
        try:
            if Path(path).stat().st_size > LARGEST_FILE:
                raise FileError(path, "too large for control points.", "Give the points, not the image.")
            lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise FileError(path, error.strerror or str(error), "Check the path and the permissions.") from None
        points = [line for line in lines if line.lstrip().casefold().startswith("point:")]
        try:
            return _from_pyfai(lines) if points else _from_table(lines)
        except (ValueError, DataError) as error:
            raise FileError(path, f"no control points: {error}.", TABLE_HELP) from None

    def save(self, path: str | Path, *, spacings: Sequence[float] = (), wavelength: float | None = None) -> None:
        """Write the points: as pyFAI has them if the name ends in .npt, else as a table of text.

        Parameters
        ----------
        path : path-like
        spacings : sequence of float
            d of the rings in Å, largest first; pyFAI wants them in its files.
        wavelength : float, optional
            In m, for pyFAI.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        text = self._pyfai_text(spacings, wavelength) if Path(path).suffix == ".npt" else self._table_text()
        write_whole(path, text)

    def _table_text(self) -> str:
        rows = zip(*(column.tolist() for _, column in self._columns()), strict=True)
        lines = (" ".join(repr(value) for value in row) for row in rows)
        return "\n".join(
            ("# control points; y and x in pixels, the centre of the first is 0.5 0.5", HEADER, *lines, "")
        )

    def _pyfai_text(self, spacings: Sequence[float], wavelength: float | None) -> str:
        lines = ["# set of control point used by pyFAI to calibrate the geometry of a scattering experiment"]
        lines.append("#angles are in radians, wavelength in meter and positions in pixels")
        if wavelength is not None:
            lines.append(f"wavelength: {wavelength!r}")
        if len(spacings):
            lines.append("dspacing:" + " ".join(repr(float(spacing)) for spacing in spacings))
        for group, ring in enumerate(np.unique(self.ring)):
            lines += ["", f"New group of points: {group}", f"ring: {ring if ring >= 0 else None}"]
            chosen = self.ring == ring
            places = zip(
                (self.x[chosen] - PYFAI_CENTER).tolist(), (self.y[chosen] - PYFAI_CENTER).tolist(), strict=True
            )
            lines += [f"point: x={x!r} y={y!r}" for x, y in places]
        return "\n".join((*lines, ""))


HEADER = "# " + " ".join(COLUMNS)
TABLE_HELP = f"Give a table with a header like '{HEADER}', or a .npt file of pyFAI."


def _from_table(lines: Sequence[str]) -> ControlPoints:
    header = [line.lstrip("# \t").split() for line in lines if line.lstrip().startswith("#")]
    named = [names for names in header if {"y", "x"} <= set(names) <= set(COLUMNS)]
    rows = [line.split("#")[0].replace(",", " ").split() for line in lines]
    rows = [row for row in rows if row]
    if not rows:
        raise ValueError("it has no rows of numbers")
    names = named[-1] if named else list(COLUMNS[: len(rows[0])])
    if len(names) < 2 or any(len(row) != len(names) for row in rows):
        raise ValueError(f"not every row has {len(names)} numbers ({', '.join(names)})")
    values = np.array([[float(word) for word in row] for row in rows])
    return ControlPoints(**{name: values[:, place] for place, name in enumerate(names)})


def _from_pyfai(lines: Sequence[str]) -> ControlPoints:
    ring, found = UNASSIGNED, []
    for line in lines:
        key, _, value = line.partition(":")
        match key.strip().casefold():
            case "ring":
                ring = int(value) if value.strip().casefold() != "none" else UNASSIGNED
            case "point":
                place = dict(re.findall(r"\b([xy])=(\S+)", value))
                if set(place) != {"x", "y"}:
                    raise ValueError(f"{line.strip()!r} has no x and y")
                found.append((float(place["y"]) + PYFAI_CENTER, float(place["x"]) + PYFAI_CENTER, ring))
            case other if other.startswith("new"):
                ring = UNASSIGNED
    y, x, rings = np.array(found).T
    return ControlPoints(y, x, rings.astype(np.int32))


def _attributes(name: str) -> dict[str, str]:
    units = {"y": "pixel", "x": "pixel", "sigma": "pixel", "direction": "rad", "intensity": "counts"}
    return {"units": units.get(name, "")}
