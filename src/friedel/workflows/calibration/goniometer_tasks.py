"""The task that calibrates a moving detector: what a person can ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from friedel.core.parameters import Argument, FilePath, FilePaths, NameOrPath, Texts
from friedel.core.tasks import task

from .tasks import Images, Setup

Moved = Literal["dist", "distance", "poni1", "poni2", "rot1", "rot2", "rot3"]


class CalibrateGoniometer(Images, Setup):
    """Find the geometry of a moving detector as formulas of motor positions, from images of a calibrant.

    One image is calibrated by itself, the images next to it tell the way and the unit of each motor, then all are
    refined together. Writes the formulas with their refined parameters to ``output`` (the JSON of pyFAI's goniometer
    calibration) and all that they rest on to ``<output>.h5`` beside it. The exit code is 0 for a goniometer that can be
    trusted, 3 for a doubtful one, 1 if there is none.
    """

    images: Annotated[FilePaths, Argument(positional=True)]
    """Images of the calibrant, one for each position: files of one image, or scans whose frames are the positions."""
    calibrant: NameOrPath
    """Calibrant: the name of a built-in one, a CIF file or a list of spacings (.D)."""
    positions: Texts = ()
    """Positions of each motor, such as nu=0,5,10,15: numbers, a text file with one for each image, or the name of the
    motor in the files. Not needed if the files tell one motor that moves."""
    moves: tuple[Moved, ...] | None = None
    """Number of the geometry that each motor moves, from which the usual formulas follow: rot1 (by default) or rot2
    for arms, distance, poni1 or poni2 for stages."""
    expressions: Texts = ()
    """Formulas instead of the usual ones, such as rot1=rot1_scale*nu+rot1_offset; those of dist, poni1 and poni2 are
    parameters of these names by default, those of rotations too unless a formula is 0."""
    start: Texts = ()
    """Values of parameters to start from in m, rad and for each unit of the motors, such as rot1_per_nu=0.01745."""
    geometry: FilePath | None = None
    """Geometry of one image (PONI file); by default it is searched for."""
    geometry_image: Annotated[int, Field(ge=0)] = 0
    """Number of the image that has this geometry, from 0."""
    goniometer: FilePath | None = None
    """Goniometer to refine (JSON), instead of formulas and a start."""
    fix: Texts = ()
    """Parameters to keep."""
    bounds: Texts = ()
    """Limits of parameters, such as dist=0.1,0.3."""
    rounds: PositiveInt = 3
    """How often the rings of all images are measured and refined, at most."""
    output: Annotated[FilePath, Argument(alias="-o")] = "goniometer.json"
    """Goniometer to write (JSON)."""
    report: FilePath | None = None
    """Page to draw, HTML."""
    overwrite: bool = False
    """Whether files that exist may be replaced."""


calibrate_goniometer = task(
    "calibrate goniometer",
    version=1,
    parameters=CalibrateGoniometer,
    run="friedel.workflows.calibration.goniometer:calibrate_goniometer",
)
