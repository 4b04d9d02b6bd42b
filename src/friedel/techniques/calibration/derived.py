"""What rings determine well of a geometry: beam centre, direct distance, tilt."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.instrument import Geometry
from friedel.instrument.derivatives import FIELDS

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quantity:
    """A number with its standard error."""

    value: float
    error: float
    unit: str


def derived_quantities(geometry: Geometry, covariance: _Array | None = None) -> dict[str, Quantity]:
    """Return beam centre, direct distance and tilt of a geometry, see `Refinement.derived`.

    Parameters
    ----------
    geometry : Geometry
    covariance : ndarray of float64 (7, 7), optional
        Of its numbers, in the order of `FIELDS`; without one the errors are 0.
    """
    covariance = np.zeros((7, 7)) if covariance is None else covariance
    start = np.array([getattr(geometry, name) or 0.0 for name in FIELDS])
    values = _center_and_lean(geometry, start)
    steps = np.array([1e-5 * abs(geometry.distance)] * 3 + [1e-5] * 3 + [1.0])
    jacobian = np.zeros((values.size, len(FIELDS)))
    for place in range(6):
        step = np.where(np.arange(len(FIELDS)) == place, steps, 0.0)
        difference = _center_and_lean(geometry, start + step) - _center_and_lean(geometry, start - step)
        jacobian[:, place] = difference / (2.0 * steps[place])
    errors = np.sqrt(np.maximum(np.diag(jacobian @ covariance @ jacobian.T), 0.0))
    lean = values[3:]
    tilt = math.atan2(math.hypot(*lean), 1.0)
    along = lean / max(math.hypot(*lean), 1e-300)
    if not along.any():
        along = np.array([0.0, 1.0])
    spread = jacobian[3:] @ covariance @ jacobian[3:].T
    error_along, error_across = (
        math.sqrt(max(float(vector @ spread @ vector), 0.0)) for vector in (along, np.array([-along[1], along[0]]))
    )
    plane_error = error_across / math.hypot(*lean) if lean.any() else (math.inf if error_across else 0.0)
    return {
        "beam_center_y": Quantity(values[0], errors[0], "pixel"),
        "beam_center_x": Quantity(values[1], errors[1], "pixel"),
        "direct_distance": Quantity(values[2], errors[2], "m"),
        "tilt": Quantity(tilt, error_along * math.cos(tilt) ** 2, "rad"),
        "tilt_plane": Quantity(
            math.atan2(along[0], along[1]), plane_error if plane_error < math.pi else math.inf, "rad"
        ),
    }


def _center_and_lean(geometry: Geometry, numbers: _Array) -> _Array:
    """Return beam centre (y, x) in pixels, direct distance in m, and the tangent of the tilt along p1 and p2."""
    fields: dict[str, Any] = {name: float(value) for name, value in zip(FIELDS[:6], numbers[:6], strict=True)}
    placed = replace(geometry, **fields)
    beam = placed.rotation()[2]
    y, x = placed.beam_center()
    return np.array([y, x, placed.distance / beam[2], beam[0] / beam[2], beam[1] / beam[2]])
