"""``{tasks}``: the reference of every task, from the definitions that the command line uses."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from friedel.apps.cli.options import command_words
from friedel.core.tasks import Task, registry


class Tasks(SphinxDirective):
    """Lists the tasks with their parameters."""

    def run(self) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        for task in registry().values():
            section = nodes.section(ids=[task.command.replace(" ", "-")], names=[task.command])
            section += nodes.title(text=task.command)
            self.state.nested_parse(StringList(_lines(task), "task"), self.content_offset, section)
            found.append(section)
        return found


def _lines(task: Task[Any]) -> list[str]:
    lines = [*(task.parameters.__doc__ or "").strip().splitlines(), "", "```text", _usage(task), "```", ""]
    lines += ["| Parameter | Default | Meaning |", "|---|---|---|"]
    for name, field in task.parameters.model_fields.items():
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`"
        meaning = " ".join((field.description or "").split()).replace("|", "\\|").replace("*", "\\*")
        lines.append(f"| `{name}` | {default} | {meaning} |")
    return [line.strip() for line in lines]


def _usage(task: Task[Any]) -> str:
    return f"friedel {task.command} {' '.join(command_words(task))}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("tasks", Tasks)
    return {"parallel_read_safe": True}
