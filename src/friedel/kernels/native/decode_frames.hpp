// Compressed frames, decoded whole or one block at a time. Internal linkage: see scatter_plan.hpp.
#pragma once
#include "bitshuffle.hpp"
#include "byte_offset.hpp"
#include "lz4.hpp"

namespace friedel {
namespace {
inline uint64_t big_endian(const uint8_t *bytes, int n) {
    uint64_t value = 0;
    for (int i = 0; i < n; ++i) value = value << 8 | bytes[i];
    return value;
}

// Where reading of a bitshuffle-LZ4 chunk has come to.
struct Bslz4 {
    const uint8_t *in, *end;
    size_t block;  // elements in a whole block

    // Check the header against n elements of `element_size` bytes; null, or what is wrong.
    const char *open(const uint8_t *data, size_t size, size_t element_size, size_t n) {
        if (size < 12) return "the chunk is shorter than its header";
        if (big_endian(data, 8) != n * element_size) return "the chunk's header gives another size than the frame";
        const uint64_t bytes = big_endian(data + 8, 4);
        if (bytes == 0 || bytes % (8 * element_size)) return "the chunk's header gives an impossible block size";
        in = data + 12;
        end = data + size;
        block = bytes / element_size;
        return nullptr;
    }

    // The compressed bytes of the next block; false if the chunk ends before.
    bool next(const uint8_t *&data, size_t &size) {
        if (end - in < 4) return false;
        size = big_endian(in, 4);
        if (size > static_cast<size_t>(end - in) - 4) return false;
        data = in + 4;
        in = data + size;
        return true;
    }

    // Pass over n whole blocks.
    bool skip(size_t n) {
        const uint8_t *data;
        size_t size;
        for (; n > 0; --n)
            if (!next(data, size)) return false;
        return true;
    }
};

constexpr const char *chunk_is_short = "the chunk ends before the frame does";
constexpr const char *block_is_corrupt = "a compressed block is corrupt";

inline void unshuffle_bytes(const uint8_t *planes, size_t n, int element_size, uint8_t *out) {
    switch (element_size) {
        case 1: return unshuffle(planes, n, out);
        case 2: return unshuffle(planes, n, reinterpret_cast<uint16_t *>(out));
        case 4: return unshuffle(planes, n, reinterpret_cast<uint32_t *>(out));
        default: return unshuffle(planes, n, reinterpret_cast<uint64_t *>(out));
    }
}

// `scratch` takes one block and lz4_slack bytes.
inline const char *decode_bslz4(const uint8_t *data, size_t size, int element_size, size_t n, uint8_t *out, uint8_t *scratch) {
    Bslz4 chunk;
    if (const char *problem = chunk.open(data, size, element_size, n)) return problem;
    for (size_t start = 0; start + 8 <= n;) {
        const size_t count = n - start < chunk.block ? (n - start) / 8 * 8 : chunk.block;
        const uint8_t *in;
        size_t in_size;
        if (!chunk.next(in, in_size)) return chunk_is_short;
        if (!lz4_decode(in, in_size, scratch, count * element_size)) return block_is_corrupt;
        unshuffle_bytes(scratch, count, element_size, out + start * element_size);
        start += count;
    }
    const size_t rest = n % 8 * element_size;
    if (static_cast<size_t>(chunk.end - chunk.in) < rest) return chunk_is_short;
    std::memcpy(out + (n - n % 8) * element_size, chunk.in, rest);
    return nullptr;
}

constexpr const char *payload_is_short = "the byte-offset data end before the frame does";

inline const char *decode_byte_offset(const uint8_t *data, size_t size, int element_size, size_t n, uint8_t *out) {
    ByteOffset state{data, data + size};
    bool complete;
    switch (element_size) {
        case 1: complete = byte_offset_decode(state, out, n); break;
        case 2: complete = byte_offset_decode(state, reinterpret_cast<uint16_t *>(out), n); break;
        case 4: complete = byte_offset_decode(state, reinterpret_cast<uint32_t *>(out), n); break;
        default: complete = byte_offset_decode(state, reinterpret_cast<uint64_t *>(out), n);
    }
    return complete ? nullptr : payload_is_short;
}
}  // namespace
}  // namespace friedel
