"""Frames come in the order of the grid, holes are filled, and noise is carried through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.core.blocks import Block
from friedel.kernels.encoded import EncodedFrames
from friedel.techniques.tomography.geometry import ParallelBeam
from friedel.techniques.tomography.reconstruction import build_plan, variance_plan
from friedel.techniques.tomography.slices import SlicePlan
from friedel.workflows.grid import GridSource
from friedel.workflows.xrdct.background import find_background
from friedel.workflows.xrdct.sinogram import fill_missing, lost_projections


@dataclass(frozen=True)
class NumberedFrames:
    """Frame i holds the number i; counts how often it is asked."""

    encoded: bool
    reads: list[tuple[int, int]]

    def read(self, block: Block) -> Any:
        self.reads.append((block.start, block.stop))
        numbers = range(block.start, block.stop)
        if self.encoded:
            labels = tuple(map(str, numbers))
            return EncodedFrames("bslz4", tuple(bytes([n]) for n in numbers), (1, 1), np.dtype("u1"), labels)
        return np.array(numbers).reshape(-1, 1, 1)

    def label(self, number: int) -> str:
        return f"frame {number}"


def numbers_of(frames: Any) -> list[int]:
    return [buffer[0] for buffer in frames.buffers] if isinstance(frames, EncodedFrames) else list(frames.ravel())


@settings(deadline=None)
@given(data=st.data(), encoded=st.booleans(), size=st.integers(1, 9))
def test_every_point_gets_its_frame_and_normalization(data: st.DataObject, encoded: bool, size: int) -> None:
    order = np.array(data.draw(st.permutations(range(20))))
    order[data.draw(st.lists(st.integers(0, 19), max_size=4))] = -1
    source: Any = NumberedFrames(encoded, [])
    grid = GridSource(source, order, normalization=np.arange(20.0) + 100)
    for start in range(0, 20, size):
        points = grid.read(Block(0, start, min(20, start + size)))
        wanted = order[start : start + size]
        np.testing.assert_array_equal(points.present, wanted >= 0)
        if points.frames is None:
            assert not points.present.any()
            continue
        kept = wanted[wanted >= 0]
        assert numbers_of(points.frames.frames) == list(kept)
        assert points.frames.labels == tuple(f"frame {number}" for number in kept)
        np.testing.assert_array_equal(points.frames.normalization, kept + 100.0)


def test_a_line_that_ran_backwards_is_read_at_once() -> None:
    source = NumberedFrames(True, [])
    order = np.r_[0:5, 9:4:-1, 10:15]
    GridSource(source, order, None).read(Block(0, 0, 15))  # type: ignore[arg-type]
    assert source.reads == [(0, 5), (5, 10), (10, 15)]


def test_holes_are_filled_from_their_neighbours() -> None:
    sinogram = np.broadcast_to(np.arange(8.0)[:, None], (3, 8, 2)).astype(np.float32)
    holed = sinogram.copy()
    holed[1, [2, 3, 6]] = np.nan  # points without a frame
    holed[2, 4, 1] = np.nan  # a channel that lost all its pixels once
    np.testing.assert_allclose(fill_missing(holed), sinogram)


def test_beyond_the_last_known_point_its_value_is_kept() -> None:
    holed = np.arange(5.0, dtype=np.float32).reshape(1, 5, 1).copy()
    holed[0, [0, 4]] = np.nan
    np.testing.assert_allclose(fill_missing(holed)[0, :, 0], [1, 1, 2, 3, 3])


@given(seed=st.integers(0, 1000))
def test_a_channel_is_filled_the_same_alone_and_among_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sinogram = rng.normal(size=(4, 6, 5)).astype(np.float32)
    sinogram[rng.random((4, 6)) < 0.2] = np.nan
    sinogram[rng.random((4, 6, 5)) < 0.1] = np.nan
    together = fill_missing(sinogram)
    assert np.isfinite(together).all()
    for channel in range(5):
        np.testing.assert_array_equal(together[..., [channel]], fill_missing(sinogram[..., [channel]]))


def test_a_projection_that_is_mostly_missing_is_left_out() -> None:
    totals = np.ones((1, 3, 10))
    totals[0, 1, :6] = np.nan
    totals[0, 2, :4] = np.nan
    np.testing.assert_array_equal(lost_projections(totals), [[False, True, False]])


@pytest.mark.parametrize("method", ["gridding", "fbp"])
def test_noise_is_carried_to_the_slices(method: Any) -> None:
    """Reconstructed noise scatters as the reconstructed errors say."""
    rng = np.random.default_rng(0)
    beam = ParallelBeam.build(np.linspace(0, 180, 40, endpoint=False), 32, center=16.2)
    plan = build_plan(beam, method)
    sigma = rng.uniform(0.5, 2, (40, 32, 1)).astype(np.float32) * np.ones((1, 1, 200), np.float32)
    noise = (sigma * rng.normal(size=sigma.shape)).astype(np.float32)
    found = SlicePlan(plan, variance_plan(plan))({"sinogram": noise, "variance": sigma**2})
    assert np.std(found["volume"] / found["volume_errors"]) == pytest.approx(1.0, abs=0.02)


class TestBackground:
    @pytest.fixture
    def sinograms(self) -> np.ndarray:
        """A disk in the middle third of the scan, on air of 2 and 3 counts."""
        profile = np.zeros(30)
        profile[10:20] = 50.0
        cube = np.ones((1, 12, 30, 2)) * [2.0, 3.0] + profile[:, None]
        return cube.astype(np.float32)

    def test_air_is_what_is_seen_beside_the_sample(self, sinograms: np.ndarray) -> None:
        found = find_background(sinograms, sinograms.mean(axis=-1).astype(float))
        np.testing.assert_allclose(found.pattern, [[2.0, 3.0]])

    def test_a_sample_that_fills_the_scan_has_no_air(self, sinograms: np.ndarray) -> None:
        sinograms[:, 3:5, :2] += 30.0
        found = find_background(sinograms, sinograms.mean(axis=-1).astype(float))
        assert not found.pattern.any()
        assert "reaches the edge" in found.message

    def test_missing_points_do_not_count(self, sinograms: np.ndarray) -> None:
        sinograms[0, 2, :3] = np.nan
        totals = sinograms.mean(axis=-1).astype(float)
        np.testing.assert_allclose(find_background(sinograms, totals).pattern, [[2.0, 3.0]])

    def test_a_channel_counts_where_it_was_measured(self, sinograms: np.ndarray) -> None:
        totals = sinograms.mean(axis=-1).astype(float)
        sinograms[0, :10, [0, -1], 1] = np.nan
        np.testing.assert_allclose(find_background(sinograms, totals).pattern, [[2.0, 3.0]])

    def test_a_channel_that_was_never_measured_has_no_background(self, sinograms: np.ndarray) -> None:
        totals = sinograms.mean(axis=-1).astype(float)
        sinograms[..., 1] = np.nan
        np.testing.assert_allclose(find_background(sinograms, totals).pattern, [[2.0, 0.0]])

    def test_a_side_that_was_never_measured_is_not_taken_for_air(self, sinograms: np.ndarray) -> None:
        sinograms[0, :, -1:] = np.nan
        found = find_background(sinograms, sinograms.mean(axis=-1).astype(float))
        assert not found.pattern.any()

    def test_a_translation_that_was_never_measured_does_not_count(self, sinograms: np.ndarray) -> None:
        sinograms[0, :, 14] = np.nan
        sinograms[0, 3, 0] = np.nan
        found = find_background(sinograms, sinograms.mean(axis=-1).astype(float))
        np.testing.assert_allclose(found.pattern, [[2.0, 3.0]])
