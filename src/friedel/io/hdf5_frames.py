"""Finds the frames in an HDF5 file: NeXus, EIGER, LImA, Lambda, BLISS, or whatever holds images."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from friedel.core.errors import DataError, FileError

from .hdf5_tree import BrokenLink, Node, is_dataset, is_group, resolve_link, text_attribute, walk
from .recognise import natural_key

if TYPE_CHECKING:
    import h5py

SERIES = re.compile(r"data_\d{6}$")
AUXILIARY = re.compile(r"mask|flat|dark|white|background|error|gain|offset|pedestal|threshold", re.IGNORECASE)
SMALLEST_IMAGE = 16
LISTED = 12


@dataclass(frozen=True)
class Stack:
    """Datasets that hold one stack of frames, one after the other.

    Attributes
    ----------
    paths : tuple of str
        In order; more than one for a series ``data_000001``, ``data_000002``, ... or a pattern.
    shape : tuple of int
        Shape of the first one.
    dtype : numpy.dtype
    size : int
        Elements in all.
    signal : bool
        Whether a NeXus group names it as its signal.
    virtual : bool
        Whether it is a virtual dataset: it joins others that may be found as well.
    """

    paths: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: Any
    size: int
    signal: bool = False
    virtual: bool = False

    @property
    def label(self) -> str:
        """How a person would name it."""
        shape = " x ".join(map(str, self.shape))
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.paths[0]}{more} ({shape}, {self.dtype})"

    @property
    def rank(self) -> tuple[bool, bool, int, bool, bool]:
        """What makes it likely to be the frames: raw counts, no correction image, the most data, a signal."""
        auxiliary = any(AUXILIARY.search(part) for part in self.paths[0].split("/")[-1:])
        return self.dtype.kind in "iu", not auxiliary, self.size, self.virtual, self.signal


def find_stack(file: h5py.File, dataset: str | None) -> Stack:
    """Return the frames of `file`.

    Parameters
    ----------
    file : h5py.File
    dataset : str or None
        Path of a dataset, of a group that holds one, or a pattern like ``/*.1/measurement/eiger``.

    Raises
    ------
    DataError
        If there are none at that path, or several equally likely ones; the message lists them.
    FileError
        If a link to them is broken.
    """
    if dataset is not None and any(character in dataset for character in "*?["):
        return _match_pattern(file, dataset)
    if dataset is not None:
        item = _follow(file, dataset)
        if is_dataset(item):
            _check_images(file, dataset, item)
            return _stack((dataset,), (item,))
        if not is_group(item):
            raise DataError(f"{file.filename}::{dataset} holds no values.", "Choose another dataset.")
        return _best(file, list(stacks(item, dataset)), f"{dataset} of {file.filename}")
    default = _default_stack(file)
    if default is not None and default.dtype.kind in "iu":
        return default
    found = list(stacks(file, "/"))
    if default is not None and not any(stack.rank[:2] == (True, True) for stack in found):
        return default
    return _best(file, found, file.filename)


def _check_images(file: h5py.File, path: str, item: h5py.Dataset) -> None:
    if is_image_stack(item, explicit=True):
        return
    where = f"{file.filename}::{path}"
    if len(item.shape) >= 2 and item.size == 0 and item.dtype.kind in "iuf":
        raise DataError(f"{where} holds 0 frames ({_shown(item.shape)}).", "Wait until frames are written.")
    raise DataError(
        f"{where} is no stack of images: it has the shape ({_shown(item.shape)}) and the type {item.dtype}.",
        "friedel info shows what the file holds; choose another dataset.",
    )


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one value"


def _stack(paths: tuple[str, ...], items: tuple[Any, ...], signal: bool = False) -> Stack:
    return Stack(paths, items[0].shape, items[0].dtype, sum(item.size for item in items), signal, items[0].is_virtual)


def _follow(file: h5py.File, path: str) -> Any:
    """Return the object at `path`, naming the first part that is missing or broken."""
    item: Any = file
    for part in [part for part in path.split("/") if part]:
        if not is_group(item) or part not in item:
            candidates = ", ".join(stack.label for stack in list(stacks(file, "/"))[:LISTED]) or "none"
            raise DataError(
                f"{file.filename}: there is no dataset {path} ({part!r} is not in {item.name}).",
                f"Stacks of images in this file: {candidates}.",
            )
        item = resolve_link(item, part)
        if isinstance(item, BrokenLink):
            raise item.error(file.filename)
    return item


def _match_pattern(file: h5py.File, pattern: str) -> Stack:
    matched = [("", file)]
    for part in [part for part in pattern.split("/") if part]:
        matched = [
            (f"{path}/{name}", resolve_link(item, name))
            for path, item in matched
            if is_group(item)
            for name in sorted(fnmatch.filter(item, part), key=natural_key)
        ]
    for _, item in matched:
        if isinstance(item, BrokenLink):
            raise item.error(file.filename)
    found = [(path, item) for path, item in matched if is_dataset(item) and is_image_stack(item, explicit=True)]
    if not found:
        candidates = ", ".join(stack.label for stack in list(stacks(file, "/"))[:LISTED]) or "none"
        raise DataError(f"{file.filename}: nothing matches {pattern}.", f"Stacks of images in this file: {candidates}.")
    return _stack(tuple(path for path, _ in found), tuple(item for _, item in found))


def is_image_stack(item: Any, *, explicit: bool = False) -> bool:
    """Whether a dataset can be frames: numbers, two dimensions of an image behind at least one more."""
    least = 2 if explicit else 3
    return item.dtype.kind in "iuf" and len(item.shape) >= least and item.size > 0


def _default_stack(file: h5py.File) -> Stack | None:
    """Follow NeXus' ``default`` and ``signal`` attributes from the root."""
    group: Any = file
    path = ""
    while True:
        name = text_attribute(group, "default")
        if not name or name not in group:
            break
        group = resolve_link(group, name)
        path = f"{path}/{name}"
        if not is_group(group):
            return None
    signal = signal_name(group)
    if signal is None:
        return None
    item = resolve_link(group, signal)
    if isinstance(item, BrokenLink):
        raise item.error(file.filename)
    return _stack((f"{path}/{signal}",), (item,), signal=True) if is_image_stack(item) else None


def signal_name(group: Any) -> str | None:
    """Return the name of the signal of an NXdata group: its attribute, or the dataset that says ``signal=1``."""
    name = text_attribute(group, "signal")
    if name and name in group:
        return name
    for key in group:
        item = resolve_link(group, key)
        if is_dataset(item) and text_attribute(item, "signal") == "1":
            return str(key)
    return None


def stacks(group: Any, prefix: str) -> Iterator[Stack]:
    """Yield every stack of images below `group`; a series ``data_000001``, ... counts as one.

    Raises
    ------
    FileError
        If a member of a series is a broken link.
    """
    series: dict[str, list[Node]] = {}
    signals: set[str] = set()
    flat: list[Node] = []
    for node in walk(group, prefix.rstrip("/")):
        if is_group(node.item):
            signal = text_attribute(node.item, "signal")
            signals.update({f"{node.path}/{signal}"} if signal else set())
        elif SERIES.search(node.name):
            series.setdefault(node.path.rpartition("/")[0], []).append(node)
        elif is_dataset(node.item) and is_image_stack(node.item):
            yield _stack((node.path,), (node.item,), node.path in signals)
        elif is_dataset(node.item) and is_image_stack(node.item, explicit=True):
            flat.append(node)
    for nodes in series.values():
        for node in nodes:
            if isinstance(node.item, BrokenLink):
                raise node.item.error(group.file.filename)
        ordered = sorted(nodes, key=lambda node: natural_key(node.name))
        ordered = [node for node in ordered if is_dataset(node.item) and is_image_stack(node.item)]
        if ordered:
            yield _stack(tuple(node.path for node in ordered), tuple(node.item for node in ordered), signal=True)
    for node in flat:
        if node.item.dtype.kind in "iu" and min(node.item.shape[-2:]) >= SMALLEST_IMAGE:
            yield _stack((node.path,), (node.item,), node.path in signals)


def _best(file: h5py.File, found: list[Stack], where: str) -> Stack:
    ranked = sorted(found, key=lambda stack: stack.rank, reverse=True)
    if not ranked:
        broken = next((node.item for node in walk(file) if isinstance(node.item, BrokenLink)), None)
        if broken is not None:
            raise broken.error(file.filename)
        for node in walk(file):
            if is_dataset(node.item) and len(node.item.shape) > 2 and node.item.size == 0:
                _check_images(file, node.path, node.item)
        raise FileError(
            file.filename, "holds no stack of images.", "friedel info shows what it holds; name one as FILE::/path."
        )
    # A single image never competes with a stack.
    deepest = [stack for stack in ranked if len(stack.shape) > 2] or ranked
    rivals = [stack for stack in deepest if stack.rank == deepest[0].rank]
    if len(rivals) > 1:
        names = ", ".join(stack.label for stack in rivals[:LISTED])
        raise DataError(
            f"{where} holds {len(rivals)} equally large stacks of images: {names}.",
            f"Name the one you mean, for example {file.filename}::{rivals[0].paths[0]}; "
            "a pattern like ::/*.1/measurement/eiger takes all scans as one stack.",
        )
    return deepest[0]
