"""Tasks as Python functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import Average, fake_registry
from friedel.apps import python
from friedel.core.context import SilentProgress
from friedel.core.errors import ParameterError


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with fake_registry():
        yield


@pytest.fixture
def average() -> Callable[..., Any]:
    return python.average  # type: ignore[no-any-return]


def test_the_first_value_is_the_positional_parameter(average: Callable[..., Any]) -> None:
    made = average("a.cbf", geometry=Path("setup.poni"), npt=7)
    assert made == Average(frames=("a.cbf",), geometry="setup.poni", npt=7)


def test_it_may_be_named(average: Callable[..., Any]) -> None:
    assert average(frames=["a", "b"], geometry="p").frames == ("a", "b")


def test_a_task_of_two_words_has_an_underscore() -> None:
    assert python.simulate_pretend("scan.h5", seed=2, threads=1).seed == 2


@pytest.mark.parametrize(
    ("values", "keywords", "named"),
    [
        (("a",), {"geometry": "p", "nptt": 3}, "nptt"),
        (("a",), {}, "geometry"),
        (("a",), {"geometry": "p", "npt": "many"}, "npt"),
        (("a", "p"), {}, "2 were given"),
        (("a",), {"frames": "b", "geometry": "p"}, "frames: given twice"),
        (("a",), {"geometry": "p", "threads": 0}, "threads"),
    ],
)
def test_what_is_wrong_is_named(
    average: Callable[..., Any], values: tuple[str, ...], keywords: dict[str, Any], named: str
) -> None:
    with pytest.raises(ParameterError, match=named):
        average(*values, **keywords)


def test_signature_and_documentation_come_from_the_parameters(average: Callable[..., Any]) -> None:
    signature = inspect.signature(average)
    assert signature.parameters["npt"].default == 1000
    assert signature.parameters["frames"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert signature.parameters["geometry"].default is inspect.Parameter.empty
    documentation = inspect.getdoc(average) or ""
    assert documentation.startswith("Average frames into one pattern.")
    for line in (
        "npt : int, default 1000",
        "    Radial bins.",
        "unit : {'q_nm^-1', '2th_deg'}, default 'q_nm^-1'",
        "radial_range : (float, float) or None, default None",
        "center : float or {'auto'}, default 'auto'",
        "threads : int, optional",
    ):
        assert line in documentation.splitlines()


def test_progress_is_told_to_whoever_asks(average: Callable[..., Any]) -> None:
    class Recorder(SilentProgress):
        done = 0

        def advance(self, key: int, amount: int = 1) -> None:
            self.done += amount

    recorder = Recorder()
    average("a", geometry="p", progress=recorder)
    assert recorder.done == 2


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="fly"):
        _ = python.fly
