// CUDA twin of native/byte_offset.hpp: each element is the one before (the first: 0) plus a delta of 1 byte; 0x80
// announces one of 2 bytes, 0x8000 in it one of 4, 0x80000000 in that one of 8. So an element takes 1, 3, 7 or 15 bytes,
// and where it begins depends on all that is before.
//
// The bytes are cut into segments of 64, one for each lane of a warp, whose 32 segments make a tile. What a segment does
// is a map: from how many of its first bytes belong to an element begun before (0 to 14) to how many bytes its own last
// element takes of the next segment. Fifteen numbers below 16 fit into a word of 64 bits, and maps are composed by looking
// up: map each tile, follow the maps through the frame, then count and sum elements in each tile, sum that over the frame,
// and write. All sums are modulo 2^64, as on the CPU.
//
// Macro: ELEMENT, the unsigned type of the size of an element.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define ALL_LANES 0xffffffffu

__device__ __forceinline__ u8 *dynamic_memory() {
#ifdef FRIEDEL_EMULATED
    return reinterpret_cast<u8 *>(emulation::dynamic_shared());
#else
    extern __shared__ uint4 dynamic_words[];
    return reinterpret_cast<u8 *>(dynamic_words);
#endif
}

constexpr u32 segment = 64, tile_bytes = 32 * segment, longest = 15;

// Where a byte of a tile lies in shared memory: segments are 17 words apart, so that all lanes use different banks.
__device__ __forceinline__ u32 place_of(u32 at) { return at + at / segment * 4; }
constexpr u32 tile_room = (tile_bytes + 16) + (tile_bytes + 16) / segment * 4;

// Bytes of the element that begins at `at`.
__device__ __forceinline__ u32 element_bytes(const u8 *tile, u32 at) {
    if (tile[place_of(at)] != 0x80) return 1;
    if (tile[place_of(at + 1)] != 0 || tile[place_of(at + 2)] != 0x80) return 3;
    const bool wide = tile[place_of(at + 3)] == 0 && tile[place_of(at + 4)] == 0 && tile[place_of(at + 5)] == 0 &&
                      tile[place_of(at + 6)] == 0x80;
    return wide ? 15 : 7;
}

// The delta of the element of `bytes` bytes that begins at `at`.
__device__ __forceinline__ u64 element_delta(const u8 *tile, u32 at, u32 bytes) {
    if (bytes == 1) return (u64)(long long)(signed char)tile[place_of(at)];
    const u32 width = (bytes + 1) / 2;
    u64 delta = 0;
    for (u32 i = 0; i < width; ++i) delta |= (u64)tile[place_of(at + bytes - width + i)] << (8 * i);
    const u32 above = 64 - 8 * width;
    return (u64)((long long)(delta << above) >> above);
}

// Load a tile and the 16 bytes behind it; what lies behind the end of the data is 0.
__device__ void load_tile(const u8 *data, u64 size, u64 begin, u32 lane, u8 *tile) {
    for (u32 at = 16 * lane; at < tile_bytes + 16; at += 512) {
        uint4 loaded = make_uint4(0, 0, 0, 0);
        if (begin + at < size) loaded = *reinterpret_cast<const uint4 *>(data + begin + at);
        u32 words[4] = {loaded.x, loaded.y, loaded.z, loaded.w};
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            const u64 first = begin + at + 4 * i;
            const u32 there = first >= size ? 0 : size - first >= 4 ? 4 : (u32)(size - first);
            if (there < 4) words[i] &= (1u << (8 * there)) - 1;
            *reinterpret_cast<u32 *>(tile + place_of(at + 4 * i)) = words[i];
        }
    }
    __syncwarp();
}

// The map of a lane's segment, four bits for each entry. Going backwards, bits 4 j of `exits` hold where the element that
// begins j bytes further on leads; an element of one byte leads where the next one does.
__device__ u64 segment_map(const u8 *tile, u32 lane) {
    u64 exits = 0x0edcba9876543210ull;
    for (u32 word = segment; word > 0; word -= 4) {
        const u32 at = lane * segment + word - 4;
        const u32 bytes = *reinterpret_cast<const u32 *>(tile + place_of(at)), zero = bytes ^ 0x80808080u;
        if (((zero - 0x01010101u) & ~zero & 0x80808080u) == 0) {
            exits = exits << 16 | (exits & 15) * 0x1111;
        } else {
            for (u32 i = 4; i > 0; --i) {
                const u32 taken = element_bytes(tile, at + i - 1);
                exits = exits << 4 | (exits >> (4 * (taken - 1)) & 15);
            }
        }
    }
    return exits;
}

// The entry of each lane's segment, given that of the tile.
__device__ u32 entry_of_lane(u64 map, u32 lane, u32 entry) {
    u32 mine = entry;
    for (u32 i = 0; i < 31; ++i) {
        entry = (u32)(__shfl_sync(ALL_LANES, map, i) >> (4 * entry)) & 15;
        if (lane == i + 1) mine = entry;
    }
    return mine;
}

// Call visit(delta) for each element that begins in the lane's segment and is complete.
template <class Visit>
__device__ __forceinline__ void each_element(const u8 *tile, u32 lane, u32 entry, u64 begin, u64 size, Visit &&visit) {
    const u32 end = (lane + 1) * segment;
    for (u32 at = lane * segment + entry; at < end;) {
        const u32 bytes = element_bytes(tile, at);
        if (begin + at + bytes > size) break;
        visit(element_delta(tile, at, bytes));
        at += bytes;
    }
}

// In all kernels: data holds the payloads, `starts` where each begins (a multiple of 16; each may be read up to the next
// one), `sizes` their bytes; maps, counts and sums have a row of `pitch` for each frame, an item for each tile.

// The map of each tile: blockIdx.x counts groups of warps, blockIdx.y frames.
extern "C" __global__ void byte_offset_maps(const u8 *data, const u64 *starts, const u64 *sizes, u32 pitch, u64 *maps) {
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, frame = blockIdx.y;
    const u32 number = blockIdx.x * (blockDim.x / 32) + warp;
    const u64 begin = (u64)number * tile_bytes, size = sizes[frame];
    if (begin >= size) return;
    u8 *const tile = dynamic_memory() + warp * tile_room;
    load_tile(data + starts[frame], size, begin, lane, tile);
    const u64 map = segment_map(tile, lane);
    // Lane k follows entry k through the segments.
    u32 state = lane < longest ? lane : 0;
    for (u32 i = 0; i < 32; ++i) state = (u32)(__shfl_sync(ALL_LANES, map, i) >> (4 * state)) & 15;
    u64 whole = 0;
    for (u32 k = 0; k < longest; ++k) whole |= (u64)__shfl_sync(ALL_LANES, state, k) << (4 * k);
    if (lane == 0) maps[(u64)frame * pitch + number] = whole;
}

// Replace the map of each tile by its entry: one warp for each frame.
extern "C" __global__ void byte_offset_entries(const u64 *sizes, u32 pitch, u64 *maps) {
    const u32 lane = threadIdx.x, frame = blockIdx.x;
    const u32 tiles = (u32)((sizes[frame] + tile_bytes - 1) / tile_bytes);
    u64 *const row = maps + (u64)frame * pitch;
    u32 entry = 0;
    for (u32 first = 0; first < tiles; first += 32) {
        const u64 map = first + lane < tiles ? row[first + lane] : 0;
        u32 mine = entry;
        for (u32 i = 0; i < 32; ++i) {
            if (lane == i) mine = entry;
            entry = (u32)(__shfl_sync(ALL_LANES, map, i) >> (4 * entry)) & 15;
        }
        if (first + lane < tiles) row[first + lane] = mine;
    }
}

// Number of elements that begin in each tile, and the sum of their deltas.
extern "C" __global__ void byte_offset_sums(const u8 *data, const u64 *starts, const u64 *sizes, u32 pitch,
                                            const u64 *entries, u64 *counts, u64 *sums) {
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, frame = blockIdx.y;
    const u32 number = blockIdx.x * (blockDim.x / 32) + warp;
    const u64 begin = (u64)number * tile_bytes, size = sizes[frame], item = (u64)frame * pitch + number;
    if (begin >= size) return;
    u8 *const tile = dynamic_memory() + warp * tile_room;
    load_tile(data + starts[frame], size, begin, lane, tile);
    const u32 entry = entry_of_lane(segment_map(tile, lane), lane, (u32)entries[item]);
    u32 count = 0;
    u64 sum = 0;
    each_element(tile, lane, entry, begin, size, [&](u64 delta) {
        ++count;
        sum += delta;
    });
    for (u32 i = 16; i > 0; i /= 2) {
        count += __shfl_xor_sync(ALL_LANES, count, i);
        sum += __shfl_xor_sync(ALL_LANES, sum, i);
    }
    if (lane == 0) {
        counts[item] = count;
        sums[item] = sum;
    }
}

// Replace counts and sums by those of all tiles before: one warp for each frame. `errors` is set to 1 for a frame that
// ends before its n elements do.
extern "C" __global__ void byte_offset_scan(const u64 *sizes, u32 pitch, u64 n, u64 *counts, u64 *sums, u32 *errors) {
    const u32 lane = threadIdx.x, frame = blockIdx.x;
    const u32 tiles = (u32)((sizes[frame] + tile_bytes - 1) / tile_bytes);
    u64 count_before = 0, sum_before = 0;
    for (u32 first = 0; first < tiles; first += 32) {
        const u64 item = (u64)frame * pitch + first + lane;
        const bool there = first + lane < tiles;
        const u64 count = there ? counts[item] : 0, sum = there ? sums[item] : 0;
        u64 counted = count, summed = sum;
        for (u32 i = 1; i < 32; i *= 2) {
            const u64 more_count = __shfl_up_sync(ALL_LANES, counted, i), more_sum = __shfl_up_sync(ALL_LANES, summed, i);
            if (lane >= i) {
                counted += more_count;
                summed += more_sum;
            }
        }
        if (there) {
            counts[item] = count_before + counted - count;
            sums[item] = sum_before + summed - sum;
        }
        count_before += __shfl_sync(ALL_LANES, counted, 31);
        sum_before += __shfl_sync(ALL_LANES, summed, 31);
    }
    if (lane == 0 && count_before < n) errors[frame] = 1;
}

// Write the elements of each tile to the frame. They are collected in shared memory first: the lanes hold runs of
// neighbours, and together they would write to 32 places at a time. `errors` is set to 2 for a frame with a value outside
// `low` to `high`.
extern "C" __global__ void byte_offset_write(const u8 *data, const u64 *starts, const u64 *sizes, u32 pitch,
                                             const u64 *entries, const u64 *counts, const u64 *sums, u64 n, long long low,
                                             long long high, ELEMENT *frames, u32 *errors) {
    constexpr u32 room = tile_room + (tile_bytes + tile_bytes / segment) * sizeof(ELEMENT);
    static_assert(tile_room % 16 == 0 && room % 16 == 0, "tiles are aligned");
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, frame = blockIdx.y;
    const u32 number = blockIdx.x * (blockDim.x / 32) + warp;
    const u64 begin = (u64)number * tile_bytes, size = sizes[frame], item = (u64)frame * pitch + number;
    if (begin >= size || counts[item] >= n) return;
    u8 *const tile = dynamic_memory() + warp * room;
    ELEMENT *const made = reinterpret_cast<ELEMENT *>(tile + tile_room);
    load_tile(data + starts[frame], size, begin, lane, tile);
    const u32 entry = entry_of_lane(segment_map(tile, lane), lane, (u32)entries[item]);
    u32 count = 0;
    u64 sum = 0;
    each_element(tile, lane, entry, begin, size, [&](u64 delta) {
        ++count;
        sum += delta;
    });
    u32 counted = count;
    u64 summed = sum;
    for (u32 i = 1; i < 32; i *= 2) {
        const u32 more_count = __shfl_up_sync(ALL_LANES, counted, i);
        const u64 more_sum = __shfl_up_sync(ALL_LANES, summed, i);
        if (lane >= i) {
            counted += more_count;
            summed += more_sum;
        }
    }
    const u32 total = __shfl_sync(ALL_LANES, counted, 31);
    const u64 first = counts[item];
    u32 index = counted - count;
    u64 value = sums[item] + summed - sum;
    bool outside = false;
    each_element(tile, lane, entry, begin, size, [&](u64 delta) {
        value += delta;
        if (first + index < n) outside |= (long long)value < low || (long long)value > high;
        made[index + index / segment] = (ELEMENT)value;
        ++index;
    });
    if (__any_sync(ALL_LANES, outside) && lane == 0) atomicOr(errors + frame, 2u);
    __syncwarp();
    ELEMENT *const out = frames + (u64)frame * n + first;
    const u32 wanted = n - first < total ? (u32)(n - first) : total;
    for (u32 i = lane; i < wanted; i += 32) out[i] = made[i + i / segment];
}
