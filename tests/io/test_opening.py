"""One call opens what a file holds, lazily and labelled."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import friedel
import io_files as files
from friedel.core.blocks import Block
from friedel.data import radial_coordinate
from friedel.io import frames as frames_module
from friedel.io import open_frames, source_of, write_dataset
from friedel.kernels.encoded import EncodedFrames
from shared_data import shared


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    frames = files.stack(10)
    path = files.nexus(tmp_path_factory.mktemp("scan") / "scan.nxs", frames, dty=np.arange(10) * 0.5)
    return path, frames


def test_frames_are_labelled(scan):
    path, frames = scan
    array = friedel.open(path)
    assert array.dims == ("frame", "y", "x")
    assert array.shape == frames.shape
    assert array.dty.dims == ("frame",)
    assert array.dty.attrs["units"] == "mm"
    np.testing.assert_array_equal(array, frames)
    np.testing.assert_array_equal(array.sel(frame=array.dty > 3), frames[7:])


def test_only_the_frames_needed_are_read(scan, monkeypatch):
    path, frames = scan
    array = friedel.open(path)
    asked = []
    original = frames_module.FrameSource.decoded

    def spy(self, start, stop, **options):
        asked.append((start, stop))
        return original(self, start, stop, **options)

    monkeypatch.setattr(frames_module.FrameSource, "decoded", spy)
    np.testing.assert_array_equal(array[3], frames[3])
    np.testing.assert_array_equal(array[[1, 2, 7], 4:6, 3], frames[[1, 2, 7], 4:6, 3])
    np.testing.assert_array_equal(array[::-4, ::-1], frames[::-4, ::-1])
    assert sorted(asked) == [(1, 2), (1, 3), (3, 4), (5, 6), (7, 8), (9, 10)]
    assert array[3:3].values.shape == (0, 20, 33)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_plans_find_the_compressed_frames_behind_a_cut(data, scan):
    array = friedel.open(scan[0])
    for _ in range(data.draw(st.integers(0, 2))):
        start = data.draw(st.integers(0, array.sizes["frame"] - 1))
        stop = data.draw(st.integers(start + 1, array.sizes["frame"]))
        array = array.isel(frame=slice(start, stop))
    source = source_of(array)
    assert source is not None
    assert isinstance(source.read(Block(0, 0, len(source))), EncodedFrames)
    np.testing.assert_array_equal(source.decoded(0, len(source)), array)
    cut = array[:, 2:9, 3:]
    np.testing.assert_array_equal(source_of(cut).decoded(0, len(source)), cut)
    np.testing.assert_array_equal(source_of(array[-1]).decoded(0, 1)[0], array[-1])


def test_arrays_that_are_no_frames_of_a_file(scan):
    array = friedel.open(scan[0])
    assert source_of(array * 2) is None
    assert source_of(array[::2]) is None
    assert source_of(array.transpose("y", "x", "frame")) is None
    assert source_of(xr.DataArray(np.zeros((2, 3, 4)), dims=("frame", "y", "x"))) is None


def test_ranges_and_regions(scan):
    path, frames = scan
    np.testing.assert_array_equal(friedel.open(path, frames="2:4", roi="5:,:7"), frames[2:4, 5:, :7])
    assert open_frames(path).select("2:4").axes["dty"].values.tolist() == [1, 1.5]


def test_results_and_patterns(tmp_path):
    dataset = xr.Dataset({"intensity": ("radial", [1.0, 2])}, {"radial": radial_coordinate([1.0, 2], "q_nm^-1")})
    write_dataset(tmp_path / "a.h5", dataset)
    found = friedel.open(tmp_path / "a.h5")
    assert isinstance(found, xr.Dataset)
    assert found.intensity.values.tolist() == [1, 2]
    assert "intensity" in friedel.open(shared("diffraction", "golden_CeO2_Pilatus1M", "CeO2_Pilatus1M.xy"))
