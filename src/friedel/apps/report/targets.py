"""Where a report or a picture may be written: under a name of its kind, and never over what it is drawn from."""

from __future__ import annotations

from pathlib import Path

from friedel.core.errors import ParameterError
from friedel.core.files import exists_already
from friedel.core.provenance import refuse_to_replace_inputs

PAGES = (".html", ".htm")
PICTURES = (".png", ".svg", ".pdf")


def check_target(
    target: str | Path, endings: tuple[str, ...], result: str | Path | None = None, overwrite: bool = False
) -> None:
    """Make sure that `target` may be written, before the time that work and drawing take.

    Parameters
    ----------
    target : path-like
        The page or picture to write.
    endings : tuple of str
        `PAGES` or `PICTURES`.
    result : path-like, optional
        The file that it is drawn from, or will be.
    overwrite : bool
        Whether to replace a file that exists.

    Raises
    ------
    ParameterError
        If the name has another ending, or is that of the result.
    OutputError
        If the file exists and may not be replaced.
    """
    path = Path(target)
    if path.suffix.lower() not in endings:
        kind = "report" if endings is PAGES else "picture"
        raise ParameterError(f"{target}: a {kind} cannot have this name.", f"Let it end in {' or '.join(endings)}.")
    if result is not None:
        if path.resolve() == Path(result).resolve():
            raise ParameterError(f"{target}: is the result itself.", "Choose another name for what is drawn from it.")
        refuse_to_replace_inputs([path], [result])
    if path.exists() and not overwrite:
        raise exists_already(path)
