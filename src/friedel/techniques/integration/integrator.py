"""Azimuthal integration from Python: one object for one setup, many frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from friedel.core.blocks import Block, cut_blocks
from friedel.core.errors import DataError, ParameterError
from friedel.device.choice import resolve_device
from friedel.device.threads import thread_count
from friedel.instrument import Geometry
from friedel.io import FrameSource
from friedel.io.lazy import source_of

from .device_map import DeviceMap
from .grid import check_bins
from .options import Binning, MapOptions, check_options
from .patterns import Patterns
from .radial_map import FrameBlock, Frames, RadialMap
from .results import label_patterns

MapMaker = Callable[[tuple[int, int]], RadialMap]
BLOCK_BYTES = 64 * 1024**2
"""Decoded frames of a block."""
DEVICE_BLOCK_BYTES = 512 * 1024**2
"""For a GPU, which works on more of them at a time."""
ENCODED_BLOCK_BYTES = 1536 * 1024**2
"""For a GPU that decodes. Such frames come the fastest: to start the work of a small block takes longer than the work.
In the host's memory they are compressed."""


CAKE_BINS = 360
"""Azimuthal bins of a cake, unless someone says otherwise."""

MOST_FRAMES = 256
FRAMES_IN_VECTORS = 4
"""So many frames at least are summed together, in the lanes of vector registers: fewer in a block cost time."""
BYTES_PER_BIN = 8 * 16
"""Per frame: the sums with those that are being made, the sums of invalid pixels, the results."""


def frames_per_block(frame_bytes: int, n_bins: int, device: str = "cpu", *, encoded: bool = False) -> int:
    """Return how many frames make a block whose work takes about 64 MiB of memory, or more of a GPU's.

    Parameters
    ----------
    frame_bytes : int
        Size of a frame.
    n_bins : int
        Number of bins of a pattern or cake: a cake of 1000 x 360 bins takes much more than the frame it is made of.
    device : str
        Where the work is done.
    encoded : bool
        Whether the frames come compressed, which changes nothing for the CPU.
    """
    of_device = ENCODED_BLOCK_BYTES if encoded else DEVICE_BLOCK_BYTES
    block_bytes = BLOCK_BYTES if device == "cpu" else of_device
    frames_alone = block_bytes // max(frame_bytes, 1)
    fitting = block_bytes // max(frame_bytes + BYTES_PER_BIN * n_bins, 1)
    return int(np.clip(max(fitting, min(frames_alone, FRAMES_IN_VECTORS)), 1, MOST_FRAMES))


class Integrator:
    """Integrates the frames of one setup.

    Parameters
    ----------
    geometry : Geometry
    **options
        Options of `RadialMap.build`: npt and npt_azimuth (unless a call says otherwise), unit, splitting,
        error_model, mask, dark, flat, polarization, solid_angle, radial_range, azimuth_range, dummy, ...
    device : str, optional
        "cpu", "cuda", "cuda:N", "cuda:N,M", "cuda:all" or "auto"; by default the variable ``FRIEDEL_DEVICE``, else
        "cpu".

    Raises
    ------
    ParameterError
        If there is no such option, or no such choice for it.
    DeviceError
        If the device is not there.

    Examples
    --------
    >>> integrator = Integrator(geometry, npt=1000, unit="q_nm^-1", error_model="poisson")  # doctest: +SKIP
    >>> patterns = integrator.integrate1d(frames)  # doctest: +SKIP
    """

    def __init__(self, geometry: Geometry, *, device: str | None = None, **options: Unpack[MapOptions]) -> None:
        check_options(options)
        self.device = resolve_device(device)
        self.geometry = geometry
        self.npt = options.get("npt", Binning.npt)
        check_bins(self.npt)
        if (options.get("std") or options.get("covariance")) and "error_model" not in options:
            options["error_model"] = "variance"  # which a call brings along
        self.options = options
        self._maps: dict[tuple[int, int | None, bool, tuple[int, int]], RadialMap] = {}

    def map_for(
        self,
        shape: tuple[int, int],
        npt: int | None = None,
        npt_azimuth: int | None = None,
        azimuthal: bool = False,
    ) -> RadialMap:
        """Return the map for frames of `shape` (rows, columns); it is built once.

        Raises
        ------
        GeometryError
            If the detector gives frames of another shape.
        """
        key = (self.npt if npt is None else npt, npt_azimuth, azimuthal, shape)
        if key not in self._maps:
            geometry = self.geometry.for_shape(shape)
            options: MapOptions = {**self.options, "npt": key[0], "npt_azimuth": npt_azimuth, "azimuthal": azimuthal}
            self._maps[key] = RadialMap.build(geometry, **options)
        return self._maps[key]

    def integrate1d(
        self,
        frames: ArrayLike | xr.DataArray | FrameSource,
        *,
        npt: int | None = None,
        normalization: str | ArrayLike | None = None,
        variance: ArrayLike | None = None,
        threads: int | None = None,
    ) -> xr.Dataset:
        """Average frames over the azimuth.

        Parameters
        ----------
        frames : array-like, shape (rows, columns) or (n, rows, columns), DataArray or FrameSource
            What `friedel.open` returns is read block by block.
        npt : int, optional
            Number of radial bins.
        normalization : str or array-like, optional
            What each pattern is divided by: one value for each frame, or the name of a coordinate of `frames`.
        variance : array-like, optional
            Variance of the pixels, for one frame or for each; sets the error model to "variance".
        threads : int, optional

        Returns
        -------
        xarray.Dataset
            intensity, intensity_errors over (frame, radial), or (radial) for a single frame.

        Raises
        ------
        GeometryError, DataError, ParameterError
            If frames, geometry and parameters do not go together.
        """
        return self._integrate(self._maker(npt, None), frames, normalization, variance, threads)

    def integrate2d(
        self,
        frames: ArrayLike | xr.DataArray | FrameSource,
        *,
        npt: int | None = None,
        npt_azimuth: int | None = None,
        normalization: str | ArrayLike | None = None,
        variance: ArrayLike | None = None,
        threads: int | None = None,
    ) -> xr.Dataset:
        """Regroup frames over azimuth and radius, into 360 azimuthal bins by default; see `integrate1d`.

        Returns
        -------
        xarray.Dataset
            intensity, intensity_errors over (frame, azimuth, radial), or (azimuth, radial) for a single frame.
        """
        cake_bins = self.options.get("npt_azimuth") or CAKE_BINS if npt_azimuth is None else npt_azimuth
        return self._integrate(self._maker(npt, cake_bins), frames, normalization, variance, threads)

    def integrate_radial(
        self,
        frames: ArrayLike | xr.DataArray | FrameSource,
        *,
        npt_azimuth: int | None = None,
        normalization: str | ArrayLike | None = None,
        variance: ArrayLike | None = None,
        threads: int | None = None,
    ) -> xr.Dataset:
        """Average frames over the radial range, in 360 azimuthal bins by default; see `integrate1d`.

        Returns
        -------
        xarray.Dataset
            intensity, intensity_errors over (frame, azimuth), or (azimuth) for a single frame.
        """
        bins = self.options.get("npt_azimuth") or CAKE_BINS if npt_azimuth is None else npt_azimuth
        return self._integrate(self._maker(None, bins, azimuthal=True), frames, normalization, variance, threads)

    def _maker(self, npt: int | None, npt_azimuth: int | None, azimuthal: bool = False) -> MapMaker:
        return lambda shape: self.map_for(shape, npt, npt_azimuth, azimuthal)

    def _integrate(
        self,
        map_for: MapMaker,
        frames: ArrayLike | xr.DataArray | FrameSource,
        normalization: str | ArrayLike | None,
        variance: ArrayLike | None,
        threads: int | None,
    ) -> xr.Dataset:
        stack = stack_of(frames)
        radial_map = map_for(stack.frame_shape)
        if variance is not None:
            radial_map = radial_map.with_options(error_model="variance")
        elif radial_map.averaging.error_model == "variance":
            raise ParameterError(
                'The error model is "variance", and no variance is given.',
                'Give variance=, or choose another error model, like "poisson".',
            )
        factors = stack.factors(normalization)
        blocks = _blocks(stack, radial_map.scatter.n_bins, factors, variance, self.device)
        count = thread_count() if threads is None else threads
        if self.device == "cpu":
            parts = [radial_map(block, threads=count) for block in blocks]
        else:
            parts = _on_device(DeviceMap(radial_map, self.device), blocks, count)
        arrays = _joined(parts, single=not stack.dims)
        return label_patterns(radial_map, arrays, stack.coordinates, stack.dims)


@dataclass(frozen=True)
class Stack:
    """Frames of any origin, read by number.

    Attributes
    ----------
    source : FrameSource, ndarray or DataArray
        Of shape (n, rows, columns).
    dims : tuple of str
        Dimension of the frames; () for a single one.
    coordinates : mapping
        What is known about the frames.
    """

    source: Any
    dims: tuple[str, ...]
    coordinates: Mapping[str, Any]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.source.shape[0])

    @property
    def frame_shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return int(self.source.shape[1]), int(self.source.shape[2])

    def read(self, block: Block) -> Frames:
        """Return the frames of a block, still compressed where they are on disk."""
        if isinstance(self.source, FrameSource):
            encoded: Frames = self.source.read(block)
            return encoded
        return np.asarray(self.source[block.start : block.stop])

    def labels(self, block: Block) -> tuple[str, ...]:
        """Say where each frame of a block comes from."""
        if isinstance(self.source, FrameSource):
            return tuple(self.source.label(number) for number in range(block.start, block.stop))
        return tuple(f"frame {number}" for number in range(block.start, block.stop))

    def factors(self, normalization: str | ArrayLike | None) -> NDArray[np.float64] | None:
        """Return one positive factor for each frame.

        Raises
        ------
        DataError
            If there is no such coordinate, or values that nothing can be divided by.
        """
        if normalization is None:
            return None
        values: Any = normalization
        name = "normalization"
        if isinstance(normalization, str):
            name = normalization
            if name not in self.coordinates:
                known = ", ".join(self.coordinates) or "none"
                raise DataError(f"The frames have no coordinate {name!r}.", f"Coordinates: {known}.")
            values = self.coordinates[name]
        return checked_factors(np.asarray(values, np.float64), self.n_frames, name)


def checked_factors(values: NDArray[np.float64], n_frames: int, name: str) -> NDArray[np.float64]:
    """Return one factor for each frame, or raise `DataError` where nothing can be divided by it."""
    if values.size not in (1, n_frames):
        raise DataError(f"{name} has {values.size} values for {n_frames} frames.", "Give one value for each frame.")
    factors = np.broadcast_to(values.reshape(-1), (n_frames,))
    bad = np.flatnonzero(~(np.isfinite(factors) & (factors > 0)))
    if bad.size:
        raise DataError(
            f"{name} is {factors[bad[0]]} for frame {bad[0]} ({bad.size} such frames): no intensity can be divided "
            "by it.",
            "Leave these frames out, or do not normalise.",
        )
    return factors


def stack_of(frames: ArrayLike | xr.DataArray | FrameSource) -> Stack:
    """Return frames of any kind as a stack.

    Raises
    ------
    DataError
        If they are neither an image nor a stack of images.
    """
    if isinstance(frames, FrameSource):
        coordinates = {name: ("frame", axis.values, {"units": axis.units}) for name, axis in frames.axes.items()}
        return Stack(frames, ("frame",), coordinates)
    if not isinstance(frames, xr.DataArray):
        array = np.asarray(frames)
        if array.ndim not in (2, 3):
            raise DataError(f"The frames have the shape {array.shape}.", "Give (rows, columns) or (n, rows, columns).")
        return Stack(array.reshape(-1, *array.shape[-2:]), ("frame",) if array.ndim == 3 else (), {})
    if frames.ndim not in (2, 3):
        raise DataError(f"The frames have the dimensions {frames.dims}.", "Give (y, x) or (frame, y, x).")
    dims = tuple(str(dim) for dim in frames.dims[:-2])
    coordinates = {str(name): value for name, value in frames.coords.items() if set(value.dims) <= set(dims)}
    source = source_of(frames)
    if source is not None:
        return Stack(source, dims, coordinates)
    return Stack(frames if dims else frames.expand_dims("frame"), dims, coordinates)


def _blocks(
    stack: Stack, n_bins: int, factors: NDArray[np.float64] | None, variance: ArrayLike | None, device: str
) -> Iterator[FrameBlock]:
    """Read block by block, the next one while the last one is worked on."""
    dtype = getattr(stack.source, "dtype", np.dtype(np.float64))
    frame_bytes = int(np.prod(stack.frame_shape)) * dtype.itemsize
    given = None if variance is None else np.asarray(variance)

    def read(block: Block) -> FrameBlock:
        part = slice(block.start, block.stop)
        own = given[part] if given is not None and given.ndim == 3 else given
        return FrameBlock(
            stack.read(block), stack.labels(block), None if factors is None else factors[part], variance=own
        )

    encoded = isinstance(stack.source, FrameSource) and stack.source.encoded
    blocks = cut_blocks(stack.n_frames, frames_per_block(frame_bytes, n_bins, device, encoded=encoded))
    with ThreadPoolExecutor(1, "read") as reader:
        following = reader.submit(read, blocks[0]) if blocks else None
        for number in range(len(blocks)):
            assert following is not None
            block = following.result()
            if number + 1 < len(blocks):
                following = reader.submit(read, blocks[number + 1])
            yield block


def _on_device(device_map: DeviceMap, blocks: Iterator[FrameBlock], threads: int) -> list[Patterns]:
    """Return the patterns of all blocks; as many at a time as keep the GPUs busy."""
    parts: list[Patterns] = []
    running: deque[Future[Patterns]] = deque()
    with ThreadPoolExecutor(device_map.at_once, "apply") as workers:
        for block in blocks:
            running.append(workers.submit(device_map, block, threads=threads))
            if len(running) > device_map.at_once:
                parts.append(running.popleft().result())
        parts += [future.result() for future in running]
    return parts


def _joined(parts: list[Patterns], single: bool) -> dict[str, NDArray[Any]]:
    if not parts:
        raise DataError("There are no frames to integrate.", "Give at least one frame.")
    arrays = [part.arrays() for part in parts]
    joined = {name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]}
    return {name: values[0] for name, values in joined.items()} if single else joined
