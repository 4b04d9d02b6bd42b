"""Derivatives of scattering angles are those of the geometry itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.instrument import Detector, Geometry, Sensor
from friedel.instrument.derivatives import FIELDS, WAVELENGTH_STEP, pixel_vectors, ring_derivative, scattering_angles
from friedel.instrument.pixel_shapes import Positions

ROUNDING = 4 * np.finfo(np.float64).eps
"""Of an angle of about 1 rad, through some operations."""
PLACES = np.array([[0.01, 0.02], [0.15, 0.11], [0.03, 0.2], [0.2, 0.01], [0.11, 0.1203]])


def geometry(**changes) -> Geometry:
    detector = replace(Detector.from_shape((1000, 1100), 2e-4), sensor=Sensor("CdTe", 1e-3))
    return replace(Geometry(detector, 0.2, 0.1, 0.11, 0.3, -0.2, 0.4, wavelength=2e-11), **changes)


def angles(geometry: Geometry, places, depth=None):
    return scattering_angles(geometry, Positions(places[:, 0], places[:, 1], depth))


@pytest.mark.parametrize("parallax", [False, True])
def test_angles_are_those_of_the_geometry(parallax):
    placed = geometry(parallax=parallax)
    expected = placed.point_array("2th_rad", PLACES[:, 0], PLACES[:, 1])
    np.testing.assert_allclose(angles(placed, PLACES).two_theta, expected, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0.05, 2.0),
    st.floats(-1.0, 1.0),
    st.floats(-1.0, 1.0),
    st.booleans(),
    st.booleans(),
    st.floats(1e-11, 3.8e-11),  # what CdTe does jumps at the K edge of Te, 3.897e-11
)
def test_derivatives_are_differences(distance, rot1, rot2, parallax, deep, wavelength):
    placed = geometry(distance=distance, rot1=rot1, rot2=rot2, parallax=parallax, wavelength=wavelength)
    depth = 0.3 * PLACES[:, 0] if deep else None
    found = angles(placed, PLACES, depth)
    for column, name in enumerate(FIELDS):
        # The slope of a table jumps at its entries, so wavelengths make the same step on either side.
        step = {"distance": 1e-5 * distance, "wavelength": WAVELENGTH_STEP * wavelength}.get(name, 1e-6)
        ends = [
            angles(replace(placed, **{name: getattr(placed, name) + sign * step}), PLACES, depth).two_theta
            for sign in (1, -1)
        ]
        difference = (ends[0] - ends[1]) / (2 * step)
        # Over so small a step of the wavelength the rounding of the angles is no less than 1 rad/m.
        rounding = ROUNDING / step
        np.testing.assert_allclose(found.by_field[:, column], difference, rtol=1e-5, atol=1e-5 / distance + rounding)
    for axis in (0, 1):
        step = np.where(np.arange(2) == axis, 1e-6, 0.0)
        difference = (
            angles(placed, PLACES + step, depth).two_theta - angles(placed, PLACES - step, depth).two_theta
        ) / 2e-6
        np.testing.assert_allclose(found.by_place[:, axis], difference, rtol=1e-5, atol=1e-5 / distance)


def test_no_angle_depends_on_a_turn_about_the_beam():
    assert not angles(geometry(), PLACES).by_field[:, FIELDS.index("rot3")].any()


def test_rings_move_outwards_with_the_wavelength():
    spacing = np.array([3.1e-10, 1.2e-10])
    step = 1e-16
    ends = [2 * np.arcsin((5e-11 + sign * step) / (2 * spacing)) for sign in (1, -1)]
    np.testing.assert_allclose(ring_derivative(spacing, 5e-11), (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_steps_of_a_pixel_are_those_of_the_stored_array(orientation):
    y, x = np.array([3.2, 40.0]), np.array([7.9, 80.5])
    bent = Detector.cylindrical((90, 120), 2e-4, 3e-4, 0.1, orientation=orientation)
    plane = Detector.from_shape((90, 120), 2e-4, 3e-4, orientation=orientation)
    for detector in (bent, plane):
        found = pixel_vectors(detector, y, x)
        for axis, (dy, dx) in enumerate(((0.5, 0.0), (0.0, 0.5))):
            after, before = detector.positions_of(y + dy, x + dx), detector.positions_of(y - dy, x - dx)
            for row, (one, other) in enumerate(zip(after, before, strict=True)):
                expected = 0.0 if one is None else one - other
                np.testing.assert_allclose(found[:, row, axis], expected, atol=1e-15)
