"""How much of each component a pencil beam meets.

The convention is that of the reconstruction: at the rotation angle θ the beam at t (measured from the axis) runs along

    x cos θ − y sin θ = t        x to the right, y downwards, both from the axis.

A square pixel of side p casts a trapezoidal shadow of area p² on t; the beam is a box of the width of a step. The
overlap of both is exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]


def path_lengths(
    maps: NDArray[np.floating], pixel_size: float, angles: _Array, translations: _Array, beam_width: float
) -> _Array:
    """Return the mean path of the beam through each map.

    Parameters
    ----------
    maps : ndarray (m, y, x)
        Volume fractions, or any quantity per length.
    pixel_size : float
        Side of a pixel, mm; the rotation axis passes through the middle of the map.
    angles : ndarray of float64 (a,)
        Rotation angles in rad.
    translations : ndarray of float64 (n,)
        Evenly spaced, ascending positions of the beam's middle measured from the axis, mm.
    beam_width : float
        mm.

    Returns
    -------
    ndarray of float64 (m, a, n)
        Line integrals of the maps averaged over the beam's width, mm times the maps' unit.
    """
    rows, columns = maps.shape[-2:]
    y = ((np.arange(rows) - (rows - 1) / 2.0) * pixel_size)[:, None]
    x = ((np.arange(columns) - (columns - 1) / 2.0) * pixel_size)[None, :]
    occupied = (maps != 0).any(axis=0)
    values = maps[:, occupied].astype(np.float64)
    count = len(translations)
    step = (translations[-1] - translations[0]) / (count - 1) if count > 1 else beam_width
    paths = np.zeros((len(maps), len(angles), count))
    for number, angle in enumerate(angles):
        cosine, sine = np.cos(angle), np.sin(angle)
        t = (cosine * x - sine * y)[occupied]
        reach = 0.5 * pixel_size * (abs(cosine) + abs(sine))
        first = np.ceil((t - reach - 0.5 * beam_width - translations[0]) / step).astype(np.int64)
        met = int(np.ceil((2.0 * reach + beam_width) / step)) + 1
        for beam in range(met):
            index = first + beam
            valid = (index >= 0) & (index < count)
            middle = translations[0] + index[valid] * step - t[valid]
            share = _shadow(middle + 0.5 * beam_width, cosine, sine, pixel_size)
            share -= _shadow(middle - 0.5 * beam_width, cosine, sine, pixel_size)
            for map_number, value in enumerate(values):
                weights = share * value[valid]
                paths[map_number, number] += np.bincount(index[valid], weights=weights, minlength=count)
    return paths * (pixel_size**2 / beam_width)


def _shadow(t: _Array, cosine: float, sine: float, pixel_size: float) -> _Array:
    """Return the part of a pixel's shadow that lies below `t`, 0 to 1: the integral of the trapezoid."""
    long, short = max(abs(cosine), abs(sine)) * pixel_size, min(abs(cosine), abs(sine)) * pixel_size
    outer, inner = 0.5 * (long + short), 0.5 * (long - short)
    distance = np.minimum(np.abs(t), outer)
    beyond = np.maximum(distance - inner, 0.0)
    # Half the area up to the flat part, then the slope's parabola.
    half = distance / long - (beyond * beyond / (2.0 * long * short) if short > 1e-12 * long else 0.0)
    return np.asarray(0.5 + np.copysign(half, t))
