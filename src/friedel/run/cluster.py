"""A Dask cluster: blocks named by numbers go to workers, which open files and write regions themselves.

The graph holds numbers only. What all blocks share (source, plan, sink) is sent to each worker once. A worker
that dies costs the blocks that it was working on: they go to another one (Dask's ``allowed-failures``, 3 by
default, bounds how often).
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

from friedel.core.blocks import Block, BlockPlan, BlockSink, BlockSource
from friedel.core.context import Context
from friedel.core.errors import FriedelError, MissingDependencyError, ParameterError, WorkerError
from friedel.core.provenance import friedel_version
from friedel.device.threads import thread_count

from .progress import stage_of

BLOCKS_PER_THREAD = 3
"""Blocks in flight for each worker thread: one running, two waiting, so that no worker idles."""

POLL_SECONDS = 0.01

WORKERLESS_SECONDS = 60.0
"""How long a cluster may be without workers: batch systems take their time to start them."""

Job = tuple[BlockSource[Any], BlockPlan[Any, Any], BlockSink[Any]]


def _hold(*job: Any) -> tuple[Any, ...]:
    return job


def process_block(job: Job, block: Block) -> Any:
    """Do one block in a worker; return its result only if the worker cannot store it itself.

    A problem with the data is returned too: raised, it would be reported by the worker, with its traceback.
    """
    source, plan, sink = job
    try:
        result = plan(source.read(block))
        if not sink.shared:
            return result
        sink.write(block, result)
    except FriedelError as error:
        return error
    return None


class ClusterRunner:
    """Processes blocks on the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        Connected to the cluster.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self.threads = thread_count()

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
        import dask
        from distributed import as_completed

        pending = sink.pending(blocks)
        waiting = deque(pending)
        # A task rather than scattered data: the scheduler can repeat it when the workers that hold it die.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "100GB"}):
            job = self.client.submit(_hold, source, plan, sink, pure=False)
        results = as_completed([], loop=self.client.loop, raise_errors=False)
        blocks_of: dict[Any, Block] = {}

        def submit_more() -> None:
            in_flight = BLOCKS_PER_THREAD * max(1, sum(self.client.nthreads().values()))
            while waiting and len(blocks_of) < in_flight:
                block = waiting.popleft()
                future = self.client.submit(process_block, job, block, pure=False)
                blocks_of[future] = block
                results.add(future)

        with stage_of(context, blocks, pending, label, unit) as advance:
            try:
                submit_more()
                while blocks_of:
                    self._wait(results, context)
                    future = next(results)
                    block = blocks_of.pop(future)
                    result = _result_of(future, block)
                    if not sink.shared:
                        sink.write(block, result)
                    sink.commit(block)
                    advance(len(block))
                    submit_more()
            finally:
                self.client.cancel(list(blocks_of))

    def _wait(self, results: Any, context: Context) -> None:
        """Wait until a result is there; look out for a wish to stop, and for workers that never come."""
        since = time.monotonic()
        while not results.has_ready():
            context.cancellation.check()
            time.sleep(POLL_SECONDS)
            if time.monotonic() - since > WORKERLESS_SECONDS and not self.client.nthreads():
                raise WorkerError(
                    f"The cluster has had no worker for {WORKERLESS_SECONDS:.0f} s.",
                    "Start workers, then run the same command again: what is complete is kept.",
                )
        context.cancellation.check()


def _result_of(future: Any, block: Block) -> Any:
    if future.status == "finished":
        result = future.result()
        if isinstance(result, FriedelError):
            raise result
        return result
    error = future.exception() if future.status == "error" else None
    if isinstance(error, FriedelError):
        raise error
    raise WorkerError(
        f"Block {block.number} (items {block.start} to {block.stop - 1}) failed on the cluster: "
        f"{error or future.status}.",
        "Run the same command again to go on with the blocks that are missing; if it fails again, look at the "
        "workers' log and memory limit.",
    )


@contextmanager
def open_cluster_runner(cluster: str | None, scheduler: str | None) -> Iterator[ClusterRunner]:
    """Connect to `scheduler`, or start `cluster` and connect to it.

    Raises
    ------
    MissingDependencyError
        Without the extra ``cluster``.
    ParameterError
        If the cluster cannot be understood or the scheduler does not answer.
    """
    start = None if cluster is None else parse_cluster(cluster)
    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError(
            "A cluster needs the package distributed.",
            "Install friedel with the extra: pip install 'friedel[cluster]'.",
        ) from None
    with ExitStack() as stack:
        address: Any = scheduler if start is None else stack.enter_context(start())
        try:
            client = stack.enter_context(Client(address, timeout="8s", set_as_default=False))
        except (OSError, ValueError) as error:
            raise ParameterError(
                f"No Dask scheduler answers at {address}: {error}", "Give its address, like tcp://127.0.0.1:8786."
            ) from None
        _check_versions(client)
        client.run(_expect_cancellation)
        yield ClusterRunner(client)


def _expect_cancellation() -> None:
    """Keep a worker from telling of blocks that are given up, and of a scheduler that leaves before it."""
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
    logging.getLogger("distributed.worker").addFilter(_is_no_heartbeat)


def _is_no_heartbeat(record: logging.LogRecord) -> bool:
    return "heartbeat" not in str(record.msg)


def _check_versions(client: Any) -> None:
    own = friedel_version()
    others = {address: found for address, found in client.run(friedel_version).items() if found != own}
    if others:
        address, found = next(iter(others.items()))
        raise ParameterError(
            f"The worker {address} has friedel {found}, this process has {own}.",
            "Start the workers in the same environment.",
        )


def parse_cluster(specification: str) -> Callable[[], AbstractContextManager[Any]]:
    """Return what starts the cluster that `specification` names, "KIND:SIZE".

    Raises
    ------
    ParameterError
        If the kind is unknown or the size is not a number.
    """
    kind, _, size = specification.partition(":")
    if kind not in CLUSTERS or not size.isdecimal() or int(size) < 1:
        raise ParameterError(
            f"The cluster {specification!r} cannot be understood.",
            f"Give KIND:WORKERS, like local:4. Kinds: {', '.join(CLUSTERS)}.",
        )
    return partial(CLUSTERS[kind], int(size))


@contextmanager
def _local_cluster(workers: int) -> Iterator[Any]:
    from distributed import LocalCluster

    with (
        tempfile.TemporaryDirectory(prefix="friedel-cluster-") as folder,
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=folder,
        ) as cluster,
    ):
        yield cluster


# A batch system joins here: a function from the number of workers to a dask_jobqueue cluster.
CLUSTERS: dict[str, Callable[[int], AbstractContextManager[Any]]] = {"local": _local_cluster}
