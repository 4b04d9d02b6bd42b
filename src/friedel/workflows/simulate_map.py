"""The virtual beamline's diffraction map: a thin section of grains, scanned in two directions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from friedel.core.context import Context
from friedel.core.errors import ParameterError
from friedel.core.files import refuse_existing
from friedel.core.provenance import refuse_to_replace_inputs
from friedel.core.units import wavelength_from_energy
from friedel.data.conventions import coordinate, radial_coordinate
from friedel.instrument import Geometry, radial_from_two_theta
from friedel.instrument.virtual import (
    DetectorFaults,
    ScanPoints,
    capillary,
    counting_type,
    diffraction_image,
    ring_current,
    scan_points,
)
from friedel.io.nexus import write_dataset
from friedel.io.scan_writer import FrameWriter
from friedel.matter import Crystal, air, silica_glass
from friedel.techniques.powder import Profile, powder_pattern

from .simulate import (
    AIR_PATH,
    OVERSAMPLING,
    READBACK,
    WALL,
    balanced_packing,
    corner_geometry,
    data_file,
    expose,
    radial_axis,
    remove_leftovers,
    setup_record,
)
from .tasks import SimulateMap

_Floats = NDArray[np.float64]

THICKNESS = 0.1
"""Of the section, mm."""
RADIUS_PART = 0.45
"""Outer radius of the capillary that was cut, as part of the side of the map: the shorter one, unless it is far
shorter."""


@dataclass(frozen=True)
class Section:
    """What is in the beam at each point, before any noise.

    Attributes
    ----------
    geometry : Geometry
    names : tuple of str
        The phases.
    axis : ndarray of float64 (n,)
        2θ in degrees.
    profiles : ndarray of float64 (component, n)
        Scattering of each component, 1/(m·sr): the phases, the wall, air.
    fractions : ndarray of float64 (component, lines, points)
        Part of the section that each component but air fills.
    y, x : ndarray of float64
        Motor positions, mm.
    """

    geometry: Geometry
    names: tuple[str, ...]
    axis: _Floats
    profiles: _Floats
    fractions: _Floats
    y: _Floats
    x: _Floats


def simulate_map(parameters: SimulateMap, context: Context) -> xr.Dataset:
    """Write a simulated map scan, its geometry and its truth; return the truth."""
    output = Path(parameters.output)
    truth_file, geometry_file = output.with_name(f"{output.stem}_truth.h5"), output.with_name("setup.poni")
    written = [output, data_file(output, 1), truth_file, geometry_file]
    refuse_to_replace_inputs(written, parameters.phases)
    refuse_existing(written, parameters.overwrite)
    section = build_section(parameters)
    _write_scan(parameters, section, context)
    truth = _truth(parameters, section, context)
    section.geometry.save(geometry_file)
    write_dataset(truth_file, truth)
    return truth


def build_section(parameters: SimulateMap) -> Section:
    """Put sample, beam and detector together."""
    crystals = [Crystal.load(phase) for phase in parameters.phases]
    names = tuple(crystal.name for crystal in crystals)
    if not names or len(set(names)) < len(names):
        raise ParameterError(f"The phases are {', '.join(names) or 'none'}.", "Give one or more different phases.")
    geometry = corner_geometry(parameters)
    axis = radial_axis(geometry, parameters.width)
    wavelength = wavelength_from_energy(parameters.energy)
    profile = Profile(parameters.width)
    patterns = np.stack([powder_pattern(crystal, axis, "2th_deg", wavelength, profile=profile) for crystal in crystals])
    q = radial_from_two_theta(np.radians(axis), "q_nm^-1", wavelength)
    y, x = (
        (np.arange(count, dtype=np.float64) - (count - 1) / 2.0) * parameters.step
        for count in (parameters.lines, parameters.points)
    )
    packing = dict(zip(names, balanced_packing(patterns), strict=True))
    profiles = np.concatenate([patterns, [silica_glass(q), air(q)]])
    return Section(geometry, names, axis, profiles, _fractions(parameters, packing), y, x)


def _fractions(parameters: SimulateMap, packing: dict[str, float]) -> _Floats:
    """Return the components at the points of the map: a cut through a filled capillary."""
    size, shorter = max(parameters.lines, parameters.points), min(parameters.lines, parameters.points)
    phantom = capillary(
        packing,
        wall=WALL,
        size=OVERSAMPLING * size,
        pixel_size=parameters.step / OVERSAMPLING,
        layer_step=parameters.step,
        radius=RADIUS_PART * (shorter if 2 * shorter >= size else size) * parameters.step,
        seed=parameters.seed,
    ).binned(OVERSAMPLING)
    top, left = (size - parameters.lines) // 2, (size - parameters.points) // 2
    cut = phantom.fractions[:, 0, top : top + parameters.lines, left : left + parameters.points]
    return cut.astype(np.float64)


def _write_scan(parameters: SimulateMap, section: Section, context: Context) -> None:
    points = scan_points(1, parameters.lines, parameters.points, fast="translation", snake=parameters.snake)
    detector = section.geometry.detector
    current = ring_current(len(points), seed=parameters.seed)
    mask = DetectorFaults.random(detector, parameters.hot_pixels, parameters.dead_pixels, parameters.seed).pixel_mask(
        detector
    )
    images, amounts = _exposures(parameters, section, points, current)
    output = Path(parameters.output)
    with FrameWriter(output, detector.known_shape(), counting_type(detector), threads=context.runner.threads) as writer:
        output.unlink(missing_ok=True)  # a scan that is being replaced must not look whole
        for path, (value, units) in _record(parameters, section, points, current, mask).items():
            writer.add(path, value, units)
        expose(images, amounts, mask, writer, parameters.seed, context)
    remove_leftovers(output, len(writer.data_files))


def _exposures(
    parameters: SimulateMap, section: Section, points: ScanPoints, current: _Floats
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean images (component, pixel) and their amounts in each frame (frame, component)."""
    images = np.stack(
        [
            diffraction_image(
                section.geometry, section.axis, profile, "2th_deg", polarization=parameters.polarization
            ).ravel()
            for profile in section.profiles
        ]
    )
    metres = section.fractions[:, points.angle, points.translation] * (THICKNESS * 1e-3)
    amounts = np.concatenate([metres, np.full((1, len(points)), AIR_PATH)]) * current
    sensitive = ~section.geometry.detector.mask().ravel()
    images *= parameters.counts / (images[:, sensitive].mean(axis=1) @ amounts.mean(axis=1))
    return images.astype(np.float32), amounts.T.astype(np.float32)


def _record(
    parameters: SimulateMap, section: Section, points: ScanPoints, current: _Floats, mask: NDArray[np.uint32]
) -> dict[str, tuple[ArrayLike, str]]:
    """Return what the beamline records beside the frames: path below the entry to value and units."""
    jitter = (
        READBACK * parameters.step * np.random.default_rng([parameters.seed, 0x307]).uniform(-1, 1, (2, len(points)))
    )
    return {
        "title": (f"Simulated diffraction map of {', '.join(section.names)}", ""),
        "sample/x_translation": (section.x[points.translation] + jitter[0], "mm"),
        "sample/y_translation": (section.y[points.angle] + jitter[1], "mm"),
        **setup_record(parameters, section.geometry, current, mask),
    }


def _truth(parameters: SimulateMap, section: Section, context: Context) -> xr.Dataset:
    """Return what is in the section."""
    fractions = {"units": "", "long_name": "Part of the section that the phase fills"}
    scattered = {"units": "1/(m sr)", "long_name": "Scattered intensity per path and solid angle"}
    dataset = xr.Dataset(
        {
            "fraction": (("phase", "y", "x"), section.fractions[:-1], fractions),
            "pattern": (("phase", "radial"), section.profiles[:-2], scattered),
        },
        coords={
            "phase": list(section.names),
            "y": coordinate("y", section.y, "mm", "y_translation"),
            "x": coordinate("x", section.x, "mm", "x_translation"),
            "radial": radial_coordinate(section.axis, "2th_deg"),
        },
        attrs={"title": f"Truth of {Path(parameters.output).name}", "default": "fraction"},
    )
    if context.provenance is not None:
        dataset.attrs["provenance"] = context.with_cost(context.provenance).to_json()
    return dataset
