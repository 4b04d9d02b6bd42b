"""The tasks: from files to files, resumed, refused, and the real frames."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from friedel.core.blocks import Block
from friedel.core.context import Context
from friedel.core.errors import DataError, FriedelError, GeometryError, InputError, OutputError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.io import open_dataset
from friedel.run.inline import InlineRunner
from friedel.run.threads import ThreadRunner
from friedel.techniques.integration import Integrator
from friedel.techniques.integration.tasks import integrate1d, integrate2d, integrate_radial
from shared_data import shared

h5py = pytest.importorskip("h5py")

SHAPE = (60, 50)
N_FRAMES = 11


def geometry() -> Geometry:
    return Geometry(Detector.from_shape(SHAPE, 1e-3), 0.1, 0.031, 0.022, 0.1, -0.05, 0.2, wavelength=0.5e-10)


@pytest.fixture
def scan(tmp_path) -> Path:
    """A scan file with a motor, a monitor and frames, and its geometry beside it."""
    rng = np.random.default_rng(4)
    geometry().save(tmp_path / "setup.poni")
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry["data/data"] = rng.poisson(30, (N_FRAMES, *SHAPE)).astype(np.uint32)
        entry["data"].attrs["NX_class"] = "NXdata"
        entry["data"].attrs["signal"] = "data"
        entry["measurement/samy"] = np.linspace(0, 1, N_FRAMES)
        entry["measurement/samy"].attrs["units"] = "mm"
        entry["measurement/flux"] = np.linspace(1.0, 2.0, N_FRAMES)
    return tmp_path / "scan.h5"


def execute(task, runner=None, messages=None, **values) -> xr.Dataset:
    context = Context(runner or InlineRunner())
    if messages is not None:
        context.progress.message = messages.append  # type: ignore[method-assign]
    result = task.execute(task.parameters.parse(values), context)
    assert isinstance(result, xr.Dataset)
    return result


def values(scan: Path, **more) -> dict:
    return {"frames": scan, "geometry": scan.with_name("setup.poni"), "npt": 20, "error_model": "poisson", **more}


def frames_of(scan: Path) -> np.ndarray:
    with h5py.File(scan) as file:
        return np.asarray(file["entry/data/data"][()])


def test_patterns_of_a_scan_with_its_motors(scan, tmp_path) -> None:
    result = execute(integrate1d, **values(scan, output=tmp_path / "patterns.h5", block_frames=3))
    assert result["intensity"].dims == ("frame", "radial")
    assert result["radial"].attrs["units"] == "1/nm"
    expected = Integrator(geometry(), npt=20, error_model="poisson").integrate1d(frames_of(scan))
    for name in ("intensity", "intensity_errors", "valid_fraction"):
        np.testing.assert_array_equal(result[name], expected[name])
    np.testing.assert_array_equal(result["samy"], np.linspace(0, 1, N_FRAMES))
    assert result["samy"].attrs["units"] == "mm"
    record = json.loads(result.attrs["provenance"])
    assert record["task"] == "integrate1d"
    assert {Path(item["path"]).name for item in record["inputs"]} == {"scan.h5", "setup.poni"}


def test_the_file_opens_by_default_in_a_browser_of_hdf5(scan, tmp_path) -> None:
    execute(integrate1d, **values(scan, output=tmp_path / "patterns.h5"))
    with h5py.File(tmp_path / "patterns.h5", locking=False) as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert data.attrs["signal"] == "intensity"
        assert list(data.attrs["axes"]) == [".", "radial"]
        assert data["intensity"].shape == data["intensity_errors"].shape == (N_FRAMES, 20)


def test_cakes(scan, tmp_path) -> None:
    result = execute(integrate2d, **values(scan, npt_azimuth=12, output=tmp_path / "cakes.h5"))
    assert result["intensity"].dims == ("frame", "azimuth", "radial")
    assert result["azimuth"].attrs["units"] == "deg"
    np.testing.assert_allclose(result["azimuth"], np.arange(12) * 30.0 - 165.0, atol=1e-4)


def test_results_are_the_same_bytes_for_any_blocks_and_runner(scan, tmp_path) -> None:
    contents = []
    for number, (runner, size) in enumerate(
        [(InlineRunner(), 1), (InlineRunner(), 4), (ThreadRunner(3), 2), (ThreadRunner(2), 100)]
    ):
        path = tmp_path / f"{number}.h5"
        execute(integrate1d, runner, **values(scan, output=path, block_frames=size))
        with open_dataset(path) as dataset:
            contents.append(dataset["intensity"].values.tobytes() + dataset["intensity_errors"].values.tobytes())
    assert len(set(contents)) == 1


def test_without_output_the_result_is_in_memory(scan) -> None:
    result = execute(integrate1d, **values(scan, error_model="none"))
    assert "intensity_errors" not in result
    assert result.sizes == {"frame": N_FRAMES, "radial": 20}


def test_monitor_range_and_region(scan) -> None:
    everything = execute(integrate1d, **values(scan, radial_range=(5, 40)))
    divided = execute(integrate1d, **values(scan, radial_range=(5, 40), monitor="flux", frame_range="2:8:2"))
    flux = np.linspace(1, 2, N_FRAMES)[2:8:2, None]
    np.testing.assert_allclose(divided["intensity"], everything["intensity"][2:8:2] / flux, rtol=1e-6)
    np.testing.assert_allclose(divided["intensity_errors"], everything["intensity_errors"][2:8:2] / flux, rtol=1e-6)

    part = execute(integrate1d, **values(scan, radial_range=(5, 40), roi="10:50,5:45"))
    outside = np.ones(SHAPE, bool)
    outside[10:50, 5:45] = False
    masked = Integrator(geometry(), npt=20, radial_range=(5, 40), mask=outside).integrate1d(frames_of(scan))
    np.testing.assert_array_equal(part["intensity"], masked["intensity"])


def test_mask_dark_flat_from_files(scan, tmp_path) -> None:
    rng = np.random.default_rng(8)
    images = {
        "mask": (rng.uniform(size=SHAPE) < 0.1).astype(np.uint8),
        "dark": rng.uniform(0, 4, SHAPE),
        "flat": rng.uniform(0.5, 1.5, SHAPE),
    }
    for name, image in images.items():
        np.save(tmp_path / f"{name}.npy", image)
    paths = {name: tmp_path / f"{name}.npy" for name in images}
    found = execute(integrate1d, **values(scan, **paths, dark_frames=10))
    expected = Integrator(geometry(), npt=20, error_model="poisson", **images, dark_variance=images["dark"] / 10)
    for name in ("intensity", "intensity_errors"):
        np.testing.assert_array_equal(found[name], expected.integrate1d(frames_of(scan))[name])
    with pytest.raises(ParameterError, match="dark_frames"):
        execute(integrate1d, **values(scan, dark_frames=10))


@pytest.mark.parametrize("ending", [".xy", ".dat", ".chi"])
def test_text(scan, tmp_path, ending) -> None:
    path = tmp_path / f"pattern{ending}"
    result = execute(integrate1d, **values(scan, frame_range="3", output=path))
    columns = np.loadtxt(path, skiprows=4 if ending == ".chi" else 0)
    np.testing.assert_allclose(columns[:, 0], result["radial"], rtol=1e-8)
    np.testing.assert_allclose(columns[:, 1], result["intensity"][0], rtol=1e-6)
    execute(integrate1d, **values(scan, frame_range="3:5", output=path))
    assert (tmp_path / f"pattern_00001{ending}").exists()
    with pytest.raises(OutputError, match="exists"):
        execute(integrate1d, **values(scan, frame_range="3", output=path))
    with pytest.raises(ParameterError, match="cake"):
        execute(integrate2d, **values(scan, output=path))


class StopsAfter(InlineRunner):
    """Fails after some blocks, as if the power had gone."""

    def __init__(self, blocks: int) -> None:
        self.left = blocks

    def stream(self, source, plan, sink, blocks, context, label, unit="frames") -> None:
        done: list[Block] = []
        for block in sink.pending(blocks)[: self.left]:
            sink.write(block, plan(source.read(block)))
            sink.commit(block)
            done.append(block)
        sink.flush()
        raise KeyboardInterrupt


class Counts(InlineRunner):
    """Notes which blocks it processed."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def stream(self, source, plan, sink, blocks, context, label, unit="frames") -> None:
        self.numbers = [block.number for block in sink.pending(blocks)]
        super().stream(source, plan, sink, blocks, context, label, unit)


def test_the_same_command_goes_on_where_it_stopped(scan, tmp_path) -> None:
    given = values(scan, output=tmp_path / "patterns.h5", block_frames=2)
    with pytest.raises(KeyboardInterrupt):
        execute(integrate1d, StopsAfter(3), **given)
    assert not (tmp_path / "patterns.h5").exists()
    runner, messages = Counts(), []
    resumed = execute(integrate1d, runner, messages, **given)
    assert runner.numbers == [3, 4, 5]
    assert any("Going on" in message for message in messages)
    whole = execute(integrate1d, **values(scan))
    np.testing.assert_array_equal(resumed["intensity"], whole["intensity"])


def test_other_parameters_do_not_go_on_with_it(scan, tmp_path) -> None:
    given = values(scan, output=tmp_path / "patterns.h5", block_frames=2)
    with pytest.raises(KeyboardInterrupt):
        execute(integrate1d, StopsAfter(3), **given)
    runner = Counts()
    with pytest.raises(OutputError, match="complete items of a run with other parameters"):
        execute(integrate1d, runner, **(given | {"npt": 21}))
    execute(integrate1d, runner, **(given | {"npt": 21, "overwrite": True}))
    assert runner.numbers == list(range(6))


def test_an_existing_file_is_kept_unless_told_otherwise(scan, tmp_path) -> None:
    given = values(scan, output=tmp_path / "patterns.h5")
    execute(integrate1d, **given)
    with pytest.raises(OutputError, match="exists"):
        execute(integrate1d, **given | {"npt": 17})
    execute(integrate1d, **given | {"npt": 17}, overwrite=True)


def test_a_finished_command_repeated_gives_its_result(scan, tmp_path) -> None:
    given = values(scan, output=tmp_path / "patterns.h5")
    execute(integrate1d, **given)
    before = (tmp_path / "patterns.h5").stat().st_mtime_ns
    messages: list[str] = []
    assert "intensity" in execute(integrate1d, None, messages, **given)
    assert (tmp_path / "patterns.h5").stat().st_mtime_ns == before
    assert any("complete already" in message for message in messages)


def test_marked_pixels_that_nothing_masks_are_told(scan, tmp_path) -> None:
    frames = frames_of(scan).astype(np.uint32)
    frames[:, 3, :5] = 2**32 - 1
    with h5py.File(scan, "r+") as file:
        del file["entry/data/data"]
        file["entry/data/data"] = frames
    messages: list[str] = []
    execute(integrate1d, None, messages, **values(scan))
    assert any("hold 4294967295" in message and "--dummy 4294967295" in message for message in messages)
    messages.clear()
    execute(integrate1d, None, messages, **values(scan, dummy=4294967295))
    assert not any("4294967295" in message for message in messages)


def test_lost_frames_are_told(scan, tmp_path) -> None:
    frames = frames_of(scan).astype(np.float32)
    frames[[2, 5]] = np.nan
    with h5py.File(scan, "r+") as file:
        del file["entry/data/data"]
        file["entry/data/data"] = frames
    messages: list[str] = []
    result = execute(integrate1d, None, messages, **values(scan))
    assert result.attrs["frames_without_valid_pixels"] == 2
    assert any("2 of 11 frames" in message for message in messages)
    assert np.isnan(result["intensity"][2]).all()
    assert (execute(integrate1d, **values(scan, empty=0.0))["intensity"][2] == 0).all()


class TestBadInput:
    """Each with a message that names what is wrong."""

    def refused(self, match: str, kind: type[FriedelError], task=integrate1d, **given) -> None:
        with pytest.raises(kind, match=match) as caught:
            execute(task, **given)
        assert caught.value.exit_code == 2

    def test_frames_of_another_shape(self, scan) -> None:
        other = replace(geometry(), detector=Detector.named("Pilatus100k"))
        other.save(scan.with_name("setup.poni"))
        self.refused("60 x 50.*195 x 487", GeometryError, **values(scan))

    def test_images_of_another_shape(self, scan, tmp_path) -> None:
        np.save(tmp_path / "flat.npy", np.ones((4, 5)))
        self.refused("flat", GeometryError, **values(scan, flat=tmp_path / "flat.npy"))

    def test_no_wavelength_for_q(self, scan) -> None:
        replace(geometry(), wavelength=None).save(scan.with_name("setup.poni"))
        self.refused("wavelength", GeometryError, **values(scan))

    def test_negative_counts(self, scan) -> None:
        frames = frames_of(scan).astype(np.int32)
        frames[7, 3, 4] = -9
        with h5py.File(scan, "r+") as file:
            del file["entry/data/data"]
            file["entry/data/data"] = frames
        self.refused(r"scan\.h5.* 7.*row 3, column 4 is -9", DataError, **values(scan))
        execute(integrate1d, **values(scan, negative="mask"))

    def test_a_monitor_that_is_not_there(self, scan) -> None:
        self.refused("mon", DataError, **values(scan, monitor="mon"))

    def test_a_monitor_without_beam(self, scan) -> None:
        with h5py.File(scan, "r+") as file:
            file["entry/measurement/flux"][4] = 0.0
        self.refused("flux is 0.0 for frame 4", DataError, **values(scan, monitor="flux"))

    def test_parameters(self, scan) -> None:
        self.refused("npt", ParameterError, **values(scan, npt=0))
        self.refused("polarization", ParameterError, **values(scan, polarization=3))
        self.refused("unit", ParameterError, **values(scan, unit="q"))

    def test_no_such_folder(self, scan) -> None:
        self.refused("folder", OutputError, **values(scan, output="/no/such/folder/patterns.h5"))


class TestRealFrames:
    """Cerium oxide on two detectors."""

    def test_the_golden_pattern(self, tmp_path) -> None:
        """A frame stored upside down, with the reference curve that belongs to it."""
        folder = shared("diffraction", "golden_CeO2_Pilatus1M")
        result = execute(
            integrate1d,
            frames=folder / "CeO2_Pilatus1M.tif",
            geometry=folder / "CeO2_Pilatus1M.poni",
            npt=1512,
            unit="2th_deg",
            splitting="bbox",
            polarization=0.99,
            detector_mask=False,
            orientation=2,
            output=tmp_path / "golden.h5",
        )
        radial, intensity = np.loadtxt(folder / "CeO2_Pilatus1M.xy").T
        np.testing.assert_allclose(result["radial"], radial, atol=3e-6)
        difference = abs(result["intensity"].values[0] / intensity - 1)
        assert np.median(difference) < 1e-6
        assert difference[1:-1].max() < 3e-4
        residual = abs(result["intensity"].values[0] - intensity).sum() / intensity.sum()
        assert residual < 2e-5

    def test_rings_are_where_they_belong(self) -> None:
        """CeO2 (a = 5.411651 Å, Fm-3m) at 71 keV: mean deviation of the rings 2e-3 degrees or less."""
        folder = shared("diffraction", "ceo2_pilatus2m_cdte")
        result = execute(
            integrate1d,
            frames=folder / "CeO2.cbf",
            geometry=folder / "CeO2.poni",
            mask=folder / "mask.edf.gz",
            npt=3000,
            unit="2th_deg",
            radial_range=(1.5, 17.0),
            error_model="poisson",
        )
        angle, intensity = result["radial"].values, result["intensity"].values[0]
        wavelength, edge = 0.174625623831, 5.411651
        indices = np.array(np.meshgrid(*[np.arange(12)] * 3)).reshape(3, -1).T
        allowed = (indices % 2 == indices[:, :1] % 2).all(axis=1) & (indices.sum(axis=1) > 0)
        squares = np.unique((indices[allowed] ** 2).sum(axis=1))
        rings = 2 * np.rad2deg(np.arcsin(wavelength / 2 * np.sqrt(squares) / edge))
        rings = rings[(rings > angle[0] + 0.2) & (rings < 14.0)]
        alone = np.r_[True, np.diff(rings) > 0.12] & np.r_[np.diff(rings) > 0.12, True]
        deviations = []
        for ring in rings[alone]:
            near = abs(angle - ring) < 0.06
            peak = intensity[near] - intensity[near].min()
            deviations.append((angle[near] * peak).sum() / peak.sum() - ring)
        assert len(deviations) > 15
        assert np.mean(np.abs(deviations)) < 3e-3


def test_variances_from_files(scan, tmp_path) -> None:
    """One image for all frames, or one for each; the same as in Python."""
    rng = np.random.default_rng(8)
    variance = rng.uniform(5, 50, (N_FRAMES, *SHAPE))
    np.save(tmp_path / "one.npy", variance[0])
    with h5py.File(tmp_path / "each.h5", "w") as file:
        file["entry/data/data"] = variance
    given = values(scan) | {"error_model": "none", "std": True, "covariance": True, "frame_range": "1:5"}
    integrator = Integrator(geometry(), npt=20, std=True, covariance=True, error_model="variance")
    for name, own in (("one.npy", variance[0]), ("each.h5", variance[1:5])):
        output = tmp_path / f"{name}.result.h5"
        result = execute(integrate1d, **given, variance=tmp_path / name, output=output)
        expected = integrator.integrate1d(frames_of(scan)[1:5], variance=own)
        for variable in ("intensity", "intensity_errors", "intensity_std", "intensity_covariance"):
            np.testing.assert_array_equal(result[variable], expected[variable])
        assert result["intensity_covariance"].dims == ("frame", "offset", "radial")
        assert result.attrs["error_model"] == "variance"
        record = json.loads(result.attrs["provenance"])
        assert name in {Path(item["path"]).name for item in record["inputs"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"error_model": "variance"}, "no variance"),
        ({"error_model": "poisson", "variance": "one.npy"}, "Leave one"),
        ({"error_model": "none", "variance": "wrong.npy"}, "shape"),
        ({"error_model": "none", "std": True}, "std"),
        ({"error_model": "none", "covariance": True}, "covariance"),
    ],
)
def test_variances_that_do_not_fit(scan, tmp_path, options, message) -> None:
    np.save(tmp_path / "one.npy", np.ones(SHAPE))
    np.save(tmp_path / "wrong.npy", np.ones((3, 5)))
    if "variance" in options:
        options = options | {"variance": tmp_path / options["variance"]}
    with pytest.raises(InputError, match=message):
        execute(integrate1d, **(values(scan) | options))


def test_unweighted_cakes_with_their_spread(scan, tmp_path) -> None:
    result = execute(integrate2d, **values(scan), npt_azimuth=6, std=True, weighted=False, output=tmp_path / "cakes.h5")
    expected = Integrator(geometry(), npt=20, error_model="poisson", std=True, weighted=False).integrate2d(
        frames_of(scan), npt_azimuth=6
    )
    for variable in ("intensity", "intensity_errors", "intensity_std"):
        np.testing.assert_array_equal(result[variable], expected[variable])


def test_profiles_along_the_azimuth(scan, tmp_path) -> None:
    given = values(scan, npt=24, radial_range=(20, 40), azimuth_range=(300, 80), unit="q_nm^-1")
    result = execute(integrate_radial, **given, output=tmp_path / "profiles.h5")
    assert result["intensity"].dims == ("frame", "azimuth")
    assert result["azimuth"].attrs["azimuth_unit"] == "chi_deg"
    options = {"radial_range": (20, 40), "azimuth_range": (300, 80), "error_model": "poisson"}
    expected = Integrator(geometry(), **options).integrate_radial(frames_of(scan), npt_azimuth=24)
    for name in ("intensity", "intensity_errors", "azimuth"):
        np.testing.assert_array_equal(result[name], expected[name])
    execute(integrate_radial, **given, frame_range="0:1", output=tmp_path / "profile.xy")
    assert (tmp_path / "profile.xy").read_text().count("\n") > 24
    with pytest.raises(ParameterError, match="no profiles along the azimuth"):
        execute(integrate_radial, **given, output=tmp_path / "other.h5", format="pyfai")


def test_profiles_along_the_azimuth_can_be_robust(scan) -> None:
    given = values(scan, npt=12, splitting="none", estimator="percentile", radial_range=(20, 40))
    result = execute(integrate_radial, **given)
    assert result["intensity"].dims == ("frame", "azimuth")
    assert float(result["intensity"].median()) == pytest.approx(30, rel=0.1)


def test_maps_of_grazing_incidence(scan, tmp_path) -> None:
    given = values(scan, unit="qip_A^-1", azimuth_unit="qoop_A^-1", incidence=0.3, sample_orientation=6, npt_azimuth=15)
    result = execute(integrate2d, **given, output=tmp_path / "film.h5")
    stored = open_dataset(tmp_path / "film.h5")
    assert stored["azimuth"].attrs["units"] == "1/Angstrom"
    assert stored["radial"].attrs["radial_unit"] == "qip_A^-1"
    options = {"unit": "qip_A^-1", "azimuth_unit": "qoop_A^-1", "incidence": 0.3, "sample_orientation": 6}
    expected = Integrator(geometry(), npt=20, error_model="poisson", **options)
    cakes = expected.integrate2d(frames_of(scan), npt_azimuth=15)
    np.testing.assert_array_equal(result["intensity"], cakes["intensity"])


def test_aliases_of_units_are_stored_by_name(scan) -> None:
    result = execute(integrate1d, **values(scan, unit="d*2_nm^-2"))
    assert result["radial"].attrs["radial_unit"] == "dstar2_nm^-2"
    with pytest.raises(ParameterError, match="no unit"):
        execute(integrate1d, **values(scan, unit="q_nm"))


@pytest.mark.parametrize("name", ["f.csv", "f", "f.edf"])
@pytest.mark.parametrize("task", [integrate1d, integrate2d, integrate_radial])
def test_a_name_says_what_kind_of_file_it_is(scan, tmp_path, task, name) -> None:
    with pytest.raises(ParameterError, match=r"end in \.h5"):
        execute(task, **values(scan, output=tmp_path / name))
    assert not (tmp_path / name).exists()


def test_text_with_errors(scan, tmp_path) -> None:
    result = execute(integrate1d, **values(scan, output=tmp_path / "one.xye", frame_range="0:1"))
    columns = np.loadtxt(tmp_path / "one.xye")
    np.testing.assert_allclose(columns[:, 2], result["intensity_errors"][0], rtol=1e-6)
    with pytest.raises(ParameterError, match=r"\.xye has errors"):
        execute(integrate1d, **values(scan, output=tmp_path / "two.xye", error_model="none"))


@pytest.mark.parametrize("option", ["std", "covariance"])
def test_text_does_not_drop_what_is_asked_for(scan, tmp_path, option) -> None:
    with pytest.raises(ParameterError, match=f"{option} is True: text files have no place"):
        execute(integrate1d, **values(scan, output=tmp_path / "one.dat", **{option: True}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"polarization_axis": 10.0},
        {"delta_dummy": 1.0},
        {"sensor": "Si,320um"},
        {"azimuth_range": (170, 170)},
        {"unit": "formula: 1/(0*q)"},
    ],
)
def test_what_has_no_effect_or_no_meaning_is_refused(scan, wrong) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        execute(integrate1d, **values(scan, **wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        {"incidence": math.nan},
        {"incidence": 500.0},
        {"tilt": math.inf},
        {"polarization_axis": math.nan},
        {"delta_dummy": -1.0},
        {"delta_dummy": math.nan},
        {"npt": 2.5},
    ],
)
def test_numbers_without_meaning_are_refused(wrong) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        integrate1d.parameters.parse({"frames": "a.h5", "geometry": "a.poni", **wrong})
