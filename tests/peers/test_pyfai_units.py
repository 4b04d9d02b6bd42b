"""Units, grazing incidence and profiles along the azimuth against pyFAI; and where pyFAI's answer is another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from friedel.core.units import unit_named
from friedel.instrument import Detector, Geometry
from friedel.instrument.coordinates import SamplePose
from friedel.techniques.integration import Integrator
from peer_python import run_peer

pytestmark = pytest.mark.peer

SHAPE = (211, 187)
PIXEL = 5e-4
PLACE = (0.12, 0.0333, 0.0472, 0.05, -0.04, 0.1)
WAVELENGTH = 1.1e-10
INCIDENCE, TILT = 0.3, 4.0  # degrees
NPT, NPT_AZIMUTH = 60, 50

RADIAL = """
2th_rad 2th_deg q_nm^-1 q_A^-1 r_m r_mm d_m d_nm d_A d*2_nm^-2 d*2_A^-2 log10(q.m)_None log(q.nm)_None
log(1+q.nm)_None log(1+q.A)_None arcsinh(q.nm)_None arcsinh(q.A)_None chi_rad chi_deg
""".split()  # noqa: SIM905
SAMPLE = """
scattering_angle_vert_rad scattering_angle_horz_rad qxgi_nm^-1 qygi_nm^-1 qzgi_nm^-1 qip_nm^-1 qoop_nm^-1 qtot_nm^-1
qxgi_A^-1 qygi_A^-1 qzgi_A^-1 qip_A^-1 qoop_A^-1 qtot_A^-1 chigi_rad chigi_deg
""".split()  # noqa: SIM905
EXIT = "exit_angle_vert_rad exit_angle_horz_rad exit_angle_vert_deg exit_angle_horz_deg".split()  # noqa: SIM905
WRONG = ("qx_nm^-1", "qy_nm^-1")
PLANES = {
    "qip_nm^-1": "qoop_nm^-1",
    "qxgi_nm^-1": "qygi_nm^-1",
    "qtot_A^-1": "chigi_deg",
    "scattering_angle_horz_rad": "scattering_angle_vert_rad",
}

CODE = """
from pyFAI.detectors import Detector
from pyFAI.integrator.fiber import FiberIntegrator
from pyFAI.integrator.azimuthal import AzimuthalIntegrator
from pyFAI.units import get_unit_fiber, to_unit, RADIAL_UNITS, AZIMUTHAL_UNITS
shape = inputs["frame"].shape

def integrator(kind):
    detector = Detector(float(inputs["pixel"]), float(inputs["pixel"]), max_shape=shape, orientation=3)
    return kind(*inputs["place"], detector=detector, wavelength=float(inputs["wavelength"]))

angles = np.deg2rad(inputs["angles"])
ai = integrator(AzimuthalIntegrator)
x, y, z = ai.calc_pos_zyx(corners=False)[::-1]
known = {**RADIAL_UNITS, **AZIMUTHAL_UNITS}

def values(unit):
    config = getattr(unit, "get_config_shared", dict)()
    return unit.scale * unit.equation(x, y, z, float(inputs["wavelength"]), **config)

for name in inputs["plain"]:
    outputs["unit." + name] = values(known[str(name)])
for name in inputs["sample"]:
    for orientation in range(1, 9):
        unit = get_unit_fiber(str(name), *angles, orientation)
        outputs[f"unit.{name}.{orientation}"] = values(unit)
for name in inputs["exit"]:
    outputs["unit." + name] = values(get_unit_fiber(str(name), *angles, 1))
    outputs["unit.reversed." + name] = values(get_unit_fiber(str(name), *-angles, 1))

for (first, second), limits in zip(inputs["planes"], inputs["limits"]):
    for orientation in range(1, 9):
        for split in ("no", "bbox", "full"):
            if split != "no" and orientation not in (1, 6):
                continue
            fiber = integrator(FiberIntegrator)
            mask = inputs[f"mask.{first}.{orientation}.{split}"] if split != "no" else None
            found = fiber.integrate2d_grazing_incidence(inputs["frame"], mask=mask, npt_ip=int(inputs["npt"]),
                npt_oop=int(inputs["npt_azimuth"]), unit_ip=str(first), unit_oop=str(second),
                ip_range=tuple(limits[orientation, :2]), oop_range=tuple(limits[orientation, 2:]),
                incident_angle=angles[0], tilt_angle=angles[1],
                sample_orientation=orientation, method=(split, "csr", "cython"),
                polarization_factor=0.95)
            key = f"fiber.{first}.{orientation}.{split}"
            outputs[key] = found.intensity
            outputs[key + ".first"], outputs[key + ".second"] = found.inplane, found.outofplane
limits = inputs["limits"][0][1]
for split in ("bbox", "full"):
    fiber = integrator(FiberIntegrator)
    outputs["wedge." + split] = fiber.integrate2d_grazing_incidence(inputs["frame"], npt_ip=int(inputs["npt"]),
        npt_oop=int(inputs["npt_azimuth"]), ip_range=tuple(limits[:2]), oop_range=tuple(limits[2:]),
        incident_angle=angles[0], tilt_angle=angles[1], sample_orientation=1, method=(split, "csr", "cython")).intensity
fiber = integrator(FiberIntegrator)
found = fiber.integrate1d_grazing_incidence(inputs["frame"], npt_oop=int(inputs["npt"]), npt_ip=100,
    ip_range=tuple(limits[:2]), oop_range=tuple(limits[2:]), incident_angle=angles[0], tilt_angle=angles[1],
    sample_orientation=1, method=("no", "csr", "cython"))
outputs["profile"] = found.intensity

for name in inputs["patterns"]:
    low, high = inputs["range." + str(name)]
    found = ai.integrate1d_ng(inputs["frame"], int(inputs["npt"]), unit=str(name), radial_range=(low, high),
                              method=("no", "csr", "cython"), error_model="poisson")
    outputs["pattern." + str(name)], outputs["pattern.sigma." + str(name)] = found.intensity, found.sigma
found = ai.integrate_radial(inputs["frame"], 36, radial_range=(0.0, 8.0), azimuth_range=(-180, 180),
                            radial_unit="2th_deg", method=("no", "csr", "cython"))
outputs["radial.chi"], outputs["radial"] = found.radial, found.intensity
"""


def geometry() -> Geometry:
    return Geometry(Detector.from_shape(SHAPE, PIXEL, PIXEL), *PLACE, wavelength=WAVELENGTH)


def frame() -> NDArray[Any]:
    two_theta = geometry().center_array("2th_rad")
    chi = geometry().azimuth_center()
    mean = 300 + 2000 * np.exp(-(((two_theta - 0.3) / 0.1) ** 2)) * (1 + 0.5 * np.sin(2 * chi))
    return np.random.default_rng(7).poisson(mean).astype(np.int32)


def pose(orientation: int = 1) -> SamplePose:
    return SamplePose(np.deg2rad(INCIDENCE), np.deg2rad(TILT), orientation)


def limits_of(unit: str, orientation: int) -> tuple[float, float]:
    """Limits well outside of what the detector reaches, where engines differ at the edges."""
    values = geometry().corner_array(unit, pose=pose(orientation))
    low, high = values.min(), values.max()
    margin = 0.05 * (high - low)
    if unit_named(unit).period:
        return -unit_named(unit).period / 2, unit_named(unit).period / 2
    return (low - margin if low < 0 else max(low - margin, 0.0)), high + margin


PATTERNS = [name for name in RADIAL if not name.startswith(("chi", "d_m"))]


def range_of(unit: str) -> tuple[float, float]:
    values = geometry().center_array(unit)
    low, high = np.quantile(values, [0.02, 0.95])
    return float(low), float(high)


@pytest.fixture(scope="module")
def pyfai() -> dict[str, NDArray[Any]]:
    planes = np.array(list(PLANES.items()))
    limits = np.array(
        [[(*limits_of(one, i or 1), *limits_of(two, i or 1)) for i in range(9)] for one, two in PLANES.items()]
    )
    return run_peer(
        CODE,
        frame=frame(),
        pixel=PIXEL,
        place=np.array(PLACE),
        wavelength=WAVELENGTH,
        angles=np.array([INCIDENCE, TILT]),
        plain=np.array([*RADIAL, *WRONG]),
        sample=np.array(SAMPLE),
        exit=np.array(EXIT),
        planes=planes,
        limits=limits,
        npt=NPT,
        npt_azimuth=NPT_AZIMUTH,
        **{
            f"mask.{first}.{i}.{split}": compared(first, i, split)
            for first in PLANES
            for i in (1, 6)
            for split in ("bbox", "full")
        },
        patterns=np.array(PATTERNS),
        **{f"range.{name}": np.array(range_of(name)) for name in PATTERNS},
    )


def agree(ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    # pyFAI has the places of pixels in float32: that is 1e-5 of a pixel here.
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=3e-6 * np.ptp(theirs))


@pytest.mark.parametrize("unit", RADIAL)
def test_units_of_rings(pyfai: dict[str, NDArray[Any]], unit: str) -> None:
    agree(geometry().center_array(unit), pyfai[f"unit.{unit}"])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("unit", SAMPLE)
def test_units_of_grazing_incidence(pyfai: dict[str, NDArray[Any]], unit: str, orientation: int) -> None:
    ours = geometry().center_array(unit, pose=pose(orientation))
    agree(ours, pyfai[f"unit.{unit}.{orientation}"])


@pytest.mark.parametrize("unit", EXIT)
def test_exit_angles_of_pyfai_turn_the_sample_the_other_way(pyfai: dict[str, NDArray[Any]], unit: str) -> None:
    # Its scattering vectors turn one way with incidence and tilt and its exit angles the other way: there the direct
    # beam leaves above the horizon.
    ours = geometry().center_array(unit, pose=pose())
    agree(ours, pyfai[f"unit.reversed.{unit}"])
    assert np.abs(ours - pyfai[f"unit.{unit}"]).max() > 0.005


@pytest.mark.parametrize("unit", WRONG)
def test_pyfai_says_itself_that_its_qx_and_qy_are_wrong(pyfai: dict[str, NDArray[Any]], unit: str) -> None:
    # q² = qx² + qy² + qz² holds for ours.
    ours, theirs = geometry().center_array(unit), pyfai[f"unit.{unit}"]
    q = [geometry().center_array(f"{name}_nm^-1") for name in ("qx", "qy", "qz")]
    np.testing.assert_allclose(np.sqrt(sum(part**2 for part in q)), geometry().center_array("q_nm^-1"), rtol=1e-9)
    assert np.abs(ours / theirs - 1).max() > 0.02


@pytest.mark.parametrize("unit", PATTERNS)
def test_patterns(pyfai: dict[str, NDArray[Any]], unit: str) -> None:
    options: dict[str, Any] = {"splitting": "none", "error_model": "poisson", "npt": NPT}
    ours = Integrator(geometry(), unit=unit, radial_range=range_of(unit), **options).integrate1d(frame())
    inner = slice(1, -1)
    theirs, sigma = pyfai[f"pattern.{unit}"][inner], pyfai[f"pattern.sigma.{unit}"][inner]
    moved = _same_pixels(unit, inner)
    np.testing.assert_allclose(ours.intensity.values[inner][moved], theirs[moved], rtol=1e-5)
    np.testing.assert_allclose(ours.intensity_errors.values[inner][moved], sigma[moved], rtol=1e-4)


def _same_pixels(unit: str, inner: slice) -> NDArray[np.bool_]:
    """Return the bins without a pixel so near to a limit that rounding to float32 moves it over."""
    low, high = range_of(unit)
    place = (geometry().center_array(unit) - low) / (high * (1 + 2.0**-23 * np.sign(high)) - low) * NPT
    near = np.abs(place - np.round(place)) < 1e-4
    bins = np.round(place[near]).astype(int)
    touched = np.zeros(NPT + 1, bool)
    for number in (bins - 1, bins):
        touched[number[(number >= 0) & (number < NPT)]] = True
    return ~touched[:NPT][inner]


def whole_rows(first: str, orientation: int) -> NDArray[np.bool_]:
    """Return the pixels that lie in one row of bins; those across two rows pyFAI shares wrongly (see the cakes)."""
    second = PLANES[first]
    low, high = limits_of(second, orientation)
    corners = geometry().corner_array(second, pose=pose(orientation))
    rows = (corners - low) / (high - low) * NPT_AZIMUTH
    return np.asarray(np.floor(rows.min(axis=-1) - 1e-3) == np.floor(rows.max(axis=-1) + 1e-3))


def compared(first: str, orientation: int, splitting: str) -> NDArray[np.bool_]:
    """Return the mask of pixels that are left out: beside the wedge, and across rows with the splitting "full"."""
    across = geometry().center_array("qxgi_nm^-1", pose=pose(orientation))
    pixel = 2 * np.pi / WAVELENGTH * 1e-9 * PIXEL / PLACE[0]
    mask = np.abs(across) < 3 * pixel if first == "qip_nm^-1" else np.zeros(SHAPE, bool)
    return mask | ~whole_rows(first, orientation) if splitting == "full" else mask


def cake(first: str, orientation: int, splitting: str, mask: NDArray[np.bool_] | None = None) -> Any:
    second = PLANES[first]
    integrator = Integrator(
        geometry(),
        unit=first,
        azimuth_unit=second,
        radial_range=limits_of(first, orientation),
        azimuth_range=limits_of(second, orientation),
        incidence=INCIDENCE,
        tilt=TILT,
        sample_orientation=orientation,
        splitting=splitting,
        mask=mask,
        polarization=0.95,
        keep_sums=True,
    )
    return integrator.integrate2d(frame(), npt=NPT, npt_azimuth=NPT_AZIMUTH)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("first", PLANES)
def test_fibres_without_splitting(pyfai: dict[str, NDArray[Any]], first: str, orientation: int) -> None:
    ours, key = cake(first, orientation, "none"), f"fiber.{first}.{orientation}.no"
    np.testing.assert_allclose(ours.radial.values, pyfai[key + ".first"], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(ours.azimuth.values, pyfai[key + ".second"], rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(np.isfinite(ours.intensity.values), pyfai[key] > 0)
    np.testing.assert_allclose(np.nan_to_num(ours.intensity.values), pyfai[key], rtol=1e-6)


@pytest.mark.parametrize("splitting", ["bbox", "full"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("first", ["qip_nm^-1", "qxgi_nm^-1", "scattering_angle_horz_rad"])
def test_fibres_with_splitting_away_from_the_wedge(
    pyfai: dict[str, NDArray[Any]], first: str, orientation: int, splitting: str
) -> None:
    ours = cake(first, orientation, splitting, compared(first, orientation, splitting))
    theirs = pyfai[f"fiber.{first}.{orientation}.{splitting}"]
    far = ours.sum_count.values > 0.5  # not the slivers of pixels at the rim of the detector
    assert far.sum() > 1000
    # From one run to the next pyFAI puts some polygon into other bins: the same call gives two answers.
    agreed = np.isclose(ours.intensity.values[far], theirs[far], rtol=1e-5)
    assert np.count_nonzero(~agreed) <= (4 if splitting == "full" else 0)


@pytest.mark.parametrize("splitting", ["bbox", "full"])
def test_splitting_leaves_the_wedge_empty_which_pyfai_fills(pyfai: dict[str, NDArray[Any]], splitting: str) -> None:
    points, ours = cake("qip_nm^-1", 1, "none"), cake("qip_nm^-1", 1, splitting)
    theirs = pyfai[f"wedge.{splitting}"]
    seen = np.isfinite(points.intensity.values)
    for axis in (0, 1):  # a pixel is smaller than a bin
        seen = seen | np.roll(seen, 1, axis) | np.roll(seen, -1, axis)
    wedge = ~seen & (np.cumsum(seen, axis=1) > 0) & (np.cumsum(seen[:, ::-1], axis=1)[:, ::-1] > 0)
    assert wedge.sum() > 50
    assert np.isnan(ours.intensity.values[wedge]).all()
    assert np.count_nonzero(theirs[wedge] > 0) > 0.5 * wedge.sum()


def test_a_profile_along_the_normal(pyfai: dict[str, NDArray[Any]]) -> None:
    options: dict[str, Any] = {"incidence": INCIDENCE, "tilt": TILT, "splitting": "none"}
    ours = Integrator(
        geometry(),
        unit="qoop_nm^-1",
        azimuth_unit="qip_nm^-1",
        radial_range=limits_of("qoop_nm^-1", 1),
        azimuth_range=limits_of("qip_nm^-1", 1),
        npt=NPT,
        **options,
    ).integrate1d(frame())
    # pyFAI fills an empty bin with 0; its profile is the sum over a cake of 100 in-plane bins.
    np.testing.assert_allclose(np.nan_to_num(ours.intensity.values), pyfai["profile"], rtol=1e-5)


def test_intensity_along_the_azimuth(pyfai: dict[str, NDArray[Any]]) -> None:
    options: dict[str, Any] = {"azimuth_range": (-180, 180), "splitting": "none"}
    made = Integrator(geometry(), unit="2th_deg", radial_range=(0.0, 8.0), **options)
    ours = made.integrate_radial(frame(), npt_azimuth=36)
    np.testing.assert_allclose(ours.azimuth.values, pyfai["radial.chi"], atol=1e-4)
    np.testing.assert_allclose(ours.intensity.values, pyfai["radial"], rtol=1e-5)
