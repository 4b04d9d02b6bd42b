"""Correction of distortion and its inverse: exact shares, counts kept, files, geometry of the corrected frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.core.context import Context
from friedel.core.errors import DataError, GeometryError, OutputError, ParameterError
from friedel.instrument import Detector, Geometry, PixelTable
from friedel.instrument.detector_file import corner_table
from friedel.io import open_dataset, open_frames, read_image, write_image
from friedel.run.inline import InlineRunner
from friedel.run.threads import ThreadRunner
from friedel.techniques.images.regridding import Grid, Overlap
from friedel.techniques.images.tasks import distort, undistort
from io_files import nexus, stack

SHAPE = (24, 31)
PIXEL = 1e-4


def execute(task, runner=None, messages=None, **values) -> xr.Dataset:
    context = Context(runner or InlineRunner())
    if messages is not None:
        context.progress.message = messages.append  # type: ignore[method-assign]
    return task.execute(task.parameters.parse(values), context)


def displaced(move, orientation: int = 3, shape=SHAPE, mask=None) -> Detector:
    """A detector whose corners at (y, x), in pixels, are moved to move(y, x)."""
    detector = Detector.from_shape(shape, PIXEL)
    corners = corner_table(detector).astype(float)
    y, x = corners[..., 1] / PIXEL, corners[..., 2] / PIXEL
    corners[..., 1], corners[..., 2] = (values * PIXEL for values in move(y, x))
    return replace(detector, pixels=PixelTable(corners, mask), orientation=orientation)


def barrel(y, x):
    """A smooth distortion by up to two pixels."""
    v, u = (y - SHAPE[0] / 2) / SHAPE[0], (x - SHAPE[1] / 2) / SHAPE[1]
    return y + 3 * v * u + 2 * v * (u * u + v * v), x - 4 * u * (u * u + v * v)


@pytest.fixture
def detector_file(tmp_path) -> Path:
    displaced(barrel).save(tmp_path / "det.h5")
    return tmp_path / "det.h5"


def test_no_distortion_changes_nothing(tmp_path):
    frames = stack(3, *SHAPE)
    displaced(lambda y, x: (y, x)).save(tmp_path / "det.h5")
    scan = nexus(tmp_path / "scan.h5", frames, samx=np.arange(3.0), samz=np.array(2.5))
    for task, name in ((undistort, "undistorted"), (distort, "distorted")):
        result = execute(task, frames=scan, detector=tmp_path / "det.h5")
        np.testing.assert_allclose(result[name], frames, rtol=2e-5)
        np.testing.assert_allclose(result["coverage"], 1, atol=1e-5)
        assert result["samx"].values.tolist() == [0, 1, 2]
        assert result["samz"].dims == ()
        assert float(result["samz"]) == 2.5


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_shift_by_whole_pixels_moves_the_image(tmp_path, orientation):
    detector = replace(displaced(lambda y, x: (y + 2, x + 1)), orientation=orientation)
    rows, columns = Grid.of(detector).shape
    image = np.arange(1.0, rows * columns + 1).reshape(rows, columns)
    overlap = Overlap.build(detector, Grid.of(detector))
    moved = np.bincount(overlap.shares.bins, overlap.shares.weights * image.ravel()[overlap.owners()], image.size)
    down, right = (-2 if orientation in (1, 2) else 2), (-1 if orientation in (1, 4) else 1)
    expected = np.roll(image, (down, right), (0, 1))
    inside = moved.reshape(image.shape) > 0
    np.testing.assert_allclose(moved.reshape(image.shape)[inside], expected[inside], rtol=1e-5)
    assert inside.sum() == (rows - 2) * (columns - 1)


@given(
    st.integers(0, 2**32),
    st.floats(-0.3, 0.3),
    st.sampled_from([1, 2, 3, 4]),
)
@settings(max_examples=30)
def test_counts_are_conserved(seed, strength, orientation):
    """On a grid that holds all pixels every count is somewhere, whatever the shape of the pixels."""
    random = np.random.default_rng(seed)
    moves = random.uniform(-1, 1, (2, 10, 13)) * strength
    detector = replace(
        displaced(
            lambda y, x: (
                y + moves[0][np.rint(y).astype(int), np.rint(x).astype(int)],
                x + moves[1][np.rint(y).astype(int), np.rint(x).astype(int)],
            ),
            shape=(9, 12),
        ),
        orientation=orientation,
    )
    overlap = Overlap.build(detector, Grid.of(detector, resize=True))
    totals = np.bincount(overlap.owners(), overlap.shares.weights, overlap.shares.n_pixels)
    np.testing.assert_allclose(totals, 1, atol=2e-6)
    # What covers the grid is the area of all pixels; contiguous pixels cover none of it twice.
    coverage = overlap.coverage()
    np.testing.assert_allclose(coverage.sum(), overlap.areas.sum(), rtol=1e-5)
    assert coverage.max() < 1 + 1e-5
    # The inverse gives each pixel of the grid away once, as far as it is covered.
    inverse = overlap.inverse()
    given_away = np.add.reduceat(np.append(inverse.weights, 0), np.minimum(inverse.pointers[:-1], len(inverse.weights)))
    given_away[np.diff(inverse.pointers) == 0] = 0
    np.testing.assert_allclose(given_away.reshape(coverage.shape), coverage, atol=1e-5)


def test_a_smooth_image_comes_back(tmp_path, detector_file):
    y, x = np.indices(SHAPE)
    image = 1000 + 100 * np.sin(y / 4) * np.cos(x / 5)
    np.save(tmp_path / "image.npy", image)
    write_image(tmp_path / "image.edf", image)
    seen = execute(distort, frames=tmp_path / "image.edf", detector=detector_file, output=tmp_path / "seen.edf")
    back = execute(undistort, frames=tmp_path / "seen.edf", detector=detector_file)
    whole = np.asarray(back["coverage"] > 0.9999)
    whole[:3] = whole[-3:] = whole[:, :3] = whole[:, -3:] = False  # pixels at the rim spread what lies beyond it
    assert whole.sum() > 300
    np.testing.assert_allclose(back["undistorted"].values[0][whole], image[whole], rtol=0.01)
    total = float(seen["distorted"].sum())
    assert total == pytest.approx(float((image * back["coverage"]).sum()), rel=1e-5)


def test_intensity_is_a_mean(tmp_path, detector_file):
    write_image(tmp_path / "even.edf", np.full(SHAPE, 7.0))
    for task, name in ((undistort, "undistorted"), (distort, "distorted")):
        result = execute(task, frames=tmp_path / "even.edf", detector=detector_file, conserve="intensity")
        values = result[name].values
        np.testing.assert_allclose(values[np.isfinite(values)], 7.0, rtol=1e-5)


def test_corrections_mask_and_marks(tmp_path, detector_file):
    frames = stack(2, *SHAPE, "i4")
    frames[1, 5, 5] = -1
    mask, dark, flat = (
        np.zeros(SHAPE, bool),
        np.full(SHAPE, 4.0),
        np.linspace(0.5, 2, SHAPE[0] * SHAPE[1]).reshape(SHAPE),
    )
    mask[10:14, 10:14] = True
    for name, image in (("mask", mask), ("dark", dark), ("flat", flat)):
        write_image(tmp_path / f"{name}.edf", image)
    scan = nexus(tmp_path / "scan.h5", frames, flux=np.array([1.0, 2.0]))
    files = {name: tmp_path / f"{name}.edf" for name in ("mask", "dark", "flat")}
    result = execute(
        undistort,
        frames=scan,
        detector=detector_file,
        monitor="flux",
        dummy=-1,
        error_model="poisson",
        empty=-5,
        **files,
    )
    overlap = Overlap.build(displaced(barrel), Grid(SHAPE), mask)
    owners, bins, weights = overlap.owners(), overlap.shares.bins, overlap.shares.weights
    for number, factor in enumerate((1.0, 2.0)):
        raw = frames[number].ravel()
        good = raw[owners] != -1
        corrected = (raw - dark.ravel()) / flat.ravel() / factor
        expected = np.bincount(bins, np.where(good, weights * corrected[owners], 0), raw.size).reshape(SHAPE)
        known = np.bincount(bins, good, raw.size).reshape(SHAPE) > 0
        np.testing.assert_allclose(result["undistorted"].values[number][known], expected[known], rtol=1e-4, atol=1e-4)
        assert (result["undistorted"].values[number][~known] == -5).all()
        variance = np.maximum(raw, 1) / flat.ravel() ** 2 / factor**2
        error = np.sqrt(np.bincount(bins, np.where(good, weights**2 * variance[owners], 0), raw.size)).reshape(SHAPE)
        np.testing.assert_allclose(result["undistorted_errors"].values[number][known], error[known], rtol=1e-4)
    with pytest.raises(DataError, match="below zero"):
        execute(undistort, frames=scan, detector=detector_file, error_model="poisson")


def test_resized_frames_hold_all_counts_and_have_a_geometry(tmp_path):
    detector = displaced(lambda y, x: (1.1 * y - 3, 1.2 * x - 2)).save(tmp_path / "det.h5")
    geometry = Geometry(detector, 0.1, 1e-3, 1.2e-3, 0.1, wavelength=1e-10)
    geometry.save(tmp_path / "setup.poni")
    frames = stack(5, *SHAPE)
    scan = nexus(tmp_path / "scan.h5", frames)
    output = tmp_path / "flat.h5"
    messages: list[str] = []
    result = execute(
        undistort, ThreadRunner(2), messages, frames=scan, detector=tmp_path / "setup.poni", resize=True, output=output
    )
    np.testing.assert_allclose(result["undistorted"].sum(("y", "x")), frames.sum(axis=(1, 2)), rtol=1e-6)
    corrected = Geometry.load(tmp_path / "flat.poni")
    assert corrected.shape == result["undistorted"].shape[1:] and not corrected.detector.displaced
    # The pixel of the grid that a detector pixel falls into sees the same angle.
    p1, p2, _ = detector.center_positions(slice(None))
    row, column = ((p - offset) / PIXEL for p, offset in ((p1, -3 * PIXEL), (p2, -2 * PIXEL)))
    theirs = corrected.center_array("q_nm^-1")[row.astype(int), column.astype(int)]
    assert np.abs(geometry.center_array("q_nm^-1") - theirs).max() < np.abs(np.diff(theirs, axis=1)).max()
    assert any("flat.poni" in text for text in messages)
    assert open_frames(output).shape == result["undistorted"].shape
    assert open_dataset(output).attrs["default"] == "undistorted"
    with pytest.raises(OutputError, match="exists"):
        execute(undistort, frames=scan, detector=tmp_path / "setup.poni", output=output)


def test_images_are_numbered(tmp_path, detector_file):
    scan = nexus(tmp_path / "scan.h5", stack(2, *SHAPE))
    result = execute(undistort, frames=scan, detector=detector_file, output=tmp_path / "out.tif")
    np.testing.assert_allclose(read_image(tmp_path / "out_00001.tif"), result["undistorted"][1])


def test_what_cannot_be_done_is_told(tmp_path, detector_file):
    scan = nexus(tmp_path / "scan.h5", stack(2, 5, 6))
    with pytest.raises(DataError, match="5 x 6 pixels, the detector has 24 x 31"):
        execute(undistort, frames=scan, detector=detector_file)
    with pytest.raises(DataError, match="the regular grid has 24 x 31"):
        execute(distort, frames=scan, detector=detector_file)
    Geometry(Detector.from_shape((5, 6), PIXEL), 0.1, 0, 0).save(tmp_path / "plain.poni")
    with pytest.raises(ParameterError, match="not distorted"):
        execute(undistort, frames=scan, detector=tmp_path / "plain.poni")


def test_hexagons_go_to_the_grid_and_keep_their_counts() -> None:
    detector = Detector.hexagonal((12, 10), 1e-4)
    grid = Grid.of(detector, resize=True)
    overlap = Overlap.build(detector, grid)
    shares = np.bincount(overlap.owners(), overlap.shares.weights, 120)
    np.testing.assert_allclose(shares, 1.0, atol=1e-6)
    inner = overlap.coverage()[2:-2, 2:-2]
    np.testing.assert_allclose(inner, 1.0, atol=1e-5)


def test_a_bent_plate_has_no_image_in_a_plane() -> None:
    with pytest.raises(GeometryError, match="one plane"):
        Grid.of(Detector.cylindrical((12, 10), 1e-4, 1e-4, 0.1))
