"""Geometries that follow from motor positions, as a model to refine.

Formulas of the usual setups come from what each motor moves. A slope is named ``<number>_per_<motor>``, the value at
position 0 like the number itself::

    rot1 = rot1_per_nu * nu + rot1

A detector that is mounted with a tilt rot2 on an arm that turns by α about axis 1 has the rotations R₁(α)·R₂(rot2),
which in the order of a geometry, R₃·R₂·R₁, are

    tan rot1' = tan α / cos rot2,   sin rot2' = cos α sin rot2,   tan rot3' = sin α tan rot2.

Stages are not parallel to what they move along, so a translation changes all of distance, poni1 and poni2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import DataError, ParameterError
from friedel.instrument import Geometry, Goniometer
from friedel.instrument.derivatives import FIELDS

from .models import ALIASES, GeometryModel

_Array = NDArray[np.float64]

LENGTHS = ("distance", "poni1", "poni2")
ROTATIONS = ("rot1", "rot2", "rot3")
DIFFERENCE = 1e-4
SMALLEST = 1e-2
STEPS = 20
SOLVED = 1e-12


@dataclass(frozen=True)
class GoniometerModel(GeometryModel):
    """Images taken at several positions of a goniometer.

    Attributes
    ----------
    goniometer : Goniometer
        Formulas, and the start values of their parameters.
    positions : ndarray of float64 (n_images, n_motors)
        Of each motor at each image, in the order of the goniometer's motors.
    """

    goniometer: Goniometer
    positions: _Array
    names: tuple[str, ...] = field(init=False)
    start: _Array = field(init=False, compare=False)
    templates: tuple[Geometry, ...] = field(init=False)

    def __post_init__(self) -> None:
        positions = np.asarray(self.positions, np.float64)
        motors = self.goniometer.motors
        if positions.ndim != 2 or positions.shape[1] != len(motors) or not len(positions):
            raise DataError(
                f"The positions of {', '.join(motors)} have the shape {positions.shape}.",
                "Give one row for each image, with one number for each motor.",
            )
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "names", tuple(name for name, _ in self.goniometer.values))
        object.__setattr__(self, "start", np.array([value for _, value in self.goniometer.values], np.float64))
        at = (dict(zip(motors, row, strict=True)) for row in positions.tolist())
        object.__setattr__(self, "templates", tuple(self.goniometer.geometry(position) for position in at))

    def fields(self, values: _Array) -> _Array:
        """Return the numbers of each geometry, (n_images, 7)."""
        known = dict(self.goniometer.constants) | dict(zip(self.names, np.asarray(values).tolist(), strict=True))
        known |= dict(zip(self.goniometer.motors, self.positions.T, strict=True))
        rows = np.full((len(self.positions), len(FIELDS)), np.nan)
        for name, formula in self.goniometer.formulas:
            rows[:, FIELDS.index(name)] = formula.evaluate(known, np)
        return rows

    def derivatives(self, values: _Array) -> _Array:
        """Return ∂fields/∂parameters, (n_images, 7, n_parameters), by central differences, all at once."""
        values = np.asarray(values, np.float64)
        steps = DIFFERENCE * np.maximum(np.abs(values), SMALLEST)
        moved = np.concatenate([values + np.diag(steps), values - np.diag(steps)])
        known: dict[str, Any] = dict(self.goniometer.constants)
        known |= dict(zip(self.names, moved.T[:, :, None], strict=True))
        known |= dict(zip(self.goniometer.motors, self.positions.T, strict=True))
        found = np.zeros((len(self.positions), len(FIELDS), len(values)))
        for name, formula in self.goniometer.formulas:
            after, before = np.split(np.broadcast_to(formula.evaluate(known, np), (len(moved), len(found))), 2)
            found[:, FIELDS.index(name)] = ((after - before) / (2.0 * steps[:, None])).T
        return np.asarray(np.where(np.isfinite(found), found, 0.0))

    def expand(self, given: Sequence[str]) -> tuple[str, ...]:
        """Return the parameters that are meant, the goniometer's own names first."""
        found: list[str] = []
        for asked in given:
            others = [own for own in self.names if ALIASES.get(own, own) == ALIASES.get(asked, asked)]
            meant = [asked] if asked in self.names else others
            if not meant:
                raise ParameterError(f"There is no parameter {asked!r}.", f"Parameters: {', '.join(self.names)}.")
            found += [own for own in meant if own not in found]
        return tuple(found)

    def at(self, chosen: Sequence[int] | NDArray[np.intp], values: _Array) -> GoniometerModel:
        """Return the model of some of the images, starting at `values`."""
        return GoniometerModel(self.goniometer.with_values(values), self.positions[np.asarray(chosen, int)])


def motor_name(name: str) -> str:
    """Return a motor's name as formulas can have it: "instrument/nu-axis" is nu_axis."""
    plain = re.sub(r"\W", "_", name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1])
    return plain if plain.isidentifier() else f"motor_{plain}"


def usual_formulas(moves: Mapping[str, str]) -> dict[str, str]:
    """Return the formulas of a setup.

    Parameters
    ----------
    moves : mapping of str to str
        Number of the geometry that each motor moves: ``{"nu": "rot1", "z": "poni1"}``.

    Returns
    -------
    dict of str to str
        Formula of each number.

    Raises
    ------
    ParameterError
        If a motor moves what is no number of a geometry.
    """
    moved = {motor: ALIASES.get(name, name) for motor, name in moves.items()}
    for motor, name in moved.items():
        if name not in (*LENGTHS, *ROTATIONS):
            raise ParameterError(f"{motor} moves {name!r}.", f"Say one of {', '.join((*LENGTHS, *ROTATIONS))}.")
    stages = [motor for motor, name in moved.items() if name in LENGTHS]
    formulas = {name: _linear(name, stages) for name in LENGTHS}
    turned = {name: [motor for motor, one in moved.items() if one == name] for name in ROTATIONS}
    formulas |= {name: _linear(name, turned[name]) for name in ("rot1", "rot2")}
    if turned["rot1"] and not turned["rot2"]:
        angle = formulas["rot1"]
        formulas["rot1"] = f"arctan2(sin({angle}), cos({angle}) * cos(rot2))"
        formulas["rot2"] = f"arcsin(cos({angle}) * sin(rot2))"
        formulas["rot3"] = f"arctan(sin({angle}) * tan(rot2))"
    if turned["rot3"]:
        formulas["rot3"] = _linear("rot3", turned["rot3"])
    return formulas


def _linear(name: str, motors: Sequence[str]) -> str:
    return " + ".join((*(f"{name}_per_{motor} * {motor}" for motor in motors), name))


def names_in(formulas: Mapping[str, str], motors: Sequence[str]) -> tuple[str, ...]:
    """Return the parameters that formulas use, in the order of their first use."""
    from friedel.core.formula import Formula

    names: list[str] = []
    for text in formulas.values():
        used = Formula(text).variables - set(motors)
        names += sorted(used - set(names), key=lambda name, text=text: _place(name, text))  # type: ignore[misc]
    return tuple(names)


def _place(name: str, text: str) -> int:
    found = re.search(rf"\b{re.escape(name)}\b", text)
    return found.start() if found else len(text)


def fitted_to_geometry(
    model: GoniometerModel, values: _Array, geometry: Geometry, image: int, kept: Sequence[str]
) -> _Array:
    """Return values of the parameters with which the geometry of one image is the one given, but for rot3.

    Of all that do, those nearest to `values`, the parameters `kept` as they are. No ring tells rot3.
    """
    adjusted = np.array([name not in kept for name in model.names])
    target = np.array([getattr(geometry, name) for name in FIELDS[:5]])
    values = np.array(values, np.float64)
    for _ in range(STEPS):
        lacking = target - np.nan_to_num(model.fields(values)[image, :5])
        jacobian = model.derivatives(values)[image, :5][:, adjusted]
        step = np.linalg.pinv(jacobian, rcond=1e-9) @ lacking
        values[adjusted] += step
        if np.abs(step).max(initial=0.0) < SOLVED:
            break
    return values


def as_positions(given: ArrayLike, n_images: int, motors: Sequence[str]) -> _Array:
    """Return positions as (n_images, n_motors); a number counts for all images.

    Raises
    ------
    DataError
        If there are neither one nor `n_images` positions of a motor, or one is no number.
    """
    columns = [np.atleast_1d(np.asarray(column, np.float64)) for column in given]  # type: ignore[union-attr]
    if len(columns) != len(motors):
        raise DataError(f"There are positions of {len(columns)} motors, not of {len(motors)}.", "Give one list each.")
    for motor, column in zip(motors, columns, strict=True):
        if column.size not in (1, n_images):
            raise DataError(f"{motor} has {column.size} positions for {n_images} images.", "Give one for each image.")
        if not np.isfinite(column).all():
            raise DataError(f"Not every position of {motor} is a number.", "Leave out images without a position.")
    return np.stack([np.broadcast_to(column, n_images) for column in columns], axis=1)
