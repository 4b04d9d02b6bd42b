"""Points on rings in the units of the search, and the rings that a geometry makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from friedel.instrument import Detector

from .cone_model import Places, angles
from .points import RingPoints

_Array = NDArray[np.float64]
_Whole = NDArray[np.int32]


@dataclass(frozen=True)
class Scene:
    """The points in the search's own units: lengths over `unit`, the middle of the detector at the origin."""

    detector: Detector
    middle: tuple[float, float]  # m
    unit: float  # m
    pixel: float  # in units
    places: Places
    directed: NDArray[np.bool_]
    chain: _Whole
    strength: _Array
    view: Places  # places all over the detector

    def select(self, chosen: NDArray[np.generic]) -> Scene:
        return replace(
            self,
            places=self.places.select(chosen),
            directed=self.directed[chosen],
            chain=self.chain[chosen],
            strength=self.strength[chosen],
        )


def make_scene(points: RingPoints, detector: Detector) -> Scene:
    rows, columns = detector.known_shape()
    directed = np.isfinite(points.direction)
    normal = np.where(directed, points.direction, 0.0)
    ny, nx = np.sin(normal), np.cos(normal)
    unit = 0.5 * math.hypot(rows * detector.pixel1, columns * detector.pixel2)
    middle = (0.5 * rows * detector.pixel1, 0.5 * columns * detector.pixel2)
    grid_y, grid_x = np.meshgrid((np.arange(48) + 0.5) / 48 * rows, (np.arange(48) + 0.5) / 48 * columns, indexing="ij")
    mask = detector.mask()
    seen = ~mask[grid_y.astype(int).ravel(), grid_x.astype(int).ravel()]
    flat = np.zeros(int(seen.sum()))
    return Scene(
        detector=detector,
        middle=middle,
        unit=unit,
        pixel=math.sqrt(detector.pixel1 * detector.pixel2) / unit,
        places=_places(detector, points.y, points.x, ny, nx, middle, unit),
        directed=directed,
        chain=points.chain,
        strength=np.where(np.isfinite(points.strength), points.strength, 1.0),
        view=_places(detector, grid_y.ravel()[seen], grid_x.ravel()[seen], flat + 1.0, flat, middle, unit),
    )


def _places(
    detector: Detector, y: _Array, x: _Array, ny: _Array, nx: _Array, middle: tuple[float, float], unit: float
) -> Places:
    """Return places in m over `unit`, and what steps across and along the ring on the image are in space."""

    def positions(y: _Array, x: _Array) -> _Array:
        p1, p2, p3 = detector.positions_of(y, x)
        third = np.zeros_like(p1) if p3 is None else p3
        return np.stack(((p1 - middle[0]), (p2 - middle[1]), third), axis=-1) / unit

    def direction(dy: _Array, dx: _Array) -> _Array:
        step = positions(y + 0.5 * dy, x + 0.5 * dx) - positions(y - 0.5 * dy, x - 0.5 * dx)
        return np.asarray(step / np.linalg.norm(step, axis=1, keepdims=True))

    along = direction(-nx, ny)
    across = direction(ny, nx)
    # pixels that are not square turn right angles into others
    across -= (across * along).sum(axis=1, keepdims=True) * along
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return Places(positions(y, x), across, along)


def sample(scene: Scene, n: int) -> NDArray[np.intp]:
    """Draw points at random, the same each time."""
    total = len(scene.places)
    if total <= n:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).permutation(total)[:n])


@dataclass(frozen=True)
class Clusters:
    """Rings seen, numbers not known.

    label : (n,) int, −1 none;  two_theta, width, slope, weight : (m,)
    sharpness: mean log of the density of points over an even one
    """

    label: NDArray[np.intp]
    two_theta: _Array
    width: _Array
    slope: _Array
    count: NDArray[np.intp]
    sharpness: float


def find_clusters(scene: Scene, parameters: _Array, smoothing: float) -> Clusters:
    """Find at which scattering angles points gather."""
    seen = angles(parameters[None], scene.places)
    two_theta, slope = seen.two_theta[0], seen.slope[0] * scene.pixel
    order = np.argsort(two_theta)
    # A coordinate that grows by one for each pixel across the rings.
    local = ndimage.median_filter(slope[order], size=min(31, len(order)), mode="nearest")
    radial = np.concatenate(([0.0], np.cumsum(np.diff(two_theta[order]) / (0.5 * (local[1:] + local[:-1])))))
    step = 0.5
    n = int(min(radial[-1] / step + 40, 40000))
    histogram = np.bincount((radial / step + 20).astype(int).clip(0, n - 1), minlength=n).astype(float)
    density = ndimage.gaussian_filter1d(histogram, smoothing / step, truncate=4.0)
    around = ndimage.gaussian_filter1d(histogram, 20 * smoothing / step, truncate=3.0)
    at = (radial / step + 20).astype(int).clip(0, n - 1)
    alone = 1.0 / (smoothing / step * math.sqrt(2 * np.pi))
    sharpness = float(np.mean(np.log(np.maximum(density[at] - alone, 0.05 * alone) / (len(at) / max(n - 40, 1)))))
    top = (density == ndimage.maximum_filter1d(density, max(3, int(3 * smoothing / step)))) & (
        density > np.maximum(1.5 * around, 3.0 * alone)
    )
    tops = np.nonzero(top)[0]
    if not len(tops):
        nothing = np.empty(0)
        return Clusters(np.full(len(order), -1), nothing, nothing, nothing, np.empty(0, np.intp), sharpness)
    position = (tops - 20 + 0.5) * step
    nearest = np.abs(radial[:, None] - position).argmin(axis=1)
    near = np.abs(radial - position[nearest]) < 2.5 * smoothing
    label = np.full(len(order), -1)
    label[order] = np.where(near, nearest, -1)
    m = len(tops)
    values = [np.nonzero(label == k)[0] for k in range(m)]
    center = np.array([np.median(two_theta[v]) if len(v) else np.nan for v in values])
    width = np.array(
        [
            1.4826 * np.median(np.abs(two_theta[v] - c)) / np.sqrt(len(v)) if len(v) else np.nan
            for v, c in zip(values, center, strict=True)
        ]
    )
    slopes = np.array([np.median(slope[v]) if len(v) else np.nan for v in values])
    count = np.array([len(v) for v in values])
    good = count >= 4
    renumber = np.where(good, np.cumsum(good) - 1, -1)
    label = np.where(label >= 0, renumber[label], -1)
    return Clusters(label, center[good], width[good], slopes[good], count[good], sharpness)


def view_angles(scene: Scene, parameters: _Array) -> tuple[_Array, _Array]:
    """Return 2θ of places all over the detector, sorted, and the pixels across a ring there."""
    seen = angles(parameters[None], scene.view)
    order = np.argsort(seen.two_theta[0])
    return seen.two_theta[0][order], (seen.slope[0] * scene.pixel)[order]
