"""What can go wrong, said so that the user knows what to do."""

from __future__ import annotations

from pathlib import Path


class FriedelError(Exception):
    """A problem described for the person who has to solve it.

    Parameters
    ----------
    problem : str
        What is wrong, naming the file, key or value.
    remedy : str, optional
        What to do about it.
    """

    exit_code: int = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}" if self.remedy else self.problem


class InputError(FriedelError):
    """The user gave something that cannot be worked with (exit code 2)."""

    exit_code = 2


class ParameterError(InputError):
    """A parameter has a value that is not allowed."""


class DataError(InputError):
    """The data contradict themselves or the parameters: wrong shape, NaN, motors of the wrong length."""


class GeometryError(InputError):
    """A geometry is incomplete or contradicts the detector."""


class FileError(InputError):
    """A file cannot be read: missing, truncated, or not what it says it is.

    Parameters
    ----------
    path : path-like
        The file.
    problem : str
        What is wrong with it; the message starts with the path.
    remedy : str, optional
        What to do about it.
    """

    def __init__(self, path: str | Path, problem: str, remedy: str = "") -> None:
        super().__init__(f"{path}: {problem}", remedy)
        self.path = Path(path)

    def __reduce__(self) -> tuple[type[FileError], tuple[Path, str, str]]:
        return type(self), (self.path, self.problem.removeprefix(f"{self.path}: "), self.remedy)


class OutputError(FileError):
    """A result cannot be written: no permission, no such folder, no space left."""


class DeviceError(InputError):
    """The requested device is not there."""


class MissingDependencyError(InputError):
    """An optional package is needed for what was asked."""


class CancelledError(FriedelError):
    """The user stopped the work; what is complete is kept."""

    exit_code = 130


class WorkerError(FriedelError):
    """A block could not be processed, even after retries."""


class CalibrationError(FriedelError):
    """No geometry could be found, or none that can be trusted."""
