import contextlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from friedel import _native
from friedel.core.errors import DataError
from friedel.kernels.decode import (
    decode,
    decode_bitshuffle_lz4,
    decode_byte_offset,
    encode_bitshuffle_lz4,
    encode_byte_offset,
    reference_decode_bitshuffle_lz4,
    reference_decode_byte_offset,
    reference_decode_lz4,
    reference_shuffle,
    reference_unshuffle,
)
from friedel.kernels.encoded import EncodedFrames

LEVELS = ["baseline", "avx2", "avx512"]
TYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"]
SHAPES = [(1, 1), (1, 7), (1, 8), (3, 5), (13, 79), (64, 64), (65, 127), (131, 517)]


@pytest.fixture(params=LEVELS)
def instruction_set(request):
    if _native.use_instruction_set(request.param) != request.param:
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    _native.use_instruction_set("widest")


def frame_of(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    frame = rng.poisson(30, shape).astype(dtype)
    frame.flat[:: max(frame.size // 5, 1)] = np.iinfo(dtype).max
    frame.flat[1 :: max(frame.size // 4, 1)] = np.iinfo(dtype).min
    return frame


# ---- LZ4 ----------------------------------------------------------------------------------------------


def decode_lz4(block, size):
    out = np.empty(size, np.uint8)
    return out.tobytes() if _native.decode_lz4(np.frombuffer(block, np.uint8), out) else None


def encode_lz4(data):
    out = np.empty(len(data) * 2 + 64, np.uint8)
    return out[: _native.encode_lz4(np.frombuffer(data, np.uint8), out)].tobytes()


compressible = st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 60)), max_size=12).map(
    lambda parts: b"".join(part * times for part, times in parts)
)


@given(compressible)
def test_lz4_round_trip_agrees_with_the_reference(data):
    block = encode_lz4(data)
    assert decode_lz4(block, len(data)) == data
    assert reference_decode_lz4(block, len(data)) == data


def test_lz4_shrinks_zeros():
    assert len(encode_lz4(bytes(8192))) < 60


def expected_lz4(block, size):
    try:
        return reference_decode_lz4(block, size)
    except ValueError:
        return None


@given(st.binary(max_size=200), st.integers(0, 300))
def test_lz4_refuses_what_is_no_block_of_that_size(block, size):
    assert decode_lz4(block, size) == expected_lz4(block, size)


@given(compressible, st.data())
def test_lz4_damaged_block_gives_what_the_reference_gives(data, draw):
    block = bytearray(encode_lz4(data))
    for _ in range(draw.draw(st.integers(1, 3))):
        block[draw.draw(st.integers(0, len(block) - 1))] = draw.draw(st.integers(0, 255))
    block = bytes(block[: draw.draw(st.integers(0, len(block)))])
    assert decode_lz4(block, len(data)) == expected_lz4(block, len(data))


def test_lz4_survives_many_random_blocks():
    rng = np.random.default_rng(1)
    source = encode_lz4(rng.poisson(1, 4000).astype(np.uint8).tobytes())
    for _ in range(20000):
        block = np.frombuffer(source, np.uint8)[: rng.integers(1, len(source) + 1)].copy()
        block[rng.integers(0, len(block), 3)] = rng.integers(0, 256, 3)
        _native.decode_lz4(block, np.empty(rng.integers(0, 5000), np.uint8))


# ---- bitshuffle ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
def test_reference_shuffle_is_undone(dtype):
    elements = frame_of((1, 64), dtype)[0]
    np.testing.assert_array_equal(reference_unshuffle(reference_shuffle(elements), dtype), elements)


@pytest.mark.parametrize("dtype", TYPES)
def test_bitshuffle_lz4_round_trip(dtype, instruction_set):
    for shape in SHAPES:
        frame = frame_of(shape, dtype)
        chunk = encode_bitshuffle_lz4(frame)
        np.testing.assert_array_equal(decode_bitshuffle_lz4(chunk, shape, dtype), frame)
        if frame.size < 2000:
            np.testing.assert_array_equal(reference_decode_bitshuffle_lz4(chunk, shape, dtype), frame)


@given(
    hnp.arrays(st.sampled_from([np.uint8, np.uint16, np.uint32, np.float64]), hnp.array_shapes(min_dims=2, max_dims=2)),
    st.integers(1, 5),
)
def test_bitshuffle_lz4_round_trip_of_anything(frame, eights):
    chunk = encode_bitshuffle_lz4(frame, 8 * eights)
    decoded = decode_bitshuffle_lz4(chunk, frame.shape, frame.dtype)
    assert decoded.tobytes() == frame.tobytes()


def lz4_sequence(literals, offset=0, length=4):
    """One sequence of an LZ4 block; the last one has no offset."""

    def more(n):
        return bytes([255] * ((n - 15) // 255) + [(n - 15) % 255]) if n >= 15 else b""

    head = bytes([min(len(literals), 15) << 4 | min(length - 4, 15)]) + more(len(literals)) + literals
    return head + offset.to_bytes(2, "little") + more(length - 4) if offset else head


@pytest.mark.parametrize("offset", [*range(1, 36), 63, 64, 65, 127, 300])
def test_matches_of_every_offset_and_length(offset, instruction_set):
    lengths = [*range(4, 40), 63, 64, 65, 127, 128, 129, 130, 191, 500]
    lengths.append(4 + -(offset + sum(lengths) + 4) % 8)  # whole bytes of planes: the block ends with this match
    literals = np.random.default_rng(offset).bytes(offset)
    block = lz4_sequence(literals, offset, lengths[0])
    block += b"".join(lz4_sequence(b"", offset, length) for length in lengths[1:]) + lz4_sequence(b"")
    size = offset + sum(lengths)
    chunk = size.to_bytes(8, "big") + size.to_bytes(4, "big") + len(block).to_bytes(4, "big") + block
    expected = reference_decode_bitshuffle_lz4(chunk, (1, size), "u1")
    np.testing.assert_array_equal(decode_bitshuffle_lz4(chunk, (1, size), "u1"), expected)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f8"])
@pytest.mark.parametrize("shape", [(1, 5), (13, 79), (200, 333)])
@pytest.mark.parametrize("block", [0, 128])
def test_chunks_are_those_of_the_hdf5_filter(tmp_path, dtype, shape, block):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    frame = frame_of(shape, dtype)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        compression = hdf5plugin.Bitshuffle(nelems=block, cname="lz4")
        theirs = file.create_dataset("theirs", data=frame[np.newaxis], chunks=(1, *shape), compression=compression)
        ours = file.create_dataset("ours", (1, *shape), dtype, chunks=(1, *shape), compression=compression)
        ours.id.write_direct_chunk((0, 0, 0), encode_bitshuffle_lz4(frame, block))
        np.testing.assert_array_equal(ours[0], frame)
        _, chunk = theirs.id.read_direct_chunk((0, 0, 0))
    np.testing.assert_array_equal(decode_bitshuffle_lz4(chunk, shape, dtype), frame)


def test_big_endian_chunk():
    frame = frame_of((30, 40), ">u2")
    chunk = encode_bitshuffle_lz4(frame)
    decoded = decode(EncodedFrames("bslz4", (chunk,), frame.shape, frame.dtype, ("frame 0",)))[0]
    np.testing.assert_array_equal(decoded, frame)
    assert decoded.dtype.isnative


@settings(max_examples=300)
@given(st.data())
def test_damaged_chunk_is_decoded_or_refused(draw):
    frame = frame_of((31, 33), "u4")
    chunk = bytearray(encode_bitshuffle_lz4(frame))
    for _ in range(draw.draw(st.integers(0, 4))):
        chunk[draw.draw(st.integers(0, len(chunk) - 1))] = draw.draw(st.integers(0, 255))
    chunk = bytes(chunk[: draw.draw(st.integers(0, len(chunk)))])
    with contextlib.suppress(DataError):
        decode_bitshuffle_lz4(chunk, frame.shape, "u4")


@pytest.mark.parametrize("length", [0, 5, 12, 15, 100, -1])
def test_truncated_chunk_is_refused_by_name(length):
    frame = frame_of((31, 33), "u4")
    chunk = encode_bitshuffle_lz4(frame)
    encoded = EncodedFrames("bslz4", (chunk, chunk[:length]), frame.shape, frame.dtype, ("frame 7", "frame 8"))
    with pytest.raises(DataError, match=r"frame 8: .*(short|end)"):
        decode(encoded, threads=2)


def test_chunk_of_another_shape_is_refused():
    with pytest.raises(DataError, match="another size"):
        decode_bitshuffle_lz4(encode_bitshuffle_lz4(np.zeros((4, 4), "u4")), (4, 5), "u4")


def test_odd_block_is_refused():
    with pytest.raises(DataError, match="12 elements"):
        encode_bitshuffle_lz4(np.zeros((4, 4)), 12)


def test_unknown_type_is_refused():
    with pytest.raises(DataError, match="complex"):
        encode_bitshuffle_lz4(np.zeros((4, 4), complex))


# ---- byte offset -----------------------------------------------------------------------------------------


@given(
    hnp.arrays(
        np.int32, st.integers(0, 60), elements=st.one_of(st.integers(-130, 130), st.integers(-(2**31), 2**31 - 1))
    )
)
def test_byte_offset_round_trip(values):
    section = encode_byte_offset(values)
    np.testing.assert_array_equal(decode_byte_offset(section, values.size), values)
    np.testing.assert_array_equal(reference_decode_byte_offset(section, values.size), values)


@given(hnp.arrays(np.int64, st.integers(0, 20)))
def test_byte_offset_round_trip_of_64_bits(values):
    np.testing.assert_array_equal(decode_byte_offset(encode_byte_offset(values), values.size, np.int64), values)


def test_byte_offset_of_a_frame(instruction_set):
    frame = np.random.default_rng(2).poisson(40, (195, 487)).astype(np.int32)
    frame[::17, ::13] = 100000
    frame[50] = -1
    encoded = EncodedFrames("byte_offset", (encode_byte_offset(frame),), frame.shape, frame.dtype, ("a.cbf",))
    np.testing.assert_array_equal(decode(encoded)[0], frame)


def test_byte_offset_escapes():
    section = encode_byte_offset(np.array([127, 0, 128, -128, 32767 - 128, 2**31 - 1, -1]))
    deltas = [b"\x7f", b"\x81", b"\x80\x80\x00", b"\x80\x00\xff", b"\x80\xff\x7f"]
    assert section.startswith(b"".join(deltas))


@pytest.mark.parametrize("missing", [1, 2, 4, 30])
def test_truncated_byte_offset_is_refused(missing):
    section = encode_byte_offset(np.random.default_rng(3).integers(-(2**31), 2**31, 50))
    with pytest.raises(DataError, match="end before the frame"):
        decode_byte_offset(section[:-missing], 50)


@given(st.binary(max_size=100), st.integers(0, 200))
def test_any_bytes_are_decoded_or_refused(section, n):
    with contextlib.suppress(DataError):
        decode_byte_offset(section, n)
