"""The task: from files of every layout to volumes in files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from friedel.core.context import Context, SilentProgress
from friedel.core.errors import DataError, FileError, OutputError, ParameterError
from friedel.io import handles, open_dataset, write_dataset
from friedel.run.inline import InlineRunner
from friedel.run.threads import ThreadRunner
from friedel.techniques.tomography.tasks import Reconstruct, reconstruct
from phantoms import picture, several, sinogram
from shared_data import shared

N, ANGLES, CENTER = 48, np.arange(0, 180, 4.0), 25.2
ROWS = sinogram(several(40), ANGLES, N, CENTER)
TRUTH = picture(several(40), N)


class Messages(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def run(path: Path | str, runner: Any = None, progress: Any = None, **parameters: Any) -> xr.Dataset:
    context = Context(runner or InlineRunner(), progress=progress or SilentProgress())
    return reconstruct.execute(Reconstruct(sinograms=str(path), **parameters), context)


@contextmanager
def changing(path: Path) -> Iterator[h5py.File]:
    """Open a file for changes, after letting go of what friedel keeps open of it."""
    handles.release(path)
    with h5py.File(path, "r+") as file:
        yield file


def likeness(slice_: Any, truth: np.ndarray = TRUTH) -> float:
    return float(np.corrcoef(np.asarray(slice_).ravel(), truth.ravel())[0, 1])


def own_file(path: Path, n_layers: int = 2, n_channels: int = 37, errors: bool = False) -> Path:
    scale = np.random.default_rng(0).uniform(0.5, 2, (n_layers, 1, 1, n_channels))
    cube = (ROWS[None, :, :, None] * scale).astype(np.float32)
    dims = ("layer", "angle", "translation", "radial")
    variables = {"sinogram": (dims, cube, {"units": "count"})}
    if errors:
        variables["sinogram_errors"] = (dims, np.full_like(cube, 0.5), {"units": "count"})
    coords = {
        "layer": ("layer", np.arange(n_layers) * 0.1, {"units": "mm"}),
        "angle": ("angle", ANGLES, {"units": "deg"}),
        "translation": ("translation", np.arange(N) * 0.002, {"units": "mm"}),
        "radial": ("radial", np.linspace(10, 60, n_channels), {"units": "1/nm", "radial_unit": "q_nm^-1"}),
    }
    write_dataset(path, xr.Dataset(variables, coords))
    return path


def test_own_sinograms_become_a_volume(tmp_path: Path) -> None:
    source = own_file(tmp_path / "sinograms.h5")
    result = run(source, output=tmp_path / "volume.h5")
    assert result.volume.dims == ("layer", "y", "x", "radial")
    assert result.volume.attrs["units"] == "count/mm"
    assert result.radial.attrs["radial_unit"] == "q_nm^-1"
    assert result.attrs["center_pixels"] == pytest.approx(CENTER, abs=0.1)
    cube = open_dataset(source).sinogram
    with h5py.File(tmp_path / "volume.h5", locking=False) as file:
        assert file["entry"].attrs["default"] == "volume"
    for layer, channel in ((0, 0), (1, 36)):
        ratio = float(cube[layer, 20, 24, channel]) / ROWS[20, 24]
        assert likeness(result.volume[layer, :, :, channel]) > 0.97
        assert float(result.volume[layer, :, :, channel].sum()) * 0.002**2 == pytest.approx(
            TRUTH.sum() * 0.002 * ratio, rel=0.03
        )
    assert '"center_estimates"' in result.attrs["provenance"]


def test_runners_and_selections_give_the_same_bits(tmp_path: Path) -> None:
    source = own_file(tmp_path / "sinograms.h5")
    whole = run(source, center=CENTER).volume.values
    np.testing.assert_array_equal(run(source, ThreadRunner(3), center=CENTER).volume, whole)
    part = run(source, center=CENTER, layers="1", channels="5:21").volume
    np.testing.assert_array_equal(part, whole[1:, :, :, 5:21])
    np.testing.assert_array_equal(run(source, center=CENTER, output=tmp_path / "volume.h5").volume, whole)


def test_errors_are_carried_over_by_linear_methods(tmp_path: Path) -> None:
    source = own_file(tmp_path / "sinograms.h5", 1, 3, errors=True)
    result = run(source, center=CENTER)
    middle = result.volume_errors[0, 20:28, 20:28, 0]
    # White noise through the ramp: variance = sigma^2 pi^2 / (12 A) per pixel, less by interpolation.
    assert float(middle.mean()) * 0.002 == pytest.approx(0.5 * np.pi / np.sqrt(12 * len(ANGLES)), rel=0.15)
    assert "volume_errors" not in run(source, center=CENTER, method="sirt", iterations=3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"method": "sirt", "iterations": 2}, "uncertainty of sirt"),
        ({"outliers": 8.0}, "replacing outliers"),
        ({"rings": "sort", "ring_size": 5}, "removing rings"),
        ({"rings": "mean", "ring_size": 5}, "removing rings"),
        ({"transmission": "on"}, "logarithm"),
    ],
    ids=str,
)
def test_errors_are_not_written_where_there_is_no_rule(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    source = own_file(tmp_path / "sinograms.h5", 1, 3, errors=True)
    messages = Messages()
    assert "volume_errors" not in run(source, progress=messages, center=CENTER, **options)
    assert any("No standard deviations" in text and reason in text for text in messages.texts)
    with pytest.raises(ParameterError, match=f"errors: .*{reason}"):
        run(source, center=CENTER, errors=True, **options)


def test_errors_can_be_left_out_and_must_be_there_if_asked_for(tmp_path: Path) -> None:
    source = own_file(tmp_path / "sinograms.h5", 1, 3, errors=True)
    assert "volume_errors" in run(source, center=CENTER, errors=True)
    assert "volume_errors" not in run(source, center=CENTER, errors=False)
    with pytest.raises(ParameterError, match="holds no uncertainty"):
        run(own_file(tmp_path / "plain.h5", 1, 3), center=CENTER, errors=True)


def test_mlem_takes_negative_samples_as_zero(tmp_path: Path) -> None:
    source = own_file(tmp_path / "sinograms.h5", 1, 2)
    with changing(source) as file:
        file["entry/sinogram/sinogram"][0, 5, :3] = -2
    messages = Messages()
    result = run(source, center=CENTER, method="mlem", iterations=3, progress=messages)
    assert float(result.volume.min()) >= 0
    assert any("negative samples" in text for text in messages.texts)


def test_monitor_keeps_the_mean_of_the_counts(tmp_path: Path) -> None:
    """A monitor that has another mean in the middle of the scan divides by the mean of the whole scan."""
    source = pencil_beam_file(tmp_path / "scan.nxs", transmission=False)
    with changing(source) as file:
        monitor = file["entry1/stxm/monitor/data"]
        monitor[:, 0] = monitor[:, 0] / 4
        beam, raw = monitor[()], file["entry1/stxm/data/data"][()]
        order = np.argsort(file["entry1/stxm/data/theta"][()])
    expected = (raw / (beam / beam.mean()))[order].sum(axis=1)
    found = run(source, center=CENTER, transmission="off")
    np.testing.assert_allclose(found.sinogram, expected, rtol=1e-4)


def test_failed_projections_are_left_out_by_layer(tmp_path: Path) -> None:
    source = own_file(tmp_path / "sinograms.h5")
    with changing(source) as file:
        file["entry/sinogram/sinogram"][1, 7] = np.nan
    result = run(source, center=CENTER)
    assert np.isfinite(result.volume).all()
    assert likeness(result.volume[1, :, :, 3]) > 0.97
    with changing(source) as file:
        file["entry/sinogram/sinogram"][0, 3, 4:6] = np.nan
    with pytest.raises(DataError, match="not finite at 2 of"):
        run(source, center=CENTER)


def pencil_beam_file(path: Path, transmission: bool = True) -> Path:
    """Unsorted angles, motors as grids, a drifting monitor, layers between angle and translation."""
    order = np.random.default_rng(0).permutation(len(ANGLES))
    beam = np.random.default_rng(1).uniform(0.5, 1, (len(ANGLES), 3, N)) * 1e5
    signal = np.exp(-ROWS / 40) if transmission else ROWS / 10 + 1e-3
    with h5py.File(path, "w") as file:
        data = file.create_group("entry1/stxm/data")
        data.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": ["theta", "y", "x"]})
        data.attrs.update({"x_indices": np.array([b"1", b"2"]), "y_indices": np.array([b"1", b"2"])})
        data["data"] = (signal[:, None] * beam)[order].astype(np.float32)
        data["theta"] = ANGLES[order]
        data["theta"].attrs["units"] = "degree"
        y, x = np.meshgrid(np.arange(3) * 0.005, np.arange(N) * 0.002, indexing="ij")
        data["x"], data["y"] = x, y
        data["x"].attrs["units"] = data["y"].attrs["units"] = "mm"
        monitor = file.create_group("entry1/stxm/monitor")
        monitor["data"] = beam[order]
    return path


def test_pencil_beam_transmission_is_recognised_and_normalized(tmp_path: Path) -> None:
    result = run(pencil_beam_file(tmp_path / "scan.nxs"))
    assert result.volume.dims == ("layer", "y", "x")
    assert result.volume.attrs["units"] == "1/mm"
    assert (np.diff(result.angle) > 0).all()
    for layer in range(3):
        assert likeness(result.volume[layer]) > 0.97
    inside = float(result.volume[0].values[TRUTH > 0.9].mean()) * 0.002
    assert inside == pytest.approx(TRUTH[TRUTH > 0.9].mean() / 40, rel=0.03)


def test_emitted_signal_is_not_mistaken_for_transmission(tmp_path: Path) -> None:
    source = pencil_beam_file(tmp_path / "scan.nxs", transmission=False)
    assert likeness(run(source, center=CENTER).volume[1]) > 0.97
    assert likeness(run(source, center=CENTER, monitor="none").volume[1]) < 0.9
    named = run(source, center=CENTER, dataset="entry1/stxm/data/data", monitor="entry1/stxm/monitor/data")
    assert likeness(named.volume[1]) > 0.97


def test_wrong_monitor_is_refused(tmp_path: Path) -> None:
    source = pencil_beam_file(tmp_path / "scan.nxs")
    with pytest.raises(DataError, match=r"monitor entry1/stxm/data/y has the shape"):
        run(source, monitor="entry1/stxm/data/y")
    with pytest.raises(FileError, match=r"there is no entry1/i0"):
        run(source, monitor="entry1/i0")


def counts(flat: float = 1000.0, dark: float = 50.0) -> np.ndarray:
    return dark + (flat - dark) * np.exp(-ROWS / 40)


def test_data_exchange(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.stack([counts()] * 20, axis=1).astype(np.float32)
        file["exchange/data_white"] = np.full((4, 20, N), 1000.0)
        file["exchange/data_dark"] = np.full((4, 20, N), 50.0)
        file["exchange/theta"] = np.deg2rad(ANGLES)
        file["exchange/theta"].attrs["units"] = "radians"
    result = run(path, output=tmp_path / "volume.h5")
    assert result.volume.shape == (20, N, N)
    assert result.volume.attrs["units"] == "1/pixel"
    assert likeness(result.volume[19]) > 0.97
    np.testing.assert_array_equal(
        run(path, center=float(result.attrs["center_pixels"]), layers="17:19").volume, result.volume[17:19]
    )


def test_nxtomo(tmp_path: Path) -> None:
    path = tmp_path / "scan.nx"
    key = np.array([2, 1, *([0] * len(ANGLES)), 1, 3])
    frames = np.full((len(key), 2, N), 1000.0)
    frames[key == 2], frames[key == 0] = 50.0, counts()[:, None]
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry0000")
        entry.attrs["NX_class"], entry["definition"] = "NXentry", "NXtomo"
        entry["instrument/detector/data"], entry["instrument/detector/image_key"] = frames, key
        entry["instrument/detector/x_pixel_size"] = 2e-6
        entry["instrument/detector/x_pixel_size"].attrs["units"] = "m"
        angles = np.zeros(len(key))
        angles[key == 0] = ANGLES
        entry["sample/rotation_angle"] = angles
        entry["control/data"] = np.ones(len(key))
    result = run(path)
    assert result.volume.attrs["units"] == "1/mm"
    assert likeness(result.volume[1]) > 0.97
    inside = float(result.volume[0].values[TRUTH > 0.9].mean()) * 0.002
    assert inside == pytest.approx(TRUTH[TRUTH > 0.9].mean() / 40, rel=0.03)


def test_cleaning_options(tmp_path: Path) -> None:
    source = own_file(tmp_path / "sinograms.h5", 1, 2)
    clean = run(source, center=CENTER).volume.values
    with changing(source) as file:
        data = file["entry/sinogram/sinogram"]
        data[0, 5, 20] += 5000
        data[0, :, 30] += 5
    spoilt = run(source, center=CENTER).volume.values
    better = run(source, center=CENTER, outliers=8, rings="sort", ring_size=9).volume.values
    assert np.abs(better - clean).mean() < 0.4 * np.abs(spoilt - clean).mean()
    assert np.isfinite(run(source, center=CENTER, background="edges", edge=2).volume).all()


@pytest.mark.parametrize("method", ["fbp", "sirt", "mlem"])
def test_other_methods(tmp_path: Path, method: str) -> None:
    result = run(own_file(tmp_path / "sinograms.h5", 1, 2), center=CENTER, method=method)
    assert likeness(result.volume[0, :, :, 1]) > 0.95


def test_bad_input_is_explained(tmp_path: Path) -> None:
    source = own_file(tmp_path / "sinograms.h5", 1, 2)
    with pytest.raises(FileError, match="no such file"):
        run(tmp_path / "nothing.h5")
    with pytest.raises(FileError, match="there is no elsewhere"):
        run(source, dataset="elsewhere")
    with pytest.raises(DataError, match="1 layers and 2 channels"):
        run(source, layers="3:9")
    with pytest.raises(DataError, match=r"0 channels|nothing to reconstruct"):
        run(own_file(tmp_path / "no_channels.h5", 1, 0))
    with pytest.raises(ParameterError, match="layers: 'a:b'"):
        run(source, layers="a:b")
    with pytest.raises(ParameterError, match="takes no iterations"):
        run(source, iterations=3)
    (tmp_path / "volume.h5").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        run(source, output=tmp_path / "volume.h5")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["numbers"] = np.arange(3)
    with pytest.raises(FileError, match="holds no sinogram"):
        run(tmp_path / "empty.h5")
    with changing(source) as file:
        file["entry/sinogram/angle"][...] = np.linspace(0, 90, len(ANGLES))
    with pytest.raises(DataError, match="angle range is too short"):
        run(source)
    with changing(source) as file:
        file["entry/sinogram/angle"][...] = ANGLES
        file["entry/sinogram/translation"][...] = np.arange(N) ** 1.3
    with pytest.raises(DataError, match="not evenly spaced"):
        run(source)


def test_tooth() -> None:
    result = run(shared("tomography", "tooth.h5"), layers="0")
    assert result.attrs["center_pixels"] == pytest.approx(295.5, abs=0.7)
    slice_ = result.volume[0].values
    y, x = np.indices(slice_.shape) - 319.5
    air, enamel = slice_[np.hypot(y, x) > 250], np.sort(slice_.ravel())[-5000:]
    assert abs(air.mean()) < 0.02 * enamel.mean()


def test_pencil_beam_scan_of_a_capillary() -> None:
    result = run(shared("tomography", "savu_mm.nxs"))
    assert result.volume.shape == (7, 101, 101)
    assert result.attrs["center_pixels"] == pytest.approx(44.6, abs=0.7)
    assert len(result.angle) == 52
    assert (np.diff(result.angle) > 0).all()
    slice_ = result.volume[4].values
    y, x = np.indices(slice_.shape) - 50
    # The particle absorbs, and nothing lies outside the capillary.
    assert np.sort(slice_.ravel())[-300:].mean() > 20 * abs(slice_[np.hypot(y, x) > 48].mean())


def test_unknown_units_of_angles_are_refused(tmp_path: Path) -> None:
    path = own_file(tmp_path / "scan.h5")
    with changing(path) as file:
        file["entry/sinogram/angle"].attrs["units"] = "mrad"
    with pytest.raises(DataError, match="'mrad'"):
        run(path)
