"""The commands: one for each task of the registry, and those that look at tasks, files and results."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter

from friedel.core.errors import FileError, ParameterError
from friedel.core.parameters import Parameters
from friedel.core.provenance import friedel_version
from friedel.core.tasks import Task, find_task, registry

from .calibrants import calibrants
from .detectors import detectors
from .geometry import described_geometry, make_geometry_commands
from .options import COMMON_OPTIONS, running_parameters, signature

TASKS = Group("Tasks", sort_key=0)
LOOKING = Group("Looking", sort_key=1)


def make_application(words: Sequence[str]) -> App:
    """Return the command line with a command for each registered task, for these words.

    Only a task that the words name gets its options: those of all together take longer than help may.
    """
    application = App(
        name="friedel",
        help="From raw X-ray and electron detector frames to patterns, maps, volumes and phases.",
        version=friedel_version,
        help_format="plaintext",  # anything else loads a parser of Markdown, a tenth of the time that help may take
        group_commands=Group("Other", sort_key=2),
    )
    for task in registry().values():
        _add(application, task, words)
    for command in (info, detectors, calibrants, tasks, schema, plot, report):
        application.command(command, group=LOOKING)
    application.command(make_geometry_commands(LOOKING))
    application.command(_with_running_options(rerun), name="rerun", group=TASKS)
    return application


def _add(application: App, task: Task[Any], words: Sequence[str]) -> None:
    *groups, name = task.command.split()
    asked = [word.replace("_", "-") for word in words if not word.startswith("-")][: len(groups) + 1]
    command = _task_command(task) if asked == [*groups, name] else _listed(task)
    parent = application
    for group in groups:
        if group not in parent:
            parent.command(App(name=group, help=_group_help(group), group=TASKS))
        parent = parent[group]
    if _members(task.command):
        # A task with steps that are tasks too: friedel calibrate IMAGE, friedel calibrate detect IMAGE.
        parent.command(App(name=name, help=command.__doc__, group=TASKS if parent is application else None))
        parent[name].default(command)
        return
    parent.command(command, name=name, group=TASKS if parent is application else None)
    if (written := name.replace("-", "_")) != name:
        parent.command(command, name=written, show=False)  # the name that Python and records have is understood too


def _members(group: str) -> list[str]:
    """Return the tasks whose names begin with that of `group`."""
    commands = [task.command for task in registry().values()]
    return [command.removeprefix(f"{group} ") for command in commands if command.startswith(f"{group} ")]


def _group_help(group: str) -> str:
    return f"{group.capitalize()}: {', '.join(_members(group))}."


def _listed(task: Task[Any]) -> Callable[..., int]:
    """Return a command that has a summary and nothing else."""

    def command() -> int:
        raise NotImplementedError(f"{task.command} was not among the words")

    command.__doc__ = _escaped(inspect.cleandoc(task.parameters.__doc__ or ""))
    return command


def _task_command(task: Task[Any]) -> Callable[..., int]:
    def command(*values: Any, **options: Any) -> int:
        bound = command.__signature__.bind(*values, **options)  # type: ignore[attr-defined]
        given = {name: value for name, value in bound.arguments.items() if value is not None}
        common = {name: given.pop(name) for name in COMMON_OPTIONS if name in given}
        parameters = task.parameters.parse(_from_file(common.pop("config", None)) | given)
        return _execute(task, parameters, **common)

    command.__name__ = task.command.replace(" ", "_").replace("-", "_")
    command.__doc__ = _escaped(inspect.cleandoc(task.parameters.__doc__ or ""))
    words = signature(task)
    command.__signature__ = words  # type: ignore[attr-defined]
    command.__annotations__ = {name: item.annotation for name, item in words.parameters.items()}
    return command


def _escaped(text: str) -> str:
    """Return only the summary and prose of a docstring: its numpydoc sections are for Python readers."""
    lines = text.splitlines()
    underlined = [number - 1 for number, line in enumerate(lines) if line and set(line) == {"-"}]
    return "\n".join(lines[: underlined[0]] if underlined else lines).strip()


def _with_running_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say where a task is executed to a command that takes them as keywords."""
    own = inspect.signature(function, eval_str=True)
    kept = [item for item in own.parameters.values() if item.kind is not inspect.Parameter.VAR_KEYWORD]
    names = tuple(name for name in COMMON_OPTIONS if name != "config")

    def command(*values: Any, **options: Any) -> int:
        return function(*values, **{name: value for name, value in options.items() if value is not None})

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = own.replace(parameters=kept + running_parameters(names))  # type: ignore[attr-defined]
    command.__annotations__ = {name: item.annotation for name, item in command.__signature__.parameters.items()}  # type: ignore[attr-defined]
    return command


def _from_file(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(path, error.strerror or str(error), "Check the path.") from None
    except ValueError as error:
        raise FileError(path, f"is not JSON: {error}", "See friedel schema TASK --template.") from None
    if not isinstance(values, dict):
        raise FileError(path, "holds no table of parameters.", "See friedel schema TASK --template.")
    return values


def _execute(task: Task[Any], parameters: Parameters, quiet: bool = False, **where: Any) -> int:
    """Execute a task and say what was written; return the exit code."""
    from friedel.apps.execution import Placement, execute
    from friedel.apps.verdict import DOUBTFUL, judgement_of

    from .progress import QuietProgress, make_progress
    from .signals import cancellation_by_signals, say

    progress = QuietProgress() if quiet else make_progress()
    with cancellation_by_signals() as cancellation:
        result, usage = execute(task, parameters, Placement(progress=progress, cancellation=cancellation, **where))
    written = [str(path) for name in ("output", "report") if (path := getattr(parameters, name, None))]
    written = [*getattr(result, "attrs", {}).get("files", written[:1]), *written[1:]] if written else []
    judgement = judgement_of(result)
    if judgement is not None and not quiet:
        _write(judgement.summary)
    if not written and judgement is None:
        _write(repr(result))
    elif written and not quiet:
        cost = f"{usage.seconds:.1f} s, {usage.peak_memory / 1e6:.0f} MB of memory at most"
        _write(f"Wrote {' and '.join(written)} ({cost}).")
    if judgement is None or judgement.verdict != "doubtful":
        return 0
    for text in judgement.complaints:
        say(text)
    return DOUBTFUL


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def info(file: str, /) -> None:
    """Say what is in a file: shapes, units, axes, and what friedel can do with it.

    Parameters
    ----------
    file
        A frame file, a scan, a geometry or a result.
    """
    from friedel.io.inspect import describe_file

    description = describe_file(file)
    geometry = described_geometry(file) if description.holds == "unknown" else None
    _write(geometry or str(description))


def tasks() -> None:
    """List every task, a line each."""
    known = registry().values()
    width = max((len(task.command) for task in known), default=0)
    for task in known:
        _write(f"{task.command:<{width}}  {task.summary}")


def schema(*task: str, template: bool = False) -> None:
    """Print the JSON schema of a task's parameters.

    Parameters
    ----------
    task
        The task's name.
    template
        Print a parameters file with the defaults instead, to be edited and given to --config.
    """
    if not task:
        raise ParameterError("TASK is missing.", "Tasks: " + ", ".join(task.command for task in registry().values()))
    found = find_task(" ".join(task))
    _write(json.dumps(_template(found) if template else found.schema(), indent=2, ensure_ascii=False))


def _template(task: Task[Any]) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    fields = task.parameters.model_fields
    defaults = {
        name: None if field.is_required() else field.get_default(call_default_factory=True)
        for name, field in fields.items()
    }
    values: dict[str, Any] = to_jsonable_python(defaults)
    return values


def report(
    result: str,
    /,
    *,
    output: Annotated[str | None, Parameter(alias="-o")] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Draw the report of a result: one HTML page, and its pictures beside it.

    Parameters
    ----------
    result
        A file that friedel wrote.
    output
        The page to write (default: the result's name with .html).
    overwrite
        Replace the page if it exists.
    """
    from friedel.apps.report import write_report

    page = Path(output) if output else Path(result).with_suffix(".html")
    write_report(result, page, overwrite=overwrite)
    _write(f"Wrote {page}.")


def plot(
    result: str,
    /,
    *,
    output: Annotated[str | None, Parameter(alias="-o")] = None,
    picture: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Draw one picture of a result.

    Parameters
    ----------
    result
        A file that friedel wrote.
    output
        The PNG, SVG or PDF file to write (default: the result's name with .png).
    picture
        Which picture of the report, such as mean_pattern (default: the first).
    overwrite
        Replace the picture if it exists.
    """
    from friedel.apps.report import write_picture

    target = Path(output) if output else Path(result).with_suffix(".png")
    write_picture(result, target, picture, overwrite=overwrite)
    _write(f"Wrote {target}.")


def rerun(
    result: str,
    /,
    *,
    output: Annotated[str | None, Parameter(alias="-o")] = None,
    report: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    **where: Any,
) -> int:
    """Make a result again from the record in its file.

    Parameters
    ----------
    result
        A file that friedel wrote.
    output
        The file to write (default: <stem>_rerun.h5 beside the result).
    report
        Where to write a report.
    overwrite
        Replace the output if it exists.
    force
        Go on although an input file or the task's version has changed.
    """
    from friedel.apps.rerun import check_unchanged, repeat

    repetition = repeat(result, output, report, overwrite)
    if not force:
        check_unchanged(repetition)
    return _execute(repetition.task, repetition.parameters, **where)
