// Brings the buffers of a batch together in one piece of memory, from which they go to a GPU in one transfer.
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "bindings.hpp"
#include "decode_frames.hpp"
#include "parallel.hpp"

namespace nb = nanobind;

namespace friedel {
using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableBytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Row = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Tables = nb::ndarray<uint32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

constexpr size_t buffer_alignment = 16;
constexpr size_t copied_at_once = size_t{1} << 16;

// Copy past the caches: what the bus takes next is of no use to the processor, and lines that are written whole need not be
// read first. That leaves more of the memory's bandwidth, which is what limits several GPUs.
static void copy_past_caches(uint8_t *out, const uint8_t *in, size_t size) {
#if defined(__SSE2__)
    const size_t head = std::min<size_t>(-reinterpret_cast<uintptr_t>(out) & 15, size);
    std::memcpy(out, in, head);
    size_t at = head;
    for (; at + 64 <= size; at += 64) {
        __m128i vectors[4];
        std::memcpy(vectors, in + at, 64);
        for (int i = 0; i < 4; ++i) _mm_stream_si128(reinterpret_cast<__m128i *>(out + at) + i, vectors[i]);
    }
    std::memcpy(out + at, in + at, size - at);
    _mm_sfence();
#else
    std::memcpy(out, in, size);
#endif
}

// Find places for the buffers behind one another, each at a multiple of 16. Returns the bytes used.
static size_t place_buffers(const std::vector<Bytes> &buffers, WritableBytes out, Row<uint64_t> starts) {
    if (buffers.size() > starts.size()) throw nb::value_error("a start for each buffer is needed");
    size_t used = 0;
    for (size_t f = 0; f < buffers.size(); ++f) {
        starts(f) = (used + buffer_alignment - 1) / buffer_alignment * buffer_alignment;
        used = starts(f) + buffers[f].size();
    }
    if (used > out.size()) throw nb::value_error("the buffers do not fit");
    return used;
}

static size_t gather(const std::vector<Bytes> &buffers, WritableBytes out, Row<uint64_t> starts, int threads, bool copied) {
    const size_t used = place_buffers(buffers, out, starts);
    if (!copied) return used;
    uint8_t *const to = out.data();
    nb::gil_scoped_release release;
    // Pieces of 1 MiB, so that all threads have work also if there are fewer buffers than threads.
    constexpr size_t piece = size_t{1} << 20;
    std::vector<std::pair<size_t, size_t>> pieces;
    for (size_t f = 0; f < buffers.size(); ++f)
        for (size_t at = 0; at < buffers[f].size(); at += piece) pieces.emplace_back(f, at);
    parallel_for(pieces.size(), threads, [&](size_t i) {
        const auto [f, at] = pieces[i];
        const size_t left = buffers[f].size() - at;
        copy_past_caches(to + starts(f) + at, buffers[f].data() + at, left < piece ? left : piece);
    });
    return used;
}

// Copy a chunk and note on the way where the length of each block lies in it, then the plain rest. Returns the elements of
// a whole block, or 0 if the chunk is damaged or the table too small.
static uint32_t copy_chunk(const uint8_t *data, size_t size, size_t element_size, size_t n, uint8_t *out, uint32_t *table,
                           size_t table_size) {
    Bslz4 chunk;
    if (size > UINT32_MAX || chunk.open(data, size, element_size, n) || chunk.block > UINT32_MAX) return 0;
    const size_t blocks = (n / 8 * 8 + chunk.block - 1) / chunk.block;
    if (blocks + 1 > table_size) return 0;
    size_t copied = 0;
    for (size_t b = 0; b < blocks; ++b) {
        const uint8_t *coded;
        size_t coded_size;
        const size_t here = static_cast<size_t>(chunk.in - data);
        table[b] = static_cast<uint32_t>(here);
        // What was copied a moment ago is in the cache, also the lengths in it.
        while (copied < size && copied < here + 4) {
            const size_t some = std::min(size - copied, copied_at_once);
            copy_past_caches(out + copied, data + copied, some);
            copied += some;
        }
        if (!chunk.next(coded, coded_size)) return 0;
    }
    table[blocks] = static_cast<uint32_t>(chunk.in - data);
    if (static_cast<size_t>(chunk.end - chunk.in) < n % 8 * element_size) return 0;
    copy_past_caches(out + copied, data + copied, size - copied);
    return static_cast<uint32_t>(chunk.block);
}

// Some chunks of which it is noted where their blocks lie. Each length says where the next one is, and lies in memory that
// no cache holds: so several chunks are walked in turn, and each waits for its next length while the others go on.
constexpr size_t walked_together = 16;

struct Walk {
    Bslz4 chunk;
    const uint8_t *data = nullptr;
    uint32_t *table = nullptr;
    size_t blocks = 0;
    bool good = false;

    void open(const uint8_t *from, size_t size, size_t element_size, size_t n, uint32_t *to, size_t table_size) {
        data = from;
        table = to;
        good = size <= UINT32_MAX && !chunk.open(data, size, element_size, n) && chunk.block <= UINT32_MAX;
        if (!good) return;
        blocks = (n / 8 * 8 + chunk.block - 1) / chunk.block;
        good = blocks + 1 <= table_size;
    }
    void step(size_t block) {
        if (!good || block >= blocks) return;
        const uint8_t *coded;
        size_t coded_size;
        table[block] = static_cast<uint32_t>(chunk.in - data);
        good = chunk.next(coded, coded_size);
        __builtin_prefetch(chunk.in);
    }
    uint32_t close(size_t rest) {
        if (!good || static_cast<size_t>(chunk.end - chunk.in) < rest) return 0;
        table[blocks] = static_cast<uint32_t>(chunk.in - data);
        return static_cast<uint32_t>(chunk.block);
    }
};

static void note_blocks(const std::vector<Bytes> &buffers, size_t first, size_t last, size_t element_size, size_t n, Tables tables,
                        Row<uint32_t> blocks) {
    Walk walks[walked_together];
    size_t most = 0;
    for (size_t f = first; f < last; ++f) {
        walks[f - first].open(buffers[f].data(), buffers[f].size(), element_size, n, tables.data() + f * tables.shape(1),
                              tables.shape(1));
        most = std::max(most, walks[f - first].blocks);
    }
    for (size_t block = 0; block < most; ++block)
        for (size_t f = first; f < last; ++f) walks[f - first].step(block);
    for (size_t f = first; f < last; ++f) blocks(f) = walks[f - first].close(n % 8 * element_size);
}

static size_t gather_chunks(const std::vector<Bytes> &buffers, size_t element_size, size_t n, WritableBytes out,
                            Row<uint64_t> starts, Tables tables, Row<uint32_t> blocks, int threads, bool copied) {
    if (buffers.size() > tables.shape(0) || buffers.size() > blocks.size()) throw nb::value_error("the tables are too small");
    const size_t used = place_buffers(buffers, out, starts);
    nb::gil_scoped_release release;
    if (!copied) {
        const size_t count = buffers.size();
        parallel_for((count + walked_together - 1) / walked_together, threads, [&](size_t group) {
            const size_t first = group * walked_together;
            note_blocks(buffers, first, std::min(first + walked_together, count), element_size, n, tables, blocks);
        });
        return used;
    }
    parallel_for(buffers.size(), threads, [&](size_t f) {
        blocks(f) = copy_chunk(buffers[f].data(), buffers[f].size(), element_size, n, out.data() + starts(f),
                               tables.data() + f * tables.shape(1), tables.shape(1));
    });
    return used;
}

void bind_gather(nb::module_ &m) {
    m.def("gather", &gather, nb::arg("buffers"), nb::arg("out"), nb::arg("starts"), nb::arg("threads"),
          nb::arg("copied") = true,
          "Copy buffers behind one another, each to a multiple of 16 bytes; return the bytes used. Or only find the places.");
    m.def("gather_chunks", &gather_chunks, nb::arg("buffers"), nb::arg("element_size"), nb::arg("n"), nb::arg("out"),
          nb::arg("starts"), nb::arg("tables"), nb::arg("blocks"), nb::arg("threads"), nb::arg("copied") = true,
          "Copy bitshuffle-LZ4 chunks as `gather` does, and note where their blocks lie; `blocks` is 0 for a damaged one.");
}
}  // namespace friedel
