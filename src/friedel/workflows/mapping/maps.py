"""What is asked of the pattern of every point of the map: mean intensity, sums over regions, moments of peaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.techniques.powder.peaks import PeakWindow, sum_weights
from friedel.workflows.windows import LEAST_PEAK_PART, parse_window

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StoredArray:
    """Where an array lies in a file, so that another process can read it.

    Attributes
    ----------
    path : str
    dtype : str
    offset : int
        Bytes from the beginning of the file.
    shape : tuple of int
    """

    path: str
    dtype: str
    offset: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, mapped: np.memmap[Any, Any]) -> StoredArray:
        """Return the place of an array that is mapped from a file."""
        return cls(str(mapped.filename), mapped.dtype.str, int(mapped.offset), mapped.shape)

    def points(self, block: Block) -> NDArray[Any]:
        """Return the values of a run of points of the grid, the first two axes."""
        mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return np.array(mapped.reshape(-1, *self.shape[2:])[block.start : block.stop])


@dataclass(frozen=True)
class MapPoints:
    """Patterns of runs of points. A block source; its items are points.

    Attributes
    ----------
    intensity : StoredArray
        Shape (slow, fast, ..., channels).
    errors : StoredArray or None
        One standard deviation; None if errors of sums are not wanted.
    """

    intensity: StoredArray
    errors: StoredArray | None = None

    def read(self, block: Block) -> dict[str, NDArray[Any]]:
        """Return the patterns of the points of a block, each (points, ..., channels)."""
        found = {"intensity": self.intensity.points(block)}
        return found if self.errors is None else found | {"errors": self.errors.points(block)}


@dataclass(frozen=True, eq=False)
class PatternMaps:
    """A plan: patterns of points to the values that are mapped.

    Attributes
    ----------
    regions : tuple of str
        Names of the regions of interest.
    peaks : tuple of PeakWindow
    weights : ndarray of float64, shape (regions + 3 peaks, channels)
        One row for each linear functional of a pattern.
    """

    regions: tuple[str, ...]
    peaks: tuple[PeakWindow, ...]
    weights: Floats

    @classmethod
    def build(cls, radial: Floats, regions: Sequence[str], peaks: Sequence[str]) -> PatternMaps:
        """Make the weights from windows given as "name=low:high"; raises `ParameterError` for a bad one."""
        region_windows = [parse_window(text, "regions") for text in regions]
        found = tuple(
            PeakWindow.build(radial, low, high, name)
            for name, low, high in (parse_window(text, "peaks") for text in peaks)
        )
        rows = [sum_weights(radial, low, high, name) for name, low, high in region_windows]
        rows += [row for peak in found for row in peak.weights]
        weights = np.array(rows).reshape(len(rows), len(radial))
        return cls(tuple(name for name, _, _ in region_windows), found, weights)

    def __call__(self, patterns: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        """Return what is mapped of points.

        Parameters
        ----------
        patterns : mapping
            "intensity" (points, channels) or (points, azimuths, channels), which is averaged over the azimuth;
            "errors" (points, channels), if sums over channels have errors.

        Returns
        -------
        dict
            "mean" (points,), NaN without data; "functional" (points, regions + 3 peaks), NaN where a channel of the
            window has no data, and "functional_errors" alike.
        """
        intensity = patterns["intensity"].astype(np.float64)
        if intensity.ndim == 3:
            intensity = _nan_mean(intensity, axis=1)
        unknown = np.isnan(intensity)
        filled = np.where(unknown, 0.0, intensity)
        lacking = unknown.astype(np.float64) @ (self.weights != 0).T.astype(np.float64) > 0
        found = {
            "mean": _nan_mean(intensity, axis=1),
            "functional": np.where(lacking, np.nan, filled @ self.weights.T),
        }
        if "errors" in patterns:
            variance = np.where(unknown, 0.0, patterns["errors"].astype(np.float64) ** 2)
            found["functional_errors"] = np.where(lacking, np.nan, np.sqrt(variance @ (self.weights**2).T))
        return found

    def region_maps(self, functional: Floats) -> Floats:
        """Return the maps of the regions, shape (regions, ...), from functionals (..., regions + 3 peaks)."""
        return np.moveaxis(functional[..., : len(self.regions)], -1, 0)

    def peak_maps(self, functional: Floats) -> dict[str, Floats]:
        """Return area, position and width of the peaks, each of shape (peaks, ...)."""
        maps: dict[str, list[Floats]] = {"area": [], "position": [], "width": []}
        for number, peak in enumerate(self.peaks):
            start = len(self.regions) + 3 * number
            moments = functional[..., start : start + 3]
            areas = moments[..., 0][np.isfinite(moments[..., 0])]
            least = LEAST_PEAK_PART * float(areas.max(initial=0.0))
            for name, values in peak.evaluate(moments, least).items():
                maps[name].append(values)
        return {name: np.stack(values) for name, values in maps.items()}


def _nan_mean(values: Floats, axis: int) -> Floats:
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def mean_pattern(intensity: Any, errors: Any, points: int = 1024) -> tuple[Floats, Floats | None]:
    """Return the mean over all points, NaN for channels without data, and its standard deviation.

    Parameters
    ----------
    intensity : array, shape (slow, fast, channels)
    errors : array or None
    points : int
        Read at a time.
    """
    channels = intensity.shape[-1]
    flat = intensity.reshape(-1, channels)
    noise = None if errors is None else errors.reshape(-1, channels)
    total, squares, count = np.zeros((3, channels))
    for start in range(0, len(flat), points):
        part = np.asarray(flat[start : start + points], np.float64)
        known = ~np.isnan(part)
        total += np.where(known, part, 0.0).sum(axis=0)
        count += known.sum(axis=0)
        if noise is not None:
            deviation = np.asarray(noise[start : start + points], np.float64)
            squares += np.where(known, deviation**2, 0.0).sum(axis=0)
    nothing = np.full(channels, np.nan)
    mean = np.divide(total, count, out=nothing.copy(), where=count > 0)
    if noise is None:
        return mean, None
    return mean, np.divide(np.sqrt(squares), count, out=nothing.copy(), where=count > 0)
