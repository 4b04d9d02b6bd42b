"""Statistics of a series against pyFAI's."""

from __future__ import annotations

import numpy as np
import pytest

from friedel.techniques.images import average_frames
from peer_python import run_peer

pytestmark = pytest.mark.peer

CODE = """
from pyFAI.average import Average, create_algorithm
for name, arguments in {
    "mean": {}, "median": {}, "min": {}, "max": {}, "sum": {}, "std": {},
    "quantiles": {"quantiles": (0.2, 0.9)},
    "clipped": {"cut_off": 1.5},
}.items():
    average = Average()
    average.set_images(list(inputs["frames"]))
    average.set_dark([inputs["dark"]])
    average.set_flat([inputs["flat"]])
    algorithm = create_algorithm("median" if name == "clipped" else name, **arguments)
    average.add_algorithm(algorithm)
    average.process()
    outputs[name] = average.get_image_reduction(algorithm)
"""


def test_statistics_are_those_of_pyfai() -> None:
    rng = np.random.default_rng(3)
    frames = rng.poisson(200, (15, 30, 40)).astype(np.uint16)
    dark, flat = rng.uniform(5, 10, (30, 40)), rng.uniform(0.5, 2, (30, 40))
    theirs = run_peer(CODE, frames=frames, dark=dark, flat=flat)
    names = ("mean", "median", "min", "max", "sum", "std", "trimmed_mean", "clipped_mean")
    ours = average_frames(frames, names, dark=dark, flat=flat, trim=(0.2, 0.9), clip_threshold=1.5)
    for name in names:
        other = {"trimmed_mean": "quantiles", "clipped_mean": "clipped"}.get(name, name)
        np.testing.assert_allclose(ours[name], theirs[other], rtol=1e-5, err_msg=name)
