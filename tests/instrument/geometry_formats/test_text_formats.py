"""GSAS-II, HEXRD, ImageD11, SPD, Fit2D and CXI: their formulas, and files as these programs write them."""

import h5py
import numpy as np
import pytest

from friedel.core.errors import FileError, GeometryError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.instrument.geometry_formats import NAMES, Given, format_named, read_geometry, write_geometry
from friedel.instrument.geometry_formats.entries import Entries

SHAPE = (11, 14)
PLACE = (0.3, 0.02, -0.01, 0.2, -0.4, 0.7)


def geometry_of(orientation=3, place=PLACE):
    return Geometry(Detector.from_shape(SHAPE, 1e-4, 1.5e-4, orientation=orientation), *place, wavelength=1e-10)


def put(tmp_path, text):
    path = tmp_path / "any.name"
    path.write_text(text)
    return path


# ---- GSAS-II


def gsas2_angles(values):
    """2theta and azimuth in degrees as GSAS-II computes them for integration."""

    def turn(angle, axis):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        matrix = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
        return np.roll(np.roll(matrix, axis, axis=0), axis, axis=1)

    (size_x, size_y), center = values.numbers("pixelSize", 2), values.numbers("center", 2)
    y, x = np.mgrid[0.5 : SHAPE[0] + 0.5, 0.5 : SHAPE[1] + 0.5]
    dx, dy = x * size_x / 1e3 - center[0], y * size_y / 1e3 - center[1]
    tilt = values.number("tilt")
    around = turn(values.number("rotation"), 2)
    moved = np.inner(around, np.inner(around, turn(tilt, 0)))
    away = np.inner(np.dstack([dx, dy, np.zeros_like(dx)]), moved)
    away = away + np.array([0.0, 0.0, values.number("distance") / np.cos(np.radians(tilt))])
    away = np.inner(away, turn(values.number("det2theta"), 1).T)
    two_theta = np.degrees(np.arccos(away[..., 2] / np.linalg.norm(away, axis=-1)))
    azimuth = np.degrees(np.arctan2(away[..., 1], away[..., 0])) + values.number("azmthOff")
    return two_theta, azimuth


@pytest.mark.parametrize("orientation", [1, 3])
def test_gsas2_computes_the_same_angles(tmp_path, orientation):
    geometry = geometry_of(orientation)
    write_geometry(tmp_path / "file", geometry, "gsas2")
    values = Entries.parse("file", (tmp_path / "file").read_text(), separator=":")
    two_theta, azimuth = gsas2_angles(values)
    np.testing.assert_allclose(two_theta, geometry.center_array("2th_deg"), rtol=0, atol=1e-9)
    turns = np.exp(1j * (np.radians(azimuth) - geometry.azimuth_center()))
    np.testing.assert_allclose(turns, 1.0, rtol=0, atol=1e-9)


def test_gsas2_with_the_detector_on_an_arm(tmp_path):
    text = (
        "type:PWDR\nwavelength:0.5\ndistance:300.0\ncenter:[1.0, 2.0]\ntilt:-5.0\nrotation:33.0\nazmthOff:90.0\n"
        "DetDepth:0.1\ndet2theta:20.0\nLRazimuth:[0.0, 360.0]\n"
    )
    path = put(tmp_path, text)
    with pytest.raises(GeometryError, match="size of the pixels"):
        read_geometry(path)
    found = read_geometry(path, Given(geometry_of().detector))
    assert found.format == "gsas2"
    assert "penetration" in found.notes[0]
    two_theta, azimuth = gsas2_angles(Entries.parse("x", text + "pixelSize:[150, 100]\n", separator=":"))
    np.testing.assert_allclose(found.geometry.center_array("2th_deg"), two_theta, rtol=0, atol=1e-9)
    turns = np.exp(1j * (np.radians(azimuth) - found.geometry.azimuth_center()))
    np.testing.assert_allclose(turns, 1.0, rtol=0, atol=1e-9)


# ---- HEXRD

DEXELA = """beam:
  energy: 41.9906
  source_distance: .inf
  vector:
    azimuth: 90.0
    polar_angle: 90.0
detectors:
  ff1:
    buffer:
    - 2.0
    - 2.0
    detector_type: planar
    pixels:
      columns: 3072
      rows: 3888
      size:
      - 0.0748
      - 0.0748
    saturation_level: 15800.0
    transform:
      tilt:
      - 0.010486950175976907
      - -0.006152055149695092
      - 0.0014922461489943965
      translation:
      - 123.3706062259476
      - 3.325955053634411
      - -670.7508650125019
id: dexelas
"""


def test_hexrd_panels_turn_about_their_centre(tmp_path):
    found = read_geometry(put(tmp_path, DEXELA))
    assert found.format == "hexrd"
    geometry = found.geometry
    # Rodrigues' formula for the exponential map, and the pixel (10, 20) on the panel.
    vector = np.array([0.010486950175976907, -0.006152055149695092, 0.0014922461489943965])
    angle = np.linalg.norm(vector)
    a, b, c = vector / angle
    skew = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])
    turn = np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew
    on_panel = np.array([(20.5 - 1536) * 0.0748, (1944 - 10.5) * 0.0748, 0.0])
    x, y, z = turn @ on_panel + np.array([123.3706062259476, 3.325955053634411, -670.7508650125019])
    expected = np.degrees(np.arctan2(np.hypot(x, y), -z))
    assert geometry.center_array("2th_deg", slice(10, 11))[0, 20] == pytest.approx(expected, abs=1e-10)


def test_hexrd_with_two_detectors_asks_for_one(tmp_path):
    text = DEXELA.replace("id: dexelas", "  ff2: {}\nid: dexelas")
    path = put(tmp_path, text)
    with pytest.raises(GeometryError, match=r"2 detectors: ff1, ff2(.|\n)*any\.name::ff1"):
        read_geometry(path)
    assert read_geometry(f"{path}::ff1").geometry == read_geometry(put(tmp_path, DEXELA)).geometry


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("columns: 3072", "columns: many"),
        ("- -670.7508650125019", ""),
        ("transform:", "place:"),
        ("energy: 41", "energy: -"),
    ],
)
def test_hexrd_says_what_is_wrong(tmp_path, old, new):
    with pytest.raises((FileError, GeometryError)):
        read_geometry(put(tmp_path, DEXELA.replace(old, new)))


# ---- ImageD11


def imaged11_positions(values, rows, columns):
    """Return x, y, z in µm as ImageD11's compute_xyz_lab does: turns about z, then y, then x; distance along x."""
    on_detector = np.stack(
        [(rows - values["z_center"]) * values["z_size"], (columns - values["y_center"]) * values["y_size"]]
    )
    flipped = np.tensordot(np.array([[values["o11"], 0], [0, values["o22"]]]), on_detector, axes=1)
    cx, cy, cz = np.cos([values["tilt_x"], values["tilt_y"], values["tilt_z"]])
    sx, sy, sz = np.sin([values["tilt_x"], values["tilt_y"], values["tilt_z"]])
    turn_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    place = np.stack([np.zeros_like(flipped[0]), flipped[1], flipped[0]])
    x, y, z = np.tensordot(turn_x @ turn_y @ turn_z, place, axes=1)
    return x + values["distance"], y, z


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_imaged11_has_pixels_in_the_same_places(tmp_path, orientation):
    geometry = geometry_of(orientation)
    write_geometry(tmp_path / "file", geometry, "imaged11")
    values = {
        key: float(value) for key, value in (line.split() for line in (tmp_path / "file").read_text().splitlines())
    }
    rows, columns = np.mgrid[0.0 : SHAPE[0], 0.0 : SHAPE[1]]
    x, y, z = imaged11_positions(values, rows, columns)
    np.testing.assert_allclose(np.degrees(np.arctan2(np.hypot(y, z), x)), geometry.center_array("2th_deg"), atol=1e-9)
    np.testing.assert_allclose(np.exp(1j * np.arctan2(z, -y)), np.exp(1j * geometry.azimuth_center()), atol=1e-9)


def test_imaged11_transposed_is_refused(tmp_path):
    write_geometry(tmp_path / "file", geometry_of(), "imaged11")
    text = (tmp_path / "file").read_text().replace("o12 0", "o12 1").replace("o11 1", "o11 0")
    with pytest.raises(GeometryError, match="flip matrix"):
        read_geometry(put(tmp_path, text))


def test_imaged11_needs_the_number_of_pixels_for_flipped_images(tmp_path):
    write_geometry(tmp_path / "file", geometry_of(1), "imaged11")
    with pytest.raises(GeometryError, match="number of pixels"):
        read_geometry(tmp_path / "file")
    assert read_geometry(tmp_path / "file", Given(shape=SHAPE)).geometry.detector.orientation == 1


def test_imaged11_tells_what_belongs_to_the_sample(tmp_path):
    write_geometry(tmp_path / "file", geometry_of(), "imaged11")
    path = put(tmp_path, (tmp_path / "file").read_text() + "wedge 0.1\nchi 0.0\n")
    assert read_geometry(path).notes == ("wedge = 0.1, which is of the sample",)


# ---- SPD


def test_spd_headers_of_images_are_read(tmp_path):
    header = (
        "{\nHeaderID = EH:000001:000000:000000 ;\nDim_1 = 14 ;\nDim_2 = 11 ;\nPSize_1 = 1.5e-04 ;\nPSize_2 = 1e-04 ;\n"
        "Offset_1 = 2 ;\nCenter_1 = 7.5 ;\nCenter_2 = 3.25 ;\nSampleDistance = 2.5 ;\nWaveLength = 1e-10 ;\n"
        "DetectorRotation_1 = 0.01 ;\nDetectorRotation_2 = 0.02 ;\nDetectorRotation_3 = 0.03 ;\n}\n"
    )
    path = tmp_path / "image.edf"
    path.write_bytes(header.encode() + bytes(range(256)) * 4)
    found = read_geometry(path)
    geometry = found.geometry
    assert found.format == "spd"
    assert geometry.shape == SHAPE
    assert (geometry.distance, geometry.poni1, geometry.poni2) == pytest.approx((2.5, 3.25e-4, 5.5 * 1.5e-4))
    assert (geometry.rot1, geometry.rot2, geometry.rot3) == (0.02, 0.01, 0.03)


# ---- CXI


def test_cxi_without_a_place_for_the_beam_says_so(tmp_path):
    with h5py.File(tmp_path / "x.cxi", "w") as file:
        group = file.create_group("entry_1/instrument_1/detector_1")
        group["distance"], group["x_pixel_size"], group["y_pixel_size"] = 1.0, 5e-5, 5e-5
    with pytest.raises(GeometryError, match="corner_position"):
        read_geometry(tmp_path / "x.cxi")


def test_cxi_basis_vectors_may_be_columns_and_the_energy_in_joule(tmp_path):
    with h5py.File(tmp_path / "x.cxi", "w") as file:
        group = file.create_group("entry_1/instrument_1/detector_1")
        group["basis_vectors"] = np.array([[0.0, -5e-5], [-5e-5, 0.0], [0.0, 0.0]])
        group["corner_position"] = [1e-3, 2e-3, 1.0]
        group["data"] = np.zeros((2, 30, 40))
        file["entry_1/instrument_1/source_1/energy"] = 2.0280385e-15
    geometry = read_geometry(tmp_path / "x.cxi").geometry
    assert geometry.shape == (30, 40)
    assert geometry.detector.orientation == 1
    assert geometry.beam_center() == pytest.approx((40.0, 20.0))
    assert geometry.wavelength == pytest.approx(9.794912e-11, rel=1e-6)


# ---- all


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("pyfai", "dioptas", "cxi")])
def test_numbers_that_are_none_are_refused(tmp_path, name):
    write_geometry(tmp_path / "file", geometry_of(), name)
    text = (tmp_path / "file").read_text()
    for old, new in (("0.3", "nan"), ("300.", "inf"), ("-", "abc"), ("1", "")):
        (tmp_path / "broken").write_text(text.replace(old, new))
        try:
            found = read_geometry(tmp_path / "broken", Given(geometry_of().detector), name).geometry
        except (GeometryError, FileError):
            continue
        assert np.isfinite([found.distance, found.poni1, found.poni2, found.rot1, found.rot2, found.rot3]).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / "letter.txt").write_text("Dear colleague,\nthe beam is back.\n")
    with pytest.raises((FileError, GeometryError), match=r"letter\.txt"):
        read_geometry(tmp_path / "letter.txt", format_name=name)
    with pytest.raises(FileError, match="No such file"):
        read_geometry(tmp_path / "missing.txt", format_name=name)


def test_an_unknown_format_is_refused_with_those_that_are_known():
    with pytest.raises(ParameterError, match="Did you mean crystfel"):
        format_named("crystfell")


def test_pixels_out_of_the_plane_are_refused(tmp_path):
    corners = np.zeros((3, 4, 4, 3))
    corners[..., 0] = np.linspace(0, 1e-3, 4)[None, :, None]
    from friedel.instrument import PixelTable

    detector = Detector("Detector", (3, 4), 1e-4, 1e-4, pixels=PixelTable(corners))
    for name in ("fit2d", "crystfel", "dials", "hexrd", "gsas2", "cxi", "spd", "imaged11"):
        with pytest.raises(GeometryError, match="one plane"):
            write_geometry(tmp_path / "x", Geometry(detector, 0.2, 0, 0, wavelength=1e-10), name)
