// From a run to a tile of numbers, one frame in each lane.
// Part of scatter_kernels.hpp, and like it of internal linkage.
#pragma once
#include "scatter_sources.hpp"

namespace friedel {
namespace {
constexpr int place_of(int pixel) { return pixel % tile_stride * tile_streams + pixel / tile_stride; }

// Eight numbers of any type as they lie in memory.
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

// Transpose eight words of every frame: to the frames of one pixel, or, with four lanes, of pixels i and i + 4.
template <int Lanes>
__attribute__((always_inline)) inline void interleave(const Words *rows, Words *out) {
    Words b[Lanes], c[Lanes];
    for (int f = 0; f < Lanes; f += 2) {
        b[f] = __builtin_shufflevector(rows[f], rows[f + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        b[f + 1] = __builtin_shufflevector(rows[f], rows[f + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int f = 0; f < Lanes; f += 4)
        for (int half = 0; half < 2; ++half) {
            c[f + 2 * half] = __builtin_shufflevector(b[f + half], b[f + half + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            c[f + 2 * half + 1] = __builtin_shufflevector(b[f + half], b[f + half + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int pixel = 0; pixel < 4; ++pixel)
        if constexpr (Lanes == 4) {
            out[pixel] = c[pixel];
        } else {
            out[pixel] = __builtin_shufflevector(c[pixel], c[pixel + 4], 0, 1, 2, 3, 8, 9, 10, 11);
            out[pixel + 4] = __builtin_shufflevector(c[pixel], c[pixel + 4], 4, 5, 6, 7, 12, 13, 14, 15);
        }
}

// Transpose `Lanes` numbers of every frame to the frames of one pixel.
template <int Lanes>
__attribute__((always_inline)) inline void interleave(Vector<Lanes> *a, Vector<Lanes> *c) {
    Vector<Lanes> b[Lanes];
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
}

// A tile as it is filled.
template <int Lanes, class Element>
struct Filling {
    using V = Vector<Lanes>;
    using Stored = typename Element::stored;
    static constexpr int width = Lanes == 8 ? 8 : 4;
    typedef double Anywhere __attribute__((vector_size(8 * width), may_alias, aligned(8)));

    double *const numbers;  // (512, Lanes)
    Words signs{};

    // Eight pixels of every frame.
    void put(int start, const Stored *const *rows, int offset) {
        V *const out = reinterpret_cast<V *>(numbers) + start;
        if constexpr (sizeof(Stored) == 8) {
            for (int i = 0; i < 8; i += width) {
                Vector<width> some[Lanes];
                for (int f = 0; f < Lanes; ++f) {
                    some[f] = *reinterpret_cast<const Anywhere *>(rows[f] + offset + i);
                    for (int part = 0; part < width; part += 4) signs |= reinterpret_cast<const Words *>(some + f)[part / 4];
                }
                if constexpr (Lanes == 1)
                    *reinterpret_cast<Anywhere *>(out + i) = *some;
                else
                    interleave<Lanes>(some, out + i);
            }
        } else {
            Words words[Lanes];
            for (int f = 0; f < Lanes; ++f) {
                words[f] = eight_words(rows[f] + offset);
                if constexpr (Element::is_signed) signs |= words[f];
            }
            store(words, out);
        }
    }

    // Whether any number may be below zero.
    bool below() const {
        uint32_t any = 0;
        for (int i = 0; i < 8; ++i) any |= signs[i];
        return Element::is_signed && any >> 31;
    }

  private:
    void store(const Words *words, V *out) {
        using Four = Vector<4>;
        const auto lower = [](Words some) { return Element::template values<Four>(lower_half(some)); };
        const auto upper = [](Words some) { return Element::template values<Four>(upper_half(some)); };
        if constexpr (Lanes == 1) {
            reinterpret_cast<Four *>(out)[0] = lower(*words);
            reinterpret_cast<Four *>(out)[1] = upper(*words);
        } else {
            Words some[Lanes];
            interleave<Lanes>(words, some);
            for (int pixel = 0; pixel < Lanes; ++pixel)
                if constexpr (Lanes == 4) {
                    out[pixel] = lower(some[pixel]);
                    out[pixel + 4] = upper(some[pixel]);
                } else {
                    out[pixel] = Element::template values<V>(some[pixel]);
                }
        }
    }
};

alignas(64) constexpr uint8_t no_frame[tile_pixels * sizeof(double)] = {};

// Numbers of n pixels of a tile, one row for each frame, to (512, Lanes): zeros follow. Whether any may be below zero.
template <int Lanes, class Element>
inline bool fill(int n_frames, int n, const typename Element::stored *const *frames, double *out) {
    using Stored = typename Element::stored;
    Filling<Lanes, Element> filling{out};
    const Stored *rows[Lanes];
    for (int f = 0; f < Lanes; ++f) rows[f] = f < n_frames ? frames[f] : reinterpret_cast<const Stored *>(no_frame);
    const int whole = n / 8 * 8;
    for (int start = 0; start < whole; start += 8) filling.put(start, rows, start);
    if (n < tile_pixels) {
        alignas(64) Stored last[Lanes][8] = {};
        for (int f = 0; f < n_frames; ++f)
            for (int i = whole; i < n; ++i) last[f][i - whole] = frames[f][i];
        for (int f = 0; f < Lanes; ++f) rows[f] = last[f];
        filling.put(whole, rows, 0);
        for (int i = (whole + 8) * Lanes; i < tile_pixels * Lanes; ++i) out[i] = 0;
    }
    return filling.below();
}

// Note which pixels of a row are invalid, if `add` beside those that are noted already; whether there are any.
template <class Element, class Range>
inline bool screen_row(const typename Element::stored *values, int n, const Range &range, bool add, uint64_t *invalid) {
    uint64_t any = 0;
    for (int word = 0; word < tile_words; ++word) {
        const int start = 64 * word, count = n - start < 64 ? n - start : 64;
        uint64_t bits = count > 0 ? Element::invalid(values + start, count, range) : 0;
        if (add) bits |= invalid[word];
        invalid[word] = bits;
        any |= bits;
    }
    return any != 0;
}

// What is known of the numbers of a tile.
struct Loaded {
    bool invalid;  // `Scratch::invalid` tells which are invalid, if any
    bool below;    // some may be below zero
};

// Numbers of a tile.
template <int Lanes, class Element>
inline Loaded load(const Work &work, const Run &run, int64_t tile, int n) {
    using Stored = typename Element::stored;
    const int64_t offset = tile * tile_pixels - run.start;
    // The processor does not foresee that several frames take turns: ask for the tile after the next.
    const bool ahead = work.codec == Codec::none && run.start + run.count - tile * tile_pixels >= 3 * tile_pixels;
    const auto range = Element::narrow(work.screen);
    bool screened = true;
    if constexpr (Element::is_integer) screened = range.low <= range.high;
    const Stored *rows[most_lanes];
    for (int f = 0; f < work.n_frames; ++f) {
        rows[f] = reinterpret_cast<const Stored *>(run.values[f]) + offset;
        for (size_t i = 0; ahead && i < tile_pixels * sizeof(Stored); i += 64)
            __builtin_prefetch(reinterpret_cast<const char *>(rows[f] + 2 * tile_pixels) + i);
    }
    Loaded loaded{false, fill<Lanes, Element>(work.n_frames, n, rows, work.scratch->signal)};
    // After all frames have been read at a time: here the processor would wait for one frame after the other.
    for (int f = 0; screened && f < work.n_frames; ++f) loaded.invalid |= screen_row<Element>(rows[f], n, range, false, work.scratch->invalid[f]);
    return loaded;
}

// Variances of a tile: where they are not finite, a pixel is invalid. Whether there are any such; `add` as above.
template <int Lanes>
inline bool load_variances(const Work &work, int64_t tile, int n, bool add) {
    const double *rows[most_lanes];
    bool invalid = false;
    for (int f = 0; f < work.n_frames; ++f) {
        rows[f] = work.frames[f].variance + tile * tile_pixels;
        invalid |= screen_row<Float<double>>(rows[f], n, Screen{}, add, work.scratch->invalid[f]);
    }
    fill<Lanes, Float<double>>(work.n_frames, n, rows, work.scratch->variance);
    return invalid;
}
}  // namespace
}  // namespace friedel
