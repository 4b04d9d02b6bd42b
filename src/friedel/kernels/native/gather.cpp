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

constexpr size_t buffer_alignment = 16;

// Copy past the caches: what the bus takes next is of no use to the processor, and lines that are written whole need not be
// read first. That leaves more of the memory's bandwidth, which is what limits several GPUs. What is read is asked for early,
// from beyond the page where the processor would stop doing so by itself: a quarter more than without.
constexpr size_t asked_ahead = 2048;

static void copy_past_caches(uint8_t *out, const uint8_t *in, size_t size) {
#if defined(__SSE2__)
    const size_t head = std::min<size_t>(-reinterpret_cast<uintptr_t>(out) & 15, size);
    std::memcpy(out, in, head);
    size_t at = head;
    for (; at + 64 <= size; at += 64) {
        _mm_prefetch(reinterpret_cast<const char *>(in + at + asked_ahead), _MM_HINT_T1);
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

// Note where the buffers lie and how many bytes they have.
static void locate(const std::vector<Bytes> &buffers, Row<uint64_t> addresses, Row<uint64_t> sizes) {
    if (buffers.size() > addresses.size() || buffers.size() > sizes.size()) throw nb::value_error("the tables are too small");
    for (size_t f = 0; f < buffers.size(); ++f) {
        addresses(f) = reinterpret_cast<uintptr_t>(buffers[f].data());
        sizes(f) = buffers[f].size();
    }
}

// Note how many elements a whole block of each chunk has: 0 if its header is not that of a frame of n elements, or says that
// there are more than `most` blocks.
static void block_elements(const std::vector<Bytes> &buffers, size_t element_size, size_t n, size_t most, Row<uint32_t> blocks) {
    if (buffers.size() > blocks.size()) throw nb::value_error("the table is too small");
    for (size_t f = 0; f < buffers.size(); ++f) {
        Bslz4 chunk;
        const size_t size = buffers[f].size();
        const bool good = size <= UINT32_MAX && !chunk.open(buffers[f].data(), size, element_size, n) &&
                          chunk.block <= UINT32_MAX && (n / 8 * 8 + chunk.block - 1) / chunk.block <= most;
        blocks(f) = good ? static_cast<uint32_t>(chunk.block) : 0;
    }
}

void bind_gather(nb::module_ &m) {
    m.def("gather", &gather, nb::arg("buffers"), nb::arg("out"), nb::arg("starts"), nb::arg("threads"),
          nb::arg("copied") = true,
          "Copy buffers behind one another, each to a multiple of 16 bytes; return the bytes used. Or only find the places.");
    m.def("locate", &locate, nb::arg("buffers"), nb::arg("addresses"), nb::arg("sizes"),
          "Note where buffers lie and how many bytes they have.");
    m.def("block_elements", &block_elements, nb::arg("buffers"), nb::arg("element_size"), nb::arg("n"), nb::arg("most"),
          nb::arg("blocks"), "Note the elements in a whole block of bitshuffle-LZ4 chunks; 0 where the header is damaged.");
}
}  // namespace friedel
