"""The tasks that merge, from files; results as in Python."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from friedel.core.context import Context
from friedel.core.errors import DataError, InputError, OutputError, ParameterError
from friedel.instrument import Detector, Geometry, Goniometer
from friedel.run import InlineRunner, ThreadRunner
from friedel.techniques.integration import MultiGeometry
from friedel.techniques.integration.tasks import merge1d, merge2d

SHAPE = (30, 40)
ANGLES = (0.0, -10.0, -20.0, -30.0)
ARM = {
    "content": "Goniometer calibration v2",
    "detector": "Detector",
    "detector_config": {"pixel1": 1e-3, "pixel2": 1e-3, "max_shape": list(SHAPE), "orientation": 3},
    "wavelength": 1e-10,
    "param": [0.1, 0.015, 0.02],
    "param_names": ["dist", "poni1", "poni2"],
    "pos_names": ["nu"],
    "trans_function": {
        "dist_expr": "dist",
        "poni1_expr": "poni1",
        "poni2_expr": "poni2",
        "rot1_expr": "nu * pi / 180",
        "rot2_expr": "0.05",
        "rot3_expr": "0",
    },
}


@pytest.fixture
def scan(tmp_path) -> Path:
    """Frames of a detector on an arm, with motor and monitor; goniometer and PONI files beside it."""
    rng = np.random.default_rng(4)
    (tmp_path / "arm.json").write_text(json.dumps(ARM))
    arm = Goniometer.load(tmp_path / "arm.json")
    for number, angle in enumerate(ANGLES):
        arm.geometry({"nu": angle}).save(tmp_path / f"{number}.poni")
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        entry = file.create_group("entry")
        entry["data/data"] = rng.poisson(30, (4, *SHAPE)).astype(np.uint32)
        entry["measurement/nu"] = np.array(ANGLES)
        entry["measurement/flux"] = np.array([1.0, 2.0, 1.5, 0.5])
    return tmp_path / "scan.h5"


def frames_of(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file["entry/data/data"][()])


def execute(task, runner=None, **values):
    return task.execute(task.parameters.parse(values), Context(runner or InlineRunner()))


def geometries(scan: Path) -> list[Geometry]:
    return [Geometry.load(scan.with_name(f"{number}.poni")) for number in range(4)]


def same(result, expected):
    for name in expected.data_vars:
        np.testing.assert_array_equal(result[name], expected[name], err_msg=name)


@pytest.mark.parametrize("runner", [InlineRunner(), ThreadRunner(3)])
def test_a_goniometer_scan(scan, tmp_path, runner):
    options = {"npt": 40, "error_model": "poisson"}
    given = {"frames": scan, "geometry": scan.with_name("arm.json"), "monitor": "flux", **options}
    result = execute(merge1d, runner, **given, output=tmp_path / "merged.h5")
    expected = MultiGeometry(geometries(scan), **options).integrate1d(
        frames_of(scan), normalization=[1.0, 2.0, 1.5, 0.5]
    )
    same(result, expected)
    assert result["intensity"].dims == ("radial",)
    record = json.loads(result.attrs["provenance"])
    assert {Path(item["path"]).name for item in record["inputs"]} == {"scan.h5", "arm.json"}


def test_poni_files_for_each_frame_and_positions_by_hand(scan, tmp_path):
    options = {"npt": 25, "npt_azimuth": 12, "error_model": "poisson", "std": True}
    ponis = [scan.with_name(f"{number}.poni") for number in range(4)]
    one = execute(merge2d, **options, frames=scan, geometry=ponis)
    two = execute(merge2d, **options, frames=scan, geometry=scan.with_name("arm.json"), positions="0,-10,-20,-30")
    expected = MultiGeometry(geometries(scan), **options).integrate2d(frames_of(scan))
    same(one, expected)
    assert one["intensity"].dims == ("azimuth", "radial")
    np.testing.assert_allclose(two["intensity"], one["intensity"], rtol=1e-5)


def test_several_detectors_that_record_at_once(scan, tmp_path):
    """One geometry for each file, other shapes and masks: pattern i is of the frames i."""
    rng = np.random.default_rng(9)
    other = Geometry(Detector.from_shape((20, 25), 2e-3), 0.3, -0.01, 0.0, wavelength=1e-10)
    other.save(tmp_path / "other.poni")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["entry/data/data"] = rng.poisson(20, (4, 20, 25)).astype(np.uint16)
    masks = [rng.uniform(size=SHAPE) < 0.2, rng.uniform(size=(20, 25)) < 0.2]
    variances = [rng.uniform(5, 9, (4, *SHAPE)), rng.uniform(5, 9, (4, 20, 25))]
    for number, (mask, variance) in enumerate(zip(masks, variances, strict=True)):
        np.save(tmp_path / f"mask{number}.npy", mask.astype(np.uint8))
        with h5py.File(tmp_path / f"variance{number}.h5", "w") as file:
            file["entry/data/data"] = variance
    given = {
        "frames": [scan, tmp_path / "other.h5"],
        "geometry": [scan.with_name("0.poni"), tmp_path / "other.poni"],
        "mask": [tmp_path / "mask0.npy", tmp_path / "mask1.npy"],
        "variance": [tmp_path / "variance0.h5", tmp_path / "variance1.h5"],
    }
    result = execute(merge1d, **given, npt=30, block_frames=3, output=tmp_path / "merged.h5")
    assert result["intensity"].dims == ("frame", "radial")
    np.testing.assert_array_equal(result["nu"], ANGLES)
    setup = (geometries(scan)[0], other)
    expected = MultiGeometry(setup, npt=30, mask=masks).integrate1d(
        [frames_of(scan), frames_of(tmp_path / "other.h5")], variance=variances
    )
    same(result, expected)


def test_text_and_files_that_exist(scan, tmp_path):
    given = {"frames": scan, "geometry": scan.with_name("arm.json"), "npt": 20, "output": tmp_path / "merged.xy"}
    result = execute(merge1d, **given)
    radial, intensity = np.loadtxt(tmp_path / "merged.xy", unpack=True)[:2]
    np.testing.assert_allclose(intensity, result["intensity"], rtol=1e-5)
    np.testing.assert_allclose(radial, result["radial"], rtol=1e-5)
    with pytest.raises(OutputError, match="exists"):
        execute(merge1d, **given)
    execute(merge1d, **given, overwrite=True)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"geometry": ["0.poni", "1.poni"]}, DataError, "2 geometries for 4 frames"),
        ({"geometry": "arm.json", "positions": ["0,1"]}, DataError, "2 numbers"),
        ({"geometry": "arm.json", "positions": ["nu", "del"]}, ParameterError, "2 entries"),
        ({"geometry": "arm.json", "positions": ["mu"]}, InputError, "mu"),
        ({"geometry": "arm.json", "format": "pyfai"}, ParameterError, "format"),
        ({"geometry": "arm.json", "on_error": "skip"}, ParameterError, "on_error"),
        ({"geometry": "arm.json", "estimator": "sigma-clip"}, ParameterError, "merged"),
    ],
)
def test_what_does_not_go_together(scan, changes, error, message):
    given = changes["geometry"]
    paths = [scan.with_name(name) for name in ([given] if isinstance(given, str) else given)]
    with pytest.raises(error, match=message):
        execute(merge1d, **(changes | {"frames": scan, "geometry": paths, "npt": 10}))


def test_cakes_are_no_text(scan):
    with pytest.raises(ParameterError, match="cake"):
        execute(merge2d, frames=scan, geometry=scan.with_name("arm.json"), output="cake.xy")
