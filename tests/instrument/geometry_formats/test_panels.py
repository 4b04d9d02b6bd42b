"""Detectors of modules that are not on one grid, in formats that tell each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from friedel.core.errors import GeometryError
from friedel.instrument import Detector, Geometry
from friedel.instrument.geometry_formats import format_named, read_geometry, write_geometry
from friedel.instrument.pixel_layouts import PlacedModule, PlacedModules, edges_of


def metrology(orientation: int, out_of_plane: float = 1e-4) -> Geometry:
    """Four modules of 8 x 10 pixels with gaps, each a little displaced and turned, the whole tilted."""
    random = np.random.default_rng(5)
    modules = []
    for row in (0, 10):
        for column in (0, 13):
            angles = random.normal(0, 0.01, 3) * [out_of_plane * 1e4, out_of_plane * 1e4, 1]
            slow = np.array([np.cos(angles[2]), np.sin(angles[2]), angles[0]])
            fast = np.array([-np.sin(angles[2]), np.cos(angles[2]), angles[1]])
            fast -= (fast @ slow) / (slow @ slow) * slow
            origin = np.array([row * 1e-4, column * 1.2e-4, 0]) + random.normal(0, 1e-5, 3) * [1, 1, out_of_plane * 1e4]
            modules.append(
                PlacedModule(
                    (row, row + 8),
                    (column, column + 10),
                    edges_of(np.full(8, 1e-4)),
                    edges_of(np.full(10, 1.2e-4)),
                    tuple(origin),
                    tuple(slow / np.linalg.norm(slow)),
                    tuple(fast / np.linalg.norm(fast)),
                )
            )
    shape = (18, 23)
    pixels = PlacedModules(shape, modules)
    detector = Detector("Detector", shape, 1e-4, 1.2e-4, orientation=orientation, pixels=pixels)
    return Geometry(detector, 0.2, 0.01, -0.02, 0.4, -0.3, 0.2, wavelength=1e-10)


@pytest.mark.parametrize("out_of_plane", [0.0, 1e-4])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["crystfel", "dials"])
def test_each_module_keeps_its_place(tmp_path, name, orientation, out_of_plane):
    geometry = metrology(orientation, out_of_plane)
    assert format_named(name).lost(geometry) == []
    write_geometry(tmp_path / "file", geometry, name)
    found = read_geometry(tmp_path / "file").geometry
    mask = geometry.detector.mask()
    assert np.array_equal(found.detector.mask(), mask)
    for unit in ("2th_rad", "chi_rad", "r_m"):
        here, there = (one.center_array(unit)[~mask] for one in (geometry, found))
        np.testing.assert_allclose(there, here, rtol=0, atol=1e-9)
    here, there = (one.corner_array("2th_rad")[~mask] for one in (geometry, found))
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-9)


def test_modules_are_written_to_a_detector_file_beside_a_poni_file(tmp_path):
    write_geometry(tmp_path / "file.geom", metrology(3), "crystfel")
    geometry = read_geometry(tmp_path / "file.geom").geometry
    write_geometry(tmp_path / "setup.poni", geometry, "pyfai")
    assert (tmp_path / "setup_detector.h5").exists()
    found = Geometry.load(tmp_path / "setup.poni")
    valid = ~geometry.detector.mask()
    np.testing.assert_allclose(
        found.center_array("2th_rad")[valid], geometry.center_array("2th_rad")[valid], rtol=0, atol=1e-9
    )


def test_pixels_of_uneven_size_are_said_to_be_lost():
    detector = Detector.named("Xpad S540 flat")
    lost = format_named("crystfel").lost(Geometry(detector, 0.2, 0.05, 0.05, wavelength=1e-10))
    assert any("displacement of pixels in modules" in sentence for sentence in lost)


def test_bent_plates_and_hexagons_are_refused(tmp_path):
    for name in ("Aarhus", "Pixirad1"):
        with pytest.raises(GeometryError, match=r"one plane|quadrilaterals"):
            write_geometry(tmp_path / "x", Geometry(Detector.named(name), 0.2, 0, 0, wavelength=1e-10), "crystfel")


def test_skewed_modules_are_straightened_for_dials_and_it_is_said(tmp_path):
    geometry = metrology(3)
    pixels = geometry.detector.pixels
    modules = [replace(module, fast=(module.fast[0] + 0.01, *module.fast[1:])) for module in pixels.modules]
    skewed = replace(geometry.detector, pixels=PlacedModules(pixels.shape, modules))
    geometry = replace(geometry, detector=skewed)
    assert any("skew of modules, 0.1" in sentence for sentence in format_named("dials").lost(geometry))
    write_geometry(tmp_path / "file", geometry, "dials")
    found = read_geometry(tmp_path / "file").geometry
    valid = ~found.detector.mask()
    here, there = (one.center_array("r_mm")[valid] for one in (geometry, found))
    np.testing.assert_allclose(there, here, rtol=0, atol=0.01)  # a tenth of a pixel
    assert format_named("crystfel").lost(geometry) == []
