"""How far apart two geometries of one detector are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import GeometryError

from .calibrants import Calibrant
from .geometry import Geometry
from .geometry_formats.placement import reoriented
from .geometry_words import Line, aligned

ROWS_AT_A_TIME = 64


@dataclass(frozen=True)
class RingShift:
    """How far a ring moves from one geometry to another.

    Attributes
    ----------
    label : str
        Of its reflections.
    two_theta : float
        Degrees, in the second geometry.
    largest, mean : float
        Signed shift along the detector in pixels, the largest one and the mean, over pixels on the ring.
    """

    label: str
    two_theta: float
    largest: float
    mean: float

    def __str__(self) -> str:
        moved = f"{_signed(self.mean, 4):>9} px mean  {_signed(self.largest, 4):>9} px at most"
        return f"{self.two_theta:9.4f} deg  {moved}  {self.label}"


@dataclass(frozen=True)
class Comparison:
    """What differs from a geometry to another one, of the same stored array.

    Attributes
    ----------
    center : (float, float) or None
        How the beam centre moves along x and y, pixels; None if there is none.
    distance : float
        Change of the distance along the normal, m.
    tilt : float
        Angle between the beams as the detector sees them, degrees: by how much its tilt differs.
    wavelength : float or None
        Relative change; None if one is not known.
    largest : float
        Largest difference of 2theta over the pixels that are not masked, degrees.
    largest_pixels : float
        Largest difference of 2theta in pixels: how far a ring appears to move.
    root_mean_square : float
        Of the difference of 2theta, degrees.
    place : (int, int)
        Row and column of the largest difference.
    azimuth : float
        Largest difference of azimuths, degrees, between neighbours of the beam centre left out.
    rings : tuple of RingShift
    """

    center: tuple[float, float] | None
    distance: float
    tilt: float
    wavelength: float | None
    largest: float
    largest_pixels: float
    root_mean_square: float
    place: tuple[int, int]
    azimuth: float
    rings: tuple[RingShift, ...] = ()

    def __str__(self) -> str:
        lines: list[Line] = []
        if self.center is not None:
            x, y = self.center
            lines.append(("Beam centre", f"{_signed(x, 4)} px in x, {_signed(y, 4)} px in y"))
        lines.append(("Distance", f"{_signed(self.distance * 1e3, 6)} mm"))
        lines.append(("Tilt", f"{self.tilt:.6f} deg between the beams seen from the detector"))
        if self.wavelength is not None:
            lines.append(("Wavelength", f"{_signed(self.wavelength * 1e6, 3)} ppm"))
        row, column = self.place
        lines.append(("2theta", f"{self.largest:.3g} deg at most, {self.root_mean_square:.3g} deg root mean square"))
        lines.append(("2theta", f"{self.largest_pixels:.3g} px at most; most degrees at row {row}, column {column}"))
        lines.append(("Azimuth", f"{self.azimuth:.3g} deg at most"))
        lines += [("Rings", str(ring)) for ring in self.rings]
        return aligned(lines)


def compared(geometry: Geometry, other: Geometry, calibrant: Calibrant | None = None) -> Comparison:
    """Return what differs from `geometry` to `other`, which are of the same stored array.

    Parameters
    ----------
    geometry, other : Geometry
        A number of pixels that one of them does not tell is taken from the other one.
    calibrant : Calibrant, optional
        Whose rings are followed; needs the wavelength of both.

    Raises
    ------
    GeometryError
        If their detectors differ in shape, or neither tells it.
    """
    geometry, other = _of_one_shape(geometry, other)
    beam, other_beam = (reoriented(one, 3).rotation()[2] for one in (geometry, other))
    cross = float(np.linalg.norm(np.cross(beam, other_beam)))
    largest, largest_pixels, squares, count, azimuth, place = 0.0, 0.0, 0.0, 0, 0.0, (0, 0)
    mask = geometry.detector.mask()
    for start in range(0, geometry.shape[0], ROWS_AT_A_TIME):
        rows = slice(start, min(start + ROWS_AT_A_TIME, geometry.shape[0]))
        change, slope = _change(geometry, other, rows)
        valid = ~mask[rows]
        size = np.where(valid, np.abs(change), 0.0)
        if size.max(initial=0.0) > largest:
            largest = float(size.max())
            row, column = np.unravel_index(int(size.argmax()), size.shape)
            place = (start + int(row), int(column))
        largest_pixels = max(largest_pixels, float((size / slope).max(initial=0.0)))
        squares, count = squares + float((size * size).sum()), count + int(valid.sum())
        turned = geometry.azimuth_center(rows) - other.azimuth_center(rows)
        off = np.abs((turned + math.pi) % (2.0 * math.pi) - math.pi)
        away = geometry.center_array("2th_rad", rows) > 10.0 * slope  # near the beam azimuths are anything
        azimuth = max(azimuth, float(np.where(valid & away, off, 0.0).max(initial=0.0)))
    return Comparison(
        center=_center_change(geometry, other),
        distance=other.distance - geometry.distance,
        tilt=math.degrees(math.atan2(cross, float(beam @ other_beam))),
        wavelength=_wavelength_change(geometry, other),
        largest=math.degrees(largest),
        largest_pixels=largest_pixels,
        root_mean_square=math.degrees(math.sqrt(squares / max(count, 1))),
        place=place,
        azimuth=math.degrees(azimuth),
        rings=() if calibrant is None else _rings(geometry, other, calibrant),
    )


def _of_one_shape(geometry: Geometry, other: Geometry) -> tuple[Geometry, Geometry]:
    known = geometry.detector.shape or other.detector.shape
    if known is None:
        raise GeometryError(
            "Neither geometry tells the number of pixels of the detector.", "Give --detector NAME, or --shape."
        )
    return geometry.for_shape(known), other.for_shape(known)


def _change(geometry: Geometry, other: Geometry, rows: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how 2theta changes, and by how much it does from a pixel to the next along its gradient, in rad."""
    change = other.center_array("2th_rad", rows) - geometry.center_array("2th_rad", rows)
    corners = geometry.corner_array("2th_rad", rows)
    diagonal1, diagonal2 = corners[..., 2] - corners[..., 0], corners[..., 3] - corners[..., 1]
    slope = np.sqrt(0.5 * (diagonal1 * diagonal1 + diagonal2 * diagonal2))
    return change, np.maximum(slope, 0.1 * float(np.median(slope)))


def _center_change(geometry: Geometry, other: Geometry) -> tuple[float, float] | None:
    try:
        (y, x), (other_y, other_x) = geometry.beam_center(), other.beam_center()
    except GeometryError:
        return None
    return other_x - x, other_y - y


def _wavelength_change(geometry: Geometry, other: Geometry) -> float | None:
    if geometry.wavelength is None or other.wavelength is None:
        return None
    return other.wavelength / geometry.wavelength - 1.0


def _rings(geometry: Geometry, other: Geometry, calibrant: Calibrant) -> tuple[RingShift, ...]:
    """Return how far each ring moves; pixels within half a pixel of it in the second geometry count."""
    if geometry.wavelength is None or other.wavelength is None:
        raise GeometryError("Rings need the wavelength, and a geometry has none.", "Give --wavelength or --energy.")
    angles, expected = calibrant.rings(other.wavelength), calibrant.rings(geometry.wavelength)
    mask = geometry.detector.mask()
    shifts: list[list[NDArray[np.float64]]] = [[] for _ in angles.two_theta]
    for start in range(0, geometry.shape[0], ROWS_AT_A_TIME):
        rows = slice(start, min(start + ROWS_AT_A_TIME, geometry.shape[0]))
        change, slope = _change(geometry, other, rows)
        there = other.center_array("2th_rad", rows)
        for number, (ring, before) in enumerate(zip(angles.two_theta, expected.two_theta, strict=False)):
            if not there.min() <= ring <= there.max():
                continue
            on = (np.abs(there - ring) < 0.5 * slope) & ~mask[rows]
            shifts[number].append(((float(ring) - float(before)) - change[on]) / slope[on])
    found = []
    for number, parts in enumerate(shifts):
        moved = np.concatenate(parts) if parts else np.empty(0)
        if moved.size:
            extreme = float(moved[np.argmax(np.abs(moved))])
            angle = math.degrees(float(angles.two_theta[number]))
            found.append(RingShift(angles.labels[number], angle, extreme, float(moved.mean())))
    return tuple(found)


def _signed(value: float, digits: int) -> str:
    """Return a number with its sign, none if all its digits are 0."""
    text = f"{value:+.{digits}f}"
    return text if float(text) else text.lstrip("+-")
