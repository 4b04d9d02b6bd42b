"""Detectors: shapes, gaps and names as the manufacturers give them."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.errors import GeometryError, ParameterError
from friedel.instrument import Detector, Geometry, Sensor
from friedel.instrument.models import find_model, models

# Shape, pixel in µm and number of gap pixels.
KNOWN = [
    ("Pilatus100k", (195, 487), 172, 0),
    ("Pilatus200k", (407, 487), 172, 8279),
    ("Pilatus300k", (619, 487), 172, 16558),
    ("Pilatus300kw", (195, 1475), 172, 2730),
    ("Pilatus900k", (619, 1475), 172, 58340),
    ("Pilatus1M", (1043, 981), 172, 73533),
    ("Pilatus2M", (1679, 1475), 172, 197365),
    ("PilatusCdTe2M", (1679, 1475), 172, 211405),
    ("Pilatus6M", (2527, 2463), 172, 526101),
    ("Pilatus4_4M", (2180, 2073), 150, 333060),
    ("Eiger2_500k", (512, 1028), 75, 0),
    ("Eiger2_1M", (1062, 1028), 75, 39064),
    ("Eiger2_4M", (2162, 2068), 75, 260328),
    ("Eiger2_9M", (3262, 3108), 75, 664248),
    ("Eiger2_16M", (4362, 4148), 75, 1250824),
    ("Eiger4M", (2167, 2070), 75, 250330),
    ("Eiger16M", (4371, 4150), 75, 1198210),
    ("Jungfrau4M", (2164, 2068), 75, 239792),
    ("Lambda750k", (516, 1556), 55, 16464),
    ("Maxipix2x2", (516, 516), 55, 4112),
    ("Perkin", (2048, 2048), 200, 0),
]


@pytest.mark.parametrize(("name", "shape", "pixel", "gaps"), KNOWN)
def test_known_models(name, shape, pixel, gaps):
    detector = Detector.named(name)
    assert detector.shape == shape
    assert detector.pixel1 == detector.pixel2 == pytest.approx(pixel * 1e-6)
    assert detector.mask().shape == shape
    assert detector.mask().sum() == gaps


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Pilatus CdTe 2M", "PilatusCdTe2M"),
        ("Pilatus 2M CdTe", "PilatusCdTe2M"),
        ("pilatus_cdte_2m", "PilatusCdTe2M"),
        ("PILATUS-300K", "Pilatus300k"),
        ("Eiger2 4M", "Eiger2_4M"),
        ("Dectris EIGER2 CdTe 16M", "Eiger2CdTe_16M"),
        ("Eiger2 1M-W", "Eiger2_1MW"),
        ("Pilatus4 1M CdTe", "Pilatus4_CdTe_1M"),
        ("Lambda 7.5M", "Lambda7M5"),
        ("Perkin detector", "Perkin"),
        ("PILATUS 300K, S/N 3-0123", "Pilatus300k"),
        ("PILATUS3 X CdTe 300K-W", "PilatusCdTe300kw"),
        ("Dectris EIGER2 Si 16M", "Eiger2_16M"),
        ("EIGER X 500K", "Eiger500k"),
        ("HF-2.4M", "HF_2M"),
        ("Condor", "Fairchild"),
        ("xpad S540 flat", "Xpad_flat"),
        ("Pixirad-2", "Pixirad2"),
        ("R-AXIS RAPID", "Rapid"),
    ],
)
def test_names_match_in_any_spelling(spelling, name):
    assert Detector.named(spelling).name == name


def test_unknown_name_lists_those_that_are_close():
    with pytest.raises(ParameterError, match=r"'Pilatus 3M'(.|\n)*Pilatus2M"):
        Detector.named("Pilatus 3M")
    with pytest.raises(ParameterError, match="friedel detectors"):
        Detector.named("???")


def test_no_two_models_share_a_name():
    for model in models().values():
        for name in (model.name, *model.aliases):
            assert find_model(name) is model


TILED = sorted(name for name, m in models().items() if m.layout is None and not m.readouts and min(m.shape) > 4)


@given(st.sampled_from(TILED), st.integers(1, 4), st.integers(1, 4))
def test_a_binned_pixel_is_gap_if_any_of_its_pixels_is(name, binning1, binning2):
    model = models()[name]
    native = Detector.named(name, pixel1=model.pixel1, pixel2=model.pixel2)
    binned = Detector.named(name, pixel1=model.pixel1 * binning1, pixel2=model.pixel2 * binning2)
    rows, columns = (native.shape[0] // binning1, native.shape[1] // binning2)
    assert binned.shape == (rows, columns)
    whole = native.mask()[: rows * binning1, : columns * binning2]
    expected = whole.reshape(rows, binning1, columns, binning2).any(axis=(1, 3))
    assert np.array_equal(binned.mask(), expected)
    turned = Detector.named(name, pixel1=binned.pixel1, pixel2=binned.pixel2, orientation=1)
    assert np.array_equal(turned.mask(), expected)  # a camera stores its image in one way
    for module in turned.modules():
        if model.modules and "CdTe" not in name and "cor" not in name:
            assert not turned.mask()[slice(*module.rows), slice(*module.columns)].any()


def test_pixel_size_that_is_no_multiple_is_refused():
    with pytest.raises(GeometryError, match="172 µm; 100 µm is no multiple"):
        Detector.named("Pilatus2M", pixel1=100e-6)


def test_readouts_that_the_maker_names_are_known():
    assert Detector.named("Mar345", pixel1=150e-6, pixel2=150e-6).shape == (2300, 2300)
    assert (
        Detector.named("MAR 345").with_shape((2400, 2400)).mask().sum()
        == Detector.named("Mar345", pixel1=100e-6, pixel2=100e-6).with_shape((2400, 2400)).mask().sum()
    )
    third = Detector.named("Mar 165", pixel1=118.616e-6, pixel2=118.616e-6)
    assert third.shape == (1364, 1364) and third.mask()[0, 0] and not third.mask()[682, 0]
    binned = Detector.named("Rayonix MX225 HS", pixel1=156.25e-6, pixel2=156.25e-6)
    assert binned.shape == (1440, 1440)
    with pytest.raises(GeometryError, match="3450 x 3450"):
        Detector.named("Mar345").with_shape((2000, 2000))


def test_no_model_has_a_sensor_that_nobody_asked_for():
    for name, model in models().items():
        if min(model.shape) < 3000:
            assert Detector.named(name).sensor is None
    assert models()["Pilatus2M"].sensors[0] == ("Si", 320e-6)
    assert models()["Eiger2CdTe_9M"].sensors == (("CdTe", 750e-6),)


def test_the_sensors_of_models_are_of_known_materials():
    sold = {choice for model in models().values() for choice in model.sensors}
    assert len(sold) > 8
    for material, thickness in sold:
        assert Sensor(material, thickness).attenuation(1e-10) > 0
        assert Sensor.parse(f"{material},{thickness * 1e6:g}um").thickness == pytest.approx(thickness)


def test_parallax_asks_for_one_of_the_sensors_that_are_sold():
    with pytest.raises(GeometryError, match="Si,320um or Si,450um or Si,1000um"):
        Geometry(Detector.named("Pilatus1M"), 0.1, 0, 0, wavelength=1e-10, parallax=True)


def test_modules_tell_what_each_records():
    assert Detector.named("Pilatus1M").modules()[:3] == (
        ((0, 195), (0, 487)),
        ((0, 195), (494, 981)),
        ((212, 407), (0, 487)),
    )
    assert len(Detector.named("Eiger2 CdTe 9M").modules()) == 18
    assert Detector.named("Titan").modules() == (((0, 2048), (0, 2048)),)
    assert Detector.from_shape((3, 4), 1e-4).modules() == (((0, 3), (0, 4)),)
    jungfrau = Detector.named("Jungfrau 8M")
    assert len(jungfrau.modules()) == 16
    seen = np.zeros(jungfrau.shape, bool)
    for rows, columns in jungfrau.modules():
        assert not seen[slice(*rows), slice(*columns)].any()
        seen[slice(*rows), slice(*columns)] = True
    assert not (~jungfrau.mask() & ~seen).any()
    turned = Detector.named("Jungfrau 8M", orientation=1)
    for rows, columns in turned.modules():
        assert not turned.mask()[rows[0], columns[0]]


def test_wrong_frame_shape_names_both_and_what_would_fit():
    with pytest.raises(GeometryError, match=r"1679 x 1475(.|\n)*619 x 487(.|\n)*Pilatus2M, PilatusCdTe2M"):
        Detector.named("Pilatus300k").with_shape((1679, 1475))
    with pytest.raises(GeometryError, match="transposed"):
        Detector.named("Pilatus300k").with_shape((487, 619))
    with pytest.raises(GeometryError, match=r"binned 2 x 2, give pixel sizes of 0.000344"):
        Detector.named("Pilatus1M").with_shape((521, 490))
    with pytest.raises(GeometryError, match="correct its detector"):
        Detector.named("Pilatus300k").with_shape((10, 4000))


def test_a_generic_detector_takes_its_shape_from_the_frame():
    detector = Detector.from_shape(None, 1e-4)
    with pytest.raises(GeometryError, match="for_shape"):
        detector.mask()
    assert detector.with_shape((10, 20)).mask().shape == (10, 20)
    with pytest.raises(GeometryError):
        detector.with_shape((10, 20)).with_shape((20, 10))


@pytest.mark.parametrize("pixel", [0.0, -1e-4, float("nan"), float("inf")])
def test_impossible_pixels_are_refused(pixel):
    with pytest.raises(GeometryError, match="pixel size"):
        Detector.from_shape((10, 10), pixel)


def test_impossible_orientation_is_refused():
    with pytest.raises(GeometryError, match="orientation of Detector is 5"):
        Detector.from_shape((10, 10), 1e-4, orientation=5)


def test_a_detector_is_a_value():
    detector = Detector.named("Pilatus CdTe 2M")
    assert pickle.loads(pickle.dumps(detector)) == detector  # noqa: S301
    assert hash(detector) == hash(Detector.named("pilatuscdte2m"))


@pytest.mark.parametrize("text", ["75um x 100um", "75umx100um", " 0.075mm x 0.1mm "])
def test_a_detector_without_a_name_is_known_by_its_pixels(text):
    detector = Detector.load(text)
    assert detector.generic and detector.shape is None
    assert (detector.pixel1, detector.pixel2) == pytest.approx((75e-6, 100e-6), rel=1e-12)


def test_square_pixels_are_given_once():
    assert Detector.load("172um") == Detector.from_shape(None, 172e-6)


def test_what_is_no_file_is_a_model():
    assert Detector.load("pilatus 300k") == Detector.named("Pilatus300k")
    with pytest.raises(ParameterError, match="There is no detector"):
        Detector.load("Nothing9000")
