from __future__ import annotations

import pickle

import pytest

from friedel.core import errors
from friedel.core.errors import FileError, FriedelError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FriedelError)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_problem_reaches_another_process_whole(kind: type[FriedelError]) -> None:
    where = ("scan.h5",) if issubclass(kind, FileError) else ()
    error = kind(*where, "is wrong.", "Do this.")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert (copy.problem, copy.remedy, copy.exit_code) == (error.problem, error.remedy, error.exit_code)


def test_a_file_problem_begins_with_the_file() -> None:
    assert str(FileError("scan.h5", "is cut off.", "Copy it again.")) == "scan.h5: is cut off.\nCopy it again."


@pytest.mark.parametrize("kind", KINDS)
def test_exit_codes(kind: type[FriedelError]) -> None:
    expected = 2 if issubclass(kind, errors.InputError) else 130 if kind is errors.CancelledError else 1
    assert kind.exit_code == expected
