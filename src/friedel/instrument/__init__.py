"""Beam, detectors, geometry, scans and the virtual beamline."""

from .absorber import Absorber
from .calibrants import Calibrant, Rings
from .detector import Detector
from .fit2d import Fit2D
from .geometry import Geometry
from .goniometer import Goniometer
from .model_kinds import Module
from .pixel_layouts import PlacedModule, PlacedModules
from .pixel_shapes import PixelTable, SplineDistortion
from .radial import (
    radial_from_spacing,
    radial_from_two_theta,
    two_theta_from_radial,
)
from .sensor import Sensor

__all__ = [
    "Absorber",
    "Calibrant",
    "Detector",
    "Fit2D",
    "Geometry",
    "Goniometer",
    "Module",
    "PixelTable",
    "PlacedModule",
    "PlacedModules",
    "Rings",
    "Sensor",
    "SplineDistortion",
    "radial_from_spacing",
    "radial_from_two_theta",
    "two_theta_from_radial",
]
