"""pyFAI's own tests, run with friedel inside pyFAI's integrator.

The adapter (``pyfai_suite/adapter.py``) hands positions, solid angles, patterns, cakes, sigma clipping and percentiles
to friedel and leaves to pyFAI what only holds parameters. A test counts as passed only if it asked friedel. Which tests
cannot pass, and why, is listed here; one that passes against expectation is a failure too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import friedel
from friedel import _native as native
from peer_python import peer_python

pytestmark = [pytest.mark.peer, pytest.mark.slow]

MODULES = (
    "test_flat",
    "test_split_pixel",
    "test_error_model",
    "test_uncertainties",
    "test_bug_regression",
    "test_polarization",
    "test_csr",
    "test_geometry",
    "test_invert_geometry",
    "test_azimuthal_integrator",
    "test_worker",
    "test_units",
    "test_sparse",
    "test_pickle",
)
OTHER_MODULES = {
    "test_histogram": "calls pyFAI's histogram functions on arrays of its own, no integrator",
    "test_preproc": "calls pyFAI's preprocessing functions, no integrator",
    "test_sparse_builder": "tests a container of pyFAI's sparse matrices",
    "test_orientation": "tests conversions of PONI parameters, which are pyFAI's own here",
    "test_parallax": "tests pyFAI's table of displacements; friedel's is compared in test_pyfai_parallax",
    "test_detector": "tests pyFAI's detector classes",
    "test_io": "tests pyFAI's writers; friedel's are read back in test_exchange",
    "test_integrate_config": "tests pyFAI's reading of configurations; friedel's is compared in test_pyfai_config",
    "test_mask": "needs images from the network",
    "test_multi_geometry": "needs images from the network",
    "test_medfilt_engine": "needs images from the network",
    "test_fiber_integrator": "needs images from the network",
    "test_saxs": "needs images from the network",
    "test_export": "needs images from the network",
}
"""Modules of the suite about integration that are not run, and why."""
EXCLUDED_CLASSES = {
    "test_geometry.TestFastPath": "compares two implementations inside pyFAI, for a minute",
    "test_worker.TestWorkerConfig": "tests that configurations are kept, not what they compute; its clean-up needs the "
    "network",
}
PLANTED = "plants angles in pyFAI's cache, which friedel does not look into; test_pyfai_geometry compares real ones"
ENGINES = "looks into pyFAI's engines and their sparse matrices, which are not made"
EXPECTED_FAILURES = {
    "test_bug_regression.TestBugRegression.test_bug_1275": "asserts that a sector across the cut holds only its half "
    "on one side; friedel gives the whole sector",
    "test_bug_regression.TestBugRegression.test_bug_232": "compares the addresses of cached arrays; friedel keeps none",
    "test_polarization.TestPolarization.testCircularPol": PLANTED,
    "test_polarization.TestPolarization.testHorizPol": PLANTED,
    "test_polarization.TestPolarization.testVertPol": PLANTED,
    "test_polarization.TestPolarization.testoffsetPol": PLANTED,
    "test_csr.TestCSR.test_1d_nosplit": ENGINES,
    "test_csr.TestCSR.test_1d_splitbbox": ENGINES,
    "test_csr.TestCSR.test_2d_nosplit": ENGINES,
    "test_csr.TestCSR.test_2d_splitbbox": ENGINES,
    "test_sparse.TestSparseUtils.test_matrix_conversion": ENGINES,
    "test_azimuthal_integrator.TestIntergrationNextGeneration.test_histo": "reads the checksum of a cached solid angle",
}
NOT_HERE = {
    "test_pickle.TestPickle.test_Calibrant": "fails with pyFAI alone too",
}
"""Tests that do not ask friedel and fail with pyFAI alone as well."""
SKIPPED_FOR = ("network", "OpenCL", "OpenCl")
LEAST_PASSED = 45


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """Run the suite once."""
    python = peer_python()
    versions = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=True
    )
    if tuple(map(int, versions.stdout.split())) != sys.version_info[:2]:
        pytest.skip(
            f"{python} is another version of Python than this one: friedel's compiled part cannot be used there"
        )
    result = tmp_path_factory.mktemp("suite") / "outcomes.json"
    runner = Path(__file__).parent / "pyfai_suite" / "run.py"
    fallback = ":".join(path for path in sys.path if path.endswith("site-packages"))
    source = Path(friedel.__file__).parents[1]
    command = [python, runner, result, source, native.__file__, fallback, ":".join(EXCLUDED_CLASSES), *MODULES]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=500, check=False, cwd=result.parent
    )
    assert result.exists(), done.stderr[-2000:]
    found: dict[str, dict[str, Any]] = json.loads(result.read_text())
    return found


def test_all_pass_that_can(outcomes) -> None:
    failed = {name: told["reason"] for name, told in outcomes.items() if told["outcome"] == "failed"}
    unexpected = {name: reason for name, reason in failed.items() if name not in EXPECTED_FAILURES | NOT_HERE}
    assert not unexpected
    assert not EXPECTED_FAILURES.keys() - failed.keys(), "these pass now: take them off the list"


def test_friedel_did_the_work(outcomes) -> None:
    counts = Counter(
        "asked friedel" if told["calls"] else "pyFAI's own" for told in outcomes.values() if told["outcome"] == "passed"
    )
    assert counts["asked friedel"] >= LEAST_PASSED, counts


def test_what_is_skipped_says_why(outcomes) -> None:
    skipped = {name: told["reason"] for name, told in outcomes.items() if told["outcome"] == "skipped"}
    assert all(any(word in reason for word in SKIPPED_FOR) for reason in skipped.values()), skipped
