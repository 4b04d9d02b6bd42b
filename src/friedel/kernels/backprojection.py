"""Sums along lines of a picture and their adjoint, channel-last.

Line `a` crosses pixel (x, y) at the position t = offset[a] + step_x[a] x + step_y[a] y among its samples. Pixel and
sample i belong together with the coefficient

    hat((t - i) / width[a]) / width[a]        hat(d) = max(0, 1 - |d|)

With width 1 this is linear interpolation between samples. With width max(|step_x|, |step_y|) it is Joseph's method
(1982): interpolation between the pixels of a row or column along the ray, whose sums are free of the ripple of the
former. Either way `project` and `backproject` are exact transposes of one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from friedel import _native

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Implementation = Literal["native", "reference"]


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines through a square picture.

    Attributes
    ----------
    offset, step_x, step_y : ndarray (n_lines,) float64
        Position among the samples: t = offset + step_x x + step_y y.
    width : ndarray (n_lines,) float64
        Half width of the hat, above 0.5 and at most 1.
    n_samples : int
        Samples on each line.
    size : int
        Rows and columns of the picture.
    reach : float
        How far beyond the first and last sample a pixel may lie, at most 1.
    """

    offset: Floats
    step_x: Floats
    step_y: Floats
    width: Floats
    n_samples: int
    size: int
    reach: float = 1.0

    def backproject(
        self,
        samples: Singles,
        products: Singles | None = None,
        *,
        threads: int = 1,
        implementation: Implementation = "native",
    ) -> Singles:
        """Sum what each pixel gets from every line.

        Parameters
        ----------
        samples : ndarray (n_lines, n_samples, n_channels) float32
        products : ndarray (n_lines, n_samples, n_channels) float32, optional
            If given, `samples` are variances and `products` the covariances of each sample with the next one; the
            result is the variance of the interpolated sum: coefficients are squared and twice their product joins the
            covariance.
        threads : int
            Results are the same for any number.
        implementation : {"native", "reference"}

        Returns
        -------
        ndarray (size, size, n_channels) float32
        """
        if implementation == "reference":
            return self._backproject_reference(samples, products)
        picture = np.empty((self.size, self.size, samples.shape[2]), np.float32)
        _native.backproject_lines(
            np.ascontiguousarray(samples, np.float32),
            None if products is None else np.ascontiguousarray(products, np.float32),
            *self._arrays(),
            self.reach,
            threads,
            picture,
        )
        return picture

    def project(self, picture: Singles, *, threads: int = 1, implementation: Implementation = "native") -> Singles:
        """Sum `picture` (size, size, n_channels) along every line: (n_lines, n_samples, n_channels) float32."""
        if implementation == "reference":
            return self._project_reference(picture)
        samples = np.empty((len(self.offset), self.n_samples, picture.shape[2]), np.float32)
        _native.project_lines(np.ascontiguousarray(picture, np.float32), *self._arrays(), self.reach, threads, samples)
        return samples

    def _arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.offset, self.step_x, self.step_y, self.width

    def _coefficients(self, line: int) -> tuple[NDArray[np.intp], Singles, Singles]:
        """Return for each pixel the lower sample i (from -1) and the coefficients of samples i and i + 1."""
        y, x = np.indices((self.size, self.size))
        t = (self.offset[line] + self.step_y[line] * y) + self.step_x[line] * x
        inside = (t > -self.reach) & (t < self.n_samples - 1 + self.reach)
        lower = np.where(inside, np.floor(t), 0.0)
        fraction = np.where(inside, t - lower, 0.0)
        width = self.width[line]
        first = np.maximum(0.0, 1 - fraction / width) / width * inside
        second = np.maximum(0.0, 1 - (1 - fraction) / width) / width * inside
        return lower.astype(np.intp), first.astype(np.float32), second.astype(np.float32)

    def _backproject_reference(self, samples: Singles, products: Singles | None) -> Singles:
        picture = np.zeros((self.size, self.size, samples.shape[2]), np.float32)
        padding = ((0, 0), (1, 1), (0, 0))
        samples = np.pad(samples, padding)
        products = None if products is None else np.pad(products, padding)
        for line in range(len(self.offset)):
            i, first, second = self._coefficients(line)
            first, second = first[..., None], second[..., None]
            if products is None:
                picture += first * samples[line, i + 1] + second * samples[line, i + 2]
            else:
                picture += first**2 * samples[line, i + 1] + second**2 * samples[line, i + 2]
                picture += 2 * first * second * products[line, i + 1]
        return picture

    def _project_reference(self, picture: Singles) -> Singles:
        samples = np.zeros((len(self.offset), self.n_samples + 2, picture.shape[2]), np.float64)
        for line in range(len(self.offset)):
            i, first, second = self._coefficients(line)
            np.add.at(samples[line], i + 1, first[..., None] * picture)
            np.add.at(samples[line], i + 2, second[..., None] * picture)
        return samples[:, 1:-1].astype(np.float32)
