"""Frames that another process writes while they are integrated."""

import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import pytest

import friedel
from friedel.core.errors import FriedelError, OutputError, ParameterError
from friedel.instrument import Detector, Geometry
from friedel.io import open_frames
from friedel.io.following import follow

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
