"""Geometries that follow from motors: formulas of usual setups, and their refinement to exact and to noisy points."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibrant_rings import CERIA, moved, ring_places
from friedel.core.errors import DataError, ParameterError
from friedel.instrument import Detector, Geometry, Goniometer
from friedel.techniques.calibration import ControlPoints, refine
from friedel.techniques.calibration.goniometer_model import (
    GoniometerModel,
    as_positions,
    fitted_to_geometry,
    motor_name,
    names_in,
    usual_formulas,
)

WAVELENGTH = 0.4e-10
ARM = {
    "distance": 0.3,
    "poni1": 0.045,
    "poni2": 0.041,
    "rot1_per_nu": math.pi / 180 * 1.002,
    "rot1": 0.01,
    "rot2": -0.02,
}


def goniometer(moves: dict[str, str], **values: float) -> Goniometer:
    formulas = usual_formulas(moves)
    names = names_in(formulas, tuple(moves))
    return Goniometer.of(
        Detector.named("Pilatus300k"),
        formulas,
        {name: values.get(name, 0.0) for name in names},
        tuple(moves),
        WAVELENGTH,
    )


def points_of(geometries: tuple[Geometry, ...]) -> ControlPoints:
    places = [ring_places(geometry, rings=30).of_image(number) for number, geometry in enumerate(geometries)]
    return ControlPoints.joined(places)


def test_an_arm_carries_the_tilt_of_the_detector() -> None:
    at = goniometer({"nu": "rot1"}, **ARM).geometry({"nu": 40.0})
    angle = 40.0 * ARM["rot1_per_nu"] + ARM["rot1"]
    c, s = math.cos(angle), math.sin(angle)
    arm = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    mounted = Geometry(at.detector, 0.3, 0.045, 0.041, 0.0, ARM["rot2"])
    np.testing.assert_allclose(at.rotation(), arm @ mounted.rotation(), atol=1e-14)


def test_formulas_of_setups() -> None:
    assert usual_formulas({"z": "dist"})["poni1"] == "poni1_per_z * z + poni1"
    both = usual_formulas({"nu": "rot1", "delta": "rot2"})
    assert both["rot1"] == "rot1_per_nu * nu + rot1"
    assert both["rot2"] == "rot2_per_delta * delta + rot2"
    assert names_in(both, ("nu", "delta")) == (
        *("distance", "poni1", "poni2", "rot1_per_nu", "rot1", "rot2_per_delta", "rot2"),
    )
    with pytest.raises(ParameterError, match="moves 'tilt'"):
        usual_formulas({"nu": "tilt"})


def test_names_of_motors() -> None:
    assert motor_name("/entry/instrument/nu-axis") == "nu_axis"
    assert motor_name("2theta") == "motor_2theta"


def test_exact_points_give_the_goniometer_exactly() -> None:
    truth = goniometer({"nu": "rot1"}, **ARM)
    positions = np.arange(0.0, 31.0, 10.0)[:, None]
    points = points_of(GoniometerModel(truth, positions).templates)
    start = GoniometerModel(truth.with_values([0.305, 0.0455, 0.0405, math.pi / 180, 0.012, -0.018]), positions)
    found = refine(points, start, CERIA)
    assert found.converged
    assert not found.undetermined
    np.testing.assert_allclose(found.values, list(ARM.values()), rtol=1e-6)


def test_errors_are_those_of_the_noise() -> None:
    truth = goniometer({"nu": "rot1"}, **ARM)
    positions = np.arange(0.0, 31.0, 10.0)[:, None]
    model = GoniometerModel(truth, positions)
    points = points_of(model.templates)
    pulls = []
    for seed in range(12):
        noisy = moved(points, np.random.default_rng(seed))
        found = refine(noisy, model, CERIA)
        pulls.append((found.values - model.start) / found.errors)
    assert 0.7 < np.std(pulls) < 1.3


def test_what_the_positions_do_not_tell_is_reported() -> None:
    model = GoniometerModel(goniometer({"nu": "rot1"}, **ARM), np.array([[10.0]]))
    found = refine(moved(points_of(model.templates), np.random.default_rng(1)), model, CERIA)
    assert set(found.undetermined) & {"rot1", "rot1_per_nu"}
    assert "rot1_per_nu" in " ".join(found.undetermined.values())


def test_a_stage_that_is_not_parallel_to_the_beam() -> None:
    values = {"distance_per_z": 1e-3, "distance": 0.2, "poni1": 0.05, "poni2": 0.04, "poni1_per_z": 2e-5}
    truth = goniometer({"z": "distance"}, **values, poni2_per_z=-1e-5, rot1=0.02, rot2=0.01)
    positions = np.array([[0.0], [50.0], [100.0]])
    points = points_of(GoniometerModel(truth, positions).templates)
    start = truth.with_values([value + 1e-6 for _, value in truth.values])
    found = refine(points, GoniometerModel(start, positions), CERIA)
    np.testing.assert_allclose(found.values, [value for _, value in truth.values], rtol=1e-5, atol=1e-9)


def test_starting_from_one_geometry() -> None:
    model = GoniometerModel(goniometer({"nu": "rot1"}, rot1_per_nu=0.017, distance=1.0), np.array([[0.0], [20.0]]))
    geometry = Geometry(model.goniometer.detector, 0.31, 0.04, 0.05, 0.36, -0.03)
    values = fitted_to_geometry(model, model.start, geometry, 1, ("rot1_per_nu",))
    at = model.with_start(values).geometries(values)[1]
    for name in ("distance", "poni1", "poni2", "rot1", "rot2"):
        assert getattr(at, name) == pytest.approx(getattr(geometry, name), abs=1e-9), name
    assert values[model.names.index("rot1_per_nu")] == 0.017


def test_names_of_parameters_may_be_the_files() -> None:
    formulas = {"dist": "dist", "poni1": "poni1", "poni2": "poni2", "rot1": "scale * pos"}
    values = {"dist": 0.3, "poni1": 0.0, "poni2": 0.0, "scale": 0.02}
    model = GoniometerModel(Goniometer.of(Detector.named("Pilatus100k"), formulas, values), np.array([[1.0]]))
    assert model.expand(["dist", "scale"]) == ("dist", "scale")
    assert model.expand(["distance"]) == ("dist",)
    with pytest.raises(ParameterError, match="no parameter 'rot1'"):
        model.expand(["rot1"])


@pytest.mark.parametrize(
    ("given", "problem"),
    [([[1.0, 2.0]], "2 positions for 3"), ([[1.0], [2.0]], "2 motors"), ([[math.nan]], "Not every position")],
)
def test_positions_that_do_not_fit(given: list[list[float]], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        as_positions(given, 3, ("nu",))
    assert as_positions([[2.0]], 3, ("nu",)).tolist() == [[2.0], [2.0], [2.0]]
