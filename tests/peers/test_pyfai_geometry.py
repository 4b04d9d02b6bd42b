"""Geometry, detectors and PONI files against pyFAI."""

import json

import numpy as np
import pytest

from friedel.instrument import Detector, Fit2D, Geometry
from friedel.instrument.models import models
from peer_python import run_peer

pytestmark = pytest.mark.peer

PLACES = [
    (0.2, 0.03, 0.04, 0.0, 0.0, 0.0),
    (0.2, 0.0173, 0.0411, 0.11, -0.23, 0.37),
    (0.3, -0.1, 0.2, -0.4, 0.3, -1.2),
]
UNITS = ["2th_deg", "2th_rad", "q_nm^-1", "q_A^-1", "d_nm", "d_A", "r_mm", "r_m"]

CENTERS = """
from pyFAI.detectors import Detector
from pyFAI.integrator.azimuthal import AzimuthalIntegrator
for n, place in enumerate(inputs["places"]):
    for orientation in (1, 2, 3, 4):
        detector = Detector(172e-6, 100e-6, max_shape=(61, 83), orientation=orientation)
        ai = AzimuthalIntegrator(*place, detector=detector, wavelength=1e-10)
        key = f"{n}.{orientation}."
        for unit in map(str, inputs["units"]):
            outputs[key + unit] = ai.center_array(unit=unit)
        outputs[key + "chi"] = ai.center_array(unit="chi_rad")
        outputs[key + "corners"] = ai.corner_array(unit="2th_rad")
        outputs[key + "solid"] = ai.solidAngleArray()
        outputs[key + "polarization"] = ai.polarization(factor=0.9, axis_offset=0.3)
    detector = Detector(172e-6, 100e-6, max_shape=(61, 83))
    fit2d = AzimuthalIntegrator(*place, detector=detector, wavelength=1e-10).getFit2D()
    outputs[f"{n}.fit2d"] = np.array([fit2d[k] for k in ("directDist", "centerX", "centerY", "tilt")])
"""


@pytest.fixture(scope="module")
def theirs():
    return run_peer(CENTERS, places=np.array(PLACES), units=np.array(UNITS))


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
@pytest.mark.parametrize("number", range(len(PLACES)))
def test_centers_rotations_orientations(theirs, number, orientation):
    detector = Detector.from_shape((61, 83), 172e-6, 100e-6, orientation=orientation)
    geometry = Geometry(detector, *PLACES[number], wavelength=1e-10)
    key = f"{number}.{orientation}."
    for unit in UNITS:
        np.testing.assert_allclose(geometry.center_array(unit), theirs[key + unit], rtol=1e-10, err_msg=unit)
    np.testing.assert_allclose(geometry.azimuth_center(), theirs[key + "chi"], rtol=1e-10)
    np.testing.assert_allclose(geometry.solid_angle(), theirs[key + "solid"], rtol=1e-6)
    np.testing.assert_allclose(geometry.polarization(0.9, 0.3), theirs[key + "polarization"], rtol=1e-6)
    # Their corners are float32, each pixel's in an order of its own.
    corners = np.sort(theirs[key + "corners"][..., 0], axis=-1)
    np.testing.assert_allclose(np.sort(geometry.corner_array("2th_rad"), axis=-1), corners, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("number", [0, 1])
def test_fit2d(theirs, number):
    place = (*PLACES[number][:5], 0.0)
    ours = Fit2D.from_geometry(Geometry(Detector.from_shape((61, 83), 172e-6, 100e-6), *place))
    values = [ours.direct_distance, ours.center_x, ours.center_y, ours.tilt]
    np.testing.assert_allclose(values, theirs[f"{number}.fit2d"], rtol=1e-9, atol=1e-9)


LOAD = """
import json, pyFAI
for number, path in enumerate(json.loads(str(inputs["paths"]))):
    ai = pyFAI.load(path)
    outputs[str(number)] = np.array([ai.dist, ai.poni1, ai.poni2, ai.rot1, ai.rot2, ai.rot3, ai.wavelength,
        ai.detector.pixel1, ai.detector.pixel2, ai.detector.orientation, *ai.detector.shape])
"""


def test_they_read_what_we_write(tmp_path):
    geometries = [
        Geometry(Detector.named(name, orientation=1 + i % 4), 0.2, 0.1, 0.3, 0.01, 0.02, 0.03, 1e-10)
        for i, name in enumerate(models())
    ]
    geometries.append(
        Geometry(Detector.from_shape((10, 20), 1e-4, 2e-4, orientation=2), 0.2, 0.1, 0.3, wavelength=1e-10)
    )
    paths = [str(tmp_path / f"{i}.poni") for i in range(len(geometries))]
    for path, geometry in zip(paths, geometries, strict=True):
        geometry.save(path)
    made = run_peer(LOAD, paths=json.dumps(paths))
    for i, ours in enumerate(geometries):
        detector = ours.detector
        numbers = [ours.distance, ours.poni1, ours.poni2, ours.rot1, ours.rot2, ours.rot3, ours.wavelength]
        numbers += [detector.pixel1, detector.pixel2, detector.orientation, *detector.shape]
        np.testing.assert_allclose(made[str(i)], numbers, rtol=1e-12, err_msg=detector.name)
