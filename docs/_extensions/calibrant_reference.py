"""``{calibrants}``: the table of built-in calibrants, from the data themselves."""

from __future__ import annotations

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from friedel.instrument import Calibrant
from friedel.instrument.calibrant_table import aliases_of, built_in_calibrants


class Calibrants(SphinxDirective):
    """Lists the calibrants."""

    def run(self) -> list[nodes.Node]:
        lines = ["| Name | Also called | Lattice | Source |", "|---|---|---|---|"]
        lines += [_row(calibrant) for calibrant in built_in_calibrants().values()]
        section = nodes.container()
        self.state.nested_parse(StringList(lines, "calibrants"), self.content_offset, section)
        return section.children


def _row(calibrant: Calibrant) -> str:
    aliases = ", ".join(aliases_of(calibrant.name))
    return f"| `{calibrant.name}` | {aliases} | {_lattice(calibrant)} | {calibrant.source} |"


def _lattice(calibrant: Calibrant) -> str:
    if calibrant.layer is not None:
        return f"layers of {calibrant.layer:g} Å"
    if calibrant.crystal is None:
        return "a list of spacings"
    lengths = dict.fromkeys(f"{length:.7g}" for length in calibrant.crystal.cell[:3])
    atoms = "" if calibrant.crystal.sites else ", no atoms"
    return f"{', '.join(lengths)} Å, {calibrant.crystal.space_group}{atoms}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("calibrants", Calibrants)
    return {"parallel_read_safe": True}
