"""Frames as they lie in a file: compressed buffers with all that is needed to decode them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

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

    def take(self, numbers: Iterable[int]) -> EncodedFrames:
        """Return the frames of these numbers, in their order."""
        wanted = list(numbers)
        return replace(
            self,
            buffers=tuple(self.buffers[number] for number in wanted),
            labels=tuple(self.labels[number] for number in wanted),
        )


Frames = npt.NDArray[Any] | EncodedFrames


def joined(parts: Sequence[Frames]) -> Frames:
    """Put frames of one source behind one another; they stay compressed if all of them are.

    Parameters
    ----------
    parts : sequence of ndarray, shape (n, rows, columns), or EncodedFrames
        One or more.

    Raises
    ------
    DataError
        If frames have to be decoded for this and are corrupt.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    encoded = [part for part in parts if isinstance(part, EncodedFrames)]
    alike = {(part.codec, part.frame_shape, part.dtype) for part in encoded}
    if isinstance(first, EncodedFrames) and len(encoded) == len(parts) and len(alike) == 1:
        return replace(
            first,
            buffers=tuple(buffer for part in encoded for buffer in part.buffers),
            labels=tuple(label for part in encoded for label in part.labels),
        )
    from .decode import decode

    return np.concatenate([decode(part) if isinstance(part, EncodedFrames) else part for part in parts])
