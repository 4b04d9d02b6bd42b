"""Executes a task for whoever asks: runner, device, progress and report around the task's own function."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from friedel.core.context import Cancellation, Context, Progress, SilentProgress
from friedel.core.files import check_folder
from friedel.core.parameters import Parameters
from friedel.core.tasks import Task
from friedel.core.usage import peak_memory
from friedel.device.choice import resolve_device
from friedel.run import make_runner

from .verdict import refuse_failed


@dataclass(frozen=True)
class Placement:
    """Where a task is executed and whom it tells; never what its result is.

    Attributes
    ----------
    device : str or None
        "cpu", "cuda", "cuda:N", "cuda:N,M", "cuda:all" or "auto"; by default the variable ``FRIEDEL_DEVICE``, else
        "cpu".
    threads : int or None
        Threads in this process; by default the variable ``FRIEDEL_THREADS``, else one for each core.
    cluster : str or None
        A Dask cluster to start, such as "local:4".
    scheduler : str or None
        Address of a running Dask scheduler.
    progress : Progress
    cancellation : Cancellation
    """

    device: str | None = None
    threads: int | None = None
    cluster: str | None = None
    scheduler: str | None = None
    progress: Progress = field(default_factory=SilentProgress)
    cancellation: Cancellation = field(default_factory=Cancellation)


@dataclass(frozen=True)
class Usage:
    """What an execution cost.

    Attributes
    ----------
    seconds : float
        Wall-clock time.
    peak_memory : int
        Largest resident size of this process and of any one child since they started, bytes.
    """

    seconds: float
    peak_memory: int


def execute(task: Task[Any], parameters: Parameters, placement: Placement) -> tuple[Any, Usage]:
    """Execute `task`, then write the report if its parameters ask for one.

    Returns
    -------
    result
        What the task's function returned, as a rule an `xarray.Dataset`.
    Usage

    Raises
    ------
    OutputError
        If there is no folder for the report, before any work.
    CalibrationError
        If the result says of itself that it failed; the report is written all the same.
    """
    report = getattr(parameters, "report", None)
    if report:
        check_folder(report)
    started = time.perf_counter()
    device = resolve_device(placement.device)
    report, output = (getattr(parameters, name, None) for name in ("report", "output"))
    overwrite = getattr(parameters, "overwrite", False)
    if report:
        from friedel.apps.report.targets import PAGES, check_target

        check_target(report, PAGES, output, overwrite)
    with ExitStack() as stack:
        if isinstance(placement.progress, AbstractContextManager):
            stack.enter_context(placement.progress)
        runner = stack.enter_context(make_runner(placement.threads, placement.cluster, placement.scheduler))
        context = Context(runner, device, placement.progress, placement.cancellation)
        result = task.execute(parameters, context)
    usage = Usage(time.perf_counter() - started, peak_memory())
    if report:
        from friedel.apps.report import write_report
        from friedel.io.images import IMAGE_ENDINGS

        # Images and geometries hold no description of how they were made.
        stored = output and Path(output).suffix.lower() not in (*IMAGE_ENDINGS, ".poni", ".json")
        write_report(output if stored else result, report, usage=usage, overwrite=overwrite)
    refuse_failed(result)
    return result, usage
