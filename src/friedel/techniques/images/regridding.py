"""Images between the pixels of a detector, wherever they are, and a regular grid: shares by exact overlap.

Pixel i of the detector is a quadrilateral of area A_i in units of the grid's pixels, c_ib the part of that area that
lies in pixel b of the grid. Undistorting gives b the counts Σ_i c_ib · raw_i. Distorting spreads each pixel of the grid
evenly over its own area 1, of which pixel i holds c_ib · A_i: raw_i = Σ_b c_ib A_i · image_b.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError, GeometryError
from friedel.instrument import Detector
from friedel.kernels.marks import widened
from friedel.kernels.scatter import PixelMap, Scatter
from friedel.kernels.splitting import Axis, join_shares, split_polygons

from .moments import FrameGroup

Floats = NDArray[np.float64]
Conserve = Literal["counts", "intensity"]

SLAB_PIXELS = 1 << 17
"""Pixels worked on at a time."""


@dataclass(frozen=True)
class Grid:
    """A regular grid in the plane of a detector.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    offset : (float, float)
        Where the grid begins, in pixels of the grid along p1 and p2.
    """

    shape: tuple[int, int]
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, detector: Detector, resize: bool = False) -> Grid:
        """Return the grid of the detector's shape, or one that holds all its pixels.

        Raises
        ------
        GeometryError
            If the pixels do not lie in one plane.
        DataError
            If all pixels are masked.
        """
        shape = detector.known_shape()
        if detector.pixels is not None and detector.displaced and not detector.pixels.flat:
            raise GeometryError(
                f"The pixels of {detector.name} do not lie in one plane: no grid in a plane has their images.",
                "Integrate them as they are.",
            )
        if not resize:
            return cls(shape)
        good = ~detector.mask()
        lows, highs = [], []
        for rows in _slabs(shape):
            p1, p2, _ = detector.corner_positions(rows)
            for values, pixel in ((p1, detector.pixel1), (p2, detector.pixel2)):
                inside = values[good[rows]] / pixel
                lows.append(inside.min(initial=np.inf))
                highs.append(inside.max(initial=-np.inf))
        if not np.isfinite(lows).any():
            raise DataError("No pixel of the detector is left: all are masked.", "Check its mask.")
        low = [float(np.floor(min(lows[axis::2]))) for axis in (0, 1)]
        high = [float(np.ceil(max(highs[axis::2]))) for axis in (0, 1)]
        return cls((int(high[0] - low[0]), int(high[1] - low[1])), (low[0], low[1]))

    def detector(self, distorted: Detector) -> Detector:
        """Return the regular detector that has the pixels of this grid."""
        return Detector.from_shape(self.shape, distorted.pixel1, distorted.pixel2, orientation=distorted.orientation)


def _slabs(shape: tuple[int, int]) -> list[slice]:
    step = max(1, SLAB_PIXELS // shape[1])
    return [slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]


@dataclass(frozen=True, eq=False)
class Overlap:
    """How the pixels of a detector overlap those of a grid.

    Attributes
    ----------
    shares : PixelMap
        c_ib of each pixel of the detector; masked pixels have none.
    areas : ndarray of float64, shape (pixels of the detector,)
        A_i.
    detector_shape, grid_shape : (int, int)
    """

    shares: PixelMap
    areas: Floats
    detector_shape: tuple[int, int]
    grid_shape: tuple[int, int]

    @classmethod
    def build(cls, detector: Detector, grid: Grid, excluded: NDArray[np.bool_] | None = None) -> Overlap:
        """Intersect pixels with the grid.

        Parameters
        ----------
        detector : Detector
        grid : Grid
        excluded : ndarray of bool, shape of the detector, optional
            Pixels that take no part, besides those that the detector masks.

        Raises
        ------
        DataError
            If no pixel lies on the grid.
        """
        shape = detector.known_shape()
        mask = detector.mask() if excluded is None else detector.mask() | excluded
        # Rows and columns of the grid run as those of the stored image: backwards along p1 or p2 for some orientations.
        rows, columns = Axis(0.0, float(grid.shape[0]), grid.shape[0]), Axis(0.0, float(grid.shape[1]), grid.shape[1])
        parts, areas = [], []
        for some in _slabs(shape):
            p1, p2, _ = detector.corner_positions(some)
            y, x = p1 / detector.pixel1 - grid.offset[0], p2 / detector.pixel2 - grid.offset[1]
            if detector.orientation in (1, 2):
                y = grid.shape[0] - y
            if detector.orientation in (1, 4):
                x = grid.shape[1] - x
            parts.append(split_polygons(x, y, columns, rows, mask[some], turn=0.0))
            areas.append((detector.pixel_areas(some) / (detector.pixel1 * detector.pixel2)).reshape(-1))
        shares = join_shares(parts, grid.shape[0] * grid.shape[1])
        if not shares.bins.size:
            raise DataError("No pixel of the detector lies on the grid.", "Check the description of the detector.")
        return cls(shares, np.concatenate(areas), shape, grid.shape)

    def owners(self) -> NDArray[np.int64]:
        """Return the pixel of the detector that each share belongs to."""
        return np.repeat(np.arange(self.shares.n_pixels), np.diff(self.shares.pointers))

    def coverage(self) -> NDArray[np.float32]:
        """Return how much of each pixel of the grid valid pixels of the detector cover: float32, shape of the grid."""
        covered = np.bincount(self.shares.bins, self.shares.weights * self.areas[self.owners()], self.shares.n_bins)
        return covered.reshape(self.grid_shape).astype(np.float32)

    def inverse(self) -> PixelMap:
        """Return which part of each pixel of the grid lies in which pixel of the detector."""
        owners, bins = self.owners(), self.shares.bins
        order = np.argsort(bins, kind="stable")
        pointers = np.zeros(self.shares.n_bins + 1, np.int64)
        np.cumsum(np.bincount(bins, minlength=self.shares.n_bins), out=pointers[1:])
        weights = (self.shares.weights * self.areas[owners])[order]
        return PixelMap(self.shares.n_pixels, pointers, owners[order].astype(np.int32), weights.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Regridding:
    """A plan: frames on one set of pixels to frames on another.

    Attributes
    ----------
    scatter : Scatter
    shape : (int, int)
        Rows and columns of the result.
    name : str
        Of the result.
    conserve : {"counts", "intensity"}
        Whether shares are summed, or averaged.
    poisson : bool
        Whether errors are computed.
    empty : float
        Value of pixels without any share of a valid pixel.
    dummy, delta_dummy : float
        Value that marks invalid pixels, and how far from it values still do.
    """

    scatter: Scatter
    shape: tuple[int, int]
    name: str
    conserve: Conserve = "counts"
    poisson: bool = False
    empty: float = float("nan")
    dummy: float | None = None
    delta_dummy: float = 0.0

    def __call__(self, items: FrameGroup, *, threads: int = 1) -> Mapping[str, NDArray[np.float32]]:
        """Return the frames by name, float32 (n, rows, columns), with their standard deviations if asked for.

        Raises
        ------
        DataError
            If there are counts below zero, whose error is asked for.
        """
        frames, dummy = widened(items.frames, self.dummy, threads)
        sums = self.scatter(
            frames,
            error_model="poisson" if self.poisson else "none",
            dummy=dummy,
            delta_dummy=self.delta_dummy,
            threads=threads,
        )
        if self.poisson and sums.negative.any():
            raise DataError(
                f"{int(sums.negative.max())} counts are below zero: their Poisson error is not known.",
                "Mask these pixels, or give the value that marks invalid ones as dummy.",
            )
        normalization = np.broadcast_to(sums.normalization, sums.signal.shape)
        divisor = normalization if self.conserve == "intensity" else np.ones_like(normalization)
        if items.factors is not None:
            divisor = divisor * items.factors[:, np.newaxis]
        found = {self.name: self._image(sums.signal, divisor, sums.count)}
        if sums.variance is not None:
            found[f"{self.name}_errors"] = self._image(np.sqrt(sums.variance), divisor, sums.count)
        return found

    def _image(self, values: Floats, divisor: Floats, count: Floats) -> NDArray[np.float32]:
        image = np.full(values.shape, self.empty, np.float32)
        known = np.broadcast_to(count > 0, values.shape)
        np.divide(values, divisor, out=image, where=known, casting="same_kind")
        return image.reshape(-1, *self.shape)
