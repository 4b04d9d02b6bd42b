"""What friedel needs of CUDA: arrays, streams and compiled kernels. Everything of cupy is behind this file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Kernel = Callable[..., None]
"""kernel(grid, block, arguments, shared_mem=bytes): starts on the current device and stream."""

_kernels: dict[tuple[Any, ...], Kernel] = {}
_compiling = threading.Lock()


def array_module() -> Any:
    """Return cupy: numpy's functions for arrays on the current device."""
    import cupy

    return cupy


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
        kernel.max_dynamic_shared_size_bytes = kernel.max_dynamic_shared_size_bytes  # compiles now, not at first use
    return kernel  # type: ignore[no-any-return]
