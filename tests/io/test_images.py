"""Masks, dark currents and flat fields come from any image file."""

from __future__ import annotations

import gzip

import h5py
import numpy as np
import pytest

import io_files as files
from friedel.core.errors import DataError, FileError, OutputError, ParameterError
from friedel.io import read_image, read_mask, write_image
from shared_data import shared


@pytest.mark.parametrize("ending", [".edf", ".tif", ".npy"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4"])
def test_what_is_written_is_read(tmp_path, ending, dtype):
    image = files.stack(1, dtype=dtype)[0]
    write_image(tmp_path / f"image{ending}", image)
    found = read_image(tmp_path / f"image{ending}")
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, image)


def test_masks_are_true_where_pixels_are_excluded(tmp_path):
    mask = files.RNG.random((20, 33)) < 0.3
    write_image(tmp_path / "mask.edf", mask)
    with (tmp_path / "mask.edf").open("rb") as plain, gzip.open(tmp_path / "mask.edf.gz", "wb") as zipped:
        zipped.write(plain.read())
    found = read_mask(tmp_path / "mask.edf.gz")
    assert found.dtype == bool
    np.testing.assert_array_equal(found, mask)


def test_real_mask():
    mask = read_mask(shared("diffraction", "ceo2_pilatus2m_cdte", "mask.edf.gz"))
    assert mask.shape == (1679, 1475)
    assert mask.sum() == 261152


def test_cbf_and_hdf5(tmp_path):
    frames = files.stack(3)
    np.testing.assert_array_equal(read_image(files.cbf(tmp_path / "a.cbf", frames[0])), frames[0])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["corrections/flat"] = frames[1].astype("f4")
        file["corrections/dark"] = frames
    np.testing.assert_array_equal(read_image(f"{tmp_path}/a.h5::/corrections/flat"), frames[1])
    with pytest.raises(DataError, match="3 frames, one image is needed"):
        read_image(f"{tmp_path}/a.h5::/corrections/dark")
    np.testing.assert_allclose(read_image(f"{tmp_path}/a.h5::/corrections/dark", average=True), frames.mean(0))
    np.save(tmp_path / "dark.npy", frames)
    np.testing.assert_allclose(read_image(tmp_path / "dark.npy", average=True), frames.mean(0))


def test_bad_input(tmp_path):
    with pytest.raises(ParameterError, match=r"\.jpg"):
        write_image(tmp_path / "a.jpg", np.ones((2, 2)))
    with pytest.raises(OutputError, match="no folder"):
        write_image(tmp_path / "none" / "a.npy", np.ones((2, 2)))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(FileError, match="no numpy array that can be read"):
        read_image(tmp_path / "objects.npy")
    np.save(tmp_path / "line.npy", np.ones(5))
    with pytest.raises(FileError, match="1 dimensions"):
        read_image(tmp_path / "line.npy")
    with pytest.raises(FileError, match="no such file"):
        read_image(tmp_path / "none.edf")


def test_a_device_is_no_image():
    with pytest.raises(FileError, match="is a device or a pipe"):
        read_image("/dev/zero")
