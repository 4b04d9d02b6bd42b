"""Robust patterns: the same path as the mean, with other sums."""

from __future__ import annotations

import json
import pickle

import h5py
import numpy as np
import pytest

import friedel
from friedel.core.errors import ParameterError
from friedel.instrument import Detector, Geometry
from friedel.techniques.integration import FrameBlock, Integrator, Mean, Percentile, RadialMap, SigmaClip
from friedel.techniques.integration.estimators import describe, estimator_of

SHAPE = (120, 110)
LEVEL = 100.0


def setup() -> Geometry:
    return Geometry(Detector.from_shape(SHAPE, 5e-4), 0.1, 0.031, 0.022, 0.1, -0.05, 0.2, wavelength=0.5e-10)


def spotted(count: int = 3, seed: int = 0) -> np.ndarray:
    """Flat counts with Bragg spots and zingers in about one of a hundred pixels."""
    rng = np.random.default_rng(seed)
    frames = rng.poisson(LEVEL, (count, *SHAPE))
    return np.where(rng.uniform(size=frames.shape) < 0.01, frames + 3000, frames).astype(np.uint16)


def build(**options) -> RadialMap:
    return RadialMap.build(setup(), **{"npt": 30, "solid_angle": False, "splitting": "none"} | options)


@pytest.mark.parametrize("splitting", ["none", "bbox", "full"])
@pytest.mark.parametrize("estimator", [SigmaClip(), Percentile(), Percentile(20, 80)])
@pytest.mark.parametrize("npt_azimuth", [None, 4])
def test_spots_do_not_spoil_a_pattern(splitting, estimator, npt_azimuth) -> None:
    options = {"splitting": splitting, "npt_azimuth": npt_azimuth}
    mean = build(**options)(spotted()).intensity
    robust = build(**options, estimator=estimator)(spotted()).intensity
    crowded = np.isfinite(robust)
    assert np.median(np.abs(mean[crowded] - LEVEL)) > 10
    assert np.median(np.abs(robust[crowded] - LEVEL)) < 3


@pytest.mark.parametrize("model", ["none", "poisson", "azimuthal", "hybrid"])
def test_clean_data_are_not_clipped(model) -> None:
    frames = np.random.default_rng(3).uniform(90, 110, (2, *SHAPE)).astype(np.float32)
    clipped = build(error_model=model, estimator=SigmaClip())(frames)
    plain = build(error_model="poisson" if model == "hybrid" else model)(frames)
    np.testing.assert_allclose(clipped.intensity, plain.intensity, rtol=1e-6)
    if model == "none":
        assert clipped.intensity_errors is None
    else:
        np.testing.assert_allclose(clipped.intensity_errors, plain.intensity_errors, rtol=1e-6)


def test_errors_and_spread_are_kept_apart() -> None:
    """The error is that of the mean, √V/N; the spread of one pixel is √(V/N2)."""
    patterns = build(error_model="azimuthal", estimator=SigmaClip(), keep_sums=True, radial_range=(10, 60))(spotted())
    number = patterns.sums.count
    np.testing.assert_allclose(patterns.intensity_std / np.sqrt(number), patterns.intensity_errors, rtol=1e-6)
    assert np.median(patterns.intensity_std) == pytest.approx(np.sqrt(LEVEL), rel=0.05)


def test_clipped_pixels_were_valid() -> None:
    frames = spotted()
    np.testing.assert_allclose(build(estimator=SigmaClip())(frames).valid_fraction, 1, rtol=1e-6)
    assert build(estimator=SigmaClip(), keep_sums=True)(frames).sums.rejected.sum() > 0.009 * frames.size


def test_monitor_and_variance_apply() -> None:
    frames, radial_map = spotted(), build(estimator=SigmaClip())
    halved = radial_map(FrameBlock(frames, normalization=np.full(3, 2.0))).intensity
    np.testing.assert_allclose(2 * halved, radial_map(frames).intensity, rtol=1e-6)
    given = radial_map.with_options(error_model="variance")(FrameBlock(frames, variance=np.full(SHAPE, LEVEL)))
    assert np.nanmedian(np.abs(given.intensity - LEVEL)) < 3


def test_negative_counts_are_refused_as_for_the_mean() -> None:
    frames = spotted().astype(np.int32)
    frames[1, 5, 6] = -7
    for model in ("poisson", "hybrid"):
        with pytest.raises(friedel.FriedelError, match="frame 1: the count in row 5, column 6 is -7"):
            build(error_model=model, estimator=SigmaClip())(frames)


def test_the_estimator_of_a_map_can_be_changed() -> None:
    frames = spotted()
    changed = build().with_options(estimator="sigma_clip")
    np.testing.assert_array_equal(changed(frames).intensity, build(estimator=SigmaClip())(frames).intensity)
    np.testing.assert_array_equal(changed.with_options(estimator=Mean())(frames).intensity, build()(frames).intensity)


@pytest.mark.parametrize("estimator", [SigmaClip(4.0, 3), Percentile(10, 60)])
def test_a_map_can_be_stored_and_sent(estimator, tmp_path) -> None:
    radial_map, frames = build(estimator=estimator, error_model="azimuthal"), spotted()
    radial_map.save(tmp_path / "map.h5")
    for other in (RadialMap.load(tmp_path / "map.h5"), pickle.loads(pickle.dumps(radial_map))):  # noqa: S301
        assert other.averaging.estimator == estimator
        np.testing.assert_array_equal(other(frames).intensity, radial_map(frames).intensity)


def test_an_integrator_takes_it_and_gives_the_sums() -> None:
    result = Integrator(setup(), npt=30, estimator="percentile", keep_sums=True).integrate1d(spotted())
    assert json.loads(result.attrs["estimator"]) == {"name": "percentile", "low": 50.0, "high": 50.0}
    assert "sum_rejected" in result


@pytest.mark.parametrize("estimator", [Mean(), SigmaClip(3, 2), Percentile(5, 7)])
def test_an_estimator_is_described_by_plain_values(estimator) -> None:
    assert estimator_of(json.loads(json.dumps(describe(estimator)))) == estimator


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: build(estimator="median"), "Choose one of mean, sigma-clip, percentile"),
        (lambda: SigmaClip(0.5), "threshold is 0.5"),
        (lambda: SigmaClip(iterations=-1), "iterations is -1"),
        (lambda: Percentile(60, 40), "percentile is 60 to 40"),
    ],
)
def test_what_cannot_be_is_refused(make, problem) -> None:
    with pytest.raises(ParameterError, match=problem):
        make()


@pytest.fixture
def files(tmp_path):
    setup().save(tmp_path / "setup.poni")
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["entry/data/data"] = spotted()
    return str(tmp_path / "frames.h5"), str(tmp_path / "setup.poni")


@pytest.mark.parametrize(
    ("given", "estimator"),
    [
        ({"estimator": "sigma-clip", "clip_threshold": 4, "clip_iterations": 3}, SigmaClip(4, 3)),
        ({"estimator": "sigma_clip"}, SigmaClip()),
        ({"estimator": "percentile", "percentile": (30, 70)}, Percentile(30, 70)),
        ({}, Mean()),
    ],
)
def test_the_task_offers_them(files, given, estimator) -> None:
    frames, geometry = files
    result = friedel.integrate1d(frames, geometry=geometry, npt=30, splitting="none", error_model="azimuthal", **given)
    assert estimator_of(json.loads(result.attrs["estimator"])) == estimator
    expected = build(estimator=estimator, error_model="azimuthal", solid_angle=True)(spotted())
    np.testing.assert_allclose(result["intensity"], expected.intensity)
    np.testing.assert_allclose(result["intensity_errors"], expected.intensity_errors)


@pytest.mark.parametrize("options", [{"covariance": True, "error_model": "poisson"}, {"weighted": False}])
def test_what_does_not_go_with_a_robust_estimator_is_refused(options) -> None:
    with pytest.raises(ParameterError, match="estimator mean"):
        build(estimator="percentile", **options)


def test_what_belongs_to_another_estimator_is_refused(tmp_path) -> None:
    setup().save(tmp_path / "setup.poni")
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["entry/data/data"] = spotted()
    for wrong in (
        {"clip_threshold": 3},
        {"clip_iterations": 2, "estimator": "percentile"},
        {"percentile": (20, 80), "estimator": "sigma-clip"},
    ):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            friedel.integrate1d(tmp_path / "frames.h5", geometry=tmp_path / "setup.poni", **wrong)


def test_hybrid_needs_clipping() -> None:
    for estimator in (Mean(), Percentile()):
        with pytest.raises(ParameterError, match="hybrid"):
            build(error_model="hybrid", estimator=estimator)
