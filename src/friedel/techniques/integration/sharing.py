"""From a binning to the axes of the bins and the share of each pixel in each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import DataError, ParameterError
from friedel.core.units import unit_named
from friedel.instrument import Geometry
from friedel.kernels.scatter import PixelMap
from friedel.kernels.splitting import Axis, join_shares

from .grid import azimuth_grid, check_bins, radial_grid
from .options import Binning
from .pixels import cut_slabs, each_slab


class NoPixelError(ParameterError):
    """No pixel lies in the ranges."""


def share_pixels(
    geometry: Geometry, binning: Binning, excluded: NDArray[np.bool_], threads: int
) -> tuple[Axis, Axis | None, PixelMap]:
    """Return the radial axis, the azimuthal one if there is any, and the map from pixels to their bins.

    Raises
    ------
    ParameterError
        If the numbers of bins or the ranges cannot be used, or no pixel lies in the ranges.
    DataError
        If no pixel is left.
    """
    check_bins(binning.n_radial, binning.npt_azimuth)

    plane = binning.plane

    def slabs(function: Any) -> list[Any]:
        return each_slab(cut_slabs(geometry, plane, excluded), function, threads)

    try:
        radial = radial_grid(
            binning.n_radial,
            binning.radial_range,
            lambda: slabs(lambda slab: slab.radial_extent(binning.splitting)),
            negative_allowed=plane.radial.signed,
        )
    except DataError:
        if excluded.all():
            raise
        raise ParameterError(
            f"unit is {binning.unit}: it is no finite number at any pixel that is not masked.", "Check its formula."
        ) from None
    # A sector of a pattern is a cake of one azimuthal bin.
    azimuth = None
    if binning.cake or binning.azimuth_range is not None:
        azimuth = azimuth_grid(
            1 if binning.npt_azimuth is None else binning.npt_azimuth,
            binning.azimuth_range,
            lambda: slabs(lambda slab: slab.azimuth_extent(binning.splitting)),
            unit_named(binning.azimuth_unit),
            binning.discontinuity,
        )
    pixel_map = shares_on(geometry, binning, excluded, radial, azimuth, threads)
    if not pixel_map.bins.size:
        raise NoPixelError(
            f"No pixel lies in the radial range {radial.low:g} to {radial.high:g} {binning.unit}"
            + ("." if azimuth is None else " and the azimuth range."),
            "Give a range that the detector covers; friedel integrate1d without a range shows which.",
        )
    return radial, azimuth, pixel_map


def radial_extent(
    geometry: Geometry, binning: Binning, excluded: NDArray[np.bool_], threads: int
) -> tuple[float, float]:
    """Return the lowest and highest radial coordinate that unmasked pixels reach; (inf, -inf) without any."""
    slabs = cut_slabs(geometry, binning.plane, excluded)
    lows, highs = zip(*each_slab(slabs, lambda slab: slab.radial_extent(binning.splitting), threads), strict=True)
    return min(lows), max(highs)


def azimuth_extent(
    geometry: Geometry, binning: Binning, excluded: NDArray[np.bool_], threads: int
) -> tuple[float, float]:
    """Return the lowest and highest second coordinate that unmasked pixels reach; (inf, -inf) without any."""
    slabs = cut_slabs(geometry, binning.plane, excluded)
    lows, highs = zip(*each_slab(slabs, lambda slab: slab.azimuth_extent(binning.splitting), threads), strict=True)
    return min(lows), max(highs)


def shares_on(
    geometry: Geometry,
    binning: Binning,
    excluded: NDArray[np.bool_],
    radial: Axis,
    azimuth: Axis | None,
    threads: int,
) -> PixelMap:
    """Return the map from pixels to the bins of given axes."""
    slabs = cut_slabs(geometry, binning.plane, excluded)
    parts = each_slab(slabs, lambda slab: slab.shares(binning.splitting, radial, azimuth), threads)
    return join_shares(parts, radial.n_bins * (azimuth.n_bins if azimuth else 1))


def unweighted(pixel_map: PixelMap, normalization: ArrayLike | None) -> PixelMap:
    """Return the map with shares divided by the normalization of their pixel.

    Summed with the same normalization it gives Σ c s/w, Σ c, Σ c² v/w² and Σ c²: pixels of equal weight.
    """
    if normalization is None:
        return pixel_map
    w = np.repeat(np.asarray(normalization, np.float64).reshape(-1), np.diff(pixel_map.pointers))
    # A pixel whose w is 0 or not finite is left out of all sums.
    shares = np.divide(pixel_map.weights, w, out=np.zeros(len(w)), where=np.isfinite(w) & (w != 0))
    return replace(pixel_map, weights=shares.astype(np.float32))
