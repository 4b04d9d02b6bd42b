"""Directions of single spots, from the others around.

The rings of a coarse powder are rows of spots. A spot alone does not tell the direction of its ring, but with its
neighbours it does: of all arcs through the spot (direction φ, curvature κ) the one that passes the most of them. In
coordinates s along and e across the direction the arc is e = κ s²/2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from .points import RingPoints

_Array = NDArray[np.float64]

NEIGHBOURS = 40
FEWEST = 12
DIRECTIONS = 60
SAGITTAS = np.array([0.0, -0.06, 0.06, -0.15, 0.15])
"""Curvatures tried, as the height of the arc over its half length."""
WIDTH = 2.0
"""Spots count as on the arc when they are about this near, in pixels."""
CLEAR = 2.5
"""Excess over chance, in standard deviations, of an arc that is believed."""
MOST_SPOTS = 2500


def with_directions(points: RingPoints, longest_spot: float = 22.0) -> RingPoints:
    """Return points with short chains made one spot each, and spots with the direction of the arc they lie on.

    A grain's spot may be long in any direction: chains shorter than `longest_spot` in pixels count as spots. One whose
    neighbours tell nothing keeps the direction that it has, if any.
    """
    points = _short_chains_as_spots(points, longest_spot)
    alone = np.nonzero(points.chain < 0)[0]
    if len(alone) < FEWEST:
        return points
    if len(alone) > MOST_SPOTS:
        strongest = np.sort(alone[np.argsort(-points.strength[alone], kind="stable")[:MOST_SPOTS]])
        keep = points.chain >= 0
        keep[strongest] = True
        points = points.select(keep)
        alone = np.nonzero(points.chain < 0)[0]
    voted, clear = _voted(points.y[alone], points.x[alone])
    direction = points.direction.copy()
    direction[alone[clear]] = voted[clear]
    return replace(points, direction=direction)


def _short_chains_as_spots(points: RingPoints, longest_spot: float) -> RingPoints:
    chained = np.nonzero(points.chain >= 0)[0]
    if not len(chained):
        return points
    number, label = np.unique(points.chain[chained], return_inverse=True)
    n = len(number)
    low = np.full((n, 2), np.inf)
    high = np.full((n, 2), -np.inf)
    place = np.column_stack((points.y[chained], points.x[chained]))
    np.minimum.at(low, label, place)
    np.maximum.at(high, label, place)
    short = np.hypot(*(high - low).T) < longest_spot
    # The strongest point of each short chain stands for it.
    order = np.lexsort((-points.strength[chained], label))
    first = order[np.r_[True, label[order][1:] != label[order][:-1]]]
    keep = np.ones(len(points), np.bool_)
    keep[chained[short[label]]] = False
    stand = chained[first[short]]
    keep[stand] = True
    chain = points.chain.copy()
    chain[stand] = -1
    return replace(points, chain=chain).select(keep)


def _voted(y: _Array, x: _Array) -> tuple[_Array, NDArray[np.bool_]]:
    """Return the direction across the arc through each spot, and whether the arc stands out."""
    place = np.column_stack((y, x))
    k = min(NEIGHBOURS + 1, len(place))
    found: Any = spatial.cKDTree(place).query(place, k=k)
    distance, neighbour = found
    offset = (place[neighbour[:, 1:]] - place[:, None]).astype(np.float32)
    distance = distance[:, 1:].astype(np.float32)
    reach = distance[:, -1:]
    # Spots within the width of the arc in any direction tell nothing.
    weight = (distance > 2 * WIDTH).astype(np.float32)
    angle = (np.arange(DIRECTIONS) * (np.pi / DIRECTIONS)).astype(np.float32)
    best = np.full(len(place), -np.inf, np.float32)
    chosen = np.zeros(len(place), np.intp)
    # By chance, of k spots spread evenly over the disc those within the width of a line through its middle.
    chance = weight.sum(axis=1) * np.minimum(2.5 * WIDTH * 2 / (np.pi * reach[:, 0]), 0.5)
    for index, phi in enumerate(angle):
        across = offset[..., 0] * np.sin(phi) + offset[..., 1] * np.cos(phi)
        along = offset[..., 0] * np.cos(phi) - offset[..., 1] * np.sin(phi)
        bent = along * along / reach
        for sagitta in SAGITTAS.astype(np.float32):
            votes = (weight * np.exp(-0.5 * np.square((across - sagitta * bent) / WIDTH))).sum(axis=1)
            better = votes > best
            best[better] = votes[better]
            chosen[better] = index
    clear = best - chance > CLEAR * np.sqrt(chance + 0.5)
    return angle[chosen].astype(np.float64), np.asarray(clear)
