"""Gaps filled with what lies beside them at the same scattering angle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.context import Context

from .imaging import NumberedFrames, invalid_pixels, stream_images
from .radial_map import RadialMap
from .reprojection import PatternImages
from .tasks import Inpaint

IMAGES = {"inpainted": "Counts, with gaps filled"}


@dataclass(frozen=True)
class Inpainting:
    """The plan: frames to frames without gaps.

    Attributes
    ----------
    radial_map : RadialMap
        Which pixels are gaps, and which values mark them.
    cake_map : RadialMap
        Makes cakes of pixels that are not near a gap.
    images : PatternImages
        Its inverse.
    noise : bool
        Whether filled pixels get the noise of counts.
    seed : int
        Of the noise; it depends on the number of the frame too, and on nothing else.
    """

    radial_map: RadialMap
    cake_map: RadialMap
    images: PatternImages
    noise: bool = False
    seed: int = 0

    @classmethod
    def of(cls, radial_map: RadialMap, grow: int = 0, noise: bool = False, seed: int = 0) -> Inpainting:
        """Return the plan that uses the cakes of a map, without the pixels up to `grow` pixels beside a gap."""
        radial_map = radial_map.with_options(empty=np.nan)
        cake_map = radial_map.without_pixels(grown(radial_map.excluded, grow)) if grow else radial_map
        return cls(radial_map, cake_map, PatternImages.of(cake_map, extend=True), noise, seed)

    def __call__(self, items: NumberedFrames) -> dict[str, NDArray[np.float32]]:
        """Return the image ``inpainted``, (n, rows, columns): the frame, with invalid pixels filled."""
        block = items.decoded().block
        assert isinstance(block.frames, np.ndarray)
        axis = self.cake_map.azimuth
        assert axis is not None
        closed = axis.turn > 0 and axis.high - axis.low > axis.turn * (1 - 0.5 / axis.n_bins)
        cakes = np.stack([filled_cake(cake, closed) for cake in self.cake_map(block).intensity])
        images = self.images(cakes, block.normalization)
        invalid = invalid_pixels(self.radial_map, block.frames)
        inpainted = np.where(invalid, 0, block.frames).astype(np.float32)
        for number, (image, gaps) in enumerate(zip(images, invalid, strict=True)):
            values = image[gaps]
            if self.noise:
                generator = np.random.default_rng((self.seed, items.start + number))
                known = np.isfinite(values)
                values[known] = generator.poisson(np.maximum(values[known], 0))
            inpainted[number][gaps] = values
        return {"inpainted": inpainted}


def grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Return a mask with all pixels that are up to `pixels` away from it in rows and columns together."""
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(mask, iterations=pixels))


def filled_cake(cake: NDArray[np.float32], closed: bool) -> NDArray[np.float64]:
    """Fill the bins of a cake that are not finite: along the ring, or between rings where a whole ring is empty.

    Parameters
    ----------
    cake : ndarray, shape (n_azimuth, n_radial)
    closed : bool
        Whether the azimuth is the whole circle, so that its ends are neighbours.
    """
    values = cake.astype(np.float64)
    known = np.isfinite(values)
    n = len(values)
    numbers = np.arange(n)
    for column in np.flatnonzero(known.any(axis=0) & ~known.all(axis=0)):
        here = np.flatnonzero(known[:, column])
        gaps = np.flatnonzero(~known[:, column])
        period = n if closed else None
        values[gaps, column] = np.interp(numbers[gaps], here, values[here, column], period=period)
    rings = known.any(axis=0)
    if rings.any() and not rings.all():
        places, empty = np.flatnonzero(rings), np.flatnonzero(~rings)
        for row in values:
            row[empty] = np.interp(empty, places, row[places])
    return values


def inpaint(parameters: Inpaint, context: Context) -> xr.Dataset:
    """Do the task ``inpaint``; see `Inpaint`."""
    if not parameters.noise:
        parameters.refuse(("seed",), "no noise is asked for")

    def plan(radial_map: RadialMap) -> Inpainting:
        return Inpainting.of(radial_map, parameters.grow_mask, parameters.noise, parameters.seed)

    return stream_images(parameters, context, {"npt_azimuth": parameters.npt_azimuth}, plan, IMAGES, "Filling gaps")
