"""Steps of a calibration by themselves."""

from __future__ import annotations

import numpy as np
import pytest

import friedel
from calibrant_rings import ring_places
from friedel.core.errors import OutputError, ParameterError
from friedel.instrument import Calibrant, Detector, Geometry
from friedel.techniques.calibration import RingPoints
from friedel.workflows.calibration.steps import nearest_rings

CERIA = Calibrant.named("CeO2")


def test_points_on_a_bent_plate_have_the_rings_that_are_there():
    bent = Geometry(Detector.cylindrical((90, 300), 2e-4, 2e-4, 0.08), 0.2, 0.009, 0.0, wavelength=4e-11)
    angle = bent.center_array("2th_rad")
    rings = CERIA.rings(bent.wavelength, float(angle.max())).two_theta
    for number in range(len(rings)):
        row, column = np.unravel_index(np.argmin(np.abs(angle - rings[number])), angle.shape)
        found = nearest_rings(RingPoints(np.array([row + 0.5]), np.array([column + 0.5])), bent, CERIA)
        assert found.tolist() == [number]


def test_a_result_beside_the_name_given_is_not_replaced_without_leave(tmp_path):
    geometry = Geometry(Detector.named("Pilatus300k"), 0.15, 0.05, 0.04, wavelength=4e-11)
    geometry.save(tmp_path / "setup.poni")
    ring_places(geometry).save(tmp_path / "rings.txt")
    (tmp_path / "judged.h5").write_text("mine")
    given = {"geometry": tmp_path / "setup.poni", "calibrant": "CeO2"}
    with pytest.raises(OutputError, match=r"judged\.h5.*exists already"):
        friedel.calibrate_validate(tmp_path / "rings.txt", output=tmp_path / "judged.poni", **given)
    assert (tmp_path / "judged.h5").read_text() == "mine"


def test_a_reference_is_not_replaced_by_what_is_written(tmp_path):
    geometry = Geometry(Detector.named("Pilatus300k"), 0.15, 0.05, 0.04, wavelength=4e-11)
    geometry.save(tmp_path / "setup.poni")
    geometry.save(tmp_path / "other.h5")
    ring_places(geometry).save(tmp_path / "rings.txt")
    given = {"geometry": tmp_path / "setup.poni", "reference": tmp_path / "other.h5", "calibrant": "CeO2"}
    with pytest.raises(ParameterError, match="would replace"):
        friedel.calibrate_validate(tmp_path / "rings.txt", output=tmp_path / "other.h5", overwrite=True, **given)
