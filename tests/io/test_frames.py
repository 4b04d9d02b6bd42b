"""Any way frames lie in files gives the same stack."""

from __future__ import annotations

import contextlib
import gzip
import multiprocessing
import pickle
import shutil
import tempfile
import threading
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import io_files as files
from friedel.core.blocks import Block
from friedel.core.errors import DataError, FileError, FriedelError, ParameterError
from friedel.io import handles, open_frames
from friedel.io.frames import parse_range
from friedel.io.inspect import describe_file
from friedel.kernels.encoded import EncodedFrames
from shared_data import shared


def assert_holds(source, frames):
    assert source.shape == frames.shape
    assert source.dtype == frames.dtype
    np.testing.assert_array_equal(source.decoded(0, len(frames)), frames)
    np.testing.assert_array_equal(source.decoded(2, 3), frames[2:3])


class TestLayouts:
    @pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "f4", "f8"])
    def test_bitshuffled_chunks_are_given_as_they_lie_in_the_file(self, tmp_path, dtype):
        frames = files.stack(dtype=dtype)
        source = open_frames(files.nexus(tmp_path / "scan.nxs", frames))
        block = source.read(Block(0, 1, 3))
        assert isinstance(block, EncodedFrames)
        assert block.codec == "bslz4"
        assert block.frame_shape == (20, 33)
        assert "frame 1" in block.labels[0]
        assert source.encoded
        assert not source.select(roi="0:10,0:10").encoded
        assert_holds(source, frames)

    @pytest.mark.parametrize(
        "storage",
        [
            {},
            {"chunks": (1, 20, 33)},
            {"chunks": (1, 20, 33), "compression": "gzip"},
            {"chunks": (4, 8, 8)},
            {"shuffle": True},
        ],
        ids=["contiguous", "chunked", "gzip", "tiled", "shuffled"],
    )
    def test_other_storage_gives_arrays(self, tmp_path, storage):
        frames = files.stack(dtype="i2")
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            file.create_dataset("some/where/images", data=frames, **storage)
        source = open_frames(tmp_path / "scan.h5")
        assert isinstance(source.read(Block(0, 0, 2)), np.ndarray)
        assert not source.encoded
        assert_holds(source, frames)

    def test_big_endian_values_arrive_in_native_order(self, tmp_path):
        frames = files.stack(dtype=">u2")
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            file["data"] = frames
        assert_holds(open_frames(tmp_path / "scan.h5"), frames.astype("u2"))

    def test_a_chunk_that_left_out_its_filter_is_decoded_by_the_library(self, tmp_path):
        frames = files.stack()
        path = files.nexus(tmp_path / "scan.nxs", frames)
        with h5py.File(path, "r+") as file:
            file["entry/instrument/detector/data"].id.write_direct_chunk((2, 0, 0), frames[2].tobytes(), filter_mask=1)
        assert_holds(open_frames(path), frames)

    def test_external_links_of_an_eiger_master_are_one_stack(self, tmp_path):
        frames = files.stack(10)
        source = open_frames(files.eiger(tmp_path, frames))
        assert isinstance(source.read(Block(0, 2, 7)), EncodedFrames)
        assert_holds(source, frames)
        assert len(source.files) == 3
        np.testing.assert_array_equal(source.axes["omega"].values, np.arange(10) * 0.5)
        assert source.pixel_mask[3, 5] and source.pixel_mask.sum() == 1

    def test_a_virtual_dataset_is_read_from_its_sources(self, tmp_path):
        frames = files.stack(10)
        source = open_frames(files.virtual(tmp_path, frames))
        assert isinstance(source.read(Block(0, 2, 7)), EncodedFrames)
        assert_holds(source, frames)
        assert source.axes["rot"].values[-1] == 180
        assert source.axis("dty").values.tolist() == [1.5] * 10

    def test_a_virtual_dataset_of_modules_is_read_by_the_library(self, tmp_path):
        frames = files.stack()
        layout = h5py.VirtualLayout(frames.shape, frames.dtype)
        for name, rows in (("a", slice(0, 10)), ("b", slice(10, 20))):
            with h5py.File(tmp_path / f"{name}.h5", "w") as file:
                file["data"] = frames[:, rows]
            layout[:, rows] = h5py.VirtualSource(f"{name}.h5", "data", frames[:, rows].shape, frames.dtype)
        with h5py.File(tmp_path / "all.h5", "w") as file:
            file.create_virtual_dataset("data", layout)
        assert_holds(open_frames(tmp_path / "all.h5"), frames)
        (tmp_path / "b.h5").unlink()
        with pytest.raises(FileError, match=r"b\.h5, which is missing"):
            open_frames(tmp_path / "all.h5")

    def test_scans_of_one_file_are_stacked_by_a_pattern(self, tmp_path):
        frames = files.stack(12)
        with h5py.File(tmp_path / "bliss.h5", "w") as file:
            for number in range(12, 0, -4):
                scan = f"{number // 4}.1"
                files.add_bslz4(file, f"{scan}/measurement/eiger", frames[number - 4 : number])
                file[f"{scan}/measurement/rot"] = np.arange(4.0)
                file[f"{scan}/instrument/positioners/dty"] = number / 4
        source = open_frames(f"{tmp_path}/bliss.h5::/*.1/measurement/eiger")
        assert_holds(source, frames)
        assert source.axes["dty"].values.tolist() == [1] * 4 + [2] * 4 + [3] * 4
        assert source.axes["rot"].values.tolist() == [0, 1, 2, 3] * 3
        with pytest.raises(DataError, match="3 equally large stacks"):
            open_frames(tmp_path / "bliss.h5")

    def test_a_grid_scan_is_flattened(self, tmp_path):
        frames = files.stack(6).reshape(2, 3, 20, 33)
        with h5py.File(tmp_path / "grid.h5", "w") as file:
            files.add_bslz4(file, "entry/data/data", frames)
            file["entry/data/x"] = np.arange(6.0).reshape(2, 3)
            file["entry/data/theta"] = [0.0, 90.0]
            file["entry/data"].attrs["axes"] = ["theta", ".", ".", "."]
        source = open_frames(tmp_path / "grid.h5")
        assert_holds(source, frames.reshape(6, 20, 33))
        assert source.axes["theta"].values.tolist() == [0, 0, 0, 90, 90, 90]
        assert source.axes["x"].values.tolist() == [0, 1, 2, 3, 4, 5]

    def test_cbf_files_of_a_pattern_are_sorted_naturally(self, tmp_path):
        frames = files.stack(11, dtype="i4")
        for number, image in enumerate(frames):
            files.cbf(tmp_path / f"image_{number}.cbf", image)
        source = open_frames(f"{tmp_path}/image_*.cbf")
        block = source.read(Block(0, 8, 11))
        assert isinstance(block, EncodedFrames)
        assert block.codec == "byte_offset"
        assert block.labels[2].endswith("image_10.cbf")
        assert source.encoded
        assert_holds(source, frames)

    def test_all_formats_mix(self, tmp_path):
        frames = files.stack(9, dtype="i4")
        paths = [
            files.cbf(tmp_path / "a.cbf", frames[0]),
            files.edf(tmp_path / "b.edf", frames[1]),
            files.tiff(tmp_path / "c.tif", frames[2]),
            files.nexus(tmp_path / "d.nxs", frames[3:8]),
            files.edf(tmp_path / "e.edf", frames[8]),
        ]
        with (tmp_path / "e.edf").open("rb") as plain, gzip.open(tmp_path / "e.edf.gz", "wb") as zipped:
            shutil.copyfileobj(plain, zipped)
        source = open_frames([*paths[:-1], tmp_path / "e.edf.gz"])
        assert not source.encoded
        assert_holds(source, frames)

    def test_motors_in_edf_headers_become_axes(self, tmp_path):
        for number in range(3):
            files.edf(tmp_path / f"{number}.edf", files.stack(1)[0], motor_mne="dty rot", motor_pos=f"{number / 2} 7")
        source = open_frames(f"{tmp_path}/*.edf")
        assert source.axes["dty"].values.tolist() == [0, 0.5, 1]
        assert source.axis("rot").values.tolist() == [7, 7, 7]

    def test_an_axis_may_be_named_by_its_path(self, tmp_path):
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            file["entry/data/frames"] = files.stack(3)
            file["entry/measurement/bmon"] = [1.0, 2.0, 3.0]
        source = open_frames(tmp_path / "scan.h5")
        for name in ("bmon", "/entry/measurement/bmon", "entry/measurement/bmon"):
            assert source.axis(name).values.tolist() == [1, 2, 3]
        with pytest.raises(DataError, match="other/bmon"):
            source.axis("other/bmon")

    def test_content_decides_not_the_name(self, tmp_path):
        frames = files.stack()
        files.nexus(tmp_path / "scan.nxs", frames).rename(tmp_path / "scan.cbf")
        assert_holds(open_frames(tmp_path / "scan.cbf"), frames)


class TestChoice:
    def test_default_and_signal_attributes_lead_to_the_frames(self, tmp_path):
        frames = files.stack()
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            file["other"] = files.stack(50)
            file["entry/measured/counts"] = frames
            file.attrs["default"] = "entry"
            file["entry"].attrs["default"] = "measured"
            file["entry/measured"].attrs["signal"] = "counts"
        assert_holds(open_frames(tmp_path / "scan.h5"), frames)
        assert open_frames(tmp_path / "scan.h5", dataset="/other").n_frames == 50

    def test_counts_come_before_flat_fields_and_masks(self, tmp_path):
        frames = files.stack(dtype="u2")
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            file["entry/detector/data"] = frames
            file["entry/detector/flatfield"] = np.ones((40, 20, 33), "f4")
            file["entry/detector/pixel_mask"] = np.ones((40, 20, 33), "u4")
        assert_holds(open_frames(tmp_path / "scan.h5"), frames)

    def test_real_lambda_file(self):
        source = open_frames(shared("diffraction", "lambda", "testasapo1_1009_00002_m1_part00000.nxs"))
        assert source.shape == (10, 516, 1554)
        assert source.dtype == np.int16
        assert source.pixel_mask.shape == (516, 1554)
        assert source.flatfield.shape == (516, 1554)

    def test_real_cbf_files(self):
        plain = open_frames(shared("diffraction", "ceo2_pilatus2m_cdte", "CeO2.cbf")).decoded(0, 1)
        assert plain.shape == (1, 1679, 1475)
        assert (plain.min(), plain.max()) == (-2, 1140729)
        full = open_frames(shared("diffraction", "cbf", "phi_scan_001.cbf")).decoded(0, 1)
        assert full.shape == (1, 619, 487)
        assert (full.min(), full.max()) == (-2, 1)

    def test_real_grid_scan(self):
        source = open_frames(shared("tomography", "savu_mm.nxs"))
        assert source.shape == (8, 100, 1000)
        assert source.axes["theta"].values.size == 8
        assert source.axes["y"].units == "mm"

    def test_real_data_exchange_file(self):
        source = open_frames(shared("tomography", "tooth.h5"))
        assert source.shape == (181, 2, 640)
        assert source.axes["theta"].units == "degrees"


class TestSelection:
    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_ranges_and_regions_equal_slices_of_the_whole(self, data, tmp_path_factory):
        folder = tmp_path_factory.getbasetemp() / "selection"
        if not folder.exists():
            folder.mkdir()
            np.save(folder / "frames.npy", frames := files.stack(10))
            files.eiger(folder, frames)
        frames = np.load(folder / "frames.npy")
        source = open_frames(folder / "scan_master.h5")
        for _ in range(data.draw(st.integers(1, 2))):
            frame_part, rows, columns = (
                slice(
                    start := data.draw(st.integers(0, size - 1)),
                    data.draw(st.integers(start + 1, size)),
                    data.draw(st.integers(1, 3)),
                )
                for size in source.shape
            )
            source = source.select(frame_part, (rows, columns))
            frames = frames[frame_part, rows, columns]
        np.testing.assert_array_equal(source.decoded(0, len(frames)), frames)
        np.testing.assert_array_equal(source.read(Block(0, 0, len(frames))), frames)
        assert len(source.axes["omega"].values) == len(frames)

    def test_text_of_the_command_line(self, tmp_path):
        frames = files.stack(10)
        path = files.nexus(tmp_path / "scan.nxs", frames)
        source = open_frames(path, frames="2:9:3", roi="5:15,:20")
        np.testing.assert_array_equal(source.decoded(0, 3), frames[2:9:3, 5:15, :20])
        assert open_frames(path, frames="3").n_frames == 1

    @pytest.mark.parametrize(
        "chosen", [{"frames": "a:b"}, {"frames": "5:5"}, {"frames": "::-1"}, {"roi": "0:3"}, {"roi": "99:,:"}]
    )
    def test_what_selects_nothing_is_told(self, tmp_path, chosen):
        with pytest.raises(ParameterError):
            open_frames(files.nexus(tmp_path / "scan.nxs", files.stack()), **chosen)


class TestPlacement:
    def test_a_source_works_in_threads_and_other_processes(self, tmp_path):
        frames = files.stack(10)
        source = open_frames(files.eiger(tmp_path, frames))
        source.decoded(0, 1)
        copy = pickle.loads(pickle.dumps(source))  # noqa: S301
        assert_holds(copy, frames)
        results = {}
        threads = [
            threading.Thread(target=lambda n=n: results.update({n: source.decoded(n, n + 1)})) for n in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(np.concatenate([results[n] for n in range(10)]), frames)

    def test_a_source_survives_a_fork(self, tmp_path):
        frames = files.stack(10)
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            file.create_dataset("data", data=frames, compression="gzip")
        source = open_frames(tmp_path / "scan.h5")
        source.decoded(0, 1)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            np.testing.assert_array_equal(pool.apply(source.decoded, (0, 10)), frames)
        assert_holds(source, frames)

    def test_the_number_of_open_files_is_bounded(self, tmp_path):
        frames = files.stack(100, 4, 6)
        source = open_frames(files.eiger(tmp_path, frames, per_file=1))
        before = len(list(Path("/proc/self/fd").iterdir()))
        np.testing.assert_array_equal(source.decoded(0, 100), frames)
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= handles.MAX_DESCRIPTORS

    def test_a_file_that_was_replaced_is_read_anew(self, tmp_path):
        for _ in range(2):
            frames = files.stack()
            path = files.nexus(tmp_path / "new.nxs", frames)
            path.rename(tmp_path / "scan.nxs")
            assert_holds(open_frames(tmp_path / "scan.nxs"), frames)


class TestBadInput:
    def test_missing_file(self, tmp_path):
        with pytest.raises(FileError, match="no such file"):
            open_frames(tmp_path / "scan.h5")

    def test_folder(self, tmp_path):
        with pytest.raises(FileError, match="is a folder"):
            open_frames(tmp_path)

    def test_pattern_without_match(self, tmp_path):
        with pytest.raises(FileError, match="no file matches"):
            open_frames(f"{tmp_path}/*.cbf")

    def test_nothing_given(self):
        with pytest.raises(DataError, match="No files"):
            open_frames([])

    @pytest.mark.parametrize("kept", [100, 3000])
    def test_truncated_hdf5(self, tmp_path, kept):
        path = files.nexus(tmp_path / "scan.nxs", files.stack())
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(FileError, match=r"truncated|damaged|library") as caught:
            open_frames(path)
        assert "opy" in caught.value.remedy

    def test_file_cut_while_it_is_read(self, tmp_path):
        path = files.nexus(tmp_path / "scan.nxs", files.stack(30))
        source = open_frames(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(FileError, match="the file ends inside"):
            source.read(Block(0, 0, 30))

    def test_a_corrupt_chunk_is_named(self, tmp_path):
        path = files.nexus(tmp_path / "scan.nxs", files.stack())
        source = open_frames(path)
        offsets, _ = source.segments[0]._places(range(6))
        with path.open("rb+") as stream:
            stream.seek(int(offsets[4]) + 12)
            stream.write(b"\xff" * 40)
        assert source.decoded(3, 4).shape == (1, 20, 33)
        with pytest.raises(DataError, match=r"scan\.nxs::/entry/instrument/detector/data frame 4"):
            source.decoded(3, 6)

    def test_frames_that_were_never_written(self, tmp_path):
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            dataset = files.add_bslz4(file, "data", files.stack(3))
            file.create_dataset("more/data", (9, 20, 33), "u4", chunks=(1, 20, 33))[:3] = dataset[:]
        with pytest.raises(DataError, match="6 of 9 frames were never written, the first is frame 3"):
            open_frames(tmp_path / "scan.h5")

    def test_truncated_cbf(self, tmp_path):
        path = files.cbf(tmp_path / "a.cbf", files.stack(1)[0])
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(FileError, match="truncated"):
            open_frames(path).read(Block(0, 0, 1))
        path.write_bytes(content[:50])
        with pytest.raises(FileError, match="no image begins"):
            open_frames(path)

    def test_no_image(self, tmp_path):
        (tmp_path / "notes.txt").write_text("beam was lost at 3 am\n")
        with pytest.raises(FileError, match="no image"):
            open_frames(tmp_path / "notes.txt")
        (tmp_path / "empty.cbf").touch()
        with pytest.raises(FileError, match="empty"):
            open_frames(tmp_path / "empty.cbf")

    def test_truncated_tiff(self, tmp_path):
        path = files.tiff(tmp_path / "a.tif", files.stack(1, 300, 300)[0])
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(FileError, match=r"no image that can be read|no two-dimensional image"):
            open_frames(path).decoded(0, 1)

    def test_frames_of_different_shapes(self, tmp_path):
        files.cbf(tmp_path / "1.cbf", files.stack(1, 20, 33)[0])
        files.cbf(tmp_path / "2.cbf", files.stack(1, 21, 33)[0])
        with pytest.raises(DataError, match=r"2\.cbf: the image is 21 x 33 .* 20 x 33"):
            open_frames(f"{tmp_path}/*.cbf")

    def test_motors_of_the_wrong_length(self, tmp_path):
        path = files.nexus(tmp_path / "scan.nxs", files.stack(6), dty=np.arange(6.0), rot=np.arange(5.0))
        source = open_frames(path)
        assert set(source.axes) == {"dty"}
        with pytest.raises(DataError, match="rot has 5 values, there are 6 frames"):
            source.axis("rot")
        with pytest.raises(DataError, match="no axis 'phi'"):
            source.axis("phi")

    def test_dataset_that_is_not_there(self, tmp_path):
        path = files.nexus(tmp_path / "scan.nxs", files.stack())
        with pytest.raises(DataError, match="no dataset /entry/data") as caught:
            open_frames(f"{path}::/entry/data")
        assert "/entry/instrument/detector/data (6 x 20 x 33, uint32)" in caught.value.remedy

    def test_link_to_a_missing_file(self, tmp_path):
        master = files.eiger(tmp_path, files.stack(10))
        (tmp_path / "scan_data_000002.h5").unlink()
        with pytest.raises(FileError, match=r"scan_data_000002\.h5::/entry/data/data, which is missing"):
            open_frames(master)

    def test_source_of_a_virtual_dataset_is_missing(self, tmp_path):
        master = files.virtual(tmp_path, files.stack(10))
        (tmp_path / "lima_0001.h5").unlink()
        with pytest.raises(FileError, match=r"lima_0001\.h5, which is missing"):
            open_frames(master)

    def test_hdf5_without_frames(self):
        with pytest.raises(FileError, match="no stack of images"):
            open_frames(shared("tomography", "Patterns.h5"))

    def test_datasets_without_values_are_passed_over(self, tmp_path):
        frames = files.stack()
        path = files.nexus(tmp_path / "scan.nxs", frames, rot=np.arange(6.0))
        with h5py.File(path, "r+") as file:
            for place in ("entry/a_note", "entry/sample/nothing", "entry/instrument/detector/data_000001"):
                file[place] = h5py.Empty("f8")
        source = open_frames(path)
        assert_holds(source, frames)
        assert set(source.axes) == {"rot"}
        assert "entry/a_note" not in str(describe_file(path))
        with pytest.raises(DataError, match="holds no values"):
            open_frames(f"{path}::/entry/a_note")

    @pytest.mark.parametrize("ending", ["edf", "edf.gz"])
    @pytest.mark.parametrize("missing", [1, 100, 2640, 3000, 3200])
    def test_a_truncated_edf_is_never_filled_with_zeros(self, tmp_path, ending, missing):
        whole = files.edf(tmp_path / "whole.edf", files.stack(3) + 1).read_bytes()
        content = whole[:-missing]
        path = tmp_path / f"cut.{ending}"
        path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
        with pytest.raises(FileError, match=rf"cut\.{ending}: the file is truncated: it .* {len(content)} bytes"):
            open_frames(path)

    def test_a_gzip_stream_that_was_cut(self, tmp_path):
        whole = gzip.compress(files.edf(tmp_path / "whole.edf", files.stack(1) + 1).read_bytes())
        for missing in (1, 100, len(whole) // 2):
            (tmp_path / "cut.edf.gz").write_bytes(whole[:-missing])
            with pytest.raises(FileError, match=r"truncated|ended before the end"):
                open_frames(tmp_path / "cut.edf.gz")

    def test_an_edf_header_that_asks_for_more_than_its_block_holds(self, tmp_path):
        path = files.edf(tmp_path / "a.edf", files.stack(1))
        path.write_bytes(path.read_bytes().replace(b"Size = 2640", b"Size = 1640"))
        with pytest.raises(FileError, match="1640 bytes, 2640 are needed"):
            open_frames(path).decoded(0, 1)

    @pytest.mark.parametrize("missing", [1, 100, 2000])
    def test_a_tiff_that_is_a_little_short(self, tmp_path, missing):
        path = files.tiff(tmp_path / "a.tif", files.stack(1)[0])
        path.write_bytes(path.read_bytes()[:-missing])
        with pytest.raises(FileError, match="no image that can be read"):
            open_frames(path)

    def test_a_chunk_beyond_the_dataset(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("data", data=files.stack(), chunks=(1, 20, 33))
        content = bytearray((tmp_path / "a.h5").read_bytes())
        # The offset of frame 5 in the B-tree of chunks: (5, 0, 0, 0), 64 bits each.
        place = content.rindex(np.array([5, 0, 0, 0], "<u8").tobytes())
        content[place] = 106
        (tmp_path / "b.h5").write_bytes(content)
        with pytest.raises(FileError, match=r"damaged .*frame 106 of 6"):
            open_frames(tmp_path / "b.h5")

    def test_a_name_that_is_no_text(self, tmp_path):
        path = files.nexus(tmp_path / "scan.nxs", files.stack(), rot=np.arange(6.0))
        path.write_bytes(path.read_bytes().replace(b"sample\0", b"s\xffmple\0"))
        with pytest.raises(FileError, match="damaged"):
            open_frames(path)
        with pytest.raises(FileError, match="damaged"):
            describe_file(path)

    @settings(deadline=None, max_examples=60, derandomize=True)
    @given(data=st.data())
    def test_garbled_hdf5_gives_frames_or_an_error_of_friedel(self, data):
        with tempfile.TemporaryDirectory() as folder:
            path = files.nexus(Path(folder) / "scan.nxs", files.stack(3), rot=np.arange(3.0))
            content = bytearray(path.read_bytes())
            place = data.draw(st.integers(0, 6000))
            garbage = data.draw(st.binary(min_size=1, max_size=8))
            content[place : place + len(garbage)] = garbage
            path.write_bytes(content)
            with contextlib.suppress(FriedelError):
                open_frames(path)
            with contextlib.suppress(FriedelError):
                describe_file(path)

    @pytest.mark.parametrize("shape", [(7, 20, 33), (2, 4, 20, 33)])
    @pytest.mark.parametrize("dtype", ["u2", ">i4", "f4"])
    def test_several_frames_or_tiles_in_a_bitshuffled_chunk(self, tmp_path, shape, dtype):
        frames = files.stack(int(np.prod(shape[:-2]))).astype(dtype)
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            chunks = (*(2,) * (len(shape) - 2), 16, 33)
            storage = hdf5plugin.Bitshuffle(cname="lz4")
            data = file.create_dataset("data", data=frames.reshape(shape), chunks=chunks, **storage)
            skipped = np.arange(np.prod(chunks)).reshape(chunks).astype(dtype)
            data.id.write_direct_chunk((0,) * len(shape), skipped.tobytes(), filter_mask=1)
            file.create_dataset("empty", shape, dtype, chunks=chunks, fillvalue=5, **storage)
        expected = frames.reshape(shape).astype(np.dtype(dtype).newbyteorder("="))
        part = expected[tuple(slice(size) for size in chunks)]
        part[...] = skipped[tuple(slice(size) for size in part.shape)]
        expected = expected.reshape(frames.shape)
        assert_holds(open_frames(f"{tmp_path}/scan.h5::/data"), expected)
        assert np.all(open_frames(f"{tmp_path}/scan.h5::/empty").decoded(0, 2) == 5)

    def test_a_damaged_chunk_of_several_frames_is_named(self, tmp_path):
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            data = file.create_dataset(
                "data", data=files.stack(), chunks=(3, 20, 33), **hdf5plugin.Bitshuffle(cname="lz4")
            )
            chunk = bytearray(data.id.read_direct_chunk((3, 0, 0))[1])
            chunk[:16] = b"\x7f" * 16
            data.id.write_direct_chunk((3, 0, 0), bytes(chunk))
        source = open_frames(tmp_path / "scan.h5")
        assert source.decoded(0, 3).shape == (3, 20, 33)
        with pytest.raises(DataError, match=r"scan\.h5::/data frame 4"):
            source.decoded(4, 5)

    def test_a_master_that_is_a_symbolic_link(self, tmp_path):
        frames = files.stack(10)
        for make, missing in ((files.eiger, "scan_data_000002.h5"), (files.virtual, "lima_0001.h5")):
            folder = tmp_path / make.__name__
            (folder / "raw").mkdir(parents=True)
            master = make(folder / "raw", frames)
            (folder / "link.h5").symlink_to(master)
            assert_holds(open_frames(folder / "link.h5"), frames)
            (folder / "raw" / missing).rename(folder / missing)
            assert_holds(open_frames(folder / "link.h5"), frames) if make is files.virtual else None
            (folder / missing).unlink()
            with pytest.raises(FileError, match=f"{missing}.*, which is missing"):
                open_frames(folder / "link.h5")


def test_ranges_in_text():
    assert parse_range("3:9", "layers") == slice(3, 9)
    assert parse_range(":9", "layers") == slice(None, 9)
    assert parse_range("4", "layers") == slice(4, 5)
    assert parse_range("-1", "layers") == slice(-1, None)
    with pytest.raises(ParameterError, match="layers: 'a:b' is no range"):
        parse_range("a:b", "layers")


@pytest.mark.parametrize(
    ("dataset", "problem"),
    [
        ("entry/monitor", r"entry/monitor is no stack of images: it has the shape \(5\)"),
        ("entry/title", "entry/title is no stack of images"),
        ("entry/nothing", r"entry/nothing holds 0 frames \(0 x 60 x 80\)"),
        (None, "entry/nothing holds 0 frames"),
    ],
)
def test_a_dataset_without_images_is_told_by_its_shape(tmp_path, dataset, problem):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["entry/monitor"] = np.arange(5.0)
        file["entry/title"] = "powder"
        file["entry/nothing"] = np.zeros((0, 60, 80), "u4")
    with pytest.raises(DataError, match=problem):
        open_frames(tmp_path / "scan.h5", dataset=dataset)
