"""PONI files: every version that is met, and what is said about those that are wrong."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.errors import FileError, GeometryError, OutputError
from friedel.instrument import Detector, Geometry, Sensor
from friedel.instrument.models import models
from shared_data import shared

V1 = """# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis
PixelSize1: 0.000172
PixelSize2: 0.000100
Distance: 0.2
Poni1: 0.08
Poni2: 0.07
Rot1: -0.01
Rot2: 0.02
Rot3: -0.03
SplineFile: None
Wavelength: 4e-11
"""
V2 = """poni_version: 2
Detector: Detector
Detector_config: {"pixel1": 0.000172, "pixel2": 0.000100, "max_shape": null}
Distance: 0.2
Poni1: 0.08
Poni2: 0.07
Rot1: -0.01
Rot2: 0.02
Rot3: -0.03
Wavelength: 4e-11
"""
V21 = V2.replace("version: 2", "version: 2.1").replace('"max_shape": null', '"orientation": 2')
V3 = V2.replace("version: 2", "version: 3").replace('"max_shape": null', '"sensor": {"material": "Si"}')
V3 += "Parallax: False\n"


def written(folder, text):
    path = folder / "setup.poni"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", [V1, V2, V21, V3])
def test_every_version_gives_the_same_geometry(tmp_path, text):
    geometry = Geometry.load(written(tmp_path, text))
    orientation = 2 if text is V21 else 3
    detector = Detector.from_shape(None, 172e-6, 100e-6, orientation=orientation)
    if text is V3:
        detector = replace(detector, sensor=Sensor("Si"))
    assert geometry == Geometry(detector, 0.2, 0.08, 0.07, -0.01, 0.02, -0.03, 4e-11)


@pytest.mark.parametrize("sensor", [Sensor("Si"), Sensor("CdTe", 7.5e-4), Sensor("PbI2", 1e-4, 6.16)])
@pytest.mark.parametrize("parallax", [False, True])
def test_sensor_and_parallax_come_back(tmp_path, sensor, parallax):
    detector = replace(Detector.named("Pilatus300k"), sensor=sensor)
    geometry = Geometry(detector, 0.2, 0.08, 0.07, wavelength=4e-11, parallax=parallax)
    path = tmp_path / "setup.poni"
    geometry.save(path)
    assert Geometry.load(path) == geometry
    assert ("poni_version: 3\n" in path.read_text()) == parallax


def test_keys_in_any_case_with_comments_and_the_last_value_wins(tmp_path):
    first = V1.replace("0.2\n", "0.5\n")
    path = written(tmp_path, first + "# again\n" + V1.upper().replace("NONE", "none") + "  # Distance: 9\n")
    assert Geometry.load(path) == Geometry.load(written(tmp_path, V1))


def test_three_appended_entries_of_a_real_calibration():
    geometry = Geometry.load(shared("diffraction", "ceo2_pilatus2m_cdte", "CeO2.poni"))
    assert geometry.detector == Detector.named("Pilatus2M")
    assert geometry.distance == 0.543892076611
    assert geometry.poni1 == 0.144719659691
    assert geometry.wavelength == 1.74625623831e-11


def test_every_shared_sample_is_read():
    files = sorted(shared("diffraction").rglob("*.poni"))
    geometries = {path.name: Geometry.load(path) for path in files}
    assert len(geometries) >= 7
    assert geometries["LaB6_40keV_MarCCD.poni"].distance == 0.196711580484
    assert geometries["LaB6_40keV_MarCCD_new_with_orientation.poni"].detector.orientation == 2
    assert all(geometry.wavelength for geometry in geometries.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("Distance: 0.2\n", ""), "no Distance"),
        (("Distance: 0.2\nPoni1: 0.08\n", ""), "no Distance and no Poni1"),
        (("Distance: 0.2", "Distance: far"), "Distance is 'far'"),
        (("Distance: 0.2", "Distance: None"), "Distance is 'None'"),
        (("Distance: 0.2", "Distance: 0"), "Distance is 0"),
        (("Distance: 0.2", "Distance: nan"), "Distance is 'nan'"),
        (("Wavelength: 4e-11", "Wavelength: -4e-11"), "Wavelength is -4e-11"),
        (("version: 2", "version: 4"), r"poni_version is 4; friedel reads versions up to 3(.|\n)*2\.1"),
        (("version: 2", "version: two"), "poni_version is 'two'"),
        (("Detector: Detector", "Detector: Pilatus3M"), "no detector 'Pilatus3M'"),
        (("Detector: Detector", "Detector: mine.h5"), "mine.h5"),
        (('{"pixel1"', '{pixel1"'), "Detector_config is"),
        (('"pixel1": 0.000172, ', ""), "both pixel sizes"),
        (('"max_shape": null', '"max_shape": 3'), "Detector_config is"),
        (('"max_shape": null', '"orientation": 7'), "orientation of Detector is 7"),
        (("Wavelength", "SplineFile: a.spline\nWavelength"), "described by a.spline, and there is no such file"),
        (("Wavelength", "Parallax: True\nWavelength"), "Parallax is True, which needs the sensor"),
        (("Wavelength", "Parallax: maybe\nWavelength"), "Parallax is 'maybe'"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path, change, message):
    assert change[0] in V2
    with pytest.raises(GeometryError, match=message) as raised:
        Geometry.load(written(tmp_path, V2.replace(*change)))
    assert "setup.poni" in str(raised.value)
    assert raised.value.remedy


def test_files_that_are_no_poni(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        Geometry.load(tmp_path / "absent.poni")
    (tmp_path / "image.tif").write_bytes(b"\xff\xfe\x00\x01" * 100)
    with pytest.raises(FileError, match="not a text file"):
        Geometry.load(tmp_path / "image.tif")
    with pytest.raises(FileError, match="no 'key: value' line"):
        Geometry.load(written(tmp_path, "hello\n"))


def test_without_wavelength(tmp_path):
    for text in (V2.replace("Wavelength: 4e-11\n", ""), V2.replace("4e-11", "None")):
        assert Geometry.load(written(tmp_path, text)).wavelength is None


finite = st.floats(-10, 10)


@given(
    detector=st.one_of(
        st.builds(Detector.named, st.sampled_from(sorted(models())), orientation=st.integers(1, 4)),
        st.builds(
            Detector.from_shape,
            st.none() | st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
            st.floats(1e-6, 1e-3),
            st.floats(1e-6, 1e-3),
            orientation=st.integers(1, 4),
        ),
    ),
    distance=st.floats(1e-3, 100),
    numbers=st.tuples(finite, finite, finite, finite, finite),
    wavelength=st.none() | st.floats(1e-12, 1e-9),
)
def test_what_is_saved_is_loaded(tmp_path_factory, detector, distance, numbers, wavelength):
    path = tmp_path_factory.getbasetemp() / "round_trip.poni"
    geometry = Geometry(detector, distance, *numbers, wavelength=wavelength)
    geometry.save(path, comment="two\nlines: here")
    assert "poni_version: 2.1" in path.read_text()
    assert Geometry.load(path) == geometry


def test_a_folder_that_is_not_there(tmp_path):
    geometry = Geometry(Detector.named("Pilatus100k"), 1.0, 0.0, 0.0)
    with pytest.raises(OutputError, match="absent"):
        geometry.save(tmp_path / "absent" / "setup.poni")
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_saved_as_plain_ones(tmp_path):
    geometry = Geometry(Detector.named("Pilatus100k"), np.float64(1.0), np.float64(0.5), 0.0)
    geometry.save(tmp_path / "setup.poni")
    assert "Distance: 1.0\n" in (tmp_path / "setup.poni").read_text()


def test_displacements_that_are_not_read_are_refused(tmp_path):
    path = tmp_path / "setup.poni"
    config = '{"pixel1": 0.000172, "x_offset_file": "dx.cbf", "y_offset_file": "dy.cbf"}'
    path.write_text(
        f"poni_version: 2.1\nDetector: Pilatus1M\nDetector_config: {config}\nDistance: 1\nPoni1: 0\nPoni2: 0\n"
    )
    with pytest.raises(GeometryError, match=r"dx.cbf and dy.cbf(.|\n)*detector.save"):
        Geometry.load(path)
