"""Frames of several geometries on one grid: sums against a plain sum over all pixels of all of them."""

from dataclasses import replace

import numpy as np
import pytest

from friedel.core.blocks import Block, cut_blocks
from friedel.core.errors import DataError, ParameterError
from friedel.data import covariance_matrix, whitened
from friedel.instrument import Detector, Geometry
from friedel.techniques.integration import Integrator, MultiGeometry, RadialMap
from friedel.techniques.integration.merge import MergePlan, Merging, SumSink

SHAPE = (40, 50)
DETECTOR = Detector.from_shape(SHAPE, 1e-3)
ARM = tuple(Geometry(DETECTOR, 0.1, 0.02, 0.025, rot, 0.05, 0.0, wavelength=1e-10) for rot in (0.0, -0.2, -0.4))
OTHER = Geometry(Detector.from_shape((25, 30), 2e-3), 0.25, -0.01, 0.0, wavelength=1e-10)


def counts(rng, shape=SHAPE):
    return rng.poisson(80, shape).astype(np.uint16)


def scale(geometry):
    return geometry.detector.pixel1 * geometry.detector.pixel2 / geometry.distance**2


def test_one_geometry_is_an_integrator_in_steradian():
    frame = counts(np.random.default_rng(1))
    options = {"npt": 30, "error_model": "poisson", "unit": "2th_deg"}
    alone = Integrator(ARM[0], **options).integrate1d(frame)
    merged = MultiGeometry(ARM[:1], **options).integrate1d([frame])
    np.testing.assert_allclose(merged["radial"], alone["radial"], rtol=1e-12)
    for name in ("intensity", "intensity_errors"):
        np.testing.assert_allclose(merged[name], alone[name] / scale(ARM[0]), rtol=1e-6)
    assert float(merged["valid_fraction"]) == 1.0
    assert merged["intensity"].attrs["units"] == "counts/sr"
    assert MultiGeometry(ARM[:1], npt=9, solid_angle=False).integrate1d([frame])["intensity"].attrs["units"] == "counts"


@pytest.mark.parametrize("splitting", ["none", "full"])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_moving_detector_against_its_sums(splitting, weighted):
    """S, N, V, N2 of all geometries added, divided once."""
    rng = np.random.default_rng(2)
    frames, monitor = [counts(rng) for _ in ARM], np.array([1.0, 2.0, 0.5])
    flats, mask = [rng.uniform(0.5, 2, SHAPE) for _ in ARM], rng.uniform(size=SHAPE) < 0.05
    options = {"npt": 60, "error_model": "poisson", "splitting": splitting, "weighted": weighted, "mask": mask}
    merged = MultiGeometry(ARM, **options, flat=flats, std=True).integrate1d(frames, normalization=monitor)
    low, high = merged["radial"].values[[0, -1]]
    half = 0.5 * (high - low) / 59
    total = dict.fromkeys(("signal", "normalization", "variance", "normalization_squared"), 0.0)
    for geometry, frame, flat, factor in zip(ARM, frames, flats, monitor, strict=True):
        limits = (low - half, (high + half) / (1 + 2.0**-23))
        sums = RadialMap.build(geometry, **options, flat=flat, keep_sums=True, radial_range=limits)(frame[None]).sums
        f = factor * scale(geometry)
        for name, power in (("signal", 0), ("normalization", 1), ("variance", 0), ("normalization_squared", 2)):
            total[name] = total[name] + getattr(sums, name)[0] * f**power
    np.testing.assert_allclose(merged["intensity"], total["signal"] / total["normalization"], rtol=1e-6)
    errors = np.sqrt(total["variance"]) / total["normalization"]
    np.testing.assert_allclose(merged["intensity_errors"], errors, rtol=1e-6)
    spread = np.sqrt(total["variance"] / total["normalization_squared"])
    np.testing.assert_allclose(merged["intensity_std"], spread, rtol=1e-6)
    for name, values in total.items():
        np.testing.assert_allclose(merged[f"sum_{name}"], values, rtol=1e-9)


def test_detectors_of_another_kind_see_the_same_flux():
    """A flat scatterer of one flux per sr, at two distances with different pixels: one level, no step."""
    flux = 1e7
    frames = [flux * g.solid_angle() * scale(g) for g in (ARM[0], OTHER)]
    merged = MultiGeometry((ARM[0], OTHER), npt=50, unit="2th_deg").integrate1d(frames)
    np.testing.assert_allclose(merged["intensity"].dropna("radial"), flux, rtol=1e-5)


def test_the_error_of_the_merged_pattern_is_its_spread():
    rng = np.random.default_rng(3)
    frames = [rng.poisson(50, (300, *geometry.shape)).astype(np.uint16) for geometry in (*ARM[:2], OTHER)]
    merged = MultiGeometry((*ARM[:2], OTHER), npt=25, error_model="poisson", splitting="none").integrate1d(frames)
    assert merged["intensity"].dims == ("frame", "radial")
    ratio = (merged["intensity"].std("frame") / merged["intensity_errors"].mean("frame")).dropna("radial")
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.03)


def test_cakes_go_all_round():
    rng = np.random.default_rng(4)
    merged = MultiGeometry(ARM, npt=20, error_model="poisson").integrate2d([counts(rng) for _ in ARM], npt_azimuth=36)
    assert merged["intensity"].dims == ("azimuth", "radial")
    np.testing.assert_allclose(merged["azimuth"], np.arange(36) * 10.0 - 175.0, atol=1e-4)
    seen = merged["sum_normalization"] > 0
    assert 0.3 < float(seen.mean()) < 1.0
    assert bool((merged["intensity"].isnull() == ~seen).all())


def test_the_order_of_arrival_does_not_change_a_bit():
    rng = np.random.default_rng(5)
    merging = Merging.of(ARM, {"npt": 20, "error_model": "poisson"})
    stacks = rng.poisson(30, (3, 7, *SHAPE)).astype(np.uint16)
    plan, results = MergePlan(merging), []
    blocks = cut_blocks(7, 3, groups=3)
    from friedel.techniques.integration import FrameBlock

    for order in (range(len(blocks)), reversed(range(len(blocks)))):
        sink = SumSink(7)
        for index in order:
            block = blocks[index]
            number, start = divmod(block.start, 7)
            sink.write(block, plan((number, FrameBlock(stacks[number, start : start + len(block)]))))
        results.append(sink.sums)
    for name, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][name])


def test_a_geometry_that_sees_nothing_in_the_range():
    rng = np.random.default_rng(6)
    frames = [counts(rng) for _ in ARM]
    options = {"npt": 10, "unit": "2th_deg", "radial_range": (0.0, 6.0)}
    merged = MultiGeometry((ARM[2], ARM[0]), **options).integrate1d(frames[:2])
    alone = MultiGeometry((ARM[0],), **options).integrate1d(frames[1:2])
    np.testing.assert_array_equal(merged["intensity"], alone["intensity"])
    with pytest.raises(ParameterError, match="No pixel lies"):
        MultiGeometry((ARM[2],), **options).integrate1d(frames[:1])


def test_variances_and_masks_of_each():
    rng = np.random.default_rng(7)
    frames, variances = rng.uniform(10, 20, (3, *SHAPE)), rng.uniform(1, 5, (3, *SHAPE))
    masks = [rng.uniform(size=SHAPE) < 0.3, None, rng.uniform(size=SHAPE) < 0.1]
    merged = MultiGeometry(ARM, npt=30, mask=masks).integrate1d(frames, variance=variances)
    assert merged.attrs["error_model"] == "variance"
    assert float(merged["sum_count"].sum()) == pytest.approx(
        sum(2000 - (0 if m is None else m.sum()) for m in masks), abs=0.1
    )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MultiGeometry([]), ParameterError, "no geometry"),
        (lambda: MultiGeometry(ARM, nqt=3), ParameterError, "npt"),
        (lambda: MultiGeometry(ARM).integrate1d([np.ones(SHAPE)]), DataError, "3 geometries"),
        (lambda: MultiGeometry(ARM).integrate1d([np.ones(SHAPE)] * 2 + [np.ones((2, *SHAPE))]), DataError, "shapes"),
        (lambda: MultiGeometry(ARM, mask=[np.ones(SHAPE)]).integrate1d([np.ones(SHAPE)] * 3), DataError, "1 images"),
        (lambda: MultiGeometry(ARM).integrate1d([np.ones(SHAPE)] * 3, normalization=[1.0]), DataError, "normalization"),
        (
            lambda: MultiGeometry(ARM, estimator="sigma-clip").integrate1d([np.ones(SHAPE)] * 3),
            ParameterError,
            "merged",
        ),
        (
            lambda: MultiGeometry(ARM, error_model="variance").integrate1d([np.ones(SHAPE)] * 3),
            ParameterError,
            "no variance",
        ),
        (lambda: MultiGeometry(ARM, mask=np.ones(SHAPE)).integrate1d([np.ones(SHAPE)] * 3), DataError, "masked"),
    ],
)
def test_what_cannot_be_merged(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_sinks_know_what_is_done():
    sink = SumSink(2)
    blocks = [Block(0, 0, 2), Block(1, 2, 4)]
    sink.commit(blocks[0])
    assert sink.pending(blocks) == blocks[1:]
    assert not sink.shared


def test_grids_of_two_lengths_take_the_reach_of_all():
    """q_ip and q_oop have no full circle: the range is what all geometries reach."""
    tilted = [replace(geometry, rot2=angle) for geometry, angle in zip(ARM, (0.0, 0.1, 0.2), strict=True)]
    options = {"npt": 20, "unit": "qip_nm^-1", "azimuth_unit": "qoop_nm^-1", "incidence": 0.2}
    frames = [np.ones(SHAPE)] * 3
    merged = MultiGeometry(tilted, **options).integrate2d(frames, npt_azimuth=15)
    alone = [MultiGeometry([one], **options).integrate2d(frames[:1], npt_azimuth=15) for one in tilted]
    for name in ("radial", "azimuth"):
        assert merged[name].min() == pytest.approx(min(float(a[name].min()) for a in alone), rel=0.1)
        assert merged[name].max() == pytest.approx(max(float(a[name].max()) for a in alone), rel=0.1)


def test_covariances_of_merged_patterns():
    """As if all frames were one: Σ c c' v over the pixels of all, divided by N N'."""
    rng = np.random.default_rng(8)
    frames, monitor = [counts(rng) for _ in ARM], (1.0, 2.0, 0.5)
    options = {"npt": 70, "error_model": "poisson", "radial_range": (2.0, 60.0)}
    merged = MultiGeometry(ARM, **options, covariance=True).integrate1d(frames, normalization=monitor)
    total, norm = np.zeros((70, 70)), np.zeros(70)
    for geometry, frame, factor in zip(ARM, frames, monitor, strict=True):
        radial_map = RadialMap.build(geometry, **options)
        shares = radial_map.pixel_map()
        c = np.zeros((shares.n_pixels, 70))
        np.add.at(c, (np.repeat(np.arange(shares.n_pixels), np.diff(shares.pointers)), shares.bins), shares.weights)
        norm += c.T @ geometry.solid_angle().ravel() * factor * scale(geometry)
        total += (c.T * np.maximum(frame, 1).ravel()) @ c
    found = covariance_matrix(merged["intensity_covariance"])
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = total / np.outer(norm, norm)
    seen = norm > 0
    assert seen.sum() > 40
    np.testing.assert_allclose(found[np.ix_(seen, seen)], expected[np.ix_(seen, seen)], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(merged["intensity_covariance"][0], merged["intensity_errors"] ** 2, rtol=1e-5)
    white = whitened(merged["intensity"] - merged["intensity"].mean(), merged["intensity_covariance"])
    assert white.shape == (seen.sum(),)
