"""Modules that are not quite in their places: how far each is shifted and turned, from the rings that cross it.

With the shift s and the small turn t of a module about its middle c, a point of it is at

    p' = c + R(t)(p − c) + s

Shifts, turns and the geometry are refined together. A shift, a turn, a magnification or a perspective of all modules is
nothing but another geometry; so each shift and turn is also measured against a prior of zero with the standard
deviation that modules are known to have (a pixel at their corners). What the geometry can take over costs nothing
there, so that modules have no common part left; and what the rings do not tell (a shift along them) stays near where it
was, with the error of the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import GeometryError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.instrument.derivatives import scattering_angles
from friedel.instrument.model_kinds import Module
from friedel.instrument.pixel_layouts import PlacedModule, PlacedModules, edges_of
from friedel.instrument.pixel_shapes import FLIPPED_COLUMNS, FLIPPED_ROWS

from .least_squares import inflation, ring_sigma, tukey_weights
from .models import GeometryModel
from .points import ControlPoints
from .problem import HasRings, Problem
from .refinement import Refinement, refine

_Array = NDArray[np.float64]

PLAUSIBLE_SHIFT = 1.0
"""Standard deviation of a module's place before anything is measured, pixels; turns move its corners by as much."""
ROUNDS = 12
SETTLED = 1e-3
"""Change in prior standard deviations below which the iteration ends."""
TOLD = 0.7
"""Error over that of the prior below which the points have told something."""


@dataclass(frozen=True)
class ModuleOffset:
    """Where a module is, beside its nominal place.

    Attributes
    ----------
    rows, columns : (int, int)
        First and last + 1 of the stored array.
    shift1, shift2 : float
        Along p1 and p2, m.
    turn : float
        About its middle, from p1 towards p2, rad.
    shift1_error, shift2_error, turn_error : float
        Standard errors for the refined geometry; where the points tell nothing, that of the prior.
    points : int
        Control points on it.
    told : bool
        Whether the points tell both shifts.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    shift1: float
    shift2: float
    turn: float
    shift1_error: float
    shift2_error: float
    turn_error: float
    points: int
    told: bool


@dataclass(frozen=True)
class ModuleRefinement:
    """What a refinement of modules found.

    Attributes
    ----------
    offsets : tuple of ModuleOffset
    detector : Detector
        With its modules where they are; `Detector.save` keeps them in a NeXus file.
    refinement : Refinement
        Of the geometries with that detector; its errors are those for modules that are known exactly.
    before : Refinement
        With the modules in their nominal places.
    """

    offsets: tuple[ModuleOffset, ...]
    detector: Detector
    refinement: Refinement
    before: Refinement


def refine_modules(
    points: ControlPoints,
    geometry: Geometry | Sequence[Geometry] | GeometryModel,
    calibrant: HasRings,
    *,
    free: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    own: Sequence[str] = (),
    turns: bool = True,
) -> ModuleRefinement:
    """Refine the places of modules together with the geometry.

    Parameters
    ----------
    points, geometry, calibrant, free, fixed, own
        As for `refine`; all images are of one detector.
    turns : bool
        Whether modules are turned too, or shifted only.

    Returns
    -------
    ModuleRefinement

    Raises
    ------
    ParameterError
        If the images are of several detectors.
    GeometryError
        If the detector has one module, or its pixels are displaced in another way.
    """
    before = refine(points, geometry, calibrant, free=free, fixed=fixed, own=own)
    detector = before.geometry.detector
    if any(other.detector != detector for other in before.geometries):
        raise ParameterError("The images are of different detectors.", "Refine modules from images of one detector.")
    fit = _ModuleFit.start(points, before, calibrant, turns)
    for _ in range(ROUNDS):
        fit, change = fit.round()
        if change < SETTLED:
            break
    after = refine(points, fit.model, calibrant, free=before.free)
    return ModuleRefinement(fit.offsets(), fit.detector, after, before)


def placed_modules(detector: Detector) -> tuple[PlacedModule, ...]:
    """Return the modules of a detector as they are placed in an array of orientation 3, in the order of its own.

    Raises
    ------
    GeometryError
        If there is one only, or pixels are displaced otherwise than by modules.
    """
    if isinstance(detector.pixels, PlacedModules):
        return detector.pixels.modules
    if detector.displaced:
        raise GeometryError(
            f"The pixels of {detector.name} are displaced one by one.", "Modules of regular pixels can be refined."
        )
    spans = _native_spans(detector)
    if len(spans) < 2:
        raise GeometryError(
            f"{detector.name} has one module, as far as is known.", "Name the detector's model, like 'Pilatus1M'."
        )
    return tuple(
        PlacedModule(
            rows,
            columns,
            edges_of(np.full(rows[1] - rows[0], detector.pixel1)),
            edges_of(np.full(columns[1] - columns[0], detector.pixel2)),
            (rows[0] * detector.pixel1, columns[0] * detector.pixel2, 0.0),
        )
        for rows, columns in spans
    )


def _native_spans(detector: Detector) -> tuple[Module, ...]:
    """Return the modules of the stored array as the same array of orientation 3 has them."""
    flip_rows, flip_columns = detector.orientation in FLIPPED_ROWS, detector.orientation in FLIPPED_COLUMNS

    def turned(span: tuple[int, int], size: int, flipped: bool) -> tuple[int, int]:
        return (size - span[1], size - span[0]) if flipped else span

    rows, columns = detector.known_shape()
    return tuple(
        Module(turned(module.rows, rows, flip_rows), turned(module.columns, columns, flip_columns))
        for module in detector.modules()
    )


def displaced_modules(detector: Detector, shifts: _Array) -> Detector:
    """Return a detector with its modules shifted and turned.

    Parameters
    ----------
    detector : Detector
    shifts : ndarray of float64 (n_modules, 3)
        Shift along p1 and p2 in m, turn about the module's middle from p1 towards p2 in rad; in the order of the
        modules of `Detector.modules`.
    """
    modules = [_moved(module, shift) for module, shift in zip(placed_modules(detector), shifts, strict=True)]
    spans = tuple(Module(module.rows, module.columns) for module in modules)
    return replace(detector, pixels=PlacedModules(detector.known_shape(), modules), module_spans=spans)


def _middle(module: PlacedModule) -> _Array:
    along, across = (0.5 * float(edges[0, 0] + edges[-1, 1]) for edges in (module.row_edges, module.column_edges))
    return np.array(module.origin) + along * np.array(module.slow) + across * np.array(module.fast)


def _moved(module: PlacedModule, shift: _Array) -> PlacedModule:
    cosine, sine = np.cos(shift[2]), np.sin(shift[2])
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    middle = _middle(module)
    origin = middle + turn @ (np.asarray(module.origin) - middle) + np.array([shift[0], shift[1], 0.0])
    slow, fast = turn @ np.asarray(module.slow), turn @ np.asarray(module.fast)
    return replace(module, origin=tuple(origin.tolist()), slow=tuple(slow.tolist()), fast=tuple(fast.tolist()))


def _owners(points: ControlPoints, detector: Detector) -> NDArray[np.intp]:
    """Return the number of the module that each point is on, −1 for none."""
    owner = np.full(len(points), -1, np.intp)
    for number, (rows, columns) in enumerate(detector.modules()):
        inside = (points.y >= rows[0]) & (points.y < rows[1]) & (points.x >= columns[0]) & (points.x < columns[1])
        owner[inside] = number
    return owner


@dataclass(frozen=True)
class _ModuleFit:
    """One state of the iteration.

    Attributes
    ----------
    points, owner
        Control points, and the module of each.
    nominal : Detector
    model : GeometryModel
        Its templates have the displaced detector, its start are the current values.
    free : ndarray of intp
        Places of the free parameters.
    shifts : ndarray of float64 (n_modules, 3)
        Current shifts and turns.
    prior : ndarray of float64 (n_modules, 3)
        Their standard deviations; 0 for what is not refined.
    covariance : ndarray of float64
        Of the shifts in units of the prior, for the geometry as it is.
    """

    points: ControlPoints
    owner: NDArray[np.intp]
    nominal: Detector
    model: GeometryModel
    calibrant: HasRings
    free: NDArray[np.intp]
    shifts: _Array
    prior: _Array
    covariance: _Array

    @classmethod
    def start(cls, points: ControlPoints, before: Refinement, calibrant: HasRings, turns: bool) -> _ModuleFit:
        detector = before.geometry.detector
        modules = placed_modules(detector)
        pixel = PLAUSIBLE_SHIFT * max(detector.pixel1, detector.pixel2)
        reach = [np.hypot(np.ptp(module.row_edges), np.ptp(module.column_edges)) / 2.0 for module in modules]
        prior = np.array([[pixel, pixel, pixel / half if turns else 0.0] for half in reach])
        owner = _owners(points, detector)
        kept = owner >= 0
        free = np.array([before.names.index(name) for name in before.free], np.intp)
        shifts = np.zeros_like(prior)
        return cls(
            points.select(kept), owner[kept], detector, before.model, calibrant, free, shifts, prior, np.zeros((0, 0))
        )._with(before.values, shifts, np.zeros((0, 0)))

    @property
    def detector(self) -> Detector:
        """The detector with modules in their current places."""
        return self.model.templates[0].detector

    def _with(self, values: _Array, shifts: _Array, covariance: _Array) -> _ModuleFit:
        detector = displaced_modules(self.nominal, shifts)
        model = self.model.with_start(values).with_detector(detector)
        return replace(self, model=model, shifts=shifts, covariance=covariance)

    def round(self) -> tuple[_ModuleFit, float]:
        """Return the state after one step of Gauss and Newton, and its size in prior standard deviations."""
        problem = Problem.of(self.points, self.model, self.calibrant)
        values = self.model.start
        angle, jacobian, slope = problem.evaluate(values)
        sigma = ring_sigma(problem, angle / slope) if problem.sigma_known else problem.sigma
        unit = slope * sigma
        scales = self.model.scales(values)[self.free]
        columns = np.concatenate([jacobian[:, self.free] * scales, self._by_shifts(problem)], axis=1) / unit[:, None]
        standard = angle / unit
        weights, scale = tukey_weights(standard)
        # 1/variance of the prior, in the units of the shifts, where they have any; and what the shifts are now.
        known = np.concatenate([np.zeros(self.free.size), (self.prior > 0).ravel().astype(np.float64)])
        units = np.where(self.prior > 0, self.prior, 1.0)
        current = np.concatenate([np.zeros(self.free.size), (self.shifts / units).ravel()])
        normal = (columns * weights[:, None]).T @ columns + np.diag(np.where(known > 0, 1.0, 0.0))
        normal += np.diag(np.where(np.diag(normal) > 0, 0.0, 1.0))  # what is not refined
        step = -np.linalg.solve(normal, columns.T @ (weights * standard) + known * current)
        factor, _ = inflation(problem, standard, scale, weights, columns[:, : self.free.size], True)
        changed = values.copy()
        changed[self.free] += step[: self.free.size] * scales
        shifts = self.shifts + step[self.free.size :].reshape(self.shifts.shape) * self.prior
        covariance = np.linalg.inv(normal[self.free.size :, self.free.size :]) * factor
        return self._with(changed, shifts, covariance), float(np.abs(step[self.free.size :]).max())

    def _by_shifts(self, problem: Problem) -> _Array:
        """Return d2θ/d(shifts in units of the prior), (n, 3 n_modules)."""
        found = np.zeros((problem.rows.size, *self.prior.shape))
        middles = np.array([_middle(module) for module in placed_modules(self.detector)])
        for number, geometry in enumerate(self.model.geometries(self.model.start)):
            some = np.flatnonzero(problem.image == number)
            places = problem.places[number]
            by_place = scattering_angles(geometry, places).by_place
            owner = self.owner[problem.rows[some]]
            away1, away2 = places.p1 - middles[owner, 0], places.p2 - middles[owner, 1]
            turning = by_place[:, 1] * away1 - by_place[:, 0] * away2
            found[some, owner] = np.stack([by_place[:, 0], by_place[:, 1], turning], axis=1) * self.prior[owner]
        return found.reshape(problem.rows.size, -1)

    def offsets(self) -> tuple[ModuleOffset, ...]:
        """Return the modules as the stored array has them."""
        spread = np.sqrt(np.diag(self.covariance)).reshape(self.prior.shape)
        errors = np.minimum(spread, 1.0) * self.prior
        return tuple(
            ModuleOffset(
                rows=rows,
                columns=columns,
                **_named(self.shifts[number], errors[number]),
                points=int(np.count_nonzero(self.owner == number)),
                told=bool((spread[number, :2] < TOLD).all()),
            )
            for number, (rows, columns) in enumerate(self.nominal.modules())
        )


def _named(shift: _Array, error: _Array) -> dict[str, float]:
    names = ("shift1", "shift2", "turn")
    found = {name: float(value) for name, value in zip(names, shift, strict=True)}
    return found | {f"{name}_error": float(value) for name, value in zip(names, error, strict=True)}
