"""Tables of points: what goes in comes out, from datasets, text and pyFAI's files."""

from __future__ import annotations

import numpy as np
import pytest

from friedel.core.errors import DataError, FileError, OutputError
from friedel.techniques.calibration import ControlPoints, RingPoints


def some_points() -> ControlPoints:
    return ControlPoints([1.5, 20.25], [3.125, 1e3 / 3], [0, 4], [0.01, np.nan], [0, 1], [1e4, np.nan])


def assert_equal(one, other, names=("y", "x", "ring", "sigma", "image", "intensity")) -> None:
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_one_number_stands_for_all_points():
    points = ControlPoints([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], ring=2)
    assert len(points) == 3
    assert points.ring.tolist() == [2, 2, 2]
    assert points.ring.dtype == np.int32
    assert np.isnan(points.sigma).all()


def test_columns_of_different_length_are_refused():
    with pytest.raises(DataError, match="3 points have 2 values of x"):
        ControlPoints([1.0, 2.0, 3.0], [0.0, 0.0])


def test_points_survive_a_dataset():
    assert_equal(ControlPoints.from_dataset(some_points().to_dataset()), some_points())
    ridges = RingPoints([1.0, 2.0], [3.0, 4.0], [0.5, np.nan], [3.0, 9.0], 0.1, [0, -1])
    assert_equal(RingPoints.from_dataset(ridges.to_dataset()), ridges, ("y", "x", "direction", "strength", "chain"))


def test_a_dataset_needs_places():
    with pytest.raises(DataError, match="no x"):
        ControlPoints.from_dataset(some_points().to_dataset().drop_vars("x"))


def test_points_survive_a_table_of_text(tmp_path):
    some_points().save(tmp_path / "points.txt")
    assert_equal(ControlPoints.load(tmp_path / "points.txt"), some_points())


def test_a_table_needs_no_header_and_no_more_than_places_and_rings(tmp_path):
    (tmp_path / "points.txt").write_text("10.5, 20.5, 1\n11.5, 22.5, 1  # by eye\n")
    points = ControlPoints.load(tmp_path / "points.txt")
    assert points.y.tolist() == [10.5, 11.5]
    assert points.ring.tolist() == [1, 1]


def test_points_survive_a_file_of_pyfai_which_counts_from_the_centre_of_the_first_pixel(tmp_path):
    some_points().save(tmp_path / "points.npt", spacings=[3.1, 2.7], wavelength=1e-10)
    text = (tmp_path / "points.npt").read_text()
    assert "point: x=2.625 y=1.0" in text
    assert "dspacing:3.1 2.7" in text
    found = ControlPoints.load(tmp_path / "points.npt")
    assert_equal(found, some_points(), ("y", "ring"))
    np.testing.assert_allclose(found.x, some_points().x, rtol=1e-15)


def test_rings_that_are_not_known_stay_so_in_a_file_of_pyfai(tmp_path):
    ControlPoints([1.0], [2.0]).save(tmp_path / "points.npt")
    assert ControlPoints.load(tmp_path / "points.npt").ring.tolist() == [-1]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "1 2\n3\n", "one two\n", "point: x=1\n"])
def test_files_without_points_are_refused(text, tmp_path):
    (tmp_path / "points.txt").write_text(text)
    with pytest.raises(FileError, match="no control points"):
        ControlPoints.load(tmp_path / "points.txt")


def test_missing_files_and_folders_are_told(tmp_path):
    with pytest.raises(FileError):
        ControlPoints.load(tmp_path / "absent.txt")
    with pytest.raises(OutputError):
        some_points().save(tmp_path / "absent" / "points.txt")


def test_tables_are_joined_and_selected():
    both = ControlPoints.joined([some_points(), some_points().of_image(7)])
    assert len(both) == 4
    assert both.image.tolist() == [0, 1, 7, 7]
    assert len(both.select(both.image == 7)) == 2
    assert len(ControlPoints.joined([])) == 0
