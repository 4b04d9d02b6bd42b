"""Results in the layouts that other programs read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import friedel
from friedel.core.errors import ParameterError
from friedel.instrument import Detector, Geometry, Sensor
from friedel.techniques.integration.tasks import Integrate1D, Integrate2D
from friedel.techniques.integration.worker_config import worker_config

SHAPE = (80, 70)


@pytest.fixture
def setup(tmp_path) -> Path:
    Geometry(Detector.from_shape(SHAPE, 2e-4), 0.1, 0.004, 0.005, wavelength=1e-10).save(tmp_path / "setup.poni")
    rng = np.random.default_rng(3)
    np.save(tmp_path / "frames.npy", rng.poisson(40, (3, *SHAPE)).astype(np.int32))
    return tmp_path


def integrated(folder: Path, task: Any = friedel.integrate1d, **options: Any) -> h5py.File:
    given = {"geometry": folder / "setup.poni", "npt": 20, "error_model": "poisson", "output": folder / "out.h5"}
    task(folder / "frames.npy", **given | options)
    return h5py.File(folder / "out.h5")


def linked(file: h5py.File) -> h5py.Group:
    """Follow the chain of default attributes to the data."""
    group = file
    while "signal" not in group.attrs:
        group = group[group.attrs["default"]]
    return group


def test_the_stack_of_pyfai(setup) -> None:
    with integrated(setup, format="pyfai") as file:
        data = linked(file)
        assert data.name == "/entry_0000/integrate/results"
        assert data["data"] == file["/entry/intensity/intensity"]  # linked, not copied
        assert data["data_errors"].shape == (3, 20)
        assert list(data.attrs["axes"]) == [".", "radial"]
        assert (data["radial"].attrs["name"], data["radial"].attrs["unit"]) == ("q", "nm^-1")
        assert json.loads(file["/entry_0000/integrate/configuration/data"][()])["nbpt_rad"] == 20


def test_a_stack_of_cakes(setup) -> None:
    with integrated(setup, friedel.integrate2d, npt_azimuth=8, format="pyfai") as file:
        data = linked(file)
        assert data["data"].shape == (3, 8, 20)
        assert list(data.attrs["axes"]) == [".", "chi", "radial"]
        assert data["chi"].shape == (8,)


def test_a_map_of_grazing_incidence(setup) -> None:
    units = {"unit": "qip_nm^-1", "azimuth_unit": "qoop_nm^-1", "splitting": "none"}
    with integrated(setup, friedel.integrate2d, npt_azimuth=8, format="pyfai", **units) as file:
        data = linked(file)
        assert list(data.attrs["axes"]) == [".", "out-of-plane", "in-plane"]
        assert (data["in-plane"].attrs["name"], data["out-of-plane"].attrs["unit"]) == ("qip", "nm^-1")


def test_the_result_is_still_friedels(setup) -> None:
    integrated(setup, format="pyfai").close()
    found = friedel.open(setup / "out.h5")
    assert set(found.data_vars) >= {"intensity", "intensity_errors", "valid_fraction"}
    friedel.rerun(setup / "out.h5", setup / "again.h5")
    np.testing.assert_array_equal(friedel.open(setup / "again.h5").intensity, found.intensity)


@pytest.mark.parametrize("layout", ["nxmonopd", "nxcansas"])
def test_an_entry_for_each_pattern(setup, layout) -> None:
    with integrated(setup, format=layout, unit="q_A^-1", normalization_factor=2.0) as file:
        entries = [file[f"entry_{number:04d}"] for number in range(3)]
        for number, entry in enumerate(entries):
            group = entry["results"] if layout == "nxmonopd" else entry["sasdata"]
            intensity, errors = (
                (group["data"], group["errors"]) if layout == "nxmonopd" else (group["I"], group["Idev"])
            )
            np.testing.assert_array_equal(intensity, file["/entry/intensity/intensity"][number])
            np.testing.assert_array_equal(errors, file["/entry/intensity/intensity_errors"][number])
            if layout == "nxmonopd":
                signal, norm = entry["instrument/Detector/raw"][()], entry["normalization/integral"][()]
            else:
                signal, norm = group["sum_signal"][()], group["sum_normalization"][()]
            np.testing.assert_allclose(signal / norm, intensity, rtol=1e-6)


def test_the_stack_of_max_iv(setup) -> None:
    with integrated(setup, format="nxazint1d", unit="2th_deg") as file:
        data = linked(file)
        assert data.name == "/entry_0000/data"
        assert data["I"] == file["/entry/intensity/intensity"]
        assert data["radial_axis"].attrs["units"] == "degrees"
        assert not file["entry_0000/monitor_applied"][()]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"format": "nxazint1d"}, "unit"),
        ({"format": "pyfai", "output": "a.xy"}, "HDF5"),
        ({"format": "pyfai", "output": None}, "no output"),
        ({"output": "a.fxye"}, "2θ"),
        ({"output": "a.fxye", "unit": "2th_deg", "error_model": "none"}, "errors"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(setup, options, word) -> None:
    with pytest.raises(ParameterError, match=word):
        integrated(setup, **options)


def test_cakes_are_no_patterns(setup) -> None:
    with pytest.raises(ParameterError, match="along the azimuth"):
        integrated(setup, friedel.integrate_radial, format="pyfai")
    with pytest.raises(ParameterError, match="no cakes"):
        integrated(setup, friedel.integrate2d, format="nxmonopd")


def test_a_configuration_that_comes_back(setup) -> None:
    """Parameters to pyFAI's configuration, and back."""
    options: dict[str, Any] = {
        "npt": 77, "unit": "2th_deg", "splitting": "bbox", "error_model": "azimuthal", "polarization": 0.9,
        "radial_range": (1.0, 5.0), "azimuth_range": (-20.0, 30.0), "dark": ("a.edf", "b.edf"), "dummy": -5.0,
        "delta_dummy": 1.0, "solid_angle": False, "normalization_factor": 3.0, "empty": -5.0,
    }  # fmt: skip
    parameters = Integrate1D.parse({"frames": "a.edf", "geometry": str(setup / "setup.poni")} | options)
    geometry = Geometry.load(setup / "setup.poni").for_shape(SHAPE)
    (setup / "worker.json").write_text(json.dumps(worker_config(parameters, geometry)))
    found = Integrate1D.parse({"frames": "a.edf", "pyfai_config": str(setup / "worker.json")})
    assert found.notes == ()
    assert {name: getattr(found, name) for name in options} == options
    assert Geometry.load(found.geometry).for_shape(SHAPE) == geometry


def test_sensor_parallax_and_a_detector_described_by_a_file_come_back(setup) -> None:
    described = Detector.from_shape(SHAPE, 2e-4).save(setup / "detector.h5")
    detector = replace(described, sensor=Sensor("CdTe", 7.5e-4))
    geometry = Geometry(detector, 0.1, 0.004, 0.005, rot1=0.1, wavelength=1e-10, parallax=True)
    geometry.save(setup / "setup.poni")
    parameters = Integrate1D.parse({"frames": "a.edf", "geometry": str(setup / "setup.poni")})
    (setup / "worker.json").write_text(json.dumps(worker_config(parameters, geometry)))
    assert Geometry.load(setup / "worker.json") == Geometry.load(setup / "setup.poni")
    assert worker_config(parameters, geometry)["poni"]["poni_version"] == 3


def test_all_masks_come_back(setup) -> None:
    options = {"mask": (str(setup / "a.npy"), str(setup / "b.npy"))}
    parameters = Integrate1D.parse({"frames": "a.edf", "geometry": str(setup / "setup.poni")} | options)
    geometry = Geometry.load(setup / "setup.poni")
    (setup / "worker.json").write_text(json.dumps(worker_config(parameters, geometry)))
    found = Integrate1D.parse({"frames": "a.edf", "pyfai_config": str(setup / "worker.json")})
    assert found.mask == options["mask"]


def test_a_configuration_of_grazing_incidence_comes_back(setup) -> None:
    options: dict[str, Any] = {
        "npt": 77, "npt_azimuth": 33, "unit": "qip_nm^-1", "azimuth_unit": "qoop_nm^-1", "incidence": 0.25,
        "tilt": 1.5, "sample_orientation": 3, "radial_range": (-10.0, 5.0), "splitting": "none",
    }  # fmt: skip
    parameters = Integrate2D.parse({"frames": "a.edf", "geometry": str(setup / "setup.poni")} | options)
    geometry = Geometry.load(setup / "setup.poni").for_shape(SHAPE)
    (setup / "worker.json").write_text(json.dumps(worker_config(parameters, geometry)))
    found = Integrate2D.parse({"frames": "a.edf", "pyfai_config": str(setup / "worker.json")})
    assert found.notes == ()
    assert {name: getattr(found, name) for name in options} == options | {
        "incidence": pytest.approx(0.25),
        "tilt": pytest.approx(1.5),
    }
