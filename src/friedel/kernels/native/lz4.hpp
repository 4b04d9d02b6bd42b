// LZ4 block format, written from its public description: a sequence is a token (high nibble: number of
// literals, low nibble: match length - 4; 15 means that bytes of 255 and a last smaller one are added), the
// literals, a little-endian 16-bit offset back into the output. The last sequence ends after its literals.
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
// Bytes after the output that the decoder may overwrite; copies of whole vectors are several times faster.
constexpr size_t lz4_slack = 64;

// Add the extension bytes of a length to it; false if the input ends before they do.
inline bool lz4_extend(const uint8_t *&in, const uint8_t *in_end, size_t &length) {
    uint8_t more;
    do {
        if (in >= in_end) return false;
        more = *in++;
        length += more;
    } while (more == 255);
    return true;
}

// Copy `length` bytes in vectors of `Size`, one at least; reads and writes up to `Size` bytes further.
template <int Size = 32>
inline void lz4_copy_wild(uint8_t *out, const uint8_t *in, size_t length) {
    size_t i = 0;
    do {
        std::memcpy(out + i, in + i, Size);
        i += Size;
    } while (i < length);
}

// Copy `length` bytes from `offset` bytes before, which may repeat what is being written: for many bytes, or any.
inline void lz4_repeat(uint8_t *out, size_t offset, size_t length) {
    const uint8_t *from = out - offset;
    if (offset == 1) {
        std::memset(out, *from, length);
        return;
    }
    for (size_t done = 0; done < length;) {  // what is there doubles with every copy
        const size_t known = offset + done, left = length - done;
        const size_t chunk = known < left ? known : left;
        std::memcpy(out + done, from, chunk);
        done += chunk;
    }
}

#if defined(__AVX2__)
// `offset` bytes, repeated in a vector of 16: the place of each, and how many bytes the whole repetitions have.
struct Lz4Repetition {
    uint8_t places[16], whole;
};
struct Lz4Repetitions {
    Lz4Repetition of[16];
    constexpr Lz4Repetitions() : of{} {
        for (int offset = 1; offset < 16; ++offset) {
            for (int i = 0; i < 16; ++i) of[offset].places[i] = static_cast<uint8_t>(i % offset);
            of[offset].whole = static_cast<uint8_t>(16 - 16 % offset);
        }
    }
};
constexpr Lz4Repetitions lz4_repetitions;

// The same for few bytes and an offset below 16. Between the marks of scattered pixels there are many such matches of all
// lengths, which no processor foresees: hence as few branches as possible. Writes up to 32 bytes further.
inline void lz4_repeat_few(uint8_t *out, size_t offset, size_t length) {
    const Lz4Repetition &repetition = lz4_repetitions.of[offset];
    const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i *>(out - offset));
    const __m128i repeated = _mm_shuffle_epi8(some, _mm_loadu_si128(reinterpret_cast<const __m128i *>(repetition.places)));
    size_t i = 0;
    do {
        _mm_storeu_si128(reinterpret_cast<__m128i *>(out + i), repeated);
        _mm_storeu_si128(reinterpret_cast<__m128i *>(out + i + repetition.whole), repeated);
        i += 2 * repetition.whole;
    } while (i < length);
}
#endif

// Copy `length` bytes from `offset` bytes before, which may repeat what is being written.
inline void lz4_copy_match(uint8_t *out, size_t offset, size_t length) {
    if (length > 128) return lz4_repeat(out, offset, length);  // a vector at a time would wait for the one before
    if (offset >= 32) return lz4_copy_wild(out, out - offset, length);
    if (offset >= 16) return lz4_copy_wild<16>(out, out - offset, length);
#if defined(__AVX2__)
    lz4_repeat_few(out, offset, length);
#else
    lz4_repeat(out, offset, length);
#endif
}

// Decode one block of exactly `out_size` bytes; false if the input is not such a block. Never reads outside
// the input nor before the output; may write `lz4_slack` bytes past the output.
inline bool lz4_decode(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size) {
    const uint8_t *const in_end = in + in_size;
    uint8_t *const out_begin = out, *const out_end = out + out_size;
    while (in < in_end) {
        const unsigned token = *in++;
        size_t literals = token >> 4;
        if (literals == 15 && !lz4_extend(in, in_end, literals)) return false;
        const size_t in_left = static_cast<size_t>(in_end - in);
        if (literals > in_left || literals > static_cast<size_t>(out_end - out)) return false;
        if (in_left - literals >= 32)
            lz4_copy_wild(out, in, literals);
        else
            std::memcpy(out, in, literals);
        in += literals;
        out += literals;
        if (in == in_end) return out == out_end;

        if (in_end - in < 2) return false;
        const size_t offset = in[0] | in[1] << 8;
        in += 2;
        size_t length = token & 15;
        if (length == 15 && !lz4_extend(in, in_end, length)) return false;
        length += 4;
        if (offset == 0 || offset > static_cast<size_t>(out - out_begin)) return false;
        if (length > static_cast<size_t>(out_end - out)) return false;
        lz4_copy_match(out, offset, length);
        out += length;
    }
    return false;
}

// Largest size that `lz4_encode` can produce.
constexpr size_t lz4_bound(size_t size) { return size + size / 255 + 16; }

inline uint8_t *lz4_put_length(uint8_t *out, size_t rest) {
    for (; rest >= 255; rest -= 255) *out++ = 255;
    *out++ = static_cast<uint8_t>(rest);
    return out;
}

inline uint8_t *lz4_put_sequence(uint8_t *out, const uint8_t *literals, size_t n_literals, size_t offset, size_t length) {
    const size_t match = offset ? length - 4 : 0;
    *out++ = static_cast<uint8_t>((n_literals < 15 ? n_literals : 15) << 4 | (match < 15 ? match : 15));
    if (n_literals >= 15) out = lz4_put_length(out, n_literals - 15);
    std::memcpy(out, literals, n_literals);
    out += n_literals;
    if (!offset) return out;
    *out++ = static_cast<uint8_t>(offset);
    *out++ = static_cast<uint8_t>(offset >> 8);
    return match >= 15 ? lz4_put_length(out, match - 15) : out;
}

constexpr int lz4_hash_bits = 12;

inline uint32_t lz4_read(const uint8_t *from) {
    uint32_t value;
    std::memcpy(&value, from, 4);
    return value;
}

// Encode greedily with a table of the last place of each hash of four bytes; returns the size written, at
// most lz4_bound(size). The format wants the last 5 bytes as literals and no match in the last 12.
inline size_t lz4_encode(const uint8_t *in, size_t size, uint8_t *out) {
    uint32_t table[1 << lz4_hash_bits] = {};  // position + 1
    uint8_t *const out_begin = out;
    size_t anchor = 0;
    for (size_t at = 0, misses = 0; at + 12 < size;) {
        const uint32_t word = lz4_read(in + at);
        uint32_t &slot = table[word * 2654435761u >> (32 - lz4_hash_bits)];
        const size_t candidate = slot;
        slot = static_cast<uint32_t>(at + 1);
        if (!candidate || at + 1 - candidate > 65535 || lz4_read(in + candidate - 1) != word) {
            at += 1 + (misses++ >> 5);  // hurry through what does not compress
            continue;
        }
        const size_t from = candidate - 1;
        size_t length = 4;
        while (at + length < size - 5 && in[from + length] == in[at + length]) ++length;
        out = lz4_put_sequence(out, in + anchor, at - anchor, at - from, length);
        at += length;
        anchor = at;
        misses = 0;
    }
    return static_cast<size_t>(lz4_put_sequence(out, in + anchor, size - anchor, 0, 0) - out_begin);
}
}  // namespace
}  // namespace friedel
