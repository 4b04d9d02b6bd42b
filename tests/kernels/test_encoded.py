"""Compressed frames are cut and put together without decoding them."""

import numpy as np
import pytest

from friedel.kernels.decode import decode, encode_bitshuffle_lz4
from friedel.kernels.encoded import EncodedFrames, joined

FRAMES = np.random.default_rng(1).poisson(9, (5, 8, 16)).astype(np.uint16)


def encoded(frames):
    buffers = tuple(encode_bitshuffle_lz4(frame) for frame in frames)
    labels = tuple(f"frame {number}" for number in range(len(frames)))
    return EncodedFrames("bslz4", buffers, (8, 16), frames.dtype, labels)


def test_frames_in_another_order():
    taken = encoded(FRAMES).take([3, 0])
    assert taken.labels == ("frame 3", "frame 0")
    np.testing.assert_array_equal(decode(taken), FRAMES[[3, 0]])


@pytest.mark.parametrize("compressed", [(True, True), (True, False), (False, False)])
def test_parts_behind_one_another(compressed):
    parts = [
        encoded(part) if packed else part for part, packed in zip((FRAMES[:2], FRAMES[2:]), compressed, strict=True)
    ]
    whole = joined(parts)
    assert isinstance(whole, EncodedFrames) == all(compressed)
    np.testing.assert_array_equal(decode(whole) if isinstance(whole, EncodedFrames) else whole, FRAMES)
    assert joined(parts[:1]) is parts[0]


def test_other_types_are_not_taken_for_one():
    parts = [encoded(FRAMES[:2]), encoded(FRAMES[2:].astype(np.uint32))]
    np.testing.assert_array_equal(joined(parts), FRAMES)
