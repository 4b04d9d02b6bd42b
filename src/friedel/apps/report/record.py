"""Tables of what was run with what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from friedel.core.errors import FriedelError
from friedel.core.provenance import Provenance
from friedel.core.tasks import find_task

from .labels import size_text

SHOWN_ELSEWHERE = ("warnings", "seconds", "peak_memory")


def record_html(record: Provenance) -> str:
    """Return the tables of one execution, and those of the executions before it folded away."""
    head = {
        "Task": f"{record.task}, version {record.version}",
        "friedel": record.friedel,
        "Started": record.started.replace("T", " ").replace("+00:00", " UTC"),
        "Device": record.device,
        "Folder": record.folder,
    }
    parts = [table({name: escape(value) for name, value in head.items() if value})]
    parts += ["<h3>Parameters</h3>", _parameters(record)]
    if record.inputs:
        parts += ["<h3>Input files</h3>", _inputs(record)]
    if record.notes:
        parts += ["<h3>Found out by friedel</h3>", table(_flat(record.notes))]
    for earlier in record.earlier:
        summary = f"<summary>Made before: {escape(earlier.task)}</summary>"
        parts.append(f"<details class='earlier'>{summary}{record_html(earlier)}</details>")
    return "\n".join(parts)


def table(rows: Mapping[str, str]) -> str:
    """Return a table of two columns; the values are HTML."""
    lines = "".join(f"<tr><th scope='row'>{escape(name)}</th><td>{value}</td></tr>" for name, value in rows.items())
    return f"<table class='pairs'>{lines}</table>"


def _parameters(record: Provenance) -> str:
    """Return the parameters that were chosen, and those left at their defaults folded away."""
    defaults = _defaults(record.task)
    chosen = {name: value for name, value in record.parameters.items() if defaults.get(name, ...) != value}
    left = {name: value for name, value in record.parameters.items() if name not in chosen}
    shown = table({name: escape(_value(value)) for name, value in chosen.items()})
    if not left:
        return shown
    rest = table({name: escape(_value(value)) for name, value in left.items()})
    return f"{shown}<details><summary>{len(left)} more at their defaults</summary>{rest}</details>"


def _defaults(task: str) -> dict[str, Any]:
    """Return the defaults of a task, none if it is not known here."""
    try:
        fields = find_task(task).parameters.model_fields
    except FriedelError:
        return {}
    plain = {
        name: item.get_default(call_default_factory=True) for name, item in fields.items() if not item.is_required()
    }
    values: dict[str, Any] = json.loads(json.dumps(plain, default=str))
    return values


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(item) for item in value) or "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _inputs(record: Provenance) -> str:
    head = "<tr><th>File</th><th>Size</th><th>Modified</th><th>Hash</th></tr>"
    rows = "".join(
        f"<tr><td title='{escape(item.path)}'>{escape(Path(item.path).name)}</td><td>{size_text(item.size)}</td>"
        f"<td>{escape(item.mtime[:19].replace('T', ' '))}</td><td class='hash'>{escape(item.hash)}</td></tr>"
        for item in record.inputs[:40]
    )
    more = f"<p class='legend'>and {len(record.inputs) - 40} more</p>" if len(record.inputs) > 40 else ""
    return f"<table class='files'>{head}{rows}</table>{more}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested notes as rows of one table."""
    rows: dict[str, str] = {}
    for name, value in values.items():
        key = f"{prefix}{name}".replace("_", " ")
        if not prefix and name in SHOWN_ELSEWHERE:
            continue
        if isinstance(value, Mapping):
            rows |= _flat(value, f"{key}: ")
        else:
            rows[key] = escape(_shortened(_value(value)))
    return rows


def _shortened(text: str, most: int = 240) -> str:
    return text if len(text) <= most else f"{text[:most]} …"
