"""Patterns and cakes of detectors that are no regular grid, against pyFAI: wider pixels, a cylinder, hexagons.

Left out are bins at the ends of ranges, as in ``test_pyfai_integration.py``. Of hexagons pyFAI (2026.9) has no full
splitting, and takes the mean of four of the six corners for the centre: a quarter of the pitch to the side.
"""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from friedel.instrument import Detector, Geometry
from friedel.techniques.integration import RadialMap
from peer_python import run_peer

pytestmark = pytest.mark.peer

NPT, NPT_2D, NPT_AZIMUTH, SECTOR = 300, 100, 60, (-150.0, 150.0)
SPLITTINGS = ("none", "bbox", "full")
INNER = slice(2, -2)

CODE = """
import pyFAI
ai = pyFAI.load(str(inputs["poni"]))
names = {"none": "no", "bbox": "bbox", "full": "full"}
plain = dict(unit="2th_deg", radial_range=tuple(inputs["range"]), mask=inputs["mask"], correctSolidAngle=False)
for splitting in inputs["splittings"]:
    method = (names[str(splitting)], "csr", "cython")
    pattern = ai.integrate1d_ng(inputs["frame"], int(inputs["npt"]), method=method, **plain)
    cake = ai.integrate2d_ng(inputs["frame"], int(inputs["npt_2d"]), int(inputs["npt_azimuth"]), method=method,
                             azimuth_range=tuple(inputs["sector"]), **plain)
    for kind, result in (("pattern", pattern), ("cake", cake)):
        outputs[f"{kind}.{splitting}"] = result.intensity
        outputs[f"{kind}.{splitting}.count"] = result.count
outputs["centers"] = ai.center_array(inputs["frame"].shape, "2th_deg")
outputs["solid_angle"] = ai.solidAngleArray(inputs["frame"].shape)
outputs["places"] = np.stack(ai.detector.calc_cartesian_positions()[:2])
"""

SETUPS = {
    "Xpad_flat": (0.13, 0.06, 0.03, 0.1, -0.2, 0.3),
    "ImXPadS140": (0.13, 0.012, 0.03, 0.1, -0.2, 0.3),
    "cylinder": (0.05, 0.012, 0.01, 0.1, -0.2, 0.3),
}
PIXIRAD = (0.05, 0.012, 0.01, 0.1, -0.2, 0.3)


def scene(geometry: Geometry) -> dict[str, np.ndarray]:
    """A broad noisy ring, and the range of the bins."""
    mask, angle = geometry.detector.mask(), geometry.center_array("2th_deg")
    low, high = np.quantile(angle[~mask], [0.03, 0.97])
    frame = np.random.default_rng(1).poisson(20 + 80 * np.exp(-(((angle - angle.mean()) / 2) ** 2)))
    return {"frame": frame.astype(np.float32), "mask": mask, "range": np.array([low, high])}


def compute(geometry: Geometry, tmp_path, image: dict[str, np.ndarray], splittings) -> dict[str, np.ndarray]:
    geometry.save(tmp_path / "setup.poni")
    return run_peer(
        CODE,
        poni=np.array(str(tmp_path / "setup.poni")),
        splittings=np.array(splittings),
        npt=NPT,
        npt_2d=NPT_2D,
        npt_azimuth=NPT_AZIMUTH,
        sector=SECTOR,
        **image,
    )


def pattern_of(geometry: Geometry, image: dict[str, np.ndarray], splitting: str) -> np.ndarray:
    limits = tuple(image["range"])
    options = {"unit": "2th_deg", "radial_range": limits, "splitting": splitting, "solid_angle": False}
    return RadialMap.build(geometry, npt=NPT, **options)(image["frame"][None]).intensity[0]


def cake_of(geometry: Geometry, image: dict[str, np.ndarray], splitting: str) -> np.ndarray:
    limits = tuple(image["range"])
    options = {"unit": "2th_deg", "radial_range": limits, "splitting": splitting, "solid_angle": False}
    cake = RadialMap.build(geometry, npt=NPT_2D, npt_azimuth=NPT_AZIMUTH, azimuth_range=SECTOR, **options)
    return cake(image["frame"][None]).intensity[0].reshape(NPT_AZIMUTH, NPT_2D)


def compare(geometry: Geometry, image: dict[str, np.ndarray], made: dict[str, np.ndarray], splittings) -> None:
    for splitting in splittings:
        found, expected = pattern_of(geometry, image, splitting), made[f"pattern.{splitting}"]
        # Without splitting a pixel on the edge of two bins goes to either, by the rounding of float32 corners.
        tolerance = 1e-3 if splitting == "none" else 5e-6
        np.testing.assert_allclose(found[INNER], expected[INNER], rtol=tolerance, err_msg=splitting)
        cake, other = cake_of(geometry, image, splitting)[INNER, INNER], made[f"cake.{splitting}"][INNER, INNER]
        many = made[f"cake.{splitting}.count"][INNER, INNER] > 30
        assert many.sum() > 1000
        difference = np.abs(cake[many] / other[many] - 1)
        # The polygons of pyFAI are of float32 corners, which shift shares between bins that share a pixel.
        assert np.quantile(difference, 0.99) < {"none": 1e-6, "bbox": 1e-5, "full": 2e-3}[splitting]
        assert difference.max() < {"none": 0.02, "bbox": 0.02, "full": 0.01}[splitting]


@pytest.mark.parametrize("name", SETUPS)
def test_patterns_and_cakes(name, tmp_path) -> None:
    if name == "cylinder":
        detector = Detector.cylindrical((300, 900), 1e-4, 1e-4, 0.05).save(tmp_path / "bent.h5")
    else:
        detector = Detector.named(name)
    geometry = Geometry(detector, *SETUPS[name], wavelength=1e-10)
    image = scene(geometry)
    made = compute(geometry, tmp_path, image, SPLITTINGS)
    compare(geometry, image, made, SPLITTINGS)


def test_hexagons(tmp_path) -> None:
    geometry = Geometry(Detector.named("Pixirad1"), *PIXIRAD, wavelength=1e-10)
    image = scene(geometry)
    made = compute(geometry, tmp_path, image, ("none", "bbox"))
    p1, p2, _ = geometry.detector.center_positions(slice(None))
    np.testing.assert_allclose(made["places"][0], p1, atol=1e-8)
    np.testing.assert_allclose(made["places"][1] - p2, geometry.detector.pixel2 / 4, atol=1e-8)
    # With those centres their pattern is what a histogram gives; with the right ones ours is.
    for centers, pattern in (
        (made["centers"], made["pattern.none"]),
        (geometry.center_array("2th_deg"), pattern_of(geometry, image, "none")),
    ):
        sums, counts = (
            np.histogram(centers, NPT, tuple(image["range"]), weights=weights)[0]
            for weights in (image["frame"], np.ones_like(image["frame"]))
        )
        np.testing.assert_allclose(pattern[INNER], (sums / counts)[INNER], rtol=2e-3)
    np.testing.assert_allclose(geometry.solid_angle(), made["solid_angle"], rtol=5e-4)


def test_hexagons_whose_first_corners_have_the_centre_in_their_midst(tmp_path) -> None:
    """With the corners in an order that no outline has, two pairs of opposite ones first, pyFAI's centres are right."""
    detector = Detector.named("Pixirad1").save(tmp_path / "hexagons.h5")
    geometry = Geometry(detector, *PIXIRAD, wavelength=1e-10)
    with h5py.File(tmp_path / "hexagons.h5", "a") as file:
        corners = file["entry_0000/pyFAI/Pixirad1/pixel_corners"]
        corners[...] = corners[...][:, :, [0, 1, 3, 4, 2, 5]]
    image = scene(geometry)
    made = compute(geometry, tmp_path, image, ("none", "bbox"))
    compare(geometry, image, made, ("none", "bbox"))


def test_the_rapid_itself(tmp_path) -> None:
    """Every 160th row of the curved plate: a detector of pyFAI's own kind, told by its name."""
    geometry = Geometry(Detector.named("Rapid"), 0.127, 0.12, 0.05, 0.1, -0.2, 0.3, wavelength=1e-10)
    geometry.save(tmp_path / "setup.poni")
    made = run_peer(
        """
import pyFAI
ai = pyFAI.load(str(inputs["poni"]))
from pyFAI.geometry import Geometry
t = Geometry.calc_pos_zyx(ai, corners=False)
outputs["2th"] = np.arctan2(np.hypot(t[1], t[2]), t[0])[::160]
outputs["solid_angle"] = ai.solidAngleArray(ai.detector.shape)[::160]
""",
        poni=np.array(str(tmp_path / "setup.poni")),
    )
    rows = [slice(row, row + 1) for row in range(0, 2560, 160)]
    ours = np.concatenate([geometry.center_array("2th_rad", row) for row in rows])
    np.testing.assert_allclose(ours, made["2th"], atol=1e-6)
    # Theirs is cos³ of the incidence, that of a plane; ours is tested against spherical triangles.
    ratio = np.concatenate([geometry.solid_angle(row) for row in rows]) / made["solid_angle"]
    assert ratio.min() < 0.7 and ratio.max() > 2.5
