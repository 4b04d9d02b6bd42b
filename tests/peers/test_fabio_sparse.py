"""Sparse frames that sparsify writes, densified by fabio (which reads what pyFAI's sparsify-Bragg writes)."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import friedel
from friedel.instrument import Detector, Geometry
from friedel.workflows.serial.files import read_sparse
from peer_python import run_peer

pytestmark = pytest.mark.peer

SHAPE = (120, 130)
CODE = """
import fabio
with fabio.open(str(inputs["path"])) as image:
    outputs["frames"] = np.stack([image.getframe(number).data for number in range(image.nframes)])
"""


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4"])
@pytest.mark.parametrize("solid_angle", [False, True])
def test_fabio_makes_the_same_frames(tmp_path, dtype, solid_angle) -> None:
    rng = np.random.default_rng(0)
    frames = rng.poisson(40, (3, *SHAPE))
    frames[:, ::17, ::19] += 800
    Geometry(Detector.from_shape(SHAPE, 2e-4), 0.1, 0.012, 0.013, wavelength=1e-10).save(tmp_path / "setup.poni")
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["entry/data/data"] = frames.astype(dtype)
    mask = np.zeros(SHAPE, np.uint8)
    mask[30:33] = 1
    np.save(tmp_path / "mask.npy", mask)
    friedel.sparsify(
        tmp_path / "frames.h5",
        geometry=tmp_path / "setup.poni",
        mask=tmp_path / "mask.npy",
        npt=50,
        solid_angle=solid_angle,
        peaks=True,
        output=tmp_path / "sparse.h5",
    )
    theirs = run_peer(CODE, path=str(tmp_path / "sparse.h5"))["frames"]
    sparse = read_sparse(tmp_path / "sparse.h5")
    ours = np.stack([sparse.frame(number) for number in range(3)])
    assert theirs.dtype == ours.dtype == np.dtype(dtype)
    # Within half a ring of the ends of the axis fabio's compiled code has 0, its numpy code the last value, as here.
    between = ~((sparse.mask < sparse.radius[0]) | (sparse.mask > sparse.radius[-1]))
    assert between.mean() > 0.99
    theirs, ours = theirs[:, between], ours[:, between]
    if dtype == "f4":
        np.testing.assert_allclose(theirs, ours, rtol=1e-5)
    else:
        # Where the background is half a count from two numbers, single precision rounds to either.
        difference = np.abs(theirs.astype(int) - ours.astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
