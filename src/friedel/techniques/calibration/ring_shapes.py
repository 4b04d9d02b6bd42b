"""Geometries whose rings run the way the points do: which ring is which stays open, and the scale with it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .cone_model import N_PARAMETERS, Normal, NormalEquations, Places, angles, descend, fixing, robust
from .ring_scene import Clusters, Scene, find_clusters

_Array = NDArray[np.float64]

FEWEST = 20
"""Points without which nothing is tried."""
PREFERENCE = 0.02
"""Weight of a usual distance and of no tilt, in units of the cost of one point."""


def find_shapes(scene: Scene) -> list[tuple[_Array, Clusters]]:
    """Return geometries whose rings go where the points go, numbers and scale open, the sharpest rings first."""
    directed = scene.places.select(np.nonzero(scene.directed)[0])
    if len(directed) < FEWEST:
        return []
    few = directed.select(np.linspace(0, len(directed) - 1, min(150, len(directed))).astype(int))
    more = directed.select(np.linspace(0, len(directed) - 1, min(350, len(directed))).astype(int))
    starts = _starts()
    cost = np.log1p((_turns(starts, few) / 0.2) ** 2).sum(axis=1)
    best = starts[np.argsort(cost)[:64]]
    best, cost = descend(best, _orientation_normal(more, 0.15), 12)
    best = best[_different(best, cost, more, 16)]
    best, cost = descend(best, _orientation_normal(more, 0.05), 15)
    best = best[_different(best, cost, more, 8)]
    found = [shape for parameters in _straightened(scene, best) if (shape := _sharpened(scene, parameters)) is not None]
    found.sort(key=lambda shape: -shape[1].sharpness)
    upright = _upright(scene, more)
    # Short arcs fit many tilts; none is then the first guess.
    if upright is not None and found and upright[1].sharpness > found[0][1].sharpness - 0.5:
        found.insert(1, upright)
    return found[:3]


def _starts() -> _Array:
    """Return trial geometries: beam near the detector at any tilt, or detector in front of the sample at an angle."""

    def slopes(tilt: float, n: int) -> _Array:
        phi = np.arange(n) * (2 * np.pi / n)
        return math.tan(math.radians(tilt)) * np.column_stack((np.cos(phi), np.sin(phi)))

    steps = np.array([-1.7, -0.8, -0.35, 0.0, 0.35, 0.8, 1.7])
    centers = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    parts = [_product(centers, [1.5], np.zeros((1, 2)))]
    parts += [_product(centers, [0.6, 1.5, 5.0], slopes(tilt, n)) for tilt, n in ((20.0, 6), (45.0, 8))]
    feet = np.stack(np.meshgrid(*2 * [np.array([-0.5, 0.0, 0.5])], indexing="ij"), axis=-1).reshape(-1, 2)
    for tilt in (15.0, 30.0, 45.0, 58.0):
        front = _product(feet, [0.7, 2.0, 6.0], slopes(tilt, 12))
        distance = np.exp(front[:, 2])
        front[:, :2] += distance[:, None] * front[:, 3:5]
        front[:, 2] = np.log(distance * np.sqrt(1 + (front[:, 3:5] ** 2).sum(axis=1)))
        parts.append(front)
    return np.concatenate(parts)


def _product(centers: _Array, lengths: list[float], slopes: _Array) -> _Array:
    c, length, s = np.meshgrid(np.arange(len(centers)), np.log(lengths), np.arange(len(slopes)), indexing="ij")
    return np.column_stack((centers[c.ravel()], length.ravel(), slopes[s.ravel()]))


def _turns(parameters: _Array, places: Places) -> _Array:
    """Return the sine of the angle between each point's direction and that of the ring there: (b, n)."""
    seen = angles(parameters, places)
    return np.asarray(seen.along / seen.slope)


def _orientation_normal(places: Places, scale: float) -> NormalEquations:
    """Return the robust sum of squares of the turns, with derivatives by differences."""
    step = 1e-5

    def normal(parameters: _Array) -> Normal:
        turns = _turns(parameters, places)
        columns = np.empty((*turns.shape, N_PARAMETERS))
        for k in range(N_PARAMETERS):
            moved = parameters.copy()
            moved[:, k] += step
            columns[..., k] = (_turns(moved, places) - turns) / step
        return _moderate(parameters, robust(turns, columns, scale))

    return normal


def _moderate(parameters: _Array, normal: Normal) -> Normal:
    """Prefer a usual distance and no tilt, ever so slightly, where the points do not tell."""
    cost, matrix, gradient = normal
    usual = np.array([0.0, 0.0, 0.7, 0.0, 0.0])
    weight = np.array([0.0, 0.0, 1.0, 0.3, 0.3]) * PREFERENCE
    away = parameters - usual
    return cost + (weight * away**2).sum(axis=1), matrix + np.diag(weight), gradient + weight * away


def _upright(scene: Scene, directed: Places) -> tuple[_Array, Clusters] | None:
    """Return the shape without tilt: the centre is where all normals meet."""
    steps = np.array([-3.0, -1.7, -0.8, -0.35, 0.0, 0.35, 0.8, 1.7, 3.0])
    centers = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    starts = _product(centers, [1.5], np.zeros((1, 2)))
    for scale in (0.15, 0.05):
        starts, cost = descend(starts, fixing(_orientation_normal(directed, scale), (2, 3, 4)), 8)
        starts = starts[np.argsort(cost)[:8]]
    return _sharpened(scene, starts[0], fixed=(2, 3, 4))


def _different(parameters: _Array, cost: _Array, places: Places, n: int) -> list[int]:
    """Return up to n geometries by rising cost, none of whose rings run like those of one before."""
    seen = angles(parameters, places)
    course = np.arctan2(seen.along, seen.across)
    chosen: list[int] = []
    for i in np.argsort(cost):
        if all(np.median(np.abs(np.sin(course[i] - course[j]))) > 0.01 for j in chosen):
            chosen.append(int(i))
        if len(chosen) == n:
            break
    return chosen


def free_rings_normal(
    places: Places, label: NDArray[np.intp], pixel: float, scale: float, *, fixed: tuple[int, ...] = ()
) -> NormalEquations:
    """Return the robust sum of squares of distances, in pixels, from rings whose angles are free."""
    ones = np.zeros((len(label), int(label.max()) + 1))
    ones[np.arange(len(label)), label] = 1.0

    def normal(parameters: _Array) -> Normal:
        seen = angles(parameters, places, derivatives=True)
        assert seen.derivatives is not None
        weight = 1.0 / (seen.slope * pixel)
        squared = weight * weight
        for _ in range(2):  # the ring's angle, first by all points, then by those near
            mean = (squared * seen.two_theta) @ ones / np.maximum(squared @ ones, 1e-300)
            residual = (seen.two_theta - mean[:, label]) * weight
            squared = weight * weight / (1 + (residual / scale) ** 2)
        total = np.maximum(squared @ ones, 1e-300)
        columns = np.empty_like(seen.derivatives)
        for k in range(N_PARAMETERS):
            column = seen.derivatives[..., k]
            columns[..., k] = (column - ((squared * column) @ ones / total)[:, label]) * weight
        return _moderate(parameters, robust(residual, columns, scale))

    return fixing(normal, fixed)


def _straightened(scene: Scene, parameters: _Array) -> _Array:
    """Let each chain lie on one ring of its own."""
    number, count = np.unique(scene.chain[scene.chain >= 0], return_counts=True)
    long = number[count >= 4]
    chosen = np.nonzero(np.isin(scene.chain, long))[0]
    if len(chosen) < 3 * FEWEST or not len(parameters):
        return parameters
    label = np.searchsorted(long, scene.chain[chosen])
    if len(long) > 60:
        label_kept = np.argsort(-np.bincount(label))[:60]
        kept = np.isin(label, label_kept)
        chosen, label = chosen[kept], np.unique(label[kept], return_inverse=True)[1]
    straight = parameters
    for scale in (6.0, 2.0):
        straight, _ = descend(straight, free_rings_normal(scene.places.select(chosen), label, scene.pixel, scale), 10)
    return np.concatenate((straight, parameters[:3]))


def _sharpened(scene: Scene, parameters: _Array, *, fixed: tuple[int, ...] = ()) -> tuple[_Array, Clusters] | None:
    """Gather the points in rings and let these be sharp."""
    for smoothing, scale in ((3.0, 4.0), (1.5, 2.0), (1.0, 1.0)):
        rings = find_clusters(scene, parameters, smoothing)
        chosen = np.nonzero(rings.label >= 0)[0]
        if len(chosen) < FEWEST:
            return None
        normal = free_rings_normal(scene.places.select(chosen), rings.label[chosen], scene.pixel, scale, fixed=fixed)
        mirrored = parameters * np.array([1.0, 1.0, 1.0, -1.0, -1.0])
        refined, cost = descend(np.stack((parameters, mirrored)), normal, 8)
        if np.isfinite(refined).all():
            parameters = refined[int(np.argmin(cost))]
    return parameters, find_clusters(scene, parameters, 1.0)
