"""``{detectors}``: the table of detectors, from the data themselves."""

from __future__ import annotations

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from friedel.instrument.model_kinds import DetectorModel
from friedel.instrument.models import layout_words, models


class Detectors(SphinxDirective):
    """Lists the detectors by maker."""

    def run(self) -> list[nodes.Node]:
        lines = [
            "| Name | Rows × columns | Pixel (µm) | Modules | Sensors | Also called |",
            "|---|---|---|---|---|---|",
        ]
        by_maker = sorted(models().values(), key=lambda model: (model.manufacturer.casefold(), model.name.casefold()))
        maker = ""
        for model in by_maker:
            if model.manufacturer != maker:
                maker = model.manufacturer
                lines.append(f"| **{maker}** | | | | | |")
            lines.append(_row(model))
        section = nodes.container()
        self.state.nested_parse(StringList(lines, "detectors"), self.content_offset, section)
        return section.children


def _row(model: DetectorModel) -> str:
    readout = model.default_readout()
    pixel = f"{readout.pixel * 1e6:g}"
    if model.pixel1 != model.pixel2:
        pixel = f"{model.pixel1 * 1e6:.4g} × {model.pixel2 * 1e6:g}"
    sensors = ", ".join(f"{material} {thickness * 1e6:g} µm" for material, thickness in model.sensors)
    kind = layout_words(model)
    modules = f"{len(model.modules) or 1}{f'; {kind}' if kind else ''}"
    cells = (f"`{model.name}`", " × ".join(map(str, readout.shape)), pixel, modules, sensors, ", ".join(model.aliases))
    return f"| {' | '.join(cells)} |"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("detectors", Detectors)
    return {"parallel_read_safe": True}
