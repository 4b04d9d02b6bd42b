"""Lines to pictures by gridding: the exact trigonometric sum, and one implementation against the other."""

from __future__ import annotations

import numpy as np
import pytest

from friedel.kernels.gridding import (
    GridMap,
    LinesToPicture,
    kaiser_bessel,
    kaiser_bessel_shape,
    kaiser_bessel_transform,
)

SIZE, WIDTH, LENGTH, N_PICTURE = 48, 4, 60, 32


def make_tables(*, edge: bool = False, width: int = WIDTH, n_lines: int = 21, size: int = SIZE) -> LinesToPicture:
    rng = np.random.default_rng(3)
    theta = rng.uniform(0, 2 * np.pi, n_lines)[:, None]
    k = np.arange(LENGTH // 2 + 1) / LENGTH
    beta = kaiser_bessel_shape(width, size / N_PICTURE)
    grid = GridMap.build((np.cos(theta) * k * size).ravel(), (-np.sin(theta) * k * size).ravel(), size, width, beta)
    position = np.arange(N_PICTURE) - N_PICTURE // 2
    scale = 1 / kaiser_bessel_transform(position, width, beta, size)
    response = rng.normal(size=(n_lines, len(k))) + 1j * rng.normal(size=(n_lines, len(k)))
    return LinesToPicture(
        used=np.arange(n_lines, dtype=np.int32),
        response=response.astype(np.complex64),
        length=LENGTH,
        edge=edge,
        grid=grid,
        crop=(position % size).astype(np.int32),
        scale=scale.astype(np.float32),
    )


def lines(n_channels: int, n_lines: int = 21) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(n_lines, 30, n_channels)).astype(np.float32)


@pytest.mark.parametrize("edge", [False, True])
@pytest.mark.parametrize("n_lines", [20, 21])
def test_native_is_the_reference(edge: bool, n_lines: int) -> None:
    tables, block = make_tables(edge=edge, n_lines=n_lines), lines(19, n_lines)
    reference = tables(block, implementation="reference")
    assert np.abs(tables(block) - reference).max() < 2e-6 * np.abs(reference).max()


@pytest.mark.parametrize(("size", "width", "error"), [(40, 4, 1e-2), (48, 4, 3e-3), (48, 6, 1e-4), (64, 6, 1e-5)])
def test_picture_is_the_trigonometric_sum(size: int, width: int, error: float) -> None:
    """Sum over samples of F exp(2 pi i (u x + v y)), as a real picture."""
    rng = np.random.default_rng(3)
    theta = rng.uniform(0, 2 * np.pi, 21)[:, None]
    k = np.arange(LENGTH // 2 + 1) / LENGTH
    tables, block = make_tables(width=width, size=size), lines(1)
    spectra = np.fft.rfft(block[..., 0].astype(float), LENGTH, axis=1) * tables.response
    x = np.arange(N_PICTURE) - N_PICTURE // 2
    along_x = np.exp(2j * np.pi * (np.cos(theta) * k).reshape(-1, 1) * x)
    along_y = np.exp(2j * np.pi * (-np.sin(theta) * k).reshape(-1, 1) * x)
    # The half grid adds what its conjugate adds: twice the real part.
    exact = 2 * (along_y * spectra.reshape(-1, 1)).T @ along_x
    found = tables(block)[..., 0]
    assert np.sqrt(np.mean((found - exact.real) ** 2) / np.mean(exact.real**2)) < error


@pytest.mark.parametrize("part", [slice(0, 1), slice(5, 8), slice(16, 37), slice(36, 37)])
def test_channel_does_not_depend_on_its_neighbours(part: slice) -> None:
    tables, block = make_tables(), lines(37)
    np.testing.assert_array_equal(tables(block[..., part]), tables(block)[..., part])


def test_each_sample_gives_its_whole_weight() -> None:
    """The weights of a sample sum to the product of its kernels' sums, wherever it wraps around the grid."""
    u = np.array([0.2, 23.9, -23.8, 5.5])
    v = np.array([0.1, 0.3, 23.7, -7.2])
    beta = kaiser_bessel_shape(WIDTH, 1.5)
    grid = GridMap.build(u, v, SIZE, WIDTH, beta)
    spread = np.zeros(len(u))
    rows = grid.points // SIZE
    entries = np.diff(grid.pointers)
    row_of_entry = np.repeat(np.repeat(rows, 2), entries)
    # Rows 0 and size/2 hold both halves of their points; the others stand for themselves and for their opposite.
    share = np.where((row_of_entry == 0) | (row_of_entry == SIZE // 2), 0.5, 1.0)
    np.add.at(spread, grid.samples, grid.weights * share)
    taps = np.arange(-40, 41)
    expected = [
        kaiser_bessel(taps - a, WIDTH, beta).sum() * kaiser_bessel(taps - b, WIDTH, beta).sum()
        for a, b in zip(u, v, strict=True)
    ]
    np.testing.assert_allclose(spread, expected, rtol=1e-6)


def test_arrays_that_do_not_fit_are_refused() -> None:
    tables = make_tables()
    with pytest.raises(ValueError, match="do not fit"):
        tables(np.zeros((21, LENGTH + 1, 2), np.float32))
