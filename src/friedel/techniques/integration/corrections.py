"""What one count in a pixel stands for: flat field, solid angle and polarization."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import GeometryError
from friedel.instrument import Geometry


def pixel_normalization(
    geometry: Geometry,
    *,
    solid_angle: bool = True,
    polarization: float | None = None,
    polarization_axis: float = 0.0,
    flat: NDArray[np.floating[Any]] | None = None,
) -> NDArray[np.float32] | None:
    """Return w = flat · Ω · P of each pixel, relative to a perfect pixel at the point of normal incidence.

    Parameters
    ----------
    geometry : Geometry
    solid_angle : bool
        Whether to correct for the solid angle Ω = cos³α.
    polarization : float, optional
        Polarization factor f, −1 to 1; None for no correction, which differs from 0, an unpolarized beam.
    polarization_axis : float
        Angle of the plane of polarization in degrees.
    flat : ndarray, optional
        Relative efficiency of the pixels.

    Returns
    -------
    ndarray of float32, shape (rows, columns), or None
        None where nothing is to be corrected.
    """
    if not solid_angle and polarization is None and flat is None:
        return None
    normalization = np.ones(geometry.shape, np.float64) if flat is None else flat.astype(np.float64)
    if solid_angle:
        normalization *= geometry.solid_angle()
    if polarization is not None:
        normalization *= geometry.polarization(polarization, np.deg2rad(polarization_axis))
    return normalization.astype(np.float32)


def image_for(geometry: Geometry, image: ArrayLike | None, name: str) -> NDArray[Any] | None:
    """Return `image` as an array of the detector's shape.

    Raises
    ------
    GeometryError
        If its shape is not that of the detector.
    """
    if image is None:
        return None
    array = np.asarray(image)
    if array.shape != geometry.shape:
        rows, columns = geometry.shape
        raise GeometryError(
            f"The {name} has the shape {array.shape}, the detector has {rows} x {columns} pixels.",
            f"Give a {name} of one value for each pixel.",
        )
    return array


def excluded_pixels(
    geometry: Geometry,
    *,
    mask: NDArray[Any] | None = None,
    detector_mask: bool = True,
    dark: NDArray[Any] | None = None,
    flat: NDArray[Any] | None = None,
    dummy: float | None = None,
    delta_dummy: float = 0.0,
) -> NDArray[np.bool_]:
    """Return which pixels take no part in any frame: True = excluded.

    Parameters
    ----------
    geometry : Geometry
    mask : ndarray, optional
        Non-zero where a pixel is excluded.
    detector_mask : bool
        Whether the gaps of the detector are excluded.
    dark, flat : ndarray, optional
        Excluded where not finite or marked by `dummy`, and where the flat is zero.
    dummy, delta_dummy : float
        Value that marks invalid pixels, and how far from it values still do.
    """
    excluded = geometry.detector.mask() if detector_mask else np.zeros(geometry.shape, np.bool_)
    if mask is not None:
        excluded |= mask != 0
    for image in (dark, flat):
        if image is None:
            continue
        excluded |= ~np.isfinite(image)
        if dummy is not None:
            excluded |= np.abs(image.astype(np.float64) - dummy) <= delta_dummy
    if flat is not None:
        excluded |= flat == 0
    return excluded
