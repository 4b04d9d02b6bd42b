"""Repeats a result from its record, after making sure that what it was made from is unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from friedel.core.errors import DataError, FileError, InputError, ParameterError
from friedel.core.parameters import Parameters
from friedel.core.provenance import InputFile, Provenance
from friedel.core.tasks import Task, find_task


@dataclass(frozen=True)
class Repetition:
    """A task ready to be executed again.

    Attributes
    ----------
    task : Task
    parameters : Parameters
        As recorded, except for the files to write.
    differences : tuple of str
        What is no longer as recorded: changed or missing inputs, another version of the task.
    """

    task: Task[Any]
    parameters: Parameters
    differences: tuple[str, ...]


def read_record(path: str | Path) -> Provenance:
    """Return the record of the execution that wrote the result file `path`.

    Raises
    ------
    FileError
        If the file cannot be read or carries no record.
    """
    from friedel.io.nexus import read_provenance

    records = read_provenance(path)
    if not records:
        raise FileError(path, "has no record of how it was made.", "Only results that friedel wrote can be repeated.")
    return records[-1]


def repeat(
    result: str | Path, output: str | Path | None = None, report: str | Path | None = None, overwrite: bool = False
) -> Repetition:
    """Prepare to make `result` again, into `output` (by default ``<stem>_rerun.h5`` beside it)."""
    path = Path(result)
    record = read_record(path)
    task = find_task(record.task)
    values = dict(record.parameters)
    fields = task.parameters.model_fields
    if "output" in fields:
        # The recorded paths count from the recorded folder, the new ones from this one.
        values["output"] = str(Path(output or path.with_name(f"{path.stem}_rerun{path.suffix}")).absolute())
    if "overwrite" in fields:
        values["overwrite"] = overwrite
    if "report" in fields:
        values["report"] = None if report is None else str(Path(report).absolute())
    elif report is not None:
        raise ParameterError(f"The task {task.name!r} makes no report.", "Leave the report out.")
    parameters = task.parameters.parse(values).located(record.folder)
    return Repetition(task, parameters, tuple(_differences(record, task)))


def check_unchanged(repetition: Repetition) -> None:
    """Raise `DataError` if the repetition would not be of the same thing."""
    if repetition.differences:
        raise DataError(
            "\n".join(repetition.differences), "Restore the files, or repeat anyway with --force (force=True)."
        )


def _differences(record: Provenance, task: Task[Any]) -> list[str]:
    found = []
    if task.version != record.version:
        found.append(
            f"The task {task.name!r} is now version {task.version}; the result was made by version {record.version}."
        )
    for known in record.inputs:
        try:
            now = InputFile.describe(known.path)
        except InputError:
            found.append(f"{known.path}: is missing; the result was made from it.")
            continue
        if now.hash != known.hash:
            found.append(
                f"{known.path}: has changed since the result was made (recorded {known.hash}, now {now.hash})."
            )
        elif known.is_sampled and now.mtime != known.mtime:
            found.append(
                f"{known.path}: was written at {now.mtime}, the result was made from its state of {known.mtime}; "
                "of so large a file only samples are compared, so it may have changed."
            )
    return found
