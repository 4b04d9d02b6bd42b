"""How far a geometry can be trusted: residuals by ring and azimuth, repetition with parts of the points, rings that are
missing or not explained, and a verdict in words.

A residual is the signed distance of a control point from its ring on the detector, in pixels. Random residuals are told
by the standard errors; what they cannot tell is looked for here. Rings whose points lie beside them together speak of a
wrong ring number, wavelength or calibrant; a wave of the residuals round the beam (once: the centre, twice: the tilt or
the shape of the pixels) of a model that does not fit. Points of one sector after the other are left out and the rest is
refined again (the jackknife over groups: Efron & Tibshirani, An Introduction to the Bootstrap (1993) §11): what changes
more than the standard errors say is not repeatable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import InputError
from friedel.core.units import energy_from_wavelength
from friedel.instrument import Calibrant, Geometry

from .derived import Quantity, derived_quantities
from .findings import CASTS_DOUBT, Finding, Verdict, verdict_of
from .points import ControlPoints
from .problem import Problem
from .refinement import Refinement, refine
from .visible_rings import VisibleRings

_Array = NDArray[np.float64]

SECTORS = 36
GROUPS = 8
"""Sectors that are left out one after the other."""
HARMONICS = (1, 2)
BIASED = 0.25
"""Pixels beyond which a ring, or a wave round the beam, is off."""
SIGNIFICANT = 5.0
"""Standard errors from which a bias counts."""
MANY_POINTS = 0.15
"""Part of all points on rings that are off from which it casts doubt on the geometry."""
SCATTERED, LOST = 2.0, 6.0
"""Pixels of scatter (root mean square) from which a calibration is doubtful, or failed."""
UNREPEATABLE = 3.0
"""Times the stated error by which a repetition with other points may differ."""
NEGLIGIBLE = 0.2
"""Pixels that matter to nobody: differences below are repeatable whatever the stated errors."""
IMPRECISE = 0.01
"""Relative standard error of the distance from which it is called imprecise."""
IMPRECISE_CENTER = 2.0
"""The same of the beam centre, pixels."""
BENT, BENT_ERRORS = 0.1, 3.0
"""Pixels, and standard errors, from which a bend of the residuals over the angle is worth a word."""
FEWEST_FOR_TREND = 6
LEAST_CHANGE = 3e-4
"""Relative change of the wavelength that nobody minds."""
LOOSE = 1e-3
"""Relative error of the wavelength above which it is said that the rings cannot tell it better."""
RINGS_FOR_ENERGY = 2
"""Rings from which the wavelength can be told from the distance."""
POINTS_OF_A_MODULE = 8
MODULES_APART = 0.4
"""Part of all residuals that modules make by being displaced, from which it is said."""
FEW_RINGS = 3
RIVAL = 1.5
"""Other ring numbers are rivals if their residuals are within this factor."""
LEAST_RESIDUAL = 0.05
"""Pixels to which rings can be measured; residuals below compare as equal."""


@dataclass(frozen=True)
class Groups:
    """Residuals of points in groups: rings, or sectors of azimuth.

    Attributes
    ----------
    place : ndarray of float64 (n,)
        2θ of the rings, or azimuth of the middle of the sectors, rad.
    number : ndarray of int32 (n,)
        Number of the ring or sector.
    count : ndarray of int32 (n,)
        Points that counted.
    mean, error : ndarray of float64 (n,)
        Mean residual and its standard error, pixels; NaN for no points.
    rms : ndarray of float64 (n,)
    """

    place: _Array
    number: NDArray[np.int32]
    count: NDArray[np.int32]
    mean: _Array
    error: _Array
    rms: _Array


@dataclass(frozen=True)
class Wave:
    """How residuals vary round the beam: amplitude · cos(harmonic · (χ − phase)).

    Attributes
    ----------
    harmonic : int
    amplitude, error : float
        Pixels.
    phase : float
        Rad.
    """

    harmonic: int
    amplitude: float
    error: float
    phase: float


@dataclass(frozen=True)
class Repeated:
    """A quantity with its stated error, and the error that repetition with parts of the points shows."""

    name: str
    value: float
    stated: float
    repeated: float
    unit: str


@dataclass(frozen=True)
class Comparison:
    """How far two geometries see the same pixels apart.

    Attributes
    ----------
    rms, largest : float
        Differences of 2θ over the detector, in pixels (the difference divided by its change over a pixel).
    center : float
        Distance of the beam centres in pixels, NaN where the beam meets the plane of neither.
    distance : float
        Difference of the direct distances, m: this one minus the other.
    tilt : float
        Difference of the tilts, rad.
    """

    rms: float
    largest: float
    center: float
    distance: float
    tilt: float


@dataclass(frozen=True)
class Validation:
    """The examination of a geometry.

    Attributes
    ----------
    verdict : {"trusted", "doubtful", "failed"}
    findings : tuple of Finding
        What was looked at, in the order of importance; the verdict is the worst of them.
    rings, sectors : Groups
    waves : tuple of Wave
    repeated : tuple of Repeated
        Beam centre, direct distance and tilt of each image.
    visible : tuple of VisibleRings
        For each image that was given.
    comparison : Comparison or None
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    rings: Groups
    sectors: Groups
    waves: tuple[Wave, ...]
    repeated: tuple[Repeated, ...]
    visible: tuple[VisibleRings, ...]
    comparison: Comparison | None

    def summary(self) -> str:
        """Return the verdict and its reasons as one text."""
        said = {"trusted": "Trusted.", "doubtful": "Doubtful:", "failed": "Failed:"}[self.verdict]
        return " ".join([said, *self.reasons()])

    def reasons(self) -> list[str]:
        """Return the sentences that led to the verdict; none if it is good."""
        return [finding.text for finding in self.findings if finding.state in CASTS_DOUBT]

    def advice(self) -> list[str]:
        """Return what to do about them, without repetition."""
        return list(dict.fromkeys(item.advice for item in self.findings if item.state in CASTS_DOUBT and item.advice))


def validate(
    points: ControlPoints,
    refinement: Refinement,
    calibrant: Calibrant,
    *,
    images: Sequence[NDArray[Any]] = (),
    masks: Sequence[NDArray[np.bool_] | None] = (),
    reference: Geometry | None = None,
) -> Validation:
    """Examine a refined geometry.

    Parameters
    ----------
    points : ControlPoints
        Those that were refined.
    refinement : Refinement
    calibrant : Calibrant
    images : sequence of ndarray (rows, columns), optional
        The images, to look for rings that are missing or not explained.
    masks : sequence of ndarray of bool, optional
        One for each image, True = excluded.
    reference : Geometry, optional
        Another geometry of the first image to compare with.
    """
    azimuth = point_azimuths(points, refinement.geometries)
    rings = ring_groups(points, refinement, calibrant)
    sectors = sector_groups(azimuth, refinement)
    waves = tuple(wave(azimuth, refinement, harmonic) for harmonic in HARMONICS)
    repeated = repetition(points, refinement, calibrant, azimuth)
    visible = tuple(
        VisibleRings.look(image, mask, geometry, calibrant)
        for image, geometry, mask in zip(images, refinement.geometries, [*masks, *[None] * len(images)], strict=False)
    )
    comparison = None if reference is None else compare(refinement.geometries[0], reference)
    findings = [
        *_about_fit(points, refinement),
        *_about_rings(points, refinement, calibrant, rings),
        *_about_trend(rings, refinement),
        *_about_energy(points, refinement, calibrant, rings),
        *_about_waves(waves),
        *_about_modules(points, refinement),
        *_about_parameters(refinement),
        *_about_repetition(repeated),
        *(finding for seen in visible for finding in seen.findings(calibrant.name)),
        *_about_comparison(comparison),
    ]
    return Validation(verdict_of(findings), tuple(findings), rings, sectors, waves, repeated, visible, comparison)


# ---- residuals in groups


def point_azimuths(points: ControlPoints, geometries: Sequence[Geometry]) -> _Array:
    """Return the azimuth of each point, rad (n,)."""
    azimuth = np.full(len(points), np.nan)
    for number, geometry in enumerate(geometries):
        chosen = points.image == number
        if chosen.any():
            place = geometry.detector.positions_of(points.y[chosen], points.x[chosen])
            azimuth[chosen] = geometry.point_array("chi_rad", *place)
    return azimuth


def ring_groups(points: ControlPoints, refinement: Refinement, calibrant: Calibrant) -> Groups:
    """Return the residuals of each ring that has points."""
    used = refinement.used & (points.ring >= 0)
    numbers = np.unique(points.ring[used])
    wavelength = refinement.geometries[0].wavelength
    two_theta = np.full(numbers.size, np.nan)
    if wavelength is not None and numbers.size:
        known = calibrant.rings(wavelength).two_theta
        two_theta = np.array([known[number] if number < len(known) else np.nan for number in numbers])
    return _grouped(np.searchsorted(numbers, points.ring), used, refinement, two_theta, numbers)


def sector_groups(azimuth: _Array, refinement: Refinement) -> Groups:
    """Return the residuals of each sector of azimuth."""
    used = refinement.used & np.isfinite(azimuth)
    sector = np.clip(((np.nan_to_num(azimuth) + np.pi) * (SECTORS / (2.0 * np.pi))).astype(int), 0, SECTORS - 1)
    middle = np.asarray((np.arange(SECTORS) + 0.5) * (2.0 * np.pi / SECTORS) - np.pi, np.float64)
    return _grouped(sector, used, refinement, middle, np.arange(SECTORS))


def _grouped(
    group: NDArray[np.intp], used: NDArray[np.bool_], refinement: Refinement, place: _Array, number: NDArray[Any]
) -> Groups:
    n, chosen = place.size, group[used]
    residuals, weights = refinement.residuals[used], refinement.weights[used]
    total = np.bincount(chosen, weights, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(chosen, weights * residuals, n) / total
        square = np.bincount(chosen, weights * residuals**2, n) / total
        # The scatter about the group's own mean, but never less than what all points scatter by a tenth.
        scatter = np.sqrt(np.maximum(square - mean**2, (0.1 * refinement.rms) ** 2))
        error = scatter / np.sqrt(np.maximum(total - 1.0, 1.0)) * math.sqrt(refinement.correlation_factor)
    count = np.bincount(chosen, minlength=n).astype(np.int32)
    return Groups(place, np.asarray(number, np.int32), count, mean, error, np.sqrt(square))


def wave(azimuth: _Array, refinement: Refinement, harmonic: int) -> Wave:
    """Fit a wave of `harmonic` periods to the residuals round the beam."""
    used = refinement.used & np.isfinite(azimuth)
    residuals, weights = refinement.residuals[used], np.sqrt(refinement.weights[used])
    angle = harmonic * azimuth[used]
    design = np.stack([np.ones(angle.size), np.cos(angle), np.sin(angle)], axis=1) * weights[:, None]
    if angle.size < 6:
        return Wave(harmonic, math.nan, math.nan, math.nan)
    normal = design.T @ design
    # A short arc cannot tell a wave from a constant: a little less than nothing is known beforehand, 1 px.
    normal[1:, 1:] += np.eye(2) * max(refinement.rms, 1e-6) ** 2
    found = np.linalg.solve(normal, design.T @ (weights * residuals))
    covariance = np.linalg.inv(normal) * refinement.rms**2 * refinement.correlation_factor
    amplitude = math.hypot(found[1], found[2])
    error = math.sqrt(0.5 * (covariance[1, 1] + covariance[2, 2]))
    return Wave(harmonic, amplitude, error, math.atan2(found[2], found[1]) / harmonic)


# ---- repetition and comparison


def repetition(
    points: ControlPoints, refinement: Refinement, calibrant: Calibrant, azimuth: _Array
) -> tuple[Repeated, ...]:
    """Refine without one sector of the points after the other; return what changes by how much.

    So near the solution the model is linear: leaving points out moves it by one step of Gauss and Newton.
    """
    used = np.flatnonzero(refinement.used & np.isfinite(azimuth))
    if used.size < 4 * GROUPS or not refinement.free:
        return ()
    order = used[np.argsort(azimuth[used], kind="stable")]
    steps = _steps_without(points, refinement, calibrant, order)
    if steps is None:
        return ()
    several = len(refinement.geometries) > 1
    found: list[Repeated] = []
    for image, geometry in enumerate(refinement.geometries):
        whole = derived_quantities(geometry, refinement.field_covariance(image))
        parts = [derived_quantities(refinement.model.geometries(refinement.values + step)[image]) for step in steps]
        for name, quantity in whole.items():
            if name == "tilt_plane":  # a direction that means nothing at small tilts
                continue
            values = np.array([part[name].value for part in parts])
            spread = math.sqrt((GROUPS - 1) / GROUPS * float(np.sum((values - values.mean()) ** 2)))
            shown = f"{name}[{image}]" if several else name
            found.append(Repeated(shown, quantity.value, quantity.error, spread, quantity.unit))
    return tuple(found)


def _steps_without(
    points: ControlPoints, refinement: Refinement, calibrant: Calibrant, order: NDArray[np.intp]
) -> list[_Array] | None:
    """Return how all parameters move when one group of `order` (points by azimuth) after the other is left out."""
    problem = Problem.of(points.select(order), refinement.model, calibrant)
    chosen = order[problem.rows]
    offset, jacobian, slope = problem.evaluate(refinement.values)
    places = [refinement.names.index(name) for name in refinement.free]
    scales = refinement.model.scales(refinement.values)[places]
    root = np.sqrt(refinement.weights[chosen]) / (slope * np.hypot(problem.sigma, refinement.rms))
    design, residual = jacobian[:, places] * scales * root[:, None], offset * root
    group = problem.rows * GROUPS // order.size
    steps = []
    try:
        whole = np.linalg.solve(design.T @ design, design.T @ residual)
        for left_out in range(GROUPS):
            kept = group != left_out
            some = design[kept]
            part = np.linalg.solve(some.T @ some, some.T @ residual[kept])
            step = np.zeros(len(refinement.names))
            step[places] = (whole - part) * scales
            steps.append(step)
    except np.linalg.LinAlgError:
        return None
    return steps


def compare(geometry: Geometry, other: Geometry) -> Comparison:
    """Compare two geometries of one detector over its whole area."""
    if other.detector.shape is None:
        other = other.for_shape(geometry.shape)
    rows, columns = geometry.shape
    y, x = (part.ravel() for part in np.meshgrid(*(np.linspace(0, n, 21) for n in (rows, columns)), indexing="ij"))
    own = geometry.detector.positions_of(y, x)
    seen = geometry.point_array("2th_rad", *own)
    theirs = other.detector.positions_of(y, x)
    step = geometry.detector.positions_of(y + 0.5, x), geometry.detector.positions_of(y, x + 0.5)
    slope = 2.0 * np.hypot(*(geometry.point_array("2th_rad", *at) - seen for at in step))
    difference = (seen - other.point_array("2th_rad", *theirs)) / np.maximum(slope, 1e-12)
    mine, others = derived_quantities(geometry), derived_quantities(other)

    def change(name: str) -> float:
        return mine[name].value - others[name].value

    return Comparison(
        rms=float(np.sqrt(np.mean(difference**2))),
        largest=float(np.abs(difference).max()),
        center=math.hypot(change("beam_center_y"), change("beam_center_x")),
        distance=change("direct_distance"),
        tilt=change("tilt"),
    )


# ---- findings


def _about_fit(points: ControlPoints, refinement: Refinement) -> list[Finding]:
    assigned = int((points.ring >= 0).sum())
    used, rms = int(refinement.used.sum()), refinement.rms
    text = f"{used} of {assigned} control points lie within {rms:.2f} pixels (root mean square) of their rings."
    findings = []
    if not rms < LOST:
        findings.append(Finding("fit", "failed", text, "Check calibrant, energy and detector."))
    elif rms > SCATTERED:
        advice = "Mask what is not the calibrant; check calibrant, energy and detector."
        findings.append(Finding("fit", "doubtful", text, advice))
    else:
        findings.append(Finding("fit", "good", text))
    if used < 0.5 * assigned:
        text = f"Only {used} of {assigned} control points lie near their rings."
        advice = "Mask other scatterers; check calibrant and energy."
        findings.append(Finding("outliers", "doubtful", text, advice))
    if not refinement.converged:
        text = "The refinement did not settle."
        findings.append(
            Finding("convergence", "doubtful", text, "Fix some parameters, or start from another geometry.")
        )
    return findings


def _about_rings(points: ControlPoints, refinement: Refinement, calibrant: Calibrant, rings: Groups) -> list[Finding]:
    findings = []
    with np.errstate(invalid="ignore"):
        off = (np.abs(rings.mean) > BIASED) & (np.abs(rings.mean) > SIGNIFICANT * rings.error)
    if off.any():
        worst = int(np.argmax(np.where(off, np.abs(rings.mean), 0.0)))
        text = (
            f"The points of {int(off.sum())} of {len(rings.number)} rings lie beside them together, those of ring "
            f"{rings.number[worst]} by {rings.mean[worst]:+.2f} pixels."
        )
        advice = "Check calibrant and energy; refine the wavelength or the parallax if they are not known well."
        part = rings.count[off].sum() / max(rings.count.sum(), 1)
        # One ring of many is off where another one, or a spot, lies in it.
        findings.append(Finding("rings", "doubtful" if part > MANY_POINTS else "noted", text, advice))
    elif len(rings.number):
        largest = float(np.nanmax(np.abs(rings.mean)))
        findings.append(Finding("rings", "good", f"No ring is off by more than {largest:.2f} pixels."))
    findings += _about_ring_numbers(points, refinement, calibrant, rings)
    return findings


def trend(rings: Groups) -> tuple[float, float]:
    """Return by how much a parabola through the ring means bends over the range of 2θ, and its error, pixels."""
    known = np.isfinite(rings.mean) & (rings.error > 0) & (rings.count > 3)
    if known.sum() < FEWEST_FOR_TREND:
        return 0.0, math.inf
    place = rings.place[known]
    x = (2.0 * place - place.max() - place.min()) / max(float(np.ptp(place)), 1e-12)
    design = np.stack([np.ones(x.size), x, x * x], axis=1) / rings.error[known, None]
    normal = np.linalg.inv(design.T @ design)
    bend = float((normal @ design.T @ (rings.mean[known] / rings.error[known]))[2])
    scatter = (
        design @ (normal @ design.T @ (rings.mean[known] / rings.error[known])) - rings.mean[known] / rings.error[known]
    )
    inflation = max(1.0, float(np.sqrt(np.mean(scatter**2))))
    return bend, math.sqrt(normal[2, 2]) * inflation


def _about_trend(rings: Groups, refinement: Refinement) -> list[Finding]:
    bend, error = trend(rings)
    if not abs(bend) > max(BENT, BENT_ERRORS * error):
        return []
    text = (
        f"The residuals follow the angle: rings at the ends of the range lie {bend:+.2f} pixels from where those in "
        "its middle do."
    )
    geometry = refinement.geometries[0]
    if geometry.parallax:
        advice = "Check the energy and the thickness of the sensor."
    else:
        advice = "Thick sensors do that: try --sensor CdTe,1mm --parallax (or what yours is); or check the energy."
    return [Finding("angle", "doubtful" if abs(bend) > 2 * BIASED else "noted", text, advice)]


def _about_energy(points: ControlPoints, refinement: Refinement, calibrant: Calibrant, rings: Groups) -> list[Finding]:
    """Compare the wavelength that was given with that which the rings would have.

    The errors compared with are those of the fit whose wavelength is free: in the other one a wrong wavelength makes
    the very scatter that would hide it.
    """
    free = {name.split("[")[0] for name in refinement.free}
    given = refinement.geometries[0].wavelength
    if "wavelength" in free or not free or given is None:
        return []
    found = _free_wavelength(points, refinement, calibrant) if len(rings.number) >= RINGS_FOR_ENERGY else None
    if found is not None:
        change, error = found.value / given - 1.0, found.error / given
        if abs(change) > max(SIGNIFICANT * error, LEAST_CHANGE):
            energies = [energy_from_wavelength(one) for one in (found.value, given)]
            text = (
                f"The rings fit better with an energy {-100 * change:+.3f} % from the one given (standard error "
                f"{100 * error:.3f} %): {energies[0]:.6g} keV instead of {energies[1]:.6g} keV, or with a cell of "
                f"{calibrant.name} that is wrong by as much; the distance depends on it."
            )
            advice = (
                f"Check the energy and that the calibrant is {calibrant.name}, or refine the wavelength (--free "
                "wavelength); a thick sensor also looks like that (--parallax)."
            )
            return [Finding("energy", "doubtful", text, advice)]
        if error <= LOOSE:
            return [
                Finding("energy", "good", f"By the rings the energy is right to {100 * max(error, abs(change)):.2g} %.")
            ]
    told = "cannot tell the energy" if found is None else f"tell the energy to {100 * found.error / given:.2g} % only"
    text = f"These rings {told}."
    if "distance" in free:
        distance = refinement.derived(0)["direct_distance"]
        text += (
            f" Each 0.1 % of it moves the distance by 0.1 % ({distance.value:.2g} mm); the standard error of the "
            "distance is for the energy given."
        )
    return [Finding("energy", "noted", text, "Rings at larger angles, or images at known distances, tell it.")]


def _free_wavelength(points: ControlPoints, refinement: Refinement, calibrant: Calibrant) -> Quantity | None:
    """Return the wavelength that the rings want, None if they do not tell."""
    try:
        other = refine(points, refinement.model, calibrant, free=(*refinement.free, "wavelength"))
    except InputError:
        return None
    found = other.value("wavelength")
    return None if other.undetermined or not 0 < found.error < np.inf else found


def _about_ring_numbers(
    points: ControlPoints, refinement: Refinement, calibrant: Calibrant, rings: Groups
) -> list[Finding]:
    """Look for other ring numbers that explain the points as well; only where there are few rings."""
    if len(rings.number) > FEW_RINGS or "distance" not in {name.split("[")[0] for name in refinement.free}:
        return []
    if len(rings.number) == 1:
        text = "Only one ring has points: nothing tells that its number is right, and with it the distance."
        return [Finding("ring numbers", "doubtful", text, "See more rings: a shorter distance or a higher energy.")]
    rivals = []
    for shift in (-2, -1, 1, 2):
        moved = replace(points, ring=np.where(points.ring >= 0, points.ring + shift, -1))
        if (moved.ring[points.ring >= 0] < 0).any():
            continue
        try:
            other = refine(moved, refinement.model, calibrant, free=refinement.free)
        except InputError:
            continue
        if other.rms < RIVAL * max(refinement.rms, LEAST_RESIDUAL) and other.used.sum() > 0.9 * refinement.used.sum():
            rivals.append(f"{shift:+d}")
    if not rivals:
        return []
    text = f"The points fit as well with ring numbers changed by {' or '.join(rivals)}: the distance may be another."
    return [Finding("ring numbers", "doubtful", text, "See more rings: a shorter distance or a higher energy.")]


def _about_waves(waves: Sequence[Wave]) -> list[Finding]:
    meaning = {
        1: ("once", "the centre of the rings is not where the model has it"),
        2: ("twice", "the tilt, the shape of the pixels or the calibrant's stress is not what the model has"),
    }
    findings = []
    for found in waves:
        if found.amplitude > BIASED and found.amplitude > SIGNIFICANT * found.error:
            times, cause = meaning[found.harmonic]
            text = f"The residuals vary {times} round the beam by ±{found.amplitude:.2f} pixels: {cause}."
            advice = "Refine all of rot1, rot2, poni1 and poni2; check the detector's orientation and pixel size."
            findings.append(Finding("azimuth", "doubtful", text, advice))
    if not findings and waves:
        largest = max((found.amplitude for found in waves if found.amplitude == found.amplitude), default=0.0)
        findings.append(
            Finding("azimuth", "good", f"Round the beam residuals vary by no more than {largest:.2f} pixels.")
        )
    return findings


def module_means(points: ControlPoints, refinement: Refinement) -> _Array:
    """Return the mean residual of each module with enough points, over all images, pixels."""
    means = []
    for image, geometry in enumerate(refinement.geometries):
        counted = refinement.used & (points.image == image)
        for rows, columns in geometry.detector.modules():
            inside = (points.y >= rows[0]) & (points.y < rows[1]) & (points.x >= columns[0]) & (points.x < columns[1])
            chosen = refinement.residuals[counted & inside]
            if chosen.size >= POINTS_OF_A_MODULE:
                means.append(float(chosen.mean()))
    return np.array(means)


def _about_modules(points: ControlPoints, refinement: Refinement) -> list[Finding]:
    """Say whether residuals differ from module to module: then the detector is not what its model says."""
    means = module_means(points, refinement)
    if means.size < 3:
        return []
    spread = float(np.sqrt(np.mean(means**2)))
    if spread < MODULES_APART * refinement.rms or spread < NEGLIGIBLE / 4:
        return []
    text = (
        f"The residuals differ from module to module of the detector, by {spread:.2f} pixels on the average and "
        f"{float(np.abs(means).max()):.2f} at most; the standard errors allow for it."
    )
    advice = "Modules that are off their nominal places do that, and can be refined: --modules."
    return [Finding("modules", "noted", text, advice)]


def _about_parameters(refinement: Refinement) -> list[Finding]:
    findings = []
    if not refinement.free:
        text = "Nothing was refined: all parameters were kept, so there are no standard errors."
        findings.append(Finding("parameters", "noted", text, "Keep fewer parameters (--fix)."))
    for name, reason in refinement.undetermined.items():
        text = f"{name} cannot be determined: {reason}."
        findings.append(Finding("parameters", "doubtful", text, f"Fix {name} at a value that is known."))
    for name, error in zip(refinement.names, refinement.errors, strict=True):
        if math.isnan(error):
            text = f"{name} ended at a bound."
            findings.append(Finding("parameters", "doubtful", text, f"Widen the bounds of {name}, or fix it."))
    for number in range(len(refinement.geometries)):
        found = refinement.derived(number)
        distance = found["direct_distance"]
        if distance.error > IMPRECISE * abs(distance.value):
            text = f"The distance is known to {100 * distance.error / abs(distance.value):.1f} % only."
            findings.append(Finding("precision", "doubtful", text, "Expose longer, or see more and larger rings."))
        center = max(found["beam_center_y"].error, found["beam_center_x"].error)
        if center > IMPRECISE_CENTER and not abs(found["tilt"].value) > math.radians(75):
            text = f"The beam centre is known to {center:.1f} pixels only."
            findings.append(Finding("precision", "doubtful", text, "See longer arcs of the rings."))
    return findings


def _about_repetition(repeated: Sequence[Repeated]) -> list[Finding]:
    if not repeated:
        return []
    bad = [one for one in repeated if one.repeated > UNREPEATABLE * one.stated and one.repeated > _negligible(one)]
    if not bad:
        return [
            Finding("repeatability", "good", "Refined without any one sector the geometry stays within its errors.")
        ]
    worst = max(bad, key=lambda one: one.repeated / max(one.stated, 1e-300))
    name, _, image = worst.name.replace("_", " ").rstrip("]").partition("[")
    what = f"the {name} of image {image}" if image else f"the {name}"
    text = (
        f"Left-out sectors change {what} by {worst.repeated:.3g} {worst.unit}, "
        f"{worst.repeated / max(worst.stated, 1e-300):.1f} times its standard error."
    )
    return [Finding("repeatability", "doubtful", text, "Look where on the detector residuals are large, and mask it.")]


def _negligible(one: Repeated) -> float:
    """Return the change of a quantity that matters to nobody."""
    if one.unit == "pixel":
        return NEGLIGIBLE
    return 1e-3 * abs(one.value) if one.unit == "m" else 1e-3


def _about_comparison(comparison: Comparison | None) -> list[Finding]:
    if comparison is None:
        return []
    text = (
        f"The other geometry sees rings {comparison.rms:.2f} pixels elsewhere on the average, "
        f"{comparison.largest:.2f} at most."
    )
    return [Finding("comparison", "good", text)]
