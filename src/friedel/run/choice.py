"""From what the user asked for to the runner that does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from friedel.core.context import Runner
from friedel.core.errors import ParameterError
from friedel.device.threads import thread_count

from .inline import InlineRunner
from .threads import ThreadRunner


@contextmanager
def make_runner(
    threads: int | None = None, cluster: str | None = None, scheduler: str | None = None
) -> Iterator[Runner]:
    """Open the runner that the user asked for; close what it started at the end.

    Parameters
    ----------
    threads : int, optional
        Threads in this process; by default `friedel.device.threads.thread_count`.
    cluster : str, optional
        A Dask cluster to start, "local:4" for four worker processes on this machine.
    scheduler : str, optional
        Address of a running Dask scheduler, "tcp://host:port".

    Raises
    ------
    ParameterError
        If the values exclude one another or cannot be understood.
    MissingDependencyError
        If a cluster is asked for without the extra ``cluster``.
    """
    if cluster and scheduler:
        raise ParameterError("Both a cluster to start and a running scheduler were given.", "Give only one of them.")
    if cluster or scheduler:
        from .cluster import open_cluster_runner

        with open_cluster_runner(cluster, scheduler) as cluster_runner:
            yield cluster_runner
        return
    count = thread_count() if threads is None else threads
    if count < 1:
        raise ParameterError(f"threads is {count}.", "Give a whole number of threads, 1 or more.")
    yield InlineRunner() if count == 1 else ThreadRunner(count)
