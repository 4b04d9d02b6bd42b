"""Calibration from files to files: geometry, result, page, verdict."""

from __future__ import annotations

import errno
from dataclasses import replace

import numpy as np
import pytest

import friedel
from friedel.apps.cli.main import run
from friedel.core.errors import CalibrationError, CancelledError, OutputError, ParameterError
from friedel.core.tasks import registry
from friedel.instrument import Geometry
from friedel.io.images import read_image, write_image
from friedel.io.nexus import open_dataset
from friedel.techniques.calibration import compare

SETUP = {"detector": "Pilatus300k", "calibrant": "CeO2", "energy": "30keV"}
WORDS = ["--detector", "Pilatus300k", "--calibrant", "CeO2", "--energy", "30keV"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    friedel.simulate_calibrant(
        folder / "ceo2.edf", detector="Pilatus300k", distance=0.15, rot1=0.1, rot2=-0.05, seed=3, stop=1.0
    )
    friedel.calibrate(folder / "ceo2.edf", output=folder / "setup.poni", report=folder / "page.html", **SETUP)
    return folder


def truth(folder) -> Geometry:
    return Geometry.load(folder / "ceo2_truth.poni")


def test_the_geometry_is_found_without_a_guess(folder):
    difference = compare(Geometry.load(folder / "setup.poni"), truth(folder))
    assert difference.largest < 0.1


def test_the_result_holds_all_that_the_geometry_rests_on(folder):
    with open_dataset(folder / "setup.h5") as result:
        assert result.attrs["verdict"] == "trusted"
        assert {"point_y", "residual", "ring_residual", "sector_residual", "pattern", "cake"} <= set(result.data_vars)
        assert result["covariance"].shape == (7, 7)
        assert list(result["parameter"].values)[:3] == ["distance", "poni1", "poni2"]
        error = dict(zip(result["parameter"].values, result["parameter_value_errors"].values, strict=True))
        assert 0 < error["distance"] < 1e-4
        assert error["rot3"] == 0


def test_the_geometry_file_tells_errors_and_verdict(folder):
    text = (folder / "setup.poni").read_text()
    assert "# Verdict: trusted" in text
    assert "# Distance error:" in text
    assert "# Beam center y:" in text


def test_the_page_says_the_verdict_first(folder):
    page = (folder / "page.html").read_text()
    assert page.index("can be trusted") < page.index("Rings on the image") < page.index("Cake")
    assert {path.stem for path in (folder / "page_files").iterdir()} >= {"cake", "pattern", "ring_residuals"}


def test_a_calibration_is_repeated_from_its_result(folder, tmp_path):
    friedel.rerun(folder / "setup.h5", tmp_path / "again.h5")
    np.testing.assert_equal(
        Geometry.load(tmp_path / "again.poni").distance, Geometry.load(folder / "setup.poni").distance
    )


def test_a_geometry_is_refined(folder, tmp_path):
    start = truth(folder)
    off = Geometry(
        start.detector, start.distance * 1.001, start.poni1 + 2e-4, start.poni2, 0.1, -0.05, 0.0, start.wavelength
    )
    off.save(tmp_path / "old.poni")
    words = ["calibrate", str(folder / "ceo2.edf"), "--geometry", str(tmp_path / "old.poni"), "--calibrant", "CeO2"]
    words += ["--fix", "rot3", "--bounds", "dist=0.1,0.3", "-o", str(tmp_path / "new.poni"), "--quiet"]
    assert run(words) == 0
    assert compare(Geometry.load(tmp_path / "new.poni"), start).largest < 0.1


def test_each_step_is_a_task_of_its_own(folder, tmp_path):
    points, rings = str(tmp_path / "points.txt"), str(tmp_path / "rings.txt")
    first, better, result = (str(tmp_path / name) for name in ("first.poni", "better.poni", "judged.h5"))
    image = str(folder / "ceo2.edf")
    assert run(["calibrate", "detect", image, "--detector", "Pilatus300k", "-o", points, "--quiet"]) == 0
    assert run(["calibrate", "assign", points, *WORDS, "-o", rings, "--poni", first, "--quiet"]) == 0
    assert run(["calibrate", "refine", rings, "--geometry", first, "--calibrant", "CeO2", "-o", better, "--quiet"]) == 0
    measured = str(tmp_path / "measured.npt")
    given = ["--geometry", better, "--calibrant", "CeO2"]
    assert run(["calibrate", "extract", image, *given, "-o", measured, "--quiet"]) == 0
    assert run(["calibrate", "validate", measured, *given, "--image", image, "-o", result, "--quiet"]) == 0
    assert compare(Geometry.load(better), truth(folder)).largest < 0.3


def test_points_of_the_user_are_enough(folder, tmp_path):
    """A few points on three rings, typed with a precision of a tenth of a pixel."""
    measured = friedel.calibrate_extract(
        folder / "ceo2.edf", geometry=folder / "setup.poni", calibrant="CeO2", output=tmp_path / "all.h5"
    )
    y, x, ring = (measured[name].values for name in ("point_y", "point_x", "point_ring"))
    some = np.flatnonzero(np.isin(ring, np.unique(ring)[:3]))[::5]
    lines = [f"{y[n]:.1f} {x[n]:.1f} {ring[n]}" for n in some]
    (tmp_path / "mine.txt").write_text("# y x ring\n" + "\n".join(lines) + "\n")
    friedel.calibrate_assign(
        tmp_path / "mine.txt", output=tmp_path / "rings.npt", poni=tmp_path / "first.poni", **SETUP
    )
    assert compare(Geometry.load(tmp_path / "first.poni"), truth(folder)).largest < 1.0
    friedel.calibrate(
        folder / "ceo2.edf", geometry=tmp_path / "first.poni", calibrant="CeO2", output=tmp_path / "mine.poni"
    )
    assert compare(Geometry.load(tmp_path / "mine.poni"), truth(folder)).largest < 0.1


def test_noise_is_no_calibrant(tmp_path, capsys):
    image = np.random.default_rng(0).poisson(20.0, (619, 487)).astype(np.int32)
    write_image(tmp_path / "noise.edf", image)
    words = ["calibrate", str(tmp_path / "noise.edf"), *WORDS, "-o", str(tmp_path / "no.poni")]
    assert run([*words, "--report", str(tmp_path / "no.html")]) == 1
    assert capsys.readouterr().err
    assert not (tmp_path / "no.poni").exists()
    assert "There is no geometry" in (tmp_path / "no.html").read_text()


def test_a_wrong_calibrant_is_not_trusted(folder, tmp_path):
    words = ["calibrate", str(folder / "ceo2.edf"), "--detector", "Pilatus300k", "--calibrant", "LaB6"]
    assert run([*words, "--energy", "30keV", "-o", str(tmp_path / "no.poni"), "--quiet"]) in (1, 3)


def test_what_is_there_is_not_replaced(folder):
    with pytest.raises(OutputError, match="exists"):
        friedel.calibrate(folder / "ceo2.edf", output=folder / "setup.poni", **SETUP)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"energy": "30keV", "wavelength": "0.4A"}, "both"),
        ({"bounds": ["dist"]}, "bounds"),
        ({"energy": "thirty"}, "energy"),
        ({"output": "setup.txt"}, "setup.txt"),
    ],
)
def test_bad_input_is_named(folder, tmp_path, options, said):
    given = {"output": tmp_path / "x.poni", "detector": "Pilatus300k", "calibrant": "CeO2", **options}
    with pytest.raises(ParameterError, match=said):
        friedel.calibrate(folder / "ceo2.edf", **given)


def test_failed_calibrations_raise_in_python(tmp_path):
    write_image(tmp_path / "flat.edf", np.full((619, 487), 7, np.int32))
    with pytest.raises(CalibrationError):
        friedel.calibrate(tmp_path / "flat.edf", output=tmp_path / "x.poni", **SETUP)


def test_modules_are_refined_and_kept_in_a_detector_file(folder, tmp_path):
    output = tmp_path / "modules.poni"
    result = friedel.calibrate(folder / "ceo2.edf", output=output, modules=True, **SETUP)
    assert (tmp_path / "modules_detector.h5").exists()
    assert result.attrs["verdict"] == "trusted"
    assert compare(Geometry.load(output), truth(folder)).rms < 0.1


def test_a_missing_detector_is_asked_for(folder, tmp_path):
    with pytest.raises(ParameterError) as caught:
        friedel.calibrate(folder / "ceo2.edf", output=tmp_path / "x.poni", calibrant="CeO2", energy=30.0)
    assert "detector" in caught.value.remedy
    assert "Pilatus300k" in caught.value.remedy


def test_a_full_disk_leaves_what_was_there_and_no_half(folder, tmp_path, monkeypatch):
    """The old geometry stays with its result; nothing lies beside them."""
    from friedel.core.files import output_error

    for name in ("setup.poni", "setup.h5"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(geometry, path, comment=""):
        raise output_error(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(Geometry, "save", full)
    with pytest.raises(OutputError, match="no space left"):
        friedel.calibrate(folder / "ceo2.edf", output=tmp_path / "setup.poni", overwrite=True, **SETUP)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_noticed_before_the_work(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *given, **more: False)
    monkeypatch.setattr("friedel.workflows.calibration.workflow.read_scene", None)
    with pytest.raises(OutputError, match="cannot be written") as caught:
        friedel.calibrate(folder / "ceo2.edf", output=tmp_path / "x.poni", **SETUP)
    assert caught.value.exit_code == 2


def test_a_calibration_that_is_stopped_writes_nothing(folder, tmp_path):
    """Ctrl-C in the midst of the work: exit code 130."""
    from friedel.apps.execution import Placement, execute
    from friedel.core.context import Cancellation, SilentProgress

    cancellation = Cancellation()

    class Impatient(SilentProgress):
        def message(self, text):
            if text.startswith("Round 1"):
                cancellation.cancel()

    task = registry()["calibrate"]
    given = {"images": [str(folder / "ceo2.edf")], "output": str(tmp_path / "x.poni"), **SETUP}
    placement = Placement(progress=Impatient(), cancellation=cancellation)
    with pytest.raises(CancelledError) as caught:
        execute(task, task.parameters.parse(given), placement)
    assert caught.value.exit_code == 130
    assert not list(tmp_path.iterdir())


def test_an_old_geometry_that_a_failure_leaves_is_named(folder, tmp_path, capsys):
    write_image(tmp_path / "flat.edf", np.full((619, 487), 7, np.int32))
    (tmp_path / "ok.poni").write_bytes((folder / "setup.poni").read_bytes())
    words = ["calibrate", str(tmp_path / "flat.edf"), *WORDS, "-o", str(tmp_path / "ok.poni"), "--overwrite", "--quiet"]
    assert run(words) == 1
    assert "ok.poni is still the old geometry of 20" in capsys.readouterr().err


def test_images_of_different_setups_are_not_added_up_in_silence(folder, tmp_path):
    options = {"detector": "Pilatus300k", "rot1": 0.1, "rot2": -0.05, "stop": 1.0}
    friedel.simulate_calibrant(tmp_path / "far.edf", distance=0.25, seed=4, **options)
    friedel.simulate_calibrant(tmp_path / "again.edf", distance=0.15, seed=5, **options)
    mixed = friedel.calibrate([folder / "ceo2.edf", tmp_path / "far.edf"], output=tmp_path / "mixed.poni", **SETUP)
    assert mixed.attrs["verdict"] == "doubtful"
    assert any("far.edf" in text and "--own" in advice for _, _, text, advice in mixed.attrs["findings"])
    alike = friedel.calibrate([folder / "ceo2.edf", tmp_path / "again.edf"], output=tmp_path / "alike.poni", **SETUP)
    assert alike.attrs["verdict"] == "trusted"


def test_an_old_geometry_without_a_detector_takes_the_one_that_is_given(folder, tmp_path):
    """Pixels below zero are the detector's marks, also where nothing tells which detector it is."""
    start = truth(folder)
    old = f"PixelSize1: 172e-6\nPixelSize2: 172e-6\nDistance: {start.distance}\nPoni1: {start.poni1}\n"
    old += f"Poni2: {start.poni2}\nRot1: 0.1\nRot2: -0.05\nRot3: 0\nWavelength: {start.wavelength}\n"
    (tmp_path / "old.poni").write_text(old)
    image = read_image(folder / "ceo2.edf").astype(np.int32)
    image[start.detector.mask()] = -1
    write_image(tmp_path / "marked.edf", image)
    given = {"geometry": tmp_path / "old.poni", "calibrant": "CeO2"}
    for name, more in {"plain": {}, "named": {"detector": "Pilatus300k"}}.items():
        friedel.calibrate(tmp_path / "marked.edf", output=tmp_path / f"{name}.poni", **given, **more)
        assert compare(Geometry.load(tmp_path / f"{name}.poni").for_shape(image.shape), start).largest < 0.1
    assert Geometry.load(tmp_path / "named.poni").detector.name == start.detector.name


def test_pixels_below_zero_after_a_dark_image_are_no_hindrance(folder, tmp_path):
    write_image(tmp_path / "dark.edf", np.full((619, 487), 2.5, np.float32))
    result = friedel.calibrate(folder / "ceo2.edf", output=tmp_path / "dark.poni", dark=tmp_path / "dark.edf", **SETUP)
    assert result.attrs["verdict"] == "trusted"


def test_a_geometry_that_is_far_off_is_approached(folder, tmp_path):
    start = truth(folder)
    replace(start, poni1=start.poni1 + 1.2e-3, poni2=start.poni2 - 8e-4).save(tmp_path / "old.poni")
    friedel.calibrate(
        folder / "ceo2.edf", geometry=tmp_path / "old.poni", calibrant="CeO2", output=tmp_path / "new.poni"
    )
    assert compare(Geometry.load(tmp_path / "new.poni"), start).largest < 0.1
