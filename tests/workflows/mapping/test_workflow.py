"""Diffraction maps of simulated scans: every frame at its place, gaps told, maps like the truth, files for others."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from friedel.core.context import Cancellation, Context
from friedel.core.errors import CancelledError, DataError, OutputError, ParameterError
from friedel.io import open_dataset, open_frames, write_image
from friedel.run.inline import InlineRunner
from friedel.run.threads import ThreadRunner
from friedel.techniques.integration.tasks import integrate1d
from friedel.workflows.tasks import diffraction_map, simulate_map

LINES, POINTS, NPT = 6, 8, 1000
REGION = "Ni=30:32"


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scan")
    values = {"lines": LINES, "points": POINTS, "phases": ("CeO2", "Ni"), "detector": "Pilatus200k", "distance": 0.25}
    simulate_map.execute(
        simulate_map.parameters.parse({"output": folder / "scan.h5", "counts": 20.0, **values}), Context(InlineRunner())
    )
    return folder / "scan.h5"


def execute(scan: Path, output: Path, runner=None, messages=None, cancellation=None, **more) -> xr.Dataset:
    context = Context(runner or InlineRunner(), cancellation=cancellation or Cancellation())
    if messages is not None:
        context.progress.message = messages.append  # type: ignore[method-assign]
    given = {"frames": scan, "geometry": scan.parent / "setup.poni", "npt": NPT, "output": output, **more}
    return diffraction_map.execute(diffraction_map.parameters.parse(given), context)


def patterns(scan: Path, **more) -> xr.Dataset:
    given = {"frames": scan, "geometry": scan.parent / "setup.poni", "npt": NPT, **more}
    return integrate1d.execute(integrate1d.parameters.parse(given), Context(InlineRunner()))


def test_every_frame_is_at_its_place(scan, tmp_path):
    messages: list[str] = []
    result = execute(scan, tmp_path / "map.h5", ThreadRunner(2), messages, error_model="poisson", monitor="control")
    assert result["intensity"].dims == ("y", "x", "radial") and result["intensity"].shape == (LINES, POINTS, NPT)
    assert any("6 lines (y_translation) of 8 points (x_translation), back and forth" in text for text in messages)
    expected = patterns(scan, error_model="poisson", monitor="control")
    numbers = result["frame_number"].values
    assert numbers[1].tolist() == list(range(15, 7, -1))
    for name in ("intensity", "intensity_errors", "valid_fraction"):
        np.testing.assert_array_equal(result[name].values, expected[name].values[numbers], err_msg=name)
    np.testing.assert_allclose(result["mean_pattern"], np.nanmean(expected["intensity"], axis=0), rtol=1e-5)
    assert result["x"].attrs["long_name"] == "x_translation" and result["x"].attrs["units"] == "mm"
    np.testing.assert_allclose(np.diff(result["x"]), 0.02, rtol=0.01)


def test_regions_and_peaks_are_like_the_truth(scan, tmp_path):
    result = execute(
        scan, tmp_path / "map.h5", splitting="none", error_model="poisson", regions=(REGION,), peaks=("Ni=29.6:32.2",)
    )
    truth = open_dataset(scan.with_name("scan_truth.h5"))["fraction"].sel(phase="Ni").values
    area = result["peak_area"].sel(peak="Ni").values
    assert np.corrcoef(area.ravel(), truth.ravel())[0, 1] > 0.99
    channels = (result["radial"] >= 30) & (result["radial"] <= 32)
    inside = result["intensity"].values[..., channels.values]
    np.testing.assert_allclose(result["roi_intensity"].sel(roi="Ni"), inside.sum(axis=-1), rtol=1e-5)
    errors = result["intensity_errors"].values[..., channels.values]
    np.testing.assert_allclose(
        result["roi_intensity_errors"].sel(roi="Ni"), np.sqrt((errors**2).sum(axis=-1)), rtol=1e-5
    )
    strong = truth > 0.5 * truth.max()
    position = result["peak_position"].sel(peak="Ni").values[strong]
    np.testing.assert_allclose(position, 30.88, atol=0.02)  # Ni 111, a = 3.5239 Å
    assert np.isnan(result["peak_position"].values[0][truth == 0]).all()


def test_missing_frames_are_not_a_number(scan, tmp_path):
    messages: list[str] = []
    result = execute(scan, tmp_path / "map.h5", None, messages, frame_range="0:37", regions=(REGION,))
    assert result.sizes["y"] == 5 and any("3 points missing" in text for text in messages)
    absent = result["frame_number"].values < 0
    assert absent.sum() == 3
    for name in ("intensity", "mean_intensity", "roi_intensity"):
        values = result[name].transpose("y", "x", ...).values.reshape(5, POINTS, -1)
        assert np.isnan(values[absent]).all() and np.isfinite(values[~absent]).any(axis=1).all(), name
    assert (result["valid_fraction"].values[absent] == 0).all()


def test_files_without_motors_are_laid_out_by_their_shape(scan, tmp_path):
    source = open_frames(scan)
    for number in range(20):
        write_image(tmp_path / f"frame_{number:04d}.edf", source.decoded(number, number + 1)[0])
    (tmp_path / "setup.poni").write_bytes((scan.parent / "setup.poni").read_bytes())
    values = {"shape": (3, POINTS), "snake": True, "fast_range": (0, 0.7)}
    result = execute(tmp_path / "frame_*.edf", tmp_path / "map.h5", **values)
    expected = patterns(tmp_path / "frame_*.edf")
    numbers = result["frame_number"].values
    assert numbers[1, 0] == 15 and (numbers < 0).sum() == 4
    good = numbers >= 0
    assert result["intensity"].shape == (3, POINTS, NPT)
    np.testing.assert_array_equal(result["intensity"].values[good], expected["intensity"].values[numbers[good]])
    np.testing.assert_allclose(result["x"], np.linspace(0, 0.7, POINTS))
    with pytest.raises(DataError, match=r"no motors(.|\n)*--shape"):
        execute(tmp_path / "frame_*.edf", tmp_path / "other.h5")
    with pytest.raises(ParameterError, match="there are 20 frames"):
        execute(tmp_path / "frame_*.edf", tmp_path / "other.h5", shape=(2, 8))
    with pytest.raises(ParameterError, match="snake is given without the shape"):
        execute(tmp_path / "frame_*.edf", tmp_path / "other.h5", snake=True)


@pytest.mark.parametrize("frames", ["", "0:37"])
def test_damaged_frames_are_skipped(scan, tmp_path, frames):
    for path in scan.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with h5py.File(tmp_path / "scan_data_000001.h5", "r+") as file:
        dataset = file["entry/data/data"]
        mask, chunk = dataset.id.read_direct_chunk((10, 0, 0))
        dataset.id.write_direct_chunk((10, 0, 0), chunk[: len(chunk) // 2] + b"\xff" * 999, mask)
    values = {"frame_range": frames} if frames else {}
    with pytest.raises(DataError):
        execute(tmp_path / "scan.h5", tmp_path / "map.h5", **values)
    messages: list[str] = []
    for runner in (InlineRunner(), ThreadRunner(2)):
        result = execute(
            tmp_path / "scan.h5", tmp_path / "map.h5", runner, messages, on_error="skip", overwrite=True, **values
        )
        whole = execute(scan, tmp_path / "whole.h5", overwrite=True, **values)
        lost = result["frame_number"].values == 10
        assert np.isnan(result["intensity"].values[lost]).all() and result.attrs["skipped_frames"] == "10"
        np.testing.assert_array_equal(result["intensity"].values[~lost], whole["intensity"].values[~lost])
        absent = lost | (result["frame_number"].values < 0)
        assert np.array_equal(result["skipped"].values > 0, absent)
        assert any("1 of" in text and "frame 10" in text for text in messages)
        messages.clear()


def test_a_line_is_a_map_of_one_row(scan, tmp_path):
    result = execute(scan, tmp_path / "line.h5", frame_range=f"0:{POINTS}")
    assert result["intensity"].shape == (1, POINTS, NPT)


def test_cakes_are_mapped(scan, tmp_path):
    result = execute(scan, tmp_path / "map.h5", npt_azimuth=12, npt=50, regions=("all=20:60",))
    assert result["intensity"].dims == ("y", "x", "azimuth", "radial")
    assert result["roi_intensity"].shape == (1, LINES, POINTS) and np.isfinite(result["roi_intensity"]).all()


def test_an_interrupted_map_goes_on(scan, tmp_path):
    whole = execute(scan, tmp_path / "whole.h5", regions=(REGION,))

    class Stop(InlineRunner):
        """Stops after some blocks."""

        def stream(self, source, plan, sink, blocks, context, label, unit="frames"):
            super().stream(source, plan, sink, blocks[:3], context, label, unit)
            context.cancellation.cancel()
            context.cancellation.check()

    with pytest.raises(CancelledError):
        execute(scan, tmp_path / "map.h5", Stop(), block_frames=5)
    assert not (tmp_path / "map.h5").exists()
    messages: list[str] = []
    result = execute(scan, tmp_path / "map.h5", ThreadRunner(2), messages, block_frames=7, regions=(REGION,))
    assert any("15 items are complete" in text for text in messages)
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name], result[name], err_msg=str(name))
    messages.clear()
    execute(scan, tmp_path / "map.h5", None, messages, regions=(REGION,))
    assert any("complete already" in text for text in messages)
    with pytest.raises(OutputError, match="exists already"):
        execute(scan, tmp_path / "map.h5", npt=100)


@pytest.mark.parametrize("npt_azimuth", [None, 4])
def test_the_file_has_the_layout_of_pyfai(scan, tmp_path, npt_azimuth):
    execute(scan, tmp_path / "map.h5", npt=20, npt_azimuth=npt_azimuth, error_model="poisson")
    with h5py.File(tmp_path / "map.h5") as file:
        process = file["entry/pyFAI"]
        assert process.attrs["NX_class"] == "NXprocess"
        assert process["dim0"][()] == LINES and process["dim1"].attrs["axis"] == "x_translation"
        assert process["configuration"].attrs["NX_class"] == "NXnote"
        result = process["result"]
        bins = ["q"] if npt_azimuth is None else ["azimuthal", "q"]
        assert result.attrs["signal"] == "map" and list(result.attrs["axes"]) == [*bins, "slow", "fast"]
        assert result["map_ptr"].dtype == np.int32 and result["intensity"].shape[:2] == (LINES, POINTS)
        order = (*range(2, result["intensity"].ndim), 0, 1)
        np.testing.assert_array_equal(result["map"][()], result["intensity"][()].transpose(order))
        assert result["errors"].shape == result["intensity"].shape
        assert result["q"].shape == (20,) and result["slow"].shape == (LINES,)


def test_windows_are_checked_before_the_work(scan, tmp_path):
    with pytest.raises(ParameterError, match="cannot be understood"):
        execute(scan, tmp_path / "map.h5", regions=("Ni",))
    with pytest.raises(ParameterError, match="holds 0 channels"):
        execute(scan, tmp_path / "map.h5", peaks=("Ni=500:501",))
    assert not list(tmp_path.iterdir())
