"""One block after the other, in the calling thread: the specification of what every runner does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from friedel.core.blocks import Block, BlockPlan, BlockSink, BlockSource
from friedel.core.context import Context

from .progress import stage_of


class InlineRunner:
    """Processes blocks in order, in the calling thread."""

    threads = 1

    def stream(
        self,
        source: BlockSource[Any],
        plan: BlockPlan[Any, Any],
        sink: BlockSink[Any],
        blocks: Sequence[Block],
        context: Context,
        label: str,
        unit: str = "frames",
    ) -> None:
        """Apply `plan` to each block that `sink` still lacks; see `friedel.core.context.Runner`."""
        pending = sink.pending(blocks)
        with stage_of(context, blocks, pending, label, unit) as advance:
            for block in pending:
                context.cancellation.check()
                sink.write(block, plan(source.read(block)))
                sink.commit(block)
                advance(len(block))
