"""Robust sums on a CUDA device are those of the reference. Small cases run on the processor too, by emulation."""

from dataclasses import fields

import numpy as np
import pytest

from cuda_emulation import emulate
from friedel.core.errors import DataError
from friedel.device import cuda
from friedel.device.choice import gpu_count
from friedel.kernels import cuda_robust
from friedel.kernels.clip import reference_clip
from friedel.kernels.cuda_robust import CudaRobustScatter
from friedel.kernels.robust import RobustScatter
from friedel.kernels.scatter import BinSums, PixelMap
from kernels.test_clip import noisy, rings
from kernels.test_scatter import radial_map

MODELS = ["azimuthal", "poisson", "variance", "hybrid"]
SHAPE = (60, 80)


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def on(request, monkeypatch):
    if request.param == "emulated":
        emulate(monkeypatch)
    elif not gpu_count():
        pytest.skip("no CUDA device")
    return request.param


def corrections(seed=1):
    rng = np.random.default_rng(seed)
    return {
        "normalization": rng.uniform(0.2, 2, SHAPE).astype(np.float32),
        "dark": rng.uniform(0, 5, SHAPE),
        "dark_variance": rng.uniform(0, 2, SHAPE),
    }


def plan_of(pixel_map, **build):
    return CudaRobustScatter.of(RobustScatter.build(pixel_map, **build))


def clipped(plan, frames, **kwargs):
    """Clip frames, there and back."""
    xp = cuda.array_module()
    sums = plan.clip(xp.asarray(frames), **kwargs)
    return BinSums(*(xp.asnumpy(getattr(sums, field.name)) for field in fields(BinSums)))


def assert_agrees(pixel_map, frames, build=None, **kwargs):
    build = build or {}
    if kwargs.get("error_model") == "variance":
        kwargs["variance"] = np.random.default_rng(5).uniform(20, 60, frames.shape)
    sums = clipped(plan_of(pixel_map, **build), frames, **kwargs)
    expected = reference_clip(pixel_map, frames, **build, **kwargs)
    for field in fields(BinSums):
        want = getattr(expected, field.name)
        np.testing.assert_allclose(
            getattr(sums, field.name), want, rtol=1e-9, atol=1e-9 * (np.abs(want).max() + 1e-3), err_msg=field.name
        )
    return sums


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("splitting", [False, True])
def test_outliers_are_those_of_the_reference(on, model, splitting):
    sums = assert_agrees(rings(splitting=splitting), noisy(), corrections(), error_model=model)
    assert (sums.rejected.sum(axis=1) > 10).all()


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "f4", "f8"])
def test_types(on, dtype):
    frames = np.minimum(noisy(), 200).astype(dtype)
    assert_agrees(rings(), frames, error_model="azimuthal")


@pytest.mark.parametrize("model", ["azimuthal", "poisson"])
def test_large_bins_have_a_block_of_threads(on, model, monkeypatch):
    monkeypatch.setattr(cuda_robust, "_LARGE_BIN", 100)
    assert plan_of(rings()).lanes is None
    assert_agrees(rings(), noisy(), corrections(), error_model=model)
    monkeypatch.setattr(cuda_robust, "_LARGE_BYTES", 3000)
    assert_agrees(rings(), noisy(), corrections(), error_model=model)


def test_bins_that_are_too_large_to_be_kept(on, monkeypatch):
    monkeypatch.setattr(cuda_robust, "_SMALL_BYTES", 8000)
    assert_agrees(rings(), noisy(), corrections(), error_model="hybrid")


def test_bins_of_a_few_pixels(on):
    pixel_map = radial_map(SHAPE, n_bins=700, splitting=False)
    assert plan_of(pixel_map).lanes <= 2
    assert_agrees(pixel_map, noisy(), error_model="azimuthal", threshold=1.5)


@pytest.mark.parametrize("model", ["azimuthal", "poisson", "hybrid"])
@pytest.mark.parametrize("iterations", [0, 1, 2, 20])
def test_rounds(on, model, iterations):
    assert_agrees(rings(), noisy(spots=300), error_model=model, iterations=iterations, threshold=2)


def test_invalid_pixels_take_no_part(on):
    frames = noisy()
    frames[:, 7::9, ::5] = -7
    frames[1] = -7
    frames[2, 3, 4] = -20
    sums = assert_agrees(rings(), frames, corrections(), error_model="azimuthal", dummy=-7)
    assert not sums.count[1].any()
    assert sums.negative.tolist() == [0, 0, 1]
    floats = noisy().astype(np.float32)
    floats[0, ::3] = np.nan
    assert_agrees(rings(splitting=True), floats, error_model="poisson")


def test_spots_that_pull_the_mean_up_do_not_empty_a_bin(on):
    frames = noisy(spots=0)
    frames.reshape(len(frames), -1)[:, ::9] = 10**6
    sums = assert_agrees(rings(), frames, error_model="poisson")
    assert (sums.count > 0).all()


def test_a_frame_does_not_depend_on_its_company(on):
    plan, frames = plan_of(rings(splitting=True), **corrections()), noisy()
    together, alone = clipped(plan, frames), clipped(plan, frames[1:2])
    for field in fields(BinSums):
        np.testing.assert_array_equal(getattr(alone, field.name)[0], getattr(together, field.name)[1])


def test_finished_patterns_count_what_was_dropped_as_valid(on):
    plan, xp = plan_of(rings()), cuda.array_module()
    sums = plan.clip(xp.asarray(noisy()))
    assert float(xp.asnumpy(sums.rejected).sum()) > 0
    found = plan.finish(sums)
    np.testing.assert_allclose(xp.asnumpy(found["valid_fraction"]), 1, rtol=1e-6)
    np.testing.assert_allclose(xp.asnumpy(found["intensity"]), xp.asnumpy(sums.signal / sums.normalization), rtol=1e-6)


def test_map_without_entries(on):
    empty = PixelMap(5, np.zeros(601, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    sums = clipped(plan_of(empty), np.ones((2, 600)))
    assert not sums.count.any()


def test_what_cannot_be_used_is_refused(on):
    plan, frames = plan_of(rings()), noisy()
    for kwargs, message in [({"threshold": 0.5}, "threshold"), ({"iterations": -1}, "iterations")]:
        with pytest.raises(DataError, match=message):
            clipped(plan, frames, **kwargs)
