"""Integration on detectors whose pixels are displaced: each is where its description says, also in a stored map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from friedel.core.errors import GeometryError
from friedel.instrument import Detector, Geometry, PixelTable
from friedel.instrument.detector_file import corner_table
from friedel.techniques.integration import RadialMap

SHAPE = (60, 50)


def geometry(bend: float) -> Geometry:
    """A detector whose pixels are moved towards its middle, the more the farther out they are."""
    detector = Detector.from_shape(SHAPE, 1e-3)
    corners = corner_table(detector).astype(float)
    from_middle = corners[..., 1:] - np.array([0.030, 0.025])
    corners[..., 1:] -= bend * from_middle * np.hypot(*np.moveaxis(from_middle, -1, 0))[..., np.newaxis]
    detector = replace(detector, pixels=PixelTable(corners))
    return Geometry(detector, 0.1, 0.031, 0.022, 0.1, -0.05, 0.2, wavelength=0.5e-10)


@pytest.mark.parametrize("splitting", ["none", "bbox", "full"])
def test_rings_are_sharp_where_the_pixels_are_known(splitting):
    bent = geometry(10.0)
    image = (1000 + 500 * np.sin(bent.center_array("q_nm^-1") / 2))[np.newaxis]
    options = {"npt": 40, "radial_range": (5, 40), "splitting": splitting, "solid_angle": False}
    radial_map = RadialMap.build(bent, **options)
    found = radial_map(image).intensity[0]
    expected = 1000 + 500 * np.sin(radial_map.radial.centers / 2)
    straight = RadialMap.build(geometry(0.0), **options)(image).intensity[0]
    inner = slice(2, -2)
    error, wrong = (np.abs(values - expected)[inner].max() for values in (found, straight))
    assert error < 60 and wrong > 3 * error


def test_a_stored_map_knows_its_pixels(tmp_path):
    bent = geometry(10.0)
    radial_map = RadialMap.build(bent, npt=50)
    radial_map.save(tmp_path / "map.h5")
    loaded = RadialMap.load(tmp_path / "map.h5", bent)
    assert loaded.geometry == bent and loaded.fingerprint == radial_map.fingerprint
    image = np.random.default_rng(1).poisson(30, (1, *SHAPE))
    np.testing.assert_array_equal(loaded(image).intensity, radial_map(image).intensity)
    with pytest.raises(GeometryError, match="another geometry"):
        RadialMap.load(tmp_path / "map.h5", geometry(5.0))
