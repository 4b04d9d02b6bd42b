"""A detector: how many pixels, how large, which way round, where its modules leave gaps, and how it is distorted."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import GeometryError, ParameterError
from friedel.core.quantities import parse_length

from .model_kinds import DetectorModel, Module, Span
from .model_pixels import BINNING_TOLERANCE, binned_modules, binned_spans, chosen_readout, pixels_of
from .models import GENERIC, find_model, models, models_of_shape
from .pixel_layouts import Cylinder, HexagonalLattice
from .pixel_shapes import PixelShapes, Positions
from .sensor import Sensor

PIXEL_SIZES = re.compile(r"([\d.]+\s*[munµμ]m)(?:\s*x\s*([\d.]+\s*[munµμ]m))?")


@dataclass(frozen=True)
class Detector:
    """A flat detector of equal pixels, unless `pixels` says otherwise.

    Attributes
    ----------
    name : str
        Name of the model; "Detector" if it is known by its pixels only.
    shape : (int, int) or None
        Rows and columns of the stored array; None until a frame tells (`with_shape`).
    pixel1, pixel2 : float
        Pixel size in m along the rows' axis (slow, y) and along the columns' axis (fast, x).
    orientation : int
        Where the stored array's first pixel is, as seen from the sample (like the EXIF tag, as in PONI files):
        1 top left, 2 top right, 3 bottom right (the native one), 4 bottom left.
    dummy : float or None
        Value that marks an invalid pixel in signed data; unsigned data hold it wrapped around.
    delta_dummy : float
        Values within this distance from `dummy` are invalid too.
    gap_rows, gap_columns : tuple of (int, int)
        Spans (first, last + 1) without sensitive pixels: those of the stored array, whatever its orientation.
    sensor : Sensor or None
        What stops the photons; None if that is not known.
    pixels : PixelShapes or None
        Where the pixels really are, and which are not sensitive; None for a regular grid.
    module_spans : tuple of Module
        What each module records of the array that `pixels` describes, or of the stored array if they describe none;
        empty if the detector is one, or nothing is known. See `modules`.
    """

    name: str
    shape: tuple[int, int] | None
    pixel1: float
    pixel2: float
    orientation: int = 3
    dummy: float | None = None
    delta_dummy: float = 0.0
    gap_rows: tuple[Span, ...] = ()
    gap_columns: tuple[Span, ...] = ()
    sensor: Sensor | None = None
    pixels: PixelShapes | None = None
    module_spans: tuple[Module, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite(self.pixel1) and self.pixel1 > 0 and np.isfinite(self.pixel2) and self.pixel2 > 0):
            raise GeometryError(
                f"The pixel size of {self.name} is {self.pixel1!r} by {self.pixel2!r} m.",
                "Give two positive lengths in metres.",
            )
        if self.orientation not in (1, 2, 3, 4):
            raise GeometryError(
                f"The orientation of {self.name} is {self.orientation!r}.",
                "It is 1 (top left), 2 (top right), 3 (bottom right, the native one) or 4 (bottom left).",
            )
        if self.shape is not None and (len(self.shape) != 2 or min(self.shape) < 1):
            raise GeometryError(f"The shape of {self.name} is {self.shape}.", "Give rows and columns, 1 or more.")
        if self.pixels is not None and self.shape != self.pixels.shape:
            raise GeometryError(
                f"The shape of {self.name} is {self.shape}, its pixels are described for {self.pixels.shape}.",
                "Use the description that belongs to this detector.",
            )

    @classmethod
    def load(cls, name: str | Path) -> Detector:
        """Return the model of a name (`named`), or read a detector from a file.

        Parameters
        ----------
        name : str or path
            A model; the path of a spline file of FIT2D (.spline), a NeXus detector file, or a PONI file; or the size of
            the pixels of a detector without a name, "75um" or height and width, "75um x 100um".

        Raises
        ------
        ParameterError
            If there is neither such a model nor such a file.
        FileError
            If the file cannot be read or describes no detector.
        GeometryError
            If what it describes is not supported.
        """
        from .detector_file import is_detector_file, read_detector

        if (sizes := PIXEL_SIZES.fullmatch(str(name).strip())) is not None:
            pixel1, pixel2 = (parse_length(text, "pixel size") for text in (sizes[1], sizes[2] or sizes[1]))
            return cls.from_shape(None, pixel1, pixel2)
        if Path(name).suffix.lower() == ".poni":
            from .geometry import Geometry

            return Geometry.load(name).detector
        return read_detector(name) if is_detector_file(str(name)) or Path(name).is_file() else cls.named(str(name))

    def save(self, path: str | Path, *, overwrite: bool = False) -> Detector:
        """Write a NeXus detector file as pyFAI has them; return the detector as it is read from there.

        Raises
        ------
        OutputError
            If the file exists already or cannot be written.
        """
        from .detector_file import write_nexus_detector

        return write_nexus_detector(path, self, overwrite=overwrite)

    @classmethod
    def named(
        cls,
        name: str,
        *,
        pixel1: float | None = None,
        pixel2: float | None = None,
        orientation: int = 3,
        radius: float | None = None,
    ) -> Detector:
        """Return a detector of a known model. Its sensor is not known until you say which it is (`sensor`).

        Parameters
        ----------
        name : str
            Model, like "Pilatus300k", "pilatus cdte 2M", "Eiger2 4M"; case, spaces and dashes do not matter.
        pixel1, pixel2 : float, optional
            Pixel size in m; a multiple of the model's own means binned pixels.
        orientation : int
            See the class.
        radius : float, optional
            Of a bent image plate, in m; that of the model if not given.

        Raises
        ------
        ParameterError
            If there is no such model; the message lists those that are close.
        GeometryError
            If a pixel size is no multiple of the model's own, or the model has no radius.
        """
        model = find_model(name)
        chosen = chosen_readout(model, pixel1, pixel2)
        binning = chosen.binning or (1, 1)
        return cls(
            name=model.name,
            shape=chosen.shape,
            pixel1=chosen.pixel1,
            pixel2=chosen.pixel2,
            orientation=orientation,
            dummy=model.dummy,
            delta_dummy=model.delta_dummy,
            gap_rows=binned_spans(model.gap_rows, binning[0]),
            gap_columns=binned_spans(model.gap_columns, binning[1]),
            pixels=pixels_of(model, chosen, radius),
            module_spans=binned_modules(model.modules, binning, chosen.shape),
        )

    @classmethod
    def from_shape(
        cls, shape: tuple[int, int] | None, pixel1: float, pixel2: float | None = None, *, orientation: int = 3
    ) -> Detector:
        """Return a detector known by its pixels only: no gaps, no dummy value.

        Parameters
        ----------
        shape : (int, int) or None
            Rows and columns, None if not known yet.
        pixel1, pixel2 : float
            Pixel size in m; square pixels if `pixel2` is not given.
        orientation : int
            See the class.
        """
        return cls(GENERIC, shape, pixel1, pixel1 if pixel2 is None else pixel2, orientation)

    @classmethod
    def cylindrical(
        cls, shape: tuple[int, int], pixel1: float, pixel2: float, radius: float, *, orientation: int = 3
    ) -> Detector:
        """Return a plate bent towards the sample to a cylinder, its axis along the columns' side; see `Cylinder`.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns.
        pixel1, pixel2 : float
            Pixel size along the axis and along the arc, m.
        radius : float
            Of the cylinder, m.
        orientation : int
            See the class.
        """
        return cls(GENERIC, shape, pixel1, pixel2, orientation, pixels=Cylinder(shape, pixel1, pixel2, radius))

    @classmethod
    def hexagonal(cls, shape: tuple[int, int], pitch: float, *, orientation: int = 3) -> Detector:
        """Return a detector of hexagonal pixels, every other row half a pixel to the right; see `HexagonalLattice`.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns.
        pitch : float
            Distance of the centres of neighbours, m.
        orientation : int
            See the class.
        """
        lattice = HexagonalLattice(shape, pitch)
        return cls(GENERIC, shape, lattice.row_distance, pitch, orientation, pixels=lattice)

    @property
    def model(self) -> DetectorModel | None:
        """The model of that name, None if there is none."""
        return models().get(self.name)

    @property
    def described_by_name(self) -> bool:
        """Whether name, pixel sizes and radius tell where all pixels are."""
        if self.pixels is None:
            return True
        model = self.model
        if model is None or model.layout is None or self.pixels.path:
            return False
        chosen = chosen_readout(model, self.pixel1, self.pixel2, self.shape)
        return self.pixels == pixels_of(model, chosen, self.radius)

    @property
    def radius(self) -> float | None:
        """Radius of a bent plate in m, None of any other detector."""
        return self.pixels.radius if isinstance(self.pixels, Cylinder) else None

    @property
    def n_corners(self) -> int:
        """Corners of each pixel."""
        return self.pixels.n_corners if self.pixels is not None and self.displaced else 4

    def modules(self) -> tuple[Module, ...]:
        """Return the rows and columns of the stored array that each module records; one for all if none is known.

        Modules are rigid: each has its own place, a little off the nominal one. Gaps belong to none.
        """
        shape = self.known_shape()
        spans = self.module_spans or (Module((0, shape[0]), (0, shape[1])),)
        return spans if self.pixels is None else oriented_modules(spans, self.pixels, self.orientation)

    @property
    def generic(self) -> bool:
        """Whether only the pixels are known, not the model."""
        return self.name == GENERIC

    def known_shape(self) -> tuple[int, int]:
        """Return the shape.

        Raises
        ------
        GeometryError
            If it is not known.
        """
        if self.shape is None:
            raise GeometryError(
                "The detector's number of pixels is not known: the geometry gives pixel sizes only.",
                "Give --detector or --shape; in Python, geometry.for_shape(frame.shape).",
            )
        return self.shape

    def with_shape(self, shape: tuple[int, int]) -> Detector:
        """Return the detector for frames of `shape`.

        Raises
        ------
        GeometryError
            If this detector gives frames of another shape; the message names both and says what would fit.
        """
        shape = (int(shape[0]), int(shape[1]))
        if self.shape == shape:
            return self
        if self.shape is None:
            return replace(self, shape=shape)
        other = self._other_readout(shape)
        if other is not None:
            return other
        frame, own = f"{shape[0]} x {shape[1]}", f"{self.shape[0]} x {self.shape[1]}"
        raise GeometryError(
            f"The frame has {frame} pixels (rows x columns), the detector {self.name} has {own}.",
            " ".join(_advice(self, shape)),
        )

    def _other_readout(self, shape: tuple[int, int]) -> Detector | None:
        """Return this detector in a readout of another shape with the same pixels, None if there is none."""
        model = self.model
        if model is None or not self.described_by_name:
            return None
        for readout in model.readouts:
            if readout.shape == shape and abs(readout.pixel - self.pixel1) <= BINNING_TOLERANCE * self.pixel1:
                chosen = chosen_readout(model, self.pixel1, self.pixel2, shape)
                return replace(self, shape=shape, pixels=pixels_of(model, chosen, self.radius))
        return None

    def mask(self) -> NDArray[np.bool_]:
        """Return where there is no sensitive pixel: bool (rows, columns), True = excluded.

        Raises
        ------
        GeometryError
            If the shape is not known.
        """
        mask = np.zeros(self.known_shape(), dtype=np.bool_)
        for start, stop in self.gap_rows:
            mask[start:stop] = True
        for start, stop in self.gap_columns:
            mask[:, start:stop] = True
        own = None if self.pixels is None else self.pixels.oriented_mask(self.orientation)
        if own is not None:
            mask |= own
        return mask

    @property
    def displaced(self) -> bool:
        """Whether pixels are not where a regular grid has them."""
        return self.pixels is not None and self.pixels.displaced

    def corner_positions(self, rows: slice) -> Positions:
        """Return where the corners of the pixels of some rows are, each array float64 (rows, columns, n_corners).

        Corners follow one another as in `Geometry.corner_array`.
        """
        if self.pixels is not None and self.displaced:
            return self.pixels.oriented_corners(rows, self.orientation)
        start, stop, _ = rows.indices(self.known_shape()[0])
        y, x = np.meshgrid(self.row_edges()[start : stop + 1], self.column_edges(), indexing="ij")
        order = ((0, 0), (0, 1), (1, 1), (1, 0)) if self.orientation in (2, 4) else ((0, 0), (1, 0), (1, 1), (0, 1))
        n_rows, n_columns = y.shape[0] - 1, y.shape[1] - 1
        p1, p2 = (np.stack([edge[i : i + n_rows, j : j + n_columns] for i, j in order], axis=-1) for edge in (y, x))
        return Positions(p1, p2)

    def shared_corners(self, rows: slice) -> Positions | None:
        """Return the corners that displaced pixels share with their neighbours, each array (rows + 1, columns + 1).

        None if they share none, or are not displaced.
        """
        if self.pixels is None or not self.displaced:
            return None
        return self.pixels.oriented_crossings(rows, self.orientation)

    def center_positions(self, rows: slice) -> Positions:
        """Return where the centres of the pixels of some rows are, each array float64 (rows, columns)."""
        if self.pixels is not None and self.displaced:
            return self.pixels.oriented_centers(rows, self.orientation)
        return Positions(*np.meshgrid(self.row_centers()[rows], self.column_centers(), indexing="ij"))

    def pixel_areas(self, rows: slice) -> NDArray[np.float64]:
        """Return the area of pixels in m²: float64 (rows, columns)."""
        a1, a2, a3 = area_vectors(self.corner_positions(rows))
        return np.asarray(np.sqrt(a1 * a1 + a2 * a2 + a3 * a3))

    def row_centers(self) -> NDArray[np.float64]:
        """Return the first coordinate p1 in m of the centre of each row: float64 (rows,)."""
        rows = self.known_shape()[0]
        return _coordinates(np.arange(rows, dtype=np.float64) + 0.5, rows, self.pixel1, self.orientation in (1, 2))

    def column_centers(self) -> NDArray[np.float64]:
        """Return the second coordinate p2 in m of the centre of each column: float64 (columns,)."""
        columns = self.known_shape()[1]
        return _coordinates(
            np.arange(columns, dtype=np.float64) + 0.5, columns, self.pixel2, self.orientation in (1, 4)
        )

    def row_edges(self) -> NDArray[np.float64]:
        """Return p1 in m of the edges between rows: float64 (rows + 1,)."""
        rows = self.known_shape()[0]
        return _coordinates(np.arange(rows + 1, dtype=np.float64), rows, self.pixel1, self.orientation in (1, 2))

    def column_edges(self) -> NDArray[np.float64]:
        """Return p2 in m of the edges between columns: float64 (columns + 1,)."""
        columns = self.known_shape()[1]
        return _coordinates(np.arange(columns + 1, dtype=np.float64), columns, self.pixel2, self.orientation in (1, 4))

    def pixel_of(self, p1: float, p2: float) -> tuple[float, float]:
        """Return where the point (p1, p2) in m lies in the stored array, in pixels; pixel i covers i to i + 1."""
        row, column = p1 / self.pixel1, p2 / self.pixel2
        if self.orientation in (1, 2):
            row = self.known_shape()[0] - row
        if self.orientation in (1, 4):
            column = self.known_shape()[1] - column
        return row, column

    def positions_of(self, y: ArrayLike, x: ArrayLike) -> Positions:
        """Return where points of the stored array are, y and x in pixels, in m: the inverse of `pixel_of`.

        Pixel i covers i to i + 1. Within a displaced pixel the place follows from its corners; beyond the array
        the outermost pixels are continued.

        Parameters
        ----------
        y, x : array_like of float, one shape

        Returns
        -------
        Positions
            Arrays of that shape.
        """
        row, column = np.broadcast_arrays(np.asarray(y, np.float64), np.asarray(x, np.float64))
        if self.pixels is not None and self.displaced:
            return self.pixels.oriented_places(row, column, self.orientation)
        rows, columns = self.shape or (0, 0)
        flip_rows, flip_columns = self.orientation in (1, 2), self.orientation in (1, 4)
        if flip_rows or flip_columns:
            rows, columns = self.known_shape()
        return Positions(
            _coordinates(row, rows, self.pixel1, flip_rows), _coordinates(column, columns, self.pixel2, flip_columns)
        )


def _coordinates(index: NDArray[np.float64], count: int, pixel: float, reverse: bool) -> NDArray[np.float64]:
    return (count - index if reverse else index) * pixel


def oriented_modules(spans: tuple[Module, ...], pixels: PixelShapes, orientation: int) -> tuple[Module, ...]:
    """Return modules of the array that `pixels` describe as an array of another orientation has them; and back."""
    flips = pixels.flips(orientation)

    def turned(span: Span, axis: int) -> Span:
        size = pixels.shape[axis]
        return (size - span[1], size - span[0]) if flips[axis] else span

    return tuple(Module(turned(module.rows, 0), turned(module.columns, 1)) for module in spans)


def area_vectors(corners: Positions) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the vectors normal to pixels, as long as their areas, from their corners (..., n): three arrays (...).

    A polygon is the sum of the quadrilaterals that its first corner spans with three others one after the other (the
    last one may be a triangle), and the area of each is half the cross product of its diagonals.
    """
    p1, p2 = corners.p1, corners.p2
    p3 = np.zeros_like(p1) if corners.p3 is None else corners.p3
    total = [np.zeros(p1.shape[:-1]) for _ in range(3)]
    for second in range(1, p1.shape[-1] - 1, 2):
        last = min(second + 2, p1.shape[-1] - 1)
        a1, a2, a3 = (part[..., second + 1] - part[..., 0] for part in (p1, p2, p3))
        b1, b2, b3 = (part[..., last] - part[..., second] for part in (p1, p2, p3))
        for part, more in zip(total, (a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1), strict=True):
            part += 0.5 * more
    return total[0], total[1], total[2]


def _advice(detector: Detector, shape: tuple[int, int]) -> list[str]:
    own = detector.known_shape()
    advice = []
    fitting = models_of_shape(shape)
    if fitting:
        advice.append(f"Detectors with that shape: {', '.join(fitting)}.")
    if shape == own[::-1]:
        advice.append("The frame looks transposed.")
    factors = (own[0] // shape[0], own[1] // shape[1])
    if max(factors) > 1 and min(factors) >= 1 and shape == (own[0] // factors[0], own[1] // factors[1]):
        sizes = f"{detector.pixel1 * factors[0]:g} and {detector.pixel2 * factors[1]:g} m"
        advice.append(f"If the frame is binned {factors[0]} x {factors[1]}, give pixel sizes of {sizes}.")
    if not advice:
        advice.append("Give the geometry that belongs to these frames, or correct its detector.")
    return advice


def detector_for(
    name: str,
    pixel1: float | None,
    pixel2: float | None,
    shape: tuple[int, int] | None,
    radius: float | None = None,
) -> Detector:
    """Return the detector that a geometry file describes, in native orientation; lengths in m.

    Raises
    ------
    ParameterError
        If the model is not known.
    GeometryError
        If a generic detector has no pixel sizes.
    """
    model_name = name.strip()
    if model_name and model_name.casefold() != GENERIC.casefold():
        return Detector.named(model_name, pixel1=pixel1, pixel2=pixel2, radius=radius)
    if pixel1 is None or pixel2 is None:
        raise ParameterError("A detector known by its pixels only needs both pixel sizes.", "Give pixel1 and pixel2.")
    return Detector.from_shape(shape, pixel1, pixel2)
