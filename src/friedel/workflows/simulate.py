"""The virtual XRD-CT beamline: a scan as it would have been measured, and the truth behind it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from friedel.core.context import Context
from friedel.core.errors import ParameterError
from friedel.core.files import refuse_existing
from friedel.core.provenance import friedel_version, refuse_to_replace_inputs
from friedel.core.units import wavelength_from_energy
from friedel.data.conventions import radial_coordinate
from friedel.instrument import Detector, Geometry, radial_from_two_theta
from friedel.instrument.virtual import (
    DetectorFaults,
    Phantom,
    ScanPoints,
    capillary,
    counting_type,
    diffraction_image,
    invalid_value,
    path_lengths,
    ring_current,
    scan_points,
)
from friedel.io.nexus import write_dataset
from friedel.io.scan_writer import FrameWriter
from friedel.kernels.poisson import poisson_frames
from friedel.matter import Crystal, air, silica_glass
from friedel.techniques.powder import Profile, powder_pattern

from .tasks import SimulateXRDCT, Simulation

_Floats = NDArray[np.float64]

OVERSAMPLING = 4
"""Pixels of the phantom along a step of the scan."""
AXIS_POINTS_PER_WIDTH = 20
BEAM_PLACE = (0.12, 0.17)
"""Where the beam meets the detector, in parts of its height and width: near a corner, to see far out."""
TILT = (0.012, -0.009, 0.05)
"""Rotations of the detector, rad."""
LARGEST_PACKING = 0.6
AIR_PATH = 0.05
"""Path of the beam in air that the detector sees, m."""
MONITOR_COUNTS = 1.0e6
HOT_RATE = 2.0e4
"""Counts per second of a hot pixel."""
BLOCK_BYTES = 32 * 1024**2
READBACK = 1e-3
"""Scatter of the motors' read-back, in steps."""
WALL = "glass"


@dataclass(frozen=True)
class Beamline:
    """What is in the beam, before any noise.

    Attributes
    ----------
    geometry : Geometry
    axis : ndarray of float64 (n,)
        2θ in degrees.
    profiles : ndarray of float64 (component, n)
        Scattering of each component, 1/(m·sr): the phases, the wall, air.
    phantom : Phantom
        On OVERSAMPLING times the pixels of a slice.
    attenuation : ndarray of float64 (component,)
        Linear attenuation of each dense component, 1/mm.
    angles : ndarray of float64 (angle,)
        Degrees.
    translations : ndarray of float64 (translation,)
        Motor positions, mm.
    axis_position : float
        Motor position of the rotation axis, mm.
    paths : ndarray of float64 (component, layer, angle, translation)
        Path of the beam through each component, mm.
    """

    geometry: Geometry
    axis: _Floats
    profiles: _Floats
    phantom: Phantom
    attenuation: _Floats
    angles: _Floats
    translations: _Floats
    axis_position: float
    paths: _Floats


def simulate_xrdct(parameters: SimulateXRDCT, context: Context) -> xr.Dataset:
    """Write a simulated scan, its geometry and its truth; return the truth."""
    output = Path(parameters.output)
    truth_file, geometry_file = output.with_name(f"{output.stem}_truth.h5"), output.with_name("setup.poni")
    written = [output, data_file(output, 1), truth_file, geometry_file]
    refuse_to_replace_inputs(written, parameters.phases)
    refuse_existing(written, parameters.overwrite)
    beamline = build_beamline(parameters)
    write_scan(parameters, beamline, context)
    truth = truth_dataset(parameters, beamline, context)
    beamline.geometry.save(geometry_file)
    write_dataset(truth_file, truth)
    return truth


def data_file(master: Path, number: int) -> Path:
    return master.with_name(f"{master.stem}_data_{number:06d}.h5")


def build_beamline(parameters: SimulateXRDCT) -> Beamline:
    """Put sample, beam and detector together."""
    crystals = [Crystal.load(phase) for phase in parameters.phases]
    names = [crystal.name for crystal in crystals]
    if not names or len(set(names)) < len(names):
        raise ParameterError(f"The phases are {', '.join(names) or 'none'}.", "Give one or more different phases.")
    geometry = corner_geometry(parameters)
    axis = radial_axis(geometry, parameters.width)
    wavelength = wavelength_from_energy(parameters.energy)
    profile = Profile(parameters.width)
    patterns = np.stack([powder_pattern(crystal, axis, "2th_deg", wavelength, profile=profile) for crystal in crystals])
    q = radial_from_two_theta(np.radians(axis), "q_nm^-1", wavelength)
    phantom = _sample(parameters, dict(zip(names, balanced_packing(patterns), strict=True)))
    middle = np.arange(parameters.translations, dtype=np.float64) - (parameters.translations - 1) / 2.0
    translations = middle * parameters.step
    axis_position = parameters.axis_offset * parameters.step
    angles = np.arange(parameters.rotations, dtype=np.float64) * (parameters.angle_range / parameters.rotations)
    paths = np.stack(
        [
            path_lengths(layer, phantom.pixel_size, np.radians(angles), translations - axis_position, parameters.step)
            for layer in np.moveaxis(phantom.fractions, 1, 0)
        ],
        axis=1,
    )
    return Beamline(
        geometry=geometry,
        axis=axis,
        profiles=np.concatenate([patterns, [silica_glass(q), air(q)]]),
        phantom=phantom,
        attenuation=_attenuation(crystals, paths, parameters.absorption),
        angles=angles,
        translations=translations,
        axis_position=axis_position,
        paths=paths,
    )


def corner_geometry(parameters: Simulation) -> Geometry:
    """Return the detector tilted, with the beam near a corner."""
    detector = Detector.named(parameters.detector)
    rows, columns = detector.known_shape()
    return Geometry(
        detector=detector,
        distance=parameters.distance,
        poni1=BEAM_PLACE[0] * rows * detector.pixel1,
        poni2=BEAM_PLACE[1] * columns * detector.pixel2,
        rot1=TILT[0],
        rot2=TILT[1],
        rot3=TILT[2],
        wavelength=wavelength_from_energy(parameters.energy),
    )


def radial_axis(geometry: Geometry, width: float) -> _Floats:
    """Return 2θ in degrees from the beam to the farthest corner, finer than the rings."""
    rows = geometry.shape[0]
    edges = np.concatenate(
        [geometry.center_array("2th_deg", rows=slice(row, row + 1)).ravel()[[0, -1]] for row in (0, rows - 1)]
    )
    highest = 1.02 * float(edges.max())
    return np.linspace(1e-3, highest, int(np.ceil(highest / width * AXIS_POINTS_PER_WIDTH)))


def balanced_packing(patterns: _Floats) -> list[float]:
    """Return how densely each phase is packed.

    Strong scatterers are diluted, as on a support, so that the strongest ring of each phase is about as bright.
    """
    strongest = patterns.max(axis=1)
    if not strongest.all():
        raise ParameterError(
            "A phase has no ring on the detector.", "Use a shorter distance or a higher energy, or another phase."
        )
    return [float(LARGEST_PACKING * strongest.min() / strength) for strength in strongest]


def _sample(parameters: SimulateXRDCT, packing: dict[str, float]) -> Phantom:
    half = (parameters.translations - 1) / 2.0 - abs(parameters.axis_offset) - 1.0
    if half < 2:
        raise ParameterError(
            f"With the axis {parameters.axis_offset:g} steps off the middle, {parameters.translations} translations do "
            "not span a sample.",
            "Use more translations or a smaller offset.",
        )
    return capillary(
        packing,
        wall=WALL,
        size=OVERSAMPLING * parameters.translations,
        layers=parameters.layers,
        pixel_size=parameters.step / OVERSAMPLING,
        layer_step=parameters.step,
        radius=half * parameters.step,
        seed=parameters.seed,
    )


def _attenuation(crystals: list[Crystal], paths: _Floats, absorption: float) -> _Floats:
    """Return the attenuation of each dense component, such that the darkest path absorbs the part asked for.

    The ratios are those of photoelectric absorption above all edges, μ ~ Σ n Z⁴ (n atoms per volume).
    """
    silica = 0.0220 * (14.0**4 + 2 * 8.0**4)  # SiO2 units per Å³
    relative = np.array([_fourth_powers(crystal) / crystal.volume for crystal in crystals] + [silica])
    darkest = np.tensordot(relative, paths, axes=1).max()
    return np.asarray(relative * (-np.log1p(-absorption) / darkest))


def _fourth_powers(crystal: Crystal) -> float:
    atoms = crystal.atoms()
    return float(np.sum(atoms.occupancies * np.asarray(atoms.numbers, dtype=np.float64) ** 4))


def write_scan(parameters: SimulateXRDCT, beamline: Beamline, context: Context) -> None:
    """Expose every frame and write the scan."""
    points = scan_points(
        parameters.layers, parameters.rotations, parameters.translations, fast=parameters.fast, snake=parameters.snake
    )
    detector = beamline.geometry.detector
    current = ring_current(len(points), seed=parameters.seed)
    known = DetectorFaults.random(detector, parameters.hot_pixels, parameters.dead_pixels, parameters.seed)
    hidden = DetectorFaults.random(detector, parameters.unknown_hot_pixels, 0, parameters.seed + 1)
    images, amounts = exposures(parameters, beamline, points, current, hidden)
    mask = known.pixel_mask(detector)
    output = Path(parameters.output)
    with FrameWriter(output, detector.known_shape(), counting_type(detector), threads=context.runner.threads) as writer:
        output.unlink(missing_ok=True)  # a scan that is being replaced must not look whole
        for path, (value, units) in scan_record(parameters, beamline, points, current, mask).items():
            writer.add(path, value, units)
        expose(images, amounts, mask, writer, parameters.seed, context)
    remove_leftovers(output, len(writer.data_files))


def remove_leftovers(master: Path, count: int) -> None:
    """Remove the data files of a longer scan that this one replaced."""
    number = count + 1
    while data_file(master, number).exists():
        data_file(master, number).unlink()
        number += 1


def exposures(
    parameters: SimulateXRDCT, beamline: Beamline, points: ScanPoints, current: _Floats, hidden: DetectorFaults
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean images (component, pixel) and their amounts in each frame (frame, component).

    The beam is weakened along its whole path, as if all rays left the sample along the beam: right for small angles.
    """
    shape = beamline.geometry.shape
    images = np.stack(
        [
            diffraction_image(
                beamline.geometry, beamline.axis, profile, "2th_deg", polarization=parameters.polarization
            ).ravel()
            for profile in beamline.profiles
        ]
    )
    metres = beamline.paths[:, points.layer, points.angle, points.translation] * 1e-3
    transmission = np.exp(-1e3 * beamline.attenuation @ metres)
    amounts = np.concatenate([metres * transmission, np.full((1, len(points)), AIR_PATH)]) * current
    sensitive = ~beamline.geometry.detector.mask().ravel()
    mean = images[:, sensitive].mean(axis=1) @ amounts.mean(axis=1)
    images *= parameters.counts / mean
    noise = np.zeros((1, shape[0] * shape[1]))
    noise[0, hidden.hot] = HOT_RATE * parameters.count_time
    dark = np.concatenate([images, noise]).astype(np.float32)
    return dark, np.concatenate([amounts, np.ones((1, len(points)))]).T.astype(np.float32)


def expose(
    images: NDArray[np.float32],
    amounts: NDArray[np.float32],
    mask: NDArray[np.uint32],
    files: FrameWriter,
    seed: int,
    context: Context,
) -> None:
    """Draw and write frames block by block; one block is compressed while the next is drawn."""
    size = max(1, BLOCK_BYTES // (4 * mask.size))
    blind = [(np.flatnonzero(mask == 1), invalid_value(files.dtype)), (np.flatnonzero(mask > 1), _bad(files.dtype))]
    with context.stage("Exposing", len(amounts), "frames") as advance, ThreadPoolExecutor(1) as writing:
        pending: Future[None] | None = None
        for start in range(0, len(amounts), size):
            context.cancellation.check()
            block = amounts[start : start + size]
            counts = poisson_frames(images, block, seed=seed, first_frame=start, threads=context.runner.threads)
            frames = counts.view(files.dtype)
            for pixels, value in blind:
                frames[:, pixels] = value
            if pending is not None:
                pending.result()
            pending = writing.submit(files.append, frames.reshape(-1, *mask.shape))
            advance(len(block))
        if pending is not None:
            pending.result()


def _bad(dtype: np.dtype[Any]) -> int:
    """Return what stands at pixels known to be bad: −2, or the largest unsigned number."""
    return -2 if dtype.kind == "i" else invalid_value(dtype)


def scan_record(
    parameters: SimulateXRDCT, beamline: Beamline, points: ScanPoints, current: _Floats, mask: NDArray[np.uint32]
) -> dict[str, tuple[ArrayLike, str]]:
    """Return what the beamline records beside the frames: path below the entry to value and units."""
    random = np.random.default_rng([parameters.seed, 0x307])
    jitter = READBACK * random.uniform(-1.0, 1.0, (2, len(points)))
    rotation = beamline.angles[points.angle] + jitter[0] * (parameters.angle_range / parameters.rotations)
    translation = beamline.translations[points.translation] + jitter[1] * parameters.step
    return {
        "title": (f"Simulated XRD-CT scan of {', '.join(beamline.phantom.names)}", ""),
        "sample/rotation_angle": (rotation, "deg"),
        "sample/x_translation": (translation, "mm"),
        "sample/z_translation": (_heights(parameters)[points.layer], "mm"),
        **setup_record(parameters, beamline.geometry, current, mask),
    }


def setup_record(
    parameters: Simulation, geometry: Geometry, current: _Floats, mask: NDArray[np.uint32]
) -> dict[str, tuple[ArrayLike, str]]:
    """Return what is recorded of beam and detector: path below the entry to value and units."""
    detector = geometry.detector
    beam_y, beam_x = geometry.beam_center()
    return {
        "control/mode": ("monitor", ""),
        "control/data": (np.round(MONITOR_COUNTS * current), "counts"),
        "control/count_time": (parameters.count_time, "s"),
        "instrument/beam/incident_energy": (parameters.energy, "keV"),
        "instrument/detector/description": (detector.name, ""),
        "instrument/detector/pixel_mask": (mask, ""),
        "instrument/detector/x_pixel_size": (detector.pixel2, "m"),
        "instrument/detector/y_pixel_size": (detector.pixel1, "m"),
        "instrument/detector/distance": (parameters.distance, "m"),
        "instrument/detector/beam_center_x": (beam_x, "pixel"),
        "instrument/detector/beam_center_y": (beam_y, "pixel"),
        "instrument/detector/count_time": (parameters.count_time, "s"),
        "simulation/program": ("friedel", ""),
        "simulation/version": (friedel_version(), ""),
        "simulation/parameters": (parameters.model_dump_json(), ""),
    }


def _heights(parameters: SimulateXRDCT) -> _Floats:
    """Return the layers' heights in mm."""
    middle = np.arange(parameters.layers, dtype=np.float64) - (parameters.layers - 1) / 2.0
    return np.asarray(middle * parameters.step)


def truth_dataset(parameters: SimulateXRDCT, beamline: Beamline, context: Context) -> xr.Dataset:
    """Return what is in the sample, on the grid of a reconstructed slice (pixels of a step, centred on the axis)."""
    slices = beamline.phantom.binned(OVERSAMPLING)
    position = (
        np.arange(parameters.translations, dtype=np.float64) - (parameters.translations - 1) / 2.0
    ) * parameters.step
    center = (beamline.axis_position - beamline.translations[0]) / parameters.step
    attenuation = np.tensordot(beamline.attenuation, slices.fractions.astype(np.float64), axes=1)
    dataset = xr.Dataset(
        {
            "fraction": (("phase", "layer", "y", "x"), slices.fractions, {"units": "", "long_name": "volume fraction"}),
            "attenuation": (
                ("layer", "y", "x"),
                attenuation,
                {"units": "1/mm", "long_name": "linear attenuation coefficient"},
            ),
            "path": (
                ("phase", "layer", "angle", "translation"),
                beamline.paths,
                {"units": "mm", "long_name": "path of the beam through each phase"},
            ),
            "pattern": (
                ("phase", "radial"),
                beamline.profiles[:-1],
                {"units": "1/(m sr)", "long_name": "scattered intensity per path and solid angle"},
            ),
        },
        coords={
            "phase": list(slices.names),
            "layer": ("layer", _heights(parameters), {"units": "mm", "long_name": "height"}),
            "y": ("y", position, {"units": "mm", "long_name": "distance from the axis, downwards"}),
            "x": ("x", position, {"units": "mm", "long_name": "distance from the axis"}),
            "angle": ("angle", beamline.angles, {"units": "deg", "long_name": "rotation"}),
            "translation": ("translation", beamline.translations, {"units": "mm", "long_name": "motor position"}),
            "radial": radial_coordinate(beamline.axis, "2th_deg"),
        },
        attrs={
            "title": f"Truth of {Path(parameters.output).name}",
            "default": "fraction",
            "center_of_rotation": center,
            "pixel_size_mm": parameters.step,
        },
    )
    if context.provenance is not None:
        record = context.provenance.with_notes(center_of_rotation=center)
        dataset.attrs["provenance"] = context.with_cost(record).to_json()
    return dataset
