"""Calibrants: powders whose lattice spacings are known so well that their rings tell the geometry.

A ring holds all reflections with one lattice spacing d; ring 0 has the largest. Where it appears follows from Bragg's
law, λ = 2 d sin θ. How bright it is follows from the crystal's structure (Warren, X-ray Diffraction (1969), eq. 4.10):
the intensity per solid angle, after correction for polarization, integrates over 2θ to

    ∫ I d(2θ) ∝ Σ m |F|² / (sin θ sin 2θ)          over the reflections of the ring, m their multiplicity.

Layered substances (long-chain soaps and alcohols) have d = d001/n instead, the rings of n = 1, 2, 3, ...
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import ParameterError

if TYPE_CHECKING:
    from friedel.matter import Crystal

_Array = NDArray[np.float64]

MOST_RINGS = 1000
"""Rings of a calibrant that are computed, those with the largest spacings: no image resolves more, and a protein's
crystal has millions."""
SAME_RING = 1e-7
"""Reflections whose spacings differ by less than this part are one ring."""
LEAST_SINE = 0.01
"""sin 2θ in the intensity is at least this, or a ring straight back would be infinitely bright."""


@dataclass(frozen=True)
class Rings:
    """Where the rings of a calibrant are, by falling spacing; the index is the ring's number.

    Attributes
    ----------
    spacing : ndarray of float64 (n,)
        d in Å, falling.
    two_theta : ndarray of float64 (n,)
        In rad, rising.
    intensity : ndarray of float64 (n,)
        Intensity per solid angle integrated over 2θ, without polarization, relative to the strongest of these; 1 for
        all where the structure is not known.
    multiplicity : ndarray of int32 (n,)
        Reflections that coincide in the ring; 0 where the structure is not known.
    labels : tuple of str
        Indices of the ring's reflections, "1 1 1" or "5 1 1, 3 3 3"; empty where they are not known.
    complete : bool
        False if there are more rings below the largest angle than `MOST_RINGS`, or than the list of spacings holds.
    """

    spacing: _Array
    two_theta: _Array
    intensity: _Array
    multiplicity: NDArray[np.int32]
    labels: tuple[str, ...]
    complete: bool = True

    def __len__(self) -> int:
        return len(self.spacing)


@dataclass(frozen=True)
class _Lines:
    """Rings without a wavelength; `strength` is Σ m |F|², `reach` the d in Å down to which none is missing."""

    spacing: _Array
    strength: _Array
    multiplicity: NDArray[np.int32]
    labels: tuple[str, ...]
    reach: float


@dataclass(frozen=True)
class Calibrant:
    """A substance with known rings: a crystal, a stack of layers, or a list of spacings. Picklable.

    Attributes
    ----------
    name : str
    source : str
        Where the spacings are from.
    crystal : Crystal or None
        Cell, space group and atoms.
    layer : float or None
        Spacing d001 of a layered substance, Å.
    spacings : tuple of float
        Of a calibrant that is nothing but a list: d in Å, falling.
    """

    name: str
    source: str = ""
    crystal: Crystal | None = None
    layer: float | None = None
    spacings: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if sum((self.crystal is not None, self.layer is not None, bool(self.spacings))) != 1:
            raise ParameterError(
                f"The calibrant {self.name} has no rings.", "Give a crystal, the spacing of layers, or a list of d."
            )
        for length in (*self.spacings, *(() if self.layer is None else (self.layer,))):
            if not (length > 0 and math.isfinite(length)):
                raise ParameterError(f"The calibrant {self.name} has the spacing {length}.", "Give positive Å.")

    @classmethod
    def named(cls, name: str) -> Calibrant:
        """Return a built-in calibrant: "CeO2", "LaB6 660b", "silver behenate"; case, spaces and dashes do not matter.

        Raises
        ------
        ParameterError
            If there is none; the message names those that are near.
        """
        from .calibrant_table import find_calibrant

        return find_calibrant(name)

    @classmethod
    def load(cls, name: str | Path) -> Calibrant:
        """Return a built-in calibrant by its name, or read a CIF file.

        Raises
        ------
        ParameterError
            If there is no such calibrant.
        FileError
            If the file cannot be read.
        """
        if str(name).casefold().endswith(".cif"):
            from friedel.matter import Crystal

            return cls.from_crystal(Crystal.from_cif(name))
        return cls.named(str(name))

    @classmethod
    def from_crystal(cls, crystal: Crystal) -> Calibrant:
        """Return a crystal as a calibrant."""
        return cls(crystal.name, crystal.source, crystal)

    @classmethod
    def from_spacings(cls, name: str, spacings: ArrayLike, source: str = "") -> Calibrant:
        """Return a calibrant with these lattice spacings (n,) in Å, in any order; intensities are not known."""
        given = np.unique(np.asarray(spacings, dtype=np.float64))[::-1]
        return cls(name, source, spacings=tuple(given.tolist()))

    def rings(self, wavelength: float, two_theta_max: float = math.pi) -> Rings:
        """Return the rings at a wavelength.

        Ring numbers do not depend on the wavelength: it decides only how many rings there are.

        Parameters
        ----------
        wavelength : float
            In m.
        two_theta_max : float
            Largest scattering angle in rad, above 0 and at most π.

        Returns
        -------
        Rings
            At most `MOST_RINGS`.

        Raises
        ------
        ParameterError
            If the wavelength or the angle is out of range.
        """
        if not (wavelength > 0 and math.isfinite(wavelength)):
            raise ParameterError(f"The wavelength is {wavelength} m.", "Give a positive length in m.")
        if not 0 < two_theta_max <= math.pi:
            raise ParameterError(f"The largest scattering angle is {two_theta_max} rad.", "Give 0 to π, in rad.")
        least = wavelength * 1e10 / (2.0 * math.sin(two_theta_max / 2.0))
        lines = self._lines(least)
        seen = lines.spacing >= least * (1.0 - 1e-12)
        spacing = lines.spacing[seen]
        sine = np.minimum(wavelength * 1e10 / (2.0 * spacing), 1.0)
        two_theta = 2.0 * np.arcsin(sine)
        intensity = lines.strength[seen] / (sine * np.maximum(np.sin(two_theta), LEAST_SINE))
        return Rings(
            spacing=spacing,
            two_theta=two_theta,
            intensity=intensity / intensity.max(initial=1e-300) if self.intensities_known else np.ones(len(spacing)),
            multiplicity=lines.multiplicity[seen],
            labels=lines.labels[: len(spacing)],
            complete=bool(lines.reach <= least * (1.0 + 1e-12)),
        )

    @property
    def intensities_known(self) -> bool:
        """Whether the rings' intensities follow from a structure."""
        return self.crystal is not None

    def _lines(self, least: float) -> _Lines:
        """Return the rings down to a spacing in Å, or further."""
        if self.crystal is not None:
            # Steps of √2 in d, so that a few lists serve all wavelengths.
            step = math.floor(2.0 * math.log2(least))
            return _crystal_lines(self.crystal, max(2.0 ** (step / 2.0), _least_spacing(self.crystal)))
        if self.layer is not None:
            count = min(MOST_RINGS, math.floor(self.layer / least * (1.0 + 1e-9)))
            return _listed(self.layer / np.arange(1, count + 1), _orders(count), self.layer / (count + 1) * (1 + 1e-9))
        return _listed(np.array(self.spacings), ("",) * len(self.spacings), self.spacings[-1])


def _orders(count: int) -> tuple[str, ...]:
    return tuple(f"0 0 {order}" for order in range(1, count + 1))


def _listed(spacing: _Array, labels: tuple[str, ...], reach: float) -> _Lines:
    return _Lines(spacing, np.ones(len(spacing)), np.zeros(len(spacing), np.int32), labels, reach)


def _least_spacing(crystal: Crystal) -> float:
    """Return the d in Å down to which there are about 4 `MOST_RINGS` independent reflections, several to a ring."""
    import gemmi

    operations = gemmi.find_spacegroup_by_name(crystal.space_group).operations()
    laue = len(operations.sym_ops) * (1 if operations.is_centrosymmetric() else 2)
    # Reflections within 1/d of the origin: (4π/3)/d³ times the volume of the primitive cell, over their equivalents.
    volume = crystal.volume / len(operations.cen_ops)
    return float((4.0 * math.pi / 3.0 * volume / (4.0 * MOST_RINGS * laue)) ** (1.0 / 3.0))


@lru_cache(maxsize=64)
def _crystal_lines(crystal: Crystal, d_min: float) -> _Lines:
    reflections = crystal.reflections(d_min)
    spacing = reflections.spacing
    new = np.ones(len(spacing), dtype=bool)
    new[1:] = np.diff(spacing) < -SAME_RING * spacing[:-1]
    ring = np.cumsum(new) - 1
    count = min(int(new.sum()), MOST_RINGS)
    strength = reflections.multiplicity * reflections.structure_factor_squared
    labels = _labels(reflections.hkl, np.append(np.flatnonzero(new), len(spacing)), count)
    first = spacing[new]
    return _Lines(
        spacing=first[:count],
        strength=np.asarray(np.bincount(ring, strength)[:count], dtype=np.float64),
        multiplicity=np.bincount(ring, reflections.multiplicity)[:count].astype(np.int32),
        labels=labels,
        reach=d_min if len(first) <= MOST_RINGS else float(first[count]) * (1.0 + SAME_RING),
    )


def _labels(hkl: NDArray[np.int32], edges: Sequence[int] | NDArray[np.intp], count: int) -> tuple[str, ...]:
    texts = [f"{h} {k} {l}" for h, k, l in hkl[: edges[count]].tolist()]  # noqa: E741
    return tuple(", ".join(texts[edges[i] : edges[i + 1]]) for i in range(count))
