"""Points on the rings of an image, found without knowing the geometry.

A ring is locally a ridge: a line along which the image falls off to both sides. Counts are first made to have the same
noise everywhere (Anscombe's root), then smoothed. Where the Hessian of the smoothed image H has one strongly negative
eigenvalue λ with eigenvector n, and the gradient along n vanishes within the pixel, there is a ridge across n; the
Taylor expansion along n gives its place to a fraction of a pixel (Steger, IEEE PAMI 20 (1998) 113). Ridge pixels that
continue one another make a chain. Where both eigenvalues are strongly negative there is a spot, which has no direction.

Wide or weak rings are found in the image binned by 2 and 4. What lies next to pixels without signal is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse, spatial

from friedel.core.errors import DataError

from .points import RingPoints

_Array = NDArray[np.float64]
_Singles = NDArray[np.float32]
_Mask = NDArray[np.bool_]

BINNINGS = (1, 2, 4)
"""Widths in pixels of the pixels that the image is looked at with."""
SMOOTHING = 1.5
"""Standard deviation of the smoothing in (binned) pixels: finds ridges of 1 to 4 pixels (standard deviation) well."""
FAINTEST = 3.0
"""Ridge pixels need this signal to noise ratio, and the whole chain more."""
FAINTEST_SPOT = 6.0
SHORTEST = 8
"""Pixels of the shortest chain."""
HYSTERESIS = 4.5
"""Mean signal to noise ratio of a chain of the shortest length; longer ones need less."""
ROUNDNESS = 0.45
"""Ratio of the eigenvalues above which a maximum is a spot rather than part of a ridge."""
CLEARANCE = 2.5
"""Distance to the nearest pixel without signal in standard deviations of the smoothing."""
SIDE = 3.0
LEAST_FALL = 0.15
"""A ridge falls off to its lesser side by this part of the fall to the other, this many (binned) pixels away."""
FLANK = 8.0
LONGEST_FLANK = 40
"""Chains of at most so many pixels, half of them this near to a brighter spot, are the spot's own flanks."""
LEAST_SHARE_OF_SPOTS = 0.5
"""Part of the points that spots may take, if there are so many, where chains alone would take them all."""
NOISE_TILE = 32


@dataclass(frozen=True)
class _Level:
    """The image seen with pixels `binning` wide."""

    binning: int
    roots: _Singles  # (rows, columns), unit noise
    clear: _Mask  # far enough from pixels without signal


@dataclass(frozen=True)
class _Ridges:
    """Ridge points, coordinates in pixels of the unbinned image."""

    y: _Array
    x: _Array
    normal: _Array  # (n,) atan2(dx, dy): from the y axis to x, rad
    strength: _Array
    chain: NDArray[np.int32]
    binning: int


def detect(image: NDArray[Any], mask: _Mask | None = None, *, maximum_points: int = 4000) -> RingPoints:
    """Find points on ridges and spots.

    Parameters
    ----------
    image : ndarray (rows, columns)
        Counts, or anything whose noise grows as the root of the signal.
    mask : ndarray of bool (rows, columns), optional
        True = excluded. Pixels that are not finite, and the largest number of an unsigned integer type, are excluded
        in any case.
    maximum_points : int
        Number of points wanted at most.

    Returns
    -------
    RingPoints
        Along each chain at even steps, those of the clearest chains first; then spots, clearest first.

    Raises
    ------
    DataError
        If image and mask do not fit together or no pixel is left.
    """
    values, invalid = _valid_pixels(image, mask)
    gain, offset = _noise_model(values, invalid)
    found: list[_Ridges] = []
    spots: list[_Ridges] = []
    for binning in BINNINGS:
        if min(values.shape) // binning < 32:
            break
        level = _level(values, invalid, binning, gain, offset)
        ridges, maxima = _ridges_and_spots(level)
        finer = found + spots
        found.append(_unless_seen(ridges, finer))
        spots.append(_unless_seen(maxima, finer))
    return _selected(found, spots, maximum_points)


def _valid_pixels(image: NDArray[Any], mask: _Mask | None) -> tuple[_Singles, _Mask]:
    if image.ndim != 2:
        raise DataError(f"The image has {image.ndim} dimensions.", "Give one image of rows and columns.")
    if mask is not None and mask.shape != image.shape:
        raise DataError(f"The mask has shape {mask.shape}, the image {image.shape}.", "Give the mask of this image.")
    values = np.asarray(image, dtype=np.float32)
    invalid = ~np.isfinite(values)
    if image.dtype.kind == "u":
        invalid |= image == np.iinfo(image.dtype).max
    if mask is not None:
        invalid |= mask
    if invalid.all():
        raise DataError("No pixel of the image is left.", "Check the mask: True means excluded.")
    values = np.where(invalid, np.float32(0), values)
    return values, invalid | _lone_pixels(values, invalid)


def _lone_pixels(values: _Singles, invalid: _Mask) -> _Mask:
    """Return pixels that differ from all their neighbours by far more than noise: hot and dead ones."""
    roots = np.sqrt(np.maximum(values, 0.0) + np.float32(0.375)) * 2
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
    roots[invalid] = 0
    largest = ndimage.maximum_filter(roots, footprint=ring)
    roots[invalid] = np.inf
    smallest = ndimage.minimum_filter(roots, footprint=ring)
    roots[invalid] = 0
    # A spot through a sharp point spread still gives its neighbours a good part of its counts.
    return np.asarray((roots > 2.0 * largest + 6.0) | (roots < 0.4 * smallest - 4.0))


def _noise_model(values: _Singles, invalid: _Mask) -> tuple[float, float]:
    """Return gain and offset of variance = gain · (value + offset), from neighbours' differences.

    The diagonal difference of 2 x 2 pixels has four times the variance of one and sees neither slopes nor, much,
    ridges. Counting detectors have gain 1 and offset 0; the offset stands for the noise of read-out.
    """
    rows, columns = (n // NOISE_TILE * NOISE_TILE for n in values.shape)
    if min(rows, columns) == 0:
        return 1.0, 0.0
    quads = values[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2)
    bad = np.asarray(invalid[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).any(axis=(1, 3)))
    difference = np.abs(quads[:, 0, :, 0] - quads[:, 0, :, 1] - quads[:, 1, :, 0] + quads[:, 1, :, 1])
    mean = quads.mean(axis=(1, 3))
    half = NOISE_TILE // 2

    def tiles(array: NDArray[Any]) -> NDArray[Any]:
        split = array.reshape(array.shape[0] // half, half, array.shape[1] // half, half)
        return split.transpose(0, 2, 1, 3).reshape(-1, half * half)

    good = tiles(~bad)
    enough = good.mean(axis=1) > 0.9
    difference, mean = tiles(difference)[enough], tiles(mean)[enough]
    if len(mean) < 8:
        return 1.0, 0.0
    level = np.median(mean, axis=1).astype(np.float64)
    variance = (np.median(difference, axis=1).astype(np.float64) / 0.6745) ** 2 / 4.0
    bright = level > 8.0  # below, the median of whole numbers tells little of the variance
    if bright.sum() < 8:
        return 1.0, 0.0
    gain = float(np.percentile(variance[bright] / level[bright], 30))
    if 0.6 < gain < 1.4:
        return 1.0, 0.0
    return max(gain, 1e-6), 0.0


def _level(values: _Singles, invalid: _Mask, binning: int, gain: float, offset: float) -> _Level:
    counts, bad = _binned(values, invalid, binning)
    roots = 2.0 * np.sqrt(np.maximum(counts / np.float32(gain) + np.float32(offset), 0.0) + np.float32(0.375))
    if bad.any():
        # Gaps are filled from their surroundings, so that no edge remains; what is near them is not used all the same.
        weight = (~bad).astype(np.float32)
        width = 4.0
        filled = ndimage.gaussian_filter(roots * weight, width, truncate=3.0)
        total = ndimage.gaussian_filter(weight, width, truncate=3.0)
        mean = np.float32(roots[~bad].mean())
        filled = np.where(total > 1e-3, filled / np.maximum(total, np.float32(1e-3)), mean)
        roots = np.where(bad, filled, roots)
        near = ndimage.gaussian_filter(bad.astype(np.float32), SMOOTHING, truncate=3.0) > _weight_at_clearance()
        clear = ~near
    else:
        clear = np.ones(roots.shape, np.bool_)
    margin = math.ceil(CLEARANCE * SMOOTHING)
    clear[:margin] = clear[-margin:] = False
    clear[:, :margin] = clear[:, -margin:] = False
    return _Level(binning, roots.astype(np.float32, copy=False), clear)


def _weight_at_clearance() -> float:
    """Return the smoothed mask at the clearance from one excluded pixel."""
    return 1.0 / (2.0 * math.pi * SMOOTHING**2) * math.exp(-0.5 * CLEARANCE**2)


def _binned(values: _Singles, invalid: _Mask, binning: int) -> tuple[_Singles, _Mask]:
    """Return counts in squares of pixels, and where more than half of a square is excluded."""
    if binning == 1:
        return values, invalid
    rows, columns = (n // binning for n in values.shape)
    cut = np.s_[: rows * binning, : columns * binning]
    masked = np.where(invalid, np.float32(0), values)[cut]
    parts = [masked[i::binning, j::binning] for i in range(binning) for j in range(binning)]
    valid = [(~invalid[cut])[i::binning, j::binning] for i in range(binning) for j in range(binning)]
    number = np.sum(valid, axis=0, dtype=np.float32)
    total = np.sum(parts, axis=0, dtype=np.float32)
    counts = total * np.float32(binning**2) / np.maximum(number, np.float32(1))
    return np.asarray(counts, np.float32), np.asarray(number < 0.5 * binning**2)


def _ridges_and_spots(level: _Level) -> tuple[_Ridges, _Ridges]:
    smooth = ndimage.gaussian_filter(level.roots, SMOOTHING, truncate=3.5)
    inner = smooth[1:-1, 1:-1]
    hyy = smooth[2:, 1:-1] - 2 * inner + smooth[:-2, 1:-1]
    hxx = smooth[1:-1, 2:] - 2 * inner + smooth[1:-1, :-2]
    hxy = 0.25 * (smooth[2:, 2:] - smooth[2:, :-2] - smooth[:-2, 2:] + smooth[:-2, :-2])
    half, spread = 0.5 * (hyy + hxx), np.hypot(0.5 * (hyy - hxx), hxy)
    # Standard deviation of a second derivative of white noise of unit variance: sqrt(3 / 16π) / σ³.
    noise = math.sqrt(3.0 / (16.0 * math.pi)) / SMOOTHING**3
    strength = (spread - half) / np.float32(noise)
    candidate = (strength > FAINTEST) & level.clear[1:-1, 1:-1]
    iy, ix = np.nonzero(candidate)
    a, b, c = hyy[iy, ix], hxy[iy, ix], hxx[iy, ix]
    s, eigen, other = strength[iy, ix], half[iy, ix] - spread[iy, ix], half[iy, ix] + spread[iy, ix]
    normal = 0.5 * np.arctan2(2 * b, a - c) + 0.5 * np.pi  # of the smaller eigenvalue; angle from the y axis to x
    ny, nx = np.cos(normal), np.sin(normal)
    gy = 0.5 * (smooth[iy + 2, ix + 1] - smooth[iy, ix + 1])
    gx = 0.5 * (smooth[iy + 1, ix + 2] - smooth[iy + 1, ix])
    shift = -(gy * ny + gx * nx) / eigen
    on_ridge = np.abs(shift) * np.maximum(np.abs(ny), np.abs(nx)) < 0.6
    y, x = iy + 1 + shift * ny, ix + 1 + shift * nx
    spot = on_ridge & (other < ROUNDNESS * eigen) & (s > FAINTEST_SPOT)
    spots = _maxima(spot, iy, ix, a, b, c, gy, gx, s, strength.shape, level.binning)
    keep = on_ridge & (other > ROUNDNESS * eigen)
    keep[keep] = _stands_out(smooth, iy[keep] + 1, ix[keep] + 1, ny[keep], nx[keep])
    chain = _chains(iy[keep], ix[keep], y[keep], x[keep], ny[keep], nx[keep], s[keep], strength.shape)
    chain = _without_flanks(chain, y[keep], x[keep], s[keep], spots, level.binning)
    kept = chain >= 0
    index = np.nonzero(keep)[0][kept]
    ridges = _Ridges(
        _unbinned(y[index], level.binning),
        _unbinned(x[index], level.binning),
        np.asarray(normal[index] % np.pi, np.float64),
        np.asarray(s[index], np.float64),
        chain[kept],
        level.binning,
    )
    return ridges, spots


def _stands_out(
    smooth: _Singles, iy: NDArray[np.intp], ix: NDArray[np.intp], ny: _Singles, nx: _Singles
) -> NDArray[np.bool_]:
    """Tell ridges from the edges of shadows: those fall off to one side only."""
    rows, columns = smooth.shape
    step_y, step_x = np.rint(SIDE * ny).astype(np.intp), np.rint(SIDE * nx).astype(np.intp)
    top = smooth[iy, ix]
    one, other = (
        top - smooth[(iy + sign * step_y).clip(0, rows - 1), (ix + sign * step_x).clip(0, columns - 1)]
        for sign in (1, -1)
    )
    return np.asarray(np.minimum(one, other) > LEAST_FALL * np.maximum(one, other))


def _unbinned(index: NDArray[np.floating], binning: int) -> _Array:
    return (np.asarray(index, np.float64) + 0.5) * binning


def _maxima(
    spot: _Mask,
    iy: NDArray[np.intp],
    ix: NDArray[np.intp],
    a: _Singles,
    b: _Singles,
    c: _Singles,
    gy: _Singles,
    gx: _Singles,
    strength: _Singles,
    shape: tuple[int, int],
    binning: int,
) -> _Ridges:
    """Return the maxima among round points, to a fraction of a pixel by Newton's step."""
    determinant = a * c - b * b
    safe = np.where(spot, determinant, 1.0)
    dy, dx = -(c * gy - b * gx) / safe, -(a * gx - b * gy) / safe
    here = np.nonzero(spot & (np.abs(dy) < 0.75) & (np.abs(dx) < 0.75))[0]
    field = np.zeros(shape, np.float32)
    field[iy[here], ix[here]] = strength[here]
    largest = ndimage.maximum_filter(field, size=3)[iy[here], ix[here]] == strength[here]
    here = here[largest]
    nothing = np.full(len(here), np.nan)
    return _Ridges(
        _unbinned(iy[here] + 1 + dy[here], binning),
        _unbinned(ix[here] + 1 + dx[here], binning),
        nothing,
        strength[here].astype(np.float64),
        np.full(len(here), -1, np.int32),
        binning,
    )


def _chains(
    iy: NDArray[np.intp],
    ix: NDArray[np.intp],
    y: _Singles,
    x: _Singles,
    ny: _Singles,
    nx: _Singles,
    strength: _Singles,
    shape: tuple[int, int],
) -> NDArray[np.int32]:
    """Return the chain of each ridge pixel, −1 for none: neighbours that point the same way, on each other's line."""
    number = np.full((shape[0] + 2, shape[1] + 2), -1, np.int32)
    number[iy + 1, ix + 1] = np.arange(len(iy), dtype=np.int32)
    starts, ends = [], []
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
        neighbour = number[iy + 1 + dy, ix + 1 + dx]
        one = np.nonzero(neighbour >= 0)[0]
        two = neighbour[one]
        parallel = np.abs(ny[one] * ny[two] + nx[one] * nx[two]) > 0.85
        along_y, along_x = y[two] - y[one], x[two] - x[one]
        aside = np.abs(along_y * ny[one] + along_x * nx[one]) + np.abs(along_y * ny[two] + along_x * nx[two])
        fits = parallel & (aside < 1.2)
        starts.append(one[fits])
        ends.append(two[fits])
    row, column = np.concatenate(starts), np.concatenate(ends)
    graph = sparse.coo_matrix((np.ones(len(row), np.int8), (row, column)), shape=(len(iy), len(iy)))
    n, label = sparse.csgraph.connected_components(graph, directed=False)
    length = np.bincount(label, minlength=n)
    mean = np.bincount(label, strength, minlength=n) / np.maximum(length, 1)
    # The sum of k independent excesses over the threshold grows as k, its noise as its root.
    clear = (length >= SHORTEST) & (
        mean > FAINTEST + (HYSTERESIS - FAINTEST) * np.sqrt(SHORTEST / np.maximum(length, 1))
    )
    renumbered = np.where(clear, np.cumsum(clear) - 1, -1).astype(np.int32)
    return np.asarray(renumbered[label], np.int32)


def _without_flanks(
    chain: NDArray[np.int32], y: _Singles, x: _Singles, strength: _Singles, spots: _Ridges, binning: int
) -> NDArray[np.int32]:
    """Leave out chains that are the flanks of round spots: ridges that radiate from them in all directions."""
    if not len(spots.y) or not len(chain):
        return chain
    places = np.column_stack((_unbinned(y, binning), _unbinned(x, binning)))
    tree = spatial.cKDTree(np.column_stack((spots.y, spots.x)))
    found: Any = tree.query(places, distance_upper_bound=FLANK * binning)
    distance, nearest = found
    near = np.isfinite(distance)
    near[near] = strength[near] < spots.strength[nearest[near]]
    chained = chain >= 0
    n = int(chain.max(initial=-1)) + 1
    length = np.bincount(chain[chained], minlength=n)
    flanks = np.bincount(chain[chained & near], minlength=n)
    genuine = (length > LONGEST_FLANK) | (2 * flanks < length)
    renumbered = np.where(genuine, np.cumsum(genuine) - 1, -1).astype(np.int32)
    return np.where(chained, renumbered[chain], np.int32(-1)) if n else chain


def _unless_seen(new: _Ridges, old: list[_Ridges]) -> _Ridges:
    """Leave out what a finer level has found already."""
    old = [ridges for ridges in old if len(ridges.y)]
    if not old or not len(new.y):
        return new
    seen = spatial.cKDTree(np.concatenate([np.column_stack((r.y, r.x)) for r in old]))
    distance, _ = seen.query(np.column_stack((new.y, new.x)), distance_upper_bound=2.0 * SMOOTHING * new.binning)
    fresh = ~np.isfinite(distance)
    # What remains of a chain that was mostly seen is not worth having.
    count = np.bincount(new.chain[fresh & (new.chain >= 0)], minlength=int(new.chain.max(initial=0)) + 1)
    fresh &= (new.chain < 0) | (count[new.chain] >= SHORTEST)
    return _Ridges(new.y[fresh], new.x[fresh], new.normal[fresh], new.strength[fresh], new.chain[fresh], new.binning)


def _selected(found: list[_Ridges], spots: list[_Ridges], maximum_points: int) -> RingPoints:
    """Thin the chains to even steps, with the direction that their course tells, and add the clearest spots."""
    parts: list[RingPoints] = []
    total = sum(len(ridges.y) for ridges in found)
    first = 0
    for ridges in found:
        if not len(ridges.y):
            continue
        parts.append(_thinned(ridges, first, max(4.0, total / maximum_points)))
        first += int(ridges.chain.max()) + 1
    parts += [_points_of(maxima) for maxima in spots if len(maxima.y)]
    if not parts:
        empty = np.empty(0)
        return RingPoints(y=empty, x=empty, direction=empty, strength=empty, sigma=empty, chain=np.empty(0, np.int32))
    names = ("y", "x", "direction", "strength", "sigma", "chain")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    if len(joined["y"]) > maximum_points:
        order = _clearest(joined["strength"], joined["chain"] < 0, maximum_points)
        joined = {name: values[order] for name, values in joined.items()}
    return RingPoints(**joined)


def _clearest(strength: _Array, spot: _Mask, n: int) -> NDArray[np.intp]:
    """Return the n clearest points, chains first, but for the share of the spots."""
    by_strength = np.argsort(-strength, kind="stable")
    chains, spots = by_strength[~spot[by_strength]], by_strength[spot[by_strength]]
    share = max(n - len(chains), min(len(spots), int(LEAST_SHARE_OF_SPOTS * n)))
    return np.sort(np.concatenate((chains[: n - share], spots[:share])))


def _points_of(maxima: _Ridges) -> RingPoints:
    return RingPoints(
        y=maxima.y,
        x=maxima.x,
        direction=maxima.normal,
        strength=maxima.strength,
        sigma=np.full(len(maxima.y), 0.3 * maxima.binning),
        chain=maxima.chain,
    )


def _thinned(ridges: _Ridges, first: int, step: float) -> RingPoints:
    """Take every so many pixels along each chain; direction from the course of the chain around each."""
    here = np.column_stack((ridges.y, ridges.x)) / ridges.binning
    # Each chain far from the others in a third dimension, so that neighbours are of the same chain.
    here = np.column_stack((here, 1e4 * ridges.chain))
    cell = np.floor(here[:, :2] / step).astype(np.int64)
    key = (ridges.chain.astype(np.int64) * 100_003 + cell[:, 0]) * 100_003 + cell[:, 1]
    order = np.lexsort((-ridges.strength, key))
    chosen = order[np.r_[True, key[order][1:] != key[order][:-1]]]
    tree = spatial.cKDTree(here)
    pairs: Any = tree.query_ball_point(here[chosen], 9.0)
    lengths = np.array([len(p) for p in pairs])
    flat = np.concatenate([np.asarray(p, np.intp) for p in pairs])
    owner = np.repeat(np.arange(len(chosen)), lengths)
    weight = ridges.strength[flat]

    def mean(values: _Array) -> _Array:
        return np.bincount(owner, weight * values, len(chosen)) / np.bincount(owner, weight, len(chosen))

    dy, dx = here[flat, 0], here[flat, 1]
    my, mx = mean(dy), mean(dx)
    dy, dx = dy - my[owner], dx - mx[owner]
    yy, xx, xy = mean(dy * dy), mean(dx * dx), mean(dy * dx)
    along = 0.5 * np.arctan2(2 * xy, yy - xx)  # angle of the long axis
    normal = (along + 0.5 * np.pi) % np.pi
    width = np.sqrt(np.maximum(0.5 * (yy + xx) - np.hypot(0.5 * (yy - xx), xy), 1e-3))
    short = lengths < 5
    normal = np.where(short, ridges.normal[chosen], normal)
    return RingPoints(
        y=ridges.y[chosen],
        x=ridges.x[chosen],
        direction=(0.5 * np.pi - normal) % np.pi,
        strength=ridges.strength[chosen],
        sigma=np.clip(width, 0.1, 1.0) * ridges.binning,
        chain=(ridges.chain[chosen] + first).astype(np.int32),
    )
