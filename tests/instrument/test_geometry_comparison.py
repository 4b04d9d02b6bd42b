"""How far apart two geometries are."""

from dataclasses import replace

import numpy as np
import pytest

from friedel.core.errors import GeometryError
from friedel.instrument import Calibrant, Detector, Geometry
from friedel.instrument.geometry_comparison import compared
from friedel.instrument.geometry_words import aligned, calibrated, described

GEOMETRY = Geometry(Detector.from_shape((300, 400), 1e-4, 1e-4), 0.1, 0.016, 0.021, 0.02, -0.01, wavelength=3e-11)


def test_a_geometry_is_not_apart_from_itself():
    found = compared(GEOMETRY, GEOMETRY, Calibrant.named("CeO2"))
    assert (found.center, found.distance, found.tilt, found.wavelength) == ((0, 0), 0, 0, 0)
    assert (found.largest, found.largest_pixels, found.azimuth) == (0, 0, 0)
    assert found.rings
    assert all(ring.largest == 0 for ring in found.rings)


def test_a_moved_beam_moves_rings_by_as_many_pixels():
    moved = replace(GEOMETRY, poni2=GEOMETRY.poni2 + 0.5e-4)
    found = compared(GEOMETRY, moved, Calibrant.named("CeO2"))
    assert found.center == pytest.approx((0.5, 0.0), abs=1e-9)
    assert found.largest_pixels == pytest.approx(0.5, rel=0.05)
    assert max(abs(ring.largest) for ring in found.rings) == pytest.approx(0.5, rel=0.05)
    assert "+0.5000 px in x, 0.0000 px in y" in str(found)


def test_a_longer_distance_moves_rings_outwards():
    found = compared(GEOMETRY, replace(GEOMETRY, distance=0.101), Calibrant.named("CeO2"))
    assert all(ring.mean > 0 for ring in found.rings)
    ring = found.rings[0]
    radius = 0.1 * np.tan(np.radians(ring.two_theta)) / 1e-4
    assert ring.mean == pytest.approx(0.01 * radius, rel=0.05)


def test_a_longer_wavelength_moves_rings_outwards_and_no_pixel():
    found = compared(GEOMETRY, replace(GEOMETRY, wavelength=3.03e-11), Calibrant.named("CeO2"))
    assert found.largest == 0
    assert found.wavelength == pytest.approx(0.01)
    assert all(ring.mean > 0 for ring in found.rings)


def test_tilt_is_seen_from_the_detector():
    assert compared(GEOMETRY, replace(GEOMETRY, rot3=1.0)).tilt == pytest.approx(0, abs=1e-9)
    upright = replace(GEOMETRY, rot1=0.0, rot2=0.0)
    assert compared(upright, replace(upright, rot2=0.01)).tilt == pytest.approx(np.degrees(0.01))
    assert compared(upright, replace(upright, rot3=0.01)).azimuth == pytest.approx(np.degrees(0.01))


def test_masked_pixels_do_not_count():
    detector = replace(GEOMETRY.detector, gap_columns=((200, 400),))
    near, far = (replace(GEOMETRY, detector=detector, distance=length) for length in (0.1, 0.11))
    assert compared(near, far).place[1] < 200


def test_shapes_have_to_agree():
    unknown = replace(GEOMETRY, detector=replace(GEOMETRY.detector, shape=None))
    assert compared(unknown, GEOMETRY).largest == 0
    with pytest.raises(GeometryError, match="Neither geometry"):
        compared(unknown, unknown)
    other = replace(GEOMETRY, detector=Detector.from_shape((30, 40), 1e-4))
    with pytest.raises(GeometryError, match="30 x 40"):
        compared(GEOMETRY, other)
    with pytest.raises(GeometryError, match="wavelength"):
        compared(GEOMETRY, replace(GEOMETRY, wavelength=None), Calibrant.named("CeO2"))


def test_words_have_every_convention():
    text = aligned(described(GEOMETRY))
    names = [
        "Detector",
        "Beam",
        "PONI",
        "Beam centre",
        "Tilt",
        "Fit2D",
        "SPD",
        "ImageD11",
        "CrystFEL",
        "CXI",
        "DIALS",
        "Reach",
    ]
    for name in names:
        assert f"\n{name} " in f"\n{text}"
    assert "300 x 400 pixels (rows x columns) of 100 x 100 um" in text
    assert "0.3 Angstrom" in text


def test_words_without_shape_tell_what_can_be_told():
    unknown = replace(GEOMETRY, detector=Detector.from_shape(None, 1e-4, orientation=1), wavelength=None)
    text = aligned(described(unknown))
    assert "wavelength unknown" in text
    assert "needs the number of pixels" in text


def test_errors_in_the_comments_of_a_poni_file_are_shown():
    text = (
        "# Nota: old\n# Verdict: rejected\nDistance: 1\n# Nota: C-Order\n# Calibrant: CeO2\n# Verdict: trusted\n"
        "# Distance error: 8.1e-06 m\n# Rot1 error: 0.0002 rad\n# Tilt: 0.018 +/- 0.0002 rad\nDistance: 0.2\n"
    )
    lines = calibrated(text)
    assert ("Calibration", "Verdict: trusted") in lines
    assert ("Calibration", "Tilt: 0.018 +/- 0.0002 rad") in lines
    assert lines[-1] == ("Errors", "distance 8.1e-06 m, rot1 0.0002 rad")
    assert not any("rejected" in words for _, words in lines)
    assert calibrated("Distance: 0.2\n") == []
