"""The HTML of a report: text, pictures inside the page, no reference to anything outside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files


@dataclass(frozen=True)
class Picture:
    """A section of the page with its picture for light and for dark pages, as PNG files."""

    name: str
    title: str
    text: str
    light: bytes
    dark: bytes
    width: float


def page_html(
    title: str,
    task: str,
    facts: Mapping[str, str],
    warnings: Sequence[str],
    pictures: Sequence[Picture],
    record: str,
    verdict: str = "",
    tables: str = "",
) -> str:
    """Return the whole page; `record`, `verdict` and `tables` are HTML."""
    style = files("friedel.apps.report").joinpath("page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="task">{escape(task)}</p>
{verdict}
{_facts(facts)}
{_warnings(warnings)}
</header>
<main>
{tables}
{"".join(_section(picture) for picture in pictures)}
<section>
<h2>What was run with what</h2>
{record}
</section>
</main>
<footer>Drawn by friedel from the result file alone; the pictures lie beside this page as PNG files.</footer>
</body>
</html>
"""


def _facts(facts: Mapping[str, str]) -> str:
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{items}</dl>' if items else ""


def _warnings(warnings: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<div class="warnings" role="alert"><ul>{items}</ul></div>' if items else ""


def _section(picture: Picture) -> str:
    return f"""<section id="{escape(picture.name)}">
<h2>{escape(picture.title)}</h2>
<p>{escape(picture.text)}</p>
<figure><picture>
<source media="(prefers-color-scheme: dark)" srcset="{_address(picture.dark)}">
<img src="{_address(picture.light)}" alt="{escape(picture.title)}" style="width:{picture.width:.1%}">
</picture></figure>
</section>
"""


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"
