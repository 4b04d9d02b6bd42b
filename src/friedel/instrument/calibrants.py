"""Calibrants: powders whose lattice spacings are known so well that their rings tell the geometry.

A ring holds all reflections with one lattice spacing d; ring 0 has the largest. Where it appears follows from Bragg's
law, λ = 2 d sin θ. How bright it is follows from the crystal's structure (Warren, X-ray Diffraction (1969), eq. 4.10):
the intensity per solid angle, after correction for polarization, integrates over 2θ to

    ∫ I d(2θ) ∝ Σ m |F|² / (sin θ sin 2θ)          over the reflections of the ring, m their multiplicity.

Layered substances (long-chain soaps and alcohols) have d = d001/n instead, the rings of n = 1, 2, 3, ... Of these, and
of crystals whose atoms are not given, all |F|² are taken to be equal, so intensities fall with angle as they do on the
average; of a plain list of spacings all rings are taken to be equally bright, unless the list says more.
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
        Intensity per solid angle integrated over 2θ, without polarization, relative to the strongest of these; an
        assumption (see above) where the calibrant's `intensities_known` is False.
    multiplicity : ndarray of int32 (n,)
        Reflections that coincide in the ring; 0 where that is not known.
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
class Ring:
    """A ring of a list.

    Attributes
    ----------
    spacing : float
        d in Å.
    label : str
        Indices of its reflections, if they are known.
    multiplicity : int
        0 if it is not known.
    intensity : float
        Relative; of all rings of a list, or 1 for all.
    """

    spacing: float
    label: str = ""
    multiplicity: int = 0
    intensity: float = 1.0


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
    listed : tuple of Ring
        Of a calibrant that is nothing but a list, by falling d.
    """

    name: str
    source: str = ""
    crystal: Crystal | None = None
    layer: float | None = None
    listed: tuple[Ring, ...] = ()

    def __post_init__(self) -> None:
        if sum((self.crystal is not None, self.layer is not None, bool(self.listed))) != 1:
            raise ParameterError(
                f"The calibrant {self.name} has no rings.", "Give a crystal, the spacing of layers, or a list of d."
            )
        lengths = [ring.spacing for ring in self.listed] + ([] if self.layer is None else [self.layer])
        for length in lengths:
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
        """Return a built-in calibrant by its name, read a file, or take spacings as they are.

        Parameters
        ----------
        name : str or path
            A name; the path of a CIF file, a .D file or a text of spacings; or d in Å with commas between:
            "3.1357, 1.9202, 1.6376".

        Raises
        ------
        ParameterError
            If there is no such calibrant.
        FileError
            If the file cannot be read.
        """
        from . import calibrant_file

        text = str(name)
        if text.casefold().endswith(".cif"):
            from friedel.matter import Crystal

            return cls.from_crystal(Crystal.from_cif(name))
        if calibrant_file.is_file_name(text):
            return calibrant_file.read_calibrant(name)
        given = calibrant_file.spacings_in(text)
        return cls.from_spacings("spacings", given) if given else cls.named(text)

    def save(self, path: str | Path, *, least: float = 0.5) -> None:
        """Write a .D file: a line for each ring with d in Å, indices and multiplicity, as pyFAI reads it.

        Parameters
        ----------
        path : path-like
        least : float
            Smallest d in Å.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        from .calibrant_file import write_calibrant

        write_calibrant(self, path, least)

    @classmethod
    def from_crystal(cls, crystal: Crystal) -> Calibrant:
        """Return a crystal as a calibrant."""
        return cls(crystal.name, crystal.source, crystal)

    @classmethod
    def from_spacings(cls, name: str, spacings: ArrayLike, source: str = "") -> Calibrant:
        """Return a calibrant with these lattice spacings (n,) in Å, in any order; intensities are not known."""
        given = np.unique(np.asarray(spacings, dtype=np.float64))[::-1]
        return cls(name, source, listed=tuple(Ring(spacing) for spacing in given.tolist()))

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
        count = int(np.searchsorted(-lines.spacing, -least * (1.0 - 1e-12), side="right"))
        spacing = lines.spacing[:count]
        sine = np.minimum(wavelength * 1e10 / (2.0 * spacing), 1.0)
        two_theta = 2.0 * np.arcsin(sine)
        intensity = lines.strength[:count]
        if not self.listed:
            intensity = intensity / (sine * np.maximum(np.sin(two_theta), LEAST_SINE))
        return Rings(
            spacing=spacing,
            two_theta=two_theta,
            intensity=intensity / intensity.max(initial=1e-300),
            multiplicity=lines.multiplicity[:count],
            labels=lines.labels[:count],
            complete=bool(lines.reach <= least * (1.0 + 1e-12)),
        )

    @property
    def intensities_known(self) -> bool:
        """Whether the rings' intensities follow from a structure, or were given with a list."""
        if self.crystal is not None:
            return bool(self.crystal.sites)
        return any(ring.intensity != 1.0 for ring in self.listed)

    def _lines(self, least: float) -> _Lines:
        """Return the rings down to a spacing in Å, or further."""
        if self.crystal is not None:
            # Steps of √2 in d, so that a few lists serve all wavelengths.
            step = math.floor(2.0 * math.log2(least))
            return _crystal_lines(self.crystal, max(2.0 ** (step / 2.0), _least_spacing(self.crystal)))
        if self.layer is not None:
            return _layer_lines(self.layer, least)
        return _Lines(
            spacing=np.array([ring.spacing for ring in self.listed]),
            strength=np.array([ring.intensity for ring in self.listed]),
            multiplicity=np.array([ring.multiplicity for ring in self.listed], np.int32),
            labels=tuple(ring.label for ring in self.listed),
            reach=self.listed[-1].spacing,
        )


def _layer_lines(layer: float, least: float) -> _Lines:
    count = min(MOST_RINGS, math.floor(layer / least * (1.0 + 1e-9)))
    return _Lines(
        spacing=layer / np.arange(1, count + 1),
        strength=np.ones(count),
        multiplicity=np.full(count, 2, np.int32),
        labels=tuple(f"0 0 {order}" for order in range(1, count + 1)),
        reach=layer / (count + 1) * (1.0 + 1e-9),
    )


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
