"""Which values mark invalid pixels: the same ones for all types of frames, and for all that looks at frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.instrument import Detector, Geometry
from friedel.kernels.marks import invalid_range, marked, stored_mark, widened
from friedel.kernels.scatter import Scatter
from friedel.techniques.images import average_frames
from friedel.techniques.images.moments import FrameGroup
from friedel.techniques.images.regridding import Grid, Overlap, Regridding
from friedel.techniques.integration import RadialMap
from friedel.techniques.integration.imaging import invalid_pixels

SHAPE = (24, 30)
DETECTOR = Detector.from_shape(SHAPE, 1e-3, 1e-3)
GEOMETRY = Geometry(DETECTOR, distance=0.1, poni1=0.012, poni2=0.015, wavelength=1e-10)

# Type of the frames, the dummy, and a value that it marks.
MARKS = [
    ("f4", 4294967295.0, 4294967296.0),
    ("f4", 0.1, np.float32(0.1)),
    ("f4", -2.0, -2.0),
    ("f8", 0.1, 0.1),
    ("f2", 0.1, np.float16(0.1)),
    ("i4", -1.0, -1),
    ("i8", -1.0, -1),
    ("u1", -1.0, 255),
    ("u2", -1.0, 65535),
    ("u2", 65535.0, 65535),
    ("u4", -2.0, 4294967294),
    ("u4", 4294967295.0, 4294967295),
    ("u8", -1.0, 2**64 - 1),
    ("u8", 4294967295.0, 4294967295),
]


@pytest.mark.parametrize(("dtype", "dummy", "value"), MARKS)
def test_all_that_looks_at_frames_leaves_out_the_same_pixels(dtype, dummy, value):
    frames = np.full((1, *SHAPE), 7, dtype)
    holes = np.zeros(SHAPE, bool)
    holes[5:9, 3:21] = True
    frames[0, holes] = value
    np.testing.assert_array_equal(marked(frames, dummy)[0], holes)
    radial_map = RadialMap.build(GEOMETRY, npt=9, solid_angle=False, splitting="none", dummy=dummy, keep_sums=True)
    patterns = radial_map(frames)
    np.testing.assert_allclose(patterns.intensity[0], 7)
    assert patterns.sums.count.sum() == np.count_nonzero(~holes)
    np.testing.assert_array_equal(invalid_pixels(radial_map, frames)[0], holes)
    found = average_frames(frames, ("mean", "count", "median"), dummy=dummy)
    np.testing.assert_array_equal(found["count"], np.where(holes, 0, 1))
    np.testing.assert_array_equal(found["mean"], np.where(holes, np.nan, 7))
    np.testing.assert_array_equal(found["median"], np.where(holes, np.nan, 7))
    overlap = Overlap.build(DETECTOR, Grid.of(DETECTOR))
    regridded = Regridding(Scatter.build(overlap.shares), SHAPE, "undistorted", dummy=dummy)(FrameGroup(frames, None))
    np.testing.assert_allclose(regridded["undistorted"][0], np.where(holes, np.nan, 7))


@given(
    dtype=st.sampled_from(["u1", "u2", "u4", "i1", "i2", "i4"]),
    dummy=st.integers(-2400, 560000).map(lambda eighths: eighths / 8),
    delta=st.integers(0, 3200).map(lambda eighths: eighths / 8),
)
def test_a_range_of_integers_holds_what_is_marked(dtype, dummy, delta):
    limits = np.iinfo(dtype)
    values = np.unique(np.clip(np.arange(-700, 70500), limits.min, limits.max)).astype(dtype)
    (span, floats) = invalid_range(np.dtype(dtype), dummy, delta)
    assert floats is None
    inside = np.zeros(len(values), bool)
    if span is not None:
        inside = (values.astype(np.int64) - span[0]) % 2**32 <= span[1]
    np.testing.assert_array_equal(marked(values, dummy, delta), inside)


@pytest.mark.parametrize("dummy", [None, np.nan])
def test_nothing_is_marked_without_a_dummy(dummy):
    assert not marked(np.array([1.0, np.nan]), dummy, 5.0).any()
    assert invalid_range(np.dtype("i4"), dummy, 5.0) == (None, None)


def test_a_dummy_beyond_the_type_marks_nothing():
    assert invalid_range(np.dtype("u2"), np.inf, 0.0) == (None, None)
    assert not marked(np.array([65504, np.inf], "f2"), 1e300).any()


def test_widened_frames_are_marked_by_the_widened_dummy():
    frames = np.array([[[0, 2**64 - 1]]], "u8")
    values, dummy = widened(frames, -1.0)
    assert values.dtype == np.float64
    np.testing.assert_array_equal(marked(values, dummy), [[[False, True]]])
    assert stored_mark(np.dtype("u8"), -1.0) == 2.0**64
    same = np.zeros((1, 2, 2), "u2")
    assert widened(same, -1.0)[0] is same
