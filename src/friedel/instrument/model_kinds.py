"""What a detector model is: its pixels, how its modules are laid out, what its sensor may be, how it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Span = tuple[int, int]


class Module(NamedTuple):
    """The part of a detector's array that one rigid module records.

    Attributes
    ----------
    rows, columns : (int, int)
        First and last + 1.
    """

    rows: Span
    columns: Span


class Readout(NamedTuple):
    """A shape and a pixel size that a detector can be read out in.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    pixel : float
        Pixel size in m.
    """

    shape: tuple[int, int]
    pixel: float


class SensorChoice(NamedTuple):
    """A sensor that a model is sold with: material, and thickness in m."""

    material: str
    thickness: float


# ---- layouts that are no regular grid of sensitive pixels


@dataclass(frozen=True)
class RoundPlate:
    """Only pixels within half the number of rows from the middle are sensitive."""


@dataclass(frozen=True)
class Chips:
    """Sensitive chips on a regular grid of pixels.

    Attributes
    ----------
    size : (int, int)
        Rows and columns of a chip.
    modules : tuple of (tuple of int, tuple of int)
        Of each module the first rows and the first columns of its chips, which are all their pairs.
    """

    size: tuple[int, int]
    modules: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    def spans(self) -> list[tuple[int, int, int, int]]:
        """Return first row, last + 1, first column, last + 1 of each chip."""
        height, width = self.size
        return [(i, i + height, j, j + width) for rows, columns in self.modules for i in rows for j in columns]

    def module_spans(self) -> tuple[Module, ...]:
        """Return the part of the array that holds the chips of each module."""
        return tuple(
            Module((min(rows), max(rows) + self.size[0]), (min(columns), max(columns) + self.size[1]))
            for rows, columns in self.modules
        )


@dataclass(frozen=True)
class WiderEdges:
    """Chips side by side; where two meet, the pixels on either side are wider.

    Attributes
    ----------
    chip : (int, int)
        Rows and columns of a chip.
    factor : (float, float)
        Height of a row, and width of a column, beside the edge of a chip over that of others.
    gap : (float, float)
        Distance between chips along both axes in m, besides that.
    """

    chip: tuple[int, int]
    factor: tuple[float, float]
    gap: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Polygon:
    """Equal flat modules one behind the other along the rows' axis, each turned away from the sample a bit more.

    Attributes
    ----------
    edges : WiderEdges
        Of the chips of a module.
    rows : int
        Of a module.
    length : float
        From where a module begins to where the next one does, in m.
    angle : float
        Between neighbours, in degrees.
    """

    edges: WiderEdges
    rows: int
    length: float
    angle: float


@dataclass(frozen=True)
class Bent:
    """A plate bent to a cylinder towards the sample, its axis along the columns' side.

    Attributes
    ----------
    radius : float
        In m, unless a geometry says another.
    """

    radius: float


@dataclass(frozen=True)
class Hexagonal:
    """Hexagons side by side along the rows, every other row half a pixel to the right; pixel2 is their pitch."""


Layout = RoundPlate | Chips | WiderEdges | Polygon | Bent | Hexagonal


@dataclass(frozen=True)
class DetectorModel:
    """A detector as it is sold.

    Attributes
    ----------
    name : str
    shape : (int, int)
        Rows and columns, unbinned.
    pixel1, pixel2 : float
        Unbinned pixel size in m.
    manufacturer : str
    gap_rows, gap_columns : tuple of (int, int)
        Spans without sensitive pixels.
    modules : tuple of Module
        What each module records; empty for a detector that is one.
    dummy, delta_dummy
        See `Detector`.
    default_binning : int
        Binning that is meant when no pixel size is given.
    readouts : tuple of Readout
        Those whose shape or pixel size is no plain multiple of the unbinned one, or that the manufacturer names.
    sensors : tuple of SensorChoice
        Sensors that it is sold with. None is taken without being asked for.
    aliases : tuple of str
        Other names, besides other spellings of `name`.
    layout : Layout or None
        None for a regular grid.
    note : str
        What a user has to know.
    """

    name: str
    shape: tuple[int, int]
    pixel1: float
    pixel2: float
    manufacturer: str = ""
    gap_rows: tuple[Span, ...] = ()
    gap_columns: tuple[Span, ...] = ()
    modules: tuple[Module, ...] = ()
    dummy: float | None = None
    delta_dummy: float = 0.0
    default_binning: int = 1
    readouts: tuple[Readout, ...] = ()
    sensors: tuple[SensorChoice, ...] = ()
    aliases: tuple[str, ...] = ()
    layout: Layout | None = None
    note: str = ""

    def default_readout(self) -> Readout:
        """Return the readout that is meant when no pixel size is given."""
        shape = (self.shape[0] // self.default_binning, self.shape[1] // self.default_binning)
        named = [readout for readout in self.readouts if readout.shape == shape]
        return named[0] if named else Readout(shape, self.pixel2 * self.default_binning)


@dataclass(frozen=True)
class Family:
    """Detectors tiled from one module.

    Attributes
    ----------
    name : str
        The models' names, with ``{}`` for the size.
    manufacturer : str
    pixel : float
        In m.
    module, gap : (int, int)
        Rows and columns of a module and of the gap between two.
    sizes : dict
        Size in the name to (modules along y, modules along x).
    sensors : tuple of SensorChoice
    seam : (int, int) or None
        Columns inside each module without sensitive pixels (two CdTe crystals side by side).
    aliases : dict
        Other names of a size.
    """

    name: str
    manufacturer: str
    pixel: float
    module: tuple[int, int]
    gap: tuple[int, int]
    sizes: Mapping[str, tuple[int, int]]
    sensors: tuple[SensorChoice, ...]
    seam: Span | None = None
    dummy: float | None = -2.0
    delta_dummy: float = 1.5
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def models(self) -> list[DetectorModel]:
        """Return one model for each size."""
        return [self._model(size, tiles) for size, tiles in self.sizes.items()]

    def _model(self, size: str, tiles: tuple[int, int]) -> DetectorModel:
        (rows, columns), (gap_rows, gap_columns) = self.module, self.gap
        shape = (tiles[0] * (rows + gap_rows) - gap_rows, tiles[1] * (columns + gap_columns) - gap_columns)
        tops = [number * (rows + gap_rows) for number in range(tiles[0])]
        lefts = [number * (columns + gap_columns) for number in range(tiles[1])]
        seams = [] if self.seam is None else [(left + self.seam[0], left + self.seam[1]) for left in lefts]
        return DetectorModel(
            name=self.name.format(size),
            shape=shape,
            pixel1=self.pixel,
            pixel2=self.pixel,
            manufacturer=self.manufacturer,
            gap_rows=tuple((top - gap_rows, top) for top in tops[1:]),
            gap_columns=tuple(sorted([*((left - gap_columns, left) for left in lefts[1:]), *seams])),
            modules=tuple(Module((top, top + rows), (left, left + columns)) for top in tops for left in lefts),
            dummy=self.dummy,
            delta_dummy=self.delta_dummy,
            sensors=self.sensors,
            aliases=self.aliases.get(size, ()),
        )


def chip_edges(length: int, chip: int) -> tuple[Span, ...]:
    """Return the spans of the first and the last pixel of each chip along an axis of `length` pixels."""
    inner = [(start - 1, start + 1) for start in range(chip, length, chip)]
    return ((0, 1), *inner, (length - 1, length))


def stacked(shape: tuple[int, int], module: tuple[int, int]) -> tuple[Module, ...]:
    """Return modules of one size, side by side without gaps."""
    return tuple(
        Module((i, i + module[0]), (j, j + module[1]))
        for i in range(0, shape[0], module[0])
        for j in range(0, shape[1], module[1])
    )
