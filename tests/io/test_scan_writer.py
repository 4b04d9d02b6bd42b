"""A written scan looks like one from a beamline."""

from __future__ import annotations

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest

import io_files as files
from friedel.core.blocks import Block
from friedel.core.errors import DataError, OutputError
from friedel.io import FrameWriter, open_frames
from friedel.kernels.encoded import EncodedFrames


def write(path, frames, **options):
    with FrameWriter(path, frames.shape[1:], frames.dtype, threads=2, **options) as writer:
        for start in range(0, len(frames), 3):
            writer.append(frames[start : start + 3])
        writer.add("sample/dty", np.arange(len(frames)) * 0.5, "mm")
        writer.add("control/data", np.ones(len(frames)))
        writer.add("title", "A scan")


@pytest.mark.parametrize("dtype", ["u2", "u4", "i4"])
def test_frames_are_found_again_compressed(tmp_path, dtype):
    frames = files.stack(11, dtype=dtype)
    write(tmp_path / "scan.h5", frames, frames_per_file=4)
    source = open_frames(tmp_path / "scan.h5")
    assert [item.rpartition("/")[2] for item in source.files] == [f"scan_data_00000{n}.h5" for n in (1, 2, 3)]
    assert isinstance(source.read(Block(0, 2, 9)), EncodedFrames)
    np.testing.assert_array_equal(source.decoded(0, 11), frames)
    np.testing.assert_array_equal(source.axes["dty"].values, np.arange(11) * 0.5)
    assert source.axes["dty"].units == "mm"
    assert set(source.axes) == {"dty", "control"}


def test_any_hdf5_program_reads_it(tmp_path):
    frames = files.stack(5)
    write(tmp_path / "scan.h5", frames, frames_per_file=2)
    with h5py.File(tmp_path / "scan.h5") as file:
        data = file[file.attrs["default"]][file["entry"].attrs["default"]]
        np.testing.assert_array_equal(data[data.attrs["signal"]], frames)
        np.testing.assert_array_equal(data["data_000002"], frames[2:4])
        assert file["entry/sample"].attrs["NX_class"] == "NXsample"
        assert file["entry/sample/dty"].attrs["units"] == "mm"


def test_an_exception_leaves_no_scan(tmp_path):
    with pytest.raises(DataError, match="announced"), FrameWriter(tmp_path / "scan.h5", (20, 33), "u4") as writer:
        writer.append(files.stack(2))
        writer.append(files.stack(2, 20, 34))
    assert not list(tmp_path.iterdir())


def test_bad_places(tmp_path):
    with pytest.raises(OutputError, match="no folder"):
        FrameWriter(tmp_path / "none" / "scan.h5", (2, 2), "u2")
    (tmp_path / "scan.h5").touch()
    with pytest.raises(OutputError, match="exists already"):
        FrameWriter(tmp_path / "scan.h5", (2, 2), "u2", overwrite=False)
