"""Powder patterns of known crystals.

A powder of volume V in a beam of flux density J0 scatters into the ring of a reflection the power (Warren, X-ray
Diffraction (1969), eq. 4.10, per polarization factor P)

    p = J0 r_e² λ³ m |F|² V P / (4 v² sin θ)

m multiplicity, v cell volume, r_e classical electron radius. The ring has 2π sin 2θ of solid angle per unit of
2θ, so the intensity per solid angle, after correction for polarization and solid angle, integrates over 2θ to

    ∫ I d(2θ) = r_e² λ³ m |F|² / (8π v² sin θ sin 2θ)          for each metre of path and unit of incident flux.

This is what azimuthal integration of an ideally corrected detector gives, on any radial axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import GeometryError, ParameterError
from friedel.instrument import radial_from_two_theta, two_theta_from_radial

if TYPE_CHECKING:
    from friedel.matter import Crystal, Reflections

_Array = NDArray[np.float64]

ELECTRON_RADIUS = 2.8179403205e-15
"""Classical electron radius, m (CODATA 2022)."""
PROFILE_REACH = 60.0
"""A profile is followed to this many of its widths, where a Lorentzian has fallen below 1e-4 of its top."""


@dataclass(frozen=True)
class Profile:
    """The shape of a peak on the 2θ axis: pseudo-Voigt, (1 − η) Gaussian + η Lorentzian of the same width.

    Attributes
    ----------
    width : float
        Full width at half maximum, degrees 2θ: instrument and crystal size together.
    mixing : float
        η, 0 (Gaussian) to 1 (Lorentzian).
    """

    width: float = 0.05
    mixing: float = 0.3

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise ParameterError(f"The width of a peak is {self.width} degrees.", "Give a positive width.")
        if not 0 <= self.mixing <= 1:
            raise ParameterError(f"The mixing of a peak is {self.mixing}.", "Give 0 (Gaussian) to 1 (Lorentzian).")

    def __call__(self, offset: _Array) -> _Array:
        """Return the profile, of unit area over 2θ in rad, at `offset` (rad) from its centre."""
        half = np.radians(self.width) / 2.0
        gaussian = np.sqrt(np.log(2.0) / np.pi) / half * np.exp(-np.log(2.0) * (offset / half) ** 2)
        lorentzian = half / (np.pi * (offset * offset + half * half))
        return np.asarray((1.0 - self.mixing) * gaussian + self.mixing * lorentzian)


@dataclass(frozen=True)
class ReflectionPositions:
    """Where the rings of a crystal are, one entry for each lattice spacing.

    Attributes
    ----------
    radial : ndarray of float64 (n,)
        In the unit asked for.
    two_theta : ndarray of float64 (n,)
        In rad.
    spacing : ndarray of float64 (n,)
        d in Å.
    hkl : ndarray of int32 (n, 3)
        One of the reflections that coincide.
    intensity : ndarray of float64 (n,)
        ∫ I d(2θ) of the module's formula, in 1/(m·sr)·rad, summed over all that coincide.
    """

    radial: _Array
    two_theta: _Array
    spacing: _Array
    hkl: NDArray[np.int32]
    intensity: _Array

    def labels(self) -> list[str]:
        """Return "111", "20-1", ... for each."""
        return ["".join(str(index) for index in indices) for indices in self.hkl]


def reflection_positions(
    crystal: Crystal,
    unit: str,
    wavelength: float,
    radial_range: tuple[float, float],
    *,
    distance: float | None = None,
) -> ReflectionPositions:
    """Return the rings of `crystal` within a range.

    Parameters
    ----------
    crystal : Crystal
    unit : str
        Radial unit.
    wavelength : float
        In m.
    radial_range : (float, float)
        In `unit`.
    distance : float, optional
        Sample to detector in m, for r units.

    Raises
    ------
    GeometryError
        If the range holds no angle.
    """
    limits = two_theta_from_radial(np.sort(radial_range), unit, wavelength, distance)
    limits = np.sort(np.nan_to_num(limits, nan=np.pi))
    spacing_min = wavelength * 1e10 / (2.0 * np.sin(min(limits[1], np.pi) / 2.0)) if limits[1] > 0 else 0.0
    if not (spacing_min > 0 and limits[1] > limits[0]):
        raise GeometryError(f"The radial range {radial_range} in {unit} holds no scattering angle.")
    reflections = crystal.reflections(spacing_min * (1.0 - 1e-9))
    two_theta = 2.0 * np.arcsin(np.minimum(wavelength * 1e10 / (2.0 * reflections.spacing), 1.0))
    strength = integrated_intensity(reflections, two_theta, crystal.volume, wavelength)
    first, group = _coinciding(reflections.spacing)
    summed = np.bincount(group, weights=strength, minlength=len(first))
    inside = (two_theta[first] >= limits[0] - 1e-12) & (two_theta[first] <= limits[1] + 1e-12)
    chosen = first[inside]
    return ReflectionPositions(
        radial=radial_from_two_theta(two_theta[chosen], unit, wavelength, distance),
        two_theta=two_theta[chosen],
        spacing=reflections.spacing[chosen],
        hkl=reflections.hkl[chosen],
        intensity=summed[inside],
    )


def integrated_intensity(reflections: Reflections, two_theta: _Array, volume: float, wavelength: float) -> _Array:
    """Return ∫ I d(2θ) of each reflection in rad/(m·sr), by the module's formula.

    Parameters
    ----------
    reflections : Reflections
    two_theta : ndarray of float64 (n,)
        In rad.
    volume : float
        Of the unit cell, Å³.
    wavelength : float
        In m.
    """
    lorentz = 1.0 / (np.sin(two_theta / 2.0) * np.sin(two_theta))
    prefactor = ELECTRON_RADIUS**2 * wavelength**3 / (8.0 * np.pi * (volume * 1e-30) ** 2)
    return np.asarray(prefactor * reflections.multiplicity * reflections.structure_factor_squared * lorentz)


def _coinciding(spacing: _Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Group equal spacings of a falling sequence: index of the first of each group, and each one's group."""
    new = np.ones(len(spacing), dtype=bool)
    new[1:] = np.diff(spacing) < -1e-7 * spacing[:-1]
    return np.flatnonzero(new), np.cumsum(new) - 1


def powder_pattern(
    crystal: Crystal,
    radial: ArrayLike,
    unit: str,
    wavelength: float,
    *,
    profile: Profile | None = None,
    distance: float | None = None,
) -> _Array:
    """Return the powder pattern of `crystal`.

    Parameters
    ----------
    crystal : Crystal
    radial : array_like (n,)
        Radial axis in `unit`, like that of an integrated pattern.
    unit : str
        Radial unit.
    wavelength : float
        In m.
    profile : Profile, optional
        Shape of the peaks; 0.05 degrees wide by default.
    distance : float, optional
        Sample to detector in m, for r units.

    Returns
    -------
    ndarray of float64 (n,)
        Intensity scattered per steradian, per metre of path through the dense crystal and unit of incident flux,
        1/(m·sr), free of the polarization factor: what integration with polarization and solid angle gives.
    """
    profile = profile or Profile()
    axis = np.asarray(radial, dtype=np.float64)
    two_theta = two_theta_from_radial(axis, unit, wavelength, distance)
    pattern = np.zeros(axis.shape)
    valid = np.isfinite(two_theta) & (two_theta > 0)
    if not valid.any():
        return pattern
    margin = np.radians(profile.width) * PROFILE_REACH
    lowest = max(float(two_theta[valid].min()) - margin, 1e-6)
    highest = min(float(two_theta[valid].max()) + margin, np.pi - 1e-6)
    rings = reflection_positions(crystal, "2th_rad", wavelength, (lowest, highest))
    order = np.argsort(two_theta[valid], kind="stable")
    angles = two_theta[valid][order]
    total = np.zeros(angles.size)
    for center, intensity in zip(rings.two_theta, rings.intensity, strict=True):
        near = slice(*np.searchsorted(angles, (center - margin, center + margin)))
        total[near] += intensity * profile(angles[near] - center)
    unsorted = np.empty_like(total)
    unsorted[order] = total
    pattern[valid] = unsorted
    return pattern
