"""Where the pixels of a detector model are, from the layout in its table."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import GeometryError

from .model_kinds import Bent, Chips, DetectorModel, Hexagonal, Module, Polygon, RoundPlate, Span, WiderEdges
from .pixel_layouts import (
    Cylinder,
    HexagonalLattice,
    PlacedModule,
    PlacedModules,
    RegularPixels,
    edges_of,
)
from .pixel_shapes import PixelShapes

BINNING_TOLERANCE = 0.01
_Array = NDArray[np.float64]


class ChosenReadout(NamedTuple):
    """How a model is read out.

    Attributes
    ----------
    shape : (int, int)
    pixel1, pixel2 : float
        In m.
    binning : (int, int) or None
        None for one that is no plain binning.
    """

    shape: tuple[int, int]
    pixel1: float
    pixel2: float
    binning: tuple[int, int] | None


def chosen_readout(
    model: DetectorModel, pixel1: float | None, pixel2: float | None, shape: tuple[int, int] | None = None
) -> ChosenReadout:
    """Return the readout of a model that has these pixel sizes in m, and this shape if several have.

    Raises
    ------
    GeometryError
        If a pixel size is no multiple of the model's own.
    """
    default = model.default_readout()
    if pixel1 is None and pixel2 is None and default in model.readouts:
        return ChosenReadout(
            default.shape, default.pixel, default.pixel, (model.default_binning, model.default_binning)
        )
    wanted1 = pixel1 or model.pixel1 * model.default_binning
    wanted2 = pixel2 or model.pixel2 * model.default_binning
    for readout in model.readouts:
        fits = all(abs(wanted - readout.pixel) <= BINNING_TOLERANCE * readout.pixel for wanted in (wanted1, wanted2))
        if fits and shape in (None, readout.shape):
            return ChosenReadout(readout.shape, wanted1, wanted2, None)
    binning = _binning(model, wanted1, 0), _binning(model, wanted2, 1)
    return ChosenReadout((model.shape[0] // binning[0], model.shape[1] // binning[1]), wanted1, wanted2, binning)


def _binning(model: DetectorModel, pixel: float, axis: int) -> int:
    native = (model.pixel1, model.pixel2)[axis]
    ratio = pixel / native
    binning = round(ratio)
    if not 1 <= binning <= model.shape[axis] or abs(ratio - binning) > BINNING_TOLERANCE * binning:
        raise GeometryError(
            f"A pixel of {model.name} measures {native * 1e6:g} µm; {pixel * 1e6:g} µm is no multiple of it.",
            "Correct the pixel size, or describe the detector by its pixels alone: 'Detector: Detector'.",
        )
    return binning


def binned_spans(spans: tuple[Span, ...], binning: int) -> tuple[Span, ...]:
    """Return spans of pixels that must not be used after binning: a binned pixel that holds any of them is one."""
    return tuple((start // binning, -(-stop // binning)) for start, stop in spans)


def binned_modules(modules: tuple[Module, ...], binning: tuple[int, int], shape: tuple[int, int]) -> tuple[Module, ...]:
    """Return the binned pixels that lie in one module each, as far as they are in the array of `shape`."""

    def inner(span: Span, axis: int) -> Span:
        return -(-span[0] // binning[axis]), min(span[1] // binning[axis], shape[axis])

    return tuple(Module(inner(module.rows, 0), inner(module.columns, 1)) for module in modules)


def pixels_of(model: DetectorModel, readout: ChosenReadout, radius: float | None = None) -> PixelShapes | None:
    """Return where the pixels of a model are in one of its readouts; None for a regular grid of sensitive pixels.

    Parameters
    ----------
    model : DetectorModel
    readout : ChosenReadout
    radius : float, optional
        Of a bent plate, in m; that of the model if not given.

    Raises
    ------
    GeometryError
        If these pixels cannot be binned, or no plate is bent that has a radius.
    """
    layout = model.layout
    if radius is not None and not isinstance(layout, Bent):
        raise GeometryError(f"{model.name} is not bent, and a radius of {radius} m is given.", "Leave out the radius.")
    if layout is None:
        return None
    if isinstance(layout, RoundPlate):
        return RegularPixels(readout.shape, round_plate=True)
    if isinstance(layout, Bent):
        return Cylinder(readout.shape, readout.pixel1, readout.pixel2, radius or layout.radius)
    if readout.binning != (1, 1):
        raise GeometryError(
            f"The pixels of {model.name} cannot be binned: {readout.pixel1 * 1e6:g} by {readout.pixel2 * 1e6:g} µm is "
            f"asked for, they measure {model.pixel1 * 1e6:g} by {model.pixel2 * 1e6:g} µm.",
            "Leave out the pixel size.",
        )
    if isinstance(layout, Hexagonal):
        return HexagonalLattice(readout.shape, readout.pixel2)
    if isinstance(layout, Chips):
        return RegularPixels(readout.shape, layout.spans())
    if isinstance(layout, WiderEdges):
        rows = _wider(layout, 0, readout.shape[0], readout.pixel1)
        columns = _wider(layout, 1, readout.shape[1], readout.pixel2)
        return PlacedModules(readout.shape, [PlacedModule((0, readout.shape[0]), (0, readout.shape[1]), rows, columns)])
    return _polygon(layout, readout)


def _wider(layout: WiderEdges, axis: int, length: int, pixel: float) -> _Array:
    """Return where pixels begin and end along one axis, float64 (length, 2)."""
    sizes, gaps = np.full(length, pixel), np.zeros(length)
    for start in range(layout.chip[axis], length, layout.chip[axis]):
        sizes[start - 1 : start + 1] *= layout.factor[axis]
        gaps[start] = layout.gap[axis]
    return edges_of(sizes, gaps)


def _polygon(layout: Polygon, readout: ChosenReadout) -> PlacedModules:
    height, width = readout.shape
    rows = _wider(layout.edges, 0, layout.rows, readout.pixel1)
    columns = _wider(layout.edges, 1, width, readout.pixel2)
    modules, origin = [], np.zeros(3)
    for number, top in enumerate(range(0, height, layout.rows)):
        angle = math.radians(number * layout.angle)
        slow = (math.cos(angle), 0.0, math.sin(angle))
        place = (float(origin[0]), float(origin[1]), float(origin[2]))
        modules.append(PlacedModule((top, top + layout.rows), (0, width), rows, columns, place, slow))
        origin = origin + layout.length * np.asarray(slow)
    return PlacedModules(readout.shape, modules)
