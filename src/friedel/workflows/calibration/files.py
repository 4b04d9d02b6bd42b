"""Files that a calibration writes: the geometry with its errors, the result beside it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import xarray as xr

from friedel.core.errors import ParameterError
from friedel.instrument.derivatives import FIELDS
from friedel.io.nexus import replacing, write_dataset
from friedel.techniques.calibration.refinement import Refinement

from .tables import HDF5


def outputs_of(output: str, several: int = 1) -> tuple[list[Path], Path]:
    """Return the geometry files (one for each image) and the result file that `output` stands for.

    Raises
    ------
    ParameterError
        If the name ends in anything but .poni or .h5.
    """
    path = Path(output)
    if path.suffix.lower() not in (".poni", *HDF5):
        raise ParameterError(f"{output}: a geometry cannot have this name.", "Let it end in .poni (or .h5).")
    result = path if path.suffix.lower() in HDF5 else path.with_suffix(".h5")
    poni = path.with_suffix(".poni")
    if several == 1:
        return [poni], result
    return [poni.with_name(f"{poni.stem}_{number + 1}.poni") for number in range(several)], result


def with_stored_detector(refinement: Refinement, path: Path) -> Refinement:
    """Write the detector, whose modules have places of their own, and return geometries that name the file."""
    detector = refinement.geometries[0].detector.save(path, overwrite=True)
    return replace(
        refinement, geometries=tuple(replace(geometry, detector=detector) for geometry in refinement.geometries)
    )


def write_calibration(
    geometry_files: list[Path], result_file: Path, refinement: Refinement, dataset: xr.Dataset
) -> list[Path]:
    """Write the geometry of each image, with verdict and errors as comments, and the result: all of them or none.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    OutputError
        If one file cannot be written; those that were there before stay.
    """
    with ExitStack() as together:
        # Files take their places in the reverse order: no geometry without the result that says how good it is.
        lent = [together.enter_context(replacing(path)) for path in geometry_files]
        write_dataset(together.enter_context(replacing(result_file)), dataset)
        for number, (path, geometry) in enumerate(zip(lent, refinement.geometries, strict=True)):
            geometry.save(path, comment=comment_of(refinement, dataset, number))
    return [*geometry_files, result_file]


def comment_of(refinement: Refinement, dataset: xr.Dataset, image: int) -> str:
    """Return verdict and errors as lines ``key: value`` for the comments of a PONI file."""
    lines = [f"Calibrant: {dataset.attrs['calibrant']}", f"Verdict: {dataset.attrs['verdict']}"]
    findings = dataset.attrs["findings"]
    lines += [f"Verdict because: {text}" for _, state, text, _ in findings if state not in ("good", "noted")]
    lines += [f"Note: {text}" for _, state, text, _ in findings if state == "noted"]
    lines.append(f"Residual (pixels, root mean square): {refinement.rms:.4f}")
    covariance = refinement.field_covariance(image)
    for place, name in enumerate(FIELDS):
        error = float(covariance[place, place]) ** 0.5
        known = [own for own in refinement.free if own.split("[")[0] == name]
        if known:
            lines.append(f"{name.capitalize()} error: {error:.3g} {'rad' if name.startswith('rot') else 'm'}")
    for name, quantity in refinement.derived(image).items():
        text = name.replace("_", " ").capitalize()
        lines.append(f"{text}: {quantity.value:.8g} +/- {quantity.error:.2g} {quantity.unit}")
    return "\n".join(lines)


def write_result(path: Path, dataset: xr.Dataset) -> None:
    """Write the result file."""
    write_dataset(path, dataset)
