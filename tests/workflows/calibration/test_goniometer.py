"""Calibration of a moving detector from files to files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import friedel
from friedel.apps.cli.main import run
from friedel.core.errors import CalibrationError, DataError, FileError, OutputError, ParameterError
from friedel.instrument import Calibrant, Detector, Goniometer
from friedel.instrument.virtual import Exposure, simulated_frame
from friedel.io.frames import open_frames
from friedel.io.images import write_image
from friedel.io.nexus import open_dataset
from friedel.techniques.calibration.goniometer_model import names_in, usual_formulas
from friedel.workflows.calibration.positions import parse_formulas, parse_values, read_positions

WAVELENGTH = 0.4e-10
DETECTOR = Detector.from_shape((300, 280), 3e-4)
VALUES = {"distance": 0.25, "poni1": 0.047, "poni2": 0.041, "rot1_per_nu": math.pi / 180 * 1.002, "rot1": 0.01}
VALUES |= {"rot2": -0.02}
POSITIONS = [0.0, 7.0, 14.0]
SETUP = {"calibrant": "LaB6", "wavelength": "0.4A"}


def truth() -> Goniometer:
    formulas = usual_formulas({"nu": "rot1"})
    values = {name: VALUES[name] for name in names_in(formulas, ("nu",))}
    return Goniometer.of(DETECTOR, formulas, values, ("nu",), WAVELENGTH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("goniometer")
    for number, position in enumerate(POSITIONS):
        geometry = truth().geometry({"nu": position})
        exposure = Exposure(counts=400, width=0.12)
        frame = simulated_frame(geometry, Calibrant.named("LaB6").rings(WAVELENGTH), exposure, seed=number)
        write_image(folder / f"image_{number}.edf", frame.image)
    truth().geometry({"nu": 0.0}).save(folder / "first.poni")
    (folder / "nu.txt").write_text("# nu\n0\n7\n14\n")
    words = ["calibrate", "goniometer", *map(str, images(folder)), "--positions", "nu=0,7,14", "--calibrant", "LaB6"]
    words += ["--geometry", str(folder / "first.poni"), "-o", str(folder / "gonio.json"), "--quiet"]
    assert run([*words, "--report", str(folder / "page.html")]) == 0
    return folder


def images(folder: Path) -> list[Path]:
    return [folder / f"image_{number}.edf" for number in range(len(POSITIONS))]


def pulls(goniometer: Goniometer) -> np.ndarray:
    values, errors = np.array([value for _, value in goniometer.values]), np.sqrt(np.diag(goniometer.covariance))
    return (values - [VALUES[name] for name, _ in goniometer.values]) / errors


def test_the_goniometer_is_that_of_the_images(folder: Path) -> None:
    found = Goniometer.load(folder / "gonio.json")
    assert found.motors == ("nu",)
    assert np.abs(pulls(found)).max() < 4.0


def test_the_result_holds_all_that_it_rests_on(folder: Path) -> None:
    with open_dataset(folder / "gonio.h5") as result:
        assert result.attrs["verdict"] == "trusted"
        assert list(result["parameter"].values) == list(VALUES)
        assert result["position_nu"].values.tolist() == POSITIONS
        assert (result["position_rms"] < 0.3).all()
        assert (result["position_points"] > 100).all()
        assert result["position_rot1"].values[2] == pytest.approx(0.254, abs=1e-3)
        assert result["parameter_value"].attrs["units_of_each"][3] == "rad/nu"
    assert "describe all 3 images" in (folder / "page.html").read_text()
    assert (folder / "page_files" / "position_residuals.png").exists()


def test_a_goniometer_is_refined_again_with_positions_of_a_file(folder: Path, tmp_path: Path) -> None:
    result = friedel.calibrate_goniometer(
        images(folder),
        goniometer=folder / "gonio.json",
        positions=f"nu={folder / 'nu.txt'}",
        calibrant="LaB6",
        fix="rot1_per_nu",
        output=tmp_path / "again.json",
    )
    assert result.attrs["numbers"][3].endswith("(not refined)")
    again, before = (Goniometer.load(path) for path in (tmp_path / "again.json", folder / "gonio.json"))
    assert dict(again.values)["rot1_per_nu"] == dict(before.values)["rot1_per_nu"]


def test_own_expressions_without_a_geometry(folder: Path, tmp_path: Path) -> None:
    # As pyFAI's tutorial writes them; one motor, a start that is searched for.
    result = friedel.calibrate_goniometer(
        images(folder),
        detector=str(folder / "first.poni"),
        positions="0,7,14",
        expressions=("rot1=rot1_scale * pos + rot1_offset", "rot2=rot2_scale * pos + rot2_offset"),
        output=tmp_path / "gonio.json",
        **SETUP,
    )
    assert result.attrs["verdict"] in ("trusted", "doubtful")
    found = dict(Goniometer.load(tmp_path / "gonio.json").values)
    assert found["rot1_scale"] == pytest.approx(VALUES["rot1_per_nu"], rel=1e-3)
    assert json.loads((tmp_path / "gonio.json").read_text())["trans_function"]["rot3_expr"] == "0.0"


def test_formulas_that_do_not_describe_the_motion_are_doubted(folder: Path, tmp_path: Path) -> None:
    result = friedel.calibrate_goniometer(
        images(folder),
        geometry=folder / "first.poni",
        positions="nu=0,7,14.3",
        calibrant="LaB6",
        expressions="rot1=rot1_scale * nu + rot1_offset",
        fix=("poni1", "poni2"),
        output=tmp_path / "gonio.json",
    )
    assert result.attrs["verdict"] == "doubtful"
    said = next(item for item in result.attrs["findings"] if item[0] == "formulas")
    assert "the detector does not move as they say (" in said[2]
    assert "rot1_scale * nu" in said[2]
    assert '--expressions "rot1=scale*nu+offset"' in said[3]


def test_an_image_on_the_other_side_than_told_is_named(folder: Path, tmp_path: Path) -> None:
    """Rings looked for near a wrong place are found in part, by chance: the image must not show others."""
    with pytest.raises(CalibrationError, match=r"image 2: only \d+ %"):
        friedel.calibrate_goniometer(
            images(folder),
            positions="nu=0,7,-14",
            geometry=folder / "first.poni",
            output=tmp_path / "no.json",
            **SETUP,
        )


def test_one_position_does_not_tell_the_slope(folder: Path, tmp_path: Path) -> None:
    words = ["calibrate", "goniometer", str(images(folder)[0]), "--positions", "nu=0", "--calibrant", "LaB6"]
    words += ["--geometry", str(folder / "first.poni"), "-o", str(tmp_path / "gonio.json"), "--quiet"]
    assert run(words) == 3
    with open_dataset(tmp_path / "gonio.h5") as result:
        assert "rot1_per_nu" in str(result.attrs["findings"])
        assert result.attrs["numbers"][3].endswith("(not refined)") or "not determined" in result.attrs["numbers"][3]


def test_images_that_fit_no_positions_fail(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="of 3 images only"):
        friedel.calibrate_goniometer(
            images(folder),
            geometry=folder / "first.poni",
            positions="nu=0,90,47",
            calibrant="LaB6",
            output=tmp_path / "gonio.json",
        )
    assert not (tmp_path / "gonio.json").exists()


@pytest.mark.parametrize(
    ("changes", "error", "problem"),
    [
        ({"positions": "nu=0,7"}, DataError, "2 positions for 3 images"),
        ({"positions": ()}, DataError, "positions is missing"),
        ({"positions": "phi"}, DataError, "no axis 'phi'"),
        ({"moves": ("rot1", "rot2")}, ParameterError, "2 entries"),
        ({"start": "scale=1"}, ParameterError, "no parameter scale"),
        ({"start": "rot1"}, ParameterError, "cannot be read"),
        ({"expressions": "rot1=0.1 + offset"}, ParameterError, "No expression has the motor nu"),
        ({"expressions": "rot1"}, ParameterError, "cannot be read"),
        ({"geometry_image": 7}, ParameterError, "there are 3 images"),
        ({"output": "gonio.poni"}, ParameterError, "cannot have this name"),
        ({"detector": "Pilatus1M"}, ParameterError, "detector"),
    ],
)
def test_what_cannot_be_done_is_told(
    folder: Path, tmp_path: Path, changes: dict[str, object], error: type[Exception], problem: str
) -> None:
    given = {"geometry": folder / "first.poni", "positions": "nu=0,7,14", "calibrant": "LaB6"}
    given |= {"output": tmp_path / "gonio.json"}
    with pytest.raises(error, match=problem):
        friedel.calibrate_goniometer(images(folder), **(given | changes))


def test_files_that_exist_are_kept(folder: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        friedel.calibrate_goniometer(
            images(folder), positions="nu=0,7,14", output=folder / "gonio.json", detector="Pilatus100k", **SETUP
        )


def test_positions_from_the_headers_of_files(tmp_path: Path) -> None:
    import fabio

    sources = []
    for number, position in enumerate(POSITIONS):
        header = {"motor_mne": "nu del", "motor_pos": f"{position} 3.0"}
        fabio.edfimage.EdfImage(data=np.zeros((4, 5), np.int32), header=header).write(str(tmp_path / f"{number}.edf"))
        sources.append(open_frames((str(tmp_path / f"{number}.edf"),)))
    for texts in ((), ("nu",), ("nu=nu",)):
        names, positions = read_positions(texts, sources, 3)
        assert names == ("nu",)
        assert positions[:, 0].tolist() == POSITIONS
    names, positions = read_positions(("nu", "delta=del"), sources, 3)
    assert names == ("nu", "delta")
    assert positions[:, 1].tolist() == [3.0, 3.0, 3.0]
    with pytest.raises(ParameterError, match="Give each one once"):
        read_positions(("nu", "nu=1,2,3"), sources, 3)


def test_numbers_names_and_formulas(tmp_path: Path) -> None:
    assert read_positions(("1,2,3",), (), 3)[0] == ("pos",)
    assert read_positions(("1,2,3", "4"), (), 3)[0] == ("pos1", "pos2")
    assert parse_values(("a=1e-3",), "start") == {"a": 1e-3}
    assert parse_formulas(("rot1 = a * pos + b",)) == {"rot1": "a * pos + b"}
    (tmp_path / "bad.txt").write_text("one\n")
    with pytest.raises(FileError, match="no list of positions"):
        read_positions((f"nu={tmp_path / 'bad.txt'}",), (), 3)
