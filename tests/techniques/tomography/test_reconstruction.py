"""Slices from sinograms: accuracy, orientation, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from friedel.core.errors import DataError, ParameterError
from friedel.techniques.tomography import (
    BackprojectionPlan,
    CenterWarning,
    GriddingPlan,
    ParallelBeam,
    build_plan,
    reconstruct,
    reconstruct_errors,
)
from friedel.techniques.tomography.reconstruction import angles_in_degrees
from phantoms import Disk, field_of_view, picture, rms, several, sinogram

HALF_TURN = np.arange(0, 180, 1.0)
LINEAR = ("gridding", "fbp")
LOPSIDED = (Disk(14, -7, 9.0), Disk(-12, -16, 5.0, 2.0))


@pytest.mark.parametrize(("n", "center"), [(400, None), (400, 202.75), (401, None)])
def test_gridding_on_the_benchmark_disk(n: int, center: float | None) -> None:
    """Radius 120 in 400 pixels, centre (40, -25), 600 angles: inside mean within 1e-4, rms no worse than .0121."""
    disk = (Disk(40, -25, 120),)
    angles = np.arange(600) * 0.3
    found = reconstruct(sinogram(disk, angles, n, center), angles, center=center)
    y, x = np.indices((n, n)) - (n - 1) / 2
    inside = np.hypot(x - 40, y + 25) < 115
    assert abs(found[inside].mean() - 1) < 1e-4
    assert rms((found - picture(disk, n))[np.hypot(x, y) < 195]) < 0.0110


@pytest.mark.parametrize("method", ["gridding", "fbp", "sirt", "mlem"])
@pytest.mark.parametrize("size", [80, 81, 64, 97])
@pytest.mark.parametrize("center", [39.5, 43.2])
def test_orientation_and_place(method: str, size: int, center: float) -> None:
    """A lopsided object comes out where it is, on odd, even, cropped and enlarged pictures, about any axis."""
    found = reconstruct(sinogram(LOPSIDED, HALF_TURN, 80, center), HALF_TURN, center, method, size=size)  # type: ignore[arg-type]
    y, x = np.indices((size, size)) - (size - 1) / 2
    mass = found * (np.hypot(x - 14, y + 7) < 12)
    assert (mass * x).sum() / mass.sum() == pytest.approx(14, abs=0.15)
    assert (mass * y).sum() / mass.sum() == pytest.approx(-7, abs=0.15)
    assert mass.sum() == pytest.approx(np.pi * 9**2, rel=0.03)


@pytest.mark.parametrize("method", LINEAR)
@pytest.mark.parametrize(
    "angles",
    [
        np.arange(0, 360, 1.5),
        np.arange(-140, 40, 1.0)[::-1],
        np.linspace(0, 180, 181),
        np.sort(np.random.default_rng(5).uniform(0, 180, 300)),
        np.repeat(np.arange(0, 180, 1.0), 2),
        np.concatenate([np.arange(0, 90, 0.5), np.arange(90, 180, 1.5)]),
    ],
    ids=["whole turn", "backwards", "both ends", "random", "repeated", "two steps"],
)
def test_scans_of_any_order_and_range(method: str, angles: np.ndarray) -> None:
    truth, seen = picture(several(80), 80), field_of_view(80)
    found = reconstruct(sinogram(several(80), angles, 80), angles, None, method)  # type: ignore[arg-type]
    assert np.corrcoef(found[seen], truth[seen])[0, 1] > 0.97
    assert found[seen].mean() == pytest.approx(truth[seen].mean(), rel=0.01)


def test_shuffled_projections_give_the_same_slice() -> None:
    order = np.random.default_rng(0).permutation(180)
    rows = sinogram(several(64), HALF_TURN, 64)
    np.testing.assert_allclose(
        reconstruct(rows[order], HALF_TURN[order], None), reconstruct(rows, HALF_TURN, None), atol=1e-5
    )


@pytest.mark.parametrize("method", ["gridding", "fbp", "sirt"])
def test_failed_projections_are_left_out(method: str) -> None:
    rows = sinogram(several(64), HALF_TURN, 64)
    rows[[7, 80, 81]] = np.nan
    kept = np.delete(np.arange(180), [7, 80, 81])
    np.testing.assert_array_equal(
        reconstruct(rows, HALF_TURN, None, method),  # type: ignore[arg-type]
        reconstruct(rows[kept], HALF_TURN[kept], None, method),  # type: ignore[arg-type]
    )


def test_other_nan_are_refused_with_their_number() -> None:
    rows = sinogram(several(64), HALF_TURN, 64)
    rows[3, 4:9] = np.nan
    with pytest.raises(DataError, match=r"not finite at 5 of 11520 positions, the first at angle 3, translation 4"):
        reconstruct(rows, HALF_TURN)


@pytest.mark.parametrize("method", ["gridding", "fbp", "sirt", "mlem"])
def test_channels_threads_and_blocks_change_no_bit(method: str) -> None:
    rng = np.random.default_rng(1)
    rows = (sinogram(several(40), HALF_TURN[::6], 40)[..., None] * rng.random(70)).astype(np.float32)
    options = {"iterations": 5, "tolerance": 0.05} if method in ("sirt", "mlem") else {}
    whole = reconstruct(rows, HALF_TURN[::6], None, method, threads=1, **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(whole, reconstruct(rows, HALF_TURN[::6], None, method, threads=3, **options))  # type: ignore[arg-type]
    for k in (0, 15, 16, 69):
        alone = reconstruct(rows[..., k], HALF_TURN[::6], None, method, **options)  # type: ignore[arg-type]
        np.testing.assert_array_equal(whole[..., k], alone)


@pytest.mark.parametrize("name", ["shepp-logan", "cosine", "hamming", "hann", "tukey", "lanczos"])
@pytest.mark.parametrize("method", LINEAR)
def test_filters_keep_the_level_and_lower_the_noise(name: str, method: str) -> None:
    rows = sinogram((Disk(0, 0, 25),), HALF_TURN, 64)
    noise = np.random.default_rng(0).normal(size=rows.shape).astype(np.float32)
    plan = build_plan(ParallelBeam.build(HALF_TURN, 64), method, filter=name)  # type: ignore[arg-type]
    ramp = build_plan(ParallelBeam.build(HALF_TURN, 64), method)  # type: ignore[arg-type]
    assert plan(rows)[20:44, 20:44].mean() == pytest.approx(1, abs=0.01)
    assert plan(noise).std() < 0.95 * ramp(noise).std()


@pytest.mark.parametrize("method", LINEAR)
def test_edge_padding_keeps_the_level_of_an_object_wider_than_the_field(method: str) -> None:
    wide = sinogram((Disk(0, 0, 60), Disk(10, 5, 8, 1.0)), HALF_TURN, 160)[:, 40:120]
    zeros, edge = (reconstruct(wide, HALF_TURN, None, method, padding=padding) for padding in ("zeros", "edge"))  # type: ignore[arg-type]
    spread = [np.ptp(found[[40, 40, 40], [15, 40, 65]]) for found in (zeros, edge)]
    assert spread[1] < 0.2
    assert spread[1] < spread[0]


def test_pixel_size_turns_the_result_into_signal_per_length() -> None:
    rows = sinogram(several(64), HALF_TURN, 64)
    per_pixel = reconstruct(rows, HALF_TURN, None)
    for method in ("gridding", "fbp", "sirt"):
        per_micrometre = reconstruct(rows, HALF_TURN, None, method, pixel_size=0.5)  # type: ignore[arg-type]
        assert per_micrometre[20:40, 20:40].mean() == pytest.approx(2 * per_pixel[20:40, 20:40].mean(), rel=0.02)


def test_a_short_range_needs_consent() -> None:
    angles = np.arange(0, 120, 1.0)
    rows = sinogram(several(64), angles, 64)
    with pytest.raises(DataError, match="angle range is too short"):
        reconstruct(rows, angles, None)
    found = reconstruct(rows, angles, None, allow_missing_wedge=True)
    assert np.corrcoef(found.ravel(), picture(several(64), 64).ravel())[0, 1] > 0.8


def test_labels_go_from_sinogram_to_slices() -> None:
    rows = np.stack([sinogram(several(64), HALF_TURN, 64, 33.0)] * 2)[..., None] * np.arange(1, 4, dtype=np.float32)
    labelled = xr.DataArray(
        rows,
        dims=("layer", "angle", "translation", "radial"),
        coords={
            "angle": ("angle", np.deg2rad(HALF_TURN), {"units": "rad"}),
            "translation": ("translation", np.arange(64) * 5.0, {"units": "um"}),
            "radial": ("radial", [1.0, 2.0, 3.0], {"units": "1/nm"}),
        },
        name="intensity",
        attrs={"units": "count"},
    )
    volume = reconstruct(labelled)
    assert volume.dims == ("layer", "y", "x", "radial")
    assert volume.attrs["units"] == "count/um"
    assert volume.attrs["center_pixels"] == pytest.approx(33.0, abs=0.1)
    assert volume.x.attrs["units"] == "um"
    np.testing.assert_allclose(volume.x[[0, -1]], [-157.5, 157.5])
    np.testing.assert_allclose(volume[0, :, :, 1], 2 * volume[1, :, :, 0], atol=1e-5)
    plain = reconstruct(rows[0], HALF_TURN, volume.attrs["center_pixels"], pixel_size=5.0)
    np.testing.assert_array_equal(volume[0].values, plain)


def test_estimates_that_differ_are_told() -> None:
    rng = np.random.default_rng(0)
    with pytest.warns(CenterWarning, match=r"centre of rotation|center"):
        reconstruct(rng.random((60, 48)).astype(np.float32), np.arange(0, 180, 3.0))


def test_wrong_calls_are_explained() -> None:
    rows = sinogram(several(32), HALF_TURN, 32)
    with pytest.raises(DataError, match="90 angles for 180 projections"):
        reconstruct(rows, HALF_TURN[:90])
    with pytest.raises(DataError, match="angles are not known"):
        reconstruct(rows)
    with pytest.raises(ParameterError, match="no reconstruction method 'art'"):
        reconstruct(rows, HALF_TURN, None, "art")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="sirt has no option filter"):
        reconstruct(rows, HALF_TURN, None, "sirt", filter="hann")
    with pytest.raises(ParameterError, match="'middle'"):
        reconstruct(rows, HALF_TURN, "middle")  # type: ignore[call-overload]
    with pytest.raises(ParameterError, match="width 5"):
        reconstruct(rows, HALF_TURN, None, width=5)


@pytest.mark.parametrize("plan_type", [GriddingPlan, BackprojectionPlan])
def test_plans_survive_pickling_and_check_their_input(plan_type: type) -> None:
    rows = sinogram(several(32), HALF_TURN, 32)
    plan = plan_type.build(ParallelBeam.build(HALF_TURN, 32))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plan))(rows), plan(rows))  # noqa: S301 our own bytes
    with pytest.raises(DataError, match=r"shape \(180, 31\)"):
        plan(rows[:, :31])


def test_another_center_reuses_the_tables() -> None:
    plan = GriddingPlan.build(ParallelBeam.build(HALF_TURN, 48, center=20.0))
    rows = sinogram(several(40), HALF_TURN, 48, 25.3)
    fresh = GriddingPlan.build(ParallelBeam.build(HALF_TURN, 48, center=25.3))
    np.testing.assert_array_equal(plan.with_center(25.3)(rows), fresh(rows))


def test_gridding_is_linear() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 60, 48)).astype(np.float32)
    plan = GriddingPlan.build(ParallelBeam.build(np.arange(0, 180, 3.0), 48))
    np.testing.assert_allclose(plan(2 * a - b), 2 * plan(a) - plan(b), atol=1e-5)


@pytest.mark.parametrize("shape", [(20, 16, 0), (20, 0), (20, 0, 3)])
def test_a_sinogram_without_samples_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="there is nothing to reconstruct"):
        reconstruct(np.zeros(shape, np.float32), np.arange(20) * 9.0, center=8.0)


def labelled_disk(center: float = 38.0) -> xr.DataArray:
    """A disk at x = 0.07 mm, y = -0.04 mm on translations of 0.005 mm."""
    return xr.DataArray(
        sinogram((Disk(14, -8, 5),), HALF_TURN, 80, center),
        dims=("angle", "translation"),
        coords={
            "angle": ("angle", HALF_TURN, {"units": "deg"}),
            "translation": ("translation", 3.0 + np.arange(80) * 0.005, {"units": "mm"}),
        },
    )


@pytest.mark.parametrize("center", ["auto", "given"])
def test_labelled_positions_are_right_whichever_way_the_translations_run(center: str) -> None:
    up = labelled_disk()
    slices = []
    for scan, axis in ((up, 38.0), (up[:, ::-1], 79 - 38.0)):
        found = reconstruct(scan, center=axis if center == "given" else "auto")
        assert found.attrs["center_pixels"] == pytest.approx(axis, abs=0.1)
        mass = found.where(np.hypot(found.x - 0.07, found.y + 0.04) < 0.04, 0.0)
        assert float((mass * found.x).sum() / mass.sum()) == pytest.approx(0.07, abs=0.001)
        assert float((mass * found.y).sum() / mass.sum()) == pytest.approx(-0.04, abs=0.001)
        errors = reconstruct_errors(abs(scan) + 1, center=found.attrs["center_pixels"])
        slices.append((found, errors))
    for one, other in zip(*slices, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(one.x, other.x)


@pytest.mark.parametrize("changed", [lambda t: t**2, lambda t: np.roll(t, 7), np.zeros_like, lambda t: t * np.nan])
def test_uneven_translations_are_refused(changed: Callable[[np.ndarray], np.ndarray]) -> None:
    scan = labelled_disk()
    with pytest.raises(DataError, match="not evenly spaced"):
        reconstruct(scan.assign_coords(translation=changed(scan.translation.values - 3.0)), center=38.0)


def test_angles_are_in_degrees_or_radians_by_their_units() -> None:
    for units in ("deg", "Degrees", "degree", "", " DEG "):
        np.testing.assert_array_equal(angles_in_degrees(xr.DataArray([90.0], attrs={"units": units})), [90.0])
    for units in ("rad", "Radian", "RADIANS"):
        np.testing.assert_allclose(angles_in_degrees(xr.DataArray([np.pi], attrs={"units": units})), [180.0])
    with pytest.raises(DataError, match="'mrad'"):
        angles_in_degrees(xr.DataArray([1.0], attrs={"units": "mrad"}))
