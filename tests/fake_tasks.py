"""A task registry for tests: small tasks with every kind of parameter, installed in place of the real ones."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal
from unittest import mock

from pydantic import Field, PositiveInt

from friedel.core import tasks
from friedel.core.context import Context
from friedel.core.errors import DataError
from friedel.core.parameters import Argument, FilePath, FilePaths, Parameters
from friedel.core.tasks import task


class Average(Parameters):
    """Average frames into one pattern.

    Frames are read in the order given.
    """

    frames: Annotated[FilePaths, Argument(positional=True)]
    """Frame files or glob patterns."""
    geometry: FilePath
    """PONI file."""
    npt: PositiveInt = 1000
    """Radial bins."""
    unit: Literal["q_nm^-1", "2th_deg"] = "q_nm^-1"
    """Radial unit."""
    radial_range: tuple[float, float] | None = None
    """Lower and upper limit, in `unit`."""
    rois: tuple[tuple[float, float], ...] = ()
    """Regions of interest."""
    center: float | Literal["auto"] = "auto"
    """Rotation axis in pixels."""
    solid_angle: bool = True
    """Correct for the solid angle."""
    polarization: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Polarisation factor."""
    output: Annotated[FilePath | None, Argument(alias="-o")] = None
    """Result file."""


class Pretend(Parameters):
    """Pretend to scan."""

    output: Annotated[FilePath, Argument(positional=True)]
    """Scan file."""
    seed: int = 0
    """Seed of the noise."""
    behaviour: Literal["well", "bad data", "fault", "slow", "stopped at the end"] = "well"
    """What happens."""


def run_average(parameters: Average, context: Context) -> Average:
    with context.stage("Averaging", 2, "frames") as advance:
        advance()
        advance()
    return parameters


def run_pretend(parameters: Pretend, context: Context) -> Pretend:
    if parameters.behaviour == "bad data":
        raise DataError("scan.h5: frame 3 holds NaN.", "Mask it.")
    if parameters.behaviour == "fault":
        raise RuntimeError("the unexpected")
    while parameters.behaviour == "slow":
        context.cancellation.check()
        time.sleep(0.01)
    if parameters.behaviour == "stopped at the end":
        signal.raise_signal(signal.SIGINT)
    return parameters


average = task("average", version=1, parameters=Average, run="fake_tasks:run_average")
pretend = task("simulate pretend", version=3, parameters=Pretend, run="fake_tasks:run_pretend")


class FakeEntryPoint:
    """Announces this module's tasks."""

    value = "fake_tasks"
    dist = None

    def load(self) -> Any:
        import fake_tasks

        return fake_tasks


@contextmanager
def fake_registry(*entry_points: Any) -> Iterator[None]:
    """Let the registry hold these tasks and no others."""
    announced = entry_points or (FakeEntryPoint(),)
    with mock.patch.object(tasks, "entry_points", lambda group: list(announced)):
        tasks.registry.cache_clear()
        yield
    tasks.registry.cache_clear()
