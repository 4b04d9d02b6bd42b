"""A person is told what is in any file."""

from __future__ import annotations

import json
import time

import h5py
import numpy as np
import pytest
import xarray as xr

import io_files as files
from friedel.core.errors import DataError, FileError
from friedel.core.provenance import Provenance
from friedel.data import radial_coordinate
from friedel.io import describe_file, write_dataset
from shared_data import shared


def test_a_scan(tmp_path):
    dty, rot = np.repeat([0.0, 0.5], 5), np.tile(np.arange(5.0), 2)
    path = files.nexus(tmp_path / "scan.nxs", files.stack(10), dty=dty, rot=rot, phi=np.arange(7.0))
    found = describe_file(path)
    assert found.holds == "frames"
    assert found.items[0].shape == (10, 20, 33)
    assert {axis.name for axis in found.axes} == {"dty", "rot"}
    text = str(found)
    assert "10 x 20 x 33 uint32 bitshuffle-LZ4" in text
    assert "dty: 10 float64 [mm] 0 to 0.5, 2 different values" in text
    assert "friedel xrdct" in text
    assert "phi (7)" in text


def test_a_result(tmp_path):
    record = Provenance.begin("integrate1d", 1, {"npt": 3}, "cpu")
    dataset = xr.Dataset(
        {"intensity": (("frame", "radial"), np.ones((4, 3)), {"units": "counts"})},
        {"radial": radial_coordinate([1.0, 2.0, 3.0], "q_nm^-1")},
        {"provenance": record.to_json()},
    )
    write_dataset(tmp_path / "patterns.h5", dataset)
    found = describe_file(tmp_path / "patterns.h5")
    assert found.holds == "result"
    assert found.provenance == (record,)
    text = str(found)
    assert "intensity: 4 x 3 float64 [counts] (frame, radial)" in text
    assert "radial: 3 float64 [1/nm] (radial) 1 to 3" in text
    assert "integrate1d (version 1)" in text
    assert f"friedel rerun {tmp_path / 'patterns.h5'}" in text


def test_broken_links_are_named(tmp_path):
    master = files.eiger(tmp_path, files.stack(10))
    (tmp_path / "scan_data_000002.h5").unlink()
    text = str(describe_file(master))
    assert "scan_data_000002.h5::/entry/data/data (missing)" in text
    assert "No frames" in text


@pytest.mark.parametrize(
    ("parts", "holds", "part_of_text"),
    [
        (("diffraction", "lambda", "testasapo1_1009_00002_m1_part00000.nxs"), "frames", "10 x 516 x 1554 int16"),
        (("diffraction", "cbf", "phi_scan_001.cbf"), "image", "Detector: PILATUS 300K"),
        (("diffraction", "golden_CeO2_Pilatus1M", "CeO2_Pilatus1M.tif"), "image", "1043 x 981 int32"),
        (("diffraction", "golden_CeO2_Pilatus1M", "CeO2_Pilatus1M.xy"), "pattern", "1512"),
        (("diffraction", "golden_CeO2_Pilatus1M", "CeO2_Pilatus1M.poni"), "geometry", "Wavelength: 4.066e-11"),
        (("diffraction", "ceo2_pilatus2m_cdte", "mask.edf.gz"), "image", "1679 x 1475 uint8"),
        (("tomography", "tooth.h5"), "frames", "friedel reconstruct"),
        (("tomography", "savu_mm.nxs"), "frames", "/entry1/stxm_entry/data/data: 52 x 7 x 101 float32"),
        (("tomography", "Patterns.h5"), "HDF5", "/Al: 250 float64"),
        (("tomography", "SOURCES.md"), "unknown", "no image"),
    ],
)
def test_real_files(parts, holds, part_of_text):
    found = describe_file(shared(*parts))
    assert found.holds == holds
    assert part_of_text in str(found)


def test_a_part_of_a_file():
    path = shared("tomography", "savu_mm.nxs")
    found = describe_file(f"{path}::/entry1/stxm_entry")
    assert found.items[0].shape == (52, 7, 101)
    with pytest.raises(DataError, match="no /nothing"):
        describe_file(f"{path}::/nothing")


def test_a_numpy_file(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    assert "3 x 4 float64" in str(describe_file(tmp_path / "a.npy"))


def test_a_large_file_is_quick(tmp_path):
    with h5py.File(tmp_path / "big.h5", "w") as file:
        file.create_dataset("entry/data", (10**6, 2000, 2000), "u4", chunks=(1, 2000, 2000))
        file.create_dataset("entry/volume", (10**4, 2000, 2000), "f4")
    start = time.monotonic()
    text = str(describe_file(tmp_path / "big.h5"))
    assert time.monotonic() - start < 2
    assert "were never written" in text


def test_missing_file(tmp_path):
    with pytest.raises(FileError, match="no such file"):
        describe_file(tmp_path / "none.h5")


def test_a_goniometer(tmp_path):
    path = tmp_path / "gonio.json"
    function = {"dist_expr": "dist", "poni1_expr": "poni1", "poni2_expr": "0.0", "rot1_expr": "scale * nu"}
    table = {"content": "Goniometer calibration v2", "detector": "Pilatus100k", "wavelength": 1e-10}
    table |= {"param": [0.3, 0.02, 0.0175], "param_names": ["dist", "poni1", "scale"], "pos_names": ["nu"]}
    path.write_text(json.dumps(table | {"trans_function": function}))
    found = describe_file(path)
    assert (found.holds, found.format) == ("geometry", "goniometer")
    text = str(found)
    assert "rot1: scale * nu" in text
    assert "scale: 0.0175" in text
    assert f"friedel merge1d FRAMES... --geometry {path} --positions nu" in text


@pytest.mark.parametrize("text", ['{"content": "goniometer"}', "{", "[1]", '{"a": 1}'])
def test_json_that_is_no_goniometer(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    assert describe_file(path).format != "goniometer"
