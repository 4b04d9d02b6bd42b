"""Geometry: where pixels are, in each unit, orientation and rotation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.core.errors import GeometryError, ParameterError
from friedel.core.units import RADIAL_UNITS
from friedel.instrument import Detector, Fit2D, Geometry

SHAPE = (11, 14)
angles = st.floats(-0.6, 0.6)
geometries = st.builds(
    Geometry,
    st.integers(1, 4).map(lambda orientation: Detector.from_shape(SHAPE, 1e-3, 2e-3, orientation=orientation)),
    st.floats(0.01, 2.0),
    st.floats(-0.05, 0.05),
    st.floats(-0.05, 0.05),
    angles,
    angles,
    angles,
    st.just(1e-10),
)


def flat(**changes):
    values = {"distance": 0.1, "poni1": 5.5e-3, "poni2": 14e-3, "wavelength": 1e-10} | changes
    return Geometry(Detector.from_shape(SHAPE, 1e-3, 2e-3), **values)


def test_an_untilted_detector_by_hand():
    geometry = flat()
    y = (np.arange(11) + 0.5 - 5.5)[:, None] * 1e-3
    x = (np.arange(14) + 0.5 - 7)[None, :] * 2e-3
    radius = np.hypot(x, y)
    two_theta = np.arctan2(radius, 0.1)
    q = 40 * np.pi * np.sin(two_theta / 2)
    expected = {
        "2th_rad": two_theta,
        "2th_deg": np.degrees(two_theta),
        "q_A^-1": 4 * np.pi * np.sin(two_theta / 2),
        "q_nm^-1": 40 * np.pi * np.sin(two_theta / 2),
        "d_A": 1 / (2 * np.sin(two_theta / 2)),
        "d_nm": 0.1 / (2 * np.sin(two_theta / 2)),
        "r_m": radius,
        "r_mm": radius * 1e3,
        "d_m": 1e-10 / (2 * np.sin(two_theta / 2)),
        "dstar2_nm^-2": (q / (2 * np.pi)) ** 2,
        "dstar2_A^-2": (q / (20 * np.pi)) ** 2,
        "log10_q_m": np.log10(q * 1e9),
        "log_q_nm": np.log(q),
        "log1p_q_nm": np.log1p(q),
        "log1p_q_A": np.log1p(q / 10),
        "arcsinh_q_nm": np.arcsinh(q),
        "arcsinh_q_A": np.arcsinh(q / 10),
    }
    assert set(expected) == set(RADIAL_UNITS)
    for unit, values in expected.items():
        np.testing.assert_allclose(geometry.center_array(unit), values, rtol=1e-12)
    np.testing.assert_allclose(geometry.azimuth_center(), np.arctan2(y, np.broadcast_to(x, SHAPE)), atol=1e-15)
    np.testing.assert_allclose(geometry.solid_angle(), np.cos(two_theta) ** 3, rtol=1e-12)
    assert geometry.beam_center() == pytest.approx((5.5, 7.0))


@given(geometries, st.sampled_from(RADIAL_UNITS))
@settings(max_examples=50)
def test_slabs_of_rows_are_those_of_the_whole(geometry, unit):
    for name in ("center_array", "corner_array"):
        whole = getattr(geometry, name)(unit)
        slabs = [getattr(geometry, name)(unit, rows=slice(i, min(i + 4, 11))) for i in range(0, 11, 4)]
        assert np.array_equal(np.concatenate(slabs), whole)
    for name in ("azimuth_center", "azimuth_corners", "solid_angle"):
        assert np.array_equal(getattr(geometry, name)(rows=slice(3, 7)), getattr(geometry, name)()[3:7])
    assert np.array_equal(geometry.polarization(0.9, 0.1, rows=slice(3, 7)), geometry.polarization(0.9, 0.1)[3:7])


@given(geometries)
@settings(max_examples=50)
def test_corners_go_round_each_pixel_in_one_sense(geometry):
    r, chi = geometry.corner_array("r_m"), geometry.azimuth_corners()
    x, y = r * np.cos(chi), r * np.sin(chi)
    area = 0.5 * (x * np.roll(y, -1, axis=-1) - y * np.roll(x, -1, axis=-1)).sum(axis=-1)
    assert (area < 0).all()


@given(geometries)
@settings(max_examples=30)
def test_neighbouring_pixels_share_corners(geometry):
    corners = np.sort(geometry.corner_array("2th_rad"), axis=-1)
    first, second = corners[:-1].reshape(-1, 4), corners[1:].reshape(-1, 4)
    shared = [np.intersect1d(a, b).size for a, b in zip(first, second, strict=True)]
    assert min(shared) >= 1


@pytest.mark.parametrize(
    ("orientation", "flip"), [(1, np.s_[::-1, ::-1]), (2, np.s_[::-1]), (3, np.s_[:]), (4, np.s_[:, ::-1])]
)
def test_an_orientation_is_the_native_one_on_the_flipped_array(orientation, flip):
    native = flat(rot1=0.1, rot2=-0.2, rot3=0.3)
    turned = Geometry(
        Detector.from_shape(SHAPE, 1e-3, 2e-3, orientation=orientation), 0.1, 5.5e-3, 14e-3, 0.1, -0.2, 0.3
    )
    for values in ("2th_deg", "r_mm"):
        np.testing.assert_allclose(turned.center_array(values), native.center_array(values)[flip], rtol=1e-12)
    np.testing.assert_allclose(turned.azimuth_center(), native.azimuth_center()[flip], rtol=1e-12)
    np.testing.assert_allclose(turned.solid_angle(), native.solid_angle()[flip], rtol=1e-12)


@given(geometries)
@settings(max_examples=50)
def test_the_beam_center_is_where_the_scattering_angle_is_zero(geometry):
    y, x = geometry.beam_center()
    p1, p2 = y * 1e-3, x * 2e-3
    if geometry.detector.orientation in (1, 2):
        p1 = SHAPE[0] * 1e-3 - p1
    if geometry.detector.orientation in (1, 4):
        p2 = SHAPE[1] * 2e-3 - p2
    beam = [float(value[0, 0]) for value in geometry.position(np.array([p1]), np.array([p2]))]
    assert beam[:2] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert beam[2] > 0


def test_the_azimuth_jumps_where_it_is_told_to():
    geometry = flat()
    at_pi, at_0 = geometry.azimuth_center(), geometry.azimuth_center(discontinuity="0")
    assert at_pi.min() < 0
    assert at_0.min() >= 0
    np.testing.assert_allclose(at_0, at_pi % (2 * np.pi), atol=1e-12)
    # The middle row looks along ±x: π, not −π, whatever the sign of zero.
    assert at_pi[5, 0] == np.pi
    with pytest.raises(ParameterError, match="'pi' or at '0'"):
        geometry.azimuth_center(discontinuity="2")


def test_polarization_by_hand():
    geometry = flat(rot1=0.2)
    cos2 = np.cos(geometry.center_array("2th_rad")) ** 2
    chi = geometry.azimuth_center()
    np.testing.assert_allclose(geometry.polarization(0.0), 0.5 * (1 + cos2), rtol=1e-12)
    for offset in (0.0, 0.4):
        expected = 0.5 * (1 + cos2 - 0.95 * np.cos(2 * (chi + offset)) * (1 - cos2))
        np.testing.assert_allclose(geometry.polarization(0.95, offset), expected, rtol=1e-12)
    with pytest.raises(ParameterError, match=r"polarization factor is 1\.5"):
        geometry.polarization(1.5)


def test_q_and_d_without_wavelength_are_refused():
    for unit in ("q_nm^-1", "q_A^-1", "d_nm", "d_A"):
        with pytest.raises(GeometryError, match="needs the wavelength"):
            flat(wavelength=None).center_array(unit)
        with pytest.raises(GeometryError, match="needs the wavelength"):
            flat(wavelength=None).corner_array(unit)
    flat(wavelength=None).center_array("2th_deg")


def test_a_wrong_frame_shape_is_refused():
    with pytest.raises(GeometryError, match=r"12 x 14(.|\n)*11 x 14"):
        flat().for_shape((12, 14))


@given(st.floats(0.05, 2.0), st.floats(-0.05, 0.05), st.floats(-0.05, 0.05), angles, angles)
def test_fit2d_describes_the_same_detector(distance, poni1, poni2, rot1, rot2):
    geometry = flat(distance=distance, poni1=poni1, poni2=poni2, rot1=rot1, rot2=rot2)
    back = Fit2D.from_geometry(geometry).to_geometry(geometry.detector, geometry.wavelength)
    for name in ("distance", "poni1", "poni2", "rot1", "rot2", "wavelength"):
        assert getattr(back, name) == pytest.approx(getattr(geometry, name), rel=1e-7, abs=1e-7)
    # What turns about the beam is not in Fit2D's terms; it is chosen as pyFAI does.
    np.testing.assert_allclose(back.center_array("2th_rad"), geometry.center_array("2th_rad"), atol=1e-9)
