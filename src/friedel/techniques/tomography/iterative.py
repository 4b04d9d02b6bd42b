"""Iterative reconstruction: SIRT and MLEM, with masks.

Both use Joseph's projector and its exact transpose. They ask for more time than a filtered back-projection and give
slices without streaks where samples are masked, angles few or a wedge missing. They are not linear in the data
(bounds, early stop), so that no simple rule gives their uncertainty.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import DataError, ParameterError
from friedel.kernels.backprojection import Lines

from .blocks import check_block
from .geometry import ParallelBeam

Singles = NDArray[np.float32]

SIRT_ITERATIONS = 100
MLEM_ITERATIONS = 50


@dataclass(frozen=True)
class IterativeResult:
    """What an iterative method found.

    Attributes
    ----------
    slices : ndarray (size, size, n_channels) float32
    residuals : ndarray (n_iterations, n_channels) float64
        Norm of (data - projection of the slice) over the norm of the data, before each iteration, for the samples
        that are not masked; NaN once a channel has stopped.
    """

    slices: Singles
    residuals: NDArray[np.float64]

    @property
    def iterations(self) -> NDArray[np.intp]:
        """Iterations that each channel took."""
        return np.asarray(np.isfinite(self.residuals).sum(axis=0))


@dataclass(frozen=True, eq=False)
class IterativePlan(ABC):
    """What SIRT and MLEM share; built once, picklable, immutable.

    Attributes
    ----------
    beam : ParallelBeam
    lines : Lines
        The projector.
    valid : ndarray (n_used, n_translations, 1) float32
        1 for samples that count, 0 for masked ones.
    support : ndarray (size, size, 1) float32
        1 where the object may be, 0 elsewhere.
    n_iterations : int
        Most iterations.
    tolerance : float
        A channel stops when an iteration lowers its residual by less than this fraction; 0: never.
    """

    beam: ParallelBeam
    lines: Lines
    valid: Singles
    support: Singles
    n_iterations: int
    tolerance: float

    @classmethod
    def _shared(
        cls, beam: ParallelBeam, mask: ArrayLike | None, support: ArrayLike | None, iterations: int, tolerance: float
    ) -> tuple[ParallelBeam, Lines, Singles, Singles, int, float]:
        if iterations < 1 or tolerance < 0:
            raise ParameterError(
                f"{iterations} iterations with tolerance {tolerance} are not possible.",
                "Give at least one iteration and a tolerance of 0 or more.",
            )
        offset, step_x, step_y = beam.detector_lines()
        width = np.maximum(np.abs(step_x), np.abs(step_y))
        lines = Lines(offset, step_x, step_y, width, beam.n_translations, beam.size)
        shape = (beam.n_angles, beam.n_translations)
        excluded = _as_mask(mask, shape, "mask")[beam.used]
        outside = ~_as_mask(support, (beam.size, beam.size), "support", missing=True)
        return beam, lines, _ones_but(excluded), _ones_but(outside), int(iterations), float(tolerance)

    def __call__(self, sinograms: NDArray[np.generic], *, threads: int = 1) -> Singles:
        """Return the slices (y, x, channel) of `sinograms` (angle, translation, channel), or (y, x) of one."""
        slices = self.solve(sinograms, threads=threads).slices
        return slices if np.ndim(sinograms) == 3 else slices[..., 0]

    def solve(self, sinograms: NDArray[np.generic], *, threads: int = 1) -> IterativeResult:
        """Return the slices and how the residual fell.

        Raises
        ------
        DataError
            If the shape is not the plan's, or the method cannot work with the data.
        """
        data = check_block(sinograms, self.beam)[self.beam.used]
        data = np.where(self.valid > 0, data, np.float32(0))
        self._check(data)
        slices, residuals = self._start(data), []
        norms = np.maximum(_norms(data), np.finfo(float).tiny)
        running = np.ones(data.shape[2], bool)
        for _ in range(self.n_iterations):
            projected = self.lines.project(slices, threads=threads) * self.valid
            residual = _norms(data - projected) / norms
            residuals.append(np.where(running, residual, np.nan))
            if self.tolerance and len(residuals) > 1:
                running = running & (residuals[-2] - residual >= self.tolerance * residuals[-2])
            if not running.any():
                break
            updated = self._update(
                slices, data, projected, lambda lines: self.lines.backproject(lines, threads=threads)
            )
            slices = np.where(running, updated, slices)
        return IterativeResult(slices / np.float32(self.beam.pixel_size), np.array(residuals))

    def _check(self, data: Singles) -> None:
        """Refuse data that the method cannot work with."""
        return None

    @abstractmethod
    def _start(self, data: Singles) -> Singles:
        """Return the first slice."""

    @abstractmethod
    def _update(
        self, slices: Singles, data: Singles, projected: Singles, backproject: Callable[[Singles], Singles]
    ) -> Singles:
        """Return the slices after one iteration."""


@dataclass(frozen=True, eq=False)
class SirtPlan(IterativePlan):
    """Simultaneous iterative reconstruction: x += C A^T R (b - A x), with R and C the inverse row and column sums of A.

    Attributes
    ----------
    inverse_rows : ndarray (n_used, n_translations, 1) float32
    inverse_columns : ndarray (size, size, 1) float32
    non_negative : bool
        Set negative pixels to 0 after each iteration.
    """

    inverse_rows: Singles
    inverse_columns: Singles
    non_negative: bool

    @classmethod
    def build(
        cls,
        beam: ParallelBeam,
        *,
        iterations: int = SIRT_ITERATIONS,
        tolerance: float = 0.0,
        mask: ArrayLike | None = None,
        support: ArrayLike | None = None,
        non_negative: bool = True,
    ) -> SirtPlan:
        """Compute the row and column sums.

        Parameters
        ----------
        beam : ParallelBeam
        iterations : int
            Most iterations.
        tolerance : float
            Stop a channel when an iteration lowers its residual by less than this fraction.
        mask : array_like of bool (angle, translation), optional
            True for samples to ignore.
        support : array_like of bool (y, x), optional
            True where the object may be.
        non_negative : bool
            Set negative pixels to 0 after each iteration.
        """
        shared = cls._shared(beam, mask, support, iterations, tolerance)
        _, lines, valid, inside, *_ = shared
        rows, columns = lines.project(inside), lines.backproject(valid)
        return cls(*shared, _inverse(rows) * valid, _inverse(columns) * inside, non_negative)

    def _start(self, data: Singles) -> Singles:
        return np.zeros((self.beam.size, self.beam.size, data.shape[2]), np.float32)

    def _update(
        self, slices: Singles, data: Singles, projected: Singles, backproject: Callable[[Singles], Singles]
    ) -> Singles:
        updated = slices + self.inverse_columns * backproject(self.inverse_rows * (data - projected))
        return np.maximum(updated, np.float32(0)) if self.non_negative else updated


@dataclass(frozen=True, eq=False)
class MlemPlan(IterativePlan):
    """Maximum likelihood for counts: x *= A^T(b / A x) / A^T 1 (Shepp and Vardi 1982). Never negative, keeps the total.

    Attributes
    ----------
    inverse_columns : ndarray (size, size, 1) float32
    """

    inverse_columns: Singles

    @classmethod
    def build(
        cls,
        beam: ParallelBeam,
        *,
        iterations: int = MLEM_ITERATIONS,
        tolerance: float = 0.0,
        mask: ArrayLike | None = None,
        support: ArrayLike | None = None,
    ) -> MlemPlan:
        """Compute the column sums; see `SirtPlan.build` for the parameters."""
        shared = cls._shared(beam, mask, support, iterations, tolerance)
        _, lines, valid, inside, *_ = shared
        return cls(*shared, _inverse(lines.backproject(valid)) * inside)

    def _check(self, data: Singles) -> None:
        negative = int(np.count_nonzero((data < 0).any(axis=2)))
        if negative:
            raise DataError(
                f"MLEM needs counts: the sinogram is negative at {negative} of {data[..., 0].size} positions.",
                "Do not subtract the background before MLEM, mask these samples, or use sirt.",
            )

    def _start(self, data: Singles) -> Singles:
        seen = (self.inverse_columns > 0).astype(np.float32)
        return np.repeat(seen, data.shape[2], axis=2)

    def _update(
        self, slices: Singles, data: Singles, projected: Singles, backproject: Callable[[Singles], Singles]
    ) -> Singles:
        ratio = np.divide(data, projected, out=np.zeros_like(data), where=projected > 0)
        return np.asarray(slices * (self.inverse_columns * backproject(ratio)))


def _as_mask(mask: ArrayLike | None, shape: tuple[int, int], name: str, missing: bool = False) -> NDArray[np.bool_]:
    if mask is None:
        return np.full(shape, missing)
    array = np.asarray(mask, bool)
    if array.shape != shape:
        raise DataError(f"The {name} has the shape {array.shape}; {shape} is needed.")
    return array


def _ones_but(excluded: NDArray[np.bool_]) -> Singles:
    return (~excluded).astype(np.float32)[..., None]


def _inverse(sums: Singles) -> Singles:
    """Return 1 / sums, 0 where a ray or pixel is touched by next to nothing."""
    enough = sums > 1e-3 * sums.max()
    return np.divide(np.float32(1), sums, out=np.zeros_like(sums), where=enough)


def _norms(values: Singles) -> NDArray[np.float64]:
    """Return each channel's norm, summed in an order that does not depend on the channels beside it."""
    squares = (np.square(np.ascontiguousarray(values[..., k], float)) for k in range(values.shape[2]))
    return np.sqrt([square.sum() for square in squares])
