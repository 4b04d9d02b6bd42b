"""The same geometry in the terms of Fit2D: beam centre, direct distance, tilt and direction of tilt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .detector import Detector
from .geometry import Geometry


@dataclass(frozen=True)
class Fit2D:
    """A detector placed by where the beam hits it (Hammersley et al., High Pressure Res. 14 (1996) 235).

    Attributes
    ----------
    direct_distance : float
        Sample to detector along the beam, mm.
    center_x, center_y : float
        Where the beam hits, pixels; pixel i covers i to i + 1.
    tilt : float
        Angle between beam and detector normal, degrees.
    tilt_plane_rotation : float
        Azimuth of the direction of tilt, degrees.
    """

    direct_distance: float
    center_x: float
    center_y: float
    tilt: float
    tilt_plane_rotation: float

    @classmethod
    def from_geometry(cls, geometry: Geometry) -> Fit2D:
        """Express `geometry` in Fit2D's terms; rot3, a turn about the beam, has no place there and is lost."""
        y, x = geometry.beam_center()
        b1, b2, b3 = geometry.rotation()[2]  # the beam in the detector's frame
        tilt = np.degrees(np.arctan2(np.hypot(b1, b2), b3))
        return cls(
            direct_distance=float(geometry.distance / b3 * 1e3),
            center_x=x,
            center_y=y,
            tilt=float(tilt),
            tilt_plane_rotation=float(np.degrees(np.arctan2(b1, b2))),
        )

    def to_geometry(self, detector: Detector, wavelength: float | None = None) -> Geometry:
        """Return the geometry of `detector` (native orientation), with rot3 = 0.

        Parameters
        ----------
        detector : Detector
        wavelength : float or None
            In m.
        """
        tilt, rotation = np.radians([self.tilt, self.tilt_plane_rotation])
        b1, b2, b3 = np.sin(tilt) * np.sin(rotation), np.sin(tilt) * np.cos(rotation), np.cos(tilt)
        direct = self.direct_distance * 1e-3
        return Geometry(
            detector=detector,
            distance=float(direct * b3),
            poni1=float(self.center_y * detector.pixel1 - direct * b1),
            poni2=float(self.center_x * detector.pixel2 - direct * b2),
            rot1=float(np.arctan2(-b2, b3)),
            rot2=float(np.arcsin(np.clip(b1, -1.0, 1.0))),
            wavelength=wavelength,
        )
