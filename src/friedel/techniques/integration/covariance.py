"""The covariance of neighbouring bins, which pixel splitting makes: a pixel that lies in two bins errs in both.

With c_ib the fraction of pixel i in bin b, v_i its variance and N_b the normalization of the bin,

    Cov(I_b, I_b') = Σ_i c_ib c_ib' v_i / (N_b N_b')

The sum has the form of the variance of a bin, Σ c² v, with c = √(c_ib c_ib'): a pair of bins is one more bin, and a map
from pixels to pairs is summed by the same `Scatter`, with the same dynamic mask and compressed frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from friedel.kernels.scatter import BinSums, PixelMap, Scatter


@dataclass(frozen=True, eq=False)
class BinPairs:
    """All pairs of bins that share a pixel. Make it by `BinPairs.build`; immutable and picklable.

    Attributes
    ----------
    first, second : ndarray of int64, shape (n_pairs,)
        Bins of each pair, first < second; in the order of second - first, then of first.
    scatter : Scatter
        Sums c_ib c_ib' v_i over pairs.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    scatter: Scatter

    @classmethod
    def build(cls, pixel_map: PixelMap, **per_pixel: Any) -> Self:
        """Find the pairs of a map.

        Parameters
        ----------
        pixel_map : PixelMap
        **per_pixel
            normalization, dark and dark_variance of the map, for `Scatter.build`.
        """
        pixel = np.repeat(np.arange(pixel_map.n_pixels), np.diff(pixel_map.pointers))
        bins = pixel_map.bins.astype(np.int64)
        parts = []
        for step in range(1, int(np.diff(pixel_map.pointers).max(initial=1))):
            here = np.flatnonzero(pixel[step:] == pixel[:-step])
            there = here + step
            low, high = np.minimum(bins[here], bins[there]), np.maximum(bins[here], bins[there])
            shared = np.sqrt(pixel_map.weights[here].astype(np.float64) * pixel_map.weights[there])
            parts.append((pixel[here], (high - low) * pixel_map.n_bins + low, shared.astype(np.float32)))
        owner, key, weight = (
            np.concatenate([part[i] for part in parts]) if parts else np.zeros(0, np.int64) for i in range(3)
        )
        known, number = np.unique(key, return_inverse=True)
        order = np.lexsort((number, owner))
        pointers = np.zeros(pixel_map.n_pixels + 1, np.int64)
        np.cumsum(np.bincount(owner, minlength=pixel_map.n_pixels), out=pointers[1:])
        pairs = PixelMap(len(known), pointers, number[order].astype(np.int32), weight[order].astype(np.float32))
        offset, first = np.divmod(known, pixel_map.n_bins)
        return cls(first, first + offset, Scatter.build(pairs, **per_pixel))

    @property
    def reach(self) -> int:
        """How far apart the bins of a pair can be."""
        return int((self.second - self.first).max(initial=0))

    def covariances(self, sums: BinSums, pair_sums: BinSums) -> NDArray[np.float64]:
        """Return the covariance of each pair.

        Parameters
        ----------
        sums : BinSums
            Of the bins, for n frames.
        pair_sums : BinSums
            Of `scatter`, for the same frames and the same error model.

        Returns
        -------
        ndarray of float64, shape (n, n_pairs)
            NaN where one of the bins has no valid pixel.
        """
        below = sums.normalization[:, self.first] * sums.normalization[:, self.second]
        found = np.full((len(sums), len(self.first)), np.nan)
        assert pair_sums.variance is not None
        np.divide(pair_sums.variance, below, out=found, where=np.broadcast_to(below != 0, found.shape))
        return found

    def banded(self, sums: BinSums, pair_sums: BinSums) -> NDArray[np.float64]:
        """Return variances and covariances as the lower bands of symmetric matrices.

        Returns
        -------
        ndarray of float64, shape (n, reach + 1, n_bins)
            ``[k, b]`` is the covariance of bins b and b + k: 0 beyond the last bin, NaN for bins without valid
            pixels.
        """
        n, n_bins = sums.signal.shape
        bands = np.zeros((n, self.reach + 1, n_bins))
        squared = np.broadcast_to(sums.normalization**2, (n, n_bins))
        bands[:, 0] = np.nan
        assert sums.variance is not None
        np.divide(sums.variance, squared, out=bands[:, 0], where=squared > 0)
        bands[:, self.second - self.first, self.first] = self.covariances(sums, pair_sums)
        return bands
