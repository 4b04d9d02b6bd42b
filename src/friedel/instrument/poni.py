"""PONI files: the geometry of a detector as pyFAI writes it, text of ``key: value`` lines.

Versions 1 (no version line), 2, 2.1 and 3 are read; 2.1 is written, or 3 if the geometry tells of parallax. Files are
appended to by successive calibrations, so the last value of a key counts. The configuration of a pyFAI worker (JSON) is
read too, for the geometry in it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from friedel.core.errors import FileError, FriedelError, GeometryError, OutputError, ParameterError
from friedel.core.files import write_whole

from .detector import Detector, detector_for
from .detector_file import is_detector_file, read_detector
from .models import GENERIC
from .pixel_shapes import PixelShapes, SplineDistortion
from .sensor import Sensor
from .worker_geometry import geometry_entries

if TYPE_CHECKING:
    from .geometry import Geometry

NEWEST_READ = 3.0
PARAMETERS = ("distance", "poni1", "poni2", "rot1", "rot2", "rot3")
FILE_KEYS = ("splineFile", "splinefile", "filename")
OFFSET_KEYS = ("x_offset_file", "y_offset_file")
"""Where a detector's configuration names the file that describes its pixels."""
TAPERED = "FReLoN"
"""The model whose spline masks what it displaces beyond the array."""
LARGEST_FILE = 16 * 1024**2


def read_poni(path: str | Path) -> dict[str, Any]:
    """Read a PONI file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        ``detector`` (`Detector`), ``distance``, ``poni1``, ``poni2`` (m), ``rot1``, ``rot2``, ``rot3`` (rad),
        ``wavelength`` (m or None), ``parallax``: the fields of a `Geometry`.

    Raises
    ------
    FileError
        If the file cannot be read or is no PONI file.
    GeometryError
        If it lacks a key, has a value that is not allowed or is newer than version 3; the message names it.
    """
    entries = _entries(path)
    version = _version(path, entries)
    missing = [key.capitalize() for key in PARAMETERS[:3] if key not in entries]
    if missing:
        raise GeometryError(f"{path}: no {' and no '.join(missing)}.", "Add the missing lines, or calibrate again.")
    values: dict[str, Any] = {key: _number(path, entries, key) for key in PARAMETERS}
    if values["distance"] == 0:
        raise GeometryError(f"{path}: Distance is 0.", "Give the distance from the sample to the detector in metres.")
    wavelength = _number(path, entries, "wavelength") or None
    if wavelength is not None and wavelength < 0:
        raise GeometryError(f"{path}: Wavelength is {wavelength}.", "Give the wavelength in metres.")
    try:
        detector = _detector(path, entries, version)
    except ParameterError as error:
        raise GeometryError(f"{path}: {error.problem}", error.remedy) from None
    parallax = _parallax(path, entries)
    if parallax and (detector.sensor is None or wavelength is None):
        lacking = "the sensor in its Detector_config" if detector.sensor is None else "the Wavelength"
        raise GeometryError(
            f"{path}: Parallax is True, which needs {lacking}.",
            'Add it ("sensor": {"material": "CdTe", "thickness": 0.00075}), or set \'Parallax: False\'.',
        )
    return {"detector": detector, **values, "wavelength": wavelength, "parallax": parallax}


def _parallax(path: str | Path, entries: dict[str, str]) -> bool:
    text = entries.get("parallax", "False").casefold()
    if text not in ("true", "false", "1", "0"):
        raise GeometryError(f"{path}: Parallax is {entries['parallax']!r}.", "It is True or False.")
    return text in ("true", "1")


def _entries(path: str | Path) -> dict[str, str]:
    """Return the last value of each key; keys in lower case."""
    text = _text(path)
    if text.lstrip().startswith("{"):
        return geometry_entries(path, text, lambda file: _lines(file, _text(file)))
    return _lines(path, text)


def _text(path: str | Path) -> str:
    try:
        if Path(path).stat().st_size > LARGEST_FILE:
            raise FileError(path, "too large for a PONI file.", "Give the geometry file, not the data.")
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(path, error.strerror or str(error), "Check the path and the permissions.") from None
    except UnicodeDecodeError:
        raise FileError(path, "not a text file.", "Give the PONI file that the calibration wrote.") from None


def _lines(path: str | Path, text: str) -> dict[str, str]:
    entries = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator and not line.lstrip().startswith("#"):
            entries[key.strip().casefold()] = value.strip()
    if not entries:
        raise FileError(path, "no 'key: value' line in it.", "Give the PONI file that the calibration wrote.")
    return entries


def _version(path: str | Path, entries: dict[str, str]) -> float:
    text = entries.get("poni_version", "1")
    try:
        version = float(text)
    except ValueError:
        raise GeometryError(f"{path}: poni_version is {text!r}.", "It is 1, 2, 2.1 or 3.") from None
    if not 1 <= version <= NEWEST_READ:
        raise GeometryError(
            f"{path}: poni_version is {text}; friedel reads versions up to {NEWEST_READ:g}.",
            "Write the geometry as version 2.1, or use a newer friedel.",
        )
    return version


def _number(path: str | Path, entries: dict[str, str], key: str) -> float:
    """Return a value as a number; a rotation or the wavelength may be absent or None and is then 0."""
    text = entries.get(key, "0")
    if text.casefold() in ("none", "null", "") and key not in PARAMETERS[:3]:
        return 0.0
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < float("inf"):
        raise GeometryError(f"{path}: {key.capitalize()} is {text!r}.", "Give a number.")
    return number


def _detector(path: str | Path, entries: dict[str, str], version: float) -> Detector:
    name = entries.get("detector", GENERIC)
    spline = entries.get("splinefile", "None")
    if spline.casefold() not in ("none", "null", ""):
        return _tapered(_from_file(path, spline), name)
    if version < 2:
        if is_detector_file(name):
            return _from_file(path, name)
        sizes = [_number(path, entries, key) or None for key in ("pixelsize1", "pixelsize2")]
        return detector_for(name, sizes[0], sizes[1], None)
    return configured_detector(path, name, entries.get("detector_config", "{}"))


def configured_detector(path: str | Path, name: str, text: str) -> Detector:
    try:
        config = json.loads(text)
        file = next((config[key] for key in FILE_KEYS if config.get(key)), None)
        shape = config.get("max_shape")
        sizes = [None if config.get(key) is None else float(config[key]) for key in ("pixel1", "pixel2")]
        orientation = int(config.get("orientation") or 0)
        known = None if shape is None else (int(shape[0]), int(shape[1]))
        sensor = _sensor(config.get("sensor"))
        radius = None if config.get("radius") is None else float(config["radius"])
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, GeometryError) as error:
        raise GeometryError(
            f"{path}: Detector_config is {text!r}: {error}.",
            'Give JSON like {"pixel1": 0.000172, "pixel2": 0.000172, "orientation": 3}.',
        ) from None
    offsets = [str(config[key]) for key in OFFSET_KEYS if config.get(key)]
    if offsets:
        raise GeometryError(
            f"{path}: the pixels are displaced by {' and '.join(offsets)}, which friedel does not read.",
            "Save the detector with pyFAI (detector.save) and give that file as Detector.",
        )
    if file or is_detector_file(name):
        detector = _tapered(_from_file(path, str(file or name)), name)
        orientation = orientation or detector.orientation
        sensor = sensor or detector.sensor
    else:
        detector = detector_for(name, sizes[0], sizes[1], known, radius)
        detector = detector if known is None or detector.shape is None else _in_readout(detector, known)
    return _oriented(path, replace(detector, sensor=sensor), orientation or 3)


def _in_readout(detector: Detector, shape: tuple[int, int]) -> Detector:
    """Return a known model in the readout of a shape that an entry names, if it has such a one."""
    try:
        return detector.with_shape(shape)
    except GeometryError:
        return detector  # the entry is of the unbinned detector; frames are compared with the detector later


def _tapered(detector: Detector, name: str) -> Detector:
    """Return a detector that a spline describes as the model of that name, which may mask the rim of its taper."""
    if name.casefold() != TAPERED.casefold() or not isinstance(detector.pixels, SplineDistortion):
        return detector
    return replace(detector, name=TAPERED, pixels=detector.pixels.masked_outside())


def _from_file(path: str | Path, name: str) -> Detector:
    """Return the detector that another file describes.

    Raises
    ------
    GeometryError
        If there is no such file.
    """
    place = _beside(path, name)
    if place is None:
        raise GeometryError(
            f"{path}: the detector is described by {name}, and there is no such file.",
            "Put it beside the PONI file, or correct its name there.",
        )
    return read_detector(place)


def _beside(path: str | Path, name: str) -> Path | None:
    """Return the file that a PONI file names, looked for in the working folder and beside the PONI file."""
    given, folder = Path(name).expanduser(), Path(path).absolute().parent
    return next((place for place in (given, folder / given, folder / given.name) if place.is_file()), None)


def detector_file(path: str | Path) -> str | None:
    """Return the file that describes the pixels of the detector in a PONI file, None if none does."""
    try:
        entries = _entries(path)
        config = json.loads(entries.get("detector_config", "{}"))
        named = [entries.get("splinefile"), *(config.get(key) for key in FILE_KEYS), entries.get("detector")]
    except (FriedelError, ValueError, AttributeError):
        return None
    name = next((text for text in named if text and is_detector_file(str(text))), None)
    place = None if name is None else _beside(path, str(name))
    return None if place is None else str(place)


def _sensor(values: dict[str, Any] | None) -> Sensor | None:
    """Return the sensor that a configuration describes; ValueError or the like if it is none."""
    if not values or values.get("material") is None:
        return None
    thickness, density = (None if values.get(key) is None else float(values[key]) for key in ("thickness", "density"))
    return Sensor(str(values["material"]), thickness or None, density)


def _oriented(path: str | Path, detector: Detector, orientation: int) -> Detector:
    try:
        return replace(detector, orientation=orientation)
    except GeometryError as error:
        raise GeometryError(f"{path}: {error.problem}", error.remedy) from None


def write_poni(path: str | Path, geometry: Geometry, comment: str = "") -> None:
    """Write a PONI file of version 2.1, or 3 if the geometry tells of parallax.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    try:
        text = poni_text(geometry, comment)
    except GeometryError as error:
        raise OutputError(path, error.problem, error.remedy) from None
    write_whole(path, text)


def poni_text(geometry: Geometry, comment: str = "") -> str:
    """Return what is in a PONI file of version 2.1, or 3 if the geometry tells of parallax.

    Raises
    ------
    GeometryError
        If the pixels of the detector are described by no file.
    """
    name, config = detector_config(geometry.detector)
    lines = [
        "# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis",
        f"# Written by friedel on {datetime.now().astimezone().isoformat(timespec='seconds')}",
        *(f"# {line}" for line in comment.splitlines()),
        f"poni_version: {poni_version(geometry):g}",
        f"Detector: {name}",
        f"Detector_config: {json.dumps(config)}",
        *(f"{key.capitalize()}: {float(getattr(geometry, key))!r}" for key in PARAMETERS),
    ]
    if geometry.wavelength is not None:
        lines.append(f"Wavelength: {float(geometry.wavelength)!r}")
    if geometry.parallax:
        lines.append("Parallax: True")
    return "\n".join(lines) + "\n"


def poni_table(geometry: Geometry) -> dict[str, Any]:
    """Return a geometry as the table (JSON) of the same entries that configurations and NeXus files hold.

    Raises
    ------
    GeometryError
        If the pixels of the detector are described by no file.
    """
    name, config = detector_config(geometry.detector)
    table: dict[str, Any] = {
        "poni_version": poni_version(geometry),
        "dist": float(geometry.distance),
        **{key: float(getattr(geometry, key)) for key in PARAMETERS[1:]},
        "detector": name,
        "detector_config": config,
    }
    if geometry.wavelength is not None:
        table["wavelength"] = float(geometry.wavelength)
    return table | ({"parallax": True} if geometry.parallax else {})


def poni_version(geometry: Geometry) -> float:
    """Return the oldest version of the entries that tells all of a geometry."""
    return 3 if geometry.parallax else 2.1


def detector_config(detector: Detector) -> tuple[str, dict[str, Any]]:
    """Return the name of a detector and its configuration, as the entries have them.

    Raises
    ------
    GeometryError
        If its pixels are described by no file.
    """
    name = detector.name
    config: dict[str, Any] = {"pixel1": float(detector.pixel1), "pixel2": float(detector.pixel2)}
    if detector.pixels is not None and not detector.described_by_name:
        name, config = _described_by_file(detector.pixels)
    elif detector.radius is not None:
        config["radius"] = detector.radius
    elif detector.generic:
        config["max_shape"] = None if detector.shape is None else list(detector.shape)
    config["orientation"] = detector.orientation
    if detector.sensor is not None:
        described = {"material": detector.sensor.material, "thickness": detector.sensor.thickness}
        if detector.sensor.density is not None:
            described["density"] = detector.sensor.density
        config["sensor"] = {key: value for key, value in described.items() if value is not None}
    return name, config


def _described_by_file(pixels: PixelShapes) -> tuple[str, dict[str, Any]]:
    """Return name and configuration of a detector whose pixels another file describes."""
    if not pixels.path:
        raise GeometryError(
            "The pixels of the detector are described by no file, and a PONI file cannot hold them.",
            'Write them first: detector = detector.save("detector.h5").',
        )
    if isinstance(pixels, SplineDistortion):
        sizes: dict[str, Any] = {"pixel1": pixels.pixel1, "pixel2": pixels.pixel2}
        if pixels.inside_only:
            return TAPERED, sizes | {"splineFile": pixels.path}
        return GENERIC, sizes | {"max_shape": list(pixels.shape), "splineFile": pixels.path}
    return "NexusDetector", {"filename": pixels.path}
