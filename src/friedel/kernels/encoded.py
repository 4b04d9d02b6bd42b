"""Frames as they lie in a file: compressed buffers with all that is needed to decode them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Codec = Literal["bslz4", "byte_offset"]


@dataclass(frozen=True)
class EncodedFrames:
    """A block of compressed frames.

    Attributes
    ----------
    codec : {"bslz4", "byte_offset"}
        "bslz4": an HDF5 chunk of filter 32008 with LZ4 (header, blocks, plain rest), one frame a chunk.
        "byte_offset": the payload of a CBF binary section.
    buffers : tuple of bytes-like
        One compressed buffer for each frame.
    frame_shape : tuple of int
        (rows, columns).
    dtype : numpy.dtype
        Element type of the decoded frame.
    labels : tuple of str
        For each frame, where it came from ("scan_1.h5 /entry/data/data frame 17"), for messages.
    """

    codec: Codec
    buffers: tuple[bytes | memoryview, ...]
    frame_shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.buffers)

    def part(self, start: int, stop: int) -> EncodedFrames:
        """Return frames `start` to `stop` (excluded)."""
        return replace(self, buffers=self.buffers[start:stop], labels=self.labels[start:stop])
