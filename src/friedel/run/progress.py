"""The progress of a stream of blocks, counted in items, those of an earlier run included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from friedel.core.blocks import Block
from friedel.core.context import Context


@contextmanager
def stage_of(
    context: Context, blocks: Sequence[Block], pending: Sequence[Block], label: str, unit: str
) -> Iterator[Callable[[int], None]]:
    """Report a stage in which `pending` of `blocks` are still to be done."""
    total = sum(len(block) for block in blocks)
    complete = total - sum(len(block) for block in pending)
    with context.stage(label, total, unit) as advance:
        if complete:
            advance(complete)
            context.progress.message(f"{label}: {complete} of {total} {unit} are complete from an earlier run.")
        yield advance
