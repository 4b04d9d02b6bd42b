"""The reconstructed volume, read by rows of voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.io.handles import open_hdf5
from friedel.io.nexus import variable_path


@dataclass(frozen=True)
class VolumeRows:
    """Rows of voxels with all their channels. A block source; item = layer * size + row.

    Attributes
    ----------
    path : str
        File that holds the volume, finished or being built.
    size : int
        Rows of a slice.
    errors : bool
        Whether the errors are read, too.
    """

    path: str
    size: int
    errors: bool

    def read(self, block: Block) -> dict[str, NDArray[np.float32]]:
        """Return "volume" and, if asked for, "volume_errors", each (rows, x, channels)."""
        layer, first = divmod(block.start, self.size)
        names = ["volume", "volume_errors"] if self.errors else ["volume"]
        with open_hdf5(self.path) as file:
            return {name: file[variable_path(name)][layer, first : first + len(block)] for name in names}
