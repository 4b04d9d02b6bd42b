"""Where each pixel is, seen from the sample.

Axis 1 runs along the rows' index (y), axis 2 along the columns' index (x), axis 3 along the beam. The point of
normal incidence (PONI) is the foot of the perpendicular from the sample onto the detector plane. A point of the
detector at (p1, p2) is, with d = (p1 − poni1, p2 − poni2, distance), at

    (y, x, z) = R3(rot3) · R2(rot2) · R1(rot1) · d

R1 and R2 turn left-handed about axes 1 and 2, R3 right-handed about the beam (Kieffer & Wright, Powder
Diffraction 28 (2013) S339; Kieffer et al., J. Synchrotron Rad. 27 (2020) 558).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import GeometryError, ParameterError
from friedel.core.units import Unit, unit_named

from .coordinates import UPRIGHT, Points, SamplePose, values_at
from .detector import Detector, area_vectors
from .pixel_shapes import Positions
from .poni import write_poni
from .radial import require_wavelength
from .sensor import Sensor, entry_ratios

Discontinuity = Literal["pi", "0"]
_Array = NDArray[np.float64]

# Rows worked on at a time: temporaries stay in the processor's cache (4x faster than whole arrays).
ROWS_AT_A_TIME = 16
ALL_ROWS = slice(None)
BEAM_STEPS = 30
BEAM_STEP = 1e-3
"""Pixels to the side for a derivative."""


@dataclass(frozen=True)
class Geometry:
    """A detector placed in the beam; six numbers and a wavelength.

    Attributes
    ----------
    detector : Detector
    distance : float
        Sample to detector plane along its normal, m.
    poni1, poni2 : float
        Point of normal incidence on the detector, m.
    rot1, rot2, rot3 : float
        Rotations in rad, see the module.
    wavelength : float or None
        In m; needed for q and d.
    parallax : bool
        Whether pixels count as where the rays that are seen in them enter the sensor of the detector, which needs the
        wavelength too. Solid angles are those of the pixels themselves.

    Raises
    ------
    GeometryError
        If `parallax` is asked for without wavelength or sensor, or of a detector that is not flat.
    """

    detector: Detector
    distance: float
    poni1: float
    poni2: float
    rot1: float = 0.0
    rot2: float = 0.0
    rot3: float = 0.0
    wavelength: float | None = None
    parallax: bool = False

    def __post_init__(self) -> None:
        if self.parallax:
            self.sensor_and_wavelength("The correction for parallax")
            if self.detector.pixels is not None and self.detector.displaced and not self.detector.pixels.flat:
                raise GeometryError(
                    f"The correction for parallax is one for flat detectors, and {self.detector.name} is not flat.",
                    "Leave it out.",
                )

    @classmethod
    def load(cls, path: str | Path, *, detector: Detector | None = None, wavelength: float | None = None) -> Geometry:
        """Read a geometry: a PONI file, version 1 to 3, or a file of another program, known by what is in it.

        Parameters
        ----------
        path : path-like
        detector : Detector, optional
            For what the file does not tell about it, such as gaps and the number of pixels.
        wavelength : float, optional
            In m, if the file tells none.

        Raises
        ------
        FileError
            If the file cannot be read or holds no geometry.
        GeometryError
            If something is missing or has a value that is not allowed; the message names it.
        """
        from .geometry_formats import Given, read_geometry

        return read_geometry(path, Given(detector, wavelength)).geometry

    def save(self, path: str | Path, comment: str = "") -> None:
        """Write a PONI file of version 2.1, or 3 if it tells of parallax.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        write_poni(path, self, comment)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the detector; GeometryError if not known."""
        return self.detector.known_shape()

    def for_shape(self, shape: tuple[int, int]) -> Geometry:
        """Return the geometry for frames of `shape` (rows, columns).

        Raises
        ------
        GeometryError
            If the detector gives frames of another shape.
        """
        return replace(self, detector=self.detector.with_shape(shape))

    def sensor_and_wavelength(self, purpose: str) -> tuple[Sensor, float]:
        """Return the sensor of the detector and the wavelength in m.

        Raises
        ------
        GeometryError
            If one is not known; the message says that `purpose` needs it.
        """
        if self.detector.sensor is None:
            sold = self.detector.model.sensors if self.detector.model else ()
            choices = " or ".join(f"{material},{thickness * 1e6:g}um" for material, thickness in sold)
            raise GeometryError(
                f"{purpose} needs the sensor of the detector, and the geometry tells none.",
                f"Give material and thickness, such as {choices or 'CdTe,750um'}.",
            )
        if self.wavelength is None:
            raise GeometryError(
                f"{purpose} needs the wavelength, and the geometry has none.",
                "Add a line 'Wavelength: <metres>' to the PONI file.",
            )
        return self.detector.sensor, self.wavelength

    def rotation(self) -> _Array:
        """Return the rotation matrix R3·R2·R1: float64 (3, 3)."""
        c1, c2, c3 = np.cos([self.rot1, self.rot2, self.rot3])
        s1, s2, s3 = np.sin([self.rot1, self.rot2, self.rot3])
        r1 = np.array([[1.0, 0.0, 0.0], [0.0, c1, s1], [0.0, -s1, c1]])
        r2 = np.array([[c2, 0.0, -s2], [0.0, 1.0, 0.0], [s2, 0.0, c2]])
        r3 = np.array([[c3, -s3, 0.0], [s3, c3, 0.0], [0.0, 0.0, 1.0]])
        return np.asarray(r3 @ r2 @ r1)

    def position(self, p1: _Array, p2: _Array) -> tuple[_Array, _Array, _Array]:
        """Return (y, x, z) in m of the points where rows at `p1` and columns at `p2` cross.

        Parameters
        ----------
        p1 : ndarray of float64 (n,)
            Coordinates on the detector along axis 1, m.
        p2 : ndarray of float64 (m,)
            Along axis 2, m.

        Returns
        -------
        three ndarray of float64 (n, m)
        """
        return self._seen(p1[:, None], p2[None, :])

    def _from_sample(self, points: Positions) -> tuple[_Array, _Array, _Array | float]:
        """Return the way from the sample to points of the detector, in the frame of the detector."""
        depth = self.distance if points.p3 is None else self.distance + points.p3
        return points.p1 - self.poni1, points.p2 - self.poni2, depth

    def _entry(self, radius: _Array) -> _Array:
        """Return how much nearer to the PONI the rays enter the sensor that are seen at `radius` from it: r'/r."""
        sensor, wavelength = self.sensor_and_wavelength("The correction for parallax")
        distance = abs(self.distance)
        cosines, ratios = entry_ratios(sensor, wavelength, distance)
        return np.interp(distance / np.hypot(radius, distance), cosines, ratios)

    def incidence_cosine(self, rows: slice = ALL_ROWS) -> _Array:
        """Return cos α of the ray to the centre of each pixel, α its angle to the normal of the detector.

        Returns
        -------
        ndarray of float64 (rows, columns)
        """
        if self.detector.displaced:
            return self._on_pixels(rows, self._cosine)
        d1 = (self.detector.row_centers()[rows] - self.poni1)[:, None]
        d2 = (self.detector.column_centers() - self.poni2)[None, :]
        return np.asarray(abs(self.distance) / np.sqrt(d1 * d1 + d2 * d2 + self.distance * self.distance))

    def _cosine(self, rows: slice) -> _Array:
        """Return cos α of displaced pixels, α the angle to the normal of each."""
        d1, d2, d3 = self._from_sample(self.detector.center_positions(rows))
        normal = area_vectors(self.detector.corner_positions(rows))
        along = np.abs(normal[0] * d1 + normal[1] * d2 + normal[2] * d3)
        area = np.sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2])
        length = area * np.sqrt(d1 * d1 + d2 * d2 + np.square(d3))
        return np.asarray(np.divide(along, length, out=np.ones_like(along), where=length > 0))

    def _on_pixels(self, rows: slice, function: Callable[[slice], _Array]) -> _Array:
        """Return what `function` makes of some rows, a few at a time."""
        start, stop, _ = rows.indices(self.shape[0])
        values = np.empty((max(0, stop - start), self.shape[1]))
        for slab in _slabs(values.shape[0]):
            values[slab] = function(slice(start + slab.start, min(start + slab.stop, stop)))
        return values

    def scattering_cosine(self, rows: slice = ALL_ROWS) -> _Array:
        """Return cos 2θ of the centre of each pixel: float64 (rows, columns)."""
        return self._at_centers(rows, lambda y, x, z: np.asarray(z / np.sqrt(x * x + y * y + z * z)))

    def center_array(
        self,
        unit: str | Unit,
        rows: slice = ALL_ROWS,
        *,
        pose: SamplePose = UPRIGHT,
        discontinuity: Discontinuity = "pi",
        side: int = 0,
    ) -> _Array:
        """Return the value of a unit at the centre of each pixel.

        Parameters
        ----------
        unit : str or Unit
            Values are in that unit.
        rows : slice
            Rows wanted (step 1), so that a large detector can be done slab by slab.
        pose : SamplePose
            How the sample is held, for units that depend on it.
        discontinuity : {"pi", "0"}
            Where a periodic unit jumps: "pi" gives ]−π, π], "0" gives [0, 2π[.
        side : {0, 1, -1}
            Side of the missing wedge from which units that jump there are continued; 0 for each point's own.

        Returns
        -------
        ndarray of float64 (rows, columns)

        Raises
        ------
        GeometryError
            If the unit needs the wavelength and there is none, or the detector's shape is not known.
        """
        return self._at_centers(rows, self._values(unit, pose, discontinuity, side))

    def corner_array(
        self,
        unit: str | Unit,
        rows: slice = ALL_ROWS,
        *,
        pose: SamplePose = UPRIGHT,
        discontinuity: Discontinuity = "pi",
        side: int = 0,
    ) -> _Array:
        """Return the value of a unit at the corners of each pixel; parameters as for `center_array`.

        Corners follow one another round the pixel, in the same sense (from y towards x as seen along the beam)
        for each orientation: (i, j), (i+1, j), (i+1, j+1), (i, j+1) for orientations 1 and 3; (i, j), (i, j+1),
        (i+1, j+1), (i+1, j) for the mirrored ones, 2 and 4. Hexagons have six. The corners of a pixel across the jump
        of a periodic unit lie on both sides of it; on the beam itself χ is 0.

        Returns
        -------
        ndarray of float64 (rows, columns, corners)
        """
        return self._at_corners(rows, self._values(unit, pose, discontinuity, side))

    def point_array(
        self,
        unit: str | Unit,
        p1: _Array,
        p2: _Array,
        p3: _Array | None = None,
        *,
        pose: SamplePose = UPRIGHT,
        side: int = 0,
    ) -> _Array:
        """Return the value of a unit at points (p1, p2, p3) of the detector, in m, arrays of one shape."""
        return self._values(unit, pose, "pi", side)(*self._seen(p1, p2, p3))

    def across_centers(self, pose: SamplePose, rows: slice = ALL_ROWS) -> _Array:
        """Return the part of the scattering vector across the plane of incidence, over 2π/λ, at each pixel's centre.

        Where it is zero lies the missing wedge.
        """
        return self._at_centers(rows, lambda y, x, z: _across(y, x, z, pose))

    def across_corners(self, pose: SamplePose, rows: slice = ALL_ROWS) -> _Array:
        """Return the same at the corners of each pixel, in the order of `corner_array`."""
        return self._at_corners(rows, lambda y, x, z: _across(y, x, z, pose))

    def across_points(self, pose: SamplePose, p1: _Array, p2: _Array, p3: _Array | None = None) -> _Array:
        """Return the same at points (p1, p2, p3) of the detector, in m, arrays of one shape."""
        return _across(*self._seen(p1, p2, p3), pose)

    def _seen(self, p1: _Array, p2: _Array, p3: _Array | None = None) -> tuple[_Array, _Array, _Array]:
        """Return (y, x, z) of points of the detector."""
        d1, d2, d3 = self._from_sample(Positions(p1, p2, p3))
        if self.parallax:
            inwards = self._entry(np.hypot(d1, d2))
            d1, d2 = d1 * inwards, d2 * inwards
        y, x, z = ((row[0] * d1 + row[2] * d3) + row[1] * d2 for row in self.rotation())
        return y, x, z

    def _values(
        self, unit: str | Unit, pose: SamplePose, discontinuity: Discontinuity, side: int
    ) -> Callable[[_Array, _Array, _Array], _Array]:
        shown = unit if isinstance(unit, Unit) else unit_named(unit)
        wavelength = require_wavelength(shown.name, self.wavelength)
        _check_discontinuity(discontinuity)

        def function(y: _Array, x: _Array, z: _Array) -> _Array:
            values = values_at(Points(y, x, z, wavelength, pose, side), shown)
            return _from_zero(values, shown.period) if shown.period and discontinuity == "0" else values

        return function

    def azimuth_center(self, rows: slice = ALL_ROWS, discontinuity: Discontinuity = "pi") -> _Array:
        """Return the azimuth χ of the centre of each pixel: 0 along +x, positive towards +y.

        Parameters
        ----------
        rows : slice
            Rows wanted.
        discontinuity : {"pi", "0"}
            Where χ jumps: "pi" gives ]−π, π], "0" gives [0, 2π[.

        Returns
        -------
        ndarray of float64 (rows, columns)
            In rad.
        """
        return self.center_array("chi_rad", rows, discontinuity=discontinuity)

    def azimuth_corners(self, rows: slice = ALL_ROWS, discontinuity: Discontinuity = "pi") -> _Array:
        """Return the azimuth χ of the corners of each pixel, in the order of `corner_array`.

        The corners of a pixel across the jump lie on both sides of it; on the beam itself χ is 0.

        Returns
        -------
        ndarray of float64 (rows, columns, corners)
            In rad.
        """
        return self.corner_array("chi_rad", rows, discontinuity=discontinuity)

    def solid_angle(self, rows: slice = ALL_ROWS) -> _Array:
        """Return each pixel's solid angle relative to one at the PONI: cos³α, α the angle of incidence.

        Displaced pixels count with their own area and normal.

        Returns
        -------
        ndarray of float64 (rows, columns)
        """
        if self.detector.displaced:
            return self._on_pixels(rows, self._displaced_solid_angle)
        cosine = self.incidence_cosine(rows)
        return np.asarray(cosine * cosine * cosine)

    def _displaced_solid_angle(self, rows: slice) -> _Array:
        """Return dist²/(pixel1 · pixel2) · A·d/|d|³, A the area vector of a pixel and d the way to its centre."""
        d1, d2, d3 = self._from_sample(self.detector.center_positions(rows))
        normal = area_vectors(self.detector.corner_positions(rows))
        seen_area = np.abs(normal[0] * d1 + normal[1] * d2 + normal[2] * d3)
        length = np.sqrt(d1 * d1 + d2 * d2 + np.square(d3))
        whole = self.detector.pixel1 * self.detector.pixel2
        return np.asarray(seen_area / length**3 * (self.distance**2 / whole))

    def polarization(self, factor: float, axis_offset: float = 0.0, rows: slice = ALL_ROWS) -> _Array:
        """Return the polarization correction: intensity scattered relative to that of a free classical electron.

            P = ½ [1 + cos²2θ − f · cos 2(χ + χ0) · sin²2θ]

        Parameters
        ----------
        factor : float
            f = (Ih − Iv)/(Ih + Iv), −1 to 1; about 0.95 to 0.99 at a synchrotron, 0 for an unpolarized beam.
        axis_offset : float
            χ0, angle in rad between the plane of polarization and the horizontal.
        rows : slice
            Rows wanted.

        Returns
        -------
        ndarray of float64 (rows, columns)

        Raises
        ------
        ParameterError
            If `factor` is outside −1 to 1.
        """
        if not -1.0 <= factor <= 1.0:
            raise ParameterError(f"The polarization factor is {factor}.", "Give a number from -1 to 1, like 0.95.")
        cosine, sine = np.cos(2.0 * axis_offset), np.sin(2.0 * axis_offset)

        def correction(y: _Array, x: _Array, z: _Array) -> _Array:
            # cos 2χ sin²2θ = (x² − y²)/R² and sin 2χ sin²2θ = 2xy/R² need no angle.
            anisotropy = cosine * (x * x - y * y) - sine * (2.0 * x * y)
            return np.asarray(0.5 * (1.0 + (z * z - factor * anisotropy) / (x * x + y * y + z * z)))

        return self._at_centers(rows, correction)

    def beam_center(self) -> tuple[float, float]:
        """Return where the beam meets the detector, (y, x) in pixels of the stored array; pixel i covers i to i + 1.

        Raises
        ------
        GeometryError
            If the beam does not meet the detector plane.
        """
        beam = self.rotation()[2]  # the beam's direction in the detector's frame, R⁻¹ · (0, 0, 1)
        if abs(beam[2]) < 1e-12:
            raise GeometryError("The detector is parallel to the beam: there is no beam centre.")
        p1 = self.poni1 + self.distance * beam[0] / beam[2]
        p2 = self.poni2 + self.distance * beam[1] / beam[2]
        y, x = self.detector.pixel_of(float(p1), float(p2))
        return self._beam_on_pixels(y, x) if self.detector.displaced else (y, x)

    def _beam_on_pixels(self, y: float, x: float) -> tuple[float, float]:
        """Return where the beam meets displaced pixels, by Newton's method from a first guess (y, x).

        Outside the array the outermost pixels are continued. Pixels of uneven size make the places a broken line, on
        which the method steps from piece to piece.
        """

        def seen(at_y: float, at_x: float) -> _Array:
            across, along, z = self._seen(*self.detector.positions_of([at_y], [at_x]))
            return np.array([across[0], along[0]]) * (self.distance / (abs(z[0]) or 1.0))

        smallest = 1e-9 * min(self.detector.pixel1, self.detector.pixel2)
        for _ in range(BEAM_STEPS):
            here = seen(y, x)
            if np.abs(here).max() < smallest:
                break
            down, right = (seen(y + BEAM_STEP, x) - here) / BEAM_STEP, (seen(y, x + BEAM_STEP) - here) / BEAM_STEP
            slopes = np.stack([down, right], axis=-1)
            if not abs(np.linalg.det(slopes)) > 0:
                break
            dy, dx = np.linalg.solve(slopes, -here)
            y, x = y + float(dy), x + float(dx)
        return y, x

    def _at_centers(self, rows: slice, function: Callable[[_Array, _Array, _Array], _Array]) -> _Array:
        if self.detector.displaced:
            place = self.detector.center_positions
            return self._on_pixels(rows, lambda slab: function(*self._seen(*place(slab))))
        return self._on_grid(self.detector.row_centers()[rows], self.detector.column_centers(), function)

    def _at_corners(self, rows: slice, function: Callable[[_Array, _Array, _Array], _Array]) -> _Array:
        start, stop, _ = rows.indices(self.shape[0])
        if not self.detector.displaced:
            edges = self.detector.row_edges()[start : max(start, stop) + 1]
            return self._round_pixels(self._on_grid(edges, self.detector.column_edges(), function))
        placed = np.empty((max(0, stop - start), self.shape[1], self.detector.n_corners))
        for slab in _slabs(placed.shape[0]):
            some = slice(start + slab.start, min(start + slab.stop, stop))
            shared = self.detector.shared_corners(some)
            positions = self._seen(*(self.detector.corner_positions(some) if shared is None else shared))
            values = function(*(part.reshape(part.shape[0], -1) for part in np.broadcast_arrays(*positions)))
            placed[slab] = values.reshape(placed[slab].shape) if shared is None else self._round_pixels(values)
        return placed

    def _round_pixels(self, grid: _Array) -> _Array:
        """Return values where rows and columns cross, (rows + 1, columns + 1), as those of corners of each pixel."""
        corners = np.empty((grid.shape[0] - 1, grid.shape[1] - 1, 4))
        mirrored = self.detector.orientation in (2, 4)
        corners[..., 0] = grid[:-1, :-1]
        corners[..., 3 if mirrored else 1] = grid[1:, :-1]
        corners[..., 2] = grid[1:, 1:]
        corners[..., 1 if mirrored else 3] = grid[:-1, 1:]
        return corners

    def _on_grid(self, p1: _Array, p2: _Array, function: Callable[[_Array, _Array, _Array], _Array]) -> _Array:
        values = np.empty((p1.size, p2.size))
        for slab in _slabs(p1.size):
            values[slab] = function(*self.position(p1[slab], p2))
        return values


def _slabs(count: int) -> Iterator[slice]:
    return (slice(start, start + ROWS_AT_A_TIME) for start in range(0, count, ROWS_AT_A_TIME))


def _check_discontinuity(discontinuity: str) -> None:
    if discontinuity not in ("pi", "0"):
        raise ParameterError(f"The azimuth cannot jump at {discontinuity!r}.", "It jumps at 'pi' or at '0'.")


def _across(y: _Array, x: _Array, z: _Array, pose: SamplePose) -> _Array:
    return Points(y, x, z, math.nan, pose).scattering[0]


def _from_zero(angle: _Array, turn: float) -> _Array:
    """Return angles from -half a turn to half a turn as angles from 0 to a turn."""
    moved = np.where(angle < 0, angle + turn, angle)
    moved[moved >= turn] = 0.0  # a negative angle too small to tell a turn from its sum with it
    return moved
