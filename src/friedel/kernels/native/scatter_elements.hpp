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
}  // namespace
}  // namespace friedel
