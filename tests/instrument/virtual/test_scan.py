"""Scans visit every point once, in the order that was asked for; the beam decays meanwhile."""

import numpy as np
import pytest

from friedel.instrument.virtual import ring_current, scan_points


@pytest.mark.parametrize("snake", [False, True])
@pytest.mark.parametrize("fast", ["rotation", "translation"])
def test_every_point_once(fast, snake):
    points = scan_points(2, 3, 5, fast=fast, snake=snake)
    assert len(points) == 30
    assert len(set(zip(points.layer, points.angle, points.translation, strict=True))) == 30
    moving = getattr(points, "angle" if fast == "rotation" else "translation")
    assert (np.diff(moving) != 0).sum() > 15
    if snake:
        # Neighbouring frames differ by one step of one motor.
        steps = abs(np.diff([points.angle, points.translation], axis=1)).sum(axis=0)
        assert (steps[np.diff(points.layer) == 0] == 1).all()


def test_translation_fast_snake_by_hand():
    points = scan_points(1, 2, 3, fast="translation", snake=True)
    assert points.translation.tolist() == [0, 1, 2, 2, 1, 0]
    assert points.angle.tolist() == [0, 0, 0, 1, 1, 1]


def test_the_beam_decays_and_is_refilled():
    current = ring_current(5000, refills=3.0, loss=0.2, seed=1)
    smooth = np.convolve(current, np.ones(50) / 50, "valid")
    assert smooth.max() == pytest.approx(1.0, abs=0.02)
    assert smooth.min() == pytest.approx(0.8, abs=0.02)
    refilled = smooth[100:] - smooth[:-100] > 0.1
    assert (np.diff(refilled.astype(int)) == 1).sum() == 3
    assert np.array_equal(current, ring_current(5000, refills=3.0, loss=0.2, seed=1))
