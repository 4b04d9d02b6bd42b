"""The order in which a scan visits its points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FastMotor = Literal["rotation", "translation"]


@dataclass(frozen=True)
class ScanPoints:
    """Where each frame is taken: indices into the scan's layers, angles and translations.

    Attributes
    ----------
    layer, angle, translation : ndarray of int64 (frames,)
    """

    layer: NDArray[np.int64]
    angle: NDArray[np.int64]
    translation: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.layer)


def scan_points(layers: int, angles: int, translations: int, *, fast: FastMotor, snake: bool) -> ScanPoints:
    """Return the points of a scan in the order of their frames.

    Parameters
    ----------
    layers, angles, translations : int
        Numbers of positions.
    fast : {"rotation", "translation"}
        Motor that moves between neighbouring frames; the other one moves between lines, then the layer.
    snake : bool
        Whether every other line runs backwards.
    """
    lines, length = (translations, angles) if fast == "rotation" else (angles, translations)
    layer, line, place = np.indices((layers, lines, length), dtype=np.int64)
    if snake:
        backwards = (layer * lines + line) % 2 == 1
        place = np.where(backwards, length - 1 - place, place)
    angle, translation = (place, line) if fast == "rotation" else (line, place)
    return ScanPoints(layer.ravel(), angle.ravel(), translation.ravel())
