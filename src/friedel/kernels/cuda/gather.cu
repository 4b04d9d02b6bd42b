// Sums of pixels over bins, one group of lanes for each bin: every lane reads its share of the bin's pixels wherever
// they lie in the frame, and the lanes' sums are added in one fixed order. No two threads add to the same place, so
// the result does not depend on scheduling. The semantics are those of `reference_scatter` in ../scatter.py.
//
// The loader defines
//   PIXEL, PIXEL_IS_FLOAT, PIXEL_IS_SIGNED   type of the frames
//   MODEL                                    0 none, 1 poisson, 2 variance, 3 azimuthal
//   LANES                                    threads for a bin, a power of two up to 32
//   FRAMES                                   frames that share one reading of the map
//   SHARED_PIXELS                            whether the entries carry shares c (otherwise c = 1)
//   WEIGHTED, DARK, DARK_VARIANCE            whether there are w, dark, dark variance (otherwise 1, 0, 0)
//   CHECKED                                  whether pixels can be invalid
//   MARKED                                   whether a value marks invalid pixels

#define POISSON 1
#define GIVEN_VARIANCE 2
#define AZIMUTHAL 3

// What invalid pixels are, what the map is, and the images that belong to it.
__device__ bool is_valid(PIXEL raw, unsigned int lowest, unsigned int span, double dummy, double delta) {
#if PIXEL_IS_FLOAT
    const double value = raw;
    if (!(value - value == 0)) return false;
#if MARKED
    if (fabs(value - dummy) <= delta) return false;
#endif
#elif MARKED
    if (static_cast<unsigned int>(static_cast<int>(raw)) - lowest <= span) return false;
#endif
    return true;
}

__device__ double sum_of_lanes(double value) {
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

// entries: the pixels of bin b are pixels[starts[b]] up to pixels[starts[b + 1]]; the highest bit marks the one entry
// by which a pixel is counted.
// constants, shape (7, n_bins): sums over all pixels of c w, (c w)^2, c, 1, c dark, c^2 dark_variance, c^2.
// Outputs have shape (n_frames, n_bins); those of the normalization, its square and the count only if CHECKED.
extern "C" __global__ void __launch_bounds__(256) gather(
    const PIXEL *__restrict__ frames, int n_frames, long long n_pixels, int n_bins, const long long *__restrict__ starts,
    const unsigned int *__restrict__ pixels, const float *__restrict__ shares, const float *__restrict__ weights,
    const double *__restrict__ dark, const double *__restrict__ dark_variance, const double *__restrict__ variance,
    long long variance_stride, unsigned int lowest, unsigned int span, double dummy, double delta,
    const double *__restrict__ constants, double *__restrict__ signal, double *__restrict__ spread,
    double *__restrict__ normalization, double *__restrict__ normalization_squared, double *__restrict__ count,
    unsigned long long *__restrict__ negative) {
    const int bins_of_block = blockDim.x / LANES;
    const int blocks_of_frame = (n_bins + bins_of_block - 1) / bins_of_block;
    const int lane = threadIdx.x % LANES;
    const int bin = (blockIdx.x % blocks_of_frame) * bins_of_block + threadIdx.x / LANES;
    const int first_frame = (blockIdx.x / blocks_of_frame) * FRAMES;
    const bool has_bin = bin < n_bins;  // every lane stays, for the shuffles
    const long long begin = has_bin ? starts[bin] : 0, end = has_bin ? starts[bin + 1] : 0;

    long long frame_start[FRAMES];
    double s[FRAMES] = {}, v[FRAMES] = {};
    int below[FRAMES] = {};
#if CHECKED
    double n[FRAMES] = {}, n2[FRAMES] = {}, c1[FRAMES] = {};
#endif
#pragma unroll
    for (int f = 0; f < FRAMES; ++f) frame_start[f] = min(first_frame + f, n_frames - 1) * n_pixels;

    for (long long entry = begin + lane; entry < end; entry += LANES) {
        const unsigned int tagged = pixels[entry], pixel = tagged & 0x7fffffffu;
        const double c = SHARED_PIXELS ? shares[entry] : 1.0;
        const double w = WEIGHTED ? weights[pixel] : 1.0;
        PIXEL raws[FRAMES];
#pragma unroll
        for (int f = 0; f < FRAMES; ++f) raws[f] = frames[frame_start[f] + pixel];
#pragma unroll
        for (int f = 0; f < FRAMES; ++f) {
            const double raw = raws[f];
            bool valid = !CHECKED || is_valid(raws[f], lowest, span, dummy, delta);
            double of_pixel = 0;
            if (MODEL == POISSON) of_pixel = raw > 1 ? raw : 1.0;
#if MODEL == GIVEN_VARIANCE
            of_pixel = variance[min(first_frame + f, n_frames - 1) * variance_stride + pixel];
            valid = valid && of_pixel - of_pixel == 0;
#endif
            if (valid) {
#if CHECKED
                s[f] += c * (DARK ? raw - dark[pixel] : raw);
                if (DARK_VARIANCE) of_pixel += dark_variance[pixel];
                n[f] += c * w;
                n2[f] += c * w * (c * w);
                c1[f] += c;
#else
                s[f] += c * raw;
#endif
                v[f] += c * c * of_pixel;
                if (PIXEL_IS_SIGNED) below[f] += (tagged >> 31) && raw < 0;
            }
        }
    }
#pragma unroll
    for (int f = 0; f < FRAMES; ++f) {
        s[f] = sum_of_lanes(s[f]);
        v[f] = sum_of_lanes(v[f]);
#if CHECKED
        n[f] = sum_of_lanes(n[f]);
        n2[f] = sum_of_lanes(n2[f]);
        c1[f] = sum_of_lanes(c1[f]);
#else
        if (DARK && has_bin) s[f] -= constants[4LL * n_bins + bin];
        if (DARK_VARIANCE && has_bin) v[f] += constants[5LL * n_bins + bin];
#endif
    }
#if MODEL == AZIMUTHAL
    // V = sum of c^2 (s - I w)^2, about the mean that is known now.
    double mean[FRAMES];
#pragma unroll
    for (int f = 0; f < FRAMES; ++f) {
#if CHECKED
        const double of_bin = n[f];
#else
        const double of_bin = has_bin ? constants[bin] : 0;
#endif
        mean[f] = of_bin != 0 ? s[f] / of_bin : 0;
        v[f] = 0;
    }
    for (long long entry = begin + lane; entry < end; entry += LANES) {
        const unsigned int pixel = pixels[entry] & 0x7fffffffu;
        const double c = SHARED_PIXELS ? shares[entry] : 1.0;
        const double w = WEIGHTED ? weights[pixel] : 1.0;
        const double offset = DARK ? dark[pixel] : 0.0;
#pragma unroll
        for (int f = 0; f < FRAMES; ++f) {
            const PIXEL raw = frames[frame_start[f] + pixel];
            const double difference = c * ((raw - offset) - mean[f] * w);
            if (!CHECKED || is_valid(raw, lowest, span, dummy, delta)) v[f] += difference * difference;
        }
    }
#pragma unroll
    for (int f = 0; f < FRAMES; ++f) v[f] = sum_of_lanes(v[f]);
#endif
#pragma unroll
    for (int f = 0; f < FRAMES; ++f) {
        const bool writes = has_bin && lane == 0 && first_frame + f < n_frames;
        const long long at = (long long)(first_frame + f) * n_bins + bin;
        if (writes) {
            signal[at] = s[f];
            if (MODEL) spread[at] = v[f];
#if CHECKED
            normalization[at] = n[f];
            normalization_squared[at] = n2[f];
            count[at] = c1[f];
#endif
        }
#if PIXEL_IS_SIGNED
        if (below[f] && first_frame + f < n_frames) atomicAdd(negative + first_frame + f, (unsigned long long)below[f]);
#endif
    }
}

#if CHECKED
// The normalization, its square and the count of frames summed by `scatter`: shared by all frames without invalid
// pixels, summed over the valid pixels of the others; and the dark goes out of the signal, its variance to the spread.
extern "C" __global__ void __launch_bounds__(256) normalize(
    const PIXEL *__restrict__ frames, int n_frames, long long n_pixels, int n_bins, const long long *__restrict__ starts,
    const unsigned int *__restrict__ pixels, const float *__restrict__ shares, const float *__restrict__ weights,
    const double *__restrict__ dark, const double *__restrict__ dark_variance, unsigned int lowest, unsigned int span,
    double dummy, double delta, const double *__restrict__ constants, const int *__restrict__ invalid,
    double *__restrict__ signal, double *__restrict__ spread, double *__restrict__ normalization,
    double *__restrict__ normalization_squared, double *__restrict__ count) {
    const int bins_of_block = blockDim.x / LANES;
    const int blocks_of_frame = (n_bins + bins_of_block - 1) / bins_of_block;
    const int lane = threadIdx.x % LANES;
    const int bin = (blockIdx.x % blocks_of_frame) * bins_of_block + threadIdx.x / LANES;
    const int frame = blockIdx.x / blocks_of_frame;
    const bool has_bin = bin < n_bins;
    double n = 0, n2 = 0, c1 = 0, d = 0, dv = 0;
    if (!invalid[frame]) {
        if (has_bin) {
            n = constants[bin];
            n2 = constants[1LL * n_bins + bin];
            c1 = constants[2LL * n_bins + bin];
            d = constants[4LL * n_bins + bin];
            dv = constants[5LL * n_bins + bin];
        }
    } else {
        const long long end = has_bin ? starts[bin + 1] : 0;
        for (long long entry = (has_bin ? starts[bin] : 0) + lane; entry < end; entry += LANES) {
            const unsigned int pixel = pixels[entry] & 0x7fffffffu;
            const double c = SHARED_PIXELS ? shares[entry] : 1.0;
            const double w = WEIGHTED ? weights[pixel] : 1.0;
            if (!is_valid(frames[frame * n_pixels + pixel], lowest, span, dummy, delta)) continue;
            n += c * w;
            n2 += c * w * (c * w);
            c1 += c;
            if (DARK) d += c * dark[pixel];
            if (DARK_VARIANCE) dv += c * c * dark_variance[pixel];
        }
        n = sum_of_lanes(n);
        n2 = sum_of_lanes(n2);
        c1 = sum_of_lanes(c1);
        if (DARK) d = sum_of_lanes(d);
        if (DARK_VARIANCE) dv = sum_of_lanes(dv);
    }
    if (!has_bin || lane) return;
    const long long at = (long long)frame * n_bins + bin;
    normalization[at] = n;
    normalization_squared[at] = n2;
    count[at] = c1;
    if (DARK) signal[at] -= d;
    if (DARK_VARIANCE && spread) spread[at] += dv;
}
#endif
