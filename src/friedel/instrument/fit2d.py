"""The same geometry in the terms of Fit2D: beam centre, direct distance, tilt and direction of tilt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import GeometryError

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
        Where the beam hits, pixels of the stored array; pixel i covers i to i + 1.
    tilt : float
        Angle between beam and detector normal, degrees.
    tilt_plane_rotation : float
        Azimuth of the direction of tilt, degrees, from the fast axis of the array towards the slow one.
    """

    direct_distance: float
    center_x: float
    center_y: float
    tilt: float
    tilt_plane_rotation: float

    @classmethod
    def from_geometry(cls, geometry: Geometry) -> Fit2D:
        """Express `geometry` in Fit2D's terms; a turn about the beam and the orientation are lost.

        Raises
        ------
        GeometryError
            If the beam does not meet the detector, or the orientation needs the shape and it is not known.
        """
        from .geometry_formats.placement import reoriented

        native = reoriented(geometry, 3)
        y, x = native.beam_center()
        b1, b2, b3 = native.rotation()[2]  # the beam in the detector's frame
        tilt = np.degrees(np.arctan2(np.hypot(b1, b2), b3))
        return cls(
            direct_distance=float(native.distance / b3 * 1e3),
            center_x=x,
            center_y=y,
            tilt=float(tilt),
            tilt_plane_rotation=float(np.degrees(np.arctan2(b1, b2))) if tilt else 0.0,
        )

    def to_geometry(self, detector: Detector, wavelength: float | None = None) -> Geometry:
        """Return the geometry of `detector`, turned from upright by the tilt alone: no turn about the beam.

        The rotations are those that pyFAI gives; rot3 is not 0 for a tilt that is neither along rows nor columns.

        Parameters
        ----------
        detector : Detector
        wavelength : float or None
            In m.
        """
        from .geometry_formats.placement import reoriented, rotation_angles

        tilt, rotation = np.radians([self.tilt, self.tilt_plane_rotation])
        b1, b2, b3 = np.sin(tilt) * np.sin(rotation), np.sin(tilt) * np.cos(rotation), np.cos(tilt)
        direct = self.direct_distance * 1e-3
        rot1, rot2, rot3 = rotation_angles(untwisted(np.array([b1, b2, b3])))
        native = Geometry(
            detector=replace(detector, orientation=3),
            distance=float(direct * b3),
            poni1=float(self.center_y * detector.pixel1 - direct * b1),
            poni2=float(self.center_x * detector.pixel2 - direct * b2),
            rot1=rot1,
            rot2=rot2,
            rot3=rot3,
            wavelength=wavelength,
        )
        return reoriented(native, detector.orientation)


def untwisted(beam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shortest rotation (3, 3) that turns the unit vector `beam` (3,) into the third axis.

    Raises
    ------
    GeometryError
        If it points against that axis: then no rotation is the shortest.
    """
    if 1.0 + beam[2] < 1e-12:
        raise GeometryError("The detector is tilted by 180 degrees.", "Correct the tilt.")
    v1, v2 = beam[1], -beam[0]  # beam x third axis, which lies in the plane of the first two
    skew = np.array([[0.0, 0.0, v2], [0.0, 0.0, -v1], [-v2, v1, 0.0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1.0 + beam[2]))
