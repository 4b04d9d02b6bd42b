"""The task of tomographic reconstruction: what a person can ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from friedel.core.parameters import Argument, FilePath, Parameters
from friedel.core.tasks import task


class Reconstruct(Parameters):
    """Reconstruct slices from sinograms or projections of a parallel beam."""

    sinograms: Annotated[FilePath, Argument(positional=True)]
    """File with sinograms or projections: friedel's own, Data Exchange, NXtomo, or NeXus with named axes."""
    dataset: str | None = None
    """Path of the data inside the file; by default what looks most like a tomographic scan."""
    rotation: str | None = None
    """Name of the axis of rotation, where it cannot be guessed."""
    translation: str | None = None
    """Name of the axis of translation, where it cannot be guessed."""
    monitor: str | None = None
    """Path of the beam monitor, or none; by default the one beside the data. Data are divided by the monitor
    relative to its mean over the scan: counts stay counts; transmission without flats by the monitor itself."""
    transmission: Literal["auto", "on", "off"] = "auto"
    """Whether the data are transmitted intensities, of which the negative logarithm adds up along a ray."""
    method: Literal["gridding", "fbp", "sirt", "mlem"] = "gridding"
    """Fourier gridding, filtered back-projection, or one of two iterative methods; mlem takes negative samples of the
    sinograms as zero."""
    center: float | Literal["auto"] = "auto"
    """Rotation axis in pixels from the first translation."""
    filter: Literal["ramp", "shepp-logan", "cosine", "hamming", "hann", "tukey", "lanczos"] = "ramp"
    """Ray filter of gridding and fbp."""
    cutoff: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Highest frequency that the ray filter lets through, as a fraction of the Nyquist frequency."""
    padding: Literal["zeros", "edge"] = "zeros"
    """What lies beside a projection: nothing, or its end values (for objects wider than the field)."""
    iterations: PositiveInt | None = None
    """Iterations of sirt and mlem; by default 100 and 50."""
    outliers: PositiveFloat | None = None
    """Replace isolated samples that lie this many standard deviations of the noise beyond their neighbours."""
    rings: Literal["none", "sort", "mean"] = "none"
    """How stripes along the angle, which become rings, are removed."""
    ring_size: PositiveInt = 21
    """Translations in the ring filter's median, odd; wider than a ring, narrower than the structure."""
    background: Literal["edges", "none"] | None = None
    """What is subtracted from every projection: the mean beside the sample, or nothing; by default edges for
    transmission without flats, else none."""
    edge: PositiveInt | None = None
    """Translations on each side that never see the sample; by default a twentieth of all."""
    errors: bool | None = None
    """Whether standard deviations of the volume are computed; by default where the file holds those of the data and
    there is a rule: for gridding and fbp, without logarithm, outliers or rings removed."""
    pixel_size: PositiveFloat | None = None
    """Distance of two translations; the result is per this unit of length. By default as the file says, else 1."""
    size: PositiveInt | None = None
    """Rows and columns of the slices; by default the number of translations."""
    layers: str | None = None
    """Layers to reconstruct, start:stop."""
    channels: str | None = None
    """Channels to reconstruct, start:stop."""
    allow_missing_wedge: bool = False
    """Accept angles that cover less than 150 degrees."""
    output: Annotated[FilePath | None, Argument(alias="-o")] = None
    """File to write (NeXus); by default the result is only returned."""
    report: FilePath | None = None
    """Report to write: one HTML page with pictures."""
    overwrite: bool = False
    """Whether a file that exists may be replaced."""


reconstruct = task(
    "reconstruct",
    version=1,
    parameters=Reconstruct,
    run="friedel.techniques.tomography.volumes:reconstruct_volume",
)
