"""Motor positions as they are given: numbers, a file, or the name of a motor in the files of the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError, FileError, ParameterError
from friedel.io.frames import FrameSource
from friedel.techniques.calibration.goniometer_model import as_positions, motor_name

_Array = NDArray[np.float64]


def read_positions(
    texts: Sequence[str], sources: Sequence[FrameSource], n_images: int
) -> tuple[tuple[str, ...], _Array]:
    """Return the names of the motors and their positions, (n_images, n_motors).

    Parameters
    ----------
    texts : sequence of str
        ``nu=0,5,10``, ``0,5,10``, ``nu=positions.txt`` or ``nu``, one for each motor; none if the files tell.
    sources : sequence of FrameSource
        The files of the images.
    n_images : int

    Raises
    ------
    ParameterError, DataError, FileError
        If positions are missing, cannot be read, or are not one for each image.
    """
    given = [_named(text) for text in texts or _moving(sources)]
    names: list[str] = []
    columns = []
    for number, (name, text) in enumerate(given):
        numbers = _numbers(text)
        columns.append(_axis(text, sources) if numbers is None else numbers)
        plain = motor_name(name or (text if numbers is None else ""))
        names.append(plain if name or numbers is None else ("pos" if len(given) == 1 else f"pos{number + 1}"))
    if len(set(names)) < len(names):
        raise ParameterError(f"positions: the motors are {', '.join(names)}.", "Give each one once.")
    return tuple(names), as_positions(columns, n_images, names)


def one_for_each(texts: Sequence[str], count: int) -> bool:
    """Whether the positions are numbers, `count` of them for each motor."""
    given = [_numbers(_named(text)[1]) for text in texts]
    return bool(given) and all(numbers is not None and numbers.size == count for numbers in given)


def parse_values(texts: Sequence[str], what: str) -> dict[str, float]:
    """Read values of parameters: "rot1_per_nu=0.01745"."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise ParameterError(f"{what}: {text!r} cannot be read.", "Give name=value.") from None
    return found


def parse_formulas(texts: Sequence[str]) -> Mapping[str, str]:
    """Read formulas: "rot1=scale * nu + offset"."""
    found = {}
    for text in texts:
        name, equals, formula = text.partition("=")
        if not equals or not formula.strip():
            raise ParameterError(f"expressions: {text!r} cannot be read.", "Give rot1=formula.")
        found[name.strip()] = formula.strip()
    return found


def _named(text: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    return (name.strip(), rest.strip()) if equals else ("", text.strip())


def _numbers(text: str) -> _Array | None:
    """Return the numbers of a list or a file; None if the text is neither."""
    words = text.replace(",", " ").split()
    try:
        return np.array([float(word) for word in words])
    except ValueError:
        pass
    if not Path(text).is_file():
        return None
    try:
        return np.atleast_1d(np.loadtxt(text, dtype=np.float64, ndmin=1, usecols=0))
    except (ValueError, IndexError) as error:
        raise FileError(text, f"no list of positions: {error}.", "Give one number on each line.") from None


def _axis(name: str, sources: Sequence[FrameSource]) -> _Array:
    """Return a motor's positions from the files, one for each source or frame."""
    return np.concatenate([np.asarray(source.axis(name).values, np.float64) for source in sources])


def _moving(sources: Sequence[FrameSource]) -> list[str]:
    """Return the one motor that moves."""
    names = set.intersection(*({*source.axes, *source.constants} for source in sources))
    moving = [name for name in sorted(names) if np.ptp(_numeric(_axis(name, sources))) > 0]
    if len(moving) == 1:
        return moving
    have = f"Motors that move: {', '.join(moving)}." if moving else "The files tell of no motor that moves."
    raise DataError("positions is missing.", f"{have} Give --positions nu=0,5,10 or a motor's name.")


def _numeric(values: _Array) -> _Array:
    return values if np.isfinite(values).all() else np.zeros(1)
