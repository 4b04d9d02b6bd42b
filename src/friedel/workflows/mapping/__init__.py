"""Diffraction maps: a pattern for each point of a two-dimensional scan."""
