"""Text files of one key and value a line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from friedel.core.errors import GeometryError

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?")


class Entries:
    """Keys, in lower case, and values of a text; the last one of a key counts.

    Parameters
    ----------
    path : path-like
        The file, for messages.
    values : mapping of str to str
    """

    def __init__(self, path: str | Path, values: Mapping[str, str]) -> None:
        self.path = path
        self.values = {key.casefold(): value for key, value in values.items()}

    @classmethod
    def parse(cls, path: str | Path, text: str, separator: str = r"[=:]", comment: str = "#") -> Entries:
        """Read lines of key, separator (a regular expression) and value."""
        found = {}
        for line in text.splitlines():
            words = re.split(rf"\s*{separator}\s*", line.split(comment)[0].strip(" \t{};"), maxsplit=1)
            if len(words) == 2 and words[0]:
                found[words[0]] = words[1].strip(" \t;")
        return cls(path, found)

    def __contains__(self, key: str) -> bool:
        return self.values.get(key.casefold(), "").casefold() not in ("", "none", "null")

    def text(self, key: str, default: str = "") -> str:
        """Return a value as text."""
        return self.values[key.casefold()] if key in self else default

    def number(self, key: str, default: float | None = None) -> float:
        """Return a value as a number; one without a default must be there.

        Raises
        ------
        GeometryError
            If it is missing or no finite number.
        """
        if key not in self:
            if default is None:
                raise GeometryError(f"{self.path}: there is no {key}.", "Add it, or convert the geometry again.")
            return default
        return self._finite(key, self.text(key))

    def optional(self, key: str) -> float | None:
        """Return a value as a number, None if it is not there."""
        return self.number(key) if key in self else None

    def numbers(self, key: str, count: int) -> list[float]:
        """Return the numbers in a value, like those of a list; there must be `count`."""
        found = NUMBER.findall(self.text(key))
        if len(found) != count:
            raise GeometryError(f"{self.path}: {key} is {self.text(key)!r}.", f"Give {count} numbers.")
        return [self._finite(key, text) for text in found]

    def _finite(self, key: str, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise GeometryError(f"{self.path}: {key} is {text!r}.", "Give a number.")
        return number


def positive(path: str | Path, name: str, value: float) -> float:
    """Return a length; GeometryError if it is not positive."""
    if not value > 0:
        raise GeometryError(f"{path}: {name} is {value:g}.", "Give a positive number.")
    return value
