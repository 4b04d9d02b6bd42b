"""Azimuthal integration: from frames to powder patterns."""
