"""Pictures of powder patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .labels import axis_label, unit_text, with_unit
from .style import Style, apply_style, new_figure, open_frame


@dataclass(frozen=True)
class Reflections:
    """Where a phase reflects.

    Attributes
    ----------
    phase : str
    positions : ndarray of float64, shape (reflections,)
        In the unit of the pattern's radial axis.
    """

    phase: str
    positions: NDArray[np.float64]


def draw_pattern(
    style: Style,
    intensity: xr.DataArray,
    errors: xr.DataArray | None = None,
    reflections: tuple[Reflections, ...] = (),
    fitted: xr.DataArray | None = None,
) -> Figure:
    """Draw a pattern on a square-root scale, on which counting noise is equally wide everywhere.

    Below it a row of ticks for each phase and, where there is a fit, the difference.
    """
    rows = 1 + bool(reflections) + (fitted is not None)
    heights = [3.2] + [0.16 * len(reflections) + 0.1] * bool(reflections) + [0.8] * (fitted is not None)
    figure = new_figure(sum(heights) + 0.45)
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    axis = intensity[intensity.dims[-1]]
    radial = axis.values
    _draw_curve(panels[0], style, radial, intensity.values, None if errors is None else errors.values)
    panels[0].set_ylabel(f"{with_unit('Intensity', str(intensity.attrs.get('units', '')))}, square-root scale")
    if fitted is not None:
        panels[0].plot(
            radial, np.maximum(fitted.values, 0), color=style.color(1), linewidth=0.9, label="phases + background"
        )
        panels[0].legend(frameon=False, fontsize=8, labelcolor=style.ink)
        _draw_difference(panels[-1], style, radial, intensity.values - fitted.values)
    if reflections:
        _draw_ticks(panels[1], style, reflections, (float(radial.min()), float(radial.max())))
    panels[-1].set_xlabel(axis_label(axis))
    panels[0].set_xlim(radial.min(), radial.max())
    apply_style(figure, style)
    if reflections:
        for row, text in enumerate(panels[1].get_yticklabels()):
            text.set_color(style.color(row))
    return figure


def _draw_curve(
    axes: Axes,
    style: Style,
    radial: NDArray[np.float64],
    values: NDArray[np.float64],
    errors: NDArray[np.float64] | None,
) -> None:
    shown = np.maximum(values, 0)
    if errors is not None:
        low, high = np.maximum(values - errors, 0), np.maximum(values + errors, 0)
        axes.fill_between(radial, low, high, color=style.color(0), alpha=0.25, linewidth=0)
    axes.plot(radial, shown, color=style.ink, linewidth=0.9, label="mean pattern")
    axes.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    finite = shown[np.isfinite(shown)]
    if finite.size:
        axes.set_ylim(0.9 * finite.min(), 1.05 * max(finite.max(), 1e-30))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    open_frame(axes)


def _draw_difference(axes: Axes, style: Style, radial: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    axes.axhline(0, color=style.faint, linewidth=0.8)
    axes.plot(radial, values, color=style.muted, linewidth=0.7)
    axes.set_ylabel("Difference")
    open_frame(axes)


def _draw_ticks(axes: Axes, style: Style, reflections: tuple[Reflections, ...], limits: tuple[float, float]) -> None:
    for row, phase in enumerate(reflections):
        inside = phase.positions[(phase.positions >= limits[0]) & (phase.positions <= limits[1])]
        axes.vlines(inside, -row - 0.35, -row + 0.35, color=style.color(row), linewidth=1.0)
    axes.set_ylim(-len(reflections) + 0.4, 0.6)
    axes.set_yticks([-row for row in range(len(reflections))], [phase.phase for phase in reflections])
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, bottom=False)


def draw_profiles(style: Style, curves: Sequence[tuple[str, xr.DataArray]]) -> Figure:
    """Draw values along a line, a panel for each with its title."""
    figure = new_figure(1.1 + 1.3 * len(curves))
    panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (_, values) in zip(panels, curves, strict=True):
        axes.plot(values["x"].values, values.values, ".-", color=style.color(0), linewidth=1.2, markersize=4)
        axes.ticklabel_format(useOffset=False)
        axes.set_ylabel(unit_text(str(values.attrs.get("units", ""))))
    panels[-1].set_xlabel(axis_label(curves[0][1]["x"]))
    apply_style(figure, style)
    for axes, (title, _) in zip(panels, curves, strict=True):
        axes.set_title(title, fontsize=10, color=style.ink, loc="left")
    return figure


def draw_waterfall(style: Style, intensity: xr.DataArray) -> Figure:
    """Draw an image of patterns, frame by radial bin, or of a cake: square-root of intensity.

    A cake of two coordinates of one unit, such as q_ip and q_oop, is drawn to scale.
    """
    rows, columns = (intensity[dimension] for dimension in intensity.dims)
    units = [axis.attrs.get("units") for axis in (rows, columns)]
    to_scale = units[0] == units[1] and units[0] not in (None, "")
    figure = new_figure(5.0 if to_scale else 3.6)
    extent = (*_limits(columns), *_limits(rows))
    if to_scale:
        shape = abs(extent[1] - extent[0]) / (abs(extent[3] - extent[2]) or 1.0)
        figure.set_size_inches(min(figure.get_figwidth(), 4.3 * shape + 1.8), 5.0)
    axes = figure.subplots()
    values = np.sqrt(np.maximum(intensity.values, 0))
    top = np.nanpercentile(values, 99.8) if np.isfinite(values).any() else 1.0
    image = axes.imshow(
        values,
        aspect="equal" if to_scale else "auto",
        origin="lower",
        cmap=style.sequential,
        vmax=top,
        extent=extent,
    )
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=30)
    bar.outline.set_visible(False)
    axes.set_xlabel(axis_label(columns))
    axes.set_ylabel(axis_label(rows))
    apply_style(figure, style)
    bar.set_label("√ intensity", color=style.ink, size=9)
    return figure


def _limits(axis: xr.DataArray) -> tuple[float, float]:
    """Return the outer edges of a regular axis."""
    half = float(axis[-1] - axis[0]) / max(1, axis.size - 1) / 2 or 0.5
    return float(axis[0]) - half, float(axis[-1]) + half
