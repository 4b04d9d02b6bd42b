"""Patterns and cakes over any two units: grazing incidence and its missing wedge, formulas, profiles along azimuth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from friedel.core.errors import ParameterError
from friedel.core.units import UNITS
from friedel.instrument import Detector, Geometry
from friedel.instrument.coordinates import SamplePose
from friedel.techniques.integration import Integrator, RadialMap

SHAPE = (61, 53)
SPLITTINGS = ("none", "bbox", "full")


def geometry(**changes: Any) -> Geometry:
    values = {"distance": 0.05, "poni1": 10.3e-3, "poni2": 27.1e-3, "wavelength": 1e-10} | changes
    return Geometry(Detector.from_shape(SHAPE, 1e-3, 1e-3), **values)


def cake(splitting: str, unit: str, azimuth_unit: str, image: NDArray[Any] | None = None, **options: Any) -> Any:
    integrator = Integrator(
        geometry(), unit=unit, azimuth_unit=azimuth_unit, splitting=splitting, solid_angle=False, **options
    )
    return integrator.integrate2d(np.ones(SHAPE) if image is None else image)


@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("unit", [name for name, unit in UNITS.items() if not unit.period])
def test_an_even_image_is_even_in_every_unit(unit: str, splitting: str) -> None:
    radial_map = RadialMap.build(geometry(), unit=unit, npt=50, splitting=splitting, solid_angle=False)
    result = Integrator(geometry(), unit=unit, npt=50, splitting=splitting, solid_angle=False).integrate1d(
        np.ones(SHAPE)
    )
    values = result.intensity.values
    np.testing.assert_allclose(values[np.isfinite(values)], 1.0, rtol=1e-6)
    assert result.radial.attrs["radial_unit"] == unit
    # The pixel of the beam reaches below the lowest corner, where the range begins.
    assert radial_map.total_count == pytest.approx(61 * 53, abs=1.001 if UNITS[unit].beam is not None else 1e-3)


@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize(
    ("unit", "azimuth_unit"),
    [
        ("qip_nm^-1", "qoop_nm^-1"),
        ("qxgi_A^-1", "qygi_A^-1"),
        ("exit_angle_horz_deg", "exit_angle_vert_deg"),
        ("q_nm^-1", "chigi_deg"),
        ("qoop_nm^-1", "qip_nm^-1"),
        ("qip_nm^-1", "exit_angle_vert_rad"),
        ("formula: x", "formula: y"),
    ],
)
def test_no_pixel_is_lost_in_any_plane(unit: str, azimuth_unit: str, splitting: str) -> None:
    pose = {} if "formula" in unit else {"incidence": 0.3, "tilt": 5.0, "sample_orientation": 6}
    radial_map = RadialMap.build(
        geometry(), unit=unit, azimuth_unit=azimuth_unit, npt=40, npt_azimuth=30, splitting=splitting, **pose
    )
    assert radial_map.total_count == pytest.approx(61 * 53, abs=1.001 if unit == "q_nm^-1" else 1e-3)


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_positions_on_the_detector_as_units_give_the_image_back(splitting: str) -> None:
    image = np.random.default_rng(1).integers(0, 1000, SHAPE).astype(float)
    ranges = {"radial_range": (-27.1, 25.9), "azimuth_range": (-10.3, 50.7)}
    found = cake(splitting, "formula: x", "formula: y", image, npt=53, npt_azimuth=61, **ranges)
    np.testing.assert_allclose(found.intensity.values, image, atol=0.05)


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_the_missing_wedge_is_empty(splitting: str) -> None:
    # No pixel is seen at |q_ip| below the part of q along the beam.
    result = cake(splitting, "qip_nm^-1", "qoop_nm^-1", npt=200, npt_azimuth=40, incidence=0.2)
    in_plane, out_of_plane = np.meshgrid(result.radial.values, result.azimuth.values)
    k, incidence = 2 * np.pi / 0.1, np.deg2rad(0.2)
    # On the line between both sides: q in the plane of incidence at the exit angle αf.
    exit_angle = np.arcsin(out_of_plane / k - np.sin(incidence))
    edge = k * np.abs(np.cos(exit_angle) - np.cos(incidence))
    step = result.radial.values[1] - result.radial.values[0], result.azimuth.values[1] - result.azimuth.values[0]
    slope = np.abs(np.gradient(edge[:, 0], out_of_plane[:, 0]))[:, None]
    inside = np.abs(in_plane) < edge - 0.5 * step[0] - slope * step[1]
    assert inside.sum() > 100
    assert np.isnan(result.intensity.values[inside]).all()


def test_a_pixel_across_the_wedge_is_shared_by_both_sides_like_its_area() -> None:
    # The PONI lies 0.1 of a pixel beside a pixel's edge: 0.9 of the pixels of that column are on one side.
    column = 27
    options = {"unit": "qip_nm^-1", "azimuth_unit": "qoop_nm^-1", "splitting": "full", "npt": 2, "npt_azimuth": 1}
    radial_map = RadialMap.build(geometry(), radial_range=(-60, 60), azimuth_range=(-60, 60), **options)
    shares = radial_map.pixel_map()
    dense = np.zeros((61 * 53, 2))
    np.add.at(dense, (np.repeat(np.arange(61 * 53), np.diff(shares.pointers)), shares.bins), shares.weights)
    sides = dense.reshape(61, 53, 2)
    np.testing.assert_allclose(sides[:, column], [[0.1, 0.9]] * 61, atol=1e-4)
    np.testing.assert_allclose(sides[:, column + 1], [[0.0, 1.0]] * 61, atol=1e-6)


@pytest.mark.parametrize("splitting", ["bbox", "full"])
def test_a_wedge_along_the_edges_of_pixels_tears_none(splitting: str) -> None:
    setup = geometry(poni2=27e-3)
    options = {"unit": "qip_nm^-1", "azimuth_unit": "qoop_nm^-1", "npt": 2, "npt_azimuth": 1}
    radial_map = RadialMap.build(
        setup, radial_range=(-60, 60), azimuth_range=(-60, 60), splitting=splitting, solid_angle=False, **options
    )
    counts = np.asarray(radial_map.scatter.constants[2]).ravel()
    np.testing.assert_allclose(counts, [27 * 61, 26 * 61], rtol=1e-6)


def test_sample_orientations_turn_and_mirror_the_cake() -> None:
    image = np.random.default_rng(2).random(SHAPE)
    ranges = {"radial_range": (-40, 40), "azimuth_range": (-40, 40), "npt": 21, "npt_azimuth": 21}

    def regrouped(orientation: int) -> NDArray[Any]:
        options = {"sample_orientation": orientation} | ranges
        result = cake("none", "scattering_angle_horz_deg", "scattering_angle_vert_deg", image, **options)
        return np.asarray(result.intensity.values)

    upright = regrouped(1)
    np.testing.assert_array_equal(regrouped(2), upright[:, ::-1])
    np.testing.assert_array_equal(regrouped(3), upright[::-1, ::-1])
    np.testing.assert_array_equal(regrouped(4), upright[::-1])


def test_a_profile_over_one_unit_can_be_cut_out_by_the_other() -> None:
    image = np.random.default_rng(3).random(SHAPE)
    options = {"npt": 30, "radial_range": (-30, 30), "incidence": 0.3, "unit": "qip_nm^-1"}
    strip = Integrator(geometry(), azimuth_unit="qoop_nm^-1", azimuth_range=(2.0, 5.0), splitting="none", **options)
    found = strip.integrate1d(image).intensity.values
    pose = SamplePose(np.deg2rad(0.3))
    in_plane, out_of_plane = (geometry().center_array(unit, pose=pose) for unit in ("qip_nm^-1", "qoop_nm^-1"))
    inside = (out_of_plane >= 2.0) & (out_of_plane < 5.0)
    weights = geometry().solid_angle()[inside]
    bins = np.linspace(-30, 30, 31)
    signal = np.histogram(in_plane[inside], bins, weights=image[inside])[0]
    norm = np.histogram(in_plane[inside], bins, weights=weights)[0]
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(found, signal / norm, rtol=1e-5)


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_a_radial_profile_is_the_cake_of_one_radial_bin(splitting: str) -> None:
    image = np.random.default_rng(4).random((3, *SHAPE))
    integrator = Integrator(geometry(), splitting=splitting, radial_range=(5, 20), npt=1, error_model="poisson")
    profile = integrator.integrate_radial(image, npt_azimuth=24)
    regrouped = integrator.integrate2d(image, npt_azimuth=24)
    assert profile.intensity.dims == ("frame", "azimuth")
    assert profile.azimuth.attrs["units"] == "deg"
    np.testing.assert_array_equal(profile.intensity.values, regrouped.intensity.values[..., 0])
    np.testing.assert_array_equal(profile.intensity_errors.values, regrouped.intensity_errors.values[..., 0])


def test_logarithmic_units_take_ranges_below_zero() -> None:
    result = Integrator(geometry(), unit="log_q_nm", radial_range=(-1.0, 3.0), npt=20).integrate1d(np.ones(SHAPE))
    assert result.radial.values[0] == pytest.approx(-0.9, abs=1e-6)
    other = Integrator(geometry(), unit="log10_q_m", radial_range=(8.0, 11.0), npt=20).integrate1d(np.ones(SHAPE))
    assert np.isfinite(other.intensity.values).any()


def test_automatic_ranges_of_signed_units_reach_below_zero() -> None:
    result = cake("none", "qip_nm^-1", "qoop_nm^-1", npt=10, npt_azimuth=10)
    assert result.radial.values[0] < -10 < 10 < result.radial.values[-1]
    assert result.azimuth.values[0] < -5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "chi_deg"}, "integrate_radial"),
        ({"unit": "q_A^-1", "azimuth_unit": "q_nm^-1"}, "both measure the same"),
        ({"incidence": 0.2}, "no unit depends on it"),
        ({"unit": "qip_nm^-1", "sample_orientation": 9}, "sample_orientation is 9"),
        ({"unit": "qip_nm^-1", "azimuth_unit": "qoop_nm^-1", "azimuth_range": (3, 2)}, "azimuth_range is 3 to 2"),
        ({"azimuth_unit": "chi"}, "no unit 'chi'"),
        ({"unit": "formula: q +"}, "cannot be read"),
    ],
)
def test_planes_that_mean_nothing_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        RadialMap.build(geometry(), **options)


def test_a_map_in_other_units_can_be_stored(tmp_path: Any) -> None:
    options = {"unit": "qip_nm^-1", "azimuth_unit": "formula: qoop * 2", "incidence": 0.3, "npt_azimuth": 20}
    radial_map = RadialMap.build(geometry(), npt=30, **options)
    radial_map.save(tmp_path / "map.h5")
    again = RadialMap.load(tmp_path / "map.h5")
    assert again.binning == radial_map.binning
    frames = np.ones((1, *SHAPE))
    np.testing.assert_array_equal(again(frames).intensity, radial_map(frames).intensity)
