"""Writes frames as a beamline does: a NeXus master with links and a virtual dataset, files of bitshuffle-LZ4 chunks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from friedel.core.errors import DataError, OutputError
from friedel.core.files import output_error, refuse_existing
from friedel.device.threads import thread_count
from friedel.kernels.decode import encode_bitshuffle_lz4

from .nexus import replacing

if TYPE_CHECKING:
    import h5py

DATA_PATH = "entry/data/data"
NX_CLASSES = {
    "entry": "NXentry",
    "data": "NXdata",
    "sample": "NXsample",
    "beam": "NXbeam",
    "control": "NXmonitor",
    "monitor": "NXmonitor",
    "instrument": "NXinstrument",
    "detector": "NXdetector",
    "source": "NXsource",
    "monochromator": "NXmonochromator",
    "positioners": "NXcollection",
    "measurement": "NXcollection",
    "detectorSpecific": "NXcollection",
}


class FrameWriter:
    """Writes a scan: frames as they come, everything else at any time before the end.

    Parameters
    ----------
    path : path-like
        The master file, "scan.h5"; the data files are called "scan_data_000001.h5" and so on, beside it.
    frame_shape : tuple of int
        (rows, columns).
    dtype : dtype-like
        Element type of the frames.
    frames_per_file : int
        Frames in each data file.
    threads : int, optional
        Threads that compress; by default `friedel.device.threads.thread_count`.
    overwrite : bool
        Whether to replace a master that exists.

    Raises
    ------
    OutputError
        If the master exists and may not be replaced, or the folder cannot be written.

    Examples
    --------
    >>> with FrameWriter("scan.h5", (2167, 2070), "u4") as writer:  # doctest: +SKIP
    ...     for block in detector:
    ...         writer.append(block)
    ...     writer.add("sample/dty", positions, "mm")
    """

    def __init__(
        self,
        path: str | Path,
        frame_shape: tuple[int, int],
        dtype: DTypeLike,
        *,
        frames_per_file: int = 1000,
        threads: int | None = None,
        overwrite: bool = True,
    ) -> None:
        self.path = Path(path)
        self.frame_shape = (int(frame_shape[0]), int(frame_shape[1]))
        self.dtype = np.dtype(dtype)
        self.frames_per_file = frames_per_file
        self.n_frames = 0
        self.data_files: list[Path] = []
        self._counts: list[int] = []
        self._metadata: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._file: h5py.File | None = None
        self._pool = ThreadPoolExecutor(threads or thread_count(), "compress")
        refuse_existing([path], overwrite)
        if not self.path.absolute().parent.is_dir():
            raise OutputError(path, f"there is no folder {self.path.absolute().parent}.", "Create it.")

    def append(self, frames: NDArray[Any]) -> None:
        """Write frames behind those written so far.

        Parameters
        ----------
        frames : ndarray, shape (n, rows, columns) or (rows, columns)

        Raises
        ------
        DataError
            If they have another shape or type than announced.
        OutputError
            If the disk is full or fails.
        """
        block = np.asarray(frames)
        block = block[np.newaxis] if block.ndim == 2 else block
        if block.shape[1:] != self.frame_shape or block.dtype != self.dtype:
            raise DataError(
                f"Frames of {block.shape[1:]} ({block.dtype}) were given, {self.frame_shape} ({self.dtype}) announced.",
                "Convert them.",
            )
        try:
            for compressed in self._pool.map(encode_bitshuffle_lz4, block):
                dataset = self._dataset()
                dataset.id.write_direct_chunk((self._counts[-1], 0, 0), compressed)
                self._counts[-1] += 1
                self.n_frames += 1
        except OSError as error:
            raise output_error(self._current(), error) from None

    def add(self, path: str, value: ArrayLike | str, units: str = "", **attributes: Any) -> None:
        """Store a value in the master.

        Parameters
        ----------
        path : str
            Below the entry: "sample/rotation_angle", "control/data", "instrument/detector/distance".
        value : array_like or str
        units : str
            In NeXus spelling ("mm", "deg"); "" for none.
        **attributes
            Further attributes.
        """
        self._metadata[path.strip("/")] = (value, attributes | ({"units": units} if units else {}))

    def _dataset(self) -> h5py.Dataset:
        if self._file is None or self._counts[-1] == self.frames_per_file:
            self._close_data_file()
            self._open_data_file()
        assert self._file is not None
        return self._file[DATA_PATH]

    def _open_data_file(self) -> None:
        import h5py
        import hdf5plugin

        number = len(self.data_files) + 1
        path = self.path.with_name(f"{self.path.stem}_data_{number:06d}.h5")
        path.unlink(missing_ok=True)  # a reader may still hold the old one
        self._file = h5py.File(path, "w", locking=False, libver=("earliest", "v110"))
        self._file.create_dataset(
            DATA_PATH,
            (self.frames_per_file, *self.frame_shape),
            self.dtype,
            maxshape=(None, *self.frame_shape),
            chunks=(1, *self.frame_shape),
            **hdf5plugin.Bitshuffle(cname="lz4"),
        )
        _class_groups(self._file, DATA_PATH)
        self._file["entry/data"].attrs["signal"] = "data"
        self.data_files.append(path)
        self._counts.append(0)

    def _close_data_file(self) -> None:
        if self._file is not None:
            self._file[DATA_PATH].resize(self._counts[-1], axis=0)
            self._file.close()
            self._file = None

    def _current(self) -> Path:
        """Return the file that is being written."""
        return self.data_files[-1] if self.data_files else self.path

    def close(self) -> None:
        """Write the master; without this (after an exception) there is none.

        Raises
        ------
        OutputError
            If the disk is full or fails; the data files are removed.
        """
        import h5py

        self._pool.shutdown()
        try:
            try:
                self._close_data_file()
            except OSError as error:
                raise output_error(self._current(), error) from None
            with replacing(self.path) as temporary, h5py.File(temporary, "w", locking=False) as file:
                self._write_master(file)
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        """Remove what was written: data files without a master are of no use."""
        self._pool.shutdown()
        if self._file is not None:
            with suppress(Exception):  # on a full disk closing fails too, and must not hide the first problem
                self._file.close()
            self._file = None
        for path in self.data_files:
            path.unlink(missing_ok=True)

    def _write_master(self, file: h5py.File) -> None:
        import h5py

        file.attrs["NX_class"] = "NXroot"
        file.attrs["default"] = "entry"
        data = file.create_group("entry/data")
        layout = h5py.VirtualLayout((self.n_frames, *self.frame_shape), self.dtype)
        start = 0
        for number, (path, count) in enumerate(zip(self.data_files, self._counts, strict=True), 1):
            data[f"data_{number:06d}"] = h5py.ExternalLink(path.name, f"/{DATA_PATH}")
            source = h5py.VirtualSource(path.name, f"/{DATA_PATH}", (count, *self.frame_shape), self.dtype)
            layout[start : start + count] = source
            start += count
        if self.n_frames:
            data.create_virtual_dataset("data", layout)
            data["data"].attrs["interpretation"] = "image"
            data.attrs["signal"] = "data"
        _class_groups(file, DATA_PATH)
        file["entry"].attrs["default"] = "data"
        for place, (value, attributes) in self._metadata.items():
            target = f"entry/{place}"
            file[target] = value
            _class_groups(file, target)
            file[target].attrs.update(attributes)

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._discard()


def _class_groups(file: h5py.File, path: str) -> None:
    """Give the groups on the way to `path` their NeXus classes."""
    parts = path.strip("/").split("/")[:-1]
    for count, name in enumerate(parts, 1):
        group = file["/".join(parts[:count])]
        if "NX_class" not in group.attrs:
            group.attrs["NX_class"] = NX_CLASSES.get(name, "NXcollection")
