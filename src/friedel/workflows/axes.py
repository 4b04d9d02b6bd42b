"""What the axes of a scan are called."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# Names in use at beamlines, the most telling first; NeXus spells the first of each.
ROTATION_NAMES = ("rotation_angle", "rotation", "rot", "omega", "phi", "theta", "srot", "diffrz", "hrrz", "om", "angle")
TRANSLATION_NAMES = ("x_translation", "translation", "y_translation", "dty", "diffty", "samx", "samy", "x", "y", "sx")
LAYER_NAMES = ("z_translation", "dtz", "difftz", "samz", "z", "layer", "height")
MONITOR_NAMES = ("monitor", "control", "fpico6", "i0", "ion_chamber", "mon", "pico6", "integral")


class AxisLike(Protocol):
    """One value per frame, with the unit and the place in the file."""

    @property
    def values(self) -> NDArray[np.float64]: ...

    @property
    def units(self) -> str: ...

    @property
    def path(self) -> str: ...
