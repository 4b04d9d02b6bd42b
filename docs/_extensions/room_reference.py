"""``{room} friedel.techniques.integration``: what a room offers, from its docstrings.

The docstrings are numpydoc text meant to be read as it stands; they are shown as it stands.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Room(SphinxDirective):
    """Shows the public names of a module with signature and docstring."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        found: list[nodes.Node] = [nodes.paragraph(text=inspect.cleandoc(module.__doc__ or ""))]
        for name in sorted(getattr(module, "__all__", ())):
            found += _entry(module.__name__, name, getattr(module, name))
        return found


def _entry(module: str, name: str, item: Any) -> Iterator[nodes.Node]:
    section = nodes.section(ids=[f"{module}.{name}"], names=[f"{module}.{name}"])
    section += nodes.title("", "", nodes.literal(text=name))
    text = inspect.getdoc(item) if callable(item) or inspect.ismodule(item) else repr(item)
    section += nodes.literal_block(text=f"{name}{_signature(item)}\n\n{text or ''}".strip(), language="text")
    for method, function in _methods(item):
        section += nodes.literal_block(
            text=f".{method}{_signature(function)}\n\n{inspect.getdoc(function) or ''}".strip(), language="text"
        )
    yield section


def _methods(item: Any) -> Iterator[tuple[str, Any]]:
    if not inspect.isclass(item):
        return
    for name, value in vars(item).items():
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


def _signature(item: Any) -> str:
    try:
        parameters = inspect.signature(item).parameters.values() if callable(item) else None
    except (ValueError, TypeError):
        return ""
    if parameters is None:
        return ""
    names = [
        str(item.replace(annotation=inspect.Parameter.empty)) for item in parameters if item.name not in ("self", "cls")
    ]
    return f"({', '.join(names)})"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("room", Room)
    return {"parallel_read_safe": True}
