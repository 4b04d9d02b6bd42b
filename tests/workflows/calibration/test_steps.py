"""Steps of a calibration by themselves."""

from __future__ import annotations

import numpy as np

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
