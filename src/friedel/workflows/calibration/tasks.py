"""The tasks of calibration: what a person can ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from friedel.core.parameters import Argument, FilePath, FilePaths, NameOrPath, Parameters, Texts
from friedel.core.tasks import task


class Setup(Parameters):
    """What is known of the experiment."""

    detector: NameOrPath | None = None
    """Detector: a model or a file; not needed with a geometry."""
    orientation: Literal[1, 2, 3, 4] | None = None
    """Corner of the detector where the image's first pixel is, as in PONI files: 1 top left, 2 top right, 3 bottom
    right (by default), 4 bottom left, as seen from the sample."""
    energy: str | float | None = None
    """Photon energy, such as 30.5keV."""
    wavelength: str | float | None = None
    """Wavelength, such as 0.4065A; instead of the energy. With neither it is found too, where the rings reach
    angles large enough to tell it."""


class SensorOptions(Parameters):
    """What stops the photons."""

    sensor: str | None = None
    """Sensor of the detector: material and thickness, CdTe,1mm; by default as the geometry says."""
    parallax: bool | None = None
    """Whether pixels count as where their rays enter the sensor; by default as the geometry says. Needs the sensor."""


class Images(Parameters):
    """Images, and which of their pixels count."""

    images: Annotated[FilePaths, Argument(positional=True)]
    """Images of the calibrant; several of one setup are added up."""
    mask: FilePath | None = None
    """Image that is not zero where a pixel is excluded."""
    dark: FilePath | None = None
    """Image of the counts without beam, subtracted; several frames are averaged."""
    flat: FilePath | None = None
    """Image of the relative efficiency of the pixels, divided by; several frames are averaged."""


class Refining(Parameters):
    """How a geometry is refined."""

    fix: Texts = ()
    """Parameters to keep: dist, poni1, poni2, rot1, rot2, rot3, wavelength."""
    free: Texts = ()
    """Parameters to refine besides dist, poni1, poni2, rot1 and rot2: wavelength. Rings do not tell rot3."""
    bounds: Texts = ()
    """Limits of parameters in m and rad, such as dist=0.1,0.3."""


class Calibrate(Images, Setup, SensorOptions, Refining):
    """Find the geometry of a detector from images of a calibrant, without a guess, and say how far to trust it.

    Points on rings are found, the geometry that explains them is searched for, the rings are measured and the geometry
    is refined in turns. Writes the geometry to ``output`` (PONI) and all that it rests on to ``<output>.h5`` beside it.
    The exit code is 0 for a geometry that can be trusted, 3 for a doubtful one, 1 if there is none.
    """

    calibrant: NameOrPath
    """Calibrant: the name of a built-in one, a CIF file or a list of spacings (.D)."""
    geometry: FilePath | None = None
    """Geometry to start from (PONI file), which is then refined; by default it is searched for."""
    modules: bool = False
    """Whether each module of the detector is shifted and turned to where its rings say it is. The detector is then
    written too, ``<output>_detector.h5``, and the geometry names it."""
    own: Texts = ()
    """With several images: parameters that each image has for itself, such as dist; all else is shared. By default
    the images are of one setup and are added up."""
    rounds: PositiveInt = 3
    """How often rings are measured and the geometry refined, at most."""
    reference: FilePath | None = None
    """Geometry to compare with (PONI file)."""
    output: Annotated[FilePath, Argument(alias="-o")] = "setup.poni"
    """Geometry to write (PONI file), or the result (.h5), with the other beside it."""
    report: FilePath | None = None
    """Page to draw, HTML."""
    overwrite: bool = False
    """Whether files that exist may be replaced."""


class DetectRings(Images):
    """Find points on rings and spots of an image, without any knowledge of the geometry."""

    detector: NameOrPath | None = None
    """Detector: a model or a file, for its mask and the value of its invalid pixels."""
    orientation: Literal[1, 2, 3, 4] | None = None
    """Corner of the detector where the image's first pixel is."""
    most: Annotated[int, Field(ge=20)] = 4000
    """Number of points wanted at most."""
    output: Annotated[FilePath, Argument(alias="-o")] = "points.txt"
    """Table of points to write: text, or HDF5 (.h5)."""
    overwrite: bool = False
    """Whether a file that exists may be replaced."""


class AssignRings(Setup):
    """Find the number of the ring that each point lies on, and a first geometry.

    The points are those that were detected, or your own: a table of y and x in pixels, or a file of pyFAI (.npt).
    With a geometry each point gets the nearest ring. Otherwise the geometry is searched for; numbers of rings that the
    table holds are kept.
    """

    points: Annotated[FilePath, Argument(positional=True)]
    """Table of points: text, HDF5 or .npt."""
    calibrant: NameOrPath
    """Calibrant: the name of a built-in one, a CIF file or a list of spacings (.D)."""
    geometry: FilePath | None = None
    """Geometry that is nearly right (PONI file)."""
    output: Annotated[FilePath, Argument(alias="-o")] = "rings.txt"
    """Table of control points to write: text, HDF5 (.h5) or .npt."""
    poni: FilePath | None = None
    """Where to write the geometry that was found (PONI file)."""
    overwrite: bool = False
    """Whether files that exist may be replaced."""


class ExtractRings(Images):
    """Measure where the rings of an image are, sector by sector, with a geometry that is nearly right."""

    geometry: FilePath
    """Geometry (PONI file)."""
    calibrant: NameOrPath
    """Calibrant: the name of a built-in one, a CIF file or a list of spacings (.D)."""
    orientation: Literal[1, 2, 3, 4] | None = None
    """Corner of the detector where the image's first pixel is; by default as the geometry says."""
    reach: PositiveFloat = 3.0
    """How far rings may be from where the geometry has them, pixels."""
    output: Annotated[FilePath, Argument(alias="-o")] = "rings.txt"
    """Table of control points to write: text, HDF5 (.h5) or .npt."""
    overwrite: bool = False
    """Whether a file that exists may be replaced."""


class RefineGeometry(SensorOptions, Refining):
    """Refine a geometry to control points whose rings are known, by least squares."""

    points: Annotated[FilePath, Argument(positional=True)]
    """Table of control points: text, HDF5 or .npt."""
    geometry: FilePath
    """Geometry to start from (PONI file)."""
    calibrant: NameOrPath
    """Calibrant: the name of a built-in one, a CIF file or a list of spacings (.D)."""
    robust: bool = True
    """Whether points far from their rings lose weight."""
    output: Annotated[FilePath, Argument(alias="-o")] = "refined.poni"
    """Geometry to write (PONI file), or the result (.h5), with the other beside it."""
    report: FilePath | None = None
    """Page to draw, HTML."""
    overwrite: bool = False
    """Whether files that exist may be replaced."""


class ValidateGeometry(Parameters):
    """Say how far a geometry can be trusted, from control points and the image they were measured on.

    Nothing is refined: the geometry is judged as it is, with the standard errors that the points would give.
    """

    points: Annotated[FilePath, Argument(positional=True)]
    """Table of control points: text, HDF5 or .npt."""
    geometry: FilePath
    """Geometry to judge (PONI file)."""
    calibrant: NameOrPath
    """Calibrant: the name of a built-in one, a CIF file or a list of spacings (.D)."""
    image: FilePath | None = None
    """Image of the calibrant, for pattern, cake and the rings that should be seen."""
    mask: FilePath | None = None
    """Image that is not zero where a pixel is excluded."""
    reference: FilePath | None = None
    """Geometry to compare with (PONI file)."""
    output: Annotated[FilePath | None, Argument(alias="-o")] = None
    """Result to write, HDF5."""
    report: FilePath | None = None
    """Page to draw, HTML."""
    overwrite: bool = False
    """Whether files that exist may be replaced."""


_RUN = "friedel.workflows.calibration"

calibrate = task("calibrate", version=1, parameters=Calibrate, run=f"{_RUN}.workflow:calibrate")
calibrate_detect = task("calibrate detect", version=1, parameters=DetectRings, run=f"{_RUN}.steps:calibrate_detect")
calibrate_assign = task("calibrate assign", version=1, parameters=AssignRings, run=f"{_RUN}.steps:calibrate_assign")
calibrate_extract = task("calibrate extract", version=1, parameters=ExtractRings, run=f"{_RUN}.steps:calibrate_extract")
calibrate_refine = task("calibrate refine", version=1, parameters=RefineGeometry, run=f"{_RUN}.steps:calibrate_refine")
calibrate_validate = task(
    "calibrate validate", version=1, parameters=ValidateGeometry, run=f"{_RUN}.steps:calibrate_validate"
)
