"""Statistics of a series: numpy's numbers with bounded memory, invalid values left out, images written."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.blocks import Block
from friedel.core.context import Context
from friedel.core.errors import DataError, GeometryError, OutputError, ParameterError
from friedel.io import open_dataset, open_frames, read_image, write_image
from friedel.run.inline import InlineRunner
from friedel.run.threads import ThreadRunner
from friedel.techniques.images import average_frames
from friedel.techniques.images.moments import Moments, OrderedSum
from friedel.techniques.images.ranks import DetectorRows
from friedel.techniques.images.tasks import average
from io_files import nexus, stack

ALL = ("mean", "median", "min", "max", "sum", "std", "count", "quantiles", "trimmed_mean", "clipped_mean")


def execute(runner=None, messages=None, **values) -> xr.Dataset:
    context = Context(runner or InlineRunner())
    if messages is not None:
        context.progress.message = messages.append  # type: ignore[method-assign]
    return average.execute(average.parameters.parse(values), context)


@pytest.fixture
def frames() -> np.ndarray:
    return stack(9, 20, 33, "u2")


@pytest.fixture
def scan(tmp_path, frames) -> Path:
    return nexus(tmp_path / "scan.h5", frames, flux=np.linspace(1, 2, len(frames)))


def test_statistics_are_those_of_numpy(scan, frames):
    result = execute(frames=scan, statistics=ALL)
    expected = {
        "mean": frames.mean(axis=0),
        "median": np.median(frames, axis=0),
        "min": frames.min(axis=0),
        "max": frames.max(axis=0),
        "sum": frames.sum(axis=0),
        "std": frames.std(axis=0),
        "count": np.full(frames.shape[1:], 9),
        "quantiles": np.quantile(frames, (0.25, 0.5, 0.75), axis=0),
    }
    for name, image in expected.items():
        np.testing.assert_allclose(result[name], image, rtol=1e-13, err_msg=name)
    np.testing.assert_allclose(result["mean_errors"], frames.std(axis=0, ddof=1) / 3, rtol=1e-12)
    assert result["mean"].dims == ("y", "x")
    assert result["quantiles"].dims == ("quantile", "y", "x")


def test_trimmed_mean_leaves_out_both_ends(scan, frames):
    result = execute(frames=scan, statistics=["trimmed_mean"], trim=(0.2, 0.8))
    ordered = np.sort(frames, axis=0)
    np.testing.assert_allclose(result["trimmed_mean"], ordered[1:8].mean(axis=0))


@pytest.mark.parametrize("center", ["mean", "median"])
def test_clipped_mean_leaves_out_what_is_far(scan, frames, center):
    result = execute(frames=scan, statistics=("clipped_mean",), clip_threshold=1.2, center=center)
    values = frames.astype(float)
    middle = getattr(np, center)(values, axis=0)
    near = np.abs(values - middle) <= 1.2 * values.std(axis=0)
    expected = np.where(near, values, 0).sum(axis=0) / near.sum(axis=0)
    np.testing.assert_allclose(result["clipped_mean"], expected)


def test_frames_are_corrected_before_they_are_compared(scan, frames, tmp_path):
    dark, flat = np.full(frames.shape[1:], 3.0), np.linspace(0.5, 2, frames[0].size).reshape(frames.shape[1:])
    flat[2, 3] = 0
    np.save(tmp_path / "dark.npy", dark)
    np.save(tmp_path / "flat.npy", flat)
    files = {"dark": tmp_path / "dark.npy", "flat": tmp_path / "flat.npy"}
    result = execute(frames=scan, statistics=ALL, monitor="flux", **files)
    with np.errstate(divide="ignore"):
        corrected = (frames - dark) / flat / np.linspace(1, 2, 9)[:, None, None]
    corrected[:, 2, 3] = np.nan
    np.testing.assert_allclose(result["mean"], corrected.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result["median"], np.median(corrected, axis=0), rtol=1e-12)
    np.testing.assert_allclose(result["std"], corrected.std(axis=0), rtol=1e-10)
    assert np.isnan(result["max"].values[2, 3]) and result["count"].values[2, 3] == 0


def test_marked_values_leave_their_frame_only(tmp_path):
    frames = stack(7, 8, 6, "i4")
    frames[2, 1, 1] = -1
    frames[:, 3, 3] = -2
    result = execute(frames=nexus(tmp_path / "a.h5", frames), statistics=ALL, dummy=-2, delta_dummy=1.5)
    values = np.where(frames < 0, np.nan, frames)
    np.testing.assert_allclose(result["mean"].values[1, 1], np.nanmean(values[:, 1, 1]))
    np.testing.assert_allclose(result["median"].values[1, 1], np.nanmedian(values[:, 1, 1]))
    np.testing.assert_allclose(result["quantiles"].values[:, 1, 1], np.nanquantile(values[:, 1, 1], (0.25, 0.5, 0.75)))
    assert result["count"].values[1, 1] == 6 and result["count"].values[3, 3] == 0
    for name in set(ALL) - {"count", "quantiles"}:
        assert np.isnan(result[name].values[3, 3]), name
        assert np.isfinite(np.delete(result[name].values.ravel(), 3 * 6 + 3)).all(), name


def test_a_negative_mark_is_found_wrapped_in_unsigned_frames(tmp_path):
    frames = stack(5, 4, 4, "u4")
    frames[1, 2, 2] = 2**32 - 1
    result = execute(frames=nexus(tmp_path / "a.h5", frames), statistics=("max",), dummy=-1)
    assert result["max"].max() < 1000


def test_masked_pixels_are_not_a_number(scan, frames, tmp_path):
    mask = np.zeros(frames.shape[1:], bool)
    mask[4:6] = True
    write_image(tmp_path / "mask.edf", mask)
    result = execute(frames=scan, statistics=("mean", "median"), mask=tmp_path / "mask.edf")
    assert np.isnan(result["mean"].values[mask]).all() and np.isnan(result["median"].values[mask]).all()
    assert np.isfinite(result["mean"].values[~mask]).all()


def test_several_sources_are_one_series(tmp_path, frames):
    parts = [nexus(tmp_path / "a.h5", frames[:4]), nexus(tmp_path / "b.h5", frames[4:])]
    result = execute(frames=parts, statistics=("mean", "median"))
    np.testing.assert_allclose(result["mean"], frames.mean(axis=0))
    np.testing.assert_allclose(result["median"], np.median(frames, axis=0))


def test_results_do_not_depend_on_runner_or_portions(tmp_path, monkeypatch):
    frames = stack(40, 11, 13, "f4") * np.float32(1.1)
    scan = nexus(tmp_path / "a.h5", frames)
    reference = execute(frames=scan, statistics=ALL)
    monkeypatch.setattr("friedel.techniques.images.average.rows_per_slab", lambda *_: 3)
    monkeypatch.setattr("friedel.techniques.images.ranks.SORTED_VALUES", 100)
    monkeypatch.setattr("friedel.techniques.images.moments.TILE", 17)
    messages: list[str] = []
    again = execute(ThreadRunner(3), messages, frames=scan, statistics=ALL)
    for name in reference.data_vars:
        assert np.array_equal(reference[name], again[name], equal_nan=True), name
    assert any("read 4 times" in text for text in messages)


def test_groups_are_added_in_order():
    sink = OrderedSum(2)
    blocks = [Block(0, 0, 4), Block(1, 4, 8), Block(2, 8, 9)]
    one = Moments(*(np.ones(2) for _ in range(5)))
    sink.write(blocks[2], one)
    sink.write(blocks[1], one)
    assert sink.moments.count.sum() == 0 and sink.pending(blocks) == [blocks[0]]
    sink.write(blocks[0], one)
    assert (sink.moments.count == 3).all() and not sink.pending(blocks)


def test_rows_hold_every_frame(scan, frames):
    slab = DetectorRows(open_frames(scan)).read(Block(0, 5, 8))
    assert slab.first == 5 and np.array_equal(slab.values, frames[:, 5:8])


@given(st.integers(0, 2**32), st.floats(0, 1e9))
def test_spread_survives_a_large_offset(seed, offset):
    frames = np.random.default_rng(seed).normal(0, 1, (12, 2, 3)) + offset
    found = average_frames(frames, ("std", "mean"))
    np.testing.assert_allclose(found["std"], frames.std(axis=0), rtol=1e-6, atol=1e-15 * offset)
    np.testing.assert_allclose(found["mean"], frames.mean(axis=0), rtol=1e-13, atol=1e-13)


@given(st.integers(1, 9), st.integers(0, 2**32))
def test_mean_lies_between_the_extremes(n, seed):
    frames = np.random.default_rng(seed).poisson(4, (n, 3, 4))
    found = average_frames(frames, ALL)
    for name in ("mean", "median", "trimmed_mean", "clipped_mean"):
        assert (found["min"] <= found[name] + 1e-12).all() and (found[name] <= found["max"] + 1e-12).all()
    np.testing.assert_allclose(found["sum"], found["mean"] * n)


def test_nexus_holds_images_and_the_record(scan, tmp_path):
    execute(frames=scan, statistics=("mean", "std"), output=tmp_path / "mean.h5")
    stored = open_dataset(tmp_path / "mean.h5")
    assert stored.attrs["default"] == "mean" and stored.attrs["frames"] == 9
    assert '"average"' in stored.attrs["provenance"]
    messages: list[str] = []
    execute(None, messages, frames=scan, statistics=("mean", "std"), output=tmp_path / "mean.h5")
    assert "complete already" in messages[0]
    with pytest.raises(OutputError, match="exists"):
        execute(frames=scan, statistics=("max",), output=tmp_path / "mean.h5")


@pytest.mark.parametrize("ending", [".edf", ".tif", ".npy"])
def test_images_are_written(scan, frames, tmp_path, ending):
    execute(frames=scan, output=tmp_path / f"dark{ending}")
    np.testing.assert_allclose(read_image(tmp_path / f"dark{ending}"), frames.mean(axis=0), rtol=1e-7)


def test_each_statistic_has_an_image_of_its_own(scan, frames, tmp_path):
    execute(frames=scan, statistics=("max", "quantiles"), quantiles=(0.1,), output=tmp_path / "dark.edf")
    assert np.array_equal(read_image(tmp_path / "dark_max.edf"), frames.max(axis=0))
    np.testing.assert_allclose(read_image(tmp_path / "dark_quantile_0.1.edf"), np.quantile(frames, 0.1, axis=0))


def test_cbf_holds_whole_numbers(scan, frames, tmp_path):
    messages: list[str] = []
    execute(None, messages, frames=scan, output=tmp_path / "dark.cbf")
    assert np.array_equal(read_image(tmp_path / "dark.cbf"), np.rint(frames.mean(axis=0)))
    assert "rounded" in messages[0]


def test_what_cannot_be_done_is_told(scan, tmp_path):
    np.save(tmp_path / "dark.npy", np.zeros((3, 3)))
    with pytest.raises(GeometryError, match="dark has the shape"):
        execute(frames=scan, dark=tmp_path / "dark.npy")
    with pytest.raises(ParameterError, match="statistics"):
        execute(frames=scan, statistics=("mode",))
    with pytest.raises(ParameterError, match="cannot be written as"):
        execute(frames=scan, output=tmp_path / "mean.png")
    with pytest.raises(ParameterError, match="empty"):
        execute(frames=scan, statistics=())
    with pytest.raises(ParameterError, match="mode"):
        average_frames(np.ones((2, 3, 3)), "mode")
    with pytest.raises(DataError, match="shape"):
        average_frames(np.ones((3, 3)))
    with h5py.File(scan, "r+") as file:
        file["entry/sample/flux"][2] = 0
    with pytest.raises(DataError, match="flux is 0"):
        execute(frames=scan, monitor="flux")


def test_a_cosmic_ray_in_the_first_frame_costs_no_accuracy(tmp_path):
    frames = np.random.default_rng(3).normal(100.0, 3.0, (400, 4, 5))
    frames[0, 1, 2] = 1e9
    np.save(tmp_path / "frames.npy", frames)
    found = execute(frames=tmp_path / "frames.npy", statistics=("std", "mean"))
    np.testing.assert_allclose(found["std"], frames.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["mean"], frames.mean(axis=0), rtol=1e-12)


def test_values_that_an_image_cannot_hold_are_refused(tmp_path):
    np.save(tmp_path / "bright.npy", np.full((2, 3, 4), 3e9))
    with pytest.raises(OutputError, match="32 bits"):
        execute(frames=tmp_path / "bright.npy", statistics=("mean",), output=tmp_path / "mean.cbf")


def test_options_of_statistics_that_are_not_asked_for_are_refused(scan):
    given = {"quantiles": (0.5,), "trim": (0.2, 0.8), "clip_threshold": 2.0, "center": "mean"}
    for name, value in given.items():
        with pytest.raises(ParameterError, match=f"{name} is .*not among the statistics"):
            execute(frames=scan, statistics=("mean",), **{name: value})
    with pytest.raises(ParameterError, match="do not ascend"):
        execute(frames=scan, statistics=("trimmed_mean",), trim=(0.8, 0.2))
