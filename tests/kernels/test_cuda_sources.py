"""The kernels for GPUs can be compiled; skipped where CUDA's compiler is absent."""

import shutil
import subprocess

import pytest

from friedel.kernels.cuda_decode import SOURCES

VARIANTS = [
    ("bitshuffle_lz4", ["SIZE=1"]),
    ("bitshuffle_lz4", ["SIZE=4"]),
    ("byte_offset", ["ELEMENT=unsigned int"]),
    ("byte_offset", ["ELEMENT=unsigned long long"]),
    ("divide", []),
]


@pytest.mark.parametrize(("name", "macros"), VARIANTS)
def test_compiled(name, macros, tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("no CUDA compiler (nvcc)")
    command = ["nvcc", "-std=c++17", "-arch=sm_90", "-cubin", "-Werror=all-warnings", "-Xptxas=-v"]
    defines = [f"-D{macro}" for macro in macros]
    made = subprocess.run(
        [*command, *defines, str(SOURCES / f"{name}.cu"), "-o", str(tmp_path / "kernel.cubin")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert "bytes spill stores" in made.stderr
    assert all(" 0 bytes spill stores" in line for line in made.stderr.splitlines() if "spill" in line), made.stderr
