"""Sphinx configuration."""

import sys
from pathlib import Path

from friedel.core.provenance import friedel_version

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "friedel"
author = "The friedel developers"
copyright = "The friedel developers"  # noqa: A001 - Sphinx's name
version = release = friedel_version()
extensions = [
    "myst_parser",
    "task_reference",
    "unit_reference",
    "calibrant_reference",
    "detector_reference",
    "room_reference",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "friedel"
html_static_path = ["assets"]
html_css_files = ["friedel.css"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072b2", "color-brand-content": "#0072b2"},
    "dark_css_variables": {"color-brand-primary": "#56b4e9", "color-brand-content": "#56b4e9"},
}
