// Bitshuffle: a block of n elements (n a multiple of 8) of S bytes is stored as 8 S bit planes of n/8 bytes,
// plane 8 k + b holding bit b of byte k; element e is bit e mod 8 of byte e/8 of each plane.
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
// Transpose 8 x 8 bits: bit c of byte r becomes bit r of byte c.
inline uint64_t transpose_bits(uint64_t x) {
    uint64_t t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAull;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCull;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0ull;
    return x ^ t ^ (t << 28);
}

// Join 8 planes of n/8 bytes, `plane_size` apart, into n bytes.
inline void join_planes(const uint8_t *planes, size_t plane_size, size_t n, uint8_t *out) {
    size_t e = 0;
#if defined(__AVX512BW__)
    for (; e + 64 <= n; e += 64) {
        __m512i bytes = _mm512_setzero_si512();
        for (int b = 0; b < 8; ++b) {
            uint64_t bits;
            std::memcpy(&bits, planes + b * plane_size + e / 8, 8);
            bytes = _mm512_mask_add_epi8(bytes, _cvtu64_mask64(bits), bytes, _mm512_set1_epi8(static_cast<char>(1 << b)));
        }
        _mm512_storeu_si512(out + e, bytes);
    }
#elif defined(__AVX2__)
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3,
                                            3, 3, 3, 3);
    const __m256i select = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
    for (; e + 32 <= n; e += 32) {
        __m256i bytes = _mm256_setzero_si256();
        for (int b = 0; b < 8; ++b) {
            uint32_t bits;
            std::memcpy(&bits, planes + b * plane_size + e / 8, 4);
            const __m256i picked = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), spread), select);
            const __m256i set = _mm256_cmpeq_epi8(picked, select);
            bytes = _mm256_or_si256(bytes, _mm256_and_si256(set, _mm256_set1_epi8(static_cast<char>(1 << b))));
        }
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(out + e), bytes);
    }
#endif
    for (; e < n; e += 8) {
        uint64_t x = 0;
        for (int b = 0; b < 8; ++b) x |= static_cast<uint64_t>(planes[b * plane_size + e / 8]) << (8 * b);
        x = transpose_bits(x);
        std::memcpy(out + e, &x, 8);
    }
}

// Undo bitshuffle of n elements of which `used` of the low bytes are wanted: out[e] holds these bytes.
template <class Unsigned>
inline void unshuffle(const uint8_t *planes, size_t n, Unsigned *out) {
    constexpr size_t chunk = 256, size = sizeof(Unsigned);
    if constexpr (size == 1) return join_planes(planes, n / 8, n, reinterpret_cast<uint8_t *>(out));
    uint8_t bytes[size][chunk];
    for (size_t start = 0; start < n; start += chunk) {
        const size_t count = n - start < chunk ? n - start : chunk;
        for (size_t k = 0; k < size; ++k) join_planes(planes + k * n + start / 8, n / 8, count, bytes[k]);
        for (size_t e = 0; e < count; ++e) {
            Unsigned value = 0;
            for (size_t k = 0; k < size; ++k) value |= static_cast<Unsigned>(static_cast<Unsigned>(bytes[k][e]) << (8 * k));
            out[start + e] = value;
        }
    }
}

// Bitshuffle n elements of `size` bytes.
inline void shuffle(const uint8_t *in, size_t n, size_t size, uint8_t *planes) {
    for (size_t k = 0; k < size; ++k)
        for (size_t e = 0; e < n; e += 8) {
            uint64_t x = 0;
            for (int i = 0; i < 8; ++i) x |= static_cast<uint64_t>(in[(e + i) * size + k]) << (8 * i);
            x = transpose_bits(x);
            for (int b = 0; b < 8; ++b) planes[(8 * k + b) * (n / 8) + e / 8] = static_cast<uint8_t>(x >> (8 * b));
        }
}
}  // namespace
}  // namespace friedel
