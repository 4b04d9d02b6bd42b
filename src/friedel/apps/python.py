"""Tasks as Python functions: ``friedel.xrdct("scan.h5", geometry="setup.poni", npt=1000)``.

Each function is made from the task's parameters when it is first asked for, so that names, defaults, checks
and documentation are those of the command line and of the JSON schema.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from friedel.core.context import Progress, SilentProgress
from friedel.core.errors import ParameterError
from friedel.core.parameters import Argument
from friedel.core.tasks import Task, registry

from .execution import Placement, execute
from .rerun import check_unchanged, repeat

_PLACEMENT_DOC = """\
threads : int, optional
    Threads to use; by default the variable ``FRIEDEL_THREADS``, else one for each core.
device : str, optional
    "cpu", "cuda", "cuda:N", "cuda:N,M", "cuda:all" or "auto"; by default the variable ``FRIEDEL_DEVICE``, else "cpu".
cluster : str, optional
    A Dask cluster to start for this call, such as "local:4".
scheduler : str, optional
    Address of a running Dask scheduler.
progress : bool or Progress, default False
    Whether to show how far the work is, or whom to tell."""
_PLACEMENT = {"threads": None, "device": None, "cluster": None, "scheduler": None, "progress": False}


def __getattr__(name: str) -> Callable[..., Any]:
    for task in registry().values():
        if function_name(task) == name:
            return task_function(task)
    raise AttributeError(f"no task is called {name!r}; tasks: {', '.join(registry())}")


def __dir__() -> list[str]:
    return sorted([function_name(task) for task in registry().values()] + ["rerun"])


def function_name(task: Task[Any]) -> str:
    """Return the Python name of a task: "simulate xrdct" is called ``simulate_xrdct``."""
    return task.command.replace(" ", "_").replace("-", "_")


@cache
def task_function(task: Task[Any]) -> Callable[..., Any]:
    """Return the function that executes `task` with keyword parameters."""
    positional, named = _split_fields(task)

    def function(*values: Any, **keywords: Any) -> Any:
        if len(values) > len(positional):
            raise ParameterError(
                f"{name}() takes {len(positional)} values without a name, {len(values)} were given.",
                f"Name the others: {', '.join(named)}.",
            )
        given = dict(zip(positional, values, strict=False))
        if twice := given.keys() & keywords.keys():
            raise ParameterError(
                f"{', '.join(sorted(twice))}: given twice, with and without its name.", "Give it once."
            )
        placement = {key: keywords.pop(key) for key in _PLACEMENT if key in keywords}
        parameters = task.parameters.parse(given | keywords)
        result, _ = execute(task, parameters, _placement(**placement))
        return result

    name = function_name(task)
    function.__name__ = function.__qualname__ = name
    function.__module__ = "friedel"
    function.__doc__ = _docstring(task, positional + named)
    function.__signature__ = _signature(task, positional, named)  # type: ignore[attr-defined]
    return function


def rerun(
    result: str | Path,
    output: str | Path | None = None,
    *,
    report: str | Path | None = None,
    overwrite: bool = False,
    force: bool = False,
    **placement: Any,
) -> Any:
    """Make a result again from the record in its file.

    Parameters
    ----------
    result : path-like
        A file that friedel wrote.
    output : path-like, optional
        The file to write, by default ``<stem>_rerun.h5`` beside `result`.
    report : path-like, optional
        Where to write a report.
    overwrite : bool, default False
        Whether `output` may be replaced.
    force : bool, default False
        Go on although an input file or the task's version has changed.
    **placement
        threads, device, cluster, scheduler and progress, as for any task.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    DataError
        If an input file is missing or no longer has the recorded hash, and `force` is not given.
    """
    repetition = repeat(result, output, report, overwrite)
    if not force:
        check_unchanged(repetition)
    made, _ = execute(repetition.task, repetition.parameters, _placement(**placement))
    return made


def _placement(progress: bool | Progress = False, **where: Any) -> Placement:
    if isinstance(progress, bool):
        from .cli.progress import make_progress

        progress = make_progress() if progress else SilentProgress()
    return Placement(progress=progress, **where)


def _split_fields(task: Task[Any]) -> tuple[list[str], list[str]]:
    fields = task.parameters.model_fields
    positional = [name for name, field in fields.items() if Argument(positional=True) in map(_placed, field.metadata)]
    return positional, [name for name in fields if name not in positional]


def _placed(metadata: Any) -> Argument | None:
    return Argument(positional=metadata.positional) if isinstance(metadata, Argument) else None


def _signature(task: Task[Any], positional: list[str], named: list[str]) -> inspect.Signature:
    def parameter(name: str, kind: Any) -> inspect.Parameter:
        field = task.parameters.model_fields[name]
        default = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
        return inspect.Parameter(name, kind, default=default, annotation=field.annotation)

    kind = inspect.Parameter
    # Python wants parameters without a default first among the positional ones.
    ordered = sorted(positional, key=lambda name: not task.parameters.model_fields[name].is_required())
    listed = [parameter(name, kind.POSITIONAL_OR_KEYWORD) for name in ordered]
    listed += [parameter(name, kind.KEYWORD_ONLY) for name in named]
    listed += [kind(name, kind.KEYWORD_ONLY, default=default) for name, default in _PLACEMENT.items()]
    return inspect.Signature(listed)


def _docstring(task: Task[Any], names: list[str]) -> str:
    lines = [inspect.cleandoc(task.parameters.__doc__ or ""), "", "Parameters", "----------"]
    properties = task.schema().get("properties", {})
    for name in names:
        field = task.parameters.model_fields[name]
        default = "" if field.is_required() else f", default {field.get_default(call_default_factory=True)!r}"
        lines.append(f"{name} : {type_text(field.annotation)}{default}")
        description = inspect.cleandoc(field.description or properties.get(name, {}).get("description", ""))
        lines += [f"    {line}" for line in description.splitlines()]
    lines += [_PLACEMENT_DOC, "", "Returns", "-------", "xarray.Dataset"]
    return "\n".join(lines)


def type_text(annotation: Any) -> str:
    """Return a type as a person would write it."""
    from typing import Annotated, Literal, get_args, get_origin

    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(inner[0])
    if origin is Literal:
        return "{" + ", ".join(repr(value) for value in inner) + "}"
    if annotation is type(None):
        return "None"
    if origin is tuple and len(inner) == 2 and inner[1] is Ellipsis:
        return f"sequence of {type_text(inner[0])}"
    if origin is tuple:
        return "(" + ", ".join(type_text(item) for item in inner) + ")"
    if origin is not None and inner and not isinstance(origin, type):
        return " or ".join(type_text(item) for item in inner)
    if origin is not None and inner and origin.__name__ == "UnionType":
        return " or ".join(type_text(item) for item in inner)
    if origin is not None and inner:
        return f"{origin.__name__} of {', '.join(type_text(item) for item in inner)}"
    return getattr(annotation, "__name__", str(annotation))
