"""Filtered back-projection by gridding: the projection-slice theorem on an oversampled grid.

Each filtered projection is a line through the origin of the slice's Fourier plane. Its samples are spread onto a
Cartesian grid with a Kaiser-Bessel kernel, the grid is transformed once, and the kernel's own transform is divided out
(O'Sullivan 1985; Jackson et al. 1991; shape of the kernel after Beatty et al. 2005). With the default width 4 and
oversampling 1.5 the slice differs from the exact trigonometric sum by 5e-4, a hundredth of what linear
interpolation in direct back-projection does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import ParameterError
from friedel.kernels.gridding import GridMap, LinesToPicture, kaiser_bessel_shape, kaiser_bessel_transform

from .blocks import check_block
from .filters import FilterName, Padding, fast_length, filter_length, filter_response
from .geometry import ParallelBeam


@dataclass(frozen=True, eq=False)
class GriddingPlan:
    """Reconstructs blocks of sinograms of one geometry; built once, picklable, immutable.

    Attributes
    ----------
    beam : ParallelBeam
    lines_to_picture : LinesToPicture
        The tables.
    response : ndarray (length // 2 + 1,) float64
        The ray filter, without phase and weights.
    """

    beam: ParallelBeam
    lines_to_picture: LinesToPicture
    response: NDArray[np.float64]

    @classmethod
    def build(
        cls,
        beam: ParallelBeam,
        *,
        filter: FilterName = "ramp",  # noqa: A002 the field's word
        cutoff: float = 1.0,
        padding: Padding = "zeros",
        width: int = 4,
        oversampling: float = 1.5,
    ) -> GriddingPlan:
        """Compute the tables.

        Parameters
        ----------
        beam : ParallelBeam
        filter, cutoff, padding
            See `filter_response`; padding with "zeros", or "edge" values where the object is wider than the field.
        width : int
            Grid points that a sample reaches along each axis: 4, or 6 for an error of 6e-6.
        oversampling : float
            Grid points for each pixel, 1.125 to 2.

        Raises
        ------
        ParameterError
            If the width is odd or the oversampling out of range.
        """
        if width % 2 or not 2 <= width <= 8 or not 1.125 <= oversampling <= 2:
            raise ParameterError(
                f"A gridding kernel of width {width} at oversampling {oversampling} is not offered.",
                "Use an even width from 2 to 8 and an oversampling from 1.125 to 2.",
            )
        length = filter_length(beam.n_translations)
        size = fast_length(int(np.ceil(oversampling * max(beam.size, beam.n_translations))), 2)
        beta = kaiser_bessel_shape(width, size / max(beam.size, beam.n_translations))
        frequency = np.arange(length // 2 + 1) / length
        theta = beam.angles[beam.used, None]
        grid = GridMap.build(
            (np.cos(theta) * frequency * size).reshape(-1),
            (-np.sin(theta) * frequency * size).reshape(-1),
            size,
            width,
            beta,
        )
        position = np.arange(beam.size) - beam.size // 2
        scale = 1 / kaiser_bessel_transform(position.astype(float), width, beta, size)
        response = filter_response(length, filter, cutoff)
        tables = LinesToPicture(
            used=beam.used.astype(np.int32),
            response=_line_response(beam, response),
            length=length,
            edge=padding == "edge",
            grid=grid,
            crop=(position % size).astype(np.int32),
            scale=scale.astype(np.float32),
        )
        return cls(beam, tables, response)

    def with_center(self, center: float) -> GriddingPlan:
        """Return the plan for another axis; only the phases of the rays are computed again."""
        beam = self.beam.with_center(center)
        tables = replace(self.lines_to_picture, response=_line_response(beam, self.response))
        return GriddingPlan(beam, tables, self.response)

    def __call__(self, sinograms: NDArray[np.generic], *, threads: int = 1) -> NDArray[np.float32]:
        """Return the slices (y, x, channel) of `sinograms` (angle, translation, channel), or (y, x) of one.

        A block is worked through by one thread; several blocks can be at work at once.

        Raises
        ------
        DataError
            If the shape is not the plan's.
        """
        block = check_block(sinograms, self.beam)
        slices = self.lines_to_picture(block)
        return slices if sinograms.ndim == 3 else slices[..., 0]


def _line_response(beam: ParallelBeam, response: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Return filter, angular weight, units and the phase that centres each ray on the axis.

    The shift by half a pixel of an even picture is a phase of the samples too; as a phase of the grid it would give
    the wrong sign to the tails of kernels that wrap around the grid's edge.
    """
    length = 2 * (len(response) - 1)
    k = np.arange(length // 2 + 1) / length
    # The real transform holds half of the plane: the ends of the ray are shared by both halves.
    ends = np.where((k == 0) | (k == 0.5), 0.5, 1.0)
    theta = beam.angles[beam.used]
    half = 0.5 if beam.size % 2 == 0 else 0.0
    shift = beam.center + half * (np.cos(theta) - np.sin(theta))
    phase = np.exp(2j * np.pi * k * shift[:, None])
    weight = beam.weights[beam.used] / (length * beam.pixel_size)
    return np.asarray(response * ends * phase * weight[:, None], np.complex64)
