"""Where the rings are: places measured in sectors of azimuth, once a geometry is roughly known.

Each ring is cut into sectors, none of which is on two modules. In each, its place is first looked for among means over
strips one pixel wide, then fitted to the counts at the exact places of the pixels (`profiles`). Standard errors come
from the counts; where neighbouring sectors of a ring scatter more than that (few grains, a distortion), what is missing
is added to them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError
from friedel.instrument import Detector, Geometry, Rings
from friedel.instrument.derivatives import pixel_vectors, scattering_angles

from .points import ControlPoints
from .profiles import SectorFits, SectorPixels, fit_sectors
from .scatter import FEWEST, extra_variance

_Array = NDArray[np.float64]

ROWS_AT_A_TIME = 64
MOST_RINGS = 60
SECTOR_LENGTH = 30.0
"""Length of a sector along its ring in pixels, unless that makes more or fewer than:"""
FEWEST_SECTORS, MOST_SECTORS = 36, 360
WIDEST = 24.0
"""Pixels on both sides of a ring that are looked at, at most."""
NARROWEST = 3.0
"""Pixels on both sides of a ring that have to be free of others."""
FWHM = 2.3548200450309493
WINDOW = 1.9
"""Half width of the fitted window in FWHM."""
CLEAR = 2.0
"""Rings nearer than this many FWHM to a neighbour that is as strong are left out,"""
CLEAR_OF_STRONGER = 1.2
"""and this many more for each factor of ten by which it is stronger."""
WELL_CLEAR = 1.35
"""Rings with this many times that room are used alone if there are at least:"""
ENOUGH_RINGS = 6
CROWDED_BIAS = 0.01
"""Part of the FWHM by which neighbours' tails may shift a ring that has less room."""
SIGNIFICANT = 5.0
"""Height over its error from which a sector has a ring."""
MERGE_BELOW = 12.0
"""Sectors of a ring are joined until the median of that is larger."""
BALANCED = 0.55
WEAK_NEIGHBOUR = 3e-3
"""Part of a ring's intensity from which a neighbour counts."""
FEWEST_PIXELS = 30
LEAST_CLIP, CLIPPED_PIXELS = 500, 20
"""Counts, and number of pixels that have just as many, from which these counts are the most that can be counted."""
FAR_MORE, FAR_COUNTS = 4.0, 30.0
"""A pixel is hot or dead if its counts and all of its neighbours' differ by more than this factor and these counts."""


def extract(
    image: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    geometry: Geometry,
    rings: Rings,
    *,
    reach: float = 3.0,
    polarization: float | None = 0.95,
    threads: int = 1,
) -> ControlPoints:
    """Measure where rings are.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Counts.
    mask : ndarray of bool, shape (rows, columns), or None
        True where a pixel does not count, beside those that the detector masks and those that are no number.
    geometry : Geometry
        Off by no more than `reach`.
    rings : Rings
        Of the calibrant at the wavelength of the geometry.
    reach : float
        How far rings may be from where the geometry has them, pixels.
    polarization : float or None
        Polarization factor of the beam (see `Geometry.polarization`), None for none. What fades across a ring shifts
        its middle: by 0.01 pixels where rings are 5 pixels wide and their 2θ grows by 0.1° a pixel.
    threads : int
        Results do not depend on it.

    Returns
    -------
    ControlPoints
        One for each sector with a ring, by ring and azimuth; none where no ring is found.

    Raises
    ------
    DataError
        If image, mask and detector have different shapes.
    """
    valid = _valid(image, mask, geometry)
    slopes = _Slopes(geometry, polarization)
    plans = _plan_rings(geometry, rings, slopes, reach)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        pixels = _collect(image, valid, geometry, rings, plans, pool.map)
        work = [(plan, pixels[plan.ring]) for plan in plans if plan.ring in pixels]
        found = list(pool.map(lambda pair: _measure(pair[0], pair[1], slopes, reach), work))
    parts = [part for part in found if part is not None]
    alone = [part for part in parts if part.room >= WELL_CLEAR]
    parts = alone if len(alone) >= ENOUGH_RINGS else parts
    dispersion = _dispersion(parts)
    scatter = _scatters(parts, dispersion)
    return ControlPoints.joined([_points(part, dispersion, extra) for part, extra in zip(parts, scatter, strict=True)])


def _valid(image: NDArray[Any], mask: NDArray[np.bool_] | None, geometry: Geometry) -> NDArray[np.bool_]:
    """Return which pixels count."""
    detector = geometry.detector
    if image.shape != geometry.shape or (mask is not None and mask.shape != image.shape):
        shapes = [image.shape, geometry.shape, *([] if mask is None else [mask.shape])]
        raise DataError(
            f"Image, detector{' and mask' if mask is not None else ''} have the shapes {shapes}.",
            "Give what belongs together.",
        )
    valid = ~detector.mask()
    if mask is not None:
        valid &= ~mask
    if image.dtype.kind == "f":
        valid &= np.isfinite(image)
        # No detector counts −1 or −2: they mean that there is no value. Noise after a subtraction has other digits.
        valid &= (image >= 0) | (image != np.rint(image))
    elif image.dtype.kind == "i":
        valid &= image >= 0
    elif image.dtype.kind == "u":
        valid &= image < np.iinfo(image.dtype).max - 1
    if detector.dummy is not None and image.dtype.kind != "u":
        valid &= np.abs(image - detector.dummy) > detector.delta_dummy
    return valid & ~_alone(image) & ~_clipped(image, valid)


def _clipped(image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels at the top of what can be counted: many that share the highest value, far above zero."""
    highest = image.max(where=valid, initial=0)
    clipped = np.asarray(valid & (image == highest))
    return clipped if highest > LEAST_CLIP and np.count_nonzero(clipped) >= CLIPPED_PIXELS else np.zeros_like(clipped)


def _alone(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the pixels that have far more or far fewer counts than all four neighbours: hot and dead ones."""
    counts = image.astype(np.float32)
    highest, lowest = np.full_like(counts, -np.inf), np.full_like(counts, np.inf)
    for here, there in (
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
    ):
        for one, other in ((here, there), (there, here)):
            np.maximum(highest[one], counts[other], out=highest[one])
            np.minimum(lowest[one], counts[other], out=lowest[one])
    with np.errstate(invalid="ignore"):
        hot = counts > FAR_MORE * np.maximum(highest, 0.0) + FAR_COUNTS
        dead = FAR_MORE * np.maximum(counts, 0.0) + FAR_COUNTS < lowest
    return np.asarray((hot & (highest >= 0.0)) | (dead & np.isfinite(lowest)))


@dataclass(frozen=True)
class _Plan:
    """What is looked at of a ring.

    Attributes
    ----------
    ring : int
    two_theta : float
    reach : float
        Half width in rad.
    sectors : int
    clear : float
        FWHM that have to be free on each side.
    """

    ring: int
    two_theta: float
    reach: float
    sectors: int
    clear: float


class _Slopes:
    """∇2θ at points of the detector, by pixels."""

    def __init__(self, geometry: Geometry, polarization: float | None) -> None:
        self.geometry, self.polarization = geometry, polarization

    def __call__(self, y: _Array, x: _Array) -> tuple[_Array, _Array, _Array]:
        """Return 2θ (n,), ∂2θ/∂y and ∂2θ/∂x in rad/pixel."""
        detector = self.geometry.detector
        found = scattering_angles(self.geometry, detector.positions_of(y, x))
        by_pixel = np.einsum("ni,nij->nj", found.by_place, pixel_vectors(detector, y, x))
        return found.two_theta, by_pixel[:, 0], by_pixel[:, 1]


def _plan_rings(geometry: Geometry, rings: Rings, slopes: _Slopes, reach: float) -> list[_Plan]:
    """Return what to look at: rings on the detector that stand alone, the strongest of them."""
    rows, columns = geometry.shape
    y, x = (part.ravel() for part in np.meshgrid(np.linspace(0, rows, 41), np.linspace(0, columns, 41), indexing="ij"))
    angle, by_y, by_x = slopes(y, x)
    slope = np.hypot(by_y, by_x)
    low, high = angle.min(), angle.max()
    two_theta, intensity = np.asarray(rings.two_theta), np.asarray(rings.intensity)
    plans = []
    for number in np.flatnonzero((two_theta > low) & (two_theta < high)):
        strong = np.flatnonzero(intensity > WEAK_NEIGHBOUR * intensity[number])
        strong = strong[strong != number]
        others = np.abs(two_theta[strong] - two_theta[number])
        free = 0.5 * float(others.min()) if others.size else np.inf
        stronger = float(intensity[strong[np.argmin(others)]] / intensity[number]) if others.size else 1.0
        clear = 0.5 * (CLEAR + CLEAR_OF_STRONGER * np.log10(max(stronger, 1.0)))
        near = np.argsort(np.abs(angle - two_theta[number]))[:12]
        local = float(np.median(slope[near]))  # rad a pixel
        if free < (NARROWEST + min(reach, NARROWEST)) * local * 0.75:
            continue
        radius = np.sin(two_theta[number]) / local
        sectors = int(np.clip(2.0 * np.pi * radius / SECTOR_LENGTH, FEWEST_SECTORS, MOST_SECTORS))
        plans.append(_Plan(int(number), float(two_theta[number]), min(free, WIDEST * local), sectors, clear))
    strongest = sorted(plans, key=lambda plan: -intensity[plan.ring])[:MOST_RINGS]
    return sorted(strongest, key=lambda plan: plan.ring)


@dataclass(frozen=True)
class _RingPixels:
    """Pixels about one ring: 2θ − 2θ_ring and azimuth in rad, counts, places of centres in pixels, and the module."""

    away: _Array
    azimuth: _Array
    counts: _Array
    y: _Array
    x: _Array
    module: NDArray[np.int16]

    def select(self, chosen: NDArray[Any]) -> _RingPixels:
        """Return some of them."""
        columns = (self.away, self.azimuth, self.counts, self.y, self.x, self.module)
        return _RingPixels(*(column[chosen] for column in columns))


def _collect(
    image: NDArray[Any],
    valid: NDArray[np.bool_],
    geometry: Geometry,
    rings: Rings,
    plans: list[_Plan],
    each: Callable[..., Any],
) -> dict[int, _RingPixels]:
    """Return the pixels about each ring."""
    if not plans:
        return {}
    rows, columns = image.shape
    middle = np.array([plan.two_theta for plan in plans])
    reach = np.array([plan.reach for plan in plans])
    between = 0.5 * (middle[1:] + middle[:-1])
    steps = 1 << 15
    top = middle[-1] + reach[-1]
    table = np.searchsorted(between, np.arange(steps + 1) * (top / steps)).astype(np.int16)

    def slab(start: int) -> tuple[NDArray[np.int16], NDArray[np.intp], _Array, _Array]:
        some = slice(start, min(start + ROWS_AT_A_TIME, rows))
        angle = geometry.center_array("2th_rad", some).ravel()
        number = table[np.minimum((angle * (steps / top)).astype(np.intp), steps)]
        away = angle - middle[number]
        chosen = np.flatnonzero((np.abs(away) < reach[number]) & valid[some].ravel())
        azimuth = geometry.azimuth_center(some).ravel()[chosen]
        return number[chosen], chosen + start * columns, away[chosen], azimuth

    parts = list(each(slab, range(0, rows, ROWS_AT_A_TIME)))
    number = np.concatenate([part[0] for part in parts])
    order = np.argsort(number, kind="stable")
    place = np.concatenate([part[1] for part in parts])[order]
    away = np.concatenate([part[2] for part in parts])[order]
    azimuth = np.concatenate([part[3] for part in parts])[order]
    counts = image.ravel()[place].astype(np.float64)
    y, x = place // columns + 0.5, place % columns + 0.5
    edges = np.searchsorted(number[order], np.arange(len(plans) + 1))
    every = _RingPixels(away, azimuth, counts, y, x, _module_map(geometry.detector).ravel()[place])
    return {
        plan.ring: every.select(np.arange(edges[index], edges[index + 1]))
        for index, plan in enumerate(plans)
        if edges[index + 1] > edges[index]
    }


def _module_map(detector: Detector) -> NDArray[np.int16]:
    """Return the number of the module of each pixel."""
    modules = np.zeros(detector.known_shape(), np.int16)
    for number, (rows, columns) in enumerate(detector.modules()):
        modules[slice(*rows), slice(*columns)] = number
    return modules


@dataclass(frozen=True)
class _Cut:
    """A ring cut into sectors.

    Attributes
    ----------
    plan : _Plan
    pixels : _RingPixels
        By sector.
    sectors : SectorPixels
    unit : ndarray of float64 (n_sectors,)
        rad a pixel across the ring.
    azimuth, length : ndarray of float64 (n_sectors,)
        Middle in rad, length along the ring in pixels.
    bending : ndarray of float64 (n_sectors,)
        ∂²u/∂y² + ∂²u/∂x² of the distance u from the ring, 1/pixels.
    """

    plan: _Plan
    pixels: _RingPixels
    sectors: SectorPixels
    unit: _Array
    azimuth: _Array
    length: _Array
    bending: _Array

    @property
    def free(self) -> _Array:
        """Pixels on each side of the ring that no other ring has."""
        return self.plan.reach / self.unit

    @property
    def bias(self) -> _Array:
        """What fitted places have too much: the mean distance over a pixel is its centre's and 1/24 of the bending."""
        return np.asarray(-self.bending / 24.0)

    def points(self, slopes: _Slopes, found: SectorFits, place: _Array) -> tuple[_Array, _Array]:
        """Return the points (y, x) at the mean azimuth of each sector's counts, at `place` off the expected ring."""
        pixels, sectors = self.pixels, self.sectors
        away = sectors.u - np.nan_to_num(found.place)[sectors.sector]
        near = found.used & (np.abs(away) < 1.5 * found.total_width[sectors.sector])
        weight = np.where(near, np.maximum(pixels.counts, 0.0) + 1e-9, 1e-12)
        total = sectors.sums(weight)
        y, x = sectors.sums(weight * pixels.y) / total, sectors.sums(weight * pixels.x) / total
        return _onto(slopes, y, x, self.plan.two_theta + place * self.unit)


def _onto(slopes: _Slopes, y: _Array, x: _Array, two_theta: _Array | float) -> tuple[_Array, _Array]:
    """Return the nearest points with a scattering angle."""
    for _ in range(3):
        angle, by_y, by_x = slopes(y, x)
        step = (two_theta - angle) / (by_y * by_y + by_x * by_x)
        y, x = y + step * by_y, x + step * by_x
    return y, x


def _cut(plan: _Plan, pixels: _RingPixels, slopes: _Slopes, count: int) -> _Cut | None:
    """Cut a ring into sectors of equal azimuth, and at the borders of modules; those with few pixels are left out."""
    along = np.minimum((pixels.azimuth + np.pi) * (count / (2.0 * np.pi)), count - 1).astype(np.int32)
    modules = int(pixels.module.max()) + 1
    number = along * modules + pixels.module
    enough = np.bincount(number, minlength=count * modules) >= FEWEST_PIXELS
    kept = np.flatnonzero(enough[number])
    if not kept.size:
        return None
    # Numbers of 16 bits are sorted in a fraction of the time.
    sector = (np.cumsum(enough) - 1)[number[kept]].astype(np.uint16 if enough.sum() < 1 << 16 else np.int32)
    order = np.argsort(sector, kind="stable")
    pixels, sector = pixels.select(kept[order]), sector[order].astype(np.intp)
    seen = np.flatnonzero(enough)
    first = np.searchsorted(sector, np.arange(seen.size))
    each = np.diff(np.append(first, sector.size))
    y, x = np.add.reduceat(pixels.y, first) / each, np.add.reduceat(pixels.x, first) / each
    y, x = _onto(slopes, y, x, plan.two_theta)
    _, by_y, by_x = slopes(y, x)
    unit = np.hypot(by_y, by_x)
    sides = np.sort(np.abs([by_y / unit, by_x / unit]), axis=0)
    u = pixels.away / unit[sector]
    fading = _fading(slopes.geometry, y, x, by_y / unit, by_x / unit, slopes.polarization)
    counts = pixels.counts * np.exp(-fading[sector] * u)
    return _Cut(
        plan=plan,
        pixels=pixels,
        sectors=SectorPixels(u, counts, first, sector, sides[1], sides[0], unit.mean() / unit),
        unit=unit,
        azimuth=np.asarray((seen // modules + 0.5) * (2.0 * np.pi / count) - np.pi),
        length=each / (2.0 * plan.reach / unit),
        bending=_bending(slopes, y, x) / unit,
    )


def _bending(slopes: _Slopes, y: _Array, x: _Array) -> _Array:
    """Return ∂²2θ/∂y² + ∂²2θ/∂x² in rad/pixel²."""
    (_, above, _), (_, below, _) = slopes(y + 1.0, x), slopes(y - 1.0, x)
    (_, _, right), (_, _, left) = slopes(y, x + 1.0), slopes(y, x - 1.0)
    return np.asarray(0.5 * (above - below + right - left))


def _fading(
    geometry: Geometry, y: _Array, x: _Array, normal_y: _Array, normal_x: _Array, polarization: float | None
) -> _Array:
    """Return d ln(Ω P)/du, with the solid angle Ω = cos³α of a flat detector and the polarization P, 1/pixels."""
    logarithms = []
    for sign in (0.5, -0.5):
        p1, p2, p3 = geometry.detector.positions_of(y + sign * normal_y, x + sign * normal_x)
        depth = geometry.distance + (0.0 if p3 is None else p3)
        squares = (p1 - geometry.poni1) ** 2 + (p2 - geometry.poni2) ** 2 + depth**2
        logarithms.append(-1.5 * np.log(squares))
        if polarization is not None:
            two_theta, chi = (geometry.point_array(unit, p1, p2, p3) for unit in ("2th_rad", "chi_rad"))
            across = polarization * np.cos(2.0 * chi) * np.sin(two_theta) ** 2
            logarithms[-1] += np.log(np.maximum(1.0 + np.cos(two_theta) ** 2 - across, 1e-3))
    return np.asarray(logarithms[0] - logarithms[1])


def _fit_ring(cut: _Cut, reach: float) -> SectorFits | None:
    """Look for a ring in its sectors and fit it."""
    place = _first_places(cut, reach)
    full_width = _first_width(cut, place)
    found = None
    for _ in range(3):
        room = cut.free - np.abs(place)
        window = np.minimum(np.maximum(WINDOW * full_width * cut.sectors.stretch, 2.0) + 0.5, room)
        clear = room >= np.maximum(cut.plan.clear * full_width * cut.sectors.stretch, 1.5)
        if not clear.any():
            return None
        start = np.sqrt(max((full_width / FWHM) ** 2 - 1.0 / 6.0, 0.01))
        found = fit_sectors(cut.sectors, place, start, np.maximum(window, 1.0))
        found = replace(found, place=np.where(clear, found.place, np.nan))
        wider = FWHM * float(np.median(found.total_width / cut.sectors.stretch))
        if abs(wider - full_width) < 0.2 * full_width:
            break
        full_width = float(np.clip(wider, 0.5 * full_width, 2.0 * full_width))
        place = np.where(np.isfinite(found.place), found.place, place)
    return found


def _first_places(cut: _Cut, reach: float) -> _Array:
    """Return where the ring seems to be in each sector, from means over strips one pixel wide."""
    sectors, count = cut.sectors, cut.unit.size
    half = int(np.ceil(min(float(cut.free.max()), reach + 8.0)))
    strip = np.rint(sectors.u).astype(np.intp) + half
    inside = (strip >= 0) & (strip <= 2 * half)
    index = (sectors.sector * (2 * half + 1) + strip)[inside]
    size = count * (2 * half + 1)
    number = np.bincount(index, minlength=size).reshape(count, -1).astype(np.float64)
    total = np.asarray(np.bincount(index, sectors.counts[inside], size).reshape(count, -1), np.float64)
    seen = number > 0
    # A strip takes what its neighbours have too, so that one hot pixel is no ring.
    wide_number, wide_total = _with_neighbours(number), _with_neighbours(total)
    mean = np.where(wide_number > 0, wide_total / np.maximum(wide_number, 1.0), np.nan)
    level = np.array([_lower_third(row[some]) for row, some in zip(mean, seen, strict=True)])
    noise = np.sqrt(np.maximum(np.maximum(mean, level[:, None]), 0.0) / np.maximum(wide_number, 1.0) + 1e-9)
    height = (mean - level[:, None]) / noise
    strips = np.arange(-half, half + 1)
    height[(np.abs(strips) > reach + 0.5) | ~seen] = -np.inf
    best = np.argmax(np.nan_to_num(height, nan=-np.inf, neginf=-np.inf), axis=1)
    weight = np.clip(np.nan_to_num(height[np.arange(count), best], neginf=0.0), 0.0, 20.0) ** 2
    place = (best - half).astype(np.float64)
    smooth, _ = _smooth(cut.azimuth, place, np.where(weight > 9.0, weight, 0.0), 1.0)
    return np.where((np.abs(place - smooth) < 1.5) & (weight > 9.0), place, np.clip(smooth, -reach, reach))


def _lower_third(values: _Array) -> float:
    return float(np.partition(values, values.size // 3)[values.size // 3]) if values.size else 0.0


def _with_neighbours(values: _Array) -> _Array:
    padded = np.pad(values, ((0, 0), (1, 1)))
    return np.asarray(padded[:, :-2] + 2.0 * padded[:, 1:-1] + padded[:, 2:])


def _first_width(cut: _Cut, place: _Array) -> float:
    """Return the full width at half maximum of the ring in pixels, from all sectors shifted onto one another."""
    sectors = cut.sectors
    away = (sectors.u - place[sectors.sector]) / sectors.stretch[sectors.sector]
    half = int(np.ceil(min(float(np.median(cut.free)), 16.0))) * 2
    strip = np.rint(2.0 * away).astype(np.intp) + half
    inside = (strip >= 0) & (strip <= 2 * half)
    number = np.bincount(strip[inside], minlength=2 * half + 1)
    total = np.bincount(strip[inside], sectors.counts[inside], 2 * half + 1)
    mean = total / np.maximum(number, 1)
    mean[number == 0] = np.median(mean)
    top = half - 4 + int(np.argmax(mean[max(half - 4, 0) : half + 5])) if half >= 4 else half
    level = 0.5 * (mean[top] + np.percentile(mean, 20))
    below = np.flatnonzero(mean < level)
    left, right = below[below < top], below[below > top]
    ends = [top - left[-1] if left.size else None, right[0] - top if right.size else None]
    known = [end for end in ends if end is not None]
    return float(np.clip(np.mean(known), 2, 40)) if known else 3.0


def _smooth(azimuth: _Array, values: _Array, weight: _Array, scale: float) -> tuple[_Array, float]:
    """Return a curve of twofold symmetry at most through places round a ring, and how many numbers it has.

    A geometry that is slightly off shifts a ring (once round), changes its radius, or makes an ellipse (twice round).
    The ridge keeps what short arcs do not tell near 0: 30 pixels, in units of `scale`.
    """
    angles = np.stack([np.ones_like(azimuth), *(f(n * azimuth) for n in (1, 2) for f in (np.cos, np.sin))], axis=1)
    robust = np.ones_like(values)
    curve = np.zeros_like(values)
    effective = 0.0
    for _ in range(8):
        both = weight * robust
        normal = (angles * both[:, None]).T @ angles
        ridge = np.eye(5) * (1e-9 * max(float(both.sum()), 1e-30) + 1e-12)
        inverse = np.linalg.pinv(normal + ridge, rcond=1e-12)
        curve = angles @ (inverse @ (angles.T @ (both * values)))
        effective = float(np.trace(inverse @ normal))
        spread = 1.4826 * float(np.median(np.abs(values - curve)[weight > 0])) if (weight > 0).any() else scale
        robust = 1.0 / (1.0 + ((values - curve) / (2.4 * max(spread, 1e-3 * scale))) ** 2)
    return curve, effective


@dataclass(frozen=True)
class _Measured:
    """The places of one ring in its sectors, with errors from counts only; and its room over what it needs."""

    ring: int
    room: float
    y: _Array
    x: _Array
    azimuth: _Array
    place: _Array
    error: _Array
    intensity: _Array
    dispersion: _Array
    full_width: _Array


def _measure(plan: _Plan, pixels: _RingPixels, slopes: _Slopes, reach: float) -> _Measured | None:
    """Return where one ring is, or None if it is not seen."""
    sectors = plan.sectors
    while True:
        cut = _cut(plan, pixels, slopes, sectors)
        found = None if cut is None else _fit_ring(cut, reach)
        if cut is None or found is None:
            return None
        strength = found.amplitude / np.maximum(found.amplitude_error, 1e-30)
        fitted = np.isfinite(found.place)
        typical = float(np.median(strength[fitted])) if fitted.any() else 0.0
        if typical >= MERGE_BELOW or sectors <= FEWEST_SECTORS:
            break
        sectors = int(max(sectors * min(0.5, (typical / MERGE_BELOW) ** 2), FEWEST_SECTORS))
    good = fitted & (strength > SIGNIFICANT) & (found.balance > BALANCED)
    with np.errstate(invalid="ignore"):
        good &= found.place_error < 0.5 * FWHM * found.total_width
        good &= np.abs(found.place) <= reach + found.total_width
    if not good.any():
        return None
    place = found.place - cut.bias
    y, x = cut.points(slopes, found, np.nan_to_num(place))
    heights, full_width = found.amplitude * cut.length, FWHM * found.total_width
    columns = (y, x, cut.azimuth, place, found.place_error, heights, found.dispersion, full_width)
    room = np.median(cut.free / (plan.clear * full_width))
    return _Measured(plan.ring, float(room), *(column[good] for column in columns))


def _dispersion(parts: list[_Measured]) -> float:
    """Return the variance of counts over their mean between the rings: 1 for counts, else what a count is worth."""
    every = np.concatenate([part.dispersion for part in parts]) if parts else np.zeros(0)
    every = every[np.isfinite(every)]
    return float(np.median(every)) if every.size >= FEWEST else 1.0


def _points(part: _Measured, dispersion: float, scatter: float) -> ControlPoints:
    """Return control points with what their errors lack."""
    # A shift of all n points of a ring counts as if it were independent errors √n times as large.
    shift = CROWDED_BIAS * part.full_width * np.sqrt(part.place.size) if part.room < WELL_CLEAR else 0.0
    sigma = np.sqrt(dispersion * part.error**2 + scatter**2 + shift**2)
    return ControlPoints(part.y, part.x, np.full(part.y.size, part.ring), sigma, intensity=part.intensity)


def _scatters(parts: list[_Measured], dispersion: float) -> list[float]:
    """Return what neighbouring sectors of each ring scatter beyond their errors, in pixels.

    A ring's own value counts where it stands out from the chance that a median has; else that of all rings together.
    """
    squares, variances = [], [dispersion * part.error**2 for part in parts]
    own = []
    for part, variance in zip(parts, variances, strict=True):
        extra, square = 0.0, np.full(part.place.size, np.nan)
        if part.place.size >= FEWEST:
            for _ in range(4):
                curve, numbers = _smooth(part.azimuth, part.place, 1.0 / (variance + extra), 1.0)
                square = (part.place - curve) ** 2 * part.place.size / max(part.place.size - numbers, 1.0)
                extra = extra_variance(square, variance)
        own.append(extra)
        squares.append(square)
    every, all_variances = (np.concatenate(some) if some else np.zeros(0) for some in (squares, variances))
    known = np.isfinite(every)
    usual = extra_variance(every[known], all_variances[known])
    return [float(np.sqrt(extra if extra > 0 else usual)) for extra in own]
