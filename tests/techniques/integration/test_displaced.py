"""Integration on detectors whose pixels are displaced: each is where its description says, also in a stored map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from friedel.core.errors import GeometryError
from friedel.instrument import Detector, Geometry, PixelTable
from friedel.instrument.detector_file import corner_table
from friedel.techniques.integration import RadialMap

SHAPE = (60, 50)


def geometry(bend: float) -> Geometry:
    """A detector whose pixels are moved towards its middle, the more the farther out they are."""
    detector = Detector.from_shape(SHAPE, 1e-3)
    corners = corner_table(detector).astype(float)
    from_middle = corners[..., 1:] - np.array([0.030, 0.025])
    corners[..., 1:] -= bend * from_middle * np.hypot(*np.moveaxis(from_middle, -1, 0))[..., np.newaxis]
    detector = replace(detector, pixels=PixelTable(corners))
    return Geometry(detector, 0.1, 0.031, 0.022, 0.1, -0.05, 0.2, wavelength=0.5e-10)


@pytest.mark.parametrize("splitting", ["none", "bbox", "full"])
def test_rings_are_sharp_where_the_pixels_are_known(splitting):
    bent = geometry(10.0)
    image = (1000 + 500 * np.sin(bent.center_array("q_nm^-1") / 2))[np.newaxis]
    options = {"npt": 40, "radial_range": (5, 40), "splitting": splitting, "solid_angle": False}
    radial_map = RadialMap.build(bent, **options)
    found = radial_map(image).intensity[0]
    expected = 1000 + 500 * np.sin(radial_map.radial.centers / 2)
    straight = RadialMap.build(geometry(0.0), **options)(image).intensity[0]
    inner = slice(2, -2)
    error, wrong = (np.abs(values - expected)[inner].max() for values in (found, straight))
    assert error < 60 and wrong > 3 * error


def test_a_stored_map_knows_its_pixels(tmp_path):
    bent = geometry(10.0)
    radial_map = RadialMap.build(bent, npt=50)
    radial_map.save(tmp_path / "map.h5")
    loaded = RadialMap.load(tmp_path / "map.h5", bent)
    assert loaded.geometry == bent and loaded.fingerprint == radial_map.fingerprint
    image = np.random.default_rng(1).poisson(30, (1, *SHAPE))
    np.testing.assert_array_equal(loaded(image).intensity, radial_map(image).intensity)
    with pytest.raises(GeometryError, match="another geometry"):
        RadialMap.load(tmp_path / "map.h5", geometry(5.0))


def hexagons() -> Geometry:
    return Geometry(Detector.hexagonal((40, 36), 1e-3), 0.1, -0.03, -0.02, 0.1, -0.05, 0.2, wavelength=0.5e-10)


def bent() -> Geometry:
    detector = Detector.cylindrical((30, 200), 1e-3, 1e-3, 0.1)
    return Geometry(detector, 0.1, 0.012, -0.003, 0.02, -0.05, 0.2, wavelength=0.5e-10)


def uneven() -> Geometry:
    return Geometry(Detector.named("Jungfrau"), 0.06, 0.012, 0.003, 0.1, -0.05, 0.2, wavelength=0.5e-10)


def plain(geometry: Geometry, unit: str, splitting: str, npt: int = 60, **options) -> RadialMap:
    return RadialMap.build(geometry, npt=npt, unit=unit, splitting=splitting, solid_angle=False, **options)


def points_in_pixels(detector: Detector, count: int) -> tuple[np.ndarray, ...]:
    """Points evenly spread over each pixel, (p1, p2, p3), each (rows, columns, points): those of its triangles."""
    a, b = np.meshgrid((np.arange(count) + 1 / 3) / count, (np.arange(count) + 1 / 3) / count)
    inside = a + b < 1
    u, v = a[inside], b[inside]
    found = []
    corners = detector.corner_positions(slice(None))
    for part in corners:
        if part is None:
            found.append(None)
            continue
        triangles = [
            part[..., :1] + u * (part[..., k : k + 1] - part[..., :1]) + v * (part[..., k + 1 : k + 2] - part[..., :1])
            for k in range(1, part.shape[-1] - 1)
        ]
        found.append(np.stack(triangles, axis=-2))
    return tuple(found)


@pytest.mark.parametrize("unit", ["2th_deg", "qx_nm^-1", "r_mm"])
def test_hexagons_are_spread_over_their_own_area(unit):
    """Against points spread over each hexagon, its triangles weighted by their areas."""
    geometry = hexagons()
    radial_map = plain(geometry, unit, "full", 25)
    p1, p2, _ = points_in_pixels(geometry.detector, 40)
    values = geometry.point_array(unit, p1.reshape(-1), p2.reshape(-1)).reshape(p1.shape)
    edges = radial_map.radial.low + radial_map.radial.step * np.arange(26)
    # The triangles of a hexagon from one corner: areas of 1, 2, 2 and 1 sixths.
    weights = np.broadcast_to(np.array([1, 2, 2, 1])[:, None] / 6 / p1.shape[-1], p1.shape)
    expected = np.zeros((values.shape[0] * values.shape[1], 25))
    for number, (value, weight) in enumerate(
        zip(values.reshape(len(expected), -1), weights.reshape(len(expected), -1), strict=True)
    ):
        expected[number] = np.histogram(value, edges, weights=weight)[0]
    shares = radial_map.pixel_map()
    found = np.zeros_like(expected)
    owner = np.repeat(np.arange(len(expected)), np.diff(shares.pointers))
    np.add.at(found, (owner, shares.bins), shares.weights)
    # A polygon of straight edges in (2θ, χ) is not quite that of the pixel: a hundredth of a pixel.
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.abs(found - expected).mean() < 1e-3


@pytest.mark.parametrize("setup", [hexagons, bent, uneven])
@pytest.mark.parametrize("unit", ["2th_deg", "qx_nm^-1", "qip_nm^-1"])
def test_every_pixel_counts_once(setup, unit):
    """Within the range of all pixels their shares sum to one, whatever the splitting: nothing is lost or made."""
    geometry = setup()
    image = np.random.default_rng(3).poisson(50, geometry.shape).astype(np.float32)
    for splitting in ("none", "bbox", "pseudo", "full"):
        radial_map = plain(geometry, unit, splitting)
        shares = radial_map.pixel_map()
        owner = np.repeat(np.arange(image.size), np.diff(shares.pointers))
        total = np.bincount(owner, shares.weights, image.size)
        np.testing.assert_allclose(total[~geometry.detector.mask().ravel()], 1.0, atol=3e-6, err_msg=splitting)
        result = radial_map(np.ones_like(image)[None])
        np.testing.assert_allclose(result.intensity[np.isfinite(result.intensity)], 1.0, rtol=1e-6)


@pytest.mark.parametrize("setup", [hexagons, bent, uneven])
@pytest.mark.parametrize("splitting", ["none", "bbox", "full"])
def test_isotropic_scattering_is_constant(setup, splitting):
    """What a pixel sees of isotropic scattering is its solid angle: the one between its edges, on the unit sphere."""
    geometry = setup()
    p1, p2, p3 = geometry.detector.corner_positions(slice(None))
    depth = geometry.distance + (0.0 if p3 is None else p3)
    d = np.stack(np.broadcast_arrays(p1 - geometry.poni1, p2 - geometry.poni2, depth), axis=-1)
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    seen = np.zeros(geometry.shape)
    for k in range(1, p1.shape[-1] - 1):  # van Oosterom and Strackee, IEEE Trans. Biomed. Eng. 30 (1983) 125
        a, b, c = d[..., 0, :], d[..., k, :], d[..., k + 1, :]
        triple = np.einsum("...i,...i", a, np.cross(b, c))
        dots = [np.einsum("...i,...i", *pair) for pair in ((a, b), (b, c), (c, a))]
        seen += 2 * np.arctan2(triple, 1 + sum(dots))
    unit = geometry.detector.pixel1 * geometry.detector.pixel2 / geometry.distance**2
    np.testing.assert_allclose(geometry.solid_angle(), np.abs(seen) / unit, rtol=1e-4)
    for npt_azimuth in (None, 12):
        radial_map = RadialMap.build(geometry, npt=60, npt_azimuth=npt_azimuth, splitting=splitting)
        found = radial_map((np.abs(seen) * 1e9).astype(np.float32)[None]).intensity
        np.testing.assert_allclose(found[np.isfinite(found)], unit * 1e9, rtol=2e-4)


@pytest.mark.parametrize("setup", [hexagons, bent, uneven])
def test_a_stored_map_knows_the_rule_of_its_pixels(setup, tmp_path):
    geometry = setup()
    radial_map = RadialMap.build(geometry, npt=50)
    radial_map.save(tmp_path / "map.h5")
    loaded = RadialMap.load(tmp_path / "map.h5", geometry)
    assert loaded.geometry == geometry and loaded.geometry.detector.modules() == geometry.detector.modules()
