"""CXI files: corner and basis vectors of the detector, and its translation and orientation.

SI units (energies in J) along x, y and z (the beam). Sources: the CXI file format (Maia, Nature Methods 9 (2012) 854),
pyFAI's getCXI and setCXI. x is taken along axis 2 and y along axis 1, as pyFAI does.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import FileError, GeometryError
from friedel.core.units import energy_from_wavelength, wavelength_from_energy

from ..geometry import Geometry
from .entries import positive
from .format import Content, GeometryFormat, Given, chosen_wavelength, detector_from, require_flat, with_mask
from .placement import Placement

DETECTOR = "entry_1/instrument_1/detector_1"
INSTRUMENT = "entry_1/instrument_1"
BEAM = "entry_1/sample_1/beam_1"
MISSING = 0x200
"""CXI_PIXEL_IS_MISSING: there is no such pixel."""
JOULE_PER_KEV = 1.602176634e-16
DAMAGED = (OSError, KeyError, RuntimeError, ValueError, TypeError)
"""What h5py raises for files that are damaged, or hold something else in these places."""


def recognises(content: Content) -> bool:
    """Whether a file is HDF5 with a detector where CXI has it."""
    if not content.is_hdf5:
        return False
    import h5py

    try:
        with h5py.File(content.path, "r", locking=False) as file:
            return DETECTOR in file
    except DAMAGED:
        return False


def read(content: Content, given: Given) -> tuple[Geometry, list[str]]:
    """Read the first detector of a CXI file."""
    import h5py

    try:
        with h5py.File(content.path, "r", locking=False) as file:
            if DETECTOR not in file:
                raise FileError(content.path, f"has no {DETECTOR}.", "Give a CXI file with a detector.")
            group = file[DETECTOR]
            values = {name: _numbers(group.get(name)) for name in ("corner_position", "basis_vectors")}
            values |= {name: _numbers(group.get(f"geometry_1/{name}")) for name in ("translation", "orientation")}
            sizes = [_numbers(group.get(name)) for name in ("y_pixel_size", "x_pixel_size")]
            mask = group["mask"][()] if "mask" in group else None
            shape = (int(group["data"].shape[-2]), int(group["data"].shape[-1])) if "data" in group else None
            told = _wavelength(file)
    except DAMAGED as error:
        raise FileError(content.path, f"cannot be read: {error}.", "Copy the file again.") from None
    pixel1, pixel2 = (None if size is None else positive(content.path, "pixel size", float(size[0])) for size in sizes)
    placement = _placement(content, values, pixel1, pixel2)
    if mask is not None and mask.ndim >= 2:
        mask = np.asarray(mask.reshape(-1, *mask.shape[-2:])[0])
        shape = (int(mask.shape[0]), int(mask.shape[1]))
    pixels = (placement.pixel1, placement.pixel2)
    detector = detector_from(content, given, pixel1=pixels[0], pixel2=pixels[1], shape=shape)
    if mask is not None and mask.ndim == 2 and given.detector is None:
        detector = with_mask(detector, mask != 0)
    wavelength, notes = chosen_wavelength(told, given)
    return placement.to_geometry(detector, wavelength), notes


def _numbers(item: Any) -> NDArray[np.float64] | None:
    return None if item is None else np.atleast_1d(np.asarray(item[()], dtype=np.float64))


def _wavelength(file: Any) -> float | None:
    """Return the wavelength in m, from itself or from the energy in J."""
    for name in (f"{BEAM}/incident_wavelength", f"{INSTRUMENT}/beam_1/incident_wavelength"):
        if name in file:
            return float(np.ravel(file[name][()])[0])
    for name in (f"{BEAM}/incident_energy", f"{INSTRUMENT}/source_1/energy"):
        if name in file:
            energy = float(np.ravel(file[name][()])[0])
            return wavelength_from_energy(energy / JOULE_PER_KEV) if energy > 0 else None
    return None


def _placement(
    content: Content, values: dict[str, NDArray[np.float64] | None], pixel1: float | None, pixel2: float | None
) -> Placement:
    """Return where the array is: corner and basis vectors before translation and orientation."""
    corner, basis = values["corner_position"], values["basis_vectors"]
    if corner is not None and basis is not None:
        if corner.size != 3 or basis.size != 6:
            raise GeometryError(f"{content.path}: corner_position or basis_vectors has another shape.", "Correct it.")
        slow, fast = basis if basis.shape == (2, 3) else basis.reshape(3, 2).T
        return Placement(corner.ravel(), fast, slow)
    translation, orientation = values["translation"], values["orientation"]
    if translation is None or orientation is None or translation.size != 3 or orientation.size != 6:
        raise GeometryError(
            f"{content.path}: it tells neither corner_position and basis_vectors nor geometry_1.",
            "Where the beam hits the detector cannot be known: calibrate, or add corner_position.",
        )
    if pixel1 is None or pixel2 is None:
        raise GeometryError(f"{content.path}: there is no x_pixel_size or no y_pixel_size.", "Add it, in m.")
    along_x, along_y = orientation.reshape(2, 3)
    frame = np.stack([along_x, along_y, np.cross(along_x, along_y)])
    return Placement(translation.ravel() @ frame, along_x * pixel2, along_y * pixel1)


def write(geometry: Geometry) -> bytes:
    """Return a CXI file with the beam and the detector, and no data."""
    import h5py

    require_flat(geometry, "CXI")
    detector, placement = geometry.detector, Placement.from_geometry(geometry)
    along_x, along_y = placement.fast / placement.pixel2, placement.slow / placement.pixel1
    frame = np.stack([along_x, along_y, np.cross(along_x, along_y)])
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["cxi_version"] = 160
        group = file.create_group(DETECTOR)
        group["description"] = detector.name
        group["distance"] = geometry.distance
        group["x_pixel_size"], group["y_pixel_size"] = detector.pixel2, detector.pixel1
        group["corner_position"] = placement.origin
        group["basis_vectors"] = np.stack([placement.slow, placement.fast])
        group["geometry_1/translation"] = frame @ placement.origin
        group["geometry_1/orientation"] = np.concatenate([along_x, along_y])
        if detector.shape is not None:
            group.create_dataset(
                "mask", data=np.where(detector.mask(), np.uint32(MISSING), np.uint32(0)), compression=1
            )
        if geometry.wavelength is not None:
            energy = energy_from_wavelength(geometry.wavelength) * JOULE_PER_KEV
            file[f"{INSTRUMENT}/source_1/energy"] = energy
            file[f"{BEAM}/incident_energy"] = energy
            file[f"{BEAM}/incident_wavelength"] = geometry.wavelength
    return memory.getvalue()


FORMAT = GeometryFormat(
    "cxi",
    "CXI file",
    ".cxi",
    recognises,
    read,
    write,
    frozenset({"wavelength", "orientation", "shape", "gaps"}),
)
