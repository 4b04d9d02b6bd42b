"""Sectors: wherever they lie, and whatever side of the cut, they hold the pixels of their angles and no others.

Each of these went wrong in pyFAI once (or still does); the numbers are those of its issues.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from friedel.instrument import Detector, Geometry
from friedel.techniques.integration import Integrator

SHAPE = (60, 50)
GEOMETRY = Geometry(Detector.from_shape(SHAPE, 1e-3, 1e-3), 0.1, 30.2e-3, 24.7e-3, wavelength=1e-10)
CHI = np.rad2deg(GEOMETRY.azimuth_center())
IMAGE = 100 + 50 * np.sin(np.deg2rad(3 * CHI)) + np.random.default_rng(1).random(SHAPE)
SPLITTINGS = ("none", "bbox", "pseudo", "full")
CUTS = ("pi", "0")
FINE = {"none": 1e-6, "bbox": 0.05, "pseudo": 0.05, "full": 0.02}
"""How well a sector of split pixels is that of their centres."""


def inside(low: float, high: float) -> NDArray[np.bool_]:
    width = (high - low) % 360 or 360
    return np.asarray((CHI - low) % 360 < width)


def integrator(low: float, high: float, **options: Any) -> Integrator:
    return Integrator(GEOMETRY, npt=1, azimuth_range=(low, high), solid_angle=False, **options)


def mean_of(low: float, high: float, **options: Any) -> float:
    return float(integrator(low, high, **options).integrate1d(IMAGE).intensity[0])


@pytest.mark.parametrize("cut", CUTS)
@given(low=st.floats(-1000, 1000), width=st.floats(3, 357))
@settings(max_examples=40, deadline=None)
def test_a_sector_holds_the_pixels_of_its_angles(cut: str, low: float, width: float) -> None:
    # 839: a range across the cut; 1786: a range above 180 degrees.
    found = mean_of(low, low + width, splitting="none", discontinuity=cut)
    assert found == pytest.approx(IMAGE[inside(low, low + width)].mean(), rel=1e-4)


@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("center", range(-180, 361, 30))
def test_sectors_all_round(splitting: str, cut: str, center: float) -> None:
    # 1275: no pixels about 270 degrees; 1487: the same pattern whatever the sector; 2246.
    expected = IMAGE[inside(center - 15, center + 15)].mean()
    found = mean_of(center - 15, center + 15, splitting=splitting, discontinuity=cut)
    assert found == pytest.approx(expected, rel=FINE[splitting])


@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("limits", [(170, 190), (350, 10), (350, 370), (-10, 10), (190, 270), (170, -170), (0, 270)])
def test_profiles_along_the_azimuth(splitting: str, cut: str, limits: tuple[float, float]) -> None:
    # 1978: empty bins where the range crosses the cut.
    low, high = limits
    profile = integrator(low, high, splitting=splitting, discontinuity=cut).integrate_radial(IMAGE, npt_azimuth=4)
    width = (high - low) % 360 / 4
    np.testing.assert_allclose(profile.azimuth.values, low + width * (np.arange(4) + 0.5), atol=1e-4)
    expected = [IMAGE[inside(low + i * width, low + (i + 1) * width)].mean() for i in range(4)]
    np.testing.assert_allclose(profile.intensity.values, expected, rtol=0.1 if splitting != "none" else 1e-4)


@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("limits", [(190.0, 270.0), (170.0, -170.0), (-30.0, 60.0)])
def test_cakes_are_limited_both_ways(splitting: str, limits: tuple[float, float]) -> None:
    # 1559: cakes took no notice of ranges; 1786: empty above 180 degrees.
    counts = {}
    for cut in CUTS:
        made = integrator(*limits, splitting=splitting, discontinuity=cut, keep_sums=True, radial_range=(4.0, 12.0))
        counts[cut] = made.integrate2d(IMAGE, npt_azimuth=5)
        assert np.isfinite(counts[cut].intensity.values).all()
    q = GEOMETRY.center_array("q_nm^-1")
    expected = np.count_nonzero(inside(*limits) & (q >= 4) & (q < 12))
    assert float(counts["pi"].sum_count.sum()) == pytest.approx(expected, rel=0.03 if splitting != "none" else 1e-9)
    np.testing.assert_allclose(counts["pi"].intensity.values, counts["0"].intensity.values, rtol=1e-6)


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_the_whole_circle_begins_at_the_cut(splitting: str) -> None:
    # 205, 1533: the circle from 0 to 360 was half empty; 950: the bins of a given range are what they should be.
    for cut, low in (("pi", -180.0), ("0", 0.0)):
        options = {"splitting": splitting, "discontinuity": cut, "solid_angle": False, "keep_sums": True}
        made = Integrator(GEOMETRY, npt=1, **options).integrate2d(IMAGE, npt_azimuth=36)
        assert low <= made.azimuth.values[0] < low + 10
        assert np.isfinite(made.intensity.values).all()
        assert float(made.sum_count.sum()) == pytest.approx(IMAGE.size, abs=1.001)
    given_range = integrator(-180, 180, splitting=splitting).integrate2d(IMAGE, npt_azimuth=360)
    np.testing.assert_allclose(given_range.azimuth.values, np.arange(-179.5, 180), atol=1e-4)


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_sectors_add_up_to_the_circle(splitting: str) -> None:
    # 1536: a pixel across the limit between two sectors is shared by both.
    parts = [
        integrator(low, low + 45, splitting=splitting, keep_sums=True).integrate1d(IMAGE) for low in range(100, 460, 45)
    ]
    total = sum(float(part.sum_signal.sum()) for part in parts)
    assert total == pytest.approx(IMAGE.sum(), rel=1e-5, abs=150 if splitting != "none" else 0)
