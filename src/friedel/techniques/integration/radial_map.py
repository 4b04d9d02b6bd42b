"""The plan of azimuthal integration: all that depends on geometry and corrections alone, paid for once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import DataError, ParameterError
from friedel.core.units import RadialUnit
from friedel.device.threads import thread_count
from friedel.instrument import Geometry
from friedel.instrument.radial import radial_scale
from friedel.kernels.encoded import EncodedFrames
from friedel.kernels.scatter import BinSums, PixelMap, Scatter
from friedel.kernels.splitting import Axis, join_shares

from .corrections import excluded_pixels, image_for, pixel_normalization
from .fingerprint import fingerprint
from .grid import azimuth_grid, check_bins, radial_grid
from .options import ErrorModel, Negative, check_options
from .patterns import Patterns, patterns_of
from .pixels import Discontinuity, Splitting, cut_slabs, each_slab

Frames = NDArray[Any] | EncodedFrames

BELOW_ZERO = 2.0**40
"""As dummy -(this + 1/2) within this: marks every negative value of an integer type, and no other."""


WIDENED = ("i8", "u8", "b1", "f2")
"""Types of frames that are summed as float64."""


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
    unit : str
        Radial unit.
    splitting : {"none", "bbox", "full"}
    radial : Axis
        Radial bins in `unit`.
    azimuth : Axis or None
        Azimuthal bins in rad; one for the pattern of a sector, None for that of the whole circle.
    cake : bool
        Whether results have an azimuthal axis.
    discontinuity : {"pi", "0"}
        Where the azimuth jumps.
    excluded : ndarray of bool, shape (rows, columns)
        Pixels that take no part in any frame.
    scatter : Scatter
        Sums pixels over bins.
    error_model : {"none", "poisson", "azimuthal", "variance"}
    dummy, delta_dummy : float
        Value that marks an invalid pixel, and how far from it values still do; None for no such value.
    negative : {"refuse", "keep", "mask"}
        What is done about counts below zero.
    empty : float
        Value of bins without valid pixels.
    keep_sums : bool
        Whether results hold the sums over the bins.
    """

    geometry: Geometry
    unit: RadialUnit
    splitting: Splitting
    radial: Axis
    azimuth: Axis | None
    cake: bool
    discontinuity: Discontinuity
    excluded: NDArray[np.bool_]
    scatter: Scatter
    error_model: ErrorModel = "none"
    dummy: float | None = None
    delta_dummy: float = 0.0
    negative: Negative = "refuse"
    empty: float = float("nan")
    keep_sums: bool = False

    @classmethod
    def build(
        cls,
        geometry: Geometry,
        *,
        npt: int = 1000,
        unit: RadialUnit = "q_nm^-1",
        splitting: Splitting = "full",
        npt_azimuth: int | None = None,
        mask: ArrayLike | None = None,
        detector_mask: bool = True,
        radial_range: tuple[float, float] | None = None,
        azimuth_range: tuple[float, float] | None = None,
        discontinuity: Discontinuity = "pi",
        solid_angle: bool = True,
        polarization: float | None = None,
        polarization_axis: float = 0.0,
        flat: ArrayLike | None = None,
        dark: ArrayLike | None = None,
        dark_variance: ArrayLike | None = None,
        dummy: float | None = None,
        delta_dummy: float = 0.0,
        error_model: ErrorModel = "none",
        negative: Negative = "refuse",
        empty: float = float("nan"),
        keep_sums: bool = False,
        threads: int | None = None,
    ) -> RadialMap:
        """Build the map.

        Parameters
        ----------
        geometry : Geometry
            With a detector whose shape is known.
        npt : int
            Number of radial bins.
        unit : str
            Radial unit, "q_nm^-1", "2th_deg", ...
        splitting : {"none", "bbox", "full"}
            How a pixel is shared between bins: by its centre, by the box around it, or by its exact polygon.
        npt_azimuth : int, optional
            Number of azimuthal bins; makes the result a cake (azimuth, radial).
        mask : array-like, shape (rows, columns), optional
            Non-zero where a pixel is excluded.
        detector_mask : bool
            Whether gaps of the detector, and the value it gives to invalid pixels, are left out.
        radial_range : (float, float), optional
            In `unit`; by default all that unmasked pixels reach.
        azimuth_range : (float, float), optional
            In degrees, from -180 to 180 or 0 to 360; (170, -170) crosses the cut.
        discontinuity : {"pi", "0"}
            Where the azimuth jumps: -180 to 180 or 0 to 360 degrees in a cake of the whole circle.
        solid_angle : bool
            Whether to correct for the solid angle of the pixels.
        polarization : float, optional
            Polarization factor, -1 to 1; None for no correction.
        polarization_axis : float
            Angle of the plane of polarization in degrees.
        flat, dark : array-like, shape (rows, columns), optional
            Flat field, and counts without beam.
        dark_variance : array-like, shape (rows, columns), optional
            Variance of `dark`: dark/n for the mean of n Poisson frames.
        dummy, delta_dummy : float, optional
            Value that marks invalid pixels; by default that of the detector, if `detector_mask`.
        error_model : {"none", "poisson", "azimuthal", "variance"}
            Variance of a pixel: none; its counts; the spread on its ring; given with the frames. With splitting, the
            azimuthal model takes each pixel's part in a bin as one observation of weight c·w.
        negative : {"refuse", "keep", "mask"}
            What to do about valid counts below zero: raise `DataError` if the error model is "poisson", keep them,
            or leave these pixels out.
        empty : float
            Value of bins without valid pixels.
        keep_sums : bool
            Whether results hold the sums over the bins.
        threads : int, optional
            Threads to build with.

        Raises
        ------
        ParameterError
            If a parameter has a value that is not allowed.
        GeometryError
            If an image has another shape than the detector, or the unit needs a wavelength.
        DataError
            If no pixel is left.
        """
        threads = thread_count() if threads is None else threads
        check_options(
            {
                "unit": unit,
                "splitting": splitting,
                "error_model": error_model,
                "negative": negative,
                "discontinuity": discontinuity,
            }
        )
        check_bins(npt, npt_azimuth)
        if dummy is None and detector_mask:
            dummy, delta_dummy = geometry.detector.dummy, geometry.detector.delta_dummy
        flat, dark, mask, dark_variance = (
            image_for(geometry, image, name)
            for image, name in ((flat, "flat"), (dark, "dark"), (mask, "mask"), (dark_variance, "variance of the dark"))
        )
        excluded = excluded_pixels(
            geometry,
            mask=mask,
            detector_mask=detector_mask,
            dark=dark,
            flat=flat,
            dummy=dummy,
            delta_dummy=delta_dummy,
        )

        def slabs(function: Any) -> list[Any]:
            return each_slab(cut_slabs(geometry, unit, excluded, discontinuity), function, threads)

        radial = radial_grid(
            npt,
            radial_range,
            lambda: slabs(lambda slab: slab.radial_extent(splitting)),
            negative_allowed=radial_scale(unit).quantity == "d",
        )
        # A sector of a pattern is a cake of one azimuthal bin.
        azimuth = None
        if npt_azimuth is not None or azimuth_range is not None:
            azimuth = azimuth_grid(
                1 if npt_azimuth is None else npt_azimuth,
                azimuth_range,
                lambda: slabs(lambda slab: slab.azimuth_extent(splitting)),
                discontinuity,
            )

        pixel_map = join_shares(
            slabs(lambda slab: slab.shares(splitting, radial, azimuth)), npt * (azimuth.n_bins if azimuth else 1)
        )
        if not pixel_map.bins.size:
            raise ParameterError(
                f"No pixel lies in the radial range {radial.low:g} to {radial.high:g} {unit}"
                + ("." if azimuth is None else " and the azimuth range."),
                "Give a range that the detector covers; friedel integrate1d without a range shows which.",
            )
        normalization = pixel_normalization(
            geometry,
            solid_angle=solid_angle,
            polarization=polarization,
            polarization_axis=polarization_axis,
            flat=flat,
        )
        scatter = Scatter.build(pixel_map, normalization=normalization, dark=dark, dark_variance=dark_variance)
        return cls(
            geometry=geometry,
            unit=unit,
            splitting=splitting,
            radial=radial,
            azimuth=azimuth,
            cake=npt_azimuth is not None,
            discontinuity=discontinuity,
            excluded=excluded,
            scatter=scatter,
            error_model=error_model,
            dummy=dummy,
            delta_dummy=delta_dummy,
            negative=negative,
            empty=empty,
            keep_sums=keep_sums,
        )

    @property
    def bins(self) -> tuple[int, ...]:
        """Shape of the result for one frame: (n_radial,) or (n_azimuth, n_radial)."""
        if self.azimuth is None or not self.cake:
            return (self.radial.n_bins,)
        return self.azimuth.n_bins, self.radial.n_bins

    @property
    def total_count(self) -> float:
        """Sum of the shares of all pixels."""
        return float(self.scatter.constants[2].sum())

    @property
    def fingerprint(self) -> str:
        """Identifies geometry and unit, so that a stored map is not used for another setup."""
        return fingerprint(self.geometry, self.unit)

    def pixel_map(self, threads: int | None = None) -> PixelMap:
        """Return the shares of the pixels in the bins, computed again: the plan itself holds them packed for speed."""
        slabs = cut_slabs(self.geometry, self.unit, self.excluded, self.discontinuity)
        parts = each_slab(
            slabs,
            lambda slab: slab.shares(self.splitting, self.radial, self.azimuth),
            thread_count() if threads is None else threads,
        )
        return join_shares(parts, self.scatter.n_bins)

    def with_options(self, **options: Any) -> RadialMap:
        """Return the same map with another `error_model`, `negative`, `empty`, `dummy` or `keep_sums`."""
        return replace(self, **options)

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
        sums = self._sum(block, threads)
        if self.error_model == "poisson" and self.negative == "refuse" and sums.negative.any():
            raise self._negative_counts(block, int(np.argmax(sums.negative > 0)))
        return patterns_of(
            sums,
            self.total_count,
            self.bins,
            factor=block.normalization,
            empty=self.empty,
            keep_sums=self.keep_sums,
        )

    def _sum(self, block: FrameBlock, threads: int) -> BinSums:
        frames, dummy, delta_dummy = block.frames, self.dummy, self.delta_dummy
        shape = frames.frame_shape if isinstance(frames, EncodedFrames) else frames.shape[1:]
        if tuple(shape) != self.geometry.shape:
            self.geometry.for_shape((int(shape[0]), int(shape[1])) if len(shape) == 2 else (0, 0))
        if frames.dtype.str[1:] in WIDENED:
            if frames.dtype == np.uint64 and dummy is not None and dummy < 0:
                dummy += 2.0**64
            frames = _decoded_all(frames, threads).astype(np.float64)
        if self.negative == "mask" and frames.dtype.kind in "if":
            if frames.dtype.kind == "i" and (dummy is None or dummy + delta_dummy < 0):
                dummy, delta_dummy = -(BELOW_ZERO + 0.5), BELOW_ZERO
            else:
                values = _decoded_all(frames, threads)
                frames = np.where(values < 0, np.nan, values)
        return self.scatter(
            frames,
            error_model=self.error_model,
            variance=block.variance,
            dummy=dummy,
            delta_dummy=delta_dummy,
            threads=threads,
        )

    def _negative_counts(self, block: FrameBlock, number: int) -> DataError:
        frame = _decoded(block.frames, number).reshape(-1)
        counted = (np.diff(self.pixel_map().pointers) > 0) & (frame < 0)
        if self.dummy is not None:
            counted &= ~(np.abs(frame.astype(np.float64) - self.dummy) <= self.delta_dummy)
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


@dataclass(frozen=True)
class StreamedMap:
    """The map as a step of a stream of blocks: frames in, arrays by name out, as a sink takes them."""

    radial_map: RadialMap

    def __call__(self, items: Frames | FrameBlock) -> dict[str, NDArray[np.float32]]:
        """Return intensity, intensity_errors (with an error model) and valid_fraction of the frames."""
        return self.radial_map(items).arrays()


def _decoded(frames: Frames, number: int) -> NDArray[Any]:
    if not isinstance(frames, EncodedFrames):
        frame: NDArray[Any] = frames[number]
        return frame
    from friedel.kernels.decode import decode

    one = slice(number, number + 1)
    alone = replace(frames, buffers=frames.buffers[one], labels=frames.labels[one])
    return np.asarray(decode(alone)[0])


def _decoded_all(frames: Frames, threads: int) -> NDArray[Any]:
    if not isinstance(frames, EncodedFrames):
        return frames
    from friedel.kernels.decode import decode

    return decode(frames, threads=threads)
