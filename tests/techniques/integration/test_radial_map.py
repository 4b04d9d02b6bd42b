"""The plan: what patterns it makes, how errors come about, what it refuses, and that it can be stored and sent."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.core.errors import DataError, FileError, GeometryError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.kernels.encoded import EncodedFrames
from friedel.kernels.scatter import reference_scatter
from friedel.techniques.integration import FrameBlock, RadialMap, StreamedMap

SHAPE = (60, 50)
SPLITTINGS = ("none", "bbox", "pseudo", "full")


def setup(**changes) -> Geometry:
    """A small detector near the sample, tilted, with the beam inside."""
    detector = Detector.from_shape(SHAPE, 1e-3)
    return replace(Geometry(detector, 0.1, 0.031, 0.022, 0.1, -0.05, 0.2, wavelength=0.5e-10), **changes)


def poisson_frames(count: int, mean: float = 40.0, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).poisson(mean, (count, *SHAPE)).astype(np.uint32)


@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("npt_azimuth", [None, 12])
def test_a_uniform_source_gives_a_flat_pattern(splitting, npt_azimuth) -> None:
    geometry = setup()
    source = 1000.0 * geometry.solid_angle() * geometry.polarization(0.95)
    radial_map = RadialMap.build(
        geometry, npt=40, splitting=splitting, polarization=0.95, npt_azimuth=npt_azimuth, keep_sums=True
    )
    intensity = radial_map(source[None]).intensity[0]
    seen = np.isfinite(intensity)
    assert seen.mean() > (0.6 if npt_azimuth else 0.9)
    np.testing.assert_allclose(intensity[seen], 1000.0, rtol=1e-6)


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_counts_are_conserved(splitting) -> None:
    # A range from 0 on: the automatic one begins at the nearest corner, the beam's pixel reaches down to the beam.
    frames = poisson_frames(2)
    options = {"npt": 37, "splitting": splitting, "keep_sums": True, "solid_angle": False, "radial_range": (0, 200)}
    sums = RadialMap.build(setup(), **options)(frames).sums
    np.testing.assert_allclose(sums.signal.sum(axis=1), frames.sum(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(sums.count.sum(axis=1), frames[0].size, rtol=1e-6)


@pytest.mark.parametrize("splitting", SPLITTINGS)
@given(weights=st.tuples(st.floats(-5, 5), st.floats(-5, 5)))
@settings(max_examples=10)
def test_patterns_are_linear_in_the_frames(splitting, weights) -> None:
    radial_map = RadialMap.build(setup(), npt=30, splitting=splitting)
    a, b = poisson_frames(2).astype(float)
    parts = radial_map(np.array([a, b, weights[0] * a + weights[1] * b])).intensity
    np.testing.assert_allclose(parts[2], weights[0] * parts[0] + weights[1] * parts[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_turning_the_detector_about_the_beam_changes_no_pattern(splitting) -> None:
    frames = poisson_frames(1)
    patterns = [
        RadialMap.build(setup(rot3=angle), npt=40, splitting=splitting, unit="2th_deg")(frames).intensity
        for angle in (0.3, 2.9)
    ]
    np.testing.assert_allclose(patterns[0], patterns[1], rtol=2e-6 if splitting != "none" else 1e-12)


@pytest.mark.parametrize("orientation", [1, 2, 4])
@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_orientations_are_flips_of_the_stored_array(orientation, splitting) -> None:
    frame = poisson_frames(1)[0]
    flipped = {1: frame[::-1, ::-1], 2: frame[::-1], 4: frame[:, ::-1]}[orientation]
    turned = setup(detector=Detector.from_shape(SHAPE, 1e-3, orientation=orientation))
    for npt_azimuth in (None, 9):
        options = {"npt": 40, "splitting": splitting, "npt_azimuth": npt_azimuth}
        native = RadialMap.build(setup(), **options)(frame[None]).intensity
        stored = RadialMap.build(turned, **options)(np.ascontiguousarray(flipped)[None]).intensity
        np.testing.assert_allclose(stored, native, rtol=2e-6)


@pytest.mark.parametrize("splitting", SPLITTINGS)
@pytest.mark.parametrize("error_model", ["none", "poisson", "azimuthal", "variance"])
def test_intensity_and_errors_follow_their_formulas(splitting, error_model) -> None:
    """I = S/N, σ = √V/N with V = Σ c² v or Σ (c w)² (s/w - I)², the spread √(V/N2): by a plain sum over pixels."""
    geometry = setup()
    frames = poisson_frames(3).astype(np.int32)
    rng = np.random.default_rng(5)
    dark, flat = rng.uniform(0, 3, SHAPE), rng.uniform(0.5, 1.5, SHAPE)
    given_variance = rng.uniform(10, 50, frames.shape) if error_model == "variance" else None
    radial_map = RadialMap.build(
        geometry, npt=30, splitting=splitting, dark=dark, flat=flat, error_model=error_model, keep_sums=True
    )
    w = (flat * geometry.solid_angle()).astype(np.float32)
    sums = reference_scatter(
        radial_map.pixel_map(),
        frames,
        normalization=w,
        dark=dark,
        error_model=error_model,
        variance=given_variance,
    )
    factor = np.array([1.0, 2.0, 0.5])
    found = radial_map(FrameBlock(frames, normalization=factor, variance=given_variance))
    np.testing.assert_allclose(found.intensity, sums.signal / sums.normalization / factor[:, None], rtol=1e-5)
    if error_model == "none":
        assert found.intensity_errors is None
        return
    sigma = np.sqrt(sums.variance) / sums.normalization
    np.testing.assert_allclose(found.intensity_errors, sigma / factor[:, None], rtol=1e-5)
    spread = np.sqrt(sums.variance / sums.normalization_squared)
    np.testing.assert_allclose(found.intensity_std, spread / factor[:, None], rtol=1e-5)


def test_the_first_bin_of_a_range_holds_its_own_pixels_only() -> None:
    """By brute force: with radial_range, nothing from below the range is drawn into the first bin."""
    geometry, frames = setup(), poisson_frames(1)
    radius = geometry.center_array("2th_deg")
    for splitting in SPLITTINGS:
        radial_map = RadialMap.build(
            geometry, npt=10, unit="2th_deg", splitting=splitting, radial_range=(5.0, 10.0), keep_sums=True
        )
        count = radial_map(frames).sums.count[0]
        inside = np.histogram(radius, np.linspace(5.0, 10.0, 11))[0]
        if splitting == "none":
            np.testing.assert_array_equal(count, inside)
        else:
            np.testing.assert_allclose(count, inside, rtol=0.2)
            wide = RadialMap.build(
                geometry, npt=30, unit="2th_deg", splitting=splitting, radial_range=(0.0, 15.0), keep_sums=True
            )(frames)
            np.testing.assert_allclose(count, wide.sums.count[0, 10:20], rtol=1e-5)


@pytest.mark.parametrize("splitting", SPLITTINGS)
def test_a_sector_across_the_cut_is_the_sum_of_its_halves(splitting) -> None:
    frames = poisson_frames(1)

    def sums(low: float, high: float):
        built = RadialMap.build(
            setup(),
            npt=20,
            splitting=splitting,
            radial_range=(1, 30),
            azimuth_range=(low, high),
            keep_sums=True,
        )
        return built(frames).sums

    across, below, above = sums(150, -160), sums(150, 180), sums(-180, -160)
    np.testing.assert_allclose(across.signal, below.signal + above.signal, rtol=1e-5, atol=1e-3)
    assert across.count.sum() > 50


def test_the_cake_does_not_depend_on_where_the_azimuth_jumps() -> None:
    frames = poisson_frames(1)
    cakes = {
        cut: RadialMap.build(setup(), npt=20, npt_azimuth=36, discontinuity=cut, splitting="full")
        for cut in ("pi", "0")
    }
    angles = {cut: np.rad2deg(radial_map.azimuth.centers) for cut, radial_map in cakes.items()}
    assert angles["pi"][0] == pytest.approx(-175.0)
    assert angles["0"][0] == pytest.approx(5.0)
    intensity = {cut: radial_map(frames).intensity[0] for cut, radial_map in cakes.items()}
    np.testing.assert_allclose(np.roll(intensity["pi"], 18, axis=0), intensity["0"], rtol=1e-3)


@pytest.mark.parametrize(
    ("splitting", "low", "high"), [("none", 0.0202, 19.4532), ("bbox", 0.0, 19.4712), ("full", 0.0, 19.4712)]
)
def test_the_automatic_range_is_what_the_pixels_reach(splitting, low, high) -> None:
    """Values measured with another program for this setup."""
    detector = Detector.from_shape((1000, 1000), 1e-4)
    geometry = Geometry(detector, 0.2, 0.05, 0.05, wavelength=1e-10)
    radial = RadialMap.build(geometry, npt=100, unit="2th_deg", splitting=splitting).radial
    assert (radial.low, radial.high) == pytest.approx((low, high), abs=1e-4)


def test_masked_pixels_bound_no_range_and_count_nowhere() -> None:
    geometry, frames = setup(), poisson_frames(1)
    mask = geometry.center_array("2th_deg") > 10.0
    frames[0, mask] = 10**6
    built = RadialMap.build(geometry, unit="2th_deg", npt=20, splitting="none", mask=mask)
    assert built.radial.high < 10.001
    assert np.nanmax(built(frames).intensity) < 100


@pytest.mark.parametrize("error_model", ["none", "poisson", "azimuthal"])
def test_invalid_pixels_are_masked_frame_by_frame(error_model) -> None:
    """NaN and the dummy value in one frame act like a mask of that frame, and change no other."""
    frames = poisson_frames(3).astype(np.float32)
    holes = np.random.default_rng(3).uniform(size=SHAPE) < 0.2
    damaged = frames.copy()
    damaged[1, holes] = np.where(np.arange(np.count_nonzero(holes)) % 2, np.nan, -7.0)
    options = {"npt": 25, "splitting": "full", "error_model": error_model, "radial_range": (1, 40)}
    dynamic = RadialMap.build(setup(), dummy=-7.0, **options)(damaged)
    static = RadialMap.build(setup(), mask=holes, **options)(frames[1:2])
    whole = RadialMap.build(setup(), **options)(frames)
    np.testing.assert_allclose(dynamic.intensity[1], static.intensity[0], rtol=1e-5)
    np.testing.assert_array_equal(dynamic.intensity[[0, 2]], whole.intensity[[0, 2]])
    assert dynamic.valid_fraction[0] == 1.0
    assert dynamic.valid_fraction[1] == pytest.approx(1 - holes.mean(), abs=0.02)
    if error_model != "none":
        np.testing.assert_allclose(dynamic.intensity_errors[1], static.intensity_errors[0], rtol=1e-4)


def test_a_frame_without_any_valid_pixel_is_empty() -> None:
    frames = np.full((1, *SHAPE), np.nan, np.float32)
    for empty in (math.nan, 0.0):
        patterns = RadialMap.build(setup(), npt=10, error_model="poisson", empty=empty)(frames)
        np.testing.assert_array_equal(patterns.intensity, np.full((1, 10), empty))
        np.testing.assert_array_equal(patterns.intensity_errors, np.full((1, 10), empty))
        assert patterns.valid_fraction == [0.0]


class TestNegativeCounts:
    """Counts below zero have no Poisson error: they are refused unless the user says what they mean."""

    frames = poisson_frames(2).astype(np.int32)
    frames[1, 20, 30] = -5

    def test_refused_with_place_and_value(self) -> None:
        radial_map = RadialMap.build(setup(), npt=10, error_model="poisson")
        with pytest.raises(DataError, match=r"scan frame 18.*row 20, column 30 is -5") as caught:
            radial_map(FrameBlock(self.frames, ("scan frame 17", "scan frame 18")))
        assert 'negative="mask"' in caught.value.remedy

    def test_without_poisson_errors_they_are_numbers_like_others(self) -> None:
        RadialMap.build(setup(), npt=10)(self.frames)

    def test_masked_or_outside_the_range_they_do_not_matter(self) -> None:
        mask = np.zeros(SHAPE, bool)
        mask[20, 30] = True
        RadialMap.build(setup(), npt=10, error_model="poisson", mask=mask)(self.frames)
        RadialMap.build(setup(), npt=10, error_model="poisson", dummy=-5)(self.frames)

    @pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
    @pytest.mark.parametrize("dummy", [None, -2.0, 30.0])
    def test_masked_on_request(self, dtype, dummy) -> None:
        options = {"npt": 10, "error_model": "poisson", "dummy": dummy}
        found = RadialMap.build(setup(), negative="mask", **options)(self.frames.astype(dtype))
        mask = np.zeros(SHAPE, bool)
        mask[20, 30] = True
        expected = RadialMap.build(setup(), mask=mask, **options)(self.frames.astype(dtype))
        np.testing.assert_allclose(found.intensity[1], expected.intensity[1], rtol=1e-6)
        zero = np.zeros((1, *SHAPE), dtype)
        assert RadialMap.build(setup(), negative="mask", **options)(zero).valid_fraction == [1.0]

    def test_kept_on_request(self) -> None:
        kept = RadialMap.build(setup(), npt=10, error_model="poisson", negative="keep")(self.frames)
        plain = RadialMap.build(setup(), npt=10)(self.frames)
        np.testing.assert_array_equal(kept.intensity, plain.intensity)


@pytest.mark.parametrize("error_model", ["poisson", "azimuthal"])
@pytest.mark.parametrize("splitting", ["none", "full"])
def test_errors_have_the_size_that_they_say(error_model, splitting) -> None:
    """χ² over many Poisson frames of a known source: (I - truth)/σ has the variance 1 in every bin."""
    geometry = setup()
    count = 400
    truth = 30.0
    expected = truth * geometry.solid_angle()
    frames = np.random.default_rng(11).poisson(expected, (count, *SHAPE)).astype(np.uint16)
    built = RadialMap.build(geometry, npt=20, splitting=splitting, error_model=error_model, unit="2th_deg")
    patterns = built(frames)
    counted = built.with_options(keep_sums=True)(frames[:1]).sums.count[0] > 20
    chi_squared = (((patterns.intensity - truth) / patterns.intensity_errors) ** 2).mean(axis=0)[counted]
    # The mean of 400 values of χ² (one degree of freedom) scatters by √(2/400) = 0.07.
    assert counted.sum() >= 15
    assert abs(chi_squared.mean() - 1.0) < (0.05 if error_model == "poisson" else 0.08)
    assert (abs(chi_squared - 1.0) < 0.4).all()


def test_results_do_not_depend_on_company_or_threads() -> None:
    frames = poisson_frames(7)
    radial_map = RadialMap.build(setup(), npt=50, error_model="poisson")
    together = radial_map(frames, threads=3)
    for number, frame in enumerate(frames):
        alone = radial_map(frame[None])
        assert alone.intensity.tobytes() == together.intensity[number].tobytes()
        assert alone.intensity_errors.tobytes() == together.intensity_errors[number].tobytes()


def test_the_map_does_not_depend_on_the_number_of_threads() -> None:
    big = Geometry(Detector.from_shape((700, 500), 1e-3), 0.5, 0.3, 0.2)
    maps = [RadialMap.build(big, unit="2th_deg", npt=100, threads=threads).pixel_map() for threads in (1, 4)]
    for name in ("pointers", "bins", "weights"):
        np.testing.assert_array_equal(getattr(maps[0], name), getattr(maps[1], name))


def test_compressed_frames_give_the_same_numbers() -> None:
    from friedel.kernels.decode import encode_byte_offset

    frames = poisson_frames(2).astype(np.int32)
    buffers = tuple(encode_byte_offset(frame) for frame in frames)
    encoded = EncodedFrames("byte_offset", buffers, SHAPE, np.dtype(np.int32), ("a", "b"))
    radial_map = RadialMap.build(setup(), npt=20, error_model="poisson")
    assert radial_map(encoded).intensity.tobytes() == radial_map(frames).intensity.tobytes()


def test_the_detectors_own_marks_are_left_out() -> None:
    detector = Detector.named("Pilatus100k")
    geometry = Geometry(detector, 0.1, 0.01, 0.01, wavelength=1e-10)
    frame = np.full((1, *detector.shape), 10, np.int32)
    frame[0, 50:60] = -2
    assert np.nanmin(RadialMap.build(geometry, npt=50)(frame).intensity) > 9.9
    assert np.nanmin(RadialMap.build(geometry, npt=50, detector_mask=False)(frame).intensity) < 9.0


def test_a_pixel_without_counts_is_valid() -> None:
    detector = Detector.named("Lambda750k")
    frame = np.zeros((1, *detector.shape), np.uint16)
    frame[0, ::2] = 2
    patterns = RadialMap.build(Geometry(detector, 0.1, 0.01, 0.01), npt=20, unit="2th_deg", solid_angle=False)(frame)
    np.testing.assert_allclose(patterns.intensity, 1.0, atol=0.2)


class TestStorage:
    """A map is sent to other processes and kept in files."""

    def build(self) -> RadialMap:
        rng = np.random.default_rng(2)
        return RadialMap.build(
            setup(),
            npt=20,
            npt_azimuth=5,
            azimuth_range=(100, -100),
            flat=rng.uniform(0.5, 1, SHAPE),
            dark=rng.uniform(0, 1, SHAPE),
            dark_variance=np.ones(SHAPE),
            error_model="poisson",
            dummy=3.0,
        )

    def test_pickled(self) -> None:
        frames, radial_map = poisson_frames(2), self.build()
        again = pickle.loads(pickle.dumps(StreamedMap(radial_map)))  # noqa: S301
        for name, values in again(frames).items():
            np.testing.assert_array_equal(values, radial_map(frames).arrays()[name])

    def test_saved_and_loaded(self, tmp_path) -> None:
        frames, radial_map = poisson_frames(2), self.build()
        radial_map.save(tmp_path / "map.h5")
        again = RadialMap.load(tmp_path / "map.h5", setup())
        assert (again.geometry, again.radial, again.azimuth, again.bins) == (
            radial_map.geometry,
            radial_map.radial,
            radial_map.azimuth,
            radial_map.bins,
        )
        for name, values in again(frames).arrays().items():
            np.testing.assert_array_equal(values, radial_map(frames).arrays()[name])

    def test_not_for_another_geometry(self, tmp_path) -> None:
        self.build().save(tmp_path / "map.h5")
        with pytest.raises(GeometryError, match="another geometry"):
            RadialMap.load(tmp_path / "map.h5", setup(distance=0.2))

    @pytest.mark.parametrize("part", ["pointers", "bins", "weights", "excluded"])
    def test_not_without_one_of_its_arrays(self, tmp_path, part) -> None:
        self.build().save(tmp_path / "map.h5")
        with h5py.File(tmp_path / "map.h5", "a") as file:
            del file[part]
        with pytest.raises(FileError, match=rf"map\.h5.*'{part}' is missing"):
            RadialMap.load(tmp_path / "map.h5")

    @pytest.mark.parametrize("key", ["binning", "validity", "averaging", "geometry", "radial", "azimuth"])
    @pytest.mark.parametrize("value", [None, 3, {"no": "such"}])
    def test_not_with_a_description_of_something_else(self, tmp_path, key, value) -> None:
        self.build().save(tmp_path / "map.h5")
        with h5py.File(tmp_path / "map.h5", "a") as file:
            description = json.loads(file.attrs["description"])
            if value is None:
                del description[key]
            else:
                description[key] = value
            file.attrs["description"] = json.dumps(description)
        with pytest.raises(FileError, match=r"map\.h5"):
            RadialMap.load(tmp_path / "map.h5")

    @pytest.mark.parametrize("part", ["pointers", "excluded"])
    def test_not_with_arrays_that_do_not_fit(self, tmp_path, part) -> None:
        self.build().save(tmp_path / "map.h5")
        with h5py.File(tmp_path / "map.h5", "a") as file:
            values = file[part][:-1]
            del file[part]
            file[part] = values
        with pytest.raises(FileError, match=r"map\.h5"):
            RadialMap.load(tmp_path / "map.h5")

    def test_not_from_another_file(self, tmp_path) -> None:
        (tmp_path / "map.h5").write_bytes(b"no such thing")
        with pytest.raises(FileError, match=r"map\.h5"):
            RadialMap.load(tmp_path / "map.h5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "q"}, "no unit"),
        ({"splitting": "half"}, "splitting"),
        ({"error_model": "gauss"}, "error_model"),
        ({"npt": 0}, "npt"),
        ({"npt_azimuth": 0}, "npt_azimuth"),
        ({"npt": 10.5}, "npt is 10.5"),
        ({"npt": True}, "npt is True"),
        ({"npt_azimuth": "36"}, "npt_azimuth is '36'"),
        ({"npt": 2**40}, "2147483647 bins at most"),
        ({"npt": 2**20, "npt_azimuth": 2**11}, "2147483647 bins at most"),
        ({"radial_range": (5, 5)}, "radial_range"),
        ({"radial_range": (0, math.nan)}, "radial_range"),
        ({"azimuth_range": (0, 400)}, "azimuth_range"),
        ({"polarization": 2.0}, "polarization"),
    ],
)
def test_parameters_that_mean_nothing_are_named(options, message) -> None:
    with pytest.raises(ParameterError, match=message):
        RadialMap.build(setup(), **options)


def test_more_bins_than_memory_holds_are_refused(monkeypatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}[name])
    RadialMap.build(setup(), npt=15_000)
    with pytest.raises(ParameterError, match="npt is 17000: that takes"):
        RadialMap.build(setup(), npt=17_000)


def test_images_of_another_shape_are_named() -> None:
    with pytest.raises(GeometryError, match="flat"):
        RadialMap.build(setup(), flat=np.ones((3, 4)))
    with pytest.raises(GeometryError, match="61 x 50"):
        RadialMap.build(setup(), npt=5)(np.ones((1, 61, 50)))


def test_q_needs_a_wavelength() -> None:
    with pytest.raises(GeometryError, match="wavelength"):
        RadialMap.build(setup(wavelength=None), unit="q_nm^-1")
    RadialMap.build(setup(wavelength=None), unit="r_mm")


def test_a_mask_of_everything_leaves_nothing() -> None:
    with pytest.raises(DataError, match="masked"):
        RadialMap.build(setup(), mask=np.ones(SHAPE))
