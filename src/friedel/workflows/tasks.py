"""The tasks that join techniques."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeFloat, PositiveFloat, PositiveInt

from friedel.core.parameters import Argument, FilePath, NameOrPath, Parameters
from friedel.core.tasks import task
from friedel.techniques.integration.tasks import Integration, Live

from .calibration.goniometer_tasks import calibrate_goniometer as calibrate_goniometer
from .calibration.tasks import calibrate as calibrate
from .calibration.tasks import calibrate_assign as calibrate_assign
from .calibration.tasks import calibrate_detect as calibrate_detect
from .calibration.tasks import calibrate_extract as calibrate_extract
from .calibration.tasks import calibrate_refine as calibrate_refine
from .calibration.tasks import calibrate_validate as calibrate_validate
from .serial.tasks import densify as densify
from .serial.tasks import find_peaks as find_peaks
from .serial.tasks import sparsify as sparsify


class Simulation(Parameters):
    """What simulated scans have in common."""

    output: Annotated[FilePath, Argument(positional=True)]
    """NeXus master file to write."""
    phases: tuple[NameOrPath, ...] = ("CeO2", "Al2O3", "Ni")
    """Phases in the sample: names of built-in ones or CIF files."""
    step: PositiveFloat = 0.02
    """Distance of translations and width of the beam, mm."""
    snake: bool = True
    """Whether every other line of the scan runs backwards."""
    detector: str = "Pilatus300k"
    """Detector model."""
    energy: PositiveFloat = 60.0
    """Photon energy, keV."""
    distance: PositiveFloat = 0.4
    """Sample to detector, m."""
    width: PositiveFloat = 0.05
    """Full width at half maximum of the rings, degrees 2θ."""
    polarization: Annotated[float, Field(ge=-1, le=1)] = 0.99
    """Polarization factor of the beam."""
    counts: PositiveFloat = 4.0
    """Mean counts of a pixel, averaged over all frames."""
    count_time: PositiveFloat = 0.05
    """Exposure of a frame, s."""
    hot_pixels: Annotated[int, Field(ge=0)] = 20
    """Pixels that count by themselves; they are in the detector's pixel mask."""
    dead_pixels: Annotated[int, Field(ge=0)] = 30
    """Pixels that do not count; they are in the detector's pixel mask."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Another seed gives another sample and other noise."""
    overwrite: bool = False
    """Whether to replace files that are there already."""


class SimulateXRDCT(Simulation):
    """Simulate a diffraction-tomography scan whose truth is known.

    Writes what a beamline writes, a NeXus master file and its data files, and beside them the geometry
    (``setup.poni``) and the truth (``<name>_truth.h5``).
    """

    translations: Annotated[int, Field(ge=8)] = 64
    """Positions across the beam; slices have as many rows and columns."""
    rotations: Annotated[int, Field(ge=3)] = 61
    """Rotation angles."""
    layers: PositiveInt = 1
    """Heights."""
    angle_range: Literal[180, 360] = 180
    """Range of the rotation, degrees."""
    fast: Literal["rotation", "translation"] = "translation"
    """Motor that moves between neighbouring frames."""
    axis_offset: float = 1.7
    """Distance of the rotation axis from the middle of the translations, in steps."""
    absorption: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Part of the beam that is absorbed along the most absorbing path."""
    unknown_hot_pixels: Annotated[int, Field(ge=0)] = 0
    """Hot pixels that the pixel mask does not know."""


class SimulateMap(Simulation):
    """Simulate a diffraction map of a thin section whose truth is known.

    Writes what a beamline writes, a NeXus master file and its data files, and beside them the geometry
    (``setup.poni``) and the truth (``<name>_truth.h5``).
    """

    lines: Annotated[int, Field(ge=1)] = 24
    """Lines of the map (y)."""
    points: Annotated[int, Field(ge=2)] = 32
    """Points of a line (x)."""


simulate_xrdct = task(
    "simulate xrdct", version=1, parameters=SimulateXRDCT, run="friedel.workflows.simulate:simulate_xrdct"
)


simulate_map = task(
    "simulate map", version=1, parameters=SimulateMap, run="friedel.workflows.simulate_map:simulate_map"
)


class SimulateCalibrant(Parameters):
    """Simulate one image of a calibrant whose geometry is known.

    Writes the image, and beside it the geometry that is to be found, ``<name>_truth.poni``.
    """

    output: Annotated[FilePath, Argument(positional=True)]
    """Image to write: .edf, .tif, .cbf or .npy."""
    calibrant: NameOrPath = "CeO2"
    """Calibrant: the name of a built-in one or a file."""
    detector: NameOrPath = "Pilatus1M"
    """Detector model or file."""
    energy: str | float = 30.0
    """Photon energy, keV unless another unit is given."""
    distance: PositiveFloat = 0.2
    """Sample to detector along its normal, m."""
    poni: tuple[FiniteFloat, FiniteFloat] | None = None
    """Point of normal incidence along y and x, m; by default the middle of the detector."""
    rot1: FiniteFloat = 0.0
    """Rotation of the detector about the vertical axis, rad."""
    rot2: FiniteFloat = 0.0
    """Rotation about the horizontal axis, rad."""
    rot3: FiniteFloat = 0.0
    """Rotation about the beam, rad."""
    orientation: Annotated[int, Field(ge=1, le=4)] = 3
    """Corner of the detector where the image's first pixel is, as in PONI files."""
    geometry: FilePath | None = None
    """Geometry to use instead of detector, energy, distance and the like."""
    counts: PositiveFloat = 2000.0
    """Counts at the top of the brightest ring, above the background."""
    width: PositiveFloat = 0.06
    """Full width at half maximum of the rings, degrees 2θ."""
    mixing: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Shape of the rings across: 0 is Gaussian, 1 Lorentzian."""
    point_spread: NonNegativeFloat = 0.0
    """Full width at half maximum of what the detector makes of a point, pixels."""
    background: NonNegativeFloat = 10.0
    """Counts everywhere."""
    air: NonNegativeFloat = 40.0
    """Counts of the background that falls with the angle."""
    halo: NonNegativeFloat = 20.0
    """Counts of a broad ring."""
    polarization: Annotated[float, Field(ge=-1, le=1)] = 0.99
    """Polarization factor of the beam."""
    texture: NonNegativeFloat = 0.0
    """How much the rings vary round the beam: 0 not at all, 3 leaves arcs."""
    grains: NonNegativeFloat = 0.0
    """Mean number of grains on a ring, each of them a spot; 0 for infinitely many."""
    spot_width: PositiveFloat = 0.3
    """Full width at half maximum of a spot in azimuth, degrees."""
    spot_scatter: NonNegativeFloat = 0.0
    """Standard deviation of the spots about their ring, degrees 2θ."""
    opening: tuple[FiniteFloat, FiniteFloat] | None = None
    """Azimuths in degrees between which scattered rays reach the detector; by default all do."""
    stop: NonNegativeFloat = 0.0
    """Scattering angle that the beam stop hides, degrees 2θ."""
    holder: NonNegativeFloat = 0.0
    """Width of the beam stop's holder, degrees 2θ."""
    holder_azimuth: FiniteFloat = 90.0
    """Direction of the holder, degrees."""
    hot_pixels: Annotated[int, Field(ge=0)] = 0
    """Pixels that count by themselves."""
    dead_pixels: Annotated[int, Field(ge=0)] = 0
    """Pixels that do not count."""
    gain_spread: NonNegativeFloat = 0.0
    """Relative standard deviation of what pixels make of the same intensity."""
    saturation: PositiveFloat | None = None
    """Largest number of counts."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Another seed gives other grains, faults and noise."""
    overwrite: bool = False
    """Whether to replace files that are there already."""


simulate_calibrant = task(
    "simulate calibrant",
    version=1,
    parameters=SimulateCalibrant,
    run="friedel.workflows.simulate_calibrant:simulate_calibrant",
)


class XRDCT(Integration):
    """Diffraction tomography: from the frames of a translation-rotation scan to maps of phases.

    Integrates every frame, orders the patterns by the motors' values, reconstructs each channel and maps what the
    voxels hold. Writes the maps to ``output`` and the sinograms to a file beside it, ``<output>_sinograms``.
    """

    output: Annotated[FilePath, Argument(alias="-o")] = "maps.h5"
    """File to write."""
    error_model: Literal["none", "poisson", "azimuthal"] = "poisson"
    """Error of a pixel: none, the root of its counts, or the spread on its ring."""
    rotation: str | None = None
    """Axis of the scan that is the rotation; by default told by its name."""
    translation: str | None = None
    """Axis of the scan that is the translation across the beam; by default told by its name."""
    layer: str | None = None
    """Axis of the scan that is the height, or none; by default told by its name, if it moves."""
    monitor: str | None = None
    """Axis of the scan that is the beam monitor, or none; by default told by its name. Each pattern is divided by the
    monitor relative to its mean over the scan: counts stay counts."""
    background: Literal["edges", "none"] = "edges"
    """What is subtracted from every pattern: the mean beside the sample, if the scan reaches there, or nothing."""
    outliers: PositiveFloat | None = None
    """Replace isolated samples that lie this many standard deviations of the noise beyond their neighbours."""
    rings: Literal["none", "sort", "mean"] = "none"
    """How stripes along the angle, which become rings, are removed."""
    ring_size: PositiveInt = 21
    """Translations in the ring filter's median, odd; wider than a ring, narrower than the structure."""
    center: FiniteFloat | Literal["auto"] = "auto"
    """Rotation axis in pixels from the first translation."""
    method: Literal["gridding", "fbp", "sirt", "mlem"] = "gridding"
    """Fourier gridding, filtered back-projection, or one of two iterative methods; mlem takes negative samples of the
    sinograms as zero."""
    filter: Literal["ramp", "shepp-logan", "cosine", "hamming", "hann", "tukey", "lanczos"] | None = None
    """Filter of gridding and fbp; by default ramp."""
    iterations: PositiveInt | None = None
    """Iterations of sirt and mlem."""
    allow_missing_wedge: bool = False
    """Whether angles that cover less than half a turn are accepted."""
    errors: bool | None = None
    """Whether standard deviations of the volume are computed; by default where there is a rule: for
    gridding and fbp, without outliers or rings removed."""
    phases: tuple[str, ...] = ()
    """Phases to fit to every voxel's pattern: names of built-in ones or CIF files."""
    peak_width: PositiveFloat | None = None
    """Full width at half maximum of the phases' peaks, degrees 2theta; by default as fits the mean pattern best."""
    background_degree: Annotated[int, Field(ge=0, le=30)] = 20
    """Degree of the polynomial that is fitted below the phases in every voxel."""
    regions: tuple[str, ...] = ()
    """Regions to sum, name=low:high in the radial unit."""
    peaks: tuple[str, ...] = ()
    """Peaks to measure (area, position, width), name=low:high in the radial unit, 4 to 6 peak widths wide."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do about frames that are damaged or missing: stop, or skip them: their points are filled from their
    neighbours like points without a frame, and they are listed in the result."""
    report: FilePath | None = None
    """Page to draw, HTML."""


xrdct = task("xrdct", version=1, parameters=XRDCT, run="friedel.workflows.xrdct.workflow:xrdct")


class DiffractionMap(Live):
    """Diffraction map: a pattern for each point of a scan in two directions, and maps of regions and peaks.

    Frames are placed on the grid by the values of the motors, however the scan ran (line by line, back and forth,
    interrupted, repeated), or by the shape that is given. Points without a frame are not a number.
    """

    output: Annotated[FilePath, Argument(alias="-o")] = "map.h5"
    """File to write."""
    slow: str | None = None
    """Motor that moves from line to line (y of the map); by default told by the values."""
    fast: str | None = None
    """Motor that moves from point to point (x of the map); by default told by the values."""
    shape: tuple[PositiveInt, PositiveInt] | None = None
    """Lines, and points of a line, where there are no motors: frames fill the map in their order."""
    snake: bool = False
    """With shape: whether every other line ran backwards."""
    slow_range: tuple[FiniteFloat, FiniteFloat] | None = None
    """With shape: positions of the first and the last line; by default they are counted."""
    fast_range: tuple[FiniteFloat, FiniteFloat] | None = None
    """With shape: positions of the first and the last point of a line; by default they are counted."""
    npt_azimuth: PositiveInt | None = None
    """Azimuthal bins, for a cake instead of a pattern at every point."""
    discontinuity: Literal["pi", "0"] = "pi"
    """Where the azimuth of a whole circle begins: -180 degrees (pi) or 0."""
    regions: tuple[str, ...] = ()
    """Regions to sum, name=low:high in the radial unit."""
    peaks: tuple[str, ...] = ()
    """Peaks to measure (area, position, width), name=low:high in the radial unit, 4 to 6 peak widths wide."""
    report: FilePath | None = None
    """Page to draw, HTML."""


diffraction_map = task(
    "diffraction_map", version=1, parameters=DiffractionMap, run="friedel.workflows.mapping.workflow:diffraction_map"
)
