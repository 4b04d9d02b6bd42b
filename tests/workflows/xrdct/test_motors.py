"""The motors of a scan are told by the names that beamlines use, or named by the user."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from friedel.core.errors import DataError
from friedel.workflows.xrdct.motors import ScanMotors


@dataclass(frozen=True)
class Axis:
    values: np.ndarray = field(default_factory=lambda: np.arange(1.0, 5.0))
    units: str = ""
    path: str = ""


def test_nexus_names() -> None:
    motors = ScanMotors.identify(
        {
            "rotation_angle": Axis(units="deg", path="/entry/sample/rotation_angle"),
            "x_translation": Axis(units="mm", path="/entry/sample/x_translation"),
            "z_translation": Axis(values=np.zeros(4), path="/entry/sample/z_translation"),
            "data": Axis(path="/entry/control/data"),
        }
    )
    assert motors.names == {"rotation": "rotation_angle", "translation": "x_translation", "monitor": "data"}
    assert motors.layer is None, "a motor that does not move is no layer"
    assert motors.translation_unit == "mm"


def test_names_of_a_beamline() -> None:
    axes = {name: Axis(path=f"/1.1/measurement/{name}") for name in ("rot", "dty", "dtz", "fpico6", "elapsed_time")}
    motors = ScanMotors.identify(axes)
    assert motors.names == {"rotation": "rot", "translation": "dty", "layer": "dtz", "monitor": "fpico6"}


def test_a_given_name_or_path_is_taken() -> None:
    axes = {name: Axis(path=f"/1.1/measurement/{name}") for name in ("rot", "spin", "dty", "fpico6")}
    motors = ScanMotors.identify(axes, rotation="spin", translation="/1.1/measurement/dty", monitor="none")
    assert motors.names == {"rotation": "spin", "translation": "dty"}
    assert motors.monitor is None


def test_radians_become_degrees() -> None:
    axes = {"rot": Axis(np.array([0.0, np.pi]), "rad"), "dty": Axis(np.array([0.0, 1.0]))}
    np.testing.assert_allclose(ScanMotors.identify(axes).rotation, [0.0, 180.0])


def test_what_cannot_be_told_is_asked_for_with_the_choice() -> None:
    with pytest.raises(DataError, match=r"(?s)rotation of the scan cannot be told.*--rotation.*spin, dty"):
        ScanMotors.identify({"spin": Axis(), "dty": Axis()})


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"(?s)no monitor called 'i1'.*rot, dty"):
        ScanMotors.identify({"rot": Axis(), "dty": Axis()}, monitor="i1")


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, 1e-30])
def test_frames_without_beam_are_marked(bad: float) -> None:
    axes = {"rot": Axis(), "dty": Axis(), "i0": Axis(np.array([1.0, bad, 1.0, 1.1]))}
    monitor = ScanMotors.identify(axes).monitor
    assert monitor is not None
    np.testing.assert_array_equal(np.isnan(monitor), [False, True, False, False])


def test_a_monitor_without_counts_is_refused() -> None:
    axes = {"rot": Axis(), "dty": Axis(), "i0": Axis(np.array([0.0, 0.0, 0.0, 1.1]))}
    with pytest.raises(DataError, match="monitor i0 is positive at only 1 of 4 frames"):
        ScanMotors.identify(axes)


def test_an_unknown_unit_of_angle_is_refused() -> None:
    with pytest.raises(DataError, match="'mrad'"):
        ScanMotors.identify({"rot": Axis(units="mrad"), "dty": Axis()})
