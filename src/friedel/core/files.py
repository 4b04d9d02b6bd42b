"""Files that are written: whole or not at all, and never in place of another one unless that was asked for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputError


def exists_already(path: str | Path) -> OutputError:
    """Return the refusal to replace a file."""
    return OutputError(path, "exists already.", "Choose another name, or allow to overwrite it (--overwrite).")


def refuse_existing(paths: Iterable[str | Path | None], overwrite: bool = False) -> None:
    """Make sure that no file is there already, unless files may be replaced; None is no file.

    Raises
    ------
    OutputError
        If one is.
    """
    for path in paths:
        if path is not None and not overwrite and Path(path).exists():
            raise exists_already(path)


def check_folder(path: str | Path) -> None:
    """Make sure that a file can be written at `path`, before any work.

    Raises
    ------
    OutputError
        If it cannot.
    """
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise OutputError(path, f"there is no folder {folder}.", "Create it, or write elsewhere.")
    if Path(path).is_dir():
        raise OutputError(path, "is a folder.", "Give the name of a file in it.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(path, f"the folder {folder} cannot be written.", "Check its permissions, or write elsewhere.")


def check_outputs(paths: Iterable[str | Path | None], overwrite: bool = False) -> None:
    """Make sure that all files can be written and none is replaced that may not be, before any work.

    Raises
    ------
    OutputError
        If one cannot.
    """
    given = [path for path in paths if path is not None]
    refuse_existing(given, overwrite)
    for path in given:
        check_folder(path)


def output_error(path: str | Path, error: OSError) -> OutputError:
    """Return what an error of the system or of HDF5 means to the user."""
    folder = Path(path).absolute().parent
    text = error.strerror or str(error)
    if error.errno == errno.ENOSPC or "No space left" in str(error):
        return OutputError(path, "there is no space left on the disk.", "Free some space, or write elsewhere.")
    if not folder.is_dir():
        return OutputError(path, f"there is no folder {folder}.", "Create it, or write elsewhere.")
    return OutputError(path, f"cannot be written: {text}.", f"Check the permissions of {folder}.")


@contextmanager
def replacing(
    path: str | Path, *, overwrite: bool = True, release: Callable[[Path], None] | None = None
) -> Iterator[str]:
    """Lend a temporary path beside `path`; on success it is made durable and takes the place of `path`.

    Parameters
    ----------
    path : path-like
    overwrite : bool
        Whether a file that exists may be replaced.
    release : callable, optional
        Called with the path just before it is replaced, to let go of what is open of it.

    Raises
    ------
    OutputError
        If it cannot be written, or `path` exists and may not be replaced.
    """
    refuse_existing([path], overwrite)
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb"):
            pass
        yield str(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        if release is not None:
            release(final)
        temporary.replace(final)
    except OSError as error:
        raise output_error(path, error) from None
    except OutputError as error:
        if error.path != temporary:
            raise
        # Lent to somebody who writes in this way too: the user knows the name of the file only.
        raise OutputError(path, error.problem.removeprefix(f"{temporary}: "), error.remedy) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a file so that no reader ever meets half of it; text as UTF-8.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with replacing(path) as temporary:
        Path(temporary).write_bytes(content.encode() if isinstance(content, str) else content)
