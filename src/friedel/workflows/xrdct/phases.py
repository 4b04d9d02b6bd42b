"""The patterns of the phases that a sample may hold, on the axis and with the resolution of the measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from friedel.core.errors import GeometryError, ParameterError
from friedel.instrument import Geometry
from friedel.matter import Crystal
from friedel.techniques.powder import (
    Profile,
    ReflectionPositions,
    fit_phases,
    powder_pattern,
    reflection_positions,
)

WIDTH_RANGE_DEGREES = (0.01, 2.0)
"""Full widths at half maximum among which the resolution of the measurement is looked for."""


@dataclass(frozen=True)
class ReferencePatterns:
    """Computed patterns of the phases, each scaled to a maximum of 1.

    Attributes
    ----------
    names : tuple of str
    patterns : ndarray of float64, shape (phases, channels)
        Zero where the measurement has no data.
    scales : ndarray of float64, shape (phases,)
        What the computed patterns, in 1/(m sr), were divided by; dividing a weight by it gives the amount of dense
        crystal up to one factor that all phases share.
    peak_width : float
        Full width at half maximum of the peaks, degrees of 2theta.
    reflections : tuple of ndarray of float64
        For each phase the positions of its reflections in the radial unit.
    labels : tuple of tuple of str
        Their Miller indices.
    """

    names: tuple[str, ...]
    patterns: NDArray[np.float64]
    scales: NDArray[np.float64]
    peak_width: float
    reflections: tuple[NDArray[np.float64], ...]
    labels: tuple[tuple[str, ...], ...]


def compute_references(
    names: Sequence[str],
    mean_pattern: NDArray[np.float64],
    radial: NDArray[np.float64],
    unit: str,
    geometry: Geometry,
    background_degree: int,
    peak_width: float | None = None,
) -> ReferencePatterns:
    """Compute the phases' patterns, with the peak width that fits the mean pattern best unless one is given.

    Parameters
    ----------
    names : sequence of str
        Built-in phases or CIF files.
    mean_pattern : ndarray, shape (channels,)
        Mean of the measured patterns; NaN where there are no data.
    radial : ndarray, shape (channels,)
        Channel centres in `unit`.
    unit : str
    geometry : Geometry
        Must have a wavelength.
    background_degree : int
    peak_width : float, optional
        Full width at half maximum in degrees of 2theta.

    Raises
    ------
    GeometryError
        If the geometry has no wavelength.
    ParameterError
        If a phase has no reflection in the measured range.
    """
    crystals, rings = find_rings(names, radial, unit, geometry)
    wavelength = float(geometry.wavelength or 0)
    measured = np.isfinite(mean_pattern)

    def patterns_with(width: float) -> NDArray[np.float64]:
        profile = Profile(width=width)
        computed = [
            powder_pattern(crystal, radial, unit, wavelength, profile=profile, distance=geometry.distance)
            for crystal in crystals
        ]
        return np.where(measured, np.stack(computed), 0.0)

    if peak_width is None:
        peak_width = _best_width(patterns_with, mean_pattern[measured], measured, background_degree)
    patterns = patterns_with(peak_width)
    scales = patterns.max(axis=1)
    return ReferencePatterns(
        names=tuple(crystal.name for crystal in crystals),
        patterns=patterns / scales[:, None],
        scales=scales,
        peak_width=float(peak_width),
        reflections=tuple(ring.radial for ring in rings),
        labels=tuple(tuple(ring.labels()) for ring in rings),
    )


def find_rings(
    names: Sequence[str], radial: NDArray[np.float64], unit: str, geometry: Geometry
) -> tuple[list[Crystal], list[ReflectionPositions]]:
    """Return the phases and where their rings are; raises as `compute_references` does."""
    if geometry.wavelength is None:
        raise GeometryError(
            "The geometry has no wavelength, so the phases' reflections have no place.",
            "Add a line 'Wavelength: 1.0e-10' (in m) to the PONI file.",
        )
    crystals = [Crystal.load(name) for name in names]
    rings = [
        reflection_positions(crystal, unit, geometry.wavelength, (radial[0], radial[-1]), distance=geometry.distance)
        for crystal in crystals
    ]
    for crystal, ring in zip(crystals, rings, strict=True):
        if not len(ring.radial):
            raise ParameterError(
                f"The phase {crystal.name} has no reflection between {radial[0]:g} and {radial[-1]:g} {unit}.",
                "Leave it out, or integrate over a wider radial range.",
            )
    return crystals, rings


def explained_part(pattern: NDArray[np.float64], patterns: NDArray[np.float64], background_degree: int) -> float:
    """Return how much of a pattern's peaks the phases explain, 0 to 1.

    Parameters
    ----------
    pattern : ndarray, shape (channels,)
        NaN where there are no data.
    patterns : ndarray, shape (phases, channels)
    background_degree : int
    """
    known = np.isfinite(pattern)
    without = fit_phases(pattern[known], np.zeros((1, int(known.sum()))), background_degree).residual
    left = fit_phases(pattern[known], patterns[:, known], background_degree).residual
    return float(1 - (left / without) ** 2) if without > 0 else 1.0


def _best_width(
    patterns_with: Callable[[float], NDArray[np.float64]],
    pattern: NDArray[np.float64],
    measured: NDArray[np.bool_],
    background_degree: int,
) -> float:
    """Return the peak width whose fit leaves the smallest residual; its logarithm is searched."""

    def residual(logarithm: float) -> float:
        return float(fit_phases(pattern, patterns_with(np.exp(logarithm))[:, measured], background_degree).residual)

    low, high = np.log(WIDTH_RANGE_DEGREES)
    # The residual is flat far from the minimum: a coarse look finds the valley, the refinement its bottom.
    coarse = np.linspace(low, high, 12)
    best = coarse[int(np.argmin([residual(value) for value in coarse]))]
    step = coarse[1] - coarse[0]
    refined = minimize_scalar(residual, bounds=(best - step, best + step), method="bounded", options={"xatol": 0.01})
    return float(np.exp(refined.x))
