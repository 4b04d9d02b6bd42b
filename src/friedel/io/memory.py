"""Results of blocks in memory, with the interface of a file that is built block by block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block

from .region_layout import RegionSpec, Results, fitting


@dataclass
class MemorySink:
    """Results of blocks in arrays; the interface of `RegionFile` without a file.

    Attributes
    ----------
    regions : mapping of str to RegionSpec
        The arrays.
    arrays : dict of str to ndarray
        What was written so far, in the shape of each region.
    """

    regions: Mapping[str, RegionSpec]
    arrays: dict[str, NDArray[Any]] = field(init=False)
    resumed: bool = False
    message: str = ""

    def __post_init__(self) -> None:
        self.arrays = {name: np.zeros(spec.shape, spec.dtype) for name, spec in self.regions.items()}
        self._done: set[Block] = set()

    @property
    def shared(self) -> bool:
        """Another process has other memory."""
        return False

    def pending(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks that are not complete."""
        return [block for block in blocks if block not in self._done]

    def write(self, block: Block, result: Results) -> None:
        """Store the arrays of a block; see `RegionFile.write`."""
        for name, spec in self.regions.items():
            values = fitting(name, spec, block, result)
            if spec.layout == "rows":
                self.arrays[name].reshape(spec.n_items, *spec.shape[spec.item_axes :])[block.start : block.stop] = (
                    values
                )
            else:
                layer, first = divmod(block.start, spec.shape[3])
                self.arrays[name][layer, :, :, first : first + len(block)] = values

    def commit(self, block: Block) -> None:
        """Record that a block is complete."""
        self._done.add(block)

    def flush(self) -> None:
        """Do nothing: memory is not durable."""

    def read(self, name: str) -> NDArray[Any]:
        """Return the values of a region."""
        return self.arrays[name]

    def finish(self, write: Callable[[Any], None] | None = None) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Do nothing: there is no file."""

    def __enter__(self) -> MemorySink:
        return self

    def __exit__(self, *_: object) -> None:
        return None
