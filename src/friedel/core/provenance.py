"""The record of how a result was made, complete enough to repeat it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .errors import FileError, ParameterError

WHOLE_HASH_LIMIT = 64 * 1024**2
NO_INFLUENCE = ("output", "report", "overwrite", "block_frames")
"""Parameters that say where a result goes or in what portions it is made, not what it is."""

SAMPLES = 16
SAMPLE_SIZE = 1024**2


def friedel_version() -> str:
    """Return the installed version, or "unknown" for a bare source tree."""
    try:
        return version("friedel")
    except PackageNotFoundError:
        return "unknown"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class InputFile:
    """A file that a result depends on.

    Attributes
    ----------
    path : str
        Absolute path.
    size : int
        Bytes.
    mtime : str
        Last modification, ISO 8601, UTC.
    hash : str
        ``blake2b:<hex>`` of the whole file up to 64 MiB, ``blake2b-sampled:<hex>`` of its size and 16 evenly
        spread MiB for a larger one: reading terabytes again would cost more than the work itself.
    """

    path: str
    size: int
    mtime: str
    hash: str

    @property
    def is_sampled(self) -> bool:
        """Whether the hash covers a part of the file only, so that equal hashes do not mean equal content."""
        return self.hash.startswith("blake2b-sampled:")

    @classmethod
    def describe(cls, path: str | Path) -> InputFile:
        """Look at the file now.

        Raises
        ------
        FileError
            If it cannot be read.
        """
        try:
            status = Path(path).stat()
            digest = _hash_file(path, status.st_size)
        except OSError as error:
            raise FileError(path, error.strerror or str(error), "Check the path and the permissions.") from None
        modified = datetime.fromtimestamp(status.st_mtime, UTC).isoformat()
        return cls(str(Path(path).resolve()), status.st_size, modified, digest)


def _hash_file(path: str | Path, size: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with Path(path).open("rb") as stream:
        if size <= WHOLE_HASH_LIMIT:
            digest.update(stream.read())
            return f"blake2b:{digest.hexdigest()}"
        digest.update(str(size).encode())
        for sample in range(SAMPLES):
            stream.seek(sample * (size - SAMPLE_SIZE) // (SAMPLES - 1))
            digest.update(stream.read(SAMPLE_SIZE))
    return f"blake2b-sampled:{digest.hexdigest()}"


def refuse_to_replace_inputs(outputs: Iterable[str | Path | None], inputs: Iterable[str | Path]) -> None:
    """Make sure that no file to be written is one that is read, under whatever name: overwriting is for results.

    Parameters
    ----------
    outputs : iterable of path-like or None
        Every file that will be written; None is left out.
    inputs : iterable of path-like
        Every file that is read; names of no file (built-in phases) are left out.

    Raises
    ------
    ParameterError
        If a file is both.
    """
    existing = {identity: path for path in outputs if path is not None and (identity := _identity(path))}
    if not existing:
        return
    for path in inputs:
        identity = _identity(path)
        if identity in existing:
            raise ParameterError(
                f"{existing[identity]}: would replace {path}, which is read here.",
                "Choose another name to write to; an input is never overwritten.",
            )


def _identity(path: str | Path) -> tuple[int, int] | None:
    """Return what tells a file from all others, through links too; None where there is no file."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


@dataclass(frozen=True)
class Provenance:
    """One execution of a task, and the executions that made its inputs.

    Attributes
    ----------
    task : str
    version : int
        The task's version.
    parameters : dict
        As given, plain JSON values.
    device : str
    friedel : str
        friedel's version.
    started : str
        ISO 8601, UTC.
    inputs : tuple of InputFile
    earlier : tuple of Provenance
        The records found in the input files.
    notes : dict
        What the task found out by itself.
    folder : str
        The working folder, from which relative paths in the parameters count.
    """

    task: str
    version: int
    parameters: dict[str, Any]
    device: str
    friedel: str
    started: str
    inputs: tuple[InputFile, ...] = ()
    earlier: tuple[Provenance, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    folder: str = ""

    @classmethod
    def begin(cls, task: str, task_version: int, parameters: dict[str, Any], device: str) -> Provenance:
        """Start the record of an execution."""
        return cls(task, task_version, parameters, device, friedel_version(), _now(), folder=str(Path.cwd()))

    def with_inputs(self, paths: Iterable[str | Path], earlier: Iterable[Provenance] = ()) -> Provenance:
        """Return the record with the files that were read and the records they carried."""
        known = {item.path for item in self.inputs}
        described = (InputFile.describe(path) for path in paths)
        added = tuple(item for item in described if item.path not in known)
        return replace(self, inputs=self.inputs + added, earlier=self.earlier + tuple(earlier))

    def with_notes(self, **notes: Any) -> Provenance:
        """Return the record with what the task found out by itself (a centre of rotation, a layout)."""
        return replace(self, notes={**self.notes, **notes})

    def fingerprint(self) -> str:
        """Return a short name of the work: equal for executions that give the same result.

        It covers the task, its parameters but for those in `NO_INFLUENCE`, the input files and friedel's version;
        not the device or the moment. Of a file whose hash covers samples only, the time of modification counts too.
        """
        parameters = {key: value for key, value in self.parameters.items() if key not in NO_INFLUENCE}
        inputs = [(item.path, item.size, item.hash, item.mtime if item.is_sampled else "") for item in self.inputs]
        work = [self.task, self.version, self.friedel, parameters, inputs]
        return hashlib.blake2b(json.dumps(work, sort_keys=True).encode(), digest_size=16).hexdigest()

    def to_json(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        """Read a record that `to_json` wrote.

        Raises
        ------
        ValueError
            If the text is not such a record.
        """
        return cls._from_dict(json.loads(text))

    @classmethod
    def _from_dict(cls, values: dict[str, Any]) -> Provenance:
        try:
            inputs = tuple(InputFile(**item) for item in values.pop("inputs", ()))
            earlier = tuple(cls._from_dict(item) for item in values.pop("earlier", ()))
            return cls(inputs=inputs, earlier=earlier, **values)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not a provenance record: {error}") from None
