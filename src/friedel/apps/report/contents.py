"""What a report shows of a result: whichever pictures its variables allow, in the order of the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .labels import number_text, phase_text, unit_text
from .maps import Limits, Map, draw_composite, draw_maps
from .patterns import Reflections, draw_pattern, draw_profiles, draw_waterfall
from .sinograms import draw_center_check, draw_sinograms
from .style import Style

LARGEST_READ = 64 * 1024**2
"""Bytes of a large variable that are held in memory at once."""
WEAK_PHASE = 0.05
"""A phase whose highest peak is below this part of the highest of all is left out of the picture of all phases."""

MOST_LAYERS = 6
MOST_FRAMES = 400
MOST_CELLS = 100
"""Along each side of the picture of where peaks are."""

Draw = Callable[[Style], Figure]


@dataclass(frozen=True)
class Section:
    """A picture with a title and a sentence that says how to read it."""

    name: str
    title: str
    text: str
    draw: Draw


def sections(result: xr.Dataset, notes: Mapping[str, Any]) -> Iterator[Section]:
    """Yield what can be drawn of `result`."""
    yield from _phase_sections(result)
    yield from _volume_sections(result)
    yield from _pattern_sections(result)
    yield from _sinogram_sections(result, notes)
    yield from _map_sections(result)
    yield from _residual_sections(result)
    yield from _integration_sections(result)
    yield from _scan_map_sections(result)
    yield from _image_sections(result)
    yield from _count_sections(result)
    yield from _position_sections(result)


def _phase_sections(result: xr.Dataset) -> Iterator[Section]:
    maps = _named(result, "phase")
    if maps is None:
        return
    layers = _layers(maps)
    one = [
        _map(maps.isel(phase=number, layer=layers[len(layers) // 2]), name, number)
        for number, name in _entries(maps, "phase")
    ]
    weak = _weak_phases(result)
    strong = [picture for number, picture in enumerate(one) if number not in weak]
    if len(strong) > 1:
        text = "Each phase in its colour, stronger where there is more of it, relative to its own largest value."
        if weak:
            names = ", ".join(one[number].title for number in sorted(weak))
            text += f" Left out, for its peaks are nowhere above {100 * WEAK_PHASE:.0f} % of the others': {names}."
        yield Section(
            "phases", "Where each phase is", text + _layer_text(maps, layers), partial(draw_composite, maps=strong)
        )
    yield Section(
        "phase_maps",
        "Map of each phase",
        f"{maps.attrs.get('long_name', 'Amount of each phase').capitalize()} in every voxel.",
        partial(draw_maps, maps=_layered(maps, "phase", layers), columns=_columns(maps)),
    )


def _weak_phases(result: xr.Dataset) -> set[int]:
    """Return the phases whose peaks are so low everywhere that their map is noise or a trace."""
    heights = result.get("phase_height")
    if heights is None or not heights.size:
        return set()
    return set(np.flatnonzero(heights.values < WEAK_PHASE * heights.values.max()).tolist())


def _named(result: xr.Dataset, dimension: str) -> xr.DataArray | None:
    """Return the variable that has a map for each entry of `dimension`, whatever it is called."""
    for name, variable in result.data_vars.items():
        if {dimension, "y", "x"} <= set(variable.dims) and not str(name).endswith("_errors"):
            return variable if "layer" in variable.dims else variable.expand_dims("layer", axis=1)
    return None


def _entries(maps: xr.DataArray, dimension: str) -> list[tuple[int, str]]:
    """Return number and name of each entry of `dimension`."""
    coordinate = maps.coords.get(dimension)
    if coordinate is None:
        return [(number, f"{dimension} {number + 1}") for number in range(maps.sizes[dimension])]
    units = unit_text(str(coordinate.attrs.get("units", "")))
    return [(number, _entry_name(value, units)) for number, value in enumerate(coordinate.values)]


def _entry_name(value: Any, units: str) -> str:
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        return phase_text(value)
    return f"{float(value):.4g} {units}".strip() if isinstance(value, (float, np.floating)) else str(value)


def _layers(maps: xr.DataArray) -> list[int]:
    """Return the layers to show: all, or some that are evenly spread."""
    count = maps.sizes.get("layer", 1)
    return [int(number) for number in np.unique(np.linspace(0, count - 1, min(count, MOST_LAYERS)).round())]


def _layer_text(maps: xr.DataArray, layers: list[int]) -> str:
    count = maps.sizes.get("layer", 1)
    return "" if count == 1 else f" Layer {layers[len(layers) // 2] + 1} of {count}."


def _layered(maps: xr.DataArray, dimension: str, layers: list[int], limits: Limits = "intensity") -> list[Map]:
    """Return the maps of each entry, layer by layer; the layers of one entry share their colours."""
    count = maps.sizes.get("layer", 1)
    found = []
    for number, name in _entries(maps, dimension):
        color = number if dimension == "phase" else None
        one = maps.isel({dimension: number, "layer": layers}).transpose("layer", "y", "x").compute()
        bounds = Map("", np.asarray(one.values, float), limits=limits).color_limits()
        for row, layer in enumerate(layers):
            title = name if count == 1 else f"{name}, layer {layer + 1}"
            found.append(replace(_map(one.isel(layer=row), title, color, limits), bounds=bounds))
    return found


def _map(values: xr.DataArray, title: str, color: int | None = None, limits: Limits = "intensity") -> Map:
    step, units = _step(values)
    picture = Map(
        title, np.asarray(values.values, float), step, units, str(values.attrs.get("units", "")), limits, color
    )
    return replace(picture, aspect=_aspect(values, step))


def _step(values: xr.DataArray, dim: str = "x") -> tuple[float, str]:
    axis = values.coords.get(dim)
    if axis is None or axis.size < 2:
        return 1.0, "px"
    return abs(float(axis[-1] - axis[0])) / (axis.size - 1), str(axis.attrs.get("units") or "px")


def _aspect(values: xr.DataArray, step: float) -> float:
    """Return the height of a pixel over its width, within what can be drawn; 1 where they are of different kinds."""
    height, units = _step(values, "y")
    if units != _step(values)[1] or not (step > 0 and height > 0):
        return 1.0
    return float(np.clip(height / step, 0.2, 5.0))


def _pattern_sections(result: xr.Dataset) -> Iterator[Section]:
    pattern = result.get("mean_pattern")
    if pattern is None:
        return
    text = "Average over the scan; the band is one standard deviation."
    marks = reflections(result)
    if marks:
        text += " Ticks: the reflections of each phase."
    draw = partial(draw_pattern, intensity=pattern, errors=result.get("mean_pattern_errors"), reflections=marks)
    yield Section("mean_pattern", "Mean pattern", text, draw)


def reflections(result: xr.Dataset) -> tuple[Reflections, ...]:
    """Return the reflections of each phase, from a variable of (phase, reflection) filled up with NaN."""
    for name, variable in result.data_vars.items():
        if "reflection" in variable.dims and "phase" in variable.dims and "intensity" not in str(name):
            values = variable.transpose("phase", "reflection").values
            names = [text for _, text in _entries(variable, "phase")]
            return tuple(Reflections(phase, row[np.isfinite(row)]) for phase, row in zip(names, values, strict=True))
    return ()


def _sinogram_sections(result: xr.Dataset, notes: Mapping[str, Any]) -> Iterator[Section]:
    sinogram = result.get("sinogram")
    if sinogram is None or not {"angle", "translation"} <= set(sinogram.dims):
        return
    if "layer" in sinogram.dims:
        sinogram = sinogram.isel(layer=sinogram.sizes["layer"] // 2)
    shown = {"All channels": sinogram}
    if "radial" in sinogram.dims:
        shown = _radial_sums(sinogram, result.get("mean_pattern"))
    total = next(iter(shown.values()))
    yield Section(
        "sinogram",
        "Sinograms",
        "Intensity against angle and translation, summed over all radial bins and over the strongest peak. "
        "Horizontal stripes are lost beam, vertical ones a bad position.",
        partial(draw_sinograms, sinograms=shown),
    )
    center, estimates = centers(notes)
    if center is not None:
        yield Section(
            "center",
            "Centre of rotation",
            f"A projection and the mirror image of the opposite one about pixel {center:.2f}: "
            "they coincide if the centre is right.",
            partial(draw_center_check, sinogram=total, center=center, estimates=estimates),
        )


def _radial_sums(sinogram: xr.DataArray, pattern: xr.DataArray | None) -> dict[str, xr.DataArray]:
    """Return the sinograms of all bins and of the strongest peak, reading a few angles at a time."""
    sinogram = sinogram.transpose("angle", "translation", "radial")
    rows = max(1, LARGEST_READ // max(1, sinogram.nbytes // sinogram.sizes["angle"]))
    peak = None if pattern is None else strongest_peak(pattern.values)
    total, partly = [], []
    for start in range(0, sinogram.sizes["angle"], rows):
        values = sinogram.isel(angle=slice(start, start + rows)).values
        total.append(np.nansum(values, axis=-1))
        if peak is not None:
            partly.append(np.nansum(values[..., peak], axis=-1))
    frame = sinogram.isel(radial=0, drop=True)
    shown = {"All channels": frame.copy(data=np.concatenate(total))}
    if peak is not None:
        radial = sinogram["radial"]
        middle = float(radial[(peak.start + peak.stop) // 2])
        title = f"Peak at {number_text(middle)} {unit_text(str(radial.attrs.get('units', '')))}"
        shown[title] = frame.copy(data=np.concatenate(partly))
    return shown


def strongest_peak(pattern: NDArray[np.floating]) -> slice:
    """Return the bins of the peak that rises highest above the smooth part of `pattern`."""
    from scipy.ndimage import median_filter

    values = np.nan_to_num(np.asarray(pattern, float))
    above = values - median_filter(values, size=max(3, values.size // 15) | 1, mode="nearest")
    top = int(np.argmax(above))
    start = stop = top
    while start > 0 and above[start - 1] > 0.3 * above[top]:
        start -= 1
    while stop < values.size - 1 and above[stop + 1] > 0.3 * above[top]:
        stop += 1
    return slice(start, stop + 1)


def centers(notes: Mapping[str, Any]) -> tuple[float | None, dict[str, float]]:
    """Return the centre of rotation in pixels and what each estimator found, from the notes of the record."""
    chosen: float | None = None
    estimates: dict[str, float] = {}
    for key, value in notes.items():
        if "cent" not in key:
            continue
        if isinstance(value, Mapping):
            inner, found = centers(
                {f"center_{name}": item for name, item in value.items() if isinstance(item, Mapping)}
            )
            chosen, estimates = (chosen if inner is None else inner), estimates | found
            numbers = {name: float(item) for name, item in value.items() if isinstance(item, (int, float))}
            picked = [name for name in numbers if name in ("center", "value", "used", "chosen", "pixel")]
            if picked:
                chosen = numbers[picked[0]]
            if "estimate" in key:
                estimates |= {name: item for name, item in numbers.items() if name not in picked}
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            chosen = float(value)
    if chosen is None and estimates:
        chosen = float(np.median(list(estimates.values())))
    return chosen, estimates


def _map_sections(result: xr.Dataset) -> Iterator[Section]:
    for dimension in ("roi", "region"):
        if (maps := _named(result, dimension)) is not None and maps.sizes["y"] == 1:
            yield _profile_section("regions", "Regions of interest", [(maps, "")], dimension)
        elif maps is not None:
            pictures = _layered(maps, dimension, _layers(maps))
            text = "Intensity between the limits of each region."
            yield Section(
                "regions", "Regions of interest", text, partial(draw_maps, maps=pictures, columns=_columns(maps))
            )
    yield from _peak_sections(result)


_PEAK_MAPS: dict[str, tuple[str, Limits]] = {
    "peak_area": ("area", "intensity"),
    "peak_position": ("position", "spread"),
    "peak_width": ("width", "spread"),
}


def _peak_sections(result: xr.Dataset) -> Iterator[Section]:
    found = {name: result[name] for name in _PEAK_MAPS if name in result.data_vars and "peak" in result[name].dims}
    if not found:
        return
    first = next(iter(found.values()))
    if first.sizes["y"] == 1:
        yield _profile_section("peaks", "Peaks", [(maps, _PEAK_MAPS[name][0]) for name, maps in found.items()], "peak")
        return
    pictures = []
    for number, title in _entries(first, "peak"):
        for name, maps in found.items():
            middle = maps.isel(layer=maps.sizes["layer"] // 2) if "layer" in maps.dims else maps
            what, limits = _PEAK_MAPS[name]
            pictures.append(_map(middle.isel(peak=number), f"{title}: {what}", None, limits))
    text = "Area, first and second moment of each peak; blank where there is too little of it to tell."
    text += _layer_text(first, _layers(first))
    yield Section("peaks", "Peaks", text, partial(draw_maps, maps=pictures, columns=len(found)))


def _profile_section(name: str, title: str, found: list[tuple[xr.DataArray, str]], dimension: str) -> Section:
    """Return curves along a scan of one line, in place of maps of one row."""
    curves = []
    for maps, what in found:
        for number, entry in _entries(maps, dimension):
            one = maps.isel({dimension: number, "y": 0})
            one = one.isel(layer=0) if "layer" in one.dims else one
            curves.append((f"{entry}: {what}" if what else entry, one.compute()))
    return Section(name, title, "Along the line of the scan.", partial(draw_profiles, curves=curves))


def _columns(maps: xr.DataArray) -> int | None:
    """Return how many panels a row has: one for each layer shown, if there are several."""
    layers = len(_layers(maps))
    return layers if layers > 1 else None


def _residual_sections(result: xr.Dataset) -> Iterator[Section]:
    residual = result.data_vars.get("residual")
    if residual is not None and {"y", "x"} <= set(residual.dims):
        residual = residual if "layer" in residual.dims else residual.expand_dims("layer")
        layers = _layers(residual)
        titles = [f"Layer {layer + 1}" if residual.sizes["layer"] > 1 else "Residual" for layer in layers]
        maps = [_map(residual.isel(layer=layer), title) for layer, title in zip(layers, titles, strict=True)]
        text = "What the phases leave unexplained in each voxel: bright where a phase is missing or the fit is bad."
        yield Section("residual", "Residual map", text, partial(draw_maps, maps=maps))
    measured, fitted = result.data_vars.get("volume_pattern"), result.data_vars.get("fit_pattern")
    if fitted is None:
        fitted = result.data_vars.get("fitted_pattern")
    measured = measured if measured is not None else result.data_vars.get("mean_pattern")
    if fitted is not None and measured is not None:
        text = "Mean pattern of the scan, the fit of the phases on a smooth background, and the difference."
        draw = partial(draw_pattern, intensity=measured, reflections=reflections(result), fitted=fitted)
        yield Section("residual_pattern", "Residual pattern", text, draw)
    elif (left := result.data_vars.get("residual_pattern")) is not None:
        draw = partial(draw_pattern, intensity=left, reflections=reflections(result))
        yield Section("residual_pattern", "Residual pattern", "What the phases leave unexplained.", draw)


def _integration_sections(result: xr.Dataset) -> Iterator[Section]:
    intensity = result.data_vars.get("intensity")
    on_map = intensity is not None and {"y", "x"} <= set(intensity.dims)
    if intensity is None or on_map or not {"radial", "azimuth"} & set(intensity.dims):
        return
    if {"radial", "azimuth"} <= set(intensity.dims):
        cake = intensity.isel(frame=intensity.sizes["frame"] // 2) if "frame" in intensity.dims else intensity
        cake = cake.transpose("azimuth", "radial")
        yield Section(
            "cake",
            "Cake",
            "Intensity against azimuth and radial axis; blank where the detector sees nothing.",
            partial(draw_waterfall, intensity=cake.compute()),
        )
        return
    if "frame" not in intensity.dims:
        draw = partial(draw_pattern, intensity=intensity, errors=result.data_vars.get("intensity_errors"))
        yield Section("pattern", "Pattern", "The band is one standard deviation.", draw)
        return
    step = -(-intensity.sizes["frame"] // MOST_FRAMES)
    numbers = np.arange(intensity.sizes["frame"])[::step]
    some = intensity.isel(frame=slice(None, None, step)).transpose("frame", ...).compute()
    some = some.assign_coords(frame=numbers)
    mean = some.mean("frame", keep_attrs=True)
    text = "Mean over the frames." if step == 1 else f"Mean over one frame in {step}."
    yield Section("pattern", "Mean pattern", text, partial(draw_pattern, intensity=mean))
    if some.sizes["frame"] > 1:
        yield Section(
            "frames",
            "Patterns",
            "A line for each frame." if step == 1 else f"A line for one frame in {step}.",
            partial(draw_waterfall, intensity=some),
        )


def _scan_map_sections(result: xr.Dataset) -> Iterator[Section]:
    """Yield pictures of a diffraction map: the mean intensity, or the patterns along a line."""
    mean, intensity = result.data_vars.get("mean_intensity"), result.data_vars.get("intensity")
    if mean is None or intensity is None or not {"y", "x"} <= set(intensity.dims):
        return
    if mean.sizes["y"] > 1:
        text = "Mean over the whole pattern at every point of the scan; blank where there is no frame."
        yield Section("mean_map", "Mean intensity", text, partial(draw_maps, maps=[_map(mean, "")], columns=1))
        return
    step = -(-intensity.sizes["x"] // MOST_FRAMES)
    line = intensity.isel(y=0, x=slice(None, None, step))
    if "azimuth" in line.dims:
        line = line.mean("azimuth", keep_attrs=True)
    line = line.transpose("x", "radial").compute()
    text = "The pattern at every point of the line." if step == 1 else f"The pattern at one point in {step}."
    yield Section("line", "Patterns along the line", text, partial(draw_waterfall, intensity=line))


def _count_sections(result: xr.Dataset) -> Iterator[Section]:
    """Yield pictures of what was counted in each frame: peaks, stored pixels."""
    for name in ("n_peaks", "n_stored"):
        counts = result.data_vars.get(name)
        if counts is None or counts.dims != ("frame",):
            continue
        numbers = xr.Variable("frame", np.arange(counts.size), {"units": "", "long_name": "Frame"})
        shown = counts.astype(float).assign_coords(frame=numbers)
        text = f"{counts.sum().item()} in {counts.size} frames, {counts.max().item()} at most."
        yield Section(name, counts.attrs.get("long_name", name), text, partial(draw_pattern, intensity=shown))


def _position_sections(result: xr.Dataset) -> Iterator[Section]:
    """Yield a picture of where on the detector peaks were found."""
    columns, rows = result.data_vars.get("peak_x"), result.data_vars.get("peak_y")
    if columns is None or rows is None or columns.dims != ("frame", "peak") or not columns.size:
        return
    counts, cell = peak_density(columns, rows)
    if counts.any():
        picture = Map("Peaks", counts, cell, "px", bounds=(0.0, counts.max()))
        text = f"Number of peaks in cells of {cell} by {cell} pixels, over all frames, as far as peaks were found."
        yield Section("peak_positions", "Where peaks are", text, partial(draw_maps, maps=[picture], columns=1))


def peak_density(columns: xr.DataArray, rows: xr.DataArray) -> tuple[NDArray[np.float64], int]:
    """Return the number of peaks in square cells of the detector, from pixel (0, 0) on, and their side in pixels.

    Parameters
    ----------
    columns, rows : DataArray, dims (frame, peak)
        Positions in pixels; NaN beyond the peaks of a frame.
    """
    step = max(1, LARGEST_READ // max(1, 8 * columns.sizes["peak"]))
    parts = [slice(start, start + step) for start in range(0, columns.sizes["frame"], step)]
    pieces = [(columns[part].values, rows[part].values) for part in parts]
    known = [np.isfinite(x) & np.isfinite(y) for x, y in pieces]
    x, y = (
        np.concatenate([piece[axis][use] for piece, use in zip(pieces, known, strict=True)]).clip(0) for axis in (0, 1)
    )
    if not x.size:
        return np.zeros((1, 1)), 1
    cell = max(1, math.ceil(max(x.max(), y.max()) / MOST_CELLS))
    shape = int(y.max() // cell) + 1, int(x.max() // cell) + 1
    numbers = np.ravel_multi_index(((y // cell).astype(np.int64), (x // cell).astype(np.int64)), shape)
    return np.bincount(numbers, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64), cell


def _image_sections(result: xr.Dataset) -> Iterator[Section]:
    """Yield pictures of whole detectors: variables over rows and columns that have no position."""
    if "x" in result.coords:
        return
    found = [
        (str(name), variable if variable.ndim == 2 else variable[0])
        for name, variable in result.data_vars.items()
        if variable.dims in (("y", "x"), ("frame", "y", "x")) and not str(name).endswith("_errors")
    ]
    if found:
        pictures = [_map(image, name.replace("_", " ")) for name, image in found]
        text = "Every pixel of the detector; blank where there is no valid value."
        if "frame" in result.dims:
            text += " The first frame of all."
        yield Section("images", "Images", text, partial(draw_maps, maps=pictures, columns=min(len(pictures), 2)))


def _volume_sections(result: xr.Dataset) -> Iterator[Section]:
    volume = result.data_vars.get("volume")
    if volume is None or not {"y", "x"} <= set(volume.dims) or "phase" in result.dims:
        return
    others = [dimension for dimension in volume.dims if dimension not in ("y", "x")]
    middle = volume.isel({dimension: volume.sizes[dimension] // 2 for dimension in others}).transpose("y", "x")
    if "radial" in others and result.data_vars.get("mean_pattern") is not None:
        peak = strongest_peak(result["mean_pattern"].values)
        chosen = {dimension: volume.sizes[dimension] // 2 for dimension in others if dimension != "radial"}
        middle = volume.isel(chosen).isel(radial=peak).sum("radial", keep_attrs=True).transpose("y", "x")
    title = "Slice" if others else "Picture"
    yield Section("slice", title, "The middle of the volume.", partial(draw_maps, maps=[_map(middle, "")], columns=1))
