"""Files of lattice spacings: pyFAI's .D files, and plain lists.

A line holds d in Å and, after a #, the indices, the multiplicity and a relative intensity, of which any may lack::

    # Calibrant: Lanthanum hexaboride (LaB6)
    # Cell: Primitive cubic cell a=4.1568
    # Ref: NIST SRM 660c
      4.15682600 # (1 0 0)     6 64.27

Plain lists have numbers only, on lines or with commas between.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from friedel.core.errors import FileError, ParameterError
from friedel.core.files import write_whole

from .calibrants import SAME_RING, Calibrant, Ring

if TYPE_CHECKING:
    from friedel.matter import Crystal

LARGEST_FILE = 1 << 24
ENDINGS = (".d", ".txt", ".dat", ".csv", ".cal")
_DETAILS = re.compile(r"\(\s*(-?\d+)\s+(-?\d+)\s+(-?\d+)\s*\)\s*(\d+)?\s*([-+.\deE]+)?")
REMEDY = "Give a .D file, or a text with one d in Å on each line."


def is_file_name(text: str) -> bool:
    """Whether a text names a file rather than a calibrant: by its ending, or because it is a path that exists."""
    if spacings_in(text):
        return False
    return Path(text).suffix.casefold() in ENDINGS or (("/" in text or "\\" in text) and Path(text).is_file())


def spacings_in(text: str) -> list[float]:
    """Return the numbers of "3.1357, 1.9202, 1.6376"; none if the text is anything else."""
    words = text.replace(",", " ").replace(";", " ").split()
    try:
        return [float(word) for word in words]
    except ValueError:
        return []


def read_calibrant(path: str | Path) -> Calibrant:
    """Read a .D file or a plain list of spacings.

    Intensities count if every line has one.

    Raises
    ------
    FileError
        If the file cannot be read or holds no spacings.
    """
    try:
        if Path(path).stat().st_size > LARGEST_FILE:
            raise FileError(path, "too large for a list of spacings.", REMEDY)
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise FileError(path, error.strerror or str(error), "Check the path and the permissions.") from None
    about: dict[str, str] = {}
    rings: list[tuple[Ring, bool]] = []
    for number, line in enumerate(lines, 1):
        numbers, _, comment = line.partition("#")
        if not numbers.strip():
            key, colon, value = comment.partition(":")
            about |= {key.strip().casefold(): value.strip()} if colon else {}
        elif (found := spacings_in(numbers)) and min(found) > 0:
            rings += [_ring(spacing, comment) for spacing in found]
        else:
            raise FileError(path, f"line {number}, {line.strip()[:60]!r}, holds no lattice spacing.", REMEDY)
    if not rings:
        raise FileError(path, "no lattice spacings in it.", REMEDY)
    measured = all(known for _, known in rings)
    try:
        return Calibrant(
            name=about.get("calibrant") or Path(path).stem,
            source=about.get("ref") or Path(path).name,
            listed=_joined([ring for ring, _ in rings], measured),
        )
    except ParameterError as error:
        raise FileError(path, error.problem, error.remedy) from None


def _ring(spacing: float, comment: str) -> tuple[Ring, bool]:
    """Return a line's ring, and whether it has an intensity."""
    found = _DETAILS.search(comment)
    if found is None:
        return Ring(spacing), False
    h, k, l, multiplicity, intensity = found.groups()  # noqa: E741
    try:
        height = float(intensity or "nan")
    except ValueError:
        height = float("nan")
    known = height >= 0
    return Ring(spacing, f"{h} {k} {l}", int(multiplicity or 0), height if known else 1.0), known


def _joined(rings: list[Ring], measured: bool) -> tuple[Ring, ...]:
    """Return rings by falling spacing, lines of the same spacing as one ring."""
    joined: list[Ring] = []
    for ring in sorted(rings, key=lambda one: -one.spacing):
        if joined and joined[-1].spacing - ring.spacing < SAME_RING * ring.spacing:
            last = joined.pop()
            joined.append(
                Ring(
                    last.spacing,
                    ", ".join(dict.fromkeys(filter(None, (last.label, ring.label)))),
                    last.multiplicity + ring.multiplicity if last.label != ring.label else last.multiplicity,
                    last.intensity + ring.intensity if last.label != ring.label else last.intensity,
                )
            )
        else:
            joined.append(ring)
    if measured:
        return tuple(joined)
    return tuple(Ring(ring.spacing, ring.label, ring.multiplicity) for ring in joined)


def write_calibrant(calibrant: Calibrant, path: str | Path, least: float) -> None:
    """Write a .D file; see `Calibrant.save`."""
    # The wavelength at which the smallest spacing is seen straight back.
    rings = calibrant.rings(2.0 * least * 1e-10)
    lines = [
        f"# Calibrant: {calibrant.name}",
        f"# Cell: {_cell(calibrant.crystal)}" if calibrant.crystal else "",
        f"# Ref: {calibrant.source}" if calibrant.source else "",
        "" if rings.complete else f"# not complete: the {len(rings)} rings of largest d",
        "# d_spacing  # (h k l)  multiplicity",
    ]
    for spacing, label, multiplicity in zip(rings.spacing, rings.labels, rings.multiplicity, strict=True):
        details = f" # ({label.split(', ')[0]}) {multiplicity:5d}" if label else ""
        lines.append(f"{spacing:12.8f}{details}")
    write_whole(path, "\n".join(filter(None, lines)) + "\n")


def _cell(crystal: Crystal) -> str:
    lengths = " ".join(f"{name}={value:.7g}" for name, value in zip("abc", crystal.cell[:3], strict=True))
    angles = " ".join(
        f"{name}={value:g}" for name, value in zip(("alpha", "beta", "gamma"), crystal.cell[3:], strict=True)
    )
    return f"{lengths} {angles} ({crystal.space_group})"
