"""Fits of one ring in many sectors of azimuth, to counts at the exact places of pixels.

A sector is described by four numbers: counts A of the ring per pixel of its length, its place δ, and a straight
background b0 + b1 u; the width s of the ring is one number for all sectors. The mean counts of a pixel whose centre is
at the distance u from where the ring is expected are

    M = A · P(u − δ) + b0 + b1 u,   P(t) = [Φ((t + a/2)/s') − Φ((t − a/2)/s')]/a,   s'² = s² + b²/12

with a ≥ b the lengths of the pixel's sides seen across the ring: a Gaussian integrated over the pixel, exactly along
its longer side and by its variance along the shorter one (b ≤ 0.71 pixels: what is neglected is b⁴/120 of a fourth
moment). So places have no error that depends on where in a pixel the ring falls.

Weights are 1/M, never 1/counts, which would favour pixels that happen to have few. Standard errors are those that
the counts themselves have in these weights (A⁻¹BA⁻¹ of a weighted fit, B from the counts), so they hold for rings that
are not Gaussian too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]

ITERATIONS = 6
PLACE, AMPLITUDE, LEVEL, SLOPE = range(4)
SMALLEST_WIDTH = 0.15
"""Standard deviation of a ring in pixels below which it is all the same to the pixels."""
OUTLIER = 8.0
"""Standard deviations (of their sector's own scatter) beyond which pixels are hot, dead or another thing."""
LARGEST_STEP = 0.7
"""Of a place in one iteration, in total widths of the ring."""
TINY = 1e-30
HALF_ROOT = 0.7071067811865476


@dataclass(frozen=True)
class SectorPixels:
    """The pixels of one ring, sector by sector.

    Attributes
    ----------
    u : ndarray of float64 (n,)
        Distance of pixel centres from the expected ring in pixels, outwards.
    counts : ndarray of float64 (n,)
    first : ndarray of intp (n_sectors,)
        Where each sector begins; none is empty.
    sector : ndarray of intp (n,)
        Number of the sector of each pixel.
    long_side, short_side : ndarray of float64 (n_sectors,)
        Of a pixel, seen across the ring, in pixels.
    stretch : ndarray of float64 (n_sectors,)
        Width of the ring in pixels there relative to its mean one.
    """

    u: _Array
    counts: _Array
    first: NDArray[np.intp]
    sector: NDArray[np.intp]
    long_side: _Array
    short_side: _Array
    stretch: _Array

    def within(self, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.intp], SectorPixels]:
        """Return the chosen pixels, and the numbers of the sectors that have any."""
        at = np.flatnonzero(chosen)
        number = self.sector[at]
        kept, first = np.unique(number, return_index=True)
        renumbered = np.searchsorted(kept, number) if kept.size < self.first.size else number
        sides = self.long_side[kept], self.short_side[kept], self.stretch[kept]
        return kept, SectorPixels(self.u[at], self.counts[at], first, renumbered, *sides)

    def sums(self, values: _Array) -> _Array:
        """Return the sum over each sector."""
        return np.asarray(np.add.reduceat(values, self.first))


@dataclass(frozen=True)
class SectorFits:
    """What the sectors of a ring gave.

    Attributes
    ----------
    place, place_error : ndarray of float64 (n_sectors,)
        δ in pixels, NaN where the fit failed.
    amplitude, amplitude_error : ndarray of float64 (n_sectors,)
    total_width : ndarray of float64 (n_sectors,)
        Standard deviation of the ring as pixels see it.
    dispersion : ndarray of float64 (n_sectors,)
        Variance of counts over their mean in the wings, where single grains do not count; NaN if too few.
    balance : ndarray of float64 (n_sectors,)
        How evenly inner flank, ridge and outer flank are seen, 0 (one of them not at all) to 1.
    width : float
        s, the standard deviation of the ring in pixels.
    used : ndarray of bool (n,)
        Pixels that counted.
    """

    place: _Array
    place_error: _Array
    amplitude: _Array
    amplitude_error: _Array
    total_width: _Array
    dispersion: _Array
    balance: _Array
    width: float
    used: NDArray[np.bool_]


def fit_sectors(pixels: SectorPixels, place: _Array, width: float, half_window: _Array) -> SectorFits:
    """Fit one ring in all its sectors.

    Parameters
    ----------
    pixels : SectorPixels
    place : ndarray of float64 (n_sectors,)
        Start of δ.
    width : float
        Start of s, pixels.
    half_window : ndarray of float64 (n_sectors,)
        Pixels up to this far from `place` count.
    """
    near = np.abs(pixels.u - place[pixels.sector]) <= half_window[pixels.sector]
    kept, some = pixels.within(near)
    found = _fit(some, place[kept], width, half_window[kept])
    if kept.size == place.size:
        return replace(found, used=_spread(found.used, near, False))
    seen = np.isin(np.arange(place.size), kept)
    return SectorFits(
        place=_spread(found.place, seen, np.nan),
        place_error=_spread(found.place_error, seen, np.nan),
        amplitude=_spread(found.amplitude, seen, 0.0),
        amplitude_error=_spread(found.amplitude_error, seen, np.inf),
        total_width=_spread(found.total_width, seen, found.width),
        dispersion=_spread(found.dispersion, seen, np.nan),
        balance=_spread(found.balance, seen, 0.0),
        width=found.width,
        used=_spread(found.used, near, False),
    )


def _spread(values: NDArray[Any], chosen: NDArray[np.bool_], otherwise: float | bool) -> NDArray[Any]:
    """Return values at the chosen places of a longer array."""
    whole = np.full(chosen.shape, otherwise, values.dtype)
    whole[chosen] = values
    return whole


def _fit(pixels: SectorPixels, place: _Array, width: float, half_window: _Array) -> SectorFits:
    """Fit sectors to all of their pixels."""
    sector = pixels.sector
    used = np.ones(pixels.u.size, np.bool_)
    slope = (pixels.u - place[sector]) / half_window[sector]
    number = np.diff(np.append(pixels.first, pixels.u.size))
    numbers = np.zeros((4, place.size))
    numbers[PLACE] = place
    mean = pixels.sums(pixels.counts) / number
    floor = 0.02 * mean + 1e-3
    expected = np.maximum(mean, floor)[sector]
    step = _Step(pixels, slope)
    weight = 1.0 / expected
    shape = profile(pixels, place, width)
    for iteration in range(ITERATIONS):
        numbers, width = step.taken(numbers, width, weight, shape, free_width=iteration > 1)
        numbers[PLACE] = np.clip(numbers[PLACE], place - 0.5 * half_window, place + 0.5 * half_window)
        shape = profile(pixels, numbers[PLACE], width)
        model = numbers[AMPLITUDE][sector] * shape.value + numbers[LEVEL][sector] + numbers[SLOPE][sector] * slope
        expected = np.maximum(model, floor[sector])
        if iteration in (1, 3):
            used &= _likely(pixels, pixels.counts - model, expected, used)
        weight = np.where(used, 1.0 / expected, 0.0)
    return _result(pixels, step, numbers, width, weight, shape, expected, used)


@dataclass(frozen=True)
class Shape:
    """The profile at pixels with its derivatives by place and by width."""

    value: _Array
    by_place: _Array
    by_width: _Array
    total: _Array  # (n_sectors,) standard deviation, pixel included


def profile(pixels: SectorPixels, place: _Array, width: float) -> Shape:
    """Return P(u − δ) of each pixel."""
    from scipy.special import erf

    local = np.maximum(width, SMALLEST_WIDTH) * pixels.stretch
    spread = np.sqrt(local**2 + pixels.short_side**2 / 12.0)
    side, per_spread = pixels.long_side, 1.0 / spread
    t = (pixels.u - place[pixels.sector]) * per_spread[pixels.sector]
    half = (0.5 * side * per_spread)[pixels.sector]
    upper, lower = t + half, t - half
    per_side = (1.0 / side)[pixels.sector]
    value = 0.5 * (erf(upper * HALF_ROOT) - erf(lower * HALF_ROOT)) * per_side
    high, low = _normal(upper), _normal(lower)
    factor = per_side * per_spread[pixels.sector]
    # d s'/d s = stretch · local/s'
    by_width = (lower * low - upper * high) * factor * (pixels.stretch * local * per_spread)[pixels.sector]
    return Shape(value, (low - high) * factor, by_width, np.sqrt(spread**2 + side**2 / 12.0))


def _normal(t: _Array) -> _Array:
    return np.asarray(np.exp(-0.5 * t * t) * 0.3989422804014327)


@dataclass(frozen=True)
class _Step:
    """Gauss-Newton steps of all sectors at once, joined by the width."""

    pixels: SectorPixels
    slope: _Array  # u from the middle of the window, −1 to 1

    def columns(self, amplitude: _Array, shape: Shape) -> tuple[_Array, ...]:
        """Return the derivatives of M by the four numbers of the sectors; that by b0 is 1."""
        return amplitude[self.pixels.sector] * shape.by_place, shape.value, np.ones_like(self.slope), self.slope

    def normal(self, columns: tuple[_Array, ...], weight: _Array) -> _Array:
        """Return Σ weight · column · column', (n_sectors, 4, 4)."""
        found = np.empty((self.pixels.first.size, 4, 4))
        for one, column in enumerate(columns):
            weighted = weight * column
            for other in range(one, 4):
                found[:, one, other] = found[:, other, one] = self.pixels.sums(weighted * columns[other])
        return found

    def taken(
        self, numbers: _Array, width: float, weight: _Array, shape: Shape, *, free_width: bool
    ) -> tuple[_Array, float]:
        """Return the numbers after one step, and the width."""
        sector, sums = self.pixels.sector, self.pixels.sums
        started = bool(numbers[AMPLITUDE].any())
        columns = self.columns(numbers[AMPLITUDE], shape)
        model = numbers[AMPLITUDE][sector] * columns[1] + numbers[LEVEL][sector] + numbers[SLOPE][sector] * self.slope
        rest = weight * (self.pixels.counts - model)
        normal = self.normal(columns, weight)
        gradient = np.stack([sums(rest * column) for column in columns], axis=1)
        if not started:  # heights and background first: the place is a guess without them
            normal[:, PLACE] = normal[:, :, PLACE] = 0.0
            gradient[:, PLACE] = 0.0
        inverse = _inverse(normal)
        if free_width and started:
            by_width = numbers[AMPLITUDE][sector] * shape.by_width
            weighted = weight * by_width
            cross = np.stack([sums(weighted * column) for column in columns], axis=1)
            own = np.einsum("sij,sj->si", inverse, cross)
            good = (numbers[AMPLITUDE] > 0) & np.isfinite(own).all(axis=1)
            # What each sector says of the width once its own four numbers have followed it.
            score = sums(rest * by_width) - np.einsum("si,si->s", own, gradient)
            information = sums(weighted * by_width) - np.einsum("si,si->s", own, cross)
            change = _common_change(score[good], information[good])
            change = float(np.clip(change, -0.4 * width, 0.7 * width))
            gradient = gradient - change * cross
            width = max(width + change, 0.5 * SMALLEST_WIDTH)
        steps = np.einsum("sij,sj->is", inverse, gradient)
        limit = LARGEST_STEP * shape.total
        steps[PLACE] = np.clip(steps[PLACE], -limit, limit)
        return numbers + steps, width


def _common_change(score: _Array, information: _Array) -> float:
    """Return the step of the common width: Σ score/Σ information, without the sectors that pull hardest."""
    informed = information > TINY
    if not informed.any():
        return 0.0
    each, weight = score[informed] / information[informed], information[informed]
    middle = float(np.median(each))
    near = np.abs(each - middle) <= 4.0 * 1.4826 * np.median(np.abs(each - middle)) + TINY
    return float((each[near] * weight[near]).sum() / weight[near].sum())


def _inverse(normal: _Array) -> _Array:
    """Return the inverse of each matrix; a number that nothing depends on has a row of zeros."""
    diagonal = np.einsum("sii->si", normal)
    scale = np.where(diagonal > TINY, 1.0 / np.sqrt(np.maximum(diagonal, TINY)), 0.0)
    scaled = normal * scale[:, :, None] * scale[:, None, :]
    scaled[:, range(4), range(4)] += np.where(diagonal > TINY, 1e-9, 1.0)
    return np.asarray(np.linalg.inv(scaled) * scale[:, :, None] * scale[:, None, :])


def _likely(pixels: SectorPixels, rest: _Array, expected: _Array, used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which pixels are within the scatter of their sector."""
    square = np.where(used, rest * rest / expected, 0.0)
    scatter = pixels.sums(square) / np.maximum(pixels.sums(used.astype(np.float64)), 1.0)
    return np.asarray(square <= OUTLIER**2 * np.maximum(scatter, 1.0)[pixels.sector])


def _result(
    pixels: SectorPixels,
    step: _Step,
    numbers: _Array,
    width: float,
    weight: _Array,
    shape: Shape,
    expected: _Array,
    used: NDArray[np.bool_],
) -> SectorFits:
    sector, sums = pixels.sector, pixels.sums
    columns = step.columns(numbers[AMPLITUDE], shape)
    inverse = _inverse(step.normal(columns, weight))
    scatter = step.normal(columns, weight * weight * np.maximum(pixels.counts, 0.0))
    covariance = inverse @ scatter @ inverse
    errors = np.sqrt(np.maximum(np.einsum("sii->si", covariance), 0.0))
    away = (pixels.u - numbers[PLACE][sector]) / shape.total[sector]
    wings = used & (np.abs(away) > 3.0)
    in_wings = sums(wings.astype(np.float64))
    square = sums(np.where(wings, (pixels.counts - expected) ** 2 / expected, 0.0))
    failed = (errors[:, PLACE] <= 0) | ~np.isfinite(errors[:, PLACE]) | (numbers[AMPLITUDE] <= 0)
    return SectorFits(
        place=np.where(failed, np.nan, numbers[PLACE]),
        place_error=np.where(failed, np.nan, errors[:, PLACE]),
        amplitude=numbers[AMPLITUDE],
        amplitude_error=errors[:, AMPLITUDE],
        total_width=shape.total,
        dispersion=np.where(in_wings > 20, square / np.maximum(in_wings - 2.0, 1.0), np.nan),
        balance=_balance(pixels, away, used),
        width=width,
        used=used,
    )


def _balance(pixels: SectorPixels, away: _Array, used: NDArray[np.bool_]) -> _Array:
    """Return the fewest over the most pixels among inner flank, ridge and outer flank, each 1.6 widths wide."""
    zones = [pixels.sums((used & (away >= low) & (away < low + 1.6)).astype(np.float64)) for low in (-2.4, -0.8, 0.8)]
    return np.asarray(np.min(zones, axis=0) / np.maximum(np.max(zones, axis=0), 1.0))
