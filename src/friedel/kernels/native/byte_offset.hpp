// CBF byte offset: each element is the one before (the first: 0) plus a signed little-endian delta of 1 byte;
// 0x80 announces one of 2 bytes, 0x8000 in it one of 4, 0x80000000 in that one of 8.
// Internal linkage, because it is compiled once for each instruction set.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace friedel {
namespace {
// Where decoding has come to, so that a frame can be decoded piece by piece.
struct ByteOffset {
    const uint8_t *in, *end;
    uint64_t value = 0;  // modulo 2^64: a corrupt file must not overflow
};

template <class T>
inline bool byte_offset_read(ByteOffset &state, T &value) {
    if (static_cast<size_t>(state.end - state.in) < sizeof(T)) return false;
    std::memcpy(&value, state.in, sizeof(T));
    state.in += sizeof(T);
    return true;
}

inline bool byte_offset_delta(ByteOffset &state, uint64_t &delta) {
    int8_t d1;
    int16_t d2;
    int32_t d4;
    int64_t d8;
    if (!byte_offset_read(state, d1)) return false;
    if (d1 != INT8_MIN) return delta = static_cast<uint64_t>(int64_t{d1}), true;
    if (!byte_offset_read(state, d2)) return false;
    if (d2 != INT16_MIN) return delta = static_cast<uint64_t>(int64_t{d2}), true;
    if (!byte_offset_read(state, d4)) return false;
    if (d4 != INT32_MIN) return delta = static_cast<uint64_t>(int64_t{d4}), true;
    if (!byte_offset_read(state, d8)) return false;
    return delta = static_cast<uint64_t>(d8), true;
}

// Add up eight deltas of one byte, after `value`; returns the last of the sums.
template <class Integer>
inline uint64_t byte_offset_add(const uint8_t *in, uint64_t value, Integer *out) {
#if defined(__AVX2__)
    // Three steps of shifted sums instead of eight additions that wait for one another, modulo 2^32.
    if constexpr (sizeof(Integer) == 4) {
        __m256i x = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(in)));
        x = _mm256_add_epi32(x, _mm256_slli_si256(x, 4));
        x = _mm256_add_epi32(x, _mm256_slli_si256(x, 8));  // sums within each half
        const __m256i half = _mm256_shuffle_epi32(_mm256_permute2x128_si256(x, x, 0x08), 0xff);
        x = _mm256_add_epi32(x, half);
        // The sum of eight such deltas is small: its sign extends it to 64 bits.
        const uint64_t last = value + static_cast<uint64_t>(static_cast<int64_t>(_mm256_extract_epi32(x, 7)));
        x = _mm256_add_epi32(x, _mm256_set1_epi32(static_cast<int>(value)));
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(out), x);
        return last;
    }
#endif
    for (int k = 0; k < 8; ++k) {
        value += static_cast<uint64_t>(static_cast<int64_t>(static_cast<int8_t>(in[k])));
        out[k] = static_cast<Integer>(value);
    }
    return value;
}

// Decode the next n elements; false if the input ends before.
template <class Integer>
inline bool byte_offset_decode(ByteOffset &state, Integer *out, size_t n) {
    size_t i = 0;
    while (i < n) {
        // Eight deltas of one byte: none of the next eight bytes is 0x80.
        while (i + 8 <= n && state.end - state.in >= 8) {
            uint64_t word;
            std::memcpy(&word, state.in, 8);
            const uint64_t zero = word ^ 0x8080808080808080ull;
            if ((zero - 0x0101010101010101ull) & ~zero & 0x8080808080808080ull) break;
            state.value = byte_offset_add(state.in, state.value, out + i);
            state.in += 8;
            i += 8;
        }
        if (i == n) break;
        uint64_t delta;
        if (!byte_offset_delta(state, delta)) return false;
        state.value += delta;
        out[i++] = static_cast<Integer>(state.value);
    }
    return true;
}

// Encode n values; writes at most 15 n bytes, returns how many.
template <class Integer>
inline size_t byte_offset_encode(const Integer *in, size_t n, uint8_t *out) {
    uint8_t *const begin = out;
    uint64_t last = 0;
    for (size_t i = 0; i < n; ++i) {
        const uint64_t value = static_cast<uint64_t>(static_cast<int64_t>(in[i]));
        const int64_t delta = static_cast<int64_t>(value - last);
        last = value;
        if (delta > INT8_MIN && delta <= INT8_MAX) {
            *out++ = static_cast<uint8_t>(delta);
            continue;
        }
        const uint8_t escape[7] = {0x80, 0x00, 0x80, 0x00, 0x00, 0x00, 0x80};
        const int size = delta > INT16_MIN && delta <= INT16_MAX ? 2 : delta > INT32_MIN && delta <= INT32_MAX ? 4 : 8;
        const int escaped = size == 2 ? 1 : size == 4 ? 3 : 7;
        std::memcpy(out, escape, escaped);
        std::memcpy(out + escaped, &delta, size);
        out += escaped + size;
    }
    return static_cast<size_t>(out - begin);
}
}  // namespace
}  // namespace friedel
