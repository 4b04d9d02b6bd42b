"""The steps of a calibration, each a task of its own that takes and gives tables of points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from friedel.core.context import Context
from friedel.core.errors import ParameterError
from friedel.core.files import check_outputs
from friedel.core.provenance import refuse_to_replace_inputs
from friedel.instrument import Calibrant, Detector, Geometry
from friedel.techniques.calibration import ControlPoints, RingPoints
from friedel.techniques.calibration.calibrate import Scene, measured_rings
from friedel.techniques.calibration.detection import detect
from friedel.techniques.calibration.known_rings import first_geometry
from friedel.techniques.calibration.models import USUAL
from friedel.techniques.calibration.refinement import refine
from friedel.techniques.calibration.search import find_geometry
from friedel.techniques.calibration.validation import validate

from .files import outputs_of, write_calibration, write_result
from .inputs import files_of, find_detector, first_shape, load_start, parse_bounds, read_scene, started, wavelength_of
from .result import calibration_dataset
from .tables import (
    as_columns,
    read_control_points,
    read_ring_numbers,
    read_ring_points,
    write_control_points,
    write_ring_points,
)
from .tasks import AssignRings, DetectRings, ExtractRings, Images, RefineGeometry, ValidateGeometry
from .workflow import with_record

NEAREST = 0.25
"""A point belongs to a ring if it is nearer than this part of the way to the next one."""
UNKNOWN_PIXEL = 1e-4
"""Size in m of pixels that do not matter: points are detected in pixels."""


def calibrate_detect(parameters: DetectRings, context: Context) -> xr.Dataset:
    """Write the points that are found on rings."""
    files = files_of(parameters.images)
    refuse_to_replace_inputs([parameters.output], files)
    check_outputs([parameters.output], parameters.overwrite)
    shape = first_shape(files)
    detector = (
        Detector.from_shape(shape, UNKNOWN_PIXEL)
        if parameters.detector is None
        else find_detector(parameters.detector, parameters.orientation, shape)
    )
    scene = read_scene(parameters, files, detector)
    points = detect(scene.image, scene.mask, maximum_points=parameters.most)
    record = _record(context, files)
    write_ring_points(parameters.output, points, record)
    return as_columns(points.to_dataset(), record)


def calibrate_assign(parameters: AssignRings, context: Context) -> xr.Dataset:
    """Write the points with the numbers of their rings, and the geometry behind them."""
    refuse_to_replace_inputs([parameters.output, parameters.poni], [parameters.points])
    check_outputs([parameters.output, parameters.poni], parameters.overwrite)
    calibrant = Calibrant.load(parameters.calibrant)
    assigned, geometry = _assigned(parameters, calibrant)
    record = _record(context, [parameters.points])
    spacings = () if geometry.wavelength is None else calibrant.rings(geometry.wavelength).spacing.tolist()
    write_control_points(parameters.output, assigned, spacings, geometry.wavelength, record)
    if parameters.poni is not None:
        geometry.save(parameters.poni, comment=f"First geometry, from {parameters.points}; not refined")
    return as_columns(assigned.to_dataset(), record)


def _assigned(parameters: AssignRings, calibrant: Calibrant) -> tuple[ControlPoints, Geometry]:
    """Return the points with the numbers of their rings, and the geometry that goes with them."""
    points = read_ring_points(parameters.points)
    wavelength = wavelength_of(parameters)
    if parameters.geometry is not None:
        geometry = load_start(parameters.geometry, parameters.orientation, None)
        if wavelength is not None:
            geometry = replace(geometry, wavelength=wavelength)
        return ControlPoints(points.y, points.x, nearest_rings(points, geometry, calibrant), points.sigma), geometry
    detector = find_detector(parameters.detector, parameters.orientation)
    numbered = read_ring_numbers(parameters.points)
    if numbered is not None:
        if wavelength is None:
            raise ParameterError("Neither energy nor wavelength is given.", "Give one of them.")
        return numbered, first_geometry(numbered, detector, calibrant, wavelength).geometry
    candidate = find_geometry(points, detector, calibrant, wavelength)
    return ControlPoints(points.y, points.x, candidate.ring, points.sigma), candidate.geometry


def nearest_rings(
    points: RingPoints, geometry: Geometry, calibrant: Calibrant
) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Return the number of the nearest ring of each point, −1 where that is not clear."""
    if geometry.wavelength is None:
        raise ParameterError("The geometry has no wavelength.", "Add one to its file.")
    place = geometry.detector.positions_of(points.y, points.x)
    angle = geometry.point_array("2th_rad", *place)
    rings = np.asarray(calibrant.rings(geometry.wavelength).two_theta)
    if not rings.size:
        return np.full(angle.size, -1, np.int32)
    middle = 0.5 * (rings[1:] + rings[:-1])
    number = np.searchsorted(middle, angle)
    gap = np.minimum(np.diff(rings, prepend=0.0), np.diff(rings, append=np.inf))
    near = np.abs(angle - rings[number]) < NEAREST * gap[number]
    return np.where(near, number, -1).astype(np.int32)


def calibrate_extract(parameters: ExtractRings, context: Context) -> xr.Dataset:
    """Write the places of rings as measured with a geometry."""
    files = files_of(parameters.images)
    refuse_to_replace_inputs([parameters.output], [*files, parameters.geometry])
    check_outputs([parameters.output], parameters.overwrite)
    calibrant = Calibrant.load(parameters.calibrant)
    geometry = load_start(parameters.geometry, parameters.orientation, first_shape(files))
    scene = read_scene(parameters, files, geometry.detector)
    points = measured_rings(scene, geometry, calibrant, parameters.reach, context.runner.threads)
    record = _record(context, [*files, parameters.geometry])
    spacings = () if geometry.wavelength is None else calibrant.rings(geometry.wavelength).spacing.tolist()
    write_control_points(parameters.output, points, spacings, geometry.wavelength, record)
    return as_columns(points.to_dataset(), record)


def calibrate_refine(parameters: RefineGeometry, context: Context) -> xr.Dataset:
    """Refine to control points; write geometry and result."""
    geometry_files, result_file = outputs_of(parameters.output)
    read = [parameters.points, parameters.geometry]
    refuse_to_replace_inputs([*geometry_files, result_file], read)
    check_outputs([*geometry_files, result_file], parameters.overwrite)
    calibrant = Calibrant.load(parameters.calibrant)
    points = read_control_points(parameters.points)
    start = started(parameters.geometry, None, None, parameters)
    free = tuple(dict.fromkeys([*USUAL, *parameters.free])) if parameters.free else None
    refinement = refine(
        points,
        start,
        calibrant,
        free=free,
        fixed=parameters.fix,
        bounds=parse_bounds(parameters.bounds),
        robust=parameters.robust,
    )
    validation = validate(points, refinement, calibrant, reference=start)
    dataset = calibration_dataset(points, refinement, validation, calibrant)
    dataset = with_record(dataset, context, [*read, parameters.calibrant])
    if validation.verdict != "failed":
        written = write_calibration(geometry_files, result_file, refinement, dataset)
        dataset.attrs["files"] = [str(path) for path in written]
    return dataset


def calibrate_validate(parameters: ValidateGeometry, context: Context) -> xr.Dataset:
    """Judge a geometry by control points, and by an image if there is one."""
    given = (parameters.points, parameters.geometry, parameters.image, parameters.mask, parameters.reference)
    read = [path.partition("::")[0] for path in given if path]
    result_file = None if parameters.output is None else outputs_of(parameters.output)[1]
    refuse_to_replace_inputs([result_file], read)
    check_outputs([result_file], parameters.overwrite)
    calibrant = Calibrant.load(parameters.calibrant)
    points = read_control_points(parameters.points)
    geometry = Geometry.load(parameters.geometry)
    scenes: list[Scene] = []
    if parameters.image is not None:
        geometry = geometry.for_shape(first_shape([parameters.image]))
        images = Images(images=(parameters.image,), mask=parameters.mask)
        scenes = [read_scene(images, [parameters.image], geometry.detector)]
    reference = None if parameters.reference is None else Geometry.load(parameters.reference)
    refinement = refine(points, geometry, calibrant, free=())
    validation = validate(
        points,
        refinement,
        calibrant,
        images=[scene.image for scene in scenes],
        masks=[scene.mask for scene in scenes],
        reference=reference,
    )
    dataset = calibration_dataset(points, refinement, validation, calibrant, scenes, context.runner.threads)
    dataset = with_record(dataset, context, [*read, parameters.calibrant])
    if result_file is not None:
        write_result(result_file, dataset)
        dataset.attrs["files"] = [str(result_file)]
    return dataset


def _record(context: Context, inputs: list[str]) -> str | None:
    if context.provenance is None:
        return None
    return context.with_cost(context.provenance.with_inputs(inputs)).to_json()
