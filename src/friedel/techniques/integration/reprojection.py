"""From patterns and cakes back to images: what every pixel would hold if there were nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import DataError
from friedel.instrument import Geometry

from .pixels import Plane, Slab
from .radial_map import RadialMap

Interpolation = Literal["linear", "nearest"]
Floats = NDArray[np.float64]

FULL_TURN = 1e-6
"""An azimuth covers the full circle where it lacks less than this part of a step of it."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The two bins of an axis between whose centres each pixel lies.

    Attributes
    ----------
    lower, upper : ndarray of int32, shape (n_pixels,)
        Numbers of the bins; the same at the ends of the axis.
    part : ndarray of float32, shape (n_pixels,)
        How far on the way from the lower to the upper one.
    inside : ndarray of bool, shape (n_pixels,)
        Whether the pixel is within half a bin of the axis.
    """

    lower: NDArray[np.int32]
    upper: NDArray[np.int32]
    part: NDArray[np.float32]
    inside: NDArray[np.bool_]

    @classmethod
    def on(cls, values: Floats, centers: Floats, interpolation: Interpolation, turn: float = 0.0) -> Neighbours:
        """Find the bins.

        Parameters
        ----------
        values : ndarray, shape (n_pixels,)
        centers : ndarray, shape (n_bins,)
            Ascending.
        interpolation : {"linear", "nearest"}
        turn : float
            Length of a full turn where the axis is an angle, else 0.
        """
        n = len(centers)
        first = 0.5 * (centers[1] - centers[0]) if n > 1 else math.inf
        last = 0.5 * (centers[-1] - centers[-2]) if n > 1 else math.inf
        begin = centers[0] - first
        closed = bool(turn) and n > 1 and centers[-1] + last - begin > turn * (1 - FULL_TURN)
        if turn and n > 1:
            values = begin + np.mod(values - begin, turn)
        if closed:
            centers = np.concatenate([[centers[-1] - turn], centers, [centers[0] + turn]])
        inside = np.isfinite(values) & (values >= begin) & (values <= centers[-1] + last)
        place = np.clip(np.searchsorted(centers, values), 1, max(len(centers) - 1, 1)) if len(centers) > 1 else None
        if place is None:
            zero = np.zeros(len(values), np.int32)
            return cls(zero, zero, np.zeros(len(values), np.float32), inside)
        low, high = centers[place - 1], centers[place]
        part = np.clip((values - low) / (high - low), 0.0, 1.0)
        part = np.rint(part) if interpolation == "nearest" else part
        lower, upper = (place - 1 - closed) % n, (place - closed) % n
        return cls(lower.astype(np.int32), upper.astype(np.int32), np.nan_to_num(part).astype(np.float32), inside)


@dataclass(frozen=True, eq=False)
class PatternImages:
    """Images of patterns or cakes: the inverse of integration. A Plan; make it by `build` or `of`.

    A pixel holds the intensity at its centre, interpolated between bins, times its normalization, plus the dark. Bins
    that are not finite do not take part; a pixel without any finite neighbour, or off the axes, is NaN.

    Attributes
    ----------
    shape : tuple of int
        (rows, columns).
    radial : Neighbours
    azimuth : Neighbours or None
        For cakes.
    normalization : ndarray of float32, shape (n_pixels,), or None
    dark : ndarray of float64, shape (n_pixels,), or None
    """

    shape: tuple[int, int]
    radial: Neighbours
    azimuth: Neighbours | None
    normalization: NDArray[np.float32] | None
    dark: NDArray[np.float64] | None

    @classmethod
    def build(
        cls,
        geometry: Geometry,
        plane: Plane,
        radial: ArrayLike,
        azimuth: ArrayLike | None = None,
        *,
        normalization: ArrayLike | None = None,
        dark: ArrayLike | None = None,
        interpolation: Interpolation = "linear",
        extend: bool = False,
    ) -> PatternImages:
        """Find the bins of the pixels.

        Parameters
        ----------
        geometry : Geometry
        plane : Plane
            The coordinates of the bins.
        radial : array-like, shape (n_radial,)
            Bin centres in the radial unit, ascending.
        azimuth : array-like, shape (n_azimuth,), optional
            Bin centres of a cake, in its unit; rad for an angle all round.
        normalization, dark : array-like, shape (rows, columns), optional
        interpolation : {"linear", "nearest"}
            Between bin centres, or that of the nearest bin.
        extend : bool
            Whether pixels off the azimuthal axis hold what the nearest bin has, instead of NaN.

        Raises
        ------
        DataError
            If bin centres do not ascend.
        """
        slab = Slab(geometry, plane, slice(0, geometry.shape[0]), np.zeros(geometry.shape, bool))

        def found(values: Floats, centers: ArrayLike, name: str, turn: float = 0.0) -> Neighbours:
            numbers = np.asarray(centers, np.float64)
            if numbers.ndim != 1 or not numbers.size or not (np.diff(numbers) > 0).all():
                raise DataError(f"The {name} positions of the bins do not ascend.", "Sort the pattern by position.")
            return Neighbours.on(values.ravel(), numbers, interpolation, turn)

        radial_bins = found(slab.radial_centers(), radial, "radial")
        azimuth_bins = None
        if azimuth is not None:
            angles = slab.azimuth_centers()
            azimuth_bins = found(angles, azimuth, "azimuthal", plane.turn)
            if extend:
                azimuth_bins = replace(azimuth_bins, inside=np.isfinite(angles.ravel()))
        return cls(
            geometry.shape,
            radial_bins,
            azimuth_bins,
            None if normalization is None else np.asarray(normalization, np.float32).ravel(),
            None if dark is None else np.asarray(dark, np.float64).ravel(),
        )

    @classmethod
    def of(
        cls, radial_map: RadialMap, interpolation: Interpolation = "linear", *, extend: bool = False
    ) -> PatternImages:
        """Return the inverse of a map: the same geometry, bins and corrections."""
        cake = radial_map.binning.cake
        assert radial_map.azimuth is not None or not cake
        return cls.build(
            radial_map.geometry,
            radial_map.binning.plane,
            radial_map.radial.centers,
            radial_map.azimuth.centers if cake and radial_map.azimuth is not None else None,
            normalization=radial_map.scatter.normalization,
            dark=radial_map.scatter.dark,
            interpolation=interpolation,
            extend=extend,
        )

    def __call__(self, patterns: ArrayLike, factors: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return the images of patterns.

        Parameters
        ----------
        patterns : array-like, shape (n, n_radial) or (n, n_azimuth, n_radial)
        factors : array-like, shape (n,), optional
            What the patterns were divided by.

        Returns
        -------
        ndarray of float32, shape (n, rows, columns)
        """
        given = np.asarray(patterns, np.float64)
        scale = np.ones(len(given)) if factors is None else np.asarray(factors, np.float64)
        images = np.empty((len(given), *self.shape), np.float32)
        for pattern, factor, image in zip(given, scale, images, strict=True):
            values = self._interpolated(pattern)
            if self.normalization is not None:
                values *= self.normalization
            values *= factor
            if self.dark is not None:
                values += self.dark
            image[...] = values.reshape(self.shape)
        return images

    def _interpolated(self, pattern: Floats) -> Floats:
        inside = self.radial.inside
        if self.azimuth is None:
            values = _between(pattern[self.radial.lower], pattern[self.radial.upper], self.radial.part)
        else:
            low, high = (
                _between(pattern[row, self.radial.lower], pattern[row, self.radial.upper], self.radial.part)
                for row in (self.azimuth.lower, self.azimuth.upper)
            )
            values = _between(low, high, self.azimuth.part)
            inside = inside & self.azimuth.inside
        return np.where(inside, values, np.nan)


def _between(low: Floats, high: Floats, part: NDArray[Any]) -> Floats:
    """Interpolate; where one of the two is NaN, the other one holds."""
    values = low + (high - low) * part
    return np.where(np.isnan(low), high, np.where(np.isnan(high), low, values))
