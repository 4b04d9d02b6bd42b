"""Decodes frames with the kernels; without them (they are being built) with the libraries that wrote the formats."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError
from friedel.kernels.encoded import EncodedFrames


def decode(encoded: EncodedFrames, *, threads: int = 1) -> NDArray[Any]:
    """Return the decoded frames, (n, rows, columns).

    Raises
    ------
    DataError
        If a buffer is corrupt, naming its label.
    """
    frames = np.empty((len(encoded), *encoded.frame_shape), encoded.dtype)
    for image, buffer, label in zip(frames, encoded.buffers, encoded.labels, strict=True):
        try:
            image[...] = _decode_one(encoded, bytes(buffer))
        except Exception as error:
            raise DataError(f"{label}: the compressed frame is corrupt ({error}).", "Copy the file again.") from None
    return frames


def _decode_one(encoded: EncodedFrames, buffer: bytes) -> NDArray[Any]:
    rows, columns = encoded.frame_shape
    if encoded.codec == "byte_offset":
        from fabio.compression import decByteOffset

        return np.asarray(decByteOffset(buffer, size=rows * columns)).reshape(rows, columns)
    import h5py
    import hdf5plugin

    with h5py.File(f"decode-{threading.get_ident()}", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset(
            "frame",
            (1, rows, columns),
            encoded.dtype,
            chunks=(1, rows, columns),
            **hdf5plugin.Bitshuffle(cname="lz4"),
        )
        dataset.id.write_direct_chunk((0, 0, 0), buffer)
        return np.asarray(dataset[0])
