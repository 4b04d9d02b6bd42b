"""The configuration of a pyFAI worker as parameters: every key is used, told about or refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import friedel
from friedel.core.errors import FileError, ParameterError
from friedel.instrument import Geometry
from friedel.techniques.integration.tasks import Integrate1D, Integrate2D
from friedel.workflows.tasks import DiffractionMap

PONI = {
    "poni_version": 2.1,
    "dist": 0.2,
    "poni1": 0.01,
    "poni2": 0.012,
    "rot1": 0.1,
    "rot2": -0.05,
    "rot3": 0.0,
    "detector": "Detector",
    "detector_config": {"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": None, "orientation": 2},
    "wavelength": 1e-10,
}
NEWEST = {
    "application": "pyfai-integrate",
    "version": 5,
    "poni": PONI,
    "nbpt_rad": 500,
    "nbpt_azim": 1,
    "unit": "2th_deg",
    "chi_discontinuity_at_0": False,
    "polarization_description": [0.99, 0],
    "normalization_factor": 1.0,
    "val_dummy": None,
    "delta_dummy": None,
    "correct_solid_angle": True,
    "dark_current": None,
    "flat_field": None,
    "mask_file": None,
    "error_model": "poisson",
    "method": ["full", "csr", "cython"],
    "opencl_device": None,
    "azimuth_range": None,
    "radial_range": None,
    "integrator_class": "AzimuthalIntegrator",
    "integrator_method": "integrate1d",
    "extra_options": {},
    "monitor_name": None,
    "shape": None,
}
OLDEST = {
    "chi_discontinuity_at_0": False, "do_dummy": False, "do_mask": False, "mask_file": "", "do_dark": False,
    "dark_current": "", "do_flat": False, "flat_field": "", "do_polarization": True, "polarization_factor": 0.9,
    "do_solid_angle": True, "do_radial_range": True, "radial_range_min": 1.0, "radial_range_max": 9.0,
    "do_azimuthal_range": False, "azimuth_range_min": -10.0, "azimuth_range_max": 20.0, "do_2D": False,
    "nbpt_rad": 400, "nbpt_azim": 360, "unit": "q_nm^-1", "error_model": None, "do_OpenCL": False,
    "method": "splitbbox", "val_dummy": -2.0, "delta_dummy": 1.0, "dist": 0.3, "poni1": 0.01, "poni2": 0.02,
    "rot1": 0.0, "rot2": 0.0, "rot3": 0.0, "pixel1": 2e-4, "pixel2": 1e-4, "splineFile": "", "wavelength": 5e-11,
    "detector": "detector", "poni": "",
}  # fmt: skip


def stored(folder: Path, config: dict[str, Any]) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return str(path)


def understood(folder: Path, kind: Any = Integrate1D, /, config: dict[str, Any] | None = None, **changes: Any) -> Any:
    options = changes.pop("options", {})
    return kind.parse(
        {"frames": "a.edf", "pyfai_config": stored(folder, (NEWEST if config is None else config) | changes), **options}
    )


def test_the_newest_version(tmp_path) -> None:
    parameters = understood(tmp_path)
    assert parameters.npt == 500
    assert parameters.unit == "2th_deg"
    assert parameters.polarization == 0.99
    assert parameters.error_model == "poisson"
    assert parameters.splitting == "full"
    assert parameters.empty == 0.0
    assert parameters.negative == "keep"
    assert parameters.notes == ()


def test_the_geometry_is_read_from_the_same_file(tmp_path) -> None:
    geometry = Geometry.load(understood(tmp_path).geometry)
    assert (geometry.distance, geometry.poni1, geometry.rot2) == (0.2, 0.01, -0.05)
    assert geometry.detector.orientation == 2
    assert geometry.wavelength == 1e-10


def test_the_oldest_version(tmp_path) -> None:
    """Without a version, with pixel sizes, switches, and text for the method."""
    parameters = understood(tmp_path, config=OLDEST)
    assert parameters.radial_range == (1.0, 9.0)
    assert parameters.azimuth_range is None
    assert parameters.dummy is None
    assert parameters.splitting == "bbox"
    assert parameters.polarization == 0.9
    assert parameters.notes == ()  # do_2D is false, so nbpt_azim asks for nothing
    geometry = Geometry.load(parameters.geometry)
    assert (geometry.detector.pixel1, geometry.detector.pixel2) == (2e-4, 1e-4)
    assert geometry.distance == 0.3


def test_what_is_given_wins(tmp_path) -> None:
    parameters = understood(tmp_path, options={"npt": 7, "unit": "q_A^-1", "error_model": "none", "empty": math.nan})
    assert (parameters.npt, parameters.unit, parameters.error_model) == (7, "q_A^-1", "none")
    assert math.isnan(parameters.empty)


def test_a_record_does_not_need_the_configuration_again(tmp_path) -> None:
    parameters = understood(tmp_path, dark_current="a.edf")
    (tmp_path / "config.json").unlink()
    assert Integrate1D.parse(parameters.model_dump()) == parameters


def test_a_poni_file_that_the_configuration_names(tmp_path) -> None:
    Geometry.load(stored(tmp_path, NEWEST)).save(tmp_path / "setup.poni")
    named = {"poni": "setup.poni", "nbpt_rad": 100}
    assert understood(tmp_path, config=named).geometry == str(tmp_path / "setup.poni")
    moved = Geometry.load(understood(tmp_path, config=named | {"dist": 0.7}).geometry)
    assert (moved.distance, moved.poni1) == (0.7, 0.01)


def test_a_model_of_detector(tmp_path) -> None:
    config = {"version": 2, "detector": "Pilatus1M", "detector_config": {}, "dist": 0.1, "poni1": 0.0, "poni2": 0.0}
    assert Geometry.load(stored(tmp_path, config)).shape == (1043, 981)
    del config["detector_config"]
    assert Geometry.load(stored(tmp_path, config | {"version": 1, "pixel1": 1.0})).shape == (1043, 981)


def test_a_mask_replaces_the_gaps_but_not_the_value_for_invalid_pixels(tmp_path) -> None:
    np.save(tmp_path / "mask.npy", np.zeros((1043, 981), np.uint8))
    config = {"version": 2, "detector": "Pilatus1M", "detector_config": {}, "dist": 0.1, "poni1": 0.0, "poni2": 0.0}
    parameters = understood(tmp_path, config=config | {"mask_file": "mask.npy"})
    assert parameters.mask == (str(tmp_path / "mask.npy"),)
    assert not parameters.detector_mask
    assert (parameters.dummy, parameters.delta_dummy) == (-2, 1.5)
    assert understood(tmp_path, config=config | {"mask_file": None}).detector_mask


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a.edf,b.edf", ("a.edf", "b.edf")),
        (["a.edf", "b.edf"], ("a.edf", "b.edf")),
        ("a.edf", ("a.edf",)),
        ("", None),
        ("silx:/data/a.h5?path=/entry/dark", ("/data/a.h5::/entry/dark",)),
        ("silx:///data/a.h5::/entry/dark", ("/data/a.h5::/entry/dark",)),
        ("fabio:///data/a.edf", ("/data/a.edf",)),
    ],
)
def test_lists_of_files(tmp_path, value, expected) -> None:
    assert understood(tmp_path, dark_current=value).dark == expected


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (["no", "histogram", "cython"], "none"),
        (["bbox", "csr", "opencl"], "bbox"),
        (["full", "csc", "cython"], "full"),
        (["pseudo", "histogram", "cython"], "bbox"),
        (["*", "lut", "cython"], "bbox"),
        ([None, "csr", "cython"], "none"),
        ([1, "full", "csr", "cython", None], "full"),
        (["bbox", "histogram", "python"], "none"),
        ("csr", "none"),
        ("lut", "bbox"),
        ("splitbbox", "bbox"),
        ("full_csr", "full"),
        ("nosplit_csr_ocl_gpu", "none"),
        ("numpy", "none"),
        ("splitpixel", "none"),
        ({"split": "full", "algo": "csr", "impl": "cython"}, "full"),
        (None, "bbox"),
    ],
)
def test_methods(tmp_path, method, expected) -> None:
    """What pyFAI 2026.9 makes of them: see the peer test."""
    assert understood(tmp_path, method=method).splitting == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "none"),
        ("no", "none"),
        ("p", "poisson"),
        (2, "poisson"),
        ("AZIMUTHAL", "azimuthal"),
        ("hybrid", "poisson"),
    ],
)
def test_error_models(tmp_path, value, expected) -> None:
    assert understood(tmp_path, error_model=value).error_model == expected


def test_sigma_clipping(tmp_path) -> None:
    options = {"thres": 4, "max_iter": 3, "error_model": "azimuthal"}
    parameters = understood(tmp_path, integrator_method="sigma_clip_ng", extra_options=options, error_model=None)
    assert (parameters.estimator, parameters.error_model) == ("sigma-clip", "azimuthal")
    assert (parameters.clip_threshold, parameters.clip_iterations) == (4, 3)
    plain = understood(tmp_path, integrator_method="sigma_clip", error_model="hybrid", extra_options={"thres": 0})
    assert (plain.clip_threshold, plain.clip_iterations, plain.error_model) == (1, 5, "hybrid")
    assert "thres" in plain.notes[0]
    assert understood(tmp_path, integrator_method="sigma_clip_ng", error_model=None).error_model == "poisson"


def test_percentiles(tmp_path) -> None:
    parameters = understood(tmp_path, integrator_method="medfilt1d_ng", extra_options={"percentile": [20, 80]})
    assert (parameters.estimator, parameters.percentile) == ("percentile", (20, 80))
    assert understood(tmp_path, integrator_method="medfilt1d_ng", extra_options=None).percentile == (50, 50)


def test_polarization_with_an_offset(tmp_path) -> None:
    parameters = understood(tmp_path, polarization_description=[0.9, math.pi / 4])
    assert parameters.polarization_axis == pytest.approx(45)
    assert "worker leaves that out" in parameters.notes[0]


def test_a_cake(tmp_path) -> None:
    parameters = understood(tmp_path, Integrate2D, nbpt_azim=36, chi_discontinuity_at_0=True)
    assert (parameters.npt_azimuth, parameters.discontinuity) == (36, "0")
    assert "integrate2d" in understood(tmp_path, nbpt_azim=36).notes[0]


def test_half_a_range_is_refused(tmp_path) -> None:
    with pytest.raises(ParameterError, match="radial_range"):
        understood(tmp_path, radial_range=[1.0, math.inf])
    assert understood(tmp_path, radial_range=[-math.inf, math.inf]).radial_range is None
    assert understood(tmp_path, radial_range=[1.0, None], options={"radial_range": (1, 2)}).radial_range == (1, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"error_model": "variance"},
        {"error_model": "nonsense"},
        {"integrator_method": "separate"},
        {"extra_options": {"twist": 3}},
        {"method": ["round", "csr", "cython"]},
        {"version": 6},
        {"dark_current": "silx:/data/a.h5?path=/entry/dark&slice=3"},
        {"mask_file": 3},
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(tmp_path, changes) -> None:
    with pytest.raises(ParameterError) as raised:
        understood(tmp_path, **changes)
    assert next(iter(changes)) in raised.value.problem
    assert raised.value.remedy


def test_unknown_keys_are_told_about(tmp_path) -> None:
    assert "twist" in understood(tmp_path, twist=3).notes[0]


def test_no_configuration(tmp_path) -> None:
    (tmp_path / "a.json").write_text("[]")
    for name in ("a.json", "absent.json"):
        with pytest.raises(FileError):
            Integrate1D.parse({"frames": "a.edf", "pyfai_config": str(tmp_path / name)})


def test_the_task(tmp_path) -> None:
    """Mean of two darks, the union of two masks, a factor, and a pattern by the configuration alone."""
    frame = np.full((60, 50), 30.0, np.float32)
    frame[5] = 1e6
    np.save(tmp_path / "frame.npy", frame)
    for name, dark in (("a", 8.0), ("b", 12.0)):
        np.save(tmp_path / f"{name}.npy", np.full((60, 50), dark, np.float32))
    for name, row in (("m", 5), ("n", 6)):
        mask = np.zeros((60, 50), np.uint8)
        mask[row] = 1
        np.save(tmp_path / f"{name}.npy", mask)
    config = stored(
        tmp_path,
        NEWEST
        | {"dark_current": ["a.npy", "b.npy"], "mask_file": ["m.npy", "n.npy"], "normalization_factor": 2.0}
        | {"correct_solid_angle": False, "polarization_description": None, "nbpt_rad": 20},
    )
    found = friedel.integrate1d(tmp_path / "frame.npy", pyfai_config=config)
    np.testing.assert_allclose(found.intensity, 10.0)


MAP = {
    "diffmap_config_version": 1, "experiment_title": "leaf", "offset": 1, "zigzag_scan": True, "output_file": None,
    "slow_motor": {"start": 0.0, "stop": 2.0, "points": 3, "name": "ty"},
    "fast_motor": {"start": -1.0, "stop": 1.0, "points": 2, "name": "tx"},
    "ai": NEWEST, "input_data": [["frames.npy", False, 7, [60, 50]]],
}  # fmt: skip


def test_a_map(tmp_path) -> None:
    """The grid, the way it was scanned and the frames come from the file of the map, the rest from the worker in it."""
    frames = np.full((7, 60, 50), 10.0, np.float32) * np.arange(7)[:, np.newaxis, np.newaxis]
    np.save(tmp_path / "frames.npy", frames)
    worker = NEWEST | {"correct_solid_angle": False, "polarization_description": None, "nbpt_rad": 20}
    config = stored(tmp_path, MAP | {"ai": worker})
    found = friedel.diffraction_map(pyfai_config=config, output=tmp_path / "map.h5")
    mean = found.intensity.mean("radial")
    np.testing.assert_allclose(mean, [[10, 20], [40, 30], [50, 60]])
    np.testing.assert_allclose(found[mean.dims[0]], [0, 1, 2])
    np.testing.assert_allclose(found[mean.dims[1]], [-1, 1])


def test_a_map_for_another_task(tmp_path) -> None:
    parameters = understood(tmp_path, config=MAP)
    assert "diffraction-map" in parameters.notes[0]
    assert parameters.npt == 500


def test_an_old_map(tmp_path) -> None:
    old = {"npt_slow": 3, "nbpt_fast": 2, "fast_motor_range": [0, 4], "ai": OLDEST, "offset": 0, "turn": 3}
    parameters = understood(tmp_path, DiffractionMap, config=old)
    assert (parameters.shape, parameters.fast_range, parameters.slow_range) == ((3, 2), (0, 4), None)
    assert parameters.splitting == "bbox"
    assert "turn" in parameters.notes[0]


def test_maps_are_not_a_number_where_there_is_nothing(tmp_path) -> None:
    """pyFAI writes the dummy there, which would count as an intensity in the sums of regions."""
    assert "empty" not in DiffractionMap.model_fields
    assert understood(tmp_path, DiffractionMap, val_dummy=-1.0).dummy == -1.0


def test_hybrid_without_clipping_is_poisson_and_said_to_be(tmp_path) -> None:
    parameters = understood(tmp_path, error_model="hybrid")
    assert parameters.error_model == "poisson" and any("hybrid" in note for note in parameters.notes)


def test_another_estimator_does_not_take_what_belongs_to_that_of_the_configuration(tmp_path) -> None:
    clipping = {"integrator_method": "sigma_clip_ng", "extra_options": {"thres": 3, "max_iter": 2}}
    parameters = understood(tmp_path, options={"estimator": "mean"}, **clipping)
    assert (parameters.estimator, parameters.clip_threshold, parameters.clip_iterations) == ("mean", 5, 5)
