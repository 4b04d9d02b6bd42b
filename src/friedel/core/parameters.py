"""The typed parameters of tasks, from which the command line, the JSON schema and the record are made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from .errors import ParameterError


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
    if isinstance(value, Iterable):
        return tuple(str(item) if isinstance(item, Path) else item for item in value)
    return value


def _as_path(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True)
class NamesFiles:
    """Marks a type whose text is a path, so that a record can be repeated from another folder."""


FilePath = Annotated[str, BeforeValidator(_as_path), NamesFiles()]
"""One file, as text; pathlib paths are accepted."""

FilePaths = Annotated[tuple[str, ...], BeforeValidator(_as_paths), NamesFiles()]
"""One or more files or glob patterns, as text; a single one is accepted."""


class Parameters(BaseModel):
    """Base of every task's parameters: immutable, strict about names, each field documented."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

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
            raise ParameterError(_describe(error)) from None

    def located(self, folder: str | Path) -> Self:
        """Return the same parameters with every relative path taken from `folder`."""
        moved = {
            name: _located(getattr(self, name), Path(folder))
            for name, field in type(self).model_fields.items()
            if names_files(field)
        }
        return self.model_copy(update=moved)


def names_files(field: FieldInfo) -> bool:
    """Whether the text of a field is a path or several."""
    return NamesFiles() in field.metadata or _names_files(field.annotation)


def _names_files(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated and NamesFiles() in get_args(annotation)[1:]:
        return True
    return any(_names_files(inner) for inner in get_args(annotation))


def _located(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        return str(folder / value)
    if isinstance(value, tuple):
        return tuple(_located(item, folder) for item in value)
    return value


def _describe(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "parameters"
        given = "" if problem["type"] == "missing" else f" (given: {problem['input']!r})"
        lines.append(f"{key}: {problem['msg']}{given}")
    return "\n".join(lines)
