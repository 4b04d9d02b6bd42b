"""Gaps filled with what lies beside them at the same scattering angle."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.context import Context

from .imaging import NumberedFrames, invalid_pixels, stream_images
from .options import MapOptions
from .radial_map import RadialMap
from .reprojection import PatternImages
from .tasks import Inpaint

IMAGES = {"inpainted": "Counts, with gaps filled"}
NUMBERS = {"unfilled": "Pixels of gaps that are not filled: none at their radius is valid"}


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
    rings : ndarray of int32, shape (n_pixels,)
        Number of the radial bin that each pixel is in.
    span : int
        How many radial bins a pixel covers, about; 0 where bins are wider than pixels.
    noise : bool
        Whether filled pixels get the noise of counts.
    seed : int
        Of the noise; it depends on the number of the frame too, and on nothing else.
    """

    radial_map: RadialMap
    cake_map: RadialMap
    images: PatternImages
    rings: NDArray[np.int32]
    span: int
    noise: bool = False
    seed: int = 0

    @classmethod
    def of(cls, radial_map: RadialMap, grow: int = 0, noise: bool = False, seed: int = 0) -> Inpainting:
        """Return the plan that uses the cakes of a map, without the pixels up to `grow` pixels beside a gap."""
        radial_map = radial_map.with_options(empty=np.nan)
        cake_map = radial_map.without_pixels(grown(radial_map.excluded, grow)) if grow else radial_map
        images = PatternImages.of(cake_map, extend=True)
        return cls(radial_map, cake_map, images, rings_of(images), span_of(images), noise, seed)

    def __call__(self, items: NumberedFrames) -> dict[str, NDArray[np.float32]]:
        """Return ``inpainted``, (n, rows, columns): the frame, with invalid pixels filled.

        Where no pixel at the radius of an invalid one is valid (behind the beamstop), it is NaN; ``unfilled``, (n,), is
        how many are.
        """
        block = items.decoded().block
        assert isinstance(block.frames, np.ndarray)
        axis = self.cake_map.azimuth
        assert axis is not None
        closed = axis.turn > 0 and axis.high - axis.low > axis.turn * (1 - 0.5 / axis.n_bins)
        cakes = np.stack([filled_cake(cake, closed, self.span) for cake in self.cake_map(block).intensity])
        images = self.images(cakes, block.normalization)
        invalid = invalid_pixels(self.radial_map, block.frames)
        unfilled = np.zeros(len(images), np.float32)
        inpainted = np.where(invalid, 0, block.frames).astype(np.float32)
        for number, (image, gaps) in enumerate(zip(images, invalid, strict=True)):
            known_rings = np.isfinite(cakes[number]).any(axis=0)
            values = np.where(known_rings[self.rings[gaps.ravel()]], image[gaps], np.float32(np.nan))
            known = np.isfinite(values)
            unfilled[number] = np.count_nonzero(~known)
            if self.noise:
                generator = np.random.default_rng((self.seed, items.start + number))
                values[known] = generator.poisson(np.maximum(values[known], 0))
            inpainted[number][gaps] = values
        return {"inpainted": inpainted, "unfilled": unfilled}


def rings_of(images: PatternImages) -> NDArray[np.int32]:
    """Return the number of the radial bin that each pixel is in, shape (n_pixels,)."""
    radial = images.radial
    return np.where(radial.part > 0.5, radial.upper, radial.lower).astype(np.int32)


def span_of(images: PatternImages) -> int:
    """Return how many radial bins a pixel covers: the median, rounded."""
    if min(images.shape) < 2:
        return 1
    radial = images.radial
    places = radial.lower + radial.part * (radial.upper - radial.lower)
    steps = np.hypot(*np.gradient(places.reshape(images.shape)))
    inside = radial.inside.reshape(images.shape)
    return int(np.rint(np.median(steps[inside]))) if inside.any() else 0


def grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Return a mask with all pixels that are up to `pixels` away from it in rows and columns together."""
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(mask, iterations=pixels))


def filled_cake(cake: NDArray[np.float32], closed: bool, span: int = 0) -> NDArray[np.float64]:
    """Fill the bins of a cake that are not finite along their ring. Rings without any finite bin stay NaN.

    Only where bins are narrower than pixels, rings may be empty because no pixel has its centre there; they are filled
    from the rings on both sides.

    Parameters
    ----------
    cake : ndarray, shape (n_azimuth, n_radial)
    closed : bool
        Whether the azimuth is the whole circle, so that its ends are neighbours.
    span : int
        Up to so many empty rings, one beside the other, are filled from those on both sides.
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
    places = np.flatnonzero(rings)
    for before, after in pairwise(places):
        if 1 < after - before <= span + 1:
            parts = np.arange(1, after - before) / (after - before)
            values[:, before + 1 : after] = np.outer(values[:, before], 1 - parts) + np.outer(values[:, after], parts)
    return values


def inpaint(parameters: Inpaint, context: Context) -> xr.Dataset:
    """Do the task ``inpaint``; see `Inpaint`."""
    if not parameters.noise:
        parameters.refuse(("seed",), "no noise is asked for")

    def plan(radial_map: RadialMap) -> Inpainting:
        return Inpainting.of(radial_map, parameters.grow_mask, parameters.noise, parameters.seed)

    def count_unfilled(result: xr.Dataset) -> None:
        counts = result["unfilled"].values
        total = int(counts.sum(dtype=np.float64))
        result.attrs["unfilled_pixels"] = total
        if total:
            context.progress.message(
                f"{total} pixels in {np.count_nonzero(counts)} of {len(counts)} frames are not filled: "
                "no pixel at their radius is valid. They are not a number."
            )

    bins: MapOptions = {"npt_azimuth": parameters.npt_azimuth}
    return stream_images(
        parameters, context, bins, plan, IMAGES, "Filling gaps", numbers=NUMBERS, complete=count_unfilled
    )
