"""Every runner gives the same results, keeps memory bounded, and loses nothing when stopped."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.blocks import Block, cut_blocks
from friedel.core.context import Cancellation, Context, Runner, SilentProgress
from friedel.core.errors import CancelledError, DataError, ParameterError, WorkerError
from friedel.run import InlineRunner, ThreadRunner, make_runner


@dataclass(frozen=True)
class Numbers:
    """Item i is the number i."""

    def read(self, block: Block) -> np.ndarray:
        return np.arange(block.start, block.stop, dtype=np.float64)


@dataclass(frozen=True)
class Square:
    """Squares; refuses the number `poison`."""

    poison: int = -1

    def __call__(self, items: np.ndarray) -> np.ndarray:
        if self.poison in items:
            raise DataError(f"item {self.poison} is corrupt")
        return items**2


@dataclass
class FolderSink:
    """One file a block, so that other processes can write."""

    folder: Path
    shared: bool = True
    committed: list[int] = field(default_factory=list)

    def pending(self, blocks: Sequence[Block]) -> list[Block]:
        return [block for block in blocks if block.number not in self.committed]

    def write(self, block: Block, result: np.ndarray) -> None:
        np.save(self.folder / f"{block.number}.npy", result)

    def commit(self, block: Block) -> None:
        self.committed.append(block.number)

    def result(self) -> np.ndarray:
        return np.concatenate([np.load(self.folder / f"{number}.npy") for number in sorted(self.committed)])


@dataclass
class ListSink:
    """Results in this process's memory."""

    results: dict[int, np.ndarray] = field(default_factory=dict)
    committed: list[int] = field(default_factory=list)
    shared: bool = False

    def pending(self, blocks: Sequence[Block]) -> list[Block]:
        return [block for block in blocks if block.number not in self.committed]

    def write(self, block: Block, result: np.ndarray) -> None:
        self.results[block.number] = result

    def commit(self, block: Block) -> None:
        assert block.number in self.results, "committed before it was written"
        self.committed.append(block.number)


RUNNERS: list[Runner] = [InlineRunner(), ThreadRunner(1), ThreadRunner(2), ThreadRunner(7)]


@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: f"{type(runner).__name__}-{runner.threads}")
class TestEveryRunner:
    def test_each_block_is_done_once(self, runner: Runner) -> None:
        sink = ListSink()
        runner.stream(Numbers(), Square(), sink, cut_blocks(100, 7), Context(runner), "squares")
        assert sorted(sink.committed) == list(range(15))
        np.testing.assert_array_equal(np.concatenate([sink.results[n] for n in range(15)]), np.arange(100.0) ** 2)

    def test_complete_blocks_are_not_redone(self, runner: Runner) -> None:
        sink = ListSink(results={0: np.array([-1.0])}, committed=[0])
        runner.stream(Numbers(), Square(), sink, cut_blocks(20, 10), Context(runner), "squares")
        assert sink.results[0] == np.array([-1.0])
        assert sorted(sink.committed) == [0, 1]

    def test_a_problem_is_raised_and_earlier_blocks_are_kept(self, runner: Runner) -> None:
        sink = ListSink()
        with pytest.raises(DataError, match="item 55 is corrupt"):
            runner.stream(Numbers(), Square(poison=55), sink, cut_blocks(100, 1), Context(runner), "squares")
        assert 55 not in sink.committed
        assert set(range(40)) <= set(sink.committed)

    def test_cancellation_keeps_complete_blocks(self, runner: Runner) -> None:
        cancellation = Cancellation()

        class StopAfterThree(ListSink):
            def commit(self, block: Block) -> None:
                super().commit(block)
                if len(self.committed) == 3:
                    cancellation.cancel()

        sink = StopAfterThree()
        context = Context(runner, cancellation=cancellation)
        with pytest.raises(CancelledError):
            runner.stream(Numbers(), Square(), sink, cut_blocks(1000, 1), context, "squares")
        assert 3 <= len(sink.committed) < 1000

    def test_progress_counts_items_of_earlier_runs_too(self, runner: Runner) -> None:
        class Counting(SilentProgress):
            total = 0
            amount = 0

            def start(self, label: str, total: int, unit: str) -> int:
                self.total = total
                return 0

            def advance(self, key: int, amount: int = 1) -> None:
                self.amount += amount

        progress = Counting()
        sink = ListSink(results={1: np.zeros(1)}, committed=[1])
        runner.stream(Numbers(), Square(), sink, cut_blocks(25, 10), Context(runner, progress=progress), "squares")
        assert (progress.amount, progress.total) == (25, 25)


def test_threads_hold_a_bounded_number_of_blocks() -> None:
    lock, alive, most = threading.Lock(), 0, 0

    class Counted(Numbers):
        def read(self, block: Block) -> np.ndarray:
            nonlocal alive, most
            with lock:
                alive += 1
                most = max(most, alive)
            return super().read(block)

    class Releasing(Square):
        def __call__(self, items: np.ndarray) -> np.ndarray:
            nonlocal alive
            with lock:
                alive -= 1
            return super().__call__(items)

    runner = ThreadRunner(2)
    runner.stream(Counted(), Releasing(), ListSink(), cut_blocks(500, 1), Context(runner), "squares")
    assert most <= 4


@given(n_items=st.integers(1, 300), size=st.integers(1, 50), groups=st.integers(1, 5))
def test_blocks_cover_every_item_once_and_never_span_groups(n_items: int, size: int, groups: int) -> None:
    blocks = cut_blocks(n_items, size, groups)
    assert [item for block in blocks for item in range(block.start, block.stop)] == list(range(n_items * groups))
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert all(block.start // n_items == (block.stop - 1) // n_items and len(block) <= size for block in blocks)


class TestChoice:
    def test_one_thread_needs_no_pool(self) -> None:
        with make_runner(threads=1) as runner:
            assert isinstance(runner, InlineRunner)

    def test_threads(self) -> None:
        with make_runner(threads=3) as runner:
            assert runner.threads == 3

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"threads": 0}, "threads is 0"),
            ({"cluster": "local:2", "scheduler": "tcp://127.0.0.1:1"}, "Both a cluster"),
            ({"cluster": "local"}, "cannot be understood"),
            ({"cluster": "moon:3"}, "Kinds: local"),
            ({"cluster": "local:0"}, "cannot be understood"),
        ],
    )
    def test_bad_values_are_named(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(ParameterError, match=message), make_runner(**options):  # type: ignore[arg-type]
            pass


@dataclass(frozen=True)
class DieOnce:
    """Kills its process the first time that it meets `poison`."""

    poison: int
    witness: str

    def __call__(self, items: np.ndarray) -> np.ndarray:
        if self.poison in items and not Path(self.witness).exists():
            Path(self.witness).touch()
            os._exit(9)
        return items**2


@dataclass(frozen=True)
class Sleep:
    """Takes its time."""

    seconds: float

    def __call__(self, items: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        return items


@pytest.fixture(scope="module")
def cluster() -> Iterator[Runner]:
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with make_runner(cluster="local:2") as runner:
        yield runner


@pytest.mark.filterwarnings("default")
class TestCluster:
    def test_same_results_written_by_the_workers(self, cluster: Runner, tmp_path: Path) -> None:
        sink = FolderSink(tmp_path)
        cluster.stream(Numbers(), Square(), sink, cut_blocks(50, 7), Context(cluster), "squares")
        np.testing.assert_array_equal(sink.result(), np.arange(50.0) ** 2)

    def test_results_come_back_for_a_sink_in_memory(self, cluster: Runner) -> None:
        sink = ListSink()
        cluster.stream(Numbers(), Square(), sink, cut_blocks(50, 7), Context(cluster), "squares")
        assert sorted(sink.committed) == list(range(8))

    def test_a_problem_arrives_as_itself(self, cluster: Runner) -> None:
        with pytest.raises(DataError, match="item 5 is corrupt"):
            cluster.stream(Numbers(), Square(5), ListSink(), cut_blocks(10, 1), Context(cluster), "squares")

    def test_a_worker_that_dies_costs_its_blocks_alone(self, cluster: Runner, tmp_path: Path) -> None:
        sink = FolderSink(tmp_path)
        plan = DieOnce(17, str(tmp_path / "died"))
        cluster.stream(Numbers(), plan, sink, cut_blocks(40, 2), Context(cluster), "squares")
        np.testing.assert_array_equal(sink.result(), np.arange(40.0) ** 2)
        assert (tmp_path / "died").exists()

    def test_cancellation_is_heard_while_nothing_arrives(self, cluster: Runner, tmp_path: Path) -> None:
        cancellation = Cancellation()
        timer = threading.Timer(0.5, cancellation.cancel)
        timer.start()
        with pytest.raises(CancelledError):
            context = Context(cluster, cancellation=cancellation)
            cluster.stream(Numbers(), Sleep(20.0), ListSink(), cut_blocks(2, 1), context, "sleeping")
        timer.join()

    def test_a_scheduler_without_workers_is_no_reason_to_wait_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from distributed import LocalCluster

        monkeypatch.setattr("friedel.run.cluster.WORKERLESS_SECONDS", 0.2)
        with (
            LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", protocol="tcp") as empty,
            make_runner(scheduler=empty.scheduler_address) as runner,
            pytest.raises(WorkerError, match="no worker"),
        ):
            runner.stream(Numbers(), Square(), ListSink(), cut_blocks(2, 1), Context(runner), "squares")

    def test_no_scheduler_there(self) -> None:
        pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
        with (
            pytest.raises(ParameterError, match="No Dask scheduler answers"),
            make_runner(scheduler="tcp://127.0.0.1:1"),
        ):
            pass


def test_a_plan_can_say_how_many_blocks_are_worth_working_on_at_once() -> None:
    """A GPU is kept busy by a few threads, whatever the number of cores; so many read, too."""
    working, most = 0, 0
    lock = threading.Lock()

    class Plan:
        at_once = 3

        def __call__(self, items: np.ndarray) -> np.ndarray:
            nonlocal working, most
            with lock:
                working += 1
                most = max(most, working)
            time.sleep(0.01)
            with lock:
                working -= 1
            return items

    sink = ListSink()
    runner = ThreadRunner(8)
    runner.stream(Numbers(), Plan(), sink, cut_blocks(30, 2), Context(runner), "")
    assert most <= 3
    assert sorted(sink.committed) == list(range(15))
