"""Patterns made on a GPU are those made on the CPU. Small cases run by emulation where there is no GPU, too."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest

from cuda_emulation import emulate
from friedel.core.errors import DataError, DeviceError
from friedel.device import cuda
from friedel.device.choice import gpu_count
from friedel.kernels.decode import encode_bitshuffle_lz4, encode_byte_offset
from friedel.kernels.encoded import EncodedFrames
from friedel.techniques.integration import FrameBlock, RadialMap, StreamedMap, device_map
from friedel.techniques.integration.device_map import BYTES_PER_BIN, LANES, DeviceMap, Room, lane_rooms
from techniques.integration.test_radial_map import SHAPE, poisson_frames, setup

MIB = 2**20


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def on(request, monkeypatch):
    if request.param == "emulated":
        emulate(monkeypatch)
        monkeypatch.setenv(cuda.MEMORY_VARIABLE, "8 MiB")
    elif not gpu_count():
        pytest.skip("no CUDA device")
    monkeypatch.setattr(device_map, "_pools", {})
    return request.param


def coded(frames, codec="bslz4", damage=()):
    encode = {"bslz4": encode_bitshuffle_lz4, "byte_offset": encode_byte_offset}[codec]
    buffers = [encode(frame) for frame in frames]
    for number in damage:
        buffers[number] = buffers[number][:-20]
    labels = tuple(f"scan.h5 frame {number}" for number in range(len(frames)))
    return EncodedFrames(codec, tuple(buffers), frames.shape[1:], frames.dtype, labels)


def assert_same(found, expected, rtol=1e-6):
    assert found.arrays().keys() == expected.arrays().keys()
    for name, values in expected.arrays().items():
        np.testing.assert_allclose(found.arrays()[name], values, rtol=rtol, err_msg=name)
    assert (found.sums is None) == (expected.sums is None)
    if expected.sums is not None:
        for field in fields(expected.sums):
            want = getattr(expected.sums, field.name)
            if want is not None:
                want = np.broadcast_to(want, getattr(found.sums, field.name).shape)
                np.testing.assert_allclose(getattr(found.sums, field.name), want, rtol=1e-9, err_msg=field.name)


def assert_agrees(radial_map, items, rtol=1e-6):
    found = DeviceMap(radial_map, "cuda:0")(items)
    assert_same(found, radial_map(items), rtol)
    return found


OPTIONS = [
    {},
    {"error_model": "poisson", "polarization": 0.95, "dark": np.full(SHAPE, 3.0), "flat": np.full(SHAPE, 1.5)},
    {"error_model": "azimuthal", "splitting": "none", "keep_sums": True},
    {"error_model": "poisson", "npt_azimuth": 5, "keep_sums": True},
    {"error_model": "poisson", "std": True, "dummy": 40, "delta_dummy": 1},
    {"error_model": "poisson", "weighted": False, "dummy": 40, "flat": np.linspace(1, 2, 3000).reshape(SHAPE)},
    {"error_model": "poisson", "covariance": True, "keep_sums": True, "dummy": 40},
    {"error_model": "hybrid", "estimator": "sigma-clip", "splitting": "none", "keep_sums": True, "std": True},
    {"error_model": "none", "estimator": "sigma-clip", "npt_azimuth": 5, "dummy": 40},
    {"error_model": "poisson", "estimator": "percentile"},
    {"error_model": "poisson", "azimuth_range": (-90, 40), "empty": -1.0},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_patterns_are_those_of_the_cpu(on, options):
    frames = poisson_frames(5)
    radial_map = RadialMap.build(setup(), npt=30, **options)
    factors = np.array([1.0, 2.0, 0.5, 1.0, 3.0])
    assert_agrees(radial_map, FrameBlock(coded(frames), normalization=factors))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "f4", "f8", "i8", ">u2"])
def test_frames_of_any_type(on, dtype):
    frames = poisson_frames(3).astype(dtype)
    radial_map = RadialMap.build(setup(), npt=30, error_model="poisson")
    assert_agrees(radial_map, frames)
    assert_agrees(radial_map, coded(frames))
    if frames.dtype.kind in "iu":
        assert_agrees(radial_map, coded(frames, "byte_offset"))


def test_given_variances(on):
    frames = poisson_frames(3)
    variance = np.random.default_rng(3).uniform(1, 50, frames.shape)
    radial_map = RadialMap.build(setup(), npt=30, error_model="variance")
    assert_agrees(radial_map, FrameBlock(coded(frames), variance=variance))
    assert_agrees(radial_map, FrameBlock(coded(frames), variance=variance[0]))


def test_a_block_is_cut_into_batches_that_fit(on, monkeypatch):
    frames = poisson_frames(23)
    frames[4] = np.random.default_rng(4).integers(0, 2**20, SHAPE)
    radial_map = RadialMap.build(setup(), npt=30, error_model="poisson", keep_sums=True, dummy=40)
    variance = frames * 1.5
    expected = DeviceMap(radial_map, "cuda:0")(coded(frames))
    sizes = []
    integrate = device_map.Lane.integrate
    monkeypatch.setattr(
        device_map.Lane,
        "integrate",
        lambda self, block, work: (sizes.append(len(block.frames)), integrate(self, block, work))[1],
    )
    for memory in (0.2, 0.1):
        monkeypatch.setattr(device_map, "_pools", {})
        monkeypatch.setattr(cuda, "free_memory", lambda device, memory=memory: int(memory * MIB))
        sizes.clear()
        found = DeviceMap(radial_map, "cuda:0")(coded(frames))
        assert len(sizes) > 2
        assert sum(sizes) == 23
        for name, values in expected.arrays().items():
            np.testing.assert_array_equal(found.arrays()[name], values)
    given = radial_map.with_options(error_model="variance")
    assert_agrees(given, FrameBlock(frames, normalization=np.arange(1.0, 24.0), variance=variance))


def test_an_incompressible_frame_goes_as_it_is(on, monkeypatch):
    monkeypatch.setattr(cuda, "free_memory", lambda device: 40_000)
    noise = np.random.default_rng(5).integers(0, 2**32, (3, *SHAPE), np.uint32)
    assert_agrees(RadialMap.build(setup(), npt=30), coded(noise))


def test_no_frames(on):
    radial_map = RadialMap.build(setup(), npt=30, error_model="poisson")
    for empty in (np.empty((0, *SHAPE), np.uint16), coded(np.empty((0, *SHAPE), np.uint16))):
        assert len(DeviceMap(radial_map, "cuda:0")(empty)) == 0


@pytest.mark.parametrize("codec", ["bslz4", "byte_offset"])
def test_a_corrupt_frame_is_named_as_on_the_cpu(on, codec):
    radial_map = RadialMap.build(setup(), npt=30)
    damaged = coded(poisson_frames(4), codec, damage=[2])
    with pytest.raises(DataError) as expected:
        radial_map(damaged)
    with pytest.raises(DataError) as found:
        DeviceMap(radial_map, "cuda:0")(damaged)
    assert str(found.value) == str(expected.value)


def test_what_the_gpu_does_not_decode_the_cpu_does(on):
    """Blocks of unusual size."""
    frames = poisson_frames(3)
    items = coded(frames)
    buffers = (items.buffers[0], encode_bitshuffle_lz4(frames[1], 8), items.buffers[2])
    radial_map = RadialMap.build(setup(), npt=30, error_model="poisson", keep_sums=True)
    assert_agrees(radial_map, FrameBlock(replace(items, buffers=buffers), normalization=np.array([1.0, 2.0, 3.0])))


@pytest.mark.parametrize("negative", ["refuse", "keep", "mask"])
@pytest.mark.parametrize("dtype", ["i4", "f4"])
def test_counts_below_zero(on, negative, dtype):
    frames = poisson_frames(3).astype(dtype)
    frames[1, 30, 20] = -5
    radial_map = RadialMap.build(setup(), npt=30, error_model="poisson", negative=negative)
    if negative != "refuse":
        assert_agrees(radial_map, frames)
        return
    with pytest.raises(DataError) as expected:
        radial_map(frames)
    with pytest.raises(DataError) as found:
        DeviceMap(radial_map, "cuda:0")(frames)
    assert str(found.value) == str(expected.value)


@pytest.mark.gpu
def test_many_threads_share_the_lanes():
    if not gpu_count():
        pytest.skip("no CUDA device")
    blocks = [coded(poisson_frames(7, seed=seed)) for seed in range(40)]
    radial_map = RadialMap.build(setup(), npt=30, error_model="poisson")
    plan = DeviceMap(radial_map, "cuda:0")
    alone = [plan(block) for block in blocks]
    with ThreadPoolExecutor(9) as workers:
        for found, expected in zip(workers.map(plan, blocks), alone, strict=True):
            np.testing.assert_array_equal(found.intensity, expected.intensity)
            np.testing.assert_array_equal(found.intensity_errors, expected.intensity_errors)


def test_streamed(on):
    frames = coded(poisson_frames(3))
    radial_map = RadialMap.build(setup(), npt=30, error_model="poisson")
    streamed = pickle.loads(pickle.dumps(StreamedMap(radial_map, "cuda:0", 4)))  # noqa: S301
    assert streamed.at_once == LANES + 1
    for name, values in StreamedMap(radial_map)(frames).items():
        np.testing.assert_allclose(streamed(frames)[name], values, rtol=1e-6)
    assert StreamedMap(radial_map).at_once is None


# ---- memory


def test_little_memory_makes_fewer_and_smaller_lanes():
    frame_bytes = 18 * MIB
    much, some, little = (lane_rooms(free, frame_bytes, 1000) for free in (100 * 2**30, 300 * MIB, 60 * MIB))
    assert len(much) == len(some) + 0 == LANES
    assert len(little) == 1
    assert much[0].frame_bytes == device_map.BATCH_BYTES
    assert some[0].frame_bytes < much[0].frame_bytes
    for room in (*much, *some, *little):
        assert min(room.frame_bytes, room.staging_bytes) >= frame_bytes


@pytest.mark.parametrize("share", [37 * MIB, 50 * MIB, 200 * MIB, 3 * 2**30])
def test_a_lane_keeps_to_its_share(share):
    room = Room.within(share, 18 * MIB)
    assert room.staging_bytes + room.frame_bytes + room.result_bytes <= share


def test_a_gpu_without_memory_for_a_frame_is_named():
    with pytest.raises(DeviceError, match=r"GPU 1 has .* MiB"):
        lane_rooms(40 * MIB, 18 * MIB, 1000, device=1)
    with pytest.raises(DeviceError, match="MiB"):
        lane_rooms(40 * MIB, MIB, 40 * MIB // BYTES_PER_BIN)


@pytest.mark.parametrize(("text", "n_bytes"), [("1000", 1000), ("2GiB", 2**31), ("1.5 MiB", 3 * 2**19)])
def test_the_limit_of_memory_is_read(monkeypatch, text, n_bytes):
    monkeypatch.setenv(cuda.MEMORY_VARIABLE, text)
    assert cuda.memory_limit() == n_bytes


def test_lanes_of_two_gpus_take_turns(monkeypatch):
    emulate(monkeypatch)
    pool = device_map.LanePool((0, 1), 1000, 10)
    with pool.lend() as first, pool.lend() as second, pool.lend() as third:
        assert [first.device, second.device, third.device] == [0, 1, 0]
        assert first is not third
    with pool.lend() as again:
        assert again in (first, second, third)
