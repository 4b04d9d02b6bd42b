"""The map on GPUs: blocks of frames go there compressed and come back as patterns.

A block is worked on in a *lane*: one stream of one GPU with memory of its own. While the threads gather the buffers of
a batch in one lane, another copies over the bus, another decodes and another sums; so a few lanes keep a GPU and its
bus busy, and the lanes of several GPUs share a scan. Nothing in a result depends on which lane it took.
"""

from __future__ import annotations

import math
import queue
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DeviceError
from friedel.device import cuda
from friedel.device.choice import gpu_numbers
from friedel.kernels.cuda_decode import FrameLoader, staging_for
from friedel.kernels.cuda_robust import CudaRobustScatter
from friedel.kernels.cuda_scatter import CudaScatter
from friedel.kernels.decode import decode
from friedel.kernels.encoded import EncodedFrames
from friedel.kernels.robust import RobustScatter
from friedel.kernels.scatter import BinSums, Scatter

from .estimators import Estimator, Mean, Percentile, summed_model
from .patterns import Patterns
from .radial_map import FrameBlock, Frames, RadialMap

Arrays = dict[str, NDArray[Any]]
Placed = CudaScatter | CudaRobustScatter

LANES = 4
"""Lanes of a GPU: one each that gathers, copies, decodes and sums, roughly."""

BATCH_BYTES = 3 * 2**29
"""Decoded frames of a batch. To put its work on a stream takes about 1 ms of Python, which one lane at a time can run:
with 1 GiB that held two GPUs to 1.4 times the rate of one."""
STAGING_BYTES = 2**28
"""Compressed frames of a batch."""
USED_PART = 0.8
"""Of a GPU's free memory: the rest is for the kernels' own needs and for other programs."""
FRAMES_PART, STAGING_PART = 0.6, 0.2
"""Of a lane's memory; the rest is for results."""
BYTES_PER_BIN = 64
"""Per frame: the sums, and what is made of them."""


class DeviceMap:
    """A `RadialMap` whose frames are decoded and summed on GPUs; called like one, with the same result.

    Parameters
    ----------
    radial_map : RadialMap
    device : str
        Resolved name of the GPUs, "cuda:0" or "cuda:0,1".
    """

    def __init__(self, radial_map: RadialMap, device: str) -> None:
        self.radial_map = radial_map
        self.numbers = gpu_numbers(device)

    @property
    def at_once(self) -> int:
        """Blocks that are worth working on at the same time: one in each lane, one that waits."""
        return LANES * len(self.numbers) + 1

    def __call__(self, items: Frames | FrameBlock, *, threads: int = 1) -> Patterns:
        """Integrate frames; see `RadialMap`.

        Parameters
        ----------
        items : ndarray, shape (n, rows, columns), EncodedFrames or FrameBlock
        threads : int
            Threads that gather frames, shared between the lanes.

        Returns
        -------
        Patterns
            In memory that cannot be paged out, of which there is little: copy what is to be kept.

        Raises
        ------
        DataError
            As `RadialMap`.
        DeviceError
            If the memory of a GPU does not take even one frame.
        """
        if isinstance(self.radial_map.averaging.estimator, Percentile):
            return self.radial_map(items, threads=threads)
        block = items if isinstance(items, FrameBlock) else FrameBlock(items)
        frames, dummy, delta_dummy = self.radial_map.prepared(block, threads)
        if not FrameLoader.decodes(frames):
            frames = _decoded(frames, threads)
        n_bins = self.radial_map.scatter.n_bins
        for number in self.numbers:
            placed(self.radial_map.plan, number)  # takes its memory before the lanes take theirs
        work = Work(self.radial_map, dummy, delta_dummy, max(threads // (LANES * len(self.numbers)), 1))
        with lane_pool(self.numbers, _frame_bytes(frames), n_bins).lend() as lane:
            parts = [
                lane.integrate(part, work) for part in _parts(replace(block, frames=frames), lane, self.radial_map)
            ]
        whole = parts[0]
        if len(parts) > 1:
            whole = {name: np.concatenate([part[name] for part in parts]) for name in whole}
        return self._patterns(block, whole)

    def _patterns(self, block: FrameBlock, arrays: Arrays) -> Patterns:
        plan = self.radial_map
        plan.check_counts(block, arrays["negative"])
        shape = (len(block.frames), *plan.bins)
        shaped = {
            name: arrays[name].reshape(shape)
            for name in ("intensity", "intensity_errors", "intensity_std")
            if name in arrays
        }
        sums = covariance = None
        if "signal" in arrays:
            sums = BinSums(*(arrays.get(field.name) for field in fields(BinSums)))  # type: ignore[arg-type]
            if plan.pairs is not None and not plan.binning.cake:
                covariance = plan.pairs.banded(sums, replace(sums, variance=arrays["variance_of_pairs"]))
                if block.normalization is not None:
                    covariance /= block.normalization[:, np.newaxis, np.newaxis] ** 2
        return Patterns(
            shaped["intensity"],
            shaped.get("intensity_errors"),
            arrays["valid_fraction"],
            sums if plan.averaging.keep_sums else None,
            shaped.get("intensity_std"),
            covariance,
        )


@dataclass(frozen=True)
class Work:
    """What is to be done with a batch.

    Attributes
    ----------
    radial_map : RadialMap
    dummy, delta_dummy : float
        What marks invalid pixels of the batch.
    threads : int
        Threads that gather the frames.
    """

    radial_map: RadialMap
    dummy: float | None
    delta_dummy: float
    threads: int

    def sum(self, estimator: Estimator, plan: Placed, frames: Any, variance: NDArray[Any] | None) -> BinSums:
        """Put the summing of frames on the current stream."""
        return estimator.sum(
            plan,
            frames,
            self.radial_map.averaging.error_model,
            variance=variance,
            dummy=self.dummy,
            delta_dummy=self.delta_dummy,
        )


class Lane:
    """A stream of one GPU with memory for a batch of frames. Not for several threads at a time.

    Parameters
    ----------
    device : int
    room : Room
    """

    def __init__(self, device: int, room: Room) -> None:
        self.device = device
        self.room = room
        self.stream = cuda.new_stream(device)
        self.loader = FrameLoader(device, room.staging_bytes, room.frame_bytes)

    def leading(self, frames: Frames, radial_map: RadialMap) -> int:
        """Return how many of the first of `frames` make a batch; 0 if not even one fits as it is."""
        each = placed(radial_map.plan, self.device).nbytes_of_frame(summed_model(radial_map.averaging.error_model))
        return min(self.loader.leading(frames), max(self.room.result_bytes // max(each, 1), 1))

    def integrate(self, block: FrameBlock, work: Work) -> Arrays:
        """Integrate a batch.

        Returns
        -------
        dict of ndarray
            intensity, valid_fraction and, where they are asked for, intensity_errors and intensity_std; ``negative``;
            the fields of `BinSums` where they are needed, and the ``variance_of_pairs`` of bins.

        Raises
        ------
        DataError
            If a frame is corrupt.
        """
        found, damaged = self._integrate(block, work)
        for number in map(int, np.flatnonzero(damaged)):
            # The CPU says what is wrong with it, or decodes what is only unusual.
            assert isinstance(block.frames, EncodedFrames)
            frame = decode(block.frames.part(number, number + 1))
            alone, _ = self._integrate(_part(block, frame, number, number + 1), work)
            for name, values in found.items():
                values[number] = alone[name][0]
        return found

    def _integrate(self, block: FrameBlock, work: Work) -> tuple[Arrays, NDArray[np.bool_]]:
        plan, n = work.radial_map, len(block.frames)
        scatter = placed(plan.plan, self.device)
        with cuda.using(self.device, self.stream):
            frames = self.loader(block.frames, threads=work.threads)
            sums = work.sum(plan.averaging.estimator, scatter, frames, block.variance)
            if not plan.averaging.weighted:
                sums = replace(sums, count=sums.normalization)  # as `RadialMap` does
            factor = None
            if block.normalization is not None:
                factor = cuda.array_module().asarray(block.normalization, np.float64)
            averaging = plan.averaging
            made = scatter.finish(
                sums, factor=factor, empty=averaging.empty, deviations=averaging.std or averaging.keep_sums
            )
            with_covariance = plan.pairs is not None and len(plan.bins) == 1
            if averaging.keep_sums or with_covariance:
                kept = {field.name: getattr(sums, field.name) for field in fields(BinSums)}
                made |= {name: values for name, values in kept.items() if values is not None}
            made["negative"] = sums.negative
            if with_covariance and plan.pairs is not None:
                made["variance_of_pairs"] = work.sum(
                    Mean(), placed(plan.pairs.scatter, self.device), frames, block.variance
                ).variance
            made["errors"] = self.loader.errors  # with the rest: to wait twice costs the other lanes time, too
            fetched = self._fetch(made)
            damaged = self.loader.damaged(fetched.pop("errors"))
        # Sums that all frames share come as one row.
        found = {name: values if len(values) == n else np.repeat(values, n, axis=0) for name, values in fetched.items()}
        if not averaging.weighted:
            found["valid_fraction"] *= np.float32(scatter.total_count / (plan.total_count or 1.0))
        return found, damaged

    def _fetch(self, arrays: Mapping[str, Any]) -> Arrays:
        """Copy arrays to the host; waits for the stream."""
        xp = cuda.array_module()
        found = {}
        for name, array in arrays.items():
            memory = cuda.pinned_memory(array.nbytes)
            found[name] = memory.view(array.dtype).reshape(array.shape)
            if array.nbytes:
                cuda.to_host(found[name], xp.ascontiguousarray(array))
        cuda.wait_for(self.stream)
        return found


@dataclass(frozen=True)
class Room:
    """Memory of a lane on its GPU, in bytes: for frames as they come, for decoded frames, for results."""

    staging_bytes: int
    frame_bytes: int
    result_bytes: int

    @classmethod
    def within(cls, share: int, frame_bytes: int) -> Room:
        """Return how a lane divides its share of the memory, so that at least one frame fits.

        Parameters
        ----------
        share : int
        frame_bytes : int
            Of a decoded frame.
        """
        least = staging_for(frame_bytes, 1)
        staging = max(min(STAGING_BYTES, int(STAGING_PART * share)), least)
        decoded = max(min(BATCH_BYTES, int(FRAMES_PART * share), share - staging), frame_bytes)
        return cls(staging, decoded, max(share - staging - decoded, 0))


class LanePool:
    """The lanes of some GPUs, lent one at a time; each is made when it is first needed.

    Parameters
    ----------
    devices : sequence of int
    frame_bytes : int
        The largest frame that a lane has to take.
    n_bins : int

    Raises
    ------
    DeviceError
        If a GPU has no memory for a frame.
    """

    def __init__(self, devices: Sequence[int], frame_bytes: int, n_bins: int) -> None:
        self.frame_bytes = frame_bytes
        self._made: queue.LifoQueue[Lane | tuple[int, Room]] = queue.LifoQueue()
        rooms = [lane_rooms(cuda.free_memory(device), frame_bytes, n_bins, device) for device in devices]
        # In turn from each GPU, the first one last: it is on top.
        for number in reversed(range(max(map(len, rooms)))):
            for device, of_device in zip(reversed(devices), reversed(rooms), strict=True):
                if number < len(of_device):
                    self._made.put((device, of_device[number]))

    @contextmanager
    def lend(self) -> Iterator[Lane]:
        """Lend a lane, as soon as one is free."""
        lane = self._made.get()
        try:
            if not isinstance(lane, Lane):
                lane = Lane(*lane)
            yield lane
        finally:
            self._made.put(lane)


def lane_rooms(free: int, frame_bytes: int, n_bins: int, device: int = 0) -> list[Room]:
    """Return the lanes that a GPU with so many free bytes gets: fewer and smaller ones if it has little memory.

    Raises
    ------
    DeviceError
        If there is no room for a frame.
    """
    usable = int(USED_PART * free)
    least = frame_bytes + staging_for(frame_bytes, 1) + BYTES_PER_BIN * n_bins
    if usable < least:
        raise DeviceError(
            f"GPU {device} has {usable / 2**20:.1f} MiB of memory to use, a frame of {frame_bytes / 2**20:.1f} MiB "
            f"with its sums needs {least / 2**20:.1f} MiB.",
            "Use --device cpu, or end other programs that use the GPU.",
        )
    count = min(usable // least, LANES)
    return [Room.within(usable // count, frame_bytes)] * count


_pools: dict[tuple[int, ...], LanePool] = {}
_placed: weakref.WeakKeyDictionary[Scatter | RobustScatter, dict[int, Placed]] = weakref.WeakKeyDictionary()
_lock = threading.RLock()


def lane_pool(devices: tuple[int, ...], frame_bytes: int, n_bins: int) -> LanePool:
    """Return the lanes of these GPUs that all maps of this process share."""
    with _lock:
        pool = _pools.get(devices)
        if pool is None or pool.frame_bytes < frame_bytes:
            _pools.pop(devices, None)
            pool = _pools[devices] = LanePool(devices, frame_bytes, n_bins)
        return pool


def placed(plan: Scatter | RobustScatter, device: int) -> Placed:
    """Return sums as a GPU does them; their map is brought there once."""
    with _lock:
        there = _placed.setdefault(plan, {})
        if device in there:
            return there[device]
        if isinstance(plan, RobustScatter):
            there[device] = CudaRobustScatter.of(plan, device)
        else:
            there[device] = CudaScatter.build(
                plan.pixel_map(),
                normalization=plan.normalization,
                dark=plan.dark,
                dark_variance=plan.dark_variance,
                device=device,
            )
        return there[device]


def _parts(block: FrameBlock, lane: Lane, radial_map: RadialMap) -> Iterator[FrameBlock]:
    """Cut a block into batches for a lane."""
    start, n = 0, len(block.frames)
    while start < n or not n:
        rest = _frames_of(block.frames, start, n)
        count = lane.leading(rest, radial_map)
        if count:
            # Equal batches: a small one at the end costs as much time as a large one.
            left = n - start
            count = math.ceil(left / math.ceil(left / count))
        if count or not n:
            yield _part(block, _frames_of(rest, 0, count), start, start + count)
        else:
            # Noise that takes more memory compressed than decoded.
            count = 1
            yield _part(block, _decoded(_frames_of(rest, 0, 1), 1), start, start + 1)
        start += count
        if not n:
            return


def _part(block: FrameBlock, frames: Frames, start: int, stop: int) -> FrameBlock:
    """Return frames `start` to `stop` of a block, in the form of `frames`."""
    variance = block.variance
    if variance is not None:
        variance = np.asarray(variance)
        if variance.size == len(block.frames) * math.prod(_shape(block.frames)):
            variance = variance.reshape(len(block.frames), -1)[start:stop]
    normalization = None if block.normalization is None else block.normalization[start:stop]
    return FrameBlock(frames, block.labels[start:stop], normalization, variance)


def _frames_of(frames: Frames, start: int, stop: int) -> Frames:
    return frames.part(start, stop) if isinstance(frames, EncodedFrames) else frames[start:stop]


def _decoded(frames: Frames, threads: int) -> NDArray[Any]:
    if isinstance(frames, EncodedFrames):
        return decode(frames, threads=threads)
    return np.ascontiguousarray(frames, frames.dtype.newbyteorder("="))


def _shape(frames: Frames) -> tuple[int, ...]:
    return frames.frame_shape if isinstance(frames, EncodedFrames) else frames.shape[1:]


def _frame_bytes(frames: Frames) -> int:
    return math.prod(_shape(frames)) * frames.dtype.itemsize
