"""Pixels that are not where a regular grid would have them: displaced, of uneven size, out of the plane, or masked."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import GeometryError

_Array = NDArray[np.float64]

FLIPPED_ROWS = (1, 2)
FLIPPED_COLUMNS = (1, 4)
MOST_CORNERS = 12


class Positions(NamedTuple):
    """Points in the frame of the detector, m.

    Attributes
    ----------
    p1, p2 : ndarray of float64
        Along the rows' axis (y) and the columns' axis (x).
    p3 : ndarray of float64 or None
        Out of the plane, away from the sample; None where all lie in it.
    """

    p1: _Array
    p2: _Array
    p3: _Array | None = None


class PixelShapes(ABC):
    """Where the pixels of a detector are. Immutable; equal if all pixels are.

    Attributes
    ----------
    path : str
        File that says so; "" if none does.
    orientation : int
        Orientation of the array that the rows and columns here are those of; see `Detector`.
    n_corners : int
        Corners of each pixel.
    """

    path: str = ""
    orientation: int = 3
    n_corners: int = 4

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def displaced(self) -> bool:
        """Whether any pixel is not on the regular grid."""
        return True

    @property
    def flat(self) -> bool:
        """Whether all pixels lie in one plane."""
        return True

    def mask(self) -> NDArray[np.bool_] | None:
        """Return which pixels are not sensitive: bool (rows, columns), or None."""
        return None

    @abstractmethod
    def corners(self, rows: slice) -> Positions:
        """Return the corners of pixels, each array (rows, columns, n_corners), in order round the pixel.

        Of quadrilaterals A(i, j), B(i+1, j), C(i+1, j+1), D(i, j+1).
        """

    @abstractmethod
    def centers(self, rows: slice) -> Positions:
        """Return the centres of pixels, each array (rows, columns)."""

    def crossings(self, rows: slice) -> Positions | None:
        """Return the corners that neighbours share, each array (rows + 1, columns + 1); None if they share none.

        So each is worked with once instead of four times.
        """
        return None

    @abstractmethod
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return everything that the positions depend on."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], path: str) -> PixelShapes:
        """Return pixels from what `arrays` gave; KeyError if an array is missing."""

    @cached_property
    def digest(self) -> str:
        """Short text that is the same for equal pixels, and for no others."""
        total = hashlib.blake2b(type(self).__name__.encode(), digest_size=16)
        for name, values in sorted(self.arrays().items()):
            total.update(f"{name} {values.dtype.str} {values.shape} ".encode())
            total.update(np.ascontiguousarray(values).tobytes())
        return total.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PixelShapes) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __copy__(self) -> PixelShapes:
        return self

    def __deepcopy__(self, memo: object) -> PixelShapes:
        return self  # immutable, and large

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"{type(self).__name__}({rows} x {columns}{f', {self.path}' if self.path else ''})"

    # ---- as the stored array of a detector has them

    def oriented_corners(self, rows: slice, orientation: int) -> Positions:
        """Return corners of the pixels of an array of another orientation, the first one at (i, j) of that array."""
        flip_rows, flip_columns = self.flips(orientation)
        found = self.corners(self._own_rows(rows, flip_rows))
        if self.n_corners != 4:
            return _each(found, lambda values: _flipped(values, flip_rows, flip_columns))
        first = {(False, False): 0, (True, False): 1, (True, True): 2, (False, True): 3}[flip_rows, flip_columns]
        order = [(first + number) % 4 for number in range(4)]
        return _each(found, lambda values: _flipped(values, flip_rows, flip_columns)[..., order])

    def oriented_centers(self, rows: slice, orientation: int) -> Positions:
        """Return centres of the pixels of an array of another orientation."""
        flip_rows, flip_columns = self.flips(orientation)
        found = self.centers(self._own_rows(rows, flip_rows))
        return _each(found, lambda values: _flipped(values, flip_rows, flip_columns))

    def oriented_crossings(self, rows: slice, orientation: int) -> Positions | None:
        """Return the corners that the pixels of an array of another orientation share."""
        flip_rows, flip_columns = self.flips(orientation)
        found = self.crossings(self._own_rows(rows, flip_rows))
        return None if found is None else _each(found, lambda values: _flipped(values, flip_rows, flip_columns))

    def places(self, y: _Array, x: _Array) -> Positions:
        """Return where points of the array are: y and x in pixels, arrays of one shape.

        Inside a quadrilateral by the bilinear interpolation of its corners, beyond the array by that of the outermost
        ones; between other pixels by that of their centres.
        """
        if self.n_corners != 4:
            return self._between_centers(y, x)
        rows, columns = self.shape
        i = np.clip(np.floor(y), 0, rows - 1).astype(np.intp)
        j = np.clip(np.floor(x), 0, columns - 1).astype(np.intp)
        down, right = y - i, x - j
        weights = np.stack([(1 - down) * (1 - right), down * (1 - right), down * right, (1 - down) * right], axis=-1)
        return _each(self._corners_of(i, j), lambda corners: np.asarray((weights * corners).sum(axis=-1)))

    def _between_centers(self, y: _Array, x: _Array) -> Positions:
        """Return where points of the array are, by the bilinear interpolation of the centres of pixels."""
        rows, columns = self.shape
        i = np.clip(np.floor(y - 0.5), 0, max(rows - 2, 0)).astype(np.intp)
        j = np.clip(np.floor(x - 0.5), 0, max(columns - 2, 0)).astype(np.intp)
        down, right = y - 0.5 - i, x - 0.5 - j
        found = [np.zeros(np.shape(y)) for _ in range(2 if self.flat else 3)]
        for below, beside in ((0, 0), (1, 0), (1, 1), (0, 1)):
            weight = (down if below else 1 - down) * (right if beside else 1 - right)
            corners = self._corners_of(np.minimum(i + below, rows - 1), np.minimum(j + beside, columns - 1))
            for total, part in zip(found, corners, strict=False):
                total += 0.0 if part is None else weight * part.mean(axis=-1)
        return Positions(*found)

    def _corners_of(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> Positions:
        """Return the corners of single pixels, each array of the shape of `i` and n_corners."""
        numbers, inverse = np.unique(i, return_inverse=True)
        inverse = inverse.reshape(i.shape)
        found = [self.corners(slice(int(row), int(row) + 1)) for row in numbers]
        picked = [np.empty((*i.shape, self.n_corners)) for _ in range(2 if self.flat else 3)]
        for number, row in enumerate(found):
            chosen = inverse == number
            for values, part in zip(picked, row, strict=False):
                values[chosen] = 0.0 if part is None else part[0, j[chosen]]
        return Positions(*picked)

    def oriented_places(self, y: _Array, x: _Array, orientation: int) -> Positions:
        """Return where points of an array of another orientation are."""
        flip_rows, flip_columns = self.flips(orientation)
        return self.places(self.shape[0] - y if flip_rows else y, self.shape[1] - x if flip_columns else x)

    def oriented_mask(self, orientation: int) -> NDArray[np.bool_] | None:
        """Return the mask of an array of another orientation."""
        own = self.mask()
        return None if own is None else _flipped(own, *self.flips(orientation))

    def flips(self, orientation: int) -> tuple[bool, bool]:
        """Return whether rows and columns of an array of another orientation run the other way than those here."""
        return (
            (orientation in FLIPPED_ROWS) != (self.orientation in FLIPPED_ROWS),
            (orientation in FLIPPED_COLUMNS) != (self.orientation in FLIPPED_COLUMNS),
        )

    def _own_rows(self, rows: slice, flipped: bool) -> slice:
        start, stop, _ = rows.indices(self.shape[0])
        stop = max(start, stop)
        return slice(self.shape[0] - stop, self.shape[0] - start) if flipped else slice(start, stop)


def _flipped(values: NDArray[Any], flip_rows: bool, flip_columns: bool) -> NDArray[Any]:
    values = values[::-1] if flip_rows else values
    return values[:, ::-1] if flip_columns else values


def _each(positions: Positions, function: Callable[[_Array], _Array]) -> Positions:
    p1, p2, p3 = positions
    return Positions(function(p1), function(p2), None if p3 is None else function(p3))


class PixelTable(PixelShapes):
    """The corners of every pixel, one by one, and a mask.

    Parameters
    ----------
    corners : ndarray of float, shape (rows, columns, n, 3), or None
        Coordinates (z, y, x) in m of the corners, kept as float32; z is out of the plane. Four are A(i, j), B(i+1, j),
        C(i+1, j+1), D(i, j+1); 3 to 12 others follow one another round the pixel. Pixels with a coordinate that is not
        finite are masked. None for a regular grid.
    mask : ndarray, shape (rows, columns), optional
        Not zero where a pixel is not sensitive.
    path : str
        File that they come from.
    orientation : int
        Of the array that they belong to.

    Raises
    ------
    GeometryError
        If the shapes do not fit.
    """

    def __init__(
        self,
        corners: NDArray[Any] | None,
        mask: NDArray[Any] | None = None,
        *,
        path: str = "",
        orientation: int = 3,
    ) -> None:
        self.path, self.orientation = path, orientation
        if corners is not None:
            if corners.ndim != 4 or corners.shape[3] != 3 or not 3 <= corners.shape[2] <= MOST_CORNERS:
                raise GeometryError(
                    f"The corners of the pixels have the shape {corners.shape}.",
                    f"Give (rows, columns, 3 to {MOST_CORNERS} corners, 3 coordinates z, y, x).",
                )
            self.n_corners = int(corners.shape[2])
        known = mask if corners is None else corners
        if known is None:
            raise GeometryError("Nothing is known about the pixels.", "Give their corners or a mask.")
        shape = known.shape[:2]
        if mask is not None and mask.shape != shape:
            raise GeometryError(f"The mask has the shape {mask.shape}, the pixels have {shape}.", "Give one for each.")
        self._mask: NDArray[np.bool_] | None = None if mask is None else np.asarray(mask != 0)
        self._corners = None
        if corners is not None:
            table = np.asarray(corners, np.float32)
            lost = np.asarray(~np.isfinite(table).all(axis=(2, 3)))
            if lost.any():
                table = np.where(lost[..., np.newaxis, np.newaxis], np.float32(0), table)
                self._mask = lost if self._mask is None else self._mask | lost
            self._corners = table
        self._shape = (int(shape[0]), int(shape[1]))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._shape

    @property
    def displaced(self) -> bool:
        """Whether corners are given."""
        return self._corners is not None

    @cached_property
    def flat(self) -> bool:
        """Whether z is 0 everywhere."""
        return self._corners is None or not self._corners[..., 0].any()

    def mask(self) -> NDArray[np.bool_] | None:
        """Return which pixels are not sensitive."""
        return self._mask

    def corners(self, rows: slice) -> Positions:
        """Return the corners of pixels."""
        if self._corners is None:
            raise ValueError("there are no corners: the pixels are on a regular grid")
        z, y, x = np.moveaxis(self._corners[rows].astype(np.float64), -1, 0)
        return Positions(y, x, None if self.flat else z)

    def centers(self, rows: slice) -> Positions:
        """Return the mean of the corners."""
        return _each(self.corners(rows), lambda values: values.mean(axis=-1))

    def _corners_of(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> Positions:
        if self._corners is None:
            return super()._corners_of(i, j)
        z, y, x = np.moveaxis(self._corners[i, j].astype(np.float64), -1, 0)
        return Positions(y, x, None if self.flat else z)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return corners and mask."""
        given = {"corners": self._corners, "mask": self._mask, "orientation": np.asarray(self.orientation)}
        return {name: values for name, values in given.items() if values is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], path: str) -> PixelTable:
        """Return pixels from their corners, mask and orientation."""
        return cls(arrays.get("corners"), arrays.get("mask"), path=path, orientation=int(arrays["orientation"]))


class SplineDistortion(PixelShapes):
    """Pixels displaced by two bicubic splines, as FIT2D describes the distortion of a detector.

    The pixel corner (i, j) is at y = pixel1 · (i + Dy(j, i)) and x = pixel2 · (j + Dx(j, i)) (Hammersley et al., Nucl.
    Instrum. Methods A 346 (1994) 312), its centre where the point (i + ½, j + ½) is.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel1, pixel2 : float
        Pixel size in m.
    x_spline, y_spline : (ndarray, ndarray, ndarray)
        Displacement along x and y in pixels: knots along x, knots along y, and coefficients (x, y).
    path : str
        File that they come from.
    inside_only : bool
        Whether pixels that are displaced beyond the array are masked: those at the rim of a taper see none of it.
    """

    DEGREE = 3

    def __init__(
        self,
        shape: tuple[int, int],
        pixel1: float,
        pixel2: float,
        x_spline: tuple[_Array, _Array, _Array],
        y_spline: tuple[_Array, _Array, _Array],
        *,
        path: str = "",
        inside_only: bool = False,
    ) -> None:
        self.path, self.inside_only = path, inside_only
        self._shape = (int(shape[0]), int(shape[1]))
        self.pixel1, self.pixel2 = float(pixel1), float(pixel2)
        self._splines = {"x": self._checked(x_spline), "y": self._checked(y_spline)}

    def _checked(self, spline: tuple[_Array, _Array, _Array]) -> tuple[_Array, _Array, _Array]:
        knots_x, knots_y, coefficients = (np.asarray(part, np.float64) for part in spline)
        counts = (knots_x.size - self.DEGREE - 1, knots_y.size - self.DEGREE - 1)
        if min(counts) < self.DEGREE + 1 or coefficients.size != counts[0] * counts[1]:
            raise GeometryError(
                f"{self.path or 'A spline'}: {knots_x.size} by {knots_y.size} knots do not go with "
                f"{coefficients.size} coefficients.",
                "The file is damaged: copy it again.",
            )
        if not all(np.isfinite(part).all() for part in (knots_x, knots_y, coefficients)):
            raise GeometryError(f"{self.path or 'A spline'}: a number is not finite.", "Copy the file again.")
        return knots_x, knots_y, coefficients.reshape(counts)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._shape

    def masked_outside(self) -> SplineDistortion:
        """Return the same pixels, of which those that are displaced beyond the array are masked."""
        splines = self._splines["x"], self._splines["y"]
        return SplineDistortion(self._shape, self.pixel1, self.pixel2, *splines, path=self.path, inside_only=True)

    def mask(self) -> NDArray[np.bool_] | None:
        """Return which pixels are displaced beyond the array, if these are to be masked."""
        return self._outside if self.inside_only else None

    @cached_property
    def _outside(self) -> NDArray[np.bool_]:
        p1, p2, _ = self.centers(slice(None))
        y, x = p1 / self.pixel1, p2 / self.pixel2
        return (y < 0) | (y > self._shape[0]) | (x < 0) | (x > self._shape[1])

    def displacement(self, y: _Array, x: _Array) -> tuple[_Array, _Array]:
        """Return (Dy, Dx) in pixels where rows at `y` and columns at `x` (pixels) cross, each (y, x)."""
        along_y, along_x = (_sum_splines(self._along_columns(axis, x), self._splines[axis][1], y) for axis in "yx")
        return along_y, along_x

    def _along_columns(self, axis: str, x: _Array) -> _Array:
        """Return the coefficients summed over the splines along x, (splines along y, x)."""
        knots_x, _, coefficients = self._splines[axis]
        return _sum_splines(coefficients, knots_x, x).T

    @cached_property
    def _at_columns(self) -> dict[tuple[str, float], _Array]:
        """The same for all corners (0) and all centres (½) of a row, kept because every row needs it."""
        columns = {half: _steps(0, self._shape[1] + (half == 0), half) for half in (0.0, 0.5)}
        return {(axis, half): self._along_columns(axis, x) for axis in "xy" for half, x in columns.items()}

    def _points(self, y: _Array, half: float) -> Positions:
        along_y, along_x = (_sum_splines(self._at_columns[axis, half], self._splines[axis][1], y) for axis in "yx")
        x = np.arange(along_x.shape[1]) + half
        return Positions(self.pixel1 * (along_y + y[:, np.newaxis]), self.pixel2 * (along_x + x[np.newaxis, :]))

    def places(self, y: _Array, x: _Array) -> Positions:
        """Return where points of the array are, by the splines themselves."""
        along_y, along_x = (_spline_at(*self._splines[axis], x.ravel(), y.ravel()).reshape(y.shape) for axis in "yx")
        return Positions(self.pixel1 * (y + along_y), self.pixel2 * (x + along_x))

    def crossings(self, rows: slice) -> Positions:
        """Return the corners that neighbours share."""
        start, stop, _ = rows.indices(self._shape[0])
        return self._points(_steps(start, max(start, stop) + 1, 0.0), 0.0)

    def corners(self, rows: slice) -> Positions:
        """Return the corners of pixels."""
        return _each(
            self.crossings(rows),
            lambda edge: np.stack([edge[:-1, :-1], edge[1:, :-1], edge[1:, 1:], edge[:-1, 1:]], axis=-1),
        )

    def centers(self, rows: slice) -> Positions:
        """Return the centres of pixels."""
        start, stop, _ = rows.indices(self._shape[0])
        return self._points(_steps(start, stop, 0.5), 0.5)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return pixel sizes, shape, knots and coefficients."""
        found = {"shape": np.asarray(self._shape), "pixel": np.asarray([self.pixel1, self.pixel2])}
        if self.inside_only:
            found["inside_only"] = np.asarray(True)
        for axis, parts in self._splines.items():
            found |= dict(zip(_spline_names(axis), parts, strict=True))
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], path: str) -> SplineDistortion:
        """Return pixels from their shape, size, knots and coefficients."""
        along_x, along_y = (
            (arrays[knots_x], arrays[knots_y], arrays[coefficients])
            for knots_x, knots_y, coefficients in map(_spline_names, "xy")
        )
        rows, columns = (int(size) for size in arrays["shape"])
        pixel1, pixel2 = (float(size) for size in arrays["pixel"])
        inside_only = bool(arrays.get("inside_only", False))
        return cls((rows, columns), pixel1, pixel2, along_x, along_y, path=path, inside_only=inside_only)


def _spline_names(axis: str) -> tuple[str, str, str]:
    return f"{axis}_knots_x", f"{axis}_knots_y", f"{axis}_coefficients"


def _steps(start: int, stop: int, half: float) -> _Array:
    return np.arange(start, stop, dtype=np.float64) + half


def _sum_splines(coefficients: _Array, knots: _Array, places: _Array) -> _Array:
    """Return Σ coefficient · B-spline at `places`, (places, ...), for coefficients (splines, ...); 4 terms each.

    Beyond the knots the value at their end is kept.
    """
    weights, numbers = _spline_terms(knots, places)
    total = np.zeros((places.size, *coefficients.shape[1:]))
    for term in range(weights.shape[1]):
        total += weights[:, term, np.newaxis] * coefficients[numbers[:, term]]
    return total


def _spline_terms(knots: _Array, places: _Array) -> tuple[_Array, NDArray[np.intp]]:
    """Return values and numbers of the B-splines that are not zero at `places`, each (places, degree + 1)."""
    from scipy.interpolate import BSpline

    degree = SplineDistortion.DEGREE
    inside = np.clip(places, knots[degree], knots[-degree - 1])
    matrix = BSpline.design_matrix(inside, knots, degree)
    return matrix.data.reshape(-1, degree + 1), matrix.indices.reshape(-1, degree + 1).astype(np.intp)


def _spline_at(knots_x: _Array, knots_y: _Array, coefficients: _Array, x: _Array, y: _Array) -> _Array:
    """Return Σ coefficient · B(x) · B(y) at single points (x, y), arrays (n,)."""
    weights_x, numbers_x = _spline_terms(knots_x, x)
    weights_y, numbers_y = _spline_terms(knots_y, y)
    picked = coefficients[numbers_x[:, :, np.newaxis], numbers_y[:, np.newaxis, :]]
    return np.asarray(np.einsum("nab,na,nb->n", picked, weights_x, weights_y))
