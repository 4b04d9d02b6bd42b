"""Rows of results whose number is not known yet, in plain files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.blocks import Block
from friedel.core.files import output_error

from .region_layout import RegionSpec


@dataclass(frozen=True)
class Spool:
    """Rows of several arrays, each in a file of its own that grows; a `friedel.core.blocks.BlockSink`.

    Attributes
    ----------
    folder : str
        Where the files are; theirs alone.
    regions : mapping of str to RegionSpec
        The arrays, of layout "rows"; the number of rows does not count.
    """

    folder: str
    regions: Mapping[str, RegionSpec]

    def __post_init__(self) -> None:
        for name in self.regions:
            Path(self.folder, name).touch()

    @property
    def shared(self) -> bool:
        """Other processes may write."""
        return True

    def pending(self, blocks: Sequence[Block]) -> list[Block]:
        """Return all blocks."""
        return list(blocks)

    def write(self, block: Block, result: Mapping[str, NDArray[Any]]) -> None:
        """Store the rows of a block.

        Raises
        ------
        OutputError
            If the disk fails.
        """
        for name, spec in self.regions.items():
            path = Path(self.folder, name)
            rows = np.ascontiguousarray(result[name], spec.dtype)
            try:
                with path.open("rb+") as file:
                    file.seek(block.start * spec.row_bytes)
                    file.write(rows.tobytes())
            except OSError as error:
                raise output_error(str(path), error) from None

    def commit(self, block: Block) -> None:
        """Do nothing: there is no resuming."""

    def take(self, numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return rows by their numbers, in any order."""
        found = {}
        for name, spec in self.regions.items():
            stored = np.memmap(Path(self.folder, name), spec.dtype, "r").reshape(-1, *spec.shape[1:])
            found[name] = np.asarray(stored[numbers])
        return found

    def read(self, block: Block) -> dict[str, NDArray[Any]]:
        """Return the rows of a block."""
        found = {}
        for name, spec in self.regions.items():
            with Path(self.folder, name).open("rb") as file:
                file.seek(block.start * spec.row_bytes)
                rows = np.frombuffer(file.read(len(block) * spec.row_bytes), spec.dtype)
            found[name] = rows.reshape(len(block), *spec.shape[1:])
        return found
