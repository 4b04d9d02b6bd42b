"""Are the standard errors of a refined geometry right? Pulls over realisations of noise.

For each case an image of a calibrant is simulated again and again with other noise (and other grains, where they are
few); rings are measured and the geometry is refined from a start that is off; then (refined − true)/error of each
number should scatter with the standard deviation 1 about 0.

    python benchmarks/calibration_pulls.py [--realisations 200] [--cases small-tilt arcs] [--out results.json]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from friedel.instrument import Calibrant, Detector, Geometry
from friedel.instrument.virtual import Exposure, simulated_frame
from friedel.techniques.calibration import derived_quantities, extract, refine

PILATUS = Detector.named("Pilatus1M")
FREE = ("distance", "poni1", "poni2", "rot1", "rot2")
PLACED = Geometry(PILATUS, 0.2, 0.09, 0.08, 0.02, -0.03, 0.0, wavelength=4e-11)
CASES = {
    "small-tilt": (PLACED, "CeO2", Exposure(), FREE),
    "no-tilt": (replace(PLACED, rot1=0.0, rot2=0.0), "LaB6", Exposure(counts=300), FREE),
    "tilt-45": (replace(PLACED, poni1=0.29, rot1=0.1, rot2=-0.785), "CeO2", Exposure(), FREE),
    "off-detector": (replace(PLACED, distance=0.35, poni1=-0.1, poni2=0.03, rot2=0.1), "LaB6", Exposure(), FREE),
    "arcs": (PLACED, "CeO2", Exposure(opening=(-30.0, 60.0), counts=1000), FREE),
    "spotty": (PLACED, "CeO2", Exposure(grains=200, spot_width=1.0, spot_scatter=0.02), FREE),
    "few-counts": (PLACED, "CeO2", Exposure(counts=3, background=0.5, air=0, halo=0), FREE),
    "narrow": (replace(PLACED, distance=0.08, poni1=0.085, poni2=0.08), "LaB6", Exposure(width=0.03), FREE),
    "wavelength": (replace(PLACED, distance=0.1), "LaB6", Exposure(), (*FREE, "wavelength")),
}


def off(geometry: Geometry) -> Geometry:
    """Return a start that is a few pixels off."""
    return replace(
        geometry,
        distance=geometry.distance * 1.003,
        poni1=geometry.poni1 + 3e-4,
        poni2=geometry.poni2 - 4e-4,
        rot1=geometry.rot1 + 0.002,
        rot2=geometry.rot2 - 0.001,
    )


def realisation(case: str, seed: int) -> dict[str, float]:
    """Return the pull of each number for one image."""
    truth, name, exposure, free = CASES[case]
    calibrant = Calibrant.named(name)
    rings = calibrant.rings(truth.wavelength)
    frame = simulated_frame(truth, rings, exposure, seed=seed)
    mask = frame.pixel_mask > 0
    found = refine(extract(frame.image, mask, off(truth), rings, reach=8.0), off(truth), calibrant, free=free)
    rings = calibrant.rings(found.geometry.wavelength)
    started = time.perf_counter()
    points = extract(frame.image, mask, found.geometry, rings)
    extracted = time.perf_counter()
    found = refine(points, found.geometry, calibrant, free=free)
    pulls = {name: (found.value(name).value - getattr(truth, name)) / found.value(name).error for name in free}
    for name, true in derived_quantities(truth).items():
        quantity = found.derived()[name]
        if name != "tilt_plane":
            pulls[name] = (quantity.value - true.value) / quantity.error
    return pulls | {
        "chi_squared": found.chi_squared,
        "correlation": found.correlation_factor,
        "points": len(points),
        "residual": found.rms,
        "extraction_s": extracted - started,
        "undetermined": len(found.undetermined),
    }


def summary(case: str, realisations: int) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation of each pull over some images."""
    rows = [realisation(case, seed) for seed in range(realisations)]
    return {
        name: {"mean": float(np.mean([row[name] for row in rows])), "std": float(np.std([row[name] for row in rows]))}
        for name in rows[0]
    }


def main() -> None:
    """Print a table and write it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--realisations", type=int, default=200)
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = {}
    for case in options.cases:
        started = time.perf_counter()
        found = results[case] = summary(case, options.realisations)
        print(f"{case} ({options.realisations} images, {time.perf_counter() - started:.0f} s)")
        for name, numbers in found.items():
            print(f"    {name:16s} mean {numbers['mean']:8.3f}   std {numbers['std']:7.3f}")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
