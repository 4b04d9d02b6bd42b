"""From the frames of a simulated scan to maps that agree with the truth, however it ran and wherever it is done."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import friedel
from friedel.core.context import Context, SilentProgress
from friedel.core.errors import DataError, FriedelError, GeometryError, OutputError, ParameterError
from friedel.core.provenance import Provenance
from friedel.run import InlineRunner, ThreadRunner, make_runner
from friedel.workflows.tasks import XRDCT, SimulateXRDCT, simulate_xrdct, xrdct

SMALL = {
    "phases": ("CeO2", "Ni"),
    "translations": 24,
    "rotations": 31,
    "detector": "Pilatus100k",
    "distance": 0.15,
    "counts": 6.0,
    "width": 0.3,
}


def simulate(folder: Path, **options: Any) -> Path:
    parameters = SimulateXRDCT.parse({**SMALL, **options, "output": str(folder / "scan.h5")})
    simulate_xrdct.execute(parameters, Context(ThreadRunner(2)))
    return folder


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("scan"))


class Messages(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def run(folder: Path, destination: Path, runner: Any = None, progress: Any = None, **options: Any) -> xr.Dataset:
    values = {
        "frames": str(folder / "scan.h5"),
        "geometry": str(folder / "setup.poni"),
        "npt": 400,
        "phases": ("CeO2", "Ni"),
        "output": str(destination),
    }
    parameters = XRDCT.parse({**values, **options})
    result: xr.Dataset = xrdct.execute(
        parameters, Context(runner or ThreadRunner(2), progress=progress or SilentProgress())
    )
    return result


def correlations(folder: Path, result: xr.Dataset) -> dict[str, float]:
    truth = friedel.open(str(folder / "scan_truth.h5"))["fraction"]
    return {
        str(name): float(
            np.corrcoef(result["phase_map"].sel(phase=name).values.ravel(), truth.sel(phase=name).values.ravel())[0, 1]
        )
        for name in result["phase"].values
    }


def content(path: Path) -> dict[str, bytes]:
    """Every value of the file but for the record of when and how."""
    found: dict[str, bytes] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and "process" not in name:
            values = np.asarray(item[()])
            found[name] = repr(values.tolist()).encode() if values.dtype == object else values.tobytes()

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def test_each_phase_is_found_where_it_is(scan: Path, tmp_path: Path) -> None:
    result = run(scan, tmp_path / "maps.h5")
    assert min(correlations(scan, result).values()) > 0.95
    assert result["volume"].dims == ("layer", "y", "x", "radial")
    assert result["sinogram"].dims == ("layer", "angle", "translation", "radial")
    assert result["volume_errors"].shape == result["volume"].shape


@pytest.mark.parametrize(
    "options",
    [
        {"fast": "rotation"},
        {"snake": False},
        {"angle_range": 360, "rotations": 61},
        {"layers": 2},
        {"fast": "rotation", "layers": 2, "axis_offset": -2.3},
    ],
    ids=str,
)
def test_any_way_to_scan(tmp_path: Path, options: dict[str, Any]) -> None:
    simulate(tmp_path, **options)
    result = run(tmp_path, tmp_path / "maps.h5")
    assert min(correlations(tmp_path, result).values()) > 0.93


def test_the_same_on_one_core_on_threads_and_on_a_cluster(scan: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    for name, runner in {"inline": InlineRunner(), "threads": ThreadRunner(3)}.items():
        (tmp_path / name).mkdir()
        run(scan, tmp_path / name / "maps.h5", runner, block_frames=50)
    (tmp_path / "cluster").mkdir()
    with make_runner(cluster="local:2") as runner:
        run(scan, tmp_path / "cluster" / "maps.h5", runner, block_frames=50)
    for file in ("maps.h5", "maps_sinograms.h5"):
        inline = content(tmp_path / "inline" / file)
        assert len(inline) > 5
        for name in ("threads", "cluster"):
            other = content(tmp_path / name / file)
            assert inline.keys() == other.keys()
            assert [key for key in inline if inline[key] != other[key]] == []


def test_regions_and_peaks(scan: Path, tmp_path: Path) -> None:
    result = run(
        scan,
        tmp_path / "maps.h5",
        phases=(),
        regions=("CeO2 111=19:21",),
        peaks=("CeO2 111=18.5:22",),
        splitting="none",
    )
    assert {"roi_intensity", "roi_intensity_errors", "peak_area", "peak_position", "peak_width"} <= set(result)
    there = result["peak_area"].values[0] > 0.3 * float(result["peak_area"].max())
    position = result["peak_position"].values[0][there]
    assert np.median(position) == pytest.approx(2 * np.pi * np.sqrt(3) / 0.5411651, abs=0.1)


def test_errors_of_sums_are_refused_with_splitting(scan: Path, tmp_path: Path) -> None:
    """Splitting shares counts between neighbouring bins, so the error of their sum is not that of independent bins."""
    result = run(scan, tmp_path / "maps.h5", phases=(), regions=("CeO2 111=19:21",), splitting="full")
    assert "roi_intensity" in result
    assert "roi_intensity_errors" not in result


def test_iterative_methods_have_no_errors(scan: Path, tmp_path: Path) -> None:
    result = run(scan, tmp_path / "maps.h5", method="sirt", iterations=20, npt=100, phases=())
    assert "volume_errors" not in result
    with pytest.raises(ParameterError, match="uncertainty of sirt is not known"):
        run(scan, tmp_path / "again.h5", method="sirt", errors=True)


@pytest.mark.parametrize(
    ("cleaning", "message"),
    [({"outliers": 8.0}, "replacing outliers"), ({"rings": "sort"}, "removing rings"), ({"rings": "mean"}, "rings")],
    ids=str,
)
def test_cleaned_sinograms_have_no_errors(scan: Path, tmp_path: Path, cleaning: dict[str, Any], message: str) -> None:
    """Medians are not linear in the data: the rule that carries variances does not hold for them."""
    messages = Messages()
    result = run(scan, tmp_path / "maps.h5", progress=messages, npt=60, phases=(), **cleaning)
    assert "volume_errors" not in result
    assert any("No standard deviations" in text and message in text for text in messages.texts)
    with pytest.raises(ParameterError, match=f"errors: .*{message}"):
        run(scan, tmp_path / "again.h5", errors=True, **cleaning)
    assert not (tmp_path / "again_sinograms.h5").exists()


def test_mlem_works_as_it_comes(scan: Path, tmp_path: Path) -> None:
    """The background that is subtracted by default makes samples negative; MLEM takes them as zero, and says so."""
    messages = Messages()
    result = run(scan, tmp_path / "maps.h5", progress=messages, npt=100, phases=(), method="mlem", iterations=5)
    assert float(result["volume"].min()) >= 0
    assert any("negative samples" in text for text in messages.texts)


def test_a_wrong_ring_filter_is_told_before_the_work(scan: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="size is 4"):
        run(scan, tmp_path / "maps.h5", rings="sort", ring_size=4)
    assert not list(tmp_path.iterdir())


def test_lost_frames_leave_no_hole(scan: Path, tmp_path: Path) -> None:
    for file in scan.glob("scan*.h5"):
        shutil.copy(file, tmp_path)
    shutil.copy(scan / "setup.poni", tmp_path)
    n_frames = 24 * 31
    result = run(tmp_path, tmp_path / "maps.h5", frame_range=f"0:{n_frames - 30}")
    assert np.isfinite(result["volume"].values).all()
    assert min(correlations(tmp_path, result).values()) > 0.9


def test_frames_without_beam_leave_no_hole_and_do_not_change_the_others(scan: Path, tmp_path: Path) -> None:
    for file in [*scan.glob("scan*.h5"), scan / "setup.poni"]:
        shutil.copy(file, tmp_path)
    with h5py.File(tmp_path / "scan.h5", "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        monitor = next(
            file[name] for name in names if "control" in name and getattr(file[name], "shape", ()) == (24 * 31,)
        )
        monitor[[40, 41, 300]] = 0
    options: dict[str, Any] = {"npt": 100, "phases": (), "background": "none"}
    whole = run(scan, tmp_path / "whole.h5", **options)["sinogram"].values
    dimmed = run(tmp_path, tmp_path / "maps.h5", **options)
    assert np.isfinite(dimmed["volume"].values).all()
    lost = np.isnan(dimmed["sinogram"].values).all(axis=-1)
    assert lost.sum() == 3
    np.testing.assert_allclose(dimmed["sinogram"].values[~lost], whole[~lost], rtol=0.02)


def test_damaged_frames_are_skipped(scan: Path, tmp_path: Path) -> None:
    for file in [*scan.glob("scan*.h5"), scan / "setup.poni"]:
        shutil.copy(file, tmp_path)
    with h5py.File(tmp_path / "scan_data_000001.h5", "r+") as file:
        dataset = file["entry/data/data"]
        mask, chunk = dataset.id.read_direct_chunk((50, 0, 0))
        dataset.id.write_direct_chunk((50, 0, 0), chunk[: len(chunk) // 2] + b"\xff" * 999, mask)
    options: dict[str, Any] = {"npt": 100, "phases": ()}
    with pytest.raises(DataError):
        run(tmp_path, tmp_path / "stopped.h5", **options)
    whole = run(scan, tmp_path / "whole.h5", **options)
    messages = Messages()
    result = run(tmp_path, tmp_path / "maps.h5", progress=messages, on_error="skip", **options)
    assert any("1 of 744 frames were skipped" in text and "frame 50" in text for text in messages.texts)
    assert np.isfinite(result["volume"].values).all()
    sinograms = friedel.open(str(tmp_path / "maps_sinograms.h5"))
    assert sinograms.attrs["skipped_frames"] == "50"
    skipped = sinograms["skipped"].values > 0
    assert skipped.sum() == 1
    assert np.isnan(sinograms["sinogram"].values[skipped]).all()
    np.testing.assert_array_equal(sinograms["sinogram"].values[~skipped], whole["sinogram"].values[~skipped])


def test_the_file_opens_by_default(scan: Path, tmp_path: Path) -> None:
    run(scan, tmp_path / "maps.h5")
    with h5py.File(tmp_path / "maps.h5") as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert data.attrs["NX_class"] == "NXdata"
        assert data[data.attrs["signal"]].shape == (2, 1, 24, 24)
        assert file["entry/sinogram/sinogram"].shape == (1, 31, 24, 400), "the link to the sinograms leads nowhere"
    with h5py.File(tmp_path / "maps_sinograms.h5") as file:
        assert file["entry/definition"][()].decode() == "NXxrdct"
        assert file["entry/sample/rotation_angle"].shape == (31,)


WORK = """
import friedel, sys
from friedel.io import regions
regions.SYNC_SECONDS = regions.SYNC_SHARE = 0
friedel.xrdct(sys.argv[1], geometry=sys.argv[2], npt=400, phases=("CeO2", "Ni"), output=sys.argv[3],
              block_frames=int(sys.argv[4]), threads=1, progress=True)
"""


def test_killed_in_the_middle_it_goes_on(scan: Path, tmp_path: Path) -> None:
    """`kill -9`, then the same command with other blocks: what was complete is kept, and the files hold the same."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    run(scan, tmp_path / "whole" / "maps.h5", block_frames=4)
    output = tmp_path / "killed" / "maps.h5"
    command = [sys.executable, "-c", WORK, str(scan / "scan.h5"), str(scan / "setup.poni"), str(output)]
    process = subprocess.Popen([*command, "4"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = output.with_name("maps_sinograms.h5.journal")
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 3, process)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not output.exists()
    again = subprocess.run([*command, "5"], check=True, capture_output=True, text=True)
    assert f"Going on with {journal.with_suffix('.partial')}" in again.stderr
    for file in ("maps.h5", "maps_sinograms.h5"):
        assert content(tmp_path / "whole" / file) == content(tmp_path / "killed" / file)
    assert sorted(path.name for path in output.parent.iterdir()) == ["maps.h5", "maps_sinograms.h5"]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)


def test_other_phases_need_no_new_integration(scan: Path, tmp_path: Path) -> None:
    run(scan, tmp_path / "maps.h5")
    before = (tmp_path / "maps_sinograms.h5").stat().st_mtime_ns
    run(scan, tmp_path / "maps.h5", phases=("CeO2",), overwrite=True)
    assert (tmp_path / "maps_sinograms.h5").stat().st_mtime_ns == before
    run(scan, tmp_path / "maps.h5", npt=300, overwrite=True)
    assert (tmp_path / "maps_sinograms.h5").stat().st_mtime_ns != before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rotation": "spin"}, DataError, "no rotation called 'spin'"),
        ({"phases": ("Unobtainium",)}, FriedelError, "Unobtainium"),
        ({"regions": ("nonsense",)}, ParameterError, "nonsense"),
        ({"regions": ("nothing=500:600",)}, ParameterError, "nothing"),
        ({"frame_range": "0:200"}, DataError, "degrees"),
        ({"unit": "d_A"}, ParameterError, "radial-range"),
        ({"center": 1e9}, ParameterError, "outside the 24 translations"),
        ({"radial_range": (500.0, 600.0)}, FriedelError, "range"),
        ({"output": "/no/such/folder/maps.h5"}, OutputError, "no/such/folder"),
        ({"geometry": __file__}, FriedelError, "test_workflow.py"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input_is_named(
    scan: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(scan, tmp_path / "maps.h5", **options)
    assert not (tmp_path / "maps.h5").exists()


@pytest.mark.parametrize(
    ("options", "doubt"),
    [
        ({"phases": ("Quartz",)}, "explain only"),
        ({"phases": ("CeO2", "Ni"), "peaks": ("Ni 111=29.9:32",)}, "peak Ni 111 is too narrow"),
    ],
)
def test_maps_that_should_not_be_believed_come_with_a_warning(
    scan: Path, tmp_path: Path, options: dict[str, Any], doubt: str
) -> None:
    result = run(scan, tmp_path / "maps.h5", **options)
    notes = Provenance.from_json(result.attrs["provenance"]).notes
    assert [warning for warning in notes["warnings"] if doubt in warning]


def test_maps_that_can_be_believed_come_without(scan: Path, tmp_path: Path) -> None:
    result = run(scan, tmp_path / "maps.h5")
    assert Provenance.from_json(result.attrs["provenance"]).notes["warnings"] == []


def test_frames_without_beam_are_left_out(tmp_path: Path) -> None:
    simulate(tmp_path)
    with h5py.File(tmp_path / "scan.h5", "r+") as file:
        file["entry/control/data"][100:110] = 0.0
    result = run(tmp_path, tmp_path / "maps.h5")
    assert int(np.isnan(result["sinogram"].values).all(axis=-1).sum()) == 10
    assert min(correlations(tmp_path, result).values()) > 0.93


def test_an_existing_result_is_not_lost(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "maps.h5").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        run(scan, tmp_path / "maps.h5")
    assert (tmp_path / "maps.h5").read_text() == "precious"


def test_a_finished_command_repeated_gives_its_result(scan: Path, tmp_path: Path) -> None:
    first = run(scan, tmp_path / "maps.h5", npt=200)
    before = (tmp_path / "maps.h5").stat().st_mtime_ns
    again = run(scan, tmp_path / "maps.h5", npt=200)
    assert (tmp_path / "maps.h5").stat().st_mtime_ns == before
    xr.testing.assert_equal(first["phase_map"].compute(), again["phase_map"].compute())
    with pytest.raises(OutputError, match="exists already"):
        run(scan, tmp_path / "maps.h5", npt=201)


def test_a_detector_of_another_shape(scan: Path, tmp_path: Path) -> None:
    poni = (scan / "setup.poni").read_text().replace("Pilatus100k", "Pilatus1M").replace("Pilatus 100k", "Pilatus 1M")
    (tmp_path / "wrong.poni").write_text(poni)
    with pytest.raises(GeometryError, match=r"195.*487|1043.*981"):
        run(scan, tmp_path / "maps.h5", geometry=str(tmp_path / "wrong.poni"))


def test_the_record_names_the_master_file_and_the_data_files(scan: Path, tmp_path: Path) -> None:
    """The frames lie in the data files, the motors in the master file: a change of either is another scan."""
    result = run(scan, tmp_path / "maps.h5")
    names = {Path(item.path).name for item in Provenance.from_json(result.attrs["provenance"]).inputs}
    assert names == {"setup.poni", "scan.h5", "scan_data_000001.h5"}
