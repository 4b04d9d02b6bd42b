"""What the detector sees: mean images of scatterers, and its own faults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detector import Detector
from ..geometry import Geometry

_Array = NDArray[np.float64]

ROWS_AT_A_TIME = 64

# Bits of a NeXus pixel_mask.
GAP, DEAD, NOISY = 1, 2, 16


@dataclass(frozen=True)
class DetectorFaults:
    """Pixels that do not count as they should.

    Attributes
    ----------
    hot : ndarray of int64
        Flat indices of pixels that count by themselves.
    dead : ndarray of int64
        Flat indices of pixels that never count.
    """

    hot: NDArray[np.int64]
    dead: NDArray[np.int64]

    @classmethod
    def random(cls, detector: Detector, n_hot: int, n_dead: int, seed: int = 0) -> DetectorFaults:
        """Return faults at random sensitive pixels."""
        random = np.random.default_rng([seed, 0xDEAD])
        sensitive = np.flatnonzero(~detector.mask())
        chosen = random.choice(sensitive, size=min(n_hot + n_dead, sensitive.size), replace=False)
        return cls(hot=np.sort(chosen[:n_hot]), dead=np.sort(chosen[n_hot:]))

    def pixel_mask(self, detector: Detector) -> NDArray[np.uint32]:
        """Return the NeXus pixel mask: bit 0 gap, bit 1 dead, bit 4 noisy; 0 for a good pixel."""
        mask = np.where(detector.mask(), GAP, 0).astype(np.uint32)
        mask.ravel()[self.dead] |= DEAD
        mask.ravel()[self.hot] |= NOISY
        return mask


def counting_type(detector: Detector) -> np.dtype[Any]:
    """Return the type of a detector's counts."""
    return np.dtype(np.int32 if detector.name.startswith("Pilatus") else np.uint32)


def invalid_value(dtype: np.dtype[Any]) -> int:
    """Return what the detector writes where there is no measurement: −1, or the largest unsigned number."""
    return -1 if dtype.kind == "i" else int(np.iinfo(dtype).max)


def diffraction_image(
    geometry: Geometry,
    axis: _Array,
    profile: _Array,
    unit: str,
    *,
    polarization: float | None = None,
    oversampling: int = 3,
) -> _Array:
    """Return the mean image of something that scatters alike in all directions.

    Parameters
    ----------
    geometry : Geometry
        With a detector of known shape.
    axis : ndarray of float64 (n,)
        Ascending radial axis in `unit`.
    profile : ndarray of float64 (n,)
        Scattered intensity per steradian; interpolated, 0 outside the axis.
    unit : str
        Radial unit.
    polarization : float or None
        Polarization factor of the beam, None for no polarization correction.
    oversampling : int
        Points along each side of a pixel over which the profile is averaged.

    Returns
    -------
    ndarray of float64 (rows, columns)
        Intensity in each pixel: profile times relative solid angle, polarization and the absolute solid angle in
        sr of a pixel at the point of normal incidence. Gaps between modules see nothing.
    """
    fine = _oversampled(geometry, oversampling)
    rows, columns = geometry.shape
    image = np.empty((rows, columns))
    for start in range(0, rows, ROWS_AT_A_TIME):
        stop = min(start + ROWS_AT_A_TIME, rows)
        radial = fine.center_array(unit, rows=slice(start * oversampling, stop * oversampling))
        scattered = np.interp(radial, axis, profile, left=0.0, right=0.0)
        image[start:stop] = scattered.reshape(stop - start, oversampling, columns, oversampling).mean(axis=(1, 3))
    detector = geometry.detector
    image *= geometry.solid_angle() * (detector.pixel1 * detector.pixel2 / geometry.distance**2)
    if polarization is not None:
        image *= geometry.polarization(polarization)
    image[detector.mask()] = 0.0
    return image


def _oversampled(geometry: Geometry, factor: int) -> Geometry:
    detector = geometry.detector
    rows, columns = geometry.shape
    fine = Detector.from_shape(
        (rows * factor, columns * factor),
        detector.pixel1 / factor,
        detector.pixel2 / factor,
        orientation=detector.orientation,
    )
    return replace(geometry, detector=fine)
