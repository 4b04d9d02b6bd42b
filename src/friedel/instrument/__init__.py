"""Beam, detectors, geometry, scans and the virtual beamline."""
