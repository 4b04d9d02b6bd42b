// Sums over bins without outliers: the twin of `reference_clip` in ../clip.py, which says what is computed.
//
// A group of threads has one bin of one frame: it reads the bin's pixels once, keeps them in shared memory, and does
// all rounds there. Sums are added in one fixed order. A pixel x = s/w lies beyond the limit if |s - mean w| > limit |w|.
//
// The loader defines
//   PIXEL, PIXEL_IS_FLOAT, PIXEL_IS_SIGNED    type of the frames
//   MODEL                 0 azimuthal, 1 poisson, 2 variance, 3 hybrid
//   GROUP, THREADS        threads for a bin; of a block. Either a power of two up to 32, or GROUP = THREADS
//   CACHED                entries of a bin that are kept in shared memory; of larger bins none are
//   SHARED_PIXELS, WEIGHTED, DARK, DARK_VARIANCE     whether entries carry c, w, dark, dark variance
//   MARKED                whether a value marks invalid pixels

#define AZIMUTHAL 0
#define GIVEN_VARIANCE 2
#define HYBRID 3
#define BY_RING (MODEL == AZIMUTHAL || MODEL == HYBRID)
#define GROUPS (THREADS / GROUP)
#define KEEP_WORDS ((CACHED + 32 * GROUP - 1) / (32 * GROUP) * GROUP)
#define BATCH 8

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

// Adds N values over the threads of a group; each gets the sums. `turn` alternates between two places for them.
template <int N>
__device__ void sum_of_group(double (&values)[N], double *memory, int &turn) {
#pragma unroll
    for (int i = 0; i < N; ++i)
        for (int distance = (GROUP < 32 ? GROUP : 32) / 2; distance > 0; distance /= 2)
            values[i] += __shfl_xor_sync(0xffffffffu, values[i], distance);
#if GROUP > 32
    double *const place = memory + turn * (GROUP / 32) * 6;
    turn ^= 1;
    if (threadIdx.x % 32 == 0)
        for (int i = 0; i < N; ++i) place[threadIdx.x / 32 * N + i] = values[i];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; ++i) {
        values[i] = 0;
        for (int warp = 0; warp < GROUP / 32; ++warp) values[i] += place[warp * N + i];
    }
#endif
}

// Whether any group that shares this thread's barriers has something left to do.
__device__ bool any_of_neighbours(bool mine) {
#if GROUP >= 32
    return mine;  // the same for the whole group
#else
    return __any_sync(0xffffffffu, mine);
#endif
}

// Arrays by entry, sorted by bin: pixels (the highest bit marks the one entry by which a pixel is counted), shares,
// weights, dark, dark_variance. keep_starts: where the bits of a large bin start in a frame's keep_words words of
// `keep`. Outputs, shape (n_frames, n_bins).
extern "C" __global__ void __launch_bounds__(THREADS, 1024 / THREADS) clip(
    const PIXEL *__restrict__ frames, int n_frames, long long n_pixels, int n_bins, const long long *__restrict__ starts,
    const unsigned *__restrict__ pixels, const float *__restrict__ shares, const float *__restrict__ weights,
    const double *__restrict__ dark, const double *__restrict__ dark_variance, const double *__restrict__ variance,
    long long variance_stride, unsigned lowest, unsigned span, double dummy, double delta, double threshold,
    int iterations, const long long *__restrict__ keep_starts, long long keep_words, unsigned *__restrict__ keep,
    double *__restrict__ signal, double *__restrict__ normalization, double *__restrict__ normalization_squared,
    double *__restrict__ count, double *__restrict__ spread, double *__restrict__ rejected,
    unsigned long long *__restrict__ negative) {
#ifdef FRIEDEL_EMULATED
    unsigned char *const memory = (unsigned char *)emulation::dynamic_shared();
#else
    extern __shared__ __align__(16) unsigned char memory[];
#endif
    __shared__ double partial[GROUP > 32 ? 2 * (GROUP / 32) * 6 : 1];
    const int group = threadIdx.x / GROUP, lane = threadIdx.x % GROUP;
    PIXEL *const my_raws = (PIXEL *)memory + group * CACHED;
    unsigned char *free_memory = memory + (GROUPS * CACHED * sizeof(PIXEL) + 15) / 16 * 16;
    unsigned *const my_keep = (unsigned *)free_memory + group * KEEP_WORDS;
    free_memory += (GROUPS * KEEP_WORDS * 4 + 15) / 16 * 16;
    float *const my_weights = (float *)free_memory + group * CACHED;
    if (WEIGHTED) free_memory += GROUPS * CACHED * 4;
    float *const my_shares = (float *)free_memory + group * CACHED;

    const long long blocks_of_frame = (n_bins + GROUPS - 1) / GROUPS;
    const long long frame = blockIdx.x / blocks_of_frame;
    const int bin = (int)(blockIdx.x % blocks_of_frame) * GROUPS + group;
    const bool has_bin = bin < n_bins;  // every thread stays, for the sums
    const long long begin = has_bin ? starts[bin] : 0;
    const int length = has_bin ? (int)(starts[bin + 1] - begin) : 0;
    const bool cached = length <= CACHED;
    const PIXEL *const my_frame = frames + frame * n_pixels;
    unsigned *const bits = cached ? my_keep : keep + frame * keep_words + keep_starts[bin];
    int turn = 0;

    struct Entry {
        double s, w, c, v;
    };
    const auto entry = [&](int e, bool with_variance) {
        Entry it;
        const long long at = begin + e;
        const double raw = cached ? my_raws[e] : my_frame[pixels[at] & 0x7fffffffu];
        it.s = DARK ? raw - dark[at] : raw;
        it.w = WEIGHTED ? (cached ? my_weights[e] : weights[at]) : 1.0f;
        it.c = SHARED_PIXELS ? (cached ? my_shares[e] : shares[at]) : 1.0f;
        it.v = raw > 1 ? raw : 1.0;
#if MODEL == GIVEN_VARIANCE
        if (with_variance) it.v = variance[frame * variance_stride + (pixels[at] & 0x7fffffffu)];
#endif
        if (DARK_VARIANCE) it.v += dark_variance[at];
        return it;
    };
    // Calls act(entry) for the kept entries; those for which it returns false are not kept any longer.
    const auto each = [&](bool with_variance, auto act) {
        for (int word = 0; word * 32 * GROUP < length; ++word) {
            const unsigned before = bits[word * GROUP + lane];
            unsigned after = before;
            for (int bit = 0; bit < 32; ++bit) {
                const int e = (word * 32 + bit) * GROUP + lane;
                if (e >= length) break;
                if ((before >> bit & 1) && !act(entry(e, with_variance))) after &= ~(1u << bit);
            }
            if (after != before) bits[word * GROUP + lane] = after;
        }
    };

    // Read the pixels.
    int below = 0;
    for (int word = 0; word * 32 * GROUP < length; ++word) {
        unsigned kept = 0;
#pragma unroll
        for (int batch = 0; batch < 32; batch += BATCH) {
            unsigned tagged[BATCH];
            PIXEL raws[BATCH];
#pragma unroll
            for (int k = 0; k < BATCH; ++k) {
                const int e = (word * 32 + batch + k) * GROUP + lane;
                tagged[k] = e < length ? pixels[begin + e] : 0;
            }
#pragma unroll
            for (int k = 0; k < BATCH; ++k) {
                const int e = (word * 32 + batch + k) * GROUP + lane;
                raws[k] = e < length ? my_frame[tagged[k] & 0x7fffffffu] : (PIXEL)0;
            }
#pragma unroll
            for (int k = 0; k < BATCH; ++k) {
                const int e = (word * 32 + batch + k) * GROUP + lane;
                if (e >= length) break;
                bool valid = is_valid(raws[k], lowest, span, dummy, delta);
#if MODEL == GIVEN_VARIANCE
                const double v = variance[frame * variance_stride + (tagged[k] & 0x7fffffffu)];
                valid = valid && v - v == 0;
#endif
                kept |= (unsigned)valid << (batch + k);
#if PIXEL_IS_SIGNED
                below += valid && raws[k] < 0 && tagged[k] >> 31;
#endif
                if (cached) {
                    my_raws[e] = raws[k];
                    if (WEIGHTED) my_weights[e] = weights[begin + e];
                    if (SHARED_PIXELS) my_shares[e] = shares[begin + e];
                }
            }
        }
        bits[word * GROUP + lane] = kept;
    }

    // S, N, N2, n, V of the counts, and what has just been dropped.
    double sums[6] = {}, dropped = 0;
    const auto add = [&](const Entry &it) {
        const double weight = it.c * it.w;
        sums[0] += it.c * it.s;
        sums[1] += weight;
        sums[2] += weight * weight;
        sums[3] += it.c;
        if (MODEL != AZIMUTHAL) sums[4] += it.c * it.c * it.v;
    };
    each(true, [&](const Entry &it) {
        add(it);
        return true;
    });
    sum_of_group(sums, partial, turn);

    double ring[2];  // V of the ring about the mean, and the shares that lie beyond the limit of the counts
    const auto measure = [&](double mean, double limit) {
        ring[0] = ring[1] = 0;
        each(false, [&](const Entry &it) {
            const double difference = it.s - mean * it.w, part = it.c * difference;
            ring[0] += part * part;
            if (!BY_RING && fabs(difference) > limit * fabs(it.w)) ring[1] += it.c;
            return true;
        });
        sum_of_group(ring, partial, turn);
    };
    bool ring_is_of_sums = false;
    for (int round = 0; round < iterations; ++round) {
        const double mean = sums[0] / sums[1];
        const double expected = sqrt(2 * log(fmax(sums[3], 3.0) / 2.5066282746310002));  // sqrt(2 pi)
        const double factor = fmax(threshold, expected), of_counts = factor * sqrt(sums[4] / sums[2]);
        measure(mean, of_counts);
        const double of_ring = factor * sqrt(ring[0] / sums[2]);
        const double limit = BY_RING || ring[1] > sums[3] / 2 ? of_ring : of_counts;
        for (double &sum : sums) sum = 0;
        each(true, [&](const Entry &it) {
            if (fabs(it.s - mean * it.w) > limit * fabs(it.w)) {
                sums[5] += it.c;
                return false;
            }
            add(it);
            return true;
        });
        sum_of_group(sums, partial, turn);
        dropped += sums[5];
        ring_is_of_sums = !any_of_neighbours(sums[5] != 0);
        if (ring_is_of_sums) break;
    }
    if (MODEL == AZIMUTHAL && !ring_is_of_sums) measure(sums[0] / sums[1], 0);

    if (has_bin && lane == 0) {
        const long long at = frame * n_bins + bin;
        signal[at] = sums[0];
        normalization[at] = sums[1];
        normalization_squared[at] = sums[2];
        count[at] = sums[3];
        spread[at] = MODEL == AZIMUTHAL ? ring[0] : sums[4];
        rejected[at] = dropped;
    }
    if (below) atomicAdd(negative + frame, (unsigned long long)below);
}
