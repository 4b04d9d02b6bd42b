"""Compare phase maps with the truth of a simulated scan: python compare_with_truth.py maps.h5 scan_truth.h5"""

from __future__ import annotations

import sys

import numpy as np
import xarray as xr

import friedel

ENOUGH = 0.95


def correlations(maps: xr.DataArray, truth: xr.DataArray) -> dict[str, float]:
    """Return Pearson's correlation over all voxels, for each phase."""
    found = {}
    for name in maps["phase"].values:
        measured, known = maps.sel(phase=name).values, truth.sel(phase=name).values
        there = np.isfinite(measured)
        found[str(name)] = float(np.corrcoef(measured[there], known[there])[0, 1])
    return found


def main(result: str, truth: str) -> int:
    found = correlations(friedel.open(result)["phase_map"], friedel.open(truth)["fraction"])
    for name, value in found.items():
        print(f"{name:<12} correlation with the truth {value:.4f}")
    if min(found.values()) < ENOUGH:
        print(f"At least one phase map is worse than {ENOUGH}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
