"""Bragg spots apart from what is the same all round: a smooth image from a robust pattern, and what is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.context import Context
from friedel.core.errors import ParameterError

from .imaging import NumberedFrames, invalid_pixels, stream_images
from .radial_map import RadialMap
from .reprojection import PatternImages
from .tasks import Separate

IMAGES = {
    "bragg": "Counts beyond the isotropic part",
    "isotropic": "Counts that are the same all round: amorphous scattering, powder rings, background",
}
ENDINGS = {"bragg": "_bragg", "isotropic": "_amorphous"}
"""Of the names of image files."""


@dataclass(frozen=True)
class Separation:
    """The plan: frames to their two parts.

    Attributes
    ----------
    radial_map : RadialMap
        With a robust estimator.
    images : PatternImages
        Its inverse.
    """

    radial_map: RadialMap
    images: PatternImages

    @classmethod
    def of(cls, radial_map: RadialMap) -> Separation:
        """Return the plan that uses the patterns of a map.

        Raises
        ------
        ParameterError
            If the estimator is the mean, which spots spoil.
        """
        if not radial_map.averaging.estimator.robust:
            raise ParameterError("estimator is mean, which spots pull up.", "Choose percentile or sigma-clip.")
        return cls(radial_map.with_options(empty=np.nan), PatternImages.of(radial_map))

    def __call__(self, items: NumberedFrames) -> dict[str, NDArray[np.float32]]:
        """Return the images ``bragg`` and ``isotropic``, (n, rows, columns).

        Their sum is the frame as recorded. Pixels that are masked, marked as invalid or out of the radial range are
        NaN in ``bragg``; ``isotropic`` is NaN out of the range only.
        """
        block = items.decoded().block
        assert isinstance(block.frames, np.ndarray)
        isotropic = self.images(self.radial_map(block).intensity, block.normalization)
        bragg = (block.frames - isotropic.astype(np.float64)).astype(np.float32)
        bragg[invalid_pixels(self.radial_map, block.frames)] = np.nan
        return {"bragg": bragg, "isotropic": isotropic}


def separate(parameters: Separate, context: Context) -> xr.Dataset:
    """Do the task ``separate``; see `Separate`."""
    return stream_images(parameters, context, {}, Separation.of, IMAGES, "Separating", endings=ENDINGS)
