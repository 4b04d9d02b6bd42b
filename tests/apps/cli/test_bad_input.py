"""Bad input from the shell: a clear message, exit code 2, nothing lost, nothing half made."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from friedel.apps.cli.main import run
from friedel.instrument import Detector, Geometry
from friedel.io import FrameWriter, read_provenance
from friedel.kernels.decode import encode_byte_offset

SHAPE = (195, 487)
N_FRAMES = 12


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scan of 3 angles x 4 translations, a CBF image and a geometry, in the working folder."""
    monkeypatch.chdir(tmp_path)
    Geometry(Detector.named("Pilatus100k"), 0.2, 0.017, 0.04, wavelength=5e-11).save("setup.poni")
    write_scan(tmp_path / "scan.h5", np.random.default_rng(0).poisson(20.0, (N_FRAMES, *SHAPE)).astype("i4"))
    write_cbf(tmp_path / "image.cbf", np.full(SHAPE, 7, "i4"))
    return tmp_path


def write_scan(path: Path, frames: np.ndarray, angles: np.ndarray | None = None) -> None:
    with FrameWriter(path, SHAPE, frames.dtype) as writer:
        writer.append(frames)
        writer.add(
            "/entry/sample/rotation_angle", np.repeat([0.0, 60.0, 120.0], 4) if angles is None else angles, "deg"
        )
        writer.add("/entry/sample/x_translation", np.tile(np.arange(4.0), 3), "mm")


def write_cbf(path: Path, image: np.ndarray) -> None:
    payload = encode_byte_offset(image)
    header = (
        "###CBF: VERSION 1.5\r\n\r\ndata_image\r\n\r\n_array_data.data\r\n;\r\n--CIF-BINARY-FORMAT-SECTION--\r\n"
        'Content-Type: application/octet-stream;\r\n     conversions="x-CBF_BYTE_OFFSET"\r\n'
        "Content-Transfer-Encoding: BINARY\r\n"
        f"X-Binary-Size: {len(payload)}\r\nX-Binary-ID: 1\r\n"
        f"Content-MD5: {base64.b64encode(hashlib.md5(payload).digest()).decode()}\r\n"
        'X-Binary-Element-Type: "signed 32-bit integer"\r\nX-Binary-Element-Byte-Order: LITTLE_ENDIAN\r\n'
        f"X-Binary-Number-of-Elements: {image.size}\r\nX-Binary-Size-Fastest-Dimension: {image.shape[1]}\r\n"
        f"X-Binary-Size-Second-Dimension: {image.shape[0]}\r\n\r\n"
    )
    tail = b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n"
    path.write_bytes(header.encode() + b"\x0c\x1a\x04\xd5" + payload + tail)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must be refused; return what it says."""
    before = {path: path.stat().st_mtime_ns for path in Path().iterdir()}
    assert run([*words, "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) >= 2, "what to do is missing"
    assert {path: path.stat().st_mtime_ns for path in Path().iterdir()} == before, "something was left behind"
    return said


INTEGRATE = ("--geometry", "setup.poni", "--npt", "100", "-o", "out.h5")


def test_the_good_input_is_accepted(folder: Path) -> None:
    assert run(["integrate1d", "scan.h5", *INTEGRATE, "--quiet"]) == 0
    assert run(["integrate1d", "image.cbf", *INTEGRATE, "--quiet", "--overwrite"]) == 0


@pytest.mark.parametrize("words", [["integrate1d"], ["integrate2d", "--npt-azimuth", "12"]])
def test_the_record_tells_time_and_memory(folder: Path, words: list[str]) -> None:
    assert run([*words, "scan.h5", *INTEGRATE, "--quiet"]) == 0
    [record] = read_provenance("out.h5")
    assert 0 < record.notes["seconds"] < 60
    assert 1e6 < record.notes["peak_memory"] < 64e9
    assert run(["report", "out.h5"]) == 0
    page = Path("out.html").read_text()
    assert "Time" in page
    assert "Memory" in page


class TestFiles:
    def test_missing(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "nothing.h5: there is no such file" in refused(capsys, "integrate1d", "nothing.h5", *INTEGRATE)

    def test_no_match(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "*.cbf.bz2" in refused(capsys, "integrate1d", "*.cbf.bz2", *INTEGRATE)

    @pytest.mark.parametrize("part", [0.0005, 0.3, 0.9, 0.9999])
    def test_truncated_hdf5(self, folder: Path, capsys: pytest.CaptureFixture[str], part: float) -> None:
        [data] = folder.glob("scan_data*.h5")
        os.truncate(data, int(data.stat().st_size * part))
        said = refused(capsys, "integrate1d", "scan.h5", *INTEGRATE)
        assert data.name in said
        assert re.search("truncated|damaged|ends inside|cannot be read", said)

    @pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
    def test_truncated_cbf(self, folder: Path, capsys: pytest.CaptureFixture[str], part: float) -> None:
        os.truncate("image.cbf", int(Path("image.cbf").stat().st_size * part))
        assert "image.cbf" in refused(capsys, "integrate1d", "image.cbf", *INTEGRATE)

    def test_a_changed_cbf_is_found_by_its_checksum_if_asked(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        good = Path("image.cbf").read_bytes()
        payload = good.index(b"\x0c\x1a\x04\xd5") + 4
        Path("image.cbf").write_bytes(good[: payload + 1000] + b"\x05\xfb" + good[payload + 1002 :])
        assert run(["integrate1d", "image.cbf", *INTEGRATE, "--quiet"]) == 0
        Path("out.h5").unlink()
        said = refused(capsys, "integrate1d", "image.cbf", *INTEGRATE, "--checksum")
        assert "image.cbf" in said
        assert "checksum" in said

    def test_missing_data_file(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        [data] = folder.glob("scan_data*.h5")
        data.unlink()
        assert data.name in refused(capsys, "integrate1d", "scan.h5", *INTEGRATE)

    def test_no_image(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("notes.txt").write_text("no image at all\n")
        assert "notes.txt" in refused(capsys, "integrate1d", "notes.txt", *INTEGRATE)

    def test_mixed_shapes(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_cbf(Path("small.cbf"), np.ones((10, 12), "i4"))
        said = refused(capsys, "integrate1d", "image.cbf", "small.cbf", *INTEGRATE)
        assert "small.cbf" in said
        assert "10" in said


class TestGeometry:
    def test_wrong_shape(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_cbf(Path("small.cbf"), np.ones((10, 12), "i4"))
        said = refused(capsys, "integrate1d", "small.cbf", *INTEGRATE)
        assert re.search(r"10.*12", said)
        assert re.search(r"195.*487", said)

    def test_no_wavelength_for_q(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        lines = Path("setup.poni").read_text().splitlines()
        Path("bare.poni").write_text("\n".join(line for line in lines if not line.startswith("Wavelength")))
        said = refused(capsys, "integrate1d", "scan.h5", "--geometry", "bare.poni", "-o", "out.h5")
        assert "avelength" in said
        assert "q_nm^-1" in said
        words = ["integrate1d", "scan.h5", "--geometry", "bare.poni", "--unit", "2th_deg", "-o", "out.h5", "--quiet"]
        assert run(words) == 0

    @pytest.mark.parametrize(
        ("text", "message"),
        [("", "key: value"), ("Distance: 0.1\nPoni1: x\nPoni2: 0", "Poni1"), ("poni_version: 9\n", "9")],
    )
    def test_bad_poni(self, folder: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
        Path("bad.poni").write_text(text)
        said = refused(capsys, "integrate1d", "scan.h5", "--geometry", "bad.poni", "-o", "out.h5")
        assert "bad.poni" in said
        assert re.search(message, said)


class TestData:
    def test_negative_counts_with_poisson_errors(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        frames = np.full((N_FRAMES, *SHAPE), 5, "i4")
        frames[7, 100, 200] = -77
        write_scan(Path("negative.h5"), frames)
        said = refused(capsys, "integrate1d", "negative.h5", *INTEGRATE, "--error-model", "poisson")
        assert "-77" in said
        assert "frame 7" in said
        words = ["integrate1d", "negative.h5", *INTEGRATE, "--error-model", "poisson", "--negative", "mask", "--quiet"]
        assert run(words) == 0

    def test_nan_is_left_out(self, folder: Path) -> None:
        """NaN means invalid in floating-point frames: such pixels do not count, in no frame and no sum."""
        frames = np.full((2, *SHAPE), 5.0, "f4")
        frames[1, 50:90] = np.nan
        np.save("nan.npy", frames)
        with h5py.File("nan.h5", "w") as file:
            file["entry/data/data"] = frames
        words = ["integrate1d", "nan.h5", *INTEGRATE, "--no-solid-angle", "--no-detector-mask", "--quiet"]
        assert run(words) == 0
        with h5py.File("out.h5") as file:
            np.testing.assert_allclose(file["entry/intensity/intensity"][()], 5.0, rtol=1e-6)

    def test_nan_in_a_motor(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        angles = np.repeat([0.0, 60.0, 120.0], 4)
        angles[5] = np.nan
        write_scan(Path("scan.h5"), np.ones((N_FRAMES, *SHAPE), "i4"), angles)
        said = refused(capsys, "xrdct", "scan.h5", "--geometry", "setup.poni", "-o", "maps.h5")
        assert "frame 5" in said

    def test_motors_of_the_wrong_length(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_scan(Path("scan.h5"), np.ones((N_FRAMES, *SHAPE), "i4"), np.arange(N_FRAMES - 1.0))
        words = ("xrdct", "scan.h5", "--geometry", "setup.poni", "-o", "maps.h5", "--rotation", "rotation_angle")
        said = refused(capsys, *words)
        assert "11" in said
        assert "12" in said

    def test_an_angle_range_that_is_too_short(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_scan(Path("scan.h5"), np.ones((N_FRAMES, *SHAPE), "i4"), np.repeat([0.0, 20.0, 40.0], 4))
        said = refused(capsys, "xrdct", "scan.h5", "--geometry", "setup.poni", "-o", "maps.h5")
        assert "degrees" in said


class TestParameters:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--npt", "0"], "npt"),
            (["--npt", "many"], "npt"),
            (["--npt", "2.5"], "npt"),
            (["--unit", "furlong"], "unit"),
            (["--radial-range", "5", "2"], "range"),
            (["--polarization", "3"], "polarization"),
            (["--mask", "nothing.edf"], "nothing.edf"),
            (["--device", "abacus"], "abacus"),
            (["--threads", "0"], "threads"),
            (["--colour", "red"], "colour"),
        ],
        ids=lambda value: str(value)[:24],
    )
    def test_a_bad_value_is_named(
        self, folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
    ) -> None:
        assert run(["integrate1d", "scan.h5", "--geometry", "setup.poni", "-o", "out.h5", *words]) == 2
        captured = capsys.readouterr()
        assert message in captured.err + captured.out
        assert not Path("out.h5").exists()


class TestOutput:
    def test_an_existing_file_is_kept(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("out.h5").write_text("precious")
        assert "out.h5" in refused(capsys, "integrate1d", "scan.h5", *INTEGRATE)
        assert Path("out.h5").read_text() == "precious"

    def test_no_such_folder(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        said = refused(capsys, "integrate1d", "scan.h5", "--geometry", "setup.poni", "-o", "no/out.h5")
        assert "no folder" in said

    @pytest.mark.parametrize("page", ["no/report.html", "."])
    def test_a_report_that_cannot_be_written_is_told_before_the_work(
        self, folder: Path, capsys: pytest.CaptureFixture[str], page: str
    ) -> None:
        said = refused(capsys, "integrate1d", "scan.h5", *INTEGRATE, "--report", page)
        assert page in said
        assert not Path("out.h5").exists()

    def test_a_folder_without_permission(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        Path("locked").mkdir(mode=0o500)
        assert "locked" in refused(capsys, "integrate1d", "scan.h5", "--geometry", "setup.poni", "-o", "locked/out.h5")

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        """A file system of one megabyte."""
        place = tmp_path / "disk"
        place.mkdir()
        mount = shutil.which("mount")
        if mount is None or os.geteuid() != 0:
            pytest.skip("only root may mount a small file system")
        mounted = subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
        if mounted.returncode != 0:
            pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode()}")
        yield place
        subprocess.run(["umount", str(place)], check=True)

    @pytest.mark.parametrize("words", [["integrate2d", "--npt-azimuth", "360", "--npt", "1000"]])
    def test_a_full_disk_is_told_at_the_start(
        self, folder: Path, small_disk: Path, capsys: pytest.CaptureFixture[str], words: list[str]
    ) -> None:
        output = small_disk / "out.h5"
        assert run([*words, "scan.h5", "--geometry", "setup.poni", "-o", str(output), "--quiet"]) == 2
        said = capsys.readouterr().err
        assert str(output) in said
        assert "space" in said
        assert list(small_disk.iterdir()) == []

    @pytest.mark.parametrize("counts", ["0.02", "6"], ids=["while closing", "while writing frames"])
    def test_a_full_disk_leaves_no_part_of_a_simulated_scan(
        self, folder: Path, small_disk: Path, capsys: pytest.CaptureFixture[str], counts: str
    ) -> None:
        scan = ["--phases", "Ni", "--translations", "12", "--rotations", "13", "--detector", "Pilatus100k"]
        filler = small_disk / "filler"
        filler.write_bytes(bytes(1024 * (980 if counts == "0.02" else 0)))
        words = ["simulate", "xrdct", str(small_disk / "scan.h5"), *scan, "--distance", "0.15", "--counts", counts]
        assert run([*words, "--quiet"]) == 2
        said = capsys.readouterr().err
        assert "scan_data_000001.h5: there is no space left" in said
        assert list(small_disk.iterdir()) == [filler]

    def test_a_full_disk_while_a_pattern_is_written_as_text(
        self, folder: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = str(small_disk / "pattern.xy")
        words = ["integrate1d", "image.cbf", "--geometry", "setup.poni", "--npt", "60000", "-o", output, "--quiet"]
        assert run(words) == 2
        assert "pattern.xy: there is no space left" in capsys.readouterr().err
        assert list(small_disk.iterdir()) == []

    def test_a_full_disk_while_the_report_is_written(
        self, folder: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (small_disk / "filler").write_bytes(bytes(1000 * 1024))
        page = small_disk / "report.html"
        assert run(["integrate1d", "scan.h5", *INTEGRATE, "--report", str(page), "--quiet"]) == 2
        assert "report.html: there is no space left" in capsys.readouterr().err
        assert [path.name for path in small_disk.iterdir()] == ["filler"]
        assert Path("out.h5").exists(), "the result itself is complete"

    @pytest.mark.parametrize(("command", "drawn"), [("plot", "out.png"), ("report", "out.html")])
    def test_a_drawing_is_not_replaced_unasked(
        self, folder: Path, capsys: pytest.CaptureFixture[str], command: str, drawn: str
    ) -> None:
        assert run(["integrate1d", "scan.h5", *INTEGRATE, "--quiet"]) == 0
        Path(drawn).write_text("precious")
        assert run([command, "out.h5"]) == 2
        assert f"{drawn}: exists already" in capsys.readouterr().err
        assert Path(drawn).read_text() == "precious"
        assert run([command, "out.h5", "--overwrite"]) == 0
        assert Path(drawn).stat().st_size > 1000


DURABLE_AT_ONCE = """
from friedel.apps.cli import main
from friedel.io import regions
regions.SYNC_SECONDS = regions.SYNC_SHARE = 0
main()
"""


def start_and_kill(words: list[str], journal: Path) -> None:
    """Run a command and kill it when the journal tells of two complete blocks."""
    process = subprocess.Popen([sys.executable, "-c", DURABLE_AT_ONCE, *words, "--quiet"])
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.002)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_in_the_middle_the_same_command_goes_on(folder: Path) -> None:
    """`kill -9`, then the same command with other blocks: the same content, nothing left beside it."""
    write_scan(Path("scan.h5"), np.random.default_rng(1).poisson(20.0, (N_FRAMES, *SHAPE)).astype("i4"))
    words = ["integrate1d", *["scan.h5"] * 40, *INTEGRATE, "--error-model", "poisson"]
    start_and_kill([*words, "--block-frames", "2"], Path("out.h5.journal"))
    assert not Path("out.h5").exists()
    command = [sys.executable, "-m", "friedel.apps.cli", *words]
    done = subprocess.run([*command, "--block-frames", "3"], check=True, capture_output=True, text=True)
    assert "Going on with" in done.stderr
    assert sorted(path.name for path in Path().glob("out*")) == ["out.h5"]
    with h5py.File("out.h5") as file:
        resumed = {name: file[f"entry/intensity/{name}"][()] for name in ("intensity", "intensity_errors")}
    subprocess.run([*command, "--overwrite", "--quiet"], check=True)
    with h5py.File("out.h5") as file:
        for name, values in resumed.items():
            np.testing.assert_array_equal(values, file[f"entry/intensity/{name}"][()])


def test_half_a_result_is_not_given_up_for_another_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["integrate1d", *["scan.h5"] * 40, *INTEGRATE]
    start_and_kill([*words, "--block-frames", "2"], Path("out.h5.journal"))
    said = refused(capsys, *words, "--polarization", "0.9")
    assert "out.h5.partial: holds" in said
    assert "--overwrite" in said
    assert run([*words, "--polarization", "0.9", "--quiet", "--overwrite"]) == 0
    assert sorted(path.name for path in Path().glob("out*")) == ["out.h5"]
