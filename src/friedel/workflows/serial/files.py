"""Files of serial crystallography: sparse frames (the layout of pyFAI, which fabio reads), and CXI lists of peaks."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import FileError
from friedel.core.units import unit_named
from friedel.io.nexus import replacing

from .background import RingBackground
from .log import SpotLog

Floats = NDArray[np.float64]
COMPRESSED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
CREATOR = "pyFAI sparse frames, written by friedel"
"""By its first word fabio knows the layout."""
MOST_STORED = 1 << 20
"""Elements of a chunk of a long list."""
CHUNK_CACHE_BYTES = 64 * 1024**2
"""Holds a chunk of every list."""
CXI_NAMES = {"x": "peakXPosRaw", "y": "peakYPosRaw", "intensity": "peakTotalIntensity", "snr": "peakSNR"}


def write_peaks(group: Any, log: SpotLog) -> None:
    """Write the peaks of all frames into a group, by the names of CXI.

    ``nPeaks`` (n,) of int32; ``peakXPosRaw``, ``peakYPosRaw``, ``peakTotalIntensity`` and ``peakSNR`` (n, most peaks of
    a frame) of float32, 0 beyond the peaks of a frame.
    """
    _, found = log.counts()
    group["nPeaks"] = found.astype(np.int32)
    width = max(int(found.max(initial=0)), 1)
    for name in CXI_NAMES.values():
        group.create_dataset(name, (len(found), width), np.float32)
    for _, block in log.blocks():
        for name, values in block.padded(width, 0.0).items():
            group[CXI_NAMES[name]][block.frames] = values


def write_cxi(path: str | Path, log: SpotLog, data: tuple[str, str] | None, record: str, overwrite: bool) -> None:
    """Write peaks as CrystFEL reads them: ``/entry_1/result_1``, with a link to the frames in ``/entry_1/data_1``.

    Positions are in pixels of the stored frame; the centre of the first pixel is at 0.

    Parameters
    ----------
    path : path-like
    log : SpotLog
    data : (str, str) or None
        HDF5 file and path of the frames, if all of them are there.
    record : str
        Provenance as JSON.
    overwrite : bool
    """
    import h5py

    with replacing(path, overwrite=overwrite) as temporary, h5py.File(temporary, "w", locking=False) as file:
        file["cxi_version"] = 160
        entry = file.create_group("entry_1")
        result = entry.create_group("result_1")
        write_peaks(result, log)
        if record:
            result.attrs["provenance"] = record
        if data is not None:
            entry.create_group("data_1")["data"] = h5py.ExternalLink(*data)


@dataclass(frozen=True, eq=False)
class SparseFrames:
    """Frames as background and pixels that differ from it.

    Attributes
    ----------
    radius : ndarray of float32, shape (n_bins,)
    mask : ndarray of float32, shape (rows, columns)
        Radial position of the pixels; NaN where they are masked.
    mean, std : ndarray of float32, shape (n, n_bins)
    pointers : ndarray, shape (n + 1,)
        The kept pixels of frame i are those from ``pointers[i]`` up to ``pointers[i + 1]``.
    index : ndarray of uint32
    intensity : ndarray
    dummy : float
        Value of masked pixels.
    normalization : ndarray of float32, shape (rows, columns), or None
    dark : ndarray of float32, shape (rows, columns), or None
    cutoff : float
        Distance from the background, in uncertainties, from which on pixels were kept.
    noise : float
    """

    radius: NDArray[np.float32]
    mask: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    pointers: NDArray[np.integer[Any]]
    index: NDArray[np.uint32]
    intensity: NDArray[np.generic]
    dummy: float
    normalization: NDArray[np.float32] | None
    dark: NDArray[np.float32] | None
    cutoff: float
    noise: float

    def __len__(self) -> int:
        return len(self.mean)

    def frame(self, number: int, *, seed: int | None = None) -> NDArray[np.generic]:
        """Return a dense frame, (rows, columns): the background at each pixel, and the pixels that were kept.

        Parameters
        ----------
        number : int
        seed : int, optional
            Adds noise to the background, normal with the spread of its ring but within the cutoff; of each frame its
            own.
        """
        masked = ~np.isfinite(self.mask)
        values = np.interp(self.mask, self.radius, self.mean[number])
        if seed is not None:
            spread = np.interp(self.mask, self.radius, self.std[number])
            noise = np.random.default_rng((seed, number)).normal(size=values.shape)
            values = np.maximum(values + spread * np.clip(noise, -self.cutoff, self.cutoff), 0.0)
        if self.normalization is not None:
            values *= self.normalization
        if self.dark is not None:
            values += self.dark
        dtype = self.intensity.dtype
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)  # type: ignore[type-var]
            values = np.clip(np.trunc(values + 0.5 * np.sign(values)), limits.min, limits.max)
        values[masked] = 0
        dense: NDArray[np.generic] = values.astype(dtype)
        part = slice(int(self.pointers[number]), int(self.pointers[number + 1]))
        dense.reshape(-1)[self.index[part]] = self.intensity[part]
        dense[masked] = self.dummy
        return dense


def write_sparse(
    path: str | Path,
    log: SpotLog,
    background: RingBackground,
    options: dict[str, Any],
    dtype: np.dtype[Any],
    record: str,
    overwrite: bool,
) -> None:
    """Write sparse frames.

    Parameters
    ----------
    path : path-like
    log : SpotLog
    background : RingBackground
    options : dict
        ``cutoff`` and ``noise``, with which pixels were kept.
    dtype : numpy.dtype
        Of the frames.
    record : str
        Provenance as JSON.
    overwrite : bool
    """
    import h5py

    unit = unit_named(background.radial_map.binning.unit)
    with (
        replacing(path, overwrite=overwrite) as temporary,
        # Chunks that are filled bit by bit stay in memory until they are full.
        h5py.File(temporary, "w", locking=False, rdcc_nbytes=CHUNK_CACHE_BYTES) as file,
    ):
        file.attrs.update({"default": "entry", "NX_class": "NXroot", "creator": CREATOR})
        entry = file.create_group("entry")
        entry.attrs.update(
            {"NX_class": "NXentry", "default": "sparse_frames", "pyFAI_sparse_frames": "/entry/sparse_frames"}
        )
        group = entry.create_group("sparse_frames")
        group.attrs.update({"NX_class": "NXdata", "signal": "background_avg", "axes": [".", "radius"]})
        stored, found = log.counts()
        pointers = np.concatenate([[0], np.cumsum(stored)])
        group["frame_ptr"] = pointers.astype(np.uint64)
        _create_long(group, "index", (int(pointers[-1]),), np.dtype(np.uint32))
        _create_long(group, "intensity", (int(pointers[-1]),), dtype)
        group["dummy"] = np.float32(np.nan) if dtype.kind == "f" else dtype.type(0)
        group["radius"] = background.radial_map.radial.centers.astype(np.float32)
        group["radius"].attrs.update({"unit": unit.name, "units": unit.units, "long_name": unit.long_name})
        group.create_dataset("mask", data=background.radius, **COMPRESSED)
        group["mask"].attrs.update({"interpretation": "image", "unit": unit.name})
        for name in ("background_avg", "background_std"):
            _create_long(group, name, (len(stored), background.radial_map.scatter.n_bins), np.dtype(np.float32))
        for _, block in log.blocks():
            part = slice(int(pointers[block.frames.start]), int(pointers[block.frames.stop]))
            if part.stop > part.start:
                group["index"][part], group["intensity"][part] = block.index, block.intensity
            group["background_avg"][block.frames], group["background_std"][block.frames] = block.mean, block.std
        group["errors"] = group["background_std"]
        if background.radial_map.scatter.normalization is not None:
            image = background.normalization.astype(np.float32).reshape(background.shape)
            group.create_dataset("normalization", data=image, **COMPRESSED)
        if background.dark is not None:
            group.create_dataset("dark", data=background.dark.astype(np.float32).reshape(background.shape))
        if found.any():
            peaks = entry.create_group("peaks")
            peaks.attrs.update({"NX_class": "NXdata", "signal": "nPeaks"})
            write_peaks(peaks, log)
        process = entry.create_group("sparsify")
        process.attrs["NX_class"] = "NXprocess"
        process["program"] = "friedel"
        process["configuration/type"] = "text/json"
        process["configuration/data"] = json.dumps({"sparsify": {"cutoff_pick": options["cutoff"], **options}})
        if record:
            process["provenance"] = record


def _create_long(group: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    rows = max(1, MOST_STORED // math.prod(shape[1:]))
    chunks = (min(max(shape[0], 1), rows), *shape[1:])
    group.create_dataset(name, shape, dtype, chunks=chunks, maxshape=(None, *shape[1:]), **COMPRESSED)


def read_sparse(path: str | Path) -> SparseFrames:
    """Read sparse frames, of friedel or of pyFAI.

    Raises
    ------
    FileError
        If the file cannot be read or holds none.
    """
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            entry = file[file.attrs.get("default", "entry")]
            group = file[entry.attrs.get("pyFAI_sparse_frames", f"{entry.name}/sparse_frames")]
            stored = json.loads(entry["sparsify/configuration/data"][()]) if "sparsify" in entry else {}
            options = stored.get("sparsify", {})
            optional = {
                name: np.asarray(group[name][()]) if name in group else None for name in ("normalization", "dark")
            }
            found = {name: group[name][()] for name in ("radius", "mask", "index", "intensity", "frame_ptr", "dummy")}
            return SparseFrames(
                radius=found["radius"],
                mask=found["mask"],
                mean=np.asarray(group["background_avg"][()]),
                std=np.asarray(group["background_std"][()]),
                pointers=found["frame_ptr"],
                index=found["index"],
                intensity=found["intensity"],
                dummy=float(found["dummy"]),
                normalization=optional["normalization"],
                dark=optional["dark"],
                cutoff=float(options.get("cutoff_pick") or np.inf),
                noise=float(options.get("noise") or 0.0),
            )
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = str(error).strip("'\"").rstrip(".")
        raise FileError(path, f"holds no sparse frames that can be read: {reason}.", "Make it with sparsify.") from None
