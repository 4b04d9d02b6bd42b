"""Samples whose composition is known at every point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import ParameterError

_Floats = NDArray[np.float32]

GRAINS_ACROSS = 9
"""Grains along the diameter of a capillary."""
VOID_SHARE = 0.18
"""Part of the grains that are empty."""
LIGHTEST_PACKING = 0.55
"""A grain is packed to between this part and all of its phase's packing."""


@dataclass(frozen=True)
class Phantom:
    """What is where in a sample.

    Attributes
    ----------
    names : tuple of str
        Components.
    fractions : ndarray of float32 (component, layer, y, x)
        Volume fraction of each component, 0 to 1; the rest is empty. Rows are counted downwards, the rotation axis
        passes through the middle of each layer.
    pixel_size : float
        mm.
    """

    names: tuple[str, ...]
    fractions: _Floats
    pixel_size: float

    def binned(self, factor: int) -> Phantom:
        """Return the phantom with `factor` by `factor` pixels of a layer averaged into one.

        Raises
        ------
        ParameterError
            If the size is no multiple of `factor`.
        """
        count, layers, rows, columns = self.fractions.shape
        if rows % factor or columns % factor:
            raise ParameterError(f"A layer of {rows} x {columns} pixels cannot be binned by {factor}.")
        blocks = self.fractions.reshape(count, layers, rows // factor, factor, columns // factor, factor)
        return Phantom(
            self.names, blocks.mean(axis=(3, 5), dtype=np.float64).astype(np.float32), self.pixel_size * factor
        )


def capillary(
    packing: dict[str, float],
    *,
    wall: str = "glass",
    size: int,
    layers: int = 1,
    pixel_size: float,
    layer_step: float,
    radius: float,
    seed: int = 0,
) -> Phantom:
    """Return a glass capillary filled with grains of several phases, some of them empty.

    Grains are the cells of random points (Voronoi) in space, so neighbouring layers show the same grains.

    Parameters
    ----------
    packing : dict
        Phase to the largest part of a grain's volume that it fills, 0 to 1.
    wall : str
        Name of the component that makes the wall.
    size : int
        Rows and columns of a layer.
    layers : int
    pixel_size, layer_step, radius : float
        mm; outer radius of the capillary.
    seed : int

    Returns
    -------
    Phantom
        Components: the phases in order, then the wall.
    """
    random = np.random.default_rng(seed)
    grid = (np.arange(size) - (size - 1) / 2.0) * pixel_size
    x, y = np.meshgrid(grid, grid)
    # The sample sits a little off the axis and is not quite round, as samples are.
    offset = radius * random.uniform(-0.06, 0.06, 2)
    distance = np.hypot((x - offset[0]) / 0.93, (y - offset[1]) / 0.90)
    inside, shell = distance < 0.86 * radius, (distance >= 0.86 * radius) & (distance < radius)
    fractions = np.zeros((len(packing) + 1, layers, size, size), dtype=np.float32)
    fractions[-1] = shell
    labels, weights = _grains(random, x, y, layers, layer_step, radius, list(packing.values()))
    for number in range(len(packing)):
        fractions[number] = np.where(inside & (labels == number), weights, 0.0)
    return Phantom((*packing, wall), fractions, pixel_size)


def _grains(
    random: np.random.Generator,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    layers: int,
    layer_step: float,
    radius: float,
    packing: list[float],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return phase (-1 for none) and packing of the grain at each point: (layer, y, x)."""
    from scipy.spatial import cKDTree

    spacing = 2.0 * radius / GRAINS_ACROSS
    depth = layers * layer_step + 2.0 * spacing
    count = max(int(np.ceil((2.0 * radius) ** 2 * depth / spacing**3)), 4 * len(packing))
    points = random.uniform(-1.0, 1.0, (count, 3)) * (radius, radius, depth / 2.0)
    # Every phase gets its share of grains; the order of the points is random already.
    share = np.arange(count) / count
    filled = share >= VOID_SHARE
    phase = np.where(filled, np.arange(count) % max(len(packing), 1), -1)
    weight = random.uniform(LIGHTEST_PACKING, 1.0, count) * np.append(packing, 0.0)[phase]
    tree = cKDTree(points)
    z = (np.arange(layers) - (layers - 1) / 2.0) * layer_step
    nearest = np.stack([tree.query(np.stack([x, y, np.full_like(x, height)], axis=-1))[1] for height in z])
    return phase[nearest], weight[nearest]
