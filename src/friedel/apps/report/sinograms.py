"""Pictures of sinograms, and the check of the centre of rotation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from .labels import axis_label
from .style import Style, apply_style, new_figure, open_frame


def draw_sinograms(style: Style, sinograms: Mapping[str, xr.DataArray]) -> Figure:
    """Draw sinograms (angle, translation) side by side."""
    figure = new_figure(3.6)
    panels = figure.subplots(1, len(sinograms), sharey=True, squeeze=False)[0]
    bars = []
    for axes, (title, sinogram) in zip(panels, sinograms.items(), strict=True):
        translation, angle = sinogram["translation"].values, sinogram["angle"].values
        mesh = axes.imshow(
            sinogram.values,
            aspect="auto",
            origin="lower",
            cmap=style.sequential,
            vmin=min(0.0, float(np.nanmin(sinogram.values))),
            vmax=float(np.nanpercentile(sinogram.values, 99.8)),
            extent=(float(translation[0]), float(translation[-1]), float(angle[0]), float(angle[-1])),
        )
        bars.append(figure.colorbar(mesh, ax=axes, pad=0.01, aspect=30))
        axes.set_title(title, fontsize=10, color=style.ink, loc="left")
        axes.set_xlabel(axis_label(sinogram["translation"]))
    panels[0].set_ylabel(axis_label(sinogram["angle"]))
    apply_style(figure, style)
    for bar in bars:
        bar.outline.set_visible(False)
    return figure


def opposite_projections(sinogram: xr.DataArray) -> tuple[int, int]:
    """Return the two angles of `sinogram` that are closest to 180 degrees apart."""
    angle = sinogram["angle"].values
    turn = 180.0 if str(sinogram["angle"].attrs.get("units", "deg")).startswith("deg") else np.pi
    # Angles are taken modulo a whole turn: in a scan over [0, 180) the last projection is nearly opposite the first.
    distance = np.abs(np.abs(angle[:, None] - angle[None, :]) - turn)
    first, second = np.unravel_index(int(np.argmin(distance)), distance.shape)
    return int(first), int(second)


def draw_center_check(style: Style, sinogram: xr.DataArray, center: float, estimates: Mapping[str, float]) -> Figure:
    """Draw a projection and the mirror image, about `center` (pixels), of the opposite one: they must coincide.

    Beside it the centre from each estimator.
    """
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2, width_ratios=(2.4, 1)) if estimates else (figure.subplots(), None)
    first, second = opposite_projections(sinogram)
    pixel = np.arange(sinogram.sizes["translation"], dtype=float)
    angle = sinogram["angle"].values
    opposite = sinogram.values[second]
    mirrored = np.interp(2 * center - pixel, pixel, opposite, left=np.nan, right=np.nan)
    left.plot(pixel, sinogram.values[first], color=style.color(0), linewidth=1.3, label=f"at {angle[first]:.1f}°")
    left.plot(
        pixel,
        mirrored,
        color=style.color(1),
        linewidth=1.3,
        linestyle=(0, (4, 2)),
        label=f"at {angle[second]:.1f}°, mirrored",
    )
    left.axvline(center, color=style.muted, linewidth=0.8)
    left.set_xlabel("Translation (pixels)")
    left.set_ylabel("Total intensity")
    left.legend(frameon=False, fontsize=8, labelcolor=style.ink)
    open_frame(left)
    if right is not None:
        names = list(estimates)
        right.axvline(center, color=style.muted, linewidth=0.8)
        right.plot([estimates[name] for name in names], range(len(names)), "o", color=style.color(0), markersize=5)
        right.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        right.set_ylim(-0.6, len(names) - 0.4)
        spread = max(0.5, 1.3 * max(abs(value - center) for value in estimates.values()))
        right.set_xlim(center - spread, center + spread)
        right.set_xlabel("Centre (pixels)")
        open_frame(right)
        right.spines["left"].set_visible(False)
        right.tick_params(left=False)
        right.grid(axis="y", color=style.faint, linewidth=0.6)
    apply_style(figure, style)
    return figure
