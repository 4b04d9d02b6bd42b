"""The tasks of azimuthal integration: what a person can ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    FiniteFloat,
    ModelWrapValidatorHandler,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    model_validator,
)

from friedel.core.parameters import Argument, FilePath, FilePaths, Parameters, Texts
from friedel.core.tasks import task
from friedel.core.units import RadialUnit, UnitName

SampleOrientation = Literal[1, 2, 3, 4, 5, 6, 7, 8]
PolarizationFactor = Annotated[float, Field(ge=-1.0, le=1.0)]
Percent = Annotated[float, Field(ge=0.0, le=100.0)]
EstimatorName = Annotated[
    Literal["mean", "sigma-clip", "percentile"],
    BeforeValidator(lambda value: value.replace("_", "-") if isinstance(value, str) else value),
]


class Integration(Parameters):
    """What patterns and cakes have in common."""

    frames: Annotated[FilePaths, Argument(positional=True)]
    """Files with detector frames: HDF5 (file.h5::/path/in/file), CBF, EDF, TIFF, ...; patterns with * are replaced."""
    geometry: FilePath
    """Geometry, a PONI file; may also be in the configuration of a pyFAI worker."""
    pyfai_config: FilePath | None = None
    """Configuration of a pyFAI worker (JSON, as pyFAI-integrate saves it), from which everything is taken that is not
    given otherwise."""
    npt: PositiveInt = 1000
    """Number of radial bins."""
    unit: RadialUnit = "q_nm^-1"
    """What the bins of a pattern are in: 2th_deg, q_A^-1, qip_nm^-1, ..., or a formula of the user's, such as
    "formula: q**2; units: 1/nm^2"; docs/reference/units.md lists them."""
    splitting: Literal["none", "bbox", "pseudo", "full"] = "full"
    """How a pixel is shared between bins: by its centre, the box around it, the smallest box that holds its corners,
    or its exact polygon."""
    error_model: Literal["none", "poisson", "azimuthal", "hybrid"] = "none"
    """Error of a pixel: none, the root of its counts, the spread on its ring, or (hybrid) that while outliers are
    clipped and the root of its counts afterwards."""
    estimator: EstimatorName = "mean"
    """What is made of the pixels of a bin: their mean, the mean without outliers, or that between two percentiles."""
    clip_threshold: Annotated[float, Field(ge=1.0)] = 5.0
    """For sigma-clip: distance from the mean of the bin, in standard deviations, beyond which pixels are outliers."""
    clip_iterations: NonNegativeInt = 5
    """For sigma-clip: how often outliers are dropped at most."""
    percentile: tuple[Percent, Percent] = (50.0, 50.0)
    """For percentile: lowest and highest percentile of the pixels to average; 50 50 is the median."""
    weighted: bool = True
    """Whether pixels count by what they can see (flat field, solid angle, ...), or all the same."""
    radial_range: tuple[float, float] | None = None
    """Lowest and highest radial value, in the unit; by default all that the detector sees."""
    azimuth_range: tuple[float, float] | None = None
    """Lowest and highest azimuth in its unit; 170 -170 is the sector of 20 degrees across the cut."""
    azimuth_unit: UnitName = "chi_deg"
    """What azimuth_range and the second axis of a cake are in: an angle, qoop_nm^-1, exit_angle_vert_deg, ..."""
    incidence: Annotated[float, Field(ge=-90.0, le=90.0)] = 0.0
    """Angle between beam and surface in degrees, for units of grazing incidence."""
    tilt: FiniteFloat = 0.0
    """Angle of the surface about the beam in degrees, for units of grazing incidence."""
    sample_orientation: SampleOrientation = 1
    """Which way up the sample is on the detector: 1 upright, 3 upside down, 6 and 8 on a side, the others mirrored."""
    mask: FilePaths | None = None
    """Image that is not zero where a pixel is excluded; of several, each excludes its own."""
    dark: FilePaths | None = None
    """Image of the counts without beam, subtracted; the mean of several."""
    dark_frames: PositiveInt | None = None
    """Number of frames that the dark is the mean of: adds its own variance to the Poisson errors."""
    flat: FilePaths | None = None
    """Image of the relative efficiency of the pixels, divided by; the mean of several."""
    solid_angle: bool = True
    """Whether to correct for the solid angle of the pixels."""
    polarization: PolarizationFactor | None = None
    """Polarization factor, -1 to 1; about 0.95 to 0.99 at a synchrotron."""
    polarization_axis: FiniteFloat = 0.0
    """Angle of the plane of polarization to the horizontal in degrees."""
    sensor: str | None = None
    """What stops the photons: material and thickness, CdTe,750um; by default as the geometry says."""
    efficiency: bool = False
    """Whether to correct for oblique rays being absorbed more completely in the sensor."""
    parallax: bool | None = None
    """Whether pixels count as where their rays enter the sensor; by default as the geometry says."""
    absorber: Texts = ()
    """Layers between sample and detector: material, thickness and, if it is not known, density in g/cm3: air,300mm
    kapton,50um Fe2O3,10um,5.24; with @beam at the end one across the beam rather than parallel to the detector."""
    monitor: str | None = None
    """Axis of the scan that each pattern is divided by, such as the incident flux."""
    normalization_factor: PositiveFloat = 1.0
    """Number that every pattern is divided by, besides the monitor."""
    detector_mask: bool = True
    """Whether the detector's gaps, its values for invalid pixels, and the pixel mask in the file are left out."""
    orientation: Literal[1, 2, 3, 4] | None = None
    """Where the stored image begins, seen from the sample: 3 as PONI files have it, 2 upside down; by default as the
    geometry says."""
    dummy: float | None = None
    """Value that marks invalid pixels; by default that of the detector."""
    delta_dummy: NonNegativeFloat = 0.0
    """How far from the dummy values still mark invalid pixels."""
    negative: Literal["refuse", "keep", "mask"] = "refuse"
    """What to do about counts below zero when errors are Poisson's: refuse them, keep them, or leave the pixels out."""
    dataset: str | None = None
    """Path of the frames inside HDF5 files."""
    checksum: bool = False
    """Whether CBF images are compared with the checksum in their header."""
    frame_range: str | None = None
    """Frames to integrate, start:stop:step."""
    roi: str | None = None
    """Rows and columns to integrate, y0:y1,x0:x1."""
    block_frames: PositiveInt | None = None
    """Frames in a block; by default as many as fill 64 MiB. Results do not depend on it."""
    output: Annotated[FilePath | None, Argument(alias="-o")] = None
    """File to write: HDF5 (NeXus), or text if it ends in .xy, .xye, .dat, .chi or .fxye (numbered if there are several
    frames)."""
    format: Literal["friedel", "pyfai", "nxmonopd", "nxcansas", "nxazint1d"] = "friedel"
    """Layout of the HDF5 file: friedel's alone, or beside it that of pyFAI-integrate or of an application definition of
    NeXus, for programs that read those."""
    report: FilePath | None = None
    """Report to write: one HTML page with pictures."""
    overwrite: bool = False
    """Whether a file that exists may be replaced."""
    _notes: tuple[str, ...] = PrivateAttr(())

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the configuration was understood."""
        return self._notes

    @model_validator(mode="wrap")
    @classmethod
    def _from_pyfai(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        path = values.get("pyfai_config") if isinstance(values, Mapping) else None
        # A record holds everything: then there is nothing left to take from the configuration.
        if path is None or not cls.model_fields.keys() - values.keys():
            return handler(values)
        from .pyfai_config import parameters_of

        migrated = parameters_of(path, values, cls.model_fields.keys())
        made = handler(migrated.values | dict(values))
        made._notes = migrated.notes
        return made


class Live(Integration):
    """What tasks have that can take frames while they are written, and go on without those that are damaged."""

    follow: NonNegativeFloat | None = None
    """Seconds to wait for more frames while files are still being written; ends when none has come for so long, or when
    all that are asked for (the end of frame_range, the points of a map) are there."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do about frames that are damaged or missing: stop, or skip them: their patterns are not a number, and the
    result lists them."""


class Averages(Live):
    """What patterns and cakes of their own have, beside those that a workflow works on."""

    error_model: Literal["none", "poisson", "azimuthal", "variance", "hybrid"] = "none"  # type: ignore[assignment]
    """Error of a pixel: none, the root of its counts, the spread on its ring, as given by variance; hybrid is the
    spread where pixels are clipped by it, and counts in the result."""
    variance: FilePaths = ()
    """Files with the variance of the pixels: one image for all frames, or one for each; makes the error model
    variance."""
    empty: float | None = None
    """Value of bins without valid pixels; by default not a number."""
    std: bool = False
    """Whether to give the spread of single pixels in a bin too, beside the error of their mean."""
    covariance: bool = False
    """Whether to give the covariances of neighbouring bins, which share pixels if these are split; not for cakes."""


class Integrate1D(Averages):
    """Azimuthal average: one powder pattern for each detector frame."""


class Integrate2D(Averages):
    """Azimuthal regrouping: one cake, intensity over azimuth and radius (or any two units), for each detector frame."""

    npt_azimuth: PositiveInt = 360
    """Number of azimuthal bins."""
    discontinuity: Literal["pi", "0"] = "pi"
    """Where the azimuth of a whole circle begins: -180 degrees (pi) or 0."""


class IntegrateRadial(Averages):
    """Intensity against azimuth, averaged over the radial range: one profile for each detector frame."""

    npt: PositiveInt = 360
    """Number of azimuthal bins."""
    discontinuity: Literal["pi", "0"] = "pi"
    """Where the azimuth of a whole circle begins: -180 degrees (pi) or 0."""


class Merged(Averages):
    """What merged patterns and cakes have in common."""

    geometry: FilePaths  # type: ignore[assignment]
    """PONI files: one for each file of frames (of several detectors, say), whose frames i are merged to pattern i; or
    one for each frame, which are merged to one pattern. Or a goniometer calibration of pyFAI (JSON), which has a
    geometry for each frame."""
    positions: Texts = ()
    """For each motor of the goniometer, the axis of the scan that holds its positions, or the positions themselves,
    0,10,20; by default the axes that are called like the motors."""


class Merge1D(Merged):
    """One powder pattern from frames of several geometries: a detector that moves, or several detectors."""


class Merge2D(Merged):
    """One cake from frames of several geometries: a detector that moves, or several detectors."""

    npt_azimuth: PositiveInt = 360
    """Number of azimuthal bins."""
    discontinuity: Literal["pi", "0"] = "pi"
    """Where the azimuth of a whole circle begins: -180 degrees (pi) or 0."""


class Separate(Integration):
    """Bragg spots apart from what is the same all round, such as amorphous scattering: two images for each frame.

    The isotropic part is the image of a robust pattern; what is left are spots. Both are counts as recorded.
    A name that ends in .edf, .tif, .cbf or .npy gives two image files, NAME_bragg and NAME_amorphous, numbered if there
    are several frames.
    """

    estimator: EstimatorName = "percentile"
    """What the isotropic part of a bin is: the mean between two percentiles, or the mean without outliers."""


class Inpaint(Integration):
    """Frames with their gaps filled: masked and invalid pixels get what others have at the same scattering angle.

    Where there is no other, as behind the beamstop, they are not a number. A name that ends in .edf, .tif, .cbf or .npy
    gives image files, numbered if there are several frames.
    """

    npt_azimuth: PositiveInt = 360
    """Number of azimuthal bins of the cake that gaps are filled from."""
    grow_mask: NonNegativeInt = 3
    """Pixels beside a gap that do not count, for counts next to a gap are often wrong."""
    noise: bool = False
    """Whether filled pixels get the noise of counts."""
    seed: NonNegativeInt = 0
    """Seed of that noise; the same seed gives the same images."""


class CalculateImage(Parameters):
    """Image of a pattern or cake, as a detector would record it: the inverse of integration."""

    patterns: Annotated[FilePath, Argument(positional=True)]
    """Patterns or cakes: a result of integrate1d or integrate2d, or text (.xy, .xye, .dat, .chi, .fxye)."""
    geometry: FilePath
    """Geometry, a PONI file."""
    unit: RadialUnit | None = None
    """Radial unit of the patterns, where their file does not say."""
    shape: tuple[PositiveInt, PositiveInt] | None = None
    """Rows and columns of the image, where the geometry does not say."""
    interpolation: Literal["linear", "nearest"] = "linear"
    """Whether intensities are interpolated between bins, or those of the nearest bin."""
    solid_angle: bool = True
    """Whether the pattern was corrected for the solid angle of the pixels."""
    polarization: PolarizationFactor | None = None
    """Polarization factor that it was corrected with, -1 to 1."""
    polarization_axis: float = 0.0
    """Angle of the plane of polarization to the horizontal in degrees."""
    flat: FilePaths = ()
    """Image of the relative efficiency of the pixels, multiplied with; the mean of several."""
    dark: FilePaths = ()
    """Image of the counts without beam, added; the mean of several."""
    sensor: str | None = None
    """What stops the photons: material and thickness, CdTe,750um; by default as the geometry says."""
    efficiency: bool = False
    """Whether it was corrected for oblique rays being absorbed more completely in the sensor."""
    parallax: bool | None = None
    """Whether pixels count as where their rays enter the sensor; by default as the geometry says."""
    absorber: Texts = ()
    """Layers between sample and detector that it was corrected for, as for integrate1d."""
    orientation: Literal[1, 2, 3, 4] | None = None
    """Where the stored image begins, as for integrate1d; by default as the geometry says."""
    empty: float | None = None
    """Value of pixels that the pattern does not reach; by default not a number."""
    output: Annotated[FilePath | None, Argument(alias="-o")] = None
    """File to write: HDF5 (NeXus), or an image: .edf, .tif, .cbf, .npy (numbered if there are several patterns)."""
    report: FilePath | None = None
    """Report to write: one HTML page with pictures."""
    overwrite: bool = False
    """Whether a file that exists may be replaced."""


_ROOM = "friedel.techniques.integration"
_RUN = f"{_ROOM}.integrate"

integrate1d = task("integrate1d", version=1, parameters=Integrate1D, run=f"{_RUN}:integrate1d")
integrate2d = task("integrate2d", version=1, parameters=Integrate2D, run=f"{_RUN}:integrate2d")
integrate_radial = task("integrate_radial", version=1, parameters=IntegrateRadial, run=f"{_RUN}:integrate_radial")

_MERGE = "friedel.techniques.integration.merge_scan"

merge1d = task("merge1d", version=1, parameters=Merge1D, run=f"{_MERGE}:merge1d")
merge2d = task("merge2d", version=1, parameters=Merge2D, run=f"{_MERGE}:merge2d")
separate = task("separate", version=1, parameters=Separate, run=f"{_ROOM}.separation:separate")
inpaint = task("inpaint", version=1, parameters=Inpaint, run=f"{_ROOM}.inpainting:inpaint")
calculate_image = task(
    "calculate_image", version=1, parameters=CalculateImage, run=f"{_ROOM}.calculation:calculate_image"
)
