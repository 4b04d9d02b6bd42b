// The dynamic mask: what invalid pixels take out of the sums of all pixels.
// Part of scatter_kernels.hpp, and like it of internal linkage.
#pragma once
#include "scatter_tiles.hpp"

namespace friedel {
namespace {
using Four = Vector<4>;
typedef double FourAnywhere __attribute__((vector_size(32), may_alias, aligned(8)));

// Add to exact sums: `rounding` is 3 times a power of two that no sum of the bin exceeds. Adding and subtracting it
// leaves a multiple of a fixed unit, of which less than 2^53 add up: every partial sum is exact, in any order.
inline void add_exactly(Four *sum, const FourAnywhere *rounding, Four value) {
    const Four unit = *rounding;
    *sum += (value + unit) - unit;
}

template <int Columns>
inline void take_out_entry(const Plan &plan, int64_t pixel, int64_t bin, double c, double w, double *out) {
    Four *sum = reinterpret_cast<Four *>(out) + bin * (Columns / 4);
    const FourAnywhere *rounding = reinterpret_cast<const FourAnywhere *>(plan.rounding) + bin * (Columns / 4);
    const double norm = c * w;
    add_exactly(sum, rounding, Four{norm, norm, c, c} * Four{1, norm, 1, c});
    if constexpr (Columns == 8) {
        const double dark = plan.dark ? plan.dark[pixel] : 0.0, variance = plan.dark_variance ? plan.dark_variance[pixel] : 0.0;
        add_exactly(sum + 1, rounding + 1, Four{c * dark, c * c * variance, 0, 0});
    }
}

// Note what listed pixels would have contributed to frames of their own, or to all frames.
template <int Columns, bool Unit, bool Common, class Index>
inline void take_out(const Work &work, int64_t tile, const uint32_t *places, const uint32_t *end) {
    const Plan plan = *work.plan;
    const Index *first = static_cast<const Index *>(plan.first) + tile * tile_pixels;
    const int n = plan.tile_bins[tile];
    const float *weights = plan.weights + plan.tile_weights[tile];
    const int64_t stride = plan.removed_stride();
    double *const removed = work.removed->sums + (Common ? work.n_frames * stride : 0);
    const auto one = [=](const uint32_t *at) {
        const uint32_t pixel = *at & 0xffff, lane = Common ? 0 : *at >> 16;
        const int place = place_of(static_cast<int>(pixel));
        const int64_t number = tile * tile_pixels + pixel, bin = first[place];
        const double w = plan.normalization ? plan.normalization[number] : 1.0;
        double *out = removed + lane * stride;
        if constexpr (Unit) {
            take_out_entry<Columns>(plan, number, bin, 1.0, w, out);
        } else {
            for (int k = 0; k < n; ++k) take_out_entry<Columns>(plan, number, bin + k, weights[place * n + k], w, out);
        }
    };
    // From four places of the list in turn: neighbours often fall into the same bin, see `tile_streams`.
    const int64_t quarter = (end - places) / 4;
    for (const uint32_t *at = places; at < places + quarter; ++at)
        for (int stream = 0; stream < 4; ++stream) one(at + stream * quarter);
    for (const uint32_t *at = places + 4 * quarter; at < end; ++at) one(at);
}

template <int Columns, bool Common>
inline void take_out(const Work &work, int64_t tile, const uint32_t *places, const uint32_t *end) {
    const Plan &plan = *work.plan;
    if (plan.unit && plan.wide)
        take_out<Columns, true, Common, uint32_t>(work, tile, places, end);
    else if (plan.unit)
        take_out<Columns, true, Common, uint16_t>(work, tile, places, end);
    else if (plan.wide)
        take_out<Columns, false, Common, uint32_t>(work, tile, places, end);
    else
        take_out<Columns, false, Common, uint16_t>(work, tile, places, end);
}

// The same for the extras of listed pixels.
template <int Columns>
inline void take_out_extras(const Work &work, int64_t tile, const uint32_t *places, const uint32_t *end) {
    const Plan &plan = *work.plan;
    for (; places < end; ++places) {
        const int pixel = *places & 0xffff;
        double *out = work.removed->sums + (*places >> 16) * plan.removed_stride();
        int64_t e = plan.extra_pointers[tile], after = plan.extra_pointers[tile + 1];
        while (e < after) {  // the first extra of the pixel
            const int64_t middle = (e + after) / 2;
            if (plan.extra_pixels[middle] < pixel)
                e = middle + 1;
            else
                after = middle;
        }
        const int64_t number = tile * tile_pixels + pixel;
        const double w = plan.normalization ? plan.normalization[number] : 1.0;
        for (; e < plan.extra_pointers[tile + 1] && plan.extra_pixels[e] == pixel; ++e)
            take_out_entry<Columns>(plan, number, plan.extra_bins[e], plan.extra_weights[e], w, out);
    }
}

// The invalid pixels of a tile, in `Scratch::places`: first those of all frames (dead ones), which are noted once.
struct Left {
    const uint32_t *own, *end;
    bool extended;
};

// Replace the invalid pixels of a tile by 0 and list them.
template <int Lanes, ErrorModel Model>
inline Left leave_out(const Work &work, int64_t tile, double *signal, double *variance) {
    using V = Vector<Lanes>;
    const Plan &plan = *work.plan;
    Scratch &scratch = *work.scratch;
    uint64_t(&invalid)[most_lanes + 1][tile_words] = scratch.invalid;
    uint64_t *const common = invalid[work.n_frames];
    uint64_t some_extended = 0;
    for (int word = 0; word < tile_words; ++word) {
        common[word] = work.n_frames > 1 ? invalid[0][word] : 0;
        for (int f = 1; f < work.n_frames; ++f) common[word] &= invalid[f][word];
        for (int f = 0; f < work.n_frames; ++f) invalid[f][word] &= ~common[word];
    }
    if (!work.removed->sums) open_removed(*work.removed, plan);
    // It is read next, and nothing else reads it.
    if (plan.normalization && (tile + 1) * tile_pixels <= plan.n_pixels)
        for (int i = 0; i < tile_pixels; i += 16) __builtin_prefetch(plan.normalization + tile * tile_pixels + i);
    const auto list = [&](int lane, uint32_t *end) {
        uint64_t any = 0;
        for (int word = 0; word < tile_words; ++word) {
            any |= invalid[lane][word];
            some_extended |= invalid[lane][word] & plan.extended[tile * tile_words + word];
        }
        if (!any) return end;
        work.removed->touched |= uint32_t{1} << lane;
        return list_bits(invalid[lane], static_cast<uint32_t>(lane) << 16, end);
    };
    uint32_t *const own = list(work.n_frames, scratch.places), *end = own;
    for (int f = 0; f < work.n_frames; ++f) end = list(f, end);
    for (const uint32_t *place = scratch.places; place < own; ++place) {
        reinterpret_cast<V *>(signal)[*place & 0xffff] = V{};
        if constexpr (Model == ErrorModel::variance) reinterpret_cast<V *>(variance)[*place & 0xffff] = V{};
    }
    for (const uint32_t *place = own; place < end; ++place) {
        signal[(*place & 0xffff) * Lanes + (*place >> 16)] = 0;
        if constexpr (Model == ErrorModel::variance) variance[(*place & 0xffff) * Lanes + (*place >> 16)] = 0;
    }
    return {own, end, some_extended != 0};
}

// Note what they would have contributed: after their tile was summed, when the map is at hand.
template <int Columns>
inline void take_out(const Work &work, int64_t tile, const Left &left) {
    Scratch &scratch = *work.scratch;
    take_out<Columns, true>(work, tile, scratch.places, left.own);
    take_out<Columns, false>(work, tile, left.own, left.end);
    if (!left.extended) return;
    uint32_t *end = scratch.places;
    for (int lane = 0; lane <= work.n_frames; ++lane) {
        for (int word = 0; word < tile_words; ++word) scratch.invalid[lane][word] &= work.plan->extended[tile * tile_words + word];
        end = list_bits(scratch.invalid[lane], static_cast<uint32_t>(lane) << 16, end);
    }
    take_out_extras<Columns>(work, tile, scratch.places, end);
}

// The second pass of the azimuthal model skips NaN; what invalid pixels contribute was noted in the first.
template <int Lanes>
inline void replace_by_nan(const Work &work, double *signal) {
    for (int f = 0; f < work.n_frames; ++f) {
        const uint32_t *const end = list_bits(work.scratch->invalid[f], 0, work.scratch->places);
        for (const uint32_t *place = work.scratch->places; place < end; ++place) signal[*place * Lanes + f] = __builtin_nan("");
    }
}
}  // namespace
}  // namespace friedel
