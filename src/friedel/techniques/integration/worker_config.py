"""The parameters of a task as the configuration of a pyFAI worker, version 5: the inverse of ``pyfai_config``."""

from __future__ import annotations

import math
from typing import Any

from friedel.core.units import unit_named
from friedel.instrument import Geometry
from friedel.instrument.poni import poni_table

from .tasks import Integration

SPLITTINGS = {"none": "no", "bbox": "bbox", "pseudo": "pseudo", "full": "full"}


def worker_config(parameters: Integration, geometry: Geometry) -> dict[str, Any]:
    """Return what pyFAI's worker has to be told to do the same, as far as it has the options.

    Parameters
    ----------
    parameters : Integration
        Of ``integrate1d`` or ``integrate2d``.
    geometry : Geometry
        That the parameters name, for the shape of the frames.
    """
    polarization = parameters.polarization
    offset = math.radians(parameters.polarization_axis)
    return {
        "application": "worker",
        "version": 5,
        "poni": poni_table(geometry),
        **(_fibre(parameters) if of_surface(parameters) else _azimuthal(parameters)),
        "polarization_description": None if polarization is None else [polarization, offset],
        "normalization_factor": parameters.normalization_factor,
        "val_dummy": parameters.dummy,
        "delta_dummy": None if parameters.dummy is None else parameters.delta_dummy,
        "correct_solid_angle": parameters.solid_angle,
        "dark_current": _named(parameters.dark),
        "flat_field": _named(parameters.flat),
        # pyFAI takes one mask; it refuses several as `friedel` reads them, rather than leaving one out.
        "mask_file": _one_or_all(parameters.mask),
        "error_model": "no" if parameters.error_model == "none" else parameters.error_model,
        "method": [SPLITTINGS[parameters.splitting], "csr", "cython"],
        "opencl_device": None,
        "monitor_name": parameters.monitor,
        "shape": list(geometry.shape),
    }


def _azimuthal(parameters: Integration) -> dict[str, Any]:
    npt_azimuth = getattr(parameters, "npt_azimuth", 1)
    return {
        "nbpt_rad": parameters.npt,
        "nbpt_azim": npt_azimuth,
        "unit": _pyfai_unit(parameters.unit),
        "chi_discontinuity_at_0": getattr(parameters, "discontinuity", "pi") == "0",
        "azimuth_range": _listed(parameters.azimuth_range),
        "radial_range": _listed(parameters.radial_range),
        "integrator_class": "AzimuthalIntegrator",
        **_integrator(parameters, npt_azimuth > 1),
    }


def of_surface(parameters: Integration) -> bool:
    """Whether the second unit is no azimuth: fibres and grazing incidence."""
    return not parameters.azimuth_unit.startswith("chi_")


def _fibre(parameters: Integration) -> dict[str, Any]:
    """Return the bins over two units; a profile along the first is pyFAI's sum over the second."""
    pose = {
        "incident_angle": math.radians(parameters.incidence),
        "tilt_angle": math.radians(parameters.tilt),
        "sample_orientation": parameters.sample_orientation,
    }
    cake = hasattr(parameters, "npt_azimuth")
    return {
        "npt_ip": parameters.npt,
        "npt_oop": getattr(parameters, "npt_azimuth", 1000),
        "unit_ip": pose | {"name": _pyfai_unit(parameters.unit)},
        "unit_oop": pose | {"name": _pyfai_unit(parameters.azimuth_unit)},
        "ip_range": _listed(parameters.radial_range),
        "oop_range": _listed(parameters.azimuth_range),
        "integration_1d": not cake,
        "vertical_integration": False,
        "integrator_class": "FiberIntegrator",
        "integrator_method": None,
        "extra_options": {},
    }


def _pyfai_unit(name: str) -> str:
    """Return pyFAI's name of a unit: an alias where friedel's differs."""
    unit = unit_named(name)
    return unit.aliases[0] if unit.transform or unit.quantity == "dstar2" else name


def _integrator(parameters: Integration, cake: bool) -> dict[str, Any]:
    if parameters.estimator == "sigma-clip":
        options = {"thres": parameters.clip_threshold, "max_iter": parameters.clip_iterations}
        return {"integrator_method": "sigma_clip_ng", "extra_options": options}
    if parameters.estimator == "percentile":
        return {"integrator_method": "medfilt1d_ng", "extra_options": {"percentile": list(parameters.percentile)}}
    return {"integrator_method": "integrate2d" if cake else "integrate1d", "extra_options": {}}


def _named(files: tuple[str, ...] | None) -> list[str] | None:
    return list(files) if files else None


def _one_or_all(files: tuple[str, ...] | None) -> str | list[str] | None:
    return files[0] if files and len(files) == 1 else _named(files)


def _listed(values: tuple[float, float] | None) -> list[float] | None:
    return None if values is None else list(values)
