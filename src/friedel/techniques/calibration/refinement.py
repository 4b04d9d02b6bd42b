"""Least squares on the places of rings: the geometry, its covariance, and what the points cannot tell.

The residual of a control point is its signed distance from its ring on the detector, in pixels,

    r = (2θ(p) − 2θ_ring)/|∇2θ(p)|

and what is minimised is Σ w (r/σ)² with the robust weights w of Tukey's biweight (Holland & Welsch, Commun. Stat. A6
(1977) 813). ∇2θ is that of the geometry before each step: were it varied with the parameters, larger pixels would be
an advantage. The covariance is that of M-estimators (Huber, Robust Statistics (1981) §7.6),

    C = K (JᵀJ)⁻¹,   K = n/(n − p) · mean ψ²/(mean ψ')²

which without outliers is the reduced χ² times (JᵀJ)⁻¹; K is not taken below 1 where the points tell their errors.
Where the points of a ring scatter more than their errors say (modules that are not quite in place, few grains), a
variance that is the same for all of that ring is added first, so that no ring counts more than it is worth.
Points that lie near each other may be off together (a displaced module, a distortion); then JᵀJ overestimates what
they tell. So K is multiplied by what the scores, summed over cells of the detector, vary more than they would if
points were independent (the trace of the cluster-robust "sandwich": Liang & Zeger, Biometrika 73 (1986) 13), or by
1 + 2 Σ ρ of the correlations ρ of neighbours along rings, if that is more; each where it is significant.
To this is added what a bias of each quarter of a ring does that no count shows, `SMALLEST_BIAS`.

Directions in the space of parameters that the points do not fix are found by the singular values of J, its columns
multiplied by how far each parameter could plausibly be off: a value below the noise says that the points tell less
about that direction than anybody knows before. Then a parameter of that direction is kept at its start, and that is
said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.instrument import Geometry

from .derived import Quantity, derived_quantities
from .determination import find_undetermined, notes_of
from .least_squares import Fit, first_values, fit_points
from .models import ALIASES, GeometryModel, ImagesModel
from .points import ControlPoints
from .problem import HasRings, Problem, limits_of

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Refinement:
    """What a refinement found.

    Attributes
    ----------
    model : GeometryModel
        Its start values are the refined ones.
    geometries : tuple of Geometry
        Refined geometry of each image.
    names : tuple of str
        All parameters.
    values, errors : ndarray of float64 (n_parameters,)
        Values and standard errors; 0 for parameters that were fixed, infinite for those that the points do not
        determine, NaN for those that ended at a bound.
    covariance : ndarray of float64 (n_parameters, n_parameters)
        Zero where a parameter was not refined.
    free : tuple of str
        Parameters that were refined.
    undetermined : dict of str to str
        Parameters that were to be refined and could not be, with the reason; they have kept their start.
    notes : tuple of str
        What else one should know: bounds that were met, strong correlations, errors raised for correlated points.
    residuals : ndarray of float64 (n,)
        Signed distance of each point from its ring in pixels; NaN for points without a ring.
    sigma : ndarray of float64 (n,)
        Standard errors that the residuals were weighed with, pixels: those of the points, and what their ring scatters
        beyond them.
    weights : ndarray of float64 (n,)
        Robust weight, 0 to 1.
    used : ndarray of bool (n,)
        Whether a point counted.
    chi_squared : float
        Reduced χ²: how much larger the squares of the residuals are than the points' errors say.
    correlation_factor : float
        By how much the covariance was raised because neighbouring points are off together; 1 for independent ones.
    converged : bool
    """

    model: GeometryModel
    geometries: tuple[Geometry, ...]
    names: tuple[str, ...]
    values: _Array
    errors: _Array
    covariance: _Array
    free: tuple[str, ...]
    undetermined: dict[str, str]
    notes: tuple[str, ...]
    residuals: _Array
    sigma: _Array
    weights: _Array
    used: NDArray[np.bool_]
    chi_squared: float
    correlation_factor: float
    converged: bool

    @property
    def geometry(self) -> Geometry:
        """The geometry of the first image."""
        return self.geometries[0]

    @property
    def rms(self) -> float:
        """Root of the mean square of the residuals of the points that counted, pixels."""
        chosen = self.residuals[self.used]
        return float(np.sqrt(np.mean(chosen * chosen))) if chosen.size else math.nan

    def value(self, name: str) -> Quantity:
        """Return a parameter with its error."""
        place = self.names.index(ALIASES.get(name, name))
        unit = "rad" if name.startswith("rot") else "m"
        return Quantity(float(self.values[place]), float(self.errors[place]), unit)

    def field_covariance(self, image: int = 0) -> _Array:
        """Return the covariance of the numbers of one geometry, (7, 7) in the order of `FIELDS`."""
        derivatives = self.model.derivatives(self.values)[image]
        return np.asarray(derivatives @ self.covariance @ derivatives.T)

    def derived(self, image: int = 0) -> dict[str, Quantity]:
        """Return what rings determine well, with errors: beam centre, direct distance, tilt and its plane.

        The distance and the point of normal incidence of a nearly perpendicular detector are strongly correlated with
        its rotations; the place where the beam meets it, and how far that is, are not.

        Returns
        -------
        dict
            beam_center_y, beam_center_x (pixels), direct_distance (m), tilt and tilt_plane (rad): the angle between the
            beam and the normal, and the direction on the detector (from +x towards +y) in which it leans away.
        """
        return derived_quantities(self.geometries[image], self.field_covariance(image))


def refine(
    points: ControlPoints,
    geometry: Geometry | Sequence[Geometry] | GeometryModel,
    calibrant: HasRings,
    *,
    free: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    bounds: Mapping[str, tuple[float, float]] | None = None,
    own: Sequence[str] = (),
    robust: bool = True,
) -> Refinement:
    """Refine geometries to the control points of their images.

    Parameters
    ----------
    points : ControlPoints
        Those without a ring (−1) are left out. Those without a sigma count as if it were 1 pixel, and the errors follow
        from the residuals.
    geometry : Geometry, sequence of Geometry, or GeometryModel
        Start of each image, or named parameters from which the geometries follow.
    calibrant : Calibrant
        Tells the spacing of each ring.
    free : sequence of str, optional
        Parameters to refine; by default those of the model: all but rot3 and wavelength. A name like ``distance``
        stands for that of each image too.
    fixed : sequence of str
        Parameters to keep.
    bounds : dict of str to (float, float)
        Limits in SI units.
    own : sequence of str
        Numbers that each image has for itself, where `geometry` is a sequence; all others are shared.
    robust : bool
        Whether far points lose weight.

    Returns
    -------
    Refinement

    Raises
    ------
    ParameterError
        If a name is not known, or a start lies outside its bounds.
    DataError
        If there are fewer points than parameters, or points of an image without geometry.
    GeometryError
        If the wavelength is not known.
    """
    model = _model_of(geometry, own)
    chosen = model.expand(model.default_free if free is None else tuple(free))
    kept = model.expand(fixed)
    wanted = tuple(name for name in chosen if name not in kept)
    problem = Problem.of(points, model, calibrant)
    limits = limits_of(model, bounds or {}, problem)
    undetermined: dict[str, str] = {}
    while True:
        names = tuple(name for name in wanted if name not in undetermined)
        fit = fit_points(problem, names, limits, robust, first_values(problem, names, limits, robust))
        found = find_undetermined(problem, fit)
        if found is None:
            return _refinement(points, problem, fit, undetermined, limits)
        undetermined[found[0]] = found[1]


def _model_of(geometry: Geometry | Sequence[Geometry] | GeometryModel, own: Sequence[str]) -> GeometryModel:
    if isinstance(geometry, GeometryModel):
        return geometry
    return ImagesModel((geometry,) if isinstance(geometry, Geometry) else tuple(geometry), tuple(own))


def _refinement(
    points: ControlPoints, problem: Problem, fit: Fit, undetermined: dict[str, str], limits: _Array
) -> Refinement:
    model, n = problem.model, len(problem.model.names)
    inner = fit.places[~fit.at_bound]
    covariance = np.zeros((n, n))
    if inner.size:
        scales = model.scales(fit.values)[inner]
        scaled = fit.jacobian[:, ~fit.at_bound] * scales
        normal = np.linalg.inv(scaled.T @ scaled) * np.outer(scales, scales)
        covariance[np.ix_(inner, inner)] = normal * fit.factor * fit.clusters + fit.biased
    errors = np.sqrt(np.diag(covariance))
    errors[fit.places[fit.at_bound]] = np.nan
    for name in undetermined:
        errors[model.names.index(name)] = np.inf
    residuals, sigma, weights = np.full(len(points), np.nan), np.full(len(points), np.nan), np.zeros(len(points))
    residuals[problem.rows], sigma[problem.rows], weights[problem.rows] = fit.pixels, fit.sigma, fit.weights
    return Refinement(
        model=model.with_start(fit.values),
        geometries=model.geometries(fit.values),
        names=model.names,
        values=fit.values,
        errors=errors,
        covariance=covariance,
        free=fit.names,
        undetermined=undetermined,
        notes=notes_of(fit, covariance, model.names),
        residuals=residuals,
        sigma=sigma,
        weights=weights,
        used=weights > 0,
        chi_squared=fit.factor,
        correlation_factor=fit.clusters,
        converged=fit.converged,
    )
