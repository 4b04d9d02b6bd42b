"""Powder patterns of known phases."""
