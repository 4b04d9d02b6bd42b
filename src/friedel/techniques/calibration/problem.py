"""The points of a refinement, and how far each is from its ring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError, GeometryError, ParameterError
from friedel.instrument import Geometry
from friedel.instrument.derivatives import FIELDS, pixel_vectors, ring_derivative, scattering_angles
from friedel.instrument.pixel_shapes import Positions

from .models import GeometryModel
from .points import ControlPoints

_Array = NDArray[np.float64]

CELLS = 6
"""Cells along each side of the detector within which points may be off together."""


class HasRings(Protocol):
    """Whatever tells the spacings of rings, like `friedel.instrument.Calibrant`."""

    def rings(self, wavelength: float) -> HasSpacings:
        """Return the rings at a wavelength in m."""


class HasSpacings(Protocol):
    """Rings."""

    @property
    def spacing(self) -> _Array:
        """d in Å, largest first."""


@dataclass(frozen=True)
class Problem:
    """Points with a ring, and where on the detector they are."""

    model: GeometryModel
    rows: NDArray[np.intp]  # of the points given, those with a ring
    image: NDArray[np.int32]
    spacing: _Array  # m
    sigma: _Array  # px
    sigma_known: bool
    places: tuple[Positions, ...]  # of each image's points
    by_pixel: _Array  # (n, 3, 2) d(p1, p2, p3)/d(y, x) in m
    group: NDArray[np.int64]  # number of the ring in its image
    cell: NDArray[np.int64]  # where points may be off together
    quarter: NDArray[np.int64]  # of the detector, 0 to 3
    along: NDArray[np.intp]  # the points ring by ring, from neighbour to neighbour

    @classmethod
    def of(cls, points: ControlPoints, model: GeometryModel, calibrant: HasRings) -> Problem:
        templates = model.geometries(model.start)
        wavelengths = [wavelength_of(template) for template in templates]
        spacings = np.asarray(calibrant.rings(min(wavelengths)).spacing, np.float64) * 1e-10
        if points.image.size and not 0 <= points.image.min() <= points.image.max() < len(templates):
            raise DataError(
                f"There are points of the image {points.image.max()}, and {len(templates)} geometries.",
                "Give a geometry for each image; the first is number 0.",
            )
        beyond = np.asarray(wavelengths)[points.image] >= 2.0 * spacings[np.clip(points.ring, 0, len(spacings) - 1)]
        usable = (points.ring >= 0) & (points.ring < len(spacings)) & ~beyond
        usable &= np.isfinite(points.y) & np.isfinite(points.x) & (np.isnan(points.sigma) | (points.sigma > 0))
        rows = np.flatnonzero(usable)
        rows = rows[np.argsort(points.image[rows], kind="stable")]
        some = points.select(rows)
        known = bool(some.sigma.size) and bool(np.isfinite(some.sigma).all())
        places, slopes, cells = [], [], []
        for number, template in enumerate(templates):
            at = some.select(some.image == number)
            places.append(template.detector.positions_of(at.y, at.x))
            slopes.append(pixel_vectors(template.detector, at.y, at.x))
            cells.append(_cells(at, number))
        group = some.image.astype(np.int64) * len(spacings) + some.ring
        return cls(
            model=model,
            rows=rows,
            image=some.image,
            spacing=spacings[some.ring],
            sigma=some.sigma if known else np.where(np.isfinite(some.sigma), some.sigma, 1.0),
            sigma_known=known,
            places=tuple(places),
            by_pixel=np.concatenate(slopes),
            group=group,
            cell=np.concatenate(cells),
            quarter=_quarters(np.concatenate(cells)),
            along=_along(templates, places, group),
        )

    def evaluate(self, values: _Array) -> tuple[_Array, _Array, _Array]:
        """Return 2θ(p) − 2θ_ring in rad (n,), its derivatives by the parameters, and |∇2θ| in rad/pixel (n,)."""
        geometries = self.model.geometries(values)
        chain = self.model.derivatives(values)
        angle, jacobian, slope = [], [], []
        for number, geometry in enumerate(geometries):
            chosen = self.image == number
            found = scattering_angles(geometry, self.places[number])
            spacing, wavelength = self.spacing[chosen], wavelength_of(geometry)
            by_field = found.by_field
            by_field[:, FIELDS.index("wavelength")] -= ring_derivative(spacing, wavelength)
            angle.append(found.two_theta - 2.0 * np.arcsin(wavelength / (2.0 * spacing)))
            jacobian.append(by_field @ chain[number])
            across = np.einsum("ni,nij->nj", found.by_place, self.by_pixel[chosen])
            slope.append(np.hypot(across[:, 0], across[:, 1]))
        return np.concatenate(angle), np.concatenate(jacobian), np.concatenate(slope)


def wavelength_of(geometry: Geometry) -> float:
    """Return the wavelength in m; GeometryError if it is not known."""
    if geometry.wavelength is None:
        raise GeometryError("The refinement needs the wavelength.", "Give one, even if it is to be refined too.")
    return geometry.wavelength


def _along(geometries: tuple[Geometry, ...], places: list[Positions], group: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the order of points by ring, and by azimuth about the beam in it."""
    azimuths = []
    for geometry, (p1, p2, p3) in zip(geometries, places, strict=True):
        way = np.stack([p1 - geometry.poni1, p2 - geometry.poni2, np.full_like(p1, geometry.distance)])
        if p3 is not None:
            way[2] += p3
        seen = geometry.rotation() @ way
        azimuths.append(np.arctan2(seen[0], seen[1]))
    return np.lexsort((np.concatenate(azimuths), group))


def _cells(points: ControlPoints, image: int) -> NDArray[np.int64]:
    """Return the number of the part of the detector in which each point lies."""
    if not len(points):
        return np.zeros(0, np.int64)
    numbers = []
    for column in (points.y, points.x):
        low, high = column.min(), column.max()
        numbers.append(np.minimum((column - low) / max(high - low, 1.0) * CELLS, CELLS - 1).astype(np.int64))
    return np.asarray((image * CELLS + numbers[0]) * CELLS + numbers[1])


def _quarters(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the quarter of the detector in which each cell lies, 0 to 3."""
    return np.asarray(2 * (cells // CELLS % CELLS >= CELLS // 2) + (cells % CELLS >= CELLS // 2), np.int64)


def limits_of(model: GeometryModel, bounds: Mapping[str, tuple[float, float]], problem: Problem) -> _Array:
    """Return lower and upper limits of all parameters, (2, n_parameters)."""
    limits = np.array([np.full(len(model.names), -np.inf), np.full(len(model.names), np.inf)])
    shortest = problem.spacing.min() if problem.spacing.size else np.inf
    for place, name in enumerate(model.names):
        start = float(model.start[place])
        match name.split("[")[0]:
            case "distance" if start != 0:
                limits[:, place] = sorted((1e-3 * start, 1e3 * start))
            case "wavelength":
                limits[:, place] = 0.1 * start, min(10 * start, 2.0 * shortest * (1 - 1e-9))
    for asked, (low, high) in bounds.items():
        for name in model.expand([asked]):
            place = model.names.index(name)
            if not low <= model.start[place] <= high or low == high:
                raise ParameterError(
                    f"{name} starts at {model.start[place]:g}, outside its bounds {low:g} to {high:g}.",
                    "Give bounds that hold the start, in m and rad.",
                )
            limits[:, place] = low, high
    return limits
