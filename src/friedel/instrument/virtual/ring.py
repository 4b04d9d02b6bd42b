"""The beam's intensity over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

JITTER = 0.004


def ring_current(count: int, *, refills: float = 2.5, loss: float = 0.08, seed: int = 0) -> NDArray[np.float64]:
    """Return the relative intensity of the beam at each frame: it decays, is refilled and jitters.

    Parameters
    ----------
    count : int
        Number of frames.
    refills : float
        Refills of the ring during the scan; the first comes after a random part of the time between two.
    loss : float
        Part of the current that is lost between two refills.
    seed : int

    Returns
    -------
    ndarray of float64 (count,)
        1 right after a refill.
    """
    random = np.random.default_rng([seed, 0xBEA])
    age = (np.arange(count) / count * refills + random.uniform(0.0, 1.0)) % 1.0
    return np.asarray((1.0 - loss) ** age * (1.0 + JITTER * random.standard_normal(count)))
