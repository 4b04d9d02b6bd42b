"""Several threads in this process: reading, decoding and computing overlap, memory stays bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from friedel.core.blocks import Block, BlockPlan, BlockSink, BlockSource
from friedel.core.context import Context

from .progress import stage_of

READ_AHEAD = 2
"""Blocks that are read beyond those being processed: one being read, one waiting."""


class ThreadRunner:
    """Processes as many blocks at a time as there are threads, while one more thread reads ahead (several, for a GPU).

    At most ``threads + READ_AHEAD`` blocks are in memory, unless the plan asks for another number. Plans
    release the GIL, so the threads run side by side.

    Parameters
    ----------
    threads : int
        Blocks that are processed at the same time, unless the plan says how many (`at_once`).
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads

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
        # A plan that works on a GPU knows how many blocks keep it busy; one reader would not.
        wanted: int | None = getattr(plan, "at_once", None)
        at_once, readers = wanted or self.threads, min(wanted or 1, self.threads)
        waiting = deque(pending)
        running: set[Future[Block]] = set()

        def process(block: Block, items: Future[Any]) -> Block:
            sink.write(block, plan(items.result()))
            return block

        with (
            stage_of(context, blocks, pending, label, unit) as advance,
            ThreadPoolExecutor(readers, "read") as reader,
            ThreadPoolExecutor(at_once, "apply") as workers,
        ):
            try:
                while waiting or running:
                    context.cancellation.check()
                    while waiting and len(running) < at_once + READ_AHEAD:
                        block = waiting.popleft()
                        running.add(workers.submit(process, block, reader.submit(source.read, block)))
                    complete, running = wait(running, return_when=FIRST_COMPLETED)
                    # In order of number, so that of several problems the first is the one reported.
                    for block in sorted(future.result() for future in complete if not future.exception()):
                        sink.commit(block)
                        advance(len(block))
                    _raise_first(complete)
            except BaseException:
                reader.shutdown(cancel_futures=True)
                workers.shutdown(cancel_futures=True)
                for future in running:
                    if not future.cancelled() and not future.exception():
                        sink.commit(future.result())
                raise


def _raise_first(complete: set[Future[Block]]) -> None:
    for future in complete:
        error = future.exception()
        if error is not None:
            raise error
