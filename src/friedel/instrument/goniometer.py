"""A detector that motors move: its geometry as formulas of motor positions, as pyFAI's goniometer files hold them.

A file names parameters with their refined values, motors, and one formula for each number of the geometry: ``rot1_expr:
"rot1_scale * pos + rot1"``. Formulas are read as arithmetic only (`friedel.core.formula`); lengths are in m, angles of
the geometry in rad, positions in the unit that the motors have in the file's calibration. Files that friedel writes
hold besides what pyFAI reads the covariance of the parameters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from friedel.core.errors import FileError, FriedelError, GeometryError, ParameterError
from friedel.core.files import write_whole
from friedel.core.formula import Formula

from .detector import Detector
from .geometry import Geometry
from .poni import LARGEST_FILE, configured_detector, detector_config

FIELDS = {"dist": "distance", "poni1": "poni1", "poni2": "poni2", "rot1": "rot1", "rot2": "rot2", "rot3": "rot3"}
"""Names in the file and in `Geometry`."""


@dataclass(frozen=True)
class Goniometer:
    """The geometry as a function of motor positions.

    Attributes
    ----------
    detector : Detector
    wavelength : float or None
        In m; None if it is not known or follows from a formula.
    motors : tuple of str
        Names of the positions.
    values : tuple of (str, float)
        Parameters with their values.
    formulas : tuple of (str, Formula)
        Fields of `Geometry` with the formula of each; a rotation without one is 0.
    constants : tuple of (str, float)
        Names with values that are never refined.
    covariance : tuple of tuple of float
        Of the parameters in their order; empty if it is not known.
    """

    detector: Detector
    wavelength: float | None
    motors: tuple[str, ...]
    values: tuple[tuple[str, float], ...]
    formulas: tuple[tuple[str, Formula], ...]
    constants: tuple[tuple[str, float], ...] = ()
    covariance: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of(
        cls,
        detector: Detector,
        formulas: Mapping[str, str],
        values: Mapping[str, float],
        motors: Sequence[str] = ("pos",),
        wavelength: float | None = None,
    ) -> Goniometer:
        """Return a goniometer of formulas as text.

        Parameters
        ----------
        detector : Detector
        formulas : mapping of str to str
            Of distance (or dist), poni1 and poni2, and of rot1, rot2, rot3 and wavelength where they have one.
        values : mapping of str to float
            Parameters in m, rad, and per unit of the motors.
        motors : sequence of str
        wavelength : float, optional
            In m, unless it has a formula.

        Raises
        ------
        ParameterError
            If a formula is none, is of nothing that a geometry has, lacks, or uses a name without value.
        """
        named = {FIELDS.get(field, field): text for field, text in formulas.items()}
        unknown = sorted(set(named) - set(FIELDS.values()) - {"wavelength"})
        if unknown:
            raise ParameterError(
                f"A geometry has no {', '.join(unknown)}.", f"It has {', '.join(FIELDS.values())} and wavelength."
            )
        _require_lengths(set(named))
        twice = sorted(set(values) & set(motors))
        if twice:
            raise ParameterError(f"{', '.join(twice)} is a motor and a parameter.", "Give them different names.")
        order = [field for field in (*FIELDS.values(), "wavelength") if field in named]
        read = tuple((field, Formula(named[field], names=(*values, *motors))) for field in order)
        return cls(detector, wavelength, tuple(motors), tuple((k, float(v)) for k, v in values.items()), read)

    @classmethod
    def load(cls, path: str | Path) -> Goniometer:
        """Read a JSON file of pyFAI's goniometer calibration, version 1 to 2.

        Raises
        ------
        FileError
            If the file cannot be read or is no goniometer calibration.
        """
        try:
            if Path(path).stat().st_size > LARGEST_FILE:
                raise FileError(path, "too large for a goniometer file.", "Give the calibration, not the data.")
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise FileError(path, error.strerror or str(error), "Check the path and the permissions.") from None
        except ValueError as error:
            raise FileError(
                path, f"no JSON: {error}.", "Give the file that the goniometer calibration wrote."
            ) from None
        if not isinstance(content, dict) or "goniometer" not in str(content.get("content", "")).casefold():
            raise FileError(path, "no goniometer calibration.", "Give the file that the calibration wrote.")
        try:
            return cls._of(path, content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise FileError(path, f"{reason.rstrip('.')}.", "Calibrate again, or mend the file.") from None
        except FriedelError as error:
            raise FileError(path, error.problem.removeprefix(f"{path}: "), error.remedy) from None

    @classmethod
    def _of(cls, path: str | Path, content: Mapping[str, Any]) -> Goniometer:
        function = content["trans_function"]
        names = content.get("param_names") or function["param_names"]
        motors = tuple(str(name) for name in content.get("pos_names") or function.get("pos_names") or ("pos",))
        given = content["param"]
        numbers = [given[name] for name in names] if isinstance(given, Mapping) else given
        if len(numbers) != len(names):
            raise ValueError(f"{len(names)} parameters have {len(numbers)} values")
        constants = {str(name): float(value) for name, value in (function.get("constants") or {}).items()}
        values = {str(name): float(value) for name, value in zip(names, numbers, strict=True)}
        allowed = (*constants, *values, *motors)
        formulas = [
            (field, Formula(str(function[f"{name}_expr"]), names=allowed))
            for name, field in (*FIELDS.items(), ("wavelength", "wavelength"))
            if function.get(f"{name}_expr") is not None
        ]
        _require_lengths({field for field, _ in formulas})
        old = {key: content[key] for key in ("pixel1", "pixel2", "max_shape", "orientation") if key in content}
        config = json.dumps(content.get("detector_config") or old)  # version 1.1 has the keys beside the others
        detector = configured_detector(path, str(content.get("detector") or "Detector"), config)
        wavelength = content.get("wavelength")
        covariance = tuple(tuple(float(value) for value in row) for row in content.get("covariance") or ())
        if covariance and {len(covariance), *map(len, covariance)} != {len(values)}:
            raise ValueError(f"the covariance of {len(values)} parameters has {len(covariance)} rows")
        return cls(
            detector,
            None if not wavelength else float(wavelength),
            motors,
            tuple(values.items()),
            tuple(formulas),
            tuple((name, value) for name, value in constants.items() if name not in values),
            covariance,
        )

    def with_values(self, values: Iterable[float], covariance: Any = ()) -> Goniometer:
        """Return the goniometer with other values of its parameters, in their order, and their covariance."""
        named = tuple((name, float(value)) for (name, _), value in zip(self.values, values, strict=True))
        return replace(self, values=named, covariance=tuple(tuple(map(float, row)) for row in covariance))

    def save(self, path: str | Path) -> None:
        """Write the JSON file of pyFAI's goniometer calibration, version 2.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        write_whole(path, json.dumps(self.to_table(), indent=2) + "\n")

    def to_table(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        name, config = detector_config(self.detector)
        names = [parameter for parameter, _ in self.values]
        texts = {field: formula.text for field, formula in self.formulas}
        table: dict[str, Any] = {
            "content": "Goniometer calibration v2",
            "detector": name,
            "detector_config": config,
            "wavelength": self.wavelength,
            "param": [value for _, value in self.values],
            "param_names": names,
            "pos_names": list(self.motors),
            "trans_function": {
                "content": "ExtendedTransformation" if "wavelength" in texts else "GeometryTransformation",
                "param_names": names,
                "pos_names": list(self.motors),
                **{f"{theirs}_expr": texts.get(ours, "0.0") for theirs, ours in FIELDS.items()},
                **({"wavelength_expr": texts["wavelength"]} if "wavelength" in texts else {}),
                "constants": {"pi": math.pi} | dict(self.constants),
            },
        }
        if self.wavelength is None:
            del table["wavelength"]
        if self.covariance:
            table["covariance"] = [list(row) for row in self.covariance]
        return table

    def geometry(self, positions: Mapping[str, float]) -> Geometry:
        """Return the geometry at motor positions.

        Parameters
        ----------
        positions : mapping of str to float
            Position of each motor.

        Raises
        ------
        ParameterError
            If a motor has no position.
        GeometryError
            If a formula gives no finite number there.
        """
        missing = [motor for motor in self.motors if motor not in positions]
        if missing:
            raise ParameterError(
                f"The goniometer needs the position of {', '.join(missing)}.", f"Its motors: {', '.join(self.motors)}."
            )
        known = dict(self.constants) | dict(self.values) | {motor: float(positions[motor]) for motor in self.motors}
        found = {field: float(formula.evaluate(known, np)) for field, formula in self.formulas}
        for field, value in found.items():
            if not math.isfinite(value) or (field == "distance" and value == 0):
                where = ", ".join(f"{motor} = {known[motor]:g}" for motor in self.motors)
                raise GeometryError(f"The goniometer's {field} is {value} at {where}.", "Check positions and formulas.")
        return Geometry(self.detector, **({"wavelength": self.wavelength} | found))  # type: ignore[arg-type]


def _require_lengths(fields: set[str]) -> None:
    lacking = {"distance", "poni1", "poni2"} - fields
    if lacking:
        raise ParameterError(f"There is no formula of {', '.join(sorted(lacking))}.", "Give one, if only a name.")
