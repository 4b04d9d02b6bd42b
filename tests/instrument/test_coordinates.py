"""What units show at points that can be worked out by hand: directions of the scattered beam, and surfaces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from friedel.core.errors import GeometryError, ParameterError
from friedel.core.units import QUANTITIES, UNITS, unit_named
from friedel.instrument import Detector, Geometry
from friedel.instrument.coordinates import ORIENTATIONS, VALUES, Points, SamplePose, values_at

WAVELENGTH = 1e-10
K = 2 * np.pi / 0.1  # 1/nm
angles = st.floats(-1.2, 1.2)


def toward(horizontal: float, vertical: float, length: float = 0.3) -> tuple[NDArray[np.float64], ...]:
    """(y, x, z) of a point seen at a vertical angle above the horizontal plane, turned aside by a horizontal one."""
    return (
        np.array([length * np.sin(vertical)]),
        np.array([length * np.cos(vertical) * np.sin(horizontal)]),
        np.array([length * np.cos(vertical) * np.cos(horizontal)]),
    )


def shown(unit: str, position: tuple[NDArray[np.float64], ...], **pose: float) -> float:
    return float(values_at(Points(*position, WAVELENGTH, SamplePose(**pose)), unit_named(unit))[0])  # type: ignore[arg-type]


def test_each_quantity_can_be_computed() -> None:
    assert set(VALUES) == set(QUANTITIES)
    for unit in UNITS:
        assert np.isfinite(shown(unit, toward(0.1, 0.2)))


@given(horizontal=angles, vertical=angles)
def test_scattering_angles_are_those_of_the_direction(horizontal: float, vertical: float) -> None:
    position = toward(horizontal, vertical)
    assert shown("scattering_angle_horz_rad", position) == pytest.approx(horizontal, abs=1e-12)
    assert shown("scattering_angle_vert_deg", position) == pytest.approx(np.degrees(vertical), abs=1e-10)


@given(horizontal=angles, vertical=angles)
def test_the_scattering_vector_joins_the_ends_of_the_wave_vectors(horizontal: float, vertical: float) -> None:
    position = toward(horizontal, vertical)
    q = np.array([shown(f"{name}_nm^-1", position) for name in ("qx", "qy", "qz")])
    direction = np.array([position[1][0], position[0][0], position[2][0]]) / 0.3
    np.testing.assert_allclose(q, K * (direction - [0, 0, 1]), atol=1e-9 * K)
    assert np.linalg.norm(q) == pytest.approx(shown("q_nm^-1", position), abs=1e-9 * K)


@given(incidence=st.floats(0, 0.5))
def test_the_reflected_beam_leaves_at_the_angle_of_incidence(incidence: float) -> None:
    reflected = toward(0.0, 2 * incidence)
    assert shown("exit_angle_vert_rad", reflected, incidence=incidence) == pytest.approx(incidence, abs=1e-12)
    assert shown("qoop_nm^-1", reflected, incidence=incidence) == pytest.approx(2 * K * np.sin(incidence), abs=1e-9)
    assert shown("qip_nm^-1", reflected, incidence=incidence) == pytest.approx(0.0, abs=1e-6)


@given(incidence=st.floats(0, 0.5))
def test_the_direct_beam_is_below_the_horizon(incidence: float) -> None:
    assert shown("exit_angle_vert_rad", toward(0.0, 0.0), incidence=incidence) == pytest.approx(-incidence, abs=1e-12)


@given(horizontal=angles, vertical=angles, incidence=angles, tilt=angles, orientation=st.sampled_from(range(1, 9)))
def test_turning_the_sample_keeps_the_length_of_the_scattering_vector(
    horizontal: float, vertical: float, incidence: float, tilt: float, orientation: int
) -> None:
    position = toward(horizontal, vertical)
    pose = {"incidence": incidence, "tilt": tilt, "orientation": orientation}
    components = [shown(f"{name}_nm^-1", position, **pose) for name in ("qxgi", "qygi", "qzgi")]
    total = shown("q_nm^-1", position)
    assert np.linalg.norm(components) == pytest.approx(total, abs=1e-9 * K)
    in_plane, out_of_plane = shown("qip_nm^-1", position, **pose), shown("qoop_nm^-1", position, **pose)
    assert np.hypot(in_plane, out_of_plane) == pytest.approx(total, abs=1e-9 * K)
    polar = shown("chigi_rad", position, **pose)
    assert total * np.sin(polar) == pytest.approx(in_plane, abs=1e-9 * K)
    assert total * np.cos(polar) == pytest.approx(out_of_plane, abs=1e-9 * K)


@given(horizontal=st.floats(0.05, 0.5), vertical=angles, tilt=angles)
def test_a_tilt_turns_the_polar_angle(horizontal: float, vertical: float, tilt: float) -> None:
    # At vanishing angles: a rotation about the beam.
    position = toward(1e-5 * horizontal, 1e-5 * vertical)
    turned = shown("chigi_rad", position, tilt=tilt) - shown("chigi_rad", position)
    assert np.sin(turned - tilt) == pytest.approx(0.0, abs=1e-3)


def test_exit_angles_and_scattering_vectors_belong_together() -> None:
    # k (cos αf cos φ − cos αi, cos αf sin φ, sin αf + sin αi) along, across and normal to the surface.
    incidence, position = 0.2, toward(0.3, 0.4)
    exit_vertical = shown("exit_angle_vert_rad", position, incidence=incidence)
    exit_horizontal = shown("exit_angle_horz_rad", position, incidence=incidence)
    expected = {
        "qzgi_nm^-1": np.cos(exit_vertical) * np.cos(exit_horizontal) - np.cos(incidence),
        "qxgi_nm^-1": np.cos(exit_vertical) * np.sin(exit_horizontal),
        "qygi_nm^-1": np.sin(exit_vertical) + np.sin(incidence),
    }
    for unit, value in expected.items():
        assert shown(unit, position, incidence=incidence) == pytest.approx(K * value, rel=1e-12)


def test_sample_orientations_are_the_eight_ways_to_lay_a_picture() -> None:
    assert len(set(ORIENTATIONS.values())) == 8
    for (hx, hy), (vx, vy) in ORIENTATIONS.values():
        assert abs(hx * vy - hy * vx) == 1
    right_and_up = toward(0.1, 0.2)
    assert shown("scattering_angle_horz_rad", right_and_up, orientation=3) < 0
    assert shown("scattering_angle_vert_rad", right_and_up, orientation=3) < 0
    assert shown("qip_nm^-1", right_and_up, orientation=6) < 0 < shown("qoop_nm^-1", right_and_up, orientation=6)
    with pytest.raises(ParameterError, match="sample_orientation is 9"):
        SamplePose(orientation=9)


def test_formulas_take_the_quantities_in_their_units() -> None:
    position = toward(0.1, 0.2)
    same = {
        "formula: 4 * pi / wavelength * sin(two_theta / 2)": "q_nm^-1",
        "formula: 2 * pi / d": "q_nm^-1",
        "formula: sqrt(x**2 + y**2)": "r_mm",
        "formula: degrees(arctan2(y, x))": "chi_deg",
        "formula: hypot(qip, qoop)": "q_nm^-1",
        "formula: dstar2": "dstar2_nm^-2",
        "formula: log(q)": "log_q_nm",
    }
    for formula, unit in same.items():
        assert shown(formula, position) == pytest.approx(shown(unit, position), rel=1e-12)
    assert shown("formula: 3", position) == 3


def geometry(**changes: float) -> Geometry:
    values = {"distance": 0.1, "poni1": 5.5e-3, "poni2": 14e-3, "rot1": 0.1, "wavelength": 1e-10} | changes
    return Geometry(Detector.from_shape((11, 14), 1e-3, 2e-3), **values)


@pytest.mark.parametrize("unit", [*UNITS, "formula: x + wavelength"])
def test_corners_surround_centers(unit: str) -> None:
    setup = geometry(poni1=-1e-3, poni2=-5e-3)  # the beam, the cut of χ and the wedge beside the detector
    pose = SamplePose(0.01, 0.02)
    centers, corners = setup.center_array(unit, pose=pose), setup.corner_array(unit, pose=pose)
    assert ((corners.min(axis=-1) <= centers) & (centers <= corners.max(axis=-1))).all()


def test_points_have_the_values_of_the_grid_they_lie_on() -> None:
    setup = geometry()
    p1, p2 = np.meshgrid(setup.detector.row_centers(), setup.detector.column_centers(), indexing="ij")
    pose = SamplePose(0.1, 0.2, 5)
    np.testing.assert_array_equal(
        setup.point_array("qip_A^-1", p1, p2, pose=pose), setup.center_array("qip_A^-1", pose=pose)
    )
    np.testing.assert_array_equal(setup.across_points(pose, p1, p2), setup.across_centers(pose))


def test_a_side_continues_over_the_wedge() -> None:
    setup, pose = geometry(rot1=0.0), SamplePose(0.01)
    own, right, left = (setup.center_array("qip_nm^-1", pose=pose, side=side) for side in (0, 1, -1))
    np.testing.assert_array_equal(right, -left)
    np.testing.assert_array_equal(own, np.where(setup.across_centers(pose) >= 0, right, left))


def test_a_missing_wavelength_is_named() -> None:
    for unit in ("qip_nm^-1", "formula: wavelength", "formula: q"):
        with pytest.raises(GeometryError, match="needs the wavelength"):
            geometry(wavelength=None).center_array(unit)  # type: ignore[arg-type]
    geometry(wavelength=None).center_array("chigi_deg")  # type: ignore[arg-type]
