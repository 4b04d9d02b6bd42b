"""Diffraction maps against pyFAI's: the same frames, the same numbers, the same names in the file."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from friedel.core.context import Context
from friedel.instrument import Detector, Geometry
from friedel.io import write_image
from friedel.run.inline import InlineRunner
from friedel.workflows.tasks import diffraction_map
from peer_python import run_peer

pytestmark = pytest.mark.peer

LINES, POINTS, NPT = 3, 4, 50
CODE = """
import glob, json, os
from pyFAI import load
from pyFAI.diffmap import DiffMap
from pyFAI.worker import Worker
import pyFAI.io.integration_config as configuration
folder = str(inputs["folder"])
diffmap = DiffMap(nbpt_fast=int(inputs["points"]), nbpt_slow=int(inputs["lines"]), nbpt_rad=int(inputs["npt"]))
diffmap.zigzag_scan = True
diffmap.hdf5 = folder + "/theirs.h5"
diffmap.inputfiles = sorted(glob.glob(folder + "/frame_*.edf"))
ai = load(folder + "/setup.poni")
ai.detector.mask = np.zeros((60, 50), np.int8)
diffmap.worker = Worker(ai, unit="q_nm^-1", shapeOut=(1, int(inputs["npt"])), shapeIn=(60, 50))
diffmap.worker.output = "raw"
diffmap.worker.set_method(("full", "csr", "cython"))
diffmap.worker.radial_range = (5.0, 20.0)
diffmap.worker.correct_solid_angle = True
diffmap.worker.error_model = "poisson"
diffmap.worker.reconfig((60, 50), sync=True)
diffmap.worker.output = "raw"
diffmap.makeHDF5()
diffmap.process()
"""


def test_maps_are_those_of_pyfai(tmp_path) -> None:
    rng = np.random.default_rng(5)
    detector = Detector.from_shape((60, 50), 1e-3)
    Geometry(detector, 0.1, 0.031, 0.022, 0.1, -0.05, 0.2, wavelength=1e-10).save(tmp_path / "setup.poni")
    for number in range(LINES * POINTS - 1):
        write_image(tmp_path / f"frame_{number:04d}.edf", rng.poisson(30, (60, 50)).astype(np.int32))
    run_peer(CODE, folder=np.array(str(tmp_path)), points=POINTS, lines=LINES, npt=NPT)
    values = {"shape": (LINES, POINTS), "snake": True, "npt": NPT, "radial_range": (5.0, 20.0)}
    files = {"frames": tmp_path / "frame_*.edf", "geometry": tmp_path / "setup.poni", "output": tmp_path / "ours.h5"}
    parameters = diffraction_map.parameters.parse({**values, **files, "error_model": "poisson"})
    diffraction_map.execute(parameters, Context(InlineRunner()))
    with h5py.File(tmp_path / "ours.h5") as ours, h5py.File(tmp_path / "theirs.h5") as theirs:
        mine = ours["entry/pyFAI/result"]
        entry = next(theirs[name] for name in theirs if name.startswith("entry"))
        other = entry["pyFAI/result"]
        assert set(other) <= set(mine), set(other) - set(mine)
        for name in ("signal", "axes"):
            assert np.array_equal(mine.attrs[name], other.attrs[name])
        absent = mine["map_ptr"][()] < 0
        assert absent.sum() == 1  # pyFAI leaves 0 there, the number of the first frame
        assert np.array_equal(mine["map_ptr"][()][~absent], other["map_ptr"][()][~absent])
        np.testing.assert_allclose(mine["q"], other["q"], rtol=1e-5)
        inner = slice(3, -3)  # pyFAI gives what lies outside the range of pixels across its ends to the bins inside
        for name in ("intensity", "errors"):
            np.testing.assert_allclose(
                mine[name][()][~absent][:, inner], other[name][()][~absent][:, inner], rtol=1e-5, err_msg=name
            )
        assert mine["map"].shape == other["map"].shape
