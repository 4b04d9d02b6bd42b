"""Which ring is which: the scale, the wavelength, and the weakest part of the shape, from the calibrant's pattern."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .cone_model import (
    LONGEST,
    N_PARAMETERS,
    SHORTEST,
    Normal,
    NormalEquations,
    Places,
    angles,
    descend,
    robust,
)
from .ring_matching import Comb, Match, match_rings
from .ring_scene import Clusters, Scene, find_clusters, view_angles
from .ring_shapes import FEWEST, free_rings_normal

if TYPE_CHECKING:
    from friedel.instrument.calibrants import Calibrant

_Array = NDArray[np.float64]

REFERENCE_WAVELENGTH = 0.3e-10
SHORTEST_WAVELENGTH, LONGEST_WAVELENGTH = 0.08e-10, 2.5e-10
"""Wavelengths that are tried where it is not known, m."""
FITTED = 500
"""Points of a fit to numbered rings, at most."""
QUICK_ERROR = 1.5
"""Error of a ring's place in pixels in the first look at a numbering."""
PROFILE_STEP = 0.15
"""Step in ln L."""
ANCHORS = 12
HYPOTHESES = 500
POLISHED = 16
"""Numberings that are looked at closely, and those that are fitted."""
WEAK_ERRORS = 10.0
"""Standard errors that the worst determined change is tried for; points that belong together make errors too small."""
WEAK_STEP = 1.2
LARGEST_SHIFT = 30.0
"""Step of that and its largest extent, in pixels."""


@dataclass(frozen=True)
class Solution:
    """A numbered geometry."""

    parameters: _Array
    wavelength: float
    match: Match
    rings: Clusters

    @property
    def score(self) -> float:
        return self.match.score

    @property
    def beyond_doubt(self) -> bool:
        """Whether nothing else needs to be tried."""
        return self.score > 20.0 and self.match.matched > 0.8 * len(self.rings.two_theta)


def number_rings(
    scene: Scene, parameters: _Array, rings: Clusters, calibrant: Calibrant, wavelength: float | None
) -> list[Solution]:
    """Return the best ways to number the rings."""
    if len(rings.two_theta) < 2:
        return []
    profile = _profile(scene, parameters, rings)
    count = rings.count[profile.known]
    free = wavelength is None
    comb = Comb.of(calibrant, wavelength or REFERENCE_WAVELENGTH)
    if free:
        trial, two_theta, slope, wavelengths = _anchored_by_wavelength(profile, comb, count)
        if not len(trial):
            return []
        per_angle = 2e-10 / wavelengths[:, None]
        place, width = per_angle * np.sin(0.5 * two_theta), 0.5 * per_angle * np.cos(0.5 * two_theta) * slope
        quick = _quick_score(place, width, 1.0 / comb.spacing, comb.intensity)
    else:
        trial, two_theta, slope = _anchored(profile, comb, count)
        if not len(trial):
            return []
        wavelengths = np.full(len(trial), comb.wavelength)
        quick = _quick_score(two_theta, slope, comb.two_theta, comb.intensity)
    label = np.where(rings.label >= 0, np.where(profile.known, np.cumsum(profile.known) - 1, -1)[rings.label], -1)
    best = np.argsort(-quick, kind="stable")[:HYPOTHESES]
    combs = [comb.at(wavelengths[i]) if free else comb for i in best]
    matches = [
        match_rings(Clusters(label, two_theta[i], slope[i], slope[i], count, 0.0), c)
        for i, c in zip(best, combs, strict=True)
    ]
    ranking = np.argsort([-match.score for match in matches], kind="stable")
    chosen: list[int] = []
    solutions: list[Solution] = []
    for rank in ranking:
        i = int(best[rank])
        if all(
            (np.abs(two_theta[i] - two_theta[j]) > 1.5 * slope[i]).any()
            or abs(wavelengths[i] / wavelengths[j] - 1.0) > 0.01
            for j in chosen
        ):
            chosen.append(i)
            solutions.append(_polished(scene, trial[i], label, matches[rank].target, combs[rank], free=free))
        if len(chosen) == POLISHED:
            break
    return solutions


def _polished(
    scene: Scene, parameters: _Array, label: NDArray[np.intp], target: _Array, comb: Comb, *, free: bool
) -> Solution:
    """Fit the geometry, and the wavelength if that is free, to the rings that were matched, match again, and so on."""
    rings, match = None, None
    for scale in (2.0, 1.0, 1.0):
        fit = fit_numbered(scene, parameters, label, target, scale, free=free)
        if fit is not None:
            parameters = fit.parameters
            if free:
                comb = comb.at(comb.wavelength * float(np.clip(fit.ratio, 0.8, 1.25)))
        rings = find_clusters(scene, parameters, 1.0)
        match = match_rings(rings, comb, view_angles(scene, parameters))
        label, target = rings.label, match.target
    assert rings is not None and match is not None
    return Solution(parameters, comb.wavelength, match, rings)


@dataclass(frozen=True)
class _NumberedFit:
    """Geometry and ratio of the wavelength to that assumed, and the relative standard error of the ratio."""

    parameters: _Array
    ratio: float
    error: float


def fit_numbered(
    scene: Scene, parameters: _Array, label: NDArray[np.intp], target: _Array, scale: float, *, free: bool
) -> _NumberedFit | None:
    """Fit to points on numbered rings; None if there are too few."""
    if not len(target):
        return None
    chosen = np.nonzero(np.where(label >= 0, np.isfinite(target)[label], False))[0]
    if len(chosen) < FEWEST:
        return None
    if len(chosen) > FITTED:
        chosen = chosen[np.linspace(0, len(chosen) - 1, FITTED).astype(int)]
    places, wanted = scene.places.select(chosen), target[label[chosen]]
    normal = _numbered_rings_normal(places, wanted, scene.pixel, scale)
    start = np.concatenate((parameters, [0.0] if free else []))[None]
    there, _ = descend(start, normal, 10 if free else 6)
    if not free:
        return _NumberedFit(there[0], 1.0, 0.0)
    _, matrix, _ = normal(there)
    seen = angles(there[:, :N_PARAMETERS], places)
    angle = 2 * np.arcsin(np.minimum(np.sin(0.5 * wanted) * math.exp(there[0, 5]), 1.0))
    rms = 1.4826 * float(np.median(np.abs((seen.two_theta[0] - angle) / (seen.slope[0] * scene.pixel))))
    norm = np.sqrt(np.diag(matrix[0])) + 1e-30
    covariance = np.linalg.pinv(matrix[0] / np.outer(norm, norm), rcond=1e-12) / np.outer(norm, norm)
    # What shifts a ring, such as neighbours that are not resolved, shifts all its points.
    together = len(chosen) / min(len(chosen), 4 * len(np.unique(label[chosen])))
    error = max(rms, 0.05) / scale * math.sqrt(max(covariance[5, 5], 0.0) * together)
    return _NumberedFit(there[0, :N_PARAMETERS], math.exp(float(np.clip(there[0, 5], -1.0, 1.0))), error)


def _numbered_rings_normal(places: Places, target: _Array, pixel: float, scale: float) -> NormalEquations:
    """Return the robust sum of squares of distances, in pixels, from rings at known angles.

    A sixth parameter is ln of the wavelength's ratio to that of the known angles.
    """
    sine = np.sin(0.5 * target)

    def normal(parameters: _Array) -> Normal:
        seen = angles(parameters[:, :N_PARAMETERS], places, derivatives=True)
        assert seen.derivatives is not None
        weight = 1.0 / (seen.slope * pixel)
        columns = seen.derivatives * weight[..., None]
        if parameters.shape[1] == N_PARAMETERS:
            return robust((seen.two_theta - target) * weight, columns, scale)
        angle = 2 * np.arcsin(np.minimum(sine * np.exp(parameters[:, 5:6]), 1.0))
        by_wavelength = -2 * np.tan(np.minimum(0.5 * angle, 1.55)) * weight
        columns = np.concatenate((columns, by_wavelength[..., None]), axis=2)
        return robust((seen.two_theta - angle) * weight, columns, scale)

    return normal


@dataclass(frozen=True)
class _Profile:
    """The rings seen, for a row of lengths L: everything else is fitted at each.

    log_length : (j,);  parameters : (j, 5);  angle : (j, m) ln tan θ of each ring;  slope : (j, m) ln rad/pixel
    weak : (j, 5) what the points determine least besides L, as long as its standard error
    moves : (j, m) by how much `angle` rises along it;  shift : (j,) by how many pixels it moves rings, at most
    known : (rings,) which of the rings seen these m are
    """

    log_length: _Array
    parameters: _Array
    angle: _Array
    slope: _Array
    weak: _Array
    moves: _Array
    shift: _Array
    known: NDArray[np.bool_]


def _profile(scene: Scene, parameters: _Array, rings: Clusters) -> _Profile:
    chosen = np.nonzero(rings.label >= 0)[0]
    if len(chosen) > 400:
        chosen = chosen[np.linspace(0, len(chosen) - 1, 400).astype(int)]
    label = rings.label[chosen]
    places = scene.places.select(chosen)
    normal = free_rings_normal(places, label, scene.pixel, 2.0, fixed=(2,))
    # One of the lengths is that of the shape: where tilts fix the length, all the rest changes fast with it.
    first_node = SHORTEST + 0.1 + (parameters[2] - SHORTEST - 0.1) % PROFILE_STEP
    nodes = np.arange(first_node, LONGEST, PROFILE_STEP)
    fitted = np.empty((len(nodes), N_PARAMETERS))
    cost = np.empty(len(nodes))
    middle = int(np.argmin(np.abs(nodes - parameters[2])))
    for direction in (1, -1):
        here = parameters
        for i in range(middle, len(nodes) if direction > 0 else -1, direction):
            # From afar a tilt and its mirror image look alike, and sin(tilt)/L counts more than the tilt.
            start = np.stack((here, here, here, here))
            start[1, 3:5] *= math.exp(nodes[i] - here[2])
            start[2, 3:5] *= -1.0
            start[3, 3:5] = 0.0
            start[:, 2] = nodes[i]
            there, value = descend(start, normal, 8)
            one = int(np.argmin(value))
            here = fitted[i] = there[one]
            cost[i] = value[one]
    # Cauchy's cost with scale 2: a mean of ln(1 + (r/2)²).
    rms = 2.0 * np.sqrt(np.expm1(np.minimum(cost / len(chosen), 20.0)))
    good = rms < 1.6 * rms.min() + 0.25
    first = last = int(np.argmin(np.where(good, rms, np.inf)))
    while first > 0 and good[first - 1]:
        first -= 1
    while last < len(nodes) - 1 and good[last + 1]:
        last += 1
    first, last = max(first - 1, 0), min(last + 1, len(nodes) - 1)
    fitted, nodes = fitted[first : last + 1], nodes[first : last + 1]
    seen = angles(fitted, places, derivatives=True)
    assert seen.derivatives is not None
    _, matrix, _ = normal(fitted)
    m = len(rings.two_theta)
    known = np.bincount(label, minlength=m) > 0
    mean = np.stack([(label == k) / max((label == k).sum(), 1) for k in np.nonzero(known)[0]])
    angle = np.log(np.tan(0.5 * seen.two_theta)) @ mean.T
    slope = np.log(seen.slope * scene.pixel) @ mean.T
    per_pixel = seen.derivatives / (seen.slope * scene.pixel)[..., None]
    moves = np.einsum("mn,jnk->jmk", mean, per_pixel)
    weak, shift = _weakest(matrix * 4.0 / rms.min() ** 2, moves)
    in_pixels = np.einsum("jmk,jk->jm", moves, weak)
    moves_angle = in_pixels * np.exp(slope) / np.sin(2 * np.arctan(np.exp(angle)))
    return _Profile(nodes, fitted, angle, slope, weak, moves_angle, shift, known)


def _weakest(information: _Array, moves: _Array) -> tuple[_Array, _Array]:
    """Return which change of (C, β) moves rings against each other most, within its errors: (j, 5), and how far: (j,).

    What a change of L makes up for does not count.
    """
    others = [0, 1, 3, 4]
    weak, shift = np.zeros((len(moves), N_PARAMETERS)), np.zeros(len(moves))
    for j, (inverse, move) in enumerate(zip(information[:, others][:, :, others], moves, strict=True)):
        scale = np.sqrt(np.maximum(np.diag(inverse), 1e-30))
        values, vectors = np.linalg.eigh(inverse / np.outer(scale, scale))
        spread = vectors / np.sqrt(np.maximum(values, 1e-12)) / scale[:, None]
        by_length = move[:, 2] / max(float(np.linalg.norm(move[:, 2])), 1e-30)
        apart = move[:, others] @ spread
        apart = apart - np.outer(by_length, by_length @ apart)
        _, _, right = np.linalg.svd(apart, full_matrices=False)
        weak[j, others] = spread @ right[0]
        shift[j] = np.abs(apart @ right[0]).max()
    return weak, shift


def _anchored(profile: _Profile, comb: Comb, count: NDArray[np.intp]) -> tuple[_Array, _Array, _Array]:
    """Return geometries (h, 5) that put one of the clearest rings on one of the calibrant's, and 2θ and slope (h, m).

    Around each length of the profile ln tan θ of a ring is linear in ln L and in the weakest change of the other
    parameters, which is tried in steps as fine as the error of a ring's place.
    """
    target = np.log(np.tan(0.5 * comb.two_theta))
    anchors = np.sort(np.argsort(-count, kind="stable")[:ANCHORS])
    half = 0.5 * PROFILE_STEP
    found = []
    rises = np.gradient(profile.angle, profile.log_length, axis=0)
    changes = np.gradient(profile.parameters, profile.log_length, axis=0)
    for j, node in enumerate(profile.log_length):
        reach = min(WEAK_ERRORS * profile.shift[j], LARGEST_SHIFT)
        steps = int(reach / WEAK_STEP)
        part = np.arange(-steps, steps + 1) * (WEAK_STEP / max(profile.shift[j], 1e-30))
        moved = profile.angle[j] + part[:, None] * profile.moves[j]  # (s, m)
        rise = np.minimum(rises[j], -0.05)
        there = (target - moved[:, anchors, None]) / rise[anchors][:, None]  # (s, a, k)
        step, _, _ = inside = np.nonzero(np.abs(there) <= half)
        if not len(step):
            continue
        away = there[inside][:, None]
        parameters = profile.parameters[j] + away * changes[j] + part[step][:, None] * profile.weak[j]
        parameters[:, 2] = node + away[:, 0]
        two_theta = 2 * np.arctan(np.exp(moved[step] + away * rise))
        found.append((parameters, two_theta, np.broadcast_to(np.exp(profile.slope[j] - away), two_theta.shape)))
    if not found:
        nothing = np.empty((0, 0))
        return nothing, nothing, nothing
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]


def _anchored_by_wavelength(
    profile: _Profile, comb: Comb, count: NDArray[np.intp]
) -> tuple[_Array, _Array, _Array, _Array]:
    """Return the same for any wavelength, and the wavelengths in m: each L and ring number gives one."""
    anchors = np.argsort(-count, kind="stable")[:4]
    strongest = np.sort(np.argsort(-comb.intensity, kind="stable")[:30])
    away = (np.arange(6) + 0.5) / 6 * PROFILE_STEP - 0.5 * PROFILE_STEP
    rises = np.gradient(profile.angle, profile.log_length, axis=0)
    changes = np.gradient(profile.parameters, profile.log_length, axis=0)
    found = []
    for j, node in enumerate(profile.log_length):
        angle = profile.angle[j] + away[:, None] * rises[j]
        two_theta = 2 * np.arctan(np.exp(angle))  # (l, m)
        wavelength = 2e-10 * comb.spacing[strongest] * np.sin(0.5 * two_theta[:, anchors, None])  # (l, a, k)
        inside = np.nonzero((wavelength > SHORTEST_WAVELENGTH) & (wavelength < LONGEST_WAVELENGTH))
        row = inside[0]
        parameters = profile.parameters[j] + away[row, None] * changes[j]
        parameters[:, 2] = node + away[row]
        slope = np.exp(profile.slope[j] - away[row, None])
        found.append((parameters, two_theta[row], np.broadcast_to(slope, two_theta[row].shape), wavelength[inside]))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]


def _quick_score(place: _Array, pixel: _Array, rings: _Array, intensity: _Array) -> _Array:
    """Return how much better than by chance the rings seen (h, m) match, each by its nearest ring (k)."""
    upper = np.clip(np.searchsorted(rings, place), 1, len(rings) - 1)
    left, right = rings[upper - 1], rings[upper]
    nearest = np.where(place - left < right - place, upper - 1, upper)
    distance = np.abs(place - rings[nearest]) / pixel
    lowest, highest = place.min(axis=1), place.max(axis=1)
    span = (highest - lowest) / np.median(pixel, axis=1)
    strength = intensity / (intensity + 0.03)
    total = np.concatenate(([0.0], np.cumsum(strength)))
    number = total[np.searchsorted(rings, highest * 1.02)] - total[np.searchsorted(rings, lowest * 0.98)]
    density = strength[nearest] / np.maximum(number, 1.0)[:, None]
    peak = density * np.exp(-0.5 * (distance / QUICK_ERROR) ** 2) / (QUICK_ERROR * math.sqrt(2 * np.pi))
    return np.asarray(np.log(0.8 * peak * span[:, None] + 0.2).sum(axis=1))
