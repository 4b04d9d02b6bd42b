"""A flat detector as three vectors, which formats for single crystals hold and from which any orientation follows.

The laboratory frame is (x, y, z) = (axis 2, axis 1, axis 3) of the PONI geometry: z along the beam. It counts as
right-handed, see the decision record on orientations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import GeometryError

from ..detector import Detector
from ..geometry import Geometry
from ..pixel_shapes import FLIPPED_COLUMNS, FLIPPED_ROWS

_Array = NDArray[np.float64]

LARGEST_SKEW = 1e-5
"""Cosine between rows and columns up to which they count as at right angles, written with few digits."""
MIRROR = np.array([1.0, -1.0, 1.0])
"""Turns y round: azimuths run the other way, scattering angles stay."""


@dataclass(frozen=True)
class Placement:
    """Where the stored array of a flat detector lies in the laboratory.

    Attributes
    ----------
    origin : ndarray of float64 (3,)
        (x, y, z) of the outer corner of the first pixel, m.
    fast, slow : ndarray of float64 (3,)
        Step from a column to the next and from a row to the next, m.
    """

    origin: _Array
    fast: _Array
    slow: _Array

    @classmethod
    def from_geometry(cls, geometry: Geometry) -> Placement:
        """Return where the pixels of `geometry` are, as if the detector were a regular grid.

        Raises
        ------
        GeometryError
            If the orientation needs the shape of the detector and it is not known.
        """
        detector = geometry.detector
        along1, along2, normal = geometry.rotation()[[1, 0, 2]].T
        first1, step1 = _first_and_step(detector, 0, FLIPPED_ROWS)
        first2, step2 = _first_and_step(detector, 1, FLIPPED_COLUMNS)
        origin = (first1 - geometry.poni1) * along1 + (first2 - geometry.poni2) * along2 + geometry.distance * normal
        return cls(origin, step2 * along2, step1 * along1)

    @property
    def pixel1(self) -> float:
        """Height of a pixel in m."""
        return float(np.linalg.norm(self.slow))

    @property
    def pixel2(self) -> float:
        """Width of a pixel in m."""
        return float(np.linalg.norm(self.fast))

    def mirrored(self) -> Placement:
        """Return its mirror image: y the other way round."""
        return Placement(self.origin * MIRROR, self.fast * MIRROR, self.slow * MIRROR)

    def rotated(self, matrix: _Array) -> Placement:
        """Return it after all vectors were multiplied by a rotation matrix (3, 3)."""
        return Placement(matrix @ self.origin, matrix @ self.fast, matrix @ self.slow)

    def moved(self, rows: float, columns: float) -> Placement:
        """Return the placement of an array that begins `rows` and `columns` further on."""
        return replace(self, origin=self.origin + rows * self.slow + columns * self.fast)

    def to_geometry(
        self,
        detector: Detector,
        wavelength: float | None = None,
        orientation: int | None = None,
        *,
        skew: float = LARGEST_SKEW,
    ) -> Geometry:
        """Return the geometry with pixels there.

        Parameters
        ----------
        detector : Detector
            Its orientation is replaced.
        wavelength : float or None
            In m.
        orientation : int, optional
            The orientation wanted; without it the one that leaves the smallest rot3.
        skew : float
            Cosine between rows and columns up to which they are made to be at right angles.

        Raises
        ------
        GeometryError
            If rows and columns are not at right angles, the plane goes through the sample, the wanted orientation is
            a mirror image, or the orientation needs the shape of the detector.
        """
        fast, slow = self.axes(skew)
        normal = np.cross(fast, slow)
        height = float(normal @ self.origin)
        if abs(height) <= 1e-12 * float(np.linalg.norm(self.origin)):
            raise GeometryError("The plane of the detector goes through the sample.", "Correct distance and tilt.")
        possible: tuple[int, ...] = (3, 1) if height > 0 else (2, 4)
        if orientation is not None and orientation not in possible:
            raise GeometryError(
                f"The image lies as orientation {possible[0]} or {possible[1]} has it, not {orientation}.",
                "Leave the orientation away.",
            )
        if orientation is None and detector.shape is None:
            possible = tuple(number for number in possible if number == 3) or possible
        choice = possible if orientation is None else (orientation,)
        found = [self._oriented(replace(detector, orientation=number), fast, slow, wavelength) for number in choice]
        return min(found, key=lambda geometry: abs(geometry.rot3))

    @property
    def skew(self) -> float:
        """Cosine of the angle between rows and columns."""
        return float(self.fast @ self.slow) / (self.pixel1 * self.pixel2)

    def straightened(self, largest_skew: float) -> Placement:
        """Return it with rows and columns at right angles, the middle between them kept."""
        fast, slow = self.axes(largest_skew)
        return Placement(self.origin, fast * self.pixel2, slow * self.pixel1)

    def axes(self, largest_skew: float = LARGEST_SKEW) -> tuple[_Array, _Array]:
        """Return unit vectors along columns and rows, at right angles.

        Raises
        ------
        GeometryError
            If they are not at right angles, zero or not finite.
        """
        if not all(np.isfinite(vector).all() for vector in (self.origin, self.fast, self.slow)):
            raise GeometryError("The place of the detector is not finite.", "Correct the numbers in the file.")
        if min(self.pixel1, self.pixel2) == 0:
            raise GeometryError("The step between two pixels is zero.", "Correct the axes of the detector.")
        fast, slow = self.fast / self.pixel2, self.slow / self.pixel1
        skew = float(fast @ slow)
        if abs(skew) > largest_skew:
            angle = np.degrees(np.arccos(np.clip(skew, -1.0, 1.0)))
            raise GeometryError(
                f"Rows and columns of the detector are at {angle:.4f} degrees.", "Correct its axes to right angles."
            )
        # Both axes share what is too much or too little.
        fast, slow = fast - 0.5 * skew * slow, slow - 0.5 * skew * fast
        return fast / np.linalg.norm(fast), slow / np.linalg.norm(slow)

    def _oriented(self, detector: Detector, fast: _Array, slow: _Array, wavelength: float | None) -> Geometry:
        first1, step1 = _first_and_step(detector, 0, FLIPPED_ROWS)
        first2, step2 = _first_and_step(detector, 1, FLIPPED_COLUMNS)
        along1, along2 = np.sign(step1) * slow, np.sign(step2) * fast
        normal = np.cross(along2, along1)
        rotation = np.stack([along1, along2, normal], axis=1)[[1, 0, 2]]
        rot1, rot2, rot3 = rotation_angles(rotation)
        return Geometry(
            detector=detector,
            distance=float(normal @ self.origin),
            poni1=float(first1 - along1 @ self.origin),
            poni2=float(first2 - along2 @ self.origin),
            rot1=rot1,
            rot2=rot2,
            rot3=rot3,
            wavelength=wavelength,
        )


def _first_and_step(detector: Detector, axis: int, flipped: tuple[int, int]) -> tuple[float, float]:
    """Return the coordinate of the array's edge and the step to the next pixel along an axis of the detector, m."""
    size = (detector.pixel1, detector.pixel2)[axis]
    if detector.orientation not in flipped:
        return 0.0, size
    if detector.shape is None:
        raise GeometryError(
            f"Orientation {detector.orientation} needs the number of pixels of the detector, and it is not known.",
            "Give the detector: --detector NAME, or a file that describes it.",
        )
    return detector.shape[axis] * size, -size


def rotation_angles(rotation: _Array) -> tuple[float, float, float]:
    """Return rot1, rot2, rot3 in rad of a matrix R3·R2·R1 (3, 3), rot2 from −π/2 to π/2; see `geometry`."""
    horizontal = float(np.hypot(rotation[0, 0], rotation[1, 0]))
    rot2 = float(np.arctan2(rotation[2, 0], horizontal))
    if horizontal > 1e-12:
        rot1 = float(np.arctan2(-rotation[2, 1], rotation[2, 2]))
        return rot1, rot2, float(np.arctan2(rotation[1, 0], rotation[0, 0]))
    # Axis 1 is along the beam: rot1 and rot3 turn about the same line.
    return 0.0, rot2, float(np.arctan2(-rotation[0, 1], rotation[1, 1]))


def is_mirrored(orientation: int, other: int) -> bool:
    """Whether images of two orientations are mirror images of one another."""
    return (orientation in (2, 4)) != (other in (2, 4))


def reoriented(geometry: Geometry, orientation: int) -> Geometry:
    """Return the geometry of the same stored array told with another orientation.

    Every pixel stays where it is, if the orientation is the same or the opposite one (1 and 3, 2 and 4). Otherwise the
    laboratory is mirrored: scattering angles stay, azimuths change their sign.

    Raises
    ------
    GeometryError
        If the shape of the detector is needed and not known.
    """
    if orientation == geometry.detector.orientation:
        return geometry
    placement = Placement.from_geometry(geometry)
    if is_mirrored(geometry.detector.orientation, orientation):
        placement = placement.mirrored()
    detector = replace(geometry.detector, orientation=orientation)
    found = placement.to_geometry(detector, geometry.wavelength, orientation if geometry.distance > 0 else None)
    return replace(found, parallax=geometry.parallax)
