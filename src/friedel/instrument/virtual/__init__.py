"""The virtual beamline: samples, beam and detector whose truth is known."""

from .exposure import DetectorFaults, diffraction_image, invalid_value
from .phantom import Phantom, capillary
from .projector import path_lengths
from .ring import ring_current
from .scan import ScanPoints, scan_points

__all__ = [
    "DetectorFaults",
    "Phantom",
    "ScanPoints",
    "capillary",
    "diffraction_image",
    "invalid_value",
    "path_lengths",
    "ring_current",
    "scan_points",
]
