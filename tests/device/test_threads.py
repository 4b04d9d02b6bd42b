from __future__ import annotations

import pytest

from friedel.core.errors import ParameterError
from friedel.device.threads import THREADS_VARIABLE, thread_count


def test_one_for_each_core_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(THREADS_VARIABLE, raising=False)
    assert thread_count() >= 1


def test_the_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS_VARIABLE, "3")
    assert thread_count() == 3


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(THREADS_VARIABLE, text)
    with pytest.raises(ParameterError, match=THREADS_VARIABLE):
        thread_count()
