"""Pictures whose projections are known exactly: sums of disks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Disk:
    """Centre (x, y) from the rotation axis and radius, in pixels; value inside."""

    x: float
    y: float
    radius: float
    value: float = 1.0


SEVERAL = (Disk(0, 0, 0.38), Disk(0.12, 0.1, 0.12, -0.6), Disk(-0.18, 0.06, 0.07, 1.0), Disk(0.02, -0.22, 0.04, 2.0))


def several(size: int) -> tuple[Disk, ...]:
    """Return a lopsided group of disks that fits a picture of `size` pixels."""
    return tuple(Disk(d.x * size, d.y * size, d.radius * size, d.value) for d in SEVERAL)


def sinogram(
    disks: tuple[Disk, ...], angles_degrees: ArrayLike, n: int, center: float | None = None, oversampling: int = 8
) -> NDArray[np.float32]:
    """Return the projections (angle, translation), averaged over the width of a pixel."""
    theta = np.deg2rad(np.asarray(angles_degrees, float))[:, None, None]
    axis = (n - 1) / 2 if center is None else center
    fine = (np.arange(oversampling) + 0.5) / oversampling - 0.5
    t = (np.arange(n)[:, None] + fine)[None] - axis
    total = np.zeros((theta.shape[0], n, oversampling))
    for disk in disks:
        distance = t - (disk.x * np.cos(theta) - disk.y * np.sin(theta))
        total += 2 * disk.value * np.sqrt(np.clip(disk.radius**2 - distance**2, 0, None))
    return total.mean(axis=2).astype(np.float32)


def picture(disks: tuple[Disk, ...], size: int, oversampling: int = 8) -> Floats:
    """Return the picture (y, x), averaged over the area of a pixel."""
    position = (np.arange(size * oversampling) + 0.5) / oversampling - size / 2
    y, x = position[:, None], position[None]
    total = sum(disk.value * ((x - disk.x) ** 2 + (y - disk.y) ** 2 < disk.radius**2) for disk in disks)
    return np.asarray(total).reshape(size, oversampling, size, oversampling).mean(axis=(1, 3))


def field_of_view(size: int, margin: float = 5.0) -> NDArray[np.bool_]:
    """Return which pixels every projection sees."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    return np.asarray(np.hypot(x, y) < size / 2 - margin)


def rms(values: NDArray[np.floating]) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=float))))
