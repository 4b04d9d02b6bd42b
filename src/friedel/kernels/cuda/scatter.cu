// Sums of pixels over bins at the speed at which memory gives the frames.
//
// A frame is cut into tiles of TILE consecutive pixels. The copy engine brings tile after tile to shared memory while
// the threads sum the ones before. The entries of a tile are sorted by bin and dealt to THREADS threads in order,
// ENTRIES to each: a thread adds runs of entries of the same bin in registers and puts one sum for each run into a slot.
// The slots of a bin lie side by side; ADDERS other threads add them to its accumulator in shared memory meanwhile. A
// thread keeps its entries in registers for FRAMES frames, so that the map is read once for them all.
//
// Nobody adds where another one adds, and the order follows from the map alone: a piece (some consecutive tiles) of a
// frame always gives the same bits, and so do the pieces together (`merge`).
//
// The loader defines
//   PIXEL, PIXEL_BYTES, PIXEL_IS_FLOAT, PIXEL_IS_SIGNED   type of the frames
//   POISSON               whether the variances max(1, raw) are summed
//   SHARED_PIXELS         whether the entries carry shares c (otherwise c = 1)
//   CHECKED, MARKED       whether pixels can be invalid; whether a value marks them
//   TILE, ENTRIES, THREADS, ADDERS, STAGES, FRAMES
//   BINS_OF_ADDER         bins of a tile for each adder, at most
//   SLOTS                 slots of a tile, at most

// Pixels that a thread reads while it sums as many that it has read before. The compiler does not do it by itself: it
// cannot tell that writing slots leaves the pixels alone.
#define BATCH 4

typedef unsigned long long u64;

// ---- copying tiles to shared memory ----------------------------------------------------------------------------

#ifdef FRIEDEL_EMULATED
__device__ void barrier_init(u64 *barrier) { *barrier = 0; }
__device__ void fence_barriers() {}
__device__ void fence_copies() {}
__device__ void copy_tile(void *to, const void *from, unsigned bytes, u64 *barrier) { memcpy(to, from, bytes); }
__device__ void barrier_wait(u64 *barrier, unsigned parity) {}
__device__ void meet(int place, int threads) { emulation::meet(place, threads); }
__device__ void arrive(int place, int threads) { emulation::arrive(place, threads); }
#else
__device__ unsigned shared_address(const void *pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}
__device__ void barrier_init(u64 *barrier) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(barrier)) : "memory");
}
__device__ void fence_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ void fence_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Starts a copy; addresses and bytes are multiples of 16.
__device__ void copy_tile(void *to, const void *from, unsigned bytes, u64 *barrier) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
    if (bytes)
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                         shared_address(to)),
                     "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(barrier))
                     : "memory");
}
__device__ void barrier_wait(u64 *barrier, unsigned parity) {
    asm volatile(
        "{\n.reg .pred done;\nagain:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n}" ::"r"(shared_address(barrier)),
        "r"(parity)
        : "memory");
}
// Waits at a place until so many threads have come; or comes without waiting. A warp comes as one, so it must have found
// together again before. What was written before coming is seen by those who waited: the PTX manual gives this pair as
// its way from producers to consumers. (racecheck does not follow bar.arrive, and reports the slots.)
__device__ void meet(int place, int threads) {
    __syncwarp();
    asm volatile("bar.sync %0, %1;" ::"r"(place), "r"(threads) : "memory");
}
__device__ void arrive(int place, int threads) {
    __syncwarp();
    asm volatile("bar.arrive %0, %1;" ::"r"(place), "r"(threads) : "memory");
}
#endif

// Places to meet; 0 is that of __syncthreads. Of each of the first two there is one for each set of slots.
#define WRITTEN 1
#define ADDED 3
#define REST_COPIED 5

// Where a tile of a frame lies: copies start and end at multiples of 16 bytes and never pass the end of the frames;
// the last bytes, if they are not 16, are left to the threads.
struct Span {
    const unsigned char *low, *high;  // what is copied
    unsigned shift;                   // from low to the first pixel
    unsigned rest;                    // bytes from high that are left over
};
__device__ Span span_of(const PIXEL *frames, long long n_frames, long long n_pixels, long long frame, long long tile) {
    const long long first = tile * TILE, count = min((long long)TILE, n_pixels - first);
    const u64 start = (u64)(frames + frame * n_pixels + first), end = start + count * PIXEL_BYTES;
    const u64 low = start & ~15ull, limit = (u64)(frames + n_frames * n_pixels) & ~15ull;
    const u64 high = min((end + 15) & ~15ull, limit);
    Span span;
    span.low = (const unsigned char *)low;
    span.high = (const unsigned char *)high;
    span.shift = start - low;
    span.rest = end > high ? end - high : 0;
    return span;
}

// ---- what is summed ----------------------------------------------------------------------------------------------

__device__ bool is_valid(PIXEL raw, unsigned lowest, unsigned span, double dummy, double delta) {
#if PIXEL_IS_FLOAT
    if (!(raw - raw == 0)) return false;
#if MARKED
    if (fabs((double)raw - dummy) <= delta) return false;
#endif
#elif MARKED
    if ((unsigned)(int)raw - lowest <= span) return false;
#endif
    return true;
}

// The sum of a run of at most 32 entries. Whole counts of whole pixels are summed as whole numbers, where for unsigned
// ones V = S + number of zeros, and both fit in one word; all else in double precision.
#if SHARED_PIXELS || PIXEL_IS_FLOAT
#define TWO_WORDS POISSON
typedef double Word;
#elif PIXEL_IS_SIGNED
#define TWO_WORDS POISSON
#if PIXEL_BYTES == 4
typedef long long Word;
#else
typedef int Word;
#endif
#else
#define TWO_WORDS 0
#if PIXEL_BYTES == 4
typedef u64 Word;
#define ZEROS_AT 48
#else
typedef unsigned Word;
#define ZEROS_AT 24
#endif
#endif

// Whole numbers and shares as doubles, exactly, by what adds and shifts can do: conversions to and from doubles have a
// quarter of the rate of other instructions.
#ifdef FRIEDEL_EMULATED
__device__ double as_double(float value) { return value; }
__device__ double as_double(int value) { return value; }
__device__ double as_double(unsigned value) { return value; }
#else
__device__ double as_double(float share) {  // 0 becomes 2^-127, which no sum of counts can show
    const unsigned bits = __float_as_uint(share);
    return __hiloint2double((bits >> 3) + 0x38000000u, bits << 29);
}
__device__ double as_double(unsigned value) {
    return __hiloint2double(0x43300000, value) - 4503599627370496.0;  // 2^52
}
__device__ double as_double(int value) {
    return __hiloint2double(0x43300000, value ^ 0x80000000) - 4503601774854144.0;  // 2^52 + 2^31
}
#endif
#if PIXEL_IS_FLOAT
typedef float Number;
#elif PIXEL_IS_SIGNED
typedef int Number;
#else
typedef unsigned Number;
#endif
__device__ double pixel_as_double(Number raw) {
#if PIXEL_IS_FLOAT
    return raw;
#else
    return as_double(raw);
#endif
}

struct Run {
    Word s, v;

    __device__ void add(Number raw, float share) {
#if SHARED_PIXELS
        const double c = as_double(share), part = c * pixel_as_double(raw);
        s += part;
#if POISSON
        v += c * (raw > 1 ? part : c);
#endif
#elif TWO_WORDS
        s += raw;
        v += raw > 1 ? raw : (Number)1;
#elif POISSON && !PIXEL_IS_SIGNED
        // The low and the high word apart: the compiler then selects one word and adds two with carry.
        s += ZEROS_AT == 48 ? (Word)((u64)(raw == 0 ? 1u << (ZEROS_AT - 32 & 31) : 0u) << 32 | raw)
                            : (Word)(raw == 0 ? 1u << (ZEROS_AT & 31) : raw);
#else
        s += raw;
#endif
    }
};

#if TWO_WORDS
struct __align__(2 * sizeof(Word)) Slot {
    Word s, v;
};
#else
struct Slot {
    Word s;
};
#endif

__device__ void add_slot(const Slot &slot, double &s, double &v) {
#if TWO_WORDS
    s += (double)slot.s;
    v += (double)slot.v;
#elif POISSON
    const Word counts = slot.s & (((Word)1 << ZEROS_AT) - 1);
    s += (double)counts;
    v += (double)(counts + (slot.s >> ZEROS_AT));
#else
    s += (double)slot.s;
#endif
}

// ---- the kernels -------------------------------------------------------------------------------------------------

// Block: a piece of FRAMES frames, `piece * groups + group`.
// offsets, shape (tiles, ENTRIES / 2, THREADS): for two entries of a thread 4 times the number of the pixel in the tile.
// shares, shape (tiles, ENTRIES, THREADS). ends, counted, shape (tiles, THREADS): bit j says whether a run ends with
// entry j, and whether entry j is the one by which its pixel is counted. first_slots, shape (tiles, THREADS).
// The bins of tile t are tile_bins[bin_starts[t]] up to tile_bins[bin_starts[t + 1]]; their slots are those from
// bin_slots (low half) up to bin_slots (high half).
// Output: sums, shape (n_frames, n_pieces, n_bins, POISSON ? 2 : 1): S, V; invalid[frame] is set if there are any.
extern "C" __global__ void __launch_bounds__(THREADS + ADDERS, 1) scatter(
    const PIXEL *__restrict__ frames, int n_frames, long long n_pixels, int n_bins, int n_tiles, int tiles_of_piece,
    int n_pieces, const unsigned *__restrict__ offsets, const float *__restrict__ shares,
    const unsigned *__restrict__ ends, const unsigned *__restrict__ counted,
    const unsigned short *__restrict__ first_slots, const int *__restrict__ bin_starts,
    const int *__restrict__ tile_bins, const unsigned *__restrict__ bin_slots, unsigned lowest, unsigned span,
    double dummy, double delta, double *__restrict__ sums, int *__restrict__ invalid, u64 *__restrict__ negative) {
    constexpr unsigned stage_bytes = (TILE * PIXEL_BYTES + 32 + 127) / 128 * 128;
    constexpr int parts = POISSON ? 2 : 1;
#ifdef FRIEDEL_EMULATED
    unsigned char *const memory = (unsigned char *)emulation::dynamic_shared();
#else
    extern __shared__ __align__(128) unsigned char memory[];
#endif
    unsigned char *const stages = memory;
    double *const accumulators = (double *)(memory + STAGES * stage_bytes);  // (FRAMES, n_bins, parts)
    Slot *const slots = (Slot *)(accumulators + (long long)FRAMES * parts * n_bins + (FRAMES * parts * n_bins & 1));
    __shared__ u64 barriers[STAGES];
    __shared__ int below_zero[FRAMES];

    const int groups = (n_frames + FRAMES - 1) / FRAMES;
    const int piece = blockIdx.x / groups, first_frame = (blockIdx.x % groups) * FRAMES;
    const int frames_here = min(FRAMES, n_frames - first_frame);
    const int first_tile = piece * tiles_of_piece, last_tile = min(first_tile + tiles_of_piece, n_tiles);
    const int thread = threadIdx.x;

    for (int i = thread; i < FRAMES * parts * n_bins; i += THREADS + ADDERS) accumulators[i] = 0;
    if (thread < FRAMES) below_zero[thread] = 0;
    int copied_tile = first_tile, copied_frame = 0, copied_stage = 0;  // what the first adder copies next
    const auto copy_next = [&] {
        if (copied_tile >= last_tile) return;
        const Span from = span_of(frames, n_frames, n_pixels, first_frame + copied_frame, copied_tile);
        copy_tile(stages + copied_stage * stage_bytes, from.low, (unsigned)(from.high - from.low),
                  barriers + copied_stage);
        copied_stage = copied_stage + 1 == STAGES ? 0 : copied_stage + 1;
        if (++copied_frame == frames_here) copied_frame = 0, ++copied_tile;
    };
    if (thread == THREADS) {
        for (int stage = 0; stage < STAGES; ++stage) barrier_init(barriers + stage);
        fence_barriers();
        for (int stage = 0; stage < STAGES; ++stage) copy_next();
    }
    __syncthreads();

    const int turns = (last_tile - first_tile) * frames_here;
    int turn = 0;
    if (thread >= THREADS) {
        const int adder = thread - THREADS;
        for (int tile = first_tile; tile < last_tile; ++tile) {
            const int bin_start = bin_starts[tile], bin_end = bin_starts[tile + 1];
            int my_bins[BINS_OF_ADDER];
            unsigned my_slots[BINS_OF_ADDER];
#pragma unroll
            for (int m = 0; m < BINS_OF_ADDER; ++m) {
                const int at = bin_start + m * ADDERS + adder;
                my_bins[m] = at < bin_end ? tile_bins[at] : -1;
                my_slots[m] = at < bin_end ? bin_slots[at] : 0;
            }
#pragma unroll 1
            for (int frame = 0; frame < frames_here; ++frame, ++turn) {
                meet(WRITTEN + turn % 2, THREADS + ADDERS);
                if (adder == 0) copy_next();  // the tile has been read
                const Slot *const of_turn = slots + turn % 2 * SLOTS;
#pragma unroll
                for (int m = 0; m < BINS_OF_ADDER; ++m) {
                    if (my_bins[m] < 0) continue;
                    double *const at = accumulators + ((long long)frame * n_bins + my_bins[m]) * parts;
                    double s = at[0], v = 0;
                    if (POISSON) v = at[parts - 1];
                    for (unsigned i = my_slots[m] & 0xffffu; i < my_slots[m] >> 16; ++i) add_slot(of_turn[i], s, v);
                    at[0] = s;
                    if (POISSON) at[parts - 1] = v;
                }
                if (turn + 2 < turns) arrive(ADDED + turn % 2, THREADS + ADDERS);
            }
        }
    } else {
        int stage = 0;
        unsigned parity = 0;
#if CHECKED
        unsigned has_invalid = 0;  // a bit for each frame
#endif
        for (int tile = first_tile; tile < last_tile; ++tile) {
            unsigned my_offsets[ENTRIES / 2];
#pragma unroll
            for (int j = 0; j < ENTRIES / 2; ++j)
                my_offsets[j] = offsets[((long long)tile * (ENTRIES / 2) + j) * THREADS + thread];
#if SHARED_PIXELS
            float my_shares[ENTRIES];
#pragma unroll
            for (int j = 0; j < ENTRIES; ++j) my_shares[j] = shares[((long long)tile * ENTRIES + j) * THREADS + thread];
#endif
            const unsigned my_ends = ends[(long long)tile * THREADS + thread];
#if PIXEL_IS_SIGNED
            const unsigned my_counted = counted[(long long)tile * THREADS + thread];
#endif
            const int my_slot = first_slots[(long long)tile * THREADS + thread];
#pragma unroll 1
            for (int frame = 0; frame < frames_here; ++frame, ++turn) {
                if (turn >= 2) meet(ADDED + turn % 2, THREADS + ADDERS);  // the slots are free again
                barrier_wait(barriers + stage, parity);
                const Span from = span_of(frames, n_frames, n_pixels, first_frame + frame, tile);
                unsigned char *const tile_memory = stages + stage * stage_bytes;
                if (from.rest) {  // of the last frame's last tile, if at all
                    unsigned char *const to = tile_memory + (from.high - from.low);
                    if (thread < from.rest) to[thread] = from.high[thread];
                    fence_copies();
                    meet(REST_COPIED, THREADS);
                }
                const unsigned char *const pixels = tile_memory + from.shift;
                Slot *slot = slots + turn % 2 * SLOTS + my_slot;
                Run run = {};
                int below = 0;
PIXEL raws[2][BATCH];
                const auto read = [&](int batch) {
#pragma unroll
                    for (int k = 0; k < BATCH; ++k) {
                        const int j = batch + k;
                        if (j >= ENTRIES) break;
                        const unsigned offset = j % 2 ? my_offsets[j / 2] >> 16 : my_offsets[j / 2] & 0xffffu;
                        raws[batch / BATCH % 2][k] = *(const PIXEL *)(pixels + offset / (4 / PIXEL_BYTES));
                    }
                };
                read(0);
#pragma unroll
                for (int batch = 0; batch < ENTRIES; batch += BATCH) {
                    if (batch + BATCH < ENTRIES) read(batch + BATCH);
#pragma unroll
                    for (int k = 0; k < BATCH; ++k) {
                        const int j = batch + k;
                        if (j >= ENTRIES) break;
                        const PIXEL raw = raws[batch / BATCH % 2][k];
#if SHARED_PIXELS
                        const float share = my_shares[j];
#else
                        const float share = 1;
#endif
#if CHECKED
                        const bool valid = is_valid(raw, lowest, span, dummy, delta);
                        has_invalid |= valid ? 0 : 1u << frame;
#else
                        const bool valid = true;
#endif
                        if (valid) run.add(raw, share);
#if PIXEL_IS_SIGNED
                        below += valid && raw < 0 && (my_counted >> j & 1);
#endif
                        if (my_ends >> j & 1) {
                            slot->s = run.s;
#if TWO_WORDS
                            slot->v = run.v;
#endif
                            ++slot;
                            run = {};
                        }
                    }
                }
                if (below) atomicAdd(below_zero + frame, below);
                arrive(WRITTEN + turn % 2, THREADS + ADDERS);
                if (++stage == STAGES) stage = 0, parity ^= 1;
            }
        }
#if CHECKED
        for (int frame = 0; frame < frames_here; ++frame)
            if (has_invalid >> frame & 1) invalid[first_frame + frame] = 1;
#endif
    }
    __syncthreads();
    for (int frame = 0; frame < frames_here; ++frame) {
        double *const to = sums + ((long long)(first_frame + frame) * n_pieces + piece) * parts * n_bins;
        for (int i = thread; i < parts * n_bins; i += THREADS + ADDERS)
            to[i] = accumulators[(long long)frame * parts * n_bins + i];
    }
#if PIXEL_IS_SIGNED
    if (thread < frames_here && below_zero[thread])
        atomicAdd(negative + first_frame + thread, (u64)below_zero[thread]);
#endif
}

// Adds the pieces of each frame, in their order. The constants of the dark are taken out unless pixels may be invalid
// (then `normalize` in gather.cu does it). constants, shape (7, n_bins), as there.
extern "C" __global__ void merge(const double *__restrict__ sums, int n_frames, int n_pieces, int n_bins,
                                 const double *__restrict__ constants, int subtract_dark, int add_dark_variance,
                                 double *__restrict__ signal, double *__restrict__ spread) {
    constexpr int parts = POISSON ? 2 : 1;
    const long long step = (long long)gridDim.x * blockDim.x, values = (long long)n_frames * n_bins;
    for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < values; at += step) {
        const long long frame = at / n_bins, bin = at - frame * n_bins;
        const double *from = sums + frame * n_pieces * parts * n_bins + bin * parts;
        double s = 0, v = 0;
        for (int piece = 0; piece < n_pieces; ++piece, from += (long long)parts * n_bins) {
            s += from[0];
            if (POISSON) v += from[parts - 1];
        }
        signal[at] = subtract_dark ? s - constants[4LL * n_bins + bin] : s;
        if (POISSON) spread[at] = add_dark_variance ? v + constants[5LL * n_bins + bin] : v;
    }
}
