"""Sums over bins of the pixels between two percentiles of their bin; the median is where both are 50.

The entries of a bin, one for each valid pixel with a share c in it, are sorted by their values x = s/w; with weights
a = c·w each takes the ranks from A_before to A_after of the total A. Those are taken that lie as a whole between
low·A and high·A. Where low = high, and where no entry lies between, those are taken that the point, or the range,
touches: the median of an even number of equal pixels is the mean of the two in the middle.

Ranks are sums, and compared with a tolerance of 1e-12 of A. Of the entries taken, the sums are those of
`friedel.kernels.scatter`; the azimuthal variance is about their own mean.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from .scatter import BinSums, ErrorModel, PixelMap, reference_pixels

ROUNDING = 1e-12


def reference_percentile(
    pixel_map: PixelMap,
    frames: npt.NDArray[Any],
    *,
    low: float = 50.0,
    high: float = 50.0,
    error_model: ErrorModel = "none",
    normalization: npt.ArrayLike | None = None,
    dark: npt.ArrayLike | None = None,
    dark_variance: npt.ArrayLike | None = None,
    variance: npt.ArrayLike | None = None,
    dummy: float | None = None,
    delta_dummy: float = 0.0,
) -> BinSums:
    """Sum the pixels between two percentiles of each bin in float64: what `RobustScatter.percentile` means. Slow.

    Parameters
    ----------
    pixel_map : PixelMap
    frames : ndarray, shape (n, rows, columns) or (n, n_pixels)
    low, high : float
        Percentiles, 0 to 100.
    error_model, normalization, dark, dark_variance, variance, dummy, delta_dummy
        As for `friedel.kernels.scatter.reference_scatter`.

    Returns
    -------
    BinSums
        `rejected` is Σ c of the valid entries that are not taken; all sums have the shape (n, n_bins).
    """
    raw, w, d, v, valid = reference_pixels(
        pixel_map,
        frames,
        normalization=normalization,
        dark=dark,
        dark_variance=dark_variance,
        error_model=error_model,
        variance=variance,
        dummy=dummy,
        delta_dummy=delta_dummy,
    )
    pixel = np.repeat(np.arange(pixel_map.n_pixels), np.diff(pixel_map.pointers))
    c, bins, n_bins = pixel_map.weights.astype(float), pixel_map.bins, pixel_map.n_bins
    shape = len(raw), n_bins
    sums = BinSums(
        signal=np.zeros(shape),
        normalization=np.zeros(shape),
        normalization_squared=np.zeros(shape),
        count=np.zeros(shape),
        variance=None if error_model == "none" else np.zeros(shape),
        negative=np.zeros(len(raw), np.int64),
        rejected=np.zeros(shape),
    )
    arrays = {field.name: getattr(sums, field.name) for field in fields(BinSums)}
    for frame in range(len(raw)):
        usable = valid[frame][pixel] & (c != 0)
        arrays["negative"][frame] = np.unique(pixel[usable & (raw[frame] < 0)[pixel]]).size
        for b in range(n_bins):
            entries = np.flatnonzero(usable & (bins == b))
            if not entries.size:
                continue
            i, share = pixel[entries], c[entries]
            s, a = raw[frame][i] - d[i], share * w[i]
            order = np.argsort(s / w[i], kind="stable")
            taken = order[taken_ranks(a[order], low / 100, high / 100)]
            values = {
                "signal": (share * s)[taken].sum(),
                "normalization": a[taken].sum(),
                "normalization_squared": (a[taken] ** 2).sum(),
                "count": share[taken].sum(),
                "rejected": share.sum() - share[taken].sum(),
            }
            if error_model == "azimuthal":
                mean = values["signal"] / values["normalization"]
                values["variance"] = (a**2 * (s / w[i] - mean) ** 2)[taken].sum()
            elif error_model != "none":
                values["variance"] = (share**2 * v[frame][i])[taken].sum()
            for name, value in values.items():
                arrays[name][frame, b] = value
    return sums


def taken_ranks(weights: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.bool_]:
    """Return which of the entries of a bin, sorted by value, lie between two fractions of their weight."""
    after = np.cumsum(weights)
    before, total = after - weights, after[-1]
    slack = ROUNDING * total
    between = (before >= low * total - slack) & (after <= high * total + slack)
    point = high - low <= 4 * ROUNDING
    if not point and between.any():
        return np.asarray(between)
    slack = slack if point else -slack
    return np.asarray((before <= high * total + slack) & (after >= low * total - slack))
