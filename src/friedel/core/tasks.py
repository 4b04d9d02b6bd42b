"""The registry of tasks: the one definition that Python, the command line, the schema and the record share."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from .context import Context
from .errors import MissingDependencyError, ParameterError
from .parameters import Parameters
from .provenance import Provenance

P = TypeVar("P", bound=Parameters)

ENTRY_POINT_GROUP = "friedel.tasks"


@dataclass(frozen=True)
class Task(Generic[P]):
    """A named, versioned, typed step that a person can ask for.

    Attributes
    ----------
    name : str
        Unique name, as Python and records have it (``find_peaks``); words are separated by a space where the command
        line has a sub-command (``simulate map``).
    version : int
        Raised whenever the same parameters give another result.
    parameters : type
        The `Parameters` subclass; its docstring's first line is the task's summary.
    run : str
        ``"module:function"``, imported when the task is executed.
    """

    name: str
    version: int
    parameters: type[P]
    run: str

    @property
    def command(self) -> str:
        """The name as the command line has it, with hyphens as in its options: ``find-peaks``."""
        return self.name.replace("_", "-")

    @property
    def summary(self) -> str:
        """One line that says what the task does."""
        return (self.parameters.__doc__ or "").strip().partition("\n")[0]

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the parameters."""
        return self.parameters.model_json_schema()

    def function(self) -> Callable[[P, Context], Any]:
        """Import and return the function that does the work."""
        module, _, attribute = self.run.partition(":")
        function: Callable[[P, Context], Any] = getattr(importlib.import_module(module), attribute)
        return function

    def execute(self, parameters: P, context: Context) -> Any:
        """Do the work and return its result, with the provenance of this execution in `context`."""
        record = Provenance.begin(self.name, self.version, parameters.model_dump(mode="json"), context.device)
        return self.function()(parameters, context.with_provenance(record))


def task(name: str, *, version: int, parameters: type[P], run: str) -> Task[P]:
    """Define a task. Modules listed under the entry point group ``friedel.tasks`` are searched for them."""
    return Task(name, version, parameters, run)


@cache
def registry() -> dict[str, Task[Any]]:
    """Return every task by name, from friedel and from installed packages that add their own.

    Raises
    ------
    ParameterError
        If two packages define a task of the same name.
    MissingDependencyError
        If a module that is said to hold tasks cannot be imported.
    """
    found: dict[str, Task[Any]] = {}
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.value):
        for definition in _tasks_of(_load(entry_point)):
            if found.setdefault(definition.name, definition) is not definition:
                rivals = f"{found[definition.name].run} and {definition.run}"
                raise ParameterError(
                    f"Two packages define the task {definition.name!r}: {rivals}.",
                    "Uninstall one of them.",
                )
    return dict(sorted(found.items()))


def _load(entry_point: EntryPoint) -> Any:
    try:
        return entry_point.load()
    except ImportError as error:
        owner = entry_point.dist.name if entry_point.dist else "a package"
        raise MissingDependencyError(
            f"{owner} announces tasks in {entry_point.value}, which cannot be imported: {error}.",
            f"Repair or uninstall {owner}.",
        ) from error


def _tasks_of(module: Any) -> Iterator[Task[Any]]:
    return (value for value in vars(module).values() if isinstance(value, Task))


def find_task(name: str) -> Task[Any]:
    """Return the task called `name`, as Python or the command line has it: ``find_peaks`` or ``find-peaks``.

    Raises
    ------
    ParameterError
        If there is none; the message lists those that are.
    """
    tasks = registry()
    found = {task.command: task for task in tasks.values()}.get(name.replace("_", "-"))
    if found is None:
        raise ParameterError(f"There is no task {name!r}.", "Tasks: " + ", ".join(tasks))
    return found
