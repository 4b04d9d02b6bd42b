"""Maps that are made while another process writes the frames of the scan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import friedel
from friedel.core.errors import DataError, ParameterError
from friedel.instrument import Detector, Geometry

SHAPE = (40, 50)
LINES, POINTS = 4, 6

WRITER = """
import sys, time
import h5py, hdf5plugin, numpy as np
path, with_motors, n = sys.argv[1], sys.argv[2] == "motors", int(sys.argv[3])
frames = np.random.default_rng(0).poisson(20, (n, 40, 50)).astype("u4")
with h5py.File(path, "w") as file:
    dataset = file.create_dataset("entry/data/data", (0, 40, 50), "u4", maxshape=(None, 40, 50), chunks=(1, 40, 50),
                                  **hdf5plugin.Bitshuffle())
    file.flush()
    for number, frame in enumerate(frames):
        dataset.resize(number + 1, axis=0)
        dataset[number] = frame
        file.flush()
        time.sleep(0.04)
    if with_motors:
        line, point = np.divmod(np.arange(n), 6)
        positioners = file.create_group("entry/instrument/positioners")
        positioners["samy"] = 0.5 * line
        positioners["samx"] = 0.1 * np.where(line % 2, 5 - point, point)
"""


@pytest.fixture
def setup(tmp_path: Path) -> Path:
    Geometry(Detector.from_shape(SHAPE, 1e-4), 0.1, 0.002, 0.0025, wavelength=1e-10).save(tmp_path / "setup.poni")
    return tmp_path


def written(folder: Path, motors: str, count: int):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder / "scan.h5"), motors, str(count)])


def make(folder: Path, name: str, **more):
    given = {"geometry": folder / "setup.poni", "npt": 30, "output": folder / name}
    return friedel.diffraction_map(folder / "scan.h5", **given | more)


def assert_same(found, expected) -> None:
    assert set(found.variables) == set(expected.variables)
    for name in found.variables:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=str(name))


def test_a_map_of_known_shape_is_made_while_the_scan_runs_and_ends_with_its_last_point(setup) -> None:
    grid = {"shape": (LINES, POINTS), "snake": True, "error_model": "poisson", "regions": ("ring=1:20",)}
    writer = written(setup, "none", LINES * POINTS)
    try:
        # It would wait for ten minutes if it did not know when the map is full.
        found = make(setup, "live.h5", follow=600.0, **grid)
        assert writer.wait(timeout=30) == 0
    finally:
        writer.kill()
    assert_same(found, make(setup, "afterwards.h5", **grid))
    assert not [path for path in setup.iterdir() if path.name.startswith(".friedel")]
    np.testing.assert_array_equal(found["frame_number"][1], np.arange(11, 5, -1))


def test_motors_that_are_written_at_the_end_give_the_grid(setup) -> None:
    writer = written(setup, "motors", LINES * POINTS)
    try:
        found = make(setup, "live.h5", follow=1.5)
        assert writer.wait(timeout=30) == 0
    finally:
        writer.kill()
    assert found["intensity"].shape == (LINES, POINTS, 30)
    assert_same(found, make(setup, "afterwards.h5"))


def test_a_scan_that_stops_early_leaves_its_last_points_empty(setup) -> None:
    writer = written(setup, "none", 15)
    try:
        found = make(setup, "live.h5", follow=1.5, shape=(LINES, POINTS))
        assert writer.wait(timeout=30) == 0
    finally:
        writer.kill()
    frames = found["frame_number"].values.ravel()
    assert frames[:15].tolist() == list(range(15)) and (frames[15:] < 0).all()
    assert found.attrs["points_without_frame"] == 9
    record = json.loads(found.attrs["provenance"])
    assert record["notes"]["warnings"] == ["9 of 24 points have no frame: they are not a number."]
    assert record["notes"]["scan"].startswith("4 lines of 6 points, always")
    assert np.isfinite(found["mean_intensity"].values.ravel()[:15]).all()
    assert np.isnan(found["intensity"].values.reshape(-1, 30)[15:]).all()
    assert not found["valid_fraction"].values.reshape(24, -1)[15:].any()


def test_what_would_be_wrong_in_the_end_is_told_at_once(setup) -> None:
    with h5py.File(setup / "scan.h5", "w") as file:
        file["entry/data/data"] = np.ones((3, *SHAPE), "u4")
    with pytest.raises(ParameterError, match="ring"):
        make(setup, "live.h5", follow=600.0, shape=(2, 2), regions=("ring=900:901",))
    with pytest.raises(ParameterError, match="monitor"):
        make(setup, "live.h5", follow=600.0, shape=(2, 2), monitor="diode")
    with pytest.raises(ParameterError, match="cannot be written as"):
        make(setup, "live.xy", follow=600.0, shape=(2, 2))
    with pytest.raises(DataError, match="no motors"):
        make(setup, "live.h5", follow=0.2)
