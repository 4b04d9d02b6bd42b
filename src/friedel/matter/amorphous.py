"""What has no rings: glass of the capillary and air along the beam.

Intensities are absolute, like those of powder patterns: scattered per steradian, per metre of path and unit of
incident flux, 1/(m·sr) = r_e² n ⟨f²⟩ S(q), n atoms or molecules per volume, S the structure factor of the liquid or
glass, which tends to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .crystal import atomic_form_factor

_Array = NDArray[np.float64]

ELECTRON_RADIUS = 2.8179403205e-15
SILICA_UNITS = 2.20e28
"""SiO2 units per m³ of fused silica, from its density of 2.20 g/cm³."""
AIR_ATOMS = 5.0e25
"""Atoms per m³ of air at 20 °C and 1013 hPa."""

# Height, position and width (1/nm) of the broad maxima of S(q) of fused silica, after the measurements of
# Mei et al., J. Phys.: Condens. Matter 19 (2007) 415103, smoothed to three.
_SILICA_MAXIMA = ((1.35, 15.2, 3.3), (0.25, 30.0, 5.0), (0.30, 52.0, 7.0))
_SILICA_HOLE = 10.0
"""Below this q in 1/nm a glass scatters little: it is hardly compressible."""


def silica_glass(q: ArrayLike) -> _Array:
    """Return the scattering of fused silica in 1/(m·sr).

    Parameters
    ----------
    q : array_like
        Scattering vector, 1/nm.
    """
    value = np.asarray(q, dtype=np.float64)
    structure = 1.0 - np.exp(-((value / _SILICA_HOLE) ** 2))
    for height, position, width in _SILICA_MAXIMA:
        structure += height * np.exp(-(((value - position) / width) ** 2))
    squared = _form_factor("Si", value) ** 2 + 2.0 * _form_factor("O", value) ** 2
    return np.asarray(ELECTRON_RADIUS**2 * SILICA_UNITS * squared * structure)


def air(q: ArrayLike) -> _Array:
    """Return the scattering of air, taken as single nitrogen atoms, in 1/(m·sr).

    Parameters
    ----------
    q : array_like
        Scattering vector, 1/nm.
    """
    return np.asarray(ELECTRON_RADIUS**2 * AIR_ATOMS * _form_factor("N", np.asarray(q, dtype=np.float64)) ** 2)


def _form_factor(element: str, q: _Array) -> _Array:
    return atomic_form_factor(element, (q / (40.0 * np.pi)) ** 2)
