"""The way from a series of images at motor positions to a goniometer, on simulated images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from friedel.core.errors import CalibrationError
from friedel.instrument import Calibrant, Detector, Goniometer
from friedel.instrument.virtual import Exposure, simulated_frame
from friedel.techniques.calibration.goniometer import (
    Choices,
    Start,
    calibrate_goniometer,
    find_start,
    first_values,
    slopes_of,
)
from friedel.techniques.calibration.goniometer_model import GoniometerModel, names_in, usual_formulas

WAVELENGTH = 0.4e-10
HEXABORIDE = Calibrant.named("LaB6")
DETECTOR = Detector.from_shape((320, 300), 3e-4)
ARM = {
    "distance": 0.25,
    "poni1": 0.05,
    "poni2": 0.041,
    "rot1_per_nu": -math.pi / 180 * 1.003,
    "rot1": 0.01,
    "rot2": -0.02,
}
STAGE = {"distance_per_z": 1e-3, "distance": 0.2, "poni1_per_z": 3e-5, "poni1": 0.045, "poni2_per_z": -2e-5}
STAGE |= {"poni2": 0.047, "rot1": 0.02, "rot2": 0.01}


@dataclass
class Scene:
    image: np.ndarray
    mask: np.ndarray


def goniometer(moves: dict[str, str], values: dict[str, float]) -> Goniometer:
    formulas = usual_formulas(moves)
    names = names_in(formulas, tuple(moves))
    start = {"distance": 0.5} | values
    return Goniometer.of(DETECTOR, formulas, {name: start.get(name, 0.0) for name in names}, tuple(moves), WAVELENGTH)


def series(truth: Goniometer, positions: list[float] | list[tuple[float, float]]) -> list[Scene]:
    scenes = []
    for number, position in enumerate(positions):
        at = position if isinstance(position, tuple) else (position,)
        geometry = truth.geometry(dict(zip(truth.motors, at, strict=True)))
        frame = simulated_frame(geometry, HEXABORIDE.rings(WAVELENGTH), Exposure(counts=400, width=0.12), seed=number)
        scenes.append(Scene(frame.image, np.zeros(DETECTOR.known_shape(), bool)))
    return scenes


def model_at(positions: list[float], moves: dict[str, str], **guess: float) -> GoniometerModel:
    return GoniometerModel(goniometer(moves, guess), np.array(positions)[:, None])


@pytest.fixture(scope="module")
def arm() -> list[Scene]:
    return series(goniometer({"nu": "rot1"}, ARM), [0.0, 8.0, 16.0, 24.0])


def test_an_arm_is_found_without_a_guess(arm: list[Scene]) -> None:
    model = model_at([0.0, 8.0, 16.0, 24.0], {"nu": "rot1"}, rot1_per_nu=math.pi / 180)
    told: list[str] = []
    start = find_start(arm, model, HEXABORIDE, told.append)
    found = calibrate_goniometer(arm, model, HEXABORIDE, start, tell=told.append)
    refinement = found.refinement
    assert not found.left_out
    assert not refinement.undetermined
    assert np.abs((refinement.values - list(ARM.values())) / refinement.errors).max() < 4.0
    assert np.nanmax(found.rms()) < 0.3
    assert np.array(found.goniometer.covariance).shape == (6, 6)
    assert told[0].startswith("Image 0: the search")


def test_an_image_at_another_position_than_told_is_left_out(arm: list[Scene]) -> None:
    model = model_at([0.0, 8.0, 16.0, 20.0], {"nu": "rot1"}, rot1_per_nu=-math.pi / 180)
    start = Start(goniometer({"nu": "rot1"}, ARM).geometry({"nu": 0.0}), 0, ("rot1_per_nu",))
    found = calibrate_goniometer(arm, model, HEXABORIDE, start)
    assert list(found.left_out) == [3]
    assert np.isnan(found.rms()[3])
    assert len(found.refinement.geometries) == 4
    assert np.abs((found.refinement.values - list(ARM.values())) / found.refinement.errors).max() < 5.0


def test_parameters_can_be_kept(arm: list[Scene]) -> None:
    model = model_at([0.0, 8.0], {"nu": "rot1"}, rot1_per_nu=ARM["rot1_per_nu"])
    start = Start(goniometer({"nu": "rot1"}, ARM).geometry({"nu": 0.0}), 0, ("rot1_per_nu",))
    found = calibrate_goniometer(arm[:2], model, HEXABORIDE, start, Choices(fixed=("rot1_per_nu",)))
    assert dict(found.goniometer.values)["rot1_per_nu"] == ARM["rot1_per_nu"]
    assert "rot1_per_nu" not in found.refinement.free


def test_what_one_position_cannot_tell_is_reported(arm: list[Scene]) -> None:
    model = model_at([0.0], {"nu": "rot1"}, rot1_per_nu=-math.pi / 180)
    start = Start(goniometer({"nu": "rot1"}, ARM).geometry({"nu": 0.0}), 0, ("rot1_per_nu",))
    found = calibrate_goniometer(arm[:1], model, HEXABORIDE, start)
    assert list(found.refinement.undetermined) == ["rot1_per_nu"]


def test_a_stage_in_millimetres_that_is_not_parallel_to_the_beam() -> None:
    positions = [0.0, 40.0, 80.0]
    scenes = series(goniometer({"z": "distance"}, STAGE), positions)
    model = model_at(positions, {"z": "distance"}, distance_per_z=1e-3)
    start = Start(goniometer({"z": "distance"}, STAGE).geometry({"z": 40.0}), 1)
    found = calibrate_goniometer(scenes, model, HEXABORIDE, start)
    truth = [STAGE[name] for name in found.refinement.names]
    assert np.abs((found.refinement.values - truth) / found.refinement.errors).max() < 4.0


def test_two_arms_one_on_the_other() -> None:
    moves = {"nu": "rot1", "delta": "rot2"}
    values = {"distance": 0.25, "poni1": 0.05, "poni2": 0.045, "rot1": 0.01, "rot2": 0.005}
    values |= {"rot1_per_nu": -math.pi / 180, "rot2_per_delta": 0.999 * math.pi / 180}
    positions = [(0.0, 0.0), (8.0, 0.0), (0.0, 6.0), (8.0, 6.0)]
    scenes = series(goniometer(moves, values), positions)
    guess = {"rot1_per_nu": math.pi / 180, "rot2_per_delta": math.pi / 180}
    model = GoniometerModel(goniometer(moves, guess), np.array(positions))
    start = Start(goniometer(moves, values).geometry({"nu": 0.0, "delta": 0.0}), 0)
    found = calibrate_goniometer(scenes, model, HEXABORIDE, start)
    truth = [values[name] for name in found.refinement.names]
    assert not found.left_out
    assert np.abs((found.refinement.values - truth) / found.refinement.errors).max() < 4.0


def test_slopes_are_those_that_multiply_positions() -> None:
    assert slopes_of(model_at([1.0], {"nu": "rot1"}, **ARM)) == ["rot1_per_nu"]
    assert slopes_of(model_at([1.0], {"z": "distance"}, **STAGE)) == ["distance_per_z", "poni1_per_z", "poni2_per_z"]


def test_the_images_tell_which_way_a_motor_turns(arm: list[Scene]) -> None:
    model = model_at([0.0, 8.0, 16.0, 24.0], {"nu": "rot1"})
    start = Start(goniometer({"nu": "rot1"}, ARM).geometry({"nu": 0.0}), 0)
    values = first_values(arm, model, HEXABORIDE, start)
    assert values[model.names.index("rot1_per_nu")] == -math.pi / 180


def test_positions_of_something_else_are_refused(arm: list[Scene]) -> None:
    model = model_at([0.0, 91.0, 47.0, 160.0], {"nu": "rot1"}, rot1_per_nu=math.pi / 180)
    start = Start(goniometer({"nu": "rot1"}, ARM).geometry({"nu": 0.0}), 0)
    with pytest.raises(CalibrationError, match=r"rot1_per_nu|of 4 images only"):
        calibrate_goniometer(arm, model, HEXABORIDE, start)


def test_images_without_rings_cannot_start() -> None:
    noise = np.random.default_rng(0).poisson(10.0, DETECTOR.known_shape()).astype(float)
    scene = Scene(noise, np.zeros(noise.shape, bool))
    with pytest.raises(CalibrationError, match="No image can be calibrated by itself"):
        find_start([scene], model_at([0.0], {"nu": "rot1"}), HEXABORIDE, lambda text: None)
