"""From patterns back to images: calculated ones, spots apart from the rest, gaps filled."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

import friedel
from friedel.core.context import Context, SilentProgress
from friedel.core.errors import FriedelError, ParameterError
from friedel.core.provenance import Provenance
from friedel.instrument import Detector, Geometry
from friedel.io import read_image, write_image
from friedel.run import InlineRunner
from friedel.techniques.integration import FrameBlock, PatternImages, RadialMap
from friedel.techniques.integration.imaging import NumberedFrames
from friedel.techniques.integration.inpainting import Inpainting, filled_cake, grown
from friedel.techniques.integration.separation import Separation

SHAPE = (120, 110)


def setup() -> Geometry:
    return Geometry(Detector.from_shape(SHAPE, 5e-4), 0.1, 0.031, 0.022, 0.1, -0.05, 0.2, wavelength=0.5e-10)


def corrected(**options) -> dict:
    rng = np.random.default_rng(1)
    return {
        "polarization": 0.95,
        "flat": rng.uniform(0.5, 1.5, SHAPE),
        "dark": rng.uniform(1, 5, SHAPE),
        "npt": 60,
        **options,
    }


def smooth(geometry: Geometry) -> np.ndarray:
    """Counts that change slowly with the scattering angle."""
    angle = geometry.center_array("2th_deg")
    return 200 * np.exp(-angle / 20) + 50 * np.exp(-(((angle - 12) / 4) ** 2))


@pytest.mark.parametrize("npt_azimuth", [None, 24])
def test_a_pattern_of_its_image_is_the_pattern(npt_azimuth) -> None:
    """With the nearest bin and no splitting, each pixel holds what its own bin has: nothing is lost."""
    radial_map = RadialMap.build(setup(), splitting="none", npt_azimuth=npt_azimuth, **corrected())
    patterns = np.random.default_rng(2).uniform(10, 1000, (2, *radial_map.bins))
    images = PatternImages.of(radial_map, "nearest")(patterns)
    again = radial_map(images).intensity
    seen = np.isfinite(again)
    np.testing.assert_allclose(again[seen], patterns[seen], rtol=1e-5)


@pytest.mark.parametrize("npt_azimuth", [None, 36])
@pytest.mark.parametrize("splitting", ["none", "full"])
def test_an_image_of_its_pattern_is_the_image(npt_azimuth, splitting) -> None:
    geometry = setup()
    options = corrected(npt=200 if npt_azimuth is None else 50)
    radial_map = RadialMap.build(geometry, splitting=splitting, npt_azimuth=npt_azimuth, **options)
    w = options["flat"] * geometry.solid_angle() * geometry.polarization(0.95)
    image = smooth(geometry) * w + options["dark"]
    again = PatternImages.of(radial_map)(radial_map(image[None]).intensity)[0]
    inside = np.isfinite(again)
    assert inside.mean() > 0.99
    assert np.abs(again / image - 1)[inside].mean() < 5e-3


def test_the_azimuth_is_closed() -> None:
    """Across the cut, a pixel lies between the last bin and the first."""
    geometry = setup()
    radial_map = RadialMap.build(geometry, npt=20, npt_azimuth=30, solid_angle=False, azimuth_range=(-180, 180))
    cake = np.broadcast_to(np.cos(radial_map.azimuth.centers)[:, None], radial_map.bins)
    image = PatternImages.of(radial_map, extend=True)(cake[None])[0]
    np.testing.assert_allclose(image, np.cos(geometry.azimuth_center()), atol=0.01)


def test_off_the_axes_there_is_nothing() -> None:
    radial_map = RadialMap.build(setup(), npt=20, solid_angle=False, radial_range=(20, 60), azimuth_range=(0, 90))
    image = PatternImages.of(radial_map)(np.ones((1, 20)))[0]
    radius = setup().center_array("q_nm^-1")
    np.testing.assert_array_equal(np.isfinite(image), (radius >= 20) & (radius <= radial_map.radial.high))


def test_factors_and_empty_bins() -> None:
    radial_map = RadialMap.build(setup(), npt=20, solid_angle=False)
    pattern = np.ones((1, 20))
    pattern[0, 5] = np.nan  # one bin: its neighbours stand in
    image = PatternImages.of(radial_map)(pattern, [3.0])
    assert set(np.unique(image[np.isfinite(image)])) == {3.0}
    pattern[0, 5:8] = np.nan
    assert np.isnan(PatternImages.of(radial_map)(pattern)).any()


def spotted(seed: int = 0, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = rng.poisson(smooth(setup()), (count, *SHAPE)).astype(np.int32)
    spots = rng.uniform(size=frames.shape) < 0.01
    return frames + np.where(spots, 2000, 0).astype(np.int32), spots


@pytest.mark.parametrize("estimator", ["percentile", "sigma-clip"])
def test_separated_images_sum_to_the_frame(estimator) -> None:
    frames, _ = spotted()
    radial_map = RadialMap.build(setup(), estimator=estimator, **corrected(dummy=-1.0))
    frames[0, 3, 4] = -1
    parts = Separation.of(radial_map)(NumberedFrames(0, FrameBlock(frames, normalization=np.array([1.0, 2.0]))))
    total = parts["bragg"] + parts["isotropic"]
    known = np.isfinite(total)
    np.testing.assert_allclose(total[known], frames[known], rtol=1e-5)
    assert known.mean() > 0.99
    assert np.isnan(parts["bragg"][0, 3, 4])
    assert np.isfinite(parts["isotropic"][0, 3, 4])


def test_spots_go_to_the_bragg_image() -> None:
    frames, spots = spotted()
    radial_map = RadialMap.build(setup(), npt=60, solid_angle=False, estimator="percentile")
    bragg = Separation.of(radial_map)(NumberedFrames(0, FrameBlock(frames)))["bragg"]
    assert np.nanmedian(bragg[spots]) == pytest.approx(2000, rel=0.02)
    assert np.nanmedian(np.abs(bragg[~spots])) < 15  # noise


def test_the_mean_does_not_separate() -> None:
    with pytest.raises(ParameterError, match="estimator is mean"):
        Separation.of(RadialMap.build(setup(), npt=20))


def gaps() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[40:46] = True
    mask[:, 70:73] = True
    mask[50:75, 35:60] = True  # a beamstop
    return mask


def test_gaps_get_what_lies_beside_them() -> None:
    truth = smooth(setup()).astype(np.float32)
    frames = np.where(gaps(), -7, truth)[None]
    radial_map = RadialMap.build(setup(), mask=gaps(), npt_azimuth=90, **corrected(npt=60, flat=None, dark=None))
    filled = Inpainting.of(radial_map, grow=2)(NumberedFrames(0, FrameBlock(frames)))["inpainted"][0]
    np.testing.assert_array_equal(filled[~gaps()], truth[~gaps()])
    assert np.isfinite(filled).all()
    lines = gaps().copy()
    lines[50:75, 35:60] = False
    assert np.abs(filled / truth - 1)[lines].max() < 0.1
    assert np.abs(filled / truth - 1)[lines].mean() < 0.02


def test_noise_is_that_of_counts_and_repeats() -> None:
    frames = np.full((2, *SHAPE), 400, np.uint16)
    radial_map = RadialMap.build(setup(), mask=gaps(), npt=40, npt_azimuth=60, solid_angle=False)
    plan = Inpainting.of(radial_map, noise=True, seed=5)
    both = plan(NumberedFrames(7, FrameBlock(frames)))["inpainted"]
    alone = plan(NumberedFrames(8, FrameBlock(frames[1:])))["inpainted"]
    np.testing.assert_array_equal(both[1], alone[0])
    assert not np.array_equal(both[0], both[1])
    values = both[:, gaps()]
    assert values.std() == pytest.approx(20, rel=0.1)
    assert values.mean() == pytest.approx(400, rel=0.01)


def test_a_pixel_marked_in_one_frame_is_filled_there() -> None:
    frames = np.full((2, *SHAPE), 30.0)
    frames[1, 60, 60] = np.nan
    radial_map = RadialMap.build(setup(), npt=40, npt_azimuth=60, solid_angle=False)
    filled = Inpainting.of(radial_map)(NumberedFrames(0, FrameBlock(frames)))["inpainted"]
    np.testing.assert_allclose(filled, 30.0, rtol=1e-6)


def test_a_cake_is_filled_along_rings_first() -> None:
    cake = np.full((4, 5), np.nan, np.float32)
    cake[1, 0], cake[3, 0] = 10, 30
    cake[:, 2] = 5
    filled = filled_cake(cake, closed=True, span=1)
    np.testing.assert_allclose(filled[:, 0], [20, 10, 20, 30])  # between row 3 and row 1 across the cut
    np.testing.assert_allclose(filled[:, 1], [12.5, 7.5, 12.5, 17.5])
    assert np.isnan(filled[:, 3:]).all()
    assert np.isnan(filled_cake(cake, closed=True)[:, 1]).all()
    np.testing.assert_allclose(filled_cake(cake, closed=False)[0, 0], 10)


def test_masks_grow() -> None:
    mask = np.zeros((7, 7), bool)
    mask[3, 3] = True
    assert grown(mask, 2).sum() == 13


@pytest.fixture
def files(tmp_path):
    frames, _ = spotted(count=3)
    setup().save(tmp_path / "setup.poni")
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["entry/data/data"] = frames
    write_image(tmp_path / "mask.npy", gaps())
    return tmp_path, frames


def test_separate_writes_a_file(files) -> None:
    folder, frames = files
    given = {"geometry": folder / "setup.poni", "npt": 60, "output": folder / "parts.h5"}
    result = friedel.separate(folder / "frames.h5", **given)
    assert result.sizes == {"frame": 3, "y": SHAPE[0], "x": SHAPE[1]}
    assert result.attrs["default"] == "bragg"
    total = (result["bragg"] + result["isotropic"]).values
    np.testing.assert_allclose(total[np.isfinite(total)], frames[np.isfinite(total)], rtol=1e-5)
    again = friedel.separate(folder / "frames.h5", **given)
    np.testing.assert_array_equal(again["bragg"], result["bragg"])


def test_inpaint_fills_the_mask(files) -> None:
    folder, frames = files
    result = friedel.inpaint(
        folder / "frames.h5", geometry=folder / "setup.poni", mask=folder / "mask.npy", npt=60, block_frames=2
    )
    np.testing.assert_array_equal(result["inpainted"].values[:, ~gaps()], frames[:, ~gaps()])
    assert np.isfinite(result["inpainted"]).all()
    assert result.attrs["unfilled_pixels"] == 0


def stopped() -> np.ndarray:
    """Gaps, and a beamstop over the beam."""
    return gaps() | (setup().center_array("q_nm^-1") < 8)


def behind_the_beamstop(mask: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Masked pixels that are nearer to the beam than every pixel that is not, by `margin` (1/nm) at least."""
    radius = setup().center_array("q_nm^-1")
    return mask & (radius < radius[~mask].min() - margin)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("npt", [30, 60, 300])
@pytest.mark.parametrize("splitting", ["none", "full"])
def test_where_no_pixel_of_the_ring_is_valid_nothing_is_invented(noise, npt, splitting) -> None:
    geometry, mask = setup(), stopped()
    radius = geometry.center_array("q_nm^-1")
    step = np.hypot(*np.gradient(radius)).max()
    ring = (radius > 60) & (radius < 60 + 12 * step)
    frames = np.where(mask | ring, -7, smooth(geometry)).astype(np.float32)[None]
    options = {"npt": npt, "npt_azimuth": 36, "splitting": splitting, "solid_angle": False}
    radial_map = RadialMap.build(geometry, mask=mask | ring, **options)
    bin_width = (radial_map.radial.high - radial_map.radial.low) / npt
    parts = Inpainting.of(radial_map, noise=noise)(NumberedFrames(0, FrameBlock(frames)))
    filled = parts["inpainted"][0]
    margin = bin_width + step
    center = behind_the_beamstop(mask, margin)
    inner = (radius > 60 + margin) & (radius < 60 + 12 * step - margin)
    assert center.any() and inner.any()
    assert np.isnan(filled[center]).all()
    assert np.isnan(filled[inner]).all()
    assert parts["unfilled"].tolist() == [np.isnan(filled).sum()]


def test_inpaint_says_how_many_pixels_it_leaves_unknown(files) -> None:
    folder, _ = files
    write_image(folder / "stopped.npy", stopped())
    given = {"geometry": folder / "setup.poni", "mask": folder / "stopped.npy", "npt": 60}
    messages: list[str] = []
    progress = SilentProgress()
    progress.message = messages.append  # type: ignore[method-assign]
    result = friedel.inpaint(folder / "frames.h5", **given, output=folder / "filled.h5", progress=progress)
    unknown = np.isnan(result["inpainted"].values).sum(axis=(1, 2))
    assert unknown.min() >= behind_the_beamstop(stopped()).sum() / 2 > 0
    np.testing.assert_array_equal(result["unfilled"], unknown)
    assert result.attrs["unfilled_pixels"] == unknown.sum()
    assert any(f"{unknown.sum()} pixels" in message for message in messages)


def pyfai_config(folder, **changes) -> str:
    """The configuration of a pyFAI worker with the geometry of `setup`."""
    geometry = setup()
    poni = {"dist": geometry.distance, "detector": "Detector", "wavelength": geometry.wavelength}
    poni |= {name: getattr(geometry, name) for name in ("poni1", "poni2", "rot1", "rot2", "rot3")}
    poni["detector_config"] = {"pixel1": 5e-4, "pixel2": 5e-4, "max_shape": SHAPE, "orientation": 3}
    config = {"application": "pyfai-integrate", "version": 5, "poni": poni, "nbpt_rad": 60, "unit": "q_nm^-1"}
    (folder / "worker.json").write_text(json.dumps(config | changes))
    return str(folder / "worker.json")


@pytest.mark.parametrize("dummy", [None, -1.0])
def test_gaps_are_filled_with_the_configuration_of_pyfai_too(files, dummy) -> None:
    """There, bins without pixels hold 0 or the dummy: that is for patterns, not for cakes that gaps are filled from."""
    folder, _ = files
    given = {"mask": folder / "mask.npy", "solid_angle": False, "npt": 60}
    config = pyfai_config(folder, val_dummy=dummy)
    with h5py.File(folder / "flat.h5", "w") as file:
        file["entry/data/data"] = np.full((1, *SHAPE), 100, np.int32)
    result = friedel.inpaint(folder / "flat.h5", pyfai_config=config, **given)
    values = result["inpainted"].values[:, gaps()]
    np.testing.assert_allclose(values, 100, rtol=1e-5)
    patterns = friedel.integrate1d(folder / "flat.h5", pyfai_config=config, radial_range=(0, 500), **given)
    assert patterns["intensity"].values[0, -1] == (dummy or 0)


@pytest.mark.parametrize("empty", [0.0, -1.0])
def test_plans_do_not_take_the_value_of_empty_bins_for_counts(empty) -> None:
    frames = NumberedFrames(0, FrameBlock(np.full((1, *SHAPE), 100, np.int32)))
    options = {"npt": 60, "npt_azimuth": 90, "mask": gaps(), "solid_angle": False, "empty": empty}
    filled = Inpainting.of(RadialMap.build(setup(), **options), grow=2)(frames)["inpainted"]
    np.testing.assert_allclose(filled, 100, rtol=1e-5)
    options |= {"npt_azimuth": None, "mask": setup().center_array("q_nm^-1") < 30}
    parts = Separation.of(RadialMap.build(setup(), **options, estimator="percentile"))(frames)
    known = np.isfinite(parts["isotropic"])
    np.testing.assert_allclose(parts["isotropic"][known], 100, rtol=1e-5)


def test_pixels_without_an_estimate_stay_unknown_with_noise() -> None:
    frames = np.full((1, *SHAPE), np.nan)
    radial_map = RadialMap.build(setup(), npt=40, npt_azimuth=60, solid_angle=False)
    filled = Inpainting.of(radial_map, noise=True)(NumberedFrames(0, FrameBlock(frames)))["inpainted"]
    assert np.isnan(filled).all()


def test_only_patterns_have_a_value_for_empty_bins(files) -> None:
    folder, _ = files
    with pytest.raises(FriedelError, match="empty"):
        friedel.inpaint(folder / "frames.h5", geometry=folder / "setup.poni", empty=-1.0)


@pytest.mark.parametrize("cake", [False, True])
def test_calculate_image_is_the_inverse_of_integration(files, cake) -> None:
    folder, _ = files
    geometry = setup()
    counts = smooth(geometry) * geometry.solid_angle() * geometry.polarization(0.95)
    with h5py.File(folder / "smooth.h5", "w") as file:
        file["entry/data/data"] = counts[None].astype(np.float32)
    task = friedel.integrate2d if cake else friedel.integrate1d
    given = {"geometry": folder / "setup.poni", "polarization": 0.95}
    task(folder / "smooth.h5", **given, npt=80, output=folder / "patterns.h5")
    image = friedel.calculate_image(folder / "patterns.h5", **given)["image"].values[0]
    known = np.isfinite(image)
    assert known.mean() > 0.98
    assert np.abs(image / counts - 1)[known].mean() < 0.01


def test_calculate_image_reads_text_and_writes_images(files) -> None:
    folder, _ = files
    position = np.linspace(0, 60, 100)
    np.savetxt(folder / "flat.xy", np.stack([position, np.full(100, 7.0)], 1), header="2th_deg intensity")
    given = {"geometry": folder / "setup.poni", "solid_angle": False, "empty": 0, "output": folder / "image.edf"}
    friedel.calculate_image(folder / "flat.xy", unit="2th_deg", **given)
    image = read_image(folder / "image.edf")
    assert set(np.unique(image)) <= {0.0, 7.0}
    with pytest.raises(FriedelError, match="exists already"):
        friedel.calculate_image(folder / "flat.xy", unit="2th_deg", **given)


@pytest.mark.parametrize("ending", ["edf", "tif", "npy"])
def test_images_of_a_frame_are_written_as_image_files(files, ending) -> None:
    folder, _ = files
    given = {"geometry": folder / "setup.poni", "npt": 60, "frame_range": "1:2"}
    frames = folder / "frames.h5"
    page = folder / "report.html"
    parts = friedel.separate(frames, **given, output=folder / f"parts.{ending}", report=page)
    assert page.exists()
    for name, variable in (("bragg", "bragg"), ("amorphous", "isotropic")):
        np.testing.assert_array_equal(read_image(folder / f"parts_{name}.{ending}"), parts[variable].values[0])
    filled = friedel.inpaint(frames, **given, mask=folder / "mask.npy", output=folder / f"filled.{ending}")
    np.testing.assert_array_equal(read_image(folder / f"filled.{ending}"), filled["inpainted"].values[0])
    with pytest.raises(FriedelError, match="exists already"):
        friedel.separate(frames, **given, output=folder / f"parts.{ending}")


def test_images_of_several_frames_are_numbered(files) -> None:
    folder, _ = files
    given = {"geometry": folder / "setup.poni", "npt": 60, "output": folder / "some.npy"}
    result = friedel.separate(folder / "frames.h5", **given)
    names = sorted(path.name for path in folder.glob("some*"))
    assert names == [f"some_{part}_{number:05d}.npy" for part in ("amorphous", "bragg") for number in range(3)]
    np.testing.assert_array_equal(np.load(folder / "some_bragg_00002.npy"), result["bragg"].values[2])


def test_cbf_has_whole_numbers_and_no_doubt_what_is_missing(files) -> None:
    folder, _ = files
    given = {"geometry": folder / "setup.poni", "npt": 60, "frame_range": "0:1", "mask": folder / "mask.npy"}
    filled = friedel.inpaint(folder / "frames.h5", **given, output=folder / "filled.cbf")["inpainted"].values[0]
    expected = np.where(np.isfinite(filled), np.rint(filled), -1)
    np.testing.assert_array_equal(read_image(folder / "filled.cbf"), expected)
    with pytest.raises(FriedelError, match="-1"):  # spots less the background are negative by noise
        friedel.separate(folder / "frames.h5", **given, output=folder / "parts.cbf")
    assert not list(folder.glob("parts*"))


def test_what_is_no_pattern_is_refused(files) -> None:
    folder, _ = files
    with pytest.raises(FriedelError, match="cannot be written"):
        friedel.separate(folder / "frames.h5", geometry=folder / "setup.poni", output=folder / "out.jpg")
    friedel.separate(folder / "frames.h5", geometry=folder / "setup.poni", output=folder / "parts.h5")
    with pytest.raises(FriedelError, match="holds no patterns or cakes"):
        friedel.calculate_image(folder / "parts.h5", geometry=folder / "setup.poni")


@pytest.mark.parametrize("task", [friedel.inpaint, friedel.separate])
def test_layouts_of_patterns_are_refused(files, task) -> None:
    folder, _ = files
    with pytest.raises(ParameterError, match="format is nxcansas"):
        task(folder / "frames.h5", geometry=folder / "setup.poni", format="nxcansas")


def test_gaps_are_filled_with_the_estimator_that_is_asked_for(files) -> None:
    folder, _ = files
    frames = np.full((1, *SHAPE), 100, np.int32)
    frames[0, ::7, ::5] = 100000
    with h5py.File(folder / "spots.h5", "w") as file:
        file["entry/data/data"] = frames
    result = friedel.inpaint(
        folder / "spots.h5",
        geometry=folder / "setup.poni",
        mask=folder / "mask.npy",
        solid_angle=False,
        splitting="none",
        npt=20,
        npt_azimuth=8,
        estimator="percentile",
    )
    values = result["inpainted"].values[:, gaps()]
    assert np.median(values) == pytest.approx(100) and (values < 101).mean() > 0.95


def test_gpus_that_are_not_used_are_told_of() -> None:
    messages: list[str] = []
    progress = SilentProgress()
    progress.message = messages.append  # type: ignore[method-assign]
    record = Provenance.begin("inpaint", 1, {}, "cuda:0")
    context = Context(InlineRunner(), "cuda:0", progress, provenance=record).on_cpu("Images are made")
    assert messages == ["Images are made on the CPU; the device cuda:0 is not used."]
    assert context.device == "cpu" and context.provenance is not None and context.provenance.device == "cpu"
    assert context.on_cpu("Images are made") is context


def test_a_unit_that_is_not_that_of_the_patterns_is_refused(files) -> None:
    folder, _ = files
    given = {"geometry": folder / "setup.poni"}
    friedel.integrate1d(folder / "frames.h5", **given, npt=40, output=folder / "patterns.h5")
    with pytest.raises(ParameterError, match="unit is 2th_deg"):
        friedel.calculate_image(folder / "patterns.h5", **given, unit="2th_deg")
    friedel.calculate_image(folder / "patterns.h5", **given, unit="q_nm^-1")


def test_a_seed_without_noise_is_refused(files) -> None:
    folder, _ = files
    with pytest.raises(ParameterError, match="seed"):
        friedel.inpaint(folder / "frames.h5", geometry=folder / "setup.poni", seed=3)
