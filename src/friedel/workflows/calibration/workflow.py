"""The task that does it all: images in; geometry, result and verdict out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import xarray as xr

from friedel.core.context import Context
from friedel.core.errors import CalibrationError, ParameterError
from friedel.core.files import check_outputs
from friedel.core.provenance import refuse_to_replace_inputs
from friedel.instrument import Calibrant
from friedel.techniques.calibration import RingPoints
from friedel.techniques.calibration.agreement import about_images
from friedel.techniques.calibration.calibrate import Calibration, Scene, calibrate_images, with_findings
from friedel.techniques.calibration.detection import detect
from friedel.techniques.calibration.models import USUAL

from .files import outputs_of, with_stored_detector, write_calibration, write_result
from .inputs import (
    files_of,
    find_detector,
    first_shape,
    load_start,
    parse_bounds,
    read_scene,
    started,
    wavelength_of,
    with_sensor,
)
from .result import calibration_dataset, failed_dataset
from .tasks import Calibrate

MOST_COMPARED = 5
"""Of images that are added up at most so many are looked at alone."""


def calibrate(parameters: Calibrate, context: Context) -> xr.Dataset:
    """Calibrate; see `Calibrate`. A result that failed is returned, not raised: a report may be wanted of it."""
    files = files_of(parameters.images)
    several = len(files) if parameters.own else 1
    geometry_files, result_file = outputs_of(parameters.output, several)
    detector_file = result_file.with_name(f"{result_file.stem}_detector.h5") if parameters.modules else None
    read = [*files, *_image_files(parameters), *filter(None, (parameters.geometry, parameters.reference))]
    refuse_to_replace_inputs([*geometry_files, result_file, detector_file], read)
    check_outputs([*geometry_files, result_file, detector_file], parameters.overwrite)
    shape = first_shape(files)
    start = None
    if parameters.geometry is not None:
        start = started(parameters.geometry, shape, parameters.orientation, parameters, parameters.detector)
    detector = (
        start.detector if start is not None else find_detector(parameters.detector, parameters.orientation, shape)
    )
    detector = with_sensor(detector, parameters)
    calibrant = Calibrant.load(parameters.calibrant)
    wavelength = wavelength_of(parameters)
    if start is not None and start.wavelength is None and wavelength is None:
        raise ParameterError(f"{parameters.geometry} has no wavelength.", "Give --energy or --wavelength.")
    reference = None if parameters.reference is None else load_start(parameters.reference, None, shape)
    context = context.on_cpu("Geometries are found")
    groups = [[file] for file in files] if several > 1 else [files]
    scenes = [read_scene(parameters, group, detector) for group in groups]
    context.step("Looking for rings." if start is None else "Measuring the rings.")
    found: Calibration | CalibrationError
    try:
        found = calibrate_images(
            scenes,
            detector,
            calibrant,
            wavelength=wavelength,
            start=start,
            free=_free(parameters, start is None and wavelength is None),
            fixed=parameters.fix,
            bounds=parse_bounds(parameters.bounds),
            own=parameters.own,
            parallax=parameters.parallax,
            modules=parameters.modules,
            rounds=parameters.rounds,
            reference=reference,
            threads=context.runner.threads,
            tell=context.step,
        )
        if several == 1 and len(files) > 1:
            context.step("Comparing the images.")
            found = _compared(found, parameters, files, calibrant)
    except CalibrationError as error:
        found = error
    if isinstance(found, CalibrationError):
        dataset = failed_dataset(found.problem, found.remedy, scenes[0], _detected(scenes[0]))
    else:
        context.step("Integrating the first image.")
        dataset = calibration_dataset(
            found.points, found.refinement, found.validation, calibrant, scenes, context.runner.threads
        )
    dataset = with_record(dataset, context, [*read, parameters.calibrant])
    context.step("Writing.")
    if not isinstance(found, CalibrationError) and found.validation.verdict != "failed":
        written = found.refinement
        if detector_file is not None:
            written = with_stored_detector(written, detector_file)
        files_written = write_calibration(geometry_files, result_file, written, dataset)
        files_written += [detector_file] if detector_file else []
        dataset.attrs["files"] = [str(path) for path in files_written]
    else:
        dataset.attrs["findings"] = [*dataset.attrs["findings"], *_about_files_left(geometry_files)]
        if parameters.report is not None:
            write_result(result_file, dataset)
    return dataset


def _compared(found: Calibration, parameters: Calibrate, files: list[str], calibrant: Calibrant) -> Calibration:
    """Return the calibration with what images alone say of it, if they were added up; some of many are looked at."""
    geometry = found.geometries[0]
    chosen = [files[place] for place in np.unique(np.linspace(0, len(files) - 1, MOST_COMPARED).astype(int))]
    scenes = ((Path(file).name, read_scene(parameters, [file], geometry.detector)) for file in chosen)
    return replace(found, validation=with_findings(found.validation, about_images(scenes, geometry, calibrant)))


def _about_files_left(paths: list[Path]) -> list[list[str]]:
    """Say which geometry files of earlier calibrations are still there; they say of themselves that they are good."""
    found = []
    for path in filter(Path.exists, paths):
        day = datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
        found.append(["files", "failed", f"{path} is still the old geometry of {day}: it was not replaced.", ""])
    return found


def _image_files(parameters: Calibrate) -> list[str]:
    return [path.partition("::")[0] for path in (parameters.mask, parameters.dark, parameters.flat) if path]


def _detected(scene: Scene) -> RingPoints | None:
    try:
        return detect(scene.image, scene.mask)
    except CalibrationError:
        return None


def _free(parameters: Calibrate, wavelength_too: bool) -> tuple[str, ...] | None:
    """Return the parameters to refine, None for the usual ones."""
    if not parameters.free and not wavelength_too:
        return None
    return tuple(dict.fromkeys([*USUAL, *parameters.free, *(["wavelength"] if wavelength_too else [])]))


def with_record(dataset: xr.Dataset, context: Context, inputs: list[str]) -> xr.Dataset:
    """Return the result with the record of this execution."""
    if context.provenance is None:
        return dataset
    record = context.provenance.with_inputs([path for path in inputs if Path(path).is_file()])
    record = record.with_notes(verdict=dataset.attrs["verdict"])
    dataset.attrs["provenance"] = context.with_cost(record).to_json()
    return dataset
