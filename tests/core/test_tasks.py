from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fake_tasks import Average, FakeEntryPoint, Pretend, average, fake_registry
from friedel.core.context import Context
from friedel.core.errors import MissingDependencyError, ParameterError
from friedel.core.parameters import Parameters
from friedel.core.tasks import find_task, registry, task
from friedel.run import InlineRunner


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with fake_registry():
        yield


def test_tasks_of_announced_modules_are_found_by_name() -> None:
    assert list(registry()) == ["average", "simulate pretend"]
    assert find_task("average") is average


def test_an_unknown_task_lists_those_there_are() -> None:
    with pytest.raises(ParameterError) as caught:
        find_task("fly")
    assert "fly" in caught.value.problem
    assert "average, simulate pretend" in caught.value.remedy


def announce(name: str, tasks: dict[str, Any]) -> Any:
    return SimpleNamespace(value=name, dist=None, load=lambda: SimpleNamespace(**tasks))


def test_two_tasks_of_one_name_are_refused() -> None:
    rival = task("average", version=1, parameters=Pretend, run="rival:run")
    both = fake_registry(FakeEntryPoint(), announce("rival", {"rival": rival}))
    with both, pytest.raises(ParameterError, match=r"fake_tasks:run_average and rival:run"):
        registry()


def test_a_task_may_be_imported_into_another_task_module() -> None:
    with fake_registry(FakeEntryPoint(), announce("again", {"average": average})):
        assert len(registry()) == 2


def test_a_broken_package_is_named() -> None:
    def fail() -> None:
        raise ImportError("No module named 'gone'")

    broken = SimpleNamespace(value="gone.tasks", dist=SimpleNamespace(name="beamline-tasks"), load=fail)
    with fake_registry(broken), pytest.raises(MissingDependencyError, match="beamline-tasks"):
        registry()


def test_schema_documents_every_field() -> None:
    schema = average.schema()
    assert schema["required"] == ["frames", "geometry"]
    assert schema["additionalProperties"] is False
    assert all("description" in item for item in schema["properties"].values())


def test_execution_begins_a_record() -> None:
    seen: list[Context] = []

    class Nothing(Parameters):
        """Do nothing."""

        size: int = 3
        """A size."""

    def run(parameters: Nothing, context: Context) -> str:
        seen.append(context)
        return "done"

    definition = task("nothing", version=4, parameters=Nothing, run="unused:run")
    object.__setattr__(definition, "function", lambda: run)
    assert definition.execute(Nothing(), Context(InlineRunner())) == "done"
    record = seen[0].provenance
    assert record is not None
    assert (record.task, record.version, record.parameters, record.device) == ("nothing", 4, {"size": 3}, "cpu")


def test_the_summary_is_the_first_line() -> None:
    assert average.summary == "Average frames into one pattern."
    assert average.parameters is Average
