"""No task writes over what it reads, whatever it is told about overwriting."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from friedel.apps.cli.main import run
from friedel.instrument import Detector, Geometry
from friedel.io import write_dataset
from io_files import cbf, eiger, virtual

SHAPE = (20, 33)
ANGLES, TRANSLATIONS = 15, 8


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scans of both kinds of masters, images, sinograms and a geometry, in the working folder."""
    monkeypatch.chdir(tmp_path)
    Geometry(Detector.from_shape(SHAPE, 1e-3), 0.1, 0.01, 0.015, wavelength=5e-11).save("setup.dat")
    frames = np.random.default_rng(0).poisson(20.0, (6, *SHAPE)).astype("u4")
    eiger(tmp_path, frames)
    virtual(tmp_path, frames)
    for number in range(2):
        cbf(tmp_path / f"mask_{number:05d}.cbf", np.zeros(SHAPE, "i4"))
    cube = np.ones((1, ANGLES, TRANSLATIONS, 5), np.float32)
    coords = {
        "angle": ("angle", np.arange(ANGLES) * 12.0, {"units": "deg"}),
        "translation": ("translation", np.arange(float(TRANSLATIONS)), {"units": "mm"}),
        "radial": ("radial", np.arange(5.0), {"units": "1/nm"}),
        "layer": ("layer", [0.0], {"units": "mm"}),
    }
    dims = ("layer", "angle", "translation", "radial")
    write_dataset("m_sinograms.h5", xr.Dataset({"sinogram": (dims, cube, {"units": "count"})}, coords))
    with h5py.File("linked.h5", "w") as file:
        file["entry/sinogram"] = h5py.ExternalLink("m_sinograms.h5", "/entry/sinogram")
        file["entry"].attrs["NX_class"] = "NXentry"
    return tmp_path


GEOMETRY = ("--geometry", "setup.dat")


@pytest.mark.parametrize(
    "words",
    [
        ["integrate1d", "scan_master.h5", *GEOMETRY, "-o", "scan_master.h5"],
        ["integrate1d", "scan_*ter.h5", *GEOMETRY, "-o", "../{folder}/scan_master.h5"],
        ["integrate2d", "scan_master.h5", *GEOMETRY, "-o", "scan_data_000002.h5"],
        ["integrate1d", "lima.h5", *GEOMETRY, "-o", "lima_0001.h5"],
        ["integrate1d", "lima.h5", *GEOMETRY, "-o", "lima.h5"],
        ["integrate1d", "mask_00000.cbf", *GEOMETRY, "-o", "setup.dat"],
        ["integrate1d", "scan_master.h5", *GEOMETRY, "--mask", "mask_00001.cbf", "-o", "mask_00001.cbf"],
        ["integrate1d", "mask_0*.cbf", *GEOMETRY, "--dark", "pattern_00001.dat", "-o", "pattern.dat"],
        ["xrdct", "scan_master.h5", *GEOMETRY, "-o", "scan_data_000001.h5"],
        ["xrdct", "m_sinograms.h5", *GEOMETRY, "-o", "m.h5"],
        ["reconstruct", "m_sinograms.h5", "-o", "m_sinograms.h5"],
        ["simulate", "xrdct", "new.h5", "--phases", "setup.poni"],
        ["reconstruct", "linked.h5", "--dataset", "/entry/sinogram", "-o", "m_sinograms.h5"],
    ],
    ids=" ".join,
)
def test_refused_whatever_overwrite_says(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    (folder / "pattern_00001.dat").write_bytes((folder / "mask_00000.cbf").read_bytes())
    (folder / "setup.poni").write_bytes((folder / "setup.dat").read_bytes())
    before = {path: path.read_bytes() for path in folder.iterdir()}
    words = [word.replace("{folder}", folder.name) for word in words]
    assert run([*words, "--overwrite", "--quiet"]) == 2
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert "read here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "m_sinograms.h5", "-o", "m_sinograms.h5"], "a report cannot have this name"),
        (["report", "m_sinograms.h5", "-o", "scan_master.h5"], ".html or .htm"),
        (["report", "page.html", "-o", "page.html"], "is the result itself"),
        (["plot", "m_sinograms.h5", "-o", "scan_master.h5"], ".png or .svg or .pdf"),
        (["plot", "m_sinograms.h5", "-o", "hard.png"], "read here"),
        (["xrdct", "scan_master.h5", *GEOMETRY, "--report", "scan_master.h5"], "cannot have this name"),
        (["reconstruct", "m_sinograms.h5", "-o", "m4.h5", "--report", "m4.h5"], "cannot have this name"),
        (["reconstruct", "m_sinograms.h5", "-o", "m4.html", "--report", "./m4.html"], "is the result itself"),
        (["reconstruct", "m_sinograms.h5", "-o", "m4.h5", "--report", "page.html"], "read here"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_drawings_replace_no_data(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    for name in ("page.html", "hard.png"):
        (folder / name).hardlink_to(folder / "m_sinograms.h5")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert run([*words, "--overwrite"]) == 2
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert said in capsys.readouterr().err


def test_a_report_that_exists_is_told_before_the_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "page.html").write_text("notes of the night shift")
    words = ["reconstruct", "m_sinograms.h5", "-o", "m4.h5", "--center", "3.5", "--report", "page.html", "--quiet"]
    assert run(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert not (folder / "m4.h5").exists()
    assert run([*words, "--overwrite"]) == 0
    assert "friedel" in (folder / "page.html").read_text(encoding="utf-8")
