import subprocess
import sys

import h5py
import hdf5plugin
import numpy as np
import pytest

import friedel
from friedel.core.errors import DataError, FriedelError
from friedel.instrument import Detector, Geometry
from friedel.kernels.decode import encode_bitshuffle_lz4, encode_byte_offset
from friedel.techniques.integration.skipping import ranges_of

SHAPE = (60, 80)
N = 20


@pytest.fixture
def scan(tmp_path):
    frames = np.random.default_rng(0).poisson(20, (N, *SHAPE)).astype("u4")
    Geometry(Detector.from_shape(SHAPE, 1e-4), 0.1, 0.003, 0.004, wavelength=1e-10).save(tmp_path / "setup.poni")
    write_scan(tmp_path / "scan.h5", frames)
    return tmp_path, frames


def write_scan(path, frames):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("data", frames.shape, frames.dtype, chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle())
        for number, frame in enumerate(frames):
            dataset.id.write_direct_chunk((number, 0, 0), encode_bitshuffle_lz4(frame))


def integrate(folder, frames, **options):
    return friedel.integrate1d(frames=frames, geometry=folder / "setup.poni", npt=30, **options)


def damage(path, number):
    """Overwrite the middle of a chunk."""
    with h5py.File(path) as file:
        place = file["data"].id.get_chunk_info_by_coord((number, 0, 0))
    with path.open("rb+") as file:
        file.seek(place.byte_offset + 12)
        file.write(b"\xff" * (place.size // 2))


@pytest.mark.parametrize("block_frames", [1, 6, None])
@pytest.mark.parametrize("error_model", ["none", "poisson"])
def test_a_damaged_chunk_is_fatal_or_skipped_as_asked(scan, block_frames, error_model, tmp_path):
    folder, _ = scan
    options = {"block_frames": block_frames, "error_model": error_model}
    whole = integrate(folder, folder / "scan.h5", **options)
    for number in (3, 11, 12):
        damage(folder / "scan.h5", number)
    with pytest.raises(DataError, match=r"scan.*frame (3|11|12):"):
        integrate(folder, folder / "scan.h5", **options)
    found = integrate(folder, folder / "scan.h5", on_error="skip", output=tmp_path / "out.h5", **options)
    assert found.attrs["skipped_frames"] == "3, 11-12"
    np.testing.assert_array_equal(np.flatnonzero(found.skipped), [3, 11, 12])
    assert np.isnan(found.intensity[[3, 11, 12]]).all()
    assert not found.valid_fraction[[3, 11, 12]].any()
    kept = [number for number in range(N) if number not in (3, 11, 12)]
    for name in ("intensity", "valid_fraction", *(["intensity_errors"] if error_model == "poisson" else [])):
        np.testing.assert_array_equal(found[name][kept], whole[name][kept])
    assert found.attrs["frames_without_valid_pixels"] == 0


def test_frames_that_were_never_written_are_skipped(scan):
    folder, frames = scan
    with h5py.File(folder / "gaps.h5", "w") as file:
        dataset = file.create_dataset("data", frames.shape, frames.dtype, chunks=(1, *SHAPE), compression="gzip")
        raw = file.create_dataset("raw", frames.shape, frames.dtype, chunks=(1, *SHAPE))
        for number in (0, 1, 2, 5, 6):
            dataset[number] = raw[number] = frames[number]
    for name in ("data", "raw"):
        with pytest.raises(FriedelError, match="never written"):
            integrate(folder, f"{folder}/gaps.h5::/{name}")
        found = integrate(folder, f"{folder}/gaps.h5::/{name}", on_error="skip")
        assert found.attrs["skipped_frames"] == "3-4, 7-19"


def write_cbf(path, frame):
    payload = encode_byte_offset(frame.astype("i4"))
    head = (
        "###CBF: VERSION 1.5\r\n\r\ndata_frame\r\n\r\n_array_data.data\r\n;\r\n--CIF-BINARY-FORMAT-SECTION--\r\n"
        'Content-Type: application/octet-stream;\r\n     conversions="x-CBF_BYTE_OFFSET"\r\n'
        f"Content-Transfer-Encoding: BINARY\r\nX-Binary-Size: {len(payload)}\r\nX-Binary-ID: 1\r\n"
        'X-Binary-Element-Type: "signed 32-bit integer"\r\nX-Binary-Element-Byte-Order: LITTLE_ENDIAN\r\n'
        f"X-Binary-Number-of-Elements: {frame.size}\r\nX-Binary-Size-Fastest-Dimension: {frame.shape[1]}\r\n"
        f"X-Binary-Size-Second-Dimension: {frame.shape[0]}\r\nX-Binary-Size-Padding: 0\r\n\r\n"
    )
    path.write_bytes(head.encode() + b"\x0c\x1a\x04\xd5" + payload + b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n")


def test_images_that_are_truncated_empty_or_gone_are_skipped(scan):
    folder, frames = scan
    paths = [folder / f"image_{number:03d}.cbf" for number in range(N)]
    for path, frame in zip(paths, frames, strict=True):
        write_cbf(path, frame)
    whole = integrate(folder, paths)
    content = paths[4].read_bytes()
    paths[4].write_bytes(content[: len(content) // 2])
    paths[7].write_bytes(b"")
    paths[9].unlink()
    with pytest.raises(FriedelError):
        integrate(folder, paths)
    found = integrate(folder, paths, on_error="skip")
    assert found.attrs["skipped_frames"] == "4, 7, 9"
    kept = [number for number in range(N) if number not in (4, 7, 9)]
    np.testing.assert_array_equal(found.intensity[kept], whole.intensity[kept])


def cut_in_header(content):
    return content[:200]


def negative_rows(content):
    return content.replace(b"Second-Dimension: 60", b"Second-Dimension: -6")


@pytest.mark.parametrize("number", [0, 5])
@pytest.mark.parametrize("spoil", [lambda _: b"", cut_in_header, negative_rows])
def test_a_spoilt_header_is_skipped_wherever_it_is(scan, number, spoil):
    folder, frames = scan
    paths = [folder / f"image_{place:03d}.cbf" for place in range(N)]
    for path, frame in zip(paths, frames, strict=True):
        write_cbf(path, frame)
    whole = integrate(folder, paths)
    paths[number].write_bytes(spoil(paths[number].read_bytes()))
    with pytest.raises(FriedelError, match=paths[number].name):
        integrate(folder, paths)
    found = integrate(folder, paths, on_error="skip")
    assert found.attrs["skipped_frames"] == str(number)
    np.testing.assert_array_equal(np.delete(found.intensity, number, 0), np.delete(whole.intensity, number, 0))


@pytest.mark.parametrize("number", [0, 5])
def test_an_image_of_another_shape_is_skipped(scan, number):
    folder, frames = scan
    paths = [folder / f"image_{place:03d}.cbf" for place in range(N)]
    for place, (path, frame) in enumerate(zip(paths, frames, strict=True)):
        write_cbf(path, frame[:40] if place == number else frame)
    found = integrate(folder, paths, on_error="skip")
    assert found.attrs["skipped_frames"] == str(number)


def test_files_of_which_none_can_be_read_are_no_scan(scan):
    folder, _ = scan
    for name in ("a.cbf", "b.cbf"):
        (folder / name).write_bytes(b"")
    with pytest.raises(FriedelError, match=r"a\.cbf"):
        integrate(folder, [folder / "a.cbf", folder / "b.cbf"], on_error="skip")


def test_what_is_wrong_with_skipped_frames_is_told(scan, capsys):
    from friedel.apps.cli.main import run

    folder, _ = scan
    damage(folder / "scan.h5", 3)
    files = [str(folder / name) for name in ("scan.h5", "setup.poni", "out.h5")]
    options = ["--geometry", files[1], "--npt", "30", "--on-error", "skip", "-o", files[2]]
    code = run(["integrate1d", files[0], *options])
    told = " ".join(capsys.readouterr().err.split())
    assert code == 0
    assert "1 of 20 frames were skipped" in told
    assert "frame 3:" in told


def test_a_damaged_chunk_met_on_a_cluster_is_told_once(scan):
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    folder, _ = scan
    damage(folder / "scan.h5", 3)
    program = "import sys; from friedel.apps.cli.main import main; main(sys.argv[1:])"
    options = ["--geometry", "setup.poni", "--npt", "30", "--block-frames", "1", "--cluster", "local:2", "-o", "out.h5"]
    command = [sys.executable, "-c", program, "integrate1d", "scan.h5", *options]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == DataError.exit_code
    assert "frame 3:" in told.stderr
    assert "distributed.worker - ERROR" not in told.stderr
    assert "Traceback" not in told.stderr


def test_a_scan_of_which_nothing_can_be_read_gives_empty_patterns(scan):
    folder, _ = scan
    for number in range(N):
        damage(folder / "scan.h5", number)
    found = integrate(folder, folder / "scan.h5", on_error="skip")
    assert found.attrs["skipped_frames"] == "0-19"
    assert np.isnan(found.intensity).all()


def test_counts_below_zero_are_no_damage(scan):
    folder, frames = scan
    signed = frames.astype("i4")
    signed[2, 10, 10] = -7
    write_scan(folder / "signed.h5", signed)
    with pytest.raises(DataError, match="below zero"):
        integrate(folder, folder / "signed.h5", error_model="poisson", on_error="skip")


def test_ranges():
    assert ranges_of([]) == ""
    assert ranges_of([0, 1, 2, 7, 9, 10]) == "0-2, 7, 9-10"


@pytest.mark.slow
def test_a_hundred_thousand_frames_are_all_there_in_order_and_the_damaged_ones_named(scan):
    folder, _ = scan
    whole = integrate(folder, folder / "scan.h5")
    damage(folder / "scan.h5", 3)
    found = integrate(folder, [folder / "scan.h5"] * 5000, on_error="skip", output=folder / "out.h5")
    np.testing.assert_array_equal(np.flatnonzero(found.skipped), np.arange(3, 100_000, N))
    patterns = found.intensity.values.reshape(5000, N, -1)
    kept = [number for number in range(N) if number != 3]
    expected = np.broadcast_to(whole.intensity.values[kept], (5000, len(kept), patterns.shape[2]))
    np.testing.assert_array_equal(patterns[:, kept], expected)
    assert np.isnan(patterns[:, 3]).all()
