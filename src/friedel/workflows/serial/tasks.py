"""The tasks of serial crystallography: what a person can ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from friedel.core.parameters import Argument, FilePath, Parameters
from friedel.core.tasks import task
from friedel.core.units import RadialUnit
from friedel.techniques.integration.tasks import EstimatorName, Integration


class Spots(Integration):
    """What the tasks on spots have in common: the background of a frame is the clipped mean of each ring."""

    unit: RadialUnit = "r_mm"
    """Radial unit of the rings."""
    splitting: Literal["none", "bbox", "pseudo", "full"] = "none"
    """How a pixel is shared between rings; none is best for clipping."""
    estimator: EstimatorName = "sigma-clip"
    """What the background of a ring is: the mean without outliers, or that between two percentiles."""
    error_model: Literal["none", "poisson", "azimuthal", "hybrid"] = "azimuthal"
    """Spread of the pixels about the background: that on their ring, or that of counts."""
    readout_noise: NonNegativeFloat = 1.0
    """Uncertainty of every pixel besides that spread, in corrected counts."""
    peak_threshold: PositiveFloat = 5.0
    """How far above the background the highest pixel of a peak lies, in uncertainties."""
    patch_size: Literal[3, 5, 7] = 3
    """Rows and columns in which a peak has its highest pixel."""
    connected: PositiveInt = 3
    """How many pixels of that patch lie above the threshold at least."""


class FindPeaks(Spots):
    """Peaks of still frames: spots far above the background of their ring."""

    output: Annotated[FilePath | None, Argument(alias="-o")] = None
    """File to write: CXI, as CrystFEL reads it, if it ends in .cxi, otherwise HDF5 (NeXus)."""


class Sparsify(Spots):
    """Frames stored as the background of their rings and the pixels that differ from it.

    Pixels that are not stored differ from the background by no more than the threshold times their uncertainty.
    """

    keep_threshold: PositiveFloat = 4.0
    """Distance from the background, in uncertainties, from which on pixels are stored, above or below it."""
    peaks: bool = False
    """Whether to find and store peaks too."""
    output: Annotated[FilePath, Argument(alias="-o")]
    """File to write, HDF5: fabio and pyFAI's densify read it too."""


class Densify(Parameters):
    """Frames of a file that sparsify wrote (or pyFAI's sparsify-Bragg): background, and the pixels that were stored."""

    frames: Annotated[FilePath, Argument(positional=True)]
    """File with sparse frames."""
    noise: bool = False
    """Whether the background gets noise, with the spread of its ring but within the cutoff."""
    seed: NonNegativeInt = 0
    """Seed of that noise; the same seed gives the same frames."""
    output: Annotated[FilePath, Argument(alias="-o")]
    """Scan to write: a master file, HDF5, and its data files beside it."""
    overwrite: bool = False
    """Whether a file that exists may be replaced."""


_RUN = "friedel.workflows.serial.workflow"

find_peaks = task("find_peaks", version=1, parameters=FindPeaks, run=f"{_RUN}:find_peaks")
sparsify = task("sparsify", version=1, parameters=Sparsify, run=f"{_RUN}:sparsify")
densify = task("densify", version=1, parameters=Densify, run=f"{_RUN}:densify")
