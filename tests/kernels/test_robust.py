"""The compiled robust sums against their numpy references."""

import pickle
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.core.errors import DataError
from friedel.kernels.clip import reference_clip
from friedel.kernels.decode import encode_bitshuffle_lz4, encode_byte_offset
from friedel.kernels.encoded import EncodedFrames
from friedel.kernels.percentile import reference_percentile, taken_ranks
from friedel.kernels.robust import RobustScatter
from friedel.kernels.scatter import BinSums, PixelMap, Scatter

SHAPE = (60, 80)
N_BINS = 12
TYPES = ["u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"]


def rings(shape=SHAPE, n_bins=N_BINS, splitting=True):
    """Rings about a point off the middle; a split pixel is shared between two of them."""
    y, x = np.indices(shape)
    r = np.hypot(y - 0.4 * shape[0], x - 0.45 * shape[1]).ravel()
    position = r * n_bins / (0.9 * r.max())
    low, share = np.floor(position).astype(int), position % 1
    bins = np.stack([low, low + 1], 1).ravel()
    weights = (np.stack([1 - share, share], 1) if splitting else np.tile([1, 0], (r.size, 1))).ravel()
    inside = (bins < n_bins) & (weights > 0)
    pointers = np.concatenate([[0], np.cumsum(inside.reshape(-1, 2).sum(1))])
    return PixelMap(n_bins, pointers, bins[inside].astype(np.int32), weights[inside].astype(np.float32))


def noisy(dtype="i4", n=3, mean=50, shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    frames = rng.poisson(mean, (n, *shape))
    spots = rng.choice(frames[0].size, 40, replace=False)
    frames.reshape(n, -1)[:, spots] = 120 if np.dtype(dtype).itemsize == 1 else 5000
    return frames.astype(dtype)


def corrections(shape=SHAPE, seed=1):
    rng = np.random.default_rng(seed)
    return {
        "normalization": rng.uniform(0.5, 2, shape).astype(np.float32),
        "dark": rng.uniform(0, 5, shape),
        "dark_variance": rng.uniform(0, 2, shape),
    }


def arguments(model, frames):
    if model != "variance":
        return {"error_model": model}
    return {"error_model": model, "variance": np.random.default_rng(5).uniform(20, 50, frames.shape)}


def assert_close(sums, expected):
    for field in fields(BinSums):
        got, want = getattr(sums, field.name), getattr(expected, field.name)
        assert (got is None) == (want is None), field.name
        if want is not None:
            scale = np.abs(want).max() + 1
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12 * scale, err_msg=field.name)


def assert_same_bits(one, other):
    for field in fields(BinSums):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert a is b is None or a.tobytes() == b.tobytes(), field.name


@pytest.mark.parametrize("model", ["azimuthal", "poisson", "hybrid", "variance"])
@pytest.mark.parametrize("splitting", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
def test_clipping_is_that_of_the_reference(model, splitting, corrected):
    frames, more = noisy(), corrections() if corrected else {}
    pixel_map, given = rings(splitting=splitting), arguments(model, frames)
    sums = RobustScatter.build(pixel_map, **more).clip(frames, **given)
    assert sums.rejected.any()
    assert_close(sums, reference_clip(pixel_map, frames, **more, **given))


@pytest.mark.parametrize("model", ["none", "azimuthal", "poisson", "variance"])
@pytest.mark.parametrize("splitting", [False, True])
@pytest.mark.parametrize("window", [(50, 50), (20, 80), (0, 100), (0, 0), (100, 100), (49.99, 50.01)])
def test_percentiles_are_those_of_the_reference(model, splitting, window):
    frames, more = noisy(n=2), corrections() if splitting else {}
    pixel_map, given = rings(splitting=splitting), arguments(model, frames)
    chosen = dict(zip(("low", "high"), window, strict=True))
    sums = RobustScatter.build(pixel_map, **more).percentile(frames, **chosen, **given)
    assert_close(sums, reference_percentile(pixel_map, frames, **more, **chosen, **given))


@pytest.mark.parametrize("dtype", TYPES)
def test_types(dtype):
    frames, pixel_map = noisy(dtype), rings()
    robust = RobustScatter.build(pixel_map)
    assert_close(robust.clip(frames), reference_clip(pixel_map, frames))
    assert_close(robust.percentile(frames), reference_percentile(pixel_map, frames))


@pytest.mark.parametrize("dtype", ["u2", "u4", "i4", "f4"])
def test_invalid_pixels_leave_all_sums(dtype):
    frames, pixel_map = noisy(dtype), rings()
    frames[:, 5:20, 7:30] = np.array(-1).astype(dtype) if frames.dtype.kind != "f" else np.nan
    frames[1, 30:33] = np.iinfo(dtype).max if frames.dtype.kind == "u" else -2
    given = {"dummy": -2, "delta_dummy": 1.5}
    more = corrections()
    robust = RobustScatter.build(pixel_map, **more)
    assert_close(robust.clip(frames, **given), reference_clip(pixel_map, frames, **given, **more))
    assert_close(robust.percentile(frames, **given), reference_percentile(pixel_map, frames, **given, **more))


def test_a_pixel_that_cannot_be_normalized_is_left_out():
    pixel_map, frames, more = rings(), noisy(), corrections()
    more["normalization"][10:20] = 0
    more["dark"][3] = np.nan
    assert_close(RobustScatter.build(pixel_map, **more).clip(frames), reference_clip(pixel_map, frames, **more))


def test_counts_below_zero_are_counted_once_for_each_pixel():
    frames = noisy(n=2)
    frames[1, 10:12] = -3
    pixel_map = rings()
    inside = (np.diff(pixel_map.pointers) > 0).reshape(SHAPE)[10:12].sum()
    assert RobustScatter.build(pixel_map).clip(frames).negative.tolist() == [0, inside]


@pytest.mark.parametrize("codec", ["bslz4", "byte_offset"])
def test_compressed_frames_give_the_same_bits(codec):
    frames = noisy(n=11)
    encode = {"bslz4": encode_bitshuffle_lz4, "byte_offset": encode_byte_offset}[codec]
    labels = tuple(f"frame {number}" for number in range(len(frames)))
    packed = EncodedFrames(codec, tuple(encode(frame) for frame in frames), SHAPE, frames.dtype, labels)
    robust = RobustScatter.build(rings())
    assert_same_bits(robust.clip(packed, threads=2), robust.clip(frames))
    assert_same_bits(robust.percentile(packed), robust.percentile(frames))
    variance = np.random.default_rng(2).uniform(1, 9, frames.shape)
    given = {"error_model": "variance", "variance": variance}
    assert_same_bits(robust.clip(packed, **given), robust.clip(frames, **given))


@pytest.mark.parametrize("threads", [2, 5])
def test_bits_do_not_depend_on_threads_or_company(threads):
    frames, robust = noisy(n=5), RobustScatter.build(rings(), **corrections())
    together = robust.clip(frames, threads=threads)
    alone = [robust.clip(frame[np.newaxis]) for frame in frames]
    for number, one in enumerate(alone):
        for field in fields(BinSums):
            assert getattr(one, field.name)[0].tobytes() == getattr(together, field.name)[number].tobytes()


def test_a_plan_can_be_pickled():
    robust, frames = RobustScatter.build(rings(), **corrections()), noisy()
    copy = pickle.loads(pickle.dumps(robust))  # noqa: S301
    assert_same_bits(copy.clip(frames), robust.clip(frames))


def test_all_percentiles_are_the_mean():
    frames, more = noisy(), corrections()
    sums = RobustScatter.build(rings(), **more).percentile(frames, low=0, high=100, error_model="azimuthal")
    plain = Scatter.build(rings(), **more)(frames, error_model="azimuthal")
    for name in ("signal", "normalization", "normalization_squared", "count", "variance"):
        np.testing.assert_allclose(getattr(sums, name), np.broadcast_to(getattr(plain, name), (3, N_BINS)), rtol=1e-10)
    assert not sums.rejected.any()


def test_the_median_of_whole_pixels_is_that_of_numpy():
    frames, pixel_map = noisy(), rings(splitting=False)
    sums = RobustScatter.build(pixel_map).percentile(frames)
    inside = np.diff(pixel_map.pointers) > 0
    for b in range(N_BINS):
        members = np.flatnonzero(inside)[pixel_map.bins == b]
        medians = np.median(frames.reshape(3, -1)[:, members], axis=1)
        np.testing.assert_allclose(sums.signal[:, b] / sums.normalization[:, b], medians)


def test_no_frames_and_empty_bins():
    robust = RobustScatter.build(rings())
    assert robust.clip(np.empty((0, *SHAPE), np.uint16)).signal.shape == (0, N_BINS)
    nothing = robust.clip(np.full((1, *SHAPE), np.nan))
    assert not nothing.normalization.any()
    assert not nothing.variance.any()
    assert not robust.percentile(np.full((1, *SHAPE), np.nan), error_model="azimuthal").variance.any()


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300),
    window=st.tuples(st.floats(0, 100), st.floats(0, 100)).map(sorted),
    equal=st.booleans(),
    seed=st.integers(0, 9),
)
def test_percentiles_of_any_values(values, window, equal, seed):
    low, high = (window[0], window[0]) if equal else window
    n = len(values)
    weights = np.random.default_rng(seed).uniform(0.1, 1, n).astype(np.float32)
    pixel_map = PixelMap(1, np.arange(n + 1), np.zeros(n, np.int32), weights)
    frames = np.array(values, np.float64)[np.newaxis]
    sums = RobustScatter.build(pixel_map).percentile(frames, low=low, high=high, error_model="azimuthal")
    assert_close(sums, reference_percentile(pixel_map, frames, low=low, high=high, error_model="azimuthal"))


@given(weights=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=50), low=st.floats(0, 1), high=st.floats(0, 1))
def test_some_entry_is_always_taken_and_they_are_neighbours(weights, low, high):
    taken = taken_ranks(np.array(weights), min(low, high), max(low, high))
    places = np.flatnonzero(taken)
    assert places.size
    assert np.ptp(places) + 1 == places.size


@settings(max_examples=40, deadline=None)
@given(threshold=st.floats(1, 6), iterations=st.integers(0, 8), seed=st.integers(0, 99))
def test_clipping_never_empties_a_bin(threshold, iterations, seed):
    frames = noisy(seed=seed)
    robust = RobustScatter.build(rings(), **corrections())
    for model in ("azimuthal", "poisson", "hybrid"):
        sums = robust.clip(frames, error_model=model, threshold=threshold, iterations=iterations)
        assert (sums.count > 0).all()


@pytest.mark.parametrize("given", [{"threshold": 0.5}, {"iterations": -1}, {"threshold": np.nan}])
def test_clipping_refuses_what_it_cannot_do(given):
    with pytest.raises(DataError, match=next(iter(given))):
        RobustScatter.build(rings()).clip(noisy(), **given)


@pytest.mark.parametrize("window", [(60, 40), (-1, 50), (0, 101)])
def test_percentiles_must_be_some(window):
    with pytest.raises(DataError, match="percentiles"):
        RobustScatter.build(rings()).percentile(noisy(), low=window[0], high=window[1])


def test_frames_of_another_size_are_refused():
    with pytest.raises(DataError, match="pixels"):
        RobustScatter.build(rings()).clip(np.zeros((1, 5, 5)))
