"""Experiments of DIALS."""

import json

import numpy as np
import pytest

from friedel.core.errors import FileError, GeometryError
from friedel.instrument import Detector, Geometry, Sensor
from friedel.instrument.geometry_formats import Given, read_geometry, write_geometry


def experiments(**panel):
    """An image of 20 x 30 pixels of 0.1 mm, the beam in its middle, as dxtbx has it."""
    return {
        "__id__": "ExperimentList",
        "experiment": [{"__id__": "Experiment", "beam": 0, "detector": 0}],
        "beam": [{"direction": [0.0, 0.0, 1.0], "wavelength": 1.2}],
        "detector": [
            {
                "panels": [
                    {
                        "name": "Panel",
                        "fast_axis": [1.0, 0.0, 0.0],
                        "slow_axis": [0.0, -1.0, 0.0],
                        "origin": [-1.5, 1.0, -200.0],
                        "pixel_size": [0.1, 0.1],
                        "image_size": [30, 20],
                        "mask": [[10, 0, 12, 20]],
                        "material": "Si",
                        "thickness": 0.45,
                    }
                    | panel
                ],
            }
        ],
    }


def read(tmp_path, table, given=None):
    path = tmp_path / "any.name"
    path.write_text(json.dumps(table))
    return read_geometry(path, given)


def test_an_usual_image_is_upright(tmp_path):
    found = read(tmp_path, experiments())
    geometry = found.geometry
    assert found.format == "dials"
    assert geometry.detector.orientation == 3
    assert (geometry.distance, geometry.poni1, geometry.poni2) == pytest.approx((0.2, 1e-3, 1.5e-3))
    assert (geometry.rot1, geometry.rot2, geometry.rot3) == (0, 0, 0)
    assert geometry.wavelength == pytest.approx(1.2e-10)
    assert geometry.detector.gap_columns == ((10, 12),)
    assert geometry.detector.sensor == Sensor("Si", 4.5e-4)


def test_a_beam_that_is_not_along_z_is_the_axis(tmp_path):
    angle = np.radians(1.0)
    table = experiments()
    table["beam"][0]["direction"] = [0.0, np.sin(angle), np.cos(angle)]
    tilted = read(tmp_path, table).geometry
    # The beam goes down by 1 degree: rows are counted downwards.
    assert tilted.beam_center()[0] == pytest.approx(10.0 + 2000.0 * np.tan(angle))
    assert tilted.beam_center()[1] == pytest.approx(15.0)


def test_panels_lie_in_the_frame_of_their_group(tmp_path):
    table = experiments(origin=[0.5, 1.0, 0.0])
    frame = {"fast_axis": [0.0, 1.0, 0.0], "slow_axis": [-1.0, 0.0, 0.0], "origin": [0.0, 0.0, -200.0]}
    table["detector"][0]["hierarchy"] = {"children": [frame | {"children": [{"panel": 0}]}]}
    geometry = read(tmp_path, table).geometry
    # Local (0.5, 1, 0) is (-1, 0.5, -200) in the laboratory; rows run along its x, columns along y.
    assert geometry.center_array("r_mm")[0, 0] == pytest.approx(np.hypot(-1 + 0.05, 0.5 + 0.05))
    assert geometry.center_array("r_mm")[4, 7] == pytest.approx(np.hypot(-1 + 0.45, 0.5 + 0.75))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"origin": [0, 0]}, FileError, "beam and detector"),
        ({"origin": [0, 0, "nan"]}, GeometryError, "not finite"),
        ({"image_size": [1e30, 3]}, GeometryError, "1e\\+30"),
        ({"fast_axis": [0, 0, 0]}, GeometryError, "zero"),
        ({"pixel_size": None}, FileError, "beam and detector"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        read(tmp_path, experiments(**change))


def test_separate_images_are_asked_for_by_name(tmp_path):
    table = experiments()
    first = table["detector"][0]["panels"][0]
    table["detector"][0]["panels"].append(first | {"name": "other", "origin": [-3.0, 1.0, -200.0]})
    with pytest.raises(GeometryError, match="2 panels are images of their own"):
        read(tmp_path, table)
    for name in ("other", "1"):
        found = read_geometry(f"{tmp_path / 'any.name'}::{name}").geometry
        assert found.beam_center() == pytest.approx((10.0, 30.0))
    with pytest.raises(GeometryError, match=r"no panel third(.|\n)*Panel, other"):
        read_geometry(f"{tmp_path / 'any.name'}::third")


def test_another_detector_is_refused(tmp_path):
    with pytest.raises(GeometryError, match="172 µm"):
        read(tmp_path, experiments(), Given(Detector.named("Pilatus1M")))


def test_it_needs_a_wavelength(tmp_path):
    with pytest.raises(GeometryError, match="wavelength"):
        write_geometry(tmp_path / "x", Geometry(Detector.named("Pilatus1M"), 0.2, 0.1, 0.1), "dials")
    assert not (tmp_path / "x").exists()


def test_an_upright_image_has_the_axes_of_dxtbx(tmp_path):
    geometry = Geometry(Detector.named("Pilatus1M"), 0.2, 0.08, 0.09, wavelength=5e-11)
    assert write_geometry(tmp_path / "x", geometry, "dials") == []
    panel = json.loads((tmp_path / "x").read_text())["detector"][0]["panels"][0]
    assert panel["fast_axis"] == [1.0, 0.0, 0.0]
    assert panel["slow_axis"] == [0.0, -1.0, 0.0]
    assert panel["origin"] == pytest.approx([-90.0, 80.0, -200.0])
    assert panel["image_size"] == [981, 1043]
    assert [487, 0, 494, 1043] in panel["mask"]
