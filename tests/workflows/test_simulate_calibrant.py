"""The simulated image of a calibrant, as a task."""

import numpy as np
import pytest

import friedel
from friedel.core.errors import OutputError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.io.images import read_image


def test_the_image_and_its_geometry_are_written(tmp_path):
    result = friedel.simulate_calibrant(tmp_path / "ceo2.edf", detector="Pilatus100k", rot1=0.1, seed=4)
    image = read_image(tmp_path / "ceo2.edf")
    np.testing.assert_array_equal(image, result.frame)
    truth = Geometry.load(tmp_path / "ceo2_truth.poni")
    assert truth.rot1 == 0.1
    assert truth.shape == image.shape


def test_the_truth_makes_the_same_image_again(tmp_path):
    first = friedel.simulate_calibrant(tmp_path / "a.npy", detector="Pilatus100k", rot2=0.2, orientation=2)
    second = friedel.simulate_calibrant(tmp_path / "b.npy", geometry=tmp_path / "a_truth.poni")
    assert (first.frame == second.frame).all()


def test_a_geometry_and_its_parts_are_not_mixed(tmp_path):
    friedel.simulate_calibrant(tmp_path / "a.npy", detector="Pilatus100k")
    with pytest.raises(ParameterError, match="rot1"):
        friedel.simulate_calibrant(tmp_path / "b.npy", geometry=tmp_path / "a_truth.poni", rot1=0.2)


def test_nothing_is_replaced_without_leave(tmp_path):
    friedel.simulate_calibrant(tmp_path / "a.npy", detector="Pilatus100k")
    with pytest.raises(OutputError, match="exists"):
        friedel.simulate_calibrant(tmp_path / "a.npy", detector="Pilatus100k")


@pytest.mark.parametrize("calibrant", ["silver behenate", "LaB6 660b", "3.2, 2.1, 1.9"])
def test_any_calibrant_can_be_simulated(tmp_path, calibrant):
    result = friedel.simulate_calibrant(tmp_path / "a.npy", detector="Pilatus100k", calibrant=calibrant)
    assert result.frame.max() > 100


def test_an_orientation_is_not_passed_over_beside_the_file_of_a_detector(tmp_path):
    Detector.named("Pilatus100k").save(tmp_path / "own.h5")
    with pytest.raises(ParameterError, match="orientation"):
        friedel.simulate_calibrant(tmp_path / "a.npy", detector=tmp_path / "own.h5", orientation=2)
