"""A detector that motors move: its geometry as formulas of motor positions, as pyFAI's goniometer files hold them.

A file names parameters with their refined values, motors, and one formula for each number of the geometry: ``rot1_expr:
"rot1_scale * pos + rot1"``. Formulas are read as arithmetic only (`friedel.core.formula`); lengths are in m, angles of
the geometry in rad, positions in the unit that the motors have in the file's calibration.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from friedel.core.errors import FileError, FriedelError, GeometryError, ParameterError
from friedel.core.formula import Formula

from .detector import Detector
from .geometry import Geometry
from .poni import LARGEST_FILE, configured_detector

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
        Parameters and constants with their values.
    formulas : tuple of (str, Formula)
        Fields of `Geometry` with the formula of each; a rotation without one is 0.
    """

    detector: Detector
    wavelength: float | None
    motors: tuple[str, ...]
    values: tuple[tuple[str, float], ...]
    formulas: tuple[tuple[str, Formula], ...]

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
        values = {str(name): float(value) for name, value in (function.get("constants") or {}).items()}
        values |= {str(name): float(value) for name, value in zip(names, numbers, strict=True)}
        allowed = (*values, *motors)
        formulas = [
            (field, Formula(str(function[f"{name}_expr"]), names=allowed))
            for name, field in (*FIELDS.items(), ("wavelength", "wavelength"))
            if function.get(f"{name}_expr") is not None
        ]
        lacking = {"distance", "poni1", "poni2"} - {field for field, _ in formulas}
        if lacking:
            raise ValueError(f"there is no formula of {', '.join(sorted(lacking))}")
        old = {key: content[key] for key in ("pixel1", "pixel2", "max_shape", "orientation") if key in content}
        config = json.dumps(content.get("detector_config") or old)  # version 1.1 has the keys beside the others
        detector = configured_detector(path, str(content.get("detector") or "Detector"), config)
        wavelength = content.get("wavelength")
        return cls(
            detector, None if not wavelength else float(wavelength), motors, tuple(values.items()), tuple(formulas)
        )

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
        known = dict(self.values) | {motor: float(positions[motor]) for motor in self.motors}
        found = {field: float(formula.evaluate(known, np)) for field, formula in self.formulas}
        for field, value in found.items():
            if not math.isfinite(value) or (field == "distance" and value == 0):
                where = ", ".join(f"{motor} = {known[motor]:g}" for motor in self.motors)
                raise GeometryError(f"The goniometer's {field} is {value} at {where}.", "Check positions and formulas.")
        return Geometry(self.detector, **({"wavelength": self.wavelength} | found))  # type: ignore[arg-type]
