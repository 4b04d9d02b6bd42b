"""The commands that look at geometries: show, convert, compare."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Group, Parameter

from friedel.core.errors import GeometryError, ParameterError

if TYPE_CHECKING:
    from friedel.instrument import Geometry
    from friedel.instrument.geometry_formats import Given, Reading
    from friedel.instrument.geometry_formats.format import GeometryFormat

SHAPE = re.compile(r"(\d+)\s*[x,]\s*(\d+)")


@Parameter(name="*")
@dataclass(frozen=True)
class Known:
    """What is known beside the file.

    Parameters
    ----------
    detector
        Name or file of the detector, for what the file does not tell about it.
    shape
        Rows and columns of the detector: 1043x981.
    wavelength
        Such as 0.4066A, if the file tells none.
    energy
        Such as 30.5keV, instead of the wavelength.
    """

    detector: str | None = None
    shape: str | None = None
    wavelength: str | None = None
    energy: str | None = None

    def given(self) -> Given:
        """Return this as the readers of geometries take it."""
        from friedel.core.quantities import wavelength_given
        from friedel.instrument import Detector
        from friedel.instrument.geometry_formats import Given

        shape = None
        if self.shape is not None:
            match = SHAPE.fullmatch(self.shape.strip())
            if match is None:
                raise ParameterError(f"The shape is {self.shape!r}.", "Give rows and columns, like 1043x981.")
            shape = (int(match[1]), int(match[2]))
        detector = None if self.detector is None else Detector.load(self.detector)
        if detector is not None and shape is not None:
            detector = detector.with_shape(shape)
        return Given(detector, wavelength_given(self.wavelength, self.energy), shape)


UNKNOWN = Known()


def make_geometry_commands(group: Group) -> App:
    """Return the command ``geometry`` with those below it."""
    commands = App(name="geometry", help="Look at geometries, and write them for other programs.", group=group)
    for command in (show, convert, compare):
        commands.command(command)
    return commands


def show(
    file: str,
    /,
    *,
    source: Annotated[str | None, Parameter(name="--from")] = None,
    known: Known = UNKNOWN,
) -> None:
    """Say what a geometry is in the terms of every program.

    Parameters
    ----------
    file
        A PONI file, or one of Dioptas, Fit2D, SPD, ImageD11, CrystFEL, CXI, DIALS, GSAS-II or HEXRD.
    source
        The format of the file (default: found by what is in it). Files of Dioptas need it: --from dioptas.
    """
    from friedel.instrument.geometry_formats import format_named
    from friedel.instrument.geometry_formats.registry import POINTING
    from friedel.instrument.geometry_words import aligned, calibrated, described

    found = _read(file, source, known.given())
    _say(f"{file}: {format_named(found.format).title}")
    lines = described(found.geometry)
    if found.format in POINTING:
        lines += calibrated(Path(file).read_text(encoding="utf-8"))
    _say(aligned(lines))


def convert(
    file: str,
    /,
    *,
    output: Annotated[str | None, Parameter(alias="-o")] = None,
    to: str | None = None,
    source: Annotated[str | None, Parameter(name="--from")] = None,
    known: Known = UNKNOWN,
    orientation: int | None = None,
    strict: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a geometry for another program, and say what its format cannot hold.

    Parameters
    ----------
    file
        A geometry in any of the formats.
    output
        The file to write; without one the text is shown.
    to
        pyfai, dioptas, fit2d, spd, imaged11, crystfel, cxi, dials, gsas2 or hexrd (default: by the ending of the
        output, if only one has it).
    source
        The format of the file (default: found by what is in it). Files of Dioptas need it: --from dioptas.
    orientation
        Tell the same stored image with this orientation, 1 to 4; scattering angles stay.
    strict
        Fail rather than lose anything.
    overwrite
        Replace the output if it exists.
    """
    from friedel.instrument.geometry_formats import format_named, write_geometry
    from friedel.instrument.geometry_formats.placement import is_mirrored, reoriented
    from friedel.instrument.geometry_formats.registry import POINTING, format_for
    from friedel.instrument.poni import detector_file

    if to is None and output is None:
        raise ParameterError("Nothing tells the format to convert to.", "Give --to, or a name with --output.")
    chosen = format_named(to) if to is not None else format_for(str(output))
    geometry = _read(file, source, known.given()).geometry
    if orientation is not None:
        if orientation not in (1, 2, 3, 4):
            raise ParameterError(f"The orientation is {orientation}.", "It is 1, 2, 3 or 4.")
        if is_mirrored(geometry.detector.orientation, orientation):
            _warn("the laboratory is mirrored: azimuths run the other way")
        geometry = reoriented(geometry, orientation)
    lost, target = chosen.lost(geometry), output or "this text"
    if lost and strict:
        raise GeometryError(f"{chosen.title} does not hold {'; '.join(lost)}.", "Leave --strict away to lose it.")
    if output is None:
        _say(_text_of(chosen, geometry))
    else:
        write_geometry(output, geometry, chosen.name, overwrite=overwrite)
    if _has_errors(file):
        _warn(f"not in {target}: the verdict and the standard errors of the calibration")
    for sentence in lost:
        _warn(f"not in {target}: {sentence}")
    if output is None:
        return
    beside = Path(output).with_name(f"{Path(output).stem}_detector.h5")
    pointed = chosen.name in POINTING and detector_file(output) == str(beside.absolute())
    _say(f"Wrote {output} ({chosen.title}){f' and {beside}, its detector' if pointed else ''}.")


def compare(
    first: str,
    second: str,
    /,
    *,
    calibrant: str | None = None,
    known: Known = UNKNOWN,
) -> None:
    """Say how far apart two geometries of the same images are.

    Parameters
    ----------
    first
        A geometry in any of the formats.
    second
        Another one: differences are from the first to this one.
    calibrant
        Name or file of a calibrant: how far each of its rings moves.
    """
    from friedel.instrument.calibrants import Calibrant
    from friedel.instrument.geometry_comparison import compared

    given = known.given()
    rings = None if calibrant is None else Calibrant.load(calibrant)
    one, other = (_read(file, None, given).geometry for file in (first, second))
    _say(str(compared(one, other, rings)))


def _text_of(chosen: GeometryFormat, geometry: Geometry) -> str:
    """Return what a file of a format would hold."""
    content = chosen.write(geometry)
    if b"\0" in content:
        raise ParameterError(f"{chosen.title} is no text.", "Give a name with --output.")
    return content.decode().rstrip("\n")


def _has_errors(file: str) -> bool:
    """Whether a geometry file tells what its calibration thought of it."""
    from friedel.instrument.geometry_formats.format import Content
    from friedel.instrument.geometry_words import calibrated

    return bool(calibrated(Content.of(file).beginning))


def described_geometry(file: str) -> str | None:
    """Return what a geometry file of another program holds, in words; None if it is no such file."""
    from friedel.core.errors import FriedelError
    from friedel.instrument.geometry_formats.registry import known_format
    from friedel.instrument.geometry_words import aligned, described

    chosen = known_format(file)
    if chosen is None:
        return None
    head = f"{file}: geometry ({chosen.title})"
    try:
        return f"{head}\n{aligned(described(_read(file, None, UNKNOWN.given()).geometry))}"
    except FriedelError as error:
        return f"{head}\n{error}"


def _read(file: str, source: str | None, given: Given) -> Reading:
    from friedel.instrument.geometry_formats import read_geometry

    found = read_geometry(file, given, source)
    for note in found.notes:
        _warn(f"not taken from {file}: {note}")
    if given.shape is not None and found.geometry.detector.shape is None:
        return replace(found, geometry=found.geometry.for_shape(given.shape))
    return found


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _warn(text: str) -> None:
    sys.stderr.write(f"Warning: {text}\n")
