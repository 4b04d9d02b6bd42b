"""The typed parameters of tasks, from which the command line, the JSON schema and the record are made."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from .errors import ParameterError

LONGEST_VALUE = 60
"""Characters of a value that a message repeats."""


@dataclass(frozen=True)
class Argument:
    """How a parameter appears on the command line; put it in the field's ``Annotated``.

    Attributes
    ----------
    positional : bool
        Whether it is given without a name.
    alias : str
        Short name, like "-o".
    """

    positional: bool = False
    alias: str = ""


def _as_paths(value: Any) -> Any:
    """Accept one path where several are possible; paths become text, so that records are plain JSON."""
    if isinstance(value, (str, Path)):
        return (str(value),)
    _refuse_array(value)
    if isinstance(value, Iterable):
        return tuple(_as_path(item) for item in value)
    return value


def _refuse_array(value: Any) -> None:
    if hasattr(value, "ndim"):
        raise ValueError(
            f"tasks take names of files, this is an array of shape {tuple(value.shape)}; for arrays there are "
            "friedel.integration.Integrator and friedel.images.average_frames"
        )


def _as_path(value: Any) -> Any:
    _refuse_array(value)
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True)
class NamesFiles:
    """Marks a type whose text is a path, so that a record can be repeated from another folder.

    Attributes
    ----------
    always : bool
        False for text that may also be something else: it counts as a path where there is such a file.
    """

    always: bool = True


FilePath = Annotated[str, BeforeValidator(_as_path), NamesFiles()]
"""One file, as text; pathlib paths are accepted."""

FilePaths = Annotated[tuple[str, ...], BeforeValidator(_as_paths), NamesFiles()]
"""One or more files or glob patterns, as text; a single one is accepted."""

Texts = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One or more texts; a single one is accepted."""

NameOrPath = Annotated[str, BeforeValidator(_as_path), NamesFiles(always=False)]
"""A name that friedel knows, or else a file, as text; pathlib paths are accepted."""


class Parameters(BaseModel):
    """Base of every task's parameters: immutable, strict about names, each field documented."""

    # Validators are built when a task is used first: help and lists read fields only.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """Validate plain values.

        Raises
        ------
        ParameterError
            Naming each key that is missing, unknown or has a value that is not allowed.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ParameterError(_describe(error, tuple(cls.model_fields))) from None

    def refuse(self, names: Iterable[str], why: str) -> None:
        """Refuse parameters that the task does not look at, so that none is passed over in silence.

        Parameters
        ----------
        names : iterable of str
        why : str
            Why they have no effect.

        Raises
        ------
        ParameterError
            For the first of them that is not as by default.
        """
        for name in names:
            value = getattr(self, name)
            if value != type(self).model_fields[name].get_default(call_default_factory=True):
                raise ParameterError(f"{name} is {value}: {why}.", "Leave it out.")

    def located(self, folder: str | Path) -> Self:
        """Return the same parameters with every relative path taken from `folder`."""
        moved = {}
        for name, field in type(self).model_fields.items():
            mark = path_mark(field)
            if mark is not None:
                moved[name] = _located(getattr(self, name), Path(folder), mark)
        return self.model_copy(update=moved)


def path_mark(field: FieldInfo) -> NamesFiles | None:
    """Return how the text of a field names files, None if it does not."""
    return next(_marks((*field.metadata, field.annotation)), None)


def _marks(parts: Iterable[Any]) -> Iterator[NamesFiles]:
    for part in parts:
        if isinstance(part, NamesFiles):
            yield part
        elif get_origin(part) is not Literal:
            yield from _marks(get_args(part))


def _located(value: Any, folder: Path, mark: NamesFiles) -> Any:
    if isinstance(value, str):
        moved = folder / value
        return str(moved) if mark.always or moved.is_file() else value
    if isinstance(value, tuple):
        return tuple(_located(item, folder, mark) for item in value)
    return value


def _describe(error: ValidationError, known: tuple[str, ...]) -> str:
    return "\n".join(_problem(problem["type"], problem, known) for problem in error.errors())


def _problem(kind: str, problem: Any, known: tuple[str, ...]) -> str:
    """Return one line that says what is wrong with one parameter."""
    key = ".".join(str(part) for part in problem["loc"]) or "parameters"
    if kind == "missing":
        return f"{key} is missing: give {key} (in the shell --{key.replace('_', '-')})."
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, known, 1)
        guess = f" Did you mean {near[0]}?" if near else f" There are {', '.join(known)}."
        return f"There is no parameter {key}.{guess}"
    said = problem["msg"].removeprefix("Value error, ")
    given = reprlib.repr(problem["input"])
    return f"{key}: {said} (given: {given if len(given) <= LONGEST_VALUE else given[:LONGEST_VALUE] + '...'})"
