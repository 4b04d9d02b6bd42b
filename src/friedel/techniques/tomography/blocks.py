"""What every plan checks about the block of sinograms that it is given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError

from .geometry import ParallelBeam


def check_block(sinograms: NDArray[np.generic], beam: ParallelBeam) -> NDArray[np.float32]:
    """Return `sinograms` as contiguous float32 (angle, translation, channel).

    Raises
    ------
    DataError
        If the shape is not that of the geometry.
    """
    expected = (beam.n_angles, beam.n_translations)
    if sinograms.ndim not in (2, 3) or sinograms.shape[:2] != expected:
        raise DataError(
            f"The sinogram has the shape {sinograms.shape}; the geometry has {expected[0]} angles and "
            f"{expected[1]} translations.",
            "Sinograms are (angle, translation) or (angle, translation, channel).",
        )
    block = sinograms if sinograms.ndim == 3 else sinograms[..., None]
    return np.ascontiguousarray(block, np.float32)


def failed_projections(sinogram: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return which projections of (angle, translation[, channel]) are NaN throughout.

    Raises
    ------
    DataError
        If there are no samples at all, or others that are not finite; the message says how many positions hold them.
    """
    if not sinogram.size:
        raise DataError(
            f"The sinogram has the shape {sinogram.shape}: there is nothing to reconstruct.",
            "It must be (angle, translation) or (angle, translation, channel), each of one or more.",
        )
    rows = np.asarray(sinogram).reshape(sinogram.shape[0], sinogram.shape[1], -1)
    finite = np.isfinite(rows)
    failed = np.asarray(~finite.any(axis=(1, 2)))
    bad = ~finite.all(axis=2) & ~failed[:, None]
    if bad.any():
        angle, translation = np.argwhere(bad)[0]
        raise DataError(
            f"The sinogram is not finite at {np.count_nonzero(bad)} of {bad.size} positions, the first at angle "
            f"{angle}, translation {translation}.",
            "Mask or interpolate them (remove_outliers); only projections that are NaN throughout are left out.",
        )
    return failed
