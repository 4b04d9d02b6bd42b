"""Sums along lines and their transpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.kernels.backprojection import Lines


def make_lines(seed: int = 0, *, joseph: bool = True, n_lines: int = 13, n_samples: int = 17, size: int = 15) -> Lines:
    rng = np.random.default_rng(seed)
    theta = rng.uniform(0, 2 * np.pi, n_lines)
    step_x, step_y = np.cos(theta), -np.sin(theta)
    offset = n_samples / 2 + rng.normal() - (size - 1) / 2 * (step_x + step_y)
    width = np.maximum(np.abs(step_x), np.abs(step_y)) if joseph else np.ones(n_lines)
    return Lines(offset, step_x, step_y, width, n_samples, size, 1.0 if joseph else 0.5)


@pytest.mark.parametrize("joseph", [True, False])
def test_native_is_the_reference(joseph: bool) -> None:
    lines, rng = make_lines(joseph=joseph), np.random.default_rng(1)
    samples, picture = (rng.normal(size=(*shape, 19)).astype(np.float32) for shape in ((13, 17), (15, 15)))
    for native, reference in (
        (lines.backproject(samples), lines.backproject(samples, implementation="reference")),
        (lines.backproject(samples, samples), lines.backproject(samples, samples, implementation="reference")),
        (lines.project(picture), lines.project(picture, implementation="reference")),
    ):
        np.testing.assert_allclose(native, reference, atol=2e-5)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=25)
def test_projector_and_backprojector_are_transposes(seed: int, joseph: bool) -> None:
    lines, rng = make_lines(seed, joseph=joseph), np.random.default_rng(seed)
    samples, picture = rng.random((13, 17, 2)).astype(np.float32), rng.random((15, 15, 2)).astype(np.float32)
    forward = (lines.project(picture).astype(float) * samples).sum(axis=(0, 1))
    backward = (lines.backproject(samples).astype(float) * picture).sum(axis=(0, 1))
    np.testing.assert_allclose(forward, backward, rtol=2e-6)


def test_joseph_sums_a_uniform_picture_to_the_length_of_the_ray() -> None:
    size = 101
    theta = np.deg2rad([0, 10, 30, 45, 80, 135])
    step_x, step_y = np.cos(theta), -np.sin(theta)
    width = np.maximum(np.abs(step_x), np.abs(step_y))
    lines = Lines(50 - 50 * (step_x + step_y), step_x, step_y, width, size, size)
    y, x = np.indices((size, size)) - 50
    disk = (np.hypot(x, y) < 40).astype(np.float32)[..., None]
    middle = lines.project(disk)[:, 45:56, 0]
    chord = 2 * np.sqrt(40**2 - np.arange(-5, 6) ** 2)
    assert np.abs(middle / chord - 1).max() < 0.02


def test_variance_is_that_of_the_interpolated_sum() -> None:
    lines, rng = make_lines(joseph=False), np.random.default_rng(2)
    root = rng.normal(size=(13, 17, 17))
    covariance = root @ root.transpose(0, 2, 1)
    variances = np.einsum("aii->ai", covariance)[..., None].astype(np.float32)
    products = np.zeros_like(variances)
    products[:, :-1, 0] = np.einsum("aii->ai", covariance[:, :-1, 1:])
    # Row p of the matrix: what pixel p takes from each sample.
    unit = np.eye(13 * 17, dtype=np.float32).reshape(13, 17, -1)
    matrix = lines.backproject(unit).reshape(225, 13, 17).astype(float)
    expected = np.einsum("pai,aij,paj->p", matrix, covariance, matrix).reshape(15, 15)
    found = lines.backproject(variances, products)[..., 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_result_is_the_same_for_any_threads_and_channels() -> None:
    lines, rng = make_lines(), np.random.default_rng(3)
    samples, picture = (rng.normal(size=(*shape, 37)).astype(np.float32) for shape in ((13, 17), (15, 15)))
    for operation, block in ((lines.backproject, samples), (lines.project, picture)):
        whole = operation(block, threads=1)
        np.testing.assert_array_equal(operation(block, threads=3), whole)
        for part in (slice(0, 1), slice(10, 30), slice(36, 37)):
            np.testing.assert_array_equal(operation(np.ascontiguousarray(block[..., part])), whole[..., part])
