// From a run to a tile of numbers, one frame in each lane.
// Part of scatter_kernels.hpp, and like it of internal linkage.
#pragma once
#include "scatter_sources.hpp"

namespace friedel {
namespace {
constexpr int place_of(int pixel) { return pixel % tile_stride * tile_streams + pixel / tile_stride; }

inline bool all_finite(const double *values, int n) {
    int64_t odd = 0;
    for (int i = 0; i < n; ++i) odd |= __builtin_fabs(values[i]) <= __DBL_MAX__ ? 0 : -1;
    return !odd;
}

// Note which contributing pixels of a tile are invalid; whether there are any. `variance` may be null.
template <class Element>
inline bool screen_line(const Work &work, int f, int64_t tile, const typename Element::stored *values, int n, const double *variance) {
    uint64_t *const words = work.scratch->invalid[f];
    if (!Element::suspicious(values, n, work.screen) && (!variance || all_finite(variance, n))) {
        for (int word = 0; word < tile_words; ++word) words[word] = 0;
        return false;
    }
    uint64_t any = 0;
    for (int word = 0; word < tile_words; ++word) {
        const int start = word * 64, count = n - start < 0 ? 0 : n - start < 64 ? n - start : 64;
        const auto *some = values + start;
        uint64_t invalid, negative;
        if (count == 64) {
            Element::screen(some, work.screen, invalid, negative);
        } else {
            invalid = bits_of(count, [&](int i) { return Element::invalid(some[i], work.screen); });
            negative = bits_of(count, [&](int i) { return Element::negative(some[i]); });
        }
        if (variance) invalid |= bits_of(count, [&](int i) { return !all_finite(variance + start + i, 1); });
        const uint64_t active = work.plan->active[tile * tile_words + word];
        words[word] = invalid &= active;
        any |= invalid;
        if (negative & active & ~invalid) work.removed->negative[f] += __builtin_popcountll(negative & active & ~invalid);
    }
    return any != 0;
}

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
inline uint32_t *list_bits(const uint64_t *words, uint32_t offset, uint32_t *places) {
    for (int word = 0; word < tile_words; ++word, offset += 64) {
        uint64_t bits = words[word];
        uint32_t *next = places;
        places += __builtin_popcountll(bits);
        do {
            for (int i = 0; i < 4; ++i) {
                next[i] = offset + lowest_bit(bits);
                bits &= bits - 1;
            }
            next += 4;
        } while (next < places);
    }
    return places;
}

// Eight 32-bit numbers, and eight numbers of any type as they lie in memory.
typedef uint32_t Words __attribute__((vector_size(32), may_alias));
template <class Stored>
struct EightOf {
    typedef Stored type __attribute__((vector_size(8 * sizeof(Stored)), may_alias, aligned(1)));
};

// The next eight numbers of a frame, in 32 bits.
template <class Stored>
inline Words eight_words(const Stored *values) {
    if constexpr (sizeof(Stored) == 4) return reinterpret_cast<Words>(*reinterpret_cast<const typename EightOf<Stored>::type *>(values));
#if defined(__AVX2__)
    // GCC takes a detour for vectors of eight narrow numbers.
    constexpr bool below = static_cast<Stored>(-1) < 0;
    const auto *const some = reinterpret_cast<const __m128i *>(values);
    if constexpr (sizeof(Stored) == 2 && below) return reinterpret_cast<Words>(_mm256_cvtepi16_epi32(_mm_loadu_si128(some)));
    if constexpr (sizeof(Stored) == 2) return reinterpret_cast<Words>(_mm256_cvtepu16_epi32(_mm_loadu_si128(some)));
    if constexpr (below) return reinterpret_cast<Words>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(some)));
    return reinterpret_cast<Words>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(some)));
#else
    const auto some = *reinterpret_cast<const typename EightOf<Stored>::type *>(values);
    return reinterpret_cast<Words>(__builtin_convertvector(some, EightOf<int32_t>::type));
#endif
}

// Four numbers, from the lower or the upper half.
template <class Element, bool Upper>
inline Vector<4> four_values(Words words) {
    typedef int32_t Four32 __attribute__((vector_size(16)));
    const Four32 half = reinterpret_cast<Four32>(Upper ? __builtin_shufflevector(words, words, 4, 5, 6, 7) : __builtin_shufflevector(words, words, 0, 1, 2, 3));
    return Element::template values<Vector<4>>(half);
}

// Eight pixels of every frame to (pixel, lane).
template <int Lanes, class Element>
inline void interleave_words(const typename Element::stored *const *rows, double *out) {
    using V = Vector<Lanes>;
    Words a[Lanes], b[Lanes], c[Lanes];
    for (int f = 0; f < Lanes; ++f) a[f] = eight_words(rows[f]);
    for (int f = 0; f < Lanes; f += 2) {
        b[f] = __builtin_shufflevector(a[f], a[f + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        b[f + 1] = __builtin_shufflevector(a[f], a[f + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int f = 0; f < Lanes; f += 4)
        for (int half = 0; half < 2; ++half) {
            c[f + 2 * half] = __builtin_shufflevector(b[f + half], b[f + half + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            c[f + 2 * half + 1] = __builtin_shufflevector(b[f + half], b[f + half + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int pixel = 0; pixel < 4; ++pixel) {
        V *const lower = reinterpret_cast<V *>(out) + pixel, *const upper = lower + 4;
        if constexpr (Lanes == 4) {
            *lower = four_values<Element, false>(c[pixel]);
            *upper = four_values<Element, true>(c[pixel]);
        } else {
            *lower = Element::template values<V>(__builtin_shufflevector(c[pixel], c[pixel + 4], 0, 1, 2, 3, 8, 9, 10, 11));
            *upper = Element::template values<V>(__builtin_shufflevector(c[pixel], c[pixel + 4], 4, 5, 6, 7, 12, 13, 14, 15));
        }
    }
}

template <int Lanes>
inline void interleave_doubles(const double *const *rows, double *out) {
    using V = Vector<Lanes>;
    typedef double Anywhere __attribute__((vector_size(8 * Lanes), may_alias, aligned(8)));
    for (int i = 0; i < 8; i += Lanes) {
        V a[Lanes], b[Lanes], c[Lanes];
        for (int f = 0; f < Lanes; ++f) a[f] = *reinterpret_cast<const Anywhere *>(rows[f] + i);
        if constexpr (Lanes == 4) {
            for (int f = 0; f < 4; f += 2) {
                b[f] = __builtin_shufflevector(a[f], a[f + 1], 0, 4, 2, 6);
                b[f + 1] = __builtin_shufflevector(a[f], a[f + 1], 1, 5, 3, 7);
            }
            for (int f = 0; f < 2; ++f) {
                c[f] = __builtin_shufflevector(b[f], b[f + 2], 0, 1, 4, 5);
                c[f + 2] = __builtin_shufflevector(b[f], b[f + 2], 2, 3, 6, 7);
            }
        } else {
            for (int f = 0; f < 8; f += 2) {
                b[f] = __builtin_shufflevector(a[f], a[f + 1], 0, 8, 2, 10, 4, 12, 6, 14);
                b[f + 1] = __builtin_shufflevector(a[f], a[f + 1], 1, 9, 3, 11, 5, 13, 7, 15);
            }
            for (int g = 0; g < 8; g += 4)
                for (int f = g; f < g + 2; ++f) {
                    a[f] = __builtin_shufflevector(b[f], b[f + 2], 0, 1, 8, 9, 4, 5, 12, 13);
                    a[f + 2] = __builtin_shufflevector(b[f], b[f + 2], 2, 3, 10, 11, 6, 7, 14, 15);
                }
            for (int f = 0; f < 4; ++f) {
                c[f] = __builtin_shufflevector(a[f], a[f + 4], 0, 1, 2, 3, 8, 9, 10, 11);
                c[f + 4] = __builtin_shufflevector(a[f], a[f + 4], 4, 5, 6, 7, 12, 13, 14, 15);
            }
        }
        for (int f = 0; f < Lanes; ++f) reinterpret_cast<V *>(out)[i + f] = c[f];
    }
}

// Numbers of n pixels of a tile, one row for each frame, to (512, Lanes), in the registers. Zeros follow.
template <int Lanes, class Element>
inline void fill(int n_frames, int n, const typename Element::stored *const *frames, double *out) {
    using Stored = typename Element::stored;
    if constexpr (Lanes == 1) {
        for (int i = 0; i < n; ++i) out[i] = Element::value(frames[0][i]);
        for (int i = n; i < tile_pixels; ++i) out[i] = 0;
        return;
    }
    alignas(64) Stored last[Lanes][8] = {};
    const Stored *rows[Lanes];
    for (int start = 0; start < tile_pixels; start += 8) {
        for (int f = 0; f < Lanes; ++f) rows[f] = f < n_frames ? frames[f] + start : last[f];
        if (start + 8 > n)
            for (int f = 0; f < n_frames; ++f) {
                for (int i = 0; i < 8; ++i) last[f][i] = start + i < n ? frames[f][start + i] : Stored{};
                rows[f] = last[f];
            }
        if constexpr (sizeof(Stored) == 8 && Lanes > 1)
            interleave_doubles<Lanes>(rows, out + start * Lanes);
        else if constexpr (Lanes > 1)
            interleave_words<Lanes, Element>(rows, out + start * Lanes);
    }
}

// Signals and variances of a tile; whether a contributing pixel is invalid.
template <int Lanes, ErrorModel Model, class Element>
inline bool load_tile(const Work &work, const Run &run, int64_t tile, int n) {
    using Stored = typename Element::stored;
    const int64_t offset = tile * tile_pixels - run.start;
    const auto values = [&](int f) { return reinterpret_cast<const Stored *>(run.values[f]) + offset; };
    const auto variance = [&](int f) { return work.frames[f].variance + tile * tile_pixels; };
    // The processor does not foresee that several frames take turns: ask for the tile after the next.
    const bool ahead = work.codec == Codec::none && run.start + run.count - tile * tile_pixels >= 3 * tile_pixels;
    const Stored *rows[most_lanes];
    bool invalid = false;
    for (int f = 0; f < work.n_frames; ++f) {
        rows[f] = values(f);
        for (size_t i = 0; ahead && i < tile_pixels * sizeof(Stored); i += 64)
            __builtin_prefetch(reinterpret_cast<const char *>(values(f) + 2 * tile_pixels) + i);
        invalid |= screen_line<Element>(work, f, tile, values(f), n, Model == ErrorModel::variance ? variance(f) : nullptr);
    }
    fill<Lanes, Element>(work.n_frames, n, rows, work.scratch->signal);
    if constexpr (Model == ErrorModel::variance) {
        const double *variances[most_lanes];
        for (int f = 0; f < work.n_frames; ++f) variances[f] = variance(f);
        fill<Lanes, Float<double>>(work.n_frames, n, variances, work.scratch->variance);
    }
    return invalid;
}
}  // namespace
}  // namespace friedel
