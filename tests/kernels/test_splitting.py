"""Which share of a pixel goes to which bin: conservation, exact overlaps, the cut of the azimuth, the beam's pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from friedel.kernels import splitting
from friedel.kernels.splitting import (
    Axis,
    Shares,
    corner_boxes,
    half_widths,
    split_boxes,
    split_centers,
    split_polygons,
)

TURN = 2 * math.pi


SQUARE = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], float)
HEXAGON = np.array([[0, 0.5], [0.3, 1], [0.7, 1], [1, 0.5], [0.7, 0], [0.3, 0]])


def pixel_grid(
    shape: tuple[int, int], beam: tuple[float, float], rotation: float = 0.0, outline: NDArray[np.float64] = SQUARE
) -> tuple[NDArray[np.float64], ...]:
    """Radius and azimuth of the centres and of the corners of pixels of size 1 round a beam at (y, x)."""

    def polar(y: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        azimuth = np.arctan2(y + 0.0, x + 0.0) + rotation
        return np.hypot(y, x), np.arctan2(np.sin(azimuth), np.cos(azimuth)) if rotation else azimuth

    y, x = np.meshgrid(np.arange(shape[0]) - beam[0], np.arange(shape[1]) - beam[1], indexing="ij")
    y_corners, x_corners = y[..., None] + outline[:, 0], x[..., None] + outline[:, 1]
    return *polar(y + 0.5, x + 0.5), *polar(y_corners, x_corners)


def share(
    kind: str,
    grid: tuple[NDArray[np.float64], ...],
    radial_axis: Axis,
    azimuth_axis: Axis | None = None,
    mask: NDArray[np.bool_] | None = None,
    suffix: str = "",
    pole: float = 0.0,
) -> Shares:
    r, chi, r_corners, chi_corners = grid
    function = getattr(splitting, f"split_{kind}{suffix}")
    if kind == "centers":
        result = function(r, radial_axis, chi, azimuth_axis, mask)
    elif kind == "boxes":
        half = half_widths(r, r_corners), half_widths(chi, chi_corners, TURN)
        result = function(r, half[0], radial_axis, chi, half[1], azimuth_axis, mask, pole=pole)
    else:
        result = function(r_corners, chi_corners, radial_axis, azimuth_axis, mask, pole=pole)
    assert isinstance(result, Shares)
    return result


def totals(shares: Shares) -> NDArray[np.float64]:
    """Sum of the shares of each pixel."""
    owner = np.repeat(np.arange(len(shares.counts)), shares.counts)
    return np.bincount(owner, shares.weights.astype(float), minlength=len(shares.counts))


def dense(shares: Shares, n_bins: int) -> NDArray[np.float64]:
    matrix = np.zeros((len(shares.counts), n_bins))
    np.add.at(matrix, (np.repeat(np.arange(len(shares.counts)), shares.counts), shares.bins), shares.weights)
    return matrix


KINDS = ("centers", "boxes", "polygons")
ROUND = Axis(0.0, 40.0, 40)
FULL_CIRCLE = Axis(-math.pi, math.pi * (1 + 2.0**-23), 24, TURN)
AZIMUTH_AXES = {
    "no azimuth": None,
    "full circle": FULL_CIRCLE,
    "sector": Axis(-0.4, 1.1, 5, TURN),
    "sector across the cut": Axis(math.radians(170), math.radians(200), 4, TURN),
    "one sector": Axis(math.radians(-200), math.radians(-100), 1, TURN),
    "one turn in one bin": Axis(-math.pi, math.pi, 1, TURN),
}
beams = st.tuples(st.floats(-3, 15), st.floats(-3, 13)) | st.tuples(st.integers(0, 11), st.floats(0, 10))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("azimuth_axis", AZIMUTH_AXES.values(), ids=AZIMUTH_AXES)
@given(beam=beams, low=st.floats(0, 4), width=st.floats(1, 20), n_bins=st.integers(1, 30))
@settings(max_examples=12, deadline=None)
@pytest.mark.parametrize("outline", [SQUARE, HEXAGON], ids=["squares", "hexagons"])
def test_the_compiled_twin_does_what_the_reference_says(kind, azimuth_axis, beam, low, width, n_bins, outline) -> None:
    radial_axis = Axis(low, low + width, n_bins)
    grid = pixel_grid((12, 10), beam, outline=outline)
    mask = np.zeros((12, 10), bool)
    mask[4, 3:7] = True
    compiled, reference = (share(kind, grid, radial_axis, azimuth_axis, mask, suffix) for suffix in ("", "_reference"))
    n_cells = n_bins * (azimuth_axis.n_bins if azimuth_axis else 1)
    np.testing.assert_allclose(dense(compiled, n_cells), dense(reference, n_cells), atol=3e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("azimuth_axis", [None, FULL_CIRCLE, AZIMUTH_AXES["one turn in one bin"]])
@given(beam=beams, n_bins=st.integers(1, 300))
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("outline", [SQUARE, HEXAGON], ids=["squares", "hexagons"])
def test_the_shares_of_a_pixel_inside_the_grid_sum_to_one(kind, azimuth_axis, beam, n_bins, outline) -> None:
    grid = pixel_grid((12, 10), beam, outline=outline)
    shares = share(kind, grid, Axis(0.0, 40.0, n_bins), azimuth_axis)
    np.testing.assert_allclose(totals(shares), 1.0, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@given(beam=beams)
@settings(max_examples=15, deadline=None)
def test_a_grid_cut_in_two_gives_what_the_whole_grid_gives(kind, beam) -> None:
    """At the limits of a range only the true overlap counts: nothing below `low`, nothing renormalised."""
    grid = pixel_grid((12, 10), beam)
    whole = dense(share(kind, grid, Axis(2.0, 12.0, 10)), 10)
    lower = dense(share(kind, grid, Axis(2.0, 7.0, 5)), 5)
    upper = dense(share(kind, grid, Axis(7.0, 12.0, 5)), 5)
    np.testing.assert_allclose(np.hstack([lower, upper]), whole, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@given(beam=beams)
@settings(max_examples=15, deadline=None)
def test_the_sum_over_a_full_circle_of_azimuths_is_the_pattern(kind, beam) -> None:
    grid = pixel_grid((12, 10), beam)
    cake = dense(share(kind, grid, ROUND, FULL_CIRCLE), 24 * 40).reshape(-1, 24, 40)
    np.testing.assert_allclose(cake.sum(axis=1), dense(share(kind, grid, ROUND), 40), atol=3e-6)


@pytest.mark.parametrize("kind", KINDS)
@given(beam=beams, steps=st.integers(1, 23))
@settings(max_examples=15, deadline=None)
def test_turning_the_detector_by_whole_bins_turns_the_cake(kind, beam, steps) -> None:
    axis = Axis(-math.pi, math.pi, 24, TURN)
    cakes = [
        dense(share(kind, pixel_grid((12, 10), beam, rotation), ROUND, axis), 24 * 40).reshape(-1, 24, 40)
        for rotation in (1e-3, 1e-3 + steps * TURN / 24)
    ]
    np.testing.assert_allclose(np.roll(cakes[0], steps, axis=1), cakes[1], atol=3e-6)


def test_a_pixel_across_the_cut_goes_to_both_ends_of_the_circle() -> None:
    grid = pixel_grid((1, 1), (0.3, 30.0))  # 30 pixels to the left of the beam: χ from 176° to -177.4°
    cake = dense(share("polygons", grid, ROUND, Axis(-math.pi, math.pi, 36, TURN)), 36 * 40).reshape(36, 40)
    rows = cake.sum(axis=1)
    assert rows[0] == pytest.approx(0.3, abs=0.01)
    assert rows[-1] == pytest.approx(0.7, abs=0.01)
    assert np.count_nonzero(rows) == 2


@pytest.mark.parametrize("beam", [(0.4, 0.7), (0.0, 0.3), (0.6, 1.0)], ids=["inside", "on an edge", "on another"])
def test_the_pixel_of_the_beam_covers_all_its_azimuths(beam) -> None:
    grid = pixel_grid((1, 1), beam)
    cake = dense(share("polygons", grid, Axis(0.0, 2.0, 4), FULL_CIRCLE), 24 * 4).reshape(24, 4)
    assert (cake[:, 0] > 0).sum() == (24 if beam == (0.4, 0.7) else 12)
    assert cake.sum() == pytest.approx(1.0, abs=2e-6)


def test_a_polygon_has_its_exact_overlap() -> None:
    """A parallelogram in (radial, azimuth), by hand: half of it in the first two bins, 1/8 in the first."""
    r = np.array([[0.0, 2.0, 4.0, 2.0]])
    chi = np.array([[0.0, 0.0, 0.1, 0.1]])
    shares = split_polygons(r, chi, Axis(0.0, 4.0, 4), pole=-100.0)
    np.testing.assert_allclose(dense(shares, 4), [[1 / 8, 3 / 8, 3 / 8, 1 / 8]], atol=1e-7)
    shares = split_polygons(r, chi, Axis(0.0, 4.0, 4), Axis(0.0, 0.1, 2, TURN), pole=-100.0)
    expected = [[7 / 64 + 1 / 64, 4 / 16, 7 / 64 + 1 / 64, 0, 0, 1 / 8, 2 / 8, 1 / 8]]
    np.testing.assert_allclose(dense(shares, 8), expected, atol=1e-7)


def test_a_hexagon_has_its_exact_overlap() -> None:
    x, y = HEXAGON[None, :, 1] * 2, HEXAGON[None, :, 0]
    shares = split_polygons(x, y, Axis(0.0, 2.0, 4), Axis(0.0, 1.0, 2), pole=math.nan)
    outer = 0.5 * (0.2 + 0.35) * 0.25 / 0.7  # a quarter of the width, from a side of 0.4 to a height of 0.7
    np.testing.assert_allclose(dense(shares, 8), [[outer, 0.25 - outer, 0.25 - outer, outer] * 2], atol=1e-7)


def test_pixels_without_room_or_with_other_corners_are_refused() -> None:
    for first, second in (((2, 2), (2, 2)), ((2, 13), (2, 13)), ((2, 4), (2, 6)), ((2, 4), (1, 4))):
        with pytest.raises(ValueError, match="corners"):
            split_polygons(np.zeros(first), np.zeros(second), Axis(0.0, 2.0, 4), Axis(0.0, 1.0, 2))


def test_what_of_a_box_lies_below_the_beam_counts_at_the_beam() -> None:
    shares = split_boxes(np.array([0.5, 0.5]), np.array([1.0, 0.2]), Axis(0.0, 3.0, 3))
    np.testing.assert_allclose(dense(shares, 3), [[3 / 4, 1 / 4, 0], [1, 0, 0]], atol=1e-7)
    shares = split_boxes(np.array([0.5]), np.array([1.0]), Axis(1.0, 3.0, 2))
    np.testing.assert_allclose(dense(shares, 2), [[1 / 4, 0]], atol=1e-7)


def test_centers_below_the_grid_are_not_drawn_into_its_first_bin() -> None:
    shares = split_centers(np.array([4.9, 5.0, 5.99, 7.0, np.nan]), Axis(5.0, 7.0, 2))
    assert shares.counts.tolist() == [0, 1, 1, 0, 0]
    assert shares.bins.tolist() == [0, 0]


def test_without_a_radial_coordinate_of_the_beam_its_pixel_has_no_shares() -> None:
    grid = pixel_grid((1, 2), (0.4, 0.7))
    shares = share("polygons", (*grid[:2], 1 / grid[2], grid[3]), Axis(0.0, 50.0, 100), pole=math.inf)
    assert shares.counts.tolist()[0] == 0
    assert shares.counts.tolist()[1] > 0


def test_masked_pixels_have_no_shares() -> None:
    mask = np.array([[True, False], [False, True]])
    for kind in KINDS:
        assert share(kind, pixel_grid((2, 2), (-3.0, -3.0)), ROUND, None, mask).counts.astype(bool).tolist() == [
            False,
            True,
            True,
            False,
        ]


@pytest.mark.parametrize("turn", [0.0, TURN])
def test_half_widths_are_the_largest_distance_of_a_corner(turn) -> None:
    _, chi, _, corners = pixel_grid((6, 5), (2.5, 3.0))
    corners[0, 0, 1] = np.nan
    found = half_widths(chi, corners, turn)
    np.testing.assert_array_equal(found, splitting.half_widths_reference(chi, corners, turn))
    assert found.max(initial=0, where=np.isfinite(found)) <= (math.pi if turn else TURN)


def test_the_extent_is_that_of_finite_values_of_unmasked_pixels() -> None:
    values = np.array([[[1.0, 5.0], [np.inf, 2.0]], [[-3.0, 9.0], [np.nan, np.nan]]])
    mask = np.array([[False, False], [True, False]])
    assert splitting.extent(values, mask) == splitting.extent_reference(values, mask) == (1.0, 5.0)
    assert splitting.extent(values, np.ones((2, 2), bool)) == (math.inf, -math.inf)


def test_the_smallest_box_of_the_corners() -> None:
    corners = np.array([[1.0, 2.0, 3.0, 1.5], [4.0, 4.0, 4.0, 4.0]])
    middle, half = corner_boxes(corners)
    np.testing.assert_array_equal(middle, [2.0, 4.0])
    np.testing.assert_array_equal(half, [1.0, 0.0])


@given(st.floats(-3.1, 3.1), st.lists(st.floats(-0.7, 0.7), min_size=4, max_size=4))
def test_boxes_of_angles_do_not_depend_on_the_cut(at, offsets) -> None:
    """Four corners about an angle, brought back into one turn, give the box that they have without the cut."""
    plain = at + np.array([offsets])
    wrapped = (plain + np.pi) % (2 * np.pi) - np.pi
    expected = corner_boxes(plain)
    middle, half = corner_boxes(wrapped, 2 * np.pi)
    np.testing.assert_allclose(half, expected[1], atol=1e-9)
    np.testing.assert_allclose(np.exp(1j * middle), np.exp(1j * expected[0]), atol=1e-9)


def test_the_box_of_a_pixel_round_the_beam_goes_all_round() -> None:
    _, half = corner_boxes(np.array([[-2.4, 2.2, 0.8, -0.7], [0.0, 0.2, 0.4, 0.1]]), 2 * np.pi)
    np.testing.assert_allclose(half, [np.pi, 0.2])


@pytest.mark.parametrize("kind", KINDS)
@given(beam=beams, n_bins=st.integers(1, 30), rows=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_two_coordinates_that_are_no_angle(kind, beam, n_bins, rows) -> None:
    # The pixels' own columns and rows, sheared: shares are overlaps of parallelograms with boxes.
    y, x = np.meshgrid(np.arange(12) - beam[0], np.arange(10) - beam[1], indexing="ij")
    y_corners, x_corners = y[..., None] + np.array([0, 0, 1, 1]), x[..., None] + np.array([0, 1, 1, 0])
    grid = x + 0.5 + 0.3 * (y + 0.5), y + 0.5, x_corners + 0.3 * y_corners, y_corners
    plain = Axis(-20.0, 20.0, n_bins), Axis(-20.0, 20.0, rows)
    half = half_widths(grid[0], grid[2]), half_widths(grid[1], grid[3])

    def shares(suffix: str) -> Shares:
        function = getattr(splitting, f"split_{kind}{suffix}")
        if kind == "centers":
            result = function(grid[0], plain[0], grid[1], plain[1])
        elif kind == "boxes":
            result = function(grid[0], half[0], plain[0], grid[1], half[1], plain[1], pole=math.inf)
        else:
            result = function(grid[2], grid[3], *plain, pole=math.inf)
        assert isinstance(result, Shares)
        return result

    compiled, reference = shares(""), shares("_reference")
    np.testing.assert_array_equal(compiled.counts, reference.counts)
    np.testing.assert_array_equal(compiled.bins, reference.bins)
    np.testing.assert_allclose(compiled.weights, reference.weights, atol=1e-6)
    np.testing.assert_allclose(totals(compiled), 1.0, atol=1e-5)
