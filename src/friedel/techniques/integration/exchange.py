"""Patterns and cakes in the layouts that other programs read, as entries beside friedel's own in the same file.

- ``pyfai``: the stack that ``pyFAI-integrate`` writes;
- ``nxmonopd`` and ``nxcansas``: application definitions of NeXus for powder and for small angles, an entry for each
  pattern, with the sums that they were made of, as pyFAI writes and reads them;
- ``nxazint1d``: the convention of MAX IV for stacks of patterns.

Stacks are linked, not copied. Sources: NeXus manual, NXmonopd 3.1, NXcanSAS 1.1; documentation of pyFAI 2026.9,
``pyFAI.io.nexus``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from friedel.core.errors import ParameterError
from friedel.core.provenance import friedel_version
from friedel.core.units import energy_from_wavelength
from friedel.instrument import Geometry
from friedel.instrument.poni import poni_table
from friedel.io import variable_path

from .tasks import IntegrateRadial, Integration
from .worker_config import of_surface, worker_config

if TYPE_CHECKING:
    import h5py

WITH_SUMS = ("nxmonopd", "nxcansas")
"""Layouts that hold the sums over the bins, and one pattern an entry."""
AZINT_UNITS = {"2th_deg": ("2theta", "degrees"), "q_A^-1": ("q", "1/angstrom")}
MOST_ENTRIES = 10_000


@dataclass(frozen=True, eq=False)
class Description:
    """What the layouts tell beside the patterns.

    Attributes
    ----------
    parameters : Integration
    geometry : Geometry
        With the shape of the frames.
    factors : ndarray, shape (n_frames,), or None
        What each pattern was divided by.
    sums : mapping of str to array
        The sums over the bins, ``sum_signal``, ..., each (n_frames, n_bins); empty unless the layout needs them.
    """

    parameters: Integration
    geometry: Geometry
    factors: NDArray[np.float64] | None
    sums: Mapping[str, NDArray[np.float64]]

    def factor(self, number: int) -> float:
        """Return what pattern `number` was divided by."""
        return 1.0 if self.factors is None else float(self.factors[number])


def check_layout(parameters: Integration, n_frames: int, *, text: bool, cake: bool) -> None:
    """Check that the results can be written in the layout that is asked for, before any work is done.

    Raises
    ------
    ParameterError
        If they cannot.
    """
    layout = parameters.format
    if text:
        if layout != "friedel":
            raise ParameterError(f"format is {layout}: it is one of HDF5 files.", "Give an output that ends in .h5.")
        _check_gsas(parameters)
        return
    if layout == "friedel":
        return
    if isinstance(parameters, IntegrateRadial):
        raise ParameterError(f"format is {layout}: it has no intensity along the azimuth.", "Choose friedel.")
    if parameters.output is None:
        raise ParameterError(f"format is {layout}, and there is no output.", "Give the file to write.")
    if layout != "pyfai" and cake:
        raise ParameterError(f"format is {layout}: it holds patterns, no cakes.", "Choose pyfai or friedel.")
    if layout in WITH_SUMS and n_frames > MOST_ENTRIES:
        raise ParameterError(
            f"format is {layout}: it has an entry for each pattern, and there are {n_frames}.", "Choose pyfai."
        )
    if layout == "nxazint1d" and parameters.unit not in AZINT_UNITS:
        raise ParameterError(
            f"format is nxazint1d: it has no unit {parameters.unit}.", f"Choose one of {', '.join(AZINT_UNITS)}."
        )


def _check_gsas(parameters: Integration) -> None:
    ending = Path(parameters.output or "").suffix.lower()
    if ending == ".xye" and parameters.error_model == "none":
        raise ParameterError(
            f"output is {parameters.output}: .xye has errors.", "Integrate with --error-model poisson."
        )
    if ending != ".fxye":
        return
    if parameters.unit not in ("2th_deg", "2th_rad") or parameters.error_model == "none":
        raise ParameterError(
            f"output is {parameters.output}: .fxye is over 2θ and has errors.",
            "Integrate with --unit 2th_deg --error-model poisson.",
        )


def write_layout(file: h5py.File, result: xr.Dataset, described: Description) -> None:
    """Add the entries of a layout to a file that holds friedel's own.

    Parameters
    ----------
    file : h5py.File
        With the patterns at `friedel.io.variable_path`.
    result : xarray.Dataset
        The patterns over (frame, radial), or cakes over (frame, azimuth, radial).
    described : Description
    """
    writers = {"pyfai": _pyfai, "nxmonopd": _monopd, "nxcansas": _cansas, "nxazint1d": _azint}
    writer = writers.get(described.parameters.format)
    if writer is not None:
        writer(file, result, described)
        file.attrs["default"] = "entry_0000"


# ---- pieces


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _group(parent: h5py.Group, name: str, kind: str, **attributes: Any) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    for key, value in attributes.items():
        group.attrs[key] = value
    return group


def _dataset(parent: h5py.Group, name: str, values: Any, /, **attributes: Any) -> h5py.Dataset:
    dataset = parent.create_dataset(name, data=values)
    for key, value in attributes.items():
        dataset.attrs[key] = value
    return dataset


def _entry(file: h5py.File, number: int, title: str, definition: str = "", version: str = "") -> h5py.Group:
    entry = _group(file, f"entry_{number:04d}", "NXentry")
    entry["title"] = title
    _dataset(entry, "program_name", "friedel", version=friedel_version())
    entry["start_time"] = _now()
    entry["end_time"] = _now()
    if definition:
        entry["definition"] = definition
        if version:
            entry["definition"].attrs["version"] = version
    return entry


def _json_note(parent: h5py.Group, name: str, values: Any, type_key: str) -> None:
    note = _group(parent, name, "NXnote")
    note["data"] = json.dumps(values, indent=2)
    note[type_key] = "text/json"


def _title(described: Description, cake: bool) -> str:
    return f"Scanning {'2D' if cake else '1D'} experiment"


def _axis(parent: h5py.Group, name: str, result: xr.Dataset, dim: str) -> h5py.Dataset:
    """Write an axis with its units under both names that programs look for."""
    axis = result.coords[dim]
    unit = str(axis.attrs[f"{dim}_unit"]).partition("_")
    return _dataset(
        parent, name, axis.values, units=axis.attrs["units"], unit=unit[2], name=unit[0],
        long_name=f"{axis.attrs['long_name']} ({axis.attrs['units']})", interpretation="scalar",
    )  # fmt: skip


# ---- layouts


def _pyfai(file: h5py.File, result: xr.Dataset, described: Description) -> None:
    cake = "azimuth" in result.dims
    entry = _entry(file, 0, _title(described, cake))
    entry.attrs["default"] = "integrate/results"
    process = _group(entry, "integrate", "NXprocess", default="results")
    process["program"] = "friedel"
    process["version"] = friedel_version()
    process["date"] = _now()
    process["sequence_index"] = 1
    _json_note(process, "configuration", worker_config(described.parameters, described.geometry), "type")
    first, second = "radial", "chi"
    if of_surface(described.parameters):
        first, second = "in-plane", "out-of-plane"
    axes = [".", second, first] if cake else [".", first]
    data = _group(process, "results", "NXdata", signal="data", axes=axes)
    data["title"] = "Azimuthally integrated data"
    data["data"] = file[variable_path("intensity")]
    if "intensity_errors" in result:
        data["data_errors"] = file[variable_path("intensity_errors")]
    _axis(data, first, result, "radial")
    if cake:
        _axis(data, second, result, "azimuth")


def _process(entry: h5py.Group, described: Description, number: int) -> h5py.Group:
    """Write how a pattern was made, under the names that pyFAI reads it back by."""
    parameters = described.parameters
    process = _group(entry, "pyFAI", "NXprocess")
    process["sequence_index"] = 1
    process["program"] = "friedel"
    process["version"] = friedel_version()
    process["date"] = _now()
    _json_note(process, "poni", poni_table(described.geometry), "format")
    told = _group(process, "integrate", "NXcollection")
    polarization = parameters.polarization
    told["polarization_factor"] = "None" if polarization is None else polarization
    told["normalization_factor"] = described.factor(number)
    told["has_mask_applied"] = "provided" if parameters.mask else "from detector"
    told["has_dark_correction"] = bool(parameters.dark)
    told["has_flat_correction"] = bool(parameters.flat)
    told["has_solidangle_correction"] = parameters.solid_angle
    told["metadata"] = "null"
    told["method_called"] = "integrate1d"
    told["compute_engine"] = "friedel"
    told["error_model"] = "no" if parameters.error_model == "none" else parameters.error_model
    told["weighted_average"] = getattr(parameters, "weighted", True)
    return process


def _sums(described: Description, number: int) -> dict[str, NDArray[np.float64]]:
    """Return the sums of a pattern under pyFAI's names; there the factor is part of the normalization."""
    factor = described.factor(number)
    names = {"signal": 1.0, "variance": 1.0, "normalization": factor, "normalization_squared": factor**2, "count": 1.0}
    return {
        name: described.sums[f"sum_{name}"][number] * scale
        for name, scale in names.items()
        if f"sum_{name}" in described.sums
    }


def _sample(entry: h5py.Group, described: Description, number: int) -> None:
    name = Path(described.parameters.frames[0].partition("::")[0]).stem
    _group(entry, "sample", "NXsample")["name"] = f"{name} {number}"


def _source(instrument: h5py.Group, **attributes: str) -> h5py.Group:
    source = _group(instrument, "source", "NXsource", **attributes)
    source["type"] = "synchrotron"
    source["name"] = "unknown"
    source["probe"] = "x-ray"
    return source


def _monopd(file: h5py.File, result: xr.Dataset, described: Description) -> None:
    for number in range(result.sizes["frame"]):
        entry = _entry(file, number, "monopd", "NXmonopd", "3.1")
        _process(entry, described, number)
        _sample(entry, described, number)
        instrument = _group(entry, "instrument", "NXinstrument")
        _source(instrument)
        if described.geometry.wavelength is not None:
            crystal = _group(instrument, "monochromator", "NXcrystal")
            _dataset(crystal, "wavelength", described.geometry.wavelength * 1e10, units="angstrom")
        detector = _group(instrument, described.geometry.detector.name, "NXdetector")
        detector["name"] = described.geometry.detector.name
        detector["config"] = json.dumps(poni_table(described.geometry)["detector_config"])
        sums = _sums(described, number)
        unit = described.parameters.unit
        _dataset(detector, "polar_angle", result.radial.values, axis="1", units=unit, interpretation="spectrum",
                 long_name=result.radial.attrs["long_name"], target=f"{detector.name}/polar_angle")  # fmt: skip
        _dataset(detector, "data", result.intensity[number].values, signal="1", interpretation="spectrum",
                 target=f"{detector.name}/data", doc="weighted average of all pixels in a bin")  # fmt: skip
        _dataset(detector, "raw", sums["signal"], doc="sum of the signal of all pixels in a bin")
        _monitor(entry, sums)
        data = _group(entry, "results", "NXdata", signal="data", axes=["polar_angle"], polar_angle_indices=0)
        data["title"] = "Powder diffraction pattern"
        data["polar_angle"], data["data"] = detector["polar_angle"], detector["data"]
        if "intensity_errors" in result:
            _dataset(detector, "errors", result.intensity_errors[number].values, doc="standard error of the mean",
                     target=f"{detector.name}/errors", interpretation="spectrum")  # fmt: skip
            data["errors"] = detector["errors"]
        # pyFAI reads the file only if it is there.
        _dataset(detector, "sum_variance", sums.get("variance", np.zeros_like(sums["signal"])),
                 doc="propagated variance, before normalization")  # fmt: skip
        entry.attrs["default"] = "results"


def _monitor(entry: h5py.Group, sums: Mapping[str, NDArray[np.float64]]) -> None:
    monitor = _group(entry, "normalization", "NXmonitor")
    monitor["mode"] = "monitor"
    _dataset(monitor, "integral", sums["normalization"], units="relative to the PONI position")
    monitor["integral_sq"] = sums["normalization_squared"]
    _dataset(monitor, "pixels", sums["count"], units="pixels")


def _cansas(file: h5py.File, result: xr.Dataset, described: Description) -> None:
    for number in range(result.sizes["frame"]):
        entry = _entry(file, number, "Azimuthal average", "NXcanSAS", "1.1")
        entry.attrs.update({"canSAS_class": "SASentry", "version": "1.1", "default": "sasdata"})
        entry["run"] = str(number)
        process = _process(entry, described, number)
        process.attrs["canSAS_class"] = "SASprocess"
        process["name"] = "Azimuthal integration"
        _sample(entry, described, number)
        _cansas_instrument(entry, described.geometry)
        unit = described.parameters.unit
        units = f"1/{unit.partition('_')[2].partition('^')[0]}" if unit.startswith("q_") else unit
        data = _group(entry, "sasdata", "NXdata", canSAS_class="SASdata", signal="I", axes=["Q"], I_axes="Q",
                      Q_indices=0, timestamp=_now())  # fmt: skip
        _dataset(data, "Q", result.radial.values, units=units, long_name=result.radial.attrs["long_name"])
        _dataset(data, "I", result.intensity[number].values, units="arbitrary", signal="1", interpretation="spectrum")
        sums = _sums(described, number)
        names = {"signal": "sum_signal", "normalization": "sum_normalization", "variance": "sum_variance",
                 "normalization_squared": "sum_normalization2", "count": "count"}  # fmt: skip
        for name, stored in names.items():
            if name in sums:
                _dataset(data, stored, sums[name], interpretation="spectrum")
        if "intensity_errors" in result:
            data["I"].attrs["uncertainties"] = "Idev"
            _dataset(data, "Idev", result.intensity_errors[number].values, units="arbitrary")


def _cansas_instrument(entry: h5py.Group, geometry: Geometry) -> None:
    instrument = _group(entry, "instrument", "NXinstrument", canSAS_class="SASinstrument")
    instrument["name"] = "unknown"
    source = _source(instrument, canSAS_class="SASsource")
    if geometry.wavelength is not None:
        _dataset(source, "incident_wavelength", geometry.wavelength * 1e10, units="angstrom")
    detector = _group(instrument, geometry.detector.name, "NXdetector", canSAS_class="SASdetector")
    detector["name"] = geometry.detector.name
    detector["config"] = json.dumps(poni_table(geometry)["detector_config"])
    row, column = geometry.beam_center()
    lengths = {
        "SDD": geometry.distance, "x_position": -geometry.poni2, "y_position": -geometry.poni1,
        "x_pixel_size": geometry.detector.pixel2, "y_pixel_size": geometry.detector.pixel1,
        "beam_center_x": column * geometry.detector.pixel2, "beam_center_y": row * geometry.detector.pixel1,
    }  # fmt: skip
    for name, length in lengths.items():
        _dataset(detector, name, float(length), units="m")
    for name, angle in (("roll", geometry.rot3), ("pitch", geometry.rot2), ("yaw", geometry.rot1)):
        _dataset(detector, name, -float(angle), units="rad")


def _azint(file: h5py.File, result: xr.Dataset, described: Description) -> None:
    parameters, wavelength = described.parameters, described.geometry.wavelength
    entry = _entry(file, 0, _title(described, False), "NXazint1d")
    entry.attrs["default"] = "data"
    entry["solid_angle_applied"] = parameters.solid_angle
    entry["polarization_applied"] = parameters.polarization is not None
    entry["normalization_applied"] = True
    entry["monitor_applied"] = described.factors is not None
    instrument = _group(entry, "instrument", "NXinstrument")
    instrument["name"] = "unknown"
    _source(instrument)
    if wavelength is not None:
        crystal = _group(instrument, "monochromator", "NXmonochromator")
        _dataset(crystal, "wavelength", wavelength * 1e10, units="angstrom")
        _dataset(crystal, "energy", energy_from_wavelength(wavelength), units="keV")
    _process(entry, described, 0)
    _sample(entry, described, 0)
    data = _group(entry, "data", "NXdata", signal="I", axes=[".", "radial_axis"], interpretation="spectrum")
    name, units = AZINT_UNITS[parameters.unit]
    _dataset(data, "radial_axis", result.radial.values, long_name=name, units=units)
    data["I"] = file[variable_path("intensity")]
    if "intensity_errors" in result:
        data["I_errors"] = file[variable_path("intensity_errors")]
    if described.factors is not None:
        _group(entry, "monitor", "NXmonitor")["data"] = described.factors
