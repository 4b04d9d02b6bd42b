"""What the detector sees when the beam passes beside the sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EDGE_PART = 0.03
"""Part of the translations at each side that is taken for air."""

STEADY_PART = 0.1
"""The edges are air if their total varies over the angles by less than this part of the sample's signal."""


@dataclass(frozen=True, eq=False)
class Background:
    """The pattern of air, container-free beam and the detector's own counts.

    Attributes
    ----------
    pattern : ndarray of float32, shape (layers, channels)
        To be subtracted; zero where the edges of the scan are not air.
    message : str
        What was found, for the user.
    """

    pattern: NDArray[np.float32]
    message: str


def no_background(layers: int, channels: int) -> Background:
    """Return a background that subtracts nothing."""
    return Background(np.zeros((layers, channels), np.float32), "No background is subtracted.")


def find_background(sinograms: NDArray[np.float32], totals: NDArray[np.float64]) -> Background:
    """Take the mean pattern of the outermost translations, if the beam passes beside the sample there.

    What is the same in every frame is no part of the sample; unsubtracted it would be reconstructed as a bowl.

    Parameters
    ----------
    sinograms : ndarray, shape (layers, angles, translations, channels)
    totals : ndarray, shape (layers, angles, translations)
        Mean over the channels; NaN for missing points.
    """
    layers, _, translations, channels = sinograms.shape
    edge = max(1, round(EDGE_PART * translations))
    columns = np.r_[0:edge, translations - edge : translations]
    pattern = np.zeros((layers, channels), np.float32)
    air = np.array([_is_air(layer, edge) for layer in totals])
    for layer in np.flatnonzero(air):
        points = sinograms[layer][:, columns].reshape(-1, channels)
        pattern[layer] = _mean_of_known(points)
    if air.all():
        return Background(pattern, f"The mean of the {edge} outermost translations at each side is subtracted as air.")
    if not air.any():
        return Background(pattern, "The sample reaches the edge of the scan: no background is subtracted.")
    return Background(pattern, f"Air is subtracted from {air.sum()} of {layers} layers; the others fill the scan.")


def _mean_of_known(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean of each channel over the points that have it; 0 for a channel that none has."""
    known = np.isfinite(points)
    count = known.sum(axis=0)
    total = np.where(known, points, 0).sum(axis=0, dtype=np.float64)
    return np.asarray(np.divide(total, count, out=np.zeros(len(count)), where=count > 0))


def _is_air(total: NDArray[np.float64], edge: int) -> bool:
    """Tell whether the sample is out of the beam at both ends, at every angle; not, if one end was never measured."""
    sides = total[:, :edge], total[:, -edge:]
    if not all(np.isfinite(side).any() for side in sides):
        return False
    profile = _known_mean(total, axis=0)
    level = float(np.median(_known_mean(np.concatenate(sides, axis=1), axis=0)))
    signal = float(profile.max()) - level
    excess = max(float(_known_mean(side, axis=1).max()) - level for side in sides)
    return signal > 0 and excess < STEADY_PART * signal


def _known_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the means along an axis of what is finite, without those that nothing is known of."""
    known = np.isfinite(values).any(axis=axis)
    return np.asarray(np.nanmean(values.compress(known, axis=1 - axis), axis=axis))
