"""Distorted detectors against pyFAI: splines of FIT2D and NeXus detector files, both ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from friedel.instrument import Detector, Geometry, PixelTable
from friedel.instrument.detector_file import corner_table
from friedel.kernels.scatter import Scatter
from friedel.techniques.images.moments import FrameGroup
from friedel.techniques.images.regridding import Grid, Overlap, Regridding
from peer_python import run_peer
from shared_data import shared

pytestmark = pytest.mark.peer

GEOMETRY = """
import pyFAI
ai = pyFAI.load(str(inputs["poni"]))
shape = ai.detector.shape
outputs["q"] = ai.center_array(shape, "q_nm^-1")
outputs["corners"] = ai.corner_array(shape, "q_nm^-1", scale=True)
outputs["solid_angle"] = ai.solidAngleArray(shape)
"""
WRITE = """
from pyFAI.detectors import Detector
from pyFAI.geometry import Geometry
detector = Detector(1e-4, 2e-4, max_shape=(20, 30), orientation=3)
corners = detector.get_pixel_corners().copy()
corners[..., 1:] += np.random.default_rng(2).uniform(-2e-5, 2e-5, corners[..., 1:].shape).astype("f4")
detector.set_pixel_corners(corners)
detector.mask = np.eye(20, 30)
detector.save(str(inputs["path"]))
from pyFAI.detectors import NexusDetector
detector = NexusDetector(str(inputs["path"]))
ai = Geometry(dist=0.1, poni1=1e-3, poni2=2e-3, rot1=0.1, detector=detector, wavelength=1e-10)
ai.save(str(inputs["poni"]))
outputs["q"] = ai.center_array((20, 30), "q_nm^-1")
outputs["corners"] = ai.corner_array((20, 30), "q_nm^-1", scale=True)
"""


def close(ours: Geometry, theirs: dict[str, np.ndarray], tolerance: float) -> None:
    span = float(np.ptp(theirs["q"]))
    np.testing.assert_allclose(ours.center_array("q_nm^-1"), theirs["q"], atol=tolerance * span)
    corners = theirs["corners"]
    corners = corners[..., 0] if corners.ndim == 4 else corners
    np.testing.assert_allclose(ours.corner_array("q_nm^-1"), corners, atol=tolerance * span)


def test_spline(tmp_path) -> None:
    detector = Detector.load(shared("diffraction", "spline", "frelon21_mar16.spline"))
    geometry = Geometry(detector, 0.12, 0.05, 0.04, 0.1, 0.05, 0.2, wavelength=5e-11)
    geometry.save(tmp_path / "setup.poni")
    theirs = run_peer(GEOMETRY, poni=np.array(str(tmp_path / "setup.poni")))
    close(geometry, theirs, 1e-6)
    # pyFAI multiplies the pixel's stretching along both axes, which leaves out its shear: wrong in the corners.
    difference = np.abs(geometry.solid_angle() / theirs["solid_angle"] - 1)
    assert np.median(difference) < 1e-4 and np.quantile(difference, 0.999) < 2e-3


def test_detector_file_of_pyfai_is_read(tmp_path) -> None:
    names = {key: np.array(str(tmp_path / name)) for key, name in (("path", "det.h5"), ("poni", "setup.poni"))}
    theirs = run_peer(WRITE, **names)
    ours = Geometry.load(tmp_path / "setup.poni")
    assert ours.detector.displaced and np.array_equal(ours.detector.mask(), np.eye(20, 30, dtype=bool))
    close(ours, theirs, 1e-6)


def test_detector_file_is_read_by_pyfai(tmp_path) -> None:
    detector = Detector.from_shape((20, 30), 1e-4)
    corners = corner_table(detector)
    corners[..., 1:] += np.random.default_rng(2).uniform(-2e-5, 2e-5, corners[..., 1:].shape)
    detector = replace(detector, pixels=PixelTable(corners)).save(tmp_path / "det.h5")
    geometry = Geometry(detector, 0.1, 1e-3, 2e-3, 0.1, wavelength=1e-10)
    geometry.save(tmp_path / "setup.poni")
    close(geometry, run_peer(GEOMETRY, poni=np.array(str(tmp_path / "setup.poni"))), 1e-6)


UNDISTORT = """
from pyFAI.detectors import Detector
from pyFAI.distortion import Distortion
detector = Detector(splineFile=str(inputs["spline"]))
outputs["image"] = Distortion(detector, method="csr", mask=False).correct(inputs["image"])
"""


def test_frames_are_corrected_alike() -> None:
    path = shared("diffraction", "spline", "frelon21_mar16.spline")
    y, x = np.indices((2048, 2048))
    image = (1000 + 500 * np.sin(np.hypot(y - 900, x - 1100) / 9)).astype(np.float32)
    theirs = run_peer(UNDISTORT, spline=np.array(str(path)), image=image)["image"]
    overlap = Overlap.build(Detector.load(path), Grid((2048, 2048)))
    ours = Regridding(Scatter.build(overlap.shares), (2048, 2048), "image")(FrameGroup(image[np.newaxis], None))[
        "image"
    ][0]
    known = np.isfinite(ours) & (theirs > 0)
    assert known.mean() > 0.9
    # pyFAI keeps corners as float32: at 0.1 m they are known to 1e-4 of these pixels, and so are the shares.
    difference = np.abs(ours[known] / theirs[known] - 1)
    assert np.median(difference) < 5e-5 and np.quantile(difference, 0.999) < 5e-4
    assert float(np.nansum(ours, dtype=float)) == pytest.approx(float(theirs.sum(dtype=float)), rel=1e-4)
