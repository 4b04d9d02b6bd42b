// From sums over bins to intensities and their errors: the device's twin of `patterns_of` in techniques/integration.

__device__ float ratio(double above, double below, float empty) {
    return below != 0 ? static_cast<float>(above / below) : empty;
}

// shared_row: whether all frames share one row of the normalization and its square.
// factor, shape (n_frames,), errors and deviations may be null.
extern "C" __global__ void divide(const double *__restrict__ signal, const double *__restrict__ variance,
                                  const double *__restrict__ normalization,
                                  const double *__restrict__ normalization_squared, const double *__restrict__ factor,
                                  int shared_row, long long n_bins, long long n_values, float empty,
                                  float *__restrict__ intensity, float *__restrict__ errors,
                                  float *__restrict__ deviations) {
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < n_values; at += step) {
        const long long frame = at / n_bins, of_map = shared_row ? at - frame * n_bins : at;
        const double scale = factor ? factor[frame] : 1.0, norm = normalization[of_map] * scale;
        intensity[at] = ratio(signal[at], norm, empty);
        if (errors) errors[at] = ratio(sqrt(variance[at]), norm, empty);
        // The factor of the frame belongs to every w of the bin, and so does its square to the squares.
        if (deviations)
            deviations[at] = ratio(sqrt(variance[at]), sqrt(normalization_squared[of_map]) * fabs(scale), empty);
    }
}

// Sum of the counts of each frame over the whole, one block for a frame; blockDim.x is a power of two. What a robust
// estimator left out was valid; rejected may be null.
extern "C" __global__ void fraction(const double *__restrict__ count, const double *__restrict__ rejected, long long n_bins, double whole,
                                    float *__restrict__ valid) {
    __shared__ double sums[256];
    double sum = 0;
    for (long long bin = threadIdx.x; bin < n_bins; bin += blockDim.x) {
        sum += count[blockIdx.x * n_bins + bin];
        if (rejected) sum += rejected[blockIdx.x * n_bins + bin];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) valid[blockIdx.x] = static_cast<float>(sums[0] / whole);
}
