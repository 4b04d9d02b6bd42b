"""Pictures and tables of a calibration: rings on image and cake, residuals, parameters and their correlations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from html import escape
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .contents import Section
from .labels import axis_label, number_text
from .patterns import Reflections, draw_pattern
from .style import Style, apply_style, new_figure, open_frame

_Array = NDArray[np.float64]

MOST_POINTS = 6000
"""Control points that are drawn."""
WIDEST_SCALE = 6.0
"""Residuals beyond this many times the typical one are drawn at the edge."""
FAINTEST_RING = 2e-3
"""Rings below this part of the strongest are not drawn on the cake."""


def is_calibration(result: xr.Dataset) -> bool:
    """Whether a Dataset is the result of a calibration."""
    return "verdict" in result.attrs


def calibration_sections(result: xr.Dataset) -> Iterator[Section]:
    """Yield the pictures of a calibration, whichever its variables allow."""
    names = result.data_vars
    if "image" in names:
        marked = " Lines: the rings of the geometry. Dots: control points; red ones did not count."
        text = "The image on a logarithmic scale." + (marked if "curve_y" in names else "")
        if "curve_y" not in names and "point_y" in names:
            text += " Dots: the points that were found."
        yield Section("image_rings", "Rings on the image", text, partial(draw_image, result=result))
    if "cake" in names:
        text = (
            "Intensity against azimuth and 2θ. Where the geometry is right, rings are straight and lie on the ticks "
            "of the calibrant at the top and the bottom; short marks repeat them in between."
        )
        yield Section("cake", "Cake", text, partial(draw_cake, result=result))
    if "pattern" in names:
        text = "Integrated with this geometry; the band is one standard deviation. Ticks: the calibrant's rings."
        rings = result.get("calibrant_two_theta")
        marks = () if rings is None else (Reflections(str(result.attrs.get("calibrant", "")), _drawn_rings(result)),)
        draw = partial(
            draw_pattern, intensity=result["pattern"], errors=result.get("pattern_errors"), reflections=marks
        )
        yield Section("pattern", "Integrated pattern", text, draw)
    if "ring_residual" in names and result.sizes.get("ring", 0):
        text = (
            "Distance of each control point from its ring on the detector, in pixels; the mean of each ring with its "
            "standard error. A slope speaks of a wrong energy or calibrant, one ring off of a wrong number or strain."
        )
        yield Section("ring_residuals", "Residuals of each ring", text, partial(draw_rings, result=result))
    if "sector_residual" in names and result.sizes.get("point", 0):
        text = (
            "The same round the beam, with the mean of each sector. A wave once round speaks of a wrong centre, twice "
            "of a wrong tilt or of pixels that are not square."
        )
        yield Section("sector_residuals", "Residuals round the beam", text, partial(draw_sectors, result=result))
    if "position_residual" in names and result.sizes.get("point", 0):
        text = (
            "The same for each image of the moving detector, with the mean of each. A curve speaks of formulas that do "
            "not describe how the detector moves, one image off of its position."
        )
        yield Section("position_residuals", "Residuals of each position", text, partial(draw_positions, result=result))
    if "residual" in names and {"point_y", "y"} <= set(result.variables) and result.sizes.get("point", 0):
        text = (
            "Where on the detector points lie beside their rings: red ones are too far from the beam, blue too near. "
            "Modules that are displaced stand out as patches of one colour."
        )
        draw = partial(draw_places, result=result)
        yield Section("detector_residuals", "Residuals on the detector", text, draw)
    if "covariance" in names and len(_free(result)) > 1:
        text = "How strongly the errors of two parameters go together: near ±1 only their combination is known."
        yield Section("correlations", "Correlations of the parameters", text, partial(draw_correlations, result=result))


# ---- pictures


def draw_image(style: Style, result: xr.Dataset) -> Figure:
    """Draw the image with rings and control points."""
    image = result["image"]
    x, y = image["x"].values, image["y"].values
    width = float(x[-1] + x[0]) or 1.0
    height = float(y[-1] + y[0]) or 1.0
    shown = 7.2
    figure = new_figure(min(shown * height / width, 9.5) + 0.7, shown + 0.9)
    axes = figure.subplots()
    values = np.asarray(image.values, float)
    low, high = _counts(values)
    axes.imshow(
        np.log(np.clip(values, low, None)),
        extent=(0.0, width, height, 0.0),
        vmin=np.log(low),
        vmax=np.log(high),
        cmap="gray_r" if style.name == "light" else "gray",
        interpolation="nearest",
    )
    if "curve_y" in result.data_vars:
        lines = np.stack([result["curve_x"].values, result["curve_y"].values], axis=-1)
        axes.add_collection(LineCollection(list(lines), colors=style.color(0), linewidths=0.5, alpha=0.55))
    if "point_y" in result.data_vars:
        _draw_points(axes, style, result)
    axes.set_xlim(0.0, width)
    axes.set_ylim(height, 0.0)
    axes.set_xlabel("x (pixels)")
    axes.set_ylabel("y (pixels)")
    apply_style(figure, style)
    return figure


def _counts(values: _Array) -> tuple[float, float]:
    """Return the counts between which the image is drawn."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 1.0, 2.0
    low, high = np.percentile(known, [5.0, 99.7])
    low = max(float(low), 1.0)
    return low, max(float(high), 2.0 * low)


def _draw_points(axes: Axes, style: Style, result: xr.Dataset) -> None:
    first = (
        result["point_image"].values == 0 if "point_image" in result.data_vars else np.ones(result.sizes["point"], bool)
    )
    chosen = np.flatnonzero(first)
    chosen = chosen[:: max(1, -(-chosen.size // MOST_POINTS))]
    x, y = result["point_x"].values[chosen], result["point_y"].values[chosen]
    weight = result["weight"].values[chosen] if "weight" in result.data_vars else np.ones(chosen.size)
    used = weight > 0
    axes.scatter(x[used], y[used], s=2.2, color=style.color(2), linewidths=0, alpha=0.8)
    axes.scatter(x[~used], y[~used], s=7, color="#d62728", linewidths=0)


def _drawn_rings(result: xr.Dataset) -> _Array:
    """Return the 2θ of rings worth a mark, degrees."""
    places = np.asarray(result["calibrant_two_theta"].values, float)
    strength = np.asarray(result["calibrant_intensity"].values, float)
    return places[strength > FAINTEST_RING * strength.max()] if places.size else places


def draw_cake(style: Style, result: xr.Dataset) -> Figure:
    """Draw the cake with marks where rings should be."""
    cake = result["cake"]
    radial, azimuth = cake["cake_radial"].values, cake["azimuth"].values
    figure = new_figure(4.6)
    axes = figure.subplots()
    values = np.asarray(cake.values, float)
    values[values == 0] = np.nan
    low, high = _counts(values)
    limits = (float(radial[0]), float(radial[-1]), float(azimuth[0]), float(azimuth[-1]))
    axes.imshow(
        np.log(np.clip(values, low, None)),
        aspect="auto",
        origin="lower",
        extent=limits,
        vmin=np.log(low),
        vmax=np.log(high),
        cmap="gray_r" if style.name == "light" else "gray",
        interpolation="nearest",
    )
    if "calibrant_two_theta" in result.data_vars:
        places = _drawn_rings(result)
        span = limits[3] - limits[2]
        for start in np.linspace(0.0, 0.97, 5):
            axes.vlines(
                places,
                limits[2] + start * span,
                limits[2] + (start + 0.03) * span,
                color=style.color(1),
                linewidth=0.7,
            )
    axes.set_xlim(limits[0], limits[1])
    axes.set_ylim(limits[2], limits[3])
    axes.set_xlabel(axis_label(cake["cake_radial"]))
    axes.set_ylabel(axis_label(cake["azimuth"]))
    apply_style(figure, style)
    return figure


def draw_rings(style: Style, result: xr.Dataset) -> Figure:
    """Draw the residuals of each ring against 2θ."""
    numbers = result["ring_number"].values
    places = dict(zip(numbers.tolist(), result["ring"].values.tolist(), strict=True))
    ring = result["point_ring"].values
    place = np.array([places.get(int(number), np.nan) for number in ring])
    mean = (result["ring"].values, result["ring_residual"].values, result["ring_residual_errors"].values)
    figure = _draw_residuals(style, result, place, mean, "2θ of the ring (°)")
    upper = figure.axes[0]
    labelled = numbers[:: max(1, len(numbers) // 20)]
    top = upper.secondary_xaxis("top")
    top.set_xticks([places[int(number)] for number in labelled], [str(number) for number in labelled], fontsize=7)
    top.tick_params(colors=style.muted, length=2)
    top.set_xlabel("Number of the ring", fontsize=8, color=style.muted)
    top.spines[:].set_visible(False)
    return figure


def draw_sectors(style: Style, result: xr.Dataset) -> Figure:
    """Draw the residuals against azimuth."""
    mean = (result["sector"].values, result["sector_residual"].values, result["sector_residual_errors"].values)
    figure = _draw_residuals(style, result, result["point_azimuth"].values, mean, "Azimuth (°)")
    figure.axes[0].set_xlim(-180, 180)
    figure.axes[0].set_xticks(np.arange(-180, 181, 45))
    return figure


def draw_positions(style: Style, result: xr.Dataset) -> Figure:
    """Draw the residuals against the number of the image."""
    number = result["position"].values
    mean = (number, result["position_residual"].values, result["position_residual_errors"].values)
    place = result["point_image"].values.astype(float)
    figure = _draw_residuals(style, result, place, mean, "Number of the image")
    figure.axes[0].locator_params(axis="x", integer=True)
    return figure


def _draw_residuals(
    style: Style, result: xr.Dataset, place: _Array, mean: tuple[_Array, _Array, _Array], label: str
) -> Figure:
    figure = new_figure(3.0)
    axes = figure.subplots()
    residual, used = result["residual"].values, result["weight"].values > 0
    typical = float(np.sqrt(np.nanmean(residual[used] ** 2))) if used.any() else 1.0
    limit = max(WIDEST_SCALE * typical, 1.2 * float(np.nanmax(np.abs(mean[1]), initial=0.0)), 1e-3)
    step = max(1, -(-residual.size // MOST_POINTS))
    # Points of one ring lie on one line otherwise; the picture is the same each time.
    jitter = np.random.default_rng(1).uniform(-1, 1, residual.size) * _jitter(place)
    for chosen, color in ((used, style.muted), (~used & np.isfinite(residual), "#d62728")):
        axes.scatter(
            (place + jitter)[chosen][::step],
            np.clip(residual[chosen][::step], -limit, limit),
            s=3,
            color=color,
            alpha=0.35,
            linewidths=0,
        )
    axes.axhline(0.0, color=style.faint, linewidth=0.8)
    axes.errorbar(*mean[:2], yerr=mean[2], fmt="o", color=style.color(0), markersize=3.5, linewidth=1.2, capsize=0)
    axes.set_ylim(-1.05 * limit, 1.05 * limit)
    axes.set_xlabel(label)
    axes.set_ylabel("Residual (pixels)")
    open_frame(axes)
    apply_style(figure, style)
    return figure


def draw_places(style: Style, result: xr.Dataset) -> Figure:
    """Draw the residuals where on the detector they are."""
    x, y = result["x"].values, result["y"].values
    width, height = float(x[-1] + x[0]), float(y[-1] + y[0])
    first = result["point_image"].values == 0
    chosen = np.flatnonzero(first & (result["weight"].values > 0))
    chosen = chosen[:: max(1, -(-chosen.size // MOST_POINTS))]
    residual = result["residual"].values[chosen]
    limit = max(float(np.percentile(np.abs(residual), 98)), 1e-3) if residual.size else 1.0
    shown = 5.4
    figure = new_figure(min(shown * height / width, 8.0) + 0.6, shown + 1.4)
    axes = figure.subplots()
    dots = axes.scatter(
        result["point_x"].values[chosen],
        result["point_y"].values[chosen],
        c=residual,
        s=9,
        cmap=style.diverging,
        vmin=-limit,
        vmax=limit,
        linewidths=0,
    )
    bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=35)
    bar.outline.set_visible(False)
    axes.set_aspect("equal")
    axes.set_xlim(0.0, width)
    axes.set_ylim(height, 0.0)
    axes.set_xlabel("x (pixels)")
    axes.set_ylabel("y (pixels)")
    apply_style(figure, style)
    bar.set_label("Residual (pixels)", color=style.ink, size=9)
    return figure


def _jitter(place: _Array) -> float:
    known = np.unique(place[np.isfinite(place)])
    if known.size < 2 or known.size > 200:
        return 0.0
    return 0.25 * float(np.median(np.diff(known)))


def _free(result: xr.Dataset) -> list[int]:
    """Return the parameters that have a variance."""
    variance = np.diag(result["covariance"].values)
    return [int(number) for number in np.flatnonzero(np.isfinite(variance) & (variance > 0))]


def correlations(result: xr.Dataset) -> tuple[list[str], _Array]:
    """Return names and correlation matrix of the refined parameters."""
    free = _free(result)
    covariance = result["covariance"].values[np.ix_(free, free)]
    errors = np.sqrt(np.diag(covariance))
    return [str(result["parameter"].values[number]) for number in free], covariance / np.outer(errors, errors)


def draw_correlations(style: Style, result: xr.Dataset) -> Figure:
    """Draw the correlation matrix with its numbers."""
    names, matrix = correlations(result)
    size = min(0.75 * len(names) + 1.6, 8.0)
    figure = new_figure(size, size + 1.2)
    axes = figure.subplots()
    axes.imshow(matrix, cmap=style.diverging, vmin=-1, vmax=1)
    for row in range(len(names)):
        for column in range(len(names)):
            value = matrix[row, column]
            color = "#ffffff" if abs(value) > 0.6 else "#1f2933"
            axes.text(column, row, f"{value:+.2f}", ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    apply_style(figure, style)
    return figure


# ---- text


def verdict_html(result: xr.Dataset) -> str:
    """Return the verdict in words, with the reasons and what to do."""
    verdict = str(result.attrs.get("verdict", ""))
    said = {
        "trusted": "This geometry can be trusted.",
        "doubtful": "This geometry is doubtful.",
        "failed": "There is no geometry that can be used.",
    }.get(verdict, verdict)
    findings = [tuple(str(part) for part in item) for item in result.attrs.get("findings", ())]
    rows = sorted(findings, key=lambda item: ("failed", "doubtful", "noted", "good").index(item[1]))
    items = "".join(_finding(*item) for item in rows)
    return f'<div class="verdict {escape(verdict)}" role="status"><p>{escape(said)}</p><ul>{items}</ul></div>'


def _finding(name: str, state: str, text: str, advice: str) -> str:
    mark = {"good": "✓", "noted": "!", "doubtful": "?", "failed": "✗"}.get(state, "")
    more = f' <span class="advice">{escape(advice)}</span>' if advice and state != "good" else ""
    return f'<li class="{escape(state)}"><span class="mark" aria-hidden="true">{mark}</span> {escape(text)}{more}</li>'


def tables_html(result: xr.Dataset) -> str:
    """Return the tables of parameters and of what rings determine well."""
    if "parameter_value" not in result.data_vars:
        return ""
    rows = []
    units = _units(result["parameter_value"])
    free = set(_free(result))
    for number, name in enumerate(result["parameter"].values):
        value = float(result["parameter_value"].values[number])
        error = float(result["parameter_value_errors"].values[number])
        note = (
            "" if number in free else "kept" if error == 0 else "not determined" if np.isinf(error) else "at its bound"
        )
        rows.append((str(name), *_with_error(value, error, units[number]), units[number], note))
    parameters = _table("Parameters", ("Parameter", "Value", "Standard error", "Unit", ""), rows)
    rows = []
    units = _units(result["quantity_value"])
    for number, name in enumerate(result["quantity"].values):
        value = float(result["quantity_value"].values[number])
        error = float(result["quantity_value_errors"].values[number])
        again = float(result["quantity_repeated"].values[number])
        scaled = _with_error(value, error, units[number])
        repeated = "" if np.isnan(again) else number_text(again, 2)
        rows.append((str(name).replace("_", " "), *scaled, units[number], repeated))
    header = ("Quantity", "Value", "Standard error", "Unit", "Error by repetition without sectors")
    return parameters + _table("What rings determine well", header, rows)


def _units(values: xr.DataArray) -> list[str]:
    return [str(unit) for unit in values.attrs.get("units_of_each", [""] * values.size)]


def _with_error(value: float, error: float, unit: str) -> tuple[str, str]:
    """Return value and error with as many digits as the error allows."""
    if not np.isfinite(error) or error <= 0:
        return f"{value:.8g}", "–"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    if digits > 9:
        return f"{value:.6e}", f"{error:.1e}"
    return f"{value:.{digits}f}", f"{error:.{digits}f}"


def _table(title: str, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f"<section><h2>{escape(title)}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></section>"
    )
