"""The options of a map, in groups: how pixels are binned, corrected, left out and averaged.

People give them flat, by name (`MapOptions`); the code hands them on group by group. A new option is a field of its
group and the same name in `MapOptions`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, TypedDict, get_args

from numpy.typing import ArrayLike

from friedel.core.errors import ParameterError
from friedel.core.units import RadialUnit, unit_named
from friedel.instrument import Absorber, Sensor
from friedel.instrument.coordinates import SamplePose

from .estimators import Estimator, Mean, SigmaClip, estimator_of
from .pixels import Discontinuity, Plane, Splitting

ErrorModel = Literal["none", "poisson", "azimuthal", "variance", "hybrid"]
Negative = Literal["refuse", "keep", "mask"]

CHOICES: dict[str, Any] = {
    "splitting": Splitting,
    "error_model": ErrorModel,
    "negative": Negative,
    "discontinuity": Discontinuity,
}


@dataclass(frozen=True)
class Binning:
    """How pixels fall into bins.

    Attributes
    ----------
    npt : int
        Number of radial bins.
    unit : str
        What the bins of a pattern are in: "q_nm^-1", "2th_deg", "qip_nm^-1", "formula: ...", see `core.units`.
    splitting : {"none", "bbox", "pseudo", "full"}
        How a pixel is shared between bins: by its centre, by the box around its centre that reaches the farthest
        corner, by the smallest box that holds its corners, or by its exact polygon.
    npt_azimuth : int, optional
        Number of azimuthal bins; makes the result a cake (azimuth, radial).
    azimuthal : bool
        Makes the result a profile along the azimuth, `npt_azimuth` bins, averaged over the radial range.
    azimuth_unit : str
        What the second axis of a cake is in, and what `azimuth_range` selects by.
    radial_range : (float, float), optional
        In `unit`; by default all that unmasked pixels reach.
    azimuth_range : (float, float), optional
        In `azimuth_unit`; degrees from -180 to 180 or 0 to 360, where (170, -170) crosses the cut.
    discontinuity : {"pi", "0"}
        Where the azimuth jumps: -180 to 180 or 0 to 360 degrees in a cake of the whole circle.
    incidence, tilt : float
        Angle between beam and surface, and that of the surface about the beam, in degrees; for units of grazing
        incidence.
    sample_orientation : int
        1 to 8: which way up the sample is on the detector, see `friedel.instrument.coordinates.ORIENTATIONS`.
    """

    npt: int = 1000
    unit: RadialUnit = "q_nm^-1"
    splitting: Splitting = "full"
    npt_azimuth: int | None = None
    azimuthal: bool = False
    azimuth_unit: RadialUnit = "chi_deg"
    radial_range: tuple[float, float] | None = None
    azimuth_range: tuple[float, float] | None = None
    discontinuity: Discontinuity = "pi"
    incidence: float = 0.0
    tilt: float = 0.0
    sample_orientation: int = 1

    @property
    def cake(self) -> bool:
        """Whether results have an azimuthal axis."""
        return self.npt_azimuth is not None

    @property
    def n_radial(self) -> int:
        """Number of radial bins."""
        return 1 if self.azimuthal else self.npt

    @property
    def plane(self) -> Plane:
        """The two coordinates that pixels are binned in.

        Raises
        ------
        ParameterError
            If these two do not make a plane, or no unit depends on how the sample is held although that is given.
        """
        pose = SamplePose(math.radians(self.incidence), math.radians(self.tilt), self.sample_orientation)
        radial, azimuth = unit_named(self.unit), unit_named(self.azimuth_unit)
        if radial.period:
            raise ParameterError(
                f"unit is {self.unit}, an angle all round.",
                "Give it as azimuth_unit of a cake; integrate_radial averages over all else.",
            )
        if radial == azimuth or (radial.quantity and radial.quantity == azimuth.quantity):
            raise ParameterError(
                f"unit is {self.unit} and azimuth_unit {self.azimuth_unit}: both measure the same.", "Choose another."
            )
        two = self.cake or self.azimuth_range is not None
        if pose != SamplePose() and not radial.needs_sample and not (two and azimuth.needs_sample):
            raise ParameterError(
                "incidence, tilt or sample_orientation is given, and no unit depends on it.",
                "Leave it out, or choose units such as qip_nm^-1 and qoop_nm^-1.",
            )
        return Plane(radial, azimuth, pose, self.discontinuity)


@dataclass(frozen=True, eq=False)
class Corrections:
    """What the counts of a pixel are corrected for. Images have the shape of the detector.

    Attributes
    ----------
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
    sensor : Sensor or str, optional
        What stops the photons, "CdTe,750um"; by default as the geometry tells.
    efficiency : bool
        Whether to correct for oblique rays being absorbed more completely in the sensor.
    parallax : bool, optional
        Whether pixels count as where their rays enter the sensor; by default as the geometry tells.
    absorber : Absorber, str or sequence of these
        Layers between sample and detector, "air,300mm" or "kapton,50um", relative to their transmission at right
        angles.
    """

    solid_angle: bool = True
    polarization: float | None = None
    polarization_axis: float = 0.0
    flat: ArrayLike | None = None
    dark: ArrayLike | None = None
    dark_variance: ArrayLike | None = None
    sensor: Sensor | str | None = None
    efficiency: bool = False
    parallax: bool | None = None
    absorber: Absorber | str | Sequence[Absorber | str] = ()


@dataclass(frozen=True, eq=False)
class Validity:
    """Which pixels are no measurement.

    Attributes
    ----------
    mask : array-like, shape (rows, columns), optional
        Non-zero where a pixel is excluded.
    detector_mask : bool
        Whether gaps of the detector, and the value it gives to invalid pixels, are left out.
    dummy, delta_dummy : float, optional
        Value that marks invalid pixels, and how far from it values still do; by default that of the detector, if
        `detector_mask`.
    negative : {"refuse", "keep", "mask"}
        What to do about valid counts below zero: raise `DataError` if the error model is "poisson", keep them,
        or leave these pixels out.
    """

    mask: ArrayLike | None = None
    detector_mask: bool = True
    dummy: float | None = None
    delta_dummy: float = 0.0
    negative: Negative = "refuse"


@dataclass(frozen=True)
class Averaging:
    """What is made of the pixels of a bin.

    Attributes
    ----------
    error_model : {"none", "poisson", "azimuthal", "variance", "hybrid"}
        Variance of a pixel: none; its counts; the spread on its ring; given with the frames; the spread on its ring
        while outliers are clipped, and its counts afterwards. With splitting, the azimuthal model takes each pixel's
        part in a bin as one observation of weight c·w.
    estimator : Mean, SigmaClip or Percentile
        What is made of the pixels of a bin: their mean, or a robust estimate; also by name, "sigma-clip".
    weighted : bool
        Whether a bin is Σ c s / Σ c w, in which pixels count by what they can see; otherwise it is the mean of s/w,
        Σ c (s/w) / Σ c, in which a pixel in the dark of a flat field counts as much as any other.
    std : bool
        Whether results hold the spread of a single pixel about the mean of its bin, √(V/N2), beside the error of
        the mean, √V/N.
    covariance : bool
        Whether results hold the covariances of neighbouring bins, which share pixels if these are split.
    empty : float
        Value of bins without valid pixels.
    keep_sums : bool
        Whether results hold the sums over the bins.
    """

    error_model: ErrorModel = "none"
    estimator: Estimator = field(default_factory=Mean)
    weighted: bool = True
    std: bool = False
    covariance: bool = False
    empty: float = float("nan")
    keep_sums: bool = False

    def __post_init__(self) -> None:
        if self.std and self.error_model == "none":
            raise ParameterError("std is asked for without an error model.", "Choose an error model, like poisson.")
        if self.error_model == "hybrid" and not isinstance(self.estimator, SigmaClip):
            raise ParameterError(
                f"The error model is hybrid and the estimator {self.estimator.name}: it differs from poisson in how "
                "pixels are clipped.",
                "Choose poisson, or the estimator sigma-clip.",
            )
        if self.covariance and self.error_model in ("none", "azimuthal"):
            raise ParameterError(
                f"The covariance of bins does not follow from the error model {self.error_model!r}: it needs the "
                "variance of each pixel.",
                "Choose poisson, or give the variance.",
            )
        if self.estimator.robust and (self.covariance or not self.weighted):
            asked = "Covariances of bins" if self.covariance else "Averages without weights"
            raise ParameterError(
                f"{asked} do not go with the estimator {self.estimator.name}.", "Choose the estimator mean."
            )


class MapOptions(TypedDict, total=False):
    """All options by name; see `Binning`, `Corrections`, `Validity` and `Averaging`."""

    npt: int
    unit: RadialUnit
    splitting: Splitting
    npt_azimuth: int | None
    azimuthal: bool
    azimuth_unit: RadialUnit
    radial_range: tuple[float, float] | None
    azimuth_range: tuple[float, float] | None
    discontinuity: Discontinuity
    incidence: float
    tilt: float
    sample_orientation: int
    solid_angle: bool
    polarization: float | None
    polarization_axis: float
    flat: ArrayLike | None
    dark: ArrayLike | None
    dark_variance: ArrayLike | None
    sensor: Sensor | str | None
    efficiency: bool
    parallax: bool | None
    absorber: Absorber | str | Sequence[Absorber | str]
    mask: ArrayLike | None
    detector_mask: bool
    dummy: float | None
    delta_dummy: float
    negative: Negative
    error_model: ErrorModel
    estimator: Estimator | str
    weighted: bool
    std: bool
    covariance: bool
    empty: float
    keep_sums: bool


@dataclass(frozen=True, eq=False)
class Options:
    """The groups together."""

    binning: Binning
    corrections: Corrections
    validity: Validity
    averaging: Averaging

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Sort options that are given by name into their groups.

        Raises
        ------
        ParameterError
            If there is no such option, or no such choice.
        """
        check_options(options)
        named = {name: unit_named(options[name]).name for name in ("unit", "azimuth_unit") if name in options}
        options = with_estimator({**options, **named})
        return cls(*(group(**_part(options, group)) for group in GROUPS))


GROUPS: tuple[type[Any], ...] = (Binning, Corrections, Validity, Averaging)


def with_estimator(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with the estimator itself where its name is given.

    Raises
    ------
    ParameterError
        If there is no such estimator.
    """
    named = {"estimator": estimator_of(options["estimator"])} if "estimator" in options else {}
    return dict(options) | named


def names_of(group: type[Any]) -> tuple[str, ...]:
    """Return the names of the options of a group."""
    return tuple(option.name for option in fields(group))


def _part(options: Mapping[str, Any], group: type[Any]) -> dict[str, Any]:
    return {name: options[name] for name in names_of(group) if name in options}


def check_options(options: Mapping[str, Any]) -> None:
    """Check the names of options, and the values of those that offer a choice.

    Raises
    ------
    ParameterError
        If there is no such option, or no such choice.
    """
    known = MapOptions.__annotations__
    for name, value in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"Did you mean {near[0]}?" if near else f"Options: {', '.join(known)}."
            raise ParameterError(f"There is no option {name}.", remedy)
        if name in ("unit", "azimuth_unit"):
            unit_named(value)
        allowed = get_args(CHOICES.get(name))
        if allowed and value not in allowed:
            raise ParameterError(f"{name} is {value!r}.", f"Choose one of {', '.join(allowed)}.")
