"""Displaced pixels: where they are in every orientation, what files say about them, and that geometry uses them."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest

from friedel.core.errors import FileError, GeometryError, OutputError
from friedel.instrument import Detector, Geometry, PixelTable, SplineDistortion
from friedel.instrument.detector_file import corner_table
from friedel.instrument.poni import detector_file
from shared_data import shared

SHAPE = (20, 30)
PIXEL = 1e-4


def spline_text(shape=SHAPE, along_x=0.0, along_y=0.0) -> str:
    """A spline file of constant displacements."""

    def numbers(values) -> str:
        words = [f"{value:14.7E}" for value in values]
        return "".join("".join(words[start : start + 5]) + "\n" for start in range(0, len(words), 5))

    def block(value: float) -> str:
        knots = [[0.0] * 4 + [float(size)] * 4 for size in (shape[1], shape[0])]
        return "     8     8\n" + numbers([*knots[0], *knots[1], *([value] * 16)])

    return (
        "SPATIAL DISTORTION SPLINE INTERPOLATION COEFFICIENTS\n\n  VALID REGION\n"
        + numbers([0, 0, shape[1], shape[0]])
        + "\n  GRID SPACING, X-PIXEL SIZE, Y-PIXEL SIZE\n"
        + numbers([500, PIXEL * 1e6, PIXEL * 1e6])
        + "\n  X-DISTORTION\n"
        + block(along_x)
        + "\n  Y-DISTORTION\n"
        + block(along_y)
    )


def geometry(detector: Detector) -> Geometry:
    return Geometry(detector, 0.05, 1.3e-3, 0.9e-3, 0.2, -0.1, 0.3, wavelength=1e-10)


def regular(orientation: int = 3) -> Detector:
    return Detector.from_shape(SHAPE, PIXEL, orientation=orientation)


def tabled(detector: Detector, depth: float = 0.0) -> Detector:
    """The same detector with the corners of its pixels in a table."""
    corners = corner_table(replace(detector, orientation=3))
    corners[..., 0] = depth
    return replace(detector, pixels=PixelTable(corners))


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_pixels_on_the_grid_are_where_they_were(orientation, tmp_path):
    (tmp_path / "flat.spline").write_text(spline_text())
    plain = geometry(regular(orientation))
    splined = replace(Detector.load(tmp_path / "flat.spline"), orientation=orientation)
    for detector in (tabled(regular(orientation)), splined):
        other = geometry(detector)
        for rows in (slice(None), slice(3, 7)):
            np.testing.assert_allclose(
                other.center_array("q_nm^-1", rows), plain.center_array("q_nm^-1", rows), rtol=1e-6
            )
            np.testing.assert_allclose(
                other.corner_array("q_nm^-1", rows), plain.corner_array("q_nm^-1", rows), rtol=1e-6
            )
            np.testing.assert_allclose(other.azimuth_corners(rows), plain.azimuth_corners(rows), atol=1e-4)
            np.testing.assert_allclose(other.solid_angle(rows), plain.solid_angle(rows), rtol=1e-4)
            np.testing.assert_allclose(
                other.polarization(0.9, rows=rows), plain.polarization(0.9, rows=rows), rtol=1e-6
            )
        np.testing.assert_allclose(other.incidence_cosine(), plain.incidence_cosine(), rtol=1e-5)


def test_displacements_shift_the_pixels(tmp_path):
    (tmp_path / "a.spline").write_text(spline_text(along_x=2.5, along_y=-1.25))
    detector = Detector.load(tmp_path / "a.spline")
    assert detector.shape == SHAPE and detector.pixel1 == pytest.approx(PIXEL)
    p1, p2, p3 = detector.center_positions(slice(4, 6))
    np.testing.assert_allclose(p1[:, 0], (np.array([4.5, 5.5]) - 1.25) * PIXEL)
    np.testing.assert_allclose(p2[0], (np.arange(30) + 0.5 + 2.5) * PIXEL)
    assert p3 is None
    shifted = geometry(regular())
    shifted = replace(shifted, poni1=shifted.poni1 + 1.25 * PIXEL, poni2=shifted.poni2 - 2.5 * PIXEL)
    np.testing.assert_allclose(geometry(detector).corner_array("r_mm"), shifted.corner_array("r_mm"), rtol=1e-9)


@pytest.mark.parametrize("orientation", [1, 2, 4])
def test_another_orientation_is_the_same_detector_turned(orientation, tmp_path):
    (tmp_path / "a.spline").write_text(spline_text(along_x=2.5, along_y=-1.25))
    native = Detector.load(tmp_path / "a.spline")
    turned = replace(native, orientation=orientation)
    flip = (
        slice(None, None, -1 if orientation in (1, 2) else 1),
        slice(None, None, -1 if orientation in (1, 4) else 1),
    )
    for ours, theirs in zip(
        turned.center_positions(slice(None))[:2], native.center_positions(slice(None))[:2], strict=True
    ):
        np.testing.assert_array_equal(ours, theirs[flip])
    part = turned.corner_positions(slice(2, 5))
    whole = turned.corner_positions(slice(None))
    np.testing.assert_array_equal(part.p1, whole.p1[2:5])


def test_pixels_out_of_the_plane_are_seen_there():
    far = geometry(tabled(regular(), depth=0.01))
    moved = replace(geometry(regular()), distance=0.06)
    np.testing.assert_allclose(far.corner_array("2th_deg"), moved.corner_array("2th_deg"), rtol=1e-6)
    np.testing.assert_allclose(far.incidence_cosine(), moved.incidence_cosine(), rtol=1e-5)
    np.testing.assert_allclose(far.solid_angle(), moved.solid_angle() * (0.05 / 0.06) ** 2, rtol=1e-4)
    assert not far.detector.pixels.flat


def test_larger_pixels_see_more():
    corners = corner_table(regular())
    corners[:, -1, 2:, 2] += PIXEL
    detector = replace(regular(), pixels=PixelTable(corners))
    ratio = geometry(detector).solid_angle()[:, -1] / geometry(regular()).solid_angle()[:, -1]
    np.testing.assert_allclose(ratio, 2.0, rtol=0.01)
    np.testing.assert_allclose(detector.pixel_areas(slice(None))[:, -1], 2 * PIXEL**2, rtol=1e-3)


def test_equal_pixels_are_equal(tmp_path):
    one, other = tabled(regular()), tabled(regular())
    assert one == other and hash(one) == hash(other)
    assert one != tabled(regular(), depth=0.1)
    assert copy.deepcopy(one.pixels) is one.pixels
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301
    (tmp_path / "a.spline").write_text(spline_text(along_x=1))
    splined = Detector.load(tmp_path / "a.spline")
    assert pickle.loads(pickle.dumps(splined)) == splined  # noqa: S301
    assert isinstance(splined.pixels, SplineDistortion)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_detector_is_written_and_read(tmp_path, orientation):
    given = replace(tabled(regular(orientation)), dummy=-1.0, name="My detector")
    stored = given.save(tmp_path / "det.h5")
    assert (stored.name, stored.shape, stored.orientation, stored.dummy) == ("My detector", SHAPE, orientation, -1.0)
    for ours, theirs in zip(
        stored.corner_positions(slice(None))[:2], given.corner_positions(slice(None))[:2], strict=True
    ):
        np.testing.assert_allclose(np.sort(ours, axis=-1), np.sort(theirs, axis=-1), atol=1e-9)
    np.testing.assert_allclose(
        stored.center_positions(slice(None)).p1, given.center_positions(slice(None)).p1, atol=1e-9
    )
    with pytest.raises(OutputError, match="exists"):
        given.save(tmp_path / "det.h5")


def test_the_mask_of_a_file_is_obeyed(tmp_path):
    stored = Detector.named("Pilatus100k").save(tmp_path / "det.h5")
    assert not stored.displaced and not stored.mask().any()
    mask = np.zeros(SHAPE, bool)
    mask[2, 5] = True
    corners = corner_table(regular())
    corners[7, 7, 0, 0] = np.nan
    detector = replace(regular(), pixels=PixelTable(corners, mask)).save(tmp_path / "masked.h5")
    assert detector.mask()[2, 5] and detector.mask()[7, 7] and detector.mask().sum() == 2


def test_poni_files_name_the_file_of_the_detector(tmp_path):
    (tmp_path / "a.spline").write_text(spline_text(along_x=2.5))
    splined = geometry(Detector.load(tmp_path / "a.spline"))
    splined.save(tmp_path / "spline.poni")
    assert Geometry.load(tmp_path / "spline.poni") == splined
    nexus = geometry(replace(tabled(regular()).save(tmp_path / "det.h5"), orientation=2))
    nexus.save(tmp_path / "nexus.poni")
    assert Geometry.load(tmp_path / "nexus.poni") == nexus
    with pytest.raises(OutputError, match="described by no file"):
        geometry(tabled(regular())).save(tmp_path / "none.poni")


@pytest.mark.parametrize(
    "lines",
    [
        "PixelSize1: 0.0001\nPixelSize2: 0.0001\nSplineFile: /somewhere/else/a.spline",
        "Detector: a.spline",
        'poni_version: 2.1\nDetector: Detector\nDetector_config: {"pixel1": 1e-4, "splineFile": "a.spline"}',
    ],
)
def test_spline_files_beside_the_poni_are_found(tmp_path, lines):
    (tmp_path / "a.spline").write_text(spline_text(along_x=2.5))
    (tmp_path / "setup.poni").write_text(f"{lines}\nDistance: 0.1\nPoni1: 0\nPoni2: 0\n")
    assert Geometry.load(tmp_path / "setup.poni").detector.displaced


def test_a_detector_file_stands_for_the_detector(tmp_path):
    tabled(regular()).save(tmp_path / "det.h5")
    text = "poni_version: 2.1\nDetector: det.h5\nDetector_config: {}\nDistance: 0.1\nPoni1: 0\nPoni2: 0\n"
    (tmp_path / "setup.poni").write_text(text)
    assert Geometry.load(tmp_path / "setup.poni").shape == SHAPE


def test_the_file_of_the_detector_is_told_without_reading_it(tmp_path):
    (tmp_path / "a.spline").write_text("anything")
    (tmp_path / "setup.poni").write_text("SplineFile: a.spline\nDistance: 0.1\n")
    assert detector_file(tmp_path / "setup.poni") == str(tmp_path / "a.spline")
    geometry(regular()).save(tmp_path / "plain.poni")
    assert detector_file(tmp_path / "plain.poni") is None
    assert detector_file(tmp_path / "none.poni") is None


def test_what_is_wrong_is_told(tmp_path):
    with pytest.raises(GeometryError, match="3 to 12 corners"):
        PixelTable(np.zeros((2, 3, 2, 3)))
    with pytest.raises(GeometryError, match="mask has the shape"):
        PixelTable(np.zeros((2, 3, 4, 3)), np.zeros((3, 2)))
    with pytest.raises(GeometryError, match="described for"):
        replace(tabled(regular()), shape=(3, 3))
    with pytest.raises(FileError, match="cannot be read"):
        Detector.load(tmp_path / "none.spline")
    (tmp_path / "bad.spline").write_text("nothing")
    with pytest.raises(FileError, match="no spline file"):
        Detector.load(tmp_path / "bad.spline")
    (tmp_path / "cut.spline").write_text(spline_text()[:-29])
    with pytest.raises(GeometryError, match="do not go with"):
        Detector.load(tmp_path / "cut.spline")
    (tmp_path / "bad.h5").write_text("nothing")
    with pytest.raises(FileError, match="HDF5"):
        Detector.load(tmp_path / "bad.h5")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(FileError, match="no detector"):
        Detector.load(tmp_path / "empty.h5")


def test_the_shared_spline_is_read():
    detector = Detector.load(shared("diffraction", "spline", "frelon21_mar16.spline"))
    assert detector.shape == (2048, 2048) and detector.pixel1 == pytest.approx(47.2e-6)
    dy, dx = detector.pixels.displacement(np.array([0.0, 1024.0]), np.array([0.0, 1024.0]))
    assert dx[0, 0] == pytest.approx(19.90491)  # the first coefficient of a spline with clamped knots
    assert abs(dy[1, 1]) < 3 and abs(dx[1, 1]) < 3


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_points_within_pixels_are_placed_as_their_centres_and_corners(orientation, tmp_path):
    (tmp_path / "bent.spline").write_text(spline_text(along_x=0.3, along_y=-0.2))
    bent = replace(Detector.load(tmp_path / "bent.spline"), orientation=orientation)
    for detector in (regular(orientation), tabled(regular(orientation), depth=1e-3), bent):
        y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
        for found, expected in zip(detector.positions_of(y, x), detector.center_positions(slice(None)), strict=True):
            assert (found is None) == (expected is None)
            if found is not None:
                np.testing.assert_allclose(found, expected, atol=1e-9)
        p1, p2, _ = detector.positions_of([0.0, 7.25], [0.0, 3.5])
        if not detector.displaced:
            assert detector.pixel_of(p1[1], p2[1]) == pytest.approx((7.25, 3.5))


def test_points_of_pixels_given_row_by_row_are_those_of_the_table():
    class RowByRow(PixelTable):
        def _corners_of(self, i, j):
            return super(PixelTable, self)._corners_of(i, j)

    corners = corner_table(regular())
    corners[..., 0] = 1e-3
    y, x = np.array([[0.1, 5.5], [19.9, 25.0]]), np.array([[0.2, 29.5], [31.0, 4.0]])
    for one, other in zip(RowByRow(corners).places(y, x), PixelTable(corners).places(y, x), strict=True):
        np.testing.assert_array_equal(one, other)
