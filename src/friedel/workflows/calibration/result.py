"""The result of a calibration as one Dataset: points, residuals, parameters, pattern, cake, verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.data.conventions import coordinate
from friedel.instrument import Calibrant, Geometry
from friedel.instrument.derivatives import FIELDS
from friedel.techniques.calibration import ControlPoints, Quantity, RingPoints
from friedel.techniques.calibration.calibrate import Scene
from friedel.techniques.calibration.refinement import Refinement
from friedel.techniques.calibration.ring_curves import visible_curve
from friedel.techniques.calibration.validation import Validation, point_azimuths
from friedel.techniques.integration import Integrator

_Array = NDArray[np.float64]

PICTURE = 900
"""Pixels along the longer side of the picture of the image."""
FEWEST_BINS, MOST_BINS = 200, 3000
CAKE_RADIAL, CAKE_AZIMUTH = 1200, 360
CURVE_STEPS = 360
MOST_CURVES = 60
"""Rings that are drawn on the image, the strongest."""


def calibration_dataset(
    points: ControlPoints,
    refinement: Refinement,
    validation: Validation,
    calibrant: Calibrant,
    scenes: Sequence[Scene] = (),
    threads: int = 1,
) -> xr.Dataset:
    """Return everything that a calibration found; pattern, cake and picture are of the first image."""
    geometry = refinement.geometries[0]
    dataset = xr.Dataset()
    _add_points(dataset, points, refinement)
    _add_rings(dataset, validation, calibrant, geometry)
    _add_sectors(dataset, validation)
    _add_parameters(dataset, refinement, validation)
    if scenes:
        _add_pictures(dataset, scenes[0], geometry, calibrant, threads)
    findings = [[item.name, item.state, item.text, item.advice] for item in validation.findings]
    dataset.attrs |= {
        "title": f"Calibration with {calibrant.name}",
        "default": "pattern" if scenes else "residual",
        "verdict": validation.verdict,
        "findings": findings,
        "calibrant": calibrant.name,
        "chi_squared": float(refinement.chi_squared),
        "rms": float(refinement.rms),
        "geometry": _geometry_text(geometry),
        "numbers": numbers_of(refinement),
    }
    return dataset


def numbers_of(refinement: Refinement) -> list[str]:
    """Return the numbers that matter with their errors, a line for each image."""
    lines = []
    for image in range(len(refinement.geometries)):
        found = refinement.derived(image)
        distance, tilt = found["direct_distance"], found["tilt"]
        center = ", ".join(_with_error(found[f"beam_center_{axis}"], 1.0) for axis in "yx")
        before = f"Image {image + 1}: beam" if len(refinement.geometries) > 1 else "Beam"
        lines.append(
            f"{before} centre (y, x) {center} pixels, {_with_error(distance, 1e3)} mm from the sample, "
            f"tilt {_with_error(tilt, math.degrees(1.0))} degrees."
        )
    if "wavelength" in refinement.free:
        lines.append(f"Wavelength {_with_error(refinement.value('wavelength'), 1e10)} Angstrom.")
    return lines


def _with_error(quantity: Quantity, scale: float) -> str:
    """Return a number with its error in the last digits: 199.998(12)."""
    value, error = quantity.value * scale, quantity.error * scale
    if not (math.isfinite(error) and error > 0):
        return f"{value:.6g}"
    digits = min(max(0, 1 - math.floor(math.log10(error))), 9)
    last = round(error * 10**digits)
    return f"{value:.{digits}f}({last})" if digits else f"{value:.0f}({error:.0f})"


def failed_dataset(problem: str, remedy: str, scene: Scene | None, detected: RingPoints | None) -> xr.Dataset:
    """Return what there is of a calibration that found no geometry."""
    dataset = xr.Dataset()
    if detected is not None and len(detected):
        dataset["point_y"] = ("point", detected.y, {"units": "pixel", "long_name": "Place along the columns"})
        dataset["point_x"] = ("point", detected.x, {"units": "pixel", "long_name": "Place along the rows"})
        dataset["point_strength"] = ("point", detected.strength, {"units": "", "long_name": "Height over noise"})
    if scene is not None:
        _add_image(dataset, scene)
    dataset.attrs |= {
        "title": "Calibration that failed",
        "verdict": "failed",
        "findings": [["search", "failed", problem, remedy]],
    }
    if len(dataset.data_vars):
        dataset.attrs["default"] = next(iter(dataset.data_vars))
    return dataset


def _geometry_text(geometry: Geometry) -> dict[str, Any]:
    detector = geometry.detector
    return {name: getattr(geometry, name) for name in FIELDS} | {
        "detector": detector.name,
        "orientation": detector.orientation,
    }


def _add_points(dataset: xr.Dataset, points: ControlPoints, refinement: Refinement) -> None:
    for name, column in points.to_dataset().data_vars.items():
        dataset[f"point_{name}"] = column
    azimuth = np.degrees(point_azimuths(points, refinement.geometries))
    dataset["point_azimuth"] = ("point", azimuth, {"units": "deg", "long_name": "Azimuth of the point"})
    residual = {"units": "pixel", "long_name": "Distance from the ring on the detector"}
    dataset["residual"] = ("point", refinement.residuals, residual)
    dataset["weight"] = ("point", refinement.weights, {"units": "", "long_name": "Weight in the refinement"})


def _add_rings(dataset: xr.Dataset, validation: Validation, calibrant: Calibrant, geometry: Geometry) -> None:
    rings = validation.rings
    place = coordinate("ring", np.degrees(rings.place), "deg", "2θ of the ring")
    dataset["ring_residual"] = (
        "ring",
        rings.mean,
        {"units": "pixel", "long_name": "Mean distance of a ring's points from it"},
    )
    dataset["ring_residual_errors"] = ("ring", rings.error, {"units": "pixel"})
    dataset["ring_rms"] = ("ring", rings.rms, {"units": "pixel", "long_name": "Root mean square of the distances"})
    dataset["ring_points"] = ("ring", rings.count, {"units": "", "long_name": "Control points"})
    dataset["ring_number"] = ("ring", rings.number, {"units": "", "long_name": "Number of the ring"})
    if geometry.wavelength is not None:
        known = calibrant.rings(geometry.wavelength)
        spacing = np.array([known.spacing[n] if n < len(known) else np.nan for n in rings.number])
        dataset["ring_spacing"] = ("ring", spacing, {"units": "Angstrom", "long_name": "Lattice spacing"})
    dataset.coords["ring"] = place


def _add_sectors(dataset: xr.Dataset, validation: Validation) -> None:
    sectors = validation.sectors
    dataset["sector_residual"] = (
        "sector",
        sectors.mean,
        {"units": "pixel", "long_name": "Mean distance of a sector's points from their rings"},
    )
    dataset["sector_residual_errors"] = ("sector", sectors.error, {"units": "pixel"})
    dataset["sector_points"] = ("sector", sectors.count, {"units": "", "long_name": "Control points"})
    dataset.coords["sector"] = coordinate("sector", np.degrees(sectors.place), "deg", "Azimuth")


def _add_parameters(dataset: xr.Dataset, refinement: Refinement, validation: Validation) -> None:
    names = np.array(refinement.names, dtype=object)
    units = ["rad" if name.startswith("rot") else "m" for name in refinement.names]
    dataset["parameter_value"] = ("parameter", refinement.values, {"long_name": "Value", "units_of_each": units})
    dataset["parameter_value_errors"] = ("parameter", refinement.errors, {})
    dataset["covariance"] = (
        ("parameter", "other_parameter"),
        refinement.covariance,
        {"long_name": "Covariance of the parameters"},
    )
    free = np.array([name in refinement.free for name in refinement.names])
    dataset["refined"] = ("parameter", free, {"long_name": "Whether the parameter was refined"})
    dataset.coords["parameter"] = ("parameter", names)
    dataset.coords["other_parameter"] = ("other_parameter", names)
    quantities = {
        (f"{name}[{image}]" if len(refinement.geometries) > 1 else name): quantity
        for image in range(len(refinement.geometries))
        for name, quantity in refinement.derived(image).items()
    }
    values = np.array([quantity.value for quantity in quantities.values()])
    errors = np.array([quantity.error for quantity in quantities.values()])
    repeated = {one.name: one.repeated for one in validation.repeated}
    again = np.array([repeated.get(name, math.nan) for name in quantities])
    attributes = {"units_of_each": [quantity.unit for quantity in quantities.values()]}
    dataset["quantity_value"] = ("quantity", values, {"long_name": "What rings determine well", **attributes})
    dataset["quantity_value_errors"] = ("quantity", errors, {})
    dataset["quantity_repeated"] = ("quantity", again, {"long_name": "Error by repetition without sectors"})
    dataset.coords["quantity"] = ("quantity", np.array(list(quantities), dtype=object))


def _add_pictures(dataset: xr.Dataset, scene: Scene, geometry: Geometry, calibrant: Calibrant, threads: int) -> None:
    """Add pattern, cake, image and the rings on it."""
    _add_image(dataset, scene)
    bins = int(np.clip(_radial_pixels(geometry), FEWEST_BINS, MOST_BINS))
    common = {"unit": "2th_deg", "mask": scene.mask}
    # Where a dark image was subtracted there are pixels below zero: no counts, whose error is told by their neighbours.
    counts = not (scene.image[~scene.mask] < 0).any()
    errors = "poisson" if counts else "azimuthal"
    pattern = Integrator(geometry, npt=bins, splitting="bbox", error_model=errors, **common).integrate1d(
        scene.image, threads=threads
    )
    cake = Integrator(geometry, npt=min(bins, CAKE_RADIAL), splitting="none", **common).integrate2d(
        scene.image, npt_azimuth=CAKE_AZIMUTH, threads=threads
    )
    dataset["pattern"] = pattern["intensity"]
    dataset["pattern_errors"] = pattern["intensity_errors"]
    dataset["cake"] = (("azimuth", "cake_radial"), cake["intensity"].values, cake["intensity"].attrs)
    dataset.coords["cake_radial"] = ("cake_radial", cake["radial"].values, cake["radial"].attrs)
    dataset.coords["azimuth"] = cake["azimuth"].variable
    if geometry.wavelength is None:
        return
    low, high = float(dataset["radial"].min()), float(dataset["radial"].max())
    rings = calibrant.rings(geometry.wavelength, min(math.pi, math.radians(high)))
    inside = np.degrees(rings.two_theta) >= low
    attributes = {"units": "deg", "long_name": f"2θ of the rings of {calibrant.name}"}
    dataset["calibrant_two_theta"] = ("calibrant_ring", np.degrees(rings.two_theta)[inside], attributes)
    strength = {"units": "", "long_name": "Expected relative intensity"}
    dataset["calibrant_intensity"] = ("calibrant_ring", rings.intensity[inside], strength)
    chosen = np.flatnonzero(inside)
    chosen = np.sort(chosen[np.argsort(rings.intensity[chosen])[::-1][:MOST_CURVES]])
    curves = [visible_curve(geometry, float(rings.two_theta[number]), CURVE_STEPS) for number in chosen]
    if curves:
        dataset["curve_y"] = (("curve", "step"), np.stack([y for y, _ in curves]), {"units": "pixel"})
        dataset["curve_x"] = (("curve", "step"), np.stack([x for _, x in curves]), {"units": "pixel"})
        dataset.coords["curve"] = coordinate("curve", np.degrees(rings.two_theta[chosen]), "deg", "2θ of the ring")


def _add_image(dataset: xr.Dataset, scene: Scene) -> None:
    """Add the image, small enough for a picture: of the pixels put together the largest, so that rings stay."""
    rows, columns = scene.image.shape
    factor = max(1, math.ceil(max(rows, columns) / PICTURE))
    values = np.where(scene.mask, -np.inf, np.asarray(scene.image, np.float64))
    height, width = -(-rows // factor) * factor, -(-columns // factor) * factor
    padded = np.full((height, width), -np.inf)
    padded[:rows, :columns] = values
    small = padded.reshape(height // factor, factor, width // factor, factor)
    small = np.sort(small.swapaxes(1, 2).reshape(height // factor, width // factor, -1), axis=-1)
    # The largest but one of several pixels: a lone hot pixel is no ring.
    picture = small[..., -2] if factor > 1 else small[..., -1]
    picture = np.where(np.isfinite(picture), picture, np.nan).astype(np.float32)
    dataset["image"] = (("y", "x"), picture, {"units": "counts", "long_name": "Image"})
    for name, size in (("y", picture.shape[0]), ("x", picture.shape[1])):
        dataset.coords[name] = coordinate(name, (np.arange(size) + 0.5) * factor, "pixel", f"Pixels along {name}")


def _radial_pixels(geometry: Geometry) -> float:
    """Return how many pixels the range of 2θ is wide, at its typical pixel."""
    angles = geometry.center_array("2th_rad")
    across = np.hypot(np.diff(angles[:, :-1], axis=0), np.diff(angles[:-1], axis=1))
    return float((angles.max() - angles.min()) / max(float(np.median(across)), 1e-9))
