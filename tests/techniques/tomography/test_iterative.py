"""SIRT and MLEM: convergence, masks, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from friedel.core.errors import DataError, ParameterError
from friedel.techniques.tomography import MlemPlan, ParallelBeam, SirtPlan, reconstruct
from phantoms import field_of_view, picture, rms, several, sinogram

N = 48
ANGLES = np.arange(0, 180, 4.0)
BEAM = ParallelBeam.build(ANGLES, N)
TRUTH = picture(several(N), N)
ROWS = sinogram(several(N), ANGLES, N)


@pytest.mark.parametrize("plan_type", [SirtPlan, MlemPlan])
def test_residual_falls_and_picture_appears(plan_type: type) -> None:
    result = plan_type.build(BEAM, iterations=60).solve(ROWS)
    residual = result.residuals[:, 0]
    assert (np.diff(residual) < 0).all()
    assert residual[-1] < 0.03
    assert np.corrcoef(result.slices[..., 0].ravel(), TRUTH.ravel())[0, 1] > 0.95
    assert (result.slices >= 0).all()


def test_few_angles_are_better_served_than_by_filtering() -> None:
    few = ANGLES[::3]
    rows, seen = sinogram(several(N), few, N), field_of_view(N)
    error = {method: rms((reconstruct(rows, few, None, method) - TRUTH)[seen]) for method in ("gridding", "sirt")}  # type: ignore[arg-type]
    assert error["sirt"] < 0.8 * error["gridding"]


@pytest.mark.parametrize("method", ["sirt", "mlem"])
def test_masked_samples_have_no_effect(method: str) -> None:
    mask = np.zeros(ROWS.shape, bool)
    mask[10, 20:25] = mask[:, 30] = True
    spoilt = ROWS.copy()
    spoilt[mask] = 1e6
    found = [reconstruct(rows, ANGLES, None, method, mask=mask, iterations=20) for rows in (ROWS, spoilt)]  # type: ignore[arg-type]
    np.testing.assert_array_equal(*found)
    assert np.corrcoef(found[0].ravel(), TRUTH.ravel())[0, 1] > 0.93


@pytest.mark.parametrize("method", ["sirt", "mlem"])
def test_nothing_is_outside_the_support(method: str) -> None:
    support = field_of_view(N, 2)
    found = reconstruct(ROWS, ANGLES, None, method, support=support, iterations=10)  # type: ignore[arg-type]
    assert (found[~support] == 0).all()
    assert found[support].max() > 1


def test_negative_values_are_allowed_on_request() -> None:
    found = reconstruct(-ROWS, ANGLES, None, "sirt", non_negative=False, iterations=30)
    assert found.min() < -1
    assert reconstruct(-ROWS, ANGLES, None, "sirt", iterations=5).max() == 0


def test_each_channel_stops_by_itself() -> None:
    noisy = ROWS + np.random.default_rng(0).normal(size=ROWS.shape).astype(np.float32) * 3
    result = SirtPlan.build(BEAM, iterations=80, tolerance=0.02).solve(np.stack([ROWS, noisy], axis=-1))
    assert result.iterations[1] < result.iterations[0] < 80
    alone = SirtPlan.build(BEAM, iterations=80, tolerance=0.02).solve(noisy[..., None])
    np.testing.assert_array_equal(alone.slices[..., 0], result.slices[..., 1])


def test_mlem_keeps_the_total() -> None:
    found = reconstruct(ROWS, ANGLES, None, "mlem", iterations=30)
    assert found.sum() == pytest.approx(ROWS.sum(axis=1).mean(), rel=0.01)


def test_negative_counts_are_refused_by_mlem() -> None:
    rows = ROWS.copy()
    rows[3, 5:7] = -1
    with pytest.raises(DataError, match="negative at 2 of"):
        reconstruct(rows, ANGLES, None, "mlem")


def test_wrong_options_are_explained() -> None:
    with pytest.raises(ParameterError, match="0 iterations"):
        reconstruct(ROWS, ANGLES, None, "sirt", iterations=0)
    with pytest.raises(DataError, match="mask has the shape"):
        reconstruct(ROWS, ANGLES, None, "sirt", mask=np.zeros((3, 3), bool))
