"""How the noise of the samples becomes the noise of the slice.

A linear reconstruction is slice = sum of coefficient times sample, so for independent samples the variance of the
slice is the sum of squared coefficient times variance. It is not the reconstruction of the variance: filter and
interpolation are squared first. Pixels are correlated with their neighbours; what is returned is each pixel's own
variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.kernels.backprojection import Lines
from friedel.kernels.filtering import filter_lines

from .backprojection import BackprojectionPlan
from .blocks import check_block
from .geometry import ParallelBeam
from .gridding import GriddingPlan

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

DETECTOR_OVERSAMPLING = 4
"""The square of a band-limited kernel has twice its bandwidth; linear interpolation wants some samples more."""


@dataclass(frozen=True, eq=False)
class BackprojectionVariance:
    """Variance of slices reconstructed by a `BackprojectionPlan`, exact for independent samples.

    Linear interpolation takes (1 - w) of one filtered sample and w of the next. These two are correlated, since both
    were filtered from the same samples: their covariance is carried beside their variances.
    """

    plan: BackprojectionPlan

    @property
    def beam(self) -> ParallelBeam:
        """The geometry."""
        return self.plan.beam

    def __call__(self, variances: NDArray[np.generic], *, threads: int = 1) -> Singles:
        """Return the variance (y, x, channel) of the slices from that of the samples (angle, translation, channel)."""
        plan = self.plan
        block = check_block(variances, plan.beam)[plan.beam.used]
        block = block * (plan.weights.astype(np.float32)[:, None, None]) ** 2
        kernel = np.fft.irfft(plan.response)
        following = np.roll(kernel, -1)
        own = filter_lines(block, np.fft.rfft(kernel**2))
        # The covariance of samples i and i + 1 sums h[i - j] h[i + 1 - j] v[j].
        shared = filter_lines(block, np.fft.rfft(kernel * following))
        if plan.edge:
            _add_edges(own, shared, kernel, block)
        shared[:, -1] = 0
        slices = plan.lines.backproject(np.maximum(own, 0), shared, threads=threads)
        return slices if np.ndim(variances) == 3 else slices[..., 0]


def _end_coefficients(kernel: Floats, n: int) -> tuple[Floats, Floats]:
    """Return what the first and the last sample, with all that repeats them, give to each of `n` filtered samples."""
    length = len(kernel)
    middle = n + (length - n) // 2
    first = np.zeros(length)
    last = np.zeros(length)
    first[0], first[middle:] = 1, 1
    last[n - 1 : middle] = 1
    spectrum = np.fft.rfft(kernel)
    convolved = (np.fft.irfft(np.fft.rfft(end) * spectrum, n=length)[:n] for end in (first, last))
    return next(convolved), next(convolved)


def _add_edges(own: Singles, shared: Singles, kernel: Floats, block: Singles) -> None:
    """Replace the end samples' share by that of the samples and all that repeats them."""
    n = block.shape[1]
    place = np.arange(n)
    for end, position in zip(_end_coefficients(kernel, n), (0, n - 1), strict=True):
        alone = kernel[place - position]
        more = end**2 - alone**2
        more_shared = end[:-1] * end[1:] - alone[:-1] * alone[1:]
        variance = block[:, position : position + 1]
        own += more.astype(np.float32)[:, None] * variance
        shared[:, :-1] += more_shared.astype(np.float32)[:, None] * variance


@dataclass(frozen=True, eq=False)
class GriddingVariance:
    """Variance of slices reconstructed by a `GriddingPlan`.

    Gridding evaluates the filtered projection at any position as a trigonometric sum, so the squared coefficient of a
    sample is the square of the band-limited kernel at its distance. That square is sampled four times as finely as
    the detector and interpolated linearly; the gridding kernel's own error (5e-4) is left out.
    """

    plan: GriddingPlan

    @property
    def beam(self) -> ParallelBeam:
        """The geometry."""
        return self.plan.beam

    def __call__(self, variances: NDArray[np.generic], *, threads: int = 1) -> Singles:
        """Return the variance (y, x, channel) of the slices from that of the samples (angle, translation, channel)."""
        beam, factor = self.beam, DETECTOR_OVERSAMPLING
        block = check_block(variances, beam)[beam.used]
        weight = beam.weights[beam.used] / beam.pixel_size
        block = block * weight.astype(np.float32)[:, None, None] ** 2
        length = self.plan.lines_to_picture.length
        kernel = _fine_kernel(self.plan.response, factor)
        # Rays are periodic in `length`: what lies left of the samples is at the end.
        before = (length - beam.n_translations) // 2
        fine = np.zeros((len(block), length * factor, block.shape[2]), np.float32)
        fine[:, before * factor : (before + beam.n_translations) * factor : factor] = block
        spread = filter_lines(fine, np.fft.rfft(kernel**2))
        if self.plan.lines_to_picture.edge:
            self._add_edges(spread, kernel, block, before)
        offset, step_x, step_y = beam.detector_lines()
        lines = Lines(
            (offset + before) * factor,
            step_x * factor,
            step_y * factor,
            np.ones_like(offset),
            length * factor,
            beam.size,
        )
        slices = lines.backproject(np.maximum(spread, 0), threads=threads)
        return slices if np.ndim(variances) == 3 else slices[..., 0]

    def _add_edges(self, spread: Singles, kernel: Floats, block: Singles, before: int) -> None:
        n, factor = self.beam.n_translations, DETECTOR_OVERSAMPLING
        total = len(kernel)
        length = total // factor
        middle = n + (length - n) // 2
        for position, repeated in ((0, [0, *range(middle, length)]), (n - 1, range(n - 1, middle))):
            comb = np.zeros(total)
            comb[(np.array(repeated) + before) % length * factor] = 1
            end = np.fft.irfft(np.fft.rfft(comb) * np.fft.rfft(kernel), n=total)
            alone = np.roll(kernel, (position + before) * factor)
            spread += (end**2 - alone**2).astype(np.float32)[:, None] * block[:, position : position + 1]


def _fine_kernel(response: Floats, factor: int) -> Floats:
    """Return the filter's real-space kernel sampled `factor` times as finely."""
    length = 2 * (len(response) - 1)
    fine = np.zeros(factor * length // 2 + 1)
    fine[: len(response)] = response
    fine[len(response) - 1] /= 2  # the Nyquist term stands for both of its signs
    return np.asarray(np.fft.irfft(fine) * factor)
