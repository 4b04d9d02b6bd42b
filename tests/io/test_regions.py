"""A file that is built block by block is complete or not there, whatever happens on the way."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.core.blocks import Block, cut_blocks
from friedel.core.errors import DataError, OutputError
from friedel.data import radial_coordinate
from friedel.io import MemorySink, RegionFile, RegionSpec, map_rows, open_dataset, write_dataset

ROWS = {"intensity": RegionSpec((10, 7)), "intensity_errors": RegionSpec((10, 7), "f8")}
VOLUME = {"volume": RegionSpec((2, 9, 11, 10), "f4", "channels", chunk=(4, 4, 4))}


def rows(block: Block) -> dict[str, np.ndarray]:
    values = np.arange(block.start * 7, block.stop * 7).reshape(-1, 7)
    return {"intensity": values.astype("f4"), "intensity_errors": values / 3}


def volume(block: Block) -> dict[str, np.ndarray]:
    return {"volume": np.arange(block.start, block.stop) + np.arange(99).reshape(9, 11, 1) * 0.01}


def fill(sink, blocks, results) -> None:
    for block in sink.pending(blocks):
        sink.write(block, results(block))
        sink.commit(block)


def content(path: Path) -> dict[str, np.ndarray]:
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.fixture(params=["file", "memory"])
def make(request, tmp_path):
    def create(regions):
        return RegionFile.create(tmp_path / "out.h5", regions, "a") if request.param == "file" else MemorySink(regions)

    return create


class TestLayouts:
    @pytest.mark.parametrize("size", [1, 3, 10])
    def test_rows(self, make, size):
        with make(ROWS) as sink:
            fill(sink, cut_blocks(10, size), rows)
            np.testing.assert_array_equal(sink.read("intensity"), np.arange(70).reshape(10, 7))
            np.testing.assert_array_equal(sink.read("intensity_errors"), np.arange(70).reshape(10, 7) / 3)
            assert sink.read("intensity").dtype == np.float32

    def test_items_may_be_numbered_by_several_axes(self, make):
        with make({"scan": RegionSpec((2, 3, 4, 5), "f8", item_axes=3)}) as sink:
            fill(sink, cut_blocks(24, 7), lambda b: {"scan": np.arange(b.start, b.stop)[:, None] + np.arange(5) / 8})
            expected = np.arange(24).reshape(2, 3, 4, 1) + np.arange(5) / 8
            np.testing.assert_array_equal(sink.read("scan"), expected)

    @pytest.mark.parametrize("size", [4, 8, 12])
    def test_channels_of_layers(self, make, size):
        with make(VOLUME) as sink:
            fill(sink, cut_blocks(10, size, groups=2), volume)
            expected = np.arange(20).reshape(2, 1, 1, 10) + np.arange(99).reshape(1, 9, 11, 1) * 0.01
            np.testing.assert_array_equal(sink.read("volume")[...], expected.astype("f4"))

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_file_and_memory_hold_the_same(self, data, tmp_path_factory):
        shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=4, max_size=4)))
        chunk = tuple(data.draw(st.lists(st.integers(1, 5), min_size=3, max_size=3)))
        regions = {"volume": RegionSpec(shape, "f4", "channels", chunk)}
        size = regions["volume"].chunk_shape[3] * data.draw(st.integers(1, 3))
        blocks = data.draw(st.permutations(cut_blocks(shape[3], size, groups=shape[0])))
        path = tmp_path_factory.getbasetemp() / "same.h5"
        with RegionFile.create(path, regions, os.urandom(4).hex(), True) as sink, MemorySink(regions) as memory:
            for block in blocks:
                result = {"volume": np.random.default_rng(block.number).random((*shape[1:3], len(block)), "f4")}
                for each in (sink, memory):
                    each.write(block, result)
                    each.commit(block)
            np.testing.assert_array_equal(sink.read("volume")[...], memory.read("volume"))
            sink.finish()
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["entry/volume/volume"][...], memory.read("volume"))

    def test_other_processes_write_the_same_file(self, tmp_path):
        sink = RegionFile.create(tmp_path / "out.h5", ROWS, "a")
        blocks = cut_blocks(10, 3)
        copy = pickle.loads(pickle.dumps(sink))  # noqa: S301
        assert copy.shared
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.starmap(copy.write, [(block, rows(block)) for block in blocks])
        for block in blocks:
            sink.commit(block)
        with pytest.raises(RuntimeError, match="only the process"):
            copy.commit(blocks[0])
        sink.close()
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as again:
            assert again.pending(blocks) == []
            np.testing.assert_array_equal(again.read("intensity"), np.arange(70).reshape(10, 7))

    def test_result_is_a_nexus_file(self, tmp_path):
        sink = RegionFile.create(tmp_path / "out.h5", ROWS, "a")
        fill(sink, cut_blocks(10, 4), rows)
        pattern = sink.read("intensity")
        dataset = xr.Dataset(
            {name: (("frame", "radial"), sink.read(name)) for name in ROWS},
            {"radial": radial_coordinate(np.arange(7.0), "q_nm^-1")},
        )
        sink.finish(lambda file: write_dataset(file, dataset, existing=tuple(ROWS)))
        assert sorted(item.name for item in tmp_path.iterdir()) == ["out.h5"]
        assert pattern[9, 6] == 69
        found = open_dataset(tmp_path / "out.h5")
        np.testing.assert_array_equal(found.intensity, np.arange(70).reshape(10, 7))
        np.testing.assert_array_equal(map_rows(tmp_path / "out.h5", "intensity"), np.arange(70).reshape(10, 7))
        with pytest.raises(DataError, match="no variable 'mean'"):
            map_rows(tmp_path / "out.h5", "mean")
        assert found.attrs["default"] == "intensity"

    @pytest.mark.parametrize(
        ("result", "message"),
        [
            ({"intensity": np.zeros((3, 7))}, "no 'intensity_errors'"),
            ({"intensity": np.zeros((3, 8)), "intensity_errors": np.zeros((3, 7))}, r"shape \(3, 8\)"),
            ({"intensity": np.zeros((3, 7), "c8"), "intensity_errors": np.zeros((3, 7))}, "is complex64"),
        ],
    )
    def test_results_that_do_not_fit(self, make, result, message):
        with make(ROWS) as sink, pytest.raises(DataError, match=message):
            sink.write(Block(0, 0, 3), result)

    def test_blocks_that_cut_a_chunk(self, make):
        with make(VOLUME) as sink, pytest.raises(DataError, match="no whole number of chunks of 4 channels"):
            sink.write(Block(0, 0, 3), volume(Block(0, 0, 3)))


class TestResume:
    def test_complete_blocks_are_kept(self, tmp_path):
        blocks = cut_blocks(10, 3)
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            assert not sink.resumed
            fill(sink, blocks[:2], rows)
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            assert sink.resumed
            assert "6 items are complete" in sink.message
            assert sink.pending(blocks) == blocks[2:]
            assert sink.pending(cut_blocks(10, 2)) == cut_blocks(10, 2)[3:], "blocks of another size"

    @pytest.mark.parametrize("change", ["fingerprint", "layout", "gone", "short"])
    def test_a_run_that_cannot_be_used_is_started_over(self, tmp_path, change):
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            fill(sink, cut_blocks(10, 3), rows)
        regions = {"intensity": RegionSpec((10, 7), "f8")} if change == "layout" else ROWS
        if change == "gone":
            Path(sink.partial).unlink()
        if change == "short":
            os.truncate(sink.partial, 900)
        fingerprint = "b" if change == "fingerprint" else "a"
        with RegionFile.create(tmp_path / "out.h5", regions, fingerprint, overwrite=True) as sink:
            assert not sink.resumed
            assert sink.message.startswith("Starting over")
            assert len(sink.pending(cut_blocks(10, 3))) == 4

    def test_complete_blocks_of_other_work_are_not_given_up_unasked(self, tmp_path):
        """They may be hours of work, and an option mistyped."""
        blocks = cut_blocks(10, 3)
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            fill(sink, blocks[:2], rows)
        with pytest.raises(OutputError, match=r"out\.h5\.partial: holds 6 complete items(.|\n)*--overwrite"):
            RegionFile.create(tmp_path / "out.h5", ROWS, "b")
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            assert sink.pending(blocks) == blocks[2:], "the blocks are still there"

    def test_a_run_without_complete_blocks_is_no_loss(self, tmp_path):
        RegionFile.create(tmp_path / "out.h5", ROWS, "a").close()
        with RegionFile.create(tmp_path / "out.h5", ROWS, "b") as sink:
            assert len(sink.pending(cut_blocks(10, 3))) == 4

    @pytest.mark.parametrize("cut", range(1, 40, 6))
    def test_a_journal_that_was_cut_loses_its_last_lines_only(self, tmp_path, cut):
        blocks = cut_blocks(10, 1)
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            fill(sink, blocks, rows)
        journal = tmp_path / "out.h5.journal"
        os.truncate(journal, journal.stat().st_size - cut)
        for _ in range(2):
            with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
                missing = sink.pending(blocks)
                assert missing == blocks[10 - len(missing) :]
                fill(sink, missing[:1], rows)
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            fill(sink, blocks, rows)
            np.testing.assert_array_equal(sink.read("intensity"), np.arange(70).reshape(10, 7))

    def test_garbage_in_the_journal_ends_it(self, tmp_path):
        blocks = cut_blocks(10, 1)
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            fill(sink, blocks, rows)
        journal = tmp_path / "out.h5.journal"
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join([*lines[:4], b"\0" * len(lines[4]), *lines[5:]]))
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            assert sink.pending(blocks) == blocks[3:]

    def test_a_block_whose_data_were_lost_is_done_again(self, tmp_path):
        blocks = cut_blocks(10, 2)
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            fill(sink, blocks, rows)
            offset = int(sink._places["intensity"].offsets.flat[0])
        with Path(sink.partial).open("rb+") as stream:
            stream.seek(offset + 2 * 2 * 7 * 4)
            stream.write(bytes(20))
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            assert sink.pending(blocks) == [blocks[2]]
            assert "1 damaged blocks" in sink.message

    def test_a_run_that_died_while_finishing(self, tmp_path):
        def fail(file):
            file["half"] = np.zeros(1000)
            file["entry/intensity"].attrs["half"] = "x" * 500
            raise KeyboardInterrupt

        blocks = cut_blocks(10, 3)
        sink = RegionFile.create(tmp_path / "out.h5", ROWS, "a")
        fill(sink, blocks, rows)
        with pytest.raises(KeyboardInterrupt):
            sink.finish(fail)
        sink.close()
        assert not (tmp_path / "out.h5").exists()
        with Path(sink.partial).open("rb+") as stream:
            stream.write(bytes(300))  # the superblock never reached the disk
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            assert sink.pending(blocks) == []
            sink.finish()
        found = content(tmp_path / "out.h5")
        np.testing.assert_array_equal(found.pop("entry/intensity/intensity"), np.arange(70).reshape(10, 7))
        assert set(found) == {"entry/intensity/intensity_errors"}

    def test_kill_in_the_middle_then_the_same_result(self, tmp_path):
        script = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_regions import VOLUME, volume
from friedel.core.blocks import cut_blocks
from friedel.io import RegionFile, regions
regions.SYNC_SECONDS = 0.0
regions.SYNC_SHARE = 0
sink = RegionFile.create({str(tmp_path / "out.h5")!r}, VOLUME, "a")
for block in sink.pending(cut_blocks(10, 4, groups=2)):
    sink.write(block, volume(block))
    sink.commit(block)
    print(block.number, flush=True)
    time.sleep(0.2 if len(sys.argv) > 1 else 0)
sink.finish()
"""
        command = [sys.executable, "-c", script]
        with subprocess.Popen([*command, "slow"], stdout=subprocess.PIPE, text=True) as process:
            for _ in range(3):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        assert not (tmp_path / "out.h5").exists()
        again = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
        assert 0 < len(again.stdout.split()) <= 3, "complete blocks are not done again"
        resumed = content(tmp_path / "out.h5")
        (tmp_path / "out.h5").unlink()
        subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
        whole = content(tmp_path / "out.h5")
        assert resumed.keys() == whole.keys()
        for name, values in whole.items():
            np.testing.assert_array_equal(resumed[name], values)


class TestBadPlaces:
    def test_an_existing_file_is_not_overwritten(self, tmp_path):
        path = tmp_path / "out.h5"
        path.write_text("precious")
        with pytest.raises(OutputError, match="exists already"):
            RegionFile.create(path, ROWS, "a")
        with RegionFile.create(path, ROWS, "a", overwrite=True) as sink:
            assert path.read_text() == "precious"
            fill(sink, cut_blocks(10, 10), rows)
            sink.finish()
        assert content(path)["entry/intensity/intensity"].shape == (10, 7)

    def test_two_writers(self, tmp_path):
        with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
            with pytest.raises(OutputError, match="another process is writing"):
                RegionFile.create(tmp_path / "out.h5", ROWS, "a")
            fill(sink, cut_blocks(10, 10), rows)
            sink.finish()
        RegionFile.create(tmp_path / "out.h5", ROWS, "a", overwrite=True).close()

    def test_no_folder(self, tmp_path):
        with pytest.raises(OutputError, match="no folder"):
            RegionFile.create(tmp_path / "none" / "out.h5", ROWS, "a")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_without_permission(self, tmp_path):
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(OutputError, match="cannot be written"):
                RegionFile.create(tmp_path / "out.h5", ROWS, "a")
        finally:
            tmp_path.chmod(0o700)

    def test_too_little_space_is_told_at_the_start(self, tmp_path):
        enormous = {"intensity": RegionSpec((10**9, 10**6))}
        with pytest.raises(OutputError, match=r"4,000,000,000,000,000 bytes are needed, [\d,]+ are free"):
            RegionFile.create(tmp_path / "out.h5", enormous, "a")
        assert not list(tmp_path.glob("*partial*"))

    @pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
    def test_full_disk(self, tmp_path):
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("a small disk cannot be mounted here")
        try:
            (tmp_path / "filler").write_bytes(bytes(700_000))
            with pytest.raises(OutputError, match="not enough space"):
                RegionFile.create(tmp_path / "out.h5", {"intensity": RegionSpec((500, 1000))}, "a")
            with pytest.raises(OutputError, match="no space left"):
                write_dataset(tmp_path / "a.h5", xr.Dataset({"a": (("frame", "radial"), np.ones((500, 1000)))}))
            RegionFile.create(tmp_path / "out.h5", {"intensity": RegionSpec((10, 1000))}, "a").close()
        finally:
            subprocess.run(["umount", str(tmp_path)], check=True)


def test_groups_of_blocks_are_made_durable_together(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fdatasync", lambda number: calls.append(number))
    start = time.monotonic()
    with RegionFile.create(tmp_path / "out.h5", ROWS, "a") as sink:
        calls.clear()
        for block in cut_blocks(10, 1):
            sink.write(block, rows(block))
            sink.commit(block)
    assert len(calls) <= 2 * (2 + time.monotonic() - start)
