"""Geometries as other programs keep them: one file a format."""

from .format import Given, Reading
from .registry import NAMES, format_named, read_geometry, write_geometry

__all__ = ["NAMES", "Given", "Reading", "format_named", "read_geometry", "write_geometry"]
