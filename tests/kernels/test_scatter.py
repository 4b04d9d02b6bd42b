import pickle
import subprocess
import sys
import tracemalloc
from dataclasses import fields
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel import _native
from friedel.core.errors import DataError
from friedel.kernels.decode import encode_bitshuffle_lz4, encode_byte_offset
from friedel.kernels.encoded import EncodedFrames
from friedel.kernels.scatter import BinSums, PixelMap, Scatter, reference_scatter

SHAPE = (97, 211)  # not a whole number of tiles
TYPES = ["u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"]
MODELS = ["none", "poisson", "variance", "azimuthal"]


@cache
def radial_map(shape=SHAPE, n_bins=60, splitting=True, masked_rows=()):
    """Pixels around a centre; split in proportion between up to several bins, or whole in one."""
    y, x = np.indices(shape)
    r = np.hypot(y - 0.37 * shape[0], x - 0.41 * shape[1]).ravel()
    scale = n_bins / (0.9 * r.max())  # some pixels are out of range
    low, high = ((r - 0.7) * scale, (r + 0.7) * scale) if splitting else (r * scale, r * scale)
    entries = []
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        if i // shape[1] in masked_rows:
            continue
        for k in range(int(np.floor(a)), int(np.floor(b)) + 1):
            c = (min(b, k + 1) - max(a, k)) / (b - a) if splitting else 1.0
            if 0 <= k < n_bins and c > 0:
                entries.append((i, k, c))
    return map_of(entries, r.size, n_bins)


def map_of(entries, n_pixels, n_bins):
    pixels, bins, weights = zip(*entries, strict=True) if entries else ((), (), ())
    pointers = np.searchsorted(np.array(pixels, np.int64), np.arange(n_pixels + 1))
    return PixelMap(n_bins, pointers.astype(np.int64), np.array(bins, np.int32), np.array(weights, np.float32))


def scattered_map(n_pixels=3000, n_bins=500, seed=0):
    """Bins that are not consecutive, as in two dimensions, and repeated ones."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 7, n_pixels)
    pointers = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    bins = rng.integers(0, n_bins, pointers[-1]).astype(np.int32)
    return PixelMap(n_bins, pointers, bins, rng.random(pointers[-1]).astype(np.float32))


def frames_of(dtype, n=5, shape=SHAPE, seed=0, mean=30):
    return np.random.default_rng(seed).poisson(mean, (n, *shape)).astype(dtype)


def encoded(frames, codec="bslz4"):
    encode = {"bslz4": encode_bitshuffle_lz4, "byte_offset": encode_byte_offset}[codec]
    labels = tuple(f"frame {i}" for i in range(len(frames)))
    return EncodedFrames(codec, tuple(encode(frame) for frame in frames), frames.shape[1:], frames.dtype, labels)


def assert_close(sums, expected, tolerance=1e-10):
    for field in fields(BinSums):
        got, want = getattr(sums, field.name), getattr(expected, field.name)
        if want is None:
            assert got is None
            continue
        np.testing.assert_allclose(
            np.broadcast_to(got, want.shape),
            want,
            rtol=tolerance,
            atol=1e-12 * (np.abs(want).max() + 1),
            err_msg=field.name,
        )
        if field.name == "normalization":
            np.testing.assert_array_equal(np.broadcast_to(got, want.shape) == 0, want == 0)


def assert_same_bits(one, other):
    for field in fields(BinSums):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert (a is None) == (b is None)
        if a is not None:
            a, b = np.broadcast_arrays(a, b)
            assert a.tobytes() == b.tobytes(), field.name


def corrections(shape=SHAPE, seed=1):
    rng = np.random.default_rng(seed)
    return {
        "normalization": rng.uniform(0.2, 2, shape).astype(np.float32),
        "dark": rng.uniform(0, 5, shape),
        "dark_variance": rng.uniform(0, 2, shape),
    }


def arguments(model, frames):
    if model != "variance":
        return {"error_model": model}
    return {"error_model": model, "variance": np.random.default_rng(5).uniform(1, 50, frames.shape)}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("splitting", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_sums_are_those_of_the_reference(model, splitting, dtype):
    pixel_map, frames = radial_map(splitting=splitting), frames_of(dtype)
    more = corrections()
    sums = Scatter.build(pixel_map, **more)(frames, **arguments(model, frames))
    assert_close(sums, reference_scatter(pixel_map, frames, **more, **arguments(model, frames)))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n_bins", [500, 70000])
def test_bins_that_are_not_consecutive(model, n_bins):
    pixel_map = scattered_map(n_bins=n_bins)
    frames = frames_of("u2", shape=(30, 100))
    sums = Scatter.build(pixel_map)(frames, **arguments(model, frames))
    assert_close(sums, reference_scatter(pixel_map, frames, **arguments(model, frames)))


@pytest.mark.parametrize("n_bins", [3, 17, 250, 2000])
def test_pixels_that_cover_many_bins(n_bins):
    pixel_map, frames = radial_map(n_bins=n_bins), frames_of("i4")
    sums = Scatter.build(pixel_map)(frames, error_model="poisson")
    assert_close(sums, reference_scatter(pixel_map, frames, error_model="poisson"))


def test_whole_pixels_give_exact_integers():
    pixel_map = radial_map(splitting=False)
    frames = np.random.default_rng(3).integers(0, 2**32, (3, *SHAPE), np.uint64).astype(np.uint32)
    sums = Scatter.build(pixel_map)(frames)
    pixel = np.repeat(np.arange(pixel_map.n_pixels), np.diff(pixel_map.pointers))
    for frame, signal in zip(frames, sums.signal, strict=True):
        exact = np.zeros(pixel_map.n_bins, np.uint64)
        np.add.at(exact, pixel_map.bins, frame.ravel()[pixel].astype(np.uint64))
        np.testing.assert_array_equal(signal.astype(np.uint64), exact)


# ---- invalid pixels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("dtype", "dummy", "delta", "marks"),
    [
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
    ],
)
def test_invalid_pixels_leave_all_sums(model, dtype, dummy, delta, marks):
    pixel_map, frames = radial_map(), frames_of(dtype, mean=100)
    rng = np.random.default_rng(4)
    for mark in marks:
        frames[rng.random(frames.shape) < 0.05] = mark
    frames[2] = frames_of(dtype, 1, mean=100)  # a frame without any
    kwargs = arguments(model, frames) | {"dummy": dummy, "delta_dummy": delta}
    sums = Scatter.build(pixel_map, **corrections())(frames, **kwargs)
    assert_close(sums, reference_scatter(pixel_map, frames, **corrections(), **kwargs), 1e-9)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_frame_broken_in_several_pieces_is_named_once_and_always_the_same(threads):
    shape = (512, 512)
    frame = encode_bitshuffle_lz4(np.random.default_rng(0).integers(0, 2**32, shape, np.uint64).astype("u4"))
    broken, messages = bytearray(frame), set()
    for at in range(12, len(broken) - 4096, len(broken) // 40):
        broken[at : at + 4096] = bytes(4096)
    scatter = Scatter.build(radial_map(shape))
    for _ in range(20):
        with pytest.raises(DataError) as caught:
            scatter(EncodedFrames("bslz4", (bytes(broken),), shape, np.dtype("u4"), ("the frame",)), threads=threads)
        messages.add(str(caught.value))
    with pytest.raises(DataError) as caught:
        scatter(EncodedFrames("bslz4", (bytes(broken),), shape, np.dtype("u4"), ("the frame",)))
    assert messages == {str(caught.value)}


WITHOUT_MORE_THREADS = """
import resource
import numpy as np
from friedel import _native
from friedel.kernels.scatter import PixelMap, Scatter
pixel_map = PixelMap(50, np.arange(40001), np.arange(40000, dtype=np.int32) % 50, np.ones(40000, np.float32))
frames = np.arange(40000 * 64, dtype=np.uint32).reshape(64, 1, 40000)
scatter = Scatter.build(pixel_map)
expected = scatter(frames).signal
with open("/proc/self/statm") as file:
    held = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 60 * 2**20,) * 2)
assert np.array_equal(scatter(frames, threads=64).signal, expected)
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_a_system_that_gives_no_more_threads_only_takes_longer():
    process = subprocess.run([sys.executable, "-c", WITHOUT_MORE_THREADS], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout) == (0, "done\n"), process.stderr


@pytest.mark.parametrize("model", MODELS)
def test_frames_with_invalid_pixels_do_not_depend_on_their_company(model):
    frames = frames_of("f4", n=7)
    for frame in (0, 2, 3, 6):
        frames[frame, 10 + frame : 40, 20:150] = np.nan
    scatter, given = Scatter.build(radial_map(), **corrections()), arguments(model, frames)
    together = scatter(frames, threads=3, **given)
    for n in range(len(frames)):
        own = {name: value[n] if name == "variance" else value for name, value in given.items()}
        alone = scatter(frames[n : n + 1], **own)
        assert_same_bits(alone, part_of(together, n))


def part_of(sums, frame):
    arrays = {field.name: getattr(sums, field.name) for field in fields(BinSums)}
    return BinSums(**{name: None if array is None else array[frame : frame + 1] for name, array in arrays.items()})


def test_invalid_pixels_of_many_frames_take_little_memory():
    n_bins, n = 50_000, 40
    scatter = Scatter.build(scattered_map(n_bins=n_bins))
    frames = frames_of("f4", n=n, shape=(30, 100))
    frames[:, 7, 8] = np.nan
    one_array = 8 * n * n_bins
    tracemalloc.start()
    try:
        scatter(frames, error_model="poisson")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * one_array + 5 * 16 * 1024**2  # the five sums, and some frames' worth of what is removed


def test_dummy_that_the_type_cannot_hold_marks_nothing():
    pixel_map, frames = radial_map(), frames_of("u1")
    assert len(Scatter.build(pixel_map)(frames, dummy=300).normalization) == 1


@pytest.mark.parametrize("model", MODELS)
def test_bins_without_valid_pixels_are_exactly_zero(model):
    pixel_map, frames = radial_map(), frames_of("i4")
    frames[1] = -1
    frames[3][frames[3] != frames[3].max()] = -1
    scatter = Scatter.build(pixel_map, **corrections())
    sums = scatter(frames, dummy=-1, **arguments(model, frames))
    for values in (sums.signal, sums.variance, sums.normalization, sums.normalization_squared, sums.count):
        assert values is None or not values[1].any()
    expected = reference_scatter(pixel_map, frames, dummy=-1, **corrections(), **arguments(model, frames))
    assert_close(sums, expected, 1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_variance_that_is_not_finite_makes_a_pixel_invalid(bad):
    pixel_map, frames = radial_map(), frames_of("u2")
    variance = np.ones(SHAPE)
    variance[10:20, 10:20] = bad
    sums = Scatter.build(pixel_map)(frames, error_model="variance", variance=variance)
    assert_close(sums, reference_scatter(pixel_map, frames, error_model="variance", variance=variance))


def test_variances_below_zero_are_refused():
    frames, variance = frames_of("u2", n=1), np.full(SHAPE, 2.0)
    variance[3, 4] = -1
    variance[5, 6] = np.nan
    with pytest.raises(DataError, match="variance has values below zero"):
        Scatter.build(radial_map())(frames, error_model="variance", variance=variance)
    with pytest.raises(DataError, match="dark_variance has values below zero"):
        Scatter.build(radial_map(), dark_variance=variance)


def test_pixels_with_normalization_zero_or_not_finite_are_left_out():
    pixel_map, frames, more = radial_map(), frames_of("u2"), corrections()
    more["normalization"][5] = 0
    more["normalization"][6] = np.nan
    more["dark"][7] = np.inf
    more["dark_variance"][8] = np.nan
    sums = Scatter.build(pixel_map, **more)(frames, error_model="poisson")
    assert_close(sums, reference_scatter(pixel_map, frames, error_model="poisson", **more))


def test_negative_pixels_are_counted_unless_they_are_masked_or_invalid():
    pixel_map = radial_map(masked_rows=(40,))
    frames = frames_of("i4")
    frames[:, 30, :7] = -5
    frames[:, 31, :9] = -1
    frames[:, 40] = -3
    sums = Scatter.build(pixel_map)(frames, dummy=-1)
    assert sums.negative.tolist() == [7] * 5
    assert sums.negative.tolist() == reference_scatter(pixel_map, frames, dummy=-1).negative.tolist()


# ---- the same bits ------------------------------------------------------------------------------------


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def instruction_set(request):
    if _native.use_instruction_set(request.param) != request.param:
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    _native.use_instruction_set("widest")


def marked_frames(dtype, n=11, shape=(211, 300)):
    frames = frames_of(dtype, n, shape)
    frames[3, 100:104] = np.iinfo(dtype).max
    frames[4:, 20, ::7] = np.iinfo(dtype).max
    frames[7, 50, 50] = np.iinfo(dtype).max - 3
    frames[2, 110:120] = 100 if np.dtype(dtype).itemsize == 1 else 1000
    return frames


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("splitting", [False, True])
def test_sums_do_not_depend_on_instruction_set_threads_or_company(model, splitting, instruction_set):
    scatter = Scatter.build(radial_map((211, 300), splitting=splitting), **corrections((211, 300)))
    frames = marked_frames("u4") + np.float64(0.1)
    variance = np.random.default_rng(5).uniform(1, 50, frames.shape) if model == "variance" else None
    _native.use_instruction_set("baseline")
    expected = scatter(frames, error_model=model, variance=variance)
    _native.use_instruction_set(instruction_set)
    for threads in (1, 2, 3):
        assert_same_bits(scatter(frames, error_model=model, variance=variance, threads=threads), expected)
    for i in (0, 3, 10):
        given = None if variance is None else variance[i]
        alone = scatter(frames[i : i + 1], error_model=model, variance=given, threads=1 + i % 2)
        assert alone.signal.tobytes() == expected.signal[i].tobytes()
        if model != "none":
            assert alone.variance.tobytes() == expected.variance[i].tobytes()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("splitting", [False, True])
@pytest.mark.parametrize("dtype", ["u2", "i4", "f4"])
def test_dead_and_other_invalid_pixels_give_the_same_bits_everywhere(model, splitting, dtype, instruction_set):
    shape, rng = (211, 300), np.random.default_rng(9)
    scatter = Scatter.build(radial_map(shape, splitting=splitting), **corrections(shape))
    frames, dummy = frames_of(dtype, 13, shape), 1000
    frames[:, rng.random(shape) < 0.03] = dummy  # dead in every frame
    frames[:, 20:70, 30:90] = dummy
    frames[rng.random(frames.shape) < 0.02] = dummy
    frames[5] = frames_of(dtype, 1, shape, seed=2)  # one without any
    given = arguments(model, frames) | {"dummy": dummy}
    _native.use_instruction_set("baseline")
    expected = scatter(frames, **given)
    assert_close(
        expected, reference_scatter(radial_map(shape, splitting=splitting), frames, **corrections(shape), **given)
    )
    _native.use_instruction_set(instruction_set)
    for threads in (1, 2, 3):
        assert_same_bits(scatter(frames, threads=threads, **given), expected)
    for some in (slice(0, 1), slice(3, 6), slice(5, 6), slice(4, 12)):
        own = {name: value[some] if name == "variance" else value for name, value in given.items()}
        arrays = {field.name: getattr(expected, field.name) for field in fields(BinSums)}
        part = BinSums(**{name: None if array is None else array[some] for name, array in arrays.items()})
        assert_same_bits(scatter(frames[some], **own), part)


def test_sums_of_normalization_are_exact_in_any_order():
    pixel_map, more = radial_map(), corrections()
    frames = frames_of("u2", n=2)
    marked = np.random.default_rng(3).random(SHAPE) < 0.5
    frames[0, marked], frames[1, ~marked] = 65535, 65535
    scatter = Scatter.build(pixel_map, **more)
    sums = scatter(frames, dummy=65535)
    for name, total in zip(("normalization", "normalization_squared", "count"), scatter.constants, strict=False):
        np.testing.assert_array_equal(getattr(sums, name).sum(axis=0), total)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("n", [1, 2, 5, 11])
def test_compressed_frames_give_the_same_bits(model, dtype, n, instruction_set):
    pixel_map = radial_map((211, 300))
    frames = (marked_frames(dtype) if dtype[0] != "f" else frames_of(dtype, 11, (211, 300)))[:n]
    kwargs = {"dummy": np.iinfo(dtype).max if dtype[0] != "f" else 30}
    scatter = Scatter.build(pixel_map)
    kwargs |= {"error_model": model, "variance": np.ones((211, 300)) if model == "variance" else None}
    assert_same_bits(scatter(encoded(frames), threads=2, **kwargs), scatter(frames, threads=2, **kwargs))


def test_unmarked_overflow_in_compressed_frames_counts():
    frames = marked_frames("u4")
    scatter = Scatter.build(radial_map((211, 300)))
    assert_same_bits(scatter(encoded(frames)), scatter(frames))


@pytest.mark.parametrize(("dummy", "delta"), [(2**31, 2**31 - 50), (2**31, 2**31), (40, 8), (2**32 - 4, 2)])
def test_any_range_of_invalid_values_is_found_in_compressed_frames(dummy, delta, instruction_set):
    frames = marked_frames("u4")  # small counts and values near 2^32, which are held in 8 and 16 bits
    scatter = Scatter.build(radial_map((211, 300)))
    kwargs = {"dummy": dummy, "delta_dummy": delta}
    assert_same_bits(scatter(encoded(frames), **kwargs), scatter(frames, **kwargs))
    assert_close(scatter(frames, **kwargs), reference_scatter(radial_map((211, 300)), frames, **kwargs))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["i4", "u4", "i2"])
def test_byte_offset_frames_give_the_same_bits(threads, dtype):
    frames = marked_frames(dtype)
    scatter = Scatter.build(radial_map((211, 300)))
    kwargs = {"error_model": "poisson", "dummy": np.iinfo(dtype).max, "threads": threads}
    assert_same_bits(scatter(encoded(frames, "byte_offset"), **kwargs), scatter(frames, **kwargs))


@pytest.mark.parametrize("block", [8, 512, 1024, 4096, 20000])
def test_blocks_of_any_size(block):
    frames = frames_of("u4", 3, (211, 300))
    scatter = Scatter.build(radial_map((211, 300)))
    chunks = tuple(encode_bitshuffle_lz4(frame, block) for frame in frames)
    some = EncodedFrames("bslz4", chunks, (211, 300), frames.dtype, ("0", "1", "2"))
    assert_same_bits(scatter(some, error_model="poisson"), scatter(frames, error_model="poisson"))


def test_masked_blocks_are_not_decoded_to_the_wrong_place():
    scatter = Scatter.build(radial_map((211, 300), masked_rows=range(30, 100)))
    frames = frames_of("u4", 3, (211, 300))
    for threads in (1, 2):
        assert_same_bits(scatter(encoded(frames), threads=threads), scatter(frames))
        assert_same_bits(scatter(encoded(frames[:1]), threads=threads), scatter(frames[:1]))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 4), st.integers(0, 1000))
def test_scatter_is_linear(n, threads, seed):
    scatter = Scatter.build(scattered_map(seed=seed))
    frames = frames_of("f8", n, (30, 100), seed)
    once, twice = scatter(frames, threads=threads), scatter(2 * frames, threads=threads)
    np.testing.assert_array_equal(2 * once.signal, twice.signal)


def test_signal_is_conserved():
    pixel_map = radial_map(n_bins=60)
    frames = frames_of("u4")
    weight = np.zeros(pixel_map.n_pixels)
    np.add.at(weight, np.repeat(np.arange(pixel_map.n_pixels), np.diff(pixel_map.pointers)), pixel_map.weights)
    total = frames.reshape(len(frames), -1) @ weight
    np.testing.assert_allclose(Scatter.build(pixel_map)(frames).signal.sum(axis=1), total, rtol=1e-12)


# ---- bad input, small input, transport -----------------------------------------------------------------


def test_plan_survives_pickling():
    scatter = Scatter.build(radial_map(), **corrections())
    again = pickle.loads(pickle.dumps(scatter))  # noqa: S301
    frames = frames_of("u2")
    assert_same_bits(again(frames, error_model="poisson"), scatter(frames, error_model="poisson"))


def test_whole_pixels_are_packed_small():
    scatter = Scatter.build(radial_map(splitting=False))
    assert scatter.nbytes < 3 * scatter.n_pixels + 10000


@pytest.mark.parametrize("model", ["none", "poisson"])
def test_no_frames(model):
    sums = Scatter.build(radial_map())(np.empty((0, *SHAPE), np.uint16), error_model=model)
    assert sums.signal.shape == (0, 60)


def test_map_without_entries():
    scatter = Scatter.build(map_of([], 600, 5))
    assert not scatter(np.ones((2, 600)), error_model="poisson").signal.any()


def test_corrupt_frame_is_named():
    frames = frames_of("u4", 5, (211, 300))
    some = encoded(frames)
    buffers = (*some.buffers[:3], some.buffers[3][:500], some.buffers[4])
    broken = EncodedFrames("bslz4", buffers, some.frame_shape, some.dtype, some.labels)
    for threads in (1, 2):
        with pytest.raises(DataError, match="frame 3"):
            Scatter.build(radial_map((211, 300)))(broken, threads=threads)


@pytest.mark.parametrize(
    ("frames", "kwargs", "message"),
    [
        (np.zeros((2, 5, 5)), {}, "25 pixels"),
        (np.zeros((2, *SHAPE), complex), {}, "complex128"),
        (np.zeros(SHAPE[0] * SHAPE[1]), {}, "shape"),
        (np.zeros((2, *SHAPE)), {"error_model": "variance"}, "belong together"),
        (np.zeros((2, *SHAPE)), {"error_model": "poisson", "variance": 1}, "belong together"),
        (np.zeros((2, *SHAPE)), {"error_model": "variance", "variance": np.ones(3)}, "variance has shape"),
    ],
)
def test_frames_that_do_not_fit_are_refused(frames, kwargs, message):
    with pytest.raises(DataError, match=message):
        Scatter.build(radial_map())(frames, **kwargs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pointers": np.array([0, 2, 1], np.int64)}, "pointers"),
        ({"bins": np.array([0, 9], np.int32)}, "outside its 5 bins"),
        ({"weights": np.array([1, np.nan], np.float32)}, "not finite"),
    ],
)
def test_maps_that_contradict_themselves_are_refused(change, message):
    parts = {
        "n_bins": 5,
        "pointers": np.array([0, 1, 2], np.int64),
        "bins": np.array([0, 1], np.int32),
        "weights": np.ones(2, np.float32),
    }
    with pytest.raises(DataError, match=message):
        Scatter.build(PixelMap(**(parts | change)))


def test_corrections_of_another_shape_are_refused():
    with pytest.raises(DataError, match="normalization has 3 values"):
        Scatter.build(radial_map(), normalization=np.ones(3))


@pytest.mark.parametrize(
    "pixel_map",
    [
        radial_map(),
        radial_map(splitting=False),
        radial_map(masked_rows=range(7, 40)),
        scattered_map(),
        radial_map(n_bins=70000),
        map_of([], 700, 5),
        map_of([(3, 1, 0.5), (3, 4, 0.25), (699, 0, 1.0)], 700, 5),
    ],
)
def test_the_map_can_be_unpacked(pixel_map):
    given = sorted(zip(owners(pixel_map), pixel_map.bins.tolist(), pixel_map.weights.tolist(), strict=True))
    again = Scatter.build(pixel_map).pixel_map()
    again.check()
    assert again.n_pixels == pixel_map.n_pixels
    assert again.n_bins == pixel_map.n_bins
    assert sorted(zip(owners(again), again.bins.tolist(), again.weights.tolist(), strict=True)) == given


def owners(pixel_map):
    return np.repeat(np.arange(pixel_map.n_pixels), np.diff(pixel_map.pointers)).tolist()
