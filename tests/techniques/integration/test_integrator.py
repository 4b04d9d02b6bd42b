"""Integration from Python: arrays and lazy frames in, labelled patterns out."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr

import friedel
from friedel.core.errors import DataError, GeometryError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.io import open_frames
from friedel.techniques.integration import Integrator, RadialMap
from friedel.techniques.integration import integrator as integrator_module
from friedel.techniques.integration.integrator import frames_per_block

h5py = pytest.importorskip("h5py")

SHAPE = (40, 36)
N_FRAMES = 9


def geometry(shape=SHAPE) -> Geometry:
    return Geometry(Detector.from_shape(shape, 1e-3), 0.1, 0.02, 0.015, wavelength=0.5e-10)


def frames(count: int = N_FRAMES) -> np.ndarray:
    return np.random.default_rng(6).poisson(25, (count, *SHAPE)).astype(np.uint16)


@pytest.fixture
def scan(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["entry/data/data"] = frames()
        file["entry"].attrs["NX_class"] = "NXentry"
        file["entry/measurement/dty"] = np.arange(N_FRAMES) * 0.5
        file["entry/measurement/flux"] = np.arange(N_FRAMES) + 1.0
    return tmp_path / "scan.h5"


def test_as_the_documentation_shows_it(scan, tmp_path) -> None:
    geometry().save(tmp_path / "setup.poni")
    lazy = friedel.open(scan)
    integrator = friedel.integration.Integrator(
        friedel.Geometry.load(tmp_path / "setup.poni"),
        npt=30,
        unit="q_nm^-1",
        splitting="full",
        error_model="poisson",
        polarization=0.99,
        mask=np.zeros(SHAPE, bool),
    )
    patterns = integrator.integrate1d(lazy)
    assert patterns["intensity"].dims == patterns["intensity_errors"].dims == ("frame", "radial")
    assert patterns["radial"].attrs["units"] == "1/nm"
    np.testing.assert_array_equal(patterns["dty"], np.arange(N_FRAMES) * 0.5)
    cake = integrator.integrate2d(lazy[0], npt_azimuth=36)
    assert cake["intensity"].dims == ("azimuth", "radial")
    assert cake["azimuth"].attrs["units"] == "deg"


def test_every_kind_of_frames_gives_the_same_numbers(scan) -> None:
    integrator = Integrator(geometry(), npt=20, error_model="poisson")
    stack = frames()
    expected = integrator.integrate1d(stack)
    labelled = xr.DataArray(stack, dims=("frame", "y", "x"))
    for given in (labelled, friedel.open(scan), open_frames(scan), stack.tolist()):
        found = integrator.integrate1d(given)
        for name in ("intensity", "intensity_errors"):
            np.testing.assert_array_equal(found[name], expected[name])
    for alone in (stack[3], labelled[3], friedel.open(scan)[3]):
        np.testing.assert_array_equal(integrator.integrate1d(alone)["intensity"], expected["intensity"][3])


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.uint64, np.float16, ">i4", ">u2", ">f8"])
def test_every_type_of_number(dtype) -> None:
    stack = np.minimum(frames(2), 100).astype(dtype)
    integrator = Integrator(geometry(), npt=10, error_model="poisson")
    found, expected = integrator.integrate1d(stack), integrator.integrate1d(stack.astype(np.float64))
    for name in ("intensity", "intensity_errors"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def test_the_dimension_of_the_frames_keeps_its_name_and_coordinates() -> None:
    labelled = xr.DataArray(
        frames(3), dims=("angle", "y", "x"), coords={"angle": ("angle", [0.0, 1.0, 2.0], {"units": "deg"})}
    )
    result = Integrator(geometry(), npt=10).integrate1d(labelled)
    assert result["intensity"].dims == ("angle", "radial")
    np.testing.assert_array_equal(result["angle"], [0, 1, 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"error_modle": "poisson"}, "no option error_modle.\nDid you mean error_model?"),
        ({"threads": 4}, "no option threads"),
        ({"splitting": "ful"}, "splitting is 'ful'"),
        ({"unit": "q"}, "no unit 'q'"),
        ({"npt": 10.5}, "npt is 10.5"),
    ],
)
def test_options_are_checked_at_once(options, message) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)):
        Integrator(geometry(), **options)


def test_variances_below_zero_are_refused() -> None:
    with pytest.raises(DataError, match="variance has values below zero"):
        Integrator(geometry(), npt=10).integrate1d(frames(), variance=np.full(SHAPE, -1.0))


def test_maps_are_built_once(monkeypatch) -> None:
    built = []
    build = RadialMap.build

    def counting(*values, **options):
        built.append(options)
        return build(*values, **options)

    monkeypatch.setattr(RadialMap, "build", counting)
    integrator = Integrator(geometry(), npt=10)
    for _ in range(3):
        integrator.integrate1d(frames(1))
        integrator.integrate1d(frames(1), npt=12)
        integrator.integrate2d(frames(1), npt_azimuth=4)
    assert len(built) == 3


def test_blocks_are_small_where_the_bins_are_many() -> None:
    pilatus = 4 * 619 * 487
    assert frames_per_block(pilatus, 1000) == 50
    assert frames_per_block(pilatus, 1000 * 360) == 4
    assert frames_per_block(100 * 1024**2, 1000) == frames_per_block(100 * 1024**2, 10**6) == 1
    assert frames_per_block(4, 10) == 256
    assert frames_per_block(4 * 2162 * 2068, 1000, "cuda:0") == 29
    assert frames_per_block(4 * 2162 * 2068, 1000, "cuda:0", encoded=True) == 89
    assert frames_per_block(pilatus, 1000, encoded=True) == 50


@pytest.mark.parametrize("npt_azimuth", [None, 24])
def test_the_size_of_blocks_changes_no_number(npt_azimuth, monkeypatch) -> None:
    holed = frames().astype(np.float32)
    holed[[0, 3, 4, 8], 5:9, 7:30] = np.nan
    integrator = Integrator(geometry(), npt=30, error_model="poisson", keep_sums=True)

    def integrate() -> xr.Dataset:
        if npt_azimuth is None:
            return integrator.integrate1d(holed)
        return integrator.integrate2d(holed, npt_azimuth=npt_azimuth)

    whole = integrate()
    for size in (1, 2, 5):
        monkeypatch.setattr(integrator_module, "frames_per_block", lambda *_, size=size, **__: size)
        xr.testing.assert_identical(integrate(), whole)


def test_normalization_by_number_by_array_and_by_name(scan) -> None:
    integrator = Integrator(geometry(), npt=10, error_model="poisson")
    plain = integrator.integrate1d(frames())
    flux = np.arange(N_FRAMES) + 1.0
    for given in ("flux", flux):
        divided = integrator.integrate1d(friedel.open(scan), normalization=given)
        np.testing.assert_allclose(divided["intensity"], plain["intensity"] / flux[:, None], rtol=1e-6)
        np.testing.assert_allclose(divided["intensity_errors"], plain["intensity_errors"] / flux[:, None], rtol=1e-6)
    np.testing.assert_allclose(integrator.integrate1d(frames(), normalization=2.0)["intensity"], plain["intensity"] / 2)
    with pytest.raises(DataError, match="no coordinate 'current'"):
        integrator.integrate1d(friedel.open(scan), normalization="current")
    with pytest.raises(DataError, match="2 values for 9 frames"):
        integrator.integrate1d(frames(), normalization=[1.0, 2.0])
    with pytest.raises(DataError, match="frame 0"):
        integrator.integrate1d(frames(), normalization=flux - 1)


def test_given_variance() -> None:
    integrator = Integrator(geometry(), npt=10)
    stack = frames(2)
    poisson = Integrator(geometry(), npt=10, error_model="poisson").integrate1d(stack)
    found = integrator.integrate1d(stack, variance=np.maximum(stack, 1))
    np.testing.assert_allclose(found["intensity_errors"], poisson["intensity_errors"], rtol=1e-6)
    alone = integrator.integrate1d(stack[1], variance=np.maximum(stack[1], 1))
    np.testing.assert_allclose(alone["intensity_errors"], poisson["intensity_errors"][1], rtol=1e-6)
    with pytest.raises(ParameterError, match="variance"):
        Integrator(geometry(), npt=10, error_model="variance").integrate1d(stack)


def test_sums_on_request() -> None:
    result = Integrator(geometry(), npt=10, error_model="poisson", keep_sums=True).integrate1d(frames(2))
    np.testing.assert_allclose(result["sum_signal"] / result["sum_normalization"], result["intensity"], rtol=1e-6)
    np.testing.assert_allclose(
        np.sqrt(result["sum_variance"]) / result["sum_normalization"], result["intensity_errors"], rtol=1e-6
    )
    np.testing.assert_allclose(
        np.sqrt(result["sum_variance"] / result["sum_normalization_squared"]), result["intensity_std"], rtol=1e-6
    )
    assert result["sum_count"].shape == (2, 10)
    cake = Integrator(geometry(), npt=10, keep_sums=True).integrate2d(frames(1)[0], npt_azimuth=5)
    assert cake["sum_signal"].dims == ("azimuth", "radial")


def test_a_detector_of_unknown_size_takes_that_of_the_frames() -> None:
    result = Integrator(geometry(None), npt=10).integrate1d(frames(1))
    np.testing.assert_array_equal(
        result["intensity"], Integrator(geometry(), npt=10).integrate1d(frames(1))["intensity"]
    )


def test_frames_that_are_none() -> None:
    integrator = Integrator(geometry(), npt=10)
    with pytest.raises(GeometryError, match="10 x 12"):
        integrator.integrate1d(np.ones((10, 12)))
    with pytest.raises(DataError, match="shape"):
        integrator.integrate1d(np.ones(7))
    with pytest.raises(DataError, match="dimensions"):
        integrator.integrate1d(xr.DataArray(np.ones((2, 2, *SHAPE))))
    with pytest.raises(DataError, match="no frames"):
        integrator.integrate1d(np.ones((0, *SHAPE)))
    with pytest.raises(DataError, match="type"):
        integrator.integrate1d(np.ones(SHAPE, complex))
