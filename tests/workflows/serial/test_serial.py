"""Serial crystallography: peaks that were put there are found, and sparse frames are within their bound."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import friedel
from friedel.core.errors import FriedelError, OutputError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.io import open_frames, write_image
from friedel.run.inline import InlineRunner
from friedel.techniques.integration import FrameBlock, RadialMap
from friedel.techniques.integration.imaging import NumberedFrames
from friedel.workflows.serial.background import RingBackground
from friedel.workflows.serial.files import read_sparse
from friedel.workflows.serial.spots import PeakSearch, SpotFinder

SHAPE = (150, 170)
CUTOFF, NOISE = 4.0, 1.0


def setup() -> Geometry:
    return Geometry(Detector.from_shape(SHAPE, 2e-4), 0.15, 0.0143, 0.0162, wavelength=1e-10)


def liquid(level: float = 60.0) -> np.ndarray:
    """The smooth scattering of a liquid."""
    radius = setup().center_array("r_mm")
    return level * np.exp(-(((radius - 8) / 5) ** 2)) + 5


def still(seed: int, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """A frame with spots of about 3 x 3 pixels, and their places (y, x), not on the smallest rings."""
    rng = np.random.default_rng(seed)
    grid = [(y, x) for y in range(12, SHAPE[0] - 12, 14) for x in range(12, SHAPE[1] - 12, 14)]
    grid = rng.permutation([(y, x) for y, x in grid if np.hypot(y - 71, x - 81) > 20])
    places = grid[:count] + rng.uniform(-0.4, 0.4, (count, 2))
    y, x = np.indices(SHAPE)
    spots = sum(900 * np.exp(-((y - py) ** 2 + (x - px) ** 2) / (2 * 0.8**2)) for py, px in places)
    return rng.poisson(liquid() + spots).astype(np.int32), places


def plan(**options) -> RingBackground:
    defaults = {"npt": 60, "unit": "r_mm", "splitting": "none", "estimator": "sigma-clip", "error_model": "azimuthal"}
    return RingBackground.of(RadialMap.build(setup(), **defaults | options))


def find(background: RingBackground, frames: np.ndarray, **options) -> list:
    return SpotFinder(background, NOISE, **options)(NumberedFrames(0, FrameBlock(frames)))


def test_rings_without_pixels_do_not_count_as_dark() -> None:
    frame = FrameBlock(still(0)[0][None])
    mask = np.abs(setup().center_array("r_mm") - 8) < 1
    expected = plan(mask=mask).fit(frame)
    for found, curve in zip(plan(mask=mask, empty=0.0).fit(frame), expected, strict=True):
        np.testing.assert_array_equal(found, curve)


def test_the_background_is_that_without_spots() -> None:
    mean, std = plan(solid_angle=False).fit(FrameBlock(still(0)[0][None]))
    assert mean.shape == std.shape == (1, 60)
    axis = plan().radial_map.radial.centers
    radius = setup().center_array("r_mm")
    ring = np.clip(np.rint((radius - axis[0]) / (axis[1] - axis[0])), 0, 59).astype(int).ravel()
    count = np.bincount(ring)
    # The level of the liquid varies across a ring, and its counts about that.
    level = np.bincount(ring, liquid().ravel()) / count
    spread = np.sqrt(level + np.bincount(ring, liquid().ravel() ** 2) / count - level**2)
    busy = slice(3, 58)
    assert np.abs((mean[0] - level) / spread * np.sqrt(count))[busy].max() < 4  # standard errors
    assert np.abs((std[0] / spread - 1) * np.sqrt(2 * count))[busy].max() < 4


@pytest.mark.parametrize("patch", [3, 5])
@pytest.mark.parametrize("corrected", [False, True])
def test_peaks_are_found_where_they_are(patch, corrected) -> None:
    rng = np.random.default_rng(1)
    options = {"flat": rng.uniform(0.9, 1.1, SHAPE), "dark": np.full(SHAPE, 3.0)} if corrected else {}
    frame, places = still(3)
    if corrected:
        frame = np.rint(frame * options["flat"] + 3).astype(np.int32)
    search = PeakSearch(cutoff=6.0, patch=patch, connected=3)
    (found,) = find(plan(solid_angle=False, **options), frame[None], search=search)
    assert len(found.peaks) == len(places)
    for y, x in places:
        near = np.hypot(found.peaks["y"] - y, found.peaks["x"] - x)
        assert near.min() < 0.3
        peak = found.peaks[near.argmin()]
        inside = {3: 0.86, 5: 0.98}[patch]  # of a Gaussian of 0.8 pixels
        assert peak["intensity"] == pytest.approx(900 * 2 * np.pi * 0.64 * inside, rel=0.15)
        assert peak["intensity"] / peak["sigma"] > 30


def test_noise_and_single_pixels_are_no_peaks() -> None:
    frame = np.random.default_rng(5).poisson(liquid()).astype(np.int32)
    frame[40, 40] = 5000  # a zinger
    (found,) = find(plan(), frame[None], search=PeakSearch(cutoff=6.0))
    assert not len(found.peaks)


def test_of_two_equal_pixels_one_is_the_peak() -> None:
    frame = np.full(SHAPE, 10.0)
    frame[60, 60:62] = 500
    frame[61, 60:62] = 400
    (found,) = find(plan(solid_angle=False), frame[None], search=PeakSearch())
    assert len(found.peaks) == 1


def test_peaks_beside_masked_pixels_or_the_edge_are_left_out() -> None:
    frame, places = still(3)
    y, x = np.rint(places[0]).astype(int)
    mask = np.zeros(SHAPE, bool)
    mask[y, x + 1] = True
    search = PeakSearch(cutoff=6.0)
    (found,) = find(plan(mask=mask), frame[None], search=search)
    assert len(found.peaks) == len(places) - 1
    marked = frame.copy()
    marked[y, x + 1] = -1
    (found,) = find(plan(dummy=-1.0, negative="keep"), marked[None], search=search)
    assert len(found.peaks) == len(places) - 1
    edge = np.full(SHAPE, 10.0)
    edge[0:2, 30:33] = 1000
    (found,) = find(plan(), edge[None], search=search)
    assert not len(found.peaks)


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4"])
@pytest.mark.parametrize("dark", [None, 7.0])
def test_pixels_beyond_the_background_are_those_that_a_comparison_of_every_pixel_finds(dtype, dark) -> None:
    rng = np.random.default_rng(11)
    shape_of_dark = None if dark is None else rng.uniform(0, dark, SHAPE)
    mask = rng.random(SHAPE) < 0.2
    background = plan(mask=mask, dark=shape_of_dark, flat=rng.uniform(0.5, 1.5, SHAPE))
    raw = rng.poisson(liquid(3000.0)).astype(dtype)
    raw[mask] = np.iinfo(dtype).max if dtype != "f4" else np.nan
    if dtype == "f4":
        raw[20, 30] = np.nan
    mean, std = (values[0] for values in background.fit(FrameBlock(raw[None])))
    everywhere = np.arange(raw.size)
    uncertainty = background.at(np.hypot(std, NOISE), everywhere)
    excess = background.corrected(raw.ravel(), everywhere) - background.at(mean, everywhere)
    for cutoff, both_sides in ((0.5, True), (3.0, True), (3.0, False)):
        found = background.beyond(raw.ravel(), mean, np.hypot(std, NOISE), cutoff, both_sides=both_sides)
        assert (np.diff(found) > 0).all() and background.valid[found].all()
        far = (np.abs(excess) if both_sides else excess) > cutoff * uncertainty
        missed = np.setdiff1d(np.flatnonzero(far & background.valid), found)
        assert not len(missed)
        assert cutoff < 3 or len(found) < 0.1 * raw.size


def test_a_plan_needs_a_robust_background() -> None:
    with pytest.raises(ParameterError, match="robust estimator"):
        plan(estimator="mean")
    with pytest.raises(ParameterError, match="robust estimator"):
        plan(error_model="none")


@pytest.fixture
def files(tmp_path):
    frames = np.stack([still(seed)[0] for seed in range(5)])
    frames[2, 100, 100] = 0  # a dead pixel in one frame
    mask = np.zeros(SHAPE, np.uint8)
    mask[70:75] = 1
    write_image(tmp_path / "mask.npy", mask)
    setup().save(tmp_path / "setup.poni")
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file.create_dataset("entry/data/data", data=frames, chunks=(1, *SHAPE))
    return tmp_path, frames, mask != 0


def options(folder, **more):
    given = {"geometry": folder / "setup.poni", "mask": folder / "mask.npy", "npt": 60, "block_frames": 2}
    return given | more


def test_find_peaks_writes_what_crystfel_reads(files) -> None:
    folder, frames, _ = files
    counted = friedel.find_peaks(folder / "frames.h5", **options(folder, peak_threshold=6, output=folder / "peaks.cxi"))
    result = friedel.find_peaks(folder / "frames.h5", **options(folder, peak_threshold=6))
    np.testing.assert_array_equal(counted["n_peaks"], result["n_peaks"])
    with h5py.File(folder / "peaks.cxi") as file:
        group = file["entry_1/result_1"]
        np.testing.assert_array_equal(group["nPeaks"], result["n_peaks"])
        assert group["peakXPosRaw"].shape == (5, int(result["n_peaks"].max()))
        count = int(group["nPeaks"][0])
        np.testing.assert_allclose(group["peakYPosRaw"][0, :count], result["peak_y"][0, :count])
        assert (group["peakSNR"][0, :count] > 6).all()
        assert not group["peakXPosRaw"][0, count:].any()
        np.testing.assert_array_equal(file["entry_1/data_1/data"][3], frames[3])
    assert 8 <= int(result["n_peaks"][0]) <= 12  # some are beside the mask


def test_find_peaks_writes_a_result(files) -> None:
    folder, _, _ = files
    result = friedel.find_peaks(folder / "frames.h5", **options(folder, output=folder / "peaks.h5"))
    again = friedel.open(folder / "peaks.h5")
    np.testing.assert_array_equal(again["n_peaks"], result["n_peaks"])
    with pytest.raises(FriedelError, match="exists already"):
        friedel.find_peaks(folder / "frames.h5", **options(folder, output=folder / "peaks.h5"))


@pytest.mark.parametrize("polarization", [None, 0.9])
def test_sparse_frames_are_within_their_bound(files, polarization) -> None:
    folder, frames, mask = files
    more = {"keep_threshold": CUTOFF, "readout_noise": NOISE, "polarization": polarization, "peaks": True}
    result = friedel.sparsify(folder / "frames.h5", **options(folder, output=folder / "sparse.h5", **more))
    assert 50 < float(result["n_stored"].mean()) < 0.05 * frames[0].size
    friedel.densify(folder / "sparse.h5", output=folder / "dense.h5")
    dense = open_frames([folder / "dense.h5"]).decoded(0, 5)
    assert dense.dtype == frames.dtype
    sparse = read_sparse(folder / "sparse.h5")
    w = sparse.normalization
    for number in range(5):
        std = np.interp(sparse.mask, sparse.radius, sparse.std[number])
        bound = CUTOFF * np.hypot(std, NOISE) * w + 0.5 + 1e-3
        difference = np.abs(dense[number].astype(float) - frames[number])
        assert (difference[~mask] <= bound[~mask]).all()
    np.testing.assert_array_equal(dense[:, mask], 0)


def test_stored_pixels_are_exact_and_nothing_is_lost_if_all_are_stored(files) -> None:
    folder, frames, mask = files
    friedel.sparsify(
        folder / "frames.h5",
        **options(folder, output=folder / "all.h5", keep_threshold=1e-6, readout_noise=0, polarization=None),
    )
    sparse = read_sparse(folder / "all.h5")
    for number in range(5):
        np.testing.assert_array_equal(sparse.frame(number)[~mask], frames[number][~mask])


def test_noise_repeats_and_stays_within_the_cutoff(files) -> None:
    folder, _, mask = files
    friedel.sparsify(folder / "frames.h5", **options(folder, output=folder / "sparse.h5", solid_angle=False))
    sparse = read_sparse(folder / "sparse.h5")
    one, again, other = sparse.frame(1, seed=3), sparse.frame(1, seed=3), sparse.frame(1, seed=4)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    std = np.interp(sparse.mask, sparse.radius, sparse.std[1])
    assert (np.abs(one.astype(float) - sparse.frame(1)) <= sparse.cutoff * std + 1)[~mask].all()
    kept = sparse.index[sparse.pointers[1] : sparse.pointers[2]]
    np.testing.assert_array_equal(one.ravel()[kept], sparse.frame(1).ravel()[kept])


def test_what_holds_no_sparse_frames_is_refused(files) -> None:
    folder, _, _ = files
    with pytest.raises(FriedelError, match="no sparse frames"):
        friedel.densify(folder / "frames.h5", output=folder / "dense.h5")


class StopsAfter:
    """A plan that fails after some blocks, as if the power did."""

    def __init__(self, finder: SpotFinder, blocks: int) -> None:
        self.finder, self.left = finder, blocks

    def __call__(self, items: NumberedFrames) -> list:
        if not self.left:
            raise OSError("no power")
        self.left -= 1
        return self.finder(items)


@pytest.mark.parametrize("name", ["peaks.cxi", "peaks.h5", "sparse.h5"])
def test_a_run_that_was_stopped_goes_on(files, monkeypatch, name) -> None:
    folder, _, _ = files
    task = friedel.sparsify if name == "sparse.h5" else friedel.find_peaks
    stream = InlineRunner.stream
    looked_at: list[int] = []

    def stopping(self, source, plan, sink, blocks, *more) -> None:
        stream(self, source, StopsAfter(plan, 2), sink, blocks, *more)

    def counting(self, source, plan, sink, blocks, *more) -> None:
        looked_at.append(len(sink.pending(blocks)))
        stream(self, source, plan, sink, blocks, *more)

    given = options(folder, output=folder / name, block_frames=1, threads=1)
    monkeypatch.setattr(InlineRunner, "stream", stopping)
    with pytest.raises(OSError, match="no power"):
        task(folder / "frames.h5", **given)
    log = folder / f"{name}.spots"
    with log.open("ab") as file:
        file.write(b"half a record")
    monkeypatch.setattr(InlineRunner, "stream", counting)
    with pytest.raises(OutputError, match="other parameters"):
        task(folder / "frames.h5", **given | {"readout_noise": 2.0})
    task(folder / "frames.h5", **given)
    assert looked_at == [3] and not log.exists()
    whole = folder / f"whole_{name}"
    task(folder / "frames.h5", **given | {"output": whole})
    assert_same_datasets(folder / name, whole)


def assert_same_datasets(one, other) -> None:
    found: dict[str, np.ndarray] = {}
    with h5py.File(one) as file, h5py.File(other) as again:

        def compare(name, item) -> None:
            if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and "process" not in name:
                found[name] = item[()]
                np.testing.assert_array_equal(item[()], again[name][()], err_msg=name)

        file.visititems(compare)
    assert len(found) > 4


def test_the_file_does_not_depend_on_blocks_and_threads(files) -> None:
    folder, _, _ = files
    for name, more in {"a": {"block_frames": 5, "threads": 1}, "b": {"block_frames": 1, "threads": 2}}.items():
        friedel.sparsify(folder / "frames.h5", **options(folder, output=folder / f"{name}.h5", peaks=True) | more)
    assert_same_datasets(folder / "a.h5", folder / "b.h5")


def test_peaks_can_be_reported(files) -> None:
    folder, _, _ = files
    friedel.find_peaks(
        folder / "frames.h5", **options(folder, output=folder / "peaks.h5", report=folder / "peaks.html")
    )
    assert "Number of peaks" in (folder / "peaks.html").read_text()


@pytest.mark.parametrize("task", [friedel.find_peaks, friedel.sparsify])
@pytest.mark.parametrize("option", [{"monitor": "flux"}, {"normalization_factor": 2.0}, {"format": "nxcansas"}])
def test_options_without_effect_are_refused(tmp_path, task, option) -> None:
    setup().save(tmp_path / "setup.poni")
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["entry/data/data"] = still(0)[0][None]
    with pytest.raises(ParameterError, match=next(iter(option))):
        task(tmp_path / "frames.h5", geometry=tmp_path / "setup.poni", output=tmp_path / "out.h5", **option)


def test_positions_say_where_they_are_counted_from(tmp_path) -> None:
    setup().save(tmp_path / "setup.poni")
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["entry/data/data"] = still(0)[0][None]
    result = friedel.find_peaks(tmp_path / "frames.h5", geometry=tmp_path / "setup.poni", npt=60)
    for name in ("peak_x", "peak_y"):
        assert "first pixel is at 0" in result[name].attrs["origin"]
    assert "origin" not in result["peak_snr"].attrs


def test_a_name_that_promises_another_kind_of_file_is_refused(files) -> None:
    folder, _, _ = files
    for task, name in ((friedel.find_peaks, "peaks.xy"), (friedel.sparsify, "sparse.cxi"), (friedel.sparsify, "a.edf")):
        with pytest.raises(ParameterError, match="cannot be written as"):
            task(folder / "frames.h5", **options(folder, output=folder / name))


def test_dense_frames_go_to_hdf5(tmp_path) -> None:
    with pytest.raises(ParameterError, match=r"dense\.edf: results cannot be written as \.edf"):
        friedel.densify(tmp_path / "sparse.h5", output=tmp_path / "dense.edf")
