"""What residuals scatter beyond their errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]

FEWEST = 10
"""Residuals from which their scatter is estimated."""
MEDIAN_SQUARE = 0.4549364
"""Median of the square of a normal variable."""
CHANCE = 3.5
"""1.5 relative standard errors (2.3/√n) of a variance that is estimated by a median."""
HALVINGS = 20


def extra_variance(squares: _Array, variances: _Array) -> float:
    """Return the τ² with which squares r² of normal residuals would have the variance σ² + τ²; 0 if chance would do.

    The median of r²/(σ² + τ²) is 0.455 then, and τ² is found by bisection.
    """

    def excess(extra: float) -> float:
        return float(np.median(squares / (variances + extra))) - MEDIAN_SQUARE

    if squares.size < FEWEST or excess(0.0) <= MEDIAN_SQUARE * CHANCE / np.sqrt(squares.size):
        return 0.0
    low, high = 0.0, float(np.median(squares)) / MEDIAN_SQUARE * 4.0 + 1e-12
    while excess(high) > 0:
        high *= 4.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return 0.5 * (low + high)
