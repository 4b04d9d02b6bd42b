import numpy as np
import pytest

from friedel.kernels.clip import chauvenet, reference_clip
from friedel.kernels.scatter import PixelMap, reference_scatter

SHAPE = (60, 80)
N_BINS = 12


def rings(shape=SHAPE, n_bins=N_BINS, splitting=False):
    """Rings about a point off the middle; a split pixel is shared between two of them."""
    y, x = np.indices(shape)
    r = np.hypot(y - 0.4 * shape[0], x - 0.45 * shape[1]).ravel()
    position = r * n_bins / (0.9 * r.max())
    low, share = np.floor(position).astype(int), position % 1
    if not splitting:
        inside = low < n_bins
        pointers = np.concatenate([[0], np.cumsum(inside)])
        return PixelMap(n_bins, pointers, low[inside].astype(np.int32), np.ones(inside.sum(), np.float32))
    bins = np.stack([low, low + 1], 1).ravel()
    weights = np.stack([1 - share, share], 1).astype(np.float32).ravel()
    inside = (bins < n_bins) & (weights > 0)
    pointers = np.concatenate([[0], np.cumsum(inside.reshape(-1, 2).sum(1))])
    return PixelMap(n_bins, pointers, bins[inside].astype(np.int32), weights[inside])


def noisy(n=3, mean=50, spots=40, shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    frames = rng.poisson(mean, (n, *shape)).astype(np.int32)
    frames.reshape(n, -1)[:, rng.choice(frames[0].size, spots, replace=False)] += 5000
    return frames


def mean_of(sums):
    return sums.signal / sums.normalization


@pytest.mark.parametrize("model", ["azimuthal", "poisson", "hybrid"])
@pytest.mark.parametrize("splitting", [False, True])
def test_spots_are_dropped_and_counted(model, splitting):
    spots = 40
    sums = reference_clip(rings(splitting=splitting), noisy(spots=spots), error_model=model)
    assert np.abs(mean_of(sums) - 50).max() < 5
    whole = reference_scatter(rings(splitting=splitting), noisy(spots=0))
    np.testing.assert_allclose(sums.count + sums.rejected, whole.count, rtol=1e-6)
    assert 0 < sums.rejected.sum() < 0.1 * sums.count.sum()


@pytest.mark.parametrize("model", ["azimuthal", "poisson"])
def test_without_outliers_the_sums_are_the_plain_ones(model):
    frames = np.random.default_rng(1).uniform(90, 110, (2, *SHAPE))
    clipped = reference_clip(rings(), frames, error_model=model)
    plain = reference_scatter(rings(), frames, error_model=model)
    for name in ("signal", "normalization", "normalization_squared", "count", "variance"):
        np.testing.assert_allclose(getattr(clipped, name), np.broadcast_to(getattr(plain, name), (2, N_BINS)))
    assert not clipped.rejected.any()


def test_hybrid_clips_like_azimuthal_with_errors_of_counts():
    frames = noisy()
    hybrid, azimuthal = (reference_clip(rings(), frames, error_model=model) for model in ("hybrid", "azimuthal"))
    np.testing.assert_array_equal(hybrid.signal, azimuthal.signal)
    np.testing.assert_allclose(hybrid.variance, hybrid.signal)  # poisson: every count is above 1


def test_no_rounds_give_the_plain_sums():
    frames = noisy()
    plain = reference_scatter(rings(), frames, error_model="azimuthal")
    np.testing.assert_allclose(reference_clip(rings(), frames, iterations=0).variance, plain.variance)


def test_chauvenet_keeps_the_tails_of_large_bins():
    assert chauvenet(10, 1.0) == pytest.approx(np.sqrt(2 * np.log(10 / np.sqrt(2 * np.pi))))
    assert chauvenet(0, 0.0) == pytest.approx(np.sqrt(2 * np.log(3 / np.sqrt(2 * np.pi))))
    assert chauvenet(10**6, 5.0) == pytest.approx(5.078, abs=1e-3)
    assert chauvenet(1000, 5.0) == 5.0
