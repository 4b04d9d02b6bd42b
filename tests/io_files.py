"""Writes small files as beamlines write them, with the libraries that beamlines use."""

from __future__ import annotations

from pathlib import Path

import fabio.cbfimage
import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

RNG = np.random.default_rng(7)


def stack(n: int = 6, rows: int = 20, columns: int = 33, dtype: str = "u4") -> NDArray[np.generic]:
    """Frames of Poisson counts."""
    return RNG.poisson(50, (n, rows, columns)).astype(dtype)


def add_bslz4(group: h5py.Group, name: str, frames: NDArray[np.generic]) -> h5py.Dataset:
    """One frame a chunk, bitshuffle-LZ4."""
    return group.create_dataset(
        name, data=frames, chunks=(1,) * (frames.ndim - 2) + frames.shape[-2:], **hdf5plugin.Bitshuffle(cname="lz4")
    )


def nexus(path: Path, frames: NDArray[np.generic], **motors: NDArray[np.generic]) -> Path:
    """A NeXus file with one detector and motors in the sample group."""
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        add_bslz4(entry, "instrument/detector/data", frames)
        sample = entry.create_group("sample")
        for name, values in motors.items():
            sample[name] = values
            sample[name].attrs["units"] = "mm"
    return path


def eiger(folder: Path, frames: NDArray[np.generic], per_file: int = 4, name: str = "scan") -> Path:
    """An EIGER master with external links to data files."""
    master = folder / f"{name}_master.h5"
    with h5py.File(master, "w") as file:
        data = file.create_group("entry/data")
        mask = np.zeros(frames.shape[1:], "u4")
        mask[3, 5] = 1
        file["entry/instrument/detector/detectorSpecific/pixel_mask"] = mask
        file["entry/sample/goniometer/omega"] = np.arange(len(frames)) * 0.5
        for number, start in enumerate(range(0, len(frames), per_file), 1):
            linked = f"{name}_data_{number:06d}.h5"
            with h5py.File(folder / linked, "w") as part:
                add_bslz4(part, "entry/data/data", frames[start : start + per_file])
            data[f"data_{number:06d}"] = h5py.ExternalLink(linked, "/entry/data/data")
    return master


def virtual(folder: Path, frames: NDArray[np.generic], per_file: int = 4, name: str = "lima") -> Path:
    """A master whose stack is a virtual dataset over data files."""
    master = folder / f"{name}.h5"
    layout = h5py.VirtualLayout(frames.shape, frames.dtype)
    for number, start in enumerate(range(0, len(frames), per_file)):
        part = frames[start : start + per_file]
        source = folder / f"{name}_{number:04d}.h5"
        with h5py.File(source, "w") as file:
            add_bslz4(file, "entry_0000/measurement/data", part)
        layout[start : start + len(part)] = h5py.VirtualSource(
            source.name, "entry_0000/measurement/data", part.shape, part.dtype
        )
    with h5py.File(master, "w") as file:
        file.create_virtual_dataset("1.1/instrument/eiger/data", layout)
        file["1.1/measurement/eiger"] = h5py.SoftLink("/1.1/instrument/eiger/data")
        file["1.1/instrument/positioners/dty"] = 1.5
        file["1.1/measurement/rot"] = np.linspace(0, 180, len(frames))
    return master


def cbf(path: Path, image: NDArray[np.generic]) -> Path:
    """A byte-offset CBF file as fabio writes it."""
    fabio.cbfimage.CbfImage(data=image.astype("i4")).write(str(path))
    return path


def edf(path: Path, image: NDArray[np.generic], **header: str) -> Path:
    """An EDF file as fabio writes it, of an image or a stack."""
    import fabio.edfimage

    first, *others = image.reshape(-1, *image.shape[-2:])
    file = fabio.edfimage.EdfImage(data=first, header=header)
    for other in others:
        file.append_frame(data=other)
    file.write(str(path))
    return path


def tiff(path: Path, image: NDArray[np.generic]) -> Path:
    """A TIFF file as fabio writes it."""
    import fabio.tifimage

    fabio.tifimage.TifImage(data=image).write(str(path))
    return path
