"""The map as the kernel ``cuda/scatter.cu`` wants it: tiles of consecutive pixels, their entries sorted by bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

THREADS = 512
MOST_ENTRIES = 32
TILES_OF_PIECE = 8

# Threads that add the slots, where shares are all 1 and where they are not: there the others take longer.
ADDERS = {True: 256, False: 128}

# Pixel numbers in a tile, times 4, are kept in 16 bits.
MOST_PIXELS = 16384
_STEP = 512

# Below this many entries of a bin in a tile there is nothing to gain from sorting them; above this many slots of one
# bin a single thread adds them too slowly.
_LEAST_ENTRIES_OF_BIN = 3
_MOST_SLOTS_OF_BIN = 64


@dataclass(frozen=True, eq=False)
class TilePlan:
    """Entries of the tiles of a frame, dealt to `THREADS` threads.

    Attributes
    ----------
    n_bins, n_tiles : int
    tiles_of_piece : int
        Tiles that are summed together; the sums of the pieces are then added in their order.
    tile : int
        Pixels of a tile.
    entries : int
        Entries of a thread, even.
    slots : int
        Slots of a tile, at most: one for each run of entries of one bin that one thread has.
    adders : int
        Threads that add the slots.
    bins_of_adder : int
        Bins of a tile for each of these, at most.
    whole : bool
        Whether all shares are 1.
    arrays : dict of str to ndarray
        By the names of the parameters of the kernel, which says what they are.
    """

    n_bins: int
    n_tiles: int
    tiles_of_piece: int
    tile: int
    entries: int
    slots: int
    adders: int
    bins_of_adder: int
    whole: bool
    arrays: dict[str, npt.NDArray[Any] | None]

    @classmethod
    def of(
        cls,
        n_pixels: int,
        n_bins: int,
        pixels: npt.NDArray[np.uint32],
        bins: npt.NDArray[np.int32],
        shares: npt.NDArray[np.float32],
        counted: npt.NDArray[np.bool_],
    ) -> TilePlan | None:
        """Deal the entries of a map, which are in the order of pixels; None if the map is not worth it.

        Parameters
        ----------
        n_pixels, n_bins : int
        pixels, bins, shares, counted : ndarray, shape (n_entries,)
            Pixel and bin of each entry, share of the pixel, and whether the pixel is counted by this entry.
        """
        tile = _largest_tile(pixels, n_pixels)
        if tile is None:
            return None
        n_tiles = -(-n_pixels // tile)
        tile_of, order = _sorted_by_tile_and_bin(pixels // tile, bins, n_tiles, n_bins)
        bin_of, local, share, counts = bins[order], pixels[order] % tile, shares[order], counted[order]
        starts = np.searchsorted(tile_of, np.arange(n_tiles + 1))
        entries = max(int(-(-np.diff(starts).max() // THREADS)), 1)
        entries += entries % 2
        rank = np.arange(len(order)) - starts[tile_of]
        thread, number = rank // entries, rank % entries

        new_bin = np.ones(len(order), bool)
        new_bin[1:] = (bin_of[1:] != bin_of[:-1]) | (tile_of[1:] != tile_of[:-1])
        new_run = new_bin | (number == 0)
        slot = np.cumsum(new_run) - 1
        slots_before = np.append(slot, slot[-1] + 1)[starts]
        slot -= slots_before[tile_of]
        last_of_run = np.append(new_run[1:], True)
        in_tile = np.diff(slots_before)

        first_of_bin = np.flatnonzero(new_bin)
        bin_starts = np.searchsorted(tile_of[first_of_bin], np.arange(n_tiles + 1)).astype(np.int32)
        low = slot[first_of_bin]
        high = np.append(low[1:], 0)
        ends = bin_starts[1:][np.diff(bin_starts) > 0] - 1
        high[ends] = in_tile[tile_of[first_of_bin[ends]]]
        if len(order) < _LEAST_ENTRIES_OF_BIN * len(low) or (high - low).max() > _MOST_SLOTS_OF_BIN:
            return None

        place = (tile_of, number, thread)
        shape = (n_tiles, entries, THREADS)
        offsets = np.zeros((n_tiles, entries // 2, THREADS, 2), np.uint16)
        offsets[tile_of, number // 2, thread, number % 2] = 4 * local
        whole = bool((share == 1).all())
        first_slots = np.zeros((n_tiles, THREADS), np.uint16)
        heads = number == 0
        first_slots[tile_of[heads], thread[heads]] = slot[heads]
        return cls(
            n_bins,
            n_tiles,
            TILES_OF_PIECE,
            tile,
            entries,
            int(in_tile.max()),
            ADDERS[whole],
            int(-(-np.diff(bin_starts).max() // ADDERS[whole])),
            whole,
            {
                "offsets": offsets.view(np.uint32),
                "shares": None if whole else _dense(shape, place, share),
                "ends": _bits(shape, place, last_of_run),
                "counted": _bits(shape, place, counts),
                "first_slots": first_slots,
                "bin_starts": bin_starts,
                "tile_bins": bin_of[first_of_bin].astype(np.int32),
                "bin_slots": (low | high << 16).astype(np.uint32),
            },
        )

    @property
    def n_pieces(self) -> int:
        """Number of pieces of a frame."""
        return -(-self.n_tiles // self.tiles_of_piece)

    def macros(self) -> dict[str, int | str]:
        """Return the macros that tell the kernel the shape of the plan."""
        return {
            "TILE": self.tile,
            "ENTRIES": self.entries,
            "THREADS": THREADS,
            "ADDERS": self.adders,
            "BINS_OF_ADDER": self.bins_of_adder,
            "SLOTS": self.slots,
            "SHARED_PIXELS": int(not self.whole),
        }

    def shared_bytes(self, dtype: np.dtype[Any], poisson: bool, stages: int, frames: int) -> int:
        """Return the shared memory that the kernel needs, in bytes."""
        stage = -(-(self.tile * dtype.itemsize + 32) // 128) * 128
        accumulators = frames * self.n_bins * (1 + poisson)
        return (
            stages * stage + 8 * (accumulators + accumulators % 2) + 2 * self.slots * self._slot_bytes(dtype, poisson)
        )

    def _slot_bytes(self, dtype: np.dtype[Any], poisson: bool) -> int:
        if not self.whole or dtype.kind == "f":
            return 8 * (1 + poisson)
        word = 8 if dtype.itemsize == 4 else 4
        return word * (1 + poisson) if dtype.kind == "i" else word


def _largest_tile(pixels: npt.NDArray[np.uint32], n_pixels: int) -> int | None:
    """Return the most pixels of a tile such that the entries of each fit the threads; None if none will do."""
    if not len(pixels):
        return None
    for tile in range(MOST_PIXELS, 0, -_STEP):
        counts = np.diff(np.searchsorted(pixels, np.arange(0, n_pixels + tile, tile)))
        if counts.max() <= THREADS * MOST_ENTRIES:
            return tile
    return None


def _sorted_by_tile_and_bin(
    tiles: npt.NDArray[np.uint32], bins: npt.NDArray[np.int32], n_tiles: int, n_bins: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the tile of each sorted entry, and the order that sorts them; entries of a bin stay in their order."""
    from scipy.sparse import csr_array

    keys = tiles.astype(np.int64) * n_bins + bins
    n = len(keys)
    rows = np.arange(n + 1, dtype=np.int64)
    columns = csr_array((np.arange(n), keys, rows), shape=(n, n_tiles * n_bins)).tocsc()
    order = np.asarray(columns.data, np.int64)
    return tiles[order].astype(np.int64), order


def _dense(shape: tuple[int, int, int], place: tuple[Any, Any, Any], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array = np.zeros(shape, values.dtype)
    array[place] = values
    return array


def _bits(shape: tuple[int, int, int], place: tuple[Any, Any, Any], values: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Return for each tile and thread a word with a bit for each of its entries."""
    n_tiles, _, threads = shape
    array = np.zeros((n_tiles, threads, 32), bool)
    tile, number, thread = place
    array[tile, thread, number] = values
    return np.packbits(array, axis=-1, bitorder="little").view(np.uint32).reshape(n_tiles, threads)
