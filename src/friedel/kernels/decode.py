"""Compressed frames to arrays and back: bitshuffle-LZ4 chunks of HDF5, byte-offset sections of CBF."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from friedel import _native
from friedel.core.errors import DataError

from .encoded import Codec, EncodedFrames

AUTOMATIC_BLOCK_BYTES = 8192
"""Uncompressed size of a bitshuffle block that the HDF5 filter chooses when it is told none."""

CODEC_NUMBERS: dict[Codec | None, int] = {None: 0, "bslz4": 1, "byte_offset": 2}
"""How the compiled kernels number the codecs; None stands for frames that are not compressed."""

_REMEDY = "The file is damaged or was not completely written: copy it again, or leave this frame out."


def decode(encoded: EncodedFrames, *, threads: int = 1) -> npt.NDArray[np.generic]:
    """Decode a block of frames.

    Parameters
    ----------
    encoded : EncodedFrames
    threads : int
        Frames are shared between this many threads.

    Returns
    -------
    ndarray, shape (n, rows, columns)
        Of `encoded.dtype`, native byte order.

    Raises
    ------
    DataError
        If a buffer is corrupt, naming the frame's label.
    """
    dtype = encoded.dtype.newbyteorder("=")
    frames = np.empty((len(encoded), *encoded.frame_shape), dtype)
    rows = frames.reshape(len(encoded), -1).view(np.uint8) if frames.size else np.empty((len(encoded), 0), np.uint8)
    problems = _native.decode_frames(
        CODEC_NUMBERS[encoded.codec], as_bytes(encoded), element_size(dtype), rows, max(threads, 1)
    )
    check_decoded(problems, encoded.labels)
    # The bytes in an HDF5 chunk have the order of the dataset's type; CBF numbers are decoded as numbers.
    if encoded.codec == "bslz4" and encoded.dtype != dtype:
        frames.byteswap(inplace=True)
    return frames


def as_bytes(encoded: EncodedFrames) -> list[npt.NDArray[np.uint8]]:
    """Return the buffers as arrays that share their memory."""
    return [np.frombuffer(buffer, np.uint8) for buffer in encoded.buffers]


def check_decoded(problems: list[str], labels: tuple[str, ...]) -> None:
    """Raise `DataError` for the first of `problems` that is not empty, naming the frame."""
    for problem, label in zip(problems, labels, strict=True):
        if problem:
            raise DataError(f"{label}: {problem}.", _REMEDY)


def element_size(dtype: np.dtype[np.generic]) -> int:
    """Return the bytes of an element.

    Raises
    ------
    DataError
        If no codec knows elements of this type.
    """
    if dtype.kind not in "uif" or dtype.itemsize not in (1, 2, 4, 8):
        raise DataError(f"Frames of type {dtype} cannot be decoded.", "Store integers or floats of 1, 2, 4 or 8 bytes.")
    return dtype.itemsize


def decode_bitshuffle_lz4(
    buffer: bytes | memoryview, shape: tuple[int, int], dtype: npt.DTypeLike
) -> npt.NDArray[np.generic]:
    """Decode one HDF5 chunk of filter 32008 with LZ4 that holds one frame.

    Raises
    ------
    DataError
        If the chunk is corrupt or holds another number of elements.
    """
    frame: npt.NDArray[np.generic] = decode(EncodedFrames("bslz4", (buffer,), shape, np.dtype(dtype), ("chunk",)))[0]
    return frame


def decode_byte_offset(buffer: bytes | memoryview, n: int, dtype: npt.DTypeLike = np.int32) -> npt.NDArray[np.generic]:
    """Decode `n` numbers of a CBF binary section with the conversion x-CBF_BYTE_OFFSET.

    Raises
    ------
    DataError
        If the section is shorter.
    """
    encoded = EncodedFrames("byte_offset", (buffer,), (1, n), np.dtype(dtype), ("byte-offset data",))
    values: npt.NDArray[np.generic] = decode(encoded)[0, 0]
    return values


def encode_bitshuffle_lz4(array: npt.NDArray[np.generic], block_elements: int = 0) -> bytes:
    """Encode an array as an HDF5 chunk of filter 32008 with LZ4.

    Parameters
    ----------
    array : ndarray
        Integers or floats of 1, 2, 4 or 8 bytes.
    block_elements : int
        Elements in a block, a multiple of 8; 0 chooses blocks of 8192 bytes.

    Returns
    -------
    bytes
        What `h5py.h5d.DatasetID.write_direct_chunk` takes.
    """
    array = np.ascontiguousarray(array)
    size = element_size(array.dtype)
    block = block_elements or AUTOMATIC_BLOCK_BYTES // size
    if block <= 0 or block % 8 or block * size >= 2**32:
        raise DataError(f"A bitshuffle block cannot have {block} elements.", "Give a positive multiple of 8.")
    n_blocks = array.size // block + 1
    out = np.empty(12 + array.nbytes + array.nbytes // 255 + 24 * n_blocks, np.uint8)
    written = _native.encode_bslz4(array.reshape(-1).view(np.uint8), size, block, out)
    return out[:written].tobytes()


def encode_byte_offset(array: npt.NDArray[np.integer]) -> bytes:
    """Encode integers as a CBF binary section with the conversion x-CBF_BYTE_OFFSET."""
    values = np.ascontiguousarray(array, np.int64).reshape(-1)
    out = np.empty(15 * values.size, np.uint8)
    return out[: _native.encode_byte_offset(values, out)].tobytes()


# The specification of the formats, in numpy: slow, and the oracle of the tests.


def reference_decode_lz4(block: bytes, size: int) -> bytes:
    """Decode one LZ4 block of `size` bytes, from the public description of the format.

    Raises
    ------
    ValueError
        If it is not such a block.
    """
    out = bytearray()
    position = 0

    def extended(length: int) -> int:
        nonlocal position
        more = 255 if length == 15 else 0
        while more == 255:
            more = block[position]
            position += 1
            length += more
        return length

    try:
        while True:
            token = block[position]
            position += 1
            literals = extended(token >> 4)
            if position + literals > len(block):
                raise ValueError("literals beyond the end")
            out += block[position : position + literals]
            position += literals
            if position == len(block):
                break
            offset = block[position] | block[position + 1] << 8
            position += 2
            length = extended(token & 15) + 4
            if not 0 < offset <= len(out) or len(out) + length > size:
                raise ValueError("a match outside the output")
            for _ in range(length):
                out.append(out[-offset])
    except IndexError:
        raise ValueError("the block is truncated") from None
    if len(out) != size:
        raise ValueError("another size")
    return bytes(out)


def reference_shuffle(elements: npt.NDArray[np.generic]) -> bytes:
    """Return the bit planes of a block of elements, whose number is a multiple of 8."""
    size = elements.dtype.itemsize
    stored = np.ascontiguousarray(elements).view(np.uint8).reshape(-1, size)
    bits = np.unpackbits(stored, axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little").tobytes()


def reference_unshuffle(planes: bytes, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """Return the elements of which `planes` are the bit planes."""
    size = np.dtype(dtype).itemsize
    bits = np.unpackbits(np.frombuffer(planes, np.uint8).reshape(8 * size, -1), axis=1, bitorder="little")
    return np.ascontiguousarray(np.packbits(bits.T, axis=1, bitorder="little")).view(dtype).reshape(-1)


def reference_decode_bitshuffle_lz4(
    buffer: bytes, shape: tuple[int, int], dtype: npt.DTypeLike
) -> npt.NDArray[np.generic]:
    """Decode one HDF5 chunk of filter 32008 with LZ4."""
    size, n = np.dtype(dtype).itemsize, shape[0] * shape[1]
    if int.from_bytes(buffer[:8], "big") != n * size:
        raise ValueError("another size")
    block = int.from_bytes(buffer[8:12], "big") // size
    parts, position = [], 12
    for start in range(0, n - n % 8, block):
        count = min(block, n - n % 8 - start)
        length = int.from_bytes(buffer[position : position + 4], "big")
        coded = buffer[position + 4 : position + 4 + length]
        parts.append(reference_unshuffle(reference_decode_lz4(coded, count * size), dtype))
        position += 4 + length
    rest = n % 8 * size
    parts.append(np.frombuffer(buffer[position : position + rest], dtype))
    return np.concatenate(parts).reshape(shape)


def reference_decode_byte_offset(buffer: bytes, n: int) -> npt.NDArray[np.int64]:
    """Decode `n` numbers of a byte-offset section."""
    values, value, position = np.empty(n, np.int64), 0, 0
    for i in range(n):
        for size in (1, 2, 4, 8):
            delta = int.from_bytes(buffer[position : position + size], "little", signed=True)
            position += size
            if size == 8 or delta != -(1 << (8 * size - 1)):
                break
        value += delta
        values[i] = value
    return values
