from __future__ import annotations

import pytest

from friedel.core.errors import DeviceError, MissingDependencyError
from friedel.device import choice
from friedel.device.choice import gpu_numbers, resolve_device


@pytest.fixture(autouse=True)
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(choice.DEVICE_VARIABLE, raising=False)
    monkeypatch.setattr(choice, "gpu_count", lambda: 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, "cpu"),
        ("cpu", "cpu"),
        ("auto", "cuda:0,1"),
        ("cuda", "cuda:0"),
        ("cuda:1", "cuda:1"),
        ("cuda:1,0", "cuda:0,1"),
        ("cuda:1,1", "cuda:1"),
        ("cuda:all", "cuda:0,1"),
    ],
)
def test_names(name: str | None, expected: str) -> None:
    assert resolve_device(name) == expected


def test_auto_is_the_cpu_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "gpu_count", lambda: 0)
    assert resolve_device("auto") == "cpu"


def test_the_variable_counts_where_no_name_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.DEVICE_VARIABLE, "cuda:1")
    assert resolve_device() == "cuda:1"
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["cuda:2", "cuda:0,2", "gpu", "cuda:", "cuda:-1", "cuda:0,", "CPU"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(DeviceError, match=name):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:all", "cuda:0"])
def test_without_cupy_the_user_is_told_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "gpu_count", lambda: 0)
    monkeypatch.setattr(choice, "has_cupy", lambda: False)
    with pytest.raises(MissingDependencyError, match="cupy"):
        resolve_device(name)


def test_without_a_gpu_all_of_them_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "gpu_count", lambda: 0)
    monkeypatch.setattr(choice, "has_cupy", lambda: True)
    with pytest.raises(DeviceError, match="0 CUDA devices"):
        resolve_device("cuda:all")


@pytest.mark.parametrize(("device", "numbers"), [("cpu", ()), ("cuda:1", (1,)), ("cuda:0,1", (0, 1))])
def test_numbers_of_the_gpus(device: str, numbers: tuple[int, ...]) -> None:
    assert gpu_numbers(device) == numbers
