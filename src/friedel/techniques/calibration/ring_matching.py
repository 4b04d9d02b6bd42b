"""How well rings seen agree with those of a calibrant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .ring_scene import Clusters

if TYPE_CHECKING:
    from friedel.instrument.calibrants import Calibrant

_Array = NDArray[np.float64]

LARGEST_ANGLE = 3.0
"""2θ of the last ring that counts, rad."""
PLACE_ERROR = 0.5
"""Error of the place of a ring, pixels, besides that which its points tell."""
EXPECTED_WIDTH = 2.0
"""Standard deviation in pixels of a ring as the detection sees it."""
RADIAL_STEP = 0.5
"""Step in pixels of the expected profile."""
FOREIGN = math.log(0.1)
"""Log probability that a clear ring is not the calibrant's."""
DETECTION_LIMITS = np.array([0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.0005])
"""Relative intensities tried as the faintest that is seen."""


@dataclass(frozen=True)
class Comb:
    """The rings that a calibrant can give: d in Å falling, 2θ and relative intensity at a wavelength in m."""

    spacing: _Array
    two_theta: _Array
    intensity: _Array
    wavelength: float

    @classmethod
    def of(cls, calibrant: Calibrant, wavelength: float) -> Comb:
        rings = calibrant.rings(wavelength, LARGEST_ANGLE)
        intensity = np.asarray(rings.intensity, np.float64)
        relative = np.maximum(intensity / max(float(intensity.max(initial=0.0)), 1e-30), 1e-6)
        spacing = np.asarray(rings.spacing, np.float64)
        return cls(spacing, np.asarray(rings.two_theta, np.float64), relative, wavelength)

    def at(self, wavelength: float) -> Comb:
        """Return the comb at another wavelength: the rings that both have, with the intensity for the new angle."""
        sine = 0.5e10 * wavelength / self.spacing
        inside = sine < math.sin(0.5 * LARGEST_ANGLE)
        two_theta = 2 * np.arcsin(sine[inside])
        old = self.two_theta[inside]
        factor = np.sin(0.5 * old) * np.sin(old) / (np.sin(0.5 * two_theta) * np.sin(two_theta))
        intensity = self.intensity[inside] * factor
        return Comb(self.spacing[inside], two_theta, intensity / intensity.max(initial=1e-300), wavelength)


@dataclass(frozen=True)
class Match:
    """Rings seen against rings expected.

    score : log likelihood ratio against rings at random
    target : (m,) 2θ that the calibrant gives each ring seen; NaN for those that are nowhere
    line : (e,) 2θ of what should be seen, rings that are not resolved being one
    clear : (e,) bool, those that should be seen as well as the others
    """

    score: float
    target: _Array
    line: _Array
    clear: NDArray[np.bool_]

    @property
    def matched(self) -> int:
        return int(np.isfinite(self.target).sum())


def match_rings(rings: Clusters, comb: Comb, view: tuple[_Array, _Array] | None = None) -> Match:
    """Compare rings seen with those of the calibrant.

    A ring of the calibrant in view is detected with probability P, which rises with its intensity over the faintest
    that is seen (chosen for each hypothesis). If detected, it is found at its place with the error of the measurement;
    rings that are nowhere are spread evenly.
    """
    order = np.argsort(rings.two_theta)
    two_theta, slope = rings.two_theta[order], rings.slope[order]
    nothing = Match(-math.inf, np.full(len(order), np.nan), np.empty(0), np.empty(0, np.bool_))
    if len(order) < 2 or not two_theta[-1] > two_theta[0]:
        return nothing
    (nodes, pixels), expected, height = _expected(two_theta, slope, comb)
    if not len(expected):
        return nothing
    seen = np.interp(two_theta, nodes, pixels)
    tolerance = np.hypot(PLACE_ERROR, np.minimum(rings.width[order] / slope, 2.0))
    rate = len(seen) / (seen[-1] - seen[0])
    gap = np.abs(expected[:, None] - seen)
    gain = -0.5 * (gap / tolerance) ** 2 - np.log(tolerance * rate * math.sqrt(2 * np.pi))
    gain[gap > 3 * tolerance] = -np.inf
    # Each ring seen belongs to one that is expected there.
    owner = np.argmax(gain, axis=0)
    valid = np.isfinite(gain[owner, np.arange(len(seen))])
    best = np.full(len(expected), -np.inf)
    np.maximum.at(best, owner[valid], gain[owner[valid], np.nonzero(valid)[0]])
    matched = np.isfinite(best)
    line = np.interp(expected, pixels, nodes)
    arc = np.ones(len(expected)) if view is None else _arcs(line, view)
    probability = 0.9 * arc / (1.0 + DETECTION_LIMITS[:, None] / height)
    found = np.log(np.maximum(probability, 1e-6)) + np.where(matched, best, 0.0)
    total = np.where(matched, found, np.log1p(-probability)).sum(axis=1)
    foreign = FOREIGN * np.minimum(rings.count[order][~valid] / 10.0, 1.0).sum()
    target = np.full(len(order), np.nan)
    target[order[valid]] = line[owner[valid]]
    clear = height > 0.3 * DETECTION_LIMITS[int(np.argmax(total))]
    return Match(float(total.max() + foreign), target, line, clear)


def _expected(two_theta: _Array, slope: _Array, comb: Comb) -> tuple[tuple[_Array, _Array], _Array, _Array]:
    """Return what the detection makes of the calibrant's rings, a little beyond the range of the rings seen.

    The detection sees minus the second derivative of the smoothed image; rings that are not resolved are one.

    Returns
    -------
    place : (two_theta, pixels across the rings), both rising
    expected : (e,) pixels across the rings
    height : (e,) relative to the largest
    """
    margin = 0.03 * (two_theta[-1] - two_theta[0])
    nodes = np.linspace(max(two_theta[0] - margin, 1e-4), two_theta[-1] + margin, 200)
    across = 1.0 / np.interp(nodes, two_theta, slope)
    pixels = np.concatenate(([0.0], np.cumsum(0.5 * (across[1:] + across[:-1]) * np.diff(nodes))))
    inside = (comb.two_theta > nodes[0]) & (comb.two_theta < nodes[-1])
    where = np.interp(comb.two_theta[inside], nodes, pixels) / RADIAL_STEP
    n = min(int(pixels[-1] / RADIAL_STEP) + 2, 40_000)
    low = np.minimum(where.astype(np.int64), n - 2)
    part = where - low
    weight = comb.intensity[inside]
    profile = np.bincount(low, weight * (1 - part), n) + np.bincount(low + 1, weight * part, n)
    smooth = ndimage.gaussian_filter1d(profile, EXPECTED_WIDTH / RADIAL_STEP, order=2, truncate=4.0, mode="constant")
    response = -smooth
    middle = response[1:-1]
    peak = np.nonzero((middle > response[:-2]) & (middle >= response[2:]) & (middle > 0))[0] + 1
    left, here, right = response[peak - 1], response[peak], response[peak + 1]
    shift = 0.5 * (left - right) / np.minimum(left - 2 * here + right, -1e-300)
    keep = here > 1e-5 * here.max(initial=0.0)
    return (nodes, pixels), ((peak + shift) * RADIAL_STEP)[keep], (here / here.max(initial=1e-300))[keep]


def _arcs(expected: _Array, view: tuple[_Array, _Array]) -> _Array:
    """Return how well a ring is in view: from 0 to 1 for arcs long enough to be found."""
    angle, slope = view
    half = 0.01 * (angle[-1] - angle[0])
    low, high = np.searchsorted(angle, expected - half), np.searchsorted(angle, expected + half)
    total = np.concatenate(([0.0], np.cumsum(slope)))
    # number of view places within ±half, times their slope, over the width: length of the arc in view steps
    length = (total[high] - total[low]) / (2 * half) * 1.0
    steps = length * (1.0 / 48)
    return np.asarray(np.clip(steps * 20, 0.02, 1.0))
