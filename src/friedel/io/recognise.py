"""What kind of file it is: by its content first, then by its name."""

from __future__ import annotations

import bz2
import gzip
import re
from pathlib import Path
from typing import Literal

from friedel.core.errors import FileError, ParameterError

from .handles import stamp_of

Kind = Literal["hdf5", "cbf", "edf", "tiff", "numpy", "poni", "text", "other", "empty"]
HEAD = 4096
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
NAMES: dict[str, Kind] = {
    ".cbf": "cbf",
    ".edf": "edf",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".npy": "numpy",
    ".poni": "poni",
    ".xy": "text",
    ".dat": "text",
    ".chi": "text",
    ".fxye": "text",
    ".xye": "text",
    ".txt": "text",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".nxs": "hdf5",
}


HDF5_ENDINGS = (".h5", ".hdf5", ".nxs", ".nx", ".nx5", ".hdf")
"""Of results."""


def check_ending(output: str | Path | None, *others: str) -> None:
    """Check that the name of a result says what kind of file it will be.

    Parameters
    ----------
    output : path-like or None
    *others : str
        Endings that are known beside those of HDF5.

    Raises
    ------
    ParameterError
        If it has another ending, or none.
    """
    ending = "" if output is None else Path(output).suffix.lower()
    known = (*HDF5_ENDINGS, *others)
    if output is not None and ending not in known:
        raise ParameterError(
            f"output is {output}: results cannot be written as {ending or 'a file without an ending'}.",
            f"Let the name end in {', '.join(known)}.",
        )


def split_location(text: str | Path) -> tuple[str, str | None]:
    """Split ``file.h5::/path/in/file`` into the file and the path in it (None if there is none)."""
    path, separator, inside = str(text).partition("::")
    return path, (inside or None) if separator else None


def natural_key(text: str) -> list[tuple[int, int | str]]:
    """Return the key that sorts ``frame_2`` before ``frame_10``."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text) if part]


def read_whole(path: str) -> bytes:
    """Return the content of a file, uncompressed if its name or signature says gzip or bzip2.

    Raises
    ------
    FileError
        If it cannot be read or the compressed stream is damaged.
    """
    stamp_of(path)
    try:
        content = Path(path).read_bytes()
        if content.startswith(b"\x1f\x8b"):
            return gzip.decompress(content)
        return bz2.decompress(content) if content.startswith(b"BZh") else content
    except (OSError, EOFError, ValueError) as error:
        raise FileError(path, f"cannot be read: {error}.", "Check the permissions; copy the file again.") from None


def head_of(path: str, size: int = HEAD) -> bytes:
    """Return the first bytes of a file, uncompressed.

    Raises
    ------
    FileError
        If it cannot be read.
    """
    stamp_of(path)
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(size)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(path) as unzipped:
                return unzipped.read(size)
        if head.startswith(b"BZh"):
            with bz2.open(path) as unzipped:
                return unzipped.read(size)
    except (OSError, EOFError) as error:
        raise FileError(path, f"cannot be read: {error}.", "Check the permissions; copy the file again.") from None
    return head


def recognise(path: str) -> Kind:
    """Return the kind of the file at `path`.

    Raises
    ------
    FileError
        If it cannot be read.
    """
    head = head_of(path)
    if not head:
        return "empty"
    if head.startswith(HDF5_SIGNATURE) or _has_user_block(path):
        return "hdf5"
    if head.startswith(b"###CBF"):
        return "cbf"
    if head.startswith(TIFF_SIGNATURES):
        return "tiff"
    if head.startswith(b"\x93NUMPY"):
        return "numpy"
    if head.lstrip()[:1] == b"{" and b"Dim_1" in head:
        return "edf"
    if re.search(rb"^\s*(poni_version|poni1)\s*:", head, re.IGNORECASE | re.MULTILINE):
        return "poni"
    name = Path(path.removesuffix(".gz").removesuffix(".bz2"))
    by_name = NAMES.get(name.suffix.lower(), "other")
    return "text" if by_name == "other" and _is_text(head) else by_name


def _has_user_block(path: str) -> bool:
    """Whether the HDF5 signature stands behind a user block (at 512, 1024, 2048 bytes)."""
    with Path(path).open("rb") as stream:
        start = stream.read(2048 + len(HDF5_SIGNATURE))
    return any(start[offset:].startswith(HDF5_SIGNATURE) for offset in (512, 1024, 2048))


def _is_text(head: bytes) -> bool:
    return b"\x00" not in head and all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)
