"""A small made-up result with every variable that a report can draw."""

from __future__ import annotations

import numpy as np
import xarray as xr

from friedel.core.provenance import Provenance

PHASES = ("CeO2", "Al2O3", "Fe")
PEAKS = ((20.1, 23.2, 32.8, 38.5), (18.0, 24.6, 26.4, 30.1, 36.2), (31.0, 43.8))


def synthetic_xrdct(size: int = 64, bins: int = 400, layers: int = 1, seed: int = 0) -> xr.Dataset:
    """Return what the workflow ``xrdct`` gives for a disk with three phases."""
    random = np.random.default_rng(seed)
    radial = np.linspace(10, 50, bins)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    shape = (
        (np.hypot(x - 8, y - 5) < size * 0.2).astype(float),
        ((np.hypot(x, y) < size * 0.42) & (np.hypot(x - 8, y - 5) >= size * 0.2)) * (0.6 + 0.4 * np.cos(x / 6)),
        ((np.abs(x + 12) < 5) & (np.abs(y + 4) < 9)) * 1.0,
    )
    phase = np.repeat(np.stack(shape)[:, None], layers, axis=1) * np.array([3.0, 1.2, 0.4])[:, None, None, None]
    phase += random.normal(0, 0.02, phase.shape)
    patterns = np.stack([sum(np.exp(-(((radial - at) / 0.18) ** 2)) for at in peaks) for peaks in PEAKS])
    volume = np.einsum("plyx,pr->lyxr", phase, patterns).astype("f4")
    mean = volume.mean((0, 1, 2)) + 0.4 * np.exp(-radial / 20) + 0.02
    angles = np.linspace(0, 180, size - 3, endpoint=False)
    sinogram = np.stack([_project(volume[0], angle) for angle in angles])[None].repeat(layers, 0)
    position = np.where(phase[:1] > 1, 20.1 + 0.01 * x, np.nan)
    reflections = np.full((3, 5), np.nan)
    for row, peaks in enumerate(PEAKS):
        reflections[row, : len(peaks)] = peaks
    maps = ("layer", "y", "x")
    result = xr.Dataset(
        {
            "phase_map": (("phase", *maps), phase),
            "volume": ((*maps, "radial"), volume),
            "sinogram": (("layer", "angle", "translation", "radial"), sinogram),
            "mean_pattern": (("radial",), mean),
            "mean_pattern_errors": (("radial",), 0.05 * np.sqrt(mean)),
            "fit_pattern": (("radial",), mean * (1 + 0.02 * np.sin(radial))),
            "reflections": (("phase", "reflection"), reflections),
            "residual": (maps, np.abs(random.normal(0, 0.05, phase.shape[1:])) + 0.2 * shape[2]),
            "roi_intensity": (("roi", *maps), phase[:2]),
            "peak_area": (("peak", *maps), phase[:1]),
            "peak_position": (("peak", *maps), position, {"units": "1/nm"}),
            "peak_width": (("peak", *maps), position * 0 + 0.18 + 0.001 * y, {"units": "1/nm"}),
        },
        coords={
            "radial": ("radial", radial, {"units": "1/nm", "radial_unit": "q_nm^-1", "long_name": "scattering vector"}),
            "phase": list(PHASES),
            "roi": ["18.0–18.6", "24.0–25.0"],
            "peak": ("peak", [20.1], {"units": "1/nm"}),
            "x": ("x", x[0] * 0.005, {"units": "mm"}),
            "y": ("y", y[:, 0] * 0.005, {"units": "mm"}),
            "angle": ("angle", angles, {"units": "deg"}),
            "translation": ("translation", x[0] * 0.005, {"units": "mm"}),
        },
    )
    record = Provenance.begin(
        "xrdct", 1, {"frames": ["scan.h5"], "geometry": "setup.poni", "npt": bins}, "cpu"
    ).with_notes(
        center={
            "value": (size - 1) / 2,
            "estimates": {"mirror": (size - 1) / 2 + 0.1, "center_of_mass": (size - 1) / 2 - 0.2},
        },
        warnings=["2 of 3904 frames hold no counts and were left out."],
        seconds=23.4,
        peak_memory=412_000_000,
    )
    return result.assign_attrs(provenance=record.to_json())


def _project(volume: np.ndarray, angle: float) -> np.ndarray:
    from scipy.ndimage import rotate

    return rotate(volume, angle, axes=(1, 0), reshape=False, order=1).sum(axis=0)
