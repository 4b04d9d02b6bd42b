"""The background of still frames: mean and spread on each ring, without the spots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import ParameterError
from friedel.techniques.integration import FrameBlock, RadialMap
from friedel.techniques.integration.pixels import Slab
from friedel.techniques.integration.reprojection import Neighbours

Floats = NDArray[np.float64]

TILE = (8, 4)
"""Rows and columns of pixels whose extreme is compared first: where none can be a spot, none is looked at again. This
takes a fifth of the time of comparing every pixel with its own limit."""


@dataclass(frozen=True, eq=False)
class RingBackground:
    """Finds the background of frames, and what it is at a pixel. A Plan; make it by `of`.

    Corrected intensities x = (raw - dark)/w are compared with the background; counts as recorded follow from them.

    Attributes
    ----------
    radial_map : RadialMap
        With sigma clipping and the spread of single pixels.
    radius : ndarray of float32, shape (rows, columns)
        Radial position of the pixels; NaN where they are masked.
    neighbours : Neighbours
        The bins between whose centres each pixel lies.
    normalization : ndarray of float64, shape (n_pixels,)
    dark : ndarray of float64, shape (n_pixels,), or None
    valid : ndarray of bool, shape (n_pixels,)
        Pixels that are not masked.
    tiles : Tiles
    """

    radial_map: RadialMap
    radius: NDArray[np.float32]
    neighbours: Neighbours
    normalization: Floats
    dark: Floats | None
    valid: NDArray[np.bool_]
    tiles: Tiles

    @classmethod
    def of(cls, radial_map: RadialMap) -> RingBackground:
        """Return the plan that uses the patterns of a map.

        Raises
        ------
        ParameterError
            If its estimator is not robust, it makes cakes, or it has no error model.
        """
        averaging = radial_map.averaging
        if not averaging.estimator.robust or averaging.error_model == "none" or radial_map.binning.cake:
            raise ParameterError(
                "The background needs patterns of a robust estimator with errors.",
                "Choose the estimator sigma-clip and the error model azimuthal.",
            )
        radial_map = radial_map.with_options(std=True, empty=np.nan)
        geometry, scatter = radial_map.geometry, radial_map.scatter
        whole = np.zeros(geometry.shape, bool)
        radius = Slab(geometry, radial_map.binning.plane, slice(0, geometry.shape[0]), whole).radial_centers()
        stored = np.where(radial_map.excluded, np.nan, radius).astype(np.float32)
        w = np.ones(radius.size) if scatter.normalization is None else scatter.normalization.astype(np.float64)
        usable = np.isfinite(stored).ravel() & np.isfinite(w) & (w != 0)
        if scatter.dark is not None:
            usable &= np.isfinite(scatter.dark)
        centers = radial_map.radial.centers.astype(np.float32).astype(np.float64)
        neighbours = Neighbours.on(stored.astype(np.float64).ravel(), centers, "linear")
        tiles = Tiles.of(stored.shape, neighbours.lower, w, scatter.dark, usable)
        return cls(radial_map, stored, neighbours, w, scatter.dark, usable, tiles)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.radial_map.geometry.shape
        return rows, columns

    def fit(self, block: FrameBlock) -> tuple[Floats, Floats]:
        """Return mean and spread on the rings, (n, n_bins); rings without pixels hold what lies beside them."""
        patterns = self.radial_map(block)
        assert patterns.intensity_std is not None
        return _filled(patterns.intensity), _filled(patterns.intensity_std)

    def at(self, curve: Floats, pixels: NDArray[np.intp]) -> Floats:
        """Return the value of a curve over the rings at some pixels."""
        low, high = curve[self.neighbours.lower[pixels]], curve[self.neighbours.upper[pixels]]
        return np.asarray(low + (high - low) * self.neighbours.part[pixels])

    def corrected(self, raw: NDArray[np.generic], pixels: NDArray[np.intp]) -> Floats:
        """Return x = (raw - dark)/w of some pixels of a flattened frame."""
        counts = raw[pixels].astype(np.float64)
        return np.asarray((counts if self.dark is None else counts - self.dark[pixels]) / self.normalization[pixels])

    def beyond(
        self, raw: NDArray[Any], mean: Floats, uncertainty: Floats, cutoff: float, *, both_sides: bool
    ) -> NDArray[np.intp]:
        """Return valid pixels that may lie `cutoff` uncertainties or more from the mean: all that do, and few others.

        Parameters
        ----------
        raw : ndarray, shape (n_pixels,)
        mean, uncertainty : ndarray, shape (n_bins,)
        cutoff : float
        both_sides : bool
            Whether pixels below the mean count too.
        """
        slack = 1e-5 * (np.abs(mean) + cutoff * uncertainty)
        above = _pairwise(np.minimum, mean + cutoff * uncertainty - slack)
        frame = raw.reshape(self.shape)
        pixels = self.tiles.pixels(extreme(np.fmax, frame) > self.tiles.least(above))
        found = raw[pixels] > self._counts(above, pixels)
        if not both_sides:
            return pixels[found & self.valid[pixels]]
        below = _pairwise(np.maximum, mean - cutoff * uncertainty + slack)
        low = self.tiles.pixels(extreme(np.fmin, frame) < self.tiles.most(below))
        deep = raw[low] < self._counts(below, low)
        return np.union1d(pixels[found & self.valid[pixels]], low[deep & self.valid[low]])

    def _counts(self, curve: Floats, pixels: NDArray[np.intp]) -> Floats:
        """Return a curve over the lower neighbours of pixels as counts."""
        values = curve[self.neighbours.lower[pixels]] * self.normalization[pixels]
        return np.asarray(values if self.dark is None else values + self.dark[pixels])


@dataclass(frozen=True, eq=False)
class Tiles:
    """Neighbouring pixels, `TILE` each, and the least limit that one of them can have.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of pixels.
    first, last : ndarray of intp, shape (rows, columns) of tiles
        Lowest and highest bin of the valid pixels.
    scale, dark : (ndarray, ndarray)
        Lowest and highest normalization of the valid pixels, and dark.
    used : ndarray of bool
        Whether any pixel is valid.
    """

    shape: tuple[int, int]
    first: NDArray[np.intp]
    last: NDArray[np.intp]
    scale: tuple[Floats, Floats]
    dark: tuple[Floats, Floats]
    used: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        bins: NDArray[np.int32],
        normalization: Floats,
        dark: Floats | None,
        valid: NDArray[np.bool_],
    ) -> Tiles:
        """Find the limits of tiles of pixels; each array has the shape (n_pixels,)."""

        def limits(values: NDArray[Any]) -> tuple[Floats, Floats]:
            low, high = (
                extreme(choose, np.where(valid, values, missing).reshape(shape))
                for choose, missing in ((np.minimum, np.inf), (np.maximum, -np.inf))
            )
            return np.where(used, low, 0.0), np.where(used, high, 0.0)

        used = extreme(np.logical_or, valid.reshape(shape))
        first, last = limits(bins)
        nothing = np.zeros(used.shape)
        darks = (nothing, nothing) if dark is None else limits(dark)
        return cls(shape, first.astype(np.intp), last.astype(np.intp), limits(normalization), darks, used)

    def least(self, curve: Floats) -> Floats:
        """Return the lowest count that a curve over the bins stands for at a valid pixel; inf where there is none.

        The lowest of a range of bins is that of the two ranges of a power of two that cover it.
        """
        length = self.last - self.first + 1
        levels = [curve]
        for power in range(int(length.max()).bit_length() - 1):
            before, step = levels[-1], 1 << power
            levels.append(np.minimum(before, np.append(before[step:], np.full(min(step, len(before)), np.inf))))
        table = np.stack(levels)
        power = np.frexp(length)[1] - 1
        lowest = np.minimum(table[power, self.first], table[power, self.last + 1 - (1 << power)])
        scaled = np.minimum(lowest * self.scale[0], lowest * self.scale[1])
        return np.where(self.used, scaled + self.dark[0], np.inf)

    def most(self, curve: Floats) -> Floats:
        """Return the highest count that a curve over the bins stands for; -inf where no pixel is valid."""
        return -replace(self, dark=(-self.dark[1], -self.dark[0])).least(-curve)

    def pixels(self, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the numbers of the pixels of tiles, ascending."""
        row, column = np.nonzero(chosen)
        dy, dx = (step.ravel() for step in np.mgrid[: TILE[0], : TILE[1]])
        y = row[:, np.newaxis] * TILE[0] + dy
        x = column[:, np.newaxis] * TILE[1] + dx
        inside = (y < self.shape[0]) & (x < self.shape[1])
        return np.sort((y * self.shape[1] + x)[inside])


def extreme(choose: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
    """Return the highest (or lowest) value of each tile; those at the far edges may be smaller."""
    for step, axis in zip(TILE, (0, 1), strict=True):
        lines = np.moveaxis(values, axis, 0)
        found = lines[::step].copy(order="K")
        for offset in range(1, step):
            more = lines[offset::step]
            choose(found[: len(more)], more, out=found[: len(more)])
        values = np.moveaxis(found, 0, axis)
    return values


def _pairwise(choose: np.ufunc, curve: Floats) -> Floats:
    """Return for each bin the smaller or larger of its value and the next one's."""
    return np.asarray(choose(curve, np.append(curve[1:], curve[-1])))


def _filled(curves: NDArray[np.float32]) -> Floats:
    values = curves.astype(np.float64)
    for curve in values:
        known = np.isfinite(curve)
        if known.any():
            curve[~known] = np.interp(np.flatnonzero(~known), np.flatnonzero(known), curve[known])
        else:
            curve[:] = 0.0
    return values
