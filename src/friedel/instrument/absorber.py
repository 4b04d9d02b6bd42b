"""Layers between sample and detector: air, windows, foils."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import ParameterError
from friedel.core.quantities import parse_length
from friedel.matter.attenuation import material

Plane = Literal["detector", "beam"]


@dataclass(frozen=True)
class Absorber:
    """A flat layer that rays cross on their way to the detector.

    Attributes
    ----------
    material : str
        Name of `friedel.matter.MATERIALS` ("air", "kapton", ...) or a formula.
    thickness : float
        In m.
    density : float or None
        In g/cm³; needed for a material that friedel does not know.
    plane : {"detector", "beam"}
        Whether it is parallel to the detector, so that a ray at the angle α to the detector's normal runs t/cos α in
        it; or perpendicular to the beam: t/cos 2θ. Air between sample and detector is a layer parallel to the
        detector, as thick as the distance.
    """

    material: str
    thickness: float
    density: float | None = None
    plane: Plane = "detector"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.thickness) and self.thickness > 0):
            raise ParameterError(
                f"The absorber of {self.material} is {self.thickness} m thick.", "Give a positive thickness in metres."
            )
        if self.plane not in get_args(Plane):
            raise ParameterError(
                f"The absorber of {self.material} is parallel to {self.plane!r}.",
                "It is parallel to the 'detector', or across the 'beam'.",
            )

    @classmethod
    def parse(cls, text: str) -> Absorber:
        """Read "material,thickness[,density][@beam]": "kapton,50um", "air,0.3m", "Fe2O3,10um,5.24@beam".

        Raises
        ------
        ParameterError
            If it cannot be read, or there is no such material.
        """
        layer, at, plane = text.partition("@")
        parts = [part.strip() for part in layer.split(",")]
        if not 2 <= len(parts) <= 3 or not parts[0] or (at and plane.strip() not in get_args(Plane)):
            raise ParameterError(
                f"The absorber {text!r} cannot be read.",
                "Give material and thickness: kapton,50um or air,0.3m or Fe2O3,10um,5.24 (density in g/cm³); "
                "add @beam to one across the beam rather than parallel to the detector.",
            )
        try:
            density = float(parts[2]) if len(parts) > 2 else None
        except ValueError:
            raise ParameterError(f"The density {parts[2]!r} is no number.", "Give it in g/cm³.") from None
        name = material(parts[0], density).name
        thickness = parse_length(parts[1], f"thickness of {parts[0]}")
        return cls(name, thickness, density, "beam" if plane.strip() == "beam" else "detector")

    def relative_transmission(self, cosine: ArrayLike, wavelength: float) -> NDArray[np.float64]:
        """Return the transmission relative to that at right angles, exp(−μt (1/cos − 1)).

        Parameters
        ----------
        cosine : array_like
            Of the angle of the rays to the normal of the layer; rays that never cross it (cos ≤ 0) give 0.
        wavelength : float
            In m.
        """
        depth = material(self.material, self.density).attenuation(wavelength) * self.thickness
        value = np.asarray(cosine, np.float64)
        path = np.divide(1.0, value, out=np.full(value.shape, np.inf), where=value > 0)
        return np.asarray(np.exp(-depth * (path - 1.0)))
