"""The virtual beamline's calibrant: one image whose geometry is known."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import xarray as xr

from friedel.core.context import Context
from friedel.core.errors import ParameterError
from friedel.core.files import refuse_existing
from friedel.core.provenance import refuse_to_replace_inputs
from friedel.core.quantities import wavelength_given
from friedel.instrument import Calibrant, Detector, Geometry, Rings
from friedel.instrument.virtual import Exposure, simulated_frame
from friedel.io.images import write_image

from .tasks import SimulateCalibrant


def simulate_calibrant(parameters: SimulateCalibrant, context: Context) -> xr.Dataset:
    """Write an image of a calibrant and its geometry; return the image."""
    output = Path(parameters.output)
    truth = output.with_name(f"{output.stem}_truth.poni")
    inputs = [name for name in (parameters.calibrant, parameters.detector, parameters.geometry) if name]
    refuse_to_replace_inputs([output, truth], inputs)
    refuse_existing([output, truth], parameters.overwrite)
    geometry = _geometry(parameters)
    names = [field.name for field in fields(Exposure) if field.name in SimulateCalibrant.model_fields]
    exposure = Exposure(**{name: getattr(parameters, name) for name in names})
    rings = calibrant_rings(parameters.calibrant, geometry)
    frame = simulated_frame(geometry, rings, exposure, seed=parameters.seed, threads=context.runner.threads)
    write_image(output, frame.image)
    geometry.save(truth, comment=f"The truth of {output.name}, simulated")
    dataset = xr.Dataset(
        {"frame": (("y", "x"), frame.image, {"units": "counts", "long_name": "Counts"})},
        attrs={"title": f"Simulated image of {parameters.calibrant}", "default": "frame"},
    )
    if context.provenance is not None:
        dataset.attrs["provenance"] = context.with_cost(context.provenance).to_json()
    return dataset


def calibrant_rings(calibrant: str, geometry: Geometry) -> Rings:
    """Return the rings of a calibrant for the wavelength of a geometry."""
    if geometry.wavelength is None:
        raise ParameterError("The geometry has no wavelength.", "Add one to its file.")
    return Calibrant.load(calibrant).rings(geometry.wavelength)


def _geometry(parameters: SimulateCalibrant) -> Geometry:
    if parameters.geometry is not None:
        parameters.refuse(
            ("detector", "energy", "distance", "poni", "rot1", "rot2", "rot3", "orientation"), "the geometry tells it"
        )
        return Geometry.load(parameters.geometry)
    detector = Detector.load(parameters.detector)
    if Path(parameters.detector).is_file():
        parameters.refuse(("orientation",), "the file of the detector tells it")
    else:
        detector = replace(detector, orientation=parameters.orientation)
    rows, columns = detector.known_shape()
    middle = (0.5 * rows * detector.pixel1, 0.5 * columns * detector.pixel2)
    poni1, poni2 = middle if parameters.poni is None else parameters.poni
    rotations = parameters.rot1, parameters.rot2, parameters.rot3
    wavelength = wavelength_given(None, parameters.energy)
    return Geometry(detector, parameters.distance, poni1, poni2, *rotations, wavelength)
