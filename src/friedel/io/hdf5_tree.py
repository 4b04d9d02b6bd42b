"""Walks through an HDF5 file: every object once, links of each kind followed, broken ones told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from friedel.core.errors import FileError

if TYPE_CHECKING:
    import h5py

MAX_DEPTH = 12
MAX_NODES = 100_000


@dataclass(frozen=True)
class BrokenLink:
    """A link whose target is not there.

    Attributes
    ----------
    path : str
        Where the link stands.
    target : str
        ``file::/path`` for a link into another file, a path for one into the same file.
    external : bool
    """

    path: str
    target: str
    external: bool

    def error(self, file: str) -> FileError:
        """Return the error that says what is missing."""
        if self.external:
            return FileError(
                file,
                f"{self.path} is a link to {self.target}, which is missing.",
                "Copy the linked file to the place where the link points.",
            )
        return FileError(file, f"{self.path} is a link to {self.target}, which is missing.", "Choose another dataset.")


@dataclass(frozen=True)
class Node:
    """An object met on a walk: its path as walked, and the group, dataset or broken link itself."""

    path: str
    item: Any

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


def is_dataset(item: Any) -> bool:
    """Whether `item` is an HDF5 dataset with values: one with a null dataspace has no shape and is passed over."""
    import h5py

    return isinstance(item, h5py.Dataset) and item.shape is not None


def is_group(item: Any) -> bool:
    """Whether `item` is an HDF5 group."""
    import h5py

    return isinstance(item, h5py.Group)


def text_attribute(item: Any, name: str, default: str = "") -> str:
    """Return an attribute as text, joined by ":" if it holds several."""
    import numpy as np

    if name not in item.attrs:
        return default
    try:
        value = item.attrs[name]
    except (OSError, TypeError):
        return default
    values = [_text(part) for part in np.atleast_1d(value).ravel()] if not isinstance(value, (str, bytes)) else None
    return ":".join(values) if values is not None else _text(value)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def text_value(dataset: Any, limit: int = 100_000) -> str:
    """Return a dataset that holds one text, or an empty text."""
    if dataset.dtype.kind not in "OS" or dataset.size != 1 or dataset.dtype.itemsize > limit:
        return ""
    try:
        value = dataset[()]
    except (OSError, TypeError):
        return ""
    return _text(value.ravel()[0] if hasattr(value, "ravel") else value)


def identity(item: Any) -> tuple[int, int]:
    """Return what two paths to the same object have in common."""
    import h5py

    information = h5py.h5o.get_info(item.id)
    return information.fileno, information.addr


def linked_path(file: str, name: str) -> Path:
    """Return where HDF5 looks for a file that `file` names: beside it, then, where it is a link, beside its target.

    Parameters
    ----------
    file : str
        The file with the link, as it was opened.
    name : str
        What the link says; an absolute path stays as it is.
    """
    places = (Path(file).parent / name, Path(file).resolve().parent / name)
    return next((place for place in places if place.exists()), places[0])


def resolve_link(group: h5py.Group, name: str) -> Any:
    """Return the object that `group` calls `name`, or a `BrokenLink`."""
    import h5py

    link = group.get(name, getlink=True)
    path = f"{group.name.rstrip('/')}/{name}"
    try:
        return group[name]
    except (KeyError, OSError, RuntimeError):
        if isinstance(link, h5py.ExternalLink):
            return BrokenLink(path, f"{linked_path(group.file.filename, link.filename)}::{link.path}", True)
        return BrokenLink(path, str(getattr(link, "path", "?")), False)


def walk(group: h5py.Group, prefix: str | None = None, max_depth: int = MAX_DEPTH) -> Iterator[Node]:
    """Yield every object below `group`, depth first, each once.

    Parameters
    ----------
    group : h5py.Group
    prefix : str, optional
        Path of `group` as it was walked; by default its own name.
    max_depth : int
        Levels to go down.

    Yields
    ------
    Node
        At most ``MAX_NODES``.
    """
    seen = {identity(group)}
    start = (group.name if prefix is None else prefix).rstrip("/")
    for count, node in enumerate(_walk(group, start, max_depth, seen)):
        if count >= MAX_NODES:
            return
        yield node


def _walk(group: h5py.Group, prefix: str, depth: int, seen: set[tuple[int, int]]) -> Iterator[Node]:
    for name in group:
        item = resolve_link(group, name)
        path = f"{prefix}/{name}"
        if isinstance(item, BrokenLink):
            yield Node(path, item)
            continue
        key = identity(item)
        if key in seen:
            continue
        seen.add(key)
        yield Node(path, item)
        if is_group(item) and depth > 1:
            yield from _walk(item, path, depth - 1, seen)
