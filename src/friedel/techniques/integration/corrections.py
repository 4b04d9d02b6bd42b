"""What one count in a pixel stands for: flat field, solid angle, polarization, efficiency, transmission."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import GeometryError
from friedel.instrument import Absorber, Geometry, Sensor
from friedel.kernels.marks import marked

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


def corrected_geometry(geometry: Geometry, corrections: Corrections) -> Geometry:
    """Return the geometry with the sensor and the parallax that the corrections ask for.

    Raises
    ------
    GeometryError
        If parallax or efficiency is asked for and there is no sensor or no wavelength.
    ParameterError
        If the sensor cannot be read.
    """
    sensor = Sensor.parse(corrections.sensor) if isinstance(corrections.sensor, str) else corrections.sensor
    if sensor is not None:
        geometry = replace(geometry, detector=replace(geometry.detector, sensor=sensor))
    if corrections.parallax is not None:
        geometry = replace(geometry, parallax=corrections.parallax)
    return geometry


def pixel_normalization(geometry: Geometry, corrections: Corrections) -> NDArray[np.float32] | None:
    """Return w = flat · Ω · P · ε · T of each pixel, relative to a perfect pixel at the point of normal incidence.

    The solid angle is Ω = cos³α. A polarization factor of None means no correction, which differs from 0, an
    unpolarized beam. The efficiency of the sensor is ε = (1 − exp(−μt/cos α))/(1 − exp(−μt)), the transmission of
    absorbers T = Π exp(−μt(1/cos − 1)).

    Returns
    -------
    ndarray of float32, shape (rows, columns), or None
        None where nothing is to be corrected.

    Raises
    ------
    GeometryError
        If a correction needs the wavelength or the sensor and the geometry has none.
    ParameterError
        If there is no such absorber, or the polarization factor is outside -1 to 1.
    """
    factors = list(_factors(geometry, corrections))
    return reduce(np.multiply, factors).astype(np.float32) if factors else None


def _factors(geometry: Geometry, corrections: Corrections) -> Iterator[NDArray[np.float64]]:
    if corrections.flat is not None:
        yield np.array(corrections.flat, np.float64)
    if corrections.solid_angle:
        yield geometry.solid_angle()
    if corrections.polarization is not None:
        yield geometry.polarization(corrections.polarization, np.deg2rad(corrections.polarization_axis))
    if corrections.efficiency:
        sensor, wavelength = geometry.sensor_and_wavelength("The correction for efficiency")
        yield sensor.efficiency(geometry.incidence_cosine(), wavelength) / sensor.efficiency(1.0, wavelength)
    given = corrections.absorber
    for layer in [given] if isinstance(given, (str, Absorber)) else given:
        absorber = Absorber.parse(layer) if isinstance(layer, str) else layer
        if geometry.wavelength is None:
            raise GeometryError(
                f"The absorption in {absorber.material} needs the wavelength, and the geometry has none.",
                "Add a line 'Wavelength: <metres>' to the PONI file.",
            )
        parallel = absorber.plane == "detector"
        cosine = geometry.incidence_cosine() if parallel else geometry.scattering_cosine()
        yield absorber.relative_transmission(cosine, geometry.wavelength)


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
        excluded |= ~np.isfinite(image) | marked(image, validity.dummy, validity.delta_dummy)
    if corrections.flat is not None:
        excluded |= np.asarray(corrections.flat) == 0
    return excluded
