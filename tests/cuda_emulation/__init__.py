"""Runs the CUDA kernels on the processor, so that what they compute is tested where there is no GPU.

`emulate` puts numpy in the place of cupy, and a compiled C++ twin of each kernel in the place of the GPU's. Slow; for
small cases. It cannot show races, alignment faults or a lack of registers: these need a GPU and its sanitizer.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from friedel.device import cuda

HERE = Path(__file__).parent
_FOLDER = Path(tempfile.gettempdir()) / "friedel-cuda-emulation"


def emulate(monkeypatch):
    """Let kernels run on the processor for one test; skips where there is no compiler."""
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler (g++) to emulate a GPU with")
    numpy_as_cupy = types.SimpleNamespace(**{name: getattr(np, name) for name in dir(np) if not name.startswith("__")})
    numpy_as_cupy.asnumpy = np.asarray
    monkeypatch.setattr(cuda, "array_module", lambda: numpy_as_cupy)
    monkeypatch.setattr(cuda, "using", _using)
    monkeypatch.setattr(cuda, "_compiled", _compiled)
    monkeypatch.setattr(cuda, "limits", lambda device: cuda.Limits(132, 227 * 1024, True))
    monkeypatch.setattr(cuda, "_kernels", {})
    monkeypatch.setattr(cuda, "new_stream", lambda device: None)
    monkeypatch.setattr(cuda, "wait_for", lambda stream: None)
    monkeypatch.setattr(cuda, "free_memory", lambda device: cuda.memory_limit() or 2**28)
    monkeypatch.setattr(cuda, "pinned_memory", lambda n_bytes: np.full(n_bytes, 0xA5, np.uint8))
    monkeypatch.setattr(cuda, "to_device", _copy)
    monkeypatch.setattr(cuda, "to_host", _copy)


def _copy(target, source):
    target.reshape(-1).view(np.uint8)[: source.nbytes] = source.reshape(-1).view(np.uint8)


@contextmanager
def _using(device, stream=None):
    yield


def _compiled(source, name, defines, device):
    macros = [f"-D{macro}={value}" for macro, value in sorted(defines.items())]
    text = "\n".join(
        [
            '#include "cuda.hpp"',
            "#define FRIEDEL_EMULATED 1",
            f'#include "{source}"',
            'extern "C" void run(const unsigned *g, const unsigned *b, unsigned s, void **a, int n) {',
            f"    emulation::run<&{name}>(g, b, s, a, n);",
            "}",
        ]
    )
    parts = [text, source.read_text(), (HERE / "cuda.hpp").read_text(), *macros]
    _FOLDER.mkdir(exist_ok=True)
    library = _FOLDER / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:24]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
            code, built = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
            code.write_text(text)
            command = ["g++", "-std=c++20", "-O1", "-w", "-shared", "-fPIC", f"-I{HERE}", *macros, str(code)]
            subprocess.run([*command, "-o", str(built)], check=True)
            built.rename(library)
    run = ctypes.CDLL(str(library)).run

    def kernel(grid, block, arguments, shared_mem=0):
        values = [_value(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        run(_three(grid), _three(block), ctypes.c_uint(shared_mem), pointers, len(values))

    return kernel


def _three(size):
    return (ctypes.c_uint * 3)(*(*size, 1, 1)[:3])


def _value(argument):
    """Return what the kernel's parameter holds: an address, or a number of the right type."""
    if argument is None:
        return np.array(0, np.uint64)
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous
        return np.array(argument.ctypes.data, np.uint64)
    assert isinstance(argument, np.generic), f"a kernel was given {argument!r} without a type"
    return np.array(argument)
