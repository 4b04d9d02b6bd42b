"""The background of still frames: mean and spread on each ring, without the spots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import ParameterError
from friedel.techniques.integration import FrameBlock, RadialMap
from friedel.techniques.integration.pixels import Slab
from friedel.techniques.integration.reprojection import Neighbours

Floats = NDArray[np.float64]


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
    """

    radial_map: RadialMap
    radius: NDArray[np.float32]
    neighbours: Neighbours
    normalization: Floats
    dark: Floats | None
    valid: NDArray[np.bool_]

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
        return cls(radial_map, stored, neighbours, w, scatter.dark, usable)

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
        found = np.asarray(raw > self._counts(_pairwise(np.minimum, mean + cutoff * uncertainty - slack)))
        if both_sides:
            found |= raw < self._counts(_pairwise(np.maximum, mean - cutoff * uncertainty + slack))
        return np.flatnonzero(found & self.valid)

    def _counts(self, curve: Floats) -> NDArray[np.float32]:
        """Return a curve over the lower neighbours of the pixels as counts."""
        values = curve.astype(np.float32)[self.neighbours.lower]
        values *= self.normalization.astype(np.float32)
        return values if self.dark is None else values + self.dark.astype(np.float32)


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
