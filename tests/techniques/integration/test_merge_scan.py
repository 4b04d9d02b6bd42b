"""The tasks that merge, from files; results as in Python."""

import json
import weakref
from pathlib import Path

import h5py
import numpy as np
import pytest

from friedel.core.context import Context
from friedel.core.errors import DataError, InputError, OutputError, ParameterError
from friedel.instrument import Detector, Geometry, Goniometer
from friedel.run import InlineRunner, ThreadRunner
from friedel.techniques.integration import MultiGeometry, RadialMap, merge
from friedel.techniques.integration.merge import Merging
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


def test_the_configuration_of_a_worker_is_no_goniometer(scan, tmp_path):
    poni = dict(line.split(": ", 1) for line in (tmp_path / "0.poni").read_text().splitlines() if line[0] != "#")
    worker = {
        "poni": {key.lower().replace("distance", "dist"): value for key, value in poni.items()}
        | {"detector_config": json.loads(poni["Detector_config"])},
        "nbpt_rad": 30, "unit": "2th_deg", "method": ["no", "csr", "cython"], "version": 5,
    }  # fmt: skip
    (tmp_path / "worker.json").write_text(json.dumps(worker))
    merged = execute(merge1d, frames=scan, pyfai_config=tmp_path / "worker.json")
    expected = MultiGeometry(geometries(scan)[:1], npt=30, unit="2th_deg", splitting="none", empty=0.0).integrate1d(
        [frames_of(scan)]
    )
    same(merged, expected)


@pytest.mark.parametrize("block_frames", [1, 3, 100])
def test_few_maps_are_in_memory_at_a_time(scan, tmp_path, monkeypatch, block_frames):
    """Twelve detectors that record ten frames each: a map is built when its frames come, for all of its blocks."""
    rng = np.random.default_rng(5)
    paths, setup, stacks = [], [], []
    arm = Goniometer.load(scan.with_name("arm.json"))
    for number in range(12):
        setup.append(arm.geometry({"nu": -3.0 * number}))
        setup[-1].save(tmp_path / f"detector_{number:02d}.poni")
        stacks.append(rng.poisson(20, (10, *SHAPE)).astype(np.uint32))
        paths.append(tmp_path / f"stack_{number:02d}.npy")
        np.save(paths[-1], stacks[-1])
    alive: list[weakref.ref[RadialMap]] = []
    most = [0]
    build = Merging.map

    def counted(self, number, threads=None):
        radial_map = build(self, number, threads)
        alive.append(weakref.ref(radial_map))
        most[0] = max(most[0], sum(map_() is not None for map_ in alive))
        return radial_map

    monkeypatch.setattr(Merging, "map", counted)
    ponis = [tmp_path / f"detector_{number:02d}.poni" for number in range(12)]
    result = execute(
        merge1d, ThreadRunner(2), frames=paths, geometry=ponis, npt=25, error_model="poisson", block_frames=block_frames
    )
    assert most[0] <= 6
    assert len(alive) == 13, "a map was built more than once"  # and once for the grid
    monkeypatch.undo()
    same(result, MultiGeometry(setup, npt=25, error_model="poisson").integrate1d(stacks))


def test_what_does_not_fit_the_memory_is_refused(scan, tmp_path, monkeypatch):
    np.save(tmp_path / "stack.npy", np.ones((3, *SHAPE), np.uint16))
    monkeypatch.setattr(merge, "memory_limit", lambda: 3 * 1000 * 8 * 5)
    with pytest.raises(ParameterError, match=r"3 patterns of 1000 bins take .* GiB"):
        execute(merge1d, frames=tmp_path / "stack.npy", geometry=tmp_path / "0.poni", npt=1000)


def test_cakes_are_no_text(scan):
    with pytest.raises(ParameterError, match="cake"):
        execute(merge2d, frames=scan, geometry=scan.with_name("arm.json"), output="cake.xy")


def test_merging_does_not_follow_a_scan(scan):
    with pytest.raises(ParameterError, match="follow"):
        execute(merge1d, frames=scan, geometry=scan.parent / "arm.json", follow=1.0)


def test_a_configuration_with_a_geometry_is_no_goniometer(scan):
    poni = {"dist": 0.1, "poni1": 0.015, "poni2": 0.02, "rot1": 0, "rot2": 0.05, "rot3": 0, "wavelength": 1e-10}
    poni |= {name: ARM[name] for name in ("detector", "detector_config")}
    config = scan.parent / "worker.json"
    config.write_text(json.dumps({"application": "pyfai-integrate", "version": 5, "poni": poni, "nbpt_rad": 50}))
    result = execute(merge1d, frames=scan, pyfai_config=config, frame_range="0:1")
    assert result.sizes["radial"] == 50


def test_sums_have_units(scan):
    result = execute(merge1d, frames=scan, geometry=scan.parent / "arm.json", error_model="poisson", npt=20)
    assert result["sum_signal"].attrs["units"] == "counts"
    assert result["sum_variance"].attrs["units"] == "counts^2"
    assert result["sum_normalization"].attrs["units"] == ""
