"""Against astra-toolbox: level, place and orientation."""

from __future__ import annotations

import numpy as np
import pytest

from friedel.techniques.tomography import reconstruct
from peer_python import run_peer
from phantoms import field_of_view, picture, rms, several, sinogram

N, ANGLES = 128, np.arange(0, 180, 1.0)

ASTRA_FBP = """
import astra
n_angles, n = inputs["rows"].shape
geometry = astra.create_proj_geom("parallel", 1.0, n, np.deg2rad(inputs["angles"]))
projector = astra.create_projector("linear", geometry, astra.create_vol_geom(n, n))
_, outputs["slice"] = astra.create_reconstruction("FBP", projector, inputs["rows"])
"""


@pytest.mark.peer
@pytest.mark.parametrize("method", ["gridding", "fbp"])
def test_slices_agree_and_ours_is_no_worse(method: str) -> None:
    rows, seen = sinogram(several(100), ANGLES, N), field_of_view(N)
    theirs = run_peer(ASTRA_FBP, rows=rows, angles=ANGLES)["slice"]
    ours = reconstruct(rows, ANGLES, None, method)  # type: ignore[arg-type]
    truth = picture(several(100), N)
    assert rms((ours - theirs)[seen]) < 0.05
    assert rms((ours - truth)[seen]) < 1.05 * rms((theirs - truth)[seen])
    assert ours[seen].mean() == pytest.approx(theirs[seen].mean(), rel=2e-3)
