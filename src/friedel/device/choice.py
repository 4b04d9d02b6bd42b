"""The one value that says where code runs: "cpu", "cuda", "cuda:1", "cuda:0,1", "cuda:all" or "auto"."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable

from friedel.core.errors import DeviceError, MissingDependencyError

DEVICE_VARIABLE = "FRIEDEL_DEVICE"


def resolve_device(name: str | None = None) -> str:
    """Return the device to use, "cpu", "cuda:N" or, for several GPUs that share the work, "cuda:N,M".

    Parameters
    ----------
    name : str, optional
        "cpu"; "cuda" for the first GPU, "cuda:N", "cuda:N,M" or "cuda:all"; "auto" for all GPUs if there are any, else
        the CPU. By default the variable ``FRIEDEL_DEVICE``, else "cpu".

    Raises
    ------
    DeviceError
        If the name is none of these or a GPU is not there.
    MissingDependencyError
        If a GPU is asked for by name and cupy is not installed.
    """
    wanted = name or os.environ.get(DEVICE_VARIABLE) or "cpu"
    if wanted == "cpu":
        return "cpu"
    if wanted == "auto":
        return _numbered(range(gpu_count())) if gpu_count() else "cpu"
    match = re.fullmatch(r"cuda(?::(all|\d+(?:,\d+)*))?", wanted)
    if match is None:
        raise DeviceError(
            f"There is no device {wanted!r}.", 'Use "cpu", "cuda", "cuda:N", "cuda:N,M", "cuda:all" or "auto".'
        )
    available = gpu_count()
    if not available and not has_cupy():
        raise MissingDependencyError(
            "GPUs are used through cupy, which is not installed.", "pip install 'friedel[cuda]', or use --device cpu."
        )
    numbers = range(max(available, 1)) if match[1] == "all" else sorted({int(n) for n in (match[1] or "0").split(",")})
    if numbers[-1] >= available:
        raise DeviceError(
            f"Device {wanted!r} is not there: {available} CUDA devices were found.", 'Use --device cpu or "auto".'
        )
    return _numbered(numbers)


def gpu_numbers(device: str) -> tuple[int, ...]:
    """Return the numbers of the GPUs that a resolved device names; none for the CPU."""
    return tuple(int(number) for number in device.removeprefix("cuda:").split(",")) if device != "cpu" else ()


def _numbered(numbers: Iterable[int]) -> str:
    return "cuda:" + ",".join(map(str, numbers))


def has_cupy() -> bool:
    """Whether cupy is installed."""
    return importlib.util.find_spec("cupy") is not None


def gpu_count() -> int:
    """Return how many CUDA devices cupy can use; 0 without cupy."""
    try:
        import cupy
    except ImportError:
        return 0
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0
