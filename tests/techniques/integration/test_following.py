"""Frames that another process writes while they are integrated."""

import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import pytest

import friedel
from friedel.core.errors import FileError, FriedelError, OutputError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.io import open_frames
from friedel.io.following import follow
from friedel.io.inspect import describe_file

SHAPE = (60, 80)
N = 24

WRITER = """
import sys, time
import h5py, hdf5plugin, numpy as np
path, mode, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
frames = np.random.default_rng(0).poisson(20, (n, 60, 80)).astype("u4")
with h5py.File(path, "w", libver="latest" if mode == "swmr" else None) as file:
    allocated = n + 5 if mode == "allocated" else 0
    dataset = file.create_dataset("data", (allocated, 60, 80), "u4", maxshape=(None, 60, 80), chunks=(1, 60, 80),
                                  **hdf5plugin.Bitshuffle())
    if mode == "swmr":
        file.swmr_mode = True
    file.flush()
    for number, frame in enumerate(frames):
        if mode != "allocated":
            dataset.resize(number + 1, axis=0)
        dataset[number] = frame
        dataset.flush()
        file.flush()
        time.sleep(0.05)
"""


@pytest.fixture
def setup(tmp_path):
    Geometry(Detector.from_shape(SHAPE, 1e-4), 0.1, 0.003, 0.004, wavelength=1e-10).save(tmp_path / "setup.poni")
    return tmp_path


def expected(n=N):
    return np.random.default_rng(0).poisson(20, (n, *SHAPE)).astype("u4")


def integrate(folder, frames, **options):
    return friedel.integrate1d(frames=frames, geometry=folder / "setup.poni", npt=30, **options)


@pytest.mark.parametrize("mode", ["grown", "swmr", "allocated"])
def test_a_file_that_is_being_written_gives_every_frame_once_in_order(setup, mode):
    path = setup / "scan.h5"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), mode, str(N)])
    try:
        found = integrate(setup, path, follow=2.0, output=setup / "out.h5")
        assert writer.wait(timeout=30) == 0
    finally:
        writer.kill()
    with h5py.File(setup / "whole.h5", "w") as file:
        file["data"] = expected()
    whole = integrate(setup, setup / "whole.h5")
    np.testing.assert_array_equal(found.intensity, whole.intensity)
    assert [path.name for path in setup.iterdir() if path.name.startswith((".friedel", "out"))] == ["out.h5"]


LIVE_WRITER = """
import sys, select
import h5py, hdf5plugin, numpy as np
path, mode = sys.argv[1:3]
frame = np.random.default_rng(0).poisson(20, (60, 80)).astype("u4")
with h5py.File(path, "w", libver="latest") as file:
    dataset = file.create_dataset("entry/data/data", (0, 60, 80), "u4", maxshape=(None, 60, 80), chunks=(1, 60, 80),
                                  **hdf5plugin.Bitshuffle())
    if mode == "swmr":
        file.swmr_mode = True
    number = 0
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        dataset.resize(number + 1, axis=0)
        dataset[number] = frame + number
        file.flush()
        number += 1
        if number == 10:
            print("ready", flush=True)
"""


@pytest.fixture
def live_writer(setup):
    """Start a program that writes frames into "scan.h5" until it is told to stop; ten are there."""
    started = []

    def start(mode):
        command = [sys.executable, "-c", LIVE_WRITER, str(setup / "scan.h5"), mode]
        writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(writer)
        assert writer.stdout.readline() == "ready\n"
        return writer

    yield start
    for writer in started:
        writer.kill()
        writer.communicate()


def live_patterns(folder, count):
    first = np.random.default_rng(0).poisson(20, SHAPE).astype("u4")
    with h5py.File(folder / "whole.h5", "w") as file:
        file["data"] = np.stack([first + number for number in range(count)])
    return integrate(folder, folder / "whole.h5").intensity.values


def test_a_file_in_swmr_mode_is_read_while_its_writer_goes_on(setup, live_writer):
    writer = live_writer("swmr")
    plain = integrate(setup, setup / "scan.h5")
    followed = integrate(setup, setup / "scan.h5", follow=5.0, frame_range=f"0:{len(plain.intensity) + 10}")
    assert describe_file(setup / "scan.h5").holds == "frames"
    assert writer.poll() is None
    assert len(plain.intensity) >= 10
    assert len(followed.intensity) == len(plain.intensity) + 10
    for found in (plain, followed):
        np.testing.assert_array_equal(found.intensity, live_patterns(setup, len(found.intensity)))


def test_frames_of_a_writer_that_was_killed_are_recovered(setup, live_writer):
    writer = live_writer("swmr")
    writer.kill()
    writer.wait()
    found = integrate(setup, setup / "scan.h5")
    assert len(found.intensity) >= 10
    np.testing.assert_array_equal(found.intensity, live_patterns(setup, len(found.intensity)))


def test_what_hdf5_cannot_share_is_told(setup, live_writer):
    writer = live_writer("latest")
    with pytest.raises(FileError, match="not in SWMR mode"):
        integrate(setup, setup / "scan.h5")
    writer.communicate("stop")
    assert len(integrate(setup, setup / "scan.h5").intensity) >= 10


def test_it_ends_when_the_frames_that_are_asked_for_are_there(setup):
    with h5py.File(setup / "scan.h5", "w") as file:
        file["data"] = expected()
    started = time.monotonic()
    found = integrate(setup, setup / "scan.h5", follow=60.0, frame_range="2:20:2")
    assert time.monotonic() - started < 30
    np.testing.assert_array_equal(found.intensity, integrate(setup, setup / "scan.h5").intensity[2:20:2])


def test_images_that_appear_are_taken_when_they_are_complete(setup):
    from friedel.kernels.decode import encode_byte_offset

    frames = expected()

    def cbf(frame):
        payload = encode_byte_offset(frame.astype("i4"))
        head = (
            "###CBF: VERSION 1.5\r\n\r\ndata_frame\r\n\r\n_array_data.data\r\n;\r\n--CIF-BINARY-FORMAT-SECTION--\r\n"
            'Content-Type: application/octet-stream;\r\n     conversions="x-CBF_BYTE_OFFSET"\r\n'
            f"Content-Transfer-Encoding: BINARY\r\nX-Binary-Size: {len(payload)}\r\nX-Binary-ID: 1\r\n"
            'X-Binary-Element-Type: "signed 32-bit integer"\r\nX-Binary-Element-Byte-Order: LITTLE_ENDIAN\r\n'
            f"X-Binary-Number-of-Elements: {frame.size}\r\nX-Binary-Size-Fastest-Dimension: {frame.shape[1]}\r\n"
            f"X-Binary-Size-Second-Dimension: {frame.shape[0]}\r\nX-Binary-Size-Padding: 0\r\n\r\n"
        )
        return head.encode() + b"\x0c\x1a\x04\xd5" + payload + b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n"

    def write():
        for number, frame in enumerate(frames):
            content = cbf(frame)
            with (setup / f"image_{number:04d}.cbf").open("wb") as file:
                for part in (content[:100], content[100:2000], content[2000:]):
                    file.write(part)
                    file.flush()
                    time.sleep(0.02)

    thread = threading.Thread(target=write)
    thread.start()
    found = integrate(setup, f"{setup}/image_*.cbf", follow=2.0)
    thread.join()
    np.testing.assert_array_equal(found.intensity, integrate(setup, f"{setup}/image_*.cbf").intensity)
    assert len(found.intensity) == N


def test_files_that_come_out_of_order_are_put_in_order(tmp_path):
    frames = expected(3)
    names = ["a_1.npy", "a_3.npy", "a_2.npy"]
    seen = []

    def open_now():
        return open_frames(f"{tmp_path}/a_*.npy", incomplete=True)

    def sleep(_):
        if names:
            name = names.pop(0)
            np.save(tmp_path / name, frames[int(name[2]) - 1])
            old = time.time() - 10
            import os

            os.utime(tmp_path / name, (old, old))

    ticks = iter(np.arange(0, 100, 0.5))
    for source, start, stop in follow(open_now, 5.0, sleep=sleep, clock=lambda: float(next(ticks))):
        seen.append((start, stop, [path[-5] for path in source.files]))
    assert seen == [(0, 1, ["1"]), (1, 2, ["1", "3"]), (0, 3, ["1", "2", "3"])]


def test_nothing_ever_comes(setup):
    with pytest.raises(FriedelError, match="no file matches"):
        integrate(setup, f"{setup}/image_*.cbf", follow=0.2)


def test_what_cannot_be_known_before_the_end_is_refused(setup):
    with h5py.File(setup / "scan.h5", "w") as file:
        file["data"] = expected(2)
    with pytest.raises(ParameterError, match="monitor"):
        integrate(setup, setup / "scan.h5", follow=1.0, monitor="diode")
    with pytest.raises(ParameterError, match="end is not known"):
        integrate(setup, setup / "scan.h5", follow=1.0, frame_range="-5:")
    (setup / "out.h5").write_bytes(b"")
    with pytest.raises(OutputError, match="exists"):
        integrate(setup, setup / "scan.h5", follow=1.0, output=setup / "out.h5")


def test_a_corrected_pattern_is_the_same_followed_or_not(setup):
    with h5py.File(setup / "scan.h5", "w") as file:
        file["data"] = expected(4)
    options = {"error_model": "poisson", "normalization_factor": 3.0, "std": True}
    followed = integrate(setup, setup / "scan.h5", follow=0.3, **options)
    afterwards = integrate(setup, setup / "scan.h5", **options)
    for name in ("intensity", "intensity_errors", "intensity_std", "valid_fraction"):
        np.testing.assert_array_equal(followed[name], afterwards[name])
