"""What is done to a frame before its values are compared with those of other frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError, GeometryError
from friedel.io import FrameSource, read_image
from friedel.kernels.marks import marked

from .tasks import FrameSeries

Floats = NDArray[np.float64]
EVERYWHERE = slice(None)


@dataclass(frozen=True, eq=False)
class FrameCorrection:
    """Dark, flat field and validity of pixels; the same for every frame.

    Attributes
    ----------
    excluded : ndarray of bool, shape (rows, columns)
        Pixels that are never valid.
    dark : ndarray of float64, shape (rows, columns), or None
    flat : ndarray of float64, shape (rows, columns), or None
        1 where it cannot be divided by; such pixels are excluded.
    dummy, delta_dummy : float
        Value that marks an invalid pixel, and how far from it values still do; None for no such value.
    """

    excluded: NDArray[np.bool_]
    dark: Floats | None = None
    flat: Floats | None = None
    dummy: float | None = None
    delta_dummy: float = 0.0

    @classmethod
    def build(
        cls,
        shape: tuple[int, int],
        *,
        mask: NDArray[Any] | None = None,
        dark: NDArray[Any] | None = None,
        flat: NDArray[Any] | None = None,
        dummy: float | None = None,
        delta_dummy: float = 0.0,
    ) -> FrameCorrection:
        """Check the images and find the pixels that they exclude.

        Raises
        ------
        GeometryError
            If an image has another shape than the frames.
        """
        for name, image in (("mask", mask), ("dark", dark), ("flat", flat)):
            if image is not None and image.shape != shape:
                raise GeometryError(
                    f"The {name} has the shape {image.shape}, the frames have {shape}.",
                    f"Give a {name} of one value for each pixel.",
                )
        excluded = np.zeros(shape, np.bool_) if mask is None else np.asarray(mask != 0)
        values: list[Floats | None] = []
        for image in (dark, flat):
            if image is None:
                values.append(None)
                continue
            bad = ~np.isfinite(image) | marked(image, dummy, delta_dummy)
            values.append(np.where(bad, 0.0, image.astype(np.float64)))
            excluded |= bad
        dark, flat = values
        if flat is not None:
            excluded |= flat == 0
            flat[flat == 0] = 1.0
        return cls(excluded, dark, flat, dummy, delta_dummy)

    @classmethod
    def of(cls, parameters: FrameSeries, source: FrameSource) -> FrameCorrection:
        """Read the images that the parameters of a task name."""
        images = {
            name: read_image(path, average=name != "mask") if (path := getattr(parameters, name)) else None
            for name in ("mask", "dark", "flat")
        }
        if parameters.detector_mask and source.pixel_mask is not None:
            images["mask"] = source.pixel_mask if images["mask"] is None else source.pixel_mask | (images["mask"] != 0)
        return cls.build(source.full_shape, **images, dummy=parameters.dummy, delta_dummy=parameters.delta_dummy)

    def is_trivial(self, dtype: np.dtype[Any]) -> bool:
        """Whether frames of this type are taken as they are, every value being valid."""
        return self.dark is None and self.flat is None and not self.marks_invalid(dtype)

    def marks_invalid(self, dtype: np.dtype[Any]) -> bool:
        """Whether a value in a frame of this type can be invalid."""
        return dtype.kind == "f" or self.dummy is not None

    def __call__(
        self, raw: NDArray[Any], place: slice = EVERYWHERE, factor: Floats | float | None = None
    ) -> tuple[Floats, NDArray[np.bool_] | None]:
        """Return corrected values (float64) and which are valid (None: all).

        Parameters
        ----------
        raw : ndarray, shape (pixels,) or (frames, pixels)
        place : slice
            Which pixels of the flattened detector these are.
        factor : float or ndarray, optional
            What the values are divided by besides the flat field.
        """
        values = raw.astype(np.float64)
        valid = None
        if raw.dtype.kind == "f":
            valid = np.isfinite(values)
        if self.dummy is not None:
            unmarked = ~marked(raw, self.dummy, self.delta_dummy)
            valid = unmarked if valid is None else valid & unmarked
        if self.dark is not None:
            values -= self.dark.reshape(-1)[place]
        if self.flat is not None:
            values /= self.flat.reshape(-1)[place]
        if factor is not None:
            values /= factor
        return values, valid


def monitor_factors(source: FrameSource, name: str | None) -> Floats | None:
    """Return what each frame is divided by.

    Raises
    ------
    DataError
        If there is no such axis, or a value that nothing can be divided by.
    """
    if name is None:
        return None
    factors = np.asarray(source.axis(name).values, np.float64)
    bad = np.flatnonzero(~(np.isfinite(factors) & (factors > 0)))
    if bad.size:
        raise DataError(
            f"{name} is {factors[bad[0]]} for frame {bad[0]} ({bad.size} such frames): no frame can be divided by it.",
            "Leave these frames out, or do not normalise.",
        )
    return factors
