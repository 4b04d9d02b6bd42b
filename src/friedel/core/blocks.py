"""How work is cut into blocks: the protocols between sources, plans, sinks and runners.

A block is named by numbers only, so that it can be sent to another process, repeated after a crash, or
recognised as complete. A source is read by block, a plan maps a block to its result, a sink stores the
result in the region that belongs to the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

Read = TypeVar("Read", covariant=True)
Given = TypeVar("Given", contravariant=True)
Result = TypeVar("Result")
Taken = TypeVar("Taken", contravariant=True)
Made = TypeVar("Made", covariant=True)


@dataclass(frozen=True, order=True)
class Block:
    """Items ``start`` to ``stop`` (excluded) of a source; ``number`` counts blocks from 0."""

    number: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def cut_blocks(n_items: int, size: int, groups: int = 1) -> list[Block]:
    """Cut `n_items` items into blocks of at most `size`.

    Parameters
    ----------
    n_items : int
        Number of items in each group.
    size : int
        Largest number of items in a block.
    groups : int
        Number of equal groups that follow one another; a block never spans two of them.

    Returns
    -------
    list of Block
        In order, numbered from 0, covering every item once.
    """
    starts = [
        (group * n_items + start, (group + 1) * n_items) for group in range(groups) for start in range(0, n_items, size)
    ]
    return [Block(number, start, min(start + size, end)) for number, (start, end) in enumerate(starts)]


class BlockSource(Protocol[Read]):
    """Where blocks come from. Picklable; opens its files itself, in whichever process reads."""

    def read(self, block: Block) -> Read:
        """Return the items of `block`, as whatever the plan takes."""
        ...


class BlockPlan(Protocol[Given, Made]):
    """What is done to a block. Picklable, without state that a call changes, releases the GIL while it works."""

    def __call__(self, items: Given, /) -> Made:
        """Return the result for the items of one block, using one thread."""
        ...


class BlockSink(Protocol[Taken]):
    """Where results go. Picklable if `shared` is true."""

    @property
    def shared(self) -> bool:
        """Whether another process may call `write` (true for files, false for memory)."""
        ...

    def pending(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks that are not complete yet."""
        ...

    def write(self, block: Block, result: Taken) -> None:
        """Store the result in the region of `block`; may be called from any thread or process."""
        ...

    def commit(self, block: Block) -> None:
        """Record that `block` is complete; called by the process that created the sink, once a block."""
        ...
