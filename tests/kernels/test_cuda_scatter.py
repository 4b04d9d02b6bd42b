"""The sums on a CUDA device are those of the reference. Small cases run on the processor too, by emulation."""

from dataclasses import fields

import numpy as np
import pytest

from cuda_emulation import emulate
from friedel.core.errors import DataError
from friedel.device import cuda
from friedel.device.choice import gpu_count
from friedel.kernels import cuda_tiles
from friedel.kernels.cuda_scatter import CudaScatter
from friedel.kernels.scatter import BinSums, reference_scatter
from kernels.test_scatter import (
    MODELS,
    SHAPE,
    TYPES,
    arguments,
    assert_close,
    corrections,
    frames_of,
    map_of,
    radial_map,
    scattered_map,
)


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def on(request, monkeypatch):
    if request.param == "emulated":
        emulate(monkeypatch)
    elif not gpu_count():
        pytest.skip("no CUDA device")
    return request.param


@pytest.fixture
def on_gpu():
    if not gpu_count():
        pytest.skip("no CUDA device")


def summed(scatter, frames, variance=None, **kwargs):
    """Sum frames, there and back."""
    xp = cuda.array_module()
    sums = scatter(xp.asarray(frames), variance=variance, **kwargs)
    return BinSums(*(None if (array := getattr(sums, f.name)) is None else xp.asnumpy(array) for f in fields(BinSums)))


def assert_agrees(pixel_map, frames, tolerance=1e-10, build=None, **kwargs):
    build = build or {}
    sums = summed(CudaScatter.build(pixel_map, **build), frames, **kwargs)
    assert_close(sums, reference_scatter(pixel_map, frames, **build, **kwargs), tolerance)
    return sums


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(cuda_tiles, "MOST_PIXELS", 2048)
    monkeypatch.setattr(cuda_tiles, "TILES_OF_PIECE", 3)


CASES = [(model, "u4", True) for model in MODELS] + [("poisson", dtype, False) for dtype in TYPES]


@pytest.mark.parametrize(("model", "dtype", "splitting"), CASES)
def test_sums_are_those_of_the_reference(on, model, dtype, splitting):
    frames = frames_of(dtype)
    assert_agrees(radial_map(splitting=splitting), frames, build=corrections(), **arguments(model, frames))


@pytest.mark.gpu
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("splitting", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_sums_are_those_of_the_reference_for_each_type(on_gpu, model, splitting, dtype):
    frames = frames_of(dtype)
    for build in ({}, corrections()):
        assert_agrees(radial_map(splitting=splitting), frames, build=build, **arguments(model, frames))


MARKS = [
    ("u4", 2**32 - 1, 0, [2**32 - 1]),
    ("u4", -2, 1.5, [2**32 - 1, 2**32 - 2]),
    ("u2", -1, 0, [65535]),
    ("u1", 200, 3, [197, 203]),
    ("i4", -2, 1.5, [-1, -2, -3]),
    ("i1", -100, 10, [-100, -110]),
    ("f4", 1e10, 0, [1e10]),
    ("f8", 0.1, 0, [0.1]),
    ("f4", None, 0, [np.nan, np.inf, -np.inf]),
    ("f8", 7, 0.5, [np.nan, 7, 7.5, 6.5]),
]


def marked_frames(dtype, marks):
    frames, rng = frames_of(dtype, mean=100), np.random.default_rng(4)
    for mark in marks:
        frames[rng.random(frames.shape) < 0.05] = mark
    frames[2] = frames_of(dtype, 1, mean=100)  # a frame without any
    return frames


@pytest.mark.parametrize(("dtype", "dummy", "delta", "marks"), MARKS)
def test_invalid_pixels_leave_all_sums(on, dtype, dummy, delta, marks):
    frames = marked_frames(dtype, marks)
    for model in MODELS if on == "gpu" else ["poisson"]:
        kwargs = arguments(model, frames) | {"dummy": dummy, "delta_dummy": delta}
        assert_agrees(radial_map(), frames, 1e-9, corrections(), **kwargs)


@pytest.mark.parametrize("model", MODELS)
def test_bins_without_valid_pixels_are_exactly_zero(on, model):
    frames = frames_of("i4")
    frames[1] = -1
    frames[3][frames[3] != frames[3].max()] = -1
    sums = assert_agrees(radial_map(), frames, 1e-9, corrections(), dummy=-1, **arguments(model, frames))
    for values in (sums.signal, sums.variance, sums.normalization, sums.normalization_squared, sums.count):
        assert values is None or not values[1].any()


@pytest.mark.parametrize("n_bins", [3, 500, 70000])
def test_bins_that_are_not_consecutive(on, n_bins):
    if n_bins > 10000 and on == "emulated":
        n_bins = 7000
    assert_agrees(scattered_map(n_bins=n_bins), frames_of("u2", shape=(30, 100)), error_model="poisson")


def test_whole_pixels_give_exact_integers(on):
    pixel_map = radial_map(splitting=False)
    frames = np.random.default_rng(3).integers(0, 2**32, (3, *SHAPE), np.uint64).astype(np.uint32)
    sums = summed(CudaScatter.build(pixel_map), frames)
    pixel = np.repeat(np.arange(pixel_map.n_pixels), np.diff(pixel_map.pointers))
    for frame, signal in zip(frames, sums.signal, strict=True):
        exact = np.zeros(pixel_map.n_bins, np.uint64)
        np.add.at(exact, pixel_map.bins, frame.ravel()[pixel].astype(np.uint64))
        np.testing.assert_array_equal(signal.astype(np.uint64), exact)


def test_negative_pixels_are_counted_unless_they_are_masked_or_invalid(on):
    pixel_map, frames = radial_map(masked_rows=(40,)), frames_of("i4")
    frames[:, 30, :7] = -5
    frames[:, 31, :9] = -1
    frames[:, 40] = -3
    assert summed(CudaScatter.build(pixel_map), frames, dummy=-1).negative.tolist() == [7] * 5


def test_pixels_with_normalization_zero_or_not_finite_are_left_out(on):
    more = corrections()
    more["normalization"][5] = 0
    more["normalization"][6] = np.nan
    more["dark"][7] = np.inf
    more["dark_variance"][8] = np.nan
    assert_agrees(radial_map(), frames_of("u2"), build=more, error_model="poisson")


def test_a_frame_does_not_depend_on_its_company(on):
    frames = marked_frames("f4", [np.nan])
    scatter = CudaScatter.build(radial_map(), **corrections())
    together = summed(scatter, frames, error_model="azimuthal")
    for number in (0, 2, 4):
        alone = summed(scatter, frames[number : number + 1], error_model="azimuthal")
        for field in fields(BinSums):
            one, among = getattr(alone, field.name), getattr(together, field.name)
            if among is not None:
                np.testing.assert_array_equal(one[0], among[number])


@pytest.mark.parametrize("dummy", [None, 3])
def test_finished_patterns_are_ratios_of_the_sums(on, dummy):
    pixel_map, frames, factor = radial_map(), frames_of("u2", mean=5), np.array([1, 2, 0.5, 3, 4.0])
    frames[3] = 3
    scatter = CudaScatter.build(pixel_map, **corrections())
    xp = cuda.array_module()
    sums = scatter(xp.asarray(frames), error_model="poisson", dummy=dummy)
    found = scatter.finish(sums, factor=xp.asarray(factor), empty=-7, deviations=True)
    found = {name: xp.asnumpy(array) for name, array in found.items()}
    expected = reference_scatter(pixel_map, frames, **corrections(), error_model="poisson", dummy=dummy)
    with np.errstate(all="ignore"):
        norm = expected.normalization * factor[:, np.newaxis]
        deviations = np.sqrt(expected.variance / expected.normalization_squared) / factor[:, np.newaxis]
        for name, want in [
            ("intensity", expected.signal / norm),
            ("intensity_errors", np.sqrt(expected.variance) / norm),
            ("intensity_std", deviations),
        ]:
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], np.where(norm == 0, -7, want), rtol=1e-6)
    whole = reference_scatter(pixel_map, frames[:1], **corrections()).count.sum()
    np.testing.assert_allclose(found["valid_fraction"], expected.count.sum(axis=1) / whole, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "splitting", "dummy"), [("u4", False, None), ("i2", False, 30), ("u2", True, 30)])
def test_frames_of_several_pieces(on, small_tiles, dtype, splitting, dummy):
    pixel_map = radial_map(splitting=splitting)
    scatter = CudaScatter.build(pixel_map, **corrections())
    assert scatter.tiles is not None
    assert scatter.tiles.n_pieces == 4
    frames = frames_of(dtype, 9)
    frames[1::2][frames[1::2] == 30] = 31  # every other frame has no invalid pixels
    kwargs = {"error_model": "poisson", "dummy": dummy}
    together = summed(scatter, frames, **kwargs)
    assert_close(together, reference_scatter(pixel_map, frames, **corrections(), **kwargs), 1e-9)
    for number in (0, 1, 8):
        alone = summed(scatter, frames[number : number + 1], **kwargs)
        assert alone.signal.tobytes() == together.signal[number].tobytes()
        assert alone.variance.tobytes() == together.variance[number].tobytes()


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_frames_that_start_anywhere_in_memory(on, small_tiles, dtype):
    pixel_map, frames = radial_map(splitting=False), frames_of(dtype, 4)
    xp = cuda.array_module()
    memory = xp.zeros(frames.size + 5, dtype)
    placed = memory[3 : 3 + frames.size].reshape(frames.shape)
    placed[...] = xp.asarray(frames)
    sums = CudaScatter.build(pixel_map)(placed, error_model="poisson")
    expected = reference_scatter(pixel_map, frames, error_model="poisson")
    np.testing.assert_allclose(xp.asnumpy(sums.signal), expected.signal, rtol=1e-12)
    np.testing.assert_allclose(xp.asnumpy(sums.variance), expected.variance, rtol=1e-12)


def test_map_without_entries(on):
    scatter = CudaScatter.build(map_of([], 600, 5))
    sums = summed(scatter, np.ones((2, 600)), error_model="poisson")
    assert not sums.signal.any()
    assert not sums.variance.any()


def test_no_frames(on):
    sums = summed(CudaScatter.build(radial_map()), np.empty((0, *SHAPE), np.uint16), error_model="poisson")
    assert sums.signal.shape == (0, 60)


@pytest.mark.parametrize(
    ("frames", "kwargs", "message"),
    [
        (np.zeros((2, 5, 5)), {}, "25 pixels"),
        (np.zeros((2, *SHAPE), complex), {}, "complex128"),
        (np.zeros(SHAPE[0] * SHAPE[1]), {}, "shape"),
        (np.zeros((2, *SHAPE)), {"error_model": "variance"}, "belong together"),
        (np.zeros((2, *SHAPE)), {"error_model": "poisson", "variance": 1}, "belong together"),
        (np.zeros((2, *SHAPE)), {"error_model": "variance", "variance": np.ones(3)}, "variance has shape"),
        (np.zeros((2, *SHAPE)), {"error_model": "variance", "variance": np.full(SHAPE, -1)}, "below zero"),
    ],
)
def test_frames_that_do_not_fit_are_refused(on, frames, kwargs, message):
    with pytest.raises(DataError, match=message):
        summed(CudaScatter.build(radial_map()), frames, **kwargs)
