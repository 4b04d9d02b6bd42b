"""Geometry files of CrystFEL."""

import numpy as np
import pytest

from friedel.core.errors import FileError, GeometryError
from friedel.core.units import wavelength_from_energy
from friedel.instrument import Detector, Geometry
from friedel.instrument.geometry_formats import read_geometry, write_geometry

SIMPLE = """; a detector of one panel
photon_energy = 12 keV
clen = 200 mm  ; from a ruler
res = 10000
panel/min_fs = 0
panel/max_fs = 39
panel/min_ss = 0
panel/max_ss = 29
panel/corner_x = -10.5
panel/corner_y = -20
panel/fs = x
panel/ss = +1.0y
"""
SECOND = """
other/min_fs = 40
other/max_fs = 59
other/min_ss = 0
other/max_ss = 29
other/corner_x = 31.5
other/corner_y = -20.25
other/coffset = 0.001
other/fs = +0.9999995x -0.001y
other/ss = +0.001x +0.9999995y
"""


def read(tmp_path, text):
    path = tmp_path / "any.name"
    path.write_text(text)
    return read_geometry(path)


def test_one_panel_is_a_plain_detector(tmp_path):
    found = read(tmp_path, SIMPLE)
    geometry = found.geometry
    assert found.format == "crystfel"
    assert geometry.shape == (30, 40)
    assert geometry.detector.orientation == 3
    assert (geometry.distance, geometry.poni1, geometry.poni2) == pytest.approx((0.2, 20e-4, 10.5e-4))
    assert (geometry.rot1, geometry.rot2, geometry.rot3) == (0, 0, 0)
    assert geometry.wavelength == wavelength_from_energy(12.0)
    assert geometry.beam_center() == pytest.approx((20.0, 10.5))


def test_panels_off_the_grid_are_displaced_pixels(tmp_path):
    geometry = read(tmp_path, SIMPLE + SECOND).geometry
    assert geometry.shape == (30, 60)
    assert geometry.detector.displaced
    tth = geometry.center_array("2th_rad")
    # Row 3, column 45 is 3.5 and 5.5 pixels from the corner of the second panel.
    x = (31.5 + 5.5 * 0.9999995 + 3.5 * 0.001) * 1e-4
    y = (-20.25 - 5.5 * 0.001 + 3.5 * 0.9999995) * 1e-4
    assert tth[3, 45] == pytest.approx(np.arctan2(np.hypot(x, y), 0.201), rel=1e-6)
    assert tth[3, 5] == pytest.approx(np.arctan2(np.hypot(-5e-4, -16.5e-4), 0.2), rel=1e-6)


# Two modules of the Jungfrau 16M of SwissFEL, refined: their vectors are neither of unit length nor at right angles.
REFINED = """
res = 13333.3
clen = 95.3 mm
coffset = -0.000085
photon_energy = 4570 eV
m2/min_fs = 0.0
m2/min_ss = 0.0
m2/max_fs = 1029.0
m2/max_ss = 513.0
m2/fs = -0.0020481x -1.0005348y
m2/ss = -0.9983412x +0.0010576y
m2/corner_x = 1597.4005022
m2/corner_y = 2101.70211537
m3/min_fs = 0.0
m3/min_ss = 514.0
m3/max_fs = 1029.0
m3/max_ss = 1027.0
m3/fs = -0.0005887x -0.9997813y
m3/ss = -0.9982958x +0.0003974y
m3/corner_x = 1595.17294252
m3/corner_y = 1063.05183348
"""


def test_refined_modules_are_where_their_vectors_have_them(tmp_path):
    geometry = read(tmp_path, REFINED).geometry
    pixel, depth = 1 / 13333.3, 0.0953 - 0.000085
    angles = geometry.center_array("2th_rad")
    corners = {2: (0, 1597.4005022, 2101.70211537), 3: (514, 1595.17294252, 1063.05183348)}
    vectors = {2: (-0.0020481, -1.0005348, -0.9983412, 0.0010576), 3: (-0.0005887, -0.9997813, -0.9982958, 0.0003974)}
    for module, (first_row, corner_x, corner_y) in corners.items():
        fs_x, fs_y, ss_x, ss_y = vectors[module]
        for row, column in ((0, 0), (513, 0), (200, 1029)):
            x = (corner_x + (column + 0.5) * fs_x + (row + 0.5) * ss_x) * pixel
            y = (corner_y + (column + 0.5) * fs_y + (row + 0.5) * ss_y) * pixel
            expected = np.arctan2(np.hypot(x, y), depth)
            assert angles[first_row + row, column] == pytest.approx(expected, abs=1e-11)
    write_geometry(tmp_path / "again.geom", geometry, "crystfel")
    again = read_geometry(tmp_path / "again.geom").geometry
    np.testing.assert_allclose(again.center_array("2th_rad"), angles, rtol=0, atol=1e-11)


def test_panels_on_one_grid_are_one_detector_with_a_gap(tmp_path):
    second = SECOND.replace("31.5", "39.5").replace("-20.25", "-20").replace("0.001\n", "0\n")
    second = second.replace("min_fs = 40", "min_fs = 50").replace("max_fs = 59", "max_fs = 69")
    second = second.replace("+0.9999995x -0.001y", "1x").replace("+0.001x +0.9999995y", "+ 1.0 y +0x")
    geometry = read(tmp_path, SIMPLE + second).geometry
    assert not geometry.detector.displaced
    assert geometry.detector.gap_columns == ((40, 50),)


def test_bad_regions_and_panels_without_indexing_are_masked(tmp_path):
    text = SIMPLE + "bad_a/min_fs = 2\nbad_a/max_fs = 4\nbad_a/min_ss = 0\nbad_a/max_ss = 0\nbad_a/panel = panel\n"
    mask = read(tmp_path, text).geometry.detector.mask()
    assert mask.sum() == 3
    assert mask[0, 2:5].all()
    assert read(tmp_path, SIMPLE + "panel/no_index = 1\n").geometry.detector.mask().all()
    found = read(tmp_path, SIMPLE + "badge/min_x = 2\nbadge/max_x = 4\nbadge/min_y = 0\nbadge/max_y = 3\n")
    assert "badge" in found.notes[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("clen = 200 mm", "clen = /LCLS/detector_1/EncoderValue", "place in data files"),
        ("clen = 200 mm", "", "no clen"),
        ("clen = 200 mm", "clen = 200 miles", "200 miles"),
        ("res = 10000", "", "no res"),
        ("res = 10000", "res = -3", "res is -3"),
        ("panel/fs = x", "panel/fs = w", "fs is 'w'"),
        ("panel/fs = x", "panel/fs = +0.5x +0.8y", "degrees"),
        ("panel/fs = x", "panel/fs = 0x", "fs is"),
        ("panel/max_fs = 39", "panel/max_fs = -1", "panel panel reaches"),
        ("panel/max_fs = 39", "panel/max_fs = nan", "max_fs is 'nan'"),
        ("clen = 200 mm", "clen = 0", "through the sample"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, message):
    with pytest.raises(GeometryError, match=message):
        read(tmp_path, SIMPLE.replace(old, new))


def test_panels_must_not_share_pixels(tmp_path):
    with pytest.raises(GeometryError, match="other has pixels of another"):
        read(tmp_path, SIMPLE + SECOND.replace("min_fs = 40", "min_fs = 30"))


def test_a_file_without_panels_is_none(tmp_path):
    (tmp_path / "x.geom").write_text("clen = 0.2 m\n")
    with pytest.raises(FileError, match="no panel"):
        read_geometry(tmp_path / "x.geom", format_name="crystfel")


def test_an_energy_in_the_data_is_asked_for(tmp_path):
    found = read(tmp_path, SIMPLE.replace("12 keV", "/LCLS/photon_energy_eV"))
    assert found.geometry.wavelength is None
    assert "--wavelength" in found.notes[0]


def test_every_module_is_a_panel(tmp_path):
    geometry = Geometry(Detector.named("Pilatus1M"), 0.2, 0.08, 0.09, wavelength=5e-11)
    assert write_geometry(tmp_path / "x.geom", geometry, "crystfel") == []
    text = (tmp_path / "x.geom").read_text()
    assert text.count("/corner_x") == 10
    assert "p0/min_ss = 0\np0/max_ss = 194\n" in text
    assert "group_all = p0,p1," in text
    assert read_geometry(tmp_path / "x.geom").geometry.detector.name == "Pilatus1M"
