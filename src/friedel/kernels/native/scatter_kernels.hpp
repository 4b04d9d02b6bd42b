// Frames to sums over bins: included once by scatter_<instruction set>.cpp, compiled with its flags.
// Everything here has internal linkage and uses no standard library templates, so that no code of a wide
// instruction set can take the place of the same function in another file.
//
// Several frames go through together, one in each lane of a vector: the map is read once for all of them,
// and a bin's sums of all frames are one vector. Lanes never mix, so a frame's sums do not depend on its company.
#pragma once
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors wider than the baseline's registers stay inside this file
#include "decode_frames.hpp"
#include "scatter_plan.hpp"
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace friedel {
namespace {
template <int Lanes>
struct VectorOf {
    typedef double type __attribute__((vector_size(8 * Lanes), may_alias));
};
template <>
struct VectorOf<1> {
    typedef double type;
};
template <int Lanes>
using Vector = typename VectorOf<Lanes>::type;

// ---- how stored elements are read -------------------------------------------------------------------

template <size_t Size>
struct UnsignedOf;
template <>
struct UnsignedOf<1> {
    using type = uint8_t;
};
template <>
struct UnsignedOf<2> {
    using type = uint16_t;
};
template <>
struct UnsignedOf<4> {
    using type = uint32_t;
};

template <class Bits>
struct SignedLike {
    typedef int32_t type __attribute__((vector_size(sizeof(Bits))));
};

// One bit for each of `n` values, at most 64.
template <class Test>
inline uint64_t bits_of(int n, Test &&test) {
    uint8_t flags[64];
    for (int i = 0; i < 64; ++i) flags[i] = 0;
    for (int i = 0; i < n; ++i) flags[i] = test(i) ? 0xff : 0;
    uint64_t bits = 0;
#if defined(__SSE2__)
    for (int i = 0; i < 64; i += 16) {
        const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i *>(flags + i));
        bits |= static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_epi8(some))) << i;
    }
#else
    for (int i = 0; i < 64; ++i) bits |= static_cast<uint64_t>(flags[i] & 1) << i;
#endif
    return bits;
}

// Integers of up to 32 bits as stored, and as numbers. A narrow signed type also holds blocks of wide unsigned
// elements whose upper bits are all equal: small counts, and the marks near 2^32 of pixels that do not count.
template <class Stored, bool Signed>
struct Integer {
    using stored = Stored;
    static uint32_t bits(Stored x) { return static_cast<uint32_t>(static_cast<int32_t>(x)); }
    static double value(Stored x) {
        if constexpr (Signed) return static_cast<int32_t>(bits(x));
        return bits(x);
    }
    // The same for numbers that `bits` gave.
    template <class V, class Bits>
    static V values(Bits some) {
        constexpr bool to_unsigned = !Signed && (sizeof(Stored) == 4 || static_cast<Stored>(-1) < 0);
        if constexpr (!to_unsigned) return __builtin_convertvector(reinterpret_cast<typename SignedLike<Bits>::type>(some), V);
#if defined(__AVX512F__)
        if constexpr (to_unsigned && sizeof(V) == 64) return _mm512_cvtepu32_pd(reinterpret_cast<__m256i>(some));
        if constexpr (to_unsigned && sizeof(V) == 32) return _mm256_cvtepu32_pd(reinterpret_cast<__m128i>(some));
#endif
        // Exact: GCC converts signed numbers only.
        const auto shifted = reinterpret_cast<typename SignedLike<Bits>::type>(some) ^ INT32_MIN;
        return __builtin_convertvector(shifted, V) + 2147483648.0;
    }
    static bool invalid(Stored x, const Screen &screen) { return screen.range && bits(x) - screen.low <= screen.span; }
    static bool negative(Stored x) { return Signed && static_cast<int32_t>(bits(x)) < 0; }
    // The same for 64 values, one bit for each.
    static void screen(const Stored *values, const Screen &screen, uint64_t &is_invalid, uint64_t &is_negative) {
        is_invalid = is_negative = 0;
#if defined(__AVX512F__)
        const __m512i low = _mm512_set1_epi32(static_cast<int>(screen.low)), span = _mm512_set1_epi32(static_cast<int>(screen.span));
        for (int i = 0; i < 64; i += 16) {
            const __m512i x = widened(values + i);
            if (screen.range) is_invalid |= static_cast<uint64_t>(_mm512_cmple_epu32_mask(_mm512_sub_epi32(x, low), span)) << i;
            if constexpr (Signed) is_negative |= static_cast<uint64_t>(_mm512_movepi32_mask(x)) << i;
        }
#else
        if (screen.range) is_invalid = bits_of(64, [&](int i) { return invalid(values[i], screen); });
        if constexpr (Signed) is_negative = bits_of(64, [&](int i) { return negative(values[i]); });
#endif
    }
    // Whether any of n values may be invalid or negative. Compares in the stored width, for speed.
    static bool suspicious(const Stored *values, int n, const Screen &screen) {
        constexpr bool below = static_cast<Stored>(-1) < 0;
        using Bits = typename UnsignedOf<sizeof(Stored)>::type;
        int64_t low, high;
        Bits either = 0;
        if (narrow_range(screen, low, high)) {
            Bits least = static_cast<Bits>(-1);
            for (int i = 0; i < n; ++i) {
                const Bits x = static_cast<Bits>(values[i]), distance = static_cast<Bits>(x - static_cast<Bits>(low));
                least = distance < least ? distance : least;
                if constexpr (Signed && below) either |= x;
            }
            if (least <= static_cast<Bits>(high - low)) return true;
        } else if constexpr (Signed && below) {
            for (int i = 0; i < n; ++i) either |= static_cast<Bits>(values[i]);
        }
        return Signed && below && either >> (8 * sizeof(Stored) - 1);
    }

  private:
#if defined(__AVX512F__)
    // `bits` of 16 values.
    static __m512i widened(const Stored *values) {
        constexpr bool below = static_cast<Stored>(-1) < 0;
        if constexpr (sizeof(Stored) == 4) return _mm512_loadu_si512(values);
        if constexpr (sizeof(Stored) == 2) {
            const __m256i some = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(values));
            return below ? _mm512_cvtepi16_epi32(some) : _mm512_cvtepu16_epi32(some);
        } else {
            const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i *>(values));
            return below ? _mm512_cvtepi8_epi32(some) : _mm512_cvtepu8_epi32(some);
        }
    }
#endif
    // The stored values between which all invalid ones lie; false if there are none.
    static bool narrow_range(const Screen &screen, int64_t &low, int64_t &high) {
        constexpr bool below = static_cast<Stored>(-1) < 0;
        constexpr int64_t all = int64_t{1} << (8 * sizeof(Stored)), least = below ? -all / 2 : 0, most = least + all - 1;
        low = INT64_MAX;
        high = INT64_MIN;
        for (int64_t shift = 0; screen.range && shift <= int64_t{1} << 32; shift += int64_t{1} << 32) {
            const int64_t from = static_cast<int64_t>(screen.low) - shift, to = from + screen.span;
            if (from > most || to < least) continue;
            low = from < least ? least : from < low ? from : low;
            high = to > most ? most : to > high ? to : high;
        }
        return low <= high;
    }
};
template <class Stored>
struct Float {
    using stored = Stored;
    static double value(Stored x) { return x; }
    template <class V, class Bits>
    static V values(Bits some) {
        typedef float Floats __attribute__((vector_size(sizeof(Bits))));
        return __builtin_convertvector(reinterpret_cast<Floats>(some), V);
    }
    static bool finite(Stored x) { return __builtin_fabs(static_cast<double>(x)) <= __DBL_MAX__; }
    static bool invalid(Stored x, const Screen &screen) {
        return !finite(x) || (screen.range && __builtin_fabs(x - screen.dummy) <= screen.delta);
    }
    static bool negative(Stored x) { return x < 0; }
    static void screen(const Stored *values, const Screen &screen, uint64_t &is_invalid, uint64_t &is_negative) {
        is_invalid = bits_of(64, [&](int i) { return invalid(values[i], screen); });
        is_negative = bits_of(64, [&](int i) { return negative(values[i]); });
    }
    static bool suspicious(const Stored *values, int n, const Screen &screen) {
        int64_t odd = 0;
        for (int i = 0; i < n; ++i) odd |= (finite(values[i]) ? 0 : -1) | (values[i] < 0 ? -1 : 0);
        if (screen.range)
            for (int i = 0; i < n; ++i) odd |= __builtin_fabs(values[i] - screen.dummy) <= screen.delta ? -1 : 0;
        return odd;
    }
};

enum class Form { u1, u2, u4, i1, i2, i4, i1_of_u4, i2_of_u4, f4, f8 };

template <class Function>
inline void with_form(Form form, Function &&function) {
    switch (form) {
        case Form::u1: return function(Integer<uint8_t, false>{});
        case Form::u2: return function(Integer<uint16_t, false>{});
        case Form::u4: return function(Integer<uint32_t, false>{});
        case Form::i1: return function(Integer<int8_t, true>{});
        case Form::i2: return function(Integer<int16_t, true>{});
        case Form::i4: return function(Integer<int32_t, true>{});
        case Form::i1_of_u4: return function(Integer<int8_t, false>{});
        case Form::i2_of_u4: return function(Integer<int16_t, false>{});
        case Form::f4: return function(Float<float>{});
        case Form::f8: return function(Float<double>{});
    }
}

constexpr int element_sizes[] = {1, 2, 4, 1, 2, 4, 4, 8};
constexpr Form whole_forms[] = {Form::u1, Form::u2, Form::u4, Form::i1, Form::i2, Form::i4, Form::f4, Form::f8};

// Consecutive pixels of every frame, all in one form.
struct Run {
    int64_t start;
    int count;
    Form form;
    int form_size;
    const uint8_t *values[most_lanes];
};

// ---- sources: from a frame to runs --------------------------------------------------------------------

inline bool all_zero(const uint8_t *bytes, size_t n) { return bytes[0] == 0 && std::memcmp(bytes, bytes + 1, n - 1) == 0; }

// Narrowest way to hold a block, looking at its bit planes of n/8 bytes: counts are small, so that most of the
// upper planes are equal.
enum Narrow { narrow_u1, narrow_i1, narrow_i2, narrow_none };
inline Narrow narrow_form(const uint8_t *planes, size_t plane, ElementType type) {
    if (type == ElementType::u2 || type == ElementType::i2)
        return all_zero(planes + 8 * plane, 8 * plane) ? narrow_u1 : narrow_none;
    if (type != ElementType::u4 && type != ElementType::i4) return narrow_none;
    if (all_zero(planes + 8 * plane, 24 * plane)) return narrow_u1;
    if (std::memcmp(planes + 15 * plane, planes + 16 * plane, 16 * plane) != 0) return narrow_none;
    return std::memcmp(planes + 7 * plane, planes + 8 * plane, 8 * plane) == 0 ? narrow_i1 : narrow_i2;
}

class Source {
  public:
    explicit Source(Work &work) : work_(work), size_(element_sizes[static_cast<int>(work.type)]) {}

    // Go to the beginning of piece `piece`, the first time.
    bool open(int64_t piece) {
        const int64_t n = work_.plan->n_pixels, start = piece * work_.plan->piece_pixels;
        for (int f = 0; f < work_.n_frames; ++f) {
            const Frame &frame = work_.frames[f];
            if (work_.codec == Codec::byte_offset) deltas_[f] = ByteOffset{frame.data, frame.data + frame.size};
            if (work_.codec != Codec::bslz4) continue;
            if (const char *problem = chunks_[f].open(frame.data, frame.size, size_, n)) return fail(f, problem);
            const size_t block = chunks_[f].block;
            if (block != chunks_[0].block || block % tile_pixels || piece_alignment % block || block * size_ > block_bytes)
                return fail(f, "the chunk's blocks have a size that must be decoded to memory first");
            if (!chunks_[f].skip(start / block)) return fail(f, chunk_is_short);
        }
        return true;
    }

    // Make the run that begins at `start` and ends before `stop`.
    bool read(int64_t start, int64_t stop, Run &run) {
        run.start = start;
        run.form = whole_forms[static_cast<int>(work_.type)];
        run.form_size = size_;
        switch (work_.codec) {
            case Codec::none: return read_array(stop, run);
            case Codec::byte_offset: return read_deltas(stop, run);
            default: return read_block(stop, run);
        }
    }

  private:
    bool fail(int frame, const char *problem) {
        work_.failed = frame;
        work_.problem = problem;
        return false;
    }

    bool read_array(int64_t stop, Run &run) {
        run.count = static_cast<int>(stop - run.start);
        for (int f = 0; f < work_.n_frames; ++f) run.values[f] = work_.frames[f].data + run.start * size_;
        return true;
    }

    bool read_deltas(int64_t stop, Run &run) {
        const int64_t most = block_bytes / 4;
        run.count = static_cast<int>(stop - run.start < most ? stop - run.start : most);
        for (int f = 0; f < work_.n_frames; ++f) {
            auto *values = reinterpret_cast<uint32_t *>(work_.scratch->values[f]);
            if (!byte_offset_decode(deltas_[f], values, run.count)) return fail(f, payload_is_short);
            run.values[f] = work_.scratch->values[f];
        }
        return true;
    }

    bool masked(int64_t start, int64_t count) const {
        for (int64_t tile = start / tile_pixels; tile * tile_pixels < start + count; ++tile)
            if (work_.plan->tile_bins[tile]) return false;
        return true;
    }

    bool read_block(int64_t stop, Run &run) {
        const int64_t left = work_.plan->n_pixels - run.start, block = chunks_[0].block;
        const bool whole = left >= block;
        const size_t coded = static_cast<size_t>(whole ? block : left / 8 * 8), rest = whole ? 0 : left % 8;
        run.count = static_cast<int>(coded + rest);
        (void)stop;  // pieces end where blocks end
        if (masked(run.start, run.count)) {
            for (int f = 0; f < work_.n_frames; ++f)
                if (coded && !chunks_[f].skip(1)) return fail(f, chunk_is_short);
            run.count = -run.count;
            return true;
        }
        Narrow narrow = rest ? narrow_none : narrow_u1;
        for (int f = 0; f < work_.n_frames; ++f) {
            uint8_t *planes = work_.scratch->planes[f];
            const uint8_t *in;
            size_t in_size;
            if (coded) {
                if (!chunks_[f].next(in, in_size)) return fail(f, chunk_is_short);
                if (!lz4_decode(in, in_size, planes, coded * size_)) return fail(f, block_is_corrupt);
                if (narrow != narrow_none) narrow = joint(f, narrow, narrow_form(planes, coded / 8, work_.type));
            }
            run.values[f] = work_.scratch->values[f];
        }
        narrow_run(narrow, run);
        for (int f = 0; f < work_.n_frames; ++f) {
            unshuffle_bytes(work_.scratch->planes[f], coded, run.form_size, work_.scratch->values[f]);
            if (rest == 0) continue;
            Bslz4 &chunk = chunks_[f];
            if (static_cast<size_t>(chunk.end - chunk.in) < rest * size_) return fail(f, chunk_is_short);
            std::memcpy(work_.scratch->values[f] + coded * size_, chunk.in, rest * size_);
        }
        return true;
    }

    // The form that holds both what `narrow` holds and what frame `f` needs.
    Narrow joint(int f, Narrow narrow, Narrow other) const {
        if (f == 0 || narrow == other) return other;
        return narrow == narrow_none || other == narrow_none ? narrow_none : narrow_i2;
    }

    void narrow_run(Narrow narrow, Run &run) const {
        if (narrow == narrow_none) return;
        const bool is_unsigned = work_.type == ElementType::u4;
        run.form_size = narrow == narrow_i2 ? 2 : 1;
        run.form = narrow == narrow_u1   ? Form::u1
                   : narrow == narrow_i1 ? (is_unsigned ? Form::i1_of_u4 : Form::i1)
                                         : (is_unsigned ? Form::i2_of_u4 : Form::i2);
    }

    Work &work_;
    int size_;
    Bslz4 chunks_[most_lanes];
    ByteOffset deltas_[most_lanes];
};

// ---- from a run to a tile of numbers -------------------------------------------------------------------

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

// ---- from a tile of numbers to bins --------------------------------------------------------------------

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

// ---- what invalid pixels take out of the sums ------------------------------------------------------------

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

// ---- the way through -----------------------------------------------------------------------------------

template <int Lanes, ErrorModel Model>
inline void process_tile(const Work &work, const Run &run, int64_t tile) {
    const Plan &plan = *work.plan;
    Scratch &scratch = *work.scratch;
    const int64_t left = plan.n_pixels - tile * tile_pixels;
    const int n = static_cast<int>(left < tile_pixels ? left : tile_pixels);
    bool invalid = false;
    with_form(run.form, [&](auto element) { invalid = load_tile<Lanes, Model, decltype(element)>(work, run, tile, n); });
    double *const signal = scratch.signal, *const variance = scratch.variance;
    if constexpr (Model == ErrorModel::azimuthal) {
        if (invalid) replace_by_nan<Lanes>(work, signal);
        if (plan.wide)
            scatter_spread<Lanes, uint32_t>(work, tile, signal);
        else
            scatter_spread<Lanes, uint16_t>(work, tile, signal);
    } else {
        Left left;
        if (invalid) left = leave_out<Lanes, Model>(work, tile, signal, variance);
        if (plan.wide)
            scatter_tile<Lanes, Model, uint32_t>(plan, tile, signal, variance, work.piece);
        else
            scatter_tile<Lanes, Model, uint16_t>(plan, tile, signal, variance, work.piece);
        if (invalid && plan.columns() == 4) take_out<4>(work, tile, left);
        if (invalid && plan.columns() == 8) take_out<8>(work, tile, left);
    }
}

template <int Lanes, ErrorModel Model>
inline bool process_piece(const Work &work, Source &source, int64_t piece) {
    const Plan &plan = *work.plan;
    const int64_t end = (piece + 1) * plan.piece_pixels, stop = end < plan.n_pixels ? end : plan.n_pixels;
    Run run;
    for (int64_t start = piece * plan.piece_pixels; start < stop;) {
        if (!source.read(start, stop, run)) return false;
        const int64_t next = start + (run.count < 0 ? -run.count : run.count);
        for (int64_t tile = start / tile_pixels; run.count > 0 && tile * tile_pixels < next; ++tile)
            if (plan.tile_bins[tile]) process_tile<Lanes, Model>(work, run, tile);
        start = next;
    }
    return true;
}

// Add the sums of a piece to the frame's, and clear them.
inline void fold(double *__restrict piece, double *__restrict sums, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        sums[i] += piece[i];
        piece[i] = 0;
    }
}

template <int Lanes, ErrorModel Model>
inline void scatter_pieces(Work &work) {
    Source source(work);
    if (!source.open(work.piece_begin)) return;
    for (int64_t piece = work.piece_begin; piece < work.piece_end; ++piece) {
        if (!process_piece<Lanes, Model>(work, source, piece)) return;
        if (work.piece != work.sums) fold(work.piece, work.sums, work.plan->n_bins * n_sums(Model) * Lanes);
    }
}

template <int Lanes>
inline void scatter_lanes(Work &work) {
    switch (work.model) {
        case ErrorModel::none: return scatter_pieces<Lanes, ErrorModel::none>(work);
        case ErrorModel::poisson: return scatter_pieces<Lanes, ErrorModel::poisson>(work);
        case ErrorModel::variance: return scatter_pieces<Lanes, ErrorModel::variance>(work);
        case ErrorModel::azimuthal: return scatter_pieces<Lanes, ErrorModel::azimuthal>(work);
    }
}

inline void scatter(Work &work) {
    work.problem = nullptr;
    if (work.lanes == 1) return scatter_lanes<1>(work);
    if (work.lanes == 4) return scatter_lanes<4>(work);
#if defined(__AVX512F__)
    return scatter_lanes<8>(work);
#endif
}

#if defined(__AVX512F__)
constexpr int widest = 8;
#else
constexpr int widest = 4;
#endif
}  // namespace

const Kernels FRIEDEL_KERNELS = {scatter, decode_bslz4, decode_byte_offset, widest};
}  // namespace friedel
