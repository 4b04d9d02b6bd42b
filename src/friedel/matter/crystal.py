"""Crystals: cell, space group and atoms, and the reflections that follow from them.

With s = 1/(2d) = sin θ/λ the structure factor of a reflection h is

    F(h) = Σ_atoms occupancy · f(s) · exp(−B s²) · exp(2πi h·r)

Form factors f(s) = Σ a exp(−b s²) + c of neutral atoms are those of International Tables C (1992), table 6.1.1.4;
anomalous scattering is left out, so F does not depend on the wavelength.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import FileError, ParameterError

_Array = NDArray[np.float64]

SAME_ATOM = 0.02
"""Images of an atom closer than this, in Å, are one atom on a special position."""
B_WHEN_UNKNOWN = 0.5
"""Isotropic displacement in Å² for atoms whose source gives none."""
ABSENT = 1e-8
"""Reflections with |F|² below this fraction of F(000)² are absent."""


@dataclass(frozen=True)
class Site:
    """An atom of the asymmetric unit.

    Attributes
    ----------
    element : str
        Symbol, like "Ce".
    position : (float, float, float)
        Fractional coordinates.
    occupancy : float
    b_iso : float
        Isotropic displacement B = 8π²⟨u²⟩ in Å².
    """

    element: str
    position: tuple[float, float, float]
    occupancy: float = 1.0
    b_iso: float = B_WHEN_UNKNOWN


@dataclass(frozen=True)
class Atoms:
    """All atoms of the unit cell.

    Attributes
    ----------
    elements : tuple of str
    positions : ndarray of float64 (n, 3)
        Fractional coordinates, 0 to 1.
    occupancies, b_iso : ndarray of float64 (n,)
    """

    elements: tuple[str, ...]
    positions: _Array
    occupancies: _Array
    b_iso: _Array

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers."""
        return tuple(int(gemmi.Element(element).atomic_number) for element in self.elements)


@dataclass(frozen=True)
class Reflections:
    """One reflection for each set of symmetry equivalents (Friedel mates included), by falling d.

    Attributes
    ----------
    hkl : ndarray of int32 (n, 3)
        Of the equivalents the one that tables show: 2 0 0, not 0 0 2 or -2 0 0, of a cubic crystal.
    spacing : ndarray of float64 (n,)
        d in Å.
    multiplicity : ndarray of int32 (n,)
        Number of equivalent reflections, which coincide in a powder.
    structure_factor_squared : ndarray of float64 (n,)
        |F|² in electrons².
    """

    hkl: NDArray[np.int32]
    spacing: _Array
    multiplicity: NDArray[np.int32]
    structure_factor_squared: _Array

    def __len__(self) -> int:
        return len(self.spacing)


@dataclass(frozen=True)
class Crystal:
    """A crystalline phase.

    Attributes
    ----------
    name : str
    cell : (a, b, c, alpha, beta, gamma)
        In Å and degrees.
    space_group : str
        Hermann-Mauguin symbol, with origin or axes where there is a choice: "F d -3 m:2", "R -3 c:H".
    sites : tuple of Site
        The asymmetric unit; empty if only the lattice is known. Then |F|² of all reflections that the space group
        allows is taken to be 1, their mean being all that can be said of them (Wilson, Nature 150 (1942) 152).
    source : str
        Where the numbers are from.
    """

    name: str
    cell: tuple[float, float, float, float, float, float]
    space_group: str
    sites: tuple[Site, ...]
    source: str = ""

    def __post_init__(self) -> None:
        lengths, angles = np.array(self.cell[:3], dtype=float), np.array(self.cell[3:], dtype=float)
        if not (len(self.cell) == 6 and (lengths > 0).all() and ((angles > 0) & (angles < 180)).all()):
            raise ParameterError(f"The cell of {self.name} is {self.cell}.", "Give a, b, c in Å and three angles.")
        if gemmi.find_spacegroup_by_name(self.space_group) is None:
            raise ParameterError(
                f"The space group of {self.name} is {self.space_group!r}, which is not known.",
                "Give its Hermann-Mauguin symbol, like 'F m -3 m'.",
            )
        for site in self.sites:
            if gemmi.Element(site.element).atomic_number == 0:
                raise ParameterError(f"{self.name} holds the element {site.element!r}, which is not known.")

    @classmethod
    def named(cls, name: str) -> Crystal:
        """Return a built-in phase; case does not matter.

        Raises
        ------
        ParameterError
            If there is none; the message lists those that are.
        """
        from .phases import find_phase

        return find_phase(name)

    @classmethod
    def from_cif(cls, path: str | Path) -> Crystal:
        """Read the first structure of a CIF file.

        Raises
        ------
        FileError
            If the file cannot be read or holds no cell, space group or atoms.
        """
        return read_cif(path)

    @classmethod
    def load(cls, name: str | Path) -> Crystal:
        """Return a built-in phase by its name, or read a CIF file."""
        return cls.from_cif(name) if str(name).casefold().endswith(".cif") else cls.named(str(name))

    def scaled(self, factor: float) -> Crystal:
        """Return the crystal with its cell's lengths multiplied by `factor`: thermal or chemical expansion."""
        a, b, c, alpha, beta, gamma = self.cell
        return replace(self, cell=(a * factor, b * factor, c * factor, alpha, beta, gamma))

    @property
    def _unit_cell(self) -> Any:
        return gemmi.UnitCell(*self.cell)

    @property
    def _operations(self) -> list[Any]:
        return list(gemmi.find_spacegroup_by_name(self.space_group).operations())

    @property
    def volume(self) -> float:
        """Volume of the unit cell in Å³."""
        return float(self._unit_cell.volume)

    @property
    def density(self) -> float:
        """Mass density in g/cm³."""
        atoms = self.atoms()
        mass = sum(gemmi.Element(e).weight * o for e, o in zip(atoms.elements, atoms.occupancies, strict=True))
        return float(mass / self.volume * 1.66053906660)

    def atoms(self) -> Atoms:
        """Return every atom of the unit cell."""
        metric = np.array(self._unit_cell.orth.mat.tolist())
        elements: list[str] = []
        positions, occupancies, b_iso = [], [], []
        for site in self.sites:
            images = self._images(np.array(site.position), metric)
            elements += [site.element] * len(images)
            positions.append(images)
            occupancies.append(np.full(len(images), site.occupancy))
            b_iso.append(np.full(len(images), site.b_iso))
        return Atoms(tuple(elements), np.concatenate(positions), np.concatenate(occupancies), np.concatenate(b_iso))

    def _images(self, position: _Array, metric: _Array) -> _Array:
        """Return the distinct images of a position in the cell: (n, 3)."""
        unit = gemmi.Op.DEN
        found: list[_Array] = []
        for operation in self._operations:
            image = (np.array(operation.rot) @ position + np.array(operation.tran)) / unit
            image -= np.floor(image + 1e-9)
            apart = np.array(found).reshape(-1, 3) - image
            distance = np.linalg.norm((apart - np.round(apart)) @ metric.T, axis=1)
            if not (distance < SAME_ATOM).any():
                found.append(image)
        return np.array(found)

    def reflections(self, d_min: float) -> Reflections:
        """Return the reflections that are not absent.

        Parameters
        ----------
        d_min : float
            Smallest lattice spacing, Å.

        Returns
        -------
        Reflections
        """
        if not d_min > 0:
            raise ParameterError(f"The smallest lattice spacing is {d_min}.", "Give a positive length in Å.")
        group = gemmi.find_spacegroup_by_name(self.space_group)
        hkl = np.asarray(gemmi.make_miller_array(self._unit_cell, group, d_min, 0.0, True), dtype=np.int32)
        if len(hkl) == 0:
            return Reflections(np.empty((0, 3), np.int32), np.empty(0), np.empty(0, np.int32), np.empty(0))
        spacing = np.asarray(self._unit_cell.calculate_d_array(hkl), dtype=np.float64)
        squared = np.ones(len(hkl))
        present = squared > 0
        if self.sites:
            squared = np.abs(self.structure_factors(hkl, spacing)) ** 2
            electrons = abs(self.structure_factors(np.zeros((1, 3), np.int32), np.array([np.inf]))[0]) ** 2
            present = squared > ABSENT * electrons
        hkl, spacing, squared = hkl[present], spacing[present], squared[present]
        order = np.lexsort((*hkl.T, -np.round(spacing, 9)))
        images = _images(hkl[order], [np.array(op.rot) // gemmi.Op.DEN for op in self._operations])
        return Reflections(_shown(images), spacing[order], _multiplicity(images), squared[order])

    def structure_factors(self, hkl: NDArray[np.int32], spacing: _Array) -> NDArray[np.complex128]:
        """Return F in electrons for reflections (n, 3) with lattice spacings (n,) in Å: complex128 (n,)."""
        atoms = self.atoms()
        s_squared = 0.25 / spacing**2
        total = np.zeros(len(hkl), dtype=np.complex128)
        for element in sorted(set(atoms.elements)):
            form_factor = atomic_form_factor(element, s_squared)
            mine = [i for i, name in enumerate(atoms.elements) if name == element]
            for i in mine:
                damping = atoms.occupancies[i] * np.exp(-atoms.b_iso[i] * s_squared)
                total += form_factor * damping * np.exp(2j * np.pi * (hkl @ atoms.positions[i]))
        return total


def atomic_form_factor(element: str, s_squared: _Array) -> _Array:
    """Return f of the neutral atom in electrons at s² = (sin θ/λ)² in 1/Å² (International Tables C, 6.1.1.4)."""
    table = gemmi.Element(element).it92
    total = np.full(np.shape(s_squared), table.c, dtype=np.float64)
    for a, b in zip(table.a, table.b, strict=True):
        total += a * np.exp(-b * s_squared)
    return total


def _images(hkl: NDArray[np.int32], rotations: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the images of reflections under the Laue group, some of them more than once: (n, images, 3)."""
    different = np.unique(np.array(rotations), axis=0)  # centred groups repeat theirs for each centre
    images = np.stack([hkl @ rotation for rotation in different], axis=1)
    return np.concatenate([images, -images], axis=1).astype(np.int64)


def _multiplicity(images: NDArray[np.int64]) -> NDArray[np.int32]:
    """Count the distinct ones among the images of each reflection."""
    span = 2 * int(np.abs(images).max()) + 1
    keys = np.sort((images[..., 0] * span + images[..., 1]) * span + images[..., 2], axis=1)
    return np.asarray(1 + (np.diff(keys, axis=1) != 0).sum(axis=1), dtype=np.int32)


def _shown(images: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the image that tables show: the fewest negative indices, l before k before h positive, then largest."""
    span = 2 * int(np.abs(images).max()) + 1
    h, k, l = np.moveaxis(images, -1, 0)  # noqa: E741
    signs = -8 * (images < 0).sum(axis=-1) + 4 * (l >= 0) + 2 * (k >= 0)
    best = np.argmax(((signs * span + h) * span + k) * span + l, axis=1)
    return np.asarray(np.take_along_axis(images, best[:, None, None], axis=1)[:, 0], dtype=np.int32)


def read_cif(path: str | Path) -> Crystal:
    """Read the first structure of a CIF file; see `Crystal.from_cif`."""
    remedy = "Give a CIF file of a crystal structure, as structure databases write it."
    try:
        structure = gemmi.read_small_structure(str(path))
    except OSError as error:
        said = f"{os.strerror(error.errno)}." if error.errno else str(error)
        raise FileError(path, said, "Check the path and the permissions.") from None
    except (RuntimeError, ValueError) as error:
        raise FileError(path, str(error).removeprefix(str(path)).strip(": ") or "cannot be read.", remedy) from None
    group = structure.spacegroup or _group_of_operations(structure.symops)
    if group is None:
        raise FileError(path, f"no known space group (it says {structure.spacegroup_hm!r}).", remedy)
    if not structure.sites or structure.cell.volume <= 1.0:
        raise FileError(path, "no unit cell with atoms in it.", remedy)
    cell = structure.cell
    return Crystal(
        # Databases name a block by its number, which tells a user nothing.
        name=Path(path).stem if not structure.name or structure.name.isdecimal() else structure.name,
        cell=(cell.a, cell.b, cell.c, cell.alpha, cell.beta, cell.gamma),
        space_group=group.xhm(),
        sites=tuple(_site(site) for site in structure.sites if site.element.atomic_number > 0),
        source=Path(path).name,
    )


def _group_of_operations(triplets: list[str]) -> Any:
    if not triplets:
        return None
    return gemmi.find_spacegroup_by_ops(gemmi.GroupOps([gemmi.Op(triplet) for triplet in triplets]))


def _site(site: Any) -> Site:
    u_iso = site.u_iso or (site.aniso.u11 + site.aniso.u22 + site.aniso.u33) / 3.0
    return Site(
        element=site.element.name,
        position=(site.fract.x, site.fract.y, site.fract.z),
        occupancy=site.occ,
        b_iso=8.0 * np.pi**2 * u_iso if u_iso > 0 else B_WHEN_UNKNOWN,
    )
