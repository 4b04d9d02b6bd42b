"""``{units}`` and ``{quantities}``: the tables of units and of what formulas may name, from the data themselves."""

from __future__ import annotations

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from friedel.core.units import QUANTITIES, UNITS, Quantity, Unit


class Units(SphinxDirective):
    """Lists the units."""

    def run(self) -> list[nodes.Node]:
        return _table(self, ["| Unit | Shows | In | Wavelength | Also called |", "|---|---|---|---|---|", *_units()])


class Quantities(SphinxDirective):
    """Lists what formulas may name."""

    def run(self) -> list[nodes.Node]:
        return _table(self, ["| Name | Meaning | In |", "|---|---|---|", *_quantities()])


def _table(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    section = nodes.container()
    directive.state.nested_parse(StringList(lines, "units"), directive.content_offset, section)
    return section.children


def _units() -> list[str]:
    return [_unit(unit) for unit in UNITS.values()]


def _unit(unit: Unit) -> str:
    aliases = ", ".join(f"`{alias}`" for alias in unit.aliases)
    wavelength = "needed" if unit.needs_wavelength else ""
    return f"| `{unit.name}` | {_text(unit.long_name)} | {_text(unit.units)} | {wavelength} | {aliases} |"


def _quantities() -> list[str]:
    rows = [_quantity(quantity) for quantity in QUANTITIES.values()]
    return [*rows, "| `wavelength` | Wavelength | nm |"]


def _quantity(quantity: Quantity) -> str:
    return f"| `{quantity.name}` | {_text(quantity.long_name)} | {_text(quantity.formula_units)} |"


def _text(words: str) -> str:
    return words.replace("*", "\\*").replace("|", "\\|")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("units", Units)
    app.add_directive("quantities", Quantities)
    return {"parallel_read_safe": True}
