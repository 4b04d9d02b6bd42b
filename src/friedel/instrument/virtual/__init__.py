"""The virtual beamline: samples, beam and detector whose truth is known."""

from .calibrant_image import Exposure, SimulatedFrame, simulated_frame
from .exposure import DetectorFaults, counting_type, diffraction_image, invalid_value
from .phantom import Phantom, capillary
from .projector import path_lengths
from .ring import ring_current
from .scan import ScanPoints, scan_points

__all__ = [
    "DetectorFaults",
    "Exposure",
    "Phantom",
    "ScanPoints",
    "SimulatedFrame",
    "capillary",
    "counting_type",
    "diffraction_image",
    "invalid_value",
    "path_lengths",
    "ring_current",
    "scan_points",
    "simulated_frame",
]
