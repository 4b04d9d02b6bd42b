from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_tasks import Average
from friedel.core.errors import ParameterError
from friedel.core.parameters import FilePaths, NameOrPath, Parameters


def test_paths_become_text_and_one_is_as_good_as_many() -> None:
    parameters = Average.parse({"frames": Path("a.cbf"), "geometry": Path("setup.poni")})
    assert parameters.frames == ("a.cbf",)
    assert parameters.geometry == "setup.poni"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"frames": ["a"]}, "geometry"),
        ({"frames": ["a"], "geometry": "p", "npts": 3}, "npts"),
        ({"frames": ["a"], "geometry": "p", "npt": -1}, "npt"),
        ({"frames": ["a"], "geometry": "p", "radial_range": (1,)}, "radial_range"),
    ],
)
def test_a_bad_parameter_is_named(values: dict[str, object], named: str) -> None:
    with pytest.raises(ParameterError, match=named) as caught:
        Average.parse(values)
    assert caught.value.exit_code == 2


def test_all_bad_parameters_are_named_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        Average.parse({"npt": 0, "unit": "furlong"})
    for key in ("frames", "geometry", "npt", "unit", "0", "furlong"):
        assert key in caught.value.problem


def test_parameters_do_not_change() -> None:
    parameters = Average(frames=("a",), geometry="p")
    with pytest.raises(ValueError, match="frozen"):
        parameters.npt = 5  # type: ignore[misc]


def test_relative_paths_count_from_the_folder() -> None:
    parameters = Average(frames=("a.h5::/entry/data", "/b.h5"), geometry="p", unit="2th_deg").located("/scans")
    assert parameters.frames == ("/scans/a.h5::/entry/data", "/b.h5")
    assert parameters.geometry == "/scans/p"
    assert parameters.output is None
    assert parameters.unit == "2th_deg"


def test_a_name_is_a_path_where_there_is_such_a_file(tmp_path: Path) -> None:
    class Phases(Parameters):
        """Names or files."""

        phases: tuple[NameOrPath, ...] = ()
        """Phases."""

    (tmp_path / "unknown.cif").write_text("")
    phases = Phases.parse({"phases": ["CeO2", "unknown.cif"]}).located(tmp_path).phases
    assert phases == ("CeO2", str(tmp_path / "unknown.cif"))


@given(
    npt=st.integers(1, 10**6),
    radial_range=st.none() | st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
    rois=st.lists(st.tuples(st.floats(0, 1), st.floats(1, 2)), max_size=3),
    center=st.just("auto") | st.floats(0, 1e4),
)
def test_a_record_gives_the_same_parameters(
    npt: int, radial_range: tuple[float, float] | None, rois: list[tuple[float, float]], center: str | float
) -> None:
    parameters = Average.parse(
        {"frames": ("a",), "geometry": "p", "npt": npt, "radial_range": radial_range, "rois": rois, "center": center}
    )
    assert Average.parse(parameters.model_dump(mode="json")) == parameters
    assert Average.model_validate_json(parameters.model_dump_json()) == parameters


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "frames is missing: give frames (in the shell --frames)."),
        ({"frames": "a", "nptt": 3}, "There is no parameter nptt. Did you mean npt?"),
        ({"frames": "a", "colour": 3}, "There is no parameter colour. There are frames, npt."),
        (
            {"frames": SimpleNamespace(ndim=3, shape=(3, 4, 4))},
            "tasks take names of files, this is an array of shape (3, 4, 4)",
        ),
        ({"frames": [SimpleNamespace(ndim=2, shape=(4, 4))] * 9}, "an array of shape (4, 4)"),
        ({"frames": "a", "npt": "x" * 500}, "npt: "),
    ],
)
def test_what_is_wrong_is_said_in_a_line(values: dict[str, Any], said: str) -> None:
    class Few(Parameters):
        frames: FilePaths
        npt: int = 5

    with pytest.raises(ParameterError) as caught:
        Few.parse(values)
    assert said in caught.value.problem
    assert len(caught.value.problem.splitlines()) == 1
    assert len(caught.value.problem) < 300
