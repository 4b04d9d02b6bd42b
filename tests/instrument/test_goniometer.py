"""A detector on an arm: geometries from positions, and what is said about files that are none."""

import json
import math

import numpy as np
import pytest

from friedel.core.errors import FileError, GeometryError, ParameterError
from friedel.instrument import Detector, Geometry, Goniometer

ARM = {
    "content": "Goniometer calibration v2",
    "detector": "Pilatus 100k",
    "detector_config": {"orientation": 3},
    "wavelength": 7.749e-11,
    "param": [0.9, 0.025, 0.03, 0.01, 0.0174, -0.02, 0.001],
    "param_names": ["dist", "poni1", "poni2", "rot1", "rot1_scale", "rot2_offset", "rot2_scale"],
    "pos_names": ["pos"],
    "trans_function": {
        "content": "GeometryTransformation",
        "param_names": ["dist", "poni1", "poni2", "rot1", "rot1_scale", "rot2_offset", "rot2_scale"],
        "pos_names": ["pos"],
        "dist_expr": "dist",
        "poni1_expr": "poni1",
        "poni2_expr": "poni2",
        "rot1_expr": "rot1_scale * pos + rot1",
        "rot2_expr": "rot2_scale * pos + rot2_offset",
        "rot3_expr": "0.0",
        "constants": {"pi": 3.141592653589793},
    },
}


def written(folder, **changes):
    path = folder / "gonio.json"
    path.write_text(json.dumps(ARM | changes))
    return path


def function(**changes):
    return {"trans_function": ARM["trans_function"] | changes}


def test_the_geometry_at_a_position(tmp_path):
    goniometer = Goniometer.load(written(tmp_path))
    assert goniometer.motors == ("pos",)
    expected = Geometry(Detector.named("Pilatus100k"), 0.9, 0.025, 0.03, 0.184, -0.01, 0.0, 7.749e-11)
    found = goniometer.geometry({"pos": 10.0, "elsewhere": 3.0})
    assert found.detector == expected.detector
    for name in ("distance", "poni1", "poni2", "rot1", "rot2", "rot3", "wavelength"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name)), name


def test_two_motors_and_a_wavelength_that_follows(tmp_path):
    changes = function(rot1_expr="nu * pi / 180", dist_expr="dist + z", wavelength_expr="1.2398e-9 / energy")
    path = written(
        tmp_path,
        **changes,
        pos_names=["nu", "z"],
        param=ARM["param"] + [20.0],
        param_names=ARM["param_names"] + ["energy"],
    )
    path.write_text(path.read_text().replace("rot2_scale * pos + rot2_offset", "rot2_offset"))
    found = Goniometer.load(path).geometry({"nu": 180.0, "z": 0.1})
    assert found.rot1 == pytest.approx(3.141592653589793)
    assert found.distance == pytest.approx(1.0)
    assert found.wavelength == pytest.approx(6.199e-11)


def test_version_one_with_the_detector_beside_the_rest(tmp_path):
    path = tmp_path / "old.json"
    old = {key: value for key, value in ARM.items() if key != "detector_config"}
    old |= {"content": "Goniometer calibration v1.1", "detector": "Detector", "pixel1": 1e-4, "pixel2": 2e-4}
    path.write_text(json.dumps(old | {"max_shape": [10, 20]}))
    assert Goniometer.load(path).detector == Detector.from_shape((10, 20), 1e-4, 2e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content": "something else"}, "no goniometer"),
        ({"param": [1.0]}, "7 parameters have 1 values"),
        ({"trans_function": {}}, "param_names|no formula"),
        (function(dist_expr=None), "no formula of distance"),
        (function(rot1_expr="__import__('os')"), "no function of formulas"),
        (function(rot1_expr="roty * pos"), "not known"),
        ({"detector": "Kodachrome"}, "Kodachrome"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, changes, message):
    with pytest.raises(FileError, match=message):
        Goniometer.load(written(tmp_path, **changes))


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(FileError):
        Goniometer.load(tmp_path / "nothing.json")
    (tmp_path / "text.json").write_text("Distance: 1")
    with pytest.raises(FileError, match="no JSON"):
        Goniometer.load(tmp_path / "text.json")


def test_positions_that_are_missing_or_mean_nothing(tmp_path):
    goniometer = Goniometer.load(written(tmp_path, **function(dist_expr="dist / pos")))
    with pytest.raises(ParameterError, match="position of pos"):
        goniometer.geometry({"nu": 1.0})
    with pytest.raises(GeometryError, match="distance is inf at pos = 0"):
        goniometer.geometry({"pos": 0.0})


def test_what_is_saved_is_read_back(tmp_path):
    formulas = {"dist": "dist", "poni1": "poni1", "poni2": "poni2 + 1e-3 * z", "rot1": "scale * nu + offset"}
    values = {"dist": 0.9, "poni1": 0.025, "poni2": 0.03, "scale": math.pi / 180, "offset": 0.01}
    detector = Detector.named("Pilatus100k", orientation=2)
    made = Goniometer.of(detector, formulas, values, ("nu", "z"), 7.749e-11)
    made = made.with_values([value for _, value in made.values], np.diag(np.arange(5.0)))
    made.save(tmp_path / "gonio.json")
    read = Goniometer.load(tmp_path / "gonio.json")
    assert read.covariance == made.covariance
    assert read.geometry({"nu": 12.0, "z": 3.0}) == made.geometry({"nu": 12.0, "z": 3.0})


def test_a_wavelength_formula_is_saved(tmp_path):
    values = {"d": 0.9, "energy": 20.0}
    formulas = {"distance": "d", "poni1": "0", "poni2": "0", "wavelength": "1.2398e-9 / energy"}
    Goniometer.of(Detector.named("Pilatus100k"), formulas, values, ("x",)).save(tmp_path / "gonio.json")
    content = json.loads((tmp_path / "gonio.json").read_text())
    assert content["trans_function"]["content"] == "ExtendedTransformation"
    assert Goniometer.load(tmp_path / "gonio.json").geometry({"x": 0}).wavelength == pytest.approx(6.199e-11)


@pytest.mark.parametrize(
    ("formulas", "values", "problem"),
    [
        ({"dist": "d", "poni1": "0"}, {"d": 1.0}, "no formula of poni2"),
        ({"dist": "d", "poni1": "0", "poni2": "0", "tilt": "d"}, {"d": 1.0}, "has no tilt"),
        ({"dist": "d", "poni1": "0", "poni2": "e"}, {"d": 1.0}, "'e' .* is not known"),
        ({"dist": "pos", "poni1": "0", "poni2": "0"}, {"pos": 1.0}, "pos is a motor and a parameter"),
    ],
)
def test_formulas_that_make_no_goniometer(formulas, values, problem):
    with pytest.raises(ParameterError, match=problem):
        Goniometer.of(Detector.named("Pilatus100k"), formulas, values)
