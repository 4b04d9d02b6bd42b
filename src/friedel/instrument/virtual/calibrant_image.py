"""What a detector sees of a calibrant: rings of known places, averaged over each pixel, and what spoils them.

The expected counts of a pixel are the mean over its area of

    I(2θ, χ) = P(2θ, χ) · Ω · [Σ_k I_k · m_k(χ) · p(2θ − 2θ_k) + b(2θ)]

with I_k the intensity of ring k, p a pseudo-Voigt profile of unit area, m_k what texture and single grains make of the
ring, b the background, P the polarization, Ω the solid angle. Over a pixel 2θ is taken as a quadratic function of
the place; its mean is that at the centre plus a third of what the corners have more, which is exact for one. About
it 2θ is spread like the sum of two uniform variables, one for each pair of sides. The wider of both is integrated
exactly, by differences of the cumulative profile, the narrower by three points of Gauss. So rings keep their places
whatever their width, also where they are narrower than a pixel.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import ParameterError
from friedel.kernels.poisson import poisson_frames

from ..calibrants import Rings
from ..geometry import Geometry
from .exposure import GAP, DetectorFaults, counting_type, invalid_value

_Array = NDArray[np.float64]

ROWS_AT_A_TIME = 32
STEPS_PER_PIXEL = 10
"""Points of the table of cumulative intensity across the narrowest pixel."""
LONGEST_TABLE = 4_000_000
PROFILE_REACH = 25.0
"""A profile is followed to this many of its widths."""
WEAKEST_RING = 1e-7
"""Rings below this part of the strongest are left out."""
GAUSS_NODES = ((-0.7745966692414834, 5.0 / 18.0), (0.0, 4.0 / 9.0), (0.7745966692414834, 5.0 / 18.0))
AZIMUTH_STEPS = 7200
"""Steps round a ring in which texture and grains are known."""
STOP_TRANSMISSION = 2e-3
HOT_COUNTS = 5.0
"""Counts of a hot pixel are up to this many times those of the brightest ring."""


@dataclass(frozen=True)
class Exposure:
    """How the calibrant is seen. Angles in degrees.

    Attributes
    ----------
    counts : float
        Expected counts at the top of the brightest ring, above the background; rings narrower than a pixel give less.
    width : float
        Full width at half maximum of a ring in 2θ: beam, energy spread and grain size.
    widening : float
        By how much the width grows for each degree of tan θ.
    mixing : float
        0 (Gaussian) to 1 (Lorentzian) of the profile.
    point_spread : float
        Full width at half maximum in pixels of what the detector makes of a point, 0 for a counting one.
    background : float
        Counts everywhere.
    air : float
        Counts of the background that falls with the angle, at the beam.
    halo : float
        Counts of the broad ring of a capillary or window.
    halo_place : float
        2θ of that ring.
    polarization : float or None
    texture : float
        0 for none; with κ the rings vary round the beam like exp(κ cos 2(χ − χ_k)), 3 leaves arcs.
    grains : float
        Mean number of grains seen on a ring, 0 for infinitely many.
    spot_width : float
        Full width at half maximum of the spot of a grain in azimuth.
    spot_scatter : float
        Standard deviation in 2θ of grains about their ring.
    opening : (float, float) or None
        Azimuths between which the sample's surroundings let pass what is scattered; None for all.
    stop : float
        2θ that the beam stop hides.
    holder : float
        Width of the beam stop's holder, as an angle.
    holder_azimuth : float
    hot_pixels, dead_pixels : int
    gain_spread : float
        Standard deviation of the pixels' gains, which no flat field corrects.
    saturation : float or None
        Largest number of counts.
    noise : bool
        Whether counts have Poisson noise.
    """

    counts: float = 2000.0
    width: float = 0.06
    widening: float = 0.0
    mixing: float = 0.2
    point_spread: float = 0.0
    background: float = 10.0
    air: float = 40.0
    halo: float = 20.0
    halo_place: float = 8.0
    polarization: float | None = 0.99
    texture: float = 0.0
    grains: float = 0.0
    spot_width: float = 0.3
    spot_scatter: float = 0.0
    opening: tuple[float, float] | None = None
    stop: float = 0.0
    holder: float = 0.0
    holder_azimuth: float = 90.0
    hot_pixels: int = 0
    dead_pixels: int = 0
    gain_spread: float = 0.0
    saturation: float | None = None
    noise: bool = True

    def __post_init__(self) -> None:
        if not self.width > 0 or not 0 <= self.mixing <= 1:
            raise ParameterError(
                f"Rings of width {self.width} and mixing {self.mixing} cannot be drawn.",
                "Give a positive width and a mixing from 0 to 1.",
            )


@dataclass(frozen=True)
class SimulatedFrame:
    """An image of a calibrant, and what it was made from.

    Attributes
    ----------
    image : ndarray of int32 or uint32, or of float32 without noise, shape (rows, columns)
        Gaps hold what the detector writes there.
    pixel_mask : ndarray of uint32, shape (rows, columns)
        NeXus pixel mask: bit 0 gap, bit 1 dead, bit 4 noisy.
    geometry : Geometry
        The truth.
    """

    image: NDArray[Any]
    pixel_mask: NDArray[np.uint32]
    geometry: Geometry


def simulated_frame(
    geometry: Geometry, rings: Rings, exposure: Exposure | None = None, *, seed: int = 0, threads: int = 1
) -> SimulatedFrame:
    """Return an image of a calibrant.

    Parameters
    ----------
    geometry : Geometry
        With a detector of known shape.
    rings : Rings
        2θ in rad and relative intensity of each ring.
    exposure : Exposure, optional
    seed : int
        Another seed gives other grains, faults and noise. The image does not depend on `threads`.
    threads : int
    """
    exposure = exposure or Exposure()
    detector = geometry.detector
    expected = expected_counts(geometry, rings, exposure, seed=seed, threads=threads)
    if exposure.gain_spread:
        random = np.random.default_rng([seed, 0x6A1])
        expected *= 1.0 + exposure.gain_spread * random.standard_normal(expected.shape, dtype=np.float32)
    faults = DetectorFaults.random(detector, exposure.hot_pixels, exposure.dead_pixels, seed)
    heat = np.random.default_rng([seed, 0x407]).uniform(0.0, 1.0, len(faults.hot)) ** 2
    expected.ravel()[faults.hot] = (heat * HOT_COUNTS * exposure.counts).astype(np.float32)
    expected.ravel()[faults.dead] = 0.0
    image: NDArray[Any] = expected
    if exposure.noise:
        drawn = poisson_frames(expected.reshape(1, -1), np.ones((1, 1), np.float32), seed=seed, threads=threads)
        image = drawn.reshape(expected.shape).view(counting_type(detector))
    if exposure.saturation is not None:
        np.minimum(image, np.asarray(exposure.saturation).astype(image.dtype), out=image)
    mask = faults.pixel_mask(detector)
    image[(mask & GAP) > 0] = invalid_value(image.dtype) if image.dtype.kind in "iu" else np.nan
    return SimulatedFrame(image, mask, geometry)


def expected_counts(
    geometry: Geometry, rings: Rings, exposure: Exposure, *, seed: int = 0, threads: int = 1
) -> NDArray[np.float32]:
    """Return the mean counts of each pixel, without noise and faults: float32 (rows, columns)."""
    rows, columns = geometry.shape
    radial = _RadialTable.build(geometry, rings, exposure)
    azimuthal = _AzimuthTable.build(rings, exposure, seed)
    image = np.empty((rows, columns), dtype=np.float32)

    def fill(start: int) -> None:
        slab = slice(start, min(start + ROWS_AT_A_TIME, rows))
        image[slab] = _slab_counts(geometry, slab, exposure, radial, azimuthal)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(fill, range(0, rows, ROWS_AT_A_TIME)))
    if exposure.point_spread > 0:
        from scipy.ndimage import gaussian_filter

        image = gaussian_filter(image, exposure.point_spread / np.sqrt(8.0 * np.log(2.0)), mode="nearest")
    return image


def _slab_counts(
    geometry: Geometry, slab: slice, exposure: Exposure, radial: _RadialTable, azimuthal: _AzimuthTable | None
) -> _Array:
    """Return the expected counts of some rows."""
    center, wide, narrow = _pixel_spread(geometry, slab)
    holder = exposure.stop > 0 and exposure.holder > 0
    chi = geometry.azimuth_center(slab) if azimuthal is not None or holder or exposure.opening else None
    shift: _Array | float = 0.0
    factor: _Array | float = 1.0
    if azimuthal is not None and chi is not None:
        factor, shift = azimuthal(radial.nearest_ring(center), chi)
    scattered = radial.mean(center - shift, wide, narrow) * factor
    scattered += _background(center, exposure)
    if chi is not None and exposure.opening is not None:
        low, high = np.radians(exposure.opening)
        scattered *= np.mod(chi - low, 2.0 * np.pi) <= high - low
    if exposure.stop > 0:
        scattered *= np.where(_hidden(center, chi if holder else None, exposure), STOP_TRANSMISSION, 1.0)
    scattered *= geometry.solid_angle(slab)
    if exposure.polarization is not None:
        scattered *= geometry.polarization(exposure.polarization, rows=slab)
    return scattered


def _pixel_spread(geometry: Geometry, slab: slice) -> tuple[_Array, _Array, _Array]:
    """Return the mean of 2θ over each pixel, and the half widths of its spread along both pairs of sides, rad."""
    corners = geometry.corner_array("2th_rad", slab)
    center = geometry.center_array("2th_rad", slab)
    middle = corners.mean(axis=-1)
    if corners.shape[-1] == 4:
        first = 0.25 * np.abs(corners[..., 1] + corners[..., 2] - corners[..., 0] - corners[..., 3])
        second = 0.25 * np.abs(corners[..., 2] + corners[..., 3] - corners[..., 0] - corners[..., 1])
        return center + (middle - center) / 3.0, np.maximum(first, second), np.minimum(first, second)
    # A hexagon of side s has corners with the mean square s²/2 along any direction, its area 5 s²/24.
    side = np.sqrt(1.5 * 5.0 / 12.0 * corners.var(axis=-1))
    return center + (5.0 / 12.0) * (middle - center), side, side


def _background(two_theta: _Array, exposure: Exposure) -> _Array:
    """Return counts that belong to no ring, before solid angle and polarization."""
    degrees = np.degrees(two_theta)
    falling = exposure.air / (1.0 + (degrees / 4.0) ** 2)
    broad = exposure.halo * np.exp(-0.5 * ((degrees - exposure.halo_place) / (0.25 * exposure.halo_place)) ** 2)
    return np.asarray(exposure.background + falling + broad)


def _hidden(two_theta: _Array, chi: _Array | None, exposure: Exposure) -> NDArray[np.bool_]:
    """Return what the beam stop and its holder hide."""
    hidden = np.asarray(two_theta < np.radians(exposure.stop))
    if chi is not None:
        away = chi - np.radians(exposure.holder_azimuth)
        across = np.abs(two_theta * np.sin(away)) < np.radians(exposure.holder) / 2.0
        hidden |= across & (np.cos(away) > 0)
    return hidden


@dataclass(frozen=True)
class _RadialTable:
    """The intensity of all rings, cumulated over 2θ, at even steps.

    Attributes
    ----------
    start, step : float
        In rad.
    cumulative : ndarray of float64 (n,)
    rings : ndarray of int32 (n,)
        Number of the ring nearest to each point.
    """

    start: float
    step: float
    cumulative: _Array
    rings: NDArray[np.int32]

    @classmethod
    def build(cls, geometry: Geometry, rings: Rings, exposure: Exposure) -> _RadialTable:
        low, high, narrowest = _extent(geometry)
        margin = 2.0 * np.radians(exposure.width) + 8.0 * narrowest + 6.0 * np.radians(exposure.spot_scatter)
        low, high = max(low - margin, 0.0), high + margin
        step = max(
            min(narrowest * 2.0 / STEPS_PER_PIXEL, np.radians(exposure.width) / 20.0), (high - low) / LONGEST_TABLE
        )
        axis = low + step * np.arange(int(np.ceil((high - low) / step)) + 2)
        density = _ring_profile(axis, rings, exposure, low, high)
        cumulative = np.zeros(axis.size)
        np.cumsum(0.5 * step * (density[1:] + density[:-1]), out=cumulative[1:])
        two_theta = np.asarray(rings.two_theta)
        between = 0.5 * (two_theta[1:] + two_theta[:-1])
        return cls(float(low), float(step), cumulative, np.searchsorted(between, axis).astype(np.int32))

    def nearest_ring(self, two_theta: _Array) -> NDArray[np.int32]:
        index = ((two_theta - self.start) / self.step).astype(np.int64)
        return self.rings[np.clip(index, 0, self.rings.size - 1)]

    def mean(self, center: _Array, wide: _Array, narrow: _Array) -> _Array:
        """Return the mean intensity about `center`."""
        wide = np.maximum(wide, 1e-3 * self.step)
        total = np.zeros(center.shape)
        for node, weight in GAUSS_NODES:
            place = center + node * narrow
            total += weight * (self._at(place + wide) - self._at(place - wide))
        return total / (2.0 * wide)

    def _at(self, two_theta: _Array) -> _Array:
        place = (two_theta - self.start) / self.step
        np.clip(place, 0.0, self.cumulative.size - 1.001, out=place)
        index = place.astype(np.int64)
        lower = self.cumulative[index]
        return lower + (place - index) * (self.cumulative[index + 1] - lower)


def _extent(geometry: Geometry) -> tuple[float, float, float]:
    """Return the smallest and largest 2θ on the detector and the smallest half width of a pixel, rad."""
    rows = geometry.shape[0]
    low, high, narrowest = np.inf, 0.0, np.inf
    for row in np.unique(np.linspace(0, rows - 1, min(rows, 64)).astype(int)):
        center, wide, _ = _pixel_spread(geometry, slice(row, row + 1))
        low, high = min(low, float(center.min())), max(high, float(center.max()))
        narrowest = min(narrowest, float(wide.min()))
    between = (high - low) / 64.0  # rows that were not looked at
    return max(low - between, 0.0), min(high + between, np.pi), max(narrowest, 1e-7)


def _ring_profile(axis: _Array, rings: Rings, exposure: Exposure, low: float, high: float) -> _Array:
    """Return the intensity of all rings along 2θ, the top of the highest one that can be seen being `counts`."""
    density = np.zeros(axis.size)
    step = axis[1] - axis[0]
    two_theta, intensity = np.asarray(rings.two_theta), np.asarray(rings.intensity)
    widths = np.radians(exposure.width + exposure.widening * np.tan(two_theta / 2.0))
    heights = intensity / widths
    seen = (two_theta > low) & (two_theta < high)
    if not seen.any():
        return density
    reach = PROFILE_REACH * widths if exposure.mixing > 0 else 3.0 * widths
    near = (two_theta > low - reach) & (two_theta < high + reach) & (heights > WEAKEST_RING * heights[seen].max())
    for number in np.flatnonzero(near):
        first = max(0, int((two_theta[number] - reach[number] - axis[0]) / step))
        last = min(axis.size, int((two_theta[number] + reach[number] - axis[0]) / step) + 2)
        offset = (axis[first:last] - two_theta[number]) * (2.0 / widths[number])
        squared = offset * offset
        gaussian = np.sqrt(np.log(2.0) / np.pi) * np.exp(-np.log(2.0) * squared)
        lorentzian = 1.0 / (np.pi * (1.0 + squared))
        shape = (1.0 - exposure.mixing) * gaussian + exposure.mixing * lorentzian
        density[first:last] += heights[number] * 2.0 * shape
    return np.asarray(density * (exposure.counts / density.max()))


@dataclass(frozen=True)
class _AzimuthTable:
    """What texture and grains make of each ring, round the beam.

    Attributes
    ----------
    factor : ndarray of float32 (rings, steps + 1)
        Intensity relative to that of an ideal powder.
    shift : ndarray of float32 (rings, steps + 1) or None
        Mean displacement of the grains seen there, rad.
    """

    factor: NDArray[np.float32]
    shift: NDArray[np.float32] | None

    @classmethod
    def build(cls, rings: Rings, exposure: Exposure, seed: int) -> _AzimuthTable | None:
        """Return None for an ideal powder."""
        if not exposure.texture and not exposure.grains:
            return None
        random = np.random.default_rng([seed, 0x9A1])
        count = len(rings.two_theta)
        azimuth = np.arange(AZIMUTH_STEPS) * (2.0 * np.pi / AZIMUTH_STEPS) - np.pi
        factor = np.ones((count, AZIMUTH_STEPS))
        shift = None
        if exposure.grains:
            factor, shift = _grains(count, exposure, random)
        if exposure.texture:
            towards = random.uniform(-np.pi, np.pi, (count, 1))
            varied = np.exp(exposure.texture * np.cos(2.0 * (azimuth - towards)))
            factor = factor * (varied / varied.mean(axis=1, keepdims=True))
        return cls(_closed(factor), None if shift is None else _closed(shift))

    def __call__(self, ring: NDArray[np.int32], chi: _Array) -> tuple[_Array, _Array | float]:
        """Return the factor, and the displacement in rad, of pixels on `ring` at azimuth `chi`."""
        place = np.clip((chi + np.pi) * (AZIMUTH_STEPS / (2.0 * np.pi)), 0.0, AZIMUTH_STEPS - 0.001)
        step = place.astype(np.int64)
        part = place - step
        index = ring * np.int64(AZIMUTH_STEPS + 1) + step
        return self._at(self.factor, index, part), 0.0 if self.shift is None else self._at(self.shift, index, part)

    @staticmethod
    def _at(table: NDArray[np.float32], index: NDArray[np.int64], part: _Array) -> _Array:
        flat = table.ravel()
        lower = flat[index]
        return np.asarray(lower + part * (flat[index + 1] - lower))


def _closed(table: _Array) -> NDArray[np.float32]:
    """Return the table with its first step again at the end."""
    return np.concatenate([table, table[:, :1]], axis=1).astype(np.float32)


def _grains(count: int, exposure: Exposure, random: np.random.Generator) -> tuple[_Array, _Array | None]:
    """Return the factor, and the displacement or None, of rings (count, steps) that single grains make."""
    factor, moment = np.zeros((count, AZIMUTH_STEPS)), np.zeros((count, AZIMUTH_STEPS))
    sigma = exposure.spot_width / 360.0 * AZIMUTH_STEPS / np.sqrt(8.0 * np.log(2.0))
    number = random.poisson(exposure.grains, count)
    ring = np.repeat(np.arange(count), number)
    place = random.integers(0, AZIMUTH_STEPS, ring.size)
    weight = random.exponential(1.0, ring.size)
    offset = random.standard_normal(ring.size) * np.radians(exposure.spot_scatter)
    np.add.at(factor, (ring, place), weight)
    np.add.at(moment, (ring, place), weight * offset)
    frequency = np.fft.rfftfreq(AZIMUTH_STEPS)
    spread = np.exp(-2.0 * (np.pi * sigma * frequency) ** 2) * AZIMUTH_STEPS / exposure.grains

    def smoothed(table: _Array) -> _Array:
        return np.asarray(np.fft.irfft(np.fft.rfft(table, axis=1) * spread, AZIMUTH_STEPS, axis=1))

    factor = np.maximum(smoothed(factor), 0.0)
    if not exposure.spot_scatter:
        return factor, None
    return factor, smoothed(moment) / np.maximum(factor, 1e-3)
