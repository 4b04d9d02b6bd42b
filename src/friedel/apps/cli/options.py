"""From the fields of a task's parameters to options of the command line."""

from __future__ import annotations

import inspect
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cyclopts import Group, Parameter
from pydantic.fields import FieldInfo

from friedel.core.parameters import Argument, path_mark
from friedel.core.tasks import Task

RUNNING = Group("Running", sort_key=10, help="Where the task is executed; the result is the same everywhere.")

_COMMON: dict[str, tuple[Any, str]] = {
    "device": (str, "Device: cpu, cuda, cuda:N, cuda:N,M, cuda:all or auto (default: FRIEDEL_DEVICE, else cpu)."),
    "threads": (int, "Threads in this process (default: FRIEDEL_THREADS, else one for each core)."),
    "cluster": (str, "Dask cluster to start: local:4 for four worker processes on this machine."),
    "scheduler": (str, "Address of a running Dask scheduler: tcp://host:port."),
    "quiet": (bool, "Show no progress."),
    "config": (str, "JSON file of parameters (see friedel schema TASK --template); options override it."),
}
COMMON_OPTIONS = tuple(_COMMON)


def signature(task: Task[Any]) -> inspect.Signature:
    """Return the signature from which cyclopts makes the command of `task`.

    No default is passed on: the task's parameters know them, and an option that was not given must not
    override the parameters file.
    """
    positional: list[inspect.Parameter] = []
    named: list[inspect.Parameter] = []
    for name, field in task.parameters.model_fields.items():
        (positional if _argument(field).positional else named).append(_parameter(name, field))
    return inspect.Signature(positional + named + [_common(name) for name in _COMMON])


def running_parameters(names: tuple[str, ...] = COMMON_OPTIONS) -> list[inspect.Parameter]:
    """Return the options that say where a task is executed."""
    return [_common(name) for name in names]


def _argument(field: FieldInfo) -> Argument:
    return next((item for item in field.metadata if isinstance(item, Argument)), Argument())


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    argument = _argument(field)
    option = Parameter(
        alias=argument.alias or None,
        help=_help(field),
        metavar="FILE" if (mark := path_mark(field)) and mark.always else None,
        required=False,  # a parameters file may hold it; the task's parameters say so if it is missing
        show_default=False if field.is_required() else _default_text(field),
        consume_multiple=True,
        negative_iterable="",
        negative_none="",
    )
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if argument.positional else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(
        name, kind, default=None, annotation=Annotated[shell_type(field.annotation) | None, option]
    )


def _help(field: FieldInfo) -> str:
    text = " ".join((field.description or "").split())
    return f"{text} [required]" if field.is_required() else text


def _common(name: str) -> inspect.Parameter:
    kind, text = _COMMON[name]
    option = Parameter(help=text, group=RUNNING, show_default=False, negative="")
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _default_text(field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True)
    if default is None or default == ():
        return False
    if isinstance(default, bool):
        text = "yes" if default else "no"
    elif isinstance(default, (tuple, list)):
        text = " ".join(str(item) for item in default)
    else:
        text = str(default)
    return lambda _: text


class Int(str):
    """The words of a whole number: pydantic reads them, which refuses "2.5" where cyclopts rounds it."""


def shell_type(annotation: Any) -> Any:
    """Return the type that cyclopts converts words to; what it cannot know becomes text for pydantic to read."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shell_type(inner[0])
    if annotation is int:
        return Int
    if origin is Literal or annotation in (float, str, bool):
        return annotation
    if origin in (Union, types.UnionType):
        members = [shell_type(item) for item in inner if item is not type(None)]
        if len(members) > 1:  # Numbers before text, or "295.5" would stay text.
            members = [int if member is Int else member for member in members]
            members.sort(key=lambda member: member is str)
        return Union[tuple(members)]  # noqa: UP007
    if origin is tuple:
        return tuple.__class_getitem__(tuple(item if item is Ellipsis else shell_type(item) for item in inner))
    if origin is list:
        return list.__class_getitem__(shell_type(inner[0]))
    return str


def command_words(task: Task[Any]) -> list[str]:
    """Return the words of a shortest call of `task`: what must be given."""
    words = []
    for name, field in task.parameters.model_fields.items():
        if field.is_required():
            value = name.upper()
            words.append(value if _argument(field).positional else f"--{name.replace('_', '-')} {value}")
    return [*words, "[OPTIONS]"]
