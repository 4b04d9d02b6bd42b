"""Colours and lines of the pictures, for light and for dark pages."""

from __future__ import annotations

import io
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DOTS_PER_INCH = 180
PAGE_WIDTH = 9.6
"""Width of a picture that fills the page, inches."""


@dataclass(frozen=True)
class Style:
    """Colours of one theme, as hexadecimal RGB.

    Attributes
    ----------
    name : str
        "light" or "dark".
    paper : str
        Background.
    ink, muted, faint : str
        Lines and text; secondary text; grids and frames.
    series : tuple of str
        Colours of phases and curves; distinguishable with colour-vision deficiencies.
    sequential, diverging : str
        Names of perceptually uniform colour maps.
    """

    name: str
    paper: str
    ink: str
    muted: str
    faint: str
    series: tuple[str, ...]
    sequential: str = "viridis"
    diverging: str = "RdBu_r"

    def color(self, number: int) -> str:
        """Return the colour of series `number`."""
        return self.series[number % len(self.series)]


LIGHT = Style(
    name="light",
    paper="#ffffff",
    ink="#1f2933",
    muted="#66727f",
    faint="#d5dbe1",
    series=("#0072b2", "#d55e00", "#009e73", "#b0489a", "#c08a00", "#4f9fd0", "#6f4fa0", "#7a5a43"),
)
DARK = Style(
    name="dark",
    paper="#171c22",
    ink="#e6eaee",
    muted="#96a2ae",
    faint="#39434e",
    series=("#56b4e9", "#ff8c42", "#2fc99a", "#e58bd0", "#f0c349", "#9fd0f5", "#b79ae8", "#c9a58a"),
)


def new_figure(height: float, width: float = PAGE_WIDTH) -> Figure:
    """Return an empty picture of `width` by `height` inches."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    return figure


def apply_style(figure: Figure, style: Style) -> None:
    """Give the colours of `style` to everything in `figure` that has not been given one."""
    figure.set_facecolor(style.paper)
    for axes in figure.axes:
        axes.set_facecolor("none")
        axes.tick_params(colors=style.muted, which="both", labelsize=8, length=3, width=0.6)
        axes.xaxis.label.set_color(style.ink)
        axes.yaxis.label.set_color(style.ink)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
        for spine in axes.spines.values():
            spine.set_color(style.faint)
            spine.set_linewidth(0.8)


def open_frame(axes: Axes) -> None:
    """Leave only the left and lower line of the frame."""
    axes.spines[["top", "right"]].set_visible(False)


def to_png(figure: Figure) -> bytes:
    """Return the picture as a PNG file."""
    return to_bytes(figure, "png")


def to_bytes(figure: Figure, kind: str) -> bytes:
    """Return the picture as a file of the `kind` "png", "svg" or "pdf": the same bytes each time."""
    import matplotlib as mpl

    unstamped: dict[str, dict[str, str | None]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "friedel"}):
        figure.savefig(
            buffer, format=kind, dpi=DOTS_PER_INCH, facecolor=figure.get_facecolor(), metadata=unstamped[kind]
        )
    return buffer.getvalue()
