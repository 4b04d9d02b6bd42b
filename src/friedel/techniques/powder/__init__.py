"""Powder patterns of known phases."""

from .fit import PhaseFit, fit_phases
from .nonnegative import solve_nonnegative
from .pattern import Profile, ReflectionPositions, powder_pattern, reflection_positions

__all__ = [
    "PhaseFit",
    "Profile",
    "ReflectionPositions",
    "fit_phases",
    "powder_pattern",
    "reflection_positions",
    "solve_nonnegative",
]
