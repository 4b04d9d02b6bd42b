"""Uncertainty: against repeated noise, and against the coefficients themselves."""

from __future__ import annotations

import numpy as np
import pytest

from friedel.core.errors import ParameterError
from friedel.techniques.tomography import ParallelBeam, build_plan, reconstruct_errors, variance_plan

N, ANGLES = 24, np.arange(0, 180, 9.0)


def coefficients(method: str, padding: str, filter_name: str, center: float) -> tuple[object, np.ndarray]:
    """Return a plan and its whole matrix (pixel, sample)."""
    beam = ParallelBeam.build(ANGLES, N, center=center, pixel_size=0.7)
    plan = build_plan(beam, method, padding=padding, filter=filter_name)  # type: ignore[arg-type]
    unit = np.eye(len(ANGLES) * N, dtype=np.float32).reshape(len(ANGLES), N, -1)
    return plan, plan(unit).reshape(N * N, -1).astype(float)


@pytest.mark.parametrize("padding", ["zeros", "edge"])
@pytest.mark.parametrize("filter_name", ["ramp", "hann"])
@pytest.mark.parametrize(("method", "error"), [("fbp", 1e-4), ("gridding", 0.03)])
def test_variance_is_the_sum_of_squared_coefficients(method: str, error: float, padding: str, filter_name: str) -> None:
    plan, matrix = coefficients(method, padding, filter_name, 12.3)
    variances = np.random.default_rng(0).random((len(ANGLES), N)).astype(np.float32)
    expected = (matrix**2 @ variances.ravel()).reshape(N, N)
    found = variance_plan(plan)(variances)  # type: ignore[arg-type]
    inside = np.hypot(*(np.indices((N, N)) - (N - 1) / 2)) < N / 2 - 2
    np.testing.assert_allclose(found[inside], expected[inside], rtol=error)


@pytest.mark.parametrize("method", ["fbp", "gridding"])
def test_errors_agree_with_repeated_noise(method: str) -> None:
    rng = np.random.default_rng(1)
    sigma = rng.uniform(0.5, 2, (60, 40)).astype(np.float32)
    angles = np.arange(0, 180, 3.0)
    plan = build_plan(ParallelBeam.build(angles, 40), method)  # type: ignore[arg-type]
    noise = rng.normal(size=(60, 40, 800)).astype(np.float32) * sigma[..., None]
    measured = plan(noise).std(axis=2)
    ratio = reconstruct_errors(sigma, angles, method=method)[8:32, 8:32] / measured[8:32, 8:32]  # type: ignore[arg-type]
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert ratio.std() < 0.04


def test_iterative_methods_have_no_errors() -> None:
    for method in ("sirt", "mlem"):
        with pytest.raises(ParameterError, match="not linear"):
            reconstruct_errors(np.ones((60, 40)), np.arange(0, 180, 3.0), method=method)  # type: ignore[arg-type]


def test_errors_need_a_known_center() -> None:
    with pytest.raises(ParameterError, match="cannot be found from errors"):
        reconstruct_errors(np.ones((60, 40)), np.arange(0, 180, 3.0), "auto")  # type: ignore[arg-type]


def test_failed_projections_do_not_count() -> None:
    errors = np.ones((60, 40))
    errors[5] = np.nan
    assert np.isfinite(reconstruct_errors(errors, np.arange(0, 180, 3.0))).all()
