"""Sums over bins without outliers: sigma clipping.

The entries of a bin, one for each valid pixel that has a share c in it, hold the values x = s/w with s = raw - dark and
the weight c·w. With the sums of `friedel.kernels.scatter` over the entries that are left,

    mean I = S/N,   spread σ = √(V/N2),   n = Σ c,

a round drops every entry with |x - I| > κ·σ, where κ = max(threshold, √(2 ln(max(n, 3)/√(2π)))): Chauvenet's criterion
keeps a large bin from losing the tails that a normal distribution has anyway. Rounds go on until none is dropped or
`iterations` have been done; what is dropped stays out. Bins are independent: a pixel that is shared may stay in one of
its bins and be dropped from another.

Spots pull a mean up, and where the spread is that of the counts the mean may then lie beyond κ·σ of all pixels: a round
that would drop more than half of a bin (of its n) takes the azimuthal spread instead. No more than 1/κ² of the (c w)²
of a bin lie beyond that, so that no bin loses all of its pixels (threshold >= 1).

The variance V of the error model is computed anew in every round:

- "azimuthal": V = Σ (c w)² (x - I)², in two passes, exact for unequal weights;
- "poisson": V = Σ c² v with v = max(1, raw) + dark_variance;
- "variance": V = Σ c² v with v as given, + dark_variance;
- "hybrid": azimuthal while clipping, poisson in the sums that are returned.

I, the spread of a pixel √(V/N2) and the standard error of the mean √V/N all follow from the sums returned.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .scatter import BinSums, PixelMap, reference_pixels

ClipModel = Literal["azimuthal", "poisson", "variance", "hybrid"]


def chauvenet(count: npt.NDArray[np.float64] | float, threshold: float) -> npt.NDArray[np.float64]:
    """Return κ = max(threshold, √(2 ln(max(n, 3)/√(2π)))) for bins of `count` pixels.

    Beyond κ·σ a normal distribution has less than one in n of its values.
    """
    expected = np.sqrt(2 * np.log(np.maximum(count, 3) / math.sqrt(2 * math.pi)))
    return np.asarray(np.maximum(threshold, expected))


def reference_clip(
    pixel_map: PixelMap,
    frames: npt.NDArray[Any],
    *,
    error_model: ClipModel = "azimuthal",
    threshold: float = 5.0,
    iterations: int = 5,
    normalization: npt.ArrayLike | None = None,
    dark: npt.ArrayLike | None = None,
    dark_variance: npt.ArrayLike | None = None,
    variance: npt.ArrayLike | None = None,
    dummy: float | None = None,
    delta_dummy: float = 0.0,
) -> BinSums:
    """Sum frames over bins in float64, leaving outliers out: what sigma clipping means. Slow.

    Parameters
    ----------
    pixel_map : PixelMap
    frames : ndarray, shape (n, rows, columns) or (n, n_pixels)
    error_model : {"azimuthal", "poisson", "variance", "hybrid"}
        Where the spread comes from.
    threshold : float
        Least distance from the mean that is an outlier's, in spreads; 1 or more.
    iterations : int
        Most rounds of dropping; 0 gives the plain sums.
    normalization, dark, dark_variance, variance, dummy, delta_dummy
        As for `friedel.kernels.scatter.reference_scatter`.

    Returns
    -------
    BinSums
        Of the entries that are left; `rejected` is Σ c of those dropped, shape (n, n_bins). `variance` is that of the
        error model. normalization, normalization_squared and count have the shape (n, n_bins).
    """
    raw, w, d, v, valid = reference_pixels(
        pixel_map,
        frames,
        normalization=normalization,
        dark=dark,
        dark_variance=dark_variance,
        error_model="poisson" if error_model == "hybrid" else error_model,
        variance=variance,
        dummy=dummy,
        delta_dummy=delta_dummy,
    )
    pixel = np.repeat(np.arange(pixel_map.n_pixels), np.diff(pixel_map.pointers))
    c, bins, n_bins = pixel_map.weights.astype(float), pixel_map.bins, pixel_map.n_bins
    clipped_by_spread = error_model in ("azimuthal", "hybrid")
    rows = []
    for frame in range(len(raw)):
        weight = c * w[pixel]
        s = raw[frame][pixel] - d[pixel]
        spread_of_counts = c**2 * v[frame][pixel]
        first = keep = valid[frame][pixel] & (c != 0)

        def total(values: npt.NDArray[np.float64], keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
            return np.bincount(bins[keep], values[keep], n_bins).astype(np.float64)

        with np.errstate(all="ignore"):
            x = s / w[pixel]
            for _ in range(iterations):
                mean = total(c * s, keep) / total(weight, keep)
                deviation, count = np.abs(x - mean[bins]), total(c, keep)
                of_ring = np.sqrt(total((weight * deviation) ** 2, keep) / total(weight**2, keep))
                of_counts = np.sqrt(total(spread_of_counts, keep) / total(weight**2, keep))
                limit = chauvenet(count, threshold)
                lost = total(c, keep & (deviation > (limit * of_counts)[bins]))
                limit *= np.where(clipped_by_spread | (lost > count / 2), of_ring, of_counts)
                left = keep & ~(deviation > limit[bins])
                if (left == keep).all():
                    break
                keep = left
            mean = total(c * s, keep) / total(weight, keep)
            azimuthal = (weight * (x - mean[bins])) ** 2
        variances = total(azimuthal if error_model == "azimuthal" else spread_of_counts, keep)
        below = np.unique(pixel[first & (raw[frame] < 0)[pixel]]).size
        rows.append(
            (
                total(c * s, keep),
                total(weight, keep),
                total(weight**2, keep),
                total(c, keep),
                variances,
                below,
                total(c, first & ~keep),
            )
        )
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return BinSums(**{field.name: column for field, column in zip(fields(BinSums), columns, strict=True)})
