"""What `import friedel` offers."""

from __future__ import annotations

from pathlib import Path

import pytest

import friedel
from friedel.core.tasks import registry

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "python.md"


@pytest.mark.parametrize("name", sorted(registry()))
def test_every_task_is_a_function(name):
    name = name.replace(" ", "_").replace("-", "_")
    assert name in friedel.__all__
    assert callable(getattr(friedel, name))
    assert f"`friedel.{name}`" in PAGE.read_text(encoding="utf-8")


def test_everything_that_is_listed_is_there():
    assert sorted(set(friedel.__all__)) == sorted(friedel.__all__)
    for name in friedel.__all__:
        assert getattr(friedel, name) is not None
