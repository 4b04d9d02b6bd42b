"""One pattern from frames of several geometries: a detector that moves, or several detectors that look at one sample.

All geometries share the grid of bins. Their sums S, N, V, N2 and n (see `friedel.kernels.scatter`) are added, and
divided once: I = S/N, σ = √V/N. So every pixel counts by what it can see, wherever it is. Where solid angles are
corrected they are those of the pixels, Ω = A cos³α/distance², in sr, since detectors at different distances see
different parts of the sphere.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Unpack

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from friedel.core.blocks import Block
from friedel.core.errors import DataError, ParameterError
from friedel.core.units import unit_named
from friedel.device.memory import memory_limit
from friedel.device.threads import thread_count
from friedel.instrument import Geometry
from friedel.kernels.scatter import BinSums

from .corrections import checked_images, corrected_geometry, excluded_pixels
from .integrator import CAKE_BINS, checked_factors
from .options import MapOptions, Options
from .patterns import SUMS, patterns_of
from .radial_map import FrameBlock, RadialMap
from .results import label_patterns
from .sharing import NoPixelError, azimuth_extent, radial_extent

IMAGES = ("mask", "flat", "dark", "dark_variance")
"""Options that each geometry may have its own of."""
TOTAL = "total_count"
BANDS = "bands"
BYTES_PER_BIN = 5 * 8 + 5 * 8 + 3 * 4
"""Memory of a bin of a merged pattern: five sums, as they are added and as they are given, and what they make."""
FULL_CIRCLE = {"pi": (-180.0, 180.0), "0": (0.0, 360.0)}


@dataclass(frozen=True, eq=False)
class Merging:
    """Geometries on one grid of bins. Make it by `Merging.of`; immutable and picklable.

    Attributes
    ----------
    geometries : tuple of Geometry
    options : tuple of dict
        Options of the map of each geometry; binning and averaging are the same for all.
    """

    geometries: tuple[Geometry, ...]
    options: tuple[MapOptions, ...]

    @classmethod
    def of(cls, geometries: Sequence[Geometry], options: MapOptions, threads: int | None = None) -> Merging:
        """Find the grid that all geometries share.

        Parameters
        ----------
        geometries : sequence of Geometry
            With detectors whose shapes are known; the detectors may differ.
        options : dict
            As for `RadialMap.build`. Ranges that are not given are those that all geometries together reach, the
            azimuth of a cake goes all round. ``mask``, ``flat``, ``dark`` and ``dark_variance`` may be lists of one
            image (or None) for each geometry.
        threads : int, optional
            Threads to work with.

        Raises
        ------
        ParameterError
            If there is no geometry, or an option is not known or does not go with merging.
        DataError
            If there are lists of images for another number of geometries, or no pixel is left.
        """
        if not geometries:
            raise ParameterError("There is no geometry to merge.", "Give one for each frame.")
        own = [_own(options, number, len(geometries)) for number in range(len(geometries))]
        averaging = Options.of(own[0]).averaging
        if averaging.estimator.robust:
            raise ParameterError(f"The estimator {averaging.estimator.name} cannot be merged.", "Merge means.")
        common = _common_ranges(geometries, own, thread_count() if threads is None else threads)
        return cls(tuple(geometries), tuple({**one, **common, "keep_sums": True} for one in own))

    def map(self, number: int, threads: int | None = None) -> RadialMap:
        """Build the map of geometry `number`."""
        return RadialMap.build(self.geometries[number], threads=threads, **self.options[number])

    def any_map(self, threads: int | None = None) -> tuple[int, RadialMap]:
        """Build the map of the first geometry that sees anything in the ranges; return its number with it.

        Raises
        ------
        ParameterError
            If none does.
        """
        for number in range(len(self.geometries)):
            try:
                return number, self.map(number, threads)
            except NoPixelError as error:
                problem = error
        raise problem

    def scale(self, number: int) -> float:
        """Return what normalizations of geometry `number` are multiplied by: the solid angle at its PONI in sr."""
        if not self.options[number].get("solid_angle", True):
            return 1.0
        geometry = self.geometries[number]
        return geometry.detector.pixel1 * geometry.detector.pixel2 / geometry.distance**2


def _own(options: MapOptions, number: int, count: int) -> MapOptions:
    """Return the options of one geometry: its own of the images that are given as lists."""
    own: dict[str, Any] = dict(options)
    for name in IMAGES:
        value = own.get(name)
        if isinstance(value, (list, tuple)) and all(item is None or np.ndim(item) == 2 for item in value):
            if len(value) != count:
                raise DataError(
                    f"{name} has {len(value)} images for {count} geometries.", "Give one for each, or one for all."
                )
            own[name] = value[number]
    return own  # type: ignore[return-value]


def _common_ranges(geometries: Sequence[Geometry], options: Sequence[MapOptions], threads: int) -> MapOptions:
    """Return the ranges on which all geometries can be binned, where they are not given."""
    binning = Options.of(options[0]).binning
    unit, second = binning.plane.radial, unit_named(binning.azimuth_unit)
    found: MapOptions = {}
    if binning.cake and binning.azimuth_range is None and second.period:
        found["azimuth_range"] = FULL_CIRCLE[binning.discontinuity]
    needed = {"radial_range": binning.radial_range is None}
    needed["azimuth_range"] = binning.cake and binning.azimuth_range is None and not second.period
    extents: dict[str, list[tuple[float, float]]] = {name: [] for name, wanted in needed.items() if wanted}
    for geometry, own in zip(geometries, options, strict=True) if extents else ():
        asked = Options.of(own)
        placed = corrected_geometry(geometry, asked.corrections)
        excluded = excluded_pixels(placed, asked.validity, checked_images(placed, asked.corrections))
        for name, limits in extents.items():
            extent_of = radial_extent if name == "radial_range" else azimuth_extent
            limits.append(extent_of(placed, binning, excluded, threads))
    for name, limits in extents.items():
        low, high = min(limit[0] for limit in limits), max(limit[1] for limit in limits)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError("No pixel is left to integrate: all are masked.", "Check the masks: True means excluded.")
        signed = unit.signed if name == "radial_range" else second.signed
        found[name] = (low if signed else max(low, 0.0), high)  # type: ignore[literal-required]
    return found


class RecentMaps:
    """The maps of the geometries whose frames came last: all of them would fill the memory.

    Parameters
    ----------
    merging : Merging
    keep : int
        How many are kept.
    threads : int
        Threads to build with.
    """

    def __init__(self, merging: Merging, keep: int, threads: int) -> None:
        self.merging, self.keep, self.threads = merging, keep, threads
        self._maps: dict[int, Future[RadialMap]] = {}
        self._lock = threading.Lock()

    def get(self, number: int) -> RadialMap:
        """Return the map of geometry `number`; whoever asks for it first builds it, others wait.

        Raises
        ------
        NoPixelError
            If the geometry sees nothing in the ranges.
        """
        with self._lock:
            found = self._maps.pop(number, None)
            future: Future[RadialMap] = Future() if found is None else found
            self._maps[number] = future
            while len(self._maps) > self.keep:
                del self._maps[next(iter(self._maps))]
        if found is None:
            try:
                future.set_result(self.merging.map(number, self.threads))
            except BaseException as error:
                future.set_exception(error)
        return future.result()


@dataclass(frozen=True, eq=False)
class MergePlan:
    """A plan: frames of one geometry to their sums. Give it ``(number of the geometry, FrameBlock)``.

    Attributes
    ----------
    merging : Merging
    keep : int
        So many maps are kept, the last that were used; another one is built when its frames come.
    threads : int
        Threads to build maps with.
    """

    merging: Merging
    keep: int = 1
    threads: int = 1

    @cached_property
    def maps(self) -> RecentMaps:
        """The maps that were used last; another process makes its own."""
        return RecentMaps(self.merging, self.keep, self.threads)

    def __reduce__(self) -> tuple[Any, ...]:
        return MergePlan, (self.merging, self.keep, self.threads)

    def __call__(self, items: tuple[int, FrameBlock], /, threads: int = 1) -> dict[str, NDArray[np.float64]]:
        """Return the sums by name, each of shape (n, number of bins), and the number of pixels as "total_count".

        There are none of a geometry that sees nothing in the ranges.
        """
        number, block = items
        try:
            radial_map = self.maps.get(number)
        except NoPixelError:
            return {}
        patterns = radial_map(block, threads=threads)
        sums = patterns.sums
        assert sums is not None
        scale: Any = self.merging.scale(number)
        if block.normalization is not None:
            scale = scale * block.normalization[:, np.newaxis]
        found = {name: getattr(sums, name) for name in SUMS if getattr(sums, name) is not None}
        found["normalization"] = sums.normalization * scale
        found["normalization_squared"] = sums.normalization_squared * (scale * scale)
        found = {name: np.broadcast_to(values, sums.signal.shape) for name, values in found.items()}
        if patterns.intensity_covariance is not None:
            found[BANDS] = _bands(patterns.intensity_covariance, sums.normalization, block.normalization)
        return found | {TOTAL: np.full((len(sums), 1), radial_map.total_count)}


def _bands(
    covariance: NDArray[np.float64], normalization: NDArray[np.float64], factor: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return Σ c_ib c_ib' v_i of neighbouring bins, the bands one after the other, (n, offsets · bins)."""
    below = normalization if factor is None else normalization * factor[:, np.newaxis]
    sums = covariance * _products(np.broadcast_to(below, covariance[:, 0].shape), covariance.shape[1])
    return np.nan_to_num(sums).reshape(len(sums), -1)


def _products(values: NDArray[np.float64], n_offsets: int) -> NDArray[np.float64]:
    """Return the products of the values of bins b and b + offset, 0 beyond the last bin, (n, offsets, bins)."""
    n, n_bins = values.shape
    products = np.zeros((n, n_offsets, n_bins))
    for offset in range(min(n_offsets, n_bins)):
        products[:, offset, : n_bins - offset] = values[:, : n_bins - offset] * values[:, offset:]
    return products


@dataclass
class SumSink:
    """Adds what comes for the same frames, geometry after geometry: in that order, whenever it comes.

    A block sink of blocks cut by `cut_blocks(n_frames, size, groups=number of geometries)`.

    Attributes
    ----------
    n_frames : int
        Frames of each geometry.
    """

    n_frames: int
    sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._next: dict[int, int] = {}
        self._early: dict[tuple[int, int], dict[str, NDArray[np.float64]]] = {}
        self._done: set[Block] = set()
        self._lock = threading.Lock()

    @property
    def shared(self) -> bool:
        """Another process has other memory."""
        return False

    def pending(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks that are not complete."""
        return [block for block in blocks if block not in self._done]

    def write(self, block: Block, result: Mapping[str, NDArray[np.float64]]) -> None:
        """Add the sums of a block, or keep them until those of the geometries before have come."""
        number, start = divmod(block.start, self.n_frames)
        with self._lock:
            self._early[start, number] = dict(result)
            while (start, self._next.get(start, 0)) in self._early:
                number = self._next.get(start, 0)
                self._add(start, self._early.pop((start, number)))
                self._next[start] = number + 1

    def commit(self, block: Block) -> None:
        """Record that a block is complete."""
        self._done.add(block)

    def _add(self, start: int, result: Mapping[str, NDArray[np.float64]]) -> None:
        for name, values in result.items():
            whole = self.sums.get(name)
            width = values.shape[1]
            if whole is None:
                whole = np.zeros((self.n_frames, width))
            elif whole.shape[1] < width:  # bands that reach farther than those before
                whole = np.pad(whole, ((0, 0), (0, width - whole.shape[1])))
            whole[start : start + len(values), :width] += values
            self.sums[name] = whole


def check_memory(n_frames: int, radial_map: RadialMap) -> None:
    """Refuse what does not fit the memory, where the sums of all frames are until all geometries are added.

    Raises
    ------
    ParameterError
        If they would not fit.
    """
    bands = 0 if radial_map.pairs is None else radial_map.pairs.reach + 1
    needed = n_frames * math.prod(radial_map.bins) * (BYTES_PER_BIN + 2 * 8 * bands)
    limit = memory_limit()
    if needed > limit:
        raise ParameterError(
            f"The sums of {n_frames} patterns of {' x '.join(map(str, radial_map.bins))} bins take "
            f"{needed / 2**30:.1f} GiB of memory; there are {limit / 2**30:.1f} GiB.",
            "Merge some of the frames at a time (frame_range), or ask for fewer bins.",
        )


def merged_dataset(
    radial_map: RadialMap,
    sums: Mapping[str, NDArray[np.float64]],
    dims: tuple[str, ...],
    coordinates: Mapping[str, Any],
    *,
    per_steradian: bool,
) -> xr.Dataset:
    """Divide the sums of all geometries.

    Parameters
    ----------
    radial_map : RadialMap
        Of any of the geometries.
    sums : mapping of str to ndarray
        As `SumSink` has them.
    dims : tuple of str
        ("frame",), or () for a single frame of each geometry.
    coordinates : mapping
        Coordinates along `dims`.
    per_steradian : bool
        Whether solid angles were corrected.
    """
    names = {name: sums.get(name) for name in SUMS}
    n = len(sums["signal"])
    averaging = radial_map.averaging
    patterns = patterns_of(
        BinSums(**names, negative=np.zeros(n, np.int64)),  # type: ignore[arg-type]
        1.0,
        radial_map.bins,
        empty=averaging.empty,
        std=averaging.std,
        keep_sums=True,
    )
    valid = (sums["count"].sum(axis=1) / np.maximum(sums[TOTAL][:, 0], 1e-300)).astype(np.float32)
    covariance = None
    if BANDS in sums:
        bands = sums[BANDS].reshape(n, -1, radial_map.bins[0])
        below = _products(sums["normalization"], bands.shape[1])
        pairs = _products(np.ones_like(sums["normalization"]), bands.shape[1]) > 0
        covariance = np.where(pairs, np.nan, 0.0)  # of bins without valid pixels, and beyond the last bin
        np.divide(bands, below, out=covariance, where=below != 0)
    arrays = replace(patterns, valid_fraction=valid, intensity_covariance=covariance).arrays()
    if not dims:
        arrays = {name: values[0] for name, values in arrays.items()}
    result = label_patterns(radial_map, arrays, coordinates, dims)
    if not averaging.std:
        result = result.drop_vars("intensity_std", errors="ignore")
    for name in ("intensity", "intensity_errors", "intensity_std"):
        if per_steradian and name in result:
            result[name].attrs["units"] = "counts/sr"
    return result


class MultiGeometry:
    """Integrates frames of several geometries to one pattern: a detector that moves, or several detectors.

    Parameters
    ----------
    geometries : sequence of Geometry
        One for each position or detector; the detectors may differ.
    **options
        As for `RadialMap.build`: npt, unit, error_model, ...; see `Merging.of` for masks and other images, and for
        ranges.

    Raises
    ------
    ParameterError
        If there is no such option, or it does not go with merging.

    Examples
    --------
    >>> arm = Goniometer.load("arm.json")  # doctest: +SKIP
    >>> merged = MultiGeometry([arm.geometry({"pos": angle}) for angle in (0, 10, 20)], npt=2000)  # doctest: +SKIP
    >>> pattern = merged.integrate1d(frames)  # doctest: +SKIP
    """

    def __init__(self, geometries: Sequence[Geometry], **options: Unpack[MapOptions]) -> None:
        self.geometries = tuple(geometries)
        self.options = options
        self.npt = options.get("npt", 1000)
        Options.of(dict(options) | dict.fromkeys(set(IMAGES) & set(options)))
        if not self.geometries:
            raise ParameterError("There is no geometry to merge.", "Give one for each frame.")

    def integrate1d(
        self,
        frames: Sequence[ArrayLike],
        *,
        npt: int | None = None,
        normalization: ArrayLike | None = None,
        variance: Sequence[ArrayLike] | None = None,
        threads: int | None = None,
    ) -> xr.Dataset:
        """Merge frames to patterns.

        Parameters
        ----------
        frames : sequence of array-like
            An image, or a stack of n images, for each geometry. Image i of all stacks makes pattern i.
        npt : int, optional
            Number of radial bins.
        normalization : array-like, shape (geometries,) or (geometries, n), optional
            Monitor: what the counts of each frame are divided by.
        variance : sequence of array-like, optional
            Variance of the pixels for each geometry; sets the error model to "variance".
        threads : int, optional

        Returns
        -------
        xarray.Dataset
            As `Integrator.integrate1d` gives it, with the sums ``sum_signal``, ``sum_normalization``, ... of all
            geometries. With correction for solid angles intensities are per sr.

        Raises
        ------
        GeometryError, DataError, ParameterError
            If frames, geometries and parameters do not go together.
        """
        return self._integrate(frames, npt, None, normalization, variance, threads)

    def integrate2d(
        self,
        frames: Sequence[ArrayLike],
        *,
        npt: int | None = None,
        npt_azimuth: int | None = None,
        normalization: ArrayLike | None = None,
        variance: Sequence[ArrayLike] | None = None,
        threads: int | None = None,
    ) -> xr.Dataset:
        """Merge frames to cakes; parameters as for `integrate1d`."""
        bins = self.options.get("npt_azimuth") or CAKE_BINS if npt_azimuth is None else npt_azimuth
        return self._integrate(frames, npt, bins, normalization, variance, threads)

    def _integrate(
        self,
        frames: Sequence[ArrayLike],
        npt: int | None,
        npt_azimuth: int | None,
        normalization: ArrayLike | None,
        variance: Sequence[ArrayLike] | None,
        threads: int | None,
    ) -> xr.Dataset:
        stacks = [np.asarray(one) for one in frames]
        stacked = self._check(stacks, variance)
        options: MapOptions = {**self.options, "npt": self.npt if npt is None else npt, "npt_azimuth": npt_azimuth}
        if variance is not None:
            options["error_model"] = "variance"
        elif options.get("error_model") == "variance":
            raise ParameterError('The error model is "variance", and no variance is given.', "Give variance=.")
        geometries = [
            geometry.for_shape((int(stack.shape[-2]), int(stack.shape[-1])))
            for geometry, stack in zip(self.geometries, stacks, strict=True)
        ]
        merging = Merging.of(geometries, options, threads)
        n = len(stacks[0]) if stacked else 1
        factors = _factors(normalization, len(stacks), n)
        sink = SumSink(n)
        _, first = merging.any_map(threads)
        plan = MergePlan(merging, threads=thread_count() if threads is None else threads)
        for number, stack in enumerate(stacks):
            block = FrameBlock(
                stack.reshape(-1, *stack.shape[-2:]),
                tuple(f"frame {frame} of geometry {number}" for frame in range(n)),
                None if factors is None else factors[number],
                None if variance is None else np.asarray(variance[number]),
            )
            sums = plan((number, block), threads=thread_count() if threads is None else threads)
            sink.write(Block(number, number * n, (number + 1) * n), sums)
        dims = ("frame",) if stacked else ()
        return merged_dataset(first, sink.sums, dims, {}, per_steradian=options.get("solid_angle", True))

    def _check(self, stacks: Sequence[NDArray[Any]], variance: Sequence[ArrayLike] | None) -> bool:
        """Return whether there is a stack of frames for each geometry, rather than one frame."""
        count = len(self.geometries)
        if len(stacks) != count or (variance is not None and len(variance) != count):
            raise DataError(
                f"There are {len(stacks)} frames or stacks of frames for {count} geometries.",
                "Give one image or stack (and one variance) for each geometry.",
            )
        shapes = {stack.shape[:-2] for stack in stacks}
        if len(shapes) != 1 or len(next(iter(shapes))) > 1:
            raise DataError(
                f"The frames have the shapes {', '.join(str(stack.shape) for stack in stacks)}.",
                "Give an image for each geometry, or a stack of as many for each.",
            )
        return next(iter(shapes)) != ()


def _factors(normalization: ArrayLike | None, n_geometries: int, n_frames: int) -> NDArray[np.float64] | None:
    if normalization is None:
        return None
    given = np.asarray(normalization, np.float64)
    if given.shape == (n_geometries,):
        given = given[:, np.newaxis]
    if given.shape not in ((n_geometries, n_frames), (n_geometries, 1)):
        raise DataError(
            f"normalization has the shape {given.shape} for {n_frames} frames of {n_geometries} geometries.",
            "Give one value for each geometry, or for each frame of each.",
        )
    return np.array([checked_factors(row, n_frames, "normalization") for row in given])
