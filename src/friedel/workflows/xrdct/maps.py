"""What is asked of every voxel's pattern: sums over regions, moments of peaks, amounts of phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.techniques.powder import fit_phases
from friedel.techniques.powder.peaks import PeakWindow, sum_weights
from friedel.workflows.windows import LEAST_PEAK_PART, parse_window


@dataclass(frozen=True)
class VoxelAnalysis:
    """A plan: from rows of voxel patterns to the values that are mapped.

    Attributes
    ----------
    regions : tuple of str
        Names of the regions of interest.
    peaks : tuple of PeakWindow
    weights : ndarray of float64, shape (regions + 3 peaks, channels)
        One row for each linear functional of a pattern.
    references : ndarray of float64, shape (phases, channels), or None
    background_degree : int
    measured : ndarray of bool, shape (channels,)
        False for channels without data.
    """

    regions: tuple[str, ...]
    peaks: tuple[PeakWindow, ...]
    weights: NDArray[np.float64]
    references: NDArray[np.float64] | None
    background_degree: int
    measured: NDArray[np.bool_]

    @classmethod
    def build(
        cls,
        radial: NDArray[np.float64],
        measured: NDArray[np.bool_],
        regions: Sequence[str],
        peaks: Sequence[str],
        references: NDArray[np.float64] | None,
        background_degree: int,
    ) -> VoxelAnalysis:
        """Make the weights from windows given as "name=low:high"; raises `ParameterError` for a bad one."""
        region_windows = [parse_window(text, "regions") for text in regions]
        peak_windows = [parse_window(text, "peaks") for text in peaks]
        found = tuple(PeakWindow.build(radial, low, high, name) for name, low, high in peak_windows)
        rows = [sum_weights(radial, low, high, name) for name, low, high in region_windows]
        rows += [row for peak in found for row in peak.weights]
        names = tuple(name for name, _, _ in region_windows)
        weights = np.array(rows).reshape(len(rows), len(radial))
        return cls(names, found, weights, references, background_degree, measured)

    def __call__(self, patterns: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
        """Return for rows of voxels what is mapped.

        Parameters
        ----------
        patterns : mapping
            "volume" of shape (rows, x, channels); "volume_errors" alike, if sums over channels have errors.

        Returns
        -------
        dict
            "functional" (rows, x, regions + 3 peaks), "functional_errors" if errors are given,
            and with references "phase" (rows, x, phases) and "residual" (rows, x).
        """
        volume = patterns["volume"].astype(np.float64)
        result = {"functional": volume @ self.weights.T}
        if "volume_errors" in patterns:
            variance = patterns["volume_errors"].astype(np.float64) ** 2
            result["functional_errors"] = np.sqrt(variance @ (self.weights**2).T)
        if self.references is not None:
            fit = fit_phases(volume[..., self.measured], self.references[:, self.measured], self.background_degree)
            result["phase"], result["residual"] = fit.weights, fit.residual
        return result

    def region_maps(self, functional: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the maps of the regions, shape (regions, ...), from functionals (..., regions + 3 peaks)."""
        return np.moveaxis(functional[..., : len(self.regions)], -1, 0)

    def peak_maps(self, functional: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return area, position and width of the peaks, each of shape (peaks, ...)."""
        maps: dict[str, list[NDArray[np.float64]]] = {"area": [], "position": [], "width": []}
        for number, peak in enumerate(self.peaks):
            start = len(self.regions) + 3 * number
            moments = functional[..., start : start + 3]
            least = LEAST_PEAK_PART * float(max(moments[..., 0].max(), 0.0))
            for name, values in peak.evaluate(moments, least).items():
                maps[name].append(values)
        return {name: np.stack(values) for name, values in maps.items()}
