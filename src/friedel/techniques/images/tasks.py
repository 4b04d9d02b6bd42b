"""The tasks on images: what a person can ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from friedel.core.parameters import Argument, FilePath, FilePaths, Parameters
from friedel.core.tasks import task

Statistic = Literal["mean", "median", "min", "max", "sum", "std", "count", "quantiles", "trimmed_mean", "clipped_mean"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class FrameSeries(Parameters):
    """A series of frames, and which of their pixels count."""

    frames: Annotated[FilePaths, Argument(positional=True)]
    """Files with detector frames: HDF5 (file.h5::/path/in/file), CBF, EDF, TIFF, ...; patterns with * are replaced."""
    dataset: str | None = None
    """Path of the frames inside HDF5 files."""
    frame_range: str | None = None
    """Frames to take, start:stop:step."""
    mask: FilePath | None = None
    """Image that is not zero where a pixel is excluded."""
    detector_mask: bool = True
    """Whether the pixel mask in the file is obeyed."""
    dummy: float | None = None
    """Value that marks invalid pixels."""
    delta_dummy: Annotated[float, Field(ge=0.0)] = 0.0
    """How far from the dummy values still mark invalid pixels."""
    dark: FilePath | None = None
    """Image of the counts without beam, subtracted; several frames are averaged."""
    flat: FilePath | None = None
    """Image of the relative efficiency of the pixels, divided by; several frames are averaged."""
    monitor: str | None = None
    """Axis of the scan that each frame is divided by, such as the incident flux."""


class Average(FrameSeries):
    """Statistics of a series of frames, pixel by pixel: mean, median, extremes, spread, quantiles.

    Frames are corrected first (dark, flat, monitor). A value that is marked as invalid in one frame leaves the
    statistics of its pixel in that frame only; a pixel without any valid value is not a number.
    """

    statistics: tuple[Statistic, ...] = ("mean",)
    """What to compute. trimmed_mean is the mean of the values between two quantiles (--trim), clipped_mean that of
    the values within --clip-threshold standard deviations of the centre; std is the spread of the values, quantiles
    those named by --quantiles."""
    quantiles: tuple[Fraction, ...] = (0.25, 0.5, 0.75)
    """Quantiles to compute, 0 to 1."""
    trim: tuple[Fraction, Fraction] = (0.1, 0.9)
    """Quantiles between which values are averaged by trimmed_mean."""
    clip_threshold: PositiveFloat = 3.0
    """Standard deviations from the centre within which values are averaged by clipped_mean."""
    center: Literal["mean", "median"] = "median"
    """Centre that clipped_mean measures distances from."""
    output: Annotated[FilePath | None, Argument(alias="-o")] = None
    """File to write: HDF5 (NeXus), or an image: .edf, .tif, .npy, .cbf (whole numbers); of several statistics each
    goes to an image of its own, named after it."""
    report: FilePath | None = None
    """Report to write: one HTML page with pictures."""
    overwrite: bool = False
    """Whether a file that exists may be replaced."""


class Resampling(FrameSeries):
    """What the correction of distortion and its inverse have in common."""

    detector: FilePath
    """Where the pixels are: a spline file of FIT2D (.spline), a NeXus detector file, or a geometry (PONI) that names
    one."""
    conserve: Literal["counts", "intensity"] = "counts"
    """What is kept: the counts, shared by the area of overlap, so that a larger pixel holds more; or the intensity,
    their mean over the area, for images that were divided by a flat field."""
    error_model: Literal["none", "poisson"] = "none"
    """Error of a pixel: none, or the root of its counts."""
    empty: float | None = None
    """Value of pixels that no valid pixel overlaps; by default not a number."""
    output: Annotated[FilePath | None, Argument(alias="-o")] = None
    """File to write: HDF5 (NeXus), or an image: .edf, .tif, .npy, .cbf (whole numbers), numbered if there are several
    frames."""
    report: FilePath | None = None
    """Report to write: one HTML page with pictures."""
    overwrite: bool = False
    """Whether a file that exists may be replaced."""


class Undistort(Resampling):
    """Correct frames for the distortion of the detector: each pixel is spread over a regular grid by exact overlap.

    With a PONI file as detector the geometry of the corrected frames is written beside them.
    """

    resize: bool = False
    """Whether the grid is made large enough for all pixels; otherwise it has the detector's shape, and what lies
    outside is lost."""


class Distort(Resampling):
    """Make frames as the distorted detector would have seen them: the inverse of the correction of distortion.

    Takes frames on the regular grid of the detector's shape, and spreads each of their pixels over the detector's.
    """


average = task("average", version=1, parameters=Average, run="friedel.techniques.images.average:average")
undistort = task("undistort", version=1, parameters=Undistort, run="friedel.techniques.images.distortion:undistort")
distort = task("distort", version=1, parameters=Distort, run="friedel.techniques.images.distortion:distort")
