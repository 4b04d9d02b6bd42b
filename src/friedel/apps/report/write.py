"""Draws a result on one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from friedel.core.errors import OutputError, ParameterError
from friedel.core.files import output_error
from friedel.core.provenance import Provenance
from friedel.io.nexus import open_dataset, replacing

from .calibration import calibration_sections, is_calibration, tables_html, verdict_html
from .contents import Section, sections
from .labels import length_text, number_text, phase_text, size_text, time_text
from .page import Picture, page_html
from .record import record_html
from .style import DARK, LIGHT, PAGE_WIDTH, to_bytes, to_png
from .targets import PAGES, PICTURES, check_target


class UsageLike(Protocol):
    """What an execution cost."""

    @property
    def seconds(self) -> float: ...

    @property
    def peak_memory(self) -> int: ...


def write_report(
    result: xr.Dataset | str | Path, page: str | Path, usage: UsageLike | None = None, *, overwrite: bool = True
) -> None:
    """Draw `result` on the HTML page `page`, and its pictures in ``<stem>_files/`` beside it.

    Parameters
    ----------
    result : xarray.Dataset or path-like
        The result of a task, or the file that it wrote.
    page : path-like
        The page to write.
    usage : Usage, optional
        Time and memory of the execution; without it those that the record holds are shown.
    overwrite : bool
        Whether to replace a page that exists.

    Raises
    ------
    FileError
        If the result cannot be read.
    ParameterError
        If the page does not end in .html or .htm, or is the result.
    OutputError
        If the page cannot be written, or exists and may not be replaced.
    """
    page = Path(page)
    check_target(page, PAGES, None if isinstance(result, xr.Dataset) else result, overwrite)
    with _opened(result) as dataset:
        text = dataset.attrs.get("provenance")
        record = Provenance.from_json(text) if text else None
        notes = record.notes if record else {}
        pictures = [_draw(section) for section in _sections(dataset, notes)]
        judged = is_calibration(dataset)
        if not pictures and not judged:
            raise ParameterError(
                f"Nothing in {page.stem if isinstance(result, xr.Dataset) else result} can be drawn.",
                "A report is of a result that friedel wrote; friedel info shows what a file holds.",
            )
        title = Path(result).name if not isinstance(result, xr.Dataset) else page.stem
        html = page_html(
            title=title,
            task=_task_text(record),
            facts=_facts(dataset, notes, usage),
            warnings=_warnings(notes),
            pictures=pictures,
            verdict=verdict_html(dataset) if judged else "",
            tables=tables_html(dataset) if judged else "",
            record=record_html(record) if record else "<p>The file holds no record.</p>",
        )
    _write(page, html, pictures)


def write_picture(
    result: xr.Dataset | str | Path, picture: str | Path, name: str | None = None, *, overwrite: bool = True
) -> None:
    """Draw one picture of the report as a file: the first, or the one called `name`.

    Parameters
    ----------
    result : xarray.Dataset or path-like
    picture : path-like
        File to write: PNG, SVG or PDF by its ending.
    name : str, optional
        Name of a picture, such as "mean_pattern".
    overwrite : bool
        Whether to replace a file that exists.

    Raises
    ------
    FileError
        If the result cannot be read.
    ParameterError
        If the result has no such picture; the message lists those it has. If the file has another ending.
    OutputError
        If the picture cannot be written, or exists and may not be replaced.
    """
    check_target(picture, PICTURES, None if isinstance(result, xr.Dataset) else result, overwrite)
    with _opened(result) as dataset:
        text = dataset.attrs.get("provenance")
        found = {
            section.name: section for section in _sections(dataset, Provenance.from_json(text).notes if text else {})
        }
        if not found:
            raise ParameterError("Nothing in the result can be drawn.", "friedel info shows what it holds.")
        chosen = name if name is not None else next(iter(found))
        if chosen not in found:
            raise ParameterError(f"There is no picture {chosen!r}.", f"Pictures: {', '.join(found)}.")
        content = to_bytes(found[chosen].draw(LIGHT), Path(picture).suffix[1:].lower())
    with replacing(picture, overwrite=overwrite) as temporary:
        Path(temporary).write_bytes(content)


def _sections(dataset: xr.Dataset, notes: Mapping[str, Any]) -> Iterator[Section]:
    """Yield what can be drawn: of a calibration its own pictures, which tell more than those of any result."""
    return calibration_sections(dataset) if is_calibration(dataset) else sections(dataset, notes)


@contextmanager
def _opened(result: xr.Dataset | str | Path) -> Iterator[xr.Dataset]:
    if isinstance(result, xr.Dataset):
        yield result
        return
    with open_dataset(result) as dataset:
        yield dataset


def _draw(section: Section) -> Picture:
    light = section.draw(LIGHT)
    width = float(light.get_size_inches()[0]) / PAGE_WIDTH
    return Picture(
        section.name, section.title, section.text, to_png(light), to_png(section.draw(DARK)), min(width, 1.0)
    )


def _write(page: Path, html: str, pictures: list[Picture]) -> None:
    """Write the page last: a page that is there has its pictures. What cannot be completed is taken away."""
    folder = page.with_name(f"{page.stem}_files")
    made = not folder.exists()
    written: list[Path] = []
    try:
        folder.mkdir(exist_ok=True)
        for picture in pictures:
            written.append(folder / f"{picture.name}.png")
            written[-1].write_bytes(picture.light)
        with replacing(page) as temporary:
            Path(temporary).write_text(html, encoding="utf-8")
    except (OSError, OutputError) as error:
        for path in written:
            path.unlink(missing_ok=True)
        if made:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise output_error(page, error) from None
        raise


def _task_text(record: Provenance | None) -> str:
    if record is None:
        return "Result without a record"
    return f"friedel {record.task} · {record.started[:16].replace('T', ' ')} UTC"


def _facts(dataset: xr.Dataset, notes: Mapping[str, Any], usage: UsageLike | None) -> dict[str, str]:
    sizes = dataset.sizes
    facts: dict[str, str] = {}
    if {"angle", "translation"} <= set(sizes):
        facts["Scan"] = f"{sizes['angle']} × {sizes['translation']}"
        facts["Frames"] = f"{sizes['angle'] * sizes['translation'] * sizes.get('layer', 1):,}".replace(",", " ")
    elif "frame_number" in dataset.data_vars:
        facts["Scan"] = f"{sizes['y']} × {sizes['x']}"
        facts["Missing points"] = str(int((dataset["frame_number"] < 0).sum()))
    elif "frame" in sizes:
        facts["Frames"] = f"{sizes['frame']:,}".replace(",", " ")
    if sizes.get("layer", 1) > 1:
        facts["Layers"] = str(sizes["layer"])
    if is_calibration(dataset):
        facts |= _calibration_facts(dataset)
    elif "radial" in sizes:
        facts["Radial bins"] = str(sizes["radial"])
    if "x" in dataset.coords and sizes["x"] > 1 and not is_calibration(dataset):
        axis = dataset["x"]
        step = abs(float(axis[-1] - axis[0])) / (axis.size - 1)
        name = "Step" if "frame_number" in dataset.data_vars else "Voxel"
        facts[name] = length_text(float(number_text(step, 3)), str(axis.attrs.get("units", "")))
    if "phase" in sizes:
        facts["Phases"] = str(sizes["phase"])
    seconds = usage.seconds if usage else _number(notes, "seconds")
    memory = usage.peak_memory if usage else _number(notes, "peak_memory")
    if seconds is not None:
        facts["Time"] = time_text(seconds)
    if memory is not None:
        facts["Memory"] = size_text(memory)
    return facts


def _calibration_facts(dataset: xr.Dataset) -> dict[str, str]:
    facts = {"Calibrant": phase_text(str(dataset.attrs.get("calibrant", "")))} if "calibrant" in dataset.attrs else {}
    if "point" in dataset.sizes:
        facts["Control points"] = str(dataset.sizes["point"])
    if "ring" in dataset.sizes:
        facts["Rings"] = str(dataset.sizes["ring"])
    if "rms" in dataset.attrs:
        facts["Residual"] = f"{float(dataset.attrs['rms']):.3f} px"
    return facts


def _number(notes: Mapping[str, Any], key: str) -> float | None:
    value = notes.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def _warnings(notes: Mapping[str, Any]) -> list[str]:
    found = notes.get("warnings", ())
    return [str(text) for text in ([found] if isinstance(found, str) else found)]
