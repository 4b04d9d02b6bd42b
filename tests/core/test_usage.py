from __future__ import annotations

import sys

import pytest

from friedel.core.usage import peak_memory


def test_memory_that_was_held_is_counted_in_bytes() -> None:
    held = bytearray(b"x") * 64_000_000
    assert peak_memory() > len(held)
    assert peak_memory() < 64e9, "a wrong unit"


def test_the_unit_of_the_system_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    on_linux = peak_memory()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert on_linux == pytest.approx(1024 * peak_memory(), rel=0.1)
