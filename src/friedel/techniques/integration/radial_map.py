"""The plan of azimuthal integration: all that depends on geometry and corrections alone, paid for once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError, ParameterError
from friedel.core.units import unit_named
from friedel.device.threads import thread_count
from friedel.instrument import Geometry
from friedel.kernels.encoded import EncodedFrames
from friedel.kernels.marks import marked, widened
from friedel.kernels.robust import RobustScatter
from friedel.kernels.scatter import BinSums, PixelMap, Scatter
from friedel.kernels.splitting import Axis

from .corrections import checked_images, corrected_geometry, excluded_pixels, pixel_normalization
from .covariance import BinPairs
from .estimators import Mean
from .fingerprint import fingerprint
from .options import Averaging, Binning, MapOptions, Options, Validity, check_options, names_of, with_estimator
from .patterns import Patterns, patterns_of
from .sharing import share_pixels, unweighted

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from .device_map import DeviceMap

Frames = NDArray[Any] | EncodedFrames

BELOW_ZERO = 2.0**40
"""As dummy -(this + 1/2) within this: marks every negative value of an integer type, and no other."""


PER_PIXEL = ("normalization", "dark", "dark_variance")
"""What a plan holds of every pixel beside its shares."""


@dataclass(frozen=True, eq=False)
class FrameBlock:
    """Frames with what is known about each of them.

    Attributes
    ----------
    frames : ndarray, shape (n, rows, columns), or EncodedFrames
    labels : tuple of str
        Where each frame came from, for messages; may be empty.
    normalization : ndarray of float64, shape (n,), or None
        Monitor, exposure time: what the intensities are divided by.
    variance : ndarray or None
        Variance of the pixels, for one frame or for each.
    """

    frames: Frames
    labels: tuple[str, ...] = ()
    normalization: NDArray[np.float64] | None = None
    variance: NDArray[Any] | None = None

    def label(self, number: int) -> str:
        """Say where frame `number` of the block came from."""
        labels = self.labels or (self.frames.labels if isinstance(self.frames, EncodedFrames) else ())
        return labels[number] if labels else f"frame {number}"


@dataclass(frozen=True, eq=False)
class RadialMap:
    """The sparse map from pixels to radial (and azimuthal) bins, with corrections and error model. A Plan.

    Make it by `RadialMap.build`. Calling it turns frames into patterns; the result for a frame does not depend on
    the frames it comes with nor on the number of threads. Picklable; holds nothing that a call changes.

    Attributes
    ----------
    geometry : Geometry
    binning : Binning
        How pixels fall into bins, as asked for.
    validity : Validity
        Which values are no measurement; without the mask, and with the dummy of the detector.
    averaging : Averaging
        What is made of the pixels of a bin.
    radial : Axis
        Radial bins in the unit of `binning`.
    azimuth : Axis or None
        Azimuthal bins, in rad if the azimuth is an angle all round; one for the pattern of a sector, None for that of
        the whole circle.
    excluded : ndarray of bool, shape (rows, columns)
        Pixels that take no part in any frame.
    scatter : Scatter
        Sums pixels over bins.
    pairs : BinPairs or None
        Sums pixels over pairs of bins, for their covariance.
    robust : RobustScatter or None
        Sums them robustly, where the estimator is not the mean.
    """

    geometry: Geometry
    binning: Binning
    validity: Validity
    averaging: Averaging
    radial: Axis
    azimuth: Axis | None
    excluded: NDArray[np.bool_]
    scatter: Scatter
    pairs: BinPairs | None = None
    robust: RobustScatter | None = None

    @classmethod
    def build(cls, geometry: Geometry, *, threads: int | None = None, **options: Unpack[MapOptions]) -> RadialMap:
        """Build the map.

        Parameters
        ----------
        geometry : Geometry
            With a detector whose shape is known.
        threads : int, optional
            Threads to build with.
        **options
            The fields of `Binning`, `Corrections`, `Validity` and `Averaging`, by name: npt, unit, splitting,
            npt_azimuth, mask, dark, flat, polarization, error_model, ...

        Raises
        ------
        ParameterError
            If there is no such option, or a value is not allowed.
        GeometryError
            If an image has another shape than the detector, or the unit needs a wavelength.
        DataError
            If no pixel is left.
        """
        asked = Options.of(options)
        binning, validity = asked.binning, _with_detector(asked.validity, geometry)
        geometry = corrected_geometry(geometry, asked.corrections)
        corrections = checked_images(geometry, asked.corrections)
        excluded = excluded_pixels(geometry, validity, corrections)
        radial, azimuth, pixel_map = share_pixels(
            geometry, binning, excluded, thread_count() if threads is None else threads
        )
        per_pixel = {
            "normalization": pixel_normalization(geometry, corrections),
            "dark": corrections.dark,
            "dark_variance": corrections.dark_variance,
        }
        if not asked.averaging.weighted:
            pixel_map = unweighted(pixel_map, per_pixel["normalization"])
        validity = replace(validity, mask=None)
        plans = packed(pixel_map, asked.averaging, **per_pixel)
        return cls(geometry, binning, validity, asked.averaging, radial, azimuth, excluded, **plans)

    @property
    def bins(self) -> tuple[int, ...]:
        """Shape of the result for one frame: (n_radial,), (n_azimuth, n_radial) or (n_azimuth,)."""
        if self.azimuth is None or not self.binning.cake:
            return (self.radial.n_bins,)
        if self.binning.azimuthal:
            return (self.azimuth.n_bins,)
        return self.azimuth.n_bins, self.radial.n_bins

    @property
    def azimuth_centers(self) -> NDArray[np.float64]:
        """Centres of the azimuthal bins as shown, in the azimuthal unit of `binning`."""
        if self.azimuth is None:
            raise ParameterError("The map has no azimuthal bins.", "Build it with npt_azimuth.")
        unit = unit_named(self.binning.azimuth_unit)
        if not unit.period:
            return self.azimuth.centers
        return np.rad2deg(self.azimuth.centers) if unit.units == "deg" else self.azimuth.centers

    @property
    def total_count(self) -> float:
        """Sum of the shares of all pixels."""
        return float(self.scatter.constants[2 if self.averaging.weighted else 0].sum())

    @property
    def fingerprint(self) -> str:
        """Identifies geometry and unit, so that a stored map is not used for another setup."""
        return fingerprint(self.geometry, self.binning.unit)

    def pixel_map(self) -> PixelMap:
        """Return the shares of the pixels in the bins, unpacked: the plan itself holds them packed for speed.

        Without weighting they are divided by the normalization of the pixels, as they are summed.
        """
        return self.scatter.pixel_map()

    def without_pixels(self, mask: NDArray[np.bool_]) -> RadialMap:
        """Return the map on the same bins with more pixels left out.

        Parameters
        ----------
        mask : ndarray of bool, shape (rows, columns)
            True for the pixels to leave out.
        """
        whole = self.pixel_map()
        kept = ~np.repeat(mask.ravel(), np.diff(whole.pointers))
        pointers = np.concatenate([[0], np.cumsum(kept)])[whole.pointers]
        part = PixelMap(whole.n_bins, pointers.astype(np.int64), whole.bins[kept], whole.weights[kept])
        per_pixel = {name: getattr(self.scatter, name) for name in PER_PIXEL}
        return replace(self, excluded=self.excluded | mask, **packed(part, self.averaging, **per_pixel))

    def with_options(self, **options: Any) -> RadialMap:
        """Return the same map with other options of `Averaging`, or another `negative`, `dummy` or `delta_dummy`.

        Raises
        ------
        ParameterError
            If an option is none of these: it takes part in the map itself.
        """
        check_options(options)
        options = with_estimator(options)
        averaging = {name: options.pop(name) for name in names_of(Averaging) if name in options}
        validity = {name: options.pop(name) for name in ("negative", "dummy", "delta_dummy") if name in options}
        options |= {
            name: averaging[name]
            for name in ("weighted", "covariance")
            if averaging.get(name, getattr(self.averaging, name)) != getattr(self.averaging, name)
        }
        if options:
            raise ParameterError(f"{next(iter(options))} takes part in the map.", "Build another map with it.")
        changed = replace(self.averaging, **averaging)
        robust = self.robust
        if changed.estimator.robust and robust is None:
            per_pixel = {name: getattr(self.scatter, name) for name in PER_PIXEL}
            robust = RobustScatter.build(self.pixel_map(), **per_pixel)
        return replace(self, averaging=changed, validity=replace(self.validity, **validity), robust=robust)

    def __call__(self, items: Frames | FrameBlock, *, threads: int = 1) -> Patterns:
        """Integrate frames.

        Parameters
        ----------
        items : ndarray, shape (n, rows, columns), EncodedFrames or FrameBlock
            Values that are not finite are invalid.
        threads : int
            Threads to use.

        Returns
        -------
        Patterns

        Raises
        ------
        DataError
            If frames have another shape than the detector, a type that cannot be summed, or are corrupt; or if
            there are counts below zero and the error model is "poisson" (unless `negative` says otherwise).
        """
        block = items if isinstance(items, FrameBlock) else FrameBlock(items)
        sums = self._sum(self.plan, block, threads)
        if not self.averaging.weighted:
            sums = replace(sums, count=sums.normalization)  # the shares were divided by w: Σ c is Σ (c/w) w
        self.check_counts(block, sums.negative)
        patterns = patterns_of(
            sums,
            self.total_count,
            self.bins,
            factor=block.normalization,
            empty=self.averaging.empty,
            std=self.averaging.std,
            keep_sums=self.averaging.keep_sums,
        )
        if self.pairs is None or len(self.bins) > 1:
            return patterns
        bands = self.pairs.banded(sums, self._sum(self.pairs.scatter, block, threads))
        if block.normalization is not None:
            bands /= block.normalization[:, np.newaxis, np.newaxis] ** 2
        return replace(patterns, intensity_covariance=bands)

    def covariance(self, items: Frames | FrameBlock, *, threads: int = 1) -> list[csr_array]:
        """Return the covariance matrix of the bins, for patterns and cakes, of each frame.

        Parameters
        ----------
        items, threads
            As for a call.

        Returns
        -------
        list of scipy.sparse.csr_array, shape (number of bins, number of bins)
            Bins are in the order of a flattened cake. Rows of bins without valid pixels hold NaN.

        Raises
        ------
        ParameterError
            If the map was built without `covariance`.
        DataError
            As for a call.
        """
        from scipy.sparse import coo_array

        if self.pairs is None:
            raise ParameterError("The map was built without covariance.", "Build it with covariance=True.")
        block = items if isinstance(items, FrameBlock) else FrameBlock(items)
        sums = self._sum(self.scatter, block, threads)
        between = self.pairs.covariances(sums, self._sum(self.pairs.scatter, block, threads))
        assert sums.variance is not None
        with np.errstate(invalid="ignore", divide="ignore"):
            own = sums.variance / sums.normalization**2
        factors = np.ones(len(sums)) if block.normalization is None else block.normalization
        numbers = np.arange(self.scatter.n_bins)
        rows = np.concatenate([numbers, self.pairs.first, self.pairs.second])
        columns = np.concatenate([numbers, self.pairs.second, self.pairs.first])
        shape = (self.scatter.n_bins, self.scatter.n_bins)
        return [
            coo_array((np.concatenate([one, two, two]) / factor**2, (rows, columns)), shape).tocsr()
            for one, two, factor in zip(own, between, factors, strict=True)
        ]

    @property
    def plan(self) -> Scatter | RobustScatter:
        """What sums the pixels, as the estimator wants it."""
        return self.robust if self.averaging.estimator.robust and self.robust is not None else self.scatter

    def _sum(self, plan: Scatter | RobustScatter, block: FrameBlock, threads: int) -> BinSums:
        frames, dummy, delta_dummy = self.prepared(block, threads)
        estimator = self.averaging.estimator if isinstance(plan, RobustScatter) else Mean()
        return estimator.sum(
            plan,
            frames,
            self.averaging.error_model,
            variance=block.variance,
            dummy=dummy,
            delta_dummy=delta_dummy,
            threads=threads,
        )

    def prepared(self, block: FrameBlock, threads: int = 1) -> tuple[Frames, float | None, float]:
        """Return the frames of a block as they are summed, with the value that marks invalid pixels and its margin.

        Raises
        ------
        GeometryError
            If frames have another shape than the detector.
        DataError
            If a frame that has to be decoded for this is corrupt.
        """
        frames, delta_dummy = block.frames, self.validity.delta_dummy
        shape = frames.frame_shape if isinstance(frames, EncodedFrames) else frames.shape[1:]
        if tuple(shape) != self.geometry.shape:
            self.geometry.for_shape((int(shape[0]), int(shape[1])) if len(shape) == 2 else (0, 0))
        frames, dummy = widened(frames, self.validity.dummy, threads)
        if self.validity.negative == "mask" and frames.dtype.kind in "if":
            if frames.dtype.kind == "i" and (dummy is None or dummy + delta_dummy < 0):
                dummy, delta_dummy = -(BELOW_ZERO + 0.5), BELOW_ZERO
            else:
                values = _decoded_all(frames, threads)
                frames = np.where(values < 0, np.nan, values)
        return frames, dummy, delta_dummy

    def check_counts(self, block: FrameBlock, negative: NDArray[np.int64]) -> None:
        """Raise `DataError` if frames have valid pixels below zero (`negative` of each) and that is refused."""
        poisson = self.averaging.error_model in ("poisson", "hybrid")
        if poisson and self.validity.negative == "refuse" and negative.any():
            raise self._negative_counts(block, int(np.argmax(negative > 0)))

    def _negative_counts(self, block: FrameBlock, number: int) -> DataError:
        frame = _decoded(block.frames, number).reshape(-1)
        counted = (np.diff(self.pixel_map().pointers) > 0) & (frame < 0)
        counted &= ~marked(frame, self.validity.dummy, self.validity.delta_dummy)
        place = int(np.argmax(counted))
        row, column = divmod(place, self.geometry.shape[1])
        return DataError(
            f"{block.label(number)}: the count in row {row}, column {column} is {frame[place]} "
            f"({np.count_nonzero(counted)} pixels below zero): counts cannot be negative, and their Poisson error is "
            "not known.",
            'Mask these pixels, give the value that marks invalid pixels as dummy, or choose negative="mask" to leave '
            'out or negative="keep" to keep all that is below zero.',
        )

    def save(self, path: str | Path) -> None:
        """Write the map to a file (HDF5) that `load` reads; see `friedel.techniques.integration.storage`."""
        from .storage import save_map

        save_map(path, self)

    @classmethod
    def load(cls, path: str | Path, geometry: Geometry | None = None) -> RadialMap:
        """Read a map that `save` wrote.

        Parameters
        ----------
        path : path-like
        geometry : Geometry, optional
            The geometry that the map must have been built for.

        Raises
        ------
        FileError
            If the file cannot be read or is no map.
        GeometryError
            If the map is for another geometry.
        """
        from .storage import load_map

        return load_map(path, geometry)


def packed(shares: PixelMap, averaging: Averaging, **per_pixel: Any) -> dict[str, Any]:
    """Return what a `RadialMap` sums pixels with, by the names of its attributes.

    Parameters
    ----------
    shares : PixelMap
    averaging : Averaging
    **per_pixel
        `PER_PIXEL` by name.
    """
    return {
        "scatter": Scatter.build(shares, **per_pixel),
        "pairs": BinPairs.build(shares, **per_pixel) if averaging.covariance else None,
        "robust": RobustScatter.build(shares, **per_pixel) if averaging.estimator.robust else None,
    }


@dataclass(frozen=True)
class StreamedMap:
    """The map as a step of a stream of blocks: frames in, arrays by name out, as a sink takes them.

    Attributes
    ----------
    radial_map : RadialMap
    device : str
        Resolved name: "cpu", or GPUs that share the blocks.
    threads : int
        Threads that bring frames to the GPUs.
    """

    radial_map: RadialMap
    device: str = "cpu"
    threads: int = 1

    def __call__(self, items: Frames | FrameBlock) -> dict[str, NDArray[Any]]:
        """Return what `Patterns.arrays` has of the frames: intensity, intensity_errors, ..., valid_fraction."""
        if self.device == "cpu":
            return self.radial_map(items).arrays()
        return self._on_device(items, threads=self.threads).arrays()

    @property
    def at_once(self) -> int | None:
        """Blocks that are worth working on at the same time; None for as many as there are threads."""
        return None if self.device == "cpu" else self._on_device.at_once

    @cached_property
    def _on_device(self) -> DeviceMap:
        from .device_map import DeviceMap

        return DeviceMap(self.radial_map, self.device)

    def __reduce__(self) -> tuple[Any, ...]:
        return StreamedMap, (self.radial_map, self.device, self.threads)


def _with_detector(validity: Validity, geometry: Geometry) -> Validity:
    """Return `validity` with the detector's own mark of invalid pixels, unless another one is given."""
    if validity.dummy is not None or not validity.detector_mask:
        return validity
    return replace(validity, dummy=geometry.detector.dummy, delta_dummy=geometry.detector.delta_dummy)


def _decoded(frames: Frames, number: int) -> NDArray[Any]:
    if not isinstance(frames, EncodedFrames):
        frame: NDArray[Any] = frames[number]
        return frame
    from friedel.kernels.decode import decode

    return np.asarray(decode(frames.part(number, number + 1))[0])


def _decoded_all(frames: Frames, threads: int) -> NDArray[Any]:
    if not isinstance(frames, EncodedFrames):
        return frames
    from friedel.kernels.decode import decode

    return decode(frames, threads=threads)
