"""What is written in a format is read back: every pixel in its place to 1e-9, or what moved was said."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from friedel.instrument import Detector, Geometry, Sensor
from friedel.instrument.geometry_formats import NAMES, Given, format_named, read_geometry, write_geometry
from friedel.instrument.geometry_formats.placement import Placement, reoriented
from shared_data import shared

SHAPE = (11, 14)
angles = st.floats(-math.pi / 3, math.pi / 3)
sizes = st.floats(2e-5, 3e-4)
VECTORS = ("crystfel", "cxi", "dials")
"""Formats that hold every orientation by themselves."""
TURNED = ("spd", "gsas2", "hexrd")
"""Formats without orientation: mirrored images are mirrored, all others stay."""


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Geometries over a wide range: tilts and turns to 60 degrees, all orientations, pixels that are not square."""
    detector = Detector.from_shape(SHAPE, draw(sizes), draw(sizes), orientation=draw(st.sampled_from([1, 2, 3, 4])))
    return Geometry(
        detector,
        draw(st.floats(0.03, 3.0)),
        draw(st.floats(-0.3, 0.3)),
        draw(st.floats(-0.3, 0.3)),
        draw(angles),
        draw(angles),
        draw(angles),
        wavelength=draw(st.floats(1e-11, 5e-10)),
    )


def positions(geometry: Geometry) -> np.ndarray:
    """Return (x, y, z) in m of the centres of all pixels of the stored array, from the definition."""
    detector = geometry.detector
    d1 = detector.row_centers()[:, None] - geometry.poni1 + np.zeros(SHAPE)
    d2 = detector.column_centers()[None, :] - geometry.poni2 + np.zeros(SHAPE)
    way = np.stack([d1, d2, np.full(SHAPE, geometry.distance)])
    y, x, z = np.tensordot(geometry.rotation(), way, axes=1)
    return np.stack([x, y, z])


def back(path: Path, geometry: Geometry, name: str) -> Geometry:
    """Return the geometry after it was written and read."""
    write_geometry(path, geometry, name)
    given = Given(geometry.detector) if name in ("fit2d", "imaged11") else Given()
    found = read_geometry(path, given, "dioptas" if name == "dioptas" else None)
    assert found.format == name
    assert not found.notes
    assert found.geometry.wavelength == pytest.approx(geometry.wavelength, rel=1e-12)
    return found.geometry


def slow_disk(function):
    """Files are written in each example: folders are shared, and their time is not that of the code."""
    return settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])(
        function
    )


@pytest.mark.parametrize("name", ["pyfai", "imaged11", *VECTORS])
@slow_disk
@given(geometry=geometries())
def test_every_pixel_keeps_its_place_and_the_image_its_orientation(tmp_path, name, geometry):
    found = back(tmp_path / "file", geometry, name)
    assert found.detector.orientation == geometry.detector.orientation
    np.testing.assert_allclose(positions(found), positions(geometry), rtol=0, atol=1e-9 * geometry.distance)
    for field in ("distance", "poni1", "poni2", "rot1", "rot2", "rot3"):
        assert getattr(found, field) == pytest.approx(getattr(geometry, field), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", TURNED)
@slow_disk
@given(geometry=geometries())
def test_formats_without_orientation_mirror_mirrored_images_and_say_so(tmp_path, name, geometry):
    found = back(tmp_path / "file", geometry, name)
    mirrored = geometry.detector.orientation in (2, 4)
    there = positions(geometry) * np.array([1.0, -1.0 if mirrored else 1.0, 1.0])[:, None, None]
    np.testing.assert_allclose(positions(found), there, rtol=0, atol=1e-9 * geometry.distance)
    said = any("azimuths run the other way" in sentence for sentence in format_named(name).lost(geometry))
    assert said == mirrored


@slow_disk
@given(geometry=geometries())
def test_dioptas_has_the_image_turned_upside_down(tmp_path, geometry):
    found = back(tmp_path / "file", geometry, "dioptas")
    assert found.detector.orientation == 2
    mirrored = geometry.detector.orientation in (1, 3)
    there = positions(geometry) * np.array([1.0, -1.0 if mirrored else 1.0, 1.0])[:, None, None]
    np.testing.assert_allclose(positions(found), there, rtol=0, atol=1e-9 * geometry.distance)
    assert any("azimuths" in sentence for sentence in format_named("dioptas").lost(geometry)) == mirrored


@slow_disk
@given(geometry=geometries())
def test_fit2d_keeps_scattering_angles_and_says_how_far_azimuths_turn(tmp_path, geometry):
    found = back(tmp_path / "file", geometry, "fit2d")
    here, there = geometry.center_array("2th_rad"), found.center_array("2th_rad")
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-9)
    # Written again, nothing more is lost.
    again = back(tmp_path / "again", found, "fit2d")
    for field in ("distance", "poni1", "poni2", "rot1", "rot2", "rot3"):
        assert getattr(again, field) == pytest.approx(getattr(found, field), rel=1e-9, abs=1e-9)
    turned = np.abs(
        np.angle(np.exp(1j * (reoriented(geometry, 3).azimuth_center() - reoriented(found, 3).azimuth_center())))
    )
    said = [sentence for sentence in format_named("fit2d").lost(geometry) if "turn about the beam" in sentence]
    assert bool(said) == bool(np.median(turned) > 2e-9) or np.median(turned) < 1e-8


@given(geometries(), st.sampled_from([1, 2, 3, 4]))
def test_an_orientation_told_otherwise_leaves_pixels_or_mirrors_them(geometry, orientation):
    found = reoriented(geometry, orientation)
    assert found.detector.orientation == orientation
    mirrored = (geometry.detector.orientation in (2, 4)) != (orientation in (2, 4))
    there = positions(geometry) * np.array([1.0, -1.0 if mirrored else 1.0, 1.0])[:, None, None]
    np.testing.assert_allclose(positions(found), there, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.center_array("2th_rad"), geometry.center_array("2th_rad"), rtol=0, atol=1e-11)


@given(geometries())
def test_a_placement_is_where_the_pixels_are(geometry):
    placement = Placement.from_geometry(geometry)
    rows, columns = np.arange(SHAPE[0]) + 0.5, np.arange(SHAPE[1]) + 0.5
    there = (
        placement.origin[:, None, None]
        + rows[None, :, None] * placement.slow[:, None, None]
        + columns[None, None, :] * placement.fast[:, None, None]
    )
    np.testing.assert_allclose(there, positions(geometry), rtol=0, atol=1e-12)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_a_known_detector_keeps_its_name_gaps_and_sensor_or_it_is_said(tmp_path, name, orientation):
    detector = replace(Detector.named("Pilatus300k", orientation=orientation), sensor=Sensor("CdTe", 1e-3))
    geometry = Geometry(detector, 0.2, 0.05, 0.04, 0.1, -0.05, 0.02, wavelength=5e-11)
    lost = write_geometry(tmp_path / "file", geometry, name)
    given = Given(shape=detector.shape) if name == "imaged11" else Given()
    found = read_geometry(tmp_path / "file", given, "dioptas" if name == "dioptas" else None).geometry
    assert (found.detector.name == "Pilatus300k") == ("the name of the detector, Pilatus300k" not in lost)
    gaps = found.detector.shape is not None and np.array_equal(found.detector.mask(), detector.mask())
    assert gaps == ("the gaps between modules" not in lost)
    assert (found.detector.sensor == detector.sensor) == ("the sensor, CdTe" not in lost)
    assert (found.detector.shape == detector.shape) == (
        not any("number of pixels" in text for text in lost)
    ) or given.shape


@pytest.mark.parametrize("name", NAMES)
def test_a_geometry_without_wavelength_takes_the_one_that_is_given(tmp_path, name):
    geometry = Geometry(Detector.from_shape(SHAPE, 1e-4, 1e-4), 0.2, 0.05, 0.04)
    if name == "dials":
        pytest.skip("it has to have a wavelength")
    write_geometry(tmp_path / "file", geometry, name)
    given = Given(geometry.detector, 7e-11)
    assert read_geometry(tmp_path / "file", given, name).geometry.wavelength == 7e-11
    assert Geometry.load(tmp_path / "file", detector=geometry.detector, wavelength=7e-11).wavelength == 7e-11


def test_a_wavelength_that_is_given_counts_more_than_that_of_the_file(tmp_path):
    geometry = Geometry(Detector.from_shape(SHAPE, 1e-4, 1e-4), 0.2, 0.05, 0.04, wavelength=1e-10)
    write_geometry(tmp_path / "file", geometry, "crystfel")
    found = read_geometry(tmp_path / "file", Given(wavelength=7e-11))
    assert found.geometry.wavelength == 7e-11
    assert "1 Angstrom" in found.notes[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "sample",
    ["CeO2.par", "eiger_example_geometry.par", "LaB6_40keV_MarCCD.poni", "LaB6_40keV_MarCCD_new_with_orientation.poni"],
)
def test_files_of_other_people_keep_their_scattering_angles(tmp_path, name, sample):
    given = Given(shape=(2048, 2040))
    geometry = read_geometry(shared("diffraction", "poni_samples", sample), given).geometry.for_shape((2048, 2040))
    write_geometry(tmp_path / "file", geometry, name)
    found = read_geometry(tmp_path / "file", given, "dioptas" if name == "dioptas" else None).geometry
    some = slice(1000, 1040)
    here, there = (one.for_shape((2048, 2040)).center_array("2th_rad", some) for one in (geometry, found))
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-9)
