"""The command that lists detectors and all that is known about one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from .tables import write_table

if TYPE_CHECKING:
    from friedel.instrument import Detector
    from friedel.instrument.model_kinds import DetectorModel, Module, SensorChoice, Span

MOST_SPANS = 24
"""More spans than this are not shown one by one."""


def detectors(
    name: str | None = None,
    /,
    *,
    output: Annotated[str | None, Parameter(alias="-o")] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """List the detectors, or tell all about one: pixels, modules, gaps, sensors, other names.

    Parameters
    ----------
    name
        A detector in any spelling, or a file that describes one (.spline, NeXus, PONI); without one all are listed.
    output
        A NeXus detector file to write.
    overwrite
        Replace the output if it exists.
    """
    if name is None:
        _write_all()
        return
    from friedel.instrument import Detector

    detector = Detector.load(name)
    if output is not None:
        detector.save(output, overwrite=overwrite)
        sys.stdout.write(f"Wrote {output}.\n")
        return
    width = 16
    for label, text in _description(detector):
        sys.stdout.write(f"{label:<{width}}{text}\n".replace("\n ", f"\n{'':<{width}}"))


def _write_all() -> None:
    from friedel.instrument.models import models

    rows = [
        (
            model.name,
            _by(model.default_readout().shape),
            _pixel_size(model),
            str(len(model.modules) or 1),
            sensor_words(model.sensors),
            model.manufacturer,
        )
        for model in sorted(models().values(), key=lambda model: model.name.casefold())
    ]
    write_table(("name", "rows x columns", "pixel (µm)", "modules", "sensor", "maker"), rows)
    sys.stdout.write(
        "\nfriedel detectors NAME tells all about one. Any other is described by the size of its pixels: 75um.\n"
    )


def _pixel_size(model: DetectorModel) -> str:
    pixel1, pixel2 = (pixel * model.default_binning * 1e6 for pixel in (model.pixel1, model.pixel2))
    if model.pixel1 == model.pixel2:
        return f"{model.default_readout().pixel * 1e6:g}"
    return f"{pixel1:.4g} x {pixel2:g}"


def _by(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def sensor_words(sensors: Iterable[SensorChoice]) -> str:
    """Return sensors as they are given to options: "Si,320um or Si,450um"."""
    return " or ".join(f"{material},{thickness * 1e6:g}um" for material, thickness in sensors)


def _description(detector: Detector) -> list[tuple[str, str]]:
    """Return labels and texts, those that there are."""
    model = detector.model
    lines = [("name", detector.name), ("maker", model.manufacturer if model else "")]
    lines += [("also called", ", ".join(model.aliases) if model else "")]
    lines += _pixels(detector)
    lines += _modules(detector)
    lines += [
        ("masked rows", _spans(detector.gap_rows)),
        ("masked columns", _spans(detector.gap_columns)),
        ("masked", f"{int(detector.mask().sum())} pixels"),
        ("invalid value", _invalid(detector)),
        ("sensor", _sensor(detector)),
        ("note", model.note if model else ""),
    ]
    return [(label, text) for label, text in lines if text]


def _pixels(detector: Detector) -> list[tuple[str, str]]:
    from friedel.instrument.models import layout_words

    shape, model = detector.known_shape(), detector.model
    sizes = f"{detector.pixel1 * 1e6:.6g} x {detector.pixel2 * 1e6:.6g} µm"
    area = f"{shape[0] * detector.pixel1 * 1e3:.4g} x {shape[1] * detector.pixel2 * 1e3:.4g} mm"
    readouts = [f"{_by(one.shape)} of {one.pixel * 1e6:g} µm" for one in model.readouts] if model else []
    if model and not readouts and model.default_binning > 1:
        readouts = [f"{_by(model.shape)} of {model.pixel2 * 1e6:g} µm"]
    file = detector.pixels.path if detector.pixels is not None else ""
    return [
        ("array", f"{_by(shape)} pixels (rows x columns)"),
        ("pixel", f"{sizes}, {detector.n_corners} corners" if detector.n_corners != 4 else sizes),
        ("size", area if detector.pixels is None else ""),
        ("readouts", "\n ".join(readouts)),
        ("pixels", layout_words(model) if model else ("displaced" if detector.displaced else "")),
        ("file", file),
    ]


def _modules(detector: Detector) -> list[tuple[str, str]]:
    modules = detector.modules()
    sizes = sorted({(rows[1] - rows[0], columns[1] - columns[0]) for rows, columns in modules})
    lines = [("modules", f"{len(modules)} of {' or '.join(_by(size) for size in sizes)} pixels")]
    if len(modules) == 1:
        return lines
    rows, columns = (sorted({module[axis] for module in modules}) for axis in (0, 1))
    if len(rows) * len(columns) == len(modules):
        return [*lines, ("  rows", _spans(rows)), ("  columns", _spans(columns))]
    return [*lines, ("", "\n ".join(_module(module) for module in modules))]


def _module(module: Module) -> str:
    return f"rows {_spans([module.rows])}, columns {_spans([module.columns])}"


def _spans(spans: Sequence[Span]) -> str:
    """Return spans as slices: first and last + 1."""
    shown = [f"{start}:{stop}" for start, stop in spans]
    if len(shown) > MOST_SPANS:
        shown = [*shown[: MOST_SPANS // 2], f"... ({len(shown)} in all) ...", *shown[-2:]]
    return " ".join(shown)


def _invalid(detector: Detector) -> str:
    if detector.dummy is None:
        return ""
    return f"{detector.dummy:g}, and what is nearer to it than {detector.delta_dummy:g}"


def _sensor(detector: Detector) -> str:
    if detector.sensor is not None:
        thickness = "" if detector.sensor.thickness is None else f",{detector.sensor.thickness * 1e6:g}um"
        return f"{detector.sensor.material}{thickness}"
    sold = sensor_words(detector.model.sensors) if detector.model else ""
    return f"{sold} (used if you say so: --sensor)" if sold else ""
