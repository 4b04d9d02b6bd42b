"""Configurations of pyFAI's worker: friedel gives the numbers that the worker gives with the same file.

pyFAI writes the newest version itself; those of the older versions are written by the rules of their time, and pyFAI
reads them as friedel does. The bins at both ends of a range are left out, see ``test_pyfai_integration``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import friedel
from friedel.instrument import Detector, Geometry
from friedel.techniques.integration import RadialMap
from peer_python import run_peer

pytestmark = pytest.mark.peer

SHAPE = (220, 190)
PLACE = {"dist": 0.1, "poni1": 0.0253, "poni2": 0.0272, "rot1": 0.08, "rot2": -0.06, "rot3": 0.2}
WAVELENGTH = 0.7e-10
PIXEL = 2e-4
CONFIG = {"pixel1": PIXEL, "pixel2": PIXEL, "max_shape": list(SHAPE), "orientation": 3}
BASE = {"nbpt_rad": 60, "nbpt_azim": 1, "unit": "2th_deg", "method": ["full", "csc", "cython"]}
RANGE = [3.0, 16.0]
RINGS = (4.1, 7.7, 12.3)

NEWEST: dict[str, dict[str, Any]] = {
    "plain": {},
    "none": {"method": ["no", "csr", "cython"]},
    "bbox": {"method": ["bbox", "csr", "cython"], "error_model": "poisson"},
    "poisson": {"error_model": "poisson", "radial_range": RANGE},
    "azimuthal": {"error_model": "azimuthal", "radial_range": RANGE, "method": ["no", "csr", "cython"],
                  "correct_solid_angle": False},
    "q_nm": {"unit": "q_nm^-1"},
    "q_A": {"unit": "q_A^-1", "error_model": "poisson"},
    "radians": {"unit": "2th_rad"},
    "millimetres": {"unit": "r_mm"},
    "no solid angle": {"correct_solid_angle": False},
    "polarization": {"polarization_description": [0.95, 0.0]},
    "dark list": {"dark_current": ["dark_a.npy", "dark_b.npy"], "error_model": "poisson"},
    "flat list": {"flat_field": ["flat_a.npy", "flat_b.npy"]},
    "mask": {"mask_file": "mask.npy", "radial_range": RANGE},
    "everything": {"dark_current": ["dark_a.npy"], "flat_field": "flat_a.npy", "mask_file": "mask.npy",
                   "polarization_description": [0.95, 0.0], "normalization_factor": 3.5, "error_model": "poisson",
                   "radial_range": RANGE, "azimuth_range": [-60.0, 75.0], "method": ["no", "csc", "cython"]},
    "dummy": {"val_dummy": -10.0, "delta_dummy": 2.5, "radial_range": RANGE},
    "dummy of a bin": {"val_dummy": -10.0, "radial_range": [3.0, 60.0]},
    "azimuth range": {"azimuth_range": [20.0, 120.0], "radial_range": RANGE, "method": ["no", "csc", "cython"]},
    "across the cut": {"azimuth_range": [150.0, 230.0], "radial_range": RANGE, "method": ["no", "csc", "cython"],
                       "chi_discontinuity_at_0": True},
    "sigma clip azimuthal": {"integrator_method": "sigma_clip_ng", "error_model": "azimuthal", "radial_range": RANGE,
                             "method": ["no", "csr", "cython"], "extra_options": {"thres": 3.0, "max_iter": 5},
                             "correct_solid_angle": False},
    "sigma clip poisson": {"integrator_method": "sigma_clip_ng", "error_model": "poisson", "radial_range": RANGE,
                           "method": ["no", "csr", "cython"], "extra_options": {"thres": 4.0, "max_iter": 3}},
    "sigma clip full": {"integrator_method": "sigma_clip_ng", "error_model": "poisson", "radial_range": RANGE,
                        "method": ["full", "csr", "cython"], "extra_options": {"thres": 4.0, "max_iter": 3}},
    "median": {"integrator_method": "medfilt1d_ng", "radial_range": RANGE, "method": ["no", "csr", "cython"]},
    "percentiles": {"integrator_method": "medfilt1d_ng", "radial_range": RANGE, "method": ["full", "csr", "cython"],
                    "extra_options": {"percentile": [20, 80]}, "error_model": "poisson"},
    "cake": {"nbpt_azim": 12, "method": ["no", "csc", "cython"], "error_model": "poisson"},
    "cake bbox": {"nbpt_azim": 12, "method": ["bbox", "csc", "cython"], "radial_range": RANGE},
    "cake from 0": {"nbpt_azim": 12, "method": ["no", "csc", "cython"], "chi_discontinuity_at_0": True,
                    "azimuth_range": [0.0, 360.0]},
    "whole circle from 0": {"nbpt_azim": 12, "method": ["no", "csc", "cython"], "chi_discontinuity_at_0": True},
    "sector with splitting": {"azimuth_range": [-60.0, 75.0], "radial_range": RANGE,
                              "method": ["bbox", "csc", "cython"]},
}  # fmt: skip

POSE = {"incident_angle": 0.012, "tilt_angle": 0.03, "sample_orientation": 1}
FIBRE = {"integrator_class": "FiberIntegrator", "npt_ip": 40, "npt_oop": 30, "method": ["no", "csr", "cython"],
         "unit_ip": POSE | {"name": "qip_nm^-1"}, "unit_oop": POSE | {"name": "qoop_nm^-1"}}  # fmt: skip
FIBRES: dict[str, dict[str, Any]] = {
    "fibre": {},
    "fibre ranges": {"ip_range": [-12.0, 14.0], "oop_range": [-10.0, 17.0], "error_model": "poisson"},
    "fibre vertical": {"integration_1d": True, "vertical_integration": True},
    "fibre horizontal": {"integration_1d": True, "vertical_integration": False},
    "fibre turned": {"unit_ip": POSE | {"name": "qip_A^-1", "sample_orientation": 6},
                     "unit_oop": POSE | {"name": "qoop_A^-1", "sample_orientation": 6}},
    "fibre components": {"unit_ip": POSE | {"name": "qxgi_nm^-1"},
                     "unit_oop": POSE | {"name": "qygi_nm^-1"}},
}  # fmt: skip
OLD = PLACE | {"wavelength": WAVELENGTH, "nbpt_rad": 60, "unit": "2th_deg"}
OLDER: dict[str, dict[str, Any]] = {
    "version 0": OLD | {
        "detector": "detector", "pixel1": PIXEL, "pixel2": PIXEL, "shape": list(SHAPE), "splineFile": "",
        "chi_discontinuity_at_0": False, "do_dummy": False, "val_dummy": -10.0, "delta_dummy": 2.0, "do_mask": True,
        "mask_file": "mask.npy", "do_dark": True, "dark_current": "dark_a.npy,dark_b.npy", "do_flat": False,
        "flat_field": "flat_a.npy", "do_polarization": True, "polarization_factor": 0.9, "do_solid_angle": True,
        "do_radial_range": True, "radial_range_min": RANGE[0], "radial_range_max": RANGE[1],
        "do_azimuthal_range": False, "azimuth_range_min": -10.0, "azimuth_range_max": 20.0, "do_2D": False,
        "nbpt_azim": 1, "error_model": None, "do_OpenCL": False, "method": "splitbbox",
    },
    "version 1": OLD | {
        "version": 1, "application": "pyfai-integrate", "detector": "detector", "pixel1": PIXEL, "pixel2": PIXEL,
        "shape": list(SHAPE), "dark_current": ["dark_a.npy"], "do_dark": True, "nbpt_azim": 1, "method": "full_csr",
        "error_model": "poisson", "do_polarization": False, "polarization_factor": 0.9,
    },
    "version 2": OLD | {
        "version": 2, "application": "pyfai-integrate", "detector": "Detector", "detector_config": CONFIG,
        "nbpt_azim": 1, "method": "nosplit_csr", "do_azimuthal_range": True, "azimuth_range_min": -60.0,
        "azimuth_range_max": 75.0, "do_radial_range": True, "radial_range_min": RANGE[0], "radial_range_max": RANGE[1],
    },
    "version 3": OLD | {
        "version": 3, "application": "pyfai-integrate", "detector": "Detector", "detector_config": CONFIG,
        "nbpt_azim": 8, "do_2D": True, "method": ["no", "csr", "cython"], "opencl_device": None,
        "error_model": "poisson",
    },
    "version 4": {
        "version": 4, "application": "pyfai-integrate", "nbpt_rad": 60, "nbpt_azim": 1, "unit": "q_nm^-1",
        "poni": PLACE | {"poni_version": 2.1, "wavelength": WAVELENGTH, "detector": "Detector",
                         "detector_config": CONFIG},
        "method": ["full", "csc", "cython"], "polarization_factor": 0.97, "integrator_name": "integrate1d_ng",
        "normalization_factor": 2.0, "error_model": "poisson", "do_mask": True, "mask_file": "mask.npy",
    },
}  # fmt: skip

CODE = """
import json, os
from pathlib import Path
from pyFAI.io.integration_config import WorkerConfig, WorkerFiberConfig
from pyFAI.worker import Worker, WorkerFiber
folder = Path(str(inputs["folder"]))
os.chdir(folder)
for name, config in json.loads(str(inputs["newest"])).items():
    WorkerConfig.from_dict(config | {"version": 5, "application": "pyfai-integrate"}).save(folder / f"{name}.json")
for name, config in json.loads(str(inputs["fibres"])).items():
    WorkerFiberConfig.from_dict(config | {"version": 5, "application": "worker"}).save(folder / f"{name}.json")
for name, config in json.loads(str(inputs["older"])).items():
    (folder / f"{name}.json").write_text(json.dumps(config))
frame = np.load("frame.npy")
for name in sorted(path.stem for path in folder.glob("*.json")):
    worker = WorkerFiber() if name.startswith("fibre") else Worker()
    kind = WorkerFiberConfig if name.startswith("fibre") else WorkerConfig
    worker.set_config(kind.from_file(folder / f"{name}.json"))
    worker.output = "raw"
    worker.reconfig(frame.shape, sync=True)
    result = worker.process(frame)
    outputs[name + ".radial"] = result[1] if result.intensity.ndim == 2 else result[0]
    outputs[name + ".intensity"] = result.intensity
    outputs[name + ".count"] = result.count
    if result.intensity.ndim == 2:
        outputs[name + ".azimuth"] = result[2]
    if result.sigma is not None:
        outputs[name + ".sigma"] = result.sigma
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with a frame and the images that the configurations name."""
    made = tmp_path_factory.mktemp("configurations")
    rng = np.random.default_rng(8)
    geometry = Geometry(
        Detector.from_shape(SHAPE, PIXEL),
        *(PLACE[name] for name in ("dist", "poni1", "poni2", "rot1", "rot2", "rot3")),
        wavelength=WAVELENGTH,
    )
    angle = geometry.center_array("2th_deg")
    rings = sum(900 * np.exp(-(((angle - at) / 0.2) ** 2)) for at in RINGS)
    frame = rng.poisson(50 + rings).astype(np.int32)
    frame[rng.uniform(size=SHAPE) < 0.02] = -9
    np.save(made / "frame.npy", frame)
    np.save(made / "mask.npy", ((rng.uniform(size=SHAPE) < 0.05) | (frame < 0)).astype(np.int8))
    for name in ("a", "b"):
        np.save(made / f"dark_{name}.npy", rng.uniform(0, 5, SHAPE).astype(np.float32))
        np.save(made / f"flat_{name}.npy", rng.uniform(0.8, 1.2, SHAPE).astype(np.float32))
    return made


@pytest.fixture(scope="module")
def theirs(folder) -> dict[str, np.ndarray]:
    """Return what pyFAI's worker makes of every configuration; pyFAI writes them into the folder."""
    poni = PLACE | {"poni_version": 2.1, "wavelength": WAVELENGTH, "detector": "Detector", "detector_config": CONFIG}
    newest = {name: BASE | {"poni": poni} | changes for name, changes in NEWEST.items()}
    fibres = {name: FIBRE | {"poni": poni} | changes for name, changes in FIBRES.items()}
    texts = {"newest": newest, "older": OLDER, "fibres": fibres}
    return run_peer(CODE, folder=str(folder), **{name: json.dumps(configs) for name, configs in texts.items()})


WRONG_THERE = ("whole circle from 0", "sector with splitting")


@pytest.mark.parametrize("name", [name for name in (*NEWEST, *FIBRES, *OLDER) if name not in WRONG_THERE])
def test_the_numbers_of_the_worker(name, folder, theirs, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    expected = theirs[name + ".intensity"]
    task = friedel.integrate2d if expected.ndim == 2 else friedel.integrate1d
    found = task("frame.npy", pyfai_config=f"{name}.json").isel(frame=0)
    np.testing.assert_allclose(found.radial, theirs[name + ".radial"], rtol=2e-6)
    if expected.ndim == 2:
        np.testing.assert_allclose(found.azimuth, theirs[name + ".azimuth"], rtol=2e-6, atol=1e-5)
    inner = tuple(slice(1, -1) for _ in expected.shape)
    whole = theirs[name + ".count"][inner] > 1.0
    if name.startswith("sigma clip"):
        # On the slopes of rings most pixels are beyond the noise of counts: pyFAI drops nearly all, friedel does not.
        whole &= (np.abs(found.radial.values[:, None] - RINGS).min(axis=1) > 1.0)[inner]
    # In single precision a sliver of a pixel just at the limit may fall the other way.
    tolerance = 1e-4 if name.startswith("sigma clip") else 1e-5
    np.testing.assert_allclose(found.intensity.values[inner][whole], expected[inner][whole], rtol=tolerance)
    empty = theirs[name + ".count"][inner] == 0
    np.testing.assert_array_equal(found.intensity.values[inner][empty], expected[inner][empty])
    # pyFAI's fibre integrator does not hand on the error model.
    assert ("intensity_errors" in found) == (name + ".sigma" in theirs) or name.startswith("fibre")
    if name + ".sigma" in theirs:
        sigma = theirs[name + ".sigma"][inner][whole]
        np.testing.assert_allclose(found.intensity_errors.values[inner][whole], sigma, rtol=1e-4)


def test_half_a_circle_is_lost_there(folder, theirs, monkeypatch) -> None:
    """pyFAI's sparse engines without splitting end the circle at 180 degrees although it begins at 0."""
    monkeypatch.chdir(folder)
    found = friedel.integrate2d("frame.npy", pyfai_config="whole circle from 0.json")
    assert found.azimuth.values[-1] == pytest.approx(345, abs=0.1)
    assert theirs["whole circle from 0.azimuth"][-1] < 180
    assert theirs["whole circle from 0.count"].sum() < 0.7 * np.prod(SHAPE)


def test_a_sector_is_wider_there(folder, theirs, monkeypatch) -> None:
    """With splitting, pyFAI gives a sector every pixel that touches it, whole; friedel the part inside."""
    monkeypatch.chdir(folder)
    coarse = Geometry.load("plain.json")
    parts = 8
    fine = replace(coarse, detector=Detector.from_shape((SHAPE[0] * parts, SHAPE[1] * parts), PIXEL / parts))
    step = (RANGE[1] - RANGE[0]) / 60
    angle, azimuth = fine.center_array("2th_deg"), np.rad2deg(fine.azimuth_center())
    inside = (angle > RANGE[0] + step) & (angle < RANGE[1] - step) & (azimuth > -60) & (azimuth < 75)
    right = np.count_nonzero(inside) / parts**2
    plan = RadialMap.build(
        coarse.for_shape(SHAPE), npt=60, unit="2th_deg", splitting="full", radial_range=RANGE,
        azimuth_range=(-60, 75), keep_sums=True,
    )  # fmt: skip
    ours = plan(np.ones((1, *SHAPE))).sums.count[0, 1:-1].sum()
    assert ours == pytest.approx(right, rel=1e-3)
    assert theirs["sector with splitting.count"][1:-1].sum() > 1.005 * right
