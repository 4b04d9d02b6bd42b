"""The one value that says where code runs: "cpu", "cuda", "cuda:1" or "auto"."""

from __future__ import annotations

import os
import re

from friedel.core.errors import DeviceError

DEVICE_VARIABLE = "FRIEDEL_DEVICE"


def resolve_device(name: str | None = None) -> str:
    """Return the device to use, "cpu" or "cuda:N".

    Parameters
    ----------
    name : str, optional
        "cpu", "cuda", "cuda:N" or "auto"; by default the variable ``FRIEDEL_DEVICE``, else "cpu".

    Raises
    ------
    DeviceError
        If the name is none of these or the GPU is not there.
    """
    wanted = name or os.environ.get(DEVICE_VARIABLE) or "cpu"
    if wanted == "cpu":
        return "cpu"
    if wanted == "auto":
        return "cuda:0" if gpu_count() else "cpu"
    match = re.fullmatch(r"cuda(?::(\d+))?", wanted)
    if match is None:
        raise DeviceError(f"There is no device {wanted!r}.", 'Use "cpu", "cuda", "cuda:N" or "auto".')
    index, available = int(match[1] or 0), gpu_count()
    if index >= available:
        raise DeviceError(
            f"Device {wanted!r} is not there: {available} CUDA devices were found.", 'Use --device cpu or "auto".'
        )
    return f"cuda:{index}"


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
