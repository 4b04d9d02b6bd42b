// The dynamic mask: what invalid pixels take out of the sums of all pixels.
// Part of scatter_kernels.hpp, and like it of internal linkage.
#pragma once
#include "scatter_tiles.hpp"

namespace friedel {
namespace {
// The number of the lowest set bit, any number if there is none.
inline uint32_t lowest_bit(uint64_t bits) {
#if defined(__BMI__)
    return static_cast<uint32_t>(_tzcnt_u64(bits));
#else
    return static_cast<uint32_t>(__builtin_ctzll(bits | uint64_t{1} << 63));
#endif
}

// Append the numbers of the set bits, ascending, plus `offset`; `places` has room for 8 more. Returns the new end.
// Four at a time, wanted or not: a loop over the bits of a word ends where the processor does not foresee it.
template <class Number>
inline Number *list_bits(uint64_t bits, Number offset, Number *places) {
    Number *next = places;
    places += __builtin_popcountll(bits);
    do {
        for (int i = 0; i < 4; ++i) {
            Number number = offset + lowest_bit(bits);
            asm("" : "+r"(number));  // or else the compiler makes a vector of the four first, which takes longer
            next[i] = number;
            bits &= bits - 1;
        }
        next += 4;
    } while (next < places);
    return places;
}

// One bit for each pixel of a tile. Always read and written whole: to read what was written in parts, the processor waits.
typedef uint64_t Row __attribute__((vector_size(tile_pixels / 8), may_alias));

typedef uint64_t RowAnywhere __attribute__((vector_size(tile_pixels / 8), may_alias, aligned(8)));

// One bit for each word that is not 0.
inline uint64_t filled(const Row &row) {
#if defined(__AVX512F__)
    return _mm512_test_epi64_mask(reinterpret_cast<__m512i>(row), reinterpret_cast<__m512i>(row));
#else
    uint64_t bits = 0;
    for (int word = 0; word < tile_words; ++word) bits |= static_cast<uint64_t>(row[word] != 0) << word;
    return bits;
#endif
}

// An invalid pixel: its number, and the row of `Scratch::invalid`.
constexpr int row_bit = 48;
inline int64_t pixel_of(uint64_t entry) { return static_cast<int64_t>(entry & ((uint64_t{1} << row_bit) - 1)); }
inline int row_of(uint64_t entry) { return static_cast<int>(entry >> row_bit); }

// The invalid pixels of one tile.
struct Invalid {
    const uint64_t *begin = nullptr, *end = nullptr;
    uint32_t rows = 0;  // one bit for each row that has any
    explicit operator bool() const { return begin < end; }
};

// List the contributing pixels of a tile that are invalid, behind those of earlier ones. Those that are so in all frames
// (dead ones) move to a row of their own, so that they are noted once.
inline Invalid list_invalid(const Work &work, int64_t tile) {
    Scratch &scratch = *work.scratch;
    const int n_frames = work.n_frames;
    Row *const invalid = reinterpret_cast<Row *>(scratch.invalid);
    const Row active = *reinterpret_cast<const RowAnywhere *>(work.plan->active + tile * tile_words);
    Row common = active;
    for (int f = 0; f < n_frames; ++f) common &= invalid[f];
    const Row others = active & ~common;
    uint64_t words = 0;  // that are not 0, of all rows but the last
    for (int f = 0; f < n_frames; ++f) {
        const Row row = invalid[f] & others;
        invalid[f] = row;
        words |= filled(row) << (f * tile_words);
    }
    invalid[n_frames] = common;
    const uint64_t dead = filled(common);
    if (!(words | dead)) return {};
    uint32_t rows = static_cast<uint32_t>(dead != 0) << n_frames;
    for (int f = 0; f < n_frames; ++f) rows |= static_cast<uint32_t>((words >> (f * tile_words) & 0xff) != 0) << f;

    uint32_t listed[(most_lanes + 1) * tile_words + 8];
    const uint32_t *const last = list_bits(dead, static_cast<uint32_t>(n_frames * tile_words), list_bits(words, 0u, listed));
    uint64_t *const begin = scratch.entries + scratch.n_entries, *end = begin;
    for (const uint32_t *word = listed; word < last; ++word) {
        const uint64_t row = *word / tile_words, number = *word % tile_words;
        end = list_bits(scratch.invalid[row][number], (row << row_bit) + tile * tile_pixels + number * 64, end);
    }
    return {begin, end, rows};
}

// Replace them by 0, and keep them in the list until it is long enough. By then what must be read beside the map has come
// from memory: no cache holds the normalization, which nothing but `take_out` reads.
template <int Lanes, ErrorModel Model>
inline void leave_out(const Work &work, Invalid invalid) {
    using V = Vector<Lanes>;
    double *const signal = work.scratch->signal, *const variance = work.scratch->variance;
    const float *const normalization = work.plan->normalization;
    for (const uint64_t *entry = invalid.begin; entry < invalid.end; ++entry) {
        const int64_t number = pixel_of(*entry), pixel = number % tile_pixels;
        if (normalization) __builtin_prefetch(normalization + number);
        if (row_of(*entry) == work.n_frames) {
            reinterpret_cast<V *>(signal)[pixel] = V{};
            if constexpr (Model == ErrorModel::variance) reinterpret_cast<V *>(variance)[pixel] = V{};
        } else {
            signal[pixel * Lanes + row_of(*entry)] = 0;
            if constexpr (Model == ErrorModel::variance) variance[pixel * Lanes + row_of(*entry)] = 0;
        }
    }
    if (!work.removed->sums) open_removed(*work.removed, *work.plan);
    work.removed->touched |= invalid.rows;
    work.scratch->n_entries = static_cast<int>(invalid.end - work.scratch->entries);
}

// Count the contributing pixels of a tile that are valid and below zero.
template <int Lanes>
inline void count_negative(const Work &work, int64_t tile) {
    using V = Vector<Lanes>;
    const V *const signal = reinterpret_cast<const V *>(work.scratch->signal);
    const V zero{}, one = zero + 1.0;
    V counts{};
    for (int pixel = 0; pixel < tile_pixels; ++pixel)
        if (work.plan->active[tile * tile_words + pixel / 64] >> (pixel % 64) & 1) counts += signal[pixel] < zero ? one : zero;
    for (int f = 0; f < work.n_frames; ++f) work.removed->negative[f] += static_cast<uint64_t>(reinterpret_cast<const double *>(&counts)[f]);
}

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

// Note what the listed pixels would have contributed.
template <int Columns, bool Unit, class Index>
inline void take_out_first(const Work &work) {
    const Plan plan = *work.plan;
    const Index *first = static_cast<const Index *>(plan.first);
    const int64_t stride = plan.removed_stride();
    double *const removed = work.removed->sums;
    const auto one = [=](uint64_t entry) {
        const int64_t pixel = pixel_of(entry), tile = pixel / tile_pixels;
        const int place = place_of(static_cast<int>(pixel % tile_pixels));
        const int64_t bin = first[tile * tile_pixels + place];
        const double w = plan.normalization ? plan.normalization[pixel] : 1.0;
        double *out = removed + row_of(entry) * stride;
        if constexpr (Unit) {
            take_out_entry<Columns>(plan, pixel, bin, 1.0, w, out);
        } else {
            const int n = plan.tile_bins[tile];
            const float *weights = plan.weights + plan.tile_weights[tile] + place * n;
            for (int k = 0; k < n; ++k) take_out_entry<Columns>(plan, pixel, bin + k, weights[k], w, out);
        }
    };
    // From four places of the list in turn: neighbours often fall into the same bin, see `tile_streams`.
    const uint64_t *const entries = work.scratch->entries;
    const int n_entries = work.scratch->n_entries, quarter = n_entries / 4;
    for (int i = 0; i < quarter; ++i)
        for (int stream = 0; stream < 4; ++stream) one(entries[i + stream * quarter]);
    for (int i = 4 * quarter; i < n_entries; ++i) one(entries[i]);
}

// The same for the extras of listed pixels.
template <int Columns>
inline void take_out_extras(const Work &work) {
    const Plan &plan = *work.plan;
    for (int i = 0; i < work.scratch->n_entries; ++i) {
        const uint64_t entry = work.scratch->entries[i];
        const int64_t number = pixel_of(entry), tile = number / tile_pixels;
        const int pixel = static_cast<int>(number % tile_pixels);
        if (!(plan.extended[number / 64] >> (number % 64) & 1)) continue;
        double *out = work.removed->sums + row_of(entry) * plan.removed_stride();
        int64_t e = plan.extra_pointers[tile], after = plan.extra_pointers[tile + 1];
        while (e < after) {  // the first extra of the pixel
            const int64_t middle = (e + after) / 2;
            if (plan.extra_pixels[middle] < pixel)
                e = middle + 1;
            else
                after = middle;
        }
        const double w = plan.normalization ? plan.normalization[number] : 1.0;
        for (; e < plan.extra_pointers[tile + 1] && plan.extra_pixels[e] == pixel; ++e)
            take_out_entry<Columns>(plan, number, plan.extra_bins[e], plan.extra_weights[e], w, out);
    }
}

template <int Columns>
inline void take_out_columns(const Work &work) {
    const Plan &plan = *work.plan;
    if (plan.unit && plan.wide)
        take_out_first<Columns, true, uint32_t>(work);
    else if (plan.unit)
        take_out_first<Columns, true, uint16_t>(work);
    else if (plan.wide)
        take_out_first<Columns, false, uint32_t>(work);
    else
        take_out_first<Columns, false, uint16_t>(work);
    if (plan.extra_pointers[plan.n_tiles] > 0) take_out_extras<Columns>(work);
}

// Note what the listed pixels would have contributed, and begin a new list.
inline void take_out(const Work &work) {
    if (work.scratch->n_entries == 0) return;
    if (work.plan->columns() == 4)
        take_out_columns<4>(work);
    else
        take_out_columns<8>(work);
    work.scratch->n_entries = 0;
}

// The second pass of the azimuthal model skips NaN; what invalid pixels contribute was noted in the first.
template <int Lanes>
inline void replace_by_nan(const Work &work, Invalid invalid, double *signal) {
    for (const uint64_t *entry = invalid.begin; entry < invalid.end; ++entry)
        for (int f = 0; f < work.n_frames; ++f)
            if (row_of(*entry) == f || row_of(*entry) == work.n_frames) signal[pixel_of(*entry) % tile_pixels * Lanes + f] = __builtin_nan("");
}
}  // namespace
}  // namespace friedel
