"""Pictures of maps: one panel for each map, with scale bar and colour bar; and all phases in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from .labels import length_text, round_length, unit_text
from .style import PAGE_WIDTH, Style, apply_style, new_figure

LARGEST_PANEL = 4.6
"""Width of a map with its colour bar, inches."""

FLOOR = 0.08
"""Part of a phase's largest value below which a pixel counts as without it in the picture of all phases: the noise of
a reconstruction is not zero on average once negative values are cut off, and would colour the air."""

Limits = Literal["intensity", "spread", "signed"]


@dataclass(frozen=True)
class Map:
    """A picture over the sample.

    Attributes
    ----------
    title : str
    values : ndarray, shape (y, x)
    step : float
        Side of a pixel in `step_units`.
    step_units : str
    units : str
        Unit of the values.
    limits : {"intensity", "spread", "signed"}
        Colours from 0, or from the smallest value if that is far below; between the outer percentiles; or equally far
        both ways from 0.
    color : int or None
        Number of the series whose colour marks the title.
    bounds : (float, float) or None
        Values at the ends of the colour bar, where several maps are to be compared.
    aspect : float
        Height of a pixel over its width.
    """

    title: str
    values: NDArray[np.floating]
    step: float = 1.0
    step_units: str = "px"
    units: str = ""
    limits: Limits = "intensity"
    color: int | None = None
    bounds: tuple[float, float] | None = None
    aspect: float = 1.0

    def color_limits(self) -> tuple[float, float]:
        """Return the values at the ends of the colour bar."""
        if self.bounds is not None:
            return self.bounds
        finite = self.values[np.isfinite(self.values)]
        if finite.size == 0:
            return 0.0, 1.0
        low, high = (float(value) for value in np.percentile(finite, (1, 99.7)))
        if self.limits == "signed":
            low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
        elif self.limits == "intensity":
            low = 0.0 if low >= 0 or abs(low) < 0.25 * high else low
        return (low, high) if high > low else (low - 0.5, low + 0.5)


def draw_maps(style: Style, maps: Sequence[Map], columns: int | None = None) -> Figure:
    """Draw maps in a grid, row by row."""
    columns = columns or min(len(maps), 4 if len(maps) == 4 else 3)
    rows = math.ceil(len(maps) / columns)
    height, width = maps[0].values.shape
    height = height * maps[0].aspect
    panel = min((PAGE_WIDTH - 0.1) / columns, LARGEST_PANEL)
    figure = new_figure(rows * ((panel - 0.6) * height / width + 0.36), columns * panel)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[len(maps) :]:
        axes.set_axis_off()
    apply_style(figure, style)
    for axes, item in zip(panels.flat, maps, strict=False):
        _draw_map(axes, style, item)
    return figure


def _draw_map(axes: Axes, style: Style, item: Map) -> None:
    low, high = item.color_limits()
    colors = style.diverging if item.limits == "signed" else style.sequential
    image = axes.imshow(item.values, origin="lower", cmap=colors, vmin=low, vmax=high, aspect=item.aspect)
    _title(axes, style, item.title, item.color)
    _draw_color_bar(axes, style, image, item.units)
    # On a picture a white bar with a halo; where the corner is blank one in the colour of the text.
    corner = item.values[: max(1, item.values.shape[0] // 8), : max(1, item.values.shape[1] // 3)]
    color = "white" if np.isfinite(corner).any() else style.ink
    draw_scale_bar(axes, item.values.shape[1], item.step, item.step_units, color)


def _draw_color_bar(axes: Axes, style: Style, image: AxesImage, units: str) -> None:
    """Draw a bar exactly as high as the picture."""
    beside = axes.inset_axes((1.025, 0, 0.035, 1))
    bar = axes.figure.colorbar(image, cax=beside)
    bar.outline.set_visible(False)
    beside.tick_params(labelsize=7, length=2, width=0.6, colors=style.muted)
    beside.yaxis.get_offset_text().set(size=7, color=style.muted)
    if units:
        beside.set_title(unit_text(units), fontsize=7, color=style.muted)


def _title(axes: Axes, style: Style, text: str, color: int | None) -> None:
    axes.set_title(text, fontsize=10, color=style.ink if color is None else style.color(color), loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def draw_scale_bar(axes: Axes, width: int, step: float, units: str, color: str = "white") -> None:
    """Draw a bar of a round length, about a quarter of the picture, in its lower left corner."""
    if not step > 0:
        return
    length = round_length(0.3 * width * step)
    start = 0.05 * width - 0.5
    rise = 0.05 * width - 0.5
    halo = color == "white"
    ends = [start, start + length / step]
    if halo:
        axes.plot(ends, [rise, rise], color="black", alpha=0.35, linewidth=4.5, solid_capstyle="butt")
    axes.plot(ends, [rise, rise], color=color, linewidth=2.5, solid_capstyle="butt")
    axes.annotate(
        length_text(length, units),
        (start, rise),
        xytext=(0, 4),
        textcoords="offset points",
        ha="left",
        va="bottom",
        fontsize=8,
        color=color,
        path_effects=_outline() if halo else [],
    )


def _outline() -> list[object]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=1.6, foreground="#00000066")]


def draw_composite(style: Style, maps: Sequence[Map]) -> Figure:
    """Draw all phases in one picture: each in its colour, stronger where there is more of it."""
    height, width = maps[0].values.shape
    figure = new_figure(4.6 * min(height / width, 1.3) + 0.3, 6.4)
    axes = figure.subplots()
    axes.imshow(blend(style, maps), origin="lower")
    apply_style(figure, style)
    _title(axes, style, "", None)
    draw_scale_bar(axes, width, maps[0].step, maps[0].step_units, style.ink)
    for row, item in enumerate(maps):
        axes.annotate(
            item.title,
            (1.03, 0.97 - 0.075 * row),
            xycoords="axes fraction",
            va="top",
            fontsize=10,
            color=style.color(item.color or 0),
            fontweight="bold",
        )
    return figure


def blend(style: Style, maps: Sequence[Map]) -> NDArray[np.float64]:
    """Return the colours of a picture of all `maps`, shape (y, x, 3): paper where there is nothing.

    A pixel's hue is that of its phases, weighted by how much of each there is relative to the phase's own
    largest value; mixed in linear light.
    """
    shares = np.stack([_share(item) for item in maps])
    colors = np.array([to_rgb(style.color(item.color or 0)) for item in maps]) ** 2.2
    total = shares.sum(axis=0)
    hue = np.einsum("pyx,pc->yxc", shares, colors) / np.maximum(total, 1e-12)[..., None]
    cover = np.clip(shares.max(axis=0), 0, 1)[..., None]
    paper = np.array(to_rgb(style.paper)) ** 2.2
    mixed = cover * hue + (1 - cover) * paper
    return np.asarray(np.clip(mixed, 0, 1) ** (1 / 2.2))


def _share(item: Map) -> NDArray[np.float64]:
    """Return how much there is in each pixel relative to the largest value, 0 to 1."""
    relative = np.nan_to_num(item.values) / max(item.color_limits()[1], 1e-30)
    return np.asarray(np.clip((relative - FLOOR) / (1 - FLOOR), 0, 1))
