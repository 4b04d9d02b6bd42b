"""Pixels that follow from a rule: where they are, in every orientation and between them, and that files keep them."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest

from friedel.core.errors import FileError, GeometryError, OutputError
from friedel.instrument import Detector, Geometry, PixelTable, Sensor
from friedel.instrument.detector import area_vectors
from friedel.instrument.detector_file import RULE, corner_table
from friedel.instrument.pixel_layouts import (
    Cylinder,
    HexagonalLattice,
    PlacedModule,
    PlacedModules,
    RegularPixels,
    edges_of,
    restored_pixels,
)
from friedel.instrument.pixel_shapes import Positions

WHOLE = slice(None)
PITCH = 60e-6


def placed() -> Detector:
    """Two modules of uneven rows, the second one beside the first, turned and tilted; a column between them."""
    rows, columns = edges_of([1e-4, 1e-4, 2.5e-4]), edges_of(np.full(4, 1e-4))
    turned = (np.cos(0.1), np.sin(0.1), 0.0), (-np.sin(0.1) * np.cos(0.2), np.cos(0.1) * np.cos(0.2), np.sin(0.2))
    modules = [
        PlacedModule((0, 3), (0, 4), rows, columns),
        PlacedModule((0, 3), (5, 9), rows, columns, (1e-5, 6e-4, 1e-4), *turned),
    ]
    return Detector("Two", (3, 9), 1e-4, 1e-4, pixels=PlacedModules((3, 9), modules))


def everything() -> list[Detector]:
    return [
        Detector.hexagonal((7, 9), PITCH),
        Detector.cylindrical((6, 50), 1e-4, 2e-4, 5e-3),
        Detector.named("ImXPad S10"),
        placed(),
        Detector.named("Mar345", pixel1=150e-6, pixel2=150e-6).with_shape((1200, 1200)),
        Detector.named("Mythen"),
    ]


def geometry(detector: Detector) -> Geometry:
    return Geometry(detector, 0.05, 1.3e-3, 0.9e-3, 0.2, -0.1, 0.3, wavelength=1e-10)


@pytest.mark.parametrize("detector", everything(), ids=lambda detector: str(detector.pixels))
@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_places_are_those_of_centres_in_every_orientation(detector, orientation):
    turned = replace(detector, orientation=orientation)
    flip = slice(None, None, -1 if orientation in (1, 2) else 1), slice(None, None, -1 if orientation in (1, 4) else 1)
    used = ~detector.mask()
    y, x = np.mgrid[: turned.shape[0], : turned.shape[1]] + 0.5
    between = turned.positions_of(y, x)
    for found, placed_at, native in zip(
        turned.center_positions(WHOLE), between, detector.center_positions(WHOLE), strict=True
    ):
        assert (found is None) == (native is None) == (placed_at is None)
        if found is not None and detector.displaced:
            np.testing.assert_array_equal(found, native[flip])
        if found is not None:
            np.testing.assert_allclose(placed_at[flip][used], found[flip][used], atol=1e-12)
    part = turned.corner_positions(slice(1, 3))
    np.testing.assert_array_equal(part.p1, turned.corner_positions(WHOLE).p1[1:3])
    assert turned.modules()[0].rows[1] <= turned.shape[0]


@pytest.mark.parametrize("detector", everything(), ids=lambda detector: str(detector.pixels))
def test_corners_go_round_every_pixel_the_same_way(detector):
    _, _, along = area_vectors(detector.corner_positions(WHOLE))
    used = ~detector.mask()
    if not isinstance(detector.pixels, Cylinder):
        assert (along[used] > 0).all()
    centers, corners = detector.center_positions(WHOLE), detector.corner_positions(WHOLE)
    for center, corner in zip(centers, corners, strict=True):
        if center is not None:
            np.testing.assert_allclose(corner.mean(axis=-1)[used], center[used], atol=3e-6)


def test_hexagons_tile_the_plane():
    detector = Detector.hexagonal((7, 9), PITCH)
    areas = detector.pixel_areas(WHOLE)
    np.testing.assert_allclose(areas, PITCH**2 * np.sqrt(3) / 2)
    np.testing.assert_allclose(areas, detector.pixel1 * detector.pixel2)
    assert detector.n_corners == 6
    p1, p2, _ = detector.corner_positions(WHOLE)
    found = {(round(a / PITCH, 6), round(b / PITCH, 6)) for a, b in zip(p1.ravel(), p2.ravel(), strict=True)}
    # Neighbours share corners: an unshared lattice would have 6 each. Two a pixel remain, and those of the border.
    assert len(found) == 2 * 7 * 9 + 2 * 7 + 2 * 9
    y1, x1, _ = detector.center_positions(WHOLE)
    np.testing.assert_allclose(np.hypot(y1[1, 0] - y1[0, 0], x1[1, 0] - x1[0, 0]), PITCH)


def test_a_cylinder_round_the_sample_sees_it_at_one_distance():
    detector = Detector.cylindrical((5, 400), 1e-4, 1e-4, 0.02)
    about = Geometry(detector, 0.02, 2.5e-4, 0.0, wavelength=1e-10)
    np.testing.assert_allclose(np.rad2deg(np.arange(400) + 0.5) * 1e-4 / 0.02, about.center_array("2th_deg")[2])
    np.testing.assert_allclose(about.incidence_cosine()[2], 1.0, rtol=1e-6)
    np.testing.assert_allclose(about.solid_angle()[2], 1.0, rtol=1e-5)
    assert about.beam_center() == pytest.approx((2.5, 0.0), abs=1e-6)
    turned = replace(about, rot1=-0.3)
    _, x = turned.beam_center()
    assert x == pytest.approx(0.3 * 0.02 / 1e-4, rel=1e-6)
    with pytest.raises(GeometryError, match="not flat"):
        replace(about, detector=replace(detector, sensor=Sensor("Si", 3e-4)), parallax=True)


@pytest.mark.parametrize("name", ["ImXPadS140", "Xpad_flat", "Pixirad1"])
def test_the_beam_is_found_on_displaced_pixels(name):
    detector = Detector.named(name)
    p1, p2, _ = detector.positions_of([100.3, 17.8], [250.6, 81.0])
    for i, expected in enumerate([(100.3, 250.6), (17.8, 81.0)]):
        setup = Geometry(detector, 0.2, p1[i], p2[i])
        assert setup.beam_center() == pytest.approx(expected, abs=1e-5)


def test_modules_have_their_own_places():
    detector = placed()
    p1, _, p3 = detector.corner_positions(WHOLE)
    assert p3 is not None and not p3[:, :4].any() and p3[0, 5, 0] == pytest.approx(1e-4)
    np.testing.assert_allclose(p1[:, 0, 1] - p1[:, 0, 0], [1e-4, 1e-4, 2.5e-4])
    assert detector.mask()[:, 4].all() and detector.mask().sum() == 3
    np.testing.assert_allclose(detector.pixel_areas(WHOLE)[:, [0, 8]], np.outer([1e-8, 1e-8, 2.5e-8], [1, 1]))
    # A point in the gap is seen as one of the nearer module.
    near, far = detector.positions_of([0.5], [4.2]), detector.positions_of([0.5], [4.8])
    assert near.p2[0] == pytest.approx(4.2e-4) and far.p2[0] == pytest.approx(6e-4, rel=0.05)
    seam = Detector("Xpad", (3, 9), 1e-4, 1e-4, pixels=detector.pixels).positions_of([1.0], [5.0])
    assert seam.p3[0] == pytest.approx(1e-4)


def test_wider_pixels_and_gaps_of_models():
    flat = Detector.named("Xpad S540 flat")
    p1, p2, p3 = flat.corner_positions(WHOLE)
    assert p3 is None
    np.testing.assert_allclose(p1[120, 0, 0] - p1[119, 0, 1], 3.57e-3)
    np.testing.assert_allclose((p2[..., 2] - p2[..., 0])[0, 78:82], [1.3e-4, 3.25e-4, 3.25e-4, 1.3e-4])
    assert len(flat.modules()) == 56
    with pytest.raises(GeometryError, match="cannot be binned"):
        Detector.named("Xpad_flat", pixel1=260e-6, pixel2=260e-6)
    with pytest.raises(GeometryError, match="is not bent"):
        Detector.named("Pilatus1M", radius=0.3)


@pytest.mark.parametrize("detector", everything(), ids=lambda detector: str(detector.pixels))
@pytest.mark.parametrize("orientation", [1, 3])
def test_files_keep_them(tmp_path, detector, orientation):
    given = replace(detector, orientation=orientation, sensor=Sensor("CdTe", 1e-3))
    stored = given.save(tmp_path / "det.h5")
    for ours, theirs in zip(stored.corner_positions(WHOLE), given.corner_positions(WHOLE), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs)
    assert np.array_equal(stored.mask(), given.mask())
    assert stored.modules() == given.modules() and stored.sensor == given.sensor
    assert (stored.shape, stored.pixel1, stored.orientation) == (given.shape, given.pixel1, orientation)
    setup = geometry(stored)
    setup.save(tmp_path / "setup.poni")
    assert Geometry.load(tmp_path / "setup.poni") == setup
    # What others read: the table says the same.
    with h5py.File(tmp_path / "det.h5", "a") as file:
        group = file["entry_0000/pyFAI"]
        group = group[next(iter(group))]
        if RULE in group:
            del group[RULE]
    table = Detector.load(tmp_path / "det.h5")
    assert table.displaced == given.displaced and np.array_equal(table.mask(), given.mask())
    np.testing.assert_allclose(corner_table(table), corner_table(given), atol=1e-9)
    assert table.n_corners == given.n_corners


def test_a_mask_drawn_into_a_file_counts(tmp_path):
    Detector.hexagonal((7, 9), PITCH).save(tmp_path / "det.h5")
    with h5py.File(tmp_path / "det.h5", "a") as file:
        file["entry_0000/pyFAI/Detector/mask"][2, 3] = 1
    drawn = Detector.load(tmp_path / "det.h5")
    assert drawn.mask()[2, 3] and drawn.mask().sum() == 1 and drawn.n_corners == 6
    y, x = np.array([[2.5, 3.25], [0.1, 6.9]]), np.array([[3.5, 4.0], [8.9, 0.3]])
    for ours, theirs in zip(
        drawn.positions_of(y, x), Detector.hexagonal((7, 9), PITCH).positions_of(y, x), strict=True
    ):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours[0], theirs[0], atol=1e-9)


def test_damaged_files_are_refused(tmp_path):
    for name, change in {"kind": "nothing", "pitch": None}.items():
        Detector.hexagonal((7, 9), PITCH).save(tmp_path / f"{name}.h5")
        with h5py.File(tmp_path / f"{name}.h5", "a") as file:
            rule = file["entry_0000/pyFAI/Detector"][RULE]
            if change is None:
                del rule[name]
            else:
                rule.attrs[name] = change
        with pytest.raises(FileError, match="damaged"):
            Detector.load(tmp_path / f"{name}.h5")


@pytest.mark.parametrize("name", ["Pixirad2", "Rapid", "Xpad_flat", "Cirpad", "Mar345", "Jungfrau8M", "Mythen"])
def test_a_geometry_names_the_model(tmp_path, name):
    setup = geometry(Detector.named(name, orientation=2))
    setup.save(tmp_path / "setup.poni")
    assert Geometry.load(tmp_path / "setup.poni") == setup
    assert f"Detector: {name}" in (tmp_path / "setup.poni").read_text()


def test_a_geometry_tells_the_radius(tmp_path):
    setup = geometry(Detector.named("Aarhus", radius=1.2))
    setup.save(tmp_path / "setup.poni")
    text = (tmp_path / "setup.poni").read_text()
    config = json.loads(text.partition("Detector_config: ")[2].partition("\n")[0])
    assert config["radius"] == 1.2
    assert Geometry.load(tmp_path / "setup.poni") == setup
    assert setup != geometry(Detector.named("Aarhus"))
    with pytest.raises(OutputError, match="described by no file"):
        geometry(Detector.cylindrical((5, 6), 1e-4, 1e-4, 0.3)).save(tmp_path / "none.poni")


@pytest.mark.parametrize("detector", everything()[:5], ids=lambda detector: str(detector.pixels))
def test_pixels_are_values(detector):
    pixels = detector.pixels
    again = restored_pixels(type(pixels).__name__, pixels.arrays(), pixels.path)
    assert again == pixels and hash(again) == hash(pixels)
    assert pickle.loads(pickle.dumps(detector)) == detector  # noqa: S301
    assert geometry(detector) == geometry(replace(detector, pixels=again))


def test_what_is_wrong_is_told():
    with pytest.raises(GeometryError, match="radius of the cylinder"):
        Cylinder((2, 3), 1e-4, 1e-4, 0.0)
    with pytest.raises(GeometryError, match="bent by"):
        Cylinder((2, 3000), 1e-4, 1e-3, 0.1)
    with pytest.raises(GeometryError, match="pitch"):
        HexagonalLattice((2, 3), -1.0)
    with pytest.raises(GeometryError, match="Module 0"):
        PlacedModules((2, 3), [PlacedModule((0, 2), (0, 4), edges_of([1, 1]), edges_of([1, 1, 1, 1]))])
    with pytest.raises(ValueError, match="regular grid"):
        RegularPixels((2, 3)).corners(WHOLE)
    with pytest.raises(KeyError):
        restored_pixels("Nothing", {}, "")


def test_the_area_of_a_polygon():
    angles = 2 * np.pi * np.arange(7) / 7
    for count in (3, 4, 5, 6, 7):
        angles = 2 * np.pi * np.arange(count) / count
        *_, area = area_vectors(Positions(np.sin(angles), np.cos(angles)))
        assert area == pytest.approx(-0.5 * count * np.sin(2 * np.pi / count))


def test_a_table_of_one_row_has_places_between_its_centres():
    corners = corner_table(Detector.hexagonal((1, 5), PITCH))
    table = PixelTable(corners)
    p1, p2, _ = table.places(np.array([0.5]), np.array([2.0]))
    assert p1[0] == pytest.approx(PITCH / np.sqrt(3), rel=1e-5) and p2[0] == pytest.approx(2 * PITCH, rel=1e-5)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_corners_that_neighbours_share_are_those_of_each(orientation):
    """A table of corners shares none: the same pixels with and without give the same values in the same order."""
    detector = Detector.cylindrical((40, 50), 1e-4, 2e-4, 5e-3, orientation=orientation)
    shared, single = detector.shared_corners(slice(3, 20)), detector.corner_positions(slice(3, 20))
    assert shared.p1.shape == (18, 51)
    for edge, corner in zip(shared, single, strict=True):
        np.testing.assert_array_equal(edge[:-1, :-1], corner[..., 0])
        np.testing.assert_array_equal(edge[1:, 1:], corner[..., 2])
    table = replace(detector, pixels=PixelTable(corner_table(replace(detector, orientation=3))))
    for rows in (WHOLE, slice(5, 38)):
        ours, theirs = (geometry(one).corner_array("2th_deg", rows) for one in (detector, table))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert table.shared_corners(WHOLE) is None and Detector.from_shape((3, 4), 1e-4).shared_corners(WHOLE) is None
