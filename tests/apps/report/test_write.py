"""The report: complete in itself, and content with whatever the result holds."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from apps.report.synthetic import synthetic_xrdct
from friedel.apps.report import write_picture, write_report
from friedel.apps.report.contents import centers, sections, strongest_peak
from friedel.core.errors import FriedelError, OutputError, ParameterError
from friedel.core.provenance import Provenance

PNG = b"\x89PNG\r\n"


class Links(HTMLParser):
    """Collects everything that a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [value or "" for key, value in attributes if key in ("src", "srcset", "href")]


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    return synthetic_xrdct(size=24, bins=120, layers=2)


def names(result: xr.Dataset, **notes: object) -> list[str]:
    return [section.name for section in sections(result, notes)]


def test_page_is_complete_in_itself(result: xr.Dataset, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(result, page)
    text = page.read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    assert links.fetched
    assert all(address.startswith("data:image/png;base64,") for address in links.fetched)
    assert links.tags.isdisjoint({"script", "link", "iframe", "object"})
    assert not re.search(r"url\(|@import", text)
    for expected in ("Mean pattern", "scan.h5", "setup.poni", "2 of 3904 frames", "412 MB", "friedel xrdct"):
        assert expected in text
    pictures = sorted(path.name for path in (tmp_path / "report_files").iterdir())
    assert {"phases.png", "phase_maps.png", "mean_pattern.png", "sinogram.png", "center.png"} <= set(pictures)
    assert all((tmp_path / "report_files" / name).read_bytes().startswith(PNG) for name in pictures)


def test_page_is_drawn_from_the_file(tmp_path: Path) -> None:
    from friedel.io.nexus import write_dataset

    write_dataset(tmp_path / "maps.h5", synthetic_xrdct(size=16, bins=60))
    write_report(tmp_path / "maps.h5", tmp_path / "page.html")
    assert "<h1>maps.h5</h1>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_text_from_files_cannot_become_markup(tmp_path: Path) -> None:
    result = xr.Dataset({"intensity": ("radial", np.ones(4))}, coords={"radial": np.arange(4.0)})
    record = Provenance.begin("<script>", 1, {"frames": ["<b>.h5"]}, "cpu").with_notes(warnings=["<i>"])
    write_report(result.assign_attrs(provenance=record.to_json()), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    for tag in ("<script>", "<b>", "<i>"):
        assert tag not in text


def test_only_what_is_there_is_drawn(result: xr.Dataset) -> None:
    assert names(xr.Dataset()) == []
    assert names(result[["mean_pattern"]]) == ["mean_pattern"]
    assert "center" not in names(result)
    assert "center" in names(result, center=11.5)


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (("radial",), ["pattern"]),
        (("frame", "radial"), ["pattern", "frames"]),
        (("azimuth", "radial"), ["cake"]),
        (("frame", "azimuth", "radial"), ["cake"]),
    ],
)
def test_integration_results(dims: tuple[str, ...], expected: list[str], tmp_path: Path) -> None:
    sizes = {"frame": 3, "azimuth": 5, "radial": 20}
    values = np.random.default_rng(0).random([sizes[name] for name in dims])
    result = xr.Dataset({"intensity": (dims, values)}, coords={"radial": np.arange(20.0), "azimuth": np.arange(5.0)})
    result = result.assign_attrs(title="x")
    assert names(result) == expected
    write_report(result, tmp_path / "page.html")


def test_reconstructed_volume(tmp_path: Path) -> None:
    result = xr.Dataset({"volume": (("layer", "y", "x"), np.random.default_rng(0).random((3, 8, 8)))})
    assert names(result) == ["slice"]
    write_report(result, tmp_path / "page.html")


def test_all_nan_is_drawn(tmp_path: Path) -> None:
    empty = synthetic_xrdct(size=16, bins=60)
    write_report(empty.assign(residual=empty["residual"] * np.nan), tmp_path / "page.html")


def test_unwritable_page(result: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_report(result[["mean_pattern"]], tmp_path / "file" / "page.html")


def test_strongest_peak_stands_above_the_background() -> None:
    radial = np.arange(300.0)
    pattern = 100 * np.exp(-radial / 100) + 5 * np.exp(-(((radial - 200) / 3) ** 2))
    found = strongest_peak(pattern)
    assert found.start < 200 < found.stop <= 210


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ({}, (None, {})),
        ({"center": 3.5}, (3.5, {})),
        ({"center": {"value": 3.5, "estimates": {"mirror": 3.4}}}, (3.5, {"mirror": 3.4})),
        ({"center": 3.5, "center_estimates": {"mirror": 3.4, "mass": 3.6}}, (3.5, {"mirror": 3.4, "mass": 3.6})),
    ],
)
def test_centers_are_found_in_the_notes(
    notes: dict[str, object], expected: tuple[float | None, dict[str, float]]
) -> None:
    assert centers(notes) == expected


def test_one_picture(result: xr.Dataset, tmp_path: Path) -> None:
    write_picture(result, tmp_path / "first.png")
    write_picture(result, tmp_path / "pattern.png", "mean_pattern")
    assert (tmp_path / "first.png").read_bytes().startswith(PNG)
    assert (tmp_path / "pattern.png").read_bytes() != (tmp_path / "first.png").read_bytes()
    with pytest.raises(ParameterError, match="portrait"):
        write_picture(result, tmp_path / "x.png", "portrait")


@pytest.mark.parametrize(("ending", "start"), [("png", PNG), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_pictures_of_each_kind_are_the_same_bytes_each_time(
    result: xr.Dataset, tmp_path: Path, ending: str, start: bytes
) -> None:
    for name in ("one", "two"):
        write_picture(result, tmp_path / f"{name}.{ending}", "mean_pattern")
    content = (tmp_path / f"one.{ending}").read_bytes()
    assert content.startswith(start)
    assert content == (tmp_path / f"two.{ending}").read_bytes()


def test_a_file_without_results_is_refused(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["entry/data/data"] = np.zeros((2, 5, 6), "i4")
    with pytest.raises(FriedelError, match=r"scan\.h5"):
        write_report(tmp_path / "scan.h5", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_phase_that_is_hardly_there_is_left_out_of_the_picture_of_all(tmp_path: Path) -> None:
    result = synthetic_xrdct(size=16, bins=50)
    result["phase_height"] = ("phase", [10.0, 8.0, 0.1])
    write_report(result, tmp_path / "report.html")
    assert "Left out, for its peaks are nowhere above 5 % of the others&#x27;: Fe" in (
        tmp_path / "report.html"
    ).read_text().replace("'", "&#x27;")
