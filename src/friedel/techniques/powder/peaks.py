"""Area, position and width of a peak by its moments, as linear functionals of the pattern.

A moment over a window, above the straight line through the window's edges, is a weighted sum of the pattern. So it
commutes with reconstruction: the moments of reconstructed patterns are the reconstructions of the moments, and
position = M1/M0 and width follow from their ratios, which themselves must never be reconstructed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import ParameterError

EDGE_PART = 0.15
"""Part of the window at each end from which the straight background is taken."""

LEAST_CHANNELS = 5
"""Channels that a window needs: two for each edge and one between."""

FWHM_OF_STANDARD_DEVIATION = float(np.sqrt(8.0 * np.log(2.0)))
"""Full width at half maximum of a Gaussian of standard deviation 1."""


def window_channels(radial: NDArray[np.float64], low: float, high: float, name: str) -> slice:
    """Return the channels whose centres lie in [low, high].

    Parameters
    ----------
    radial : ndarray, shape (channels,)
        Ascending channel centres.
    low, high : float
        Limits, in the unit of `radial`.
    name : str
        What the window is for, for messages.

    Raises
    ------
    ParameterError
        If the window holds too few channels.
    """
    start, stop = np.searchsorted(radial, [low, high], side="left")
    stop += int(stop < len(radial) and radial[stop] == high)
    if stop - start < LEAST_CHANNELS:
        raise ParameterError(
            f"The window {name} from {low:g} to {high:g} holds {max(0, stop - start)} channels.",
            f"It needs {LEAST_CHANNELS} or more between {radial[0]:g} and {radial[-1]:g}: widen it or raise npt.",
        )
    return slice(int(start), int(stop))


def sum_weights(radial: NDArray[np.float64], low: float, high: float, name: str) -> NDArray[np.float64]:
    """Return the weights, shape (channels,), whose product with a pattern is its sum over the window."""
    weights = np.zeros(len(radial))
    weights[window_channels(radial, low, high, name)] = 1.0
    return weights


def half_maximum_width(radial: NDArray[np.float64], pattern: NDArray[np.float64], low: float, high: float) -> float:
    """Return the full width at half maximum of the highest peak in [low, high], in the radial unit.

    The height counts from the lowest value in a range three times as wide, for a window may lie on the peak's top;
    channels that are NaN are passed over.
    """
    reach = high - low
    around = (radial >= low - reach) & (radial <= high + reach) & np.isfinite(pattern)
    position, height = radial[around], pattern[around] - pattern[around].min(initial=np.inf)
    inside = np.flatnonzero((position >= low) & (position <= high))
    if not inside.size or len(position) < LEAST_CHANNELS:
        return 0.0
    top = int(inside[np.argmax(height[inside])])
    below = height < 0.5 * height[top]
    left = np.flatnonzero(below[:top])
    right = np.flatnonzero(below[top:])
    first = position[left[-1]] if left.size else position[0]
    last = position[top + right[0]] if right.size else position[-1]
    step = float(np.median(np.diff(position)))
    # Each half height lies, on average, half a channel before the first channel below it.
    return max(float(last - first) - step, step)


@dataclass(frozen=True)
class PeakWindow:
    """The moments of one peak as weights over the channels.

    Attributes
    ----------
    name : str
    origin : float
        Position that the moments refer to: the middle of the window, in the radial unit.
    weights : ndarray of float64, shape (3, channels)
        Their products with a pattern are the moments 0, 1 and 2 above the background, in intensity times
        radial unit to the power 1, 2 and 3.
    low, high : float
        The window, in the radial unit.
    """

    name: str
    origin: float
    weights: NDArray[np.float64]
    low: float
    high: float

    @classmethod
    def build(cls, radial: NDArray[np.float64], low: float, high: float, name: str) -> PeakWindow:
        """Make the weights for channel centres `radial`; raises `ParameterError` for too narrow a window."""
        channels = window_channels(radial, low, high, name)
        inside = radial[channels]
        origin = 0.5 * (inside[0] + inside[-1])
        offset = inside - origin
        moments = np.stack([offset**order for order in range(3)]) * np.gradient(inside)
        weights = np.zeros((3, len(radial)))
        weights[:, channels] = moments @ (np.eye(len(inside)) - _edge_line(offset))
        return cls(name, float(origin), weights, float(low), float(high))

    def evaluate(self, moments: NDArray[np.float64], least_area: float = 0.0) -> dict[str, NDArray[np.float64]]:
        """Return area, position and full width at half maximum from the moments.

        Parameters
        ----------
        moments : ndarray, shape (..., 3)
            Products of patterns with `weights`.
        least_area : float
            Where the area is not larger, there is no peak: position and width are NaN.

        Returns
        -------
        dict
            ``area`` (intensity times radial unit), ``position`` and ``width`` (radial unit; the width of the
            Gaussian with the same second moment), each of shape (...).
        """
        area = moments[..., 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = moments[..., 1] / area
            variance = moments[..., 2] / area - mean**2
            width = FWHM_OF_STANDARD_DEVIATION * np.sqrt(variance)
        there = (area > least_area) & (np.abs(mean) <= 0.5 * (self.high - self.low))
        return {
            "area": area,
            "position": np.where(there, self.origin + mean, np.nan),
            "width": np.where(there & (variance > 0), width, np.nan),
        }


def _edge_line(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix that maps a window of a pattern to the straight line through its edges."""
    n_edge = max(2, round(EDGE_PART * len(offset)))
    edge = np.zeros(len(offset), bool)
    edge[:n_edge] = edge[-n_edge:] = True
    line = np.stack([np.ones_like(offset), offset], axis=1)
    fit = np.zeros((2, len(offset)))
    fit[:, edge] = np.linalg.pinv(line[edge])
    return np.asarray(line @ fit)
