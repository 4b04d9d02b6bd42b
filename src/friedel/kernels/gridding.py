"""From the spectra of lines to a picture: interpolation onto a grid and one two-dimensional Fourier transform.

Arrays are channel-last: the geometry is the same for every channel, so an index or a weight is looked up once
and used for a whole vector of channels. Each channel's numbers depend on that channel alone, whatever the number of
channels beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from friedel import _native

from .filtering import extend_lines

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

TILE = 8
"""Grid points are computed in tiles of this many rows and columns, whose samples stay in the first-level cache."""


def kaiser_bessel_shape(width: int, oversampling: float) -> float:
    """Return the kernel's shape parameter beta (Beatty, Nishimura and Pauly 2005, equation 5)."""
    return float(np.pi * np.sqrt((width / oversampling) ** 2 * (oversampling - 0.5) ** 2 - 0.8))


def kaiser_bessel(distance: Floats, width: int, beta: float) -> Floats:
    """Return the Kaiser-Bessel kernel at `distance` grid steps; 0 beyond half its `width`."""
    inside = np.clip(1 - (2 * distance / width) ** 2, 0, None)
    return np.where(np.abs(distance) <= width / 2, np.i0(beta * np.sqrt(inside)), 0.0)


def kaiser_bessel_transform(position: Floats, width: int, beta: float, grid_size: int) -> Floats:
    """Return the kernel's Fourier transform at `position` pixels of a picture of `grid_size` pixels."""
    root = np.sqrt((beta**2 - (np.pi * width * position / grid_size) ** 2).astype(complex))
    return np.asarray(width * (np.sinh(root) / root).real)


@dataclass(frozen=True, eq=False)
class GridMap:
    """Which samples of a Hermitian plane reach which points of half a grid, and how much.

    The spectrum of a real picture is Hermitian, so rows 0 to size / 2 are enough. What reaches the other rows
    is conjugated and put at the opposite point; entries of a point that are conjugated follow those that are not.

    Attributes
    ----------
    size : int
        Points along each side of the full grid, even.
    points : ndarray (n_points,) int32
        Point number ``row * size + column`` in the order of computation, tile by tile.
    pointers : ndarray (2 n_points + 1,) int64
        Where the plain and the conjugated entries of each point begin.
    samples : ndarray (n_entries,) int32
    weights : ndarray (n_entries,) float32
    """

    size: int
    points: NDArray[np.int32]
    pointers: NDArray[np.int64]
    samples: NDArray[np.int32]
    weights: Singles

    @classmethod
    def build(cls, u: Floats, v: Floats, size: int, width: int, beta: float) -> GridMap:
        """Find the entries for samples at (u, v) grid steps from the origin (column, row).

        Parameters
        ----------
        u, v : ndarray (n_samples,)
            Positions within half the grid's size on either side.
        size : int
            Points along each side of the grid, even.
        width : int
            Even number of grid points that a sample reaches along each axis.
        beta : float
            Shape of the Kaiser-Bessel kernel.
        """
        points, rank = _tiled_order(size)
        first_u, first_v = (np.ceil(position - width / 2).astype(np.int64) for position in (u, v))
        taps = np.arange(width)
        columns, rows = first_u[:, None] + taps, first_v[:, None] + taps
        weights = (
            kaiser_bessel(rows - v[:, None], width, beta)[:, :, None]
            * kaiser_bessel(columns - u[:, None], width, beta)[:, None, :]
        ).astype(np.float32)
        plain = _entries(rows, columns, size, rank, conjugated=False)
        opposite = _entries(-rows, -columns, size, rank, conjugated=True)
        keys = np.concatenate([plain[0], opposite[0]])
        taken = np.concatenate([plain[1], opposite[1]])
        order = np.argsort(keys, kind="stable")
        pointers = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=2 * len(points)))])
        taken = taken[order]
        return cls(
            size, points, pointers.astype(np.int64), (taken // width**2).astype(np.int32), weights.reshape(-1)[taken]
        )


def _tiled_order(size: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the points of half a grid tile by tile, and the place of each point in that order."""
    row, column = (axis.reshape(-1) for axis in np.indices((size // 2 + 1, size)))
    points = np.lexsort((column % TILE, row % TILE, column // TILE, row // TILE))
    rank = np.empty_like(points)
    rank[points] = np.arange(len(points))
    return points.astype(np.int32), rank


def _entries(
    rows: NDArray[np.int64], columns: NDArray[np.int64], size: int, rank: NDArray[np.int64], conjugated: bool
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return the sort key of each weight that falls on the kept half, and the number of that weight."""
    rows, columns = rows % size, columns % size
    kept = np.flatnonzero(np.repeat(rows <= size // 2, columns.shape[1]))
    in_rows = np.broadcast_to(rows[:, :, None], (*rows.shape, columns.shape[1])).reshape(-1)[kept]
    in_columns = np.broadcast_to(columns[:, None, :], (*rows.shape, columns.shape[1])).reshape(-1)[kept]
    return 2 * rank[in_rows * size + in_columns] + conjugated, kept


@dataclass(frozen=True, eq=False)
class LinesToPicture:
    """All that turns a block of lines into a block of pictures.

    picture = crop(real inverse transform(grid of (transform(extended line) * response))) * scale * scale

    Attributes
    ----------
    used : ndarray (n_lines,) int32
        Which rows of the block are used.
    response : ndarray (n_lines, length // 2 + 1) complex64
        Multiplies the spectrum of each line: filter, weight and the phase that puts its origin.
    length : int
        Even length to which lines are extended before their transform.
    edge : bool
        Extend with the line's end values instead of zeros.
    grid : GridMap
        Where the samples, line by line, lie in the plane.
    crop : ndarray (n_picture,) int32
        Grid indices of the picture's rows and columns.
    scale : ndarray (n_picture,) float32
        Factor of each row and of each column.
    """

    used: NDArray[np.int32]
    response: NDArray[np.complex64]
    length: int
    edge: bool
    grid: GridMap
    crop: NDArray[np.int32]
    scale: Singles

    def __call__(self, lines: Singles, *, implementation: Literal["native", "reference"] = "native") -> Singles:
        """Return the pictures (n_picture, n_picture, n_channels) of `lines` (n, n_samples, n_channels) float32."""
        if implementation == "reference":
            return self._reference(lines)
        lines = np.ascontiguousarray(lines, np.float32)
        n = len(self.crop)
        pictures = np.empty((n, n, lines.shape[2]), np.float32)
        _native.lines_to_picture(
            lines,
            self.used,
            self.response,
            self.length,
            self.edge,
            self.grid.size,
            self.grid.points,
            self.grid.pointers,
            self.grid.samples,
            self.grid.weights,
            self.crop,
            self.scale,
            TILE,
            pictures,
        )
        return pictures

    def _reference(self, lines: Singles) -> Singles:
        from scipy import fft, sparse

        lines = lines[self.used]
        n_lines, n_channels = len(lines), lines.shape[2]
        extended = extend_lines(lines, self.length, self.edge)
        spectra = fft.rfft(extended, axis=1) * self.response[..., None]
        size, grid = self.grid.size, self.grid
        n_points = len(grid.points)
        shape = (2 * n_points, n_lines * self.response.shape[1])
        gathered = sparse.csr_matrix((grid.weights, grid.samples, grid.pointers), shape) @ spectra.reshape(
            -1, n_channels
        )
        plane = np.empty((n_points, n_channels), np.complex64)
        plane[grid.points] = gathered[0::2] + gathered[1::2].conj()
        columns = fft.ifft(plane.reshape(-1, size, n_channels), axis=1, norm="forward")[:, self.crop]
        picture = fft.irfft(columns, n=size, axis=0, norm="forward")[self.crop]
        return np.asarray(picture * self.scale[:, None, None] * self.scale[:, None], np.float32)
