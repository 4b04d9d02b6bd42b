"""Pixels whose places follow from a rule: on modules each placed on its own, on a cylinder, in a hexagonal lattice.

And plates of which only a part is sensitive. Rules are small, where a `PixelTable` holds twelve numbers for each pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import GeometryError

from .model_kinds import Span
from .pixel_shapes import PixelShapes, PixelTable, Positions, SplineDistortion

_Array = NDArray[np.float64]
Vector = tuple[float, float, float]

LOW_HIGH_OF_ROWS = (0, 1, 1, 0)
"""Which edge of its row the corners A, B, C, D of a pixel lie on."""
LOW_HIGH_OF_COLUMNS = (0, 0, 1, 1)


@dataclass(frozen=True, eq=False)
class PlacedModule:
    """A flat part of a detector, somewhere in space.

    Attributes
    ----------
    rows, columns : (int, int)
        First and last + 1 of the array that belong to it.
    row_edges, column_edges : ndarray of float64, shape (rows or columns, 2)
        Where each row begins and ends along `slow` and each column along `fast`, in m from `origin`.
    origin : (float, float, float)
        Of its edges, (p1, p2, p3) in m.
    slow, fast : (float, float, float)
        Unit vectors along which its rows and its columns are counted, (p1, p2, p3).
    """

    rows: Span
    columns: Span
    row_edges: _Array
    column_edges: _Array
    origin: Vector = (0.0, 0.0, 0.0)
    slow: Vector = (1.0, 0.0, 0.0)
    fast: Vector = (0.0, 1.0, 0.0)

    def at(self, along: _Array, across: _Array, flat: bool) -> Positions:
        """Return the points at distances from the origin along `slow` and `fast`, arrays of one shape."""
        p1, p2, p3 = (
            start + slow * along + fast * across
            for start, slow, fast in zip(self.origin, self.slow, self.fast, strict=True)
        )
        return Positions(np.asarray(p1), np.asarray(p2), None if flat else np.asarray(p3))


def edges_of(sizes: ArrayLike, gaps: _Array | float = 0.0) -> _Array:
    """Return where pixels begin and end in m, float64 (n, 2), from the size of each and the gap before it."""
    lengths = np.asarray(sizes, np.float64)
    ends = np.cumsum(lengths + gaps)
    return np.stack([ends - lengths, ends], axis=-1)


class PlacedModules(PixelShapes):
    """Modules, each flat and placed on its own; their rows and columns may be of uneven width.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns; pixels that belong to no module are masked.
    modules : sequence of PlacedModule
    path : str
        File that they come from.
    orientation : int
        Of the array that they belong to.

    Raises
    ------
    GeometryError
        If a module reaches beyond the array, or its edges are not those of its rows and columns.
    """

    def __init__(
        self, shape: tuple[int, int], modules: Sequence[PlacedModule], *, path: str = "", orientation: int = 3
    ) -> None:
        self.path, self.orientation = path, orientation
        self._shape = (int(shape[0]), int(shape[1]))
        self.modules = tuple(modules)
        for number, module in enumerate(self.modules):
            for (start, stop), edges, size in zip(
                (module.rows, module.columns), (module.row_edges, module.column_edges), self._shape, strict=True
            ):
                if not 0 <= start < stop <= size or edges.shape != (stop - start, 2):
                    raise GeometryError(
                        f"Module {number} has pixels {start} to {stop} of {size} and {len(edges)} pairs of edges.",
                        "Give a begin and an end for each of its rows and columns, within the array.",
                    )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._shape

    @cached_property
    def flat(self) -> bool:
        """Whether all modules lie in the plane."""
        return not any(vector[2] for module in self.modules for vector in (module.origin, module.slow, module.fast))

    def mask(self) -> NDArray[np.bool_] | None:
        """Return which pixels belong to no module."""
        return self._mask

    @cached_property
    def _mask(self) -> NDArray[np.bool_] | None:
        outside = np.ones(self._shape, np.bool_)
        for module in self.modules:
            outside[slice(*module.rows), slice(*module.columns)] = False
        return outside if outside.any() else None

    def corners(self, rows: slice) -> Positions:
        """Return the corners of pixels, zero where there is no module."""
        return self._filled(
            rows, 4, lambda edges: edges[:, LOW_HIGH_OF_ROWS], lambda edges: edges[:, LOW_HIGH_OF_COLUMNS]
        )

    def centers(self, rows: slice) -> Positions:
        """Return the centres of pixels, zero where there is no module."""
        found = self._filled(rows, 1, *(2 * [lambda edges: edges.mean(axis=1, keepdims=True)]))
        return Positions(found.p1[..., 0], found.p2[..., 0], None if found.p3 is None else found.p3[..., 0])

    def _filled(self, rows: slice, count: int, along: Any, across: Any) -> Positions:
        """Return points of pixels, (rows, columns, count), from functions of the edges of rows and of columns."""
        start, stop, _ = rows.indices(self._shape[0])
        n_axes = 2 if self.flat else 3
        found = np.zeros((n_axes, max(0, stop - start), self._shape[1], count))
        for module in self.modules:
            first, last = max(start, module.rows[0]), min(stop, module.rows[1])
            if first >= last:
                continue
            edges = module.row_edges[first - module.rows[0] : last - module.rows[0]]
            points = module.at(along(edges)[:, None, :], across(module.column_edges)[None, :, :], self.flat)
            for values, part in zip(found, points[:n_axes], strict=True):
                values[first - start : last - start, slice(*module.columns)] = part
        return Positions(found[0], found[1], None if self.flat else found[2])

    def places(self, y: _Array, x: _Array) -> Positions:
        """Return where points of the array are; a point outside every module is seen as one of the nearest."""
        owner = self._nearest(np.asarray(y), np.asarray(x))
        found = [np.zeros(np.shape(y)) for _ in range(2 if self.flat else 3)]
        for number in np.unique(owner):
            module, chosen = self.modules[number], owner == number
            along = _between(y[chosen] - module.rows[0], module.row_edges)
            across = _between(x[chosen] - module.columns[0], module.column_edges)
            for values, part in zip(found, module.at(along, across, self.flat)[: len(found)], strict=True):
                values[chosen] = part
        return Positions(*found)

    def _nearest(self, y: _Array, x: _Array) -> NDArray[np.intp]:
        """Return the number of the module that each point lies in, or is nearest to."""
        best = np.full(y.shape, np.inf)
        owner = np.zeros(y.shape, np.intp)
        for number, module in enumerate(self.modules):
            beyond_rows = np.maximum(np.maximum(module.rows[0] - y, y - module.rows[1]), 0)
            beyond_columns = np.maximum(np.maximum(module.columns[0] - x, x - module.columns[1]), 0)
            distance = np.hypot(beyond_rows, beyond_columns)
            # A point on the seam of two belongs to the one whose pixels begin there.
            nearer = (distance < best) | ((distance == 0) & (y >= module.rows[0]) & (x >= module.columns[0]))
            best[nearer], owner[nearer] = distance[nearer], number
        return owner

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return spans, frames and edges of the modules."""
        return {
            "shape": np.asarray(self._shape),
            "orientation": np.asarray(self.orientation),
            "spans": np.array([[*module.rows, *module.columns] for module in self.modules], np.int64).reshape(-1, 4),
            "frames": np.array([[m.origin, m.slow, m.fast] for m in self.modules], np.float64).reshape(-1, 3, 3),
            "row_edges": np.concatenate([np.zeros((0, 2)), *(module.row_edges for module in self.modules)]),
            "column_edges": np.concatenate([np.zeros((0, 2)), *(module.column_edges for module in self.modules)]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], path: str) -> PlacedModules:
        """Return pixels from spans, frames and edges of the modules."""
        modules, row, column = [], 0, 0
        for span, frame in zip(arrays["spans"].tolist(), arrays["frames"].tolist(), strict=True):
            height, width = span[1] - span[0], span[3] - span[2]
            origin, slow, fast = (tuple(vector) for vector in frame)
            row_edges = arrays["row_edges"][row : row + height]
            column_edges = arrays["column_edges"][column : column + width]
            modules.append(
                PlacedModule((span[0], span[1]), (span[2], span[3]), row_edges, column_edges, origin, slow, fast)
            )
            row, column = row + height, column + width
        rows, columns = (int(size) for size in arrays["shape"])
        return cls((rows, columns), modules, path=path, orientation=int(arrays["orientation"]))


def _between(places: _Array, edges: _Array) -> _Array:
    """Return where places in pixels are in m; beyond the edges the outermost pixel is continued."""
    number = np.clip(np.floor(places), 0, len(edges) - 1).astype(np.intp)
    low, high = edges[number, 0], edges[number, 1]
    return np.asarray(low + (places - number) * (high - low))


class Cylinder(PixelShapes):
    """A plate bent to a cylinder whose axis runs along the columns' side: rows are straight across, columns curve.

    The column at x metres from the first is seen from the axis at the angle t = x/R:

        p1 = y,   p2 = R sin t,   p3 = R (cos t − 1)

    so that the plate touches the plane of the detector at its first column and bends towards the sample.

    Parameters
    ----------
    shape : (int, int)
    pixel1, pixel2 : float
        Pixel size in m, along the axis and along the arc.
    radius : float
        R in m.

    Raises
    ------
    GeometryError
        If the radius is not positive, or the plate goes more than once round.
    """

    def __init__(self, shape: tuple[int, int], pixel1: float, pixel2: float, radius: float, *, path: str = "") -> None:
        self.path = path
        self._shape = (int(shape[0]), int(shape[1]))
        self.pixel1, self.pixel2, self.radius = float(pixel1), float(pixel2), float(radius)
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise GeometryError(f"The radius of the cylinder is {radius}.", "Give a positive length in metres.")
        turn = self._shape[1] * self.pixel2 / self.radius
        if turn > 2 * math.pi:
            raise GeometryError(
                f"The plate is bent by {math.degrees(turn):.0f} degrees.", "Correct its radius or its pixel size."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._shape

    @property
    def flat(self) -> bool:
        """A cylinder is not."""
        return False

    def places(self, y: _Array, x: _Array) -> Positions:
        """Return where points of the array are."""
        angle = x * (self.pixel2 / self.radius)
        # −2 sin²(t/2) is cos t − 1 without the loss of digits near t = 0.
        return Positions(
            y * self.pixel1, self.radius * np.sin(angle), -2.0 * self.radius * np.square(np.sin(0.5 * angle))
        )

    def corners(self, rows: slice) -> Positions:
        """Return the corners of pixels."""
        y, x = self._numbers(rows)
        return self._crossing(np.add.outer(y, LOW_HIGH_OF_ROWS)[:, None], np.add.outer(x, LOW_HIGH_OF_COLUMNS)[None])

    def centers(self, rows: slice) -> Positions:
        """Return the centres of pixels, on the arc."""
        y, x = self._numbers(rows)
        return self._crossing(y[:, None] + 0.5, x[None] + 0.5)

    def crossings(self, rows: slice) -> Positions:
        """Return the corners that neighbours share."""
        start, stop, _ = rows.indices(self._shape[0])
        y = np.arange(start, max(start, stop) + 1, dtype=np.float64)
        return self._crossing(y[:, None], np.arange(self._shape[1] + 1, dtype=np.float64)[None])

    def _crossing(self, y: _Array, x: _Array) -> Positions:
        """Return where rows and columns cross; sines are taken once a column, and nothing is copied."""
        shape = np.broadcast_shapes(y.shape, x.shape)
        found = (np.broadcast_to(part, shape) for part in self.places(y, x) if part is not None)
        return Positions(*found)

    def _numbers(self, rows: slice) -> tuple[_Array, _Array]:
        start, stop, _ = rows.indices(self._shape[0])
        return np.arange(start, max(start, stop), dtype=np.float64), np.arange(self._shape[1], dtype=np.float64)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return shape, pixel sizes and radius."""
        return {
            "shape": np.asarray(self._shape),
            "pixel": np.asarray([self.pixel1, self.pixel2]),
            "radius": np.asarray(self.radius),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], path: str) -> Cylinder:
        """Return pixels from shape, pixel sizes and radius."""
        rows, columns = (int(size) for size in arrays["shape"])
        pixel1, pixel2 = (float(size) for size in arrays["pixel"])
        return cls((rows, columns), pixel1, pixel2, float(arrays["radius"]), path=path)


class HexagonalLattice(PixelShapes):
    """Regular hexagons side by side along the rows, every other row half a pixel to the right.

    The centre of pixel (i, j) is at

        p1 = pitch (1/√3 + i √3/2),   p2 = pitch (½ + j + (i mod 2)/2)

    and its corners are 1/√3 of the pitch away from it, two of them straight above and below.

    Parameters
    ----------
    shape : (int, int)
    pitch : float
        Distance of the centres of neighbours in m.
    """

    n_corners = 6

    def __init__(self, shape: tuple[int, int], pitch: float, *, path: str = "") -> None:
        self.path = path
        self._shape = (int(shape[0]), int(shape[1]))
        self.pitch = float(pitch)
        if not (math.isfinite(self.pitch) and self.pitch > 0):
            raise GeometryError(f"The pitch of the hexagons is {pitch}.", "Give a positive length in metres.")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._shape

    @property
    def row_distance(self) -> float:
        """Distance of neighbouring rows in m."""
        return self.pitch * 3**0.5 / 2

    def places(self, y: _Array, x: _Array) -> Positions:
        """Return where points of the array are: on the straight lines between the centres of pixels.

        Between two rows their shift by half a pixel passes evenly from one to the other.
        """
        row = y - 0.5
        shift = 0.5 * np.abs(np.mod(row + 1.0, 2.0) - 1.0)
        return Positions(self.pitch / math.sqrt(3) + row * self.row_distance, self.pitch * (x + shift))

    def centers(self, rows: slice) -> Positions:
        """Return the centres of pixels."""
        start, stop, _ = rows.indices(self._shape[0])
        y, x = np.arange(start, max(start, stop), dtype=np.float64), np.arange(self._shape[1], dtype=np.float64)
        return self.places(*np.meshgrid(y + 0.5, x + 0.5, indexing="ij"))

    def corners(self, rows: slice) -> Positions:
        """Return the corners of pixels, the first one straight above the centre, then on the side of lower columns."""
        p1, p2, _ = self.centers(rows)
        angles = math.pi / 3 * np.arange(6)
        side = self.pitch / math.sqrt(3)
        return Positions(p1[..., None] - side * np.cos(angles), p2[..., None] - side * np.sin(angles))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return shape and pitch."""
        return {"shape": np.asarray(self._shape), "pitch": np.asarray(self.pitch)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], path: str) -> HexagonalLattice:
        """Return pixels from shape and pitch."""
        rows, columns = (int(size) for size in arrays["shape"])
        return cls((rows, columns), float(arrays["pitch"]), path=path)


class RegularPixels(PixelShapes):
    """Pixels on the regular grid, of which only some are sensitive: those of chips, or those of a round plate.

    They are those of the stored array: a camera stores its image in one way, whatever orientation a geometry gives it.

    Parameters
    ----------
    shape : (int, int)
    chips : array_like of int, shape (n, 4), optional
        First row, last + 1, first column, last + 1 of each sensitive area; the whole array if not given.
    round_plate : bool
        Whether only pixels whose centre is within half the number of rows from the middle are sensitive.
    """

    def __init__(
        self, shape: tuple[int, int], chips: ArrayLike | None = None, *, round_plate: bool = False, path: str = ""
    ) -> None:
        self.path = path
        self._shape = (int(shape[0]), int(shape[1]))
        whole = [[0, self._shape[0], 0, self._shape[1]]]
        self._chips = np.asarray(whole if chips is None else chips, np.int64).reshape(-1, 4)
        self._round = bool(round_plate)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._shape

    @property
    def displaced(self) -> bool:
        """No pixel is."""
        return False

    def flips(self, orientation: int) -> tuple[bool, bool]:
        """They never are."""
        return False, False

    def mask(self) -> NDArray[np.bool_]:
        """Return which pixels are not sensitive."""
        masked = np.ones(self._shape, np.bool_)
        for top, bottom, left, right in self._chips.tolist():
            masked[top:bottom, left:right] = False
        if self._round:
            middle = [size // 2 for size in self._shape]
            y, x = np.ogrid[: self._shape[0], : self._shape[1]]
            masked |= (y + 0.5 - middle[0]) ** 2 + (x + 0.5 - middle[1]) ** 2 > middle[0] ** 2
        return masked

    def corners(self, rows: slice) -> Positions:
        """They are those of the regular grid."""
        raise ValueError("there are no corners: the pixels are on a regular grid")

    centers = corners

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return shape, chips, and whether the plate is round."""
        return {"shape": np.asarray(self._shape), "chips": self._chips, "round": np.asarray(self._round)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], path: str) -> RegularPixels:
        """Return pixels from shape, chips, and whether the plate is round."""
        rows, columns = (int(size) for size in arrays["shape"])
        return cls((rows, columns), arrays["chips"], round_plate=bool(arrays["round"]), path=path)


KINDS: dict[str, type[PixelShapes]] = {
    kind.__name__: kind
    for kind in (PixelTable, SplineDistortion, PlacedModules, Cylinder, HexagonalLattice, RegularPixels)
}


def restored_pixels(kind: str, arrays: Mapping[str, NDArray[Any]], path: str) -> PixelShapes:
    """Return pixels from the name of their class and what `PixelShapes.arrays` gave.

    Raises
    ------
    KeyError
        If an array is missing or there is no such class.
    """
    return KINDS[kind].from_arrays(arrays, path)
