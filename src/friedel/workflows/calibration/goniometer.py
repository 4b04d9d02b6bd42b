"""The task that calibrates a moving detector: images and positions in; goniometer, result and verdict out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import xarray as xr

from friedel.core.context import Context
from friedel.core.errors import CalibrationError, ParameterError
from friedel.core.files import check_outputs, replacing
from friedel.core.formula import Formula
from friedel.core.provenance import refuse_to_replace_inputs
from friedel.data.conventions import coordinate
from friedel.instrument import Calibrant, Detector, Geometry, Goniometer
from friedel.io.frames import FrameSource, open_frames
from friedel.techniques.calibration import GoniometerModel, usual_formulas
from friedel.techniques.calibration.calibrate import Scene, with_findings
from friedel.techniques.calibration.findings import Finding
from friedel.techniques.calibration.goniometer import (
    SHIFTS,
    TURNS,
    Choices,
    GoniometerCalibration,
    Start,
    find_start,
)
from friedel.techniques.calibration.goniometer import (
    calibrate_goniometer as calibrate_series,
)
from friedel.techniques.calibration.goniometer_model import LENGTHS, ROTATIONS, names_in
from friedel.techniques.calibration.models import ALIASES
from friedel.techniques.calibration.validation import validate

from .files import write_result
from .goniometer_tasks import CalibrateGoniometer
from .inputs import files_of, find_detector, first_shape, frame_scene, load_start, parse_bounds, wavelength_of
from .inputs import read_scene as read_scene_of_files
from .positions import one_for_each, parse_formulas, parse_values, read_positions
from .result import calibration_dataset, failed_dataset
from .workflow import with_record

SOMEWHERE = 0.5
"""Distance in m that formulas are written down with before any image was looked at."""
JSON = ".json"
MUCH, NOTICED = 1.5, 0.05
"""How many times, and by how many pixels, residuals exceed those of an image alone where formulas are doubted."""


@dataclass(frozen=True, eq=False)
class Series(Sequence[Scene]):
    """Images that are read and corrected when they are asked for."""

    parameters: CalibrateGoniometer
    files: tuple[str, ...]
    sources: tuple[FrameSource, ...]
    detector: Detector
    by_file: bool

    def __len__(self) -> int:
        return len(self.files) if self.by_file else sum(source.n_frames for source in self.sources)

    def __getitem__(self, number: int) -> Scene:  # type: ignore[override]
        return self._recent(number)

    @cached_property
    def _recent(self) -> Callable[[int], Scene]:
        """Return images as `_read` does; the last two are kept, since one is looked at several times in a row."""
        return lru_cache(maxsize=2)(self._read)

    def _read(self, number: int) -> Scene:
        if self.by_file:
            return read_scene_of_files(self.parameters, [self.files[number]], self.detector)
        for source in self.sources:
            if number < source.n_frames:
                return frame_scene(self.parameters, source.decoded(number, number + 1)[0], self.detector)
            number -= source.n_frames
        raise IndexError(number)


def calibrate_goniometer(parameters: CalibrateGoniometer, context: Context) -> xr.Dataset:
    """Calibrate; see `CalibrateGoniometer`. A result that failed is returned, not raised."""
    files = files_of(parameters.images)
    output, result_file = _outputs(parameters.output)
    read = [*files, *filter(None, (parameters.geometry, parameters.goniometer))]
    refuse_to_replace_inputs([output, result_file], read)
    check_outputs([output, result_file], parameters.overwrite)
    calibrant = Calibrant.load(parameters.calibrant)
    context = context.on_cpu("Geometries are found")
    series, model, start = _prepared(parameters, files)
    found: GoniometerCalibration | CalibrationError
    try:
        start = start or find_start(series, model, calibrant, context.step)
        found = calibrate_series(
            series,
            model,
            calibrant,
            start,
            Choices(fixed=parameters.fix, bounds=parse_bounds(parameters.bounds)),
            rounds=parameters.rounds,
            threads=context.runner.threads,
            tell=context.step,
        )
    except CalibrationError as error:
        found = error
    if isinstance(found, CalibrationError):
        dataset = failed_dataset(found.problem, found.remedy, series[0], None)
    else:
        dataset = goniometer_dataset(found, calibrant, series, context.runner.threads)
    dataset = with_record(dataset, context, [*read, parameters.calibrant])
    context.step("Writing.")
    _write(dataset, found, output, result_file, parameters.report is not None)
    return dataset


def _write(
    dataset: xr.Dataset,
    found: GoniometerCalibration | CalibrationError,
    output: Path,
    result_file: Path,
    report: bool,
) -> None:
    usable = not isinstance(found, CalibrationError) and dataset.attrs["verdict"] != "failed"
    if usable and isinstance(found, GoniometerCalibration):
        with replacing(output) as lent:
            write_result(result_file, dataset)
            found.goniometer.save(lent)
    elif report:
        write_result(result_file, dataset)


def _outputs(output: str) -> tuple[Path, Path]:
    path = Path(output)
    if path.suffix.lower() not in (JSON, ".h5"):
        raise ParameterError(f"{output}: a goniometer cannot have this name.", "Let it end in .json (or .h5).")
    return path.with_suffix(JSON), path.with_suffix(".h5")


# ------------------------------------------------------------------------------------------------ what is given


def _prepared(parameters: CalibrateGoniometer, files: list[str]) -> tuple[Series, GoniometerModel, Start | None]:
    """Return images, formulas with start values, and the start if it is known."""
    shape = first_shape(files)
    given = None if parameters.goniometer is None else Goniometer.load(parameters.goniometer)
    geometry = None if parameters.geometry is None else load_start(parameters.geometry, parameters.orientation, shape)
    if given is not None:
        parameters.refuse(("geometry", "expressions", "moves", "start"), "the goniometer tells it")
    if given is not None or geometry is not None:
        parameters.refuse(("detector",), f"the {'geometry' if geometry is not None else 'goniometer'} tells it")
    detector = _detector(parameters, given, geometry, shape)
    wavelength = wavelength_of(parameters)
    sources = tuple(open_frames((file,)) for file in files)
    n_frames = sum(source.n_frames for source in sources)
    names, positions, by_file = _positions(parameters, given, sources, n_frames)
    series = Series(parameters, tuple(files), sources, detector, by_file)
    if given is not None:
        given = replace(given, detector=detector, wavelength=wavelength or given.wavelength)
        known = GoniometerModel(given, positions)
        start = Start(known.templates[0], 0, known.names)
        return series, known, start
    if geometry is not None:
        geometry = replace(geometry, wavelength=wavelength or geometry.wavelength)
    wavelength = wavelength or (geometry.wavelength if geometry is not None else None)
    if wavelength is None:
        raise ParameterError("The wavelength is missing.", "Give --energy or --wavelength.")
    if geometry is not None and not parameters.geometry_image < len(positions):
        raise ParameterError(
            f"geometry_image is {parameters.geometry_image}, there are {len(positions)} images.", "Count from 0."
        )
    goniometer, meant = _goniometer(parameters, names, detector, wavelength, geometry)
    model = GoniometerModel(goniometer, positions)
    return series, model, None if geometry is None else Start(geometry, parameters.geometry_image, meant)


def _detector(
    parameters: CalibrateGoniometer, given: Goniometer | None, geometry: Geometry | None, shape: tuple[int, int]
) -> Detector:
    if geometry is not None:
        return geometry.detector
    if given is None:
        return find_detector(parameters.detector, parameters.orientation, shape)
    detector = given.detector
    if parameters.orientation is not None:
        detector = replace(detector, orientation=parameters.orientation)
    return detector.with_shape(shape)


def _positions(
    parameters: CalibrateGoniometer, given: Goniometer | None, sources: tuple[FrameSource, ...], n_frames: int
) -> tuple[tuple[str, ...], np.ndarray, bool]:
    """Return the motors, their positions, and whether each file is one image."""
    texts = parameters.positions or (given.motors if given is not None else ())
    by_file = n_frames > len(sources) and one_for_each(texts, len(sources))
    names, positions = read_positions(texts, sources, len(sources) if by_file else n_frames)
    if given is None:
        return names, positions, by_file
    if len(names) != len(given.motors):
        raise ParameterError(
            f"positions has {len(names)} entries for the motors {', '.join(given.motors)}.", "Give one for each."
        )
    if set(names) == set(given.motors):
        positions = positions[:, [names.index(motor) for motor in given.motors]]
    return given.motors, positions, by_file


def _goniometer(
    parameters: CalibrateGoniometer,
    motors: tuple[str, ...],
    detector: Detector,
    wavelength: float,
    geometry: Geometry | None,
) -> tuple[Goniometer, tuple[str, ...]]:
    """Return formulas with values to write them down with, and the parameters whose values are meant."""
    formulas, slopes = _formulas(parameters, motors)
    meant = parse_values(parameters.start, "start")
    names = names_in(formulas, motors)
    unknown = sorted(set(meant) - set(names))
    if unknown:
        raise ParameterError(f"start: there is no parameter {', '.join(unknown)}.", f"Parameters: {', '.join(names)}.")
    distance = abs(geometry.distance) if geometry is not None else SOMEWHERE
    values = dict.fromkeys(names, 0.0)
    values |= dict.fromkeys(Formula(formulas["distance"]).variables & set(names), distance)
    values |= slopes | ({"wavelength": wavelength} if "wavelength" in names else {}) | meant
    goniometer = Goniometer.of(detector, formulas, values, motors, wavelength)
    return goniometer, (*meant, *(["wavelength"] if "wavelength" in names else []))


def _formulas(parameters: CalibrateGoniometer, motors: tuple[str, ...]) -> tuple[dict[str, str], dict[str, float]]:
    """Return the formula of each number, and usual values of main slopes."""
    if not parameters.expressions:
        moved = parameters.moves or ("rot1",) * len(motors)
        if len(moved) != len(motors):
            raise ParameterError(
                f"moves has {len(moved)} entries for the motors {', '.join(motors)}.",
                "Say for each motor what it moves: rot1, rot2, distance, poni1, poni2.",
            )
        moves = {motor: ALIASES.get(name, name) for motor, name in zip(motors, moved, strict=True)}
        slopes = {f"{name}_per_{motor}": (SHIFTS if name in LENGTHS else TURNS)[0] for motor, name in moves.items()}
        return usual_formulas(moves), slopes
    parameters.refuse(("moves",), "expressions say it")
    given = {ALIASES.get(name, name): text for name, text in parse_formulas(parameters.expressions).items()}
    formulas = {name: name for name in (*LENGTHS, *ROTATIONS[:2])} | given
    if not any(Formula(text).variables & set(motors) for text in given.values()):
        raise ParameterError(
            f"No expression has the motor {' or '.join(motors)} in it.",
            f"Write one like rot1=scale*{motors[0]}+offset.",
        )
    return formulas, {}


# ------------------------------------------------------------------------------------------------ what is told


def goniometer_dataset(
    found: GoniometerCalibration, calibrant: Calibrant, series: Sequence[Scene], threads: int
) -> xr.Dataset:
    """Return everything that the calibration of a goniometer found."""
    validation = with_findings(validate(found.points, found.refinement, calibrant), list(_findings(found, calibrant)))
    dataset = calibration_dataset(found.points, found.refinement, validation, calibrant, [series[0]], threads)
    dataset.attrs["title"] = f"Goniometer calibrated with {calibrant.name}"
    dataset.attrs["numbers"] = list(_numbers(found))
    dataset.attrs["formulas"] = {name: formula.text for name, formula in found.goniometer.formulas}
    units = [_unit(found.goniometer, name) for name in found.refinement.names]
    dataset["parameter_value"].attrs["units_of_each"] = units
    count = np.bincount(found.points.image[found.refinement.used], minlength=len(found.positions))
    mean, error = _means(found)
    attributes = {"units": "pixel", "long_name": "Mean distance of an image's points from their rings"}
    dataset["position_residual"] = ("position", mean, attributes)
    dataset["position_residual_errors"] = ("position", error, {"units": "pixel"})
    dataset["position_rms"] = ("position", found.rms(), {"units": "pixel", "long_name": "Residual of the image"})
    dataset["position_points"] = ("position", count, {"units": "", "long_name": "Control points that count"})
    for place, motor in enumerate(found.goniometer.motors):
        dataset[f"position_{motor}"] = ("position", found.positions[:, place], {"long_name": f"Position of {motor}"})
    for name in (*LENGTHS, *ROTATIONS):
        values = [getattr(geometry, name) for geometry in found.refinement.geometries]
        unit = "m" if name in LENGTHS else "rad"
        dataset[f"position_{name}"] = ("position", values, {"units": unit, "long_name": f"{name} at the position"})
    dataset.coords["position"] = coordinate("position", np.arange(len(found.positions)), "", "Number of the image")
    return dataset


def _means(found: GoniometerCalibration) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean residual of each image and its standard error, pixels."""
    mean, error = np.full((2, len(found.positions)), np.nan)
    for number in range(len(mean)):
        chosen = found.refinement.residuals[found.refinement.used & (found.points.image == number)]
        if chosen.size > 1:
            mean[number], error[number] = chosen.mean(), chosen.std(ddof=1) / math.sqrt(chosen.size)
    return mean, error


def _findings(found: GoniometerCalibration, calibrant: Calibrant) -> Iterator[Finding]:
    for number, reason in sorted(found.left_out.items()):
        where = ", ".join(
            f"{motor} = {value:g}"
            for motor, value in zip(found.goniometer.motors, found.positions[number], strict=True)
        )
        text = f"Image {number} ({where}) is left out: {reason}."
        yield Finding("images", "doubtful", text, "Check its position and the image.")
    rms = found.rms()
    used = np.flatnonzero(np.isfinite(rms))
    if not len(used):
        return
    worst, motor = int(used[np.argmax(rms[used])]), found.goniometer.motors[0]
    alone = found.rms_alone(worst, calibrant)
    if rms[worst] > MUCH * alone and rms[worst] > alone + NOTICED:
        tried = "; ".join(f"{name} = {formula.text}" for name, formula in found.goniometer.formulas)
        yield Finding(
            "formulas",
            "doubtful",
            f"The formulas put the rings of image {worst} off by {rms[worst]:.2f} pixels, where its own geometry would "
            f"leave {alone:.2f}: the detector does not move as they say ({tried}).",
            f"Check the positions, or say otherwise how it moves (--moves), or give formulas with more freedom: "
            f'--expressions "rot1=scale*{motor}+offset" "rot2=slope*{motor}+tilt".',
        )
    else:
        text = f"The formulas describe all {len(used)} images; the worst is image {worst}, {rms[worst]:.2f} pixels."
        yield Finding("formulas", "good", text)


def _numbers(found: GoniometerCalibration) -> Iterator[str]:
    refinement = found.refinement
    for name, value, error in zip(refinement.names, refinement.values, refinement.errors, strict=True):
        unit = _unit(found.goniometer, name)
        if name not in refinement.free:
            yield f"{name} {value:.9g} {unit} (not refined)"
        elif math.isfinite(error):
            yield f"{name} {value:.9g} +/- {error:.2g} {unit}"
        else:
            yield f"{name} {value:.9g} {unit} (not determined)"


def _unit(goniometer: Goniometer, name: str) -> str:
    """Return the unit of a parameter as far as its name tells."""
    if name == "wavelength" or name in (*LENGTHS, "dist"):
        return "m"
    for field in (*LENGTHS, *ROTATIONS):
        for motor in goniometer.motors:
            if name == f"{field}_per_{motor}":
                return f"{'m' if field in LENGTHS else 'rad'}/{motor}"
    return "rad" if name in ROTATIONS else ""
