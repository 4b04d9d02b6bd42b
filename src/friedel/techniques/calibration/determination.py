"""What the points do not determine, in words."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .least_squares import STEPS, Fit
from .problem import Problem

_Array = NDArray[np.float64]

INVOLVED = 0.1
"""Part of a direction (square of its component) from which a parameter is named with it."""
KEEP_FIRST = ("rot3", "wavelength", "rot1", "rot2", "poni1", "poni2", "distance")
"""Which parameter of an undetermined direction is kept at its start."""
CORRELATED = 0.99
"""Correlation from which a pair of distance and wavelength is worth a note."""


def find_undetermined(problem: Problem, fit: Fit) -> tuple[str, str] | None:
    """Return a parameter that the points do not fix, with the reason in words."""
    model = problem.model
    if not fit.places.size:
        return None
    scales = model.scales(fit.values)[fit.places]
    noise = math.sqrt(fit.factor * fit.clusters)
    weighted = np.sqrt(fit.weights)[:, None] * fit.jacobian * scales
    weighted[:, fit.at_bound] = 0.0
    for place, name in enumerate(fit.names):
        if not fit.at_bound[place] and not np.any(np.abs(weighted[:, place]) > 1e-9 * np.abs(weighted).max()):
            turn = ": a turn of the detector about the beam moves no ring" if name.startswith("rot3") else ""
            return name, f"no control point depends on {name}{turn}"
    _, singular, directions = np.linalg.svd(weighted[:, ~fit.at_bound], full_matrices=False)
    if not singular.size or singular[-1] >= noise:
        return None
    names = [name for name, bound in zip(fit.names, fit.at_bound, strict=True) if not bound]
    parts = directions[-1] ** 2
    involved = [names[place] for place in np.argsort(-parts) if parts[place] > INVOLVED]
    kept = min(involved, key=_keeping_order)
    if len(involved) == 1:
        error = noise / singular[-1] * scales[fit.names.index(kept)]
        return kept, f"{kept} is not determined by these points: its standard error would be {error:.3g}"
    normal = np.linalg.pinv(weighted[:, ~fit.at_bound].T @ weighted[:, ~fit.at_bound], rcond=1e-16)
    one, other = (names.index(name) for name in involved[:2])
    correlation = normal[one, other] / math.sqrt(normal[one, one] * normal[other, other])
    listed = f"{', '.join(involved[:-1])} and {involved[-1]}"
    both = "both" if len(involved) == 2 else "all"
    return kept, (
        f"{listed} cannot {both} be determined: the correlation of {involved[0]} and {involved[1]} is "
        f"{correlation:.5f}; fix one. {kept} "
        "is kept at its start, and the errors of the others hold only if it is right"
    )


def _keeping_order(name: str) -> int:
    plain = name.split("[")[0]
    return KEEP_FIRST.index(plain) if plain in KEEP_FIRST else -1


def notes_of(fit: Fit, covariance: _Array, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return what else one should know of a fit: bounds that were met, parameters known only together, and the like."""
    notes = [
        f"{name} ended at its bound, {fit.values[place]:.6g}: the errors of the others hold only if it is right"
        for name, place, bound in zip(fit.names, fit.places, fit.at_bound, strict=True)
        if bound
    ]
    lengths = [place for place in fit.places if names[place].split("[")[0] in ("distance", "wavelength")]
    for number, one in enumerate(lengths):
        for other in lengths[number + 1 :]:
            both = math.sqrt(covariance[one, one] * covariance[other, other])
            if (
                {names[one][0], names[other][0]} == {"d", "w"}
                and both > 0
                and abs(covariance[one, other]) > CORRELATED * both
            ):
                found = covariance[one, other] / both
                notes.append(
                    f"{names[one]} and {names[other]} are determined together: their correlation is {found:.5f}"
                )
    if fit.clusters > 1.0:
        notes.append(f"neighbouring points are off together: variances are raised {fit.clusters:.2g} times")
    if not fit.converged:
        notes.append(f"the iteration had not settled after {STEPS} steps")
    return tuple(notes)
