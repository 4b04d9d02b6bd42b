"""Calibrants against the files that pyFAI ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from friedel.instrument import Calibrant
from peer_python import run_peer

pytestmark = pytest.mark.peer

THEIRS = """
import re
from pyFAI.calibrant import CALIBRANT_FACTORY
from pyFAI.utils import get_calibration_dir
for name in CALIBRANT_FACTORY.keys():
    spacing, intensity = [], []
    for line in open(f"{get_calibration_dir()}/{name}.D", encoding="utf-8"):
        found = re.match(r"\\s*([\\d.]+)(?:\\s+# \\([^)]*\\)\\s+\\d+\\s+([\\d.]+))?", line)
        if found:
            spacing.append(float(found[1]))
            intensity.append(float(found[2] or "nan"))
    outputs[name] = np.array([spacing, intensity])
"""
OURS = {"CuO": "Cu2O"}
"""pyFAI's CuO is cuprite, as its own file says."""
SAME = 1e-4
"""Relative difference of spacings that counts as agreement."""
WEAK = 0.05
"""Part of the strongest line below which a line is weak; lines without an intensity count as strong."""
FORBIDDEN = {"Cr2O3": (0.93964441,), "TiO2": (1.07065805, 1.06398577), "ZnO": (1.041306,)}
"""Lines of theirs that the space group of the same file forbids: 4 -4 -7 of R -3 c (h -h l needs even l), 4 0 1 and
3 0 2 of P 42/m n m (h 0 l needs even h + l), 0 0 5 of P 63 m c (0 0 l needs even l)."""


@pytest.fixture(scope="module")
def theirs() -> dict[str, np.ndarray]:
    return run_peer(THEIRS)


def test_all_of_theirs_are_here(theirs: dict[str, np.ndarray]) -> None:
    assert len(theirs) >= 39
    for name, (spacing, intensity) in theirs.items():
        strong = ~(intensity < WEAK * np.nanmax(np.append(intensity, 0.0)))
        calibrant = Calibrant.load(OURS.get(name, name))
        rings = calibrant.rings(0.2e-10)
        wanted = spacing[strong & (spacing > max(rings.spacing[-1], 0.3)) & ~np.isin(spacing, FORBIDDEN.get(name, ()))]
        nearest = np.abs(rings.spacing[:, None] / wanted - 1.0).min(axis=0)
        worst = wanted[np.argmax(nearest)]
        assert nearest.max() < SAME, f"{name}: d = {worst} is off by {nearest.max():.1e}"


def test_their_strongest_lines_are_strong_here(theirs: dict[str, np.ndarray]) -> None:
    for name, (spacing, intensity) in theirs.items():
        calibrant = Calibrant.load(OURS.get(name, name))
        if not calibrant.intensities_known or not np.isfinite(intensity).any():
            continue
        strongest = spacing[np.nanargmax(intensity)]
        rings = calibrant.rings(1.5406e-10)
        polarized = rings.intensity * (1.0 + np.cos(rings.two_theta) ** 2)
        near = np.abs(rings.spacing / strongest - 1.0) < 3e-3
        assert polarized[near].max() > 0.6 * polarized.max(), name


def test_pyfai_reads_what_is_written(tmp_path: Path) -> None:
    for name in ("LaB6", "Al2O3", "AgBh"):
        Calibrant.named(name).save(tmp_path / f"{name}.D")
    code = """
from pyFAI.calibrant import Calibrant
for name in ("LaB6", "Al2O3", "AgBh"):
    outputs[name] = np.array(Calibrant(filename=f"{inputs['folder']}/{name}.D", wavelength=1e-10).dspacing)
"""
    read = run_peer(code, folder=np.array(str(tmp_path)))
    for name, spacing in read.items():
        expected = Calibrant.named(name).rings(1e-10).spacing
        np.testing.assert_allclose(spacing[: len(expected)], expected, atol=1e-8)
