"""The tasks that join techniques."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from friedel.core.parameters import Argument, FilePath, NameOrPath, Parameters
from friedel.core.tasks import task


class SimulateXRDCT(Parameters):
    """Simulate a diffraction-tomography scan whose truth is known.

    Writes what a beamline writes, a NeXus master file and its data files, and beside them the geometry
    (``setup.poni``) and the truth (``<name>_truth.h5``).
    """

    output: Annotated[FilePath, Argument(positional=True)]
    """NeXus master file to write."""
    phases: tuple[NameOrPath, ...] = ("CeO2", "Al2O3", "Ni")
    """Phases in the sample: names of built-in ones or CIF files."""
    translations: Annotated[int, Field(ge=8)] = 64
    """Positions across the beam; slices have as many rows and columns."""
    rotations: Annotated[int, Field(ge=3)] = 61
    """Rotation angles."""
    layers: PositiveInt = 1
    """Heights."""
    step: PositiveFloat = 0.02
    """Distance of translations and width of the beam, mm."""
    angle_range: Literal[180, 360] = 180
    """Range of the rotation, degrees."""
    fast: Literal["rotation", "translation"] = "translation"
    """Motor that moves between neighbouring frames."""
    snake: bool = True
    """Whether every other line of the scan runs backwards."""
    axis_offset: float = 1.7
    """Distance of the rotation axis from the middle of the translations, in steps."""
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
    absorption: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Part of the beam that is absorbed along the most absorbing path."""
    hot_pixels: Annotated[int, Field(ge=0)] = 20
    """Pixels that count by themselves; they are in the detector's pixel mask."""
    dead_pixels: Annotated[int, Field(ge=0)] = 30
    """Pixels that do not count; they are in the detector's pixel mask."""
    unknown_hot_pixels: Annotated[int, Field(ge=0)] = 0
    """Hot pixels that the pixel mask does not know."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Another seed gives another sample and other noise."""
    overwrite: bool = False
    """Whether to replace files that are there already."""


simulate_xrdct = task(
    "simulate xrdct", version=1, parameters=SimulateXRDCT, run="friedel.workflows.simulate:simulate_xrdct"
)
