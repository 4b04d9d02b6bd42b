// From a tile of numbers to sums over bins.
// Part of scatter_kernels.hpp, and like it of internal linkage.
#pragma once
#include "scatter_elements.hpp"

namespace friedel {
namespace {
// Variances of the pixels: max(1, signal) for counts, or as given.
template <int Lanes, ErrorModel Model>
inline Vector<Lanes> variance_of(Vector<Lanes> signal, const double *variance, int pixel) {
    if constexpr (Model == ErrorModel::poisson) {
        const Vector<Lanes> one = Vector<Lanes>{} + 1.0;
        return signal > one ? signal : one;
    }
    if constexpr (Model == ErrorModel::variance) return reinterpret_cast<const Vector<Lanes> *>(variance)[pixel];
    return signal;
}

// Add c s to S and c^2 v to V of one bin.
template <int Lanes, ErrorModel Model>
inline void add(Vector<Lanes> *sums, double c, Vector<Lanes> signal, Vector<Lanes> variance) {
    if constexpr (Lanes == 1 && Model != ErrorModel::none) {  // one vector of both
        using Pair = Vector<2>;
        *reinterpret_cast<Pair *>(sums) += Pair{signal, variance} * Pair{c, c * c};
    } else {
        sums[0] += signal * c;
        if constexpr (Model != ErrorModel::none) sums[1] += variance * (c * c);
    }
}

// The same for a pixel that lies in one bin.
template <int Lanes, ErrorModel Model>
inline void add_whole(Vector<Lanes> *sums, Vector<Lanes> signal, Vector<Lanes> variance) {
    if constexpr (Lanes == 1 && Model != ErrorModel::none) {
        using Pair = Vector<2>;
        *reinterpret_cast<Pair *>(sums) += Pair{signal, variance};
    } else {
        sums[0] += signal;
        if constexpr (Model != ErrorModel::none) sums[1] += variance;
    }
}

// Bins: consecutive bins of each pixel; 0 stands for one bin of weight 1, -1 for `n_bins`.
template <int Lanes, ErrorModel Model, int Bins, class Index>
inline void scatter_tile(const double *__restrict signal, const double *__restrict variance, const Index *__restrict first,
                         const float *__restrict weights, int n_bins, double *__restrict sums) {
    using V = Vector<Lanes>;
    constexpr int n = Model == ErrorModel::none ? 1 : 2;
    const int count = Bins < 0 ? n_bins : Bins;
    for (int t = 0; t < tile_stride; ++t)
        for (int stream = 0; stream < tile_streams; ++stream) {
            const int place = t * tile_streams + stream, pixel = stream * tile_stride + t;
            const V s = reinterpret_cast<const V *>(signal)[pixel];
            const V v = variance_of<Lanes, Model>(s, variance, pixel);
            V *bin = reinterpret_cast<V *>(sums) + static_cast<size_t>(first[place]) * n;
            if constexpr (Bins == 0) {
                add_whole<Lanes, Model>(bin, s, v);
            } else {
                for (int k = 0; k < count; ++k) add<Lanes, Model>(bin + k * n, weights[place * count + k], s, v);
            }
        }
}

template <int Lanes, ErrorModel Model>
inline void scatter_extras(Plan plan, int64_t tile, const double *signal, const double *variance, double *sums) {
    using V = Vector<Lanes>;
    constexpr int n = Model == ErrorModel::none ? 1 : 2;
    for (int64_t e = plan.extra_pointers[tile]; e < plan.extra_pointers[tile + 1]; ++e) {
        const int pixel = plan.extra_pixels[e];
        const V s = reinterpret_cast<const V *>(signal)[pixel];
        const V v = variance_of<Lanes, Model>(s, variance, pixel);
        add<Lanes, Model>(reinterpret_cast<V *>(sums) + static_cast<size_t>(plan.extra_bins[e]) * n, plan.extra_weights[e], s, v);
    }
}

template <int Lanes, ErrorModel Model, class Index>
inline void scatter_tile(const Plan &plan, int64_t tile, const double *signal, const double *variance, double *sums) {
    const Index *first = static_cast<const Index *>(plan.first) + tile * tile_pixels;
    if (plan.unit) return scatter_tile<Lanes, Model, 0>(signal, variance, first, nullptr, 0, sums);
    const float *weights = plan.weights + plan.tile_weights[tile];
    const int n = plan.tile_bins[tile];
    switch (n) {
        case 1: scatter_tile<Lanes, Model, 1>(signal, variance, first, weights, n, sums); break;
        case 2: scatter_tile<Lanes, Model, 2>(signal, variance, first, weights, n, sums); break;
        case 3: scatter_tile<Lanes, Model, 3>(signal, variance, first, weights, n, sums); break;
        case 4: scatter_tile<Lanes, Model, 4>(signal, variance, first, weights, n, sums); break;
        default: scatter_tile<Lanes, Model, -1>(signal, variance, first, weights, n, sums);
    }
    if (plan.extra_pointers[tile + 1] > plan.extra_pointers[tile])
        scatter_extras<Lanes, Model>(plan, tile, signal, variance, sums);
}

// V = sum c^2 (s - I w)^2, the second pass of the azimuthal model. Invalid pixels are NaN. S stays 0.
template <int Lanes, class Index>
inline void scatter_spread(const Work &work, int64_t tile, const double *signal) {
    using V = Vector<Lanes>;
    // Copies: the compiler must think that stores of vectors change whatever lies in memory.
    const Plan plan = *work.plan;
    const Index *first = static_cast<const Index *>(plan.first) + tile * tile_pixels;
    const float *weights = plan.weights + plan.tile_weights[tile];
    const V *signals = reinterpret_cast<const V *>(signal), *means = reinterpret_cast<const V *>(work.mean);
    V *sums = reinterpret_cast<V *>(work.piece);
    const int n = plan.tile_bins[tile];

    const auto add = [=](int pixel, int64_t bin, double c) {
        const int64_t i = tile * tile_pixels + pixel;
        const double w = plan.normalization ? plan.normalization[i] : 1.0, dark = plan.dark ? plan.dark[i] : 0.0;
        const V s = signals[pixel], difference = (s - dark) - means[bin] * w;
        sums[2 * bin + 1] += s == s ? difference * difference * (c * c) : V{};
    };
    for (int place = 0; place < tile_pixels; ++place) {
        const int pixel = place % tile_streams * tile_stride + place / tile_streams;
        if (first[place] == plan.n_bins) continue;
        if (plan.unit) add(pixel, first[place], 1.0);
        for (int k = 0; !plan.unit && k < n; ++k) add(pixel, first[place] + k, weights[place * n + k]);
    }
    for (int64_t e = plan.extra_pointers[tile]; e < plan.extra_pointers[tile + 1]; ++e)
        add(plan.extra_pixels[e], plan.extra_bins[e], plan.extra_weights[e]);
}
}  // namespace
}  // namespace friedel
