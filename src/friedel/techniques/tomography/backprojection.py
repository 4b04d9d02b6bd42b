"""Filtered back-projection, directly: filter each projection, then sum what every pixel gets from it.

Slower than gridding and less exact between samples (linear interpolation), but nothing outside a projection's samples
is assumed, and its uncertainty is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.kernels.backprojection import Lines
from friedel.kernels.filtering import filter_lines

from .blocks import check_block
from .filters import FilterName, Padding, filter_length, filter_response
from .geometry import ParallelBeam


@dataclass(frozen=True, eq=False)
class BackprojectionPlan:
    """Reconstructs blocks of sinograms of one geometry; built once, picklable, immutable.

    Attributes
    ----------
    beam : ParallelBeam
    lines : Lines
        Where each pixel lies on each used projection; 0 beyond half a pixel outside the samples.
    response : ndarray (length // 2 + 1,) float64
        The ray filter.
    edge : bool
        Whether projections are extended with their end values.
    """

    beam: ParallelBeam
    lines: Lines
    response: NDArray[np.float64]
    edge: bool

    @classmethod
    def build(
        cls,
        beam: ParallelBeam,
        *,
        filter: FilterName = "ramp",  # noqa: A002 the field's word
        cutoff: float = 1.0,
        padding: Padding = "zeros",
    ) -> BackprojectionPlan:
        """Compute the tables; see `filter_response` for the parameters."""
        offset, step_x, step_y = beam.detector_lines()
        lines = Lines(offset, step_x, step_y, np.ones_like(offset), beam.n_translations, beam.size, reach=0.5)
        response = filter_response(filter_length(beam.n_translations), filter, cutoff)
        return cls(beam, lines, response, padding == "edge")

    @property
    def weights(self) -> NDArray[np.float64]:
        """Angular weight of each used projection over the pixel size."""
        return self.beam.weights[self.beam.used] / self.beam.pixel_size

    def __call__(self, sinograms: NDArray[np.generic], *, threads: int = 1) -> NDArray[np.float32]:
        """Return the slices (y, x, channel) of `sinograms` (angle, translation, channel), or (y, x) of one.

        Raises
        ------
        DataError
            If the shape is not the plan's.
        """
        block = check_block(sinograms, self.beam)[self.beam.used]
        filtered = filter_lines(block, self.response, edge=self.edge)
        filtered *= self.weights.astype(np.float32)[:, None, None]
        slices = self.lines.backproject(filtered, threads=threads)
        return slices if sinograms.ndim == 3 else slices[..., 0]
