"""Which rings an image shows, without looking at control points: the mean over the azimuth against 2θ.

Steps of 2θ are as wide as a pixel. Peaks that rise clearly above the background and noise are compared with the rings
of the calibrant: a strong peak that belongs to none, or a strong ring that is not there, speaks against the geometry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from friedel.instrument import Calibrant, Geometry

from .findings import Finding, State

_Array = NDArray[np.float64]

TOLERANCE = 2.5
"""Steps between a peak and its ring."""
CLEAR = 6.0
"""Noise of the pattern above which a peak is one."""
STRONG_PEAK = 0.1
"""Part of the highest peak from which a peak without a ring counts."""
STRONG_RING = 0.15
"""Part of the strongest expected ring from which a ring without a peak counts."""
LEAST_PIXELS = 30
"""Pixels of a step; fewer say nothing."""
LOWEST_PEAK = 0.02
"""Part of the highest peak below which peaks are left out."""
SCATTER_STEPS = 15
FEWEST_STEPS = 20
EXPLAINED, UNEXPLAINED = 0.7, 0.4
PRESENT, ABSENT = 0.6, 0.3
FEWEST = 3
FEWEST_FOR_CEILING, CEILING = 5, 3.0
"""Of so many peaks none counts as higher than so many times the third of them."""


@dataclass(frozen=True)
class VisibleRings:
    """Peaks of an image and rings of a calibrant.

    Attributes
    ----------
    two_theta : ndarray of float64 (n,)
        Middle of the steps, rad.
    pattern : ndarray of float64 (n,)
        Mean intensity, NaN where there are too few pixels.
    peaks, heights : ndarray of float64 (n_peaks,)
        2θ of the peaks, and by how much they rise above the valleys beside them.
    matched : ndarray of bool (n_peaks,)
        Whether a peak is where a ring is.
    by_chance : float
        Part of 2θ that lies near a ring: so many peaks would be matched by any geometry.
    expected : ndarray of int32 (n_rings,)
        Numbers of the strong rings that should be seen.
    present : ndarray of bool (n_rings,)
    """

    two_theta: _Array
    pattern: _Array
    peaks: _Array
    heights: _Array
    matched: NDArray[np.bool_]
    by_chance: float
    expected: NDArray[np.int32]
    present: NDArray[np.bool_]

    @classmethod
    def look(
        cls, image: NDArray[Any], mask: NDArray[np.bool_] | None, geometry: Geometry, calibrant: Calibrant
    ) -> VisibleRings:
        """Look at one image."""
        two_theta, pattern, noise, step = _pattern(image, mask, geometry)
        known = np.isfinite(pattern)
        peaks, heights, half = _peaks(pattern, noise)
        wavelength = geometry.wavelength
        rings = calibrant.rings(wavelength, min(np.pi, two_theta[-1] + step)) if wavelength else None
        places = np.zeros(0) if rings is None else np.asarray(rings.two_theta)
        reach = TOLERANCE * step
        matched = _nearest(two_theta[peaks], places) < np.maximum(reach, half * step)
        near = _nearest(two_theta[known], places) < reach
        expected, present = np.zeros(0, np.int32), np.zeros(0, np.bool_)
        if rings is not None and len(rings):
            expected = _expected(places, np.asarray(rings.intensity), two_theta, known, step)
            widest = float(np.median(half)) * step if half.size else 0.0
            present = _nearest(places[expected], two_theta[peaks]) < max(reach, widest)
        return cls(
            two_theta=two_theta,
            pattern=pattern,
            peaks=two_theta[peaks],
            heights=heights,
            matched=matched,
            by_chance=float(near.mean()) if near.size else 1.0,
            expected=expected,
            present=present,
        )

    @property
    def explained(self) -> float:
        """Part of the heights of all peaks that belongs to rings; NaN without peaks."""
        return float(self.heights[self.matched].sum() / self.heights.sum()) if self.heights.size else np.nan

    def findings(self, name: str) -> list[Finding]:
        """Return what this says of the geometry and of the calibrant `name`."""
        return [*self._about_peaks(name), *self._about_rings(name)]

    def _about_peaks(self, name: str) -> list[Finding]:
        if not self.heights.size:
            text = "The pattern shows no clear peak."
            return [Finding("peaks", "doubtful", text, "Expose longer; mask what is not the calibrant.")]
        strong = ~self.matched & (self.heights > STRONG_PEAK * self.heights.max())
        places = ", ".join(f"{np.degrees(angle):.3f}°" for angle in self.peaks[strong][:5])
        if self.explained < EXPLAINED and strong.any():
            text = (
                f"{100 * self.explained:.0f} % of the peaks' heights belong to rings of {name}; peaks at {places} "
                "belong to none."
            )
            state: State = "failed" if self.explained < UNEXPLAINED else "doubtful"
            return [Finding("peaks", state, text, "Check the calibrant and the energy; mask other scatterers.")]
        text = f"{100 * self.explained:.0f} % of the peaks' heights belong to rings of {name}."
        return [Finding("peaks", "good", text)]

    def _about_rings(self, name: str) -> list[Finding]:
        if len(self.expected) < FEWEST:
            return []
        part = float(self.present.mean())
        text = f"{int(self.present.sum())} of the {len(self.expected)} strong rings of {name} on the detector are seen."
        if part < PRESENT:
            missing = ", ".join(str(number) for number in self.expected[~self.present][:8])
            state: State = "failed" if part < ABSENT else "doubtful"
            advice = "Check the calibrant and the energy; few grains or strong texture also hide rings."
            return [Finding("rings seen", state, f"{text} Not seen: {missing}.", advice)]
        return [Finding("rings seen", "good", text)]


def _pattern(
    image: NDArray[Any], mask: NDArray[np.bool_] | None, geometry: Geometry
) -> tuple[_Array, _Array, _Array, float]:
    """Return 2θ of steps, mean intensity, its noise, and the step."""
    two_theta = geometry.center_array("2th_rad")
    values = np.asarray(image, np.float64)
    valid = np.isfinite(values) & np.isfinite(two_theta)
    if mask is not None:
        valid &= ~mask
    rows, columns = np.nonzero(valid[: values.shape[0] - 1, : values.shape[1] - 1])
    chosen = slice(None, None, max(1, rows.size // 20000))
    y, x = rows[chosen], columns[chosen]
    across = np.hypot(two_theta[y + 1, x] - two_theta[y, x], two_theta[y, x + 1] - two_theta[y, x])
    step = float(np.median(across)) if across.size else 1e-3
    angles, counts = two_theta[valid], values[valid]
    low = float(angles.min()) if angles.size else 0.0
    number = ((angles - low) / step).astype(np.int64)
    n = int(number.max()) + 1 if number.size else 1
    pixels = np.bincount(number, minlength=n)
    total = np.bincount(number, counts, n)
    square = np.bincount(number, counts * counts, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / pixels
        noise = np.sqrt(np.maximum(square / pixels - mean**2, 1e-12) / pixels)
    few = pixels < LEAST_PIXELS
    axis = np.asarray(low + step * (np.arange(n) + 0.5), np.float64)
    return axis, np.where(few, np.nan, mean), np.where(few, np.inf, noise), step


def _peaks(pattern: _Array, noise: _Array) -> tuple[NDArray[np.intp], _Array, _Array]:
    """Return where clear peaks are, how high they rise above both sides, and their half widths in steps.

    How high a peak rises above the higher of the two valleys beside it does not ask what the background is: the edge of
    a beam stop is no peak.
    """
    known = np.isfinite(pattern)
    if known.sum() < FEWEST_STEPS:
        return np.zeros(0, np.intp), np.zeros(0), np.zeros(0)
    places = np.arange(pattern.size)
    filled = np.interp(places, places[known], pattern[known])
    # Counting noise, and what single spots make of it, as neighbours show it.
    scatter = median_filter(np.abs(np.diff(filled, append=filled[-1])), SCATTER_STEPS, mode="nearest")
    threshold = CLEAR * np.maximum(np.where(known, noise, np.inf), scatter)
    top = 1 + np.flatnonzero((filled[1:-1] > filled[:-2]) & (filled[1:-1] >= filled[2:]))
    top = top[filled[top] - filled.min() > threshold[top]]
    measured = [_prominence(filled, int(place)) for place in top]
    heights = np.array([height for height, _ in measured])
    half = np.array([width for _, width in measured])
    heights, threshold = np.minimum(heights, _ceiling(heights[heights > threshold[top]])), threshold[top]
    clear = (heights > threshold) & (heights > LOWEST_PEAK * heights.max(initial=0.0))
    return top[clear], heights[clear], half[clear]


def _ceiling(heights: _Array) -> float:
    """Return the height above which a peak counts no more: one bright edge of a beam stop must not hide all rings."""
    return np.inf if heights.size < FEWEST_FOR_CEILING else CEILING * float(np.sort(heights)[-FEWEST])


def _prominence(values: _Array, place: int) -> tuple[float, float]:
    """Return by how much a maximum rises above the higher of the valleys beside it, and its half width there, steps."""
    top = values[place]
    left, right = values[:place][::-1], values[place + 1 :]
    sides = []
    for side in (left, right):
        higher = np.flatnonzero(side > top)
        sides.append(side[: higher[0]] if higher.size else side)
    height = float(top - max(side.min() if side.size else top for side in sides))
    level = top - 0.5 * height
    reach = [int(below[0]) + 0.5 if (below := np.flatnonzero(side < level)).size else side.size for side in sides]
    return height, 0.5 * float(sum(reach))


def _nearest(places: _Array, others: _Array) -> _Array:
    """Return the distance of each place from the nearest of the others (ascending)."""
    if not others.size:
        return np.full(places.size, np.inf)
    after = np.clip(np.searchsorted(others, places), 1, max(others.size - 1, 1))
    candidates = np.stack([others[np.minimum(after, others.size - 1)], others[after - 1]])
    return np.asarray(np.abs(candidates - places).min(axis=0))


def _expected(
    places: _Array, intensity: _Array, two_theta: _Array, known: NDArray[np.bool_], step: float
) -> NDArray[np.int32]:
    """Return the rings that are strong, apart from stronger ones, and on steps with enough pixels."""
    index = np.floor((places - two_theta[0]) / step + 0.5).astype(int)
    inside = (index >= 2) & (index < two_theta.size - 2)
    inside[inside] &= known[index[inside]]
    if not inside.any():
        return np.zeros(0, np.int32)
    strong = inside & (intensity > STRONG_RING * intensity[inside].max())
    alone = np.ones(places.size, np.bool_)
    for number in np.flatnonzero(strong):
        near = np.abs(places - places[number]) < 2.0 * TOLERANCE * step
        near[number] = False
        alone[number] = not (intensity[near] > 0.3 * intensity[number]).any()
    return np.flatnonzero(strong & alone).astype(np.int32)
