"""CBF files with one byte-offset image: the header is parsed here, the payload is handed on as it is.

Variants met: PILATUS miniCBF, full imgCIF with loops before the image, CBFlib without any header, line ends of either
kind. Sources: imgCIF dictionary 1.5 (binary sections), Dectris' miniCBF description.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

import numpy as np

from friedel.core.errors import FileError

from .handles import Descriptor, stamp_of
from .recognise import head_of, read_whole

SECTION = b"--CIF-BINARY-FORMAT-SECTION--"
MARKER = b"\x0c\x1a\x04\xd5"
HEADER_STEP = 16384
HEADER_LIMIT = 4 * 1024**2
ELEMENT_TYPES = {
    "signed 8-bit integer": "i1",
    "unsigned 8-bit integer": "u1",
    "signed 16-bit integer": "i2",
    "unsigned 16-bit integer": "u2",
    "signed 32-bit integer": "i4",
    "unsigned 32-bit integer": "u4",
}


@dataclass(frozen=True)
class CbfHeader:
    """Where the image of a CBF file lies and how it is coded.

    Attributes
    ----------
    shape : tuple of int
        (rows, columns).
    dtype : numpy.dtype
    offset, size : int
        Payload in bytes from the start of the file.
    conversion : str
        Lower case, "x-cbf_byte_offset".
    checksum : str
        Base64 of the payload's MD5, empty if the file has none.
    text : str
        All that stands before the binary section.
    """

    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    offset: int
    size: int
    conversion: str
    checksum: str
    text: str

    @property
    def contents(self) -> dict[str, str]:
        """The ``# Key value`` lines of a PILATUS header."""
        block = re.search(r"_array_data\.header_contents\s*\n;(.*?)\n;", self.text, re.DOTALL)
        lines = re.findall(r"^#\s*([A-Za-z_]\w*)[:\s=]+(.+?)\s*$", block.group(1) if block else "", re.MULTILINE)
        return dict(lines)


def parse_header(head: bytes, path: str) -> CbfHeader | None:
    """Parse the beginning of a CBF file; return None if it must be longer.

    Raises
    ------
    FileError
        If the header lacks what is needed to read the image.
    """
    section = head.find(SECTION)
    marker = head.find(MARKER, section)
    if section < 0 or marker < 0:
        return None
    mime = re.sub(r"\r?\n[ \t]+", " ", head[section:marker].decode("latin-1"))
    fields = {key.lower(): value.strip() for key, value in re.findall(r"^([\w-]+):[ \t]*(.*)$", mime, re.MULTILINE)}
    conversion = re.search(r'conversions="?([\w-]+)"?', fields.get("content-type", ""))
    try:
        rows = int(fields["x-binary-size-second-dimension"])
        columns = int(fields["x-binary-size-fastest-dimension"])
        size = int(fields["x-binary-size"])
        type_name = fields.get("x-binary-element-type", "signed 32-bit integer").strip('"').lower()
        dtype = np.dtype(ELEMENT_TYPES[type_name])
        if min(rows, columns, size) < 1:
            raise ValueError(f"an image of {rows} x {columns} pixels in {size} bytes")
    except (KeyError, ValueError) as error:
        raise FileError(
            path, f"the CBF header is incomplete or has an unknown value: {error}.", "Write the file again."
        ) from None
    return CbfHeader(
        (rows, columns),
        dtype,
        marker + len(MARKER),
        size,
        conversion.group(1).lower() if conversion else "none",
        fields.get("content-md5", ""),
        head[:section].decode("latin-1"),
    )


def read_header(path: str) -> CbfHeader:
    """Read the header only.

    Raises
    ------
    FileError
        If the file is no CBF or ends inside its header.
    """
    length = HEADER_STEP
    size = stamp_of(path).size
    while True:
        head = head_of(path, length)
        header = parse_header(head, path)
        if header is not None:
            return header
        if len(head) < length or length > HEADER_LIMIT:
            raise _no_image(path, size)
        length *= 4


def read_payload(path: str, *, check: bool = False) -> tuple[CbfHeader, memoryview]:
    """Read the file once; return its header and the coded image.

    Parameters
    ----------
    path : str
        May be compressed with gzip or bzip2.
    check : bool
        Whether to compare the payload with its MD5 checksum (it costs more than decoding).

    Raises
    ------
    FileError
        If the file is truncated, or its checksum differs.
    """
    content = _content(path)
    header = parse_header(content, path)
    if header is None:
        raise _no_image(path, len(content))
    payload = memoryview(content)[header.offset : header.offset + header.size]
    if len(payload) < header.size:
        raise FileError(
            path,
            f"the CBF file is truncated: its image takes {header.size} bytes, only {len(payload)} are there.",
            "Copy it again, or wait until it is written completely.",
        )
    if check and header.checksum:
        found = base64.b64encode(hashlib.md5(payload, usedforsecurity=False).digest()).decode()
        if found != header.checksum:
            raise FileError(
                path, f"the image has the checksum {found}, its header says {header.checksum}.", "Copy the file again."
            )
    return header, payload


def _content(path: str) -> bytes:
    if path.endswith((".gz", ".bz2")):
        return read_whole(path)
    size = stamp_of(path).size
    return Descriptor(path).read(0, size, "the image")


def _no_image(path: str, size: int) -> FileError:
    return FileError(
        path,
        f"no image begins in this CBF file of {size} bytes.",
        "The file is truncated or no image: copy it again, or leave it out.",
    )
