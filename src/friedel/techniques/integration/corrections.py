"""What one count in a pixel stands for: flat field, solid angle and polarization."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import GeometryError
from friedel.instrument import Geometry

from .options import Corrections, Validity


def checked_images(geometry: Geometry, corrections: Corrections) -> Corrections:
    """Return the corrections with images that are arrays of the detector's shape.

    Raises
    ------
    GeometryError
        If an image has another shape.
    """
    names = {"flat": "flat", "dark": "dark", "dark_variance": "variance of the dark"}
    images = {field: image_for(geometry, getattr(corrections, field), name) for field, name in names.items()}
    return replace(corrections, **images)  # type: ignore[arg-type]


def pixel_normalization(geometry: Geometry, corrections: Corrections) -> NDArray[np.float32] | None:
    """Return w = flat · Ω · P of each pixel, relative to a perfect pixel at the point of normal incidence.

    The solid angle is Ω = cos³α. A polarization factor of None means no correction, which differs from 0, an
    unpolarized beam.

    Returns
    -------
    ndarray of float32, shape (rows, columns), or None
        None where nothing is to be corrected.
    """
    flat, polarization = corrections.flat, corrections.polarization
    if not corrections.solid_angle and polarization is None and flat is None:
        return None
    normalization = np.ones(geometry.shape) if flat is None else np.array(flat, np.float64)
    if corrections.solid_angle:
        normalization *= geometry.solid_angle()
    if polarization is not None:
        normalization *= geometry.polarization(polarization, np.deg2rad(corrections.polarization_axis))
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


def excluded_pixels(geometry: Geometry, validity: Validity, corrections: Corrections) -> NDArray[np.bool_]:
    """Return which pixels take no part in any frame: True = excluded.

    Those are the gaps of the detector, those of the mask, and those where the dark or the flat is not finite or
    marked as invalid, or the flat is zero.

    Raises
    ------
    GeometryError
        If the mask has another shape than the detector.
    """
    excluded = geometry.detector.mask() if validity.detector_mask else np.zeros(geometry.shape, np.bool_)
    mask = image_for(geometry, validity.mask, "mask")
    if mask is not None:
        excluded |= mask != 0
    for given in (corrections.dark, corrections.flat):
        if given is None:
            continue
        image = np.asarray(given)
        excluded |= ~np.isfinite(image)
        if validity.dummy is not None:
            excluded |= np.abs(image.astype(np.float64) - validity.dummy) <= validity.delta_dummy
    if corrections.flat is not None:
        excluded |= np.asarray(corrections.flat) == 0
    return excluded
