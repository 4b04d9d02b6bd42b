"""What a geometry format is, and what a geometry loses when it is written in one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import FileError, GeometryError

from ..detector import Detector
from ..geometry import Geometry
from ..models import models_of_shape

LARGEST_TEXT = 64 * 1024**2
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_PIXELS = 100_000
"""Rows or columns of the largest detector."""
SAME_SIZE = 1e-3
"""Relative difference up to which two pixel sizes are the same, written with few digits."""


@dataclass(frozen=True)
class Given:
    """What the user says about a geometry, for what its file does not.

    Attributes
    ----------
    detector : Detector or None
    wavelength : float or None
        In m.
    shape : (int, int) or None
        Rows and columns.
    """

    detector: Detector | None = None
    wavelength: float | None = None
    shape: tuple[int, int] | None = None


@dataclass(frozen=True)
class Content:
    """A file that may hold a geometry.

    Attributes
    ----------
    path : Path
    head : bytes
        Its beginning.
    inside : str
        Which of several detectors in it, "" if that was not said.
    """

    path: Path
    head: bytes
    inside: str = ""

    @classmethod
    def of(cls, path: str | Path) -> Content:
        """Look at a file; ``FILE::NAME`` means one of several detectors in it.

        Raises
        ------
        FileError
            If it cannot be read.
        """
        name, _, inside = str(path).partition("::")
        try:
            with Path(name).open("rb") as stream:
                return cls(Path(name), stream.read(64 * 1024), inside)
        except OSError as error:
            raise FileError(name, error.strerror or str(error), "Check the path and the permissions.") from None

    @property
    def is_hdf5(self) -> bool:
        """Whether it is an HDF5 file."""
        return self.head.startswith(HDF5_SIGNATURE)

    @cached_property
    def beginning(self) -> str:
        """The beginning as text, as far as it is text."""
        return self.head.split(b"\x00", 1)[0].decode("utf-8", "replace")

    @cached_property
    def searchable(self) -> str:
        """The whole text, or the beginning of a file that is no text."""
        if b"\x00" in self.head:
            return self.beginning
        try:
            return self.text
        except FileError:
            return self.beginning

    @cached_property
    def text(self) -> str:
        """The whole text.

        Raises
        ------
        FileError
            If it is too large or no text.
        """
        try:
            if self.path.stat().st_size > LARGEST_TEXT:
                raise FileError(self.path, "is too large for a geometry file.", "Give the geometry, not the data.")
            return self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise FileError(self.path, error.strerror or str(error), "Check the permissions.") from None
        except UnicodeDecodeError:
            raise FileError(self.path, "is no text file.", "Give the geometry file.") from None


@dataclass(frozen=True)
class Reading:
    """What was read from a geometry file.

    Attributes
    ----------
    geometry : Geometry
    format : str
        Name of the format.
    notes : tuple of str
        What the file says and the geometry cannot hold.
    """

    geometry: Geometry
    format: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GeometryFormat:
    """How geometries are read and written in a format.

    Attributes
    ----------
    name : str
        As in ``--to``.
    title : str
        The program and its file.
    ending : str
        Usual ending of the file's name.
    recognises : callable
        Whether a file is in this format.
    read : callable
        Returns the geometry, and notes on what is in the file and cannot be held.
    write : callable
        Returns the content of the file.
    holds : frozenset of str
        Which of `ASPECTS` the format can hold.
    losses : callable
        Returns further sentences on what is lost.
    """

    name: str
    title: str
    ending: str
    recognises: Callable[[Content], bool]
    read: Callable[[Content, Given], tuple[Geometry, list[str]]]
    write: Callable[[Geometry], bytes]
    holds: frozenset[str] = frozenset()
    losses: Callable[[Geometry], list[str]] = field(default=lambda geometry: [])

    def lost(self, geometry: Geometry) -> list[str]:
        """Return a sentence for each thing that a file in this format does not hold of a geometry."""
        holds = self.holds | (
            {"name"} if {"shape", "gaps"} <= self.holds and known_by_gaps(geometry.detector) else set()
        )
        found = [sentence(geometry) for aspect, sentence in ASPECTS.items() if aspect not in holds]
        return [text for text in found if text] + self.losses(geometry)


# ---- what may be lost


def _lost_wavelength(geometry: Geometry) -> str:
    return "" if geometry.wavelength is None else f"the wavelength, {geometry.wavelength * 1e10:.6g} Angstrom"


def _lost_shape(geometry: Geometry) -> str:
    shape = geometry.detector.shape
    return "" if shape is None else f"the number of pixels, {shape[0]} x {shape[1]}"


def _lost_gaps(geometry: Geometry) -> str:
    detector = geometry.detector
    masked = detector.pixels is not None and detector.pixels.mask() is not None
    return "the gaps between modules" if detector.gap_rows or detector.gap_columns or masked else ""


def _lost_name(geometry: Geometry) -> str:
    return "" if geometry.detector.generic else f"the name of the detector, {geometry.detector.name}"


def _lost_displacement(geometry: Geometry) -> str:
    return "the displacement of pixels: a regular grid is told" if geometry.detector.displaced else ""


def _lost_sensor(geometry: Geometry) -> str:
    sensor = geometry.detector.sensor
    return "" if sensor is None else f"the sensor, {sensor.material}"


def _lost_parallax(geometry: Geometry) -> str:
    return "the correction for parallax" if geometry.parallax else ""


def _mirrored(geometry: Geometry) -> str:
    if geometry.detector.orientation not in (2, 4):
        return ""
    return f"orientation {geometry.detector.orientation}: azimuths run the other way, scattering angles stay"


ASPECTS: dict[str, Callable[[Geometry], str]] = {
    "wavelength": _lost_wavelength,
    "orientation": _mirrored,
    "shape": _lost_shape,
    "gaps": _lost_gaps,
    "name": _lost_name,
    "displacement": _lost_displacement,
    "sensor": _lost_sensor,
    "parallax": _lost_parallax,
}
"""What a format may hold, and the words for what is lost if it does not."""


# ---- helpers of the formats


def require_flat(geometry: Geometry, title: str) -> None:
    """Raise GeometryError if the pixels do not lie in one plane."""
    pixels = geometry.detector.pixels
    if pixels is not None and pixels.displaced and not pixels.flat:
        raise GeometryError(
            f"The pixels of {geometry.detector.name} do not lie in one plane, which {title} cannot tell.",
            "Keep it as a PONI file with a NeXus detector file.",
        )


def require_shape(geometry: Geometry, title: str) -> tuple[int, int]:
    """Return rows and columns; GeometryError if they are not known."""
    if geometry.detector.shape is None:
        raise GeometryError(
            f"{title} needs the number of pixels of the detector, and the geometry does not tell it.",
            "Give the detector: --detector NAME, or a file that describes it.",
        )
    return geometry.detector.shape


def checked_shape(content: Content, rows: float, columns: float) -> tuple[int, int]:
    """Return rows and columns; GeometryError if no detector has that many."""
    if not (1 <= rows <= MOST_PIXELS and 1 <= columns <= MOST_PIXELS):
        raise GeometryError(
            f"{content.path}: the detector has {rows:g} x {columns:g} pixels.", f"Give 1 to {MOST_PIXELS} of each."
        )
    return int(rows), int(columns)


def detector_from(
    content: Content,
    given: Given,
    *,
    pixel1: float | None = None,
    pixel2: float | None = None,
    shape: tuple[int, int] | None = None,
    orientation: int = 3,
) -> Detector:
    """Return the detector of a file, from what it tells and what the user says.

    Raises
    ------
    GeometryError
        If both contradict, or no one tells the size of the pixels.
    """
    own, shape = given.detector, shape or given.shape
    if own is None:
        if pixel1 is None or pixel2 is None:
            raise GeometryError(
                f"{content.path}: it does not tell the size of the pixels.",
                "Give the detector: --detector NAME, or a file that describes it.",
            )
        return Detector.from_shape(shape, pixel1, pixel2, orientation=orientation)
    for told, size in ((pixel1, own.pixel1), (pixel2, own.pixel2)):
        if told is not None and abs(told - size) > SAME_SIZE * size:
            raise GeometryError(
                f"{content.path}: its pixels measure {told * 1e6:.4g} µm, those of {own.name} {size * 1e6:.4g} µm.",
                "Give the detector that the file is about.",
            )
    detector = own if shape is None else own.with_shape(shape)
    if pixel1 is not None and pixel2 is not None:
        detector = replace(detector, pixel1=pixel1, pixel2=pixel2)
    return replace(detector, orientation=orientation)


def recognised(detector: Detector) -> Detector:
    """Return the model that a detector is, known by its pixels and the gaps between them; else itself."""
    if detector.shape is None or not (detector.gap_rows or detector.gap_columns):
        return detector
    for name in models_of_shape(detector.shape):
        model = Detector.named(name)
        sizes = np.allclose((model.pixel1, model.pixel2), (detector.pixel1, detector.pixel2), rtol=SAME_SIZE)
        if sizes and model.gap_rows == detector.gap_rows and model.gap_columns == detector.gap_columns:
            return replace(
                model,
                pixel1=detector.pixel1,
                pixel2=detector.pixel2,
                orientation=detector.orientation,
                sensor=detector.sensor,
            )
    return detector


def known_by_gaps(detector: Detector) -> bool:
    """Whether the model of a detector is found again from its pixels and gaps."""
    gaps = (detector.gap_rows, detector.gap_columns)
    plain = Detector.from_shape(detector.shape, detector.pixel1, detector.pixel2)
    return recognised(replace(plain, gap_rows=gaps[0], gap_columns=gaps[1])).name == detector.name


def with_mask(detector: Detector, mask: NDArray[np.bool_]) -> Detector:
    """Return the detector with pixels masked: as gaps if whole rows and columns are, else one by one."""
    if not mask.any():
        return detector
    rows, columns = _spans(np.asarray(mask.all(axis=1))), _spans(np.asarray(mask.all(axis=0)))
    gaps = replace(detector, gap_rows=rows, gap_columns=columns)
    if np.array_equal(gaps.mask(), mask):
        return recognised(gaps)
    from ..pixel_shapes import PixelTable

    return replace(detector, pixels=PixelTable(None, mask, orientation=detector.orientation))


def _spans(flags: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """Return (first, last + 1) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return tuple((int(start), int(stop)) for start, stop in edges.reshape(-1, 2))


def rectangles(mask: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Return rectangles (first row, last + 1, first column, last + 1) that cover exactly the True pixels."""
    rows, columns = np.asarray(mask.all(axis=1)), np.asarray(mask.all(axis=0))
    found = [(start, stop, 0, mask.shape[1]) for start, stop in _spans(rows)]
    found += [(0, mask.shape[0], start, stop) for start, stop in _spans(columns)]
    rest = np.asarray(mask & ~rows[:, np.newaxis] & ~columns[np.newaxis, :])
    begun: dict[tuple[int, int], int] = {}
    for row in range(mask.shape[0] + 1):
        spans = set(_spans(rest[row])) if row < mask.shape[0] and rest[row].any() else set()
        found += [(begun.pop(span), row, *span) for span in list(begun) if span not in spans]
        for span in spans:
            begun.setdefault(span, row)
    return sorted(set(found))


def between_gaps(detector: Detector, shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Return rows and columns of each module between the gaps of a detector."""
    rows, columns = _between(detector.gap_rows, shape[0]), _between(detector.gap_columns, shape[1])
    return [(vertical, horizontal) for vertical in rows for horizontal in columns]


def _between(gaps: tuple[tuple[int, int], ...], count: int) -> list[slice]:
    edges = [0, *(edge for gap in sorted(gaps) for edge in gap), count]
    return [slice(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if stop > start]


def chosen_wavelength(told: float | None, given: Given) -> tuple[float | None, list[str]]:
    """Return the wavelength in m, the user's before the file's, and a note if they differ."""
    if given.wavelength is None or told is None:
        return given.wavelength or told, []
    if abs(told - given.wavelength) <= 1e-9 * told:
        return told, []
    return given.wavelength, [f"the wavelength in the file, {told * 1e10:.6g} Angstrom: the one given is taken"]
