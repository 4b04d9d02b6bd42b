// How stored elements are read: alone, and many in a vector.
// Part of scatter_kernels.hpp, and like it of internal linkage.
#pragma once
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors wider than the baseline's registers stay inside these files
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

// Eight 32-bit numbers.
typedef uint32_t Words __attribute__((vector_size(32), may_alias));

typedef uint32_t FourWords __attribute__((vector_size(16)));
inline FourWords lower_half(Words words) { return __builtin_shufflevector(words, words, 0, 1, 2, 3); }
inline FourWords upper_half(Words words) { return __builtin_shufflevector(words, words, 4, 5, 6, 7); }

template <class Bits>
struct SignedLike {
    typedef int32_t type __attribute__((vector_size(sizeof(Bits))));
};

// One bit for each of `n` values, at most 64.
template <class Test>
inline uint64_t bits_of(int n, Test &&test) {
    uint8_t flags[64];
    for (int i = 0; i < 64; ++i) flags[i] = 0;
    if (n == 64)
        for (int i = 0; i < 64; ++i) flags[i] = test(i) ? 0xff : 0;
    else
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

// From `low` to `high`, which are in it, modulo the number of stored values; nothing if low > high.
struct NarrowRange {
    int64_t low, high;
};

// Integers of up to 32 bits as stored, and as numbers. A narrow signed type also holds blocks of wide unsigned
// elements whose upper bits are all equal: small counts, and the marks near 2^32 of pixels that do not count.
template <class Stored, bool Signed>
struct Integer {
    using stored = Stored;
    // The numbers of elements that were widened to 32 bits.
    template <class V, class Bits>
    static V values(Bits some) {
        constexpr bool to_unsigned = !Signed && (sizeof(Stored) == 4 || static_cast<Stored>(-1) < 0);
#if defined(__AVX512F__)
        if constexpr (!to_unsigned && sizeof(V) == 64) return _mm512_cvtepi32_pd(reinterpret_cast<__m256i>(some));  // GCC halves it
#endif
        if constexpr (!to_unsigned) return __builtin_convertvector(reinterpret_cast<typename SignedLike<Bits>::type>(some), V);
#if defined(__AVX512F__)
        if constexpr (to_unsigned && sizeof(V) == 64) return _mm512_cvtepu32_pd(reinterpret_cast<__m256i>(some));
        if constexpr (to_unsigned && sizeof(V) == 32) return _mm256_cvtepu32_pd(reinterpret_cast<__m128i>(some));
#endif
        // Exact: GCC converts signed numbers only.
        const auto shifted = reinterpret_cast<typename SignedLike<Bits>::type>(some) ^ INT32_MIN;
        return __builtin_convertvector(shifted, V) + 2147483648.0;
    }
    static constexpr bool is_integer = true, is_signed = Signed;

    // Which of n values, at most 64, lie in a range: one bit for each. Compares in the stored width, for speed.
    static uint64_t invalid(const Stored *values, int n, const NarrowRange &range) {
        const Unsigned low = static_cast<Unsigned>(range.low), span = static_cast<Unsigned>(range.high - range.low);
#if defined(__AVX512F__)
        if (n == 64) return invalid(values, low, span);
#endif
        return bits_of(n, [&](int i) { return static_cast<Unsigned>(static_cast<Unsigned>(values[i]) - low) <= span; });
    }

    // The stored values that a screen makes invalid. Modulo their number they lie side by side, also where a narrow form
    // holds both ends of a range of wide ones.
    static NarrowRange narrow(const Screen &screen) {
        constexpr bool below = static_cast<Stored>(-1) < 0;
        constexpr int64_t all = int64_t{1} << (8 * sizeof(Stored)), least = below ? -all / 2 : 0, most = least + all - 1;
        NarrowRange range{0, -1};
        for (int64_t shift = 0; screen.range && shift <= int64_t{1} << 32; shift += int64_t{1} << 32) {
            const int64_t from = static_cast<int64_t>(screen.low) - shift, to = from + screen.span;
            if (from > most || to < least) continue;
            const bool second = range.low <= range.high;
            if (!second) range.low = from < least ? least : from;
            range.high = (to > most ? most : to) + (second ? all : 0);
            if (range.high - range.low >= all) range.high = range.low + all - 1;
        }
        return range;
    }

  private:
    using Unsigned = typename UnsignedOf<sizeof(Stored)>::type;
#if defined(__AVX512F__)
    static uint64_t invalid(const Stored *values, Unsigned low, Unsigned span) {
        const auto some = [&](int i) { return _mm512_loadu_si512(reinterpret_cast<const __m512i *>(values) + i); };
        uint64_t bits = 0;
        for (int i = 0; i < static_cast<int>(sizeof(Stored)); ++i)
            if constexpr (sizeof(Stored) == 1)
                bits = _mm512_cmple_epu8_mask(_mm512_sub_epi8(some(i), _mm512_set1_epi8(static_cast<char>(low))), _mm512_set1_epi8(static_cast<char>(span)));
            else if constexpr (sizeof(Stored) == 2)
                bits |= uint64_t{_mm512_cmple_epu16_mask(_mm512_sub_epi16(some(i), _mm512_set1_epi16(static_cast<short>(low))), _mm512_set1_epi16(static_cast<short>(span)))} << 32 * i;
            else
                bits |= uint64_t{_mm512_cmple_epu32_mask(_mm512_sub_epi32(some(i), _mm512_set1_epi32(static_cast<int>(low))), _mm512_set1_epi32(static_cast<int>(span)))} << 16 * i;
        return bits;
    }
#endif
};

template <class Stored>
struct Float {
    using stored = Stored;
    template <class V, class Bits>
    static V values(Bits some) {
        typedef float Floats __attribute__((vector_size(sizeof(Bits))));
        return __builtin_convertvector(reinterpret_cast<Floats>(some), V);
    }
    static constexpr bool is_integer = false, is_signed = true;

    // Which of n values, at most 64, are not finite, or marked.
    static uint64_t invalid(const Stored *values, int n, const Screen &given) {
        const Screen screen = given;
        const uint64_t infinite = bits_of(n, [&](int i) { return !(__builtin_fabs(static_cast<double>(values[i])) <= __DBL_MAX__); });
        return !screen.range ? infinite : infinite | bits_of(n, [&](int i) { return __builtin_fabs(values[i] - screen.dummy) <= screen.delta; });
    }
    static Screen narrow(const Screen &screen) { return screen; }
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
}  // namespace
}  // namespace friedel
