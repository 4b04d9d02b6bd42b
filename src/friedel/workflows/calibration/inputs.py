"""What calibration reads: images that count pixel by pixel, detectors, starts, limits of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError, ParameterError
from friedel.core.quantities import wavelength_given
from friedel.instrument import Detector, Geometry, Sensor
from friedel.instrument.models import models_of_shape
from friedel.io.frames import expand, open_frames
from friedel.io.images import read_image, read_mask
from friedel.techniques.calibration.calibrate import Scene

from .tasks import Images, SensorOptions, Setup

DEAD_FLAT = 0.05
"""Pixels whose flat field is below this part of its median are excluded."""


def files_of(paths: Sequence[str]) -> list[str]:
    """Return every file that is meant, patterns replaced."""
    return [path for path, _ in expand(tuple(paths))]


def read_scene(parameters: Images, paths: Sequence[str], detector: Detector) -> Scene:
    """Read images of one setup, add them up and correct them.

    Raises
    ------
    DataError
        If the images have different shapes.
    """
    total: NDArray[Any] | None = None
    invalid: NDArray[np.bool_] | None = None
    count = 0
    for path in paths:
        source = open_frames((path,))
        for number in range(source.n_frames):
            frame = source.decoded(number, number + 1)[0]
            if total is not None and frame.shape != total.shape:
                raise DataError(
                    f"{path} has {frame.shape} pixels, the others {total.shape}.", "Give images of one kind."
                )
            bad = _invalid(frame, detector)
            summed = np.where(bad, 0, frame).astype(np.float64)
            total = summed if total is None else total + summed
            invalid = bad if invalid is None else invalid | bad
            count += 1
    if total is None or invalid is None:
        raise DataError("There is no image.", "Give one or more.")
    return _corrected(parameters, total, invalid, count, detector)


def frame_scene(parameters: Images, frame: NDArray[Any], detector: Detector) -> Scene:
    """Correct one frame of a series."""
    bad = _invalid(frame, detector)
    return _corrected(parameters, np.where(bad, 0, frame).astype(np.float64), bad, 1, detector)


def _corrected(
    parameters: Images, total: NDArray[Any], invalid: NDArray[np.bool_], count: int, detector: Detector
) -> Scene:
    """Return the sum of `count` frames without dark, divided by the flat, with all masks."""
    mask = invalid | detector.with_shape((total.shape[0], total.shape[1])).mask()
    if parameters.mask is not None:
        mask = mask | _same_shape(read_mask(parameters.mask), total, parameters.mask)
    if parameters.dark is not None:
        total = total - count * _same_shape(read_image(parameters.dark, average=True), total, parameters.dark)
    if parameters.flat is not None:
        flat = np.asarray(_same_shape(read_image(parameters.flat, average=True), total, parameters.flat), np.float64)
        flat = flat / np.median(flat[~mask])
        mask = mask | ~(flat > DEAD_FLAT)
        total = total / np.where(mask, 1.0, flat)
    return Scene(total, mask)


def _invalid(frame: NDArray[Any], detector: Detector) -> NDArray[np.bool_]:
    """Return pixels that hold no counts: what the detector writes instead, and what is no number."""
    if frame.dtype.kind == "f":
        bad = ~np.isfinite(frame)
        # Whole numbers are counts: those below zero are the detector's marks. Others had a dark image subtracted.
        if np.array_equal(frame[~bad], np.rint(frame[~bad])):
            bad = bad | (frame < 0)
    elif frame.dtype.kind == "i":
        bad = frame < 0
    elif frame.dtype.kind == "u" and frame.dtype.itemsize > 1:
        bad = frame >= np.iinfo(frame.dtype).max - 1
    else:
        bad = np.zeros(frame.shape, np.bool_)
    if detector.dummy is not None and frame.dtype.kind in "if":
        bad = bad | (np.abs(frame.astype(np.float64) - detector.dummy) <= detector.delta_dummy)
    return np.asarray(bad)


def _same_shape(image: NDArray[Any], frame: NDArray[Any], path: str) -> NDArray[Any]:
    if image.shape != frame.shape:
        raise DataError(f"{path} has {image.shape} pixels, the image {frame.shape}.", "Give one of the same detector.")
    return image


def first_shape(paths: Sequence[str]) -> tuple[int, int]:
    """Return rows and columns of the first image."""
    shape = open_frames((paths[0],)).shape
    return int(shape[-2]), int(shape[-1])


def find_detector(name: str | None, orientation: int | None, shape: tuple[int, int] | None = None) -> Detector:
    """Return a detector by name or file, or that which alone gives images of the shape.

    Raises
    ------
    ParameterError
        If no name is given and the shape fits none or several.
    """
    if name is None:
        fitting = models_of_shape(shape) if shape is not None else []
        if len(fitting) != 1:
            known = (
                f"; images of {shape[0]} x {shape[1]} pixels come from {', '.join(fitting)}"
                if fitting and shape
                else ""
            )
            raise ParameterError(
                "detector is missing: nothing tells the size of the pixels.", f"Give detector (--detector){known}."
            )
        name = fitting[0]
    detector = Detector.load(name)
    detector = detector if orientation is None else replace(detector, orientation=orientation)
    return detector if shape is None else detector.with_shape(shape)


def wavelength_of(parameters: Setup) -> float | None:
    """Return the wavelength in m that the energy or the wavelength tells; None if neither is given.

    Raises
    ------
    ParameterError
        If both are given.
    """
    return wavelength_given(parameters.wavelength, parameters.energy)


def load_start(
    path: str, orientation: int | None, shape: tuple[int, int] | None, detector: str | None = None
) -> Geometry:
    """Return a geometry to start from or to judge, for images of a shape; a detector that is given replaces its own."""
    geometry = Geometry.load(path)
    if detector is not None:
        geometry = replace(geometry, detector=find_detector(detector, geometry.detector.orientation, shape))
    if orientation is not None:
        geometry = replace(geometry, detector=replace(geometry.detector, orientation=orientation))
    return geometry if shape is None else geometry.for_shape(shape)


def with_sensor(detector: Detector, parameters: SensorOptions) -> Detector:
    """Return the detector with the sensor that was given.

    Raises
    ------
    ParameterError
        If a correction for parallax is asked for and nothing tells the sensor.
    """
    if parameters.sensor is not None:
        detector = replace(detector, sensor=Sensor.parse(parameters.sensor))
    if parameters.parallax and detector.sensor is None:
        raise ParameterError("parallax needs the sensor of the detector.", "Give --sensor: CdTe,1mm.")
    return detector


def started(
    path: str,
    shape: tuple[int, int] | None,
    orientation: int | None,
    parameters: SensorOptions,
    detector: str | None = None,
) -> Geometry:
    """Return a geometry to start from, with the detector, the sensor and the parallax that were asked for."""
    geometry = load_start(path, orientation, shape, detector)
    geometry = replace(geometry, detector=with_sensor(geometry.detector, parameters))
    return geometry if parameters.parallax is None else replace(geometry, parallax=parameters.parallax)


def parse_bounds(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Read limits of parameters: "dist=0.1,0.3" or "dist=0.1:0.3".

    Raises
    ------
    ParameterError
        If one cannot be read.
    """
    found = {}
    for text in texts:
        name, _, limits = text.partition("=")
        try:
            low, high = (float(part) for part in limits.replace(":", ",").split(","))
        except ValueError:
            low = high = float("nan")
        if not name or not low < high:
            raise ParameterError(f"bounds: {text!r} cannot be read.", "Give name=low,high: dist=0.1,0.3.")
        found[name.strip()] = (low, high)
    return found
