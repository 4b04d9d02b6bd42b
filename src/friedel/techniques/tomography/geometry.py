"""The parallel-beam geometry: where each sample of a sinogram lies in the slice.

A ray at angle theta that passes through the point (x, y) of the slice (column and row number) meets the detector at

    t(x, y, theta) = center + cos(theta) (x - c0) - sin(theta) (y - c0)        c0 = (size - 1) / 2

in units of pixels (translation steps), counted from the first translation. The slice is centred on the rotation
axis; rows are counted downwards. Everything in this room follows this one convention.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import DataError

Floats = NDArray[np.float64]

SHORTEST_COVERAGE_DEGREES = 150.0
FEWEST_ANGLES = 3
SAME_ANGLE_DEGREES = 1e-4


@dataclass(frozen=True, eq=False)
class ParallelBeam:
    """Angles, axis and grid of one slice; immutable.

    Attributes
    ----------
    angles : ndarray (n_angles,) float64
        Rotation angles in rad, in the order of the sinogram's rows.
    weights : ndarray (n_angles,) float64
        Share of each projection in the integral over half a turn, in rad; 0 for an excluded projection.
    n_translations : int
        Samples in a projection.
    center : float
        Position of the rotation axis in pixels from the first translation.
    size : int
        Rows and columns of the slice.
    pixel_size : float
        Distance of two translations; the slice is in signal per this unit of length.
    """

    angles: Floats
    weights: Floats
    n_translations: int
    center: float
    size: int
    pixel_size: float = 1.0

    @classmethod
    def build(
        cls,
        angles_degrees: ArrayLike,
        n_translations: int,
        *,
        center: float | None = None,
        size: int | None = None,
        pixel_size: float = 1.0,
        excluded: ArrayLike | None = None,
        allow_missing_wedge: bool = False,
    ) -> ParallelBeam:
        """Check the angles and weigh the projections.

        Parameters
        ----------
        angles_degrees : array_like (n_angles,)
            Rotation angles in degrees, in any order; half a turn, a whole one, uneven or repeated.
        n_translations : int
            Samples in a projection.
        center : float, optional
            Rotation axis in pixels; by default the middle, (n_translations - 1) / 2.
        size : int, optional
            Rows and columns of the slice, by default `n_translations`.
        pixel_size : float
            Distance of two translations, in the unit of length that the result shall have.
        excluded : array_like of bool (n_angles,), optional
            True for projections that failed and shall not be used.
        allow_missing_wedge : bool
            Accept angles that cover less than 150 degrees of half a turn.

        Raises
        ------
        DataError
            If angles are not finite, fewer than 3 differ, or they cover too little.
        """
        angles = np.asarray(angles_degrees, float)
        if angles.ndim != 1 or not np.isfinite(angles).all():
            raise DataError(
                f"The rotation angles must be a row of finite numbers; they have the shape {angles.shape} and "
                f"{np.count_nonzero(~np.isfinite(angles))} values that are not finite."
            )
        used = np.ones(len(angles), bool) if excluded is None else ~np.asarray(excluded, bool)
        if not allow_missing_wedge:
            check_coverage(angles[used])
        weights = np.zeros(len(angles))
        weights[used] = angular_weights(angles[used])
        return cls(
            np.deg2rad(angles),
            weights,
            int(n_translations),
            (n_translations - 1) / 2 if center is None else float(center),
            int(n_translations if size is None else size),
            float(pixel_size),
        )

    @property
    def n_angles(self) -> int:
        """Number of projections, excluded ones too."""
        return len(self.angles)

    @property
    def used(self) -> NDArray[np.intp]:
        """Numbers of the projections that are used."""
        return np.flatnonzero(self.weights > 0)

    def with_center(self, center: float) -> ParallelBeam:
        """Return the same geometry about another axis."""
        return replace(self, center=float(center))

    def detector_lines(self) -> tuple[Floats, Floats, Floats]:
        """Return `offset`, `step_x`, `step_y` of each used projection, so that t = offset + step_x x + step_y y."""
        theta, c0 = self.angles[self.used], (self.size - 1) / 2
        step_x, step_y = np.cos(theta), -np.sin(theta)
        return self.center - c0 * (step_x + step_y), step_x, step_y


def _gaps(angles_degrees: Floats) -> tuple[Floats, Floats]:
    """Return the distinct angles modulo 180 in order and the gap that follows each, in degrees."""
    folded = np.sort(np.mod(angles_degrees, 180.0))
    distinct = folded[np.diff(folded, prepend=-np.inf) > SAME_ANGLE_DEGREES]
    if len(distinct) > 1 and distinct[0] + 180.0 - distinct[-1] < SAME_ANGLE_DEGREES:
        distinct = distinct[:-1]
    return distinct, np.diff(distinct, append=distinct[:1] + 180.0)


def coverage_degrees(angles_degrees: ArrayLike) -> float:
    """Return how much of half a turn the angles cover, in degrees: 180 less what the largest gap lacks.

    An even scan covers 180 however coarse it is; each angle stands for one ordinary step.
    """
    _, gaps = _gaps(np.asarray(angles_degrees, float))
    return 0.0 if len(gaps) < 2 else float(180.0 - gaps.max() + np.median(gaps))


def check_coverage(angles_degrees: ArrayLike) -> None:
    """Refuse angles from which a slice cannot be found.

    Raises
    ------
    DataError
        If fewer than 3 angles differ, or they cover less than 150 degrees; the message says their range.
    """
    angles = np.asarray(angles_degrees, float)
    n_distinct = len(_gaps(angles)[0]) if len(angles) else 0
    span = f"{angles.min():.6g} to {angles.max():.6g} degrees" if len(angles) else "none"
    if n_distinct < FEWEST_ANGLES:
        raise DataError(
            f"The {len(angles)} rotation angles ({span}) hold only {n_distinct} different ones modulo 180 degrees; "
            f"at least {FEWEST_ANGLES} are needed.",
            "Check which axis is the rotation.",
        )
    covered = coverage_degrees(angles)
    if covered < SHORTEST_COVERAGE_DEGREES:
        radians = " Angles are in degrees; these look like radians." if np.ptp(angles) < 2 * np.pi + 0.1 else ""
        raise DataError(
            f"The angle range is too short: {len(angles)} angles from {span} cover {covered:.1f} of 180 degrees; "
            f"at least {SHORTEST_COVERAGE_DEGREES:.0f} are needed.{radians}",
            "Complete the scan, or allow a missing wedge (allow_missing_wedge) and expect streaks.",
        )


def angular_weights(angles_degrees: ArrayLike) -> Floats:
    """Return the share of each projection in the integral over half a turn, in rad.

    The trapezoid rule modulo 180 degrees: half the distance between the neighbours on either side. Angles that
    are the same modulo 180 degrees share one weight equally. A gap that is longer than a missing wedge of 30 degrees
    and four times the ordinary step is not bridged: the angles at its edges keep an ordinary step, because filling
    the wedge with their projections smears the slice along them.
    """
    angles = np.asarray(angles_degrees, float)
    distinct, gaps = _gaps(angles)
    if len(distinct) < 2:
        return np.full(len(angles), np.pi / max(len(angles), 1))
    ordinary = np.median(gaps)
    missing = gaps > max(180.0 - SHORTEST_COVERAGE_DEGREES, 4 * ordinary)
    bridged = np.where(missing, ordinary, gaps)
    share = np.deg2rad(bridged + np.roll(bridged, 1)) / 2
    # Each angle belongs to the nearest distinct one, across the end of the half turn too.
    folded = np.mod(angles, 180.0)
    around = np.concatenate([distinct, distinct[:1] + 180.0])
    owner = np.abs(folded[:, None] - around).argmin(axis=1) % len(distinct)
    return np.asarray(share[owner] / np.bincount(owner, minlength=len(distinct))[owner])
