"""The simulated scan is what a beamline writes, and its truth is what is in it."""

import json

import numpy as np
import pytest

from friedel.core.context import Cancellation, Context
from friedel.core.errors import CancelledError, OutputError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.instrument.virtual import path_lengths
from friedel.io.frames import open_frames
from friedel.io.nexus import open_dataset
from friedel.matter import Crystal, air, silica_glass
from friedel.techniques.powder import Profile, fit_phases, powder_pattern
from friedel.workflows.tasks import SimulateXRDCT, simulate_xrdct

SMALL = {"translations": 16, "rotations": 9, "detector": "Pilatus200k", "distance": 0.25, "phases": ("CeO2", "Ni")}


class TwoThreads:
    threads = 2


class OneThread:
    threads = 1


def simulate(folder, runner=TwoThreads, **changes):
    parameters = SimulateXRDCT.parse({"output": folder / "scan.h5", **SMALL, **changes})
    return simulate_xrdct.execute(parameters, Context(runner()))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    return folder, simulate(folder, counts=20.0)


def test_files_of_a_beamline(scan):
    h5py = pytest.importorskip("h5py")
    folder, _ = scan
    names = {path.name for path in folder.iterdir()}
    assert names == {"scan.h5", "scan_data_000001.h5", "scan_truth.h5", "setup.poni"}
    with h5py.File(folder / "scan.h5") as file:
        entry = file[file.attrs["default"]]
        assert entry.attrs["NX_class"] == "NXentry"
        data = entry[entry.attrs["default"]]
        assert data.attrs["NX_class"] == "NXdata"
        assert data[data.attrs["signal"]].shape == (144, 407, 487)
        assert entry["sample/rotation_angle"].attrs["units"] == "deg"
        assert entry["control/data"].shape == (144,)
        assert json.loads(entry["simulation/parameters"][()])["seed"] == 0
    with h5py.File(folder / "scan_data_000001.h5") as file:
        assert file["/entry/data/data"].chunks == (1, 407, 487)
        assert "32008" in file["/entry/data/data"]._filters


def test_frames_and_motors_are_read_back(scan):
    folder, truth = scan
    source = open_frames(str(folder / "scan.h5"))
    assert source.shape == (144, 407, 487)
    rotation, translation = source.axes["rotation_angle"], source.axes["x_translation"]
    assert (rotation.units, translation.units) == ("deg", "mm")
    # Translation fast, back and forth; the read-back scatters by a thousandth of a step.
    expected = np.tile(np.concatenate([truth.translation, truth.translation[::-1]]), 5)[:144]
    np.testing.assert_allclose(translation.values, expected, atol=1.1e-3 * 0.02)
    np.testing.assert_allclose(rotation.values, np.repeat(truth.angle, 16), atol=1.1e-3 * 20)
    frames = source.decoded(0, 144)
    assert frames.dtype == np.int32
    gaps = Detector.named("Pilatus200k").mask()
    assert (frames[:, gaps] == -1).all()
    assert (frames[:, ~gaps] == -2).sum() == 50 * 144
    assert frames[:, ~gaps][frames[:, ~gaps] >= 0].mean() == pytest.approx(20.0, rel=0.02)


def test_integrated_frames_hold_the_path_through_each_phase(scan):
    folder, truth = scan
    geometry = Geometry.load(folder / "setup.poni")
    source = open_frames(str(folder / "scan.h5"))
    frames = source.decoded(0, 144).reshape(144, -1)
    good = (frames[0] >= 0) & ~geometry.detector.mask().ravel()
    q = geometry.center_array("q_nm^-1").ravel()[good]
    edges = np.linspace(q.min(), q.max() * (1 + 1e-9), 801)
    bins = np.digitize(q, edges) - 1
    weight = np.bincount(bins, (geometry.solid_angle() * geometry.polarization(0.99)).ravel()[good])
    monitor = source.axes["control"].values if "control" in source.axes else source.axes["data"].values
    patterns = np.stack([np.bincount(bins, frame[good]) for frame in frames]) / weight / monitor[:, None]
    axis = (edges[1:] + edges[:-1]) / 2
    profile = Profile(0.06)
    known = [
        powder_pattern(Crystal.named(n), axis, "q_nm^-1", geometry.wavelength, profile=profile) for n in SMALL["phases"]
    ]
    weights = fit_phases(patterns, np.stack([*known, silica_glass(axis), air(axis)]), None).weights[:, :3]
    sinograms = weights.reshape(9, 16, 3)
    sinograms[1::2] = sinograms[1::2, ::-1].copy()
    expected = truth.path.transpose("angle", "translation", "layer", "phase").values[:, :, 0]
    for number, name in enumerate((*SMALL["phases"], "glass")):
        assert np.corrcoef(sinograms[..., number].ravel(), expected[..., number].ravel())[0, 1] > 0.98, name
    # The phases' amounts are on one scale: the fit gives paths up to one factor for all, absorption apart.
    scale = (sinograms * expected).sum(axis=(0, 1)) / (expected**2).sum(axis=(0, 1))
    np.testing.assert_allclose(scale / scale.mean(), 1.0, atol=0.08)


def test_the_truth_describes_itself(scan):
    folder, truth = scan
    read = open_dataset(folder / "scan_truth.h5")
    assert list(read.phase.values) == ["CeO2", "Ni", "glass"]
    assert read.fraction.dims == ("phase", "layer", "y", "x")
    np.testing.assert_array_equal(read.fraction.values, truth.fraction.values)
    assert read.fraction.shape == (3, 1, 16, 16)
    assert float(read.attrs["center_of_rotation"]) == pytest.approx(7.5 + 1.7)
    assert json.loads(read.attrs["provenance"])["task"] == "simulate xrdct"
    assert (truth.fraction.values[:2].max(axis=(1, 2, 3)) > 0).all()


def test_paths_are_those_of_the_phases(scan):
    _, truth = scan
    center = (truth.attrs["center_of_rotation"] - 7.5) * 0.02
    coarse = path_lengths(
        truth.fraction.values[:, 0], 0.02, np.radians(truth.angle.values), truth.translation.values - center, 0.02
    )
    np.testing.assert_allclose(coarse.sum(axis=2), truth.path.values[:, 0].sum(axis=2), rtol=1e-5)
    assert np.corrcoef(coarse.ravel(), truth.path.values[:, 0].ravel())[0, 1] > 0.98


def test_threads_do_not_change_the_scan_and_the_seed_does(tmp_path):
    small = {"translations": 8, "rotations": 3, "axis_offset": 0.5, "detector": "Pilatus100k"}
    frames = {}
    for name, runner, seed in (("one", OneThread, 0), ("two", TwoThreads, 0), ("other", TwoThreads, 1)):
        (tmp_path / name).mkdir()
        simulate(tmp_path / name, runner, seed=seed, **small)
        frames[name] = open_frames(str(tmp_path / name / "scan.h5")).decoded(0, 24)
    assert np.array_equal(frames["one"], frames["two"])
    assert not np.array_equal(frames["one"], frames["other"])


def test_layers_rotation_fast_full_turn_and_an_unsigned_detector(tmp_path):
    truth = simulate(
        tmp_path,
        translations=8,
        rotations=4,
        layers=2,
        axis_offset=-0.5,
        detector="Eiger2 500k",
        fast="rotation",
        angle_range=360,
        unknown_hot_pixels=3,
    )
    assert truth.fraction.shape == (3, 2, 8, 8)
    np.testing.assert_allclose(truth.angle, [0, 90, 180, 270])
    source = open_frames(str(tmp_path / "scan.h5"))
    assert source.shape == (64, 512, 1028)
    assert source.axes["z_translation"].values.reshape(2, 32).std(axis=1).max() == 0
    np.testing.assert_allclose(source.axes["rotation_angle"].values[:8], [0, 90, 180, 270, 270, 180, 90, 0], atol=0.1)
    frames = source.decoded(0, 64)
    assert frames.dtype == np.uint32
    assert (frames == 2**32 - 1).all(axis=0).sum() == 50
    assert ((frames > 500) & (frames < 2**31)).all(axis=0).sum() == 3


def test_what_is_there_is_not_overwritten_unasked(tmp_path):
    small = {"translations": 8, "rotations": 3, "axis_offset": 0.5, "detector": "Pilatus100k"}
    simulate(tmp_path, **small)
    with pytest.raises(OutputError, match=r"scan\.h5: exists already"):
        simulate(tmp_path, **small)
    (tmp_path / "scan_data_000002.h5").write_bytes(b"of a longer scan")
    simulate(tmp_path, overwrite=True, **small)
    assert not (tmp_path / "scan_data_000002.h5").exists()


def test_a_stopped_simulation_leaves_no_scan(tmp_path):
    cancellation = Cancellation()
    cancellation.cancel()
    parameters = SimulateXRDCT.parse({"output": tmp_path / "scan.h5", **SMALL})
    with pytest.raises(CancelledError):
        simulate_xrdct.execute(parameters, Context(OneThread(), cancellation=cancellation))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": ("CeO2", "kryptonite")}, "kryptonite"),
        ({"phases": ("CeO2", "ceo2")}, "different phases"),
        ({"phases": ()}, "none"),
        ({"detector": "Pilatus3M"}, "Pilatus3M"),
        ({"axis_offset": 20.0}, "do not span a sample"),
        ({"distance": 20.0}, "no ring on the detector"),
    ],
)
def test_impossible_scans_are_refused(tmp_path, changes, message):
    with pytest.raises(ParameterError, match=message):
        simulate(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="no folder"):
        simulate(tmp_path / "absent")
