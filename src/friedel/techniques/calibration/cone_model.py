"""Scattering angles of places on a detector for many trial geometries at once.

Five numbers place a detector for rings that are the same all round the beam: where the beam hits the detector plane
(C₁, C₂), ln of the way L from the sample to there, and the slopes (β₁, β₂) of the detector against the beam. With the
beam's direction in the frame of the detector b = (β₁, β₂, 1)/√(1 + β²) and w = Q − C for the place Q,

    tan 2θ = |w − (w·b) b| / (L + w·b)

Lengths are in any one unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]

N_PARAMETERS = 5
SHORTEST, LONGEST = -2.5, 5.5
"""Limits of ln L, in units of half the diagonal of the detector."""
STEEPEST = 4.0
"""Largest slope β that is tried: a tilt of 76 degrees."""


@dataclass(frozen=True)
class Places:
    """Places on the detector with two directions on it.

    Attributes
    ----------
    place : ndarray of float64 (n, 3)
    across, along : ndarray of float64 (n, 3)
        Unit vectors on the surface: across and along the ring if that is known, any two at right angles otherwise.
    """

    place: _Array
    across: _Array
    along: _Array

    def __len__(self) -> int:
        return len(self.place)

    def select(self, chosen: NDArray[np.generic]) -> Places:
        """Return some of the places: a mask or numbers."""
        return Places(self.place[chosen], self.across[chosen], self.along[chosen])


@dataclass(frozen=True)
class Angles:
    """What trial geometries (b) make of places (n).

    Attributes
    ----------
    two_theta : ndarray of float64 (b, n)
        In rad.
    across, along : ndarray of float64 (b, n)
        Derivatives of 2θ in the two directions of each place.
    derivatives : ndarray of float64 (b, n, 5) or None
        Derivatives of 2θ by the five parameters.
    """

    two_theta: _Array
    across: _Array
    along: _Array
    derivatives: _Array | None

    @property
    def slope(self) -> _Array:
        """Length of the gradient of 2θ on the detector: (b, n)."""
        return np.hypot(self.across, self.along) + 1e-300


def beam_direction(parameters: _Array) -> _Array:
    """Return b of geometries (b, 5): (b, 3)."""
    slopes = parameters[:, 3:5]
    direction = np.concatenate((slopes, np.ones((len(slopes), 1))), axis=1)
    return np.asarray(direction / np.linalg.norm(direction, axis=1, keepdims=True))


def angles(parameters: _Array, places: Places, *, derivatives: bool = False) -> Angles:
    """Return 2θ and its gradient for geometries (b, 5) at places (n)."""
    b = beam_direction(parameters)
    length = np.exp(parameters[:, 2])[:, None]
    q = places.place
    # w = Q − C, C in the plane z = 0
    w1, w2 = q[None, :, 0] - parameters[:, 0:1], q[None, :, 1] - parameters[:, 1:2]
    w3 = q[None, :, 2]
    forward = w1 * b[:, 0:1] + w2 * b[:, 1:2] + w3 * b[:, 2:3]
    aside1, aside2, aside3 = w1 - forward * b[:, 0:1], w2 - forward * b[:, 1:2], w3 - forward * b[:, 2:3]
    aside = np.sqrt(aside1 * aside1 + aside2 * aside2 + aside3 * aside3) + 1e-12
    depth = forward + length
    two_theta = np.arctan2(aside, depth)
    squared = aside * aside + depth * depth
    # gradient in space: (cos 2θ e − sin 2θ b)/|P|, e the unit vector away from the beam
    outward, inward = depth / (squared * aside), aside / squared
    g1 = outward * aside1 - inward * b[:, 0:1]
    g2 = outward * aside2 - inward * b[:, 1:2]
    g3 = outward * aside3 - inward * b[:, 2:3]
    across = g1 * places.across[:, 0] + g2 * places.across[:, 1] + g3 * places.across[:, 2]
    along = g1 * places.along[:, 0] + g2 * places.along[:, 1] + g3 * places.along[:, 2]
    if not derivatives:
        return Angles(two_theta, across, along, None)
    columns = np.empty((*two_theta.shape, N_PARAMETERS))
    columns[..., 0], columns[..., 1] = -g1, -g2
    columns[..., 2] = -inward * length
    turning = -(depth * forward / aside + aside) / squared
    norm = np.sqrt(1.0 + (parameters[:, 3:5] ** 2).sum(axis=1))[:, None]
    # d(w·b)/dβ = (w − (w·b) b)/|(β, 1)|, its first two components
    columns[..., 3] = turning * aside1 / norm
    columns[..., 4] = turning * aside2 / norm
    return Angles(two_theta, across, along, columns)


Normal = tuple[_Array, _Array, _Array]
"""Cost (b,), normal matrix (b, k, k) and gradient (b, k) of trial geometries."""
NormalEquations = Callable[[_Array], Normal]


def descend(start: _Array, normal: NormalEquations, iterations: int, *, largest: float = 0.7) -> tuple[_Array, _Array]:
    """Minimise many sums of squares at once (Levenberg-Marquardt).

    Parameters
    ----------
    start : ndarray of float64 (b, k)
    normal : callable
        Gives cost, normal matrix and gradient.
    iterations : int
    largest : float
        No parameter moves further in one step.

    Returns
    -------
    parameters (b, k), cost (b,)
    """
    here = start.copy()
    cost, matrix, gradient = normal(here)
    damping = np.full(len(here), 1e-3)
    k = here.shape[1]
    for _ in range(iterations):
        diagonal = np.einsum("bii->bi", matrix)
        scale = diagonal + 1e-9 * diagonal.max(axis=1, keepdims=True) + 1e-30
        damped = matrix + (damping[:, None] * scale)[:, :, None] * np.eye(k)
        step = -np.linalg.solve(damped, gradient[..., None])[..., 0]
        step /= np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True) / largest)
        there = here + step
        there[:, 2] = np.clip(there[:, 2], SHORTEST, LONGEST)
        steepness = np.hypot(there[:, 3], there[:, 4])
        there[:, 3:5] *= np.minimum(1.0, STEEPEST / np.maximum(steepness, 1e-9))[:, None]
        new_cost, new_matrix, new_gradient = normal(there)
        better = new_cost < cost
        here = np.where(better[:, None], there, here)
        matrix = np.where(better[:, None, None], new_matrix, matrix)
        gradient = np.where(better[:, None], new_gradient, gradient)
        cost = np.where(better, new_cost, cost)
        damping = np.clip(np.where(better, damping * 0.2, damping * 6.0), 1e-9, 1e9)
    return here, cost


def robust(residuals: _Array, columns: _Array, scale: float | _Array, weights: _Array | float = 1.0) -> Normal:
    """Return Cauchy's robust cost Σ w ln(1 + (r/s)²), its normal matrix and gradient."""
    ratio = (residuals / scale) ** 2
    cost = (weights * np.log1p(ratio)).sum(axis=1)
    weight = weights / (scale * scale) / (1.0 + ratio)
    weighted = columns * weight[..., None]
    matrix = np.swapaxes(weighted, 1, 2) @ columns
    gradient = (np.swapaxes(weighted, 1, 2) @ residuals[..., None])[..., 0]
    return cost, matrix, gradient


def fixing(normal: NormalEquations, fixed: tuple[int, ...]) -> NormalEquations:
    """Return the equations without some parameters."""

    def fixing(parameters: _Array) -> Normal:
        cost, matrix, gradient = normal(parameters)
        for k in fixed:
            matrix[:, k, :] = 0.0
            matrix[:, :, k] = 0.0
            matrix[:, k, k] = 1.0
            gradient[:, k] = 0.0
        return cost, matrix, gradient

    return fixing
