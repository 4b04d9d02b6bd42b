"""Frames decoded on a CUDA device are those that the CPU decodes. Small cases run by emulation, too."""

import h5py
import numpy as np
import pytest

from cuda_emulation import emulate
from friedel import _native
from friedel.core.errors import DataError
from friedel.device import cuda
from friedel.device.choice import gpu_count
from friedel.kernels.cuda_decode import FrameLoader
from friedel.kernels.decode import as_bytes, decode, encode_bitshuffle_lz4, encode_byte_offset
from friedel.kernels.encoded import EncodedFrames
from kernels.test_decode import SHAPES, TYPES, frame_of


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def loader(request, monkeypatch):
    if request.param == "emulated":
        emulate(monkeypatch)
    elif not gpu_count():
        pytest.skip("no CUDA device")
    return FrameLoader(0, 2**22, 2**22)


def encoded(codec, buffers, frames, dtype=None):
    labels = tuple(f"frame {number}" for number in range(len(buffers)))
    return EncodedFrames(codec, tuple(buffers), frames[0].shape, np.dtype(dtype or frames[0].dtype), labels)


def load(loader, frames):
    """Return the frames of a batch as the device has them, and which it could not decode."""
    assert loader.leading(frames) == len(frames)
    xp = cuda.array_module()
    there = loader(frames)
    return xp.asnumpy(there), loader.damaged()


def assert_decoded(loader, coded):
    found, damaged = load(loader, coded)
    assert not damaged.any()
    np.testing.assert_array_equal(found, decode(coded).reshape(found.shape))


def assert_judged_alike(loader, coded):
    """What the device decodes is right, and what it marks is refused by the CPU."""
    found, damaged = load(loader, coded)
    for number, label in enumerate(coded.labels):
        alone = EncodedFrames(coded.codec, (coded.buffers[number],), coded.frame_shape, coded.dtype, (label,))
        try:
            expected = decode(alone)[0].reshape(-1)
        except DataError:
            assert damaged[number], label
        else:
            assert not damaged[number], label
            np.testing.assert_array_equal(found[number], expected, err_msg=label)


def counts(shape, mean, dtype, seed=1):
    """Photon counts with gaps, hot pixels and marks."""
    rng = np.random.default_rng(seed)
    frame = rng.poisson(mean, shape).astype(dtype)
    frame[shape[0] // 3] = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else -1
    frame.flat[:: max(frame.size // 7, 1)] = 100 if np.dtype(dtype).itemsize == 1 else 30000
    return frame


# ---- bitshuffle-LZ4


@pytest.mark.parametrize("dtype", TYPES)
def test_bitshuffle_lz4(loader, dtype):
    for shape in SHAPES:
        frames = [frame_of(shape, dtype, seed) for seed in range(3)]
        assert_decoded(loader, encoded("bslz4", [encode_bitshuffle_lz4(frame) for frame in frames], frames))


@pytest.mark.parametrize("mean", [0, 0.02, 1, 50])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4"])
def test_bitshuffle_lz4_of_counts(loader, dtype, mean):
    frames = [counts((97, 211), mean, dtype)]
    assert_decoded(loader, encoded("bslz4", [encode_bitshuffle_lz4(frame) for frame in frames], frames))


@pytest.mark.parametrize("block", [0, 8, 1000, 1024, 4096, 16384])
def test_blocks_of_any_size(loader, block):
    frames = [counts((60, 300), 5, "u2", seed) for seed in range(2)]
    coded = encoded("bslz4", [encode_bitshuffle_lz4(frame, block) for frame in frames], frames)
    found, damaged = load(loader, coded)
    assert damaged.all() if block == 8 else not damaged.any()  # such small blocks are left to the CPU
    np.testing.assert_array_equal(found[~damaged], decode(coded).reshape(found.shape)[~damaged])


def test_blocks_too_large_for_a_gpu_are_left_to_the_cpu(loader):
    frames = [counts((300, 300), 5, "u4") for _ in range(2)]
    buffers = [encode_bitshuffle_lz4(frames[0]), encode_bitshuffle_lz4(frames[1], 2**16)]
    found, damaged = load(loader, encoded("bslz4", buffers, frames))
    assert damaged.tolist() == [False, True]
    np.testing.assert_array_equal(found[0], frames[0].reshape(-1))


def test_blocks_of_different_sizes_in_a_batch(loader):
    frames = [counts((60, 300), 5, "u2", seed) for seed in range(3)]
    buffers = [encode_bitshuffle_lz4(frame, block) for frame, block in zip(frames, (1024, 8192, 4096), strict=True)]
    assert_decoded(loader, encoded("bslz4", buffers, frames))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f8"])
def test_chunks_of_the_hdf5_filter(loader, tmp_path, dtype):
    """Its encoder chooses other matches than ours."""
    hdf5plugin = pytest.importorskip("hdf5plugin")
    frame = frame_of((130, 333), dtype)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        compression = hdf5plugin.Bitshuffle(cname="lz4")
        data = file.create_dataset("data", data=frame[np.newaxis], chunks=(1, *frame.shape), compression=compression)
        _, chunk = data.id.read_direct_chunk((0, 0, 0))
    assert_decoded(loader, encoded("bslz4", [chunk], [frame]))


def test_matches_of_every_distance(loader):
    """Planes that repeat with a period of 1 to 40 bytes give LZ4 matches of these distances, which overlap."""
    from friedel.kernels.decode import reference_unshuffle

    rng = np.random.default_rng(3)
    frames = []
    for period in range(1, 41):
        planes = np.resize(rng.integers(0, 256, period, np.uint8), 8192)
        planes[rng.integers(0, 8192, 5)] ^= 255
        frames.append(reference_unshuffle(planes.tobytes(), "u2").reshape(64, 64))
    assert_decoded(loader, encoded("bslz4", [encode_bitshuffle_lz4(frame) for frame in frames], frames))


@pytest.mark.parametrize("seed", range(4))
def test_damaged_chunks_are_judged_as_by_the_cpu(loader, seed):
    rng = np.random.default_rng(seed)
    frame = counts((61, 67), 2, "u2")
    chunk = encode_bitshuffle_lz4(frame)
    buffers = [chunk]
    for _ in range(40):
        damaged = bytearray(chunk)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(0, len(chunk))] = rng.integers(0, 256)
        buffers.append(bytes(damaged[: rng.integers(0, 2 * len(chunk))]))
    assert_judged_alike(loader, encoded("bslz4", buffers, [frame]))


def test_chunks_that_end_anywhere_are_judged_as_by_the_cpu(loader):
    frame = counts((43, 61), 9, "u2")  # 7 pixels at the end are stored as they are
    chunk = encode_bitshuffle_lz4(frame, 1024)
    ends = [*range(len(chunk) - 40, len(chunk) + 2), *range(10, 30)]
    assert_judged_alike(loader, encoded("bslz4", [(chunk + b"\0")[:end] for end in ends], [frame]))


@pytest.mark.parametrize("length", [0, 2**16, 2**31, 2**32 - 4, 2**32 - 1])
def test_lengths_that_lead_out_of_a_chunk_are_found(loader, length):
    frame = counts((64, 256), 9, "u4")
    chunk = encode_bitshuffle_lz4(frame)
    second = 16 + int.from_bytes(chunk[12:16], "big")
    wrong = chunk[:second] + length.to_bytes(4, "big") + chunk[second + 4 :]
    assert_judged_alike(loader, encoded("bslz4", [chunk, wrong, chunk], [frame]))


def test_lengths_are_found_at_every_place_of_what_is_read_at_a_time(loader):
    """A walk reads 16 KiB at a time; blocks of noise take a little more or less than half of that."""
    rng = np.random.default_rng(5)
    frame = rng.integers(0, 2**32, (60, 2048), np.uint32)
    for number, start in enumerate(range(0, frame.size, 2048)):
        frame.reshape(-1)[start : start + 61 * number % 2048] = 0
    assert_decoded(loader, encoded("bslz4", [encode_bitshuffle_lz4(frame)], [frame]))


def lz4_sequence(literals, distance=None, length=0):
    """Return a sequence of an LZ4 block; the last one has no match."""

    def extension(rest):
        return bytes([255] * (rest // 255) + [rest % 255]) if rest >= 0 else b""

    match = length - 4 if distance else 0
    head = bytes([min(len(literals), 15) << 4 | min(match, 15)]) + extension(len(literals) - 15) + literals
    return head + (distance.to_bytes(2, "little") + extension(match - 15) if distance else b"")


@pytest.mark.parametrize(
    "sequences",
    [
        [(b"", 1, 64)],  # a match before anything was written
        [(b"abcd", 5, 60)],
        [(b"abcd", 0, 60)],
        [(b"a", 1, 64)],  # one byte too long
        [(b"a" * 70,)],
        [(b"a" * 63,)],  # one too short
        [(b"a" * 64, 1, 4)],
        [(b"a" * 60, 60, 4)],  # ends with a match: the last sequence is missing
    ],
)
def test_blocks_that_are_no_lz4(loader, sequences):
    block = b"".join(lz4_sequence(*sequence) for sequence in sequences)
    chunk = (64).to_bytes(8, "big") + (64).to_bytes(4, "big") + len(block).to_bytes(4, "big") + block
    frame = np.zeros((8, 8), np.uint8)
    coded = encoded("bslz4", [chunk], [frame])
    with pytest.raises(DataError):
        decode(coded)
    assert load(loader, coded)[1].all()


@pytest.mark.parametrize("literal", [0, 1, 14, 15, 16, 269, 270, 271, 5000])
def test_lz4_lengths_at_the_limits_of_their_codes(loader, literal):
    rng = np.random.default_rng(literal)
    size, parts, made = 8192, [], 0
    for length in (4, 18, 19, 20, 273, 274, 275, 1000):
        if made + literal + length > size - 300 or not made + literal:
            continue
        distance = int(rng.integers(1, min(made + literal, 700) + 1))
        parts.append(lz4_sequence(rng.bytes(literal), distance, length))
        made += literal + length
    block = b"".join([*parts, lz4_sequence(rng.bytes(size - made))])
    chunk = size.to_bytes(8, "big") + size.to_bytes(4, "big") + len(block).to_bytes(4, "big") + block
    assert_decoded(loader, encoded("bslz4", [chunk], [np.zeros((64, 64), np.uint16)]))


# ---- byte offset


@pytest.mark.parametrize("dtype", ["i4", "u4", "i2", "u2", "i1", "u1", "i8"])
def test_byte_offset(loader, dtype):
    for shape in SHAPES:
        frames = [frame_of(shape, dtype, seed) for seed in range(3)]
        assert_decoded(loader, encoded("byte_offset", [encode_byte_offset(frame) for frame in frames], frames))


@pytest.mark.parametrize("mean", [0, 0.1, 40, 5000])
def test_byte_offset_of_counts(loader, mean):
    frames = [counts((97, 211), mean, "i4", seed) for seed in range(2)]
    assert_decoded(loader, encoded("byte_offset", [encode_byte_offset(frame) for frame in frames], frames))


@pytest.mark.parametrize("spread", [10, 200, 40000, 2**30])
def test_byte_offset_elements_of_all_lengths(loader, spread):
    rng = np.random.default_rng(7)
    frame = rng.integers(-spread, spread, (40, 301)).astype(np.int32)
    frame[::5] = rng.integers(-(2**31), 2**31, (8, 301))
    assert_decoded(loader, encoded("byte_offset", [encode_byte_offset(frame)], [frame]))


def test_byte_offset_of_bytes_that_look_like_escapes(loader):
    """Deltas made of the bytes 0x80 and 0x00: where an element begins is seen from the first one only."""
    rng = np.random.default_rng(8)
    buffers = [bytes(rng.choice([0x80, 0x00, 0x01], 6000, p=[share, 0.9 - share, 0.1])) for share in (0.1, 0.4, 0.8)]
    coded = encoded("byte_offset", buffers, [np.zeros((20, 30), np.int64)])
    assert_judged_alike(loader, coded)


@pytest.mark.parametrize("missing", [1, 2, 3, 100, 100000])
def test_truncated_byte_offset_is_marked(loader, missing):
    frame = np.random.default_rng(9).integers(-(2**31), 2**31, (31, 33)).astype(np.int32)
    section = encode_byte_offset(frame)
    found, damaged = load(loader, encoded("byte_offset", [section, section[:-missing], section + b"\0" * 5], [frame]))
    assert damaged.tolist() == [False, True, False]
    np.testing.assert_array_equal(found[2], frame.reshape(-1))


def test_byte_offset_values_outside_their_type_are_marked(loader):
    frame = np.full((8, 9), 70000)
    assert load(loader, encoded("byte_offset", [encode_byte_offset(frame)], [frame], "u2"))[1].all()


# ---- frames that are not compressed, batches


def lie_on_a_shelf(frames):
    addresses, sizes = np.empty((2, len(frames)), np.uint64)
    _native.locate(as_bytes(frames), addresses, sizes)
    np.testing.assert_array_equal(sizes, [len(buffer) for buffer in frames.buffers])
    return cuda.shelf_of(addresses, sizes) is not None


@pytest.mark.parametrize("codec", ["bslz4", "byte_offset"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 4, 0, 1], [4, 2, 0], [1, 1, 2]])
def test_frames_in_memory_that_the_device_fetches_from(loader, codec, order):
    frames = counts((5, 41, 67), 3, "i4")
    encode = {"bslz4": encode_bitshuffle_lz4, "byte_offset": encode_byte_offset}[codec]
    there = cuda.pinned_buffers([encode(frame) for frame in frames])
    some = encoded(codec, [there[number] for number in order], frames[order])
    assert lie_on_a_shelf(some)
    assert_decoded(loader, some)
    # Beside others that do not lie there, all are gathered.
    mixed = encoded(codec, [there[0], bytes(there[1])], frames[:2])
    assert not lie_on_a_shelf(mixed)
    assert_decoded(loader, mixed)


def test_damaged_chunks_in_memory_that_the_device_fetches_from(loader):
    frames = counts((3, 40, 64), 5, "u4")
    whole = [encode_bitshuffle_lz4(frame) for frame in frames]
    there = cuda.pinned_buffers([whole[0], whole[1][: len(whole[1]) // 2], whole[2]])
    assert_judged_alike(loader, encoded("bslz4", there, frames))


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
def test_plain_frames(loader, dtype):
    frames = np.stack([frame_of((37, 41), dtype, seed) for seed in range(3)])
    found, damaged = load(loader, frames)
    np.testing.assert_array_equal(found, frames.reshape(3, -1))
    assert not damaged.any()


def test_a_batch_is_what_fits(loader):
    frames = np.zeros((70, 256, 256), np.uint8)
    assert loader.leading(frames) == 64
    chunk = encode_bitshuffle_lz4(frames[0])
    assert loader.leading(encoded("bslz4", [chunk] * 70, frames)) == 64
    noise = np.random.default_rng(0).integers(0, 2**32, (512, 256), np.uint32)
    assert loader.leading(encoded("bslz4", [encode_bitshuffle_lz4(noise)] * 10, [noise])) == 7
    assert loader.leading(np.zeros((3, 2**11, 2**11), np.uint16)) == 0


def test_results_do_not_depend_on_what_was_there_before(loader):
    frame = counts((97, 211), 3, "u4")
    for codec, encode in (("bslz4", encode_bitshuffle_lz4), ("byte_offset", encode_byte_offset)):
        chunk = encode(frame)
        load(loader, encoded(codec, [chunk[:100], chunk, chunk[:50]], [frame]))
        assert_decoded(loader, encoded(codec, [chunk, chunk], [frame]))


def test_big_endian_frames_are_for_the_cpu():
    frame = np.zeros((4, 4), ">u2")
    assert not FrameLoader.decodes(frame)
    assert not FrameLoader.decodes(encoded("bslz4", [b""], [frame]))
    assert FrameLoader.decodes(encoded("bslz4", [b""], [frame], "u2"))
