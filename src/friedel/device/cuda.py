"""What friedel needs of CUDA: arrays, memory, streams and compiled kernels. Everything of cupy is behind this file."""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DeviceError, MissingDependencyError, ParameterError

MEMORY_VARIABLE = "FRIEDEL_GPU_MEMORY"
"""Bytes of a GPU's memory that this process may take; with a suffix KiB, MiB or GiB also so many of these."""

Kernel = Callable[..., None]
"""kernel(grid, block, arguments, shared_mem=bytes): starts on the current device and stream."""

_kernels: dict[tuple[Any, ...], Kernel] = {}
_compiling = threading.Lock()


def array_module() -> Any:
    """Return cupy: numpy's functions for arrays on the current device.

    Raises
    ------
    MissingDependencyError
        If cupy is not installed.
    """
    try:
        import cupy
    except ImportError:
        raise MissingDependencyError(
            "GPUs are used through cupy, which is not installed.", "pip install 'friedel[cuda]', or use --device cpu."
        ) from None
    return cupy


def new_stream(device: int) -> Any:
    """Return a stream of a device that does not wait for others."""
    cupy = array_module()
    with cupy.cuda.Device(device):
        return cupy.cuda.Stream(non_blocking=True)


def wait_for(stream: Any) -> None:
    """Wait until a stream has done what was put on it; other threads go on meanwhile."""
    stream.synchronize()


def free_memory(device: int) -> int:
    """Return how many bytes of a device's memory can be taken: what is free, or less if ``FRIEDEL_GPU_MEMORY`` says so.

    Raises
    ------
    ParameterError
        If the variable cannot be understood.
    """
    cupy = array_module()
    with cupy.cuda.Device(device):
        pool = cupy.get_default_memory_pool()
        free = int(cupy.cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())
        limit = memory_limit()
        return free if limit is None else max(min(free, limit - int(pool.used_bytes())), 0)


def memory_limit() -> int | None:
    """Return what ``FRIEDEL_GPU_MEMORY`` allows, in bytes; None if it is not set.

    Raises
    ------
    ParameterError
        If it cannot be understood.
    """
    text = os.environ.get(MEMORY_VARIABLE)
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMG]iB)?", text.strip())
    if match is None:
        raise ParameterError(f"{MEMORY_VARIABLE} is {text!r}.", "Give a number of bytes, or a size like 4GiB.")
    return int(float(match[1]) * {None: 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[match[2]])


def pinned_memory(n_bytes: int) -> NDArray[np.uint8]:
    """Return host memory from and to which a device copies at the full speed of the bus, by itself.

    Raises
    ------
    DeviceError
        If there is not enough.
    """
    cupy = array_module()
    try:
        memory = cupy.cuda.alloc_pinned_memory(max(n_bytes, 1))
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(
            f"{n_bytes} bytes of host memory could not be pinned for the GPU ({error}).", "Use --device cpu."
        ) from None
    return np.frombuffer(memory, np.uint8, n_bytes)


_shelves: weakref.WeakValueDictionary[int, NDArray[np.uint8]] = weakref.WeakValueDictionary()
"""Pinned memory that holds buffers, by its address."""


def pinned_buffers(buffers: Sequence[bytes | memoryview]) -> tuple[memoryview, ...]:
    """Return copies of buffers that a device fetches by itself: no thread has to touch them on their way.

    Parameters
    ----------
    buffers : sequence of bytes-like
        Compressed frames, say. The copies lie behind one another, each at a multiple of 16 bytes.

    Raises
    ------
    DeviceError
        If there is not enough memory that can be pinned.
    """
    ends = np.cumsum([-(-len(buffer) // 16) * 16 for buffer in buffers], dtype=np.int64).tolist()
    shelf = pinned_memory(ends[-1] if ends else 0)
    _shelves[shelf.ctypes.data] = shelf
    copies = []
    for start, buffer in zip([0, *ends], buffers, strict=False):
        place = shelf[start : start + len(buffer)]
        place[:] = np.frombuffer(buffer, np.uint8)
        copies.append(place.data)
    return tuple(copies)


def shelf_of(
    addresses: NDArray[np.uint64], sizes: NDArray[np.uint64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
    """Return the pinned memory that holds all buffers, and where each begins in it; None if none does.

    Parameters
    ----------
    addresses, sizes : ndarray of uint64, shape (n,)
        Where each buffer lies, and its bytes.
    """
    if not len(addresses):
        return None
    first, last = int(addresses.min()), int((addresses + sizes).max())
    for start, shelf in list(_shelves.items()):
        if start <= first and last <= start + shelf.nbytes:
            return shelf, (addresses - np.uint64(start)).astype(np.int64)
    return None


def to_device(target: Any, source: NDArray[Any]) -> None:
    """Copy host memory to an array on the current device, in the order of the current stream.

    The host memory must be pinned, and must not change before the stream has got so far.
    """
    cupy = array_module()
    stream = cupy.cuda.get_current_stream()
    kind = cupy.cuda.runtime.memcpyHostToDevice
    cupy.cuda.runtime.memcpyAsync(target.data.ptr, source.ctypes.data, source.nbytes, kind, stream.ptr)


def to_host(target: NDArray[Any], source: Any) -> None:
    """Copy an array on the current device to pinned host memory, in the order of the current stream."""
    cupy = array_module()
    stream = cupy.cuda.get_current_stream()
    kind = cupy.cuda.runtime.memcpyDeviceToHost
    cupy.cuda.runtime.memcpyAsync(target.ctypes.data, source.data.ptr, target.nbytes, kind, stream.ptr)


@contextmanager
def using(device: int, stream: Any = None) -> Iterator[None]:
    """Make a device, and a stream of it, the current ones."""
    import cupy

    with cupy.cuda.Device(device):
        if stream is None:
            yield
        else:
            with stream:
                yield


@dataclass(frozen=True)
class Limits:
    """What a device has.

    Attributes
    ----------
    multiprocessors : int
    shared_bytes : int
        Shared memory that one block of threads can have.
    bulk_copies : bool
        Whether it copies to shared memory in bulk (compute capability 9.0).
    """

    multiprocessors: int
    shared_bytes: int
    bulk_copies: bool


@cache
def limits(device: int) -> Limits:
    """Return what a device has."""
    import cupy

    attributes = cupy.cuda.Device(device).attributes
    return Limits(
        int(attributes["MultiProcessorCount"]),
        int(attributes["MaxSharedMemoryPerBlockOptin"]),
        int(cupy.cuda.Device(device).compute_capability) >= 90,
    )


def load_kernel(source: Path, name: str, defines: Mapping[str, int | str], device: int) -> Kernel:
    """Return a kernel of a .cu file, compiled for a device with these macros; compiled once for each process.

    Parameters
    ----------
    source : Path
    name : str
        Of a function that is ``extern "C" __global__``.
    defines : dict
        Macros by name.
    device : int
    """
    key = (source, name, tuple(sorted(defines.items())), device)
    with _compiling:
        if key not in _kernels:
            _kernels[key] = _compiled(source, name, defines, device)
        return _kernels[key]


def _compiled(source: Path, name: str, defines: Mapping[str, int | str], device: int) -> Kernel:
    import cupy

    options = ("--std=c++17", *(f"-D{macro}={value}" for macro, value in sorted(defines.items())))
    with cupy.cuda.Device(device):
        kernel = cupy.RawKernel(source.read_text(encoding="utf-8"), name, options)
        # All that a block may have, instead of the 48 KiB that need no asking. This compiles now, not at first use.
        kernel.max_dynamic_shared_size_bytes = limits(device).shared_bytes - kernel.shared_size_bytes
    return kernel  # type: ignore[no-any-return]
