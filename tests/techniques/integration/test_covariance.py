"""Covariances of bins against a plain sum over pixels, and against what many noisy frames show."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

import friedel
from friedel.core.errors import ParameterError
from friedel.data import covariance_matrix, whitened
from friedel.instrument import Detector, Geometry
from friedel.techniques.integration import FrameBlock, Integrator, RadialMap

SHAPE = (60, 70)
GEOMETRY = Geometry(Detector.from_shape(SHAPE, 1e-3), 0.1, 0.011, 0.037, 0.05, -0.1, 0.2, wavelength=1e-10)
NPT = 40
FINE = 130  # bins narrower than pixels


def built(**options):
    return RadialMap.build(GEOMETRY, **({"npt": NPT, "error_model": "poisson", "covariance": True} | options))


def by_hand(radial_map, variance, w):
    """Σ c_ib c_ib' v_i / (N_b N_b') with dense matrices."""
    shares = radial_map.pixel_map()
    c = np.zeros((shares.n_pixels, shares.n_bins))
    pixel = np.repeat(np.arange(shares.n_pixels), np.diff(shares.pointers))
    np.add.at(c, (pixel, shares.bins), shares.weights)
    norm = c.T @ w.ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        return (c.T * np.where(np.isfinite(variance), variance, 0).ravel()) @ c / np.outer(norm, norm)


@pytest.mark.parametrize("splitting", ["none", "bbox", "full"])
@pytest.mark.parametrize("weighted", [True, False])
def test_patterns_against_a_plain_sum(splitting, weighted):
    rng = np.random.default_rng(3)
    frames = rng.poisson(40, (2, *SHAPE)).astype(np.uint16)
    flat, dark, dark_variance = rng.uniform(0.5, 2, SHAPE), rng.uniform(0, 3, SHAPE), rng.uniform(0, 2, SHAPE)
    radial_map = built(splitting=splitting, flat=flat, dark=dark, dark_variance=dark_variance, weighted=weighted)
    found = radial_map(FrameBlock(frames, normalization=np.array([1.0, 2.0])))
    w = flat * GEOMETRY.solid_angle()
    for frame, bands, factor in zip(frames, found.intensity_covariance, (1.0, 2.0), strict=True):
        expected = by_hand(radial_map, np.maximum(frame, 1) + dark_variance, w) / factor**2
        np.testing.assert_allclose(covariance_matrix(bands), expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.intensity_errors, np.sqrt(found.intensity_covariance[:, 0]), rtol=1e-5)
    assert found.intensity_covariance.shape[1] == (1 if splitting == "none" else radial_map.pairs.reach + 1)


def test_the_matrix_of_a_cake_with_pixels_that_drop_out():
    rng = np.random.default_rng(4)
    frame = rng.poisson(40, SHAPE).astype(np.float32)
    frame[10:20, 15:30] = np.nan
    radial_map = built(npt=12, npt_azimuth=9)
    (found,) = radial_map.covariance(frame[None])
    w = GEOMETRY.solid_angle() * np.isfinite(frame)
    expected = by_hand(radial_map, np.maximum(frame, 1), w)
    seen = np.isfinite(np.diag(expected))
    np.testing.assert_allclose(found.toarray()[np.ix_(seen, seen)], expected[np.ix_(seen, seen)], rtol=1e-5, atol=1e-9)
    assert radial_map(frame[None]).intensity_covariance is None
    pattern = built()
    dense = covariance_matrix(pattern(frame[None]).intensity_covariance[0])
    np.testing.assert_allclose(pattern.covariance(frame[None])[0].toarray(), dense, rtol=1e-12)


@pytest.mark.parametrize("azimuth_range", [None, (-40.0, 30.0)])
def test_profiles_along_the_azimuth(azimuth_range):
    """On a whole circle the last bin shares pixels with the first."""
    frames = np.random.default_rng(3).poisson(40, (2, *SHAPE)).astype(np.uint16)
    radial_map = built(npt_azimuth=24, azimuthal=True, azimuth_range=azimuth_range)
    found = radial_map(frames)
    for frame, bands in zip(frames, found.intensity_covariance, strict=True):
        expected = by_hand(radial_map, np.maximum(frame, 1), GEOMETRY.solid_angle())
        np.testing.assert_allclose(covariance_matrix(bands), expected, rtol=1e-5, atol=1e-9)
    whole = azimuth_range is None
    assert found.intensity_covariance.shape[1] == (24 if whole else radial_map.pairs.reach + 1)
    assert (found.intensity_covariance[0, -1, 0] > 0) or not whole
    result = Integrator(GEOMETRY, npt_azimuth=24, error_model="poisson", covariance=True).integrate_radial(frames)
    assert result["intensity_covariance"].dims == ("frame", "offset", "azimuth")


@pytest.mark.parametrize("task", [friedel.integrate2d, friedel.merge2d])
def test_tasks_say_where_the_matrix_of_a_cake_is(tmp_path, task):
    GEOMETRY.save(tmp_path / "setup.poni")
    np.save(tmp_path / "frame.npy", np.ones(SHAPE, np.uint16))
    with pytest.raises(ParameterError, match=r"covariance(.|\n)*RadialMap"):
        task(tmp_path / "frame.npy", geometry=tmp_path / "setup.poni", error_model="poisson", covariance=True)


def test_a_task_gives_the_covariances_of_a_profile(tmp_path):
    GEOMETRY.save(tmp_path / "setup.poni")
    np.save(tmp_path / "frame.npy", np.full((2, *SHAPE), 20, np.uint16))
    given = {"geometry": tmp_path / "setup.poni", "error_model": "poisson", "covariance": True, "npt": 24}
    result = friedel.integrate_radial(tmp_path / "frame.npy", output=tmp_path / "out.h5", **given)
    assert result["intensity_covariance"].dims == ("frame", "offset", "azimuth")


def test_chi_squared_is_right_with_the_covariance_and_wrong_without():
    """Fits of a constant to patterns of many noisy frames: rᵀC⁻¹r is distributed as χ², Σ r²/σ² is not."""
    rng = np.random.default_rng(5)
    variance = 400.0
    frames = rng.normal(1000.0, np.sqrt(variance), (400, *SHAPE)).astype(np.float32)
    radial_map = built(error_model="variance", solid_angle=False, npt=FINE)
    found = radial_map(FrameBlock(frames, variance=np.full(SHAPE, variance)))
    residuals = found.intensity - 1000.0
    pairs = zip(residuals, found.intensity_covariance, strict=True)
    right = np.array([np.sum(whitened(r, c) ** 2) for r, c in pairs])
    wrong = np.sum((residuals / found.intensity_errors) ** 2, axis=1)
    assert right.mean() == pytest.approx(FINE, rel=0.02)
    assert right.var() == pytest.approx(2 * FINE, rel=0.25)
    # The sum of squares alone has the right mean, but fluctuates as if there were fewer bins.
    assert wrong.var() > 1.5 * right.var()
    outside = [np.mean(chi2.sf(values, FINE) < 0.01) for values in (right, wrong)]
    assert outside[0] < 0.025 < 0.035 < outside[1]


def test_the_error_of_a_fitted_mean():
    """The mean of all bins: its spread over many frames is that of the covariance, and larger than Σ σ² says."""
    rng = np.random.default_rng(6)
    frames = rng.poisson(100, (600, *SHAPE)).astype(np.uint16)
    found = built(solid_angle=False, npt=FINE)(frames)
    spread = found.intensity.mean(axis=1).std()
    ones = np.full(FINE, 1 / FINE)
    told = np.sqrt(np.mean([ones @ covariance_matrix(c) @ ones for c in found.intensity_covariance[:20]]))
    naive = np.sqrt(np.mean((found.intensity_errors**2).sum(axis=1))) / FINE
    assert spread == pytest.approx(told, rel=0.08)
    assert spread > 1.15 * naive


@pytest.mark.parametrize("model", ["none", "azimuthal"])
def test_models_without_a_variance_of_pixels(model):
    with pytest.raises(ParameterError, match="covariance"):
        built(error_model=model)
    with pytest.raises(ParameterError, match="covariance"):
        RadialMap.build(GEOMETRY, npt=NPT).covariance(np.ones((1, *SHAPE)))


def test_covariances_in_a_dataset():
    frames = np.random.default_rng(7).poisson(50, (3, *SHAPE)).astype(np.uint16)
    result = Integrator(GEOMETRY, npt=NPT, error_model="poisson", covariance=True).integrate1d(frames)
    assert result["intensity_covariance"].dims == ("frame", "offset", "radial")
    np.testing.assert_allclose(result["intensity_covariance"][:, 0], result["intensity_errors"] ** 2, rtol=1e-5)
    single = Integrator(GEOMETRY, npt=NPT, error_model="poisson", covariance=True).integrate1d(frames[0])
    assert single["intensity_covariance"].dims == ("offset", "radial")
    assert whitened(single["intensity"] - 50.0, single["intensity_covariance"]).shape == (NPT,)


def test_a_map_in_a_file_keeps_it(tmp_path):
    frames = np.random.default_rng(8).poisson(50, (1, *SHAPE)).astype(np.uint16)
    radial_map = built(weighted=False, flat=np.linspace(0.5, 2, 4200).reshape(SHAPE))
    radial_map.save(tmp_path / "map.h5")
    again = RadialMap.load(tmp_path / "map.h5")
    for name, values in radial_map(frames).arrays().items():
        np.testing.assert_array_equal(again(frames).arrays()[name], values)


def test_pixels_that_are_left_out_later():
    frames = np.random.default_rng(8).poisson(50, (2, *SHAPE)).astype(np.uint16)
    mask = np.zeros(SHAPE, bool)
    mask[20:30, 10:50] = True
    limits = {"radial_range": (0.0, 40.0), "flat": np.linspace(0.5, 2, 4200).reshape(SHAPE)}
    expected, found = built(mask=mask, **limits), built(**limits).without_pixels(mask)
    np.testing.assert_array_equal(found.excluded, expected.excluded)
    for name, values in expected(frames).arrays().items():
        np.testing.assert_array_equal(found(frames).arrays()[name], values)


def test_options_that_take_part_in_the_map():
    for options in ({"covariance": False}, {"weighted": False}):
        with pytest.raises(ParameterError, match="takes part"):
            built().with_options(**options)
    assert built().with_options(covariance=True, std=True).averaging.std


def test_unweighted_averages_of_pixels():
    """I = Σ c (s/w) / Σ c, V = Σ c² v/w², counted by shares."""
    rng = np.random.default_rng(9)
    frame = rng.poisson(200, SHAPE).astype(np.float64)
    frame[5:9] = np.nan
    flat = rng.uniform(0.2, 2.0, SHAPE)
    flat[30, 30] = 0.0
    radial_map = built(weighted=False, flat=flat, covariance=False, std=True)
    plain = built(solid_angle=False, covariance=False, error_model="variance", std=True, mask=flat == 0)
    w = (flat * GEOMETRY.solid_angle()).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = plain(FrameBlock((frame / w)[None], variance=np.where(w > 0, np.maximum(1, frame) / w**2, np.nan)))
    found = radial_map(frame[None])
    for name, values in found.arrays().items():
        np.testing.assert_allclose(values, expected.arrays()[name], rtol=1e-5, err_msg=name)


def test_hybrid_is_for_clipping():
    with pytest.raises(ParameterError, match="hybrid"):
        built().with_options(error_model="hybrid")


def test_std_needs_an_error_model():
    with pytest.raises(ParameterError, match="std"):
        RadialMap.build(GEOMETRY, npt=5, std=True)


def test_one_frame_of_the_spread():
    frames = np.random.default_rng(8).poisson(50, (1, *SHAPE)).astype(np.uint16)
    found = built(splitting="none", error_model="azimuthal", covariance=False, std=True, solid_angle=False)(frames)
    spread = found.intensity_std[0]
    assert np.nanmedian(spread) == pytest.approx(np.sqrt(50), rel=0.05)
    assert np.nanmedian(found.intensity_errors[0] / spread) < 0.2
    assert replace(found, intensity_std=None).arrays().keys() == {"intensity", "intensity_errors", "valid_fraction"}


def test_variances_of_a_call_are_a_model_of_their_own():
    frame, variance = np.full(SHAPE, 30.0), np.full(SHAPE, 12.0)
    integrator = Integrator(GEOMETRY, npt=NPT, covariance=True, std=True)
    result = integrator.integrate1d(frame, variance=variance)
    np.testing.assert_allclose(result["intensity_covariance"][0], result["intensity_errors"] ** 2, rtol=1e-5)
    with pytest.raises(ParameterError, match="no variance"):
        integrator.integrate1d(frame)
